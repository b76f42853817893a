"""UDP to one meter."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from drivers.dlms.driver import open_session
from drivers.dlms.events import NEED_DATA, Apdu
from drivers.dlms.wrapper import WrapperLink
from drivers.errors import ConnectionLost, LocalProtocolError, TransportError, TransportTimeout
from drivers.facts import IntervalBlock
from drivers.transports import open_transport, parse_url
from tests.drivers.dlms.meter import DAY, Meter
from tests.drivers.dlms.test_driver import context, endpoint


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.settimeout(5)
        yield one


def url_of(far: socket.socket) -> str:
    return f"udp://127.0.0.1:{far.getsockname()[1]}"


async def test_a_write_is_one_datagram_and_a_read_gives_it(far: socket.socket) -> None:
    stream = await open_transport(url_of(far))

    await stream.write(bytes(20_000))
    octets, sender = far.recvfrom(65_535)
    far.sendto(b"answer", sender)

    assert octets == bytes(20_000)
    assert await stream.read(5) == b"answer"
    assert stream.bits_per_second is None
    await stream.close()


async def test_empty_datagram_ends_nothing(far: socket.socket) -> None:
    stream = await open_transport(url_of(far))
    await stream.write(b"?")
    _, sender = far.recvfrom(10)

    far.sendto(b"", sender)
    far.sendto(b"!", sender)

    assert await stream.read(5) == b"!"
    await stream.close()


async def test_datagram_of_a_stranger_is_not_heard(far: socket.socket) -> None:
    stream = await open_transport(url_of(far))
    await stream.write(b"?")
    _, sender = far.recvfrom(10)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"!", sender)

    with pytest.raises(TransportTimeout):
        await stream.read(0.1)
    await stream.close()


async def test_port_that_nobody_holds_is_a_lost_connection() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        url = url_of(free)
    stream = await open_transport(url)

    await stream.write(b"?")

    with pytest.raises(ConnectionLost):
        await stream.read(5)
    await stream.close()


async def test_too_long_a_datagram_is_refused_before_it_is_sent(far: socket.socket) -> None:
    stream = await open_transport(url_of(far))

    with pytest.raises(LocalProtocolError, match="do not fit a datagram"):
        await stream.write(bytes(65_508))

    await stream.close()


async def test_unknown_host_may_be_retried() -> None:
    with pytest.raises(TransportError, match="host not found"):
        await open_transport("udp://nobody.invalid:4059")


@pytest.mark.parametrize("text", ["udp://127.0.0.1", "udp://:4059", "udp://h:1/x", "udp://h:1?baud=9600"])
def test_url_that_is_wrong_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="udp"):
        parse_url(text)


def test_url_is_written_as_it_is_read() -> None:
    assert str(parse_url("udp://[2001:db8::7]:4059")) == "udp://[2001:db8::7]:4059"


class _Wrapped(asyncio.DatagramProtocol):
    """A meter that answers each datagram with one."""

    def __init__(self, meter: Meter, loses: frozenset[int] = frozenset()) -> None:
        self._meter = meter
        self._loses = loses
        self._count = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        link = WrapperLink(1, None)
        link.receive_data(data)
        self._count += 1
        while (event := link.next_event()) is not NEED_DATA:
            assert isinstance(event, Apdu)
            answer = link.send(Apdu(self._meter.answer(event.octets)))
            assert self._transport is not None
            if self._count not in self._loses:
                self._transport.sendto(answer, addr)


async def test_meter_is_read_over_udp() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Wrapped(Meter()), local_addr=("127.0.0.1", 0))
    stream = await open_transport(f"udp://127.0.0.1:{transport.get_extra_info('sockname')[1]}")

    async with open_session(stream, endpoint(), context()) as session:
        [block] = await session.read_load_profile(DAY, DAY + 86_400)

    assert isinstance(block, IntervalBlock)
    assert block.counts == tuple(range(1, 49))
    await stream.close()
    transport.close()


async def test_lost_datagram_is_silence() -> None:
    loop = asyncio.get_running_loop()
    lossy = _Wrapped(Meter(), frozenset({2}))
    transport, _ = await loop.create_datagram_endpoint(lambda: lossy, local_addr=("127.0.0.1", 0))
    stream = await open_transport(f"udp://127.0.0.1:{transport.get_extra_info('sockname')[1]}")

    with pytest.raises(TransportTimeout):
        async with open_session(stream, endpoint(), context()) as session:
            await session.read_load_profile(DAY, DAY + 86_400)

    await stream.close()
    transport.close()
