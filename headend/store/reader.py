"""`StoreReader`: the store as any number of processes may read it."""

from typing import Self

from headend.store.checkreads import CheckReads
from headend.store.place import Place, server_of
from headend.store.sqlite import SqliteEngine, connect_reading


class StoreReader(CheckReads):
    """A reading connection; sees each commit of the writer as soon as it is made. One thread at a time."""

    @classmethod
    def open(cls, path: Place, *, vfs: str | None = None) -> Self:
        """Open an existing store for reading. ``vfs``: name of an SQLite VFS, for tests. Raises `StoreError`."""
        if (server := server_of(path)) is not None:
            from headend.store.postgresql.connect import connect_reading as connect_to_server  # noqa: PLC0415  an extra

            return cls(connect_to_server(server))
        name = str(path)
        return cls(SqliteEngine(name, connect_reading(name, vfs)))
