"""One way to open any link."""

from drivers.contract import ByteStream
from drivers.errors import PortUnavailable
from drivers.transports.memory import MemoryListener
from drivers.transports.serial import open_serial
from drivers.transports.tcp import open_tcp
from drivers.transports.udp import open_udp
from drivers.transports.url import SerialUrl, TcpUrl, UdpUrl, parse_url


async def open_transport(url: str) -> ByteStream:
    """Open a link: ``tcp://host:port``, ``udp://host:port``, ``serial:///dev/ttyX?baud=9600&parity=N&bits=8&stop=1`` or ``memory://name``.

    Raises `PortUnavailable` for a bad URL or a port a person has to see to, other `TransportError` where a retry may help.
    """
    try:
        link = parse_url(url)
    except ValueError as error:
        raise PortUnavailable(str(error)) from error
    if isinstance(link, TcpUrl):
        return await open_tcp(link)
    if isinstance(link, UdpUrl):
        return await open_udp(link)
    if isinstance(link, SerialUrl):
        return open_serial(link)
    return MemoryListener.call(link)
