"""TCP connections to a meter, a serial server or a gateway."""

import asyncio
import socket
from contextlib import suppress

from drivers.errors import TransportError
from drivers.transports.base import Deadline, FdStream
from drivers.transports.url import Form, TcpUrl


async def open_tcp(url: TcpUrl) -> FdStream:
    """Connect, trying each address of the host within the one timeout. Raises `TransportError`."""
    loop = asyncio.get_running_loop()
    deadline = Deadline(url.connect_timeout)
    failures: list[OSError] = []
    try:
        async with asyncio.timeout(deadline.remaining()):
            found = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
            for family, kind, protocol, _, address in found:
                connection = socket.socket(family, kind, protocol)
                try:
                    connection.setblocking(False)  # noqa: FBT003 - the standard library takes it by position
                    await loop.sock_connect(connection, address)
                except OSError as error:
                    connection.close()
                    failures.append(error)
                except BaseException:
                    connection.close()
                    raise
                else:
                    return adopt_socket(connection, str(url), url.form)
    except TimeoutError as error:
        raise TransportError(f"{url}: not connected within {url.connect_timeout} s") from error
    except (OSError, UnicodeError) as error:
        raise TransportError(f"{url}: host not found: {error}") from error
    reasons = "; ".join(dict.fromkeys(error.strerror or str(error) for error in failures)) or "the host has no address"
    raise TransportError(f"{url}: could not connect: {reasons}") from (failures[-1] if failures else None)


def adopt_socket(connection: socket.socket, name: str, form: Form | None = None) -> FdStream:
    """Make a stream of a connected socket, which it then owns. ``form``: of the serial line behind it, where there is one."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with suppress(OSError):  # socket pairs and other families have no such option, and no delay either
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    baud, bits = (form.baud, form.bits_per_character) if form else (None, 10)
    return FdStream(connection.fileno(), name, connection.close, baud, bits)
