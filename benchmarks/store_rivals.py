"""Other ways of storing the same readings, each as its own practice has it. Every commit is durable where the rival can.

A rival takes batches of a collection round, and gives back a meter's day (channels, slots), a meter's days, and one channel of all
meters for a day (meters, slots), as whatever its client gives fastest, and as arrays to be compared.
"""

import os
from pathlib import Path
from typing import Any, Protocol

import apsw
import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.store_workload import METERS, PERIOD, Batch
from benchmarks.workload import CHANNELS, SLOTS
from headend.registry.model import DAY
from headend.store.store import PAGE_SIZE

MISSING = -1
"""What stands for no value where answers are compared; the workload has no negative readings."""
Counts = npt.NDArray[np.int32]


class Rival(Protocol):
    """What the benchmark does with each."""

    name: str

    def insert(self, batch: Batch) -> None:
        """Store a batch in one transaction."""

    def finish(self) -> None:
        """End inserting: what belongs to it and is not done batch by batch."""

    def size(self) -> int:
        """Give the bytes on disk."""

    def day(self, meter: int, day: int) -> Any:
        """Read all channels of one meter for one day."""

    def month(self, meter: int) -> Any:
        """Read all channels of one meter for all days."""

    def cross(self, channel: int, day: int) -> Any:
        """Read one channel of all meters for one day."""

    def comparable(self, cross: Any) -> Counts:
        """Give what ``cross`` gave as an array of shape (meters, SLOTS), `MISSING` where there is no value."""


class SqliteRows:
    """One row per reading: a table without rowid under (meter, channel, instant), WAL, FULL, pages as large as the store's."""

    name = "SQLite, row per reading"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "rows.db"
        self._store = apsw.Connection(str(self._path))
        self._store.pragma("page_size", PAGE_SIZE)
        self._store.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536")
        self._store.execute(
            "CREATE TABLE reading (meter INTEGER, channel INTEGER, at INTEGER, value INTEGER, state INTEGER,"
            " PRIMARY KEY (meter, channel, at)) STRICT, WITHOUT ROWID"
        )

    def insert(self, batch: Batch) -> None:
        instants = range(batch.day * DAY, (batch.day + 1) * DAY, PERIOD)
        with self._store:
            self._store.executemany(
                "INSERT INTO reading VALUES (?, ?, ?, ?, 2)",
                (
                    (meter, channel, at, value)
                    for meter, of_meter, held in zip(
                        batch.meters, batch.values.tolist(), batch.has_value.tolist(), strict=True
                    )
                    for channel, (row, has) in enumerate(zip(of_meter, held, strict=True))
                    for at, value, here in zip(instants, row, has, strict=True)
                    if here
                ),
            )

    def finish(self) -> None:
        self._store.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self) -> int:
        return self._path.stat().st_size

    def day(self, meter: int, day: int) -> Any:
        channels = ", ".join(map(str, range(CHANNELS)))
        return self._store.execute(
            "SELECT channel, at, value, state FROM reading"
            f" WHERE meter = ? AND channel IN ({channels}) AND at >= ? AND at < ?",
            (meter, day * DAY, (day + 1) * DAY),
        ).fetchall()

    def month(self, meter: int) -> Any:
        return self._store.execute("SELECT channel, at, value, state FROM reading WHERE meter = ?", (meter,)).fetchall()

    def cross(self, channel: int, day: int) -> Any:
        return self._store.execute(
            "WITH RECURSIVE m (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM m WHERE id < ?1)"
            " SELECT meter, at, value FROM m CROSS JOIN reading ON meter = id AND channel = ?2 AND at >= ?3 AND at < ?4",
            (METERS, channel, day * DAY, (day + 1) * DAY),
        ).fetchall()

    def comparable(self, cross: Any) -> Counts:
        found = np.full((METERS, SLOTS), MISSING, np.int32)
        for meter, at, value in cross:
            found[meter - 1, at % DAY // PERIOD] = value
        return found


class DuckDB:
    """What the two ways of DuckDB share. It has one process at a time; a second one is refused while it writes."""

    table = ""
    insertion = "INSERT INTO reading SELECT * FROM batch"

    def __init__(self, folder: Path, file: str) -> None:
        self._path = folder / file
        self._store = duckdb.connect(str(self._path))
        self._store.execute(self.table)

    def _insert(self, batch: pa.Table) -> None:
        self._store.register("batch", batch)
        self._store.execute("BEGIN")
        self._store.execute(self.insertion)
        self._store.execute("COMMIT")

    def finish(self) -> None:
        self._store.execute("CHECKPOINT")

    def size(self) -> int:
        return self._path.stat().st_size

    def _arrow(self, sql: str) -> pa.Table:
        return self._store.sql(sql).to_arrow_table()


class DuckRows(DuckDB):
    """One row per reading, inserted from Arrow."""

    name = "DuckDB, row per reading"
    table = "CREATE TABLE reading (day INTEGER, meter INTEGER, channel TINYINT, slot TINYINT, value INTEGER)"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "rows.duckdb")

    def insert(self, batch: Batch) -> None:
        meter, channel, slot = np.nonzero(batch.has_value)
        self._insert(
            pa.table({
                "day": np.full(len(meter), batch.day, np.int32), "meter": (meter + batch.meters.start).astype(np.int32),
                "channel": channel.astype(np.int8), "slot": slot.astype(np.int8), "value": batch.values[batch.has_value],
            })
        )  # fmt: skip

    def day(self, meter: int, day: int) -> Any:
        return self._arrow(f"SELECT channel, slot, value FROM reading WHERE day = {day} AND meter = {meter}")

    def month(self, meter: int) -> Any:
        return self._arrow(f"SELECT day, channel, slot, value FROM reading WHERE meter = {meter}")

    def cross(self, channel: int, day: int) -> Any:
        return self._arrow(f"SELECT meter, slot, value FROM reading WHERE day = {day} AND channel = {channel}")

    def comparable(self, cross: Any) -> Counts:
        found = np.full((METERS, SLOTS), MISSING, np.int32)
        found[cross["meter"].to_numpy() - 1, cross["slot"].to_numpy()] = cross["value"].to_numpy()
        return found


class DuckArrays(DuckDB):
    """A channel's day as one INTEGER[96], inserted from Arrow."""

    name = "DuckDB, int[96]"
    table = f"CREATE TABLE reading (day INTEGER, meter INTEGER, channel TINYINT, counts INTEGER[{SLOTS}])"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "arrays.duckdb")

    def insert(self, batch: Batch) -> None:
        rows = len(batch.meters) * CHANNELS
        values = pa.array(batch.values.reshape(-1), mask=~batch.has_value.reshape(-1))
        self._insert(
            pa.table({
                "day": np.full(rows, batch.day, np.int32), "meter": np.repeat(np.array(batch.meters, np.int32), CHANNELS),
                "channel": np.tile(np.arange(CHANNELS, dtype=np.int8), len(batch.meters)),
                "counts": pa.FixedSizeListArray.from_arrays(values, SLOTS),
            })
        )  # fmt: skip

    def day(self, meter: int, day: int) -> Any:
        return self._arrow(f"SELECT channel, counts FROM reading WHERE day = {day} AND meter = {meter}")

    def month(self, meter: int) -> Any:
        return self._arrow(f"SELECT day, channel, counts FROM reading WHERE meter = {meter}")

    def cross(self, channel: int, day: int) -> Any:
        return self._arrow(f"SELECT meter, counts FROM reading WHERE day = {day} AND channel = {channel}")

    def comparable(self, cross: Any) -> Counts:
        found = np.full((METERS, SLOTS), MISSING, np.int32)
        counts = cross["counts"].combine_chunks().flatten().fill_null(MISSING).to_numpy()
        found[cross["meter"].to_numpy() - 1] = counts.reshape(-1, SLOTS)
        return found


class Parquet:
    """A file per batch, synced and renamed, wide rows of all channels; at the end one file per day with a row group per batch."""

    name = "Parquet, zstd"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "parquet"
        self._folder.mkdir()
        self._days: dict[int, list[Path]] = {}

    def insert(self, batch: Batch) -> None:
        cells = len(batch.meters) * SLOTS
        columns: dict[str, Any] = {
            "meter": np.repeat(np.array(batch.meters, np.int32), SLOTS),
            "slot": np.tile(np.arange(SLOTS, dtype=np.int8), len(batch.meters)),
        }
        for channel in range(CHANNELS):
            gone = ~batch.has_value[:, channel].reshape(cells)
            columns[f"c{channel}"] = pa.array(batch.values[:, channel].reshape(cells), mask=gone)
        path = self._folder / f"{batch.day}-{batch.meters.start}.parquet"
        self._write(path, [pa.table(columns)])
        self._days.setdefault(batch.day, []).append(path)

    def _write(self, path: Path, tables: list[pa.Table]) -> None:
        temporary = path.with_suffix(".tmp")
        encoding = {f"c{channel}": "DELTA_BINARY_PACKED" for channel in range(CHANNELS)}
        with pq.ParquetWriter(
            temporary, tables[0].schema, compression="zstd", use_dictionary=["meter", "slot"], column_encoding=encoding
        ) as writer:
            for table in tables:
                writer.write_table(table)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(path)

    def finish(self) -> None:
        for day, paths in self._days.items():
            self._write(self._folder / f"{day}.parquet", [pq.read_table(path) for path in paths])
            for path in paths:
                path.unlink()

    def size(self) -> int:
        return sum(path.stat().st_size for path in self._folder.iterdir())

    def _read(self, day: int, columns: list[str] | None, meter: int | None = None) -> pa.Table:
        filters = None if meter is None else [("meter", "==", meter)]
        return pq.read_table(self._folder / f"{day}.parquet", columns=columns, filters=filters)

    def day(self, meter: int, day: int) -> Any:
        return self._read(day, None, meter)

    def month(self, meter: int) -> Any:
        return [self._read(day, None, meter) for day in self._days]

    def cross(self, channel: int, day: int) -> Any:
        return self._read(day, ["meter", "slot", f"c{channel}"])

    def comparable(self, cross: Any) -> Counts:
        found = np.full((METERS, SLOTS), MISSING, np.int32)
        values = cross.column(2).combine_chunks().fill_null(MISSING).to_numpy()
        found[cross["meter"].to_numpy() - 1, cross["slot"].to_numpy()] = values
        return found
