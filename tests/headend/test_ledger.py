"""The ledger's questions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drivers.units import ScalerUnit, Unit
from headend.ledger import Coverage, coverage, holes, total
from headend.series import Series
from kernels.quality import Reason, State

WH = ScalerUnit(0, Unit.WATT_HOUR)


def series(states: list[State], reasons: list[Reason] | None = None) -> Series:
    empty = Series.empty(9_000, 900, WH, len(states))
    empty.state[:] = states
    empty.reason[:] = reasons or [Reason.NO_ANSWER if state is State.MISSING else Reason.NONE for state in states]
    return empty


def test_holes_are_maximal_and_also_behind_the_newest_value() -> None:
    found = holes(
        series([State.MISSING, State.EXPECTED, State.MEASURED, State.MISSING, State.NOT_EXPECTED, State.EXPECTED])
    )

    assert found == [(9_000, 10_800), (11_700, 12_600), (13_500, 14_400)]


def test_an_empty_series_has_no_holes_and_no_coverage() -> None:
    assert holes(series([])) == []
    assert coverage(series([])) == Coverage()


def test_coverage_counts_each_slot_once_and_names_causes() -> None:
    states = [State.NOT_EXPECTED, State.EXPECTED, State.MISSING, State.MISSING, State.MEASURED, State.QUESTIONABLE,
              State.ESTIMATED, State.EDITED]  # fmt: skip
    none = Reason.NONE

    found = coverage(
        series(states, [none, none, Reason.NO_ROUTE, Reason.NO_ROW, none, none, Reason.LINEAR, Reason.MANUAL])
    )

    assert found == Coverage(7, 1, 1, 1, 1, {Reason.NONE: 1, Reason.NO_ROUTE: 1, Reason.NO_ROW: 1})
    assert found.missing == 3


@given(st.lists(st.sampled_from(State), max_size=200), st.integers(0, 200))
def test_coverage_adds_up_and_agrees_with_holes(states: list[State], cut: int) -> None:
    whole = series(states)

    found = coverage(whole)

    assert found.expected == found.measured + found.questionable + found.estimated + found.edited + found.missing
    assert total([coverage(series(states[:cut])), coverage(series(states[cut:]))]) == found
    gaps = holes(whole)
    assert sum(end - start for start, end in gaps) == found.missing * 900
    is_open = np.isin(whole.state, [State.EXPECTED, State.MISSING])
    for start, end in gaps:
        assert is_open[(start - 9_000) // 900 : (end - 9_000) // 900].all()
