"""An RS-485 line on which meters of several protocols hang together, each at its own speed and parity.

Who listens at another setting hears as many octets, and none of them right. Who speaks while somebody else does is garbled, and
so is the other; two who begin at the same moment pull the line low together. The host's side is a `ByteStream` in memory, timed
by the event loop: with a loop that skips waiting a scan of hours takes seconds.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from drivers.errors import ConnectionLost, LineNoise, LocalProtocolError, TransportTimeout
from drivers.iec62056.opening import FIRST_SPEED, TURN
from drivers.transports.url import Form
from simulators.dlms.gateway import DlmsGateway, DlmsPlace
from simulators.dlt645 import Dlt645Bus
from simulators.line import Answer
from simulators.meter import Position
from simulators.modbus import ModbusBus

ALIGNED: Final = 0.25  # of a character: who begins within that begins at the same moment
OPTICAL: Final = Form(FIRST_SPEED, "E", 7)
BUFFER: Final = 65_536  # of the host's UART and kernel [octet]


class Hears(Protocol):
    """A meter at its end of the line."""

    def __call__(self, data: bytes, now: int) -> Sequence[Answer]:
        """Hear octets that are complete at ``now`` [s UTC]; answer or keep quiet."""


@dataclass(frozen=True, slots=True)
class Station:
    """A meter on the line. ``delay``: what it takes longer than others of its kind before it answers. [s]"""

    form: Form
    hears: Hears
    delay: float = 0.0


@dataclass(slots=True, eq=False)
class _Sent:
    """What somebody put on the line. ``spoilt``: positions of characters that somebody else spoke into."""

    by: Station | None  # None for the host or another master
    begin: float
    form: Form
    data: bytearray
    is_foreign: bool = False
    spoilt: set[int] = field(default_factory=set)
    silent: int = 0  # characters at its begin that another's stand for

    @property
    def character(self) -> float:
        return self.form.bits_per_character / self.form.baud

    @property
    def end(self) -> float:
        return self.begin + len(self.data) * self.character


class MixedLine:
    """The wire: carries what is said, to all. ``heard``: gets each character at the host's end, None for a damaged one.

    ``noise``: chance that a character is hit on its way.  ``now``: [s UTC]
    """

    def __init__(
        self, stations: Sequence[Station], randomness: random.Random, now: Callable[[], int], noise: float = 0.0
    ) -> None:
        self.form = Form()
        self.heard: Callable[[int | None], None] = lambda _: None
        self.collisions = 0
        self.questions: list[tuple[Form, bytes]] = []
        self._stations = stations
        self._random = randomness
        self._now = now
        self._noise = noise
        self._air: list[_Sent] = []

    def ask(self, data: bytes, form: Form | None = None) -> float:
        """Let the host, or with ``form`` another master, speak; give when its last character is through. [s of the loop]"""
        loop = asyncio.get_running_loop()
        if form is None:
            self.questions.append((self.form, data))
        before = max(
            (sent.end for sent in self._air if sent.by is None and sent.is_foreign == (form is not None)), default=0.0
        )
        sent = _Sent(None, max(loop.time(), before), form or self.form, bytearray(data), form is not None)
        self._carry(sent)
        loop.call_at(sent.end, self._reach, sent)
        return sent.end

    def _carry(self, sent: _Sent) -> None:
        loop = asyncio.get_running_loop()
        self._air = [other for other in self._air if other.end > loop.time()]
        for other in self._air:
            self._collide(sent, other)
        self._air.append(sent)
        if sent.by is not None or sent.is_foreign:
            for at in range(len(sent.data)):
                loop.call_at(sent.begin + (at + 1) * sent.character, self._deliver, sent, at)

    def _collide(self, sent: _Sent, other: _Sent) -> None:
        begin, end = max(sent.begin, other.begin), min(sent.end, other.end)
        if end <= begin:
            return
        self.collisions += 1
        if sent.form == other.form and abs(sent.begin - other.begin) < ALIGNED * sent.character:
            sent.silent = min(len(sent.data), len(other.data))
            for at in range(sent.silent):
                other.data[at] &= sent.data[at]
            return
        for one in (sent, other):
            first = int((begin - one.begin) / one.character)
            last = min(len(one.data), int((end - one.begin) / one.character) + 1)
            one.spoilt |= set(range(first, last))

    def _reach(self, sent: _Sent) -> None:
        """Let the meters hear what is complete."""
        data = bytes(sent.data)
        spoilt = {at for at in range(len(data)) if at in sent.spoilt or self._random.random() < self._noise}
        right = bytes(self._random.randrange(256) if at in spoilt else octet for at, octet in enumerate(data))
        for station in self._stations:
            octets = right if station.form == sent.form else self._random.randbytes(len(data))
            for answer in station.hears(octets, self._now()):
                asyncio.get_running_loop().call_later(
                    answer.latency + station.delay, self._answer, station, bytearray(answer.data)
                )

    def _answer(self, station: Station, data: bytearray) -> None:
        self._carry(_Sent(station, asyncio.get_running_loop().time(), station.form, data))

    def _deliver(self, sent: _Sent, at: int) -> None:
        if at < sent.silent:
            return
        if sent.form == self.form and at not in sent.spoilt and self._random.random() >= self._noise:
            self.heard(sent.data[at])
        else:
            is_noticed = self._random.random() < (0.5 if self.form.parity != "N" else 0.25)
            self.heard(None if is_noticed else self._random.randrange(256))


class HostPort:
    """The host's port on a line: a `ByteStream` whose speed can be changed."""

    def __init__(self, line: MixedLine, form: Form = Form()) -> None:  # noqa: B008  a frozen value
        line.form = form
        line.heard = self._hear
        self._line = line
        self._input: deque[int | None] = deque(maxlen=BUFFER)
        self._arrived = asyncio.Event()
        self._is_open = True
        self._is_reading = False
        self._sent_until = 0.0
        self._heard_at = asyncio.get_running_loop().time()

    @property
    def bits_per_second(self) -> int | None:
        """Line speed. [bit/s]"""
        return self._line.form.baud

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte. [bit]"""
        return self._line.form.bits_per_character

    @property
    def has_parity(self) -> bool:
        """Whether a byte with wrong parity is never delivered."""
        return self._line.form.parity != "N"

    def silent_for(self) -> float:
        """Give the time since something arrived. [s]"""
        return asyncio.get_running_loop().time() - self._heard_at

    async def write(self, data: bytes) -> None:
        """Send all of ``data``. Raises `ConnectionLost`."""
        self._check_open()
        self._sent_until = self._line.ask(data)

    async def read(self, timeout: float) -> bytes:
        """Return what has arrived. Raises `TransportTimeout`, `ConnectionLost`, and `LineNoise` for a damaged byte."""
        self._check_open()
        if self._is_reading:
            raise LocalProtocolError("two tasks read at once")
        self._is_reading = True
        try:
            async with asyncio.timeout(timeout):
                await self._arrived.wait()
        except TimeoutError as error:
            raise TransportTimeout(f"nothing arrived within {timeout:.2g} s") from error
        finally:
            self._is_reading = False
        self._check_open()
        data = bytearray()
        while self._input and (octet := self._input[0]) is not None:
            data.append(octet)
            self._input.popleft()
        is_damaged = not data
        if is_damaged:
            self._input.popleft()
        if not self._input:
            self._arrived.clear()
        if is_damaged:
            raise LineNoise("a byte came damaged")
        return bytes(data)

    def discard_input(self) -> bytes:
        """Throw away what has arrived unread, and return it."""
        thrown = bytes(octet for octet in self._input if octet is not None)
        self._input.clear()
        self._arrived.clear()
        return thrown

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        """Change speed and form of characters, ``after`` the last one sent has left us so long. [s]"""
        self._check_open()
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._sent_until - loop.time()) + after)
        self._line.form = Form(baud, parity, bits)

    async def close(self) -> None:
        """Close; closing twice is harmless."""
        self._is_open = False
        self._arrived.set()

    def _hear(self, octet: int | None) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self._input.append(octet)
        self._arrived.set()

    def _check_open(self) -> None:
        if not self._is_open:
            raise ConnectionLost("closed by us")


def modbus_station(form: Form, position: Position, randomness: random.Random, delay: float = 0.0) -> Station:
    """Hang a Modbus meter on the line. Its frames end with a silence, so that it keeps nothing of what it did not understand."""
    return Station(form, lambda data, now: _one(ModbusBus([position], randomness).receive(data, now)), delay)


def dlt645_station(form: Form, position: Position, randomness: random.Random, delay: float = 0.0) -> Station:
    """Hang a DL/T 645 meter on the line."""
    bus = Dlt645Bus([position], randomness)
    return Station(form, lambda data, now: _one(bus.receive(data, now)), delay)


def dlms_station(form: Form, place: DlmsPlace, randomness: random.Random, delay: float = 0.0) -> Station:
    """Hang a DLMS meter on the line, HDLC."""
    return Station(form, DlmsGateway([place], randomness).hdlc_conversation().receive, delay)


def opening_station(identification: str, delay: float = 0.0) -> Station:
    """Hang a meter on the line that tells who it is to whoever opens with ``/?!`` at 300 baud, and no more. IEC 62056-21, 6.3."""
    said = [Answer(TURN, f"/{identification}\r\n".encode("ascii"))]
    return Station(OPTICAL, lambda data, _: said if data.endswith(b"/?!\r\n") else [], delay)


def _one(answer: Answer | None) -> list[Answer]:
    return [] if answer is None else [answer]
