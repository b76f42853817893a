"""`LineSink`: takes lines to one server, and moves its cursor only past what the server holds for certain.

A window is read, sent, and, where the server acknowledges before it is durable, read back after it had time to settle; the
next windows are sent meanwhile. What is lost is sent again. What is refused is halved until the poison stands alone; that goes
into quarantine together with the cursor's step, and the rest goes on. What is on its way waits in memory, packed and bounded;
the cursor passes windows in the order of the log.

With each request goes a beacon, a point of the sink's own at the present instant. A server that refuses even the beacon refuses
everything, so nothing is called poison meanwhile; a server that lost the beacon was lost itself, so its losses tell nothing
about the points. Only what is lost again and again beside a beacon that was kept is poison: points too old or too far in the
future, which some servers drop without a word.
"""

import zlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from drivers.facts import UtcSeconds
from headend.clock import Clock
from headend.errors import HeadendError
from headend.sinks.lines import head
from headend.sinks.model import Journal, Poison, Refused, Server, Unavailable
from headend.sinks.sink import Sink

MOST_LOSSES = 5
"""Times a line may be lost beside a beacon that was kept, before it is poison."""
DESCRIBE_PACE = 3_600.0
"""How often what is not in the log is said anew. [s]"""
MOST_ON_THE_WAY = 3_000_000
"""Lines after which no further window is sent until some have been read back. They take about 10 B each, packed."""
LANES = 16
"""Series that beacons take turns in, so that no two stand at one instant unless more windows go out in a second."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Flight:
    """A window on its way. ``packed``: its ``count`` lines, deflated.  ``due``: when to read them back. [monotonic s]"""

    seq: int
    packed: bytes = b""
    count: int = 0
    due: float = 0.0
    beacon: bytes = b""
    poison: list[Poison] = field(default_factory=list)
    losses: Counter[bytes] = field(default_factory=Counter)
    has_landed: bool = False


class LineSink(Sink):
    """One cursor and one server."""

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
        describe: Callable[[UtcSeconds], Awaitable[Sequence[bytes]]] | None = None,
    ) -> None:
        """``settle``: before lines are read back [s].  ``describe``: makes lines that are not in the log, as of now.

        The others: see `Sink`.
        """
        super().__init__(name, journal, clock, random, pace=pace)
        self._server = server
        self._settle = settle
        self._flights: deque[_Flight] = deque()
        self._beacons = [0] * LANES
        self._lane = 0
        self._describe = describe
        self._described_at = -DESCRIBE_PACE

    async def _step(self) -> bool:
        """Read back what had time to settle; else send the next window; else wait for either."""
        flying = [flight for flight in self._flights if not flight.has_landed]
        first = min(flying, key=lambda flight: flight.due, default=None)
        if first is not None and first.due <= self._clock.monotonic():
            await self._read_back(first)
            await self._land()
            return True
        if sum(flight.count for flight in flying) < MOST_ON_THE_WAY:
            after = self._flights[-1].seq if self._flights else await self._journal.cursor()
            if self._describe is not None and self._described_at + DESCRIBE_PACE <= self._clock.monotonic():
                await self._send_description(after)
                return True
            window = await self._read(after)
            if window.seq != after:
                flight = _Flight(window.seq, poison=list(window.poison))
                self._flights.append(flight)
                await self._take_off(flight, window.lines)
                await self._land()
                return True
        if first is None:
            return False
        await self._wait(min(self._pace, max(0.0, first.due - self._clock.monotonic())))
        return True

    async def _send_description(self, after: int) -> None:
        """Send what is not in the log; the cursor stays where it is."""
        assert self._describe is not None
        self._described_at = self._clock.monotonic()
        try:
            lines = await self._describe(self._clock.now())
        except HeadendError as error:
            _log.warning(
                "where meters are cannot be said now; it is tried again later", sink=self.name, error=str(error)
            )
            return
        flight = _Flight(after)
        self._flights.append(flight)
        await self._take_off(flight, lines)
        await self._land()

    def _begin_anew(self) -> None:
        self._flights.clear()

    async def _take_off(self, flight: _Flight, lines: Sequence[bytes]) -> None:
        """Send lines until the server has accepted each, or never will."""
        if lines:
            flight.beacon = self._beacon(flight.seq)
            refused = await self._send(lines, flight.beacon)
            flight.poison += refused
            bad = {item.point for item in refused}
            lines = [line for line in lines if line.decode() not in bad] if bad else lines
        flight.has_landed = not lines or not self._server.reads_back
        flight.packed, flight.count = (
            (b"", 0) if flight.has_landed else (zlib.compress(b"\n".join(lines), 1), len(lines))
        )
        flight.due = self._clock.monotonic() + self._settle

    async def _read_back(self, flight: _Flight) -> None:
        """Send again what the server does not hold; what it loses again and again is poison."""
        lost = await self._lost([*zlib.decompress(flight.packed).split(b"\n"), flight.beacon])
        if flight.beacon in lost:
            lost.remove(flight.beacon)
        else:
            flight.losses.update(lost)
            flight.poison += [
                Poison(line.decode(), f"the server acknowledged it {MOST_LOSSES} times and does not hold it so")
                for line in lost
                if flight.losses[line] >= MOST_LOSSES
            ]
            lost = [line for line in lost if flight.losses[line] < MOST_LOSSES]
        await self._take_off(flight, lost)

    async def _land(self) -> None:
        """Move the cursor past the windows that are delivered, up to the first that is not."""
        seq, poison, landed = 0, [], 0
        for flight in self._flights:
            if not flight.has_landed:
                break
            seq, landed = flight.seq, landed + 1
            poison += flight.poison
        if landed:
            await self._acknowledge(seq, poison)
            for _ in range(landed):
                self._flights.popleft()

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
        """Make a point of our own; no two of a series at one instant, so that an old one is never taken for a new one."""
        self._lane = (self._lane + 1) % LANES
        at = self._beacons[self._lane] = max(self._clock.now(), self._beacons[self._lane] + 1)
        return head("headend_sink", {"sink": self.name, "lane": str(self._lane)}) + f" seq={seq}i {at}".encode()
