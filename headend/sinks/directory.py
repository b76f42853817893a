"""`Directory`: files of which a manifest says which count. Whatever is interrupted when, the manifest's files are there, whole.

A file never changes: it is written under a name that holds its content's SHA-256, and a manifest, replaced by one rename, names
it instead of the one before. That one stays until the next manifest, for readers that are at it.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from headend.export.files import make_directory, publish, temporary, write_new

SCHEMA = "headend.parquet/1"
MANIFEST = "manifest.json"

_OURS = re.compile(r"[a-z_]+/(day=[0-9-]{10}/)?\.?[0-9]{5,}-[0-9]{12,}-[0-9a-f]{16}\.parquet(\.tmp)?", re.ASCII)
"""Names that `Directory.put` gives: other people's files may lie beside ours, and another sink's below."""

Key = tuple[str, str, int]
"""What a file holds: table, day as YYYY-MM-DD (empty for a table without days), group of owners."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file that the manifest names. ``seq``: the store's commit number as of which it was written."""

    name: str
    table: str
    day: str
    group: int
    rows: int
    bytes: int
    sha256: str
    seq: int

    @property
    def key(self) -> Key:
        """Say what it holds."""
        return self.table, self.day, self.group


class Directory:
    """One directory that one process writes. ``at_step``: told each step before it is taken (tests stop there)."""

    def __init__(self, path: Path, at_step: Callable[[str], None] = lambda _: None) -> None:
        self.path = path
        self._at_step = at_step
        self._live: dict[Key, LiveFile] = {}
        self._fresh: dict[Key, LiveFile] = {}
        self._retired: list[str] = []
        self.seq = 0
        """Commit number of the store up to which the manifest's files hold all changes."""

    @property
    def pending(self) -> int:
        """Count the files that were written and that no manifest names yet."""
        return len(self._fresh)

    def look(self) -> bool:
        """Learn what is there and remove what no manifest names; False where some of it, or all, must be written anew."""
        self._fresh.clear()
        is_whole = self._read_manifest()
        named = {*(file.name for file in self._live.values()), *self._retired}
        for path in sorted(self.path.rglob("*.parquet*")):
            name = str(path.relative_to(self.path))
            if name not in named and _OURS.fullmatch(name):
                self._at_step("remove what was left")
                path.unlink()
        temporary(self.path / MANIFEST).unlink(missing_ok=True)
        gone = [file for file in self._live.values() if not self._is_there(file)]
        if gone:
            _log.warning(
                "files of the manifest are gone or cut; all is written anew", files=len(gone), first=gone[0].name
            )
        for file in gone:
            del self._live[file.key]
        return is_whole and not gone

    def find(self, key: Key) -> LiveFile | None:
        """Give the newest file for a key."""
        return self._fresh.get(key) or self._live.get(key)

    def put(self, key: Key, data: bytes, rows: int, seq: int, sha256: str) -> None:
        """Write a file, durably; it counts from the next `publish` on. One that is there already is left."""
        table, day, group = key
        folder = self.path / table / f"day={day}" if day else self.path / table
        name = f"{group:05d}-{seq:012d}-{sha256[:16]}.parquet"
        file = LiveFile(str((folder / name).relative_to(self.path)), table, day, group, rows, len(data), sha256, seq)
        present = self.find(key)
        if present is None or present.name != file.name:
            make_directory(folder)
            write_new(temporary(folder / name), [data], "data", self._at_step)
            publish(temporary(folder / name), folder / name, "data", self._at_step)
            self._fresh[key] = file

    def publish(self, seq: int) -> None:
        """Let what was put count from now on, instead of what it supersedes; remove what an earlier manifest retired.

        ``seq``: see `seq`.
        """
        path = self.path / MANIFEST
        if not self._fresh and seq == self.seq and path.exists():
            return
        superseded = [self._live[key].name for key in self._fresh if key in self._live]
        live = self._live | self._fresh
        write_new(temporary(path), [encode(seq, live, superseded)], "manifest", self._at_step)
        publish(temporary(path), path, "manifest", self._at_step)
        retired, self._retired, self._live = self._retired, superseded, live
        self._fresh, self.seq = {}, seq
        for name in {*retired} - {file.name for file in live.values()}:
            self._at_step("remove what is superseded")
            (self.path / name).unlink(missing_ok=True)

    def _read_manifest(self) -> bool:
        self._live, self._retired, self.seq = {}, [], 0
        try:
            self.seq, self._live, self._retired = decode((self.path / MANIFEST).read_bytes())
        except FileNotFoundError:
            return False
        except ValueError as error:
            _log.warning(
                "the manifest cannot be read; all is written anew", path=str(self.path / MANIFEST), error=str(error)
            )
            return False
        return True

    def _is_there(self, file: LiveFile) -> bool:
        path = self.path / file.name
        return path.is_file() and path.stat().st_size == file.bytes


def encode(seq: int, live: Mapping[Key, LiveFile], retired: list[str]) -> bytes:
    """Make the manifest, files in the order of what they hold."""
    files = [asdict(file) for _, file in sorted(live.items())]
    return (json.dumps({"schema": SCHEMA, "seq": seq, "files": files, "retired": retired}, indent=1) + "\n").encode()


def decode(data: bytes) -> tuple[int, dict[Key, LiveFile], list[str]]:
    """Read a manifest: up to where it goes, what counts, and what that superseded. Raises `ValueError`."""
    try:
        document = json.loads(data)
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']!r:.80} is not {SCHEMA}")
        seq = int(document["seq"])
        files = [LiveFile(**item) for item in document["files"]]
        retired = [str(name) for name in document["retired"]]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in (*retired, *(file.name for file in files))):
        raise ValueError("it names a file outside its directory")
    return seq, {file.key: file for file in files}, retired
