"""The codecs of IEC 62056-21 by themselves: modes, messages, data lines, numbers, stamps, and what programming mode says."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import LocalProtocolError, MeterRefused, RemoteProtocolError
from drivers.iec62056 import message as messages
from drivers.iec62056.datasets import DataSet, Value, decode_answer, decode_block, parse_address
from drivers.iec62056.message import Handshake, Message, MessageReader
from drivers.iec62056.opening import Mode, Opening, Purpose, decode_acknowledgement, decode_identification
from drivers.iec62056.programming import BREAK, Password, Read, Write, decode_operand, password, read, write
from drivers.iec62056.values import decode_clock, decode_errors, decode_number, decode_stamp, parse_unit
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from tests.drivers.iec62056.cases import events

WATT_HOURS = ScalerUnit(0, Unit.WATT_HOUR)
KILOWATT_HOURS = ScalerUnit(3, Unit.WATT_HOUR)
TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60).map(lambda text: text.encode())

# -- opening


@pytest.mark.parametrize(
    ("line", "mode", "speed"),
    [
        (b"/LGZ0ABC\r\n", Mode.C, 300),
        (b"/LGZ4ABC\r\n", Mode.C, 4800),
        (b"/LGZ4\\2ABC\r\n", Mode.E, 4800),
        (b"/LGZ4\\3ABC\r\n", Mode.C, 4800),
        (b"/LGZCABC\r\n", Mode.B, 2400),
        (b"/LGZxABC\r\n", Mode.A, 300),
        (b"/LGZ-\r\n", Mode.A, 300),
    ],
)
def test_the_character_of_the_speed_tells_the_mode(line: bytes, mode: Mode, speed: int) -> None:
    told = decode_identification(line)

    assert (told.mode, told.speed) == (mode, speed)


def test_a_small_third_letter_says_that_the_meter_is_quick() -> None:
    assert decode_identification(b"/ISk5MT174\r\n").turn == 0.02
    assert decode_identification(b"/LGZ5ABC\r\n").turn == 0.2


@pytest.mark.parametrize("mark", ["7", "9", "G", "I"])
def test_a_reserved_speed_is_an_error(mark: str) -> None:
    told = decode_identification(f"/LGZ{mark}ABC\r\n".encode())

    with pytest.raises(RemoteProtocolError, match=f"the speed {mark}"):
        _ = told.speed


@pytest.mark.parametrize("mark", ["A", "x"])
def test_modes_a_and_b_know_no_acknowledgement(mark: str) -> None:
    told = decode_identification(f"/LGZ{mark}ABC\r\n".encode())

    with pytest.raises(LocalProtocolError, match="no acknowledgement"):
        told.acknowledge(Purpose.READOUT)


@pytest.mark.parametrize("purpose", Purpose)
def test_an_acknowledgement_is_read_back_also_at_a_slower_speed(purpose: Purpose) -> None:
    told = decode_identification(b"/LGZ6\\2ABC\r\n")

    heard = decode_acknowledgement(told.acknowledge(purpose, "3"))

    assert (heard.mark, heard.purpose) == ("3", purpose)


@pytest.mark.parametrize("line", [b"", b"\x06050", b"\x06959\r\n", b"\x15050\r\n", b"\x06\x305\xb0\r\n"])
def test_what_is_no_acknowledgement_is_an_error(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not an acknowledgement"):
        decode_acknowledgement(line)


@pytest.mark.parametrize("octets", [b"/LG5A\r\n", b"/" + b"x" * 60, b"x" * 300, b"/LGZ!\r\n", b"/LGZ5A\xc2\r\n"])
def test_another_answer_than_an_identification_is_an_error(octets: bytes) -> None:
    opening = Opening()
    opening.receive_data(octets)

    with pytest.raises(RemoteProtocolError, match="identification"):
        opening.next_event()


# -- messages


@given(TEXT, st.sampled_from(["", "P0", "P1", "R1", "R5", "W1"]), st.booleans(), st.integers(1, 9))
def test_a_message_is_read_back_however_it_is_cut(data: bytes, command: str, is_last: bool, step: int) -> None:
    sent = Message(command, data, is_last)

    assert events(MessageReader(), sent.encode(), step=step) == [sent]


def test_the_end_of_a_session_has_neither_stx_nor_data() -> None:
    assert BREAK.encode() == b"\x01B0\x03q"
    assert events(MessageReader(), BREAK.encode()) == [BREAK]


def test_taken_and_repeat_are_messages_of_one_octet() -> None:
    assert events(MessageReader(), b"\x00\x06\x15") == [Handshake.TAKEN, Handshake.REPEAT]
    assert (Handshake.TAKEN.encode(), Handshake.REPEAT.encode()) == (b"\x06", b"\x15")


@pytest.mark.parametrize(("command", "data"), [("X1", b""), ("R", b""), ("R1", b"\x03"), ("", b"\xff"), ("é1", b"")])
def test_what_would_not_be_read_back_is_not_sent(command: str, data: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        Message(command, data).encode()


@pytest.mark.parametrize("octets", [b"\x01X1\x02()\x03", b"\x01B0(1)\x03", b"\x01\x03", b"\x01R1()\x03"])
def test_a_right_check_character_makes_no_command_of_what_is_none(octets: bytes) -> None:
    check = bytes((messages.check_character(octets[1:]),))

    (told,) = events(MessageReader(), octets + check)

    assert "not a command" in str(told)


def test_a_message_that_begins_inside_another_is_read() -> None:
    inner = Message("", b"1.8.0(1*kWh)")

    told = events(MessageReader(), b"\x021.8.0(2" + inner.encode())

    assert told == ["octet 02 inside a message", inner]


@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize("step", [0, 1000])
def test_a_message_without_end_is_an_error(is_checked: bool, step: int) -> None:
    begin = b"\x02" if is_checked else b""

    told = events(MessageReader(is_checked=is_checked), begin + b"x" * 70_000, step=step)

    assert "without an end" in str(told[0])


def test_noise_without_end_is_an_error() -> None:
    assert "noise" in str(events(MessageReader(), b"x" * 300)[0])


PLAIN = b"0.0.0(123)\r\n1.8.0(000502.8!*kWh)\r\n!\r\n"


@pytest.mark.parametrize("step", [0, 1, 2, 5])
def test_a_readout_without_check_character_ends_with_its_own_mark(step: int) -> None:
    told = events(MessageReader(is_checked=False), PLAIN + PLAIN, step=step)

    assert told == [Message("", PLAIN)] * 2


def test_a_readout_without_check_character_is_never_taken_where_one_is_due() -> None:
    assert not any(isinstance(event, Message) for event in events(MessageReader(), PLAIN))


@pytest.mark.parametrize("octet", [0x02, 0x80, 0xB1])
def test_what_is_no_text_spoils_a_readout_without_check_character(octet: int) -> None:
    told = events(MessageReader(is_checked=False), b"1.8.0(0" + bytes((octet,)) + PLAIN[-6:])

    assert "without check character" in str(told[0])


@given(st.binary(max_size=600), st.booleans())
def test_whatever_arrives_is_a_message_an_error_or_not_enough(octets: bytes, is_checked: bool) -> None:
    for event in events(MessageReader(is_checked=is_checked), octets):
        if isinstance(event, Message):
            with suppress(RemoteProtocolError):
                decode_block(event.data)


# -- data lines


def test_lines_hold_sets_and_sets_go_on_over_lines() -> None:
    block = decode_block(
        b"0.0.0(123)\r\n1.6.1(1.23*kW)(2201271015)2.8.0()\r\n\r\nP.01(1)\r\n(2*V)(3)\r\n-- title\r\n!\r\n"
    )

    assert block.sets == (
        DataSet("0.0.0", (Value("123"),)),
        DataSet("1.6.1", (Value("1.23", "kW"), Value("2201271015"))),
        DataSet("2.8.0", (Value(""),)),
        DataSet("P.01", (Value("1"), Value("2", "V"), Value("3"))),
    )
    assert block.others == ("-- title",)


@pytest.mark.parametrize("text", ["1.8.0(1", "1.8.0", "1.8.0(1))", "1.8.0((1))", ")(", "1 8(1)"])
def test_what_is_no_data_line_is_handed_on_as_it_is(text: str) -> None:
    assert decode_block(text.encode()).others == (text,)


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"1.8.0(1)\r\n!\r\n2.8.0(1)", "behind the end"), (b"1.8.0(\xff)", "no text"), (b"\n" * 5000, "5001 lines")],
)
def test_a_block_that_cannot_be_one_is_an_error(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        decode_block(data)


def test_a_code_that_stands_twice_is_nobodys() -> None:
    block = decode_block(b"1.8.0(1*kWh)\r\n1-0:1.8.0*255(2*kWh)\r\n2.8.0(3*kWh)")

    with pytest.raises(RemoteProtocolError, match="2 lines"):
        block.find(Obis(1, 0, 1, 8, 0))
    assert block.find(Obis(1, 0, 2, 8, 0)) == block.sets[2]
    assert block.find(Obis(1, 0, 3, 8, 0)) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1.8.0", "1-0:1.8.0*255"),
        ("1.8.1*05", "1-0:1.8.1*5"),
        ("1.8.1&05", "1-0:1.8.1*5"),
        ("1-1:1.8.0", "1-1:1.8.0*255"),
        ("F.F", "0-0:97.97.0*255"),
        ("C.1.0", "0-0:96.1.0*255"),
        ("0-0:C.51.2*01", "0-0:96.51.2*1"),
        ("L.1.0", "0-0:98.1.0*255"),
        ("P.01", "0-0:99.1.0*255"),
        ("", None),
        ("Q.1", None),
        ("C.256.0", None),
        ("999.1.1", None),
    ],
)
def test_reduced_addresses_are_codes(text: str, code: str | None) -> None:
    assert parse_address(text) == (Obis.parse(code) if code else None)


@pytest.mark.parametrize(("data", "code"), [(b"(ER01)", 1), (b"(ERROR)", 0), (b"(Error)", 0), (b"(ER 12)", 12)])
def test_an_error_for_an_answer_is_a_refusal(data: bytes, code: int) -> None:
    with pytest.raises(MeterRefused) as caught:
        decode_answer(data)

    assert caught.value.code == code


@pytest.mark.parametrize("data", [b"(0002.5*kWh)", b"1.8.0(ER01)", b"(ER)(01)"])
def test_an_answer_with_an_address_or_several_values_is_no_refusal(data: bytes) -> None:
    assert decode_answer(data).sets


# -- values


@pytest.mark.parametrize(
    ("value", "implied", "count", "scaler_unit"),
    [
        (Value("0000502.853", "kWh"), None, 502853, WATT_HOURS),
        (Value("00000504.9023619", "kWh"), None, 5049023619, ScalerUnit(-4, Unit.WATT_HOUR)),
        (Value("-000115.94", "W"), None, -11594, ScalerUnit(-2, Unit.WATT)),
        (Value("+12", "MWH"), None, 12, ScalerUnit(6, Unit.WATT_HOUR)),
        (Value("12.", "kvarh"), None, 12, ScalerUnit(3, Unit.VAR_HOUR)),
        (Value("0012.5"), KILOWATT_HOURS, 125, ScalerUnit(2, Unit.WATT_HOUR)),
        (Value("12.5", "Wh"), KILOWATT_HOURS, 125, ScalerUnit(-1, Unit.WATT_HOUR)),
    ],
)
def test_printed_digits_are_the_count(
    value: Value, implied: ScalerUnit | None, count: int, scaler_unit: ScalerUnit
) -> None:
    assert decode_number(value, implied) == (count, scaler_unit)


@pytest.mark.parametrize(
    ("value", "implied", "why"),
    [
        (Value("12"), None, "no unit"),
        (Value("", "kWh"), None, "no number"),
        (Value("1e3", "kWh"), None, "no number"),
        (Value("1,5", "kWh"), None, "no number"),
        (Value("\u0661", "kWh"), None, "no number"),
        (Value("--.--", "kWh"), None, "no number"),
        (Value("12", "furlong"), None, "no unit known"),
        (Value("12", "kvarh"), KILOWATT_HOURS, "Wh was expected"),
        (Value("9" * 18 + ".99", "kWh"), None, "64 bits"),
    ],
)
def test_what_is_no_number_of_its_unit_is_an_error(value: Value, implied: ScalerUnit | None, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        decode_number(value, implied)


def test_hours_and_megawatts_are_told_apart_by_their_prefix() -> None:
    assert parse_unit("h") == ScalerUnit(0, Unit.HOUR)
    assert parse_unit("MW") == ScalerUnit(6, Unit.WATT)


def test_the_error_register_is_hexadecimal() -> None:
    assert decode_errors(Value("00000000")) == 0
    assert decode_errors(Value("0000001A")) == 26
    for value in (Value(""), Value("0x1A"), Value("1", "V"), Value("1" * 17)):
        with pytest.raises(RemoteProtocolError, match="no error register"):
            decode_errors(value)


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2201271056", "2022-01-27T09:56:00"),
        ("220127105644", "2022-01-27T09:56:44"),
        ("22-01-27 10:56:44", "2022-01-27T09:56:44"),
        ("0220127105644", "2022-01-27T09:56:44"),
        ("2220127105644", "2022-01-27T10:56:44"),
        ("1220727105644", "2022-07-27T08:56:44"),
        ("0220727105644", "2022-07-27T09:56:44"),
        ("12210300230", "2022-10-30T00:30:00"),
        ("02210300230", "2022-10-30T01:30:00"),
        ("2210300230", "2022-10-30T00:30:00"),
    ],
)
def test_stamps_are_instants_also_in_the_hour_that_comes_twice(text: str, instant: str) -> None:
    expected = int(datetime.fromisoformat(instant).replace(tzinfo=UTC).timestamp())

    assert decode_stamp(text, BERLIN) == expected


@pytest.mark.parametrize("text", ["", "2213271056", "3220127105644", "22012710", "22012710564499", "22x1271056"])
def test_what_is_no_stamp_is_an_error(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_stamp(text, BERLIN)


@pytest.mark.parametrize(
    ("date", "time"),
    [
        ("220127", "105644"),
        ("0220127", "105644"),
        ("220127", "0105644"),
        ("0220127", "0105644"),
        ("22-01-27", "10:56:44"),
    ],
)
def test_date_and_time_are_one_instant_wherever_it_says_which_time_it_keeps(date: str, time: str) -> None:
    assert decode_clock(date, time, BERLIN) == 1643277404


# -- programming


@pytest.mark.parametrize(
    ("message", "octets"),
    [
        (read("1.8.0"), b"\x01R1\x021.8.0()\x03"),
        (read("P.01", Read.NATIONAL, "2201270000;2201280000"), b"\x01R5\x02P.01(2201270000;2201280000)\x03"),
        (write("0.9.1", "105644"), b"\x01W1\x020.9.1(105644)\x03"),
        (write("0.9.1", "105644", Write.FORMATTED), b"\x01W2\x020.9.1(105644)\x03"),
        (password(b"00000000"), b"\x01P1\x02(00000000)\x03"),
        (password(b"5AF1", Password.COMPUTED), b"\x01P2\x02(5AF1)\x03"),
    ],
)
def test_questions_are_written_as_the_standard_shows_them(message: Message, octets: bytes) -> None:
    assert message.encode()[:-1] == octets
    assert events(MessageReader(), message.encode()) == [message]


def test_a_password_is_in_no_repr_and_in_no_error() -> None:
    assert "secret" not in repr(password(b"secret"))
    for wrong in (b"secret)", b"secret" * 6, b"secret\xff"):
        with pytest.raises(LocalProtocolError) as caught:
            password(wrong)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "value"), [("", ""), ("1.8.0(", ""), ("1.8.0", ")"), ("1.8.0", "\x03"), ("1!", "")]
)
def test_an_address_that_would_end_its_message_is_refused(address: str, value: str) -> None:
    with pytest.raises(LocalProtocolError, match="no address"):
        write(address, value)


@pytest.mark.parametrize("message", [Message("P0", b"1234"), Message("P1", b"(1)"), Message("P0", b"((1))")])
def test_what_is_no_operand_is_an_error(message: Message) -> None:
    with pytest.raises(RemoteProtocolError, match="operand"):
        decode_operand(message)


def test_a_meter_without_an_operand_gives_an_empty_one() -> None:
    answer: Any = Message("P0", b"()")

    assert not decode_operand(answer)
