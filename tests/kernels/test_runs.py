from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import reference_rules as reference
from kernels.quality import Rule, State
from kernels.runs import local_peaks, runs, steps
from tests.kernels.strategies import Row, rows

M, X = State.MEASURED, State.MISSING
OFF = {"negative": 0, "constant": 0, "never_zero": 0}


def row(values: Any, states: Any = None) -> Any:
    values = np.array(values, np.int32)
    state = np.full(len(values), M, np.uint8) if states is None else np.array(states, np.uint8)
    return values, state, np.zeros(len(values), np.uint32)


def flagged(rules: Any, rule: Rule) -> Any:
    return np.flatnonzero(rules & np.uint32(rule)).tolist()


def run_slots(values: Any, rule: Rule, states: Any = None, **lengths: int) -> Any:
    values, state, rules = row(values, states)
    runs(values, state, rules, **OFF | lengths)
    return flagged(rules, rule)


@given(rows(st.one_of(st.integers(-2, 2), st.integers(-(2**31), 2**31 - 1))), st.integers(0, 5), st.integers(0, 5))
def test_runs_agree_with_their_twins(drawn: Row, one: int, two: int) -> None:
    values, state, _ = drawn
    rules = np.zeros(len(values), np.uint32)
    lengths = {"negative": one, "constant": two, "never_zero": one + two}

    counts = runs(values, state, rules, **lengths)

    expected = reference.runs(reference.valued(values.tolist(), state.tolist()), **lengths)
    for rule, slots in zip((Rule.NEGATIVE_RUN, Rule.CONSTANT_RUN, Rule.NEVER_ZERO), expected, strict=True):
        assert flagged(rules, rule) == sorted(slots)
    assert counts == tuple(map(len, expected))


@given(rows(), st.integers(1, 5_000), st.integers(0, 300))
def test_steps_and_peaks_agree_with_their_twins(drawn: Row, permille: int, floor: int) -> None:
    values, state, _ = drawn
    rules = np.zeros(len(values), np.uint32)
    valued = reference.valued(values.tolist(), state.tolist())

    counts = steps(values, state, rules, permille=permille, floor=floor)
    peaks = local_peaks(values, state, rules, permille=permille, floor=floor)

    stepped = reference.steps(valued, permille=permille, floor=floor)
    peaked = reference.local_peaks(valued, permille=permille, floor=floor)
    assert (flagged(rules, Rule.STEP), flagged(rules, Rule.LOCAL_PEAK)) == (sorted(stepped), sorted(peaked))
    assert (counts, peaks) == (len(stepped), len(peaked))


def test_run_is_flagged_whole_from_its_shortest_length() -> None:
    assert run_slots([1, -1, -2, 1], Rule.NEGATIVE_RUN, negative=3) == []
    assert run_slots([1, -1, -2, -1], Rule.NEGATIVE_RUN, negative=3) == [1, 2, 3]
    assert run_slots([5, 5, 7, 7, 7, 0, 0, 0], Rule.CONSTANT_RUN, constant=3) == [2, 3, 4]
    assert run_slots([5, 5, 5], Rule.CONSTANT_RUN, constant=4) == []
    assert run_slots([1, 2, 0, 3, 4, 5], Rule.NEVER_ZERO, never_zero=3) == [3, 4, 5]
    assert run_slots([1, 2, 0, 3, 4], Rule.NEVER_ZERO, never_zero=3) == []


def test_missing_slot_ends_a_run_and_is_nobodys_neighbor() -> None:
    assert run_slots([5, 5, 5, 5], Rule.CONSTANT_RUN, [M, M, X, M], constant=3) == []
    values, state, rules = row([5, 0, 900], [M, X, M])

    assert steps(values, state, rules, permille=1000, floor=0) == 0
    assert local_peaks(values, state, rules, permille=1000, floor=0) == 0


def test_step_fails_above_the_share_and_the_floor_only() -> None:
    values, state, rules = row([100, 300, 301, 0, 10])

    assert steps(values, state, rules, permille=2000, floor=0) == 1
    assert flagged(rules, Rule.STEP) == [4]
    values, state, rules = row([100, 301])
    assert steps(values, state, rules, permille=2000, floor=200) == 1
    assert steps(values, state, rules, permille=2000, floor=201) == 0


def test_peak_is_measured_against_the_higher_neighbor() -> None:
    values, state, rules = row([100, 280, 90, 281, 100])

    assert local_peaks(values, state, rules, permille=1800, floor=0) == 1
    assert flagged(rules, Rule.LOCAL_PEAK) == [3]
    assert local_peaks(*row([100, 280, 100]), permille=1800, floor=0) == 0
    assert local_peaks(*row([100, 281, 100]), permille=1800, floor=281) == 0
    assert local_peaks(*row([0, 281, 0]), permille=1800, floor=0) == 0


def test_shapes_states_and_limits_are_checked() -> None:
    values, state, rules = row([1, 2, 3])

    with pytest.raises(ValueError, match="negative -1"):
        runs(values, state, rules, negative=-1, constant=0, never_zero=0)
    with pytest.raises(ValueError, match="rules has 2"):
        runs(values, state, rules[:2], **OFF)
    with pytest.raises(ValueError, match="state has 2"):
        steps(values, state[:2], rules, permille=1, floor=0)
    with pytest.raises(ValueError, match="permille 0"):
        steps(values, state, rules, permille=0, floor=0)
    with pytest.raises(ValueError, match="floor -1"):
        local_peaks(values, state, rules, permille=1, floor=-1)
    assert runs(*row([]), negative=1, constant=1, never_zero=2**70) == (0, 0, 0)
