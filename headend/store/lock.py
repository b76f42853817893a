"""The writer's lock: an advisory lock on a file beside the store, released by the kernel however the process ends."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from headend.errors import StoreError
from headend.store.errors import StoreBusy, StoreUnavailable


class WriterLock:
    """Held from construction to `release`. Raises `StoreError` naming the holder's process where another has it."""

    def __init__(self, store: str) -> None:
        self.path = Path(f"{store}.lock")
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            kind = StoreUnavailable if error.errno in {errno.EROFS, errno.EIO, errno.ENOSPC} else StoreError
            raise kind(
                f"{self.path}: the writer's lock file cannot be opened ({error.strerror}); check the folder and its owner"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreBusy(
                f"{store}: process {holder} is writing this store, and a store has one writer; "
                "stop that process first, or only read"
            ) from error
        with suppress(OSError):  # a device that is full or read-only: the number is for people, the lock holds without
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next writer in; releasing twice is harmless. The file stays: removing it would let two writers in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
