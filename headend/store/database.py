"""The connection under the store: transactions, and what happens when the device fails."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw

from drivers.facts import UtcSeconds
from headend.errors import StoreError
from headend.store.engine import Bindings, Engine
from headend.store.errors import translate
from headend.store.seal import unsealed
from headend.store.sqlite import SqliteEngine

PAGES_AT_ONCE = 512
"""Pages copied in one turn."""


class Database:
    """One connection. Used by one thread at a time; each reading thread opens its own reader."""

    def __init__(self, engine: Engine) -> None:
        self.path = engine.path
        self._engine = engine

    @property
    def _connection(self) -> apsw.Connection:
        """SQLite's own connection, for what is SQLite's alone."""
        if not isinstance(self._engine, SqliteEngine):
            raise StoreError(f"{self.path}: this is no SQLite file")
        return self._engine.connection

    @property
    def _is_file(self) -> bool:
        return isinstance(self._engine, SqliteEngine)

    def __enter__(self) -> Self:
        """Give the store itself; leaving closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def structure(self) -> str:
        """Check the file's structure as a whole, and give the verdict: ``ok``, or what is wrong. Minutes for tens of gigabytes."""
        self._check_usable()
        try:
            return str(self._connection.pragma("quick_check"))
        except apsw.CorruptError as error:
            return str(error)
        except apsw.Error as error:
            raise translate(error, self.path) from error

    def interrupt(self) -> None:
        """End what another thread is reading through this connection: it raises `StoreError` there."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close; closing twice is harmless."""
        self._engine.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Hold one view of the store: what others commit meanwhile stays unseen. Nests, also within a transaction."""
        if self._engine.in_transaction:
            yield
            return
        self._check_usable()
        self._engine.begin(writes=False)
        try:
            yield
        finally:
            if self._engine.in_transaction:
                self._engine.rollback()

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
        return self._engine.rows(sql, bindings)

    def _row(self, sql: str, bindings: Bindings = ()) -> tuple[Any, ...] | None:
        """Run one statement and give its first row, None where there is none."""
        rows = self._rows(sql, bindings)
        return rows[0] if rows else None

    def _sealed(self, table: str, sql: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        """Run a statement whose last column is the checksum of those before it; give its rows without. Raises `StoreError`."""
        return list(unsealed(self._rows(sql, bindings), self.path, table))

    def _stamp(self) -> object:
        """Give what is another once another connection has changed the store, within one view; None: nothing may be remembered."""
        self._check_usable()
        return self._engine.stamp()

    def _run(self, sql: str, bindings: Bindings = ()) -> None:
        """Run one statement for its effect."""
        self._check_usable()
        self._engine.run(sql, bindings)

    def _check_usable(self) -> None:
        if (fault := self._engine.fault) is not None:
            raise type(fault)(f"refused after an earlier failure: {fault}")


class WritableDatabase(Database):
    """The connection of the one writer."""

    def __init__(self, engine: Engine, now: Callable[[], UtcSeconds]) -> None:
        super().__init__(engine)
        self._now = now

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """Make everything within one transaction, durable when the outermost one is left; a rehearsal without ``keep``.

        Nests: an inner one that raises undoes its own part alone. Raises `StoreFull` where there is no room (nothing was
        kept, the store stays usable) and `StoreError` where the device failed (nothing more is written: stop).
        """
        self._check_usable()
        is_outermost = not self._engine.in_transaction
        if is_outermost:
            self._engine.begin(writes=True)
        else:
            self._engine.begin_part()
        try:
            yield
            if keep:
                self._check_usable()
                if is_outermost:
                    self._engine.keep_numbers()
                    self._engine.commit()
                else:
                    self._engine.end_part()
            else:
                self._undo(is_outermost=is_outermost)
        except BaseException:
            self._undo(is_outermost=is_outermost)
            raise

    def check_transaction(self, error: BaseException) -> None:
        """Raise ``error`` again where it cost the whole transaction, and not only the part it happened in."""
        if self._engine.fault is not None or not self._engine.in_transaction:
            raise error

    def _stamp(self) -> None:
        """Give None: what this connection itself changes does not show in a stamp."""

    def _undo(self, *, is_outermost: bool) -> None:
        self._forget()
        # A full disk or a failed device makes SQLite roll back the whole transaction by itself.
        if not self._engine.in_transaction:
            return
        if is_outermost:
            self._engine.rollback()
        else:
            self._engine.undo_part()

    def _forget(self) -> None:
        """Drop what was remembered of the file's content; called when a transaction is undone."""

    def _require_transaction(self) -> None:
        self._check_usable()
        if not self._engine.in_transaction:
            raise StoreError(f"{self.path}: nothing may be written outside `with store.transaction():`")

    def _insert(self, sql: str, bindings: Bindings = ()) -> int:
        """Run an INSERT and give the new row's id."""
        self._check_usable()
        return self._engine.insert(sql, bindings)

    def _change(self, sql: str, bindings: Bindings = ()) -> int:
        """Run a statement and give the number of rows it inserted, changed or deleted."""
        self._check_usable()
        return self._engine.change(sql, bindings)

    def _put_many(self, table: str, columns: Sequence[str], rows: Iterable[Bindings]) -> None:
        """Insert many rows, none of which is there yet: integers, octets and None."""
        self._check_usable()
        self._engine.put_many(table, columns, rows)
