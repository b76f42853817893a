"""What validation has to know of a usage point, in the meter table: check meter, tariffs, digits of the registers."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.collect.registry import load_meters
from headend.errors import RegistryError
from headend.registry import cells, table
from headend.registry.model import TariffSince
from headend.registry.table import Applied
from headend.store.store import Store
from headend.vee.calendar import load_calendars
from tests.headend.registry.test_table import IMPORT, PROFILES

HEADING = "usage_point,meter,profile,link,address,from,zone,dials,check_meter,check_ratio,tariff"
MAIN = "UP1,SIM:1,dlms,tcp://h:4059,1,2026-01-01,Europe/Vienna,6,CHECK,3/2,example/two-rate;2027-01-01=example/peak"
CHECK = "CHECK,SIM:2,dlms,tcp://h:4060,1,2026-01-01,Europe/Vienna,,,,"
TARIFFS = load_calendars().tariffs
DIGITS = {**PROFILES, "dlms": replace(PROFILES["dlms"], channels=(replace(PROFILES["dlms"].channels[0], dials=8),))}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.db", lambda: 0) as opened:
        yield opened


def put(store: Store, *rows: str) -> Applied:
    parsed = table.parse("\n".join([HEADING, *rows]), DIGITS, TARIFFS)
    assert parsed.faults == ()
    return table.apply(store, parsed.rows)


def faults(*rows: str) -> list[tuple[str, str]]:
    return [(fault.column, fault.what) for fault in table.parse("\n".join([HEADING, *rows]), DIGITS, TARIFFS).faults]


def test_a_usage_point_names_its_check_meter_and_its_tariffs_by_day(store: Store) -> None:
    put(store, MAIN, CHECK)

    point = store.usage_point("UP1")
    assert (point.check_meter, point.check_ratio) == ("CHECK", Fraction(3, 2))
    assert point.tariffs == (TariffSince(0, "example", "two-rate"), TariffSince(20_819, "example", "peak"))
    assert store.usage_point("CHECK").check_meter == ""


def test_digits_are_the_model_s_unless_an_installation_has_its_own(store: Store) -> None:
    put(store, MAIN, CHECK)

    own, model = (store.expectations(store.end_device(name).id)[0].dials for name in ("SIM:1", "SIM:2"))
    assert (own, model) == (6, 8)
    assert [place.dials for place in store.installations()] == [6, 0]


def test_the_collector_reads_a_meter_by_the_digits_of_its_installation(store: Store) -> None:
    put(store, MAIN, CHECK)

    meters, _ = load_meters(store, DIGITS)

    found = {meter.device.name: meter.profile.channels[0].dials for meter in meters if meter.profile is not None}
    assert found == {"SIM:1": 6, "SIM:2": 8}


def test_the_columns_come_out_as_they_went_in_and_change_nothing_again(store: Store) -> None:
    put(store, MAIN, CHECK)
    text = table.dump(store)

    parsed = table.parse(text, DIGITS, TARIFFS)

    assert parsed.faults == ()
    assert table.apply(store, parsed.rows) == Applied(0, 0, 2)
    assert table.dump(store) == text
    assert ",6,CHECK,3/2,example/two-rate;2027-01-01=example/peak," in text


def test_a_table_from_before_there_were_such_columns_is_taken(store: Store) -> None:
    parsed = table.parse("usage_point,meter,profile,link,address,from,zone\n" + CHECK.rsplit(",", 4)[0], DIGITS)

    assert parsed.faults == ()
    assert table.apply(store, parsed.rows) == Applied(1, 0, 0)
    point = store.usage_point("CHECK")
    assert (point.check_meter, point.check_ratio, point.tariffs) == ("", Fraction(1), ())
    assert store.expectations(store.end_device("SIM:2").id)[0].obis == IMPORT


@pytest.mark.parametrize(
    ("cells", "column", "what"),
    [
        ("0,,,", "dials", "not a number of digits from 1 to 18"),
        ("19,,,", "dials", "not a number of digits"),
        (",UP1,,", "check_meter", "is the usage point itself"),
        (",CHECK,0,", "check_ratio", "not a ratio above 0"),
        (",,2,", "check_ratio", "is of no check meter"),
        (",CHECK,1/0,", "check_ratio", "not a ratio above 0"),
        (",CHECK,1e3,", "check_ratio", "is no ratio; write 2, 0.98 or 3/2"),
        (",,,exampel/peak", "tariff", "no calendar is named 'exampel'; did you mean example?"),
        (",,,example/peek", "tariff", "no tariff is named 'peek'; did you mean peak?"),
        (",,,example", "tariff", "write calendar/tariff"),
        (",,,example/peak;example/two-rate", "tariff", "does not begin after the one before it"),
        (",,,2026-02-30=example/peak", "tariff", "is no day"),
    ],
)
def test_a_faulty_cell_is_named_with_what_to_write(cells: str, column: str, what: str) -> None:
    ((found, said),) = faults(f"UP1,SIM:1,dlms,tcp://h:4059,1,2026-01-01,UTC,{cells}")

    assert found == column
    assert what in said


def test_two_rows_of_a_usage_point_must_agree_about_it() -> None:
    other = "UP1,SIM:3,dlms,tcp://h:4061,1,2026-06-01,Europe/Vienna,,,,"

    assert {column for column, _ in faults(MAIN, other)} == {"check_meter", "check_ratio", "tariff", "from"}


def test_a_check_meter_that_is_nowhere_is_refused_and_nothing_is_kept(store: Store) -> None:
    parsed = table.parse("\n".join([HEADING, MAIN.replace(",CHECK,", ",CHEK,"), CHECK]), DIGITS, TARIFFS)

    with pytest.raises(
        RegistryError, match="names check meter CHEK, and there is no such usage point; did you mean CHECK"
    ):
        table.apply(store, parsed.rows)
    assert store.usage_points() == []


@given(st.fractions(Fraction(1, 10**9), 10**9, max_denominator=10**9))
def test_every_ratio_that_comes_out_goes_in_again(ratio: Fraction) -> None:
    assert cells.parse_ratio(str(ratio)) == ratio


@given(st.integers(0, 999_999_999), st.integers(1, 999_999_999))
def test_a_decimal_ratio_is_exact(whole: int, part: int) -> None:
    ratio = cells.parse_ratio(f"{whole}.{part:09d}")

    assert ratio == whole + Fraction(part, 10**9)
    assert cells.parse_ratio(str(ratio)) == ratio
