"""A Modbus meter's profile and endpoint, and a scripted far end of a null modem."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from drivers.contract import ByteStream, Endpoint, SessionContext
from drivers.counters import NoCounters
from drivers.modbus.pdu import ExceptionResponse, ReadResponse, RequestFault, decode_request
from drivers.modbus.rtu import RtuFrame
from drivers.obis import Obis
from drivers.profile import MeterProfile, ModbusIdentity, ModbusPoint, ModbusProfile, TimingProfile
from drivers.transports import null_modem
from drivers.units import ScalerUnit, Unit
from tests.drivers.far_end import playing

ENERGY = Obis(1, 0, 1, 8, 0)
VOLTAGE = Obis(1, 0, 32, 7, 0)
EXPORT = Obis(1, 0, 2, 8, 0)
WH = ScalerUnit(0, Unit.WATT_HOUR)
DECIVOLT = ScalerUnit(-1, Unit.VOLT)
POINTS = (
    ModbusPoint(ENERGY, 10, "uint32", WH),
    ModbusPoint(VOLTAGE, 12, "uint16", DECIVOLT),
    ModbusPoint(EXPORT, 20, "float32", WH, factor=3),
)


def profile(**changes: Any) -> MeterProfile:
    modbus: dict[str, Any] = {
        "framing": "rtu",
        "parity": "gateway",
        "points": POINTS,
        "identity": ModbusIdentity(0, "uint32"),
    } | changes
    return MeterProfile(
        "test", "modbus", "nowhere", maker="ACME", timing=TimingProfile(latency=0.1), modbus=ModbusProfile(**modbus)
    )


def endpoint(meter: MeterProfile, address: str = "17", **options: str) -> Endpoint:
    return Endpoint("ACME:1", address, meter, options=options)


def context(instants: Iterable[int] = (), scale: float = 1.0) -> SessionContext:
    clock = iter(instants)
    return SessionContext(lambda: next(clock, 1_700_000_000), bytes, NoCounters(), scale)


Respond = Callable[[bytes, ByteStream], Awaitable[None]]


@asynccontextmanager
async def far_end(respond: Respond) -> AsyncIterator[ByteStream]:
    """A stream whose far end calls ``respond(data, stream)`` for each chunk that arrives."""
    near, far = null_modem()

    async def serve() -> None:
        while True:
            await respond(await far.read(60), far)

    async with playing(near, serve()):
        yield near


def registers_from(present: dict[int, int]) -> Callable[[bytes], bytes]:
    """A meter that has these registers in both tables: request PDU to response PDU."""

    def answer(pdu: bytes) -> bytes:
        try:
            request = decode_request(pdu)
        except RequestFault as fault:
            return fault.response.encode()
        wanted = range(request.address, request.address + request.count)
        if any(address not in present for address in wanted):
            return ExceptionResponse(request.function, 2).encode()
        return ReadResponse(request.function, tuple(present[address] for address in wanted)).encode()

    return answer


def rtu_meter(present: dict[int, int], unit: int = 17) -> Respond:
    answer = registers_from(present)

    async def respond(data: bytes, stream: ByteStream) -> None:
        assert data[0] == unit
        await stream.write(RtuFrame(unit, answer(data[1:-2])).encode())

    return respond
