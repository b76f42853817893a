"""What every byte stream does alike: memory, TCP and serial through a pseudo-terminal."""

import asyncio
import os
import socket
import time
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from drivers.contract import ByteStream, silent_for
from drivers.errors import ConnectionLost, LocalProtocolError, TransportTimeout
from drivers.transports import FdStream, open_transport
from drivers.transports.memory import MemoryListener
from drivers.transports.tcp import adopt_socket
from drivers.transports.trace import RecordingStream


@dataclass
class Pair:
    near: ByteStream
    far: ByteStream


@asynccontextmanager
async def memory() -> AsyncIterator[Pair]:
    with MemoryListener("bus") as listener:
        near = await open_transport("memory://bus")
        yield Pair(near, await listener.accept())


@asynccontextmanager
async def tcp() -> AsyncIterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = await open_transport(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        connection, _ = server.accept()
        yield Pair(near, adopt_socket(connection, "far end"))


@asynccontextmanager
async def pty() -> AsyncIterator[Pair]:
    master, slave = os.openpty()
    tty.setraw(slave)
    near = await open_transport(f"serial://{os.ttyname(slave)}?baud=9600")
    os.close(slave)
    yield Pair(near, FdStream(master, "far end", partial(os.close, master)))


@pytest.fixture(params=[memory, tcp, pty], ids=["memory", "tcp", "serial"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with request.param() as both:
        yield both
        await both.near.close()
        await both.far.close()


async def test_what_arrived_while_the_loop_was_held_up_is_no_silence(pair: Pair) -> None:
    reading = asyncio.create_task(pair.near.read(0.01))
    await asyncio.sleep(0)
    await pair.far.write(b"in time")
    time.sleep(0.05)  # noqa: ASYNC251  somebody else holds up the loop

    assert await reading == b"in time"


async def gather(stream: ByteStream, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += await stream.read(5)
    return received


async def test_all_bytes_come_through_both_ways(pair: Pair) -> None:
    every = bytes(range(256))

    await pair.near.write(every)
    await pair.far.write(every[::-1])

    assert await gather(pair.far, 256) == every
    assert await gather(pair.near, 256) == every[::-1]


async def test_silence_is_a_timeout(pair: Pair) -> None:
    for timeout in (0.0, 0.02):
        with pytest.raises(TransportTimeout, match="nothing arrived"):
            await pair.near.read(timeout)


async def test_waiting_reader_gets_what_comes_later(pair: Pair) -> None:
    reading = asyncio.create_task(pair.near.read(5))
    await asyncio.sleep(0.02)

    await pair.far.write(b"late")

    assert await reading == b"late"


async def test_far_end_closing_is_a_lost_connection(pair: Pair) -> None:
    await pair.far.write(b"last words")
    await asyncio.sleep(0.02)
    received = await pair.near.read(5)
    reading = asyncio.create_task(pair.near.read(5))
    await asyncio.sleep(0.02)

    await pair.far.close()

    assert received == b"last words"
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await reading
        reading = asyncio.create_task(pair.near.read(5))
    with pytest.raises(ConnectionLost):
        await reading


async def test_writing_to_a_closed_far_end_is_a_lost_connection(pair: Pair) -> None:
    await pair.far.close()

    async def keep_asking() -> None:
        for _ in range(3):
            await pair.near.write(b"anybody there?")
            await asyncio.sleep(0.02)

    with pytest.raises(ConnectionLost):
        await keep_asking()


async def test_discarded_input_is_returned_and_gone(pair: Pair) -> None:
    await pair.far.write(b"noise")
    await asyncio.sleep(0.02)

    assert pair.near.discard_input() == b"noise"
    assert pair.near.discard_input() == b""
    with pytest.raises(TransportTimeout):
        await pair.near.read(0.02)


async def test_discarding_on_a_lost_connection_leaves_the_error_to_the_next_read(pair: Pair) -> None:
    await pair.far.close()
    await asyncio.sleep(0.02)

    assert pair.near.discard_input() == b""
    with pytest.raises(ConnectionLost):
        await pair.near.read(0.5)


async def test_closing_twice_is_harmless_and_ends_the_waiting_reader(pair: Pair) -> None:
    reading = asyncio.create_task(pair.near.read(5))
    await asyncio.sleep(0.02)

    await pair.near.close()
    await pair.near.close()

    with pytest.raises(ConnectionLost, match="closed by us"):
        await reading
    with pytest.raises(ConnectionLost, match="closed by us"):
        await pair.near.read(1)
    with pytest.raises(ConnectionLost, match="closed by us"):
        await pair.near.write(b"x")


async def test_two_readers_at_once_are_our_bug(pair: Pair) -> None:
    reading = asyncio.create_task(pair.near.read(5))
    await asyncio.sleep(0.02)

    with pytest.raises(LocalProtocolError, match="two tasks"):
        await pair.near.read(1)

    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_cancelled_reader_leaves_the_stream_usable(pair: Pair) -> None:
    reading = asyncio.create_task(pair.near.read(5))
    await asyncio.sleep(0.02)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    await pair.far.write(b"still here")

    assert await pair.near.read(5) == b"still here"


async def test_a_link_knows_for_how_long_it_has_been_silent_and_one_on_top_of_it_too() -> None:
    left, right = socket.socketpair()
    stream = RecordingStream(adopt_socket(left, "pair"), "pair")
    await asyncio.sleep(0.05)

    before = silent_for(stream)
    right.sendall(b"x")
    await stream.read(1)
    after = silent_for(stream)

    assert before >= 0.05
    assert after < before
    await stream.close()
    right.close()
