"""Drops our own bytes where a two-wire adapter or an optical head gives them back to us.

``yes``: each byte sent must come back before anything else; what comes back changed tells of noise or of another talker.
``detect``: bytes equal to what was sent are held back. When more follows, they were an echo, and from then on it is taken as
one; when nothing follows, they were an answer that is equal to its question (a Modbus write), and are delivered.
"""

from drivers.contract import ByteStream
from drivers.errors import LineNoise, TransportTimeout
from drivers.transports.base import Deadline
from drivers.transports.passing import PassingStream
from drivers.transports.url import Echo

MAX_EXPECTED = 65_536  # sent and not come back, for whatever reason [octet]


class EchoFilter:
    """Compares what comes with what was sent. ``is_sure``: there is an echo, so bytes that differ are a fault."""

    def __init__(self, *, is_sure: bool) -> None:
        self.is_sure = is_sure
        self._is_told = is_sure
        self._expected = bytearray()
        self._held = bytearray()

    def sent(self, data: bytes) -> None:
        """Expect these bytes back."""
        self._expected += data
        del self._expected[:-MAX_EXPECTED]

    def received(self, data: bytes) -> bytes:
        """Give what of ``data`` is not ours, and what was held back in vain. Raises `LineNoise` for a changed echo."""
        same = _common(data, self._expected)
        rest = data[same:]
        del self._expected[:same]
        if not self._is_told:
            self._held += data[:same]
        if self.is_sure and not self._expected:
            self._held.clear()  # all of it came back
        if not rest:
            return b""
        if self._expected:
            missing = len(self._expected)
            self._expected.clear()
            if self._is_told:
                raise LineNoise(
                    f"our own bytes came back changed, {missing} from the end: noise, or somebody else talks"
                )
            self.is_sure = False
            return self.release() + rest
        self.is_sure = self.is_sure or bool(self._held)
        self._held.clear()
        return rest

    def release(self) -> bytes:
        """Give what was held back: nothing followed, so it was no echo."""
        held = bytes(self._held)
        self._held.clear()
        return held

    def forget(self) -> None:
        """Expect nothing of what was sent so far."""
        self._expected.clear()
        self._held.clear()


def _common(one: bytes, other: bytearray) -> int:
    if other.startswith(one):
        return len(one)
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


class EchoStream(PassingStream):
    """A link without its echo."""

    def __init__(self, stream: ByteStream, *, is_sure: bool) -> None:
        super().__init__(stream)
        self._filter = EchoFilter(is_sure=is_sure)

    async def write(self, data: bytes) -> None:
        """Send all of ``data``. Raises `TransportError`."""
        self._filter.sent(data)
        await self._stream.write(data)

    async def read(self, timeout: float) -> bytes:
        """Return at least one received byte that is not ours, waiting at most ``timeout`` [s]. Raises as `ByteStream` does."""
        deadline = Deadline(timeout)
        while True:
            try:
                data = await self._stream.read(deadline.remaining())
            except TransportTimeout:
                if held := self._filter.release():
                    return held
                raise
            if data := self._filter.received(data):
                return data

    def discard_input(self) -> bytes:
        """Throw away what has arrived unread, and return it."""
        self._filter.forget()
        return self._stream.discard_input()

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        """Change the speed of the port. Raises `TransportError`, also where it has none."""
        self._filter.forget()
        await super().reconfigure(baud, parity, bits, after)


def without_echo(stream: ByteStream, echo: Echo) -> ByteStream:
    """Give the link as it is, or without its echo."""
    return stream if echo == "no" else EchoStream(stream, is_sure=echo == "yes")
