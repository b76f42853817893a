"""A line watched by its owner: what meters take, late answers, and who else speaks."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from drivers.contract import MOST_GATHERED, ByteStream, gathers
from drivers.errors import ConnectionLost, PortUnavailable, RemoteProtocolError, TransportTimeout
from drivers.transports import MemoryStream, null_modem, open_transport
from headend.clock import SystemClock
from headend.collect.job import Priority
from headend.collect.line import STRANGER_FRAMES, STRANGER_MEMORY, Carrier, LineOwner
from headend.collect.watch import ENOUGH, IDLE_CHARACTERS, WatchedStream
from tests.headend.collect.fakes import FakeClock


class Modem:
    """A line whose far end the test holds, as an `Open`."""

    def __init__(self) -> None:
        self.far: MemoryStream | None = None

    async def open(self, url: str) -> ByteStream:
        near, self.far = null_modem(url, 9600)
        return near


async def test_the_time_a_meter_takes_is_told_without_that_of_the_wire() -> None:
    near, far = null_modem("bus", 9600)
    stream = WatchedStream(near, clock := FakeClock())
    told: list[float] = []
    stream.heard = told.append

    await stream.write(b"q" * 8)
    clock.advance(0.020 + 8 / 960 + 20 / 960)
    await far.write(b"a" * 20)
    await stream.read(1)
    clock.advance(5)
    await far.write(b"the rest")
    await stream.read(1)

    assert told == [pytest.approx(0.020)]


async def test_how_many_octets_gather_is_seen_in_answers_that_come_in_pieces_and_until_then_the_most_are_feared() -> (
    None
):
    near, far = null_modem("bus", 9600)
    stream = WatchedStream(near, FakeClock())
    seen = []

    for size, pieces in [(30, 1)] * 5 + [(14, 2)] * (ENOUGH - 1) + [(8, 3), (9, 2)]:
        await stream.write(b"?")
        for _ in range(pieces):
            await far.write(b"a" * size)
            await stream.read(1)
        seen.append(gathers(stream))

    assert seen == [MOST_GATHERED] * (5 + ENOUGH - 1) + [14 + IDLE_CHARACTERS] * 2
    assert gathers(near) == MOST_GATHERED


async def test_a_late_answer_is_listened_for_as_long_again_and_reaches_nobody() -> None:
    near, far = null_modem("bus", 9600)
    stream = WatchedStream(near, SystemClock())
    loop = asyncio.get_running_loop()

    began = loop.time()
    await stream.write(b"question")
    with pytest.raises(TransportTimeout):
        await stream.read(0.1)
    loop.call_later(0.05, far._input.clear)
    late = asyncio.create_task(_later(far, 0.03, b"late answer"))
    await stream.settle()
    elapsed = loop.time() - began

    assert elapsed <= 0.2 + 0.02
    assert stream.discard_input() == b""
    with pytest.raises(TransportTimeout):
        await stream.read(0.01)
    await late


async def _later(far: MemoryStream, seconds: float, data: bytes) -> None:
    await asyncio.sleep(seconds)
    await far.write(data)


async def test_a_line_is_quiet_before_it_is_opened_anew_after_noise() -> None:
    modem = Modem()
    carrier = Carrier("serial:///x", modem.open, SystemClock())
    stream = await carrier.stream()
    first = modem.far
    assert first is not None
    await first.write(b"noise")
    await stream.read(1)
    noise = asyncio.create_task(_later(first, 0.02, b"more noise"))

    await carrier.recover(RemoteProtocolError("noise"))
    await noise
    second = await carrier.stream()

    assert modem.far is not first
    with pytest.raises(TransportTimeout):
        await second.read(0.01)


async def test_another_master_is_told_once_waited_for_and_forgotten_when_gone() -> None:
    modem, clock = Modem(), FakeClock()

    async def nothing(carrier: Carrier) -> None:
        await carrier.stream()

    told: list[bool] = []

    async def tell(is_there: bool) -> None:
        told.append(is_there)

    with capture_logs() as logs:
        async with LineOwner("bus", modem.open, clock, told=tell) as line:
            await line.submit(Priority.SCHEDULED, nothing)
            assert modem.far is not None
            for _ in range(STRANGER_FRAMES + 2):
                await modem.far.write(b"\x01\x03\x00\x00\x00\x02\xc4\x0b")
                await line.submit(Priority.SCHEDULED, nothing)
            has_stranger = line._carrier.has_stranger
            clock.advance(STRANGER_MEMORY + 1)
            await line.submit(Priority.SCHEDULED, nothing)

    assert has_stranger
    assert not line._carrier.has_stranger
    assert told == [True, False]
    assert [entry["event"].split(",")[0] for entry in logs] == [
        "another master speaks on this line",
        "nobody else speaks on this line any more",
    ]


async def test_single_octets_of_noise_are_no_master() -> None:
    modem = Modem()

    async def nothing(carrier: Carrier) -> None:
        await carrier.stream()

    async with LineOwner("bus", modem.open, FakeClock()) as line:
        await line.submit(Priority.SCHEDULED, nothing)
        assert modem.far is not None
        for _ in range(20):
            await modem.far.write(b"\x00\xff")
            await line.submit(Priority.SCHEDULED, nothing)

        assert not line._carrier.has_stranger


class Adapter:
    """A USB adapter: a pty under a stable name, unplugged and plugged in again with another number."""

    def __init__(self, name: Path) -> None:
        self.name = name
        self.master = -1

    def plug(self) -> None:
        self.master, slave = os.openpty()
        self.name.symlink_to(os.ttyname(slave))
        self._slave = slave
        asyncio.get_running_loop().add_reader(self.master, self._answer)

    def _answer(self) -> None:
        os.read(self.master, 99)
        os.write(self.master, b"!")

    def unplug(self) -> None:
        self.name.unlink()
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self._slave)
        os.close(self.master)


@pytest.fixture
async def adapter(tmp_path: Path) -> AsyncIterator[Adapter]:
    adapter = Adapter(tmp_path / "usb-FTDI_FT232R_A1-if00-port0")
    adapter.plug()
    yield adapter
    adapter.unplug()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def ask(carrier: Carrier) -> bytes:
    """Ask and take the answer, as a visit does: what fails leaves the link to the carrier."""
    try:
        stream = await carrier.stream()
        await stream.write(b"?")
        return await stream.read(1)
    except (ConnectionLost, PortUnavailable) as error:
        await carrier.recover(error)
        raise


async def test_an_adapter_is_found_again_by_its_name_a_thousand_times_and_nothing_is_left_behind(
    adapter: Adapter,
) -> None:
    tasks = len(asyncio.all_tasks())
    open_at_first = 0

    async with LineOwner(f"serial://{adapter.name}", open_transport, SystemClock()) as line:
        for _ in range(1_000):
            assert await line.submit(Priority.SCHEDULED, ask) == b"!"
            assert not line._carrier.has_returned()
            adapter.unplug()
            with pytest.raises(ConnectionLost):
                await line.submit(Priority.SCHEDULED, ask)
            with pytest.raises(PortUnavailable, match="no such port"):
                await line.submit(Priority.SCHEDULED, ask)
            assert not line._carrier.could_open
            assert not line._carrier.has_returned()
            open_at_first = open_at_first or descriptors()
            assert descriptors() == open_at_first
            adapter.plug()
            assert line._carrier.has_returned()
        assert len(asyncio.all_tasks()) == tasks + 1

    assert len(asyncio.all_tasks()) == tasks


async def test_closing_while_the_line_is_listened_to_leaves_no_caller_waiting() -> None:
    modem, clock = Modem(), FakeClock()

    async def nothing(carrier: Carrier) -> None:
        await carrier.stream()

    line = LineOwner("bus", modem.open, clock)
    line.start()
    await line.submit(Priority.SCHEDULED, nothing)
    line._carrier.has_stranger = True
    waiting = asyncio.create_task(line.submit(Priority.SCHEDULED, nothing))
    await asyncio.sleep(0.01)
    await line.close()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 1)
