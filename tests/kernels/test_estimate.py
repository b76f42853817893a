from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kernels import reference
from kernels.estimate import gap_lengths, like_day, linear, spread, substitute, zero
from kernels.quality import Reason, State
from tests.kernels.strategies import INT32, Row, rows

M, X, Q, E = State.MEASURED, State.MISSING, State.QUESTIONABLE, State.EXPECTED


def row(values: Any, states: Any, reasons: Any = None) -> Any:
    return (
        np.array(values, np.int32),
        np.array(states, np.uint8),
        np.zeros(len(values), np.uint8) if reasons is None else np.array(reasons, np.uint8),
    )


def after(before: Any, filled: dict[int, int], method: Reason) -> Any:
    values, state, reason = (array.tolist() for array in before)
    for slot, value in filled.items():
        values[slot], state[slot], reason[slot] = value, State.ESTIMATED, method
    return [values, state, reason]


@given(rows(), st.integers(0, 10), st.data())
def test_linear_agrees_with_its_twin(drawn: Row, longest: int, draw: st.DataObject) -> None:
    values, state, reason = drawn
    n = len(values)
    doubted = draw.draw(st.none() | st.lists(st.integers(0, 1), min_size=n, max_size=n))
    filled = reference.linear(values.tolist(), state.tolist(), reason.tolist(), doubted, longest=longest)
    expected = after(drawn, filled, Reason.LINEAR)

    mask = None if doubted is None else np.array(doubted, np.uint8)
    count = linear(values, state, reason, mask, longest=longest)

    assert [values.tolist(), state.tolist(), reason.tolist()] == expected
    assert count == len(filled)


@given(rows(), st.integers(1, 4), st.data())
def test_like_day_agrees_with_its_twin(drawn: Row, most: int, draw: st.DataObject) -> None:
    values, state, reason = drawn
    n = len(values)
    days = draw.draw(st.integers(0, 5))
    cells = st.lists(st.tuples(INT32, st.booleans()), min_size=days * n, max_size=days * n)
    drawn_cells = draw.draw(cells)
    reference_days = np.array([cell[0] for cell in drawn_cells], np.int32).reshape(days, n)
    usable = np.array([cell[1] for cell in drawn_cells], np.uint8).reshape(days, n)
    filled = reference.like_day(state.tolist(), reason.tolist(), reference_days.tolist(), usable.tolist(), most=most)
    expected = after(drawn, filled, Reason.LIKE_DAY)

    count = like_day(values, state, reason, reference_days, usable, most=most)

    assert [values.tolist(), state.tolist(), reason.tolist()] == expected
    assert count == len(filled)


@given(
    st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), min_size=1, max_size=50),
    st.one_of(st.integers(0, 10_000), st.integers(-(2**40), 2**40)),
)
def test_spread_agrees_with_its_twin_and_sums_to_the_total_exactly(cells: list[Any], total: int) -> None:
    values = np.array([cell[0] for cell in cells], np.int32)
    gap = np.array([cell[1] for cell in cells], np.uint8)
    assume(gap.any())
    shape = values[gap != 0].tolist()
    expected = reference.spread(shape, total)
    before = values.copy()

    if max(map(abs, expected)) > 2**31 - 1 or (sum(shape) or len(shape)) * max(*shape, 1) >= 2**62:
        try:
            spread(values, gap, total)
        except ValueError:
            assert values.tolist() == before.tolist()
            return
    else:
        spread(values, gap, total)

    assert values[gap != 0].tolist() == expected
    assert sum(values[gap != 0].tolist()) == total
    assert values[gap == 0].tolist() == before[gap == 0].tolist()


def test_two_ends_at_the_edge_of_int32_are_bridged_without_a_wrap() -> None:
    values, state, reason = row([-(2**31), 0, 2**31 - 1], [M, X, M])

    linear(values, state, reason, longest=1)

    assert values.tolist() == [-(2**31), 0, 2**31 - 1]


def test_halves_are_rounded_up_also_below_zero() -> None:
    values, state, reason = row([0, 0, 1, 0, 0, -1, 0], [M, X, M, M, M, M, M])
    linear(values, state, reason, longest=1)
    assert values[1] == 1

    values, state, reason = row([0, 0, -1], [M, X, M])
    linear(values, state, reason, longest=1)
    assert values[1] == 0


@pytest.mark.parametrize("end", [Q, E, State.NOT_EXPECTED, State.ESTIMATED, State.EDITED])
def test_only_a_measured_value_is_an_end(end: State) -> None:
    values, state, reason = row([10, 0, 20], [end, X, M])

    assert linear(values, state, reason, longest=4) == 0
    assert state.tolist() == [end, X, M]


def test_interval_with_a_power_failure_is_never_an_end_nor_filled() -> None:
    values, state, reason = row([10, 0, 20], [M, X, M], [Reason.POWER_OFF, Reason.NO_ROW, 0])
    assert linear(values, state, reason, longest=4) == 0

    values, state, reason = row([10, 0, 0, 20], [M, X, X, M], [0, Reason.POWER_OFF, Reason.NO_ROW, 0])
    assert linear(values, state, reason, longest=4) == 0
    days, usable = np.full((1, 4), 5, np.int32), np.ones((1, 4), np.uint8)
    assert like_day(values, state, reason, days, usable, most=3) == 1
    assert (values.tolist(), reason[1]) == ([10, 0, 5, 20], Reason.POWER_OFF)


def test_gap_longer_than_the_limit_or_at_the_edge_of_the_row_is_left() -> None:
    values, state, reason = row([0, 9, 0, 0, 0, 9, 0], [X, M, X, X, X, M, X])

    assert linear(values, state, reason, longest=2) == 0
    assert linear(values, state, reason, longest=3) == 3


def test_like_day_takes_the_nearest_usable_days_only() -> None:
    values, state, reason = row([0, 0], [X, X])
    days = np.array([[100, 100], [10, 1], [20, 2], [1000, 1000]], np.int32)
    usable = np.array([[0, 0], [1, 0], [1, 1], [1, 0]], np.uint8)

    assert like_day(values, state, reason, days, usable, most=2) == 2

    assert values.tolist() == [15, 2]


def test_spread_over_an_empty_shape_gives_equal_shares() -> None:
    values = np.zeros(3, np.int32)

    spread(values, np.ones(3, np.uint8), 10)

    assert values.tolist() == [3, 3, 4]


def test_spread_refuses_what_it_cannot_share_and_changes_nothing() -> None:
    values = np.array([1, 2], np.int32)
    gap = np.ones(2, np.uint8)

    with pytest.raises(ValueError, match="no slot"):
        spread(values, np.zeros(2, np.uint8), 5)
    with pytest.raises(ValueError, match="negative"):
        spread(np.array([-1, 2], np.int32), gap, 5)
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        spread(values, gap, 2**33)
    with pytest.raises(ValueError, match="62 bits"):
        spread(values, gap, 2**70)
    with pytest.raises(ValueError, match="too large"):
        spread(np.full(2, 2**31 - 1, np.int32), gap, 5)
    with pytest.raises(ValueError, match="gap has 1"):
        spread(values, gap[:1], 5)
    assert values.tolist() == [1, 2]


def test_unequal_shapes_and_limits_are_value_errors() -> None:
    values, state, reason = row([1, 2, 3], [M, X, M])
    days, usable = np.zeros((2, 3), np.int32), np.zeros((2, 3), np.uint8)

    with pytest.raises(ValueError, match="state 2"):
        linear(values, state[:2], reason, longest=1)
    with pytest.raises(ValueError, match="longest"):
        linear(values, state, reason, longest=-1)
    with pytest.raises(ValueError, match="most"):
        like_day(values, state, reason, days, usable, most=0)
    with pytest.raises(ValueError, match="both must be days x 3"):
        like_day(values, state, reason, days[:, :2].copy(), usable, most=1)
    with pytest.raises(ValueError, match="contiguous"):
        like_day(values, state, reason, np.zeros((2, 6), np.int32)[:, ::2], usable, most=1)


def test_slot_that_is_doubted_is_no_end() -> None:
    values, state, reason = row([10, 0, 20], [M, X, M])

    assert linear(values, state, reason, np.array([0, 0, 1], np.uint8), longest=4) == 0
    assert linear(values, state, reason, np.array([0, 1, 0], np.uint8), longest=4) == 1


@given(rows(), st.data())
def test_another_row_fills_the_gaps_where_it_may(drawn: Row, draw: st.DataObject) -> None:
    values, state, reason = drawn
    n = len(values)
    source = np.array(draw.draw(st.lists(INT32, min_size=n, max_size=n)), np.int32)
    usable = np.array(draw.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.uint8)
    gaps = [slot for first, last in reference.gaps(state.tolist(), reason.tolist()) for slot in range(first, last)]
    filled = {slot: int(source[slot]) for slot in gaps if usable[slot]}
    expected = after(drawn, filled, Reason.CHECK_METER)

    count = substitute(values, state, reason, source, usable, method=Reason.CHECK_METER)

    assert [values.tolist(), state.tolist(), reason.tolist()] == expected
    assert count == len(filled)


@given(rows())
def test_power_off_is_zero_and_lengths_are_those_of_the_gaps(drawn: Row) -> None:
    values, state, reason = drawn
    codes = list(zip(state.tolist(), reason.tolist(), strict=True))
    off = {slot: 0 for slot, code in enumerate(codes) if code == (State.MISSING, Reason.POWER_OFF)}
    expected = after(drawn, off, Reason.ZERO)
    lengths = np.full(len(values), -1, np.int64)

    gap_lengths(state, reason, lengths)
    of_gaps = [0] * len(values)
    for first, last in reference.gaps(state.tolist(), reason.tolist()):
        of_gaps[first:last] = [last - first] * (last - first)
    count = zero(values, state, reason)

    assert lengths.tolist() == of_gaps
    assert [values.tolist(), state.tolist(), reason.tolist()] == expected
    assert count == len(off)


def test_shapes_and_methods_of_substitutes_are_checked() -> None:
    values, state, reason = row([1, 2], [M, X])
    usable = np.ones(2, np.uint8)

    with pytest.raises(ValueError, match="source 1"):
        substitute(values, state, reason, values[:1], usable, method=Reason.CHECK_METER)
    for method in (Reason.NO_ROW, Reason.MANUAL):
        with pytest.raises(ValueError, match="no method"):
            substitute(values, state, reason, values.copy(), usable, method=method)
    with pytest.raises(ValueError, match="doubted 1"):
        linear(values, state, reason, usable[:1], longest=1)
    with pytest.raises(ValueError, match="lengths 1"):
        gap_lengths(state, reason, np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="state 1"):
        zero(values, state[:1], reason)
