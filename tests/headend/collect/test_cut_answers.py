"""Each published answer cut off at each octet: the line is free in time, and the next meter is read. In virtual time."""

import asyncio
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from drivers.contract import ByteStream, Driver, Endpoint, ReadsRegisters
from drivers.dlt645 import driver as dlt645
from drivers.dlt645.control import Edition
from drivers.dlt645.frame import Frame
from drivers.dlt645.services import decode_address_answer, read_address
from drivers.dlt645.session import Exchange
from drivers.errors import DriverError, MeterRefused, RemoteProtocolError, TransportTimeout
from drivers.modbus import driver as modbus
from drivers.modbus.mbap import MbapFrame
from drivers.modbus.pdu import ReadResponse, decode_request
from drivers.modbus.rtu import RtuFrame
from drivers.obis import Obis
from drivers.profile import MeterProfile, ModbusPoint, ModbusProfile, TimingProfile
from drivers.units import ScalerUnit, Unit
from headend.collect.job import Priority
from headend.collect.line import Carrier
from tests.drivers.dlt645 import cases
from tests.headend.collect.paced import BAUD, CHARACTER, DECLARED, HOST_MARGIN, Bus, Respond, context, owned
from tests.headend.collect.virtual import run
from tests.shared import REPOSITORY

Ask = Callable[[ByteStream], Awaitable[object]]
ENERGY = Obis(1, 0, 1, 8, 0)
WH = ScalerUnit(0, Unit.WATT_HOUR)
TIMING = TimingProfile(DECLARED, 0, 1)


@dataclass(frozen=True)
class Golden:
    """A published answer. ``first``: asks for it.  ``following``: reads the next meter, which says 77.

    ``next_answer``: given its question.  ``timeout``: as the driver must compute it. [s]
    """

    name: str
    frame: bytes
    first: Ask
    following: Ask
    next_answer: Respond
    timeout: float
    baud: int | None = BAUD


def reads(driver: Driver, profile: MeterProfile, address: str, *codes: Obis, **changes: Any) -> Ask:
    async def ask(stream: ByteStream) -> int:
        endpoint = Endpoint(f"ACME:{address}", address, profile)
        async with driver(stream, endpoint, replace(context(), **changes)) as session:
            assert isinstance(session, ReadsRegisters)
            value, *_ = await session.read_registers(codes or [ENERGY])
            return value.count

    return ask


def timeout(sent: int, expected: int) -> float:
    return DECLARED + (sent + expected) * CHARACTER + HOST_MARGIN


# -- Modbus: RTU on the line, and TCP


def modbus_frame(case: str) -> tuple[bytes, dict[str, Any]]:
    folder = REPOSITORY / "tests" / "data" / "modbus" / case
    return bytes.fromhex((folder / "frame.hex").read_text()), tomllib.loads((folder / "expected.toml").read_text())[
        "expect"
    ]


def modbus_profile(framing: Any, *points: ModbusPoint) -> MeterProfile:
    settings = ModbusProfile(framing, points or (ModbusPoint(ENERGY, 107, "uint32", WH),), parity="gateway")
    return MeterProfile("published", "modbus", "V1.1b3", maker="ACME", timing=TIMING, modbus=settings)


def next_rtu(question: bytes) -> bytes:
    request = decode_request(question[1:-2])
    return RtuFrame(question[0], ReadResponse(request.function, (0, 77)).encode()).encode()


def next_tcp(question: bytes) -> bytes:
    transaction, request = int.from_bytes(question[:2]), decode_request(question[7:])
    return MbapFrame(transaction, question[6], ReadResponse(request.function, (0, 77)).encode()).encode()


def modbus_goldens() -> list[Golden]:
    rtu, tcp = modbus_profile("rtu"), modbus_profile("tcp")
    answer = bytes.fromhex("110306022b00000064c8ba")  # V1.1b3, clause 6.3, with unit 17 and its CRC
    exception, told = modbus_frame("rtu-exception")
    over_tcp, meant = modbus_frame("tcp-read-response")
    before = (meant["tid"] - 1).to_bytes(2)
    codes = [Obis(1, 0, 1, 8, tariff) for tariff in range(3)]  # both published answers hold three registers
    three = [ModbusPoint(code, 107 + code.e, "uint16", WH) for code in codes]
    following = reads(modbus.open_session, rtu, "34")
    return [
        Golden(
            "modbus answer", answer, reads(modbus.open_session, modbus_profile("rtu", *three), "17", *codes),
            following, next_rtu, timeout(8, 11),
        ),
        Golden(
            "modbus exception", exception, reads(modbus.open_session, rtu, str(told["unit"])),
            following, next_rtu, timeout(8, 9),
        ),
        Golden(
            "modbus tcp answer", over_tcp,
            reads(modbus.open_session, modbus_profile("tcp", *three), str(meant["unit"]), *codes, random_bytes=lambda _: before),
            reads(modbus.open_session, tcp, "34"), next_tcp, DECLARED + HOST_MARGIN, baud=None,
        ),
    ]  # fmt: skip


# -- DL/T 645


def dlt645_profile() -> MeterProfile:
    found = cases.shipped("sim-dlt645")
    assert found.dlt645 is not None
    return replace(found, timing=TIMING, dlt645=replace(found.dlt645, parity="gateway"))


def next_dlt645(_: bytes) -> bytes:
    return Frame("000000001002", 0x91, bytes.fromhex("00000100") + bytes.fromhex("77000000")).encode()


async def ask_address(stream: ByteStream) -> object:
    exchange = Exchange(stream, "AAAAAAAAAAAA", Edition.E2007, TIMING, 4, context())
    return await exchange.ask(read_address(), 6, lambda frame, _: decode_address_answer(frame), "address")


def dlt645_goldens() -> list[Golden]:
    profile = dlt645_profile()
    assert profile.dlt645 is not None
    points = {point.di: point for point in profile.dlt645.points}
    following = reads(dlt645.open_session, profile, "1002")
    goldens = []
    for case in cases.load_all():
        control = case.expect.get("control", "91" if "error" in case.expect else "")
        if not control:
            continue  # a question
        if control == "93":
            goldens.append(Golden(case.name, case.frame, ask_address, following, next_dlt645, timeout(16, 22)))
            continue
        point = points[case.expect.get("di", "00010000")]
        address = case.expect.get("address", "123456789012")
        ask = reads(dlt645.open_session, profile, address, point.obis)
        expected = 4 + point.octets + 12 + 4  # identifier, value, what is around them, FE in front
        goldens.append(Golden(case.name, case.frame, ask, following, next_dlt645, timeout(20, expected)))
    return goldens


GOLDENS = [*modbus_goldens(), *dlt645_goldens()]


def test_every_published_answer_is_here() -> None:
    assert len(modbus_goldens()) == 3
    assert len(dlt645_goldens()) == 7


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_whole_it_is_taken_or_refused_for_what_it_says(golden: Golden) -> None:
    async def whole() -> object:
        bus = Bus(lambda _: golden.frame, golden.baud)
        async with owned(bus) as line:
            return await line.submit(Priority.SCHEDULED, lambda carrier: asked(golden.first, carrier))

    try:
        assert run(whole)
    except MeterRefused:
        assert "exception" in golden.name or "refusal" in golden.name
    except RemoteProtocolError:
        assert "bad-checksum" in golden.name


async def asked(ask: Ask, carrier: Carrier) -> object:
    try:
        return await ask(await carrier.stream())
    except DriverError as error:
        await carrier.recover(error)
        raise


@pytest.mark.parametrize("late", [False, True], ids=["the rest never comes", "the rest comes late"])
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_wherever_an_answer_is_cut_off_the_line_is_free_in_time_and_the_next_meter_is_read(
    golden: Golden, late: bool
) -> None:
    async def cut_at(position: int) -> None:
        answers: list[Respond] = [lambda _: golden.frame[:position]]
        bus = Bus(lambda question: answers.pop()(question) if answers else golden.next_answer(question), golden.baud)
        async with owned(bus) as line:
            loop = asyncio.get_running_loop()
            began = loop.time()
            failing = asyncio.create_task(line.submit(Priority.SCHEDULED, lambda carrier: asked(golden.first, carrier)))
            following = asyncio.create_task(
                line.submit(Priority.SCHEDULED, lambda carrier: asked(golden.following, carrier))
            )
            if late:
                await asyncio.sleep(1.5 * golden.timeout)
                assert bus.far is not None
                await bus.far.write(golden.frame[position:])
            with pytest.raises((TransportTimeout, RemoteProtocolError)):
                await failing
            assert loop.time() - began <= 2 * golden.timeout + 0.01
            assert await following == 77

    for position in range(len(golden.frame)):
        run(lambda position=position: cut_at(position))  # type: ignore[misc]
