"""A device that remembers: an SQLite VFS that records what reaches the disk in which order, and what a crash may leave of it.

What was synced is on the disk. Of what was written since, a crash may leave all, nothing or any part: writes in another
order than they were made, or cut within a sector. A name is durable once its directory was synced, which SQLite does when it
first syncs a new log; until then names come and go in order, as a journalling file system has it.
"""

import random
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import apsw

SECTOR = 512
"""What a device writes whole, or cut at one place. [B]"""


@dataclass(frozen=True, slots=True)
class Write:
    """``data`` was put at ``offset`` of file ``name``; without data the file was cut there."""

    name: str
    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Sync:
    """Everything written to ``name`` is on the disk; with ``failed`` none of it ever will be, though it is still read back."""

    name: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    """File ``name`` came to be, or went (``gone``); ``is_durable`` where the directory was synced with it."""

    name: str
    gone: bool = False
    is_durable: bool = False


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The store said that ``steps`` steps of the work are durable."""

    steps: int


Action = Write | Sync | Name | Acknowledged


class RecordingDevice(apsw.VFS):
    """Passes everything on and records it.

    ``failing``: name of the file whose next sync fails, empty for none; then the device ``is_dead`` until told otherwise, so
    that a process that closes its store has no more of it than one that was killed.
    """

    def __init__(self, name: str = "recording") -> None:
        super().__init__(name, "")
        self.actions: list[Action] = []
        self.failing = ""
        self.is_dead = False

    def check(self) -> None:
        """Raise where the device is dead."""
        if self.is_dead:
            raise apsw.IOError("the device is dead")

    def xOpen(self, name: "apsw.URIFilename | str | None", flags: list[int]) -> apsw.VFSFile:  # noqa: N802  SQLite's name
        """Open a file that records what is done to it."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        is_new = path is not None and not Path(path).exists()
        file = RecordingFile(self, name, flags)
        if path is not None:
            file.name = Path(path).name
            if is_new:
                self.actions.append(Name(file.name))
                # SQLite syncs the directory with a new log or journal, not with a new database.
                file.is_unlisted = bool(flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL))
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802  SQLite's name
        """Remove a file."""
        self.check()
        super().xDelete(filename, syncdir)
        self.actions.append(Name(Path(filename).name, gone=True, is_durable=bool(syncdir)))

    def acknowledge(self, steps: int) -> None:
        """Note that ``steps`` steps are durable by the store's word."""
        self.actions.append(Acknowledged(steps))


class RecordingFile(apsw.VFSFile):
    """One file of a recording device."""

    name = ""
    is_unlisted = False

    def __init__(self, device: RecordingDevice, name: "apsw.URIFilename | str | None", flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._device = device

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  SQLite's name
        """Write."""
        self._device.check()
        super().xWrite(data, offset)
        if self.name:
            self._device.actions.append(Write(self.name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  SQLite's name
        """Cut."""
        self._device.check()
        super().xTruncate(newsize)
        if self.name:
            self._device.actions.append(Write(self.name, newsize, None))

    def xSync(self, _flags: int) -> None:  # noqa: N802  SQLite's name
        """Take it for synced, or fail to: what is on the disk is a matter of the recording alone."""
        self._device.check()
        if self.name and self.name == self._device.failing:
            self._device.failing, self._device.is_dead = "", True
            self._device.actions.append(Sync(self.name, failed=True))
            raise apsw.IOError("fsync failed")
        if self.name:
            if self.is_unlisted:
                self.is_unlisted = False
                self._device.actions.append(Name("", is_durable=True))
            self._device.actions.append(Sync(self.name))


@dataclass(slots=True)
class _Content:
    """A file while it is written: what is on the disk, and what may or may not be."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)

    def settle(self) -> None:
        for write in self.pending:
            _put(self.synced, write.offset, write.data)
        self.pending.clear()


class Disk:
    """What the actions so far have left, ready to crash."""

    def __init__(self) -> None:
        self._present: dict[str, _Content] = {}
        self._listings: list[dict[str, _Content]] = [{}]
        self.acknowledged = 0

    def apply(self, action: Action) -> None:
        """Go on by one action."""
        match action:
            case Write(name):
                self._present[name].pending.append(action)
            case Sync(name, failed=True):
                # The kernel takes the pages for clean: no later sync writes them.
                self._present[name].pending.clear()
            case Sync(name):
                self._present[name].settle()
            case Name(name, gone):
                if gone:
                    self._present.pop(name, None)
                elif name:
                    self._present[name] = _Content()
                self._listings.append(copy(self._present))
                if action.is_durable:
                    del self._listings[:-1]
            case Acknowledged(steps):
                self.acknowledged = steps

    def crash(self, dice: random.Random) -> dict[str, bytes]:
        """Give one of the things that may be on the disk now: content by name."""
        listing = dice.choice(self._listings)
        # A crash spares little or much: each image has a share of its own.
        share = dice.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        return {name: _survivors(content, share, dice) for name, content in listing.items()}


def images(actions: list[Action], count: int, dice: random.Random) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Give ``count`` crash images at random moments, each with the number of steps that were acknowledged by then."""
    moments = sorted(dice.randrange(len(actions)) for _ in range(count))
    disk = Disk()
    at = 0
    for moment in moments:
        while at <= moment:
            disk.apply(actions[at])
            at += 1
        yield disk.acknowledged, disk.crash(dice)


def _survivors(content: _Content, share: float, dice: random.Random) -> bytes:
    data = bytearray(content.synced)
    writes = [write for write in content.pending if dice.random() < share]
    if dice.random() < 0.5:
        dice.shuffle(writes)
    for write in writes:
        if write.data is None or dice.random() < 0.7:
            _put(data, write.offset, write.data)
        else:
            _put_torn(data, write.offset, write.data, dice)
    return bytes(data)


def _put(target: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del target[offset:]
        return
    if len(target) < offset:
        target.extend(bytes(offset - len(target)))
    target[offset : offset + len(data)] = data


def _put_torn(target: bytearray, offset: int, data: bytes, dice: random.Random) -> None:
    """Put some sectors of a write, at times one of them cut."""
    edges = sorted({0, len(data), *range(-offset % SECTOR, len(data), SECTOR)})
    sectors = [cut for cut in pairwise(edges) if dice.random() < 0.5]
    cut = dice.randrange(len(sectors)) if sectors and dice.random() < 0.5 else -1
    for index, (first, last) in enumerate(sectors):
        end = dice.randint(first, last) if index == cut else last
        _put(target, offset + first, data[first:end])
