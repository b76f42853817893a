"""Files that are complete or absent: written under a temporary name, fsynced, renamed, their directory fsynced."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headend.errors import ExportError


def temporary(target: Path) -> Path:
    """Name what a file is written as before it is there."""
    return target.with_name(f".{target.name}.tmp")


def write_new(path: Path, chunks: Iterable[bytes], what: str, at_step: Callable[[str], None]) -> tuple[str, int]:
    """Write and fsync a new file; give its SHA-256 and size. ``at_step`` is told each step before it is taken."""
    digest, size = hashlib.sha256(), 0
    at_step(f"create {what}")
    with path.open("xb") as file:
        for chunk in chunks:
            at_step(f"write {what}")
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        at_step(f"sync {what}")
        os.fsync(file.fileno())
    return digest.hexdigest(), size


def publish(written: Path, target: Path, what: str, at_step: Callable[[str], None]) -> None:
    """Give a written file its name, in the same directory, for good."""
    at_step(f"rename {what}")
    written.rename(target)
    at_step(f"sync directory of {what}")
    sync_directory(target.parent)


def sha256(path: Path) -> str:
    """Give a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file; the kernel lets go when the process dies. Raises `ExportError` with ``busy`` where another holds it."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportError(busy) from error
        yield


def make_directory(directory: Path) -> None:
    """Make a directory with its parents, so that it is still there after a power cut."""
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for path in made:
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
