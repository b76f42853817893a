"""A check meter beside the main meter: its readings in the counts of ours, and the comparison of the two. Pure.

Both measure the same energy; a ratio says what ours is by its. Source: check meter as method of substitution, AEMO method 11
and MSCONS Z88; comparison of main and check meter, utility practice.
"""

from fractions import Fraction

import numpy as np

from drivers.units import ScalerUnit
from headend.series import Series
from headend.vee.checks import Check
from headend.vee.localtime import Int64
from headend.vee.work import DOUBTED, INT32_MAX, Work
from kernels.quality import Rule, State

MILLE = 1_000


def in_our_counts(theirs: Series, ratio: Fraction, target: ScalerUnit) -> Series:
    """Give a check meter's readings as ours would be, rounded half up; a count beyond 32 bits has no value then.

    Raises `ValueError` where it measures another quantity.
    """
    if theirs.scaler_unit.unit is not target.unit:
        raise ValueError(f"its check meter counts {theirs.scaler_unit.unit.symbol}, it counts {target.unit.symbol}")
    factor = ratio * Fraction(10) ** (theirs.scaler_unit.scaler - target.scaler)
    # Whole numbers of any size: the ratio may have many digits, and its product with a count too.
    counts = (2 * theirs.values.astype(object) * factor.numerator + factor.denominator) // (2 * factor.denominator)
    fits = np.abs(counts) <= INT32_MAX
    made = Series.empty(theirs.start, theirs.period, target, len(theirs))
    made.values[:] = np.where(fits, counts, 0).astype(np.int32)
    made.state[:] = np.where(fits.astype(np.bool_), theirs.state, np.uint8(State.NOT_EXPECTED))
    made.reason[:], made.rules[:] = theirs.reason, theirs.rules
    return made


def mark_main_check(work: Work, check: Check, _: Int64) -> None:
    """Flag slots whose value differs from the check meter's by more than a share of it, and by more than a floor."""
    other, series = work.beside.check_meter, work.series
    if other is None:
        return
    both = series.has_value & (other.state == State.MEASURED) & (other.rules & np.uint32(DOUBTED) == 0)
    theirs = other.values.astype(np.int64)
    off = np.abs(series.values - theirs)
    floor = work.counts_of(check["floor"])
    series.rules[both & (off > floor) & (off * MILLE > np.abs(theirs) * check["permille"])] |= np.uint32(
        Rule.MAIN_CHECK
    )
