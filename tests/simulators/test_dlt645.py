"""The line of simulated DL/T 645 meters: who answers, who keeps quiet, and two at once."""

import random

import pytest

from drivers.dlt645.address import ANY
from drivers.dlt645.control import Edition
from drivers.dlt645.frame import Frame, FrameReader
from drivers.dlt645.services import Identifier, read, read_address
from simulators.dlt645 import Dlt645Bus
from simulators.faults import LineDeed, LineFault, parse_fault
from tests.drivers.dlt645.cases import events
from tests.drivers.dlt645.line import NOW, bus, meter

ENERGY = Identifier("00010000")


def heard(line: Dlt645Bus, frame: Frame) -> list[Frame | str]:
    answer = line.receive(frame.encode(), NOW)
    return [] if answer is None else events(FrameReader(), answer.data)


def test_a_meter_alone_tells_its_address() -> None:
    (frame,) = heard(bus(meter(1001)), read_address(ANY))

    assert isinstance(frame, Frame)
    assert frame.data == bytes.fromhex("011000000000")


def test_two_that_answer_at_once_garble_each_other() -> None:
    told = heard(bus(meter(1001), meter(1002)), read(ANY, ENERGY, Edition.E2007))

    assert not any(isinstance(event, Frame) for event in told)


@pytest.mark.parametrize("address", ["000000002000", "999999999999"])
def test_nobody_answers_for_others_or_to_all(address: str) -> None:
    assert heard(bus(meter(1001)), read(address, ENERGY, Edition.E2007)) == []


def test_a_damaged_question_gets_no_answer() -> None:
    octets = bytearray(read("000000001001", ENERGY, Edition.E2007).encode())
    octets[-2] ^= 1

    assert bus(meter(1001)).receive(bytes(octets), NOW) is None


def test_what_changes_a_meter_is_refused() -> None:
    (frame,) = heard(bus(meter(1001)), Frame("000000001001", 0x1C, bytes(16)))

    assert isinstance(frame, Frame)
    assert frame.control == 0xDC


def test_every_deed_is_told_from_the_command_line() -> None:
    for deed in LineDeed:
        assert parse_fault(f"{deed},first=2,times=3", 0) == LineFault(deed, 2, 3)
    with pytest.raises(ValueError, match="count from 1"):
        parse_fault("other-item,first=0", 0)


def test_two_meters_of_one_address_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        Dlt645Bus([meter(1), meter(1)], random.Random(1))
