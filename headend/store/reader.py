"""`StoreReader`: the store as any number of processes may read it."""

from pathlib import Path
from typing import Self

from headend.store.checkreads import CheckReads
from headend.store.matrixreads import MatrixReads


class StoreReader(CheckReads, MatrixReads):
    """A reading connection; sees each commit of the writer as soon as it is made. One thread at a time."""

    @classmethod
    def open(cls, path: str | Path, *, vfs: str | None = None) -> Self:
        """Open an existing store for reading. ``vfs``: name of an SQLite VFS, for tests. Raises `StoreError`."""
        return cls(str(path), cls._open_reading(path, vfs))
