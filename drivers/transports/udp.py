"""UDP to one meter: what is written at once is one datagram, what is read is at least one."""

import asyncio
import socket

from drivers.errors import LocalProtocolError, TransportError
from drivers.transports.base import FdStream
from drivers.transports.url import UdpUrl

MAX_PAYLOAD = 65_507  # of a datagram over IPv4 [octet]


class DatagramStream(FdStream):
    """A `ByteStream` over a connected UDP socket; the kernel drops what others than the meter send."""

    async def write(self, data: bytes) -> None:
        """Send ``data`` as one datagram. Raises `ConnectionLost`, and `LocalProtocolError` for one that is too long."""
        if len(data) > MAX_PAYLOAD:
            raise LocalProtocolError(f"{self._name}: {len(data)} octets do not fit a datagram of {MAX_PAYLOAD}")
        await super().write(data)

    def _at_end(self) -> bytes:
        return b""  # an empty datagram says nothing, and ends nothing


async def open_udp(url: UdpUrl) -> DatagramStream:
    """Make a socket that speaks with one host and port alone. Raises `TransportError`; nobody is asked yet."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise TransportError(f"{url}: host not found: {error}") from error
    family, kind, protocol, _, address = found[0]
    connection = socket.socket(family, kind, protocol)
    try:
        connection.connect(address)
    except OSError as error:
        connection.close()
        raise TransportError(f"{url}: could not connect: {error.strerror or error}") from error
    return DatagramStream(connection.fileno(), str(url), connection.close)
