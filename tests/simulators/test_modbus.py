import asyncio
import random
import re
import shutil
import struct
from typing import Any

import pytest

from drivers.modbus.mbap import MbapFrame
from drivers.modbus.pdu import REGISTER_READS, Function, ReadRequest
from drivers.modbus.rtu import RtuFrame
from simulators import modbus
from simulators.clock import WorldClock
from simulators.faults import Dead, Noise
from simulators.line import Line
from simulators.meter import Position
from simulators.tcp import serving
from tests.simulators.homes import HALF_HOUR, MONDAY, FakeMonotonic, meter

NOW = MONDAY + 3 * HALF_HOUR
needs_mbpoll = pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is missing: apt-get install mbpoll")


def place(unit: int, **changes: Any) -> Position:
    return Position(str(unit), (meter(**changes),))


def test_registers_hold_what_the_map_says() -> None:
    held = modbus.registers(meter(serial=0x0001_E240, register_start=70_000, refresh=60), NOW)

    assert (held[0], held[1]) == (0x0001, 0xE240)
    assert held[10] << 16 | held[11] == 70_460
    assert 2270 <= held[12] <= 2330
    assert struct.unpack(">f", struct.pack(">HH", held[20], held[21]))[0] == pytest.approx(70.46)


@pytest.mark.parametrize("function", sorted(REGISTER_READS))
def test_holding_and_input_registers_are_the_same(function: Function) -> None:
    answer = modbus.respond(meter(serial=9), ReadRequest(function, 0, 2).encode(), NOW)

    assert answer == bytes((function, 4, 0, 0, 0, 9))


@pytest.mark.parametrize(
    ("request_pdu", "code"),
    [
        (ReadRequest(Function.READ_HOLDING_REGISTERS, 2, 1).encode(), 2),
        (ReadRequest(Function.READ_HOLDING_REGISTERS, 10, 4).encode(), 2),
        (bytes.fromhex("030000007e"), 3),
        (bytes.fromhex("0600010002"), 1),
    ],
)
def test_what_the_map_does_not_have_is_refused_with_its_exception(request_pdu: bytes, code: int) -> None:
    assert modbus.respond(meter(), request_pdu, NOW) == bytes((request_pdu[0] | 0x80, code))


def test_only_the_meter_asked_answers_and_a_dead_one_or_a_broadcast_gets_silence() -> None:
    bus = modbus.ModbusBus([place(1, serial=11), place(2, faults=(Dead(),))], random.Random(1))
    request = ReadRequest(Function.READ_HOLDING_REGISTERS, 0, 2).encode()

    answers = {unit: bus.receive(RtuFrame(unit, request).encode(), NOW) for unit in (0, 1, 2, 3)}

    assert [unit for unit, answer in answers.items() if answer] == [1]
    assert answers[1] is not None
    assert answers[1].data == RtuFrame(1, bytes.fromhex("03040000000b")).encode()


def test_noise_is_put_before_an_answer() -> None:
    bus = modbus.ModbusBus([place(1, faults=(Noise(before=3),))], random.Random(1))

    answer = bus.receive(RtuFrame(1, ReadRequest(Function.READ_HOLDING_REGISTERS, 0, 2).encode()).encode(), NOW)

    assert answer is not None
    assert len(answer.data) == 3 + 9


def test_a_request_in_pieces_is_answered_once() -> None:
    bus = modbus.ModbusBus([place(1)], random.Random(1))
    request = RtuFrame(1, ReadRequest(Function.READ_HOLDING_REGISTERS, 0, 2).encode()).encode()

    answers = [bus.receive(request[index : index + 1], NOW) for index in range(len(request))]

    assert [answer is not None for answer in answers] == [False] * 7 + [True]


def test_a_unit_behind_the_tcp_port_that_is_not_there_gets_exception_eleven() -> None:
    talk = modbus.ModbusTcpConversation([place(1)])
    request = MbapFrame(77, 9, ReadRequest(Function.READ_HOLDING_REGISTERS, 0, 1).encode())

    (answer,) = talk.receive(request.encode(), NOW)

    assert answer.data == MbapFrame(77, 9, b"\x83\x0b").encode()


@pytest.mark.parametrize("units", [("0",), ("248",), ("1", "1")])
def test_impossible_unit_identifiers_are_refused(units: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="unit identifiers"):
        modbus.ModbusBus([place(int(unit)) for unit in units], random.Random(1))


async def mbpoll(*arguments: str) -> dict[int, str]:
    """Run mbpoll once and give what it printed: register number -> text."""
    process = await asyncio.create_subprocess_exec(
        "mbpoll", "-1", "-0", "-o", "2", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, output.decode()
    return {int(number): value for number, value in re.findall(r"^\[(\d+)\]:\s+(\S+)", output.decode(), re.MULTILINE)}


TABLES = pytest.mark.parametrize("table", ["3", "4"], ids=["input", "holding"])


@needs_mbpoll
@TABLES
async def test_mbpoll_reads_the_simulator_over_tcp(table: str) -> None:
    clock = WorldClock(NOW, 1.0, FakeMonotonic())
    positions = [place(1, serial=123_456, register_start=70_000), place(2, serial=2)]

    async with serving(clock, lambda: modbus.ModbusTcpConversation(positions)) as port:
        common = ("-m", "tcp", "-p", str(port), "-a", "1", "-B")
        serial = await mbpoll(*common, "-t", f"{table}:int", "-r", "0", "127.0.0.1")
        energy = await mbpoll(*common, "-t", f"{table}:int", "-r", "10", "127.0.0.1")
        kwh = await mbpoll(*common, "-t", f"{table}:float", "-r", "20", "127.0.0.1")

    assert serial == {0: "123456"}
    assert energy == {10: "70460"}
    assert kwh == {20: "70.46"}


@needs_mbpoll
@TABLES
async def test_mbpoll_reads_each_meter_of_a_line_over_a_pty(table: str) -> None:
    clock = WorldClock(NOW, 10.0, asyncio.get_running_loop().time)
    line = Line(modbus.ModbusBus([place(1, serial=70_001), place(17, serial=70_017)], random.Random(1)), clock)

    with line.opened() as path:
        running = asyncio.create_task(line.run())
        read = {
            unit: await mbpoll(
                "-m", "rtu", "-b", "9600", "-P", "none", "-a", unit, "-B", "-t", f"{table}:int", "-r", "0", path
            )
            for unit in ("1", "17")
        }
        running.cancel()

    assert read == {"1": {0: "70001"}, "17": {0: "70017"}}
    assert line.count.collisions == 0
