"""Load profiles and logs: what meters gave, taken apart to published values; other layouts; and what is none."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from drivers.errors import DriverError, MeterRefused, RemoteProtocolError
from drivers.iec62056.datasets import DataBlock, decode_block
from drivers.iec62056.load import (
    decode_events,
    decode_rows,
    format_window,
    interval_block,
    is_near_midnight,
    snapshots,
    stated,
    windows,
)
from drivers.obis import Obis, resolve
from drivers.profile import ChannelProfile, ClockProfile, Iec62056Column, Iec62056LoadProfile
from drivers.status import marked
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule
from tests.drivers.iec62056.cases import load_all
from tests.drivers.layouts import layout_of

CASES = load_all()
VDEW = layout_of("vdew-base")
BERLIN = ClockProfile(zone="Europe/Berlin")
IMPORT = resolve("active_energy_import_interval")
QUARTER = 900
MILLI = ScalerUnit(-3, Unit.WATT_HOUR)
WATT_HOURS = ScalerUnit(0, Unit.WATT_HOUR)


def channel(scaler_unit: ScalerUnit = MILLI, period: int = QUARTER) -> ChannelProfile:
    return ChannelProfile(IMPORT, period, scaler_unit, "load_profile")


def layout(*addresses: str, **changes: Any) -> Iec62056LoadProfile:
    return Iec62056LoadProfile("P.01", tuple(Iec62056Column(IMPORT, one) for one in addresses), **changes)


def block_of(text: str) -> DataBlock:
    return decode_block(text.encode())


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("load-profile-emh-power", "1.5"),
        ("load-profile-emh-power", "8.5"),
        ("load-profile-metcom-power", "2.5"),
        ("load-profile-emh-energy", "1-1:2.29"),
    ],
)
def test_rows_that_a_meter_gave_have_their_stamps_and_values(name: str, column: str) -> None:
    expect = CASES[name].expect
    rows = decode_rows(decode_block(CASES[name].frame), layout(column), QUARTER, "Europe/Berlin")

    assert [row.stamp for row in rows] == [instant(text) for text in expect["stamps"]]
    assert [f"{row.values[0].text} {row.values[0].unit}" for row in rows] == expect[column]


@pytest.mark.parametrize(
    ("name", "column", "factor"),
    [("load-profile-emh-power", "1.5", 250), ("load-profile-emh-energy", "1-1:2.29", 1000)],
)
def test_mean_power_becomes_the_energy_of_its_interval_and_energy_stays(name: str, column: str, factor: int) -> None:
    expect = CASES[name].expect
    rows = decode_rows(decode_block(CASES[name].frame), layout(column), QUARTER, "Europe/Berlin")
    start = instant(expect["stamps"][0]) - QUARTER

    block = interval_block(channel(), rows, 0, None, BERLIN, start, start + 2 * QUARTER)

    assert [MILLI.to_decimal(count or 0) for count in block.counts] == [
        Decimal(text.split()[0]) * factor for text in expect[column]
    ]


@pytest.mark.parametrize("name", ["log-emh", "log-metcom"])
def test_events_that_a_meter_gave_have_their_stamps_and_status(name: str) -> None:
    events = decode_events(decode_block(CASES[name].frame), "P.98", "log", "Europe/Berlin", VDEW)

    assert [[event.at, event.code] for event in events] == [
        [instant(text), status] for text, status in CASES[name].expect["events"]
    ]


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("load-profile", "log"))])
def test_an_answer_cut_anywhere_is_an_error_or_what_is_whole_of_it(name: str) -> None:
    whole = decode_block(CASES[name].frame)
    columns = {"load-profile-emh-power": "1.5", "load-profile-metcom-power": "2.5"}
    meant = layout(columns.get(name, "1-1:2.29"))
    rows = decode_rows(whole, meant, QUARTER, "Europe/Berlin")

    for end in range(len(CASES[name].frame)):
        try:
            found = decode_rows(decode_block(CASES[name].frame[:end]), meant, QUARTER, "Europe/Berlin")
        except DriverError:
            continue
        assert found == rows[: len(found)], end


def test_a_digit_that_would_be_lost_is_no_count() -> None:
    rows = decode_rows(block_of("P.01(2700101001500)(00)(15)(1)(1.5)(kW)(0.1)(0.125)"), layout("1.5"), QUARTER, "UTC")
    start = rows[0].stamp - QUARTER

    block = interval_block(channel(WATT_HOURS), rows, 0, None, ClockProfile(), start, start + 2 * QUARTER)

    assert block.counts == (25, None)
    assert block.rules == (Rule(0), Rule.RANGE)


def test_two_rows_for_one_slot_that_differ_are_a_conflict_and_a_stamp_off_the_grid_fills_none() -> None:
    text = "P.01(2270101001500)(00)(15)(1)(1.29)(Wh)(1)(2)\r\nP.01(2270101001500)(00)(15)(1)(1.29)(Wh)(1)(3)\r\n"
    off = "P.01(2270101005000)(00)(15)(1)(1.29)(Wh)(7)\r\n"
    rows = decode_rows(block_of(text + off), layout("1.29"), QUARTER, "UTC")
    start = rows[0].stamp - QUARTER

    block = interval_block(channel(WATT_HOURS), rows, 0, None, ClockProfile(), start, start + 4 * QUARTER)

    assert block.counts == (1, 2, None, None)
    assert block.rules[:2] == (Rule(0), Rule.CONFLICT)


def test_two_snapshots_of_one_instant_that_differ_are_a_conflict() -> None:
    text = "P.01(2270101001500)(00)(15)(1)(1.8)(Wh)(1)(2)\r\nP.01(2270101001500)(00)(15)(1)(1.8)(Wh)(1)(3)\r\n"
    rows = decode_rows(block_of(text), layout("1.8"), QUARTER, "UTC")

    found = list(snapshots(Obis.parse("1.8.0"), rows, 0, None, ClockProfile(), QUARTER))

    assert [(value.count, value.rules) for value in found] == [(1, Rule(0)), (2, Rule.CONFLICT)]


def test_the_status_of_a_header_is_said_of_the_rows_behind_it() -> None:
    text = "P.01(2270101001500)(81)(15)(1)(1.29)(Wh)(1)(5)\r\nP.01(2270101004500)(08)(15)(1)(1.29)(Wh)(2)\r\n"
    rows = decode_rows(block_of(text), layout("1.29"), QUARTER, "UTC")
    start = rows[0].stamp - QUARTER
    block = interval_block(channel(WATT_HOURS), rows, 0, None, ClockProfile(), start, start + 3 * QUARTER)

    found = marked(block, VDEW, stated(rows), QUARTER)

    assert found.rules == (*[Rule.METER_STATUS | Rule.POWER_FAILURE] * 2, Rule(0))
    (said,) = found.status
    assert (said.start, said.end, said.word) == (start, start + 2 * QUARTER, 0x81)


def test_a_metcoms_summer_time_says_nothing_of_its_values() -> None:
    rows = decode_rows(decode_block(CASES["load-profile-metcom-power"].frame), layout("2.5"), QUARTER, "Europe/Berlin")
    start = rows[0].stamp - QUARTER
    fine = channel(ScalerUnit(-4, Unit.WATT_HOUR))
    block = interval_block(fine, rows, 0, None, BERLIN, start, start + 4 * QUARTER)

    found = marked(block, VDEW, stated(rows), QUARTER)

    assert {row.status for row in rows} == {0x08}
    assert (found.rules, found.status) == ((), ())


def test_what_an_emh_wrote_in_its_log_has_names() -> None:
    events = decode_events(decode_block(CASES["log-emh"].frame), "P.98", "log", "Europe/Berlin", VDEW)

    assert [event.text for event in events] == [
        "log: log deleted", "log: load profile deleted", "log: configuration changed", "log: supply failed"
    ]  # fmt: skip


def test_rows_may_have_stamps_and_status_of_their_own() -> None:
    worth = ScalerUnit(3, Unit.WATT_HOUR)
    meant = Iec62056LoadProfile(
        "P.01",
        (Iec62056Column(resolve("active_energy_import"), "1.8", worth), Iec62056Column(IMPORT, "1.29", worth)),
        header=(),
        row=("stamp", "skip", "values", "status"),
    )
    text = "P.01(27-01-01,00:15)(9)(5.25)(0.125)(00)\r\nP.01(27-01-01,00:30)(9)(5.5)(0.25)(01)\r\n"

    rows = decode_rows(block_of(text), meant, QUARTER, "UTC")
    register = list(snapshots(Obis.parse("1.8.0"), rows, 0, worth, ClockProfile(), QUARTER))
    start = rows[0].stamp - QUARTER
    block = marked(
        interval_block(channel(WATT_HOURS), rows, 1, worth, ClockProfile(), start, start + 2 * QUARTER),
        VDEW, stated(rows), QUARTER,
    )  # fmt: skip

    assert [(int(value.value), value.captured_at) for value in register] == [
        (5250, start + QUARTER),
        (5500, start + 2 * QUARTER),
    ]
    assert (block.counts, block.rules) == ((125, 250), (Rule(0), Rule.METER_STATUS))


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("P.01(2270101001500)(00)(15)(1)(1.29)(Wh)(1)(2", RemoteProtocolError, "no row"),
        ("P.01(2270101001500)(00)(15)(1)(1.29)(Wh)\r\n(1)\r\n(2\r\n(3)", RemoteProtocolError, "no row"),
        ("P.01(2270101001500)(00)(15)(2)(1.29)(Wh)(2.29)(Wh)(1)(2)(3)", RemoteProtocolError, "inside a row"),
        ("P.01(2270101001500)(00)(15)(9)(1.29)(Wh)", RemoteProtocolError, "inside a row"),
        ("P.01(2270101001500)(00)(15)(65)(1.29)(Wh)", RemoteProtocolError, "65 columns"),
        ("P.01(2270101001500)(xy)(15)(1)(1.29)(Wh)(1)", RemoteProtocolError, "no number"),
        ("P.01(2270101001500)(00)(-15)(1)(1.29)(Wh)(1)", RemoteProtocolError, "no number"),
        ("P.01(2271301001500)(00)(15)(1)(1.29)(Wh)(1)", RemoteProtocolError, "no time"),
        ("P.01(2270101001500)(00)(30)(1)(1.29)(Wh)(1)", MeterRefused, "period of 1800 s"),
        ("P.01(2270101001500)(00)(15)(1)(2.29)(Wh)(1)", MeterRefused, "0 columns 1.29"),
        ("P.01(2270101001500)(00)(15)(2)(1.29)(Wh)(1-0:1.29.0)(Wh)(1)(1)", MeterRefused, "2 columns"),
    ],
)
def test_what_is_no_load_profile_of_the_model_is_an_error(text: str, error: type[DriverError], why: str) -> None:
    with pytest.raises(error, match=why):
        decode_rows(block_of(text), layout("1.29"), QUARTER, "UTC")


def test_a_column_of_another_quantity_is_refused() -> None:
    rows = decode_rows(block_of("P.01(2270101001500)(00)(15)(1)(1.29)(kvarh)(1)"), layout("1.29"), QUARTER, "UTC")

    with pytest.raises(MeterRefused, match="recorded in kvarh"):
        interval_block(channel(), rows, 0, None, ClockProfile(), rows[0].stamp - QUARTER, rows[0].stamp)


@pytest.mark.parametrize("text", ["P.01()", "P.01()()", "P.02(1)", ""])
def test_an_empty_load_profile_has_no_rows(text: str) -> None:
    assert decode_rows(block_of(text), layout("1.29"), QUARTER, "UTC") == []


@pytest.mark.parametrize(
    ("form", "zone", "text"),
    [
        ("ZYYMMDDhhmm", "Europe/Berlin", "12308010200;02312010100"),
        ("ZYYMMDDhhmmss", "UTC", "2230801000000;2231201000000"),
        ("YY-MM-DD,hh:mm", "UTC+03:00", "23-08-01,03:00;23-12-01,03:00"),
        ("", "UTC", ""),
    ],
)
def test_a_window_is_written_as_the_model_takes_it(form: str, zone: str, text: str) -> None:
    start, end = instant("2023-08-01T00:00:00Z"), instant("2023-12-01T00:00:00Z")

    assert format_window(layout("1.29", window=form), start, end, zone) == text


def test_a_window_is_asked_for_in_days_and_where_there_is_none_at_once() -> None:
    meant = layout("1.29", days=2)

    assert list(windows(meant, 0, 5 * 86_400)) == [(0, 172_800), (172_800, 345_600), (345_600, 432_000)]
    assert list(windows(replace(meant, window=""), 0, 5 * 86_400)) == [(0, 432_000)]


def test_midnight_is_near_by_the_meters_own_day() -> None:
    midnight = instant("2027-01-01T00:00:00+01:00")

    assert is_near_midnight(midnight + 5, 10, "Europe/Berlin")
    assert is_near_midnight(midnight - 5, 10, "Europe/Berlin")
    assert not is_near_midnight(midnight + 5, 10, "UTC")
