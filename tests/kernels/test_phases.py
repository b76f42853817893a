from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import reference_rules as reference
from kernels.phases import Condition, beyond, conditions
from kernels.quality import Rule, State
from tests.kernels.strategies import STATES, Row, rows

M, X = State.MEASURED, State.MISSING
# 230.0 V nominal in tenths, 5 A basic current in mA: the published shares of the alarm table.
LIMITS = {
    "lost": 1794, "recovered": 1955, "broken": 1380, "present": 1610, "idle": 25, "loaded": 250,
    "voltage_permille": 300, "current_permille": 300, "severe_permille": 900, "neutral_least": 1000, "neutral_permille": 500,
}  # fmt: skip


def judge(volts: Any, amps: Any, neutral: Any = None, shortest: int = 1) -> Any:
    volts, amps = np.array(volts, np.int32), np.array(amps, np.int32)
    neutral = np.zeros(volts.shape[1], np.int32) if neutral is None else np.array(neutral, np.int32)
    found = np.full(volts.shape, 255, np.uint32)
    state = np.full(volts.shape, M, np.uint8)
    conditions(
        volts, state, amps, state, neutral, np.full(len(neutral), M, np.uint8), found, shortest=shortest, **LIMITS
    )
    return [[Condition(int(cell)) for cell in row] for row in found]


@given(st.integers(1, 3), st.integers(0, 12), st.integers(1, 3), st.data())
def test_conditions_agree_with_their_twin(phases: int, n: int, shortest: int, draw: st.DataObject) -> None:
    def grid(values: st.SearchStrategy[int], rows_: int, dtype: Any) -> Any:
        cells = draw.draw(st.lists(values, min_size=rows_ * n, max_size=rows_ * n))
        return np.array(cells, dtype).reshape(rows_, n)

    volts = grid(st.sampled_from([0, 1379, 1380, 1500, 1700, 1794, 1955, 2300, 3400]), phases, np.int32)
    amps = grid(st.sampled_from([-30, 0, 24, 25, 26, 250, 251, 2000, 6000]), phases, np.int32)
    neutral = grid(st.sampled_from([0, 1000, 1001, 3001]), 1, np.int32)[0]
    volt_state, amp_state = grid(STATES, phases, np.uint8), grid(STATES, phases, np.uint8)
    neutral_state = grid(STATES, 1, np.uint8)[0]
    found = np.zeros((phases, n), np.uint32)

    conditions(volts, volt_state, amps, amp_state, neutral, neutral_state, found, shortest=shortest, **LIMITS)

    expected = reference.conditions(
        [reference.valued(row, codes) for row, codes in zip(volts.tolist(), volt_state.tolist(), strict=True)],
        [reference.valued(row, codes) for row, codes in zip(amps.tolist(), amp_state.tolist(), strict=True)],
        reference.valued(neutral.tolist(), neutral_state.tolist()),
        shortest=shortest, **LIMITS,
    )  # fmt: skip
    assert found.tolist() == [[int(cell) for cell in row] for row in expected]


@given(rows(st.integers(-5, 5)), st.integers(-4, 0), st.integers(0, 4), st.integers(1, 4))
def test_limits_that_must_hold_agree_with_their_twin(drawn: Row, low: int, high: int, shortest: int) -> None:
    values, state, _ = drawn
    rules = np.zeros(len(values), np.uint32)

    count = beyond(values, state, rules, low=low, high=high, shortest=shortest, rule=Rule.VOLTAGE)

    valued = reference.valued(values.tolist(), state.tolist())
    expected = reference.beyond(valued, low=low, high=high, shortest=shortest)
    assert (count, np.flatnonzero(rules).tolist()) == (len(expected), sorted(expected))


def test_voltage_is_lost_under_78_percent_with_current_until_85_percent() -> None:
    volts = [[2300, 1794, 1793, 1900, 1954, 1955, 1793]]

    found = judge(volts, [[1000, 1000, 1000, 1000, 0, 1000, 25]])[0]

    assert [Condition.VOLTAGE_LOSS in cell for cell in found] == [False, False, True, True, True, False, False]


def test_phase_is_broken_under_60_percent_without_current() -> None:
    found = judge([[1379, 1380, 1379]], [[24, 24, 25]])[0]

    assert [Condition.PHASE_BREAK in cell for cell in found] == [True, False, False]


def test_current_is_lost_where_another_phase_carries_it_and_broken_where_none_does() -> None:
    found = judge([[2300] * 3, [2300] * 3], [[24, 24, 25], [251, 250, 251]])[0]

    assert [Condition.CURRENT_LOSS in cell for cell in found] == [True, False, False]
    assert [Condition.CURRENT_BREAK in cell for cell in found] == [False, True, False]


def test_imbalance_is_the_spread_over_the_greatest() -> None:
    found = judge([[1000] * 3] * 2 + [[700, 699, 700]], [[1000] * 3] * 2 + [[700, 699, 99]])[0]

    assert [Condition.VOLTAGE_IMBALANCE in cell for cell in found] == [False, True, False]
    assert [Condition.CURRENT_IMBALANCE in cell for cell in found] == [False, True, True]
    assert [Condition.SEVERE_CURRENT_IMBALANCE in cell for cell in found] == [False, False, True]


def test_neutral_current_needs_its_least_and_its_share() -> None:
    found = judge([[2300] * 3], [[2000, 2001, 1999]], [1001, 1000, 1000])[0]

    assert [Condition.NEUTRAL_CURRENT in cell for cell in found] == [True, False, False]


def test_condition_shorter_than_its_delay_is_taken_back() -> None:
    volts = [[2300, 1000, 1000, 2300, 1000, 2300]]

    found = judge(volts, [[1000] * 6], shortest=2)[0]

    assert [Condition.VOLTAGE_LOSS in cell for cell in found] == [False, True, True, False, False, False]
    values, state = np.array(volts[0], np.int32), np.full(6, M, np.uint8)
    rules = np.zeros(6, np.uint32)
    assert beyond(values, state, rules, low=1794, high=2760, shortest=2, rule=Rule.VOLTAGE) == 2


def test_limits_are_inclusive_and_sides_do_not_add_up() -> None:
    values, state, rules = np.array([5, 11, -1, 10, 0], np.int32), np.full(5, M, np.uint8), np.zeros(5, np.uint32)

    assert beyond(values, state, rules, low=0, high=10, shortest=2, rule=Rule.POWER) == 0
    assert beyond(values, state, rules, low=0, high=10, shortest=1, rule=Rule.POWER) == 2


def test_shapes_and_limits_are_checked() -> None:
    volts, state, row = np.zeros((2, 3), np.int32), np.zeros((2, 3), np.uint8), np.zeros(3, np.int32)
    found = np.zeros((2, 3), np.uint32)

    with pytest.raises(ValueError, match="amps is 1 x 3"):
        conditions(volts, state, volts[:1], state, row, state[0], found, shortest=1, **LIMITS)
    with pytest.raises(ValueError, match="neutral has 2"):
        conditions(volts, state, volts, state, row[:2], state[0], found, shortest=1, **LIMITS)
    with pytest.raises(ValueError, match="idle -1"):
        conditions(volts, state, volts, state, row, state[0], found, shortest=1, **LIMITS | {"idle": -1})
    with pytest.raises(ValueError, match="shortest 0"):
        conditions(volts, state, volts, state, row, state[0], found, shortest=0, **LIMITS)
    with pytest.raises(ValueError, match="low 5"):
        beyond(row, state[0], found[0], low=5, high=4, shortest=1, rule=1)
    with pytest.raises(ValueError, match="shortest 0"):
        beyond(row, state[0], found[0], low=0, high=4, shortest=0, rule=1)
