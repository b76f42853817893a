"""Our client against libmodbus's own test server, which misbehaves on purpose: an implementation none of us wrote.

The server's source ships with Debian's libmodbus-dev (BSD-3-Clause examples); it is compiled in a temporary folder, with
a free port and a pseudo-terminal put in place of its fixed ones. It serves one connection and ends with it.
"""

import asyncio
import os
import pty
import re
import shutil
import socket
import subprocess
import termios
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import MeterRefused, RemoteProtocolError, TransportError, TransportTimeout
from drivers.modbus.driver import ModbusSession, open_session
from drivers.modbus.functions import WriteOne
from drivers.modbus.learned import Learned
from drivers.modbus.pdu import ExceptionCode, ExceptionResponse, Function
from drivers.obis import Obis
from drivers.profile import ModbusPoint
from drivers.transports import FdStream, open_transport
from drivers.units import ScalerUnit, Unit
from tests.drivers.modbus.fixtures import context, endpoint, profile

EXAMPLES = Path("/usr/share/doc/libmodbus-dev/examples")
SOURCE = EXAMPLES / "unit-test-server.c"
COUNTS = ScalerUnit(0, Unit.COUNT)
UNIT = "255"


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture(scope="module")
def program(port: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not SOURCE.exists() or not Path("/usr/include/modbus/modbus.h").exists():
        pytest.skip("libmodbus's test server is not installed: apt-get install libmodbus-dev")
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler to build libmodbus's test server: apt-get install gcc")
    folder = tmp_path_factory.mktemp("libmodbus")
    source = SOURCE.read_text()
    assert source.count('"127.0.0.1", 1502') == 1
    assert source.count('"/dev/ttyUSB0"') == 1
    source = source.replace('"127.0.0.1", 1502', f'"127.0.0.1", {port}').replace("/dev/ttyUSB0", str(folder / "port"))
    (folder / "server.c").write_text(source)
    command = ["gcc", "-w", "-I", str(EXAMPLES), "-I", "/usr/include/modbus", "server.c", "-lmodbus", "-o", "server"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return folder / "server"


@pytest.fixture
def server(program: Path) -> Iterator[None]:
    process = subprocess.Popen([str(program), "tcp"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@asynccontextmanager
async def session_with(
    points: list[ModbusPoint], port: int, *, may_write: bool = False, **changes: Any
) -> AsyncIterator[Any]:
    """A session over a fresh connection; the server takes a moment to listen."""
    deadline = time.monotonic() + 10
    while True:
        try:
            stream = await open_transport(f"tcp://127.0.0.1:{port}")
            break
        except TransportError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)
    try:
        meter = profile(framing="tcp", points=tuple(points), **changes)
        yield ModbusSession(stream, endpoint(meter, UNIT), context(), Learned(), may_write=may_write)
    finally:
        await stream.close()


def point(address: int, **changes: Any) -> ModbusPoint:
    return ModbusPoint(
        Obis(1, 0, 99, address // 256, address % 256), address, changes.pop("type", "uint16"), COUNTS, **changes
    )


@pytest.mark.usefixtures("server")
async def test_registers_of_both_tables_are_read(port: int) -> None:
    number, holding = point(0x108, table="input"), point(0x165)

    async with session_with([number, holding], port) as session:
        values = await session.read_registers([number.obis, holding.obis])

    assert [value.count for value in values] == [0x000A, 0]


@pytest.mark.usefixtures("server")
async def test_one_register_too_few_is_a_protocol_error(port: int) -> None:
    short = point(0x160, type="uint32")

    async with session_with([short], port) as session:
        with pytest.raises(RemoteProtocolError, match="announces 2 bytes"):
            await session.read_registers([short.obis])


@pytest.mark.usefixtures("server")
async def test_busy_server_is_a_refusal_with_its_code(port: int) -> None:
    busy = point(0x170)

    async with session_with([busy], port) as session:
        with pytest.raises(MeterRefused, match="server device busy") as caught:
            await session.read_registers([busy.obis])

    assert caught.value.code == 6


@pytest.mark.usefixtures("server")
async def test_wrong_transaction_is_a_protocol_error(port: int) -> None:
    wrong = point(0x171)

    async with session_with([wrong], port) as session:
        with pytest.raises(RemoteProtocolError, match="answered transaction"):
            await session.read_registers([wrong.obis])


@pytest.mark.usefixtures("server")
async def test_half_a_second_late_is_a_timeout_and_the_next_answer_is_the_right_one(port: int) -> None:
    late, number = point(0x172), point(0x108, table="input")

    async with session_with([late, number], port) as session:
        with pytest.raises(TransportTimeout):
            await session.read_registers([late.obis])
        await asyncio.sleep(0.5)
        (value,) = await session.read_registers([number.obis])

    assert value.count == 0x000A


@pytest.mark.usefixtures("server")
async def test_answer_that_comes_byte_by_byte_is_whole(port: int) -> None:
    slow = point(0x173)

    async with session_with([slow], port) as session:
        (value,) = await session.read_registers([slow.obis])

    assert value.count == 0


@pytest.mark.usefixtures("server")
async def test_address_the_server_does_not_have_is_refused(port: int) -> None:
    absent = point(0x10)

    async with session_with([absent], port) as session:
        with pytest.raises(MeterRefused, match="illegal data address"):
            await session.read_registers([absent.obis])


SPECIAL_WRITES = [
    WriteOne(Function.WRITE_SINGLE_COIL, 0x132, 0xFF00),
    WriteOne(Function.WRITE_SINGLE_REGISTER, 0x170, 1),
]
"""Of these the server takes the length for a wrong one, and refuses them."""


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("write", SPECIAL_WRITES)
async def test_a_write_whose_length_the_server_believes_wrong_is_its_exception(port: int, write: WriteOne) -> None:
    number = point(0x108, table="input")

    async with session_with([number], port, may_write=True) as session:
        refused = await session.exchange.ask(write)
        (value,) = await session.read_registers([number.obis])

    assert refused == ExceptionResponse(int(write.function), ExceptionCode.ILLEGAL_DATA_VALUE)
    assert value.count == 0x000A


@pytest.fixture
async def line(program: Path) -> AsyncIterator[str]:
    """Our end of a serial line whose other end is the server, as RTU: two pseudo-terminals, each carried over to the other."""
    (our_master, ours), (their_master, theirs) = pty.openpty(), pty.openpty()
    port = program.with_name("port")
    port.unlink(missing_ok=True)
    port.symlink_to(os.ttyname(theirs))
    masters = [FdStream(fd, "relay", partial(os.close, fd)) for fd in (our_master, their_master)]
    relays = [asyncio.create_task(_carry(*masters)), asyncio.create_task(_carry(*reversed(masters)))]
    process = await asyncio.create_subprocess_exec(
        program, "rtu", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        while termios.tcgetattr(theirs)[3] & termios.ICANON:  # until the server has made its end raw
            assert process.returncode is None, "libmodbus's server ended at once"
            await asyncio.sleep(0.01)
        yield f"serial://{os.ttyname(ours)}?baud=115200"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        for master in masters:
            await master.close()
        os.close(ours)
        os.close(theirs)


async def _carry(source: FdStream, sink: FdStream) -> None:
    while True:
        await sink.write(await source.read(60))


async def ask_over_rtu(url: str, *points: ModbusPoint) -> list[int]:
    stream = await open_transport(url)
    try:
        async with open_session(stream, endpoint(profile(points=points), "17"), context()) as session:
            return [value.count for value in await session.read_registers([one.obis for one in points])]
    finally:
        await stream.close()


async def test_registers_are_read_over_rtu(line: str) -> None:
    assert await ask_over_rtu(line, point(0x108, table="input"), point(0x165)) == [0x000A, 0]


async def test_refusal_over_rtu_carries_its_code(line: str) -> None:
    with pytest.raises(MeterRefused) as caught:
        await ask_over_rtu(line, point(0x170))

    assert caught.value.code == 6


async def test_another_units_answer_over_rtu_is_a_protocol_error(line: str) -> None:
    with pytest.raises(RemoteProtocolError, match="unit 18 answered, unit 17 was asked"):
        await ask_over_rtu(line, point(0x171))


async def test_one_register_too_few_over_rtu_is_a_protocol_error(line: str) -> None:
    with pytest.raises(RemoteProtocolError, match="2 bytes of registers, 4 were asked"):
        await ask_over_rtu(line, point(0x160, type="uint32"))


async def test_late_answer_over_rtu_is_not_taken_by_the_next_request(line: str) -> None:
    with pytest.raises(TransportTimeout):
        await ask_over_rtu(line, point(0x172))
    await asyncio.sleep(0.5)

    assert await ask_over_rtu(line, point(0x108, table="input")) == [0x000A]


@pytest.mark.parametrize("write", SPECIAL_WRITES)
async def test_a_write_whose_length_the_server_believes_wrong_is_its_exception_over_rtu(
    line: str, write: WriteOne
) -> None:
    stream = await open_transport(line)

    session = ModbusSession(stream, endpoint(profile(points=()), "17"), context(), Learned(), may_write=True)
    refused = await session.exchange.ask(write)
    await stream.close()

    assert refused == ExceptionResponse(int(write.function), ExceptionCode.ILLEGAL_DATA_VALUE)


def test_each_misbehavior_of_the_server_has_its_test_here(program: Path) -> None:
    """Each is told apart in the server's loop by a name of its own."""
    loop = program.with_name("server.c").read_text().partition("Special server behavior")[2]

    assert set(re.findall(r"==\s*(UT_\w+)", loop)) == {
        "UT_REGISTERS_NB_SPECIAL",
        "UT_REGISTERS_ADDRESS_SPECIAL",
        "UT_REGISTERS_ADDRESS_INVALID_TID_OR_SLAVE",
        "UT_REGISTERS_ADDRESS_SLEEP_500_MS",
        "UT_REGISTERS_ADDRESS_BYTE_SLEEP_5_MS",
        "UT_BITS_ADDRESS_INVALID_REQUEST_LENGTH",
    }
