from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import reference
from kernels.counts import lay_facts
from kernels.quality import Rule
from tests.kernels.strategies import INT32

ROWS, WIDTHS = 3, (4, 1, 7)
SLOTS = sum(WIDTHS)
MASK = st.one_of(st.sampled_from([Rule(0), Rule.METER_STATUS | Rule.RANGE]), st.integers(0, 2**32 - 1))


@st.composite
def facts(draw: st.DrawFn, channel: int) -> tuple[tuple[int | None, ...], tuple[int, ...], tuple[int, int, int, int]]:
    width = WIDTHS[channel]
    row, first = draw(st.integers(0, ROWS - 1)), draw(st.integers(0, width - 1))
    said = draw(st.lists(st.one_of(st.none(), INT32), max_size=(ROWS - row) * width - first))
    masks = draw(st.lists(MASK, min_size=len(said), max_size=len(said))) if draw(st.booleans()) else []
    return tuple(said), tuple(masks), (row, sum(WIDTHS[:channel]), width, first)


def arrays() -> tuple[Any, Any, Any]:
    shape = ROWS, SLOTS
    return np.full(shape, 99, np.int32), np.zeros(shape, np.bool_), np.zeros(shape, np.uint32)


@given(st.tuples(*(facts(channel) for channel in range(len(WIDTHS)))))
def test_facts_laid_into_rows_agree_with_the_twin(said: Any) -> None:
    counts, masks, places = zip(*said, strict=True)
    values, has_value, rules = arrays()

    told = lay_facts(list(counts), list(masks), np.array(places, np.int64), values, has_value, rules)

    expected = reference.lay_facts(counts, masks, places)
    for row in range(ROWS):
        for column in range(SLOTS):
            count, mask = expected.get((row, column), (None, 0))
            assert bool(has_value[row, column]) == (count is not None)
            assert values[row, column] == (99 if count is None else count)
            assert rules[row, column] == mask
    assert told == (has_value.sum(), (rules != 0).sum())


@pytest.mark.parametrize(
    ("counts", "masks", "place", "error", "text"),
    [
        ((1, 2), (), (2, 0, 1, 0), ValueError, r"2 slots from \(2, 0 \+ 0 of 1\) on do not lie in 3 rows of 12 slots"),
        ((1,), (), (0, 0, 4, 4), ValueError, "do not lie"),
        ((1,), (), (0, 9, 4, 0), ValueError, "do not lie"),
        ((1,), (), (-1, 0, 4, 0), ValueError, "do not lie"),
        ((1,), (), (0, -1, 4, 0), ValueError, "do not lie"),
        ((1,), (), (0, 0, 0, 0), ValueError, "do not lie"),
        ((), (), (2**62, 0, 4, 0), ValueError, "do not lie"),
        ((1,), (0, 0), (0, 0, 4, 0), ValueError, "2 masks for 1 counts"),
        ((2**31,), (), (0, 0, 4, 0), ValueError, "count 2147483648 does not fit 32 bits"),
        ((-(2**70),), (), (0, 0, 4, 0), ValueError, f"count -{2**70} does not fit 32 bits"),
        ((1,), (-1,), (0, 0, 4, 0), ValueError, "mask -1 does not fit 32 bits"),
        ((1.5,), (), (0, 0, 4, 0), TypeError, r"count is 1\.5, no integer"),
        ((1,), (None,), (0, 0, 4, 0), TypeError, "mask is None, no integer"),
        ([1], (), (0, 0, 4, 0), TypeError, "tuple"),
        (None, (), (0, 0, 4, 0), TypeError, "fact 0 is no tuple"),
    ],
)
def test_what_does_not_fit_is_refused(counts: Any, masks: Any, place: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        lay_facts([counts], [masks], np.array([place], np.int64), *arrays())


def test_arrays_and_lists_of_other_lengths_are_refused() -> None:
    place = np.array([(0, 0, 4, 0)], np.int64)
    values, has_value, rules = arrays()

    with pytest.raises(ValueError, match=r"has_value has the shape \(3, 4\), values \(3, 12\)"):
        lay_facts([(1,)], [()], place, values, np.zeros((3, 4), np.bool_), rules)
    with pytest.raises(ValueError, match="1 facts, 0 masks and 1 places of 4 numbers"):
        lay_facts([(1,)], [], place, values, has_value, rules)
    with pytest.raises(ValueError, match="of 3 numbers"):
        lay_facts([(1,)], [()], np.ascontiguousarray(place[:, :3]), values, has_value, rules)
    assert lay_facts([], [], np.zeros((0, 4), np.int64), values, has_value, rules) == (0, 0)
