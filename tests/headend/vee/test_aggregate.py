from datetime import UTC, datetime

import numpy as np
import pytest

from drivers.zone import parse_zone
from headend.vee.aggregate import aggregate
from headend.vee.localtime import Span
from kernels.quality import State
from tests.headend.vee.series import MONDAY, Slot, build


@pytest.mark.parametrize("period", [900, 1800, 3600])
def test_a_day_of_ones_sums_to_its_slots_by_hour_day_and_month(period: int) -> None:
    series = build([1] * (86_400 // period), period)

    assert set(aggregate(series, UTC, Span.HOUR).sums.tolist()) == {3600 // period}
    assert aggregate(series, UTC, Span.DAY).sums.tolist() == [86_400 // period]
    assert aggregate(series, UTC, Span.MONTH).sums.tolist() == [86_400 // period]


def test_local_days_of_a_change_of_clocks_have_23_and_25_hours() -> None:
    zone = parse_zone("Europe/Berlin")
    for first, hours in (("2024-03-30T23:00", 23), ("2024-10-26T22:00", 25)):
        start = int(datetime.fromisoformat(first).replace(tzinfo=UTC).timestamp())
        days = aggregate(build([1] * 48, 3600, start), zone, Span.DAY)
        assert days.sums.tolist()[:2] == [hours, min(24, 48 - hours)]
        assert days.starts[0] == start
        assert days.ends[0] == start + hours * 3600


def test_missing_slots_are_counted_not_summed() -> None:
    slots: list[Slot] = [5, None, 7, 9]

    hours = aggregate(build(slots), UTC, Span.HOUR)

    assert hours.sums.tolist() == [5, 16]
    assert hours.counts[:, State.MISSING].tolist() == [1, 0]
    assert hours.counts[:, State.MEASURED].tolist() == [1, 2]


def test_maximum_demand_comes_with_the_time_its_block_starts() -> None:
    series = build([1, 9, 6, 6, 2, 2], 900)

    assert aggregate(series, UTC, Span.DAY).demand.tolist() == [9]
    half_hours = aggregate(series, UTC, Span.DAY, demand_period=1800)
    assert (half_hours.demand.tolist(), half_hours.demand_at.tolist()) == ([12], [MONDAY + 1800])
    nothing = aggregate(build([None, None], 900), UTC, Span.DAY)
    assert (nothing.demand.tolist(), nothing.demand_at.tolist()) == ([0], [-1])


def test_demand_period_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        aggregate(build([1]), UTC, Span.DAY, demand_period=1000)
    assert len(aggregate(build([]), UTC, Span.DAY)) == 0


def test_hours_days_and_months_all_sum_to_the_same() -> None:
    rng = np.random.default_rng(3)
    series = build(rng.integers(0, 5000, 48 * 70).tolist())
    zone = parse_zone("Australia/Lord_Howe")

    assert len({int(aggregate(series, zone, span).sums.sum()) for span in Span}) == 1


@pytest.mark.parametrize("period", [60, 300, 600, 900, 1800, 3600])
@pytest.mark.parametrize(
    ("zone", "first", "hours"),
    [
        ("Europe/Berlin", "2024-03-30T23:00", 23), ("Europe/Berlin", "2024-10-26T22:00", 25),
        ("Europe/Berlin", "2024-06-01T22:00", 24), ("Asia/Kolkata", "2024-03-30T18:30", 24),
        ("Asia/Kathmandu", "2024-03-30T18:15", 24), ("Australia/Lord_Howe", "2024-04-06T13:00", 24.5),
    ],
)  # fmt: skip
def test_local_day_sums_its_hours_at_every_interval_and_zone(period: int, zone: str, first: str, hours: float) -> None:
    if hours * 3600 % period:
        return  # that day ends within an interval of an hour
    start = int(datetime.fromisoformat(first).replace(tzinfo=UTC).timestamp())
    slots = int(hours * 3600) // period

    days = aggregate(build([1] * (slots + 86_400 // period), period, start), parse_zone(zone), Span.DAY)

    assert days.sums.tolist()[:2] == [slots, 86_400 // period]
    assert days.ends[0] - days.starts[0] == hours * 3600
