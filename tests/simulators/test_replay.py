"""All ten households of the Smart Grid, Smart City trial, replayed through DLMS bytes; and what a replayed trace says of itself."""

import asyncio
import json
import time
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import pytest

from drivers.trace.text import Header, header_line, session_line
from simulators.chance import seeded
from simulators.clock import WorldClock
from simulators.dlms.gateway import NAME_FORMAT, DlmsGateway, DlmsPlace
from simulators.household import load_csv
from simulators.meter import Meter, Position
from simulators.serve import serve_replay
from simulators.tcp import serving
from tests.shared import shared_data
from tests.simulators.reading import context, counts, dlms_session, endpoint

SHARED = shared_data()
WINDOW = 40 * 86_400  # [s]


READ = "000100000006010300000001"  # Modbus TCP: one holding register of unit 1, from 0


@pytest.mark.parametrize(
    ("asked", "told"), [([READ], "(tcp, 1 question) on"), ([READ, "0002" + READ[4:]], "(tcp, 2 questions) on")]
)
async def test_a_replay_counts_its_questions_as_people_do(
    asked: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = header_line(Header("SIM:17", "sim-modbus-rtu", "tcp"))
    lines = [f"{at}.000000 > {octets}\n" for at, octets in enumerate(asked)]
    (tmp_path / "a.trace").write_text("".join([header, session_line(0), *lines]))

    serving_it = asyncio.create_task(serve_replay(tmp_path / "a.trace", 0, 1.0))
    out = ""
    while "Ctrl-C" not in out and not serving_it.done():
        await asyncio.sleep(0.01)
        out += capsys.readouterr().out
    serving_it.cancel()
    with suppress(asyncio.CancelledError):
        await serving_it

    assert told in out


@pytest.mark.skipif(SHARED is None, reason="the shared data is not there: see tests/shared.py")
async def test_ten_households_come_out_of_dlms_bytes_with_the_published_sums_and_gaps() -> None:
    assert SHARED is not None
    expected = json.loads((SHARED / "sgsc" / "expected.json").read_text())
    homes = load_csv(SHARED / "sgsc" / "sgsc_10households_30min.csv.gz")
    meters = [Meter(NAME_FORMAT.format(int(name)), int(name), home, home.start) for name, home in homes.items()]
    clock = WorldClock(max(home.end for home in homes.values()), 1000.0, time.monotonic)
    places = [DlmsPlace(Position(str(port), (meter,))) for port, meter in enumerate(meters, start=1)]
    found = {}

    async with serving(clock, DlmsGateway(places, seeded(1)).wrapper_conversation) as port:
        for place in places:
            (meter,) = place.position.meters
            home = meter.household
            values: list[int | None] = []
            reader = endpoint(meter.name, "sim-dlms-wrapper", place.position.address)
            async with dlms_session(f"tcp://127.0.0.1:{port}", reader, context(clock.now)) as session:
                for start in range(home.start, home.end, WINDOW):
                    facts = await session.read_load_profile(start, min(start + WINDOW, home.end))
                    values += counts(facts)
            assert tuple(values) == home.wh
            found[home.name] = {
                "sum": round(sum(value or 0 for value in values) / 1000, 3),
                "missing": values.count(None),
                "gap_runs": sum(is_gap for is_gap, _ in groupby(values, lambda value: value is None)),
                "zeros": values.count(0),
            }

    assert found == {name: {key: published[key] for key in found[name]} for name, published in expected.items()}
