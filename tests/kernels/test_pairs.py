from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import reference_rules as reference
from kernels.pairs import both_ways, reactive
from kernels.quality import Reason, Rule, State
from kernels.status import flag_status
from kernels.usage import high_low, incomplete_days
from tests.kernels.strategies import INT32, REASONS, STATES, edges_of

M, X, N, E = State.MEASURED, State.MISSING, State.NOT_EXPECTED, State.EXPECTED
MASKS = {"power_failure": 1, "clock_set": 2, "test_mode": 4, "overflow": 8, "doubtful": 48}
PAIRS = st.lists(st.tuples(INT32, STATES, INT32, STATES), max_size=40)


def arrays(*columns: Any) -> Any:
    made = [np.array(column, np.int32 if index % 2 == 0 else np.uint8) for index, column in enumerate(columns)]
    return [*made, np.zeros(len(columns[0]), np.uint32)]


def slots(rules: Any, rule: Rule) -> Any:
    return np.flatnonzero(rules & np.uint32(rule)).tolist()


@given(PAIRS, st.integers(0, 40), st.integers(0, 3_000_000))
def test_pairs_agree_with_their_twins(drawn: Any, floor: int, tangent: int) -> None:
    values, state, other, other_state, rules = arrays(*([cell[column] for cell in drawn] for column in range(4)))
    one = reference.valued(values.tolist(), state.tolist())
    two = reference.valued(other.tolist(), other_state.tolist())

    both = both_ways(values, state, other, other_state, rules, floor=floor)
    counts = reactive(values, state, other, other_state, rules, floor=floor, tangent_ppm=tangent)

    expected = reference.both_ways(one, two, floor=floor)
    absent, poor = reference.reactive(one, two, other_state.tolist(), floor=floor, tangent_ppm=tangent)
    assert slots(rules, Rule.BOTH_WAYS) == sorted(expected)
    assert slots(rules, Rule.REACTIVE_ABSENT) == sorted(absent)
    assert slots(rules, Rule.POWER_FACTOR) == sorted(poor)
    assert (both, counts) == (len(expected), (len(absent), len(poor)))


def test_import_and_export_above_the_floor_at_once_fail() -> None:
    row = arrays([11, 10, 11, 11], [M] * 4, [11, 11, 10, 11], [M, M, M, X])

    assert both_ways(*row, floor=10) == 1
    assert slots(row[-1], Rule.BOTH_WAYS) == [0]


def test_reactive_energy_must_be_there_and_in_proportion() -> None:
    row = arrays([1000] * 6, [M] * 6, [3179, 3180, -3180, 0, 0, 0], [M, M, M, M, X, N])

    assert reactive(*row, floor=10, tangent_ppm=3_179_797) == (1, 2)
    assert (slots(row[-1], Rule.POWER_FACTOR), slots(row[-1], Rule.REACTIVE_ABSENT)) == ([1, 2], [4])
    row = arrays([10, 11], [M, M], [0, 0], [X, X])
    assert reactive(*row, floor=10, tangent_ppm=0) == (1, 0)


@given(st.lists(STATES, max_size=40), st.integers(0, 1000), st.data())
def test_incomplete_days_agree_with_their_twin(drawn: Any, permille: int, draw: st.DataObject) -> None:
    state, edges = np.array(drawn, np.uint8), draw.draw(edges_of(len(drawn)))
    rules = np.zeros(len(drawn), np.uint32)

    failed = incomplete_days(state, edges, rules, permille=permille)

    days = reference.incomplete_days(state.tolist(), edges.tolist(), permille=permille)
    assert failed == len(days)
    assert slots(rules, Rule.INCOMPLETE_DAY) == [slot for first, last in days for slot in range(first, last)]


def test_day_fails_below_the_share_of_its_expected_slots() -> None:
    state = np.array([M, M, M, X, N, M, M, X, E, N], np.uint8)
    rules = np.zeros(10, np.uint32)

    assert incomplete_days(state, np.array([0, 5, 10], np.int64), rules, permille=750) == 1
    assert slots(rules, Rule.INCOMPLETE_DAY) == [5, 6, 7, 8, 9]


@given(
    st.lists(st.tuples(st.integers(-50, 500), st.integers(-50, 500), st.booleans()), max_size=20),
    st.integers(0, 900), st.integers(900, 4000), st.integers(0, 100),
)  # fmt: skip
def test_high_low_agrees_with_its_twin(drawn: Any, low: int, high: int, least: int) -> None:
    usage, base = (np.array([day[column] for day in drawn], np.int64) for column in (0, 1))
    known = np.array([day[2] for day in drawn], np.uint8)
    limits = {"low_permille": low, "high_permille": high, "least": least}
    rules = np.zeros(len(drawn), np.uint32)

    failed = high_low(usage, base, known, np.arange(len(drawn) + 1), rules, rule=Rule.HIGH_LOW, **limits)

    expected = reference.high_low(usage.tolist(), base.tolist(), known.tolist(), **limits)
    assert (failed, slots(rules, Rule.HIGH_LOW)) == (len(expected), sorted(expected))


def test_usage_fails_just_outside_its_factors() -> None:
    usage, base = np.array([500, 499, 2000, 2001, 9, 2001], np.int64), np.full(6, 1000, np.int64)
    base[4] = 10
    rules = np.zeros(6, np.uint32)

    high_low(
        usage, base, np.array([1, 1, 1, 1, 1, 0], np.uint8), np.arange(7), rules,
        low_permille=500, high_permille=2000, least=10, rule=Rule.HIGH_LOW_YEAR,
    )  # fmt: skip

    assert slots(rules, Rule.HIGH_LOW_YEAR) == [1, 3]


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), STATES, REASONS), max_size=40))
def test_status_agrees_with_its_twin(drawn: Any) -> None:
    words = np.array([cell[0] for cell in drawn], np.uint32)
    state, reason = (np.array([cell[column] for cell in drawn], np.uint8) for column in (1, 2))
    rules, before = np.zeros(len(drawn), np.uint32), reason.tolist()

    count = flag_status(words, state, reason, rules, **MASKS)

    expected = reference.flag_status(words.tolist(), state.tolist(), MASKS)
    assert rules.tolist() == [int(mask) for mask, _ in expected]
    assert reason.tolist() == [why or old for (_, why), old in zip(expected, before, strict=True)]
    assert count == sum(bool(mask or why) for mask, why in expected)


def test_status_of_a_value_is_a_rule_and_of_a_miss_a_cause() -> None:
    words, state = np.array([0, 1, 2, 4, 8, 32, 3, 2, 4], np.uint32), np.array([M] * 6 + [X] * 3, np.uint8)
    reason, rules = np.full(9, Reason.NO_ROW, np.uint8), np.zeros(9, np.uint32)

    flag_status(words, state, reason, rules, **MASKS)

    assert rules.tolist() == [
        0, Rule.POWER_FAILURE, Rule.CLOCK_SET, Rule.TEST_MODE, Rule.OVERFLOW, Rule.METER_STATUS, 0, 0, 0
    ]  # fmt: skip
    assert reason[6:].tolist() == [Reason.POWER_OFF, Reason.CLOCK_MOVED, Reason.NO_ROW]


def test_shapes_and_limits_are_checked() -> None:
    values, state, other, other_state, rules = arrays([1, 2], [M, M], [1, 2], [M, M])
    days = np.array([1, 2], np.int64)

    with pytest.raises(ValueError, match="other has 1"):
        both_ways(values, state, other[:1], other_state, rules, floor=0)
    with pytest.raises(ValueError, match="tangent_ppm"):
        reactive(values, state, other, other_state, rules, floor=0, tangent_ppm=-1)
    with pytest.raises(ValueError, match="permille 1001"):
        incomplete_days(state, np.array([0, 2], np.int64), rules, permille=1001)
    with pytest.raises(ValueError, match="base 1"):
        high_low(days, days[:1], state, np.arange(3), rules, low_permille=0, high_permille=1, least=0, rule=1)
    with pytest.raises(ValueError, match="beyond 2\\^45"):
        high_low(days << 50, days, state, np.arange(3), rules, low_permille=0, high_permille=1, least=0, rule=1)
    with pytest.raises(ValueError, match="low_permille"):
        high_low(days, days, state, np.arange(3), rules, low_permille=2, high_permille=1, least=0, rule=1)
    with pytest.raises(ValueError, match="overflow"):
        flag_status(rules, state, state.copy(), rules.copy(), **MASKS | {"overflow": 2**32})
