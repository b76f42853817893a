"""Rows as Hypothesis draws them: small values, extremes, every state."""

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from kernels.quality import Reason, State

INT32 = st.one_of(st.integers(0, 50), st.integers(-300, 300), st.integers(-(2**31), 2**31 - 1))
STATES = st.sampled_from([State.MEASURED] * 4 + list(State))
REASONS = st.sampled_from([Reason.NONE, Reason.NONE, Reason.NO_ANSWER, Reason.POWER_OFF, Reason.LINEAR])


Row = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


@st.composite
def rows(draw: st.DrawFn, values: st.SearchStrategy[int] = INT32, longest: int = 60) -> Row:
    slots = draw(st.lists(st.tuples(values, STATES, REASONS), max_size=longest))
    return (
        np.array([slot[0] for slot in slots], np.int32),
        np.array([slot[1] for slot in slots], np.uint8),
        np.array([slot[2] for slot in slots], np.uint8),
    )


@st.composite
def edges_of(draw: st.DrawFn, n: int) -> npt.NDArray[np.int64]:
    return np.array(sorted(draw(st.lists(st.integers(0, n), min_size=1, max_size=6))), np.int64)
