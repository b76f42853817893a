"""Our client against an independent Modbus server, in every framing, with the functions both know."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import MeterRefused
from drivers.modbus.driver import ModbusSession, open_commands, open_session
from drivers.modbus.functions import (
    Bits,
    MaskWrite,
    ReadBits,
    ReadDevice,
    ReadWrite,
    WriteCoils,
    WriteOne,
    WriteRegisters,
)
from drivers.modbus.learned import Learned
from drivers.modbus.pdu import ExceptionResponse, Function, ReadRequest, ReadResponse
from drivers.obis import Obis
from drivers.profile import ModbusPoint
from drivers.transports import open_transport
from drivers.units import ScalerUnit, Unit
from tests.drivers.modbus.fixtures import context, endpoint, profile
from tests.peers.meters import gurux_meter as in_process

SERVER = Path(__file__).with_name("pymodbus_meter.py")
FRAMINGS = {"tcp": "socket", "rtu-over-tcp": "rtu", "ascii": "ascii"}
COUNTS = ScalerUnit(0, Unit.COUNT)
POINTS = (
    ModbusPoint(Obis(1, 0, 99, 0, 1), 0, "uint16", COUNTS),
    ModbusPoint(Obis(1, 0, 99, 0, 2), 4, "uint32", COUNTS),
    ModbusPoint(Obis(1, 0, 99, 0, 3), 4, "uint32", COUNTS, "input", "CDAB"),
    ModbusPoint(Obis(1, 0, 99, 0, 4), 4, "bcd32", COUNTS),
)

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("pymodbus") is None, reason="pymodbus is missing: pip install -e .[peers]"
    ),
    pytest.mark.parametrize("framing", sorted(FRAMINGS)),
]


@asynccontextmanager
async def session(framing: str, *, may_write: bool = False) -> AsyncIterator[ModbusSession]:
    with in_process(FRAMINGS[framing], script=SERVER) as server:
        stream = await open_transport(f"tcp://127.0.0.1:{server['port']}")
        meter = profile(framing=framing, points=POINTS, pipeline=4)
        try:
            if may_write:
                yield ModbusSession(stream, endpoint(meter), context(), Learned(), may_write=True)
            else:
                async with open_session(stream, endpoint(meter), context()) as opened:
                    yield opened
        finally:
            await stream.close()


async def test_registers_are_read_in_each_framing(framing: str) -> None:
    async with session(framing) as meter:
        values = await meter.read_registers([point.obis for point in POINTS])

    assert [value.count for value in values] == [1, 0x12345678, 0x56781234, 12345678]


async def test_a_register_that_is_not_there_is_refused_in_each_framing(framing: str) -> None:
    async with session(framing) as meter:
        answer = await meter.exchange.ask(ReadRequest(Function.READ_HOLDING_REGISTERS, 5000, 1))

    assert answer == ExceptionResponse(3, 2)


async def test_coils_and_discrete_inputs_are_read(framing: str) -> None:
    expected = (True, False, True, True, False, False, True, False, True, False)

    async with session(framing) as meter:
        for function in (Function.READ_COILS, Function.READ_DISCRETE_INPUTS):
            assert await meter.exchange.ask(ReadBits(function, 0, 10)) == Bits(function, expected)


async def test_device_identification_is_read(framing: str) -> None:
    async with session(framing) as meter:
        said = await meter.exchange.ask(ReadDevice())

    assert said.objects == {0: b"Independent", 1: b"PM", 2: b"3"}


async def test_writes_of_every_kind_are_confirmed_and_read_back(framing: str) -> None:
    async with session(framing, may_write=True) as meter:
        ask = meter.exchange.ask
        await ask(WriteOne(Function.WRITE_SINGLE_REGISTER, 0, 0x12))
        await ask(MaskWrite(0, 0xF2, 0x25))
        await ask(WriteRegisters(1, (0xAAAA, 0x5555)))
        answer = await ask(ReadWrite(0, 4, 3, (99,)))
        await ask(WriteOne(Function.WRITE_SINGLE_COIL, 1, 0xFF00))
        await ask(WriteCoils(4, (True, True)))
        coils = await ask(ReadBits(Function.READ_COILS, 0, 8))

    # V1.1b3, clause 6.16: (12 hex AND F2 hex) OR (25 hex AND NOT F2 hex) is 17 hex
    assert answer == ReadResponse(Function.READ_WRITE_REGISTERS, (0x17, 0xAAAA, 0x5555, 99))
    assert coils.values == (True, True, True, True, True, True, True, False)


async def test_an_approved_write_is_verified(framing: str) -> None:
    with in_process(FRAMINGS[framing], script=SERVER) as server:
        stream = await open_transport(f"tcp://127.0.0.1:{server['port']}")
        try:
            async with open_commands(stream, endpoint(profile(framing=framing)), context()) as commands:
                await commands.write_registers(2, (7, 8))
                with pytest.raises(MeterRefused):
                    await commands.write_registers(5000, (1,))
        finally:
            await stream.close()


async def test_requests_in_flight_together_are_answered_or_else_sent_one_by_one(framing: str) -> None:
    far: Any = tuple(
        ModbusPoint(Obis(1, 0, 99, 0, number), number, "uint16", COUNTS, "holding" if number % 2 else "input")
        for number in range(10)
    )

    with in_process(FRAMINGS[framing], script=SERVER) as server:
        stream = await open_transport(f"tcp://127.0.0.1:{server['port']}")
        meter = profile(framing=framing, points=far, pipeline=4)
        async with open_session(stream, endpoint(meter, max_gap="0"), context()) as opened:
            values = await opened.read_registers([point.obis for point in far])
        await stream.close()
    await asyncio.sleep(0)

    assert [value.count for value in values] == [1, 2, 3, 4, 0x1234, 0x5678, 7, 8, 9, 10]
