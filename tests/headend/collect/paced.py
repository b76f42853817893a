"""A paced line of meters in memory, for virtual time: octets take the time that a line's speed gives them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from drivers.contract import ByteStream
from drivers.errors import DriverError
from drivers.transports import MemoryStream, null_modem
from drivers.transports.passing import PassingStream

FIFO = 14  # characters that a UART gathers
TURN = 0.020  # a meter's latency [s]
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

    def __init__(self, respond: Respond, baud: int = 9600, bits: int = 11) -> None:
        self.respond = respond
        self.said: list[tuple[float, bytes]] = []
        self.octets = 0
        self.far: MemoryStream | None = None
        self._form = baud, bits
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, url: str) -> ByteStream:
        near, far = null_modem(url, *self._form)
        self.far = far
        self._tasks.append(asyncio.create_task(self._carry(far)))
        return Port(near)

    async def _carry(self, far: MemoryStream) -> None:
        loop = asyncio.get_running_loop()
        character = self._form[1] / self._form[0]
        with suppress(DriverError):
            while True:
                question = await far.read(1e6)
                self.said.append((loop.time(), question))
                self.octets += len(question)
                await asyncio.sleep(len(question) * character)
                if answer := self.respond(question):
                    self.octets += len(answer)
                    await asyncio.sleep(TURN)
                    for begin in range(0, len(answer), FIFO):
                        piece = answer[begin : begin + FIFO]
                        await asyncio.sleep(len(piece) * character)
                        await far.write(piece)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
