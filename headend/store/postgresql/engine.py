"""The store's engine for a PostgreSQL server, over pg8000 (docs/decisions/postgresql.md)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pg8000.core import CoreConnection
from pg8000.exceptions import Error

from headend.errors import StoreError
from headend.store.engine import Bindings, Row
from headend.store.errors import StoreUnavailable
from headend.store.postgresql.copying import copied
from headend.store.postgresql.dialect import returning, to_wire, translated
from headend.store.postgresql.errors import is_fatal, translate
from headend.store.seal import damaged, row_crc

T = TypeVar("T")
_NEWEST = "(SELECT 'change_log', max(seq) FROM change_log UNION ALL SELECT 'audit', max(id) FROM audit) AS newest (name, number)"
_KEEP_NUMBERS = (
    f"INSERT INTO numbering (name, given) SELECT name, number FROM {_NEWEST} LEFT JOIN numbering USING (name)"  # noqa: S608  constants
    " WHERE number > coalesce(given, 0) ON CONFLICT (name) DO UPDATE SET given = excluded.given"
)
_UNNOTED = f"SELECT name, number, given FROM {_NEWEST} LEFT JOIN numbering USING (name) WHERE number > coalesce(given, 0) ORDER BY 1"  # noqa: S608  constants
MAX_PREPARED = 500
"""Most statements that are kept parsed; those that ask for a number of keys are one for each number."""


class PostgresEngine:
    """An `Engine` on an open connection. Each statement is parsed once, in the rule."""

    def __init__(self, path: str, connection: CoreConnection) -> None:
        self.path = path
        self.fault: StoreError | None = None
        self._connection = connection
        self._prepared: dict[str, tuple[Any, Any, Any]] = {}
        self._is_open = False
        self._has_failed = False
        self._is_closed = False

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, failed or not; one whose connection is gone is over."""
        return self._is_open and self.fault is None

    @property
    def is_usable(self) -> bool:
        """Whether the connection is still good for anything."""
        return self.fault is None and not self._is_closed

    def rows(self, sql: str, bindings: Bindings = ()) -> list[Row]:
        """Run one statement and give all its rows."""
        return [tuple(row) for row in self._execute(sql, bindings).rows or ()]

    def run(self, sql: str, bindings: Bindings = ()) -> None:
        """Run one statement for its effect."""
        self._execute(sql, bindings)

    def insert(self, sql: str, bindings: Bindings = ()) -> int:
        """Run an INSERT and give the new row's id."""
        return int(self._execute(returning(sql), bindings).rows[0][0])

    def change(self, sql: str, bindings: Bindings = ()) -> int:
        """Run a statement and give the number of rows it inserted, changed or deleted."""
        return int(self._execute(sql, bindings).row_count)

    def script(self, sql: str) -> None:
        """Run several statements, as they stand."""
        self._guarded(lambda: self._connection.execute_simple(sql))

    def put_many(self, table: str, columns: Sequence[str], rows: Iterable[Bindings]) -> None:
        """Insert many rows by COPY, none of which is there yet."""
        # Made first: an error half-way would leave the server waiting for the rest.
        chunks = list(copied(rows))
        sql = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
        self._guarded(lambda: self._connection.execute_unnamed(sql, stream=chunks))

    def stamp(self) -> object:
        """Give what is another once any transaction of the server has changed anything."""
        return self.rows("SELECT CAST(pg_current_snapshot() AS TEXT)")[0][0]

    def begin(self, *, writes: bool) -> None:
        """Begin a transaction; one that only reads sees the store as it was at its first statement."""
        self.run(
            "BEGIN ISOLATION LEVEL READ COMMITTED" if writes else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        )
        self._is_open, self._has_failed = True, False

    def commit(self) -> None:
        """End the transaction, durable on return.

        Where the connection is lost meanwhile, nobody knows whether it was kept: the caller reads again.
        """
        if self._has_failed:  # the server would undo it, and say nothing
            raise StoreError(f"{self.path}: a statement of this transaction failed, so nothing of it is kept")
        self.run("COMMIT")
        self._is_open = False

    def rollback(self) -> None:
        """Undo the transaction."""
        with suppress(StoreError):
            self.run("ROLLBACK")
        self._is_open = self._has_failed = False

    def begin_part(self) -> None:
        """Begin a part of the transaction."""
        self.run("SAVEPOINT inner_part")

    def end_part(self) -> None:
        """Keep the innermost part."""
        self.run("RELEASE inner_part")

    def undo_part(self) -> None:
        """Undo the innermost part."""
        try:
            self.run("ROLLBACK TO inner_part")
            self._has_failed = False
            self.run("RELEASE inner_part")
        except StoreError as error:
            self.fault = self.fault or error

    def highest(self, table: str, number: str) -> int:
        """Give the highest number ever given in a table: that of its newest row, or one noted in ``numbering``; 0 before the first."""
        query = f"SELECT (SELECT max({number}) FROM {table}), given, crc FROM (SELECT) AS one LEFT JOIN numbering ON name = ?"  # noqa: S608  names of the schema's
        ((newest, given, crc),) = self.rows(query, (table,))
        if given is not None and row_crc(table, given) != crc:
            raise damaged(self.path, "numbering", table)
        return max(newest or 0, given or 0)

    def keep_numbers(self) -> None:
        """Note the newest rows' numbers in ``numbering``, where they are not yet; of a transaction that has failed nothing is kept."""
        if not self._has_failed:
            self.run(_KEEP_NUMBERS)

    def crc_of(self, columns: str, function: str) -> str:
        """Write the SQL of the checksum over some columns."""
        if function != "row_crc":
            return f"{function}({columns})"
        parts = (
            f"({name})::INTEGER::BIGINT" if name.endswith(" IS NULL") else '"' + name.strip('"') + '"'
            for name in columns.split(", ")
        )
        return f"checksum({' || '.join(f'seal_part({part})' for part in parts)})"

    def structure_faults(self, most: int) -> Iterator[str]:
        """Name numbers given that were not noted. The server keeps references itself, and its own tools look at its files (pg_amcheck)."""
        del most
        for table, newest, given in self.rows(_UNNOTED):
            yield f"numbering: the newest number of {table} is {newest}, noted is {given}: the note was removed or put back"

    def durability_faults(self) -> list[str]:
        """Name the server's settings that are off and must not be; ``synchronous_commit`` is the session's own."""
        return [
            f"{name} is off"
            for name in ("fsync", "full_page_writes")
            if self.rows("SELECT current_setting(?)", (name,)) == [("off",)]
        ]

    def sizes(self) -> list[tuple[str, int, int]]:
        """List the tables; what is unused is the server's estimate of rows that are dead."""
        return self.rows(
            "SELECT relname::TEXT, size, CASE WHEN dead = 0 THEN 0 ELSE size * dead / (live + dead) END FROM"
            " (SELECT relname, pg_total_relation_size(relid) AS size, n_dead_tup AS dead, n_live_tup AS live"
            " FROM pg_stat_user_tables WHERE schemaname = current_schema()) AS t ORDER BY size DESC, relname"
        )

    def unused_bytes(self) -> int:
        """Give 0: the server has no room between tables. [B]"""
        return 0

    def close(self) -> None:
        """Close; closing twice is harmless. The writer's lock goes with the connection."""
        if not self._is_closed:
            self._is_closed = True
            with suppress(Error, OSError):
                self._connection.close()

    def _execute(self, sql: str, bindings: Bindings) -> Any:
        try:
            values = to_wire(bindings)
        except UnicodeEncodeError as error:  # before anything is sent: the connection stays good
            raise StoreError(f"{self.path}: a value is no text that can be stored ({error}); correct it") from error

        def work() -> Any:
            statement = self._prepared.get(sql)
            if statement is None:
                if len(self._prepared) >= MAX_PREPARED:
                    self._connection.execute_simple("DEALLOCATE ALL")
                    self._prepared.clear()
                statement = self._prepared[sql] = self._connection.prepare_statement(translated(sql), ())
            name, columns, converters = statement
            return self._connection.execute_named(name, values, columns, converters, sql)

        return self._guarded(work)

    def _guarded(self, work: Callable[[], T]) -> T:
        if not self.is_usable:
            raise StoreUnavailable(f"refused after an earlier failure: {self.fault or 'the connection is closed'}")
        try:
            return work()
        except (Error, OSError) as error:
            self._has_failed = True
            translated_error = translate(error, self.path)
            if is_fatal(error):
                self.fault = translated_error
            raise translated_error from error
        except BaseException as error:
            # Cut off amid an answer: the next one would be taken for it.
            self.fault = StoreUnavailable(f"{self.path}: a statement was interrupted ({type(error).__name__})")
            raise
