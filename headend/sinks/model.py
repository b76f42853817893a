"""What a sink is made of, and what it needs from either side: the store's journal and a server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headend.errors import HeadendError


class Refused(HeadendError):
    """The server will not take what was sent, now or later: something in it is poison."""


class Unavailable(HeadendError):
    """The server takes nothing at present. ``retry_after``: how long it asks to be left alone, 0 if it does not say. [s]"""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Poison:
    """A point that cannot be delivered. ``point``: the line, or what of the store it would have been made of."""

    point: str
    reason: str


@dataclass(frozen=True, slots=True)
class Window:
    """What changed after a cursor, as much of it as fits. ``seq``: where the cursor goes once all of it is delivered."""

    seq: int
    lines: Sequence[bytes] = ()
    poison: Sequence[Poison] = ()


class Journal(Protocol):
    """One sink's view of the store."""

    async def cursor(self) -> int:
        """Give the last change that is delivered for certain."""

    async def read(self, after: int) -> Window:
        """Read the next window; its ``seq`` is ``after`` where nothing changed. Raises `StoreError`.

        Where the place is one of files, they are written by it; raises `Unavailable` where they cannot be.
        """

    async def acknowledge(self, seq: int, poison: Sequence[Poison]) -> None:
        """Move the cursor and keep what was quarantined on the way, in one transaction. Raises `StoreError`."""

    async def report(self, error: str) -> None:
        """Note for other processes that nothing can be delivered, and why; empty: it can again. Raises `StoreError`."""


class Server(Protocol):
    """Where lines go. The same line again is harmless."""

    reads_back: bool
    """Whether an accepted line is believed only once it was read back."""

    async def write(self, lines: Sequence[bytes]) -> None:
        """Send lines. Raises `Refused` where some of them were not taken and never will be, `Unavailable`."""

    async def lost(self, lines: Sequence[bytes]) -> list[bytes]:
        """Give those of the lines that the server does not hold as they were sent. Raises `Unavailable`."""
