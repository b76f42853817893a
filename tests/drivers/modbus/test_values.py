"""Values in registers."""

import math
import struct
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.modbus.values import REGISTERS, ValueAbsent, decode_integer, decode_point, encode_integer, encode_point
from drivers.obis import Obis
from drivers.profile import ModbusPoint, ValueType, WordOrder
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule

ORDERS: list[WordOrder] = ["ABCD", "CDAB", "BADC", "DCBA"]
LAYOUT = {"ABCD": (0, 1, 2, 3), "CDAB": (2, 3, 0, 1), "BADC": (1, 0, 3, 2), "DCBA": (3, 2, 1, 0)}
LIMITS = {
    "uint16": (0, 2**16),
    "int16": (-(2**15), 2**15),
    "uint32": (0, 2**32),
    "int32": (-(2**31), 2**31),
    "uint64": (0, 2**64),
    "int64": (-(2**63), 2**63),
}


def float_point(scaler: int = 0, factor: int = 0, order: WordOrder = "ABCD") -> ModbusPoint:
    return ModbusPoint(
        Obis(1, 0, 1, 8, 0), 20, "float32", ScalerUnit(scaler, Unit.WATT_HOUR), word_order=order, factor=factor
    )


def words(bits: int) -> tuple[int, int]:
    return bits >> 16, bits & 0xFFFF


def bits_of(value: float) -> int:
    return int.from_bytes(struct.pack(">f", value))


@pytest.mark.parametrize("order", ORDERS)
def test_bytes_stand_where_the_order_says(order: Any) -> None:
    octets = bytes.fromhex("0a0b0c0d")
    line = bytes(octets[i] for i in LAYOUT[order])

    assert decode_integer(struct.unpack(">2H", line), "uint32", order) == 0x0A0B0C0D


def test_orders_of_64_bits_follow_the_same_pattern() -> None:
    line: dict[WordOrder, str] = {
        "ABCD": "0102030405060708",
        "CDAB": "0708050603040102",
        "BADC": "0201040306050807",
        "DCBA": "0807060504030201",
    }

    for order, text in line.items():
        assert decode_integer(struct.unpack(">4H", bytes.fromhex(text)), "uint64", order) == 0x0102030405060708


@given(st.sampled_from(sorted(LIMITS)), st.sampled_from(ORDERS), st.data())
def test_integers_survive_the_wire(type_: Any, order: Any, data: Any) -> None:
    low, high = LIMITS[type_]
    number = data.draw(st.integers(low, high - 1))

    assert decode_integer(encode_integer(number, type_, order), type_, order) == number


@pytest.mark.parametrize("type_", sorted(LIMITS))
def test_integer_that_does_not_fit_is_refused(type_: Any) -> None:
    low, high = LIMITS[type_]

    for number in (low - 1, high):
        with pytest.raises(LocalProtocolError, match="does not fit"):
            encode_integer(number, type_, "ABCD")


def test_wrong_number_of_registers_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError):
        decode_integer((1, 2, 3), "uint32", "ABCD")


@given(
    st.integers(0, 2**32 - 1).filter(lambda bits: (bits >> 23) & 0xFF != 0xFF), st.integers(-6, 3), st.integers(-3, 6)
)
@example(0x00000001, -3, 0)
@example(0x80000000, 0, 0)
@example(bits_of(0.5), 0, 0)
@example(bits_of(1.5), 0, 0)
@example(bits_of(2.5), 0, 0)
def test_float32_is_rounded_once_half_to_even(bits: Any, scaler: Any, factor: Any) -> None:
    exact = Fraction(struct.unpack(">f", struct.pack(">I", bits))[0]) * Fraction(10) ** (factor - scaler)
    whole = exact.numerator // exact.denominator
    rest = exact - whole
    expected = whole + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2))

    if abs(expected) < 2**63:
        assert decode_point(float_point(scaler, factor), words(bits))[0] == expected
    else:
        with pytest.raises(RemoteProtocolError):
            decode_point(float_point(scaler, factor), words(bits))


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**40), max_value=2.0**40),
    st.integers(-3, 3),
    st.integers(-3, 3),
)
def test_float_is_flagged_exactly_where_its_neighbour_nearer_zero_is_more_than_a_count_away(
    value: Any, scaler: Any, factor: Any
) -> None:
    bits = bits_of(abs(value))
    neighbour = struct.unpack(">f", struct.pack(">I", max(bits - 1, 0)))[0]
    gap = (Fraction(abs(value)) - Fraction(neighbour)) * Fraction(10) ** (factor - scaler)

    _, rules = decode_point(float_point(scaler, factor), words(bits_of(value)))

    assert bool(rules & Rule.FLOAT_RESOLUTION) == (gap > 1)


@pytest.mark.parametrize(
    ("value", "is_coarse"), [(16_777_215, False), (16_777_216, False), (16_777_218, True), (-16_777_218, True)]
)
def test_float_is_coarse_above_16777216_counts(value: Any, is_coarse: Any) -> None:
    count, rules = decode_point(float_point(), words(bits_of(value)))

    assert count == value
    assert rules == (Rule.FLOAT_RESOLUTION if is_coarse else Rule(0))


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_a_protocol_error(value: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="not a reading"):
        decode_point(float_point(), words(bits_of(value)))


@given(st.integers(-(2**24), 2**24), st.sampled_from(ORDERS))
def test_float_points_survive_the_wire_while_float32_is_fine_enough(count: Any, order: Any) -> None:
    point = float_point(scaler=0, factor=3, order=order)

    decoded, rules = decode_point(point, encode_point(point, count))

    assert decoded == count or rules == Rule.FLOAT_RESOLUTION
    assert abs(decoded - count) <= 1


def test_kwh_float_becomes_whole_wh() -> None:
    point = float_point(scaler=0, factor=3)

    count, rules = decode_point(point, words(bits_of(1234.567)))

    assert (count, rules) == (int((Decimal("1234.567") * 1000).to_integral_value(ROUND_HALF_EVEN)), Rule(0))


def test_every_type_has_a_width() -> None:
    assert set(REGISTERS) == set(get_args(ValueType))


def plain(type_: ValueType, **changes: Any) -> ModbusPoint:
    return ModbusPoint(Obis(1, 0, 1, 8, 0), 20, type_, ScalerUnit(0, Unit.WATT_HOUR), **changes)


@pytest.mark.parametrize(
    ("point", "registers", "count"),
    [
        (plain("bcd16"), (0x1234,), 1234),
        (plain("bcd32", word_order="CDAB"), (0x5678, 0x1234), 12_345_678),
        (plain("bcd64"), (0, 0x0012, 0x3456, 0x7890), 1_234_567_890),
        (plain("uint16", mask=0x0FF0), (0xABCD,), 0xBC),
        (plain("uint32", mask=0x8000_0000), (0x8000, 0), 1),
        (plain("float64"), struct.unpack(">4H", struct.pack(">d", 123_456_789_012.0)), 123_456_789_012),
        (plain("float64", factor=3), struct.unpack(">4H", struct.pack(">d", -0.125)), -125),
        (plain("float64", word_order="DCBA"), struct.unpack(">4H", struct.pack("<d", 2.5)), 2),
    ],
)
def test_values_in_every_form_survive_the_wire(point: ModbusPoint, registers: tuple[int, ...], count: int) -> None:
    assert decode_point(point, registers) == (count, Rule(0))
    if not point.mask and count != 2:  # 2.5 was rounded
        assert encode_point(point, count) == registers


def test_float64_is_exact_far_beyond_float32() -> None:
    count = 2**53 - 1

    assert decode_point(plain("float64"), struct.unpack(">4H", struct.pack(">d", float(count)))) == (count, Rule(0))


@given(st.integers(0, 2**64 - 1))
def test_any_float64_is_a_count_or_an_error(bits: int) -> None:
    try:
        count, _ = decode_point(plain("float64"), struct.unpack(">4H", struct.pack(">Q", bits)))
    except (RemoteProtocolError, ValueAbsent):
        return
    assert abs(Fraction(struct.unpack(">d", struct.pack(">Q", bits))[0]) - count) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("point", "registers"),
    [
        (plain("int16", absent=(0x8000,)), (0x8000,)),
        (plain("uint16", absent=(0xFFFF, 0xFFFE)), (0xFFFE,)),
        (plain("uint32", absent=(0xFFFF_FFFF,), word_order="CDAB"), (0xFFFF, 0xFFFF)),
        (plain("float32"), (0x7FC0, 0)),
        (plain("float64"), (0x7FF8, 0, 0, 0)),
    ],
)
def test_what_says_that_there_is_no_value_is_none(point: ModbusPoint, registers: tuple[int, ...]) -> None:
    with pytest.raises(ValueAbsent):
        decode_point(point, registers)


def test_what_is_no_decimal_digit_is_a_protocol_error() -> None:
    with pytest.raises(RemoteProtocolError, match="not BCD"):
        decode_point(plain("bcd16"), (0x12A4,))


@pytest.mark.parametrize(
    ("limits", "is_marked"), [((0, 9), True), ((0, 10), False), ((11, 20), True), ((10, None), False)]
)
def test_count_outside_its_limits_is_marked(limits: Any, is_marked: bool) -> None:
    count, rules = decode_point(plain("uint16", lower=limits[0], upper=limits[1]), (10,))

    assert (count, rules) == (10, Rule.RANGE if is_marked else Rule(0))
