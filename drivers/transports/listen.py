"""Sockets that wait for meters to call: TCP connections and UDP datagrams."""

import asyncio
import select
import socket
from dataclasses import dataclass

from drivers.errors import PortUnavailable, TransportError
from drivers.listen_url import ListenUrl
from drivers.transports.base import FdStream
from drivers.transports.tcp import adopt_socket

BACKLOG = 4_096  # connections the kernel may hold until we take them; it has its own limit, often this one
RECEIVE_BUFFER = 4 * 2**20  # of a UDP socket [octet]
MAX_DATAGRAM = 65_535


@dataclass(frozen=True, slots=True)
class TcpListener:
    """Waits for connections. What nobody accepts stays with the kernel, up to `BACKLOG`; beyond, callers try again."""

    _socket: socket.socket
    port: int

    async def accept(self) -> tuple[FdStream, str]:
        """Give the next connection and the address of its caller. Raises `TransportError` where one could not be taken."""
        try:
            connection, address = await asyncio.get_running_loop().sock_accept(self._socket)
        except OSError as error:
            raise TransportError(f"a call could not be taken: {error.strerror or error}") from error
        host = str(address[0])
        return adopt_socket(connection, f"call from {host}"), host

    def has_caller(self) -> bool:
        """Say whether a call waits to be taken."""
        if self._socket.fileno() < 0:
            return False
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        return bool(waiting.poll(0))

    def close(self) -> None:
        """Stop listening; closing twice is harmless."""
        self._socket.close()


@dataclass(frozen=True, slots=True)
class UdpListener:
    """Waits for datagrams. What does not fit the kernel's buffer is lost, as UDP allows."""

    _socket: socket.socket
    port: int

    async def receive(self) -> tuple[bytes, str]:
        """Give the next datagram and the address of its sender. Raises `TransportError`."""
        try:
            data, address = await asyncio.get_running_loop().sock_recvfrom(self._socket, MAX_DATAGRAM)
        except OSError as error:
            raise TransportError(f"a datagram could not be taken: {error.strerror or error}") from error
        return data, str(address[0])

    def close(self) -> None:
        """Stop listening; closing twice is harmless."""
        self._socket.close()


async def listen(url: ListenUrl) -> TcpListener | UdpListener:
    """Begin to listen. Raises `PortUnavailable` for an address that is not ours, busy or not permitted."""
    kind = socket.SOCK_STREAM if url.kind == "tcp" else socket.SOCK_DGRAM
    waiting: socket.socket | None = None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=kind, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        waiting = socket.socket(family, kind, protocol)
        waiting.setblocking(False)  # noqa: FBT003 - the standard library takes it by position
        if url.kind == "tcp":
            waiting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            waiting.bind(address)
            waiting.listen(BACKLOG)
            return TcpListener(waiting, waiting.getsockname()[1])
        waiting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        waiting.bind(address)
        return UdpListener(waiting, waiting.getsockname()[1])
    except (OSError, UnicodeError) as error:
        if waiting is not None:
            waiting.close()
        raise PortUnavailable(f"{url}: cannot listen there: {getattr(error, 'strerror', None) or error}") from error
