"""Registers against intervals: the sum check of what is complete, and the scaling of estimates so that a span sums to
its register exactly.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headend.vee.mark import doubt
from headend.vee.registers import RegisterSpan, tolerance
from headend.vee.work import Work, instant_text
from kernels import estimate, validate
from kernels.quality import Reason, Rule, State

LARGEST_SHAPE = 2**62
Bools = npt.NDArray[np.bool_]


def check_sums(work: Work, registers: Sequence[RegisterSpan]) -> None:
    """Flag the spans whose slots all have a value and do not sum to the register difference."""
    for span in registers:
        if not _is_plausible(work, span, np.ones(span.last - span.first, np.bool_)):
            continue
        part = slice(span.first, span.last)
        validate.sum_check(
            work.series.values[part],
            work.series.state[part],
            work.series.rules[part],
            register_delta=span.delta,
            tolerance=_tolerance(work, span),
        )
    doubt(work)


def balance(
    work: Work,
    span: RegisterSpan,
    gap: Bools,
    counted: Bools | None = None,
    name: str = "register",
    rule: Rule = Rule.SUM_CHECK,
) -> bool:
    """Make the estimates of one span sum to what the register leaves for them, where that is plausible; else say so by
    the mask, and give False.

    ``gap``: slots that were missing.  ``counted``: those that the register counts, None for all. Both of the span's shape.
    """
    if counted is None:
        counted = np.ones(span.last - span.first, np.bool_)
    gap = gap & counted
    if not gap.any() or not _is_plausible(work, span, counted):
        return not gap.any()
    part = slice(span.first, span.last)
    series = work.series
    valued = series.has_value[part] & ~gap & counted
    if not (valued | gap | ~counted | (series.state[part] == State.MISSING)).all():
        return False
    total = span.delta - int(series.values[part][valued].sum(dtype=np.int64))
    if -_tolerance(work, span) <= total < 0:
        total = 0
    is_shaped = bool((series.state[part][gap] == State.ESTIMATED).all())
    was_zero = is_shaped and not series.values[part][gap].any()
    shares = _shares(work, series.values[part], gap, total, is_shaped)
    words = (
        f"the {name} counted {span.delta} over {int(counted.sum())} slots, which leaves {total} for {int(gap.sum())}"
    )
    if shares is None:
        series.rules[part][counted] |= np.uint32(rule)
        _note(work, span, "not_scaled", f"{words}: nothing plausible, so the estimates stay as they are", counted)
        return False
    new, keeps_shape = shares
    series.values[part] = new
    series.state[part][gap] = State.ESTIMATED
    if not keeps_shape:
        # Estimates that were all 0 have no shape to keep: flat. Without any estimate the register alone knows.
        series.reason[part][gap] = Reason.FLAT if was_zero else Reason.REGISTER_LUMP
    how = "scaled in proportion" if keeps_shape else "shared out equally"
    _note(work, span, "scaled", f"{words}: {how}", gap)
    return True


def _note(work: Work, span: RegisterSpan, step: str, text: str, slots: Bools) -> None:
    watch = work.watch
    if watch is not None and span.first <= watch.slot < span.last and slots[watch.slot - span.first]:
        work.note(step, f"{text}; from {instant_text(work.at(span.first))} to {instant_text(work.at(span.last))}")


def _shares(
    work: Work, values: npt.NDArray[np.int32], gap: npt.NDArray[np.bool_], total: int, is_shaped: bool
) -> tuple[npt.NDArray[np.int32], bool] | None:
    """Spread ``total`` by the estimates' shape, else equally; None where no share would be plausible."""
    low, high = work.limits.low, work.limits.high
    shape = values[gap].astype(np.int64)
    is_shaped = is_shaped and bool(shape.min() >= 0 and shape.max() > 0)
    if is_shaped and int(shape.sum()) * int(shape.max()) >= LARGEST_SHAPE // 2:
        is_shaped = False
    for keeps_shape in (True, False) if is_shaped else (False,):
        new = values.copy()
        if not keeps_shape:
            new[gap] = 0
        if not min(low, 0) * int(gap.sum()) <= total <= high * int(gap.sum()):
            return None
        try:
            estimate.spread(new, gap, total)
        except ValueError:  # a share beyond int32: only a lopsided shape can do that here
            continue
        if (new[gap] >= low).all() and (new[gap] <= high).all():
            return new, keeps_shape
    return None


def _is_plausible(work: Work, span: RegisterSpan, counted: Bools) -> bool:
    """Say whether the slots could hold the difference at all; a register misread once must not taint its neighbors."""
    slots = int(counted.sum())
    return work.limits.low * slots <= span.delta <= work.limits.high * slots


def _tolerance(work: Work, span: RegisterSpan) -> int:
    return tolerance(span, counts=work.rules.sum_counts, permille=work.rules.sum_permille)
