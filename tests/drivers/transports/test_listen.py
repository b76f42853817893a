"""Sockets that wait for calls."""

import asyncio
import socket

import pytest

from drivers.errors import PortUnavailable, TransportError
from drivers.listen_url import ListenUrl, parse_listen_url
from drivers.transports import TcpListener, UdpListener, listen, open_transport


@pytest.mark.parametrize("text", ["tcp://0.0.0.0:4059", "udp://127.0.0.1:0", "tcp://[::1]:4059"])
def test_place_to_listen_reads_as_it_is_written(text: str) -> None:
    assert str(parse_listen_url(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4059",
        "tcp://0.0.0.0",
        "tcp://:4059",
        "serial:///dev/ttyS0",
        "tcp://h:99999",
        "tcp://h:1/x",
        "tcp://h:1?a=b",
    ],
)
def test_what_is_no_place_to_listen_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"write tcp://0\.0\.0\.0:4059"):
        parse_listen_url(text)


async def test_call_is_a_stream_with_its_caller() -> None:
    door = await listen(ListenUrl("tcp", "127.0.0.1", 0))
    assert isinstance(door, TcpListener)

    caller = await open_transport(f"tcp://127.0.0.1:{door.port}")
    stream, source = await door.accept()
    await caller.write(b"push")

    assert (await stream.read(1), source) == (b"push", "127.0.0.1")
    for one in (caller, stream):
        await one.close()
    door.close()
    door.close()


async def test_datagram_comes_whole_with_its_sender() -> None:
    door = await listen(ListenUrl("udp", "127.0.0.1", 0))
    assert isinstance(door, UdpListener)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.sendto(bytes(3_000), ("127.0.0.1", door.port))
        data, source = await asyncio.wait_for(door.receive(), 2)

    assert (len(data), source) == (3_000, "127.0.0.1")
    door.close()


async def test_busy_port_is_a_matter_for_a_person() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        place = ListenUrl("tcp", "127.0.0.1", busy.getsockname()[1])
        with pytest.raises(PortUnavailable, match="cannot listen there"):
            await listen(place)

    with pytest.raises(PortUnavailable, match="cannot listen there"):
        await listen(ListenUrl("tcp", "nobody.invalid", 0))


async def test_call_that_cannot_be_taken_is_a_transport_error(monkeypatch: pytest.MonkeyPatch) -> None:
    door = await listen(ListenUrl("tcp", "127.0.0.1", 0))
    assert isinstance(door, TcpListener)

    async def full(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_accept", full)
    with pytest.raises(TransportError, match="Too many open files"):
        await door.accept()
    door.close()
