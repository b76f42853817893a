from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from drivers.zone import parse_zone
from headend.errors import SettingsError
from headend.toml_file import read_toml
from headend.vee.calendar import load_calendar, parse_calendar
from headend.vee.holidays import Holidays, weekday
from headend.vee.likedays import Order, like_days
from headend.vee.localtime import Span, utc_offsets
from headend.vee.tou import tiers, time_of_use
from kernels.quality import State
from tests.headend.vee.series import Slot, build

EXAMPLE = files("headend.config") / "calendars" / "example.toml"
NO_HOLIDAY = Holidays()
MONDAY = (date(2026, 3, 2) - date(1970, 1, 1)).days


def document() -> dict[str, Any]:
    return dict(read_toml(EXAMPLE))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("day", "season", "kind"),
    [
        ("2026-03-31", "winter", "workday"), ("2026-04-01", "summer", "workday"), ("2026-09-30", "summer", "workday"),
        ("2026-10-01", "winter", "workday"), ("2026-01-01", "winter", "sunday"), ("2026-04-03", "summer", "sunday"),
        ("2026-12-24", "winter", "saturday"), ("2026-12-26", "winter", "sunday"), ("2028-02-29", "winter", "workday"),
        ("2026-03-07", "winter", "saturday"), ("2026-03-08", "winter", "sunday"),
    ],
)  # fmt: skip
def test_day_has_its_season_and_a_special_day_goes_before_a_holiday(day: str, season: str, kind: str) -> None:
    calendar = parse_calendar("example", document())

    assert calendar.season(date.fromisoformat(day)) == season
    assert calendar.day_type(date.fromisoformat(day)) == kind


def test_energy_and_demand_fall_into_the_buckets_of_the_local_clock() -> None:
    calendar, zone = parse_calendar("example", document()), parse_zone("Europe/Berlin")
    start = at("2026-01-04T23:00")  # Monday in Berlin
    hours: list[Slot] = list(range(1, 25))

    two = time_of_use(build(hours, 3600, start), zone, Span.DAY, calendar, "two-rate")
    peak = time_of_use(
        build(hours, 3600, start), zone, Span.DAY, calendar, "peak", demand_period=7200, demand_step=3600
    )

    assert two.buckets == ("night", "day")
    assert two.sums.tolist() == [[sum(range(1, 7)) + 23 + 24, sum(range(7, 23))]]
    assert (two.demand.tolist(), two.demand_at.tolist()) == ([[24, 22]], [[start + 23 * 3600, start + 21 * 3600]])
    assert dict(zip(peak.buckets, peak.sums[0].tolist(), strict=True)) == {
        "base": sum(range(1, 7)) + 47, "shoulder": sum(range(7, 18)) + 21 + 22, "peak": 18 + 19 + 20
    }  # fmt: skip
    assert peak.demand.tolist() == [[47, 43, 39]]
    assert peak.calendar == "example 1"


def test_hours_of_a_change_of_clocks_go_where_the_wall_clock_says() -> None:
    calendar, zone = parse_calendar("example", document()), parse_zone("Europe/Berlin")

    for first, hours in (("2026-03-28T23:00", 23), ("2026-10-24T22:00", 25)):
        found = time_of_use(build([1] * hours, 3600, at(first)), zone, Span.DAY, calendar, "two-rate")
        assert found.sums.tolist() == [[hours - 16, 16]]


def test_missing_slots_are_counted_in_their_bucket() -> None:
    calendar = parse_calendar("example", document())
    slots: list[Slot] = [1] * 24
    slots[7] = None

    found = time_of_use(build(slots, 3600, at("2026-01-05")), UTC, Span.DAY, calendar, "two-rate")

    assert found.counts[0, :, State.MISSING].tolist() == [0, 1]
    assert found.sums.tolist() == [[8, 15]]


def test_switch_within_a_slot_is_refused_by_its_time() -> None:
    changed = document()
    switches = [{"at": "00:00", "bucket": "night"}, {"at": "06:30", "bucket": "day"}]
    changed["tariffs"] = [{"name": "odd", "buckets": ["night", "day"], "schedules": [{"switches": switches}]}]
    calendar = parse_calendar("odd", changed)

    with pytest.raises(ValueError, match="06:30 on 2026-01-05 falls within an interval of 3600 s"):
        time_of_use(build([1] * 24, 3600, at("2026-01-05")), UTC, Span.DAY, calendar, "odd")
    half_hours = time_of_use(build([1] * 48, 1800, at("2026-01-05")), UTC, Span.DAY, calendar, "odd")
    assert half_hours.sums.tolist() == [[13, 35]]
    with pytest.raises(SettingsError, match="no tariff 'od'"):
        calendar.buckets("od", utc_offsets(UTC, 0, 1800, 1), 0, 1800)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seasons": [{"name": "a", "from": "01-01", "to": "06-30"}]}, "07-01 is in 0 of them"),
        ({"seasons": [{"name": "a", "from": "1-1", "to": "12-31"}]}, "no day of the year"),
        ({"day_types": [{"name": "workday", "weekdays": ["mon", "moon"]}]}, "'moon' is no weekday"),
        ({"day_types": [{"name": "sunday", "weekdays": ["sun"]}]}, "leave out mon, tue"),
        ({"holidays": {"day_type": "sunnday"}}, "did you mean sunday"),
        ({"special_days": [{"dates": ["2026-02-30"], "day_type": "sunday"}]}, "no day; write it as"),
        ({"tariffs": []}, "must have one tariff"),
        ({"tariffs": [{"name": "x", "buckets": ["a"], "schedules": []}]}, "schedules: leave out"),
        ({"tariffs": [{"name": "x", "buckets": ["a", "a"], "schedules": []}]}, "each once"),
        ({"color": 1}, "color: is unknown"),
    ],
)
def test_fault_of_a_calendar_names_its_key(change: dict[str, Any], what: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_calendar("mine", document() | change)

    assert what in "\n".join(caught.value.faults)


@pytest.mark.parametrize(
    ("switch", "what"),
    [("06:00", "must begin at 00:00"), ("24:00", "no time of day"), ("0600", "no time of day")],
)
def test_switches_must_begin_at_midnight_and_be_times(switch: str, what: str) -> None:
    tariff = {"name": "x", "buckets": ["a"], "schedules": [{"switches": [{"at": switch, "bucket": "a"}]}]}

    with pytest.raises(SettingsError, match=what):
        parse_calendar("mine", document() | {"tariffs": [tariff]})


def test_calendar_is_loaded_by_its_file(tmp_path: Path) -> None:
    own = tmp_path / "valley.toml"
    own.write_bytes(EXAMPLE.read_bytes())

    assert load_calendar(own).name == "valley"
    with pytest.raises(SettingsError, match="cannot be read"):
        load_calendar(tmp_path / "absent.toml")


def test_price_steps_sum_to_the_period() -> None:
    assert tiers(350, [100, 300]) == [100, 200, 50]
    with pytest.raises(ValueError, match="limit 1"):
        tiers(350, [100, 50])


def test_like_days_come_by_the_two_week_table() -> None:
    table = [like_days(MONDAY + day, Order.TABLE, 4, NO_HOLIDAY) for day in range(7)]

    assert table == [[7, 14], [7, 6, 5], [7, 1, 8, 6], [7, 1, 8, 2, 9], [7], [7], [7]]
    assert [weekday(MONDAY + day) for day in range(7)] == list(range(7))
    # Each names the weekday that the table says: Tuesday of last week for Wednesday is 8 days back, and so on.
    assert [weekday(MONDAY + 2 - back) for back in table[2]] == [2, 1, 1, 3]
    assert [weekday(MONDAY + 3 - back) for back in table[3]] == [3, 2, 2, 1, 1]


def test_holiday_looks_to_sundays_and_nobody_looks_to_it() -> None:
    wednesday = MONDAY + 9
    holidays = Holidays(frozenset({date(1970, 1, 1) + timedelta(days=wednesday)}))

    assert like_days(wednesday, Order.WEEKDAY, 2, holidays) == [3, 10]
    assert like_days(wednesday + 7, Order.WEEKDAY, 3, holidays) == [14, 21]
    assert like_days(wednesday + 1, Order.TABLE, 4, holidays) == [7, 8, 2, 9]
    assert like_days(MONDAY, Order.WEEKDAY, 4, NO_HOLIDAY) == [7, 14, 21, 28]
