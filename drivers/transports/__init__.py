"""Carries bytes: serial ports, TCP connections and an in-memory null modem behind one `ByteStream`.

The only folder of the drivers that touches the operating system. Its errors become ours here, once, chained.
"""

from drivers.transports.base import Deadline, FdStream, pause
from drivers.transports.listen import TcpListener, UdpListener, listen
from drivers.transports.memory import MemoryStream, null_modem
from drivers.transports.open import open_transport
from drivers.transports.url import LinkUrl, MemoryUrl, SerialUrl, TcpUrl, parse_url

__all__ = [
    "Deadline",
    "FdStream",
    "LinkUrl",
    "MemoryStream",
    "MemoryUrl",
    "SerialUrl",
    "TcpListener",
    "TcpUrl",
    "UdpListener",
    "listen",
    "null_modem",
    "open_transport",
    "parse_url",
    "pause",
]
