from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import reference
from kernels.aggregate import STATES, aggregate, extremes, maximum_demand
from kernels.quality import State
from tests.kernels.strategies import Row, edges_of, rows


def sums_and_counts(values: Any, state: Any, edges: Any) -> Any:
    buckets = len(edges) - 1
    sums, counts = np.full(buckets, 9, np.int64), np.full((buckets, STATES), 9, np.int64)
    aggregate(values, state, edges, sums, counts)
    return sums, counts


def maxima_and_slots(values: Any, state: Any, edges: Any, width: int, step: int | None = None) -> Any:
    maxima, slots = np.full(len(edges) - 1, 9, np.int64), np.full(len(edges) - 1, 9, np.int64)
    maximum_demand(values, state, edges, maxima, slots, width=width, step=step)
    return maxima, slots


@given(rows(), st.data())
def test_sums_and_counts_agree_with_their_twin(drawn: Row, draw: st.DataObject) -> None:
    values, state, _ = drawn
    edges = draw.draw(edges_of(len(values)))

    sums, counts = sums_and_counts(values, state, edges)

    expected = reference.aggregate(values.tolist(), state.tolist(), edges.tolist())
    assert list(zip(sums.tolist(), counts.tolist(), strict=True)) == expected


@given(rows(), st.integers(1, 5), st.none() | st.integers(1, 5), st.data())
def test_maximum_demand_agrees_with_its_twin(drawn: Row, width: int, step: int | None, draw: st.DataObject) -> None:
    values, state, _ = drawn
    edges = draw.draw(edges_of(len(values)))

    maxima, slots = maxima_and_slots(values, state, edges, width, step)

    expected = reference.maximum_demand(values.tolist(), state.tolist(), edges.tolist(), width=width, step=step)
    assert list(zip(maxima.tolist(), slots.tolist(), strict=True)) == expected


@given(rows(), st.data())
def test_least_and_greatest_agree_with_their_twin(drawn: Row, draw: st.DataObject) -> None:
    values, state, _ = drawn
    edges = draw.draw(edges_of(len(values)))
    found = np.full((len(edges) - 1, 4), 9, np.int64)

    extremes(values, state, edges, found)

    assert [tuple(row) for row in found.tolist()] == reference.extremes(values.tolist(), state.tolist(), edges.tolist())


def test_sliding_demand_finds_what_blocks_cut_in_two() -> None:
    values, state = np.array([1, 9, 9, 1], np.int32), np.full(4, State.MEASURED, np.uint8)

    assert [array.tolist() for array in maxima_and_slots(values, state, np.array([0, 4]), 2)] == [[10], [0]]
    assert [array.tolist() for array in maxima_and_slots(values, state, np.array([0, 4]), 2, 1)] == [[18], [1]]


def test_every_state_has_its_column() -> None:
    assert len(State) == STATES
    values, state = np.arange(7, dtype=np.int32), np.arange(7, dtype=np.uint8)

    sums, counts = sums_and_counts(values, state, np.array([0, 7], np.int64))

    assert counts.tolist() == [[1] * 7]
    assert sums.tolist() == [2 + 3 + 4 + 5]


def test_sum_beyond_int32_does_not_wrap() -> None:
    values = np.full(1000, 2**31 - 1, np.int32)

    sums, _ = sums_and_counts(values, np.full(1000, State.MEASURED, np.uint8), np.array([0, 1000], np.int64))

    assert sums.tolist() == [1000 * (2**31 - 1)]


def test_demand_blocks_start_at_the_bucket_and_need_every_slot() -> None:
    values = np.array([9, 1, 5, 5, 8, 8, 7], np.int32)
    state = np.full(7, State.MEASURED, np.uint8)

    assert [array.tolist() for array in maxima_and_slots(values, state, np.array([0, 7]), 2)] == [[16], [4]]
    assert [array.tolist() for array in maxima_and_slots(values, state, np.array([1, 7]), 2)] == [[15], [5]]
    state[5] = State.MISSING
    assert [array.tolist() for array in maxima_and_slots(values, state, np.array([0, 7]), 2)] == [[10], [0]]
    assert [array.tolist() for array in maxima_and_slots(values, state, np.array([0, 7]), 9)] == [[0], [-1]]


def test_wrong_shapes_and_edges_are_value_errors() -> None:
    values, state = np.zeros(4, np.int32), np.full(4, State.MEASURED, np.uint8)
    edges, one = np.array([0, 4], np.int64), np.zeros(1, np.int64)

    with pytest.raises(ValueError, match="sums has 2"):
        aggregate(values, state, edges, np.zeros(2, np.int64), np.zeros((1, STATES), np.int64))
    with pytest.raises(ValueError, match="counts is 1 x 6"):
        aggregate(values, state, edges, one, np.zeros((1, 6), np.int64))
    for bad in ([], [0, 5], [-1, 4], [3, 2]):
        with pytest.raises(ValueError, match="edges"):
            aggregate(values, state, np.array(bad, np.int64), one, np.zeros((1, STATES), np.int64))
    with pytest.raises(ValueError, match="state of slot 0"):
        aggregate(values, np.full(4, 9, np.uint8), edges, one, np.zeros((1, STATES), np.int64))
    with pytest.raises(ValueError, match="width"):
        maximum_demand(values, state, edges, one, one.copy(), width=0)
    with pytest.raises(ValueError, match="maxima"):
        maximum_demand(values, state, edges, np.zeros(0, np.int64), one, width=1)
    with pytest.raises(ValueError, match="step 0"):
        maximum_demand(values, state, edges, one, one.copy(), width=1, step=0)
    with pytest.raises(ValueError, match="found is 2 x 4"):
        extremes(values, state, edges, np.zeros((2, 4), np.int64))
