"""Telegrams of household interfaces: whole, in pieces, damaged, and among other things."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.notification import facts
from drivers.dlms.telegram import MAX_TELEGRAM, decode_pushed, decode_telegram
from drivers.errors import DriverError, RemoteProtocolError
from drivers.profile import ClockProfile
from drivers.units import ScalerUnit, Unit
from kernels.checksum import crc16_modbus
from kernels.quality import Rule
from tests.drivers.dlms.pushes import load, one_by_one, read
from tests.drivers.layouts import DLMS, layout_of

DATA = Path(__file__).resolve().parents[2] / "data" / "p1"
TELEGRAMS = [bytes.fromhex((folder / "frame.hex").read_text()) for folder in sorted(DATA.iterdir())]
CHECKED = [octets for octets in TELEGRAMS if not octets.endswith(b"!\r\n")]
UNCHECKED = [octets for octets in TELEGRAMS if octets not in CHECKED]


def signed(body: bytes) -> bytes:
    text = b"/TST5X\r\n\r\n" + body + b"!"
    return text + b"%04X\r\n" % crc16_modbus(text, 0)


@pytest.mark.parametrize("octets", TELEGRAMS)
def test_a_telegram_is_found_whole_byte_by_byte_and_between_rubbish(octets: bytes) -> None:
    for pieces in ((octets,), tuple(one_by_one(octets)), (octets + octets,), (b"\x00\xff!1\r\n" + octets,)):
        found, errors = read(*pieces, end=False)

        assert [(one.octets, one.framing) for one in found] == [(octets, "telegram")] * (
            len(b"".join(pieces)) // len(octets)
        )
        assert not errors


def test_what_follows_a_telegram_is_found_too() -> None:
    frame = load("001").frame

    found, errors = read(TELEGRAMS[0] + frame + TELEGRAMS[1])

    assert [one.framing for one in found][:2] == ["telegram", "hdlc"]
    assert len(errors) == 1  # a stream is of one framing: behind a good HDLC frame nothing else is looked for


def test_a_stream_that_ends_inside_a_telegram_is_told() -> None:
    found, errors = read(TELEGRAMS[0][:-3])

    assert not found
    assert "ended inside a frame" in errors[0]


def test_telegrams_before_version_4_say_that_they_have_no_checksum() -> None:
    assert [len(CHECKED), len(UNCHECKED)] == [4, 2]
    assert all(decode_telegram(octets).is_checked for octets in CHECKED)
    assert not any(decode_telegram(octets).is_checked for octets in UNCHECKED)


@pytest.mark.parametrize(
    ("line", "count"),
    [
        (b"0-1:24.3.0(161107190000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n(00001.001)\r\n", 1),
        (b"0-1:24.3.0(161107190000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n0-1:24.4.0(1)\r\n", 0),
        (b"0-1:24.3.0(161107190000)(00)(60)(2)(0-1:24.2.1)(m3)(0-1:24.2.3)(m3)\r\n(1)(2)\r\n", 0),
        (b"(00001.001)\r\n", 0),
        (b"0-1:24.2.1(161107190000W)(00001.001*m3)\r\n", 1),
        (b"0-1:24.2.1(161107190000W)(00001.001)\r\n", 0),
        (b"0-1:24.2.1(161107190000W)(1*m3)(161107200000W)(2*m3)\r\n", 0),
    ],
)
def test_a_reading_of_a_meter_behind_is_taken_with_its_time_and_unit_or_not_at_all(line: bytes, count: int) -> None:
    found = [one for one in decode_telegram(signed(line)).objects if one.captured_at]

    assert len(found) == count
    for one in found:
        assert (one.data.value, one.scaler_unit) == (1001, ScalerUnit(-3, Unit.CUBIC_METRE))
        assert one.captured_at is not None
        assert one.captured_at.to_utc(ClockProfile(zone="Europe/Amsterdam")) == 1_478_541_600  # 2016-11-07T18:00:00Z


@pytest.mark.parametrize(
    ("word", "rules"), [(b"00", Rule(0)), (b"04", Rule.METER_STATUS), (b"40", Rule.STATUS_UNKNOWN)]
)
def test_the_status_of_a_meter_behind_is_said_of_its_reading(word: bytes, rules: Rule) -> None:
    line = b"0-1:24.3.0(161107190000)(" + word + b")(60)(1)(0-1:24.2.1)(m3)\r\n(00001.001)\r\n"
    layout = layout_of("dsmr-base", **DLMS)

    made = facts(
        decode_telegram(signed(line)), ClockProfile(zone="Europe/Amsterdam"), 1_478_541_700, status_layout=layout
    )

    assert [value.rules for value in made.registers] == [rules]


def test_the_hour_that_comes_twice_is_in_doubt_where_a_reading_behind_has_no_letter() -> None:
    clock = ClockProfile(zone="Europe/Amsterdam")
    line = b"0-1:24.3.0(261025023000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n(1)\r\n"

    (one,) = decode_telegram(signed(line)).objects

    assert one.captured_at is not None
    assert one.captured_at.is_doubtful(clock)


def test_a_telegrams_own_time_needs_its_letter() -> None:
    with pytest.raises(RemoteProtocolError, match="S or W"):
        decode_telegram(signed(b"0-0:1.0.0(261025023000)\r\n"))


@pytest.mark.parametrize("octets", CHECKED)
def test_each_flipped_bit_is_an_error(octets: bytes) -> None:
    end = octets.index(b"!") + 5
    for bit in range(8 * end):
        damaged = bytearray(octets)
        damaged[bit // 8] ^= 1 << bit % 8
        if damaged[end - 4 : end].upper() == octets[end - 4 : end] and damaged[: end - 4] == octets[: end - 4]:
            continue  # a hexadecimal digit in the other case is the same digit

        with pytest.raises(RemoteProtocolError):
            decode_telegram(bytes(damaged))


@given(st.binary(max_size=200))
def test_no_body_raises_outside_the_drivers_tree(body: bytes) -> None:
    for octets in (signed(body), b"/" + body):
        try:
            decode_pushed(octets)
        except DriverError:
            continue


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"0-0:1.0.0(20051213540S)\r\n", "is not YYMMDDhhmmss"),
        (b"1-0:999.8.0(1*kWh)\r\n", "not 0 to 255"),
        (b"1-0:1.8.0(1*kWh)\r\n" * 600, "602 lines"),
    ],
)
def test_a_telegram_that_cannot_be_believed_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        decode_telegram(signed(body))


def test_digits_are_kept_exactly_and_unknown_units_cost_only_themselves() -> None:
    found = decode_telegram(signed(b"1-0:1.8.0(000001.500*MWh)\r\n1-0:2.8.0(1.5*GJ)\r\n1-0:3.8.0(000.9*kVArh)\r\n"))

    worth = [
        item.scaler_unit and (item.data.value, item.scaler_unit.scaler, item.scaler_unit.unit.symbol)
        for item in found.objects
    ]
    assert worth == [(1500, 3, "Wh"), None, (9, 2, "varh")]


def test_the_hour_that_comes_twice_is_told_apart_by_its_letter() -> None:
    clock = ClockProfile(zone="Europe/Amsterdam")
    stamps = [
        decode_telegram(signed(b"0-0:1.0.0(261025023000" + letter + b")\r\n")).date_time for letter in (b"S", b"W")
    ]

    summer, winter = (stamp.to_utc(clock) for stamp in stamps if isinstance(stamp, CosemDateTime))

    assert winter - summer == 3_600


def test_a_telegram_without_an_end_is_given_up() -> None:
    found, errors = read(b"/KFM5" + b"A" * MAX_TELEGRAM, end=False)

    assert not found
    assert "without an end" in errors[0]
