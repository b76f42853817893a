"""Gateways that dial in to us, and lines tunneled over a broker."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import aiomqtt
import pytest

from drivers.errors import ConnectionLost, PortUnavailable, TransportError, TransportTimeout
from drivers.transports import open_transport
from tests.simulators.broker import Broker, needs_mosquitto


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_a_gateway_dials_in_and_a_new_call_takes_the_place_of_the_old() -> None:
    port = a_free_port()
    opening = asyncio.create_task(open_transport(f"tcp-listen://127.0.0.1:{port}?baud=2400&parity=E"))
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stream = await opening

    await stream.write(b"one")
    assert await reader.readexactly(3) == b"one"
    again, other = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0.05)
    await stream.write(b"two")
    assert await again.readexactly(3) == b"two"
    other.write(b"answer")

    assert await stream.read(1) == b"answer"
    assert await reader.read() == b""
    assert (stream.bits_per_second, stream.bits_per_character) == (2400, 11)
    await stream.close()
    with pytest.raises(ConnectionLost):
        await stream.write(b"late")
    for one in (writer, other):
        one.close()
        await one.wait_closed()


async def test_nobody_who_calls_is_a_failure_worth_a_retry_and_the_port_is_free_again() -> None:
    url = f"tcp-listen://127.0.0.1:{a_free_port()}?connect_timeout=1"

    for _ in range(2):
        with pytest.raises(TransportError, match="nobody called within 1 s") as caught:
            await open_transport(url)
        assert caught.value.retryable


async def test_a_port_in_use_needs_a_person() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(PortUnavailable):
        await open_transport(f"tcp-listen://127.0.0.1:{server.getsockname()[1]}")


@needs_mosquitto
async def test_bytes_are_tunneled_over_a_broker_and_old_ones_kept_there_are_no_answer(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    await broker.start()
    try:
        async with aiomqtt.Client("127.0.0.1", broker.port) as gateway:
            await gateway.publish("line/up", b"an old answer", retain=True)
            await gateway.subscribe("line/down")
            stream = await open_transport(f"{broker.url}?tx=line/down&rx=line/up&baud=9600&parity=E")
            with pytest.raises(TransportTimeout):
                await stream.read(0.1)

            await stream.write(b"question\x00\xff")
            asked = (await anext(aiter(gateway.messages))).payload
            await gateway.publish("line/up", b"ans")
            await gateway.publish("line/up", b"wer")
            answer = b""
            while len(answer) < 6:
                answer += await stream.read(2)

        assert (asked, answer) == (b"question\x00\xff", b"answer")
        assert (stream.bits_per_second, stream.bits_per_character) == (9600, 11)
    finally:
        await broker.kill()
    with pytest.raises(ConnectionLost):
        await stream.read(5)
    with suppress(ConnectionLost):
        await stream.close()


async def test_no_broker_is_a_failure_worth_a_retry() -> None:
    with pytest.raises(TransportError) as caught:
        await open_transport(f"mqtt://127.0.0.1:{a_free_port()}?tx=a&rx=b&connect_timeout=2")

    assert caught.value.retryable
