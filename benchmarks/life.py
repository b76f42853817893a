"""A year of a small utility in one file: how large it is, how fast it opens, and what its upkeep costs those who write and read.

Workload: METERS meters of ten quarter-hourly channels over DAYS days, the days of `benchmarks.workload` again and again. Then the
store is opened after a clean close and after a killed writer, ten percent of the days are dropped, and their room is given back,
all while a meter-day after the other is stored and read. The last line of the output is one JSON object.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.workload import CHANNELS, SLOTS, fleet
from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.clock import SystemClock
from headend.registry.model import DAY, ChannelExpectation, Installation
from headend.settings import RetentionSettings
from headend.store.block import Block, Channel
from headend.store.model import Layer
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.store.unclean import owed_since
from headend.store.writer import GroupCommitWriter
from headend.upkeep import Upkeep

METERS, DAYS, DROPPED = 1_000, 365, 36
KILLS = 12
FIRST_DAY = 20_000
NOW = (FIRST_DAY + DAYS) * DAY
WH = ScalerUnit(0, Unit.WATT_HOUR)
CODES = [Obis(1, 0, code, 29, 0) for code in range(1, CHANNELS + 1)]
HEADS = [Channel(code, 900, 0, WH) for code in CODES]
PAUSE = 0.002
"""Between two commits of the writer that is measured. [s]"""


class Then(SystemClock):
    """The day after the year."""

    def now(self) -> int:
        """That day."""
        return NOW


def load(path: Path, meters: int = METERS, length: int = DAYS) -> None:
    """Store so many days, each in a transaction, with its entries of the change log."""
    days = [fleet(meters, seed) for seed in range(8)]
    with Store.open(path, lambda: NOW) as store:
        with store.transaction():
            link = store.put_link("memory://bench")
            for number in range(1, meters + 1):
                meter, _ = store.put_end_device(f"BENCH{number:011d}", "bench", link, str(number))
                point, _ = store.put_usage_point(f"NAAA{number:06d}", "UTC")
                store.put_installation(Installation(point.id, meter.id, 0))
                store.put_expectations(
                    meter.id, 0, [ChannelExpectation(meter.id, code, 900, 0, WH, "push", 0) for code in CODES]
                )
        for day in range(length):
            made = days[day % len(days)]
            with store.transaction():
                for number in range(meters):
                    block = Block.empty(Layer.RAW, f"BENCH{number + 1:011d}", FIRST_DAY + day, HEADS)
                    row = (number + 7 * day) % meters
                    block.values[:], block.state[:] = made.values[row], made.state[row]
                    block.reason[:], block.rules[:] = made.reason[row], made.rules[row]
                    store._put_block(block, number + 1)  # noqa: SLF001  a bulk load
                    store._log_change(Layer.RAW, number + 1, FIRST_DAY + day, tuple(CODES), at=block.start(HEADS[0]))  # noqa: SLF001
        with store.transaction():
            store.advance_cursor("vee", store.last_seq())


def opening(path: Path) -> float:
    """Open for writing once. [s]"""
    begun = time.perf_counter()
    store = Store.open(path, lambda: NOW)
    took = time.perf_counter() - begun
    store.close()
    return took


def facts(day: int, meter: int) -> list[IntervalBlock]:
    """One more meter-day."""
    return [IntervalBlock(code, WH, day * DAY, 900, tuple(range(meter, meter + SLOTS))) for code in CODES]


def kill_a_writer(path: Path, turn: int) -> int:
    """Fork a writer that stores days nobody stored before, kill it in the midst of it, and give how long a log it leaves. [B]"""
    child = os.fork()
    if child == 0:
        store = Store.open(path, lambda: NOW)
        for number in range(10**6):
            with store.transaction():
                store.record(1 + number % METERS, facts(FIRST_DAY + DAYS + 10 * turn + number // METERS, number), NOW)
    time.sleep(1 + turn / KILLS)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left = path.with_name(f"{path.name}-wal").stat().st_size
    assert left, "the writer was not killed in the midst of it"
    return left


async def written_beside(path: Path, beside: Callable[[GroupCommitWriter], "asyncio.Future[None]"]) -> dict[str, float]:
    """Store and read one meter-day after the other until what goes on beside ends; give how long that took each. [ms]"""
    commits, reads = [], []
    with Store.open(path, lambda: NOW) as store, StoreReader.open(path) as reader:
        writer = GroupCommitWriter(store)
        other = beside(writer)
        number = 0
        while not other.done():
            number += 1
            meter, made = 1 + number % METERS, facts(FIRST_DAY + DAYS + 200 + number // METERS, number)
            begun = time.perf_counter()
            await writer.submit(partial(Store.record, end_device_id=meter, facts=made, received_at=NOW))
            commits.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            reader.raw_series(meter, CODES[0], NOW - 2 * DAY, NOW - DAY)
            reads.append(time.perf_counter() - begun)
            await asyncio.sleep(PAUSE)
        await other
        await writer.close()
    cuts = statistics.quantiles(commits, n=100)
    return {
        "commits": len(commits), "p50": round(cuts[49] * 1e3, 2), "p99": round(cuts[98] * 1e3, 2),
        "longest": round(max(commits) * 1e3, 1), "read_p99": round(statistics.quantiles(reads, n=100)[98] * 1e3, 2),
    }  # fmt: skip


async def beside(path: Path, work: str) -> dict[str, float]:
    """Measure commits beside one kind of upkeep: ``nothing``, ``retain`` or ``give_back``."""

    async def upkeep(writer: GroupCommitWriter) -> None:
        policy = RetentionSettings(raw_days=DAYS - DROPPED)
        keeper = Upkeep(writer.from_reserve, path, policy, (), Then())
        with StoreReader.open(path) as reader:
            if work == "retain":
                await keeper.retain(reader, by_word=True)
            elif work == "give_back":
                await keeper.give_back(reader, everything=True)
            else:
                await asyncio.sleep(5)

    begun = time.perf_counter()
    found = await written_beside(path, lambda writer: asyncio.ensure_future(upkeep(writer)))
    return {**found, "took_s": round(time.perf_counter() - begun, 1)}


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "year.db"
        begun = time.perf_counter()
        load(path)
        figures: dict[str, object] = {"load_s": round(time.perf_counter() - begun, 1)}
        figures["bytes"] = path.stat().st_size
        figures["bytes_per_reading"] = round(path.stat().st_size / (METERS * DAYS * CHANNELS * SLOTS), 3)
        figures["open_ms"] = round(statistics.median(opening(path) for _ in range(5)) * 1e3, 1)
        used = time.process_time()
        opening(path)
        figures["open_cpu_ms"] = round((time.process_time() - used) * 1e3, 1)
        killed, logs = [], []
        for turn in range(KILLS):
            logs.append(kill_a_writer(path, turn))
            killed.append(opening(path))
        figures["open_after_kill_ms"] = round(statistics.median(killed) * 1e3, 1)
        figures["open_after_kill_longest_ms"] = round(max(killed) * 1e3, 1)
        figures["log_after_kill_bytes"] = max(logs)
        figures["is_check_owed"] = owed_since(str(path)) is not None
        with StoreReader.open(path) as reader:
            begun = time.perf_counter()
            verdict = reader.structure()
            figures["whole_check_s"] = round(time.perf_counter() - begun, 2)
            figures["verdict"] = verdict
        for work in ("nothing", "retain", "give_back"):
            figures[work] = asyncio.run(beside(path, work))
        figures["bytes_after"] = path.stat().st_size
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
