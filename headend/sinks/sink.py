"""`Sink`: takes what changed to one server, and moves its cursor only past what the server holds for certain.

A window is read, sent, and, where the server acknowledges before it is durable, read back after it had time to settle. What
is lost is sent again. What is refused is halved until the poison stands alone; that goes into quarantine together with the
cursor's step, and the rest goes on. Nothing waits in memory but the one window.

With each request goes a beacon, a point of the sink's own at the present instant. A server that refuses even the beacon refuses
everything, so nothing is called poison meanwhile; a server that lost the beacon was lost itself, so its losses tell nothing
about the points. Only what is lost again and again beside a beacon that was kept is poison: points too old or too far in the
future, which some servers drop without a word.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from headend.clock import Clock, pause
from headend.errors import StoreError
from headend.sinks.lines import head
from headend.sinks.model import Journal, Poison, Refused, Server, Unavailable, Window
from headend.store.errors import StoreFull

MOST_LOSSES = 5
"""Times a line may be lost beside a beacon that was kept, before it is poison."""
FIRST_PAUSE = 1.0
"""Longest pause after the first failure; it doubles with each further one. [s]"""
LONGEST_PAUSE = 300.0
"""Longest pause of our own. [s]"""
LONGEST_ASKED = 3_600.0
"""Longest pause that a server may ask for. [s]"""

_log = structlog.get_logger(__name__)


class _Stopped(Exception):
    """We were told to stop; the cursor stands, so that nothing is lost."""


class Sink:
    """One cursor and one server. One task calls `run`."""

    def __init__(
        self,
        name: str,
        journal: Journal,
        server: Server,
        clock: Clock,
        random: Callable[[], float],
        *,
        settle: float = 0.0,
        pace: float = 5.0,
    ) -> None:
        """``random``: from [0, 1).  ``settle``: before lines are read back [s].  ``pace``: between looks at the log [s]."""
        self.name = name
        self._journal = journal
        self._server = server
        self._clock = clock
        self._random = random
        self._settle = settle
        self._pace = pace
        self._stop = asyncio.Event()
        self._failures = 0
        self._reported: str | None = None
        self._beacon_at = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop`` is set. Raises `StoreError` where the store's writer failed; of the server's troubles, nothing."""
        self._stop = stop
        while not stop.is_set():
            with suppress(_Stopped):
                await self._turn()

    async def _turn(self) -> None:
        try:
            if not await self.deliver():
                await self._wait(self._pace)
        except (_Stopped, StoreError):
            raise
        except Exception as error:  # noqa: BLE001  a fault in one sink must not stop the others, nor collection
            _log.exception("a sink failed; it goes on later", sink=self.name)
            await self._wait_out(f"a fault of this program: {error!r}")

    async def deliver(self) -> bool:
        """Deliver one window; False where nothing was waiting."""
        after = await self._journal.cursor()
        window = await self._read(after)
        if window.seq == after:
            return False
        poison = list(window.poison)
        if window.lines:
            poison += await self._deliver(window.lines, window.seq)
        await self._acknowledge(window.seq, poison)
        return True

    async def _read(self, after: int) -> Window:
        while True:
            try:
                return await self._journal.read(after)
            except StoreError as error:
                await self._wait_out(f"the store could not be read: {error}")

    async def _acknowledge(self, seq: int, poison: Sequence[Poison]) -> None:
        while True:
            try:
                await self._journal.acknowledge(seq, poison)
            except StoreFull as error:
                await self._wait_out(str(error))
            else:
                if poison:
                    _log.warning("points were quarantined", sink=self.name, points=len(poison), first=poison[0].reason)
                return

    async def _deliver(self, lines: Sequence[bytes], seq: int) -> list[Poison]:
        """Send lines until the server holds each, or will never; give those it never will."""
        poison: list[Poison] = []
        losses: Counter[bytes] = Counter()
        while lines:
            beacon = self._beacon(seq)
            refused = await self._send(lines, beacon)
            poison += refused
            if not self._server.reads_back:
                return poison
            bad = {item.point for item in refused}
            lines = [line for line in lines if line.decode() not in bad] if bad else lines
            await self._wait(self._settle)
            lost = await self._lost([*lines, beacon])
            if beacon in lost:
                lines = [line for line in lost if line != beacon]
                continue
            losses.update(lost)
            lines = [line for line in lost if losses[line] < MOST_LOSSES]
            poison += [
                Poison(line.decode(), f"the server acknowledged it {MOST_LOSSES} times and does not hold it so")
                for line in lost
                if losses[line] >= MOST_LOSSES
            ]
        return poison

    async def _send(self, lines: Sequence[bytes], beacon: bytes) -> list[Poison]:
        """Send lines, halving what is refused; give the single lines that are, twice, while the beacon is taken."""
        poison: list[Poison] = []
        suspects: set[bytes] = set()
        parts = [lines]
        while parts:
            part = parts.pop()
            try:
                await self._write([*part, beacon])
            except Refused as error:
                if len(part) > 1:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                elif part[0] in suspects:
                    poison.append(Poison(part[0].decode(), str(error)))
                else:
                    if await self._takes(beacon):
                        suspects.add(part[0])
                    parts.append(part)
        return poison

    async def _takes(self, beacon: bytes) -> bool:
        """Say whether the server takes anything at all; where it does not, wait."""
        try:
            await self._write([beacon])
        except Refused as error:
            await self._wait_out(f"the server refuses everything: {error}")
            return False
        return True

    async def _write(self, lines: Sequence[bytes]) -> None:
        """Send until the server has answered for or against. Raises `Refused`."""
        while True:
            try:
                await self._server.write(lines)
            except Unavailable as error:
                await self._wait_out(str(error), error.retry_after)
            else:
                await self._went_well()
                return

    async def _lost(self, lines: Sequence[bytes]) -> list[bytes]:
        while True:
            try:
                lost = await self._server.lost(lines)
            except Unavailable as error:
                await self._wait_out(str(error), error.retry_after)
            else:
                await self._went_well()
                return lost

    def _beacon(self, seq: int) -> bytes:
        """Make a point of our own; no two at one instant, so that an old one is never taken for a new one."""
        self._beacon_at = max(self._clock.now(), self._beacon_at + 1)
        return head("headend_sink", {"sink": self.name}) + f" seq={seq}i {self._beacon_at}".encode()

    async def _wait_out(self, error: str, asked: float = 0.0) -> None:
        """Pause after a failure: doubling, with jitter, and no shorter than the server asks. Says so once per outage."""
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 16))
        self._failures += 1
        if self._reported is None:
            _log.warning("a sink cannot deliver; it tries again", sink=self.name, error=error)
        if error != self._reported:
            self._reported = error
            await self._report(error)
        await self._wait(max(longest * (0.5 + self._random() / 2), min(asked, LONGEST_ASKED)))

    async def _went_well(self) -> None:
        self._failures = 0
        if self._reported is not None:
            self._reported = None
            _log.info("a sink delivers again", sink=self.name)
            await self._report("")

    async def _report(self, error: str) -> None:
        try:
            await self._journal.report(error)
        except StoreFull:
            self._reported = error or "?"  # said later, when there is room

    async def _wait(self, seconds: float) -> None:
        await pause(self._clock, seconds, self._stop)
        if self._stop.is_set():
            raise _Stopped
