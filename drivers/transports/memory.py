"""A null modem in memory: two streams, each the other's far end. Tests and in-process simulators talk through it."""

import asyncio
from typing import Self

from drivers.errors import ConnectionLost, LocalProtocolError, TransportError, TransportTimeout
from drivers.transports.url import MemoryUrl


class MemoryStream:
    """One end of a null modem, a `ByteStream`."""

    def __init__(self, name: str, bits_per_second: int | None = None, bits_per_character: int = 10) -> None:
        self._name = name
        self._bits_per_second = bits_per_second
        self._bits_per_character = bits_per_character
        self._input = bytearray()
        self._arrived = asyncio.Event()
        self._is_open = True
        self._is_reading = False
        self._peer: MemoryStream | None = None

    @property
    def bits_per_second(self) -> int | None:
        """Line speed the modem claims to have, else None; nothing is paced. [bit/s]"""
        return self._bits_per_second

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte. [bit]"""
        return self._bits_per_character

    async def write(self, data: bytes) -> None:
        """Hand ``data`` to the far end. Raises `ConnectionLost`."""
        if not self._is_open:
            raise ConnectionLost(f"{self._name}: closed by us")
        if self._peer is None or not self._peer._is_open:  # noqa: SLF001 - the far end is one of us
            raise ConnectionLost(f"{self._name}: the other side hung up")
        self._peer._put(data)  # noqa: SLF001

    async def read(self, timeout: float) -> bytes:
        """Return all that has arrived, waiting at most ``timeout`` [s]. Raises `TransportTimeout`, `ConnectionLost`."""
        if self._is_reading:
            raise LocalProtocolError(f"{self._name}: two tasks read at once")
        self._is_reading = True
        try:
            async with asyncio.timeout(timeout):
                await self._arrived.wait()
        except TimeoutError as error:
            raise TransportTimeout(f"{self._name}: nothing arrived within {timeout:.2g} s") from error
        finally:
            self._is_reading = False
        if data := self.discard_input():
            return data
        raise ConnectionLost(f"{self._name}: {'the other side hung up' if self._is_open else 'closed by us'}")

    def discard_input(self) -> bytes:
        """Take what has arrived unread."""
        data = bytes(self._input)
        self._input.clear()
        if self._is_open and self._peer is not None and self._peer._is_open:  # noqa: SLF001
            self._arrived.clear()
        return data

    async def close(self) -> None:
        """Close this end; the far end may still read what it was sent. Closing twice is harmless."""
        if self._is_open:
            self._is_open = False
            self._input.clear()
            self._arrived.set()
            if self._peer is not None:
                self._peer._arrived.set()  # noqa: SLF001

    def _put(self, data: bytes) -> None:
        if data:
            self._input += data
            self._arrived.set()


def null_modem(
    name: str = "null modem", bits_per_second: int | None = None, bits_per_character: int = 10
) -> tuple[MemoryStream, MemoryStream]:
    """Make two streams, each the other's far end."""
    near = MemoryStream(name, bits_per_second, bits_per_character)
    far = MemoryStream(f"{name} (far end)", bits_per_second, bits_per_character)
    near._peer, far._peer = far, near  # noqa: SLF001 - the two are made as one
    return near, far


class MemoryListener:
    """Who answers on ``memory://name`` within this process. Use as a context manager."""

    _by_name: dict[str, "MemoryListener"] = {}  # noqa: RUF012 - the process's switchboard, one entry per open listener

    def __init__(self, name: str) -> None:
        if name in self._by_name:
            raise LocalProtocolError(f"memory://{name}: somebody listens there already")
        self._name = name
        self._callers: asyncio.Queue[MemoryStream] = asyncio.Queue()
        self._by_name[name] = self

    def __enter__(self) -> Self:
        """Listen."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening; connections made so far stay."""
        self._by_name.pop(self._name, None)

    async def accept(self) -> MemoryStream:
        """Wait for the next caller and return our end of its link."""
        return await self._callers.get()

    @classmethod
    def call(cls, url: MemoryUrl) -> MemoryStream:
        """Connect to the listener of this name. Raises `TransportError` where nobody listens."""
        listener = cls._by_name.get(url.name)
        if listener is None:
            raise TransportError(f"{url}: nobody listens under this name in this process")
        near, far = null_modem(str(url))
        listener._callers.put_nowait(far)  # noqa: SLF001 - a listener of this class
        return near
