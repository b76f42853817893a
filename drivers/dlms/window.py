"""Numbered HDLC frames: what one side sends and may have to send again, and which number it expects. IEC 62056-46, 6.4.4.

Numbers count modulo 8, and 1 to 7 frames may be on their way before an acknowledgement. A frame lost or damaged on the way is
recovered by going back to it: the other side says by N(R) which one it waits for, and everything from there on is sent
again, under the same numbers, so that nothing is ever taken twice.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from drivers.errors import RemoteProtocolError

MODULUS: Final = 8
MAX_REPEATS: Final = 3  # of one frame that the other side says it never got

Arrival = Literal["expected", "repeated", "ahead"]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one frame carries. ``is_last``: of its APDU."""

    number: int
    information: bytes
    is_last: bool


class Outbox:
    """One side's frames on their way. ``window``: how many may be unacknowledged.  ``next_number``: V(S)."""

    def __init__(self, window: int = 1) -> None:
        self.window = window
        self.next_number = 0
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._sent: deque[Piece] = deque()
        self._repeats = 0

    @property
    def is_empty(self) -> bool:
        """Whether all that was put in was sent and acknowledged."""
        return not self._sent and not self._waiting

    def put(self, octets: bytes, size: int) -> None:
        """Take an APDU, to be sent in pieces of at most ``size`` octets."""
        for at in range(0, len(octets), size):
            self._waiting.append((octets[at : at + size], at + size >= len(octets)))

    def burst(self) -> list[Piece]:
        """Give what may be sent now and has not been."""
        fresh = []
        while self._waiting and len(self._sent) < self.window:
            information, is_last = self._waiting.popleft()
            piece = Piece(self.next_number, information, is_last)
            self.next_number = (self.next_number + 1) % MODULUS
            self._sent.append(piece)
            fresh.append(piece)
        return fresh

    def acknowledge(self, number: int) -> int:
        """Take N(R): all before it arrived. Give how many that is. Raises `RemoteProtocolError` for one never sent."""
        arrived = (number - (self._sent[0].number if self._sent else self.next_number)) % MODULUS
        if arrived > len(self._sent):
            raise RemoteProtocolError(f"HDLC acknowledges {number}, we sent up to {self.next_number}")
        for _ in range(arrived):
            self._sent.popleft()
        if arrived:
            self._repeats = 0
        return arrived

    def is_past(self, number: int) -> bool:
        """Whether N(R) says what was true before the last acknowledgement: a word of the other side come late."""
        behind = ((self._sent[0].number if self._sent else self.next_number) - number) % MODULUS
        return 0 < behind <= self.window and MODULUS - behind > len(self._sent)

    def again(self) -> list[Piece]:
        """Give all that was sent and not acknowledged. Raises `RemoteProtocolError` where that was done often enough."""
        if self._sent:
            self._repeats += 1
            if self._repeats > MAX_REPEATS:
                raise RemoteProtocolError(
                    f"HDLC frame {self._sent[0].number} was sent {self._repeats} times and never taken"
                )
        return list(self._sent)


class Inbox:
    """The other side's frames. ``window``: how many it may send unacknowledged.  ``expected``: V(R)."""

    def __init__(self, window: int = 1) -> None:
        self.window = window
        self.expected = 0
        self.accepted = 0  # frames in all
        self._heard = 0

    def take(self, number: int) -> Arrival:
        """Take N(S). Raises `RemoteProtocolError` for a number that no window allows."""
        ahead = (number - self.expected) % MODULUS
        if ahead == 0:
            self.expected = (self.expected + 1) % MODULUS
            self.accepted += 1
        elif ahead >= self.window:
            if MODULUS - ahead <= self.window:
                return "repeated"
            raise RemoteProtocolError(f"HDLC frame number {number}, expected {self.expected}")
        self._heard += 1
        return "ahead" if ahead else "expected"

    @property
    def is_full(self) -> bool:
        """Whether the other side has sent all it may, whatever its final bit says, since we spoke last."""
        return self._heard >= self.window

    def spoke(self) -> None:
        """Note that we sent something, so that the other side may send again."""
        self._heard = 0
