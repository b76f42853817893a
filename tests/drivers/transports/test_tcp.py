"""TCP connections."""

import asyncio
import os
import socket

import pytest

from drivers.errors import ConnectionLost, TransportError, TransportTimeout
from drivers.transports import base, open_transport
from drivers.transports.tcp import adopt_socket


async def test_refused_connection_may_be_retried() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))

        with pytest.raises(TransportError, match="could not connect") as caught:
            await open_transport(f"tcp://127.0.0.1:{free.getsockname()[1]}")

    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("host", ["nobody.invalid", "a" * 64 + ".invalid"])
async def test_unknown_host_may_be_retried(host: str) -> None:
    with pytest.raises(TransportError, match="host not found") as caught:
        await open_transport(f"tcp://{host}:1")

    assert caught.value.retryable


async def test_second_address_is_tried_where_the_first_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        address = server.getsockname()

        async def two(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one) for one in (deaf.getsockname(), address)]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
        stream = await open_transport(f"tcp://meter.example:{address[1]}")
        await stream.close()


async def test_connection_that_does_not_come_about_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)

    with pytest.raises(TransportError, match="not connected within 1 s"):
        await open_transport("tcp://127.0.0.1:1?connect_timeout=1")


async def test_large_write_waits_for_a_slow_reader() -> None:
    near, far = (adopt_socket(one, "pair") for one in socket.socketpair())
    block = os.urandom(4_000_000)

    writing = asyncio.create_task(near.write(block))
    received = b""
    while len(received) < len(block):
        received += await far.read(5)
    await writing

    assert received == block
    await near.close()
    await far.close()


async def test_peer_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "WRITE_TIMEOUT", 0.05)
    near, far = (adopt_socket(one, "pair") for one in socket.socketpair())

    with pytest.raises(TransportTimeout, match="nothing could be sent"):
        await near.write(bytes(4_000_000))

    await near.close()
    await far.close()


async def test_reset_connection_is_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = await open_transport(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        connection, _ = server.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

        with pytest.raises(ConnectionLost):
            await stream.read(5)

    await stream.close()


async def test_endless_input_is_not_discarded_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_DISCARD", 100)
    monkeypatch.setattr(base, "READ_SIZE", 60)
    near, far = (adopt_socket(one, "pair") for one in socket.socketpair())
    await far.write(bytes(1000))

    assert len(near.discard_input()) == 120
    assert len(await near.read(1)) == 60
    await near.close()
    await far.close()


async def test_stream_names_itself() -> None:
    near, far = (adopt_socket(one, "tcp://192.0.2.7:4059") for one in socket.socketpair())

    await near.close()

    assert repr(far) == "<FdStream tcp://192.0.2.7:4059 open>"
    assert repr(near) == "<FdStream tcp://192.0.2.7:4059 closed>"
    await far.close()
