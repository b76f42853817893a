"""The store against other ways of storing the same readings, in one interleaved run; `make bench-store`.

Workload: METERS meters of ten quarter-hourly channels over DAYS days from `benchmarks.workload`, 14.4 million readings, a commit per
BATCH meters and day. Ours has everything it promises: slots merged into the ledger's grid, checksums, change log, an fsync per
commit. Rows of SQLite and DuckDB take every third day, or they would be all the run. Readings are held equal first. Times are medians
of what follows each other closely; on a shared machine compare within one run. The last line is one JSON object.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.store_rivals import MISSING, DuckArrays, DuckRows, Parquet, Rival, SqliteRows
from benchmarks.store_workload import (
    BATCH,
    CODES,
    DAYS,
    FIRST_DAY,
    METERS,
    PERIOD,
    Batch,
    batches,
    open_store,
    record,
    size,
)
from headend.registry.model import DAY
from headend.store.block import decode
from headend.store.model import MeterReading
from headend.store.reader import StoreReader
from headend.store.store import Store

EVERY = 3
"""Days between those that rows take."""
READS = 60
SEGMENT = 3
"""Days written in a row with the second process reading, and then without it."""

COMMIT = 115_000
"""What a commit of ours puts into the log. [B]"""

Times = dict[str, list[float]]


def timed(work: Callable[[], object]) -> float:
    """Measure wall time. [s]"""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def timed_all(works: Sequence[Callable[[], object]], name: str, times: Times) -> None:
    """Note under ``name`` the wall time of work done one after the other, and that of CPU with `` cpu`` behind it. [s]"""
    cpu = time.process_time()
    times.setdefault(name, []).append(sum(timed(work) for work in works))
    times.setdefault(f"{name} cpu", []).append(time.process_time() - cpu)


def insert_all(store: Store, collected: Store, rivals: list[Rival], times: Times) -> None:
    """Insert day by day, everybody in turn; ``collected`` takes the days of rows as facts. ``times``: s per day."""
    for number in range(DAYS):
        of_day = batches(METERS, number, number)
        timed_all([partial(record, store, batch) for batch in of_day], "ours", times)
        times.setdefault("device", []).extend(
            timed(partial(sync_some, Path(store.path).with_name("device"))) for _ in of_day
        )
        if number % EVERY == 0:
            record_day(collected, of_day, times)
        for rival in rivals:
            if number % EVERY == 0 or not takes_some(rival):
                timed_all([partial(rival.insert, batch) for batch in of_day], rival.name, times)
    for rival in rivals:
        rival.finish()
    record_alone(collected, batches(METERS, DAYS, DAYS)[0], times)


def sync_some(path: Path) -> None:
    """Append as much as a commit of ours and wait for the device: what nobody gets below who syncs."""
    with path.open("ab") as file:
        file.write(bytes(COMMIT))
        file.flush()
        os.fdatasync(file.fileno())


def takes_some(rival: Rival) -> bool:
    return isinstance(rival, SqliteRows | DuckRows)


def check_equal(reader: StoreReader, rivals: list[Rival], days: range = range(DAYS)) -> None:
    """Hold all stores against what was inserted: one channel of a day they all have, and every day of ours. Raises `AssertionError`."""
    for number in days:
        of_day = batches(METERS, number, number)
        for channel in (0, 5, 9):
            wanted = np.concatenate(
                [np.where(batch.has_value[:, channel], batch.values[:, channel], MISSING) for batch in of_day]
            )
            found = cross(reader, channel, FIRST_DAY + number)
            assert np.array_equal(np.where(found.has_value, found.values, MISSING), wanted)
            for rival in rivals:
                if number == 0 or (number == 1 and not takes_some(rival)):
                    other = rival.comparable(rival.cross(channel, FIRST_DAY + number))
                    assert np.array_equal(other, wanted), rival.name


def cross(reader: StoreReader, channel: int, day: int) -> Any:
    return reader.matrix(range(1, METERS + 1), CODES[channel], day * DAY, (day + 1) * DAY)


def one_meter(reader: StoreReader, meter: int, first: int, days: int = 1) -> Any:
    return reader.series([(meter, code) for code in CODES], first * DAY, (first + days) * DAY)


def read_all(reader: StoreReader, rivals: list[Rival], times: Times) -> None:
    """Read days, months and cross-sections, everybody in turn, in an order drawn anew. ``times``: s per call.

    What one leaves behind, threads that go on and caches that are cold, costs the next: in a fixed order always the same one. Days
    are read one by one, all ten that rows have of a meter.
    """
    random = np.random.default_rng(1)
    blocks = reader._rows("SELECT block FROM raw LIMIT 500")  # noqa: SLF001  what a read cannot do without
    for count in range(READS):
        meter = int(random.integers(1, METERS + 1))
        days = [FIRST_DAY + EVERY * int(number) for number in random.permutation(DAYS // EVERY)]
        wanted: dict[str, list[Callable[[], object]]] = {
            "ours day": [partial(one_meter, reader, meter, day) for day in days],
            "decode": [partial(decode, block) for (block,) in blocks[count : count + len(days)]],
            "ours month": [partial(one_meter, reader, meter, FIRST_DAY, DAYS)],
            "ours cross": [partial(cross, reader, count % 10, days[0])],
        }
        for rival in rivals:
            if count < READS // 3 or not takes_some(rival):
                wanted[f"{rival.name} day"] = [partial(rival.day, meter, day) for day in days]
                wanted[f"{rival.name} month"] = [partial(rival.month, meter)]
                wanted[f"{rival.name} cross"] = [partial(rival.cross, count % 10, days[0])]
        times.setdefault("ours day anew", []).append(timed(partial(one_meter, reader, meter, days[0])))
        for name in random.permutation(list(wanted)):
            times.setdefault(str(name), []).extend(timed(read) for read in wanted[name])


class Beside:
    """The second process."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.store_reader", str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._told: IO[str] = self._process.stdin
        self._heard: IO[str] = self._process.stdout
        self._heard.readline()

    def tell(self, word: str) -> None:
        """Make it go, or wait."""
        self._told.write(f"{word}\n")
        self._told.flush()
        self._heard.readline()

    def end(self) -> dict[str, Any]:
        """Let it read what is left, and give what it says."""
        self._told.close()
        found: dict[str, Any] = json.loads(self._heard.readlines()[-1])
        self._process.wait()
        return found


def write_beside_a_reader(path: Path) -> dict[str, float]:
    """Write everything at full speed, in turns with the second process reading and without it."""
    took: dict[bool, list[float]] = {True: [], False: []}
    held = total = 0
    with open_store(path) as store:
        beside = Beside(path)
        is_read = True
        for number in range(DAYS):
            of_day = batches(METERS, number, number)
            if number % SEGMENT == 0:
                is_read = not is_read
                beside.tell("go" if is_read else "wait")
            for batch in of_day:
                took[is_read].append(timed(partial(record, store, batch)))
                held += int(batch.has_value.sum())
                total += int(batch.values[batch.has_value].sum())
        beside.tell("go")
        found = beside.end()
    assert (found["held"], found["total"]) == (held, total)
    return {
        "reader_reads": len(found["wall_ms"]),
        "reader_alone_p99_ms": float(np.percentile(found["alone_ms"], 99)),
        "reader_p50_ms": float(np.percentile(found["wall_ms"], 50)),
        "reader_p99_ms": float(np.percentile(found["wall_ms"], 99)),
        "reader_cpu_p99_ms": float(np.percentile(found["cpu_ms"], 99)),
        "writer_slowdown": statistics.median(took[True]) / statistics.median(took[False]),
    }


def record_day(store: Store, of_day: Sequence[Batch], times: Times) -> None:
    """Record a day as it is collected: facts of the meters that share a commit, by one call. Making them is the drivers' work."""
    facts = [readings(batch) for batch in of_day]
    for name in ("record", "record again"):
        timed_all([partial(record_group, store, of_batch) for of_batch in facts], name, times)


def record_alone(store: Store, batch: Batch, times: Times) -> None:
    """Record a day of some meters with a commit each."""
    for reading in readings(batch):
        timed_all([partial(record_group, store, [reading])], "record alone", times)


def readings(batch: Batch) -> list[MeterReading]:
    said = batch.meter_days()
    return [MeterReading(meter, said.facts(row), 0) for row, meter in enumerate(batch.meters)]


def record_group(store: Store, group: Sequence[MeterReading]) -> None:
    with store.transaction():
        store.record_all(group)


def ratios(times: Times, name: str, cpu: str = "") -> list[float]:
    """Say how many times longer the rows of a day took than what of ours has a time for each of the same days."""
    return [theirs / one for theirs, one in zip(times[f"{SqliteRows.name}{cpu}"], times[f"{name}{cpu}"], strict=True)]


def main() -> None:
    """Print a table, and the figures as JSON."""
    times: Times = {}
    with tempfile.TemporaryDirectory(prefix="headend-bench-") as name:
        folder = Path(name)
        rivals: list[Rival] = [SqliteRows(folder), DuckRows(folder), DuckArrays(folder), Parquet(folder)]
        with open_store(folder / "ours.db") as store:
            empty = size(store)
            with open_store(folder / "collected.db") as collected:
                insert_all(store, collected, rivals, times)
                check_equal(collected, [], range(0, DAYS, EVERY))
            total = METERS * DAYS * len(CODES) * (DAY // PERIOD)
            sizes = {"ours": (size(store) - empty) / total}
            some = total / DAYS * len(range(0, DAYS, EVERY))
            sizes |= {rival.name: rival.size() / (some if takes_some(rival) else total) for rival in rivals}
            with StoreReader.open(store.path) as reader:
                check_equal(reader, rivals)
                read_all(reader, rivals, times)
        beside = write_beside_a_reader(folder / "beside.db")
    beside_rows = times | {key: times[key][::EVERY] for key in ("ours", "ours cpu")}
    median = {key: statistics.median(values) for key, values in times.items()}
    per_day = total / DAYS / 1e6
    print(
        f"{METERS} meters x {len(CODES)} channels x {DAY // PERIOD} slots x {DAYS} days, commit per {BATCH} meter-days\n"
    )
    print(f"{'':<28}{'insert':>10}{'size':>12}{'day':>10}{'month':>10}{'cross':>10}")
    print(f"{'':<28}{'M/s':>10}{'B/reading':>12}{'ms':>10}{'ms':>10}{'ms':>10}")
    for key in ("ours", *(rival.name for rival in rivals)):
        reads = "".join(f"{median[f'{key} {what}'] * 1e3:>10.3f}" for what in ("day", "month", "cross"))
        print(f"{key:<28}{per_day / median[key]:>10.2f}{sizes[key]:>12.2f}{reads}")
    print(
        "\nday: one meter, one day, 10 channels. month: one meter, all its days. cross: all meters, one channel, one day."
    )
    print(
        "A process that goes on knows a meter's registry entries until the store changes: day_anew_ms reads them, too."
    )
    print(
        "insert: whole days as arrays, as a gateway or a back-fill hands them in; insert_vs_row: how many times as fast as rows.\n"
        "record, record_again: the same days as facts of 50 meters in one commit, as collected; record_vs_row: the same of them."
    )
    print("Of a commit's time (commit_ms) the device alone takes device_ms.")
    print("Rows took every third day: their month is a third of the others'.\n")
    figures = {
        "insert_vs_row": statistics.median(ratios(beside_rows, "ours")),
        "insert_vs_row_cpu": statistics.median(ratios(beside_rows, "ours", " cpu")),
        "insert_vs_row_total": sum(times[SqliteRows.name]) / sum(beside_rows["ours"]),
        "record_vs_row": statistics.median(ratios(times, "record")),
        "record_vs_row_cpu": statistics.median(ratios(times, "record", " cpu")),
        "insert_vs_duckdb": median[DuckArrays.name] / median["ours"],
        "size_vs_row": sizes[SqliteRows.name] / sizes["ours"],
        "bytes_per_reading": sizes["ours"],
        "commit_ms": median["ours"] / (METERS / BATCH) * 1e3,
        "device_ms": median["device"] * 1e3,
        "insert_m_per_s": per_day / median["ours"],
        "day_ms": median["ours day"] * 1e3,
        "day_anew_ms": median["ours day anew"] * 1e3,
        "decode_ms": median["decode"] * 1e3,
        "month_ms": median["ours month"] * 1e3,
        "cross_ms": median["ours cross"] * 1e3,
        "cross_vs_duckdb": median[f"{DuckArrays.name} cross"] / median["ours cross"],
        **beside,
        "record": per_day / median["record"],
        "record_cpu": per_day / median["record cpu"],
        "record_again": per_day / median["record again"],
        "record_day_ms": median["record alone"] * 1e3,
    }
    print(json.dumps({key: round(value, 3) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
