"""`StoreReader`: the store as any number of processes may read it."""

from pathlib import Path
from typing import Self

from headend.store.checkreads import CheckReads
from headend.store.matrixreads import MatrixReads
from headend.store.place import Place, server_of
from headend.store.server import server_connections
from headend.store.sqlite import SqliteEngine, connect_reading


class StoreReader(CheckReads, MatrixReads):
    """A reading connection; sees each commit of the writer as soon as it is made. One thread at a time."""

    @classmethod
    def open(cls, path: Place, *, vfs: str | None = None) -> Self:
        """Open an existing store for reading. ``vfs``: name of an SQLite VFS, for tests. Raises `StoreError`."""
        if (server := server_of(path)) is not None:
            return cls(server_connections().connect_reading(server))
        name = str(path)
        return cls(SqliteEngine(name, connect_reading(name, vfs)))


def is_there(place: Place) -> bool:
    """Say whether a store has been made there; makes none. Raises `StoreError` where a server cannot be asked."""
    if (server := server_of(place)) is not None:
        return bool(server_connections().is_made(server))
    return Path(str(place)).exists()
