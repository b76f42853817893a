"""Backups: taken beside the running writer, sealed in one file, and put back with the invocation counters jumped ahead."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import apsw

from drivers.facts import UtcSeconds
from headend.errors import StoreError
from headend.store.errors import StoreBusy, StoreFull, translate
from headend.store.lock import WriterLock
from headend.store.quarantine import mark_of, quarantine, why_quarantined
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.store.unclean import is_unclean, owed_since, settle_check, sync_directory
from headend.store.vault import seal, unseal

COUNTER_JUMP = 2**24
"""Invocation counters passed over by a restore: 65,536 blocks of 256, more than a day of sessions of 2,000 meters that share a key."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_PARTS = ("", "-wal", "-shm")
"""A store's files, by what is added to its name. The file itself first: without it the log alone is not taken for a store."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. ``counters``: jumped ahead.  ``kept_as``: where what stood there before lies now, empty for nothing."""

    counters: int
    newest_change: int
    kept_as: str


def back_up(store: Path, target: Path, key: bytes) -> int:
    """Write a backup of a store as it is now, and give its size [B]. Others go on reading and writing it meanwhile.

    A plain copy lies beside the store while the backup is made; it takes as much room. Raises `StoreError` where the target
    exists, another backup is being made, the store is damaged or there is no room; then there is no target.
    """
    if target.exists():
        raise StoreError(f"{target}: exists; a backup overwrites nothing, give another name")
    copy = Path(f"{store}.copy")
    partial = Path(f"{target}.partial")
    with _failures(target), _alone(store), _removed(copy, partial):
        with StoreReader.open(store) as reader:
            reader.copy_to(copy)
        with copy.open("rb") as source, _private(partial) as sealed:
            seal(source, sealed, key)
            sealed.flush()
            os.fsync(sealed.fileno())
        partial.rename(target)
        sync_directory(str(target))
    return target.stat().st_size


def restore(
    source: Path,
    store: Path,
    key: bytes,
    now: Callable[[], UtcSeconds],
    *,
    user: str,
    replace: bool = False,
    counter_jump: int = COUNTER_JUMP,
) -> Restored:
    """Put a backup in a store's place. What was there is kept beside it, never removed.

    ``counter_jump``: our invocation counters go ahead by so many, as those in the backup have been used since. Raises
    `StoreError` where the backup does not open, is damaged or of a newer schema, another process writes the store, or one
    is there and ``replace`` is not said; then nothing has changed.
    """
    name = str(store)
    incoming = Path(f"{name}.incoming")
    lock = WriterLock(name)
    try:
        if store.exists() and not replace:
            raise StoreError(f"{store}: exists; --replace puts the backup in its place and keeps what is there")
        with _failures(store), _removed(incoming, Path(f"{incoming}.lock"), mark_of(str(incoming))):
            with source.open("rb") as sealed, _private(incoming) as file:
                for content in unseal(sealed, str(source), key):
                    file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with Store.open(incoming, now) as restored:
                for fault in restored.faults():
                    raise StoreError(f"{source}: the backup itself is damaged: {fault}; take another one")
                with restored.transaction():
                    counters = announce_restore(restored, counter_jump, now(), user=user, source=source.name)
                newest = restored.last_seq()
                restored.checkpoint()
            if is_unclean(str(incoming)):  # the file alone takes the store's place, with the backup's own counters
                raise StoreFull(
                    f"{incoming}: what a restore notes did not get from the log into the file, for want of room or since another"
                    " process reads it; nothing was changed; make room and try again"
                )
            kept_as = _put_in_place(incoming, name, now())
    finally:
        lock.release()
    return Restored(counters, newest, kept_as)


def announce_restore(store: Store, counter_jump: int, at: UtcSeconds, *, user: str, source: str) -> int:
    """Put our invocation counters ahead in a store that a backup has just become, and note it; give how many. Needs a transaction."""
    counters = store.jump_counters(counter_jump)
    store.audit(user, "restore", source, f"{counters} invocation counters went ahead by {counter_jump}")
    store.add_event(None, "restored", 0, at, f"from {source}", received_at=at)
    return counters


def _put_in_place(incoming: Path, store: str, at: UtcSeconds) -> str:
    """Exchange the files. While it is under way the store is marked, so that nobody begins an empty one if it is cut short."""
    before = why_quarantined(store)
    names = (f"{store}.replaced-{at}", *(f"{store}.replaced-{at}-{number}" for number in range(2, 100)))
    there = [part for part in _PARTS if Path(f"{store}{part}").exists()]
    kept_as = (
        next(name for name in names if not any(Path(f"{name}{part}").exists() for part in _PARTS)) if there else ""
    )
    quarantine(store, "a restore was cut short; restore again")
    for part in there:
        Path(f"{store}{part}").rename(f"{kept_as}{part}")
    if before and there:
        quarantine(kept_as, before)
    incoming.rename(store)
    sync_directory(store)
    settle_check(store, owed_since(store))  # what was restored has been checked as a whole
    mark_of(store).unlink()
    sync_directory(store)
    return kept_as if "" in there else ""


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Keep a second backup of the same store from taking the copy that the first is sealing. Raises `StoreBusy`."""
    with Path(f"{store}.backup.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreBusy(f"{store}: another backup of it is being made; wait until it is done") from error
        yield


@contextmanager
def _private(path: Path) -> Iterator[BinaryIO]:
    """Make a file that only its owner reads."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:  # noqa: PTH123  mode from the start
        yield file


@contextmanager
def _removed(*paths: Path) -> Iterator[None]:
    """Remove what was only there on the way, however it ended; and before, what one that was killed left.

    A log that lies beside a new file of the same name would be read into it.
    """
    parts = [Path(f"{path}{part}") for path in paths for part in _PARTS]
    for part in parts:
        part.unlink(missing_ok=True)
    try:
        yield
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


@contextmanager
def _failures(where: Path) -> Iterator[None]:
    """Turn errors of files and of SQLite into ours."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, str(where)) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull(f"{where}: no room on the device; nothing was changed; make room and try again") from error
        raise StoreError(f"{error.filename or where}: {error.strerror}; nothing was changed") from error
