"""The connection under the store: pragmas, transactions, and what happens when the device fails."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw

from drivers.facts import UtcSeconds
from headend.errors import StoreError
from headend.store.errors import is_fatal, translate
from headend.store.migrate import check_schema, shipped_scripts
from headend.store.quarantine import quarantine
from headend.store.seal import teach, unsealed

OLDEST_SQLITE = (3, 51, 3)
"""First release without the WAL-reset bug of 3.7.0 to 3.51.2, which corrupts a file with two connections."""
BUSY_TIMEOUT = 5_000
"""How long to wait for another process's checkpoint or recovery. [ms]"""
CACHE_SIZE = 8_192
"""Page cache per connection. [KiB]"""
PAGES_AT_ONCE = 512
"""Pages copied in one turn."""

Bindings = Sequence[Any]


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


class Database:
    """One connection. Used by one thread at a time; each reading thread opens its own reader."""

    def __init__(self, path: str, connection: apsw.Connection) -> None:
        self.path = path
        self._connection = connection
        self._fault: str | None = None

    @classmethod
    def _connect(cls, path: str, flags: int, vfs: str | None) -> apsw.Connection:
        check_sqlite(apsw.sqlite_lib_version())
        try:
            connection = apsw.Connection(path, flags=flags, vfs=vfs)
        except apsw.Error as error:
            raise translate(error, path) from error
        connection.set_busy_timeout(BUSY_TIMEOUT)
        teach(connection)
        return connection

    @classmethod
    def _open_reading(cls, path: str | Path, vfs: str | None = None) -> apsw.Connection:
        name = str(path)
        if not Path(name).exists():
            raise StoreError(f"{name}: there is no store here; `headend meter import` makes one")
        # A read-only connection never checkpoints, so the writer's alone moves pages from the log into the file.
        connection = cls._connect(name, apsw.SQLITE_OPEN_READONLY, vfs)
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

    def __enter__(self) -> Self:
        """Give the store itself; leaving closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close; closing twice is harmless."""
        self._connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Hold one view of the store: what others commit meanwhile stays unseen. Nests, also within a transaction."""
        if self._connection.in_transaction:
            yield
            return
        self._run("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._run("ROLLBACK")

    def copy_to(self, path: Path) -> None:
        """Copy the store as it is now into a new file, while others go on writing it. Raises `StoreError`."""
        path.unlink(missing_ok=True)
        path.touch(0o600, exist_ok=False)
        with self.snapshot():
            self._rows("SELECT count(*) FROM sqlite_master")  # from here on the copy's view is fixed
            try:
                with closing(apsw.Connection(str(path))) as copy:
                    copy.execute(
                        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF"
                    )  # it is thrown away if cut short
                    with copy.backup("main", self._connection, "main") as backup:
                        while not backup.done:
                            backup.step(PAGES_AT_ONCE)
                    verdict = copy.pragma("quick_check")
            except apsw.Error as error:
                raise translate(error, str(path)) from error
        if verdict != "ok":
            raise StoreError(f"{self.path}: damaged ({verdict}); `headend store check` names what is wrong")

    def _rows(self, sql: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        """Run one statement and give all its rows."""
        self._check_usable()
        try:
            return self._connection.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise self._translated(error) from error
        except UnicodeDecodeError as error:
            raise StoreError(
                f"{self.path}: damaged: a text in it is none ({error.reason}); keep the file, restore a backup"
            ) from error

    def _row(self, sql: str, bindings: Bindings = ()) -> tuple[Any, ...] | None:
        """Run one statement and give its first row, None where there is none."""
        rows = self._rows(sql, bindings)
        return rows[0] if rows else None

    def _sealed(self, table: str, sql: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        """Run a statement whose last column is the checksum of those before it; give its rows without. Raises `StoreError`."""
        return list(unsealed(self._rows(sql, bindings), self.path, table))

    def _run(self, sql: str, bindings: Bindings = ()) -> None:
        """Run one statement for its effect."""
        self._check_usable()
        try:
            self._connection.execute(sql, bindings)
        except apsw.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: apsw.Error) -> StoreError:
        translated = translate(error, self.path)
        if is_fatal(error):
            self._fault = str(translated)
        return translated

    def _check_usable(self) -> None:
        if self._fault is not None:
            raise StoreError(f"refused after an earlier failure: {self._fault}")


class WritableDatabase(Database):
    """The connection of the one writer."""

    def __init__(self, path: str, connection: apsw.Connection, now: Callable[[], UtcSeconds]) -> None:
        super().__init__(path, connection)
        self._now = now

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """Make everything within one transaction, durable when the outermost one is left; a rehearsal without ``keep``.

        Nests: an inner one that raises undoes its own part alone. Raises `StoreFull` where there is no room (nothing was
        kept, the store stays usable) and `StoreError` where the device failed (nothing more is written: stop).
        """
        is_outermost = not self._connection.in_transaction
        self._run("BEGIN IMMEDIATE" if is_outermost else "SAVEPOINT inner_part")
        try:
            yield
            if keep:
                self._run("COMMIT" if is_outermost else "RELEASE inner_part")
            else:
                self._undo(is_outermost=is_outermost)
        except BaseException:
            self._undo(is_outermost=is_outermost)
            raise

    def _run_many(self, sql: str, rows: Iterable[Bindings]) -> None:
        """Run one statement for its effect, once for each row."""
        self._check_usable()
        try:
            self._connection.executemany(sql, rows)
        except apsw.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: apsw.Error) -> StoreError:
        note_damage(error, self.path)
        return super()._translated(error)

    def check_transaction(self, error: BaseException) -> None:
        """Raise ``error`` again where it cost the whole transaction, and not only the part it happened in."""
        if self._fault is not None or not self._connection.in_transaction:
            raise error

    def _undo(self, *, is_outermost: bool) -> None:
        self._forget()
        # A full disk or a failed device makes SQLite roll back the whole transaction by itself.
        if not self._connection.in_transaction:
            return
        try:
            if is_outermost:
                self._connection.execute("ROLLBACK")
            else:
                self._connection.execute("ROLLBACK TO inner_part; RELEASE inner_part")
        except apsw.Error as error:
            self._fault = str(translate(error, self.path))

    def _forget(self) -> None:
        """Drop what was remembered of the file's content; called when a transaction is undone."""

    def _require_transaction(self) -> None:
        self._check_usable()
        if not self._connection.in_transaction:
            raise StoreError(f"{self.path}: nothing may be written outside `with store.transaction():`")

    def _insert(self, sql: str, bindings: Bindings = ()) -> int:
        """Run an INSERT and give the new row's id."""
        self._run(sql, bindings)
        return self._connection.last_insert_rowid()

    def _change(self, sql: str, bindings: Bindings = ()) -> int:
        """Run a statement and give the number of rows it inserted, changed or deleted."""
        self._run(sql, bindings)
        return self._connection.changes()
