import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from simulators.clock import WorldClock
from simulators.line import Answer, Line, Troubles, parse_troubles
from tests.simulators.homes import MONDAY

CHARACTER = 10 / 9600  # [s] of the world


class Echo:
    """Answers ten bytes to whatever it hears, after a latency."""

    def __init__(self, latency: float, size: int = 10) -> None:
        self.heard = b""
        self.answer = Answer(latency, bytes(index % 256 for index in range(size)))

    def receive(self, data: bytes, now: int) -> Answer:  # noqa: ARG002  # any bus is told the time
        self.heard += data
        return self.answer


async def read_exactly(host: int, size: int) -> bytes:
    received = b""
    async with asyncio.timeout(5):
        while len(received) < size:
            try:
                received += os.read(host, size - len(received))
            except BlockingIOError:
                await asyncio.sleep(0.0005)
    return received


@pytest.mark.parametrize("rate", [1.0, 20.0])
async def test_an_answer_takes_its_time_on_the_line_in_world_time(rate: float) -> None:
    bus = Echo(latency=0.02, size=96)
    clock = WorldClock(MONDAY, rate, time.monotonic)
    line = Line(bus, clock)

    with line.opened() as path:
        running = asyncio.create_task(line.run())
        host = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        began = clock.time()
        os.write(host, b"12345678")
        received = await read_exactly(host, 96)
        elapsed = clock.time() - began
        running.cancel()
        os.close(host)

    wire = (8 + 96) * CHARACTER
    assert received == bus.answer.data
    assert bus.heard == b"12345678"
    assert wire + 0.02 <= elapsed < wire + 0.02 + 0.5 * rate
    assert line.count.busy == pytest.approx(wire)
    assert (line.count.host_bytes, line.count.meter_bytes, line.count.collisions) == (8, 96, 0)


async def test_bytes_arrive_one_after_the_other_not_all_at_once() -> None:
    clock = WorldClock(MONDAY, 1.0, time.monotonic)
    line = Line(Echo(latency=0.0, size=48), clock)

    with line.opened() as path:
        running = asyncio.create_task(line.run())
        host = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.write(host, b"1")
        await read_exactly(host, 1)
        first = clock.time()
        await read_exactly(host, 47)
        last = clock.time()
        running.cancel()
        os.close(host)

    assert last - first >= 24 * CHARACTER  # what was due while the loop was busy comes together


async def test_talking_into_an_answer_is_a_collision_and_garbles_both() -> None:
    bus = Echo(latency=0.0, size=96)
    line = Line(bus, WorldClock(MONDAY, 1.0, time.monotonic))

    with line.opened() as path:
        running = asyncio.create_task(line.run())
        host = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.write(host, b"1")
        received = await read_exactly(host, 10)
        os.write(host, b"too early")
        received += await read_exactly(host, 96 - len(received))
        running.cancel()
        os.close(host)

    assert line.count.collisions == 1
    assert received[:10] == bus.answer.data[:10]
    assert received[-20:] == bytes(byte ^ 0xFF for byte in bus.answer.data[-20:])
    assert bus.heard == b"1"


async def test_a_line_nobody_listens_on_loses_bytes_and_goes_on() -> None:
    bus = Echo(latency=0.0, size=100_000)
    clock = WorldClock(MONDAY, 100_000.0, time.monotonic)
    line = Line(bus, clock)

    with line.opened() as path:
        running = asyncio.create_task(line.run())
        host = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.write(host, b"1")
        async with asyncio.timeout(10):
            while line.count.meter_bytes < 100_000:  # noqa: ASYNC110  # the line tells nobody, as lines do
                await asyncio.sleep(0.01)
        assert not running.done()
        running.cancel()
        os.close(host)


@asynccontextmanager
async def a_line(bus: Echo, troubles: Troubles, link: Path | None = None) -> AsyncIterator[tuple[Line, int]]:
    """A line a hundred times as fast as the world, and its host side."""
    line = Line(bus, WorldClock(MONDAY, 100.0, time.monotonic), troubles=troubles, randomness=random.Random(1))
    with line.opened(link) as path:
        running = asyncio.create_task(line.run())
        host = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        yield line, host
        running.cancel()
        os.close(host)


async def test_an_adapter_with_an_echo_hears_its_question_before_the_answer() -> None:
    bus = Echo(latency=0.02)

    async with a_line(bus, Troubles(has_echo=True)) as (_, host):
        os.write(host, b"question")
        received = await read_exactly(host, 8 + 10)

    assert received == b"question" + bus.answer.data
    assert bus.heard == b"question"


async def test_bits_flip_both_ways_as_often_as_declared() -> None:
    bus = Echo(latency=0.0, size=4_000)
    question = bytes(500)

    async with a_line(bus, Troubles(bit_errors=10_000)) as (_, host):
        os.write(host, question)
        received = await read_exactly(host, 4_000)

    flipped = sum((said ^ heard).bit_count() for said, heard in zip(bus.answer.data, received, strict=True))
    assert 250 < flipped < 390  # 32,000 bits, 1 % of them: 320, standard deviation 18
    assert 15 < sum(octet.bit_count() for octet in bus.heard) < 70  # 4,000 bits: 40


async def test_another_master_is_heard_with_its_answers_and_collides_with_whoever_speaks() -> None:
    bus = Echo(latency=0.0, size=2_000)

    async with a_line(bus, Troubles(stranger=b"stranger", pause=1.0)) as (line, host):
        received = await read_exactly(host, 8 + 2_000)
        os.write(host, b"mine")
        await read_exactly(host, 2_000)

    assert received == b"stranger" + bus.answer.data
    assert line.count.collisions >= 1


async def test_an_adapter_pulled_out_ends_the_port_and_comes_back_under_its_stable_name(tmp_path: Path) -> None:
    link = tmp_path / "usb-adapter"
    bus = Echo(latency=0.0)

    async with a_line(bus, Troubles(), link) as (line, host):
        line.unplug()
        gone = link.exists()
        with suppress(OSError):
            assert os.read(host, 1) == b""
        line.plug()
        again = os.open(link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.write(again, b"1")
        received = await read_exactly(again, 10)
        os.close(again)

    assert not gone
    assert received == bus.answer.data
    assert not link.exists()


@pytest.mark.parametrize("wrong", [{"bit_errors": -1}, {"bit_errors": 1_000_001}, {"pause": 0.0}])
def test_troubles_no_line_has_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"flip|pauses"):
        Troubles(**wrong)


def test_troubles_are_written_as_words_and_unknown_ones_named() -> None:
    troubles = parse_troubles(["echo", "bit-errors=100", "second-master=2.5"], b"ask")

    assert troubles == Troubles(bit_errors=100, has_echo=True, stranger=b"ask", pause=2.5)
    with pytest.raises(ValueError, match="known: echo, bit-errors"):
        parse_troubles(["lightning"], b"ask")
