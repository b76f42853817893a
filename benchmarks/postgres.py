"""PostgreSQL: meter-day blocks by COPY against one row per reading by COPY and by INSERT, in one interleaved run on one server.

Workload: `METERS` meters of ten quarter-hourly channels; fsync, full_page_writes and synchronous_commit
are on, and each way commits the same readings at once. Blocks come with encoding, checksum and change log. The server is the
benchmark's own. The last line of the output is one JSON object.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import numpy.typing as npt

from benchmarks.servers import postgres_server
from benchmarks.store_workload import CODES, FIRST_DAY, HEADS, PERIOD, WH, open_store
from benchmarks.workload import SLOTS
from drivers.facts import IntervalBlock
from headend.registry.model import DAY
from headend.store.meterdays import MeterDays
from headend.store.postgresql.connect import connect_writing
from headend.store.postgresql.copying import CHUNK
from headend.store.postgresql.engine import PostgresEngine
from headend.store.store import Store
from kernels.quality import State
from tests.postgres import Postgres

METERS = 200
DAYS = 10
ROW_DAYS = 2
ROUNDS = 5
Counts = npt.NDArray[np.int32]


def readings(seed: int) -> Counts:
    """Make counts of shape (meter, day, channel, slot): consumption with noise, steady voltages, wandering currents."""
    random = np.random.default_rng(seed)
    energy = np.cumsum(random.integers(-12, 13, (METERS, DAYS, 4, SLOTS)), axis=3).clip(-200, 400) + 250
    voltage = 2_300 + random.integers(-15, 16, (METERS, DAYS, 3, SLOTS))
    current = 3_000 + np.cumsum(random.integers(-90, 91, (METERS, DAYS, 3, SLOTS)), axis=3)
    return np.concatenate([energy, voltage, current], axis=2).astype(np.int32)


def timed(work: Callable[[], object]) -> float:
    """Measure wall time. [s]"""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def load_days(store: Store, counts: Counts, days: range) -> None:
    """Encode ready arrays and COPY them, a day of all meters in one transaction."""
    for day in days:
        values = np.ascontiguousarray(counts[:, day].reshape(METERS, -1))
        with store.transaction():
            store.record_days(MeterDays(FIRST_DAY + day, range(1, METERS + 1), HEADS, values), 0)


# As narrow as the values allow, and in the order that needs no padding.
TABLE = "(at BIGINT, meter INTEGER, value INTEGER, channel SMALLINT, state SMALLINT, PRIMARY KEY (meter, channel, at))"
COLUMNS = ("at", "meter", "value", "channel", "state")
_ROW = np.dtype([
    ("fields", ">i2"), ("at_size", ">i4"), ("at", ">i8"), ("meter_size", ">i4"), ("meter", ">i4"), ("value_size", ">i4"),
    ("value", ">i4"), ("channel_size", ">i4"), ("channel", ">i2"), ("state_size", ">i4"), ("state", ">i2"),
])  # fmt: skip
"""A row of PostgreSQL's binary COPY format."""


def rows_of(counts: Counts, day: int) -> npt.NDArray[np.void]:
    """Make one row per reading of a day, as COPY takes it."""
    rows = np.zeros((METERS, len(CODES), SLOTS), _ROW)
    rows["fields"], rows["state"] = len(COLUMNS), State.MEASURED
    for name in COLUMNS:
        rows[f"{name}_size"] = _ROW[name].itemsize
    rows["meter"] = np.arange(METERS)[:, None, None]
    rows["channel"] = np.arange(len(CODES))[:, None]
    rows["at"] = (FIRST_DAY + day) * DAY + np.arange(SLOTS) * PERIOD
    rows["value"] = counts[:, day]
    return rows.reshape(-1)


def copy_rows(engine: PostgresEngine, rows: Sequence[npt.NDArray[np.void]]) -> None:
    """COPY one row per reading, a day of all meters in one transaction. The octets are made as fast as a client can."""
    for day in rows:
        octets = memoryview(b"PGCOPY\n\xff\r\n\0" + bytes(8) + day.tobytes() + b"\xff\xff")
        chunks = [bytes(octets[first : first + CHUNK]) for first in range(0, len(octets), CHUNK)]
        engine.begin(writes=True)
        engine._connection.execute_unnamed(  # noqa: SLF001  narrower columns than the store's
            f"COPY by_copy ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)", stream=chunks
        )
        engine.commit()


def insert_rows(engine: PostgresEngine, rows: Sequence[npt.NDArray[np.void]]) -> None:
    """INSERT one row per reading, 1,000 to a statement, a day of all meters in one transaction."""
    for day in rows:
        values = list(map(str, day[list(COLUMNS)].tolist()))
        engine.begin(writes=True)
        for first in range(0, len(values), 1_000):
            engine.script(
                f"INSERT INTO by_insert ({', '.join(COLUMNS)}) VALUES {', '.join(values[first : first + 1_000])}"
            )
        engine.commit()


def size(engine: PostgresEngine, *tables: str) -> int:
    """Give what tables take with their indexes. [B]"""
    return sum(int(engine.rows(f"SELECT pg_total_relation_size('{table}')")[0][0]) for table in tables)


def record_facts(store: Store, facts: list[tuple[int, list[IntervalBlock]]]) -> None:
    """Record facts as the collector does, 50 meters to a transaction."""
    for first in range(0, len(facts), 50):
        with store.transaction():
            for number, said in facts[first : first + 50]:
                store.record(number, said, 0)


def one_round(server: Postgres, seed: int) -> dict[str, float]:
    """Measure everything once; each way begins behind a checkpoint."""
    counts = readings(seed)
    total, row_total = counts.size, ROW_DAYS * METERS * len(CODES) * SLOTS
    rows = [rows_of(counts, day) for day in range(ROW_DAYS)]
    found: dict[str, float] = {}
    with open_store(server.place(), METERS) as store:
        load_days(store, counts, range(-1, 0))  # the writer knows its registry by then, as it does in service
        engine = store._engine  # noqa: SLF001  measures the layer below
        assert isinstance(engine, PostgresEngine)
        assert not store.durability_faults()
        assert engine.rows("SELECT current_setting('synchronous_commit')") == [("on",)]
        empty = size(engine, "raw", "change_log")
        engine.script("CHECKPOINT")
        found["block_copy"] = total / timed(lambda: load_days(store, counts, range(DAYS))) / 1e6
        found["block_bytes"] = (size(engine, "raw", "change_log") - empty) / total
        later = [
            (
                meter + 1,
                [
                    IntervalBlock(code, WH, (FIRST_DAY + 365) * DAY, PERIOD, tuple(row))
                    for code, row in zip(CODES, counts[meter, 0].tolist(), strict=True)
                ],
            )
            for meter in range(METERS)
        ]
        engine.script("CHECKPOINT")
        found["record"] = counts[:, 0].size / timed(lambda: record_facts(store, later)) / 1e6
        start = FIRST_DAY * DAY
        found["read_day_ms"] = timed(lambda: [store.raw_series(7, code, start, start + DAY) for code in CODES]) * 1e3
        day = f"to_timestamp({start}), to_timestamp({start + DAY})"
        engine.rows(f"SELECT count(*) FROM reading('BENCH00000000007', {day})")
        sql = timed(lambda: engine.rows(f"SELECT sum(value) FROM reading('BENCH00000000008', {day})"))
        found["sql_day_ms"] = sql * 1e3
    other = connect_writing(server.place())
    for name in ("by_copy", "by_insert"):
        other.script(f"CREATE TABLE {name} {TABLE}")
    other.script("CHECKPOINT")
    found["row_copy"] = row_total / timed(lambda: copy_rows(other, rows)) / 1e6
    other.script("CHECKPOINT")
    found["row_insert"] = row_total / timed(lambda: insert_rows(other, rows)) / 1e6
    found["row_bytes"] = size(other, "by_copy") / row_total
    other.script("DROP TABLE by_copy, by_insert")
    other.close()
    return found


LABELS = {
    "block_copy": (f"meter-day blocks by COPY, encoded, with change log, commit of {METERS}", "M readings/s"),
    "row_copy": ("one row per reading by COPY, the same commit", "M readings/s"),
    "row_insert": ("one row per reading by INSERT of 1,000, the same commit", "M readings/s"),
    "record": ("record(): facts merged, with change log, commit of 50", "M readings/s"),
    "block_bytes": ("meter-day blocks with change log", "B/reading"),
    "row_bytes": ("one row per reading", "B/reading"),
    "read_day_ms": ("read 1 meter, 1 day, 10 channels, one by one", "ms"),
    "sql_day_ms": ("the same 960 readings as rows, by function reading()", "ms"),
}


def main() -> None:
    """Print a table, and the figures as JSON."""
    with (
        tempfile.TemporaryDirectory(prefix="headend-bench-") as folder,
        postgres_server(Path(folder), fsync=True) as server,
    ):
        rounds = [one_round(server, seed) for seed in range(ROUNDS)]
    figures = {key: round(statistics.median(found[key] for found in rounds), 3) for key in LABELS}
    for ratio, rival in (("insert_vs_row_copy", "row_copy"), ("insert_vs_row_insert", "row_insert")):
        figures[ratio] = round(statistics.median(found["block_copy"] / found[rival] for found in rounds), 1)
    figures["size_vs_row"] = round(figures["row_bytes"] / figures["block_bytes"], 1)
    print(
        f"{METERS} meters x {len(CODES)} channels x {SLOTS} slots x {DAYS} days, median of {ROUNDS} rounds, fsync on\n"
    )
    for key, (label, unit) in LABELS.items():
        print(f"{label:<78}{figures[key]:>10.3f} {unit}")
    print(f"{'blocks against rows: insert, both by COPY':<78}{figures['insert_vs_row_copy']:>10.1f} x")
    print(f"{'blocks against rows: insert, rows by INSERT':<78}{figures['insert_vs_row_insert']:>10.1f} x")
    print(f"{'blocks against rows: bytes':<78}{figures['size_vs_row']:>10.1f} x less\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
