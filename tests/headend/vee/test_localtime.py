from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.zone import parse_zone
from headend.vee.localtime import EPOCH, Span, edges, same_wall_time, utc_offset, utc_offsets, whole_days

ZONES = ["UTC", "UTC+10:00", "UTC-03:30", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/New_York"]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@given(st.sampled_from(ZONES), st.integers(at("2023-01-01"), at("2026-01-01")), st.sampled_from([900, 1800, 3600]))
def test_offsets_are_those_of_the_zone_at_every_slot(name: str, start: int, period: int) -> None:
    zone = parse_zone(name)
    start -= start % period

    offsets = utc_offsets(zone, start, period, 3 * 86_400 // period)

    assert offsets.tolist() == [utc_offset(zone, start + slot * period) for slot in range(len(offsets))]


@pytest.mark.parametrize(
    ("zone", "start", "days", "quarters"),
    [
        ("Europe/Berlin", "2024-03-29T23:00", 3, [96, 92, 96]),
        ("Europe/Berlin", "2024-10-25T22:00", 3, [96, 100, 96]),
        ("Australia/Lord_Howe", "2024-04-05T13:00", 3, [96, 98, 96]),
        ("UTC+10:00", "2024-03-29T14:00", 3, [96, 96, 96]),
        ("Asia/Kolkata", "2024-03-29T18:30", 2, [96, 96]),
    ],
)
def test_local_days_have_as_many_quarters_as_the_clock_says(
    zone: str, start: str, days: int, quarters: list[int]
) -> None:
    offsets = utc_offsets(parse_zone(zone), at(start), 900, sum(quarters))

    cuts = edges(Span.DAY, offsets, at(start), 900)

    assert np.diff(cuts).tolist() == quarters
    assert len(cuts) == days + 1
    assert whole_days(offsets, at(start), 900).tolist() == cuts.tolist()


def test_days_cut_off_by_the_ends_are_not_whole() -> None:
    offsets = utc_offsets(UTC, at("2024-01-01T12:00"), 3600, 40)

    assert edges(Span.DAY, offsets, at("2024-01-01T12:00"), 3600).tolist() == [0, 12, 36, 40]
    assert whole_days(offsets, at("2024-01-01T12:00"), 3600).tolist() == [12, 36]
    assert len(whole_days(offsets[:10], at("2024-01-01T12:00"), 3600)) == 1
    assert len(whole_days(offsets[:0], at("2024-01-01T12:00"), 3600)) == 1


def test_hour_that_occurs_twice_is_two_buckets() -> None:
    start = at("2024-10-27T00:00")
    offsets = utc_offsets(parse_zone("Europe/Berlin"), start, 900, 12)

    assert edges(Span.HOUR, offsets, start, 900).tolist() == [0, 4, 8, 12]


def test_months_are_local() -> None:
    start = at("2024-01-31T22:00")
    offsets = utc_offsets(parse_zone("Europe/Berlin"), start, 3600, 24 * 30)

    cuts = edges(Span.MONTH, offsets, start, 3600).tolist()

    assert cuts == [0, 1, 1 + 29 * 24, 24 * 30]


@given(st.sampled_from(ZONES), st.integers(0, 600))
def test_same_wall_time_a_week_before_reads_the_same_on_the_wall(name: str, first_day: int) -> None:
    zone = parse_zone(name)
    start = at("2024-01-01") + first_day * 86_400
    offsets = utc_offsets(zone, start, 1800, 9 * 48)
    slots = np.arange(7 * 48, 9 * 48, dtype=np.int64)

    index, exists = same_wall_time(slots, 7, offsets, 1800)

    for slot, found, does_exist in zip(slots.tolist(), index.tolist(), exists.tolist(), strict=True):
        if does_exist:
            now, before = ((EPOCH + timedelta(seconds=start + 1800 * one)).astimezone(zone) for one in (slot, found))
            assert now.replace(tzinfo=None) - before.replace(tzinfo=None) == timedelta(days=7)
    assert exists.sum() >= len(slots) - 4
