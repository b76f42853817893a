"""What is done before a store is used again that was not closed.

A failed fsync leaves pages that are read back from memory and will never reach the disk, also after the process that
wrote them has ended: the kernel takes them for clean. In the log they are a hole that nobody sees until the power fails,
and then everything committed behind it is gone. Writing the log anew, as far as it may not be there, and syncing it, closes the hole.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from threading import Lock

import apsw

from headend.store.block import decode
from headend.store.errors import BlockError, StoreUnavailable
from headend.store.model import Layer
from headend.store.seal import change_crc

WHOLE = 64 * 2**20
"""Largest file that is checked as a whole before it is used again: it takes a tenth of a second. [B]"""
_NEWEST = 64
"""Rows of each growing table that are looked at before a larger one is used again."""
_GROWING = frozenset({
    "raw", "validated", "validated_version", "validated_sum", "register", "event", "conflict", "set_aside", "job_run",
    "change_log", "audit", "sink_quarantine", "vee_run",
})  # fmt: skip
_SEALED_LOG = 8
"""First schema whose change log has checksums."""
_CHUNK = 120 << 10
"""SQLite writes at most 128 KiB less one byte at a time. [B]"""
_HEAD, _FRAME_HEAD = 32, 24
"""Before a log's first frame, and before the page in each. [B]"""
_PAGES = [1 << shift for shift in range(9, 17)]
"""Sizes of a page. [B]"""
_INDEX = Struct("=8xIB3xI12x8s8x")
"""The index of a log begins with this twice: commits counted, whether it is made, frames, salts of the log."""
_kept: dict[tuple[int, int], int] = {}
"""Handles of indexes that were read, by device and inode, for as long as the file is there."""
_keeping = Lock()


def is_unclean(store: str) -> bool:
    """Say whether a store was not closed when it was used last: its log is not empty."""
    log = Path(f"{store}-wal")
    return log.exists() and log.stat().st_size > 0


def settle_log(store: str, vfs: str | None) -> None:
    """Write what may not be on the disk of a log once more, as it is read back, durably. Raises `apsw.Error` where the device still fails."""
    file = apsw.VFSFile(vfs or "", f"{store}-wal", [apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_WAL, 0])
    try:
        for offset, part in _unproven(file, store):
            file.xWrite(part, offset)
        file.xSync(apsw.SQLITE_SYNC_NORMAL)
    finally:
        file.xClose()


def _unproven(file: apsw.VFSFile, store: str) -> Iterator[tuple[int, bytes]]:
    """Give a log's head and the frames that no commit has proven to be on the disk, in parts with their offsets.

    Frames with other salts than the head's are left of an earlier round, and SQLite reads none of them.
    https://www.sqlite.org/walformat.html
    """
    size = file.xFileSize()
    head = file.xRead(min(_HEAD, size), 0)
    yield 0, head
    page, salts = int.from_bytes(head[8:12], "big"), head[16:24]
    if page not in _PAGES:
        return
    frame = _FRAME_HEAD + page
    offset = _HEAD + _proven_frames(store, salts) * frame
    while size - offset >= frame:
        part = file.xRead(min(_CHUNK // frame * frame, (size - offset) // frame * frame), offset)
        live = next((at for at in range(0, len(part), frame) if part[at + 8 : at + 16] != salts), len(part))
        yield offset, part[:live]
        if live < len(part):
            return
        offset += live


def _proven_frames(store: str, salts: bytes) -> int:
    """Give how many frames of a log are on the disk for certain, by the index that the process which ended has left in memory.

    A commit counts its frames there once the log is synced, and not where that failed. An index made anew from the log, also
    by a reader, says no more than the log does: it has counted no commits yet. After a power failure an older index proves less.
    """
    try:
        index = _start_of_index(f"{store}-shm", 2 * _INDEX.size)
    except OSError:
        return 0
    if len(index) < 2 * _INDEX.size or index[: _INDEX.size] != index[_INDEX.size :]:
        return 0  # ended while writing it
    commits, is_made, frames, known = _INDEX.unpack(index[: _INDEX.size])
    return int(frames) if commits and is_made == 1 and known == salts else 0


def _start_of_index(path: str, size: int) -> bytes:
    """Read from an index without closing it: that would take away the locks which SQLite may have on it in this process."""
    with _keeping:
        for place, handle in list(_kept.items()):
            if not os.fstat(handle).st_nlink:
                os.close(_kept.pop(place))
        found = os.stat(path)  # noqa: PTH116  as fstat
        place = found.st_dev, found.st_ino
        if place not in _kept:
            _kept[place] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(_kept[place], size, 0)


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


def check_after(connection: apsw.Connection, store: str) -> str:
    """Check a store that was not closed, in bounded time, and give the verdict: ``ok``, or what is wrong. May raise `apsw.Error`.

    A small file is checked as a whole. Of a large one: every table that does not grow with the years, and the newest rows of
    those that do; the rest is owed (`owed_since`). Where no mark can be written to say so, it is checked now. Why that is safe: docs/decisions/store.md.
    """
    if Path(store).stat().st_size <= WHOLE or not _owe_check(store):
        return str(connection.pragma("quick_check"))
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ).fetchall()
    for (table,) in tables:
        if table in _GROWING:
            continue
        verdict = str(connection.execute(f'PRAGMA quick_check("{table}")').get)
        if verdict != "ok":
            return verdict
    for layer, table in ((Layer.RAW, "raw"), (Layer.VALIDATED, "validated")):
        newest = connection.execute(f"SELECT k, block FROM {table} ORDER BY k DESC LIMIT {_NEWEST}")  # noqa: S608  our names
        for key, data in newest:
            try:
                block = decode(data)
            except BlockError as error:
                return f"row {key} of table {table}: {error}"
            if (block.layer, block.day) != (layer, key >> 32):
                return f"row {key} of table {table} holds another day"
    entries = f"SELECT seq, layer, entity_id, day, channels, version, run_id, at, crc FROM change_log ORDER BY seq DESC LIMIT {_NEWEST}"  # noqa: S608  constants
    if int(connection.pragma("user_version")) >= _SEALED_LOG:
        for *entry, crc in connection.execute(entries):
            if change_crc(*entry) != crc:
                return f"row {entry[0]} of table change_log: the checksum does not match"
    return "ok"


def _mark(store: str) -> Path:
    return Path(f"{store}.unchecked")


def _owe_check(store: str) -> bool:
    try:
        _mark(store).touch(0o640)
        os.utime(_mark(store))
    except OSError:  # a full device, for example
        return False
    return True  # durable before the store is used: who opens it syncs the directory


def owed_since(store: str) -> int | None:
    """Say since when a store is owed a whole check [ns since 1970], None where it is not. Until then nothing is dropped or moved."""
    try:
        return _mark(store).stat().st_mtime_ns
    except OSError:
        return None


def settle_check(store: str, since: int | None) -> None:
    """Note that the whole store was found sound, as it was owed since then; one owed since later is still owed."""
    if since is not None and since == owed_since(store):
        _mark(store).unlink(missing_ok=True)
        sync_directory(store)
