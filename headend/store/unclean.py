"""What is done before a store is used again that was not closed.

A failed fsync leaves pages that are read back from memory and will never reach the disk, also after the process that
wrote them has ended: the kernel takes them for clean. In the log they are a hole that nobody sees until the power fails,
and then everything committed behind it is gone. Writing the log anew, and syncing it, closes the hole.
"""

import os
from pathlib import Path

import apsw

from headend.store.errors import StoreUnavailable

_CHUNK = 1 << 16
"""SQLite writes at most 128 KiB less one byte at a time. [B]"""


def is_unclean(store: str) -> bool:
    """Say whether a store was not closed when it was used last: its log is not empty."""
    log = Path(f"{store}-wal")
    return log.exists() and log.stat().st_size > 0


def settle_log(store: str, vfs: str | None) -> None:
    """Write the log as it is read back once more, durably. Raises `apsw.Error` where the device still fails."""
    file = apsw.VFSFile(vfs or "", f"{store}-wal", [apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_WAL, 0])
    try:
        size = file.xFileSize()
        for offset in range(0, size, _CHUNK):
            file.xWrite(file.xRead(min(_CHUNK, size - offset), offset), offset)
        file.xSync(apsw.SQLITE_SYNC_NORMAL)
    finally:
        file.xClose()


def sync_directory(store: str) -> None:
    """Make the names of the store's files durable. SQLite does so for a new log, but takes no notice when it fails."""
    directory = Path(store).absolute().parent
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StoreUnavailable(
            f"{directory}: the directory cannot be synced ({error.strerror}); stop, check the device, and start again"
        ) from error
