"""Serial ports, on a pseudo-terminal: no baud rate and no parity there, so those are asserted as settings."""

import asyncio
import fcntl
import os
import sys
import termios
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serial

from drivers.contract import ChangesSpeed, has_parity
from drivers.errors import ConnectionLost, LineNoise, PortUnavailable, TransportTimeout
from drivers.transports import open_transport
from drivers.transports import serial as ours
from drivers.transports.url import SerialUrl


@pytest.fixture
def port() -> Iterator[str]:
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)


async def test_port_is_raw_and_knows_its_speed(port: str) -> None:
    stream = await open_transport(f"serial://{port}?baud=2400&stop=2")
    fd = os.open(port, os.O_RDWR | os.O_NOCTTY)

    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = termios.tcgetattr(fd)

    assert (stream.bits_per_second, stream.bits_per_character) == (2400, 11)
    assert (ispeed, ospeed) == (termios.B2400, termios.B2400)
    assert cflag & termios.CSIZE == termios.CS8
    assert cflag & termios.CSTOPB
    assert not lflag & (termios.ICANON | termios.ECHO)
    assert not oflag & termios.OPOST
    assert not iflag & (
        termios.IXON | termios.ICRNL | termios.IGNPAR | termios.IGNBRK | termios.BRKINT | termios.ISTRIP
    )
    assert iflag & termios.INPCK
    assert iflag & termios.PARMRK
    assert characters[termios.VMIN] in {1, b"\x01"}
    os.close(fd)
    await stream.close()


async def test_port_is_ours_alone_until_closed(port: str) -> None:
    stream = await open_transport(f"serial://{port}")

    with pytest.raises(PortUnavailable, match="busy; another program has locked it") as caught:
        await open_transport(f"serial://{port}")
    elsewhere = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import serial; serial.Serial({port!r}, exclusive=True)",
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await elsewhere.wait() != 0
    await stream.close()
    again = await open_transport(f"serial://{port}")
    await again.close()

    assert not caught.value.retryable
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("path", "advice"), [("/dev/no-such-port", "no such port"), ("/dev/null", "not a serial port")]
)
async def test_missing_port_says_what_to_do(path: str, advice: str) -> None:
    with pytest.raises(PortUnavailable, match=advice):
        await open_transport(f"serial://{path}")


async def test_forbidden_port_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise serial.SerialException(13, "could not open port /dev/ttyUSB0: Permission denied")

    monkeypatch.setattr(serial, "Serial", forbidden)

    with pytest.raises(PortUnavailable, match="add this user to the group"):
        await open_transport("serial:///dev/ttyUSB0")


def test_a_damaged_byte_is_marked_by_the_kernel_and_neither_dropped_nor_stripped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = [termios.IGNPAR | termios.BRKINT | termios.ISTRIP, 0, 0, 0, 0, 0, [b"\0"] * 32]
    after: list[Any] = []
    monkeypatch.setattr(termios, "tcgetattr", lambda _: before)
    monkeypatch.setattr(termios, "tcsetattr", lambda _fd, _when, attributes: after.append(attributes))

    ours.set_up_input(0)

    assert after[0][0] == termios.INPCK | termios.PARMRK


async def test_port_that_refuses_its_settings_is_closed_again(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> None:
        raise termios.error(22, "Invalid argument")

    with monkeypatch.context() as patch:
        patch.setattr(ours, "set_up_input", refuse)
        with pytest.raises(PortUnavailable, match="refuses these settings"):
            await open_transport(f"serial://{port}")
    stream = await open_transport(f"serial://{port}")

    await stream.close()


async def test_port_is_found_by_a_link_to_it(port: str, tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to(port)

    stream = await open_transport(f"serial://{tmp_path}/by-id")

    await stream.close()


async def test_the_speed_is_changed_while_the_port_is_open_after_the_last_character_and_a_pause(port: str) -> None:
    stream = await open_transport(f"serial://{port}?baud=300")
    assert isinstance(stream, ChangesSpeed)
    loop = asyncio.get_running_loop()
    await stream.write(b"before")

    began = loop.time()
    await stream.reconfigure(9600, "N", 8, after=0.05)
    elapsed = loop.time() - began

    fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
    attributes = termios.tcgetattr(fd)
    os.close(fd)
    assert elapsed >= 0.05
    assert attributes[4:6] == [termios.B9600, termios.B9600]
    assert attributes[6][termios.VMIN] in {1, b"\x01"}
    assert (stream.bits_per_second, stream.bits_per_character) == (9600, 10)
    await stream.close()
    with pytest.raises(ConnectionLost):
        await stream.reconfigure(300, "N", 8)


async def test_a_port_that_refuses_a_speed_says_so(port: str) -> None:
    stream = await open_transport(f"serial://{port}")
    assert isinstance(stream, ChangesSpeed)

    with pytest.raises(PortUnavailable, match="serial://"):
        await stream.reconfigure(9600, "X", 8)
    await stream.close()


async def test_a_good_ff_arrives_once_though_the_kernel_doubles_it() -> None:
    master, slave = os.openpty()
    stream = await open_transport(f"serial://{os.ttyname(slave)}")

    os.write(master, b"\x01\xff\xff\x00\x02")
    received = b""
    while len(received) < 5:
        received += await stream.read(1)

    assert received == b"\x01\xff\xff\x00\x02"
    await stream.close()
    os.close(slave)
    os.close(master)


class Marked:
    """A port as the kernel leaves it where the marks are real. A pty has no parity, so they are written by hand."""

    def __init__(self, parity: str = "E") -> None:
        self._read, self.write = os.pipe()
        self.stream = ours.SerialStream(self, SerialUrl("/dev/pipe", parity=parity))  # type: ignore[arg-type]  # a pipe for a port

    def fileno(self) -> int:
        return self._read

    def close(self) -> None:
        os.close(self._read)
        os.close(self.write)


async def test_a_byte_marked_as_damaged_is_never_delivered() -> None:
    port = Marked()

    os.write(port.write, b"\x11\x03\xff\x00\x42\x04\xff\xff")

    assert await port.stream.read(1) == b"\x11\x03"
    with pytest.raises(LineNoise, match="came damaged"):
        await port.stream.read(1)
    assert await port.stream.read(1) == b"\x04\xff"
    with pytest.raises(TransportTimeout):
        await port.stream.read(0.01)
    await port.stream.close()


async def test_throwing_input_away_takes_the_marks_with_it_and_half_a_mark_keeps_its_place() -> None:
    port = Marked()
    os.write(port.write, b"old\xff\x00\x42\xff\x00\x43older\xff\x00")

    assert port.stream.discard_input() == b"oldolder"
    os.write(port.write, b"\x44new")

    with pytest.raises(LineNoise):
        await port.stream.read(1)
    assert await port.stream.read(1) == b"new"
    await port.stream.close()


@pytest.mark.parametrize(("parity", "is_protected"), [("E", True), ("O", True), ("N", False)])
async def test_a_port_says_whether_parity_protects_it(parity: str, is_protected: bool) -> None:
    port = Marked(parity)

    assert has_parity(port.stream) is is_protected
    await port.stream.close()


async def test_low_latency_is_asked_of_the_adapter_and_one_without_it_is_used_all_the_same(
    port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def refuse(_port: object, is_low: bool) -> None:
        asked.append(is_low)
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr(serial.Serial, "set_low_latency_mode", refuse)

    stream = await open_transport(f"serial://{port}")

    assert asked == [True]
    await stream.close()


async def test_an_adapter_that_has_it_is_left_with_low_latency_on(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pseudo-terminal has no such setting, so the kernel's part is played: linux/tty_flags.h, ASYNC_LOW_LATENCY is bit 13."""
    get, put, flags, is_low = 0x541E, 0x541F, 4, 1 << 13  # TIOCGSERIAL, TIOCSSERIAL; place of flags in serial_struct
    held = [7] * 32
    real = fcntl.ioctl

    def ioctl(fd: int, request: int, argument: Any = 0, *others: Any) -> Any:
        if request == get:
            argument[:] = array("i", held)
        elif request == put:
            held[:] = argument
        else:
            return real(fd, request, argument, *others)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)

    stream = await open_transport(f"serial://{port}")
    await stream.close()

    assert held == [7 | is_low if at == flags else 7 for at in range(32)]
