"""The ledger's questions, answered from one `Series`: what is missing, and what stands how. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from drivers.facts import UtcSeconds
from headend.series import Series
from kernels.quality import Reason, State


def holes(series: Series) -> list[tuple[UtcSeconds, UtcSeconds]]:
    """Find the maximal spans ``[start, end)`` [s UTC] of slots that should have a value and have none, oldest first.

    Both slots never tried (expected) and slots tried in vain (missing) are holes; what nobody expects is none.
    """
    is_open = (series.state == State.EXPECTED) | (series.state == State.MISSING)
    edges = np.flatnonzero(np.diff(is_open, prepend=False, append=False))
    instants = (edges.astype(np.int64) * series.period + series.start).tolist()
    return list(zip(instants[::2], instants[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many slots stand how. ``expected`` is the sum of all the others.

    ``missing_by_cause``: only causes that occur; `Reason.NONE` counts slots that nobody has tried to read yet.
    """

    expected: int = 0
    measured: int = 0
    questionable: int = 0
    estimated: int = 0
    edited: int = 0
    missing_by_cause: dict[Reason, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Count the slots without value, whatever the cause."""
        return sum(self.missing_by_cause.values())

    def __add__(self, other: "Coverage") -> "Coverage":
        """Add up two disjoint sets of slots."""
        causes = dict(self.missing_by_cause)
        for cause, count in other.missing_by_cause.items():
            causes[cause] = causes.get(cause, 0) + count
        return Coverage(
            self.expected + other.expected,
            self.measured + other.measured,
            self.questionable + other.questionable,
            self.estimated + other.estimated,
            self.edited + other.edited,
            dict(sorted(causes.items())),
        )


def coverage(series: Series) -> Coverage:
    """Count the slots of a series by state, and the missing ones by cause."""
    states = np.bincount(series.state, minlength=len(State)).tolist()
    untried = states[State.EXPECTED]
    causes = {Reason.NONE: untried} if untried else {}
    by_reason = np.bincount(series.reason[series.state == State.MISSING])
    for code in np.flatnonzero(by_reason).tolist():
        cause = Reason(code)
        causes[cause] = causes.get(cause, 0) + int(by_reason[code])
    return Coverage(
        expected=len(series) - states[State.NOT_EXPECTED],
        measured=states[State.MEASURED],
        questionable=states[State.QUESTIONABLE],
        estimated=states[State.ESTIMATED],
        edited=states[State.EDITED],
        missing_by_cause=causes,
    )


def total(coverages: Iterable[Coverage]) -> Coverage:
    """Add up coverages of disjoint sets of slots; nothing gives an empty one."""
    return sum(coverages, Coverage())
