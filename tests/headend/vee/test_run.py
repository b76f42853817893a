import tomllib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.units import ScalerUnit, Unit
from drivers.zone import parse_zone
from headend.series import Series
from headend.vee.holidays import Holidays
from headend.vee.likedays import Order
from headend.vee.registers import RegisterSpan
from headend.vee.rules import load_rules
from headend.vee.run import run_series
from headend.vee.work import Beside
from kernels.quality import Reason, Rule, State
from tests.headend.vee.series import DAY, MONDAY, WH, Slot, build, same, seen
from tests.shared import REPOSITORY

RULES = replace(load_rules("residential"), profile=None)  # what nothing of its own fills stays missing
COMMERCIAL = replace(load_rules("commercial"), profile=None)
WEEK = 7 * 48


def case(name: str) -> dict[str, Any]:
    return tomllib.loads((Path(REPOSITORY) / "tests/data/vee" / name / "case.toml").read_text())


def run(slots: Sequence[Slot], spans: Sequence[RegisterSpan] = (), period: int = 1800) -> Series:
    return run_series(build(slots, period), UTC, RULES, spans)


def test_published_linear_example_comes_out() -> None:
    example = case("linear_itron")

    series = run([example["before"], *[None] * example["missing"], example["after"]], period=example["period"])

    assert seen(series) == [example["before"], *example["expected"], example["after"]]
    assert series.state.tolist() == [State.MEASURED, *[State.ESTIMATED] * 4, State.MEASURED]
    assert series.reason.tolist() == [0, *[Reason.LINEAR] * 4, 0]


def test_published_sum_check_passes_and_one_count_more_than_the_tolerance_fails() -> None:
    example = case("sum_check_cmep")
    delta = example["register_end"] - example["register_start"]
    assert delta == sum(example["values"]) == example["expected_sum"]
    tolerated = max(RULES.sum_counts, delta * RULES.sum_permille // 1000)

    for off, expected in ((0, 0), (tolerated, 0), (tolerated + 1, Rule.SUM_CHECK)):
        series = run(example["values"], [RegisterSpan(0, 24, delta + off, 1)], example["period"])
        assert set(series.rules.tolist()) == {expected}
        assert set(series.state.tolist()) == {State.MEASURED}


def test_raw_series_is_left_as_it_is() -> None:
    raw = build([1, None, 99_999, 3])
    before = build([1, None, 99_999, 3])

    run_series(raw, UTC, RULES)

    assert same(raw, before)


def test_two_hours_are_drawn_on_a_line_and_longer_gaps_are_not() -> None:
    assert seen(run([10, None, None, None, None, 60])) == [10, 20, 30, 40, 50, 60]
    assert seen(run([10, *[None] * 5, 60])) == [10, *["MISSING"] * 5, 60]


def test_slot_out_of_range_is_questionable_keeps_its_value_and_is_no_end() -> None:
    series = run([10, None, 30_000, 12])

    assert seen(series) == [10, "MISSING", 30_000, 12]
    assert series.state[2] == State.QUESTIONABLE
    assert series.rules[2] & Rule.RANGE


def test_spike_and_zero_run_only_warn() -> None:
    spike = run([100, 100, 100, 5_000, *[100] * 44])
    zeros = run([0] * 48)

    assert spike.rules.tolist() == [0, 0, 0, Rule.SPIKE, *[0] * 44]
    assert set(zeros.rules.tolist()) == {Rule.ZERO_RUN}
    assert set(spike.state.tolist()) | set(zeros.state.tolist()) == {State.MEASURED}


def test_home_is_not_judged_by_the_rules_of_a_shop() -> None:
    kettle = build([1_000] * 40 + [4_000] + [1_000] * 7)

    assert not run_series(kettle, UTC, RULES).rules.any()
    assert np.flatnonzero(run_series(kettle, UTC, COMMERCIAL).rules & np.uint32(Rule.SPIKE)).tolist() == [40]


def test_day_is_cut_in_the_zone_of_the_usage_point() -> None:
    slots: list[Slot] = [200] * 96
    slots[20:23] = [4_000] * 3
    zone = parse_zone("UTC+10:00")

    in_utc = run_series(build(slots), UTC, RULES)
    slots[28:31] = [4_000] * 3
    local = run_series(build(slots), zone, RULES)

    assert not in_utc.rules.any()
    assert not local.rules.any()
    slots[20:23], slots[28:31] = [200] * 3, [200, 4_000, 200]
    assert np.flatnonzero(run_series(build(slots), zone, RULES).rules).tolist() == [29]


def test_day_cut_off_by_the_window_is_not_judged_for_spikes() -> None:
    slots: list[Slot] = [100] * 30
    slots[10] = 5_000

    assert not run(slots).rules.any()


def weeks(count: int, gap: range, value: int = 100) -> list[Slot]:
    """Weeks of half-hours, each value naming its week and slot; the last one has a gap."""
    slots: list[Slot] = [value * (week + 1) + slot % 48 for week in range(count) for slot in range(WEEK)]
    for slot in gap:
        slots[(count - 1) * WEEK + slot] = None
    return slots


def test_long_gap_is_the_mean_of_the_three_nearest_same_weekdays() -> None:
    series = run(weeks(5, range(60, 70)))

    filled = series.values[4 * WEEK + 60 : 4 * WEEK + 70].tolist()
    assert filled == [(400 + 300 + 200) // 3 + slot % 48 for slot in range(60, 70)]
    assert set(series.reason[4 * WEEK + 60 : 4 * WEEK + 70].tolist()) == {Reason.LIKE_DAY}


def test_one_reference_day_is_enough_and_none_leaves_the_cause() -> None:
    one = run(weeks(2, range(60, 70)))
    none = run(weeks(1, range(60, 70)))

    assert one.values[WEEK + 60] == 100 + 60 % 48
    assert seen(none)[60:70] == ["MISSING"] * 10
    assert set(none.reason[60:70].tolist()) == {Reason.NO_ANSWER}


def test_only_measured_and_undoubted_slots_serve_as_reference() -> None:
    slots = weeks(4, range(60, 70))
    slots[60] = 30_000
    slots[WEEK + 60] = None
    slots[WEEK + 59] = Reason.POWER_OFF
    series = run(slots)

    assert series.state[60] == State.QUESTIONABLE
    assert series.values[3 * WEEK + 60] == 300 + 60 % 48
    assert series.values[3 * WEEK + 61] == 200 + 61 % 48


def test_reference_is_the_same_wall_clock_time_across_a_change_of_clocks() -> None:
    zone = parse_zone("Europe/Berlin")
    start = 1_711_231_200 - 7 * DAY  # 2024-03-16T22:00Z; clocks go forward on 2024-03-31
    slots: list[Slot] = [slot % WEEK for slot in range(3 * WEEK)]
    gap = range(2 * WEEK + 60, 2 * WEEK + 70)
    for slot in gap:
        slots[slot] = None

    series = run_series(build(slots, start=start), zone, RULES)

    assert series.values[gap[0]] == 60 + 2


def test_power_off_is_zero_and_never_an_end() -> None:
    series = run([10, None, Reason.POWER_OFF, None, 40])

    assert seen(series) == [10, "MISSING", 0, "MISSING", 40]
    assert series.reason.tolist() == [0, Reason.NO_ANSWER, Reason.ZERO, Reason.NO_ANSWER, 0]
    assert series.state[2] == State.ESTIMATED


@pytest.mark.parametrize("rule", [Rule.POWER_FAILURE, Rule.CLOCK_SET, Rule.TEST_MODE, Rule.OVERFLOW])
def test_interval_that_is_not_whole_is_never_an_end(rule: Rule) -> None:
    raw = build([10, None, 30])
    raw.rules[2] = rule

    assert seen(run_series(raw, UTC, RULES)) == [10, "MISSING", 30]


def test_slots_expected_or_not_expected_are_left_alone() -> None:
    raw = build([10, None, 30, None])
    raw.state[3] = State.EXPECTED
    raw.state[1] = State.NOT_EXPECTED
    raw.reason[:] = 0

    assert same(run_series(raw, UTC, RULES), raw)


def test_line_is_scaled_to_the_register_difference_exactly() -> None:
    series = run([10, None, None, None, 50], [RegisterSpan(0, 5, 10 + 200 + 50, 1)])

    assert int(series.values.sum()) == 260
    assert series.values.tolist() == [10, 44, 67, 89, 50]
    assert set(series.reason[1:4].tolist()) == {Reason.LINEAR}


def test_gap_without_a_shape_gets_equal_shares_of_the_register_difference() -> None:
    series = run([10, *[None] * 6, 50], [RegisterSpan(0, 8, 10 + 100 + 50, 1)])

    assert series.values[1:7].tolist() == [16, 17, 17, 16, 17, 17]
    assert set(series.reason[1:7].tolist()) == {Reason.REGISTER_LUMP}
    assert not series.rules.any()


def test_like_days_are_scaled_to_the_register_difference() -> None:
    spans = [RegisterSpan(WEEK + 48, WEEK + 96, 48_000, 1)]

    series = run(weeks(2, range(60, 70)), spans)

    assert int(series.values[WEEK + 48 : WEEK + 96].sum()) == 48_000
    assert set(series.reason[WEEK + 60 : WEEK + 70].tolist()) == {Reason.LIKE_DAY}


def test_several_gaps_between_two_registers_share_what_is_left() -> None:
    series = run([10, None, 30, None, None, 60], [RegisterSpan(0, 6, 10 + 30 + 60 + 330, 1)])

    assert int(series.values.sum()) == 430
    assert series.has_value.all()


@pytest.mark.parametrize(
    ("delta", "what"),
    [(5, "the intervals measured more than the register"), (80_000, "a share beyond what the fuse carries")],
)
def test_register_that_contradicts_the_intervals_marks_the_span_and_scales_nothing(delta: int, what: str) -> None:
    series = run([100, None, 200], [RegisterSpan(0, 3, delta, 1)])

    if delta > 75_000:
        assert not series.rules.any(), what
    else:
        assert set(series.rules.tolist()) == {Rule.SUM_CHECK}, what
    assert series.values.tolist() == [100, 150, 200]


def test_small_overshoot_within_the_tolerance_leaves_nothing_for_the_gap() -> None:
    series = run([1000, None, 2000], [RegisterSpan(0, 3, 2_999, 1)])

    assert series.values.tolist() == [1000, 0, 2000]
    assert not series.rules.any()


def test_span_with_a_slot_nobody_expects_is_not_balanced() -> None:
    raw = build([10, None, 30, 5])
    raw.state[3] = State.NOT_EXPECTED

    assert run_series(raw, UTC, RULES, [RegisterSpan(0, 4, 100, 1)]).values[1] == 20


def test_channel_that_is_no_energy_is_judged_by_range_and_never_estimated() -> None:
    volts = ScalerUnit(-1, Unit.VOLT)
    raw = build([2300, None, 3001, 0, 0], scaler_unit=volts)

    series = run_series(raw, UTC, replace(RULES, zero_run=1800), judge_values=False)

    assert seen(series) == [2300, "MISSING", 3001, 0, 0]
    assert series.rules.tolist() == [0, 0, Rule.RANGE, 0, 0]


def test_same_input_gives_the_same_bytes() -> None:
    slots = weeks(5, range(60, 110))
    spans = [RegisterSpan(4 * WEEK + 48, 4 * WEEK + 144, 60_000, 1)]

    assert same(run(slots, spans), run(slots, spans))


def test_empty_series_stays_empty() -> None:
    assert len(run_series(Series.empty(MONDAY, 900, WH, 0), UTC, RULES)) == 0


def test_check_meter_fills_what_no_line_does_before_any_guess() -> None:
    slots = weeks(2, range(60, 70))
    check = build([7] * len(slots))
    check.state[WEEK + 61] = State.QUESTIONABLE

    series = run_series(build(slots), UTC, RULES, beside=Beside(check_meter=check))

    assert series.values[WEEK + 60 : WEEK + 63].tolist() == [7, 100 + 61 % 48, 7]
    assert series.reason[WEEK + 60 : WEEK + 63].tolist() == [Reason.CHECK_METER, Reason.LIKE_DAY, Reason.CHECK_METER]


def test_gap_beyond_the_limit_is_left_but_the_register_still_knows_its_energy() -> None:
    rules = replace(RULES, longest_gap=5 * 3600)
    slots = weeks(2, range(60, 70))

    assert run_series(build(slots), UTC, rules).has_value.all()
    slots[WEEK + 70] = None
    left = run_series(build(slots), UTC, rules)
    lump = run_series(build(slots), UTC, rules, [RegisterSpan(WEEK + 60, WEEK + 71, 1100, 1)])

    assert seen(left)[WEEK + 60 : WEEK + 71] == ["MISSING"] * 11
    assert lump.values[WEEK + 60 : WEEK + 71].tolist() == [100] * 11
    assert set(lump.reason[WEEK + 60 : WEEK + 71].tolist()) == {Reason.REGISTER_LUMP}


def test_holiday_is_estimated_from_sundays_and_is_nobodys_reference() -> None:
    slots: list[Slot] = [10 * (slot // 48 % 7) + slot // WEEK for slot in range(3 * WEEK)]
    slots[2 * WEEK + 60 : 2 * WEEK + 70] = [None] * 10  # a Tuesday
    holiday = replace(RULES, holidays=Holidays(frozenset({date(2024, 1, 16)})))
    other = replace(RULES, holidays=Holidays(frozenset({date(2024, 1, 9)})))

    # Sundays 2 and 9 days before have 61 and 60; Tuesdays one and two weeks before have 11 and 10.
    assert run_series(build(slots), UTC, holiday).values[2 * WEEK + 60] == 61
    assert run_series(build(slots), UTC, other).values[2 * WEEK + 60] == 10
    assert run_series(build(slots), UTC, RULES).values[2 * WEEK + 60] == 11


def test_two_week_table_takes_days_of_this_week_too() -> None:
    table = replace(RULES, order=Order.TABLE)
    slots: list[Slot] = [slot // 48 for slot in range(3 * WEEK)]
    wednesday = 2 * WEEK + 2 * 48
    slots[wednesday : wednesday + 10] = [None] * 10

    # Wednesday last week (9), Tuesday (15), Tuesday last week (8); the mean of the first three.
    assert run_series(build(slots), UTC, table).values[wednesday] == round((9 + 15 + 8) / 3)
