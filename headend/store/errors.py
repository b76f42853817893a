"""The store's own errors, and the one place where SQLite's become ours."""

import apsw

from headend.errors import StoreError


class StoreFull(StoreError):
    """No room left on the device. The transaction was rolled back; the store works again once there is room."""


class StoreUnavailable(StoreError):
    """The device failed or takes no writes. Nothing more is written by this connection; opening the store again may work."""


class StoreBusy(StoreError):
    """Another process writes the store; it may be asked (`headend.store.request`)."""


class BlockError(StoreError):
    """A stored block is damaged or of a format this program does not know."""


class RowError(StoreError):
    """A stored row is damaged; the others may be read."""


def translate(error: apsw.Error, path: str) -> StoreError:
    """Turn an error of SQLite into ours, saying which file and what to do. Chain it with ``from``."""
    if isinstance(error, apsw.FullError):
        return StoreFull(
            f"{path}: no room left on the device; nothing of this transaction was kept; make room and retry"
        )
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return StoreError(
            f"{path}: damaged or not a store ({error}); stop, keep the file, and restore a backup or read the meters again"
        )
    if isinstance(error, (apsw.IOError, apsw.NoLFSError)):
        return StoreUnavailable(f"{path}: the device failed ({error}); stop, check the device, and start again")
    if isinstance(error, apsw.ReadOnlyError):
        return StoreUnavailable(f"{path}: cannot be opened or written ({error}); check the mount and the file's owner")
    if isinstance(error, (apsw.PermissionsError, apsw.CantOpenError)):
        return StoreError(
            f"{path}: cannot be opened or written ({error}); check that it exists, its owner and the mount"
        )
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return StoreError(f"{path}: held by another process for too long ({error}); find out which, then retry")
    return StoreError(f"{path}: {error}")


def is_fatal(error: apsw.Error) -> bool:
    """Say whether nothing more may be written: after a failed write or fsync the kernel may have dropped dirty pages."""
    return isinstance(error, (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.NoLFSError))
