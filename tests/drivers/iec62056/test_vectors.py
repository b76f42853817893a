"""Published frames and what a meter printed give their published answers: whole, octet by octet, amid rubbish, and never damaged."""

from decimal import Decimal

import pytest

from drivers.errors import RemoteProtocolError
from drivers.iec62056.datasets import decode_block
from drivers.iec62056.events import NEED_DATA
from drivers.iec62056.message import Message, MessageReader
from drivers.iec62056.opening import (
    Identification,
    Mode,
    Opening,
    Purpose,
    decode_acknowledgement,
    decode_identification,
)
from drivers.iec62056.programming import decode_operand
from drivers.iec62056.values import decode_clock, register_value
from drivers.obis import Obis
from tests.drivers.iec62056.cases import events, load_all

CASES = load_all()
OPERAND = CASES["iec62056-21-058"]
ACKNOWLEDGEMENT = CASES["iec62056-21-061"]
IDENTIFICATION = CASES["iec62056-21-062"]
READOUT = CASES["iskra-mt174"]
BLOCK = READOUT.frame[READOUT.frame.index(2) :]
CHECKED = pytest.mark.parametrize("octets", [OPERAND.frame, BLOCK], ids=["operand", "readout"])


def test_a_published_operand_is_read_and_written() -> None:
    (message,) = events(MessageReader(), OPERAND.frame)

    assert isinstance(message, Message)
    assert message.command == OPERAND.expect["command"]
    assert decode_operand(message) == OPERAND.expect["value"]
    assert message.encode() == OPERAND.frame
    assert f"{OPERAND.frame[-1]:02x}" == OPERAND.expect["bcc"]


def test_a_published_acknowledgement_is_read_and_is_what_we_would_send() -> None:
    told = decode_acknowledgement(ACKNOWLEDGEMENT.frame)
    meter = Identification("Els", ACKNOWLEDGEMENT.expect["baud_char"], "", "")

    assert told.mark == ACKNOWLEDGEMENT.expect["baud_char"]
    assert told.purpose is Purpose.PROGRAMMING
    assert told.purpose[1] == ACKNOWLEDGEMENT.expect["mode_char"]
    assert meter.speed == 9600
    assert meter.acknowledge(Purpose.PROGRAMMING) == ACKNOWLEDGEMENT.frame


def test_a_published_identification_is_read() -> None:
    told = decode_identification(IDENTIFICATION.frame)
    expect = IDENTIFICATION.expect

    assert (told.maker, told.mark) == (expect["manufacturer"], expect["baud_char"])
    assert told.escapes.removeprefix("\\") + told.identification == expect["identification"]
    assert (told.mode, told.speed) == (Mode.E, 19200)


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("before", [b"", b"\x00\xff", b"/?!\r\n"])
def test_what_a_meter_printed_gives_its_values(before: bytes, step: int) -> None:
    expect = READOUT.expect
    opening, reader = Opening(), MessageReader()
    octets = before + READOUT.frame[: -len(BLOCK)]
    for at in range(0, len(octets), step or len(octets)):
        opening.receive_data(octets[at : at + (step or len(octets))])
    told = opening.next_event()

    (message,) = events(reader, opening.rest() + BLOCK, step=step)

    assert isinstance(told, Identification)
    assert (told.maker, told.mark, told.identification, told.mode) == (
        expect["manufacturer"],
        expect["baud_char"],
        expect["identification"],
        Mode.C,
    )
    assert isinstance(message, Message)
    block = decode_block(message.data)
    assert not block.others
    for name, code in (("import", "1-0:1.8.0*255"), ("export", "1-0:2.8.0*255")):
        found = block.find(Obis.parse(code))
        assert found is not None
        value = register_value(found, Obis.parse(code), 0)
        number, _ = expect[name].split()
        assert value.value == Decimal(number) * 1000
        assert (value.scaler_unit.scaler, value.scaler_unit.unit.symbol) == (0, "Wh")
    date, time = (block.find(Obis.parse(code)) for code in ("0.9.2", "0.9.1"))
    assert date is not None
    assert time is not None
    assert (date.values[0].text, time.values[0].text) == (expect["date"], expect["time"])
    assert decode_clock(expect["date"], expect["time"], "Europe/Berlin") == 1643277404  # 2022-01-27T09:56:44Z


@CHECKED
@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize("before", [b"", b"\x00\xff\x03", b"(123)\r\n", bytes(200)])
def test_messages_are_the_same_whole_and_in_pieces_and_amid_rubbish(octets: bytes, before: bytes, step: int) -> None:
    alone = events(MessageReader(), octets)

    assert events(MessageReader(), before + octets + b"\x00\xff" * 8, step=step) == alone


@CHECKED
def test_of_a_message_cut_anywhere_nothing_is_taken_and_the_next_one_is_read(octets: bytes) -> None:
    (alone,) = events(MessageReader(), octets)

    for end in range(1, len(octets)):
        reader = MessageReader()
        assert not events(reader, octets[:end]), end
        reader = MessageReader()
        told = events(reader, octets[:end] + octets + octets)
        assert told[-1] == alone, end
        assert all(event == alone for event in told if isinstance(event, Message)), end


@CHECKED
def test_every_flipped_bit_is_an_error_or_noise(octets: bytes) -> None:
    for bit in range(8 * len(octets)):
        spoilt = bytearray(octets)
        spoilt[bit // 8] ^= 1 << bit % 8
        told = events(MessageReader(), bytes(spoilt))
        assert not any(isinstance(event, Message) for event in told), bit


@CHECKED
def test_a_damaged_octet_anywhere_spoils_the_message(octets: bytes) -> None:
    for at in range(len(octets)):
        reader = MessageReader()
        reader.receive_data(octets[:at])
        reader.receive_damage()
        assert not any(isinstance(event, Message) for event in events(reader, octets[at + 1 :])), at


@pytest.mark.parametrize(
    "frame", [ACKNOWLEDGEMENT.frame, IDENTIFICATION.frame], ids=["acknowledgement", "identification"]
)
def test_an_eighth_bit_in_a_line_without_check_character_is_an_error(frame: bytes) -> None:
    decode = decode_acknowledgement if frame[0] == 6 else decode_identification
    for at in range(len(frame)):
        spoilt = bytearray(frame)
        spoilt[at] |= 0x80
        with pytest.raises(RemoteProtocolError):
            decode(bytes(spoilt))


def test_an_identification_is_waited_for_to_its_last_octet() -> None:
    opening = Opening()
    for octet in IDENTIFICATION.frame[:-1]:
        opening.receive_data(bytes([octet]))
        assert opening.next_event() is NEED_DATA


def test_every_published_vector_is_here() -> None:
    assert sum(name.startswith("iec62056-21-") for name in CASES) == 3
