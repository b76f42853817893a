"""Serial ports on other machines, against pyserial's RFC 2217 server in its own process."""

import os
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import ChangesSpeed, has_parity
from drivers.errors import ConnectionLost, LineNoise, PortUnavailable, RemoteProtocolError
from drivers.transports import open_transport
from drivers.transports.rfc2217 import COM_PORT, NOTIFY_LINESTATE, SET_BAUDRATE, ComPort, Rfc2217Stream, command
from drivers.transports.tcp import adopt_socket
from drivers.transports.url import Form, Rfc2217Url

PEER = Path(__file__).parents[2] / "peers" / "rfc2217_port.py"


@pytest.fixture
def served() -> Iterator[tuple[int, int, str]]:
    """A pty behind pyserial's server: our end of the pty, the TCP port, and the name of the served end."""
    master, slave = os.openpty()
    name = os.ttyname(slave)
    with subprocess.Popen([sys.executable, PEER, name], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield master, int(process.stdout.readline()), name
        process.terminate()
    os.close(slave)
    os.close(master)


async def test_a_port_is_set_up_and_carries_every_byte_both_ways(served: tuple[int, int, str]) -> None:
    master, port, name = served
    every = bytes(range(256)) + b"\xff\xff"

    stream = await open_transport(f"rfc2217://127.0.0.1:{port}?baud=2400")
    await stream.write(every)
    sent = b""
    while len(sent) < len(every):
        sent += os.read(master, 4096)
    fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
    speed = termios.tcgetattr(fd)[4]
    os.close(fd)
    os.write(master, b"\x00" + every)
    received = b""
    while len(received) < len(every) + 1:
        received += await stream.read(5)

    assert sent == every
    assert received == b"\x00" + every
    assert speed == termios.B2400
    assert (stream.bits_per_second, stream.bits_per_character, has_parity(stream)) == (2400, 10, False)
    await stream.close()


async def test_the_speed_is_changed_while_the_port_is_open(served: tuple[int, int, str]) -> None:
    _, port, name = served
    stream = await open_transport(f"rfc2217://127.0.0.1:{port}?baud=300")
    changing = stream
    assert isinstance(changing, ChangesSpeed)

    await changing.reconfigure(9600, "N", 8, after=0.01)

    fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
    speed = termios.tcgetattr(fd)[4]
    os.close(fd)
    assert (speed, stream.bits_per_second) == (termios.B9600, 9600)
    with pytest.raises(PortUnavailable, match="parity 'X'"):
        await changing.reconfigure(9600, "X", 8)
    await stream.close()


def a_stream(answer: bytes) -> tuple[Rfc2217Stream, socket.socket]:
    near, far = socket.socketpair()
    far.sendall(answer)
    return Rfc2217Stream(adopt_socket(near, "pair"), Rfc2217Url("there", 1, connect_timeout=1)), far


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (bytes((255, 254, COM_PORT)), "does not speak RFC 2217"),
        (b"login: ", "does it speak RFC 2217"),
        (
            b"".join(
                command(number + 100, value)
                for number, value in ((1, b"\0\0\x04\xb0"), (2, b"\x08"), (3, b"\x02"), (4, b"\x01"))
            ),
            "does not take baud, parity",
        ),
    ],
)
async def test_a_server_that_does_not_set_up_the_port_is_not_used(answer: bytes, fault: str) -> None:
    stream, far = a_stream(answer)

    with pytest.raises(PortUnavailable, match=fault):
        await stream.open()

    await stream.close()
    far.close()


async def test_a_fault_that_the_server_tells_of_spoils_what_was_not_read_yet() -> None:
    stream, far = a_stream(b"\x01\x02" + command(NOTIFY_LINESTATE, b"\x04"))

    with pytest.raises(LineNoise):
        await stream.read(1)
    far.sendall(b"\x03")

    assert await stream.read(1) == b"\x03"
    await stream.close()
    far.close()


async def test_a_subnegotiation_without_end_loses_the_connection() -> None:
    stream, far = a_stream(bytes((255, 250, COM_PORT)) + bytes(400))

    with pytest.raises(ConnectionLost, match="without an end"):
        await stream.read(1)
    await stream.close()
    far.close()


@given(data=st.binary(max_size=60), size=st.integers(1, 7))
def test_data_and_commands_are_told_apart_however_the_input_is_cut(data: bytes, size: int) -> None:
    port = ComPort()
    wire = port.encode(data) + command(SET_BAUDRATE + 100, b"\x00\x00\xff\xff") + port.encode(data)

    received = b"".join(port.receive_data(wire[at : at + size]) for at in range(0, len(wire), size))

    assert received == data + data
    assert port.confirmed == {SET_BAUDRATE: b"\x00\x00\xff\xff"}


@given(data=st.binary(max_size=400))
def test_whatever_comes_is_data_or_an_error_of_ours(data: bytes) -> None:
    port = ComPort()
    port.set_up(Form())

    try:
        received = port.receive_data(data)
    except RemoteProtocolError:
        return

    assert len(received) <= len(data)
    assert len(port.data_to_send()) <= 3 * len(data)
