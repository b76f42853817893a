"""`Store`: the one writer."""

from collections.abc import Callable, Mapping
from typing import Self

import apsw

from drivers.facts import UtcSeconds
from headend.errors import StoreError
from headend.store.bulkwrites import BulkWrites
from headend.store.engine import Engine
from headend.store.errors import translate
from headend.store.freeing import INCREMENTAL, Freeing
from headend.store.keychanges import KeyChanges
from headend.store.lock import WriterLock
from headend.store.migrate import check_schema, migrate, shipped_scripts
from headend.store.place import Place, server_of
from headend.store.quarantine import check_usable, quarantine
from headend.store.reader import StoreReader
from headend.store.request import RequestRows
from headend.store.server import server_connections
from headend.store.sqlite import CACHE_SIZE, LONGEST_LOG, SqliteEngine, connect, note_damage
from headend.store.unclean import check_after, is_unclean, settle_log, sync_directory
from headend.store.validatedwrites import ValidatedWrites

PAGE_SIZE = 8_192
"""Of a new file: five blocks of ten quarter-hourly channels to a page (docs/decisions/store.md). [B]"""


class Store(BulkWrites, ValidatedWrites, KeyChanges, Freeing, RequestRows, StoreReader):
    """The writing connection: everything a reader has, and all changes. One process, one thread at a time."""

    def __init__(self, engine: Engine, now: Callable[[], UtcSeconds], lock: WriterLock | None = None) -> None:
        """``lock``: of a file's one writer; a server holds its lock with the connection."""
        super().__init__(engine, now)
        self._lock = lock
        self._forget()

    @classmethod
    def open(  # type: ignore[override]  # a writer needs a clock, a reader has none
        cls,
        path: Place,
        now: Callable[[], UtcSeconds],
        *,
        vfs: str | None = None,
        scripts: Mapping[int, str] | None = None,
    ) -> Self:
        """Open a store for writing, make it where there is none, and bring its schema up to date.

        ``path``: of a file, or a PostgreSQL server's schema (`headend.store.place`).

        ``now``: current instant [s UTC], stamped on what carries no other time.  ``vfs``, ``scripts``: for tests.
        After an unclean end the file is checked first; a large one in part, the rest is owed (`unclean.check_after`). Raises `StoreError` where another process writes it, the file is
        damaged, foreign or of a newer schema.
        """
        if (server := server_of(path)) is not None:
            return cls(server_connections().connect_writing(server, scripts), now)
        name = str(path)
        schema = shipped_scripts() if scripts is None else scripts
        lock = WriterLock(name)
        try:
            check_usable(name)
            connection = cls._prepare(name, schema, vfs)
        except BaseException:
            lock.release()
            raise
        return cls(SqliteEngine(name, connection, writes=True), now, lock)

    @classmethod
    def _prepare(cls, name: str, schema: Mapping[int, str], vfs: str | None) -> apsw.Connection:
        was_unclean = is_unclean(name)
        if was_unclean:
            try:
                settle_log(name, vfs)
            except apsw.Error as error:
                raise translate(error, name) from error
        connection = connect(name, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, vfs)
        try:
            if not check_schema(connection, name, max(schema)):
                connection.pragma("page_size", PAGE_SIZE)
                connection.pragma("auto_vacuum", INCREMENTAL)  # a commit, also where it changes nothing
            mode = connection.pragma("journal_mode", "wal")
            connection.execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
            connection.pragma("cache_size", -CACHE_SIZE)
            connection.pragma("journal_size_limit", LONGEST_LOG)
            verdict = check_after(connection, name) if was_unclean else "ok"
            if mode == "wal" and verdict == "ok":
                migrate(connection, name, schema)
                sync_directory(name)
        except apsw.Error as error:
            connection.close()
            note_damage(error, name)
            raise translate(error, name) from error
        except BaseException:
            connection.close()
            raise
        if mode == "wal" and verdict == "ok":
            return connection
        connection.close()
        if mode != "wal":
            raise StoreError(f"{name}: this file system takes no write-ahead log; put the store on a local disk")
        quarantine(name, f"after an unclean end: {verdict}")
        raise StoreError(
            f"{name}: damaged after an unclean end ({verdict}); it is set apart and kept:"
            " restore a backup with `headend store restore BACKUP`"
        )

    def close(self) -> None:
        """Close and let the next writer in; closing twice is harmless."""
        try:
            super().close()
        finally:
            if self._lock is not None:
                self._lock.release()
