"""Clock drift: which slots a meter stamped while its clock was beyond the tolerance. Pure.

Source: time check of Californian VEE: |meter - head-end| against a tolerance before data is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from drivers.facts import UtcSeconds
from headend.series import Series
from kernels.quality import Rule


@dataclass(frozen=True, slots=True)
class ClockReading:
    """How far a meter's clock was ahead of ours. ``at``: when it was read. [s UTC]  ``deviation``: meter minus
    head-end. [s]
    """

    at: UtcSeconds
    deviation: int


def flag_drift(series: Series, readings: Sequence[ClockReading], tolerance: int) -> int:
    """Set `Rule.CLOCK_DRIFT` on slots with a value that touch a time at which the clock may have been off; give how
    many.

    That time runs from the reading before a bad one to the reading behind it, without end where there is none: nobody
    knows when within it the clock went wrong. ``readings``: by time.  ``tolerance``: greatest deviation that is fine.
    [s]
    """
    flagged = np.zeros(len(series), np.bool_)
    starts = series.start + series.period * np.arange(len(series), dtype=np.int64)
    bounded = [ClockReading(-(2**62), 0), *readings, ClockReading(2**62, 0)]
    for before, after in pairwise(bounded):
        if max(abs(before.deviation), abs(after.deviation)) > tolerance:
            flagged |= (starts < after.at) & (starts + series.period > before.at)
    flagged &= series.has_value
    series.rules[flagged] |= np.uint32(Rule.CLOCK_DRIFT)
    return int(flagged.sum())
