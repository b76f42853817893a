"""Store: meter-day blocks against one row per reading, in SQLite, in one interleaved run.

Workload: METERS meters of ten quarter-hourly channels over DAYS days, one transaction per 50 meter-days. Load curves are
made up: consumption with noise, steady voltages, wandering currents. The last line of the output is one JSON object.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import numpy as np
import numpy.typing as npt

from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.registry.model import DAY, ChannelExpectation, Installation
from headend.store.block import Block, Channel, decode, encode
from headend.store.model import Layer
from headend.store.reader import StoreReader
from headend.store.store import Store
from kernels.quality import State

METERS, DAYS, SLOTS, PERIOD = 50, 20, 96, 900
ROW_DAYS = 4
FIRST_DAY = 20_000
ROUNDS = 5
WH = ScalerUnit(0, Unit.WATT_HOUR)
CODES = [Obis(1, 0, code, 29, 0) for code in range(1, 11)]
Counts = npt.NDArray[np.int32]


def readings(seed: int) -> Counts:
    """Make counts of shape (meter, day, channel, slot)."""
    random = np.random.default_rng(seed)
    energy = np.cumsum(random.integers(-12, 13, (METERS, DAYS, 4, SLOTS)), axis=3).clip(-200, 400) + 250
    voltage = 2_300 + random.integers(-15, 16, (METERS, DAYS, 3, SLOTS))
    current = 3_000 + np.cumsum(random.integers(-90, 91, (METERS, DAYS, 3, SLOTS)), axis=3)
    return np.concatenate([energy, voltage, current], axis=2).astype(np.int32)


def open_store(path: Path) -> Store:
    """Register the meters; their local ids are 1 to METERS."""
    store = Store.open(path, lambda: 0)
    with store.transaction():
        link = store.put_link("memory://bench")
        for number in range(1, METERS + 1):
            meter, _ = store.put_end_device(f"BENCH{number:011d}", "bench", link, str(number))
            point, _ = store.put_usage_point(f"UP{number}", "UTC")
            store.put_installation(Installation(point.id, meter.id, 0))
            store.put_expectations(
                meter.id, 0, [ChannelExpectation(meter.id, code, PERIOD, 0, WH, "push", 0) for code in CODES]
            )
    return store


def timed(work: Callable[[], object]) -> float:
    """Measure wall time. [s]"""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def insert_blocks(store: Store, counts: Counts) -> None:
    """Encode and insert ready arrays: what a bulk load does."""
    heads = [Channel(code, PERIOD, 0, WH) for code in CODES]
    for day in range(DAYS):
        with store.transaction():
            for meter in range(METERS):
                block = Block.empty(Layer.RAW, f"BENCH{meter + 1:011d}", FIRST_DAY + day, heads)
                block.values[:] = counts[meter, day].reshape(-1)
                block.state[:] = State.MEASURED
                store._put_block(block, meter + 1)  # noqa: SLF001  measures the layer below `record`


def insert_rows(path: Path, counts: Counts) -> None:
    """Insert one row per reading, as most systems do."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE reading (meter INTEGER, channel INTEGER, at INTEGER, value INTEGER, state INTEGER,"
        " PRIMARY KEY (meter, channel, at)) STRICT, WITHOUT ROWID"
    )
    for day in range(ROW_DAYS):
        start = (FIRST_DAY + day) * DAY
        with connection:
            for meter in range(METERS):
                connection.executemany(
                    "INSERT INTO reading VALUES (?, ?, ?, ?, 2)",
                    (
                        (meter, channel, start + slot * PERIOD, value)
                        for channel, row in enumerate(counts[meter, day].tolist())
                        for slot, value in enumerate(row)
                    ),
                )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def facts_of(counts: Counts) -> list[list[list[IntervalBlock]]]:
    """Make the facts a driver would hand over, by day and meter."""
    return [
        [
            [
                IntervalBlock(code, WH, (FIRST_DAY + day) * DAY, PERIOD, tuple(row))
                for code, row in zip(CODES, counts[meter, day].tolist(), strict=True)
            ]
            for meter in range(METERS)
        ]
        for day in range(DAYS)
    ]


def record_facts(store: Store, facts: list[list[list[IntervalBlock]]]) -> None:
    """Record facts: merge, change log and all."""
    for day in facts:
        with store.transaction():
            for number, said in enumerate(day, 1):
                store.record(number, said, 0)


def size(store: Store) -> int:
    """Give the file's size with everything in it. [B]"""
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # noqa: SLF001
    return Path(store.path).stat().st_size


def one_round(folder: Path, seed: int) -> dict[str, float]:
    """Measure everything once."""
    counts = readings(seed)
    facts = facts_of(counts)
    total = counts.size
    found: dict[str, float] = {}
    with open_store(folder / "blocks.db") as store:
        empty = size(store)
        found["block_insert"] = total / timed(lambda: insert_blocks(store, counts)) / 1e6
        found["block_bytes"] = (size(store) - empty) / total
    rows = ROW_DAYS * METERS * len(CODES) * SLOTS
    found["row_insert"] = rows / timed(lambda: insert_rows(folder / "rows.db", counts)) / 1e6
    found["row_bytes"] = (folder / "rows.db").stat().st_size / rows
    with open_store(folder / "facts.db") as store:
        found["record"] = total / timed(lambda: record_facts(store, facts)) / 1e6
        found["record_again"] = total / timed(lambda: record_facts(store, facts)) / 1e6
        found["record_bytes"] = (size(store) - empty) / total
        found["record_day_ms"] = (
            statistics.median(
                timed(lambda number=number, said=said: commit_one(store, number, said))  # type: ignore[misc]
                for number, said in enumerate(facts[0], 1)
            )
            * 1e3
        )
    with StoreReader.open(folder / "facts.db") as reader:
        start = FIRST_DAY * DAY
        found["read_day_ms"] = timed(lambda: [reader.raw_series(7, code, start, start + DAY) for code in CODES]) * 1e3
        found["read_channel_days_ms"] = timed(lambda: reader.raw_series(7, CODES[0], start, start + DAYS * DAY)) * 1e3
    block = Block.empty(Layer.RAW, "BENCH00000000001", FIRST_DAY, [Channel(code, PERIOD, 0, WH) for code in CODES])
    block.values[:], block.state[:] = counts[0, 0].reshape(-1), State.MEASURED
    data = encode(block)
    found["encode_us"] = timed(lambda: [encode(block) for _ in range(1_000)]) * 1e3
    found["decode_us"] = timed(lambda: [decode(data) for _ in range(1_000)]) * 1e3
    for file in folder.iterdir():
        file.unlink()
    return found


def commit_one(store: Store, number: int, facts: list[IntervalBlock]) -> None:
    """Record one new meter-day in a transaction of its own, one year on."""
    later = [IntervalBlock(fact.obis, WH, fact.start + 365 * DAY, PERIOD, fact.counts) for fact in facts]
    with store.transaction():
        store.record(number, later, 0)


LABELS = {
    "block_insert": ("meter-day blocks, encode and insert, commit of 50", "M readings/s"),
    "row_insert": ("one row per reading, commit of 48,000", "M readings/s"),
    "record": ("record(): facts merged, with change log", "M readings/s"),
    "record_again": ("record() of the same again", "M readings/s"),
    "block_bytes": ("meter-day blocks", "B/reading"),
    "record_bytes": ("meter-day blocks with change log", "B/reading"),
    "row_bytes": ("one row per reading", "B/reading"),
    "record_day_ms": ("record() of one meter-day, durable", "ms"),
    "read_day_ms": ("read 1 meter, 1 day, 10 channels, one by one", "ms"),
    "read_channel_days_ms": (f"read 1 meter, 1 channel, {DAYS} days", "ms"),
    "encode_us": ("encode one meter-day of 960 readings", "us"),
    "decode_us": ("decode and check it", "us"),
}


def main() -> None:
    """Print a table, and the figures as JSON."""
    with tempfile.TemporaryDirectory(prefix="headend-bench-") as folder:
        rounds = [one_round(Path(folder), seed) for seed in range(ROUNDS)]
    figures = {key: round(statistics.median(found[key] for found in rounds), 3) for key in LABELS}
    figures["insert_ratio"] = round(
        statistics.median(found["block_insert"] / found["row_insert"] for found in rounds), 1
    )
    figures["bytes_ratio"] = round(figures["row_bytes"] / figures["record_bytes"], 1)
    print(f"{METERS} meters x {len(CODES)} channels x {SLOTS} slots x {DAYS} days, median of {ROUNDS} rounds, FULL\n")
    for key, (label, unit) in LABELS.items():
        print(f"{label:<52}{figures[key]:>12.3f} {unit}")
    print(f"{'blocks against rows: insert':<52}{figures['insert_ratio']:>12.1f} x")
    print(f"{'blocks against rows: bytes':<52}{figures['bytes_ratio']:>12.1f} x less\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
