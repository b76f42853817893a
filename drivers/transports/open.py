"""One way to open any link."""

from drivers.contract import ByteStream
from drivers.errors import PortUnavailable
from drivers.transports.dialin import open_dial_in
from drivers.transports.echo import without_echo
from drivers.transports.memory import MemoryListener
from drivers.transports.rfc2217 import open_rfc2217
from drivers.transports.serial import open_serial
from drivers.transports.tcp import open_tcp
from drivers.transports.udp import open_udp
from drivers.transports.url import ListenLinkUrl, MemoryUrl, MqttUrl, Rfc2217Url, SerialUrl, TcpUrl, UdpUrl, parse_url


async def open_transport(url: str) -> ByteStream:
    """Open a link: ``tcp://host:port``, ``udp://host:port``, ``serial:///dev/ttyX?baud=9600&parity=N&bits=8&stop=1``,
    ``rfc2217://host:port?baud=9600``, ``mqtt://broker?tx=topic&rx=topic``, ``tcp-listen://host:port`` or ``memory://name``.

    Raises `PortUnavailable` for a bad URL or a port a person has to see to, other `TransportError` where a retry may help.
    """
    try:
        link = parse_url(url)
    except ValueError as error:
        raise PortUnavailable(str(error)) from error
    match link:
        case TcpUrl():
            return without_echo(await open_tcp(link), link.echo)
        case UdpUrl():
            return await open_udp(link)
        case SerialUrl():
            return without_echo(open_serial(link), link.echo)
        case Rfc2217Url():
            return without_echo(await open_rfc2217(link), link.echo)
        case ListenLinkUrl():
            return without_echo(await open_dial_in(link), link.echo)
        case MqttUrl():
            from drivers.transports.mqtt import open_mqtt  # noqa: PLC0415  few links need it, and it is slow to import

            return await open_mqtt(link)
        case MemoryUrl():
            return MemoryListener.call(link)
