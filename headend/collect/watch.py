"""A link as the line owner sees it: what meters take, whether the line is free, and who speaks on it unasked.

It passes bytes on unchanged. From the times of questions and answers it learns latencies, and from the pieces in which answers
come how many octets the UART lets gather; after a silence it knows how long
was waited, and `settle` listens for as long again, so that a late answer reaches nobody else's question.
"""

import math
from collections.abc import Callable

from drivers.contract import MOST_GATHERED, ByteStream
from drivers.errors import LineNoise, TransportTimeout
from drivers.transports.passing import PassingStream
from headend.clock import Clock

QUIET = 0.05  # silence after which a late answer is over; more than 30 characters at 9600 bit/s [s, real]
ENOUGH = 20  # answers in pieces before their size is believed
IDLE_CHARACTERS = 4  # a UART hands on what it has after so long a silence


class WatchedStream(PassingStream):
    """A `ByteStream` that notes when things happened. ``heard``: told after how long an answer began [clock s]."""

    def __init__(self, stream: ByteStream, clock: Clock) -> None:
        super().__init__(stream)
        self._clock = clock
        self._asked_at = 0.0  # when the last question left us [clock s]
        self._asked = 0  # its length, 0 once its answer has begun [octet]
        self._silent_for = 0.0  # how long its answer was waited for in vain [clock s]
        self._heard_at = -math.inf  # when anything arrived last [clock s]
        self._first = 0  # size of the answer's first piece, while it is the last [octet]
        self._gathered = 0  # most octets in a first piece that others followed [octet]
        self._in_pieces = 0  # such answers
        self.heard: Callable[[float], None] | None = None

    @property
    def is_line(self) -> bool:
        """Whether this is a line with a speed, which others may share."""
        return self._stream.bits_per_second is not None

    async def write(self, data: bytes) -> None:
        """Send all of ``data``. Raises `TransportError`."""
        self._asked_at, self._asked, self._silent_for, self._first = self._clock.monotonic(), len(data), 0.0, 0
        await self._stream.write(data)

    async def read(self, timeout: float) -> bytes:
        """Return at least one received byte, waiting at most ``timeout`` [real s]. Raises as `ByteStream` does."""
        try:
            data = await self._stream.read(timeout)
        except TransportTimeout:
            if not self._silent_for:
                self._silent_for = self._clock.monotonic() - self._asked_at
            raise
        self._heard_at = self._clock.monotonic()
        if self._asked:
            waited = self._heard_at - self._asked_at - self._wire(self._asked + len(data))
            self._asked, self._first = 0, len(data)
            if self.heard is not None:
                self.heard(max(0.0, waited))
        elif self._first:
            self._gathered, self._first = max(self._gathered, self._first), 0
            self._in_pieces += 1
        return data

    def gathers(self) -> int:
        """Give the octets that may gather before the first is handed on. [octet]"""
        return min(MOST_GATHERED, self._gathered + IDLE_CHARACTERS) if self._in_pieces >= ENOUGH else MOST_GATHERED

    def _wire(self, octets: int) -> float:
        speed = self._stream.bits_per_second
        return octets * self._stream.bits_per_character / speed if speed else 0.0

    async def settle(self) -> None:
        """Listen until a late answer has passed, or as long again as it was waited for. Raises `TransportError`."""
        end = self._asked_at + 2 * self._silent_for
        self._silent_for, self._asked = 0.0, 0
        has_begun = False
        while (left := (end - self._clock.monotonic()) / self._clock.rate) > 0:
            try:
                await self._stream.read(min(left, QUIET) if has_begun else left)
                has_begun = True
            except LineNoise:
                has_begun = True
            except TransportTimeout:
                break
        self._stream.discard_input()

    async def calm(self, limit: float) -> None:
        """Listen until noise is over, for ``limit`` [clock s] at most; no longer where it is. Raises `TransportError`."""
        if self._clock.monotonic() < self._heard_at + QUIET * self._clock.rate:
            await self.listen(QUIET, limit)

    async def listen(self, silence: float, limit: float) -> int:
        """Listen until nothing was said for ``silence`` [real s], or for ``limit`` [clock s]; give the octets heard.

        Raises `TransportError` but for silence.
        """
        heard = 0
        end = self._clock.monotonic() + limit
        while self._clock.monotonic() < end:
            try:
                heard += len(await self._stream.read(silence))
            except LineNoise:
                heard += 1
            except TransportTimeout:
                break
        return heard
