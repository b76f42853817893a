"""Exports on disk: complete or absent. The only module of the package that touches files.

A run writes the data file under a temporary name, fsyncs it, renames it, fsyncs the directory; then the manifest the same
way. The manifest's rename is the instant the export comes to be. What a run leaves behind when it dies before that
instant is no export: the next run removes it and says so.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.errors import ExportError
from headend.export import manifest as manifests
from headend.export.ahead import ReadAhead
from headend.export.errors import BrokenChain, NotExportable
from headend.export.files import locked, make_directory, publish, sha256, temporary, write_new
from headend.export.formats import FORMATS, Context, Format
from headend.export.manifest import Account, Accounts, Change, DataFile, Manifest, Selection, tally
from headend.export.readings import Freshness, rows_of
from headend.export.source import Channel, ReadingSource, channels

LOCK = ".headend-export.lock"
BUSY = "another export is being written here; try again when it is done"
MAX_MANIFEST = 64 * 2**20
_MANIFEST_NAME = re.compile(r"headend-([0-9]{6,})\.manifest\.json", re.ASCII)
_DATA_NAME = re.compile(r"headend-([0-9]{6,})-[a-z0-9.-]+", re.ASCII)
_TEMPORARY_NAME = re.compile(r"\.headend-[0-9]{6,}[a-z0-9.-]*\.tmp", re.ASCII)


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export run did. ``is_new`` is False where an earlier export already holds exactly this; then it is named.

    ``replaces``: sequence number of the earlier export of the same selection, and ``changes`` what differs from it.
    """

    is_new: bool
    sequence: int
    manifest: Path
    files: tuple[Path, ...]
    channels: dict[tuple[str, str, str], Account]
    replaces: int | None = None
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Count the rows of all channels."""
        return sum(account.slots.total() for account in self.channels.values())

    @property
    def changed_slots(self) -> int:
        """Count the slots that differ from the replaced export."""
        return sum(change.slots for change in self.changes)


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. ``faults`` is empty where the chain holds; ``notes`` names files that are no export."""

    sequences: tuple[int, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        """Say whether no fault was found."""
        return not self.faults


def export(
    store: ReadingSource,
    format: str,  # noqa: A002 - the word users type
    usage_points: Sequence[str] | None,
    obis: Sequence[Obis] | None,
    start: UtcSeconds,
    end: UtcSeconds,
    directory: Path,
    now: UtcSeconds,
    *,
    sender: str = "HEADEND",
    receiver: str = "RECEIVER",
    at_step: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Export all expected slots within ``[start, end)`` [s UTC] of some or all (None) usage points and channels.

    All is read from one view of the store. Writes nothing where the latest export of the same selection in ``directory``
    holds the same. ``at_step`` is told each step before it is taken (tests stop there). Raises `ExportError`; nothing is
    then left half written.
    """
    chosen = FORMATS.get(format)
    if chosen is None:
        raise NotExportable(f"unknown export format {format[:40]!r}; known: {', '.join(FORMATS)}")
    chosen.check_period(start, end)
    selection = Selection(
        format,
        start,
        end,
        None if usage_points is None else tuple(sorted(set(usage_points))),
        None if obis is None else tuple(sorted({str(code) for code in obis})),
    )
    try:
        with store.snapshot():
            found = channels(store, usage_points, obis, start, end)
            for channel in found:
                chosen.check_channel(channel)
            make_directory(directory)
            with locked(directory / LOCK, f"{directory}: {BUSY}"):
                return _Run(directory, chosen, selection, now, at_step).run(store, found, sender, receiver)
    except OSError as error:
        raise ExportError(f"{error.filename or directory}: {error.strerror}; nothing was left half written") from error


@dataclass(slots=True)
class _Run:
    """One export run in a directory that it has locked."""

    directory: Path
    format: Format
    selection: Selection
    now: UtcSeconds
    at_step: Callable[[str], None]

    def run(self, store: ReadingSource, found: Sequence[Channel], sender: str, receiver: str) -> ExportResult:
        """Write the next export, unless the latest one of this selection holds the same."""
        chain = self._intact_chain()
        notes = self._clean(chain[-1].sequence if chain else 0)
        sequence = len(chain) + 1
        replaced = next((old for old in reversed(chain) if old.selection == self.selection), None)
        change_log, freshness = store.last_seq(), Freshness()
        accounts: Accounts = {}
        ahead = ReadAhead(store, found)
        rows = tally((row for channel in found for row in rows_of(store, channel, freshness, ahead)), accounts)
        context = Context(self.now, tuple(found), sender, receiver)
        target = self.directory / self._data_name(sequence)
        fresh = temporary(target)
        try:
            written = write_new(fresh, self.format.encode(rows, context), "data", self.at_step)
            if freshness.slots:
                notes.append(
                    f"{freshness.slots} values arrived after validation and are not in it; run validation again"
                )
            changes: list[Change] = []
            if replaced is not None:
                changes = self._changes(replaced, fresh)
                if not changes:
                    fresh.unlink()
                    return self._unchanged(replaced, accounts, notes)
            publish(fresh, target, "data", self.at_step)
            encoded = manifests.encode(
                sequence=sequence,
                created=self.now,
                selection=self.selection,
                files=[DataFile(target.name, *written)],
                accounts=accounts,
                change_log=change_log,
                previous=chain[-1].sha256 if chain else None,
                replaces=None if replaced is None else (replaced.sequence, changes),
                notes=notes,
            )
            path = self.directory / manifest_name(sequence)
            write_new(temporary(path), [encoded], "manifest", self.at_step)
            publish(temporary(path), path, "manifest", self.at_step)
        except BaseException:
            self._abandon(sequence, target)
            raise
        return ExportResult(
            is_new=True,
            sequence=sequence,
            manifest=path,
            files=(target,),
            channels=accounts,
            replaces=None if replaced is None else replaced.sequence,
            changes=tuple(changes),
            notes=tuple(notes),
        )

    def _intact_chain(self) -> list[Manifest]:
        chain, faults = _read_chain(self.directory)
        if not faults:
            faults = _orphans(self.directory, len(chain) + 1)
        if faults:
            raise BrokenChain(
                f"{self.directory}: the chain of exports is broken, nothing is added to it: {'; '.join(faults[:5])}. "
                "`headend export verify` names every fault; restore the files, or export into an empty directory"
            )
        return chain

    def _clean(self, last: int) -> list[str]:
        """Remove what an interrupted run left: temporary files, and the data file of the export after the last."""
        notes = []
        for name in sorted(entry.name for entry in self.directory.iterdir()):
            data = _DATA_NAME.fullmatch(name)
            if _TEMPORARY_NAME.fullmatch(name) or (data and int(data[1]) == last + 1):
                (self.directory / name).unlink()
                notes.append(f"removed {name}: left by an interrupted run, never an export")
        return notes

    def _data_name(self, sequence: int) -> str:
        first, last = (
            datetime.fromtimestamp(at + self.format.offset, UTC).strftime("%Y%m%d")
            for at in (self.selection.start, self.selection.end - 1)
        )
        return f"headend-{sequence:06d}-{first}-{last}{self.format.suffix}"

    def _changes(self, replaced: Manifest, fresh: Path) -> list[Change]:
        """Compare what was just written with the file it would replace, once that is known to be unaltered."""
        self.at_step("compare")
        if faults := _file_faults(self.directory, replaced):
            raise BrokenChain(f"{self.directory}: {faults[0]}; it cannot be replaced before it is restored")
        old = self.directory / replaced.files[0].name
        try:
            with _lines(old) as before, _lines(fresh) as after:
                return manifests.compare(self.format.decode(before), self.format.decode(after))
        except ValueError as error:
            raise BrokenChain(f"{old}: {error}") from error

    def _unchanged(self, replaced: Manifest, accounts: Accounts, notes: list[str]) -> ExportResult:
        return ExportResult(
            is_new=False,
            sequence=replaced.sequence,
            manifest=self.directory / manifest_name(replaced.sequence),
            files=tuple(self.directory / file.name for file in replaced.files),
            channels=accounts,
            notes=(*notes, f"nothing has changed since export {replaced.sequence}; nothing was written"),
        )

    def _abandon(self, sequence: int, target: Path) -> None:
        """Take back what this run wrote, unless its manifest already stands. What cannot be removed goes at the next run."""
        path = self.directory / manifest_name(sequence)
        left = [temporary(target), temporary(path)]
        if not path.exists():
            left.append(target)
        for name in left:
            with suppress(OSError):
                name.unlink(missing_ok=True)


def manifest_name(sequence: int) -> str:
    """Name the manifest of an export."""
    return f"headend-{sequence:06d}.manifest.json"


def verify(directory: Path) -> Verification:
    """Check the chain of exports in a directory: numbers without gaps, every link, every file's size and SHA-256.

    Names each fault instead of stopping at the first. Raises `ExportError` where the directory cannot be read.
    """
    try:
        chain, faults = _read_chain(directory)
        for manifest in chain:
            faults.extend(_file_faults(directory, manifest))
        owned = {file.name for manifest in chain for file in manifest.files}
        notes = [
            f"{name} is no export: no manifest names it"
            for name in sorted(entry.name for entry in directory.iterdir())
            if name not in owned and (_DATA_NAME.fullmatch(name) or _TEMPORARY_NAME.fullmatch(name))
        ]
    except FileNotFoundError as error:
        raise NotExportable(f"{error.filename}: there is no such directory or file") from error
    except OSError as error:
        raise ExportError(f"{error.filename or directory}: {error.strerror}") from error
    return Verification(tuple(manifest.sequence for manifest in chain), tuple(faults), tuple(notes))


def _read_chain(directory: Path) -> tuple[list[Manifest], list[str]]:
    """Read all manifests in order, with every fault of their chain."""
    names = {}
    for entry in directory.iterdir():
        if match := _MANIFEST_NAME.fullmatch(entry.name):
            names[int(match[1])] = entry
    chain: list[Manifest] = []
    faults: list[str] = []
    for sequence in range(1, max(names, default=0) + 1):
        if sequence not in names:
            faults.append(f"export {sequence} is missing: there is no {manifest_name(sequence)}")
            continue
        try:
            manifest = manifests.decode(_read_bounded(names[sequence]))
        except ValueError as error:
            faults.append(f"{names[sequence].name} cannot be read: {error}")
            continue
        if manifest.sequence != sequence:
            faults.append(f"{names[sequence].name} calls itself export {manifest.sequence}")
        before = chain[-1] if chain and chain[-1].sequence == sequence - 1 else None
        if sequence == 1 and manifest.previous is not None:
            faults.append(f"{names[sequence].name} names a predecessor, but is the first")
        elif before is not None and manifest.previous != before.sha256:
            faults.append(
                f"{manifest_name(sequence - 1)} is not the one that export {sequence} followed: its SHA-256 differs, "
                "one of the two was altered or exchanged"
            )
        chain.append(manifest)
    return chain, faults


def _orphans(directory: Path, following: int) -> list[str]:
    """Name data files that no interrupted run can have left, as it leaves those of export ``following`` alone."""
    return [
        f"{name} has no manifest"
        for name in sorted(entry.name for entry in directory.iterdir())
        if (data := _DATA_NAME.fullmatch(name)) and int(data[1]) > following
    ]


def _file_faults(directory: Path, manifest: Manifest) -> list[str]:
    faults = []
    for file in manifest.files:
        path = directory / file.name
        if not path.is_file():
            faults.append(f"{file.name} of export {manifest.sequence} is missing")
        elif path.stat().st_size != file.size or sha256(path) != file.sha256:
            faults.append(
                f"{file.name} of export {manifest.sequence} was altered: its SHA-256 differs from the manifest's"
            )
    return faults


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_MANIFEST + 1)
    if len(data) > MAX_MANIFEST:
        raise ValueError(f"is larger than {MAX_MANIFEST} bytes")
    return data


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield iter(file)
