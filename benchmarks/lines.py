"""How near a shared Modbus line comes to what the wire allows, and what a dead meter costs. ``make bench-lines``.

32 meters with 40 registers each, on every other address of four ranges, on one line of 9600 8E1; a meter takes 20 ms. The line is
the host side of a pty on which a relay lets bytes through at the line's speed, one direction at a time. Rivals in the same
run, what a user would pick: pymodbus's asynchronous client with one request per register, the same with ranges put
together by hand, and minimalmodbus with one request per register. Neither keeps the 3.5 characters of silence that the
standard asks for before a request (pymodbus), so it may be quicker than the limit, which counts them. minimalmodbus
does keep them.

The limit is computed here, from the frames' layout and not by the driver: the cheapest set of reads, each with its two frames,
the meter's time and the silence. Visits and their turns are the collector's, but that nobody asks a meter who it is: that is in no
limit, and no rival does it. ``dead_penalty`` is what two dead meters cost the living in the round in which they are found dead,
``dead_penalty_known`` in the round after it, in which they come last. All processes of the line's other end are this one's; the
relay is kept on time to 0.1 ms, as a wire is, and not to the millisecond of the event loop.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import minimalmodbus
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient

from drivers.contract import ByteStream, Endpoint, SessionContext
from drivers.counters import NoCounters
from drivers.errors import TransportTimeout
from drivers.facts import MeterIdentity
from drivers.modbus.driver import ModbusSession, open_session
from drivers.modbus.pdu import NEED_DATA, ReadRequest, ReadResponse, decode_request
from drivers.modbus.rtu import RequestReader, RtuFrame
from drivers.obis import Obis
from drivers.profile import MeterProfile, ModbusPoint, ModbusProfile, TimingProfile
from drivers.transports import open_transport
from drivers.units import ScalerUnit, Unit
from headend.clock import SystemClock
from headend.collect.job import Priority
from headend.collect.latency import Latencies, Pace
from headend.collect.line import Carrier, LineOwner
from headend.collect.visit import Answer as Visited
from headend.collect.visit import Question, Visit
from simulators.clock import WorldClock
from simulators.line import Answer, Line

BAUD, BITS = 9600, 11  # 8E1
METER_TURN = 0.020  # [s]
SILENCE = 3.5  # MODBUS over Serial Line V1.02, clause 2.5.1.1 [character]
FIFO = 14  # trigger level of the usual UART [character]
METERS = 32
RANGES = (0, 200, 400, 600)
ADDRESSES = tuple(first + 2 * number for first in RANGES for number in range(10))
DEAD = frozenset((5, 20))
START = 1_767_225_600
DECLARED = 1.0  # longest latency by the profile [s]
RETRIES = 1
COARSE, FINE = 0.002, 0.0001  # [s]


def value(unit: int, address: int) -> int:
    return (unit * 1_000 + address) & 0xFFFF


class WireClock(WorldClock):
    """World time, slept through to its end and not to the next millisecond of the event loop."""

    async def sleep_until(self, instant: float) -> None:
        """Wait until the world reaches ``instant``. [s UTC]"""
        await super().sleep_until(instant - COARSE)
        while (left := instant - self.time()) > 0:
            time.sleep(min(left, FINE))  # noqa: ASYNC251  nobody has anything to do before


class Meters:
    """All the meters on the line. ``dead``: units that say nothing."""

    def __init__(self) -> None:
        self.dead: frozenset[int] = frozenset()
        self._reader = RequestReader()

    def receive(self, data: bytes, now: int) -> Answer | None:  # noqa: ARG002  any bus is told the time
        """Hear a request and answer it."""
        self._reader.receive_data(data)
        answer = None
        while (frame := self._reader.next_event()) is not NEED_DATA:
            request = decode_request(frame.pdu)
            assert isinstance(request, ReadRequest)
            if frame.unit not in self.dead:
                registers = range(request.address, request.address + request.count)
                response = ReadResponse(request.function, tuple(value(frame.unit, one) for one in registers))
                answer = Answer(METER_TURN, RtuFrame(frame.unit, response.encode()).encode())
        return answer


def limit() -> float:
    """Give the least time of one meter's registers: over all cuts of their addresses into reads of at most 125. [s]"""
    best = [0.0]
    for last, end in enumerate(ADDRESSES):
        costs = []
        for first in range(last + 1):
            count = end + 1 - ADDRESSES[first]
            if count <= 125:
                characters = 8 + 5 + 2 * count + SILENCE  # V1.1b3, clause 6.3: both frames
                costs.append(best[first] + characters * BITS / BAUD + METER_TURN)
        best.append(min(costs))
    return best[-1]


@dataclass(frozen=True, slots=True)
class Measured:
    """One round. ``seconds``: until the last living meter was read.  ``octets``: on the wire, both ways."""

    name: str
    seconds: float
    octets: int

    @property
    def busy(self) -> float:
        """Share of the time in which the wire carried anything."""
        return self.octets * BITS / BAUD / self.seconds


@asynccontextmanager
async def a_line() -> AsyncIterator[tuple[Line, Meters, str]]:
    meters = Meters()
    line = Line(meters, WireClock(START, 1.0, time.monotonic), baud=BAUD, bits_per_character=BITS, fifo=FIFO)
    with line.opened() as path:
        running = asyncio.create_task(line.run())
        try:
            yield line, meters, path
        finally:
            running.cancel()
    assert not line.count.collisions


async def timed(name: str, line: Line, read: Callable[[], Awaitable[float]]) -> Measured:
    before = line.count.host_bytes + line.count.meter_bytes
    began = time.perf_counter()
    ended = await read()
    return Measured(name, ended - began, line.count.host_bytes + line.count.meter_bytes - before)


CODES = {address: Obis(1, 0, 1 + number, 7, 0) for number, address in enumerate(ADDRESSES)}
POINTS = tuple(ModbusPoint(code, address, "uint16", ScalerUnit(-1, Unit.VOLT)) for address, code in CODES.items())
PROFILE = MeterProfile(
    "bench", "modbus", "benchmarks/lines.py", maker="BENCH",
    timing=TimingProfile(latency=DECLARED, retries=RETRIES), modbus=ModbusProfile("rtu", POINTS),
)  # fmt: skip


class Known:
    """A session with a meter that need not say who it is."""

    def __init__(self, name: str, session: ModbusSession) -> None:
        self._name = name
        self.read_registers = session.read_registers

    async def read_identity(self) -> MeterIdentity:
        """Give the name asked for."""
        return MeterIdentity(self._name)


@asynccontextmanager
async def open_known(stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> AsyncIterator[Known]:
    async with open_session(stream, endpoint, context) as session:
        yield Known(endpoint.name, session)


class Ours:
    """Rounds by the line's owner, visits and the driver, in the order and with the second turns of the collector."""

    def __init__(self) -> None:
        self._latencies = Latencies()
        self._failed: set[int] = set()
        self._context = SessionContext(lambda: START, bytes, NoCounters())

    async def round(self, owner: LineOwner) -> float:
        """Read all meters, those that failed last at the end; give when the last living one was read. [s]"""
        ended = 0.0

        async def one(unit: int) -> None:
            nonlocal ended
            name = f"BENCH:{unit}"
            visit = Visit(
                open_known,
                Endpoint(name, str(unit), PROFILE),
                self._context,
                Question(registers=tuple(CODES.values())),
                Pace(self._latencies, "line", name, PROFILE.name, DECLARED),
            )
            may_wait = unit not in self._failed

            async def turn(carrier: Carrier) -> Visited:
                nonlocal may_wait
                may_come_later, may_wait = may_wait, False
                return await visit.run(carrier, RETRIES, may_come_later=may_come_later)

            try:
                answer = await owner.submit(Priority.SCHEDULED, turn)
            except TransportTimeout:
                self._failed.add(unit)
                return
            assert [one.count for one in answer.registers] == [value(unit, address) for address in ADDRESSES]
            ended = time.perf_counter()

        await asyncio.gather(*(one(unit) for unit in sorted(range(1, METERS + 1), key=lambda n: n in self._failed)))
        return ended


async def ours() -> list[Measured]:
    async with a_line() as (line, meters, path):
        reader = Ours()
        async with LineOwner(f"serial://{path}?baud={BAUD}&stop=2", open_transport, SystemClock()) as owner:
            # A pty knows no parity; a second stop bit makes the characters as long as 8E1.
            rounds = []
            for name, dead in (
                ("headend, first round", frozenset[int]()),
                ("headend", frozenset[int]()),
                ("headend, 2 of 32 found dead", DEAD),
                ("headend, 2 of 32 dead", DEAD),
            ):
                meters.dead = dead
                rounds.append(await timed(name, line, lambda: reader.round(owner)))
    return rounds


async def pymodbus_client(name: str, reads: list[tuple[int, int]]) -> Measured:
    """One round with pymodbus. ``reads``: address and count of each request."""
    async with a_line() as (line, _, path):
        client = AsyncModbusSerialClient(path, framer=FramerType.RTU, baudrate=BAUD, timeout=1, retries=0)
        assert await client.connect()

        async def read() -> float:
            for unit in range(1, METERS + 1):
                for address, count in reads:
                    answer = await client.read_holding_registers(address, count=count, device_id=unit)
                    assert answer.registers == [value(unit, one) for one in range(address, address + count)]
            return time.perf_counter()

        measured = await timed(name, line, read)
        client.close()
    return measured


async def minimalmodbus_client() -> Measured:
    async with a_line() as (line, _, path):

        def read() -> float:
            instruments = [minimalmodbus.Instrument(path, unit) for unit in range(1, METERS + 1)]
            for unit, instrument in enumerate(instruments, start=1):
                instrument.serial.baudrate, instrument.serial.timeout = BAUD, 1
                for address in ADDRESSES:
                    assert instrument.read_register(address) == value(unit, address)
            ended = time.perf_counter()
            instruments[0].serial.close()
            return ended

        return await timed("minimalmodbus, one register at a time", line, lambda: asyncio.to_thread(read))


async def measure() -> list[Measured]:
    measured = await ours()
    measured.append(await pymodbus_client("pymodbus, ranges by hand", [(first, 19) for first in RANGES]))
    measured.append(await pymodbus_client("pymodbus, one register at a time", [(address, 1) for address in ADDRESSES]))
    return [*measured, await minimalmodbus_client()]


def main() -> None:
    """Print a table, then one JSON object."""
    measured = asyncio.run(measure())
    least = METERS * limit()
    print(f"{'limit':<40} {least:>8.3f} s")
    for one in measured:
        print(f"{one.name:<40} {one.seconds:>8.3f} s  wire busy {one.busy:>4.0%}")
    _, full, found_dead, dead, by_hand, naive, _ = measured
    living = (METERS - len(DEAD)) / METERS
    figures = {
        "of_limit": least / full.seconds,
        "vs_naive": naive.seconds / full.seconds,
        "vs_coalesced": by_hand.seconds / full.seconds,
        "dead_penalty": found_dead.seconds / (full.seconds * living) - 1,
        "dead_penalty_known": dead.seconds / (full.seconds * living) - 1,
    }
    print(json.dumps({name: round(figure, 4) for name, figure in figures.items()}))


if __name__ == "__main__":
    main()
