"""A link on top of a link: passes everything on, for those that look at some of it."""

from drivers.contract import ByteStream, ChangesSpeed, has_parity, silent_for
from drivers.errors import PortUnavailable


def changes_speed(stream: ByteStream) -> bool:
    """Say whether the speed of a link can be changed, whatever lies on it."""
    while isinstance(stream, PassingStream):
        stream = stream.below
    return isinstance(stream, ChangesSpeed)


class PassingStream:
    """A `ByteStream` that hands all it is asked to the one below it."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def __repr__(self) -> str:
        """Name the link."""
        return repr(self._stream)

    @property
    def below(self) -> ByteStream:
        """The link this one lies on."""
        return self._stream

    async def write(self, data: bytes) -> None:
        """Send all of ``data``. Raises `TransportError`."""
        await self._stream.write(data)

    async def read(self, timeout: float) -> bytes:
        """Return at least one received byte, waiting at most ``timeout`` [s]. Raises as `ByteStream` does."""
        return await self._stream.read(timeout)

    def discard_input(self) -> bytes:
        """Throw away what has arrived unread, and return it."""
        return self._stream.discard_input()

    async def close(self) -> None:
        """Close; closing twice is harmless."""
        await self._stream.close()

    @property
    def bits_per_second(self) -> int | None:
        """Line speed where there is one, else None. [bit/s]"""
        return self._stream.bits_per_second

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte. [bit]"""
        return self._stream.bits_per_character

    @property
    def has_parity(self) -> bool:
        """Whether a byte with wrong parity is never delivered."""
        return has_parity(self._stream)

    def silent_for(self) -> float:
        """Give the time since something arrived, or since the link was opened. [s, real]"""
        return silent_for(self._stream)

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        """Change the speed of the port. Raises `TransportError`, also where it has none."""
        if not isinstance(self._stream, ChangesSpeed):
            raise PortUnavailable("not a serial port, its speed cannot be changed")
        await self._stream.reconfigure(baud, parity, bits, after)
