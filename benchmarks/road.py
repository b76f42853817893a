"""The whole road in one process: 39 real households over DLMS bytes into the store, validated, exported. ``make bench-road``.

The meters are simulated in the same process and share its time, so the figures are a lower bound of what the head-end does.
The named rival of collecting ciphered is collecting plain, in the same run.
"""

import asyncio
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from drivers.dlms.ciphering import Keys
from drivers.profile import Authentication
from headend.collect.engine import Engine
from headend.export.write import export
from headend.profiles import load_profiles
from headend.secrets import Secrets
from headend.settings import CollectSettings
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from headend.validation import Validator
from headend.vee.rules import load_rules
from simulators.dlms.gateway import NAME_FORMAT, DlmsGateway, DlmsPlace
from simulators.dlms.server import DlmsSettings
from simulators.household import bundled
from simulators.meter import Meter, Position
from tests.end_to_end.direct import DRIVERS, ManualClock, register, transports

LINK = "tcp://127.0.0.1:4059"
START = 1_772_373_600  # 2026-03-01T14:00:00Z, a midnight at UTC+10
DAYS = 14
KEYS = Keys(bytes(range(16)), bytes(range(16, 32)))


@contextmanager
def timed(figures: dict[str, float], name: str, items: int) -> Iterator[None]:
    """Note how many items a second of CPU time handles, and say so."""
    before = time.process_time()
    yield
    figures[name] = items / (time.process_time() - before)
    print(f"{name:<34} {figures[name]:>12,.0f}")


async def road(directory: Path, authentication: Authentication, figures: dict[str, float]) -> None:
    """Collect a fortnight of every household, validate it, export it."""
    homes = [home.moved_to(START) for home in bundled()]
    settings = DlmsSettings(authentication, keys=KEYS if authentication == "hls5" else None, latency=0.0)
    places = [
        DlmsPlace(Position(str(n), (Meter(NAME_FORMAT.format(n), n, home, START, 0),)), settings)
        for n, home in enumerate(homes, start=1)
    ]
    secrets = {"BENCH_EK": KEYS.encryption.hex(), "BENCH_AK": KEYS.authentication.hex()}
    is_ciphered = authentication == "hls5"
    rows = [
        {
            "usage_point": f"DEM{n:07d}", "meter": place.position.meters[0].name, "profile": "sim-dlms-wrapper",
            "link": LINK, "address": str(n), "from": "2026-03-01T14:00:00Z", "zone": "UTC+10:00",
            "encryption_key": "env:BENCH_EK" if is_ciphered else "",
            "authentication_key": "env:BENCH_AK" if is_ciphered else "",
            "options": f"authentication={authentication}",
        }
        for n, place in enumerate(places, start=1)
    ]  # fmt: skip
    clock = ManualClock(START + DAYS * 86_400 + 600)
    gateway = DlmsGateway(places, random.Random(1))
    slots = len(homes) * DAYS * 48
    with Store.open(directory / "headend.db", clock.now) as store:
        register(store, rows)
        writer = GroupCommitWriter(store)
        async with Engine(
            writer, load_profiles(), clock, CollectSettings(), drivers=DRIVERS, secrets=Secrets(secrets),
            open_transport=transports({LINK: gateway.wrapper_conversation}, clock.now), system_title=b"HEADEND1",
        ) as engine:  # fmt: skip
            with timed(figures, f"collect_{authentication}_half_hours_s", slots):
                summary = await engine.run_due()
        assert not summary.failed, summary
        assert summary.new >= slots, summary
        if authentication == "none":
            validator = Validator(writer, load_rules("residential"))
            with timed(figures, "validate_half_hours_s", slots):
                await validator.catch_up(clock.now(), with_today=True)
        await writer.close()
        if authentication == "none":
            for name in ("csv", "nem12"):
                with timed(figures, f"export_{name}_half_hours_s", slots):
                    export(store, name, None, None, START, START + DAYS * 86_400, directory / "out", clock.instant)


def main() -> None:
    """Print a table, then one JSON object."""
    figures: dict[str, float] = {}
    print("per second of CPU time, meters included")
    for authentication in ("none", "hls5"):
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(road(Path(directory), authentication, figures))
    figures["ciphered_vs_plain"] = figures["collect_hls5_half_hours_s"] / figures["collect_none_half_hours_s"]
    figures["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory, meters included [MB]':<34} {figures['peak_rss_mb']:>12,.0f}")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
