from datetime import UTC, date
from fractions import Fraction

import pytest

from drivers.units import ScalerUnit, Unit
from drivers.zone import parse_zone
from headend.vee.aggregate import aggregate, coarsen
from headend.vee.localtime import Span
from headend.vee.virtual import (
    coincidence_factors,
    line_loss,
    load_factors,
    net,
    phase_imbalance,
    virtual_meter,
    voltage_qualification,
)
from kernels.quality import Reason, Rule, State
from tests.headend.vee.series import DAY, MONDAY, Slot, build, seen

TENTH = ScalerUnit(-1, Unit.WATT_HOUR)


def test_net_is_signed_and_loss_is_what_reaches_no_meter() -> None:
    drawn, fed = build([5, 0, 7]), build([0, 9, 7])

    assert seen(net(drawn, fed)) == [5, -9, 0]
    assert seen(line_loss([build([100, 100, 100])], [drawn, fed])) == [95, 91, 86]


def test_quality_is_that_of_the_worst_channel_with_its_cause() -> None:
    one, two = build([1, 2, None]), build([1, None, 3])
    one.state[0], one.reason[0], one.rules[0] = State.ESTIMATED, Reason.LINEAR, Rule.SPIKE

    made = virtual_meter([(one, 1), (two, 1)])

    assert seen(made) == [2, "MISSING", "MISSING"]
    assert made.state[0] == State.ESTIMATED
    assert made.reason.tolist() == [Reason.LINEAR, Reason.NO_ANSWER, Reason.NO_ANSWER]
    assert made.rules.tolist() == [Rule.SPIKE, 0, 0]


def test_finest_scaler_is_the_sums_and_other_grids_are_refused() -> None:
    made = virtual_meter([(build([5]), 2), (build([7], scaler_unit=TENTH), -1)])

    assert (seen(made), made.scaler_unit) == ([93], TENTH)
    with pytest.raises(ValueError, match="need one grid"):
        virtual_meter([(build([5]), 1), (build([5, 6]), 1)])
    with pytest.raises(ValueError, match="do not add up"):
        virtual_meter([(build([5]), 1), (build([5], scaler_unit=ScalerUnit(0, Unit.VAR_HOUR)), 1)])
    with pytest.raises(ValueError, match="one channel or more"):
        virtual_meter([])


@pytest.mark.parametrize("period", [60, 300, 600, 900, 1800])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Asia/Kathmandu"])
def test_any_interval_becomes_a_longer_one_on_the_local_grid(period: int, zone: str) -> None:
    offset = {"UTC": 0, "Asia/Kolkata": 19_800, "Asia/Kathmandu": 20_700}[zone]
    series = build([1] * (2 * DAY // period), period, MONDAY - offset + period)

    for longer in (900, 1800, 3600):
        if longer % period == 0:
            made = coarsen(series, parse_zone(zone), longer)
            assert set(made.values.tolist()) == {longer // period}
            assert (made.start + offset) % longer == 0
            assert made.period == longer
            assert 0 <= series.end - made.end < longer


def test_interval_that_is_no_multiple_or_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        coarsen(build([1, 2], 600), UTC, 900)
    with pytest.raises(ValueError, match="does not divide a day"):
        coarsen(build([1] * 7, 1800), UTC, 7 * 1800)
    with pytest.raises(ValueError, match="do not begin where"):
        coarsen(build([1, 2, 3], 1800), parse_zone("Asia/Kathmandu"), 3600)


def test_hole_is_a_hole_in_the_longer_interval_too() -> None:
    made = coarsen(build([1, None, 3, 4, 5], 1800), UTC, 3600)

    assert seen(made) == ["MISSING", 7]
    assert made.reason.tolist() == [Reason.NO_ANSWER, 0]


def test_spans_have_least_greatest_mean_and_both_kinds_of_demand() -> None:
    slots: list[Slot] = [4, 1, 9, 9, None, 2]

    block = aggregate(build(slots, 900), UTC, Span.DAY, demand_period=1800)
    sliding = aggregate(build(slots, 900), UTC, Span.DAY, demand_period=1800, demand_step=900)
    quarters = aggregate(build([1, 2, 3], 300), UTC, Span.QUARTER)
    halves = aggregate(build([1, 2, 3, 4], 900), UTC, Span.HALF_HOUR)

    assert (block.minima.tolist(), block.minimum_at.tolist()) == ([1], [MONDAY + 900])
    assert (block.maxima.tolist(), block.maximum_at.tolist()) == ([9], [MONDAY + 1800])
    assert (block.means(), block.is_complete()) == ([Fraction(25, 5)], [False])
    assert (block.demand.tolist(), block.demand_at.tolist()) == ([18], [MONDAY + 1800])
    assert sliding.demand.tolist() == [18]
    shifted = build([1, 9, 9, 1], 900)
    assert aggregate(shifted, UTC, Span.DAY, 1800).demand.tolist() == [10]
    assert aggregate(shifted, UTC, Span.DAY, 1800, 900).demand.tolist() == [18]
    assert quarters.sums.tolist() == [6]
    assert halves.sums.tolist() == [3, 7]


def test_billing_periods_begin_at_local_midnight_of_their_days() -> None:
    zone = parse_zone("Europe/Berlin")
    series = build([1] * 24 * 5, 3600, MONDAY - 3600)

    found = aggregate(series, zone, [date(2024, 1, 1), date(2024, 1, 3), date(2024, 1, 4)])

    assert found.sums.tolist() == [48, 24]
    assert found.starts.tolist() == [MONDAY - 3600, MONDAY - 3600 + 2 * DAY]
    with pytest.raises(ValueError, match="one after the other"):
        aggregate(series, zone, [date(2024, 1, 3), date(2024, 1, 3)])


def test_load_factor_is_mean_over_maximum_demand() -> None:
    assert load_factors(build([1, 3]), UTC, Span.DAY) == [Fraction(2, 3)]
    assert load_factors(build([1, 3, 5, 7], 900), UTC, Span.DAY, 1800) == [Fraction(8, 12)]
    assert load_factors(build([1, None]), UTC, Span.DAY) == [None]
    assert load_factors(build([0, 0]), UTC, Span.DAY) == [None]


def test_coincidence_is_the_maximum_of_the_sum_over_the_sum_of_the_maxima() -> None:
    assert coincidence_factors([build([4, 0]), build([0, 4])], UTC, Span.DAY) == [Fraction(1, 2)]
    assert coincidence_factors([build([4, 1]), build([40, 10], scaler_unit=TENTH)], UTC, Span.DAY) == [Fraction(1)]
    assert coincidence_factors([build([4, None]), build([1, 1])], UTC, Span.DAY) == [None]


def test_imbalance_of_phases_is_their_spread_over_the_greatest() -> None:
    found = phase_imbalance([build([100, 0, 3]), build([70, 0, None]), build([100, 0, 3])])

    assert found.tolist() == [300, -1, -1]
    with pytest.raises(ValueError, match="one grid"):
        phase_imbalance([build([1]), build([1, 2])])


def test_qualified_voltage_is_within_the_band_of_what_is_assessed() -> None:
    volts = build([2139, 2138, 2461, 2462, 1609, 2761, None], scaler_unit=ScalerUnit(-1, Unit.VOLT))

    assert voltage_qualification(volts, UTC, Span.DAY, nominal=2300) == [Fraction(2, 4)]
    assert voltage_qualification(build([None]), UTC, Span.DAY, nominal=2300) == [None]
