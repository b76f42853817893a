"""Crash a store's device at random moments of seeded work, open what is left with the real store, and judge it."""

import multiprocessing
import os
import random
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import apsw
import pytest

import headend.store.store as store_module
from headend.errors import StoreError
from headend.registry.model import DAY
from headend.store import unclean
from headend.store.store import Store
from tests.faults.device import Action, Name, RecordingDevice, images
from tests.faults.work import METERS, Account, Slot, Work, digest, facts_of
from tests.headend.store.builders import EXPORT, IMPORT, NOW, START

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where images lie while they are judged: in memory where that can be, for a disk would only slow the judge down."""
STEPS = 40
"""Steps of one recording."""
IMAGES_PER_RECORDING = 100
SESSION = 9
"""Longest that a store is open. [steps]"""
CHECKPOINT = 24
"""Pages in the log at which the writer moves them into the file; the store's own is larger, and would never come here."""


@dataclass(slots=True)
class Recording:
    """What reached the device. ``digests`` and ``accounts``: of the store after each step, beginning with an empty one."""

    actions: list[Action]
    digests: list[bytes]
    accounts: list[Account]


@dataclass(slots=True)
class Verdicts:
    """Images judged, and in how many something acknowledged was lost, something doubled, or the store damaged."""

    images: int = 0
    lost: int = 0
    doubled: int = 0
    corrupt: int = 0
    examples: list[str] = field(default_factory=list)

    def __add__(self, other: "Verdicts") -> "Verdicts":
        return Verdicts(
            self.images + other.images,
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.corrupt + other.corrupt,
            (self.examples + other.examples)[:20],
        )


class _UnsyncedFile(apsw.VFSFile):
    def __init__(self, name: "apsw.URIFilename | str | None", flags: list[int]) -> None:
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802  SQLite's name
        """Not at all: an image is thrown away once it is judged."""


class _UnsyncedDevice(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("unsynced", "")

    def xOpen(self, name: "apsw.URIFilename | str | None", flags: list[int]) -> apsw.VFSFile:  # noqa: N802  SQLite's name
        return _UnsyncedFile(name, flags)


def record(directory: Path, seed: int, synchronous: str = "full", failing_syncs: int = 0) -> Recording:
    """Do the work of a seed on a recording device, closing and opening the store now and then.

    ``synchronous``: what SQLite is told; the store's own is full. ``failing_syncs``: how often a sync fails; then the store
    is opened again, as the next process would, and goes on.
    """
    dice = random.Random(f"device {seed}")
    device, patched = RecordingDevice(), pytest.MonkeyPatch()
    path = directory / "s.db"
    work = Work(seed)
    failures = {dice.randrange(2, STEPS): dice.choice(("s.db", "s.db-wal")) for _ in range(failing_syncs)}

    def open_store() -> Store:
        store = Store.open(path, lambda: NOW, vfs="recording")
        store._connection.pragma("synchronous", synchronous)
        store._connection.wal_autocheckpoint(CHECKPOINT)
        return store

    def sync_directory(store: str) -> None:
        unclean.sync_directory(store)
        device.actions.append(Name("", is_durable=True))

    def close(store: Store) -> None:
        with suppress(apsw.Error):  # the device fails, also while closing
            store.close()
        device.is_dead = False

    try:
        patched.setattr(store_module, "sync_directory", sync_directory)
        store = open_store()
        recording = Recording(device.actions, [digest(store)], [Account()])
        left = dice.randint(1, SESSION)
        for number, step in enumerate(islice(work.steps(), STEPS), 1):
            device.failing = failures.get(number, device.failing)
            while True:
                try:
                    with store.transaction():
                        step(store)
                    break
                except StoreError:
                    close(store)
                    store = open_store()
                    if digest(store) != recording.digests[-1]:
                        break  # it had got so far that it is there, though nobody was told
            device.acknowledge(number)
            recording.digests.append(digest(store))
            recording.accounts.append(work.account.copy())
            left -= 1
            if not left:
                close(store)
                store, left = open_store(), dice.randint(1, SESSION)
        close(store)
    finally:
        patched.undo()
        device.unregister()
    return recording


def judge(path: Path, recording: Recording, acknowledged: int) -> Verdicts:
    """Open what a crash left at ``path``, and hold it against what the store had acknowledged."""
    try:
        with Store.open(path, lambda: NOW, vfs="unsynced") as store:
            if (verdict := store._connection.pragma("integrity_check")) != "ok":
                return _bad(f"integrity check: {verdict}", corrupt=1)
            found = digest(store)
            reached = [number for number, known in enumerate(recording.digests) if known == found]
            if reached and max(reached) < acknowledged:
                gone = len(recording.accounts[acknowledged].readings.keys() - _present(store))
                return _bad(f"{acknowledged} steps acknowledged, {max(reached)} there; readings gone: {gone}", lost=1)
            if not reached or min(reached) > acknowledged + 1:
                return _bad(f"{acknowledged} acknowledged, and the store is in no state between two steps", corrupt=1)
            return _read_again(store, recording.accounts[max(reached)])
    except (StoreError, apsw.Error) as error:
        return _bad(f"{acknowledged} acknowledged: {error}", corrupt=1)


def _read_again(store: Store, account: Account) -> Verdicts:
    """Hold every value against the account, then record everything once more: nothing may come twice."""
    if (found := _present(store)) != account.readings:
        return _bad(f"readings differ: {found.items() ^ account.readings.items()}", corrupt=1)
    newest, conflicts = store.last_seq(), len(store.conflicts())
    with store.transaction():
        done = [store.record(meter, facts, NOW) for meter, facts in facts_of(account).items()]
    if (
        any(one.new or one.conflicts for one in done)
        or store.last_seq() != newest
        or len(store.conflicts()) != conflicts
    ):
        return _bad("what was there came a second time", doubled=1)
    return Verdicts(1)


def _present(store: Store) -> dict[Slot, int]:
    """Read all values through the store, by slot."""
    found: dict[Slot, int] = {}
    newest = store._row("SELECT max(k) >> 32 FROM raw")
    if newest is None or newest[0] is None:
        return found
    for meter in METERS:
        for code in (IMPORT, EXPORT):
            series = store.raw_series(meter, code, START, (newest[0] + 1) * DAY)
            slots = series.has_value.nonzero()[0]
            found.update(
                {
                    (meter, code, slot): value
                    for slot, value in zip(slots.tolist(), series.values[slots].tolist(), strict=True)
                }
            )
    return found


def _bad(example: str, *, lost: int = 0, doubled: int = 0, corrupt: int = 0) -> Verdicts:
    return Verdicts(1, lost, doubled, corrupt, [example])


def crash(count: int, first_seed: int, synchronous: str = "full", failing_syncs: int = 0) -> Verdicts:
    """Judge ``count`` crash images, a hundred of each recording."""
    total = Verdicts()
    device = _UnsyncedDevice()
    try:
        for seed in range(first_seed, first_seed + -(-count // IMAGES_PER_RECORDING)):
            with tempfile.TemporaryDirectory(prefix="headend-crash-", dir=MEMORY) as name:
                directory = Path(name)
                recording = record(directory, seed, synchronous, failing_syncs)
                dice = random.Random(f"crash {seed}")
                take = min(IMAGES_PER_RECORDING, count - total.images)
                for acknowledged, image in images(recording.actions, take, dice):
                    verdict = judge(_lay_out(directory / "image", image), recording, acknowledged)
                    verdict.examples = [f"seed {seed}: {example}" for example in verdict.examples]
                    total += verdict
    finally:
        device.unregister()
    return total


def _lay_out(directory: Path, image: dict[str, bytes]) -> Path:
    """Put an image's files where the one before lay; writing over them is cheaper than making them anew."""
    directory.mkdir(exist_ok=True)
    for path in directory.iterdir():
        if path.name not in {*image, "s.db.lock"}:
            path.unlink()
    for name, content in image.items():
        path = directory / name
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(content)
            file.truncate()
    return directory / "s.db"


def crash_in_processes(count: int, synchronous: str = "full", failing_syncs: int = 0, jobs: int = 2) -> Verdicts:
    """Judge ``count`` crash images in ``jobs`` processes at a time."""
    starts = range(0, count, IMAGES_PER_RECORDING)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        parts = [
            pool.submit(
                crash,
                min(IMAGES_PER_RECORDING, count - start),
                start // IMAGES_PER_RECORDING,
                synchronous,
                failing_syncs,
            )
            for start in starts
        ]
        return sum((part.result() for part in parts), Verdicts())
