from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.facts import RegisterValue
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.sinks.lines import channel_name, escape, head, parse, register_line
from tests.headend.sinks.fake_influx import read_line

REGISTER = Obis(1, 0, 1, 8, 0)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\\"), min_size=1, max_size=20)
AWKWARD = st.one_of(NAMES, st.text(",= aä\"'", min_size=1, max_size=10))


def register(count: int, scaler: int = 0) -> RegisterValue:
    return RegisterValue(REGISTER, count, ScalerUnit(scaler, Unit.WATT_HOUR), 1_700_000_000, 3)


@given(AWKWARD, AWKWARD)
def test_any_printable_name_comes_back(meter: str, channel: str) -> None:
    line = register_line(head("meter_register", {"meter": meter, "channel": channel}), register(12_345, -1))

    point = parse(line)
    assert point.tags == {"meter": meter, "channel": channel}
    assert (point.measurement, point.at) == ("meter_register", 1_700_000_000)
    assert point.fields == {"value": Decimal("1234.5"), "uncertainty": 3, "rules": 0}
    assert read_line(line.decode())[0] == ("meter_register", frozenset(point.tags.items()), point.at)


@pytest.mark.parametrize("text", ["", "a\\", "a\nb", "a\\,b", "\t"])
def test_name_that_line_protocol_cannot_carry_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="line protocol cannot carry"):
        escape(text)


def test_tags_are_sorted_and_an_empty_one_is_left_out() -> None:
    assert head("m", {"unit": "", "meter": "A", "channel": "x y"}) == b"m,channel=x\\ y,meter=A"


@pytest.mark.parametrize(
    ("count", "scaler", "shown"),
    [
        (0, 0, "0"),
        (0, 3, "0"),
        (0, -2, "0.00"),
        (5, 3, "5000"),
        (-5, -3, "-0.005"),
        (999_999_999_999_999, -2, "9999999999999.99"),
    ],
)
def test_register_is_written_out_in_full(count: int, scaler: int, shown: str) -> None:
    assert f" value={shown},".encode() in register_line(b"m", register(count, scaler))


@pytest.mark.parametrize("count", [1_000_000_000_000_001, -1_234_567_890_123_456, 2**63 - 1])
def test_register_that_a_float_would_round_is_an_error(count: int) -> None:
    with pytest.raises(ValueError, match="more than 15 digits"):
        register_line(b"m", register(count))


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-12, 12))
def test_fifteen_digits_survive_a_64_bit_float(count: int, scaler: int) -> None:
    value = parse(register_line(b"m", register(count, scaler))).fields["value"]

    assert Decimal(f"{float(value):.14e}") == Decimal(count).scaleb(scaler)


def test_channel_is_named_as_in_the_catalogue_or_by_its_code() -> None:
    assert channel_name(REGISTER) == "active_energy_import"
    assert channel_name(Obis(1, 0, 99, 29, 7)) == "1-0:99.29.7*255"
