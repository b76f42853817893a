"""Plays the demonstration: a world of simulated meters, read by the head-end as in service, then held against its source."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from drivers.facts import UtcSeconds
from headend.demo.broker import running_broker
from headend.demo.check import Comparison, compare
from headend.demo.world import World, running_world
from headend.errors import HeadendError
from headend.export.write import ExportResult, Verification, export, verify
from headend.profiles import load_profiles
from headend.registry.apply import apply
from headend.registry.table import parse
from headend.secrets import Secrets
from headend.service import ServiceSummary, serve
from headend.settings import CollectSettings, MqttSettings, Settings
from headend.store.reader import StoreReader
from headend.store.store import Store

MARKER = "headend-demo.json"
"""Names a directory as the demonstration's own, which it may empty."""
RATE = 30
"""World seconds per second while somebody works; idle time is skipped."""
FIRST_DAY = datetime.fromisoformat("2026-03-02T00:00:00+10:00")
"""A Monday, as the replayed fortnights begin with one; the market time of NEM12, UTC+10 all year."""
SCHEDULE = "5 */2 * * *"
BREAKER_PAUSE = 4 * 3600
"""A dead meter is left alone for longer than in service, so that waiting for it does not fill the minute. [world s]"""
AFTERWARDS = 2 * 3600 + 600
"""How long reading goes on after the last interval: the grace of what is pushed, and one more round of load profiles. [world s]"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. ``start``, ``end``: what was replayed. [s UTC]  ``now``: world time at the end. [s UTC]"""

    store_path: Path
    broker: str
    start: UtcSeconds
    end: UtcSeconds
    now: UtcSeconds
    service: ServiceSummary
    comparisons: list[Comparison]
    exports: list[ExportResult]
    verification: Verification
    faults: dict[str, list[str]]
    """What the world did to each meter, by its name."""


Progress = Callable[[float, str], None]
"""Told the share done (0 to 1), and what is going on."""


def prepare(directory: Path) -> None:
    """Make ``directory`` empty and ours. Raises `HeadendError` for one that holds anything else."""
    if directory.exists() and any(directory.iterdir()) and not (directory / MARKER).exists():
        raise HeadendError(f"{directory} is not empty and not a former demonstration; name another with --directory")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / MARKER).write_text('{"schema": "headend.demo/1"}\n')
    for part in ("broker", "world"):
        (directory / part).mkdir()


async def play(directory: Path, days: int, progress: Progress) -> Outcome:
    """Play ``days`` in ``directory``, which `prepare` made. Raises `HeadendError`."""
    meters, truth, store_path = directory / "meters.csv", directory / "truth.json", directory / "headend.db"
    arguments = ("--days", str(days), "--rate", str(RATE), "--start", FIRST_DAY.isoformat())
    progress(0.0, "starting a broker and a world of simulated meters")
    async with (
        running_broker(directory / "broker") as broker,
        running_world(
            directory / "world",
            "--mqtt",
            broker.url,
            *arguments,
            "--meters-out",
            str(meters),
            "--truth-out",
            str(truth),
        ) as world,
    ):
        _register(store_path, meters, world.clock.now)
        start, end = int(world.ready["start"]), int(world.ready["end"])
        settings = Settings(
            collect=CollectSettings(profile_schedule=SCHEDULE, breaker_pause=BREAKER_PAUSE),
            mqtt=MqttSettings(url=broker.url, client_id="headend-demo"),
        )
        stop = asyncio.Event()
        watching = asyncio.create_task(_until_over(world, start, end, stop, progress))
        serving = serve(store_path, settings, load_profiles(), world.clock, Secrets({}), stop, timeout_scale=1 / RATE)
        try:
            service = await _both(serving, stop)
        finally:
            watching.cancel()
        now = world.clock.now()
    progress(1.0, "exporting and comparing with the source")
    with StoreReader.open(store_path) as reader:
        exports = [
            export(reader, name, None, None, start, end, directory / "exports", now) for name in ("nem12", "csv")
        ]
        comparisons = compare(reader, truth, end)
    faults = {name: told["faults"] for name, told in json.loads(truth.read_text(encoding="utf-8")).items()}
    return Outcome(
        store_path, broker.name, start, end, now, service, comparisons, exports, verify(directory / "exports"), faults
    )


async def _both(serving: Awaitable[ServiceSummary], stop: asyncio.Event) -> ServiceSummary:
    try:
        return await serving
    finally:
        stop.set()


async def _until_over(
    world: World, start: UtcSeconds, end: UtcSeconds, stop: asyncio.Event, progress: Progress
) -> None:
    last = end + AFTERWARDS
    while (now := world.clock.now()) < last:
        progress((now - start) / (last - start), "reading meters")
        await asyncio.sleep(0.1)
    stop.set()


def _register(store_path: Path, meters: Path, now: Callable[[], UtcSeconds]) -> None:
    parsed = parse(meters.read_text(encoding="utf-8"), load_profiles())
    if parsed.faults:
        raise HeadendError(f"{meters}: {json.dumps([str(fault) for fault in parsed.faults])}")
    with Store.open(store_path, now) as store:
        apply(store, parsed.rows)
