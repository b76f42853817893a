from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import reference
from kernels.quality import Rule, State
from kernels.validate import sum_check, validate
from tests.kernels.strategies import Row, edges_of, rows

LIMITS = {"low": 0, "high": 10_000, "zero_run": 4, "spike_permille": 1_800, "spike_floor": 0}


def row(values: Any, states: Any = None) -> Any:
    values = np.array(values, np.int32)
    state = np.full(len(values), State.MEASURED, np.uint8) if states is None else np.array(states, np.uint8)
    return values, state, np.zeros(len(values), np.uint32)


def flagged(values: Any, rule: Rule, states: Any = None, **limits: int) -> Any:
    values, state, rules = row(values, states)
    validate(values, state, np.array([0, len(values)], np.int64), rules, **LIMITS | limits)
    return np.flatnonzero(rules & np.uint32(rule)).tolist()


@given(rows(), st.data())
def test_rules_agree_with_their_twins(drawn: Row, draw: st.DataObject) -> None:
    values, state, _ = drawn
    edges = draw.draw(edges_of(len(values)))
    low, high = sorted(draw.draw(st.tuples(st.integers(-400, 400), st.integers(-400, 2**31 - 1))))
    limits = {
        "low": low,
        "high": high,
        "zero_run": draw.draw(st.integers(1, 8)),
        "spike_permille": draw.draw(st.integers(1, 20_000)),
        "spike_floor": draw.draw(st.integers(-10, 300)),
    }
    rules = np.zeros(len(values), np.uint32)

    missing, ranges, zeros, spikes = validate(values, state, edges, rules, **limits)

    expected = reference.failed_rules(values.tolist(), state.tolist(), edges.tolist(), **limits)
    assert rules.tolist() == [int(mask) for mask in expected]
    assert missing == reference.missing(state.tolist())
    assert (ranges, zeros, spikes) == tuple(
        sum(rule in mask for mask in expected) for rule in (Rule.RANGE, Rule.ZERO_RUN, Rule.SPIKE)
    )


@given(rows(), st.integers(-1000, 1000), st.integers(0, 100))
def test_sum_check_agrees_with_its_twin(drawn: Row, off: int, tolerance: int) -> None:
    values, state, _ = drawn
    delta = sum(values.tolist()) + off
    rules = np.zeros(len(values), np.uint32)

    difference = sum_check(values, state, rules, register_delta=delta, tolerance=tolerance)

    assert difference == reference.sum_difference(values.tolist(), state.tolist(), delta)
    has_failed = difference is not None and abs(difference) > tolerance
    assert (rules == (Rule.SUM_CHECK if has_failed else 0)).all()


def test_spike_is_measured_against_the_third_highest_value_of_the_day() -> None:
    assert flagged([100, 100, 280, 100, 100], Rule.SPIKE) == []
    assert flagged([100, 100, 281, 100, 100], Rule.SPIKE) == [2]
    assert flagged([100, 400, 281, 100, 100], Rule.SPIKE) == [1, 2]


def test_spike_needs_three_values_a_positive_third_and_to_pass_the_floor() -> None:
    assert flagged([1, 500], Rule.SPIKE) == []
    assert flagged([0, 0, 500, 0, 0], Rule.SPIKE) == []
    assert flagged([1, 1, 500, 1], Rule.SPIKE, spike_floor=500) == []
    assert flagged([1, 1, 501, 1], Rule.SPIKE, spike_floor=500) == [2]


def test_each_day_is_judged_by_itself_and_slots_outside_belong_to_none() -> None:
    values, state, rules = row([900, 1, 1, 1, 9, 9, 9, 900, 1, 1, 1])

    validate(values, state, np.array([1, 4, 8], np.int64), rules, **LIMITS)

    assert np.flatnonzero(rules & np.uint32(Rule.SPIKE)).tolist() == [7]


def test_range_is_inclusive_and_slots_without_value_are_not_judged() -> None:
    assert flagged([-1, 0, 10_000, 10_001], Rule.RANGE) == [0, 3]
    assert flagged([-1, 20_000], Rule.RANGE, [State.MISSING, State.EXPECTED]) == []


def test_zero_run_is_flagged_whole_from_its_shortest_length_and_ends_at_a_missing_slot() -> None:
    assert flagged([5, 0, 0, 0, 5], Rule.ZERO_RUN) == []
    assert flagged([5, 0, 0, 0, 0, 5], Rule.ZERO_RUN) == [1, 2, 3, 4]
    gap = [State.MEASURED, State.MEASURED, State.MISSING, State.MEASURED, State.MEASURED]
    assert flagged([0, 0, 0, 0, 0], Rule.ZERO_RUN, gap) == []


def test_bits_that_were_set_before_stay() -> None:
    values, state, rules = row([5, 5, 5])
    rules[1] = Rule.METER_STATUS

    validate(values, state, np.array([0, 3], np.int64), rules, **LIMITS)

    assert rules.tolist() == [0, Rule.METER_STATUS, 0]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"low": 5, "high": 4}, "above high"),
        ({"low": -(2**31) - 1}, "32 bits"),
        ({"high": 2**40}, "32 bits"),
        ({"zero_run": 0}, "zero_run"),
        ({"zero_run": -3}, "zero_run"),
        ({"spike_permille": 0}, "spike_permille"),
        ({"spike_permille": 2**60}, "spike_permille"),
        ({"spike_floor": 2**31}, "spike_floor"),
    ],
)
def test_limits_outside_their_type_are_value_errors(change: dict[str, int], what: str) -> None:
    values, state, rules = row([1, 2, 3])

    with pytest.raises(ValueError, match=what):
        validate(values, state, np.array([0, 3], np.int64), rules, **LIMITS | change)


@pytest.mark.parametrize("edges", [[], [-1, 2], [0, 4], [2, 1, 3], [2**40]])
def test_edges_outside_the_row_are_value_errors(edges: Any) -> None:
    values, state, rules = row([1, 2, 3])

    with pytest.raises(ValueError, match="edges"):
        validate(values, state, np.array(edges, np.int64), rules, **LIMITS)


def test_unequal_shapes_and_unknown_states_are_value_errors() -> None:
    values, state, rules = row([1, 2, 3])
    edges = np.array([0, 3], np.int64)

    with pytest.raises(ValueError, match="state has 2"):
        validate(values, state[:2], edges, rules, **LIMITS)
    with pytest.raises(ValueError, match="rules has 2"):
        validate(values, state, edges, rules[:2], **LIMITS)
    with pytest.raises(ValueError, match="state of slot 1 is 7"):
        validate(values, np.array([2, 7, 2], np.uint8), edges, rules, **LIMITS)
    with pytest.raises(ValueError, match="tolerance"):
        sum_check(values, state, rules, register_delta=0, tolerance=-1)
    with pytest.raises(ValueError, match="62 bits"):
        sum_check(values, state, rules, register_delta=2**63, tolerance=0)


def test_very_long_zero_run_limit_and_empty_row_are_fine() -> None:
    values, state, rules = row([])

    assert validate(values, state, np.array([0], np.int64), rules, **LIMITS | {"zero_run": 2**80}) == (0, 0, 0, 0)
    assert sum_check(values, state, rules, register_delta=0, tolerance=0) == 0
