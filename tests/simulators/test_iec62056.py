"""The line of simulated IEC 62056-21 meters: who answers, what each mode says, and passwords that lock."""

import random
from typing import Any

import pytest

from drivers.iec62056.message import Message
from drivers.iec62056.programming import BREAK, Read, password, read
from simulators.iec62056 import Iec62056Bus, Settings
from tests.drivers.iec62056.line import NOW, bus, meter

CALL, PROGRAMMING, READOUT = b"/?1001!\r\n", b"\x06051\r\n", b"\x06050\r\n"
SECRET = password(b"00000000").encode()


def say(line: Iec62056Bus, *said: bytes) -> bytes:
    """The last answer; empty for silence."""
    heard = b""
    for octets in said:
        answer = line.receive(octets, NOW)
        heard = answer.data if answer else b""
    return heard


@pytest.mark.parametrize(("call", "count"), [(b"/?!\r\n", 2), (b"/?2000!\r\n", 1), (b"?1001!\r\n", 1), (b"/?1001!", 1)])
def test_who_is_not_meant_keeps_quiet(call: bytes, count: int) -> None:
    assert say(bus(*(meter(1001 + number) for number in range(count))), call) == b""


@pytest.mark.parametrize("call", [b"/?!\r\n", b"/?01001!\r\n", bytes(60) + CALL])
def test_a_meter_alone_answers_whoever_calls(call: bytes) -> None:
    assert say(bus(meter(1001)), call) == b"/SIM5HEADEND-1\r\n"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"mode": "A"}, b"/SIMxHEADEND-1\r\n"),
        ({"mode": "B", "speed": 2400}, b"/SIMCHEADEND-1\r\n"),
        ({"mode": "C", "speed": 300}, b"/SIM0HEADEND-1\r\n"),
        ({"mode": "E"}, b"/SIM5\\2HEADEND-1\r\n"),
    ],
)
def test_each_mode_says_so(settings: dict[str, Any], line: bytes) -> None:
    said = say(bus(meter(1001), **settings), CALL)

    assert said.startswith(line)
    assert (b"1.8.0(" in said) is (settings["mode"] in {"A", "B"})


def test_a_speed_that_a_mode_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="mode B has no speed of 300"):
        Settings(mode="B", speed=300).identification()


def test_reads_by_address_need_the_password() -> None:
    line = bus(meter(1001))

    assert say(line, CALL, PROGRAMMING, read("1.8.0").encode()) == Message("", b"(ER04)").encode()
    assert b"1.8.0(" in say(line, CALL, PROGRAMMING, SECRET, read("1.8.0").encode())
    assert say(line, read("9.9.9").encode()) == Message("", b"(ER01)").encode()
    assert say(line, BREAK.encode()) == b""


def test_after_three_wrong_passwords_none_is_taken() -> None:
    line = bus(meter(1001))

    for _ in range(3):
        assert say(line, CALL, PROGRAMMING, password(b"1").encode()) == BREAK.encode()

    assert say(line, CALL, PROGRAMMING, SECRET) == BREAK.encode()


def test_what_writes_is_refused() -> None:
    assert (
        say(bus(meter(1001)), CALL, PROGRAMMING, SECRET, Message("W1", b"0.9.1(000000)").encode())
        == Message("", b"(ER04)").encode()
    )


def test_a_damaged_question_is_asked_for_again_and_so_is_an_answer() -> None:
    line = bus(meter(1001))
    question = read("1.8.0").encode()

    assert say(line, CALL, PROGRAMMING, SECRET, question[:-1] + b"\x00") == b"\x15"
    assert say(line, question) == say(line, b"\x15")


def test_blocks_go_on_as_they_are_taken() -> None:
    line = bus(meter(1001))
    parts = [say(line, CALL, PROGRAMMING, SECRET, read("P.01", Read.NATIONAL_IN_BLOCKS, ";").encode())]
    while parts[-1][-2] == 0x04:
        parts.append(say(line, b"\x06"))

    assert len(parts) > 2
    assert parts[-1][-2] == 0x03


def test_two_meters_of_one_address_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        Iec62056Bus([meter(1), meter(1)], random.Random(1))
