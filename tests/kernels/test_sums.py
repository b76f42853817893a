from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import reference_sums as reference
from kernels.combine import coarsen, combine
from kernels.quality import Reason, State
from kernels.tou import by_bucket, demand_by_bucket, tiers, within_band
from tests.kernels.strategies import REASONS, STATES, Row, edges_of, rows

M, Q, E, X, N = State.MEASURED, State.QUESTIONABLE, State.ESTIMATED, State.MISSING, State.NOT_EXPECTED


def out(n: int) -> Any:
    return (np.zeros(n, np.int32), np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.zeros(n, np.uint32))


@given(rows(), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.data())
def test_buckets_agree_with_their_twins(drawn: Row, k: int, width: int, step: int, draw: st.DataObject) -> None:
    values, state, _ = drawn
    n = len(values)
    edges = draw.draw(edges_of(n))
    bucket = np.array(draw.draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)), np.uint8)
    m = len(edges) - 1
    sums, counts = np.ones((m, k), np.int64), np.ones((m, k, 7), np.int64)
    maxima, slots = np.ones((m, k), np.int64), np.ones((m, k), np.int64)

    by_bucket(values, state, bucket, edges, sums, counts)
    demand_by_bucket(values, state, bucket, edges, maxima, slots, width=width, step=step)

    rows_ = (values.tolist(), state.tolist(), bucket.tolist(), edges.tolist())
    expected = reference.by_bucket(*rows_, k)
    assert sums.tolist() == [[total for total, _ in row] for row in expected]
    assert counts.tolist() == [[count for _, count in row] for row in expected]
    greatest = reference.demand_by_bucket(*rows_, k, width=width, step=step)
    assert maxima.tolist() == [[value for value, _ in row] for row in greatest]
    assert slots.tolist() == [[at for _, at in row] for row in greatest]


def test_demand_never_spans_two_buckets() -> None:
    values, state = np.array([1, 9, 9, 1], np.int32), np.full(4, M, np.uint8)
    maxima, slots = np.zeros((1, 2), np.int64), np.zeros((1, 2), np.int64)
    edges = np.array([0, 4], np.int64)

    demand_by_bucket(values, state, np.array([0, 0, 1, 1], np.uint8), edges, maxima, slots, width=2, step=1)

    assert (maxima.tolist(), slots.tolist()) == ([[10, 10]], [[0, 2]])


@given(st.integers(-(2**40), 2**40), st.lists(st.integers(0, 2**41), max_size=5).map(sorted))
def test_steps_of_a_price_sum_to_the_whole(total: int, limits: list[int]) -> None:
    shares = np.zeros(len(limits) + 1, np.int64)

    tiers(total, np.array(limits, np.int64), shares)

    assert shares.tolist() == reference.tiers(total, limits)
    assert int(shares.sum()) == total


@pytest.mark.parametrize(
    ("total", "shares"),
    [(0, [0, 0, 0]), (100, [100, 0, 0]), (101, [100, 1, 0]), (301, [100, 200, 1]), (-5, [-5, 0, 0])],
)
def test_energy_fills_one_step_after_the_other(total: int, shares: list[int]) -> None:
    found = np.zeros(3, np.int64)

    tiers(total, np.array([100, 300], np.int64), found)

    assert found.tolist() == shares


@given(rows(st.integers(-20, 20)), st.lists(st.integers(-15, 15), min_size=4, max_size=4).map(sorted), st.data())
def test_band_agrees_with_its_twin(drawn: Row, limits: list[int], draw: st.DataObject) -> None:
    values, state, _ = drawn
    edges = draw.draw(edges_of(len(values)))
    names = dict(zip(("assessed_low", "low", "high", "assessed_high"), limits, strict=True))
    counts = np.ones((len(edges) - 1, 4), np.int64)

    within_band(values, state, edges, counts, **names)

    assert counts.tolist() == reference.within_band(values.tolist(), state.tolist(), edges.tolist(), **names)


CELLS = st.tuples(st.integers(-(2**20), 2**20), STATES, REASONS, st.integers(0, 255))


@given(st.integers(0, 4), st.integers(0, 6), st.data())
def test_virtual_meter_agrees_with_its_twin(channels: int, n: int, draw: st.DataObject) -> None:
    cells = draw.draw(st.lists(CELLS, min_size=channels * n, max_size=channels * n))
    factors = draw.draw(st.lists(st.integers(-3, 3), min_size=channels, max_size=channels))
    types = (np.int32, np.uint8, np.uint8, np.uint32)
    values, state, reason, rules = (
        np.array([cell[column] for cell in cells], dtype).reshape(channels, n) for column, dtype in enumerate(types)
    )
    found = out(n)

    combine(values, state, reason, rules, np.array(factors, np.int64), *found)

    for slot in range(n):
        parts = [(*cells[channel * n + slot], factors[channel]) for channel in range(channels)]
        assert tuple(int(array[slot]) for array in found) == reference.add_up(parts)


@given(st.lists(CELLS, max_size=24), st.integers(1, 4))
def test_longer_intervals_agree_with_their_twin(cells: Any, width: int) -> None:
    cells = cells[: len(cells) // width * width]
    types = (np.int32, np.uint8, np.uint8, np.uint32)
    row = [np.array([cell[column] for cell in cells], dtype) for column, dtype in enumerate(types)]
    found = out(len(cells) // width)

    coarsen(*row, *found, width=width)

    for slot in range(len(cells) // width):
        parts = [(*cell, 1) for cell in cells[slot * width : (slot + 1) * width]]
        assert tuple(int(array[slot]) for array in found) == reference.add_up(parts)


def test_sum_is_worth_what_its_worst_part_is_worth() -> None:
    values = np.array([[5, 5, 5, 5], [2, 2, 2, 2]], np.int32)
    state = np.array([[M, M, X, N], [M, E, Q, Q]], np.uint8)
    reason = np.array([[0, 0, Reason.NO_ROW, 0], [0, Reason.LINEAR, 0, 0]], np.uint8)
    rules = np.array([[0, 1, 0, 4], [0, 2, 8, 8]], np.uint32)
    found = out(4)

    combine(values, state, reason, rules, np.array([1, -1], np.int64), *found)

    assert found[0].tolist() == [3, 3, 0, -2]
    assert found[1].tolist() == [M, E, X, Q]
    assert found[2].tolist() == [0, Reason.LINEAR, Reason.NO_ROW, 0]
    assert found[3].tolist() == [0, 3, 8, 8]


def test_sum_beyond_32_bits_and_other_shapes_are_refused() -> None:
    values, state = np.full((2, 1), 2**31 - 1, np.int32), np.full((2, 1), M, np.uint8)
    rules, ones = np.zeros((2, 1), np.uint32), np.ones(2, np.int64)

    with pytest.raises(ValueError, match="slot 0 does not fit"):
        combine(values, state, state, rules, ones, *out(1))
    with pytest.raises(ValueError, match="slot 0 does not fit"):
        coarsen(values[:, 0].copy(), state[:, 0].copy(), state[:, 0].copy(), rules[:, 0].copy(), *out(1), width=2)
    with pytest.raises(ValueError, match="factors has 1"):
        combine(values, state, state, rules, ones[:1], *out(1))
    with pytest.raises(ValueError, match="factor 1000001"):
        combine(values, state, state, rules, ones * 1_000_001, *out(1))
    with pytest.raises(ValueError, match="out_state 2"):
        combine(values, state, state, rules, ones, out(1)[0], *out(2)[1:])
    with pytest.raises(ValueError, match="no multiple of 3"):
        coarsen(values[:, 0].copy(), state[:, 0].copy(), state[:, 0].copy(), rules[:, 0].copy(), *out(0), width=3)
    row, codes, edges = values[:, 0].copy(), state[:, 0].copy(), np.array([0, 2], np.int64)
    with pytest.raises(ValueError, match="bucket of slot 0 is 2"):
        by_bucket(row, codes, codes, edges, np.zeros((1, 2), np.int64), np.zeros((1, 2, 7), np.int64))
    with pytest.raises(ValueError, match="limit 1 is 3"):
        tiers(5, np.array([4, 3], np.int64), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="low 5"):
        within_band(row, codes, edges, np.zeros((1, 4), np.int64), low=5, high=4, assessed_low=0, assessed_high=9)
