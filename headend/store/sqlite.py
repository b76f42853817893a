"""The store's embedded engine: SQLite through APSW."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import apsw

from headend.errors import StoreError
from headend.store.engine import Bindings, Row
from headend.store.errors import RowError, is_fatal, translate
from headend.store.migrate import check_schema, shipped_scripts
from headend.store.quarantine import quarantine
from headend.store.seal import teach

OLDEST_SQLITE = (3, 51, 3)
"""First release without the WAL-reset bug of 3.7.0 to 3.51.2, which corrupts a file with two connections."""
BUSY_TIMEOUT = 5_000
"""How long to wait for another process's checkpoint or recovery. [ms]"""
CACHE_SIZE = 8_192
"""Page cache per connection. [KiB]"""
LONGEST_LOG = 16 * 2**20
"""Longest log that is left, and has to be read after an unclean end; twice what it grows to where nobody reads meanwhile. [B]"""
PATIENCE = 50
"""How long a commit that leaves a longer log waits for those who read. [ms]"""


def check_sqlite(version: str) -> None:
    """Refuse an SQLite with a known corruption bug. Raises `StoreError`."""
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        oldest = ".".join(str(part) for part in OLDEST_SQLITE)
        raise StoreError(
            f"SQLite {version} may corrupt a store that several processes use; {oldest} or newer is needed: upgrade apsw"
        )


def note_damage(error: apsw.Error, path: str) -> None:
    """Set a store apart whose file SQLite found damaged."""
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        quarantine(path, str(error))


def connect(path: str, flags: int, vfs: str | None) -> apsw.Connection:
    """Open a file as every connection of the store is opened. Raises `StoreError`."""
    check_sqlite(apsw.sqlite_lib_version())
    try:
        connection = apsw.Connection(path, flags=flags, vfs=vfs)
    except apsw.Error as error:
        raise translate(error, path) from error
    connection.set_busy_timeout(BUSY_TIMEOUT)
    teach(connection)
    return connection


def connect_reading(name: str, vfs: str | None = None) -> apsw.Connection:
    """Open an existing store's file for reading. Raises `StoreError`."""
    if not Path(name).exists():
        raise StoreError(f"{name}: there is no store here; `headend meter import` makes one")
    # A read-only connection never checkpoints, so the writer's alone moves pages from the log into the file.
    connection = connect(name, apsw.SQLITE_OPEN_READONLY, vfs)
    try:
        connection.pragma("cache_size", -CACHE_SIZE)
        version = check_schema(connection, name, max(shipped_scripts()))
    except apsw.Error as error:
        connection.close()
        raise translate(error, name) from error
    except StoreError:
        connection.close()
        raise
    if version < max(shipped_scripts()):
        connection.close()
        raise StoreError(
            f"{name}: the store has schema {version}, older than this program's; "
            "open it once for writing, for example by `headend run --once`"
        )
    return connection


class SqliteEngine:
    """An `Engine` on an open connection. ``writes``: whether damage that it meets sets the store apart."""

    def __init__(self, path: str, connection: apsw.Connection, *, writes: bool = False) -> None:
        self.path = path
        self.fault: StoreError | None = None
        self.connection = connection
        self._writes = writes
        self._bound = LONGEST_LOG

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.connection.in_transaction

    def rows(self, sql: str, bindings: Bindings = ()) -> list[Row]:
        """Run one statement and give all its rows."""
        try:
            return self.connection.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise self._translated(error) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise self._unfit(error) from error
        except UnicodeDecodeError as error:
            raise RowError(
                f"{self.path}: damaged: a text in it is none ({error.reason}); keep the file, restore a backup"
            ) from error

    def run(self, sql: str, bindings: Bindings = ()) -> None:
        """Run one statement for its effect."""
        try:
            self.connection.execute(sql, bindings)
        except apsw.Error as error:
            raise self._translated(error) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise self._unfit(error) from error

    def insert(self, sql: str, bindings: Bindings = ()) -> int:
        """Run an INSERT and give the new row's id."""
        self.run(sql, bindings)
        return self.connection.last_insert_rowid()

    def change(self, sql: str, bindings: Bindings = ()) -> int:
        """Run a statement and give the number of rows it inserted, changed or deleted."""
        self.run(sql, bindings)
        return self.connection.changes()

    def put_many(self, table: str, columns: Sequence[str], rows: Iterable[Bindings]) -> None:
        """Insert many rows, none of which is there yet."""
        marks = ", ".join("?" * len(columns))
        try:
            self.connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)  # noqa: S608  names of the schema's
        except apsw.Error as error:
            raise self._translated(error) from error

    def stamp(self) -> object:
        """Give what is another once another connection has changed the store."""
        return self.rows("PRAGMA data_version")[0][0]

    def begin(self, *, writes: bool) -> None:
        """Begin a transaction."""
        self.run("BEGIN IMMEDIATE" if writes else "BEGIN")

    def commit(self) -> None:
        """End the transaction, durable on return."""
        self.run("COMMIT")
        if self._writes:
            # It is committed; what the device does not take now stays in the log, as ever.
            with suppress(apsw.Error, OSError):
                self._bound_log()

    def rollback(self) -> None:
        """Undo the transaction."""
        self._undo("ROLLBACK")

    def begin_part(self) -> None:
        """Begin a part of the transaction."""
        self.run("SAVEPOINT inner_part")

    def end_part(self) -> None:
        """Keep the innermost part."""
        self.run("RELEASE inner_part")

    def undo_part(self) -> None:
        """Undo the innermost part."""
        self._undo("ROLLBACK TO inner_part; RELEASE inner_part")

    def highest(self, table: str, number: str) -> int:
        """Give the highest number ever given to a row of a table with AUTOINCREMENT, 0 before the first."""
        del number
        rows = self.rows("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
        return int(rows[0][0]) if rows else 0

    def keep_numbers(self) -> None:
        """Do nothing: SQLite does."""

    def crc_of(self, columns: str, function: str) -> str:
        """Write the SQL of the checksum over some columns."""
        return f"{function}({columns})"

    def structure_faults(self, most: int) -> Iterator[str]:
        """Name what SQLite finds wrong with the file's structure, and references that lead nowhere."""
        for (text,) in self.rows(f"PRAGMA integrity_check({most})"):
            yield from (f"structure: {line}" for line in str(text).splitlines() if line != "ok")
        for table, row, parent, _ in self.rows("PRAGMA foreign_key_check"):
            yield f"reference: row {row} of table {table} names a row of {parent} that is not there"

    def durability_faults(self) -> list[str]:
        """Name nothing: every setting is our own."""
        return []

    def sizes(self) -> list[tuple[str, int, int]]:
        """List the tables. Reads the whole file."""
        return [
            (table, size, unused)
            for table, size, unused in self.rows(
                "SELECT m.tbl_name, sum(s.pgsize), sum(s.unused) FROM dbstat AS s"
                " JOIN sqlite_master AS m ON m.name = s.name GROUP BY 1 ORDER BY 2 DESC, 1"
            )
        ]

    def unused_bytes(self) -> int:
        """Give what pages nobody uses take within the file. [B]"""
        (pages,), (page,) = self.rows("PRAGMA freelist_count")[0], self.rows("PRAGMA page_size")[0]
        return int(pages) * int(page)

    def close(self) -> None:
        """Close; closing twice is harmless."""
        self.connection.close()

    def _bound_log(self) -> None:
        """Begin the log anew where readers that follow each other, or one large transaction, let it grow; SQLite alone would go on."""
        size = Path(f"{self.path}-wal").stat().st_size
        if size <= self._bound:
            return
        self.connection.set_busy_timeout(PATIENCE)
        try:
            is_busy, *_ = self.connection.execute("PRAGMA wal_checkpoint(RESTART)").get
        finally:
            self.connection.set_busy_timeout(BUSY_TIMEOUT)
        # One who reads for long is not waited for at each commit.
        self._bound = size + LONGEST_LOG // 2 if is_busy else LONGEST_LOG

    def _undo(self, sql: str) -> None:
        try:
            self.connection.execute(sql)
        except apsw.Error as error:
            self.fault = translate(error, self.path)

    def _unfit(self, error: Exception) -> StoreError:
        return StoreError(f"{self.path}: a value is no text or number that can be stored ({error}); correct it")

    def _translated(self, error: apsw.Error) -> StoreError:
        if self._writes:
            note_damage(error, self.path)
        translated = translate(error, self.path)
        if is_fatal(error):
            self.fault = translated
        return translated
