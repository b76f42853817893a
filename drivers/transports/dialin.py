"""A gateway that dials in to us, as a link: behind mobile networks nobody can call it.

We listen while the link is open. A gateway that calls anew, because it lost the connection and we do not know yet, takes the
place of the call before.
"""

import asyncio

from drivers.errors import TransportError
from drivers.listen_url import ListenUrl
from drivers.transports.base import FdStream
from drivers.transports.listen import TcpListener, listen
from drivers.transports.url import ListenLinkUrl


class DialInStream:
    """A `ByteStream` over the latest call to a port of ours."""

    def __init__(self, listener: TcpListener, call: FdStream, url: ListenLinkUrl) -> None:
        self._listener = listener
        self._call = call
        self._url = url

    @property
    def bits_per_second(self) -> int | None:
        """Speed of the line at the other end, None where the URL does not say. [bit/s]"""
        return self._url.form.baud if self._url.form else None

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte. [bit]"""
        return self._url.form.bits_per_character if self._url.form else 10

    async def write(self, data: bytes) -> None:
        """Send all of ``data`` over the latest call. Raises `TransportError`."""
        while self._listener.has_caller():
            await self._call.close()
            self._call, _ = await self._listener.accept()
        await self._call.write(data)

    async def read(self, timeout: float) -> bytes:
        """Return at least one received byte, waiting at most ``timeout`` [s]. Raises `TransportTimeout`, `ConnectionLost`."""
        return await self._call.read(timeout)

    def discard_input(self) -> bytes:
        """Throw away what has arrived unread, and return it."""
        return self._call.discard_input()

    async def close(self) -> None:
        """Hang up and stop listening; closing twice is harmless."""
        self._listener.close()
        await self._call.close()


async def open_dial_in(url: ListenLinkUrl) -> DialInStream:
    """Listen, and wait for the gateway's call. Raises `PortUnavailable`, and `TransportError` where nobody calls in time."""
    listener = await listen(ListenUrl("tcp", url.host, url.port))
    assert isinstance(listener, TcpListener)
    try:
        async with asyncio.timeout(url.connect_timeout):
            call, _ = await listener.accept()
            return DialInStream(listener, call, url)
    except TimeoutError as error:
        listener.close()
        raise TransportError(f"{url}: nobody called within {url.connect_timeout} s") from error
    except BaseException:
        listener.close()
        raise
