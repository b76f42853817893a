"""Other masters share a line through us: each request a turn, nothing written unless allowed, the gateway's exceptions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from drivers.contract import ByteStream
from drivers.errors import PortUnavailable, TransportError
from drivers.modbus.driver import open_session
from drivers.modbus.functions import WriteRegisters, decode_any_request
from drivers.modbus.pdu import ExceptionResponse, Function, ReadRequest, ReadResponse
from drivers.modbus.rtu import RtuFrame
from drivers.profile import TimingProfile
from drivers.transports import null_modem, open_transport
from headend.clock import SystemClock
from headend.collect.job import Priority
from headend.collect.line import LineOwner
from headend.collect.modbus_proxy import MAX_CALLERS, Door, ModbusProxy
from tests.drivers.modbus.fixtures import ENERGY, context, endpoint, profile, registers_from

READ = ReadRequest(Function.READ_HOLDING_REGISTERS, 10, 2)
TIMING = TimingProfile(latency=0.05)


class Bus:
    """Units 1 to 9 on a line; notes what is asked, and whether two asked at once."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.overlaps = 0
        self._busy = False
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, url: str) -> ByteStream:
        if url == "memory://missing":
            raise PortUnavailable("no such port")
        near, far = null_modem()
        self._tasks.append(asyncio.create_task(self._serve(far)))
        return near

    async def _serve(self, stream: ByteStream) -> None:
        answer = registers_from({10: 1, 11: 2})
        while True:
            data = await stream.read(60)
            self.overlaps += self._busy
            self._busy = True
            await asyncio.sleep(0.005)
            self._busy = False
            self.asked.append(data[0])
            pdu = data[1:-2]
            if data[0] < 10:
                request = decode_any_request(pdu)
                said = pdu[:5] if isinstance(request, WriteRegisters) else answer(pdu)
                await stream.write(RtuFrame(data[0], said).encode())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxied(url: str = "memory://bus", **settings: Any) -> AsyncIterator[tuple[Bus, LineOwner, ModbusProxy, int]]:
    bus, port = Bus(), asyncio.get_running_loop().create_future()

    async def listening(number: int) -> None:
        port.set_result(number)

    try:
        async with LineOwner(url, bus.open, SystemClock()) as line:
            proxy = ModbusProxy(line, Door(**settings), TIMING, context())
            serving = asyncio.create_task(proxy.serve(listening))
            try:
                yield bus, line, proxy, await port
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
    finally:
        await bus.close()


async def test_a_master_reads_a_unit_of_the_line_over_modbus_tcp() -> None:
    async with proxied() as (_, _, _, port):
        stream = await open_transport(f"tcp://127.0.0.1:{port}")
        async with open_session(stream, endpoint(profile(framing="tcp"), "3"), context()) as session:
            (value,) = await session.read_registers([ENERGY])
        await stream.close()

    assert value.count == 65_538


async def test_requests_of_many_masters_and_our_own_jobs_never_meet_on_the_line() -> None:
    async with proxied() as (bus, line, proxy, _):

        async def job(carrier: Any) -> None:
            stream = await carrier.stream()
            await stream.write(RtuFrame(9, READ.encode()).encode())
            await stream.read(1)

        others = (proxy.answer(unit, READ.encode()) for unit in range(1, 9))
        answers = await asyncio.gather(*others, *(line.submit(Priority.SCHEDULED, job) for _ in range(4)))

    assert answers[:8] == [ReadResponse(Function.READ_HOLDING_REGISTERS, (1, 2)).encode()] * 8
    assert len(bus.asked) == 12
    assert bus.overlaps == 0


async def test_a_write_is_refused_unless_it_is_allowed() -> None:
    write = WriteRegisters(10, (5, 6)).encode()

    async with proxied() as (bus, _, proxy, _):
        refused = await proxy.answer(1, write)
        asked = list(bus.asked)
    async with proxied(allows_writes=True) as (_, _, proxy, _):
        confirmed = await proxy.answer(1, write)

    assert refused == ExceptionResponse(16, 1).encode()
    assert not asked
    assert confirmed == write[:5]


async def test_what_the_line_does_not_give_is_the_exception_of_a_gateway() -> None:
    async with proxied() as (_, _, proxy, _):
        silent = await proxy.answer(99, READ.encode())
        broadcast = await proxy.answer(0, READ.encode())
        unknown = await proxy.answer(1, b"\x63\x00")
        not_there = await proxy.answer(1, ReadRequest(Function.READ_HOLDING_REGISTERS, 500, 1).encode())
    async with proxied("memory://missing") as (_, _, proxy, _):
        no_line = await proxy.answer(1, READ.encode())

    assert [silent, broadcast, unknown, not_there, no_line] == [
        b"\x83\x0b", b"\x83\x0a", b"\xe3\x01", b"\x83\x02", b"\x83\x0a",
    ]  # fmt: skip


async def test_a_caller_that_does_not_speak_modbus_is_hung_up_on_and_the_next_is_served() -> None:
    async with proxied() as (_, _, _, port):
        stranger = await open_transport(f"tcp://127.0.0.1:{port}")
        await stranger.write(b"GET / HTTP/1.1\r\n\r\n")
        try:
            await stranger.read(5)
            hung_up = False
        except TransportError:
            hung_up = True
        await stranger.close()
        stream = await open_transport(f"tcp://127.0.0.1:{port}")
        async with open_session(stream, endpoint(profile(framing="tcp"), "3"), context()) as session:
            (value,) = await session.read_registers([ENERGY])
        await stream.close()

    assert hung_up
    assert value.count == 65_538


def test_the_proxy_listens_on_this_machine_alone_and_carries_no_writes_unless_told() -> None:
    assert Door() == Door(0, "127.0.0.1", allows_writes=False)
    assert MAX_CALLERS == 8
