"""A damaged store is set apart: a mark beside it says why, and nobody writes it, nor makes a new one in its place, while it is there."""

from contextlib import suppress
from pathlib import Path

from headend.errors import StoreError

MAX_MARK = 4_096
"""Longest mark that is read. [B]"""


def mark_of(store: str) -> Path:
    """Give the mark's path; the file need not be there."""
    return Path(f"{store}.damaged")


def quarantine(store: str, why: str) -> None:
    """Set a store apart; the first word on why stands. A device that takes no mark takes no other write either."""
    # The caller raises what he found, marked or not.
    with suppress(OSError), mark_of(store).open("x", encoding="utf-8") as mark:
        mark.write(f"{why[: MAX_MARK // 4]}\n")


def why_quarantined(store: str) -> str:
    """Say why a store is set apart, empty where it is not."""
    mark = mark_of(store)
    if not mark.exists():
        return ""
    with mark.open("rb") as file:
        return file.read(MAX_MARK).decode("utf-8", "replace").strip() or "no reason given"


def check_usable(store: str) -> None:
    """Refuse to write a store that is set apart, or to begin a new one where one is missing. Raises `StoreError`."""
    if why := why_quarantined(store):
        raise StoreError(
            f"{store}: damaged or not a store, and set apart ({why}); it is kept as it is: `headend store restore BACKUP` puts a backup in its"
            f" place and keeps it; where `headend store check` finds no fault in it, remove {mark_of(store).name}"
        )
    log = Path(f"{store}-wal")
    if not Path(store).exists() and log.exists() and log.stat().st_size:
        raise StoreError(
            f"{store}: is missing, but its log {log.name} is there; put the file back, or `headend store restore BACKUP`"
        )
