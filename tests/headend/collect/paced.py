"""A paced line in virtual time, 9600 8E1 where nothing else is said, owned by the line's owner."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from drivers.contract import ByteStream, SessionContext
from drivers.counters import NoCounters
from drivers.errors import DriverError
from drivers.iec62056.opening import CHANGE_PAUSE, FIRST_SPEED
from drivers.transports import MemoryStream, null_modem
from drivers.transports.passing import PassingStream
from headend.collect.line import LineOwner
from tests.drivers.dlms.meter import DAY
from tests.headend.collect.virtual import LoopClock

BAUD, BITS = 9600, 11
HEAD_BITS = 10  # of a character of 7E1
CHARACTER = BITS / BAUD  # [s]
FIFO = 14  # characters that a UART gathers
TURN = 0.020  # a meter's latency [s]
HOST_MARGIN = 0.1  # what the drivers allow the host [s]
DECLARED = 1.0  # latency that the profile declares [s]
Respond = Callable[[bytes], bytes]


class Port(PassingStream):
    """The host's end, which knows as a serial port does since when nothing has arrived."""

    def __init__(self, stream: ByteStream) -> None:
        super().__init__(stream)
        self._heard_at = asyncio.get_running_loop().time()

    async def read(self, timeout: float) -> bytes:
        data = await super().read(timeout)
        self._heard_at = asyncio.get_running_loop().time()
        return data

    def silent_for(self) -> float:
        return asyncio.get_running_loop().time() - self._heard_at


class Bus:
    """A paced line as an `Open`: ``respond`` hears each question when it is complete, and answers after `TURN`.

    ``said``: what the host sent, and when [s].  ``octets``: carried so far, both ways.
    """

    def __init__(self, respond: Respond, baud: int | None = BAUD) -> None:
        """``baud``: what the link says its speed is, None for a connection, behind which the line has `BAUD`."""
        self.respond = respond
        self._baud = baud
        self.said: list[tuple[float, bytes]] = []
        self.octets = 0
        self.far: MemoryStream | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, url: str) -> ByteStream:
        near, far = null_modem(url, self._baud, BITS)
        self.far = far
        self._tasks.append(asyncio.create_task(self._carry(far)))
        return Port(near)

    async def _carry(self, far: MemoryStream) -> None:
        loop = asyncio.get_running_loop()
        with suppress(DriverError):
            while True:
                question = await far.read(1e6)
                self.said.append((loop.time(), question))
                self.octets += len(question)
                await asyncio.sleep(len(question) * self.character())
                if answer := self.respond(question):
                    self.octets += len(answer)
                    await asyncio.sleep(self.turn(question))
                    for begin in range(0, len(answer), FIFO):
                        piece = answer[begin : begin + FIFO]
                        await asyncio.sleep(len(piece) * self.character())
                        await far.write(piece)

    def character(self) -> float:
        """Give the time that a character takes. [s]"""
        return BITS / (self._baud or BAUD)

    def turn(self, question: bytes) -> float:  # noqa: ARG002  other meters take longer for some
        """Give the time from a question to its answer. [s]"""
        return TURN

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class HeadBus(Bus):
    """A line of IEC 62056-21 meters at a port whose speed the protocol changes; the meters change 250 ms behind our answer."""

    def __init__(self, respond: Respond) -> None:
        super().__init__(respond, FIRST_SPEED)
        self.head: Head | None = None

    async def open(self, url: str) -> ByteStream:
        stream = await super().open(url)
        assert isinstance(stream, Port)
        assert isinstance(stream.below, MemoryStream)
        stream.below.__class__ = Head
        assert isinstance(stream.below, Head)
        self.head = stream.below
        self.head.speed, self.head.sent_until = FIRST_SPEED, 0.0
        return stream

    def character(self) -> float:
        assert self.head is not None
        return HEAD_BITS / self.head.speed

    def turn(self, question: bytes) -> float:
        return CHANGE_PAUSE + 0.001 if question.startswith(b"\x06") and len(question) > 1 else TURN


class Head(MemoryStream):
    """A serial port at an optical head. ``speed``: [bit/s]  ``sent_until``: when the last character has left us."""

    has_parity = True
    speed: int
    sent_until: float

    async def write(self, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self.sent_until = max(now, self.sent_until) + len(data) * HEAD_BITS / self.speed
        await super().write(data)

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        assert (parity, bits) == ("E", 7)
        await asyncio.sleep(max(0.0, self.sent_until - asyncio.get_running_loop().time()) + after)
        self.speed = baud


@asynccontextmanager
async def owned(bus: Bus) -> AsyncIterator[LineOwner]:
    async with LineOwner("serial:///bus", bus.open, LoopClock()) as line:
        yield line
    await bus.close()


def context() -> SessionContext:
    return SessionContext(lambda: DAY, bytes, NoCounters())
