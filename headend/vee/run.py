"""Validate and estimate one series: rules, then estimates, then the balance with the register. Pure.

Order: the rules mark the raw values; the sum check compares complete spans with the register; gaps of up to the rule set's
length are drawn on a line, longer ones are the average of like days; last, the estimates between two registers are scaled
so that the span sums to the register difference exactly (interval V, register V, interval E, scale).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

import numpy as np
import numpy.typing as npt

from headend.series import Series
from headend.vee.localtime import Int64, same_wall_time, utc_offsets, whole_days
from headend.vee.registers import RegisterSpan, tolerance
from headend.vee.rules import ChannelLimits, RuleSet
from kernels import estimate, validate
from kernels.quality import Reason, Rule, State

_DOUBTED = int(Rule.RANGE | Rule.SPIKE | Rule.METER_STATUS | Rule.CONFLICT)
LARGEST_SHAPE = 2**62


@dataclass(frozen=True, slots=True)
class _Work:
    """One run's own copy of a series, with what the rules mean for it."""

    series: Series
    offsets: Int64
    limits: ChannelLimits
    rules: RuleSet


def run_series(
    raw: Series, zone: tzinfo, rules: RuleSet, registers: Sequence[RegisterSpan] = (), judge_values: bool = True
) -> Series:
    """Give the validated series of a raw one; ``raw`` is left as it is.

    ``raw``: a usage point's slots, in primary counts, with context: a slot's result is final where ``rules.look_back`` before
    and ``rules.look_ahead`` behind it are in the series, whatever else is. ``zone``: where its days are cut.
    ``registers``: spans with a known register difference, by slot offsets of ``raw``.
    ``judge_values``: False for a channel that is no energy, which is judged by range only and never estimated.

    A measured value that fails one of ``rules.failing`` becomes questionable and stays; the mask names every failed rule.
    A missing slot becomes estimated, with the method as reason, or stays missing with its cause. Slots expected or not
    expected are left alone. Same input and rules give the same bytes.
    """
    work = _Work(
        Series(
            raw.start,
            raw.period,
            raw.scaler_unit,
            raw.values.copy(),
            raw.state.copy(),
            raw.reason.copy(),
            raw.rules.copy(),
        ),
        utc_offsets(zone, raw.start, raw.period, len(raw)),
        rules.for_channel(raw.scaler_unit, raw.period),
        rules,
    )
    gaps = (raw.state == State.MISSING) & (raw.reason != Reason.POWER_OFF)
    _mark(work, judge_values)
    if judge_values:
        _check_sums(work, registers)
        _fill(work)
        for span in registers:
            _balance(work, span, gaps[span.first : span.last])
    return work.series


def _mark(work: _Work, judge_values: bool) -> None:
    series, limits = work.series, work.limits
    everything = len(series) + 1
    days = whole_days(work.offsets, series.start, series.period) if judge_values else np.zeros(1, np.int64)
    validate.validate(
        series.values,
        series.state,
        days,
        series.rules,
        low=limits.low,
        high=limits.high,
        zero_run=limits.zero_run if judge_values else everything,
        spike_permille=limits.spike_permille,
        spike_floor=limits.spike_floor,
    )
    _doubt(work)


def _doubt(work: _Work) -> None:
    series = work.series
    failed = (series.state == State.MEASURED) & (series.rules & np.uint32(work.rules.failing) != 0)
    series.state[failed] = State.QUESTIONABLE


def _check_sums(work: _Work, registers: Sequence[RegisterSpan]) -> None:
    for span in registers:
        if not _is_plausible(work, span):
            continue
        part = slice(span.first, span.last)
        validate.sum_check(
            work.series.values[part],
            work.series.state[part],
            work.series.rules[part],
            register_delta=span.delta,
            tolerance=_tolerance(work, span),
        )
    _doubt(work)


def _fill(work: _Work) -> None:
    series, rules = work.series, work.rules
    usable = (series.state == State.MEASURED) & (series.rules & np.uint32(_DOUBTED) == 0)
    history = series.values.copy()
    estimate.linear(series.values, series.state, series.reason, longest=work.limits.linear_slots)
    slots = np.flatnonzero((series.state == State.MISSING) & (series.reason != Reason.POWER_OFF))
    if not len(slots) or not rules.weeks:
        return
    reference = np.zeros((rules.weeks, len(slots)), np.int32)
    is_usable = np.zeros((rules.weeks, len(slots)), np.uint8)
    for week in range(rules.weeks):
        index, exists = same_wall_time(slots, 7 * (week + 1), work.offsets, series.period)
        reference[week] = history[index]
        is_usable[week] = exists & usable[index]
    values, state, reason = series.values[slots], series.state[slots], series.reason[slots]
    estimate.like_day(values, state, reason, reference, is_usable, most=rules.like_days)
    series.values[slots], series.state[slots], series.reason[slots] = values, state, reason


def _balance(work: _Work, span: RegisterSpan, gap: npt.NDArray[np.bool_]) -> None:
    """Make the estimates of one span sum to what the register leaves for them, where that is plausible; else say so by the mask."""
    if not gap.any() or not _is_plausible(work, span):
        return
    part = slice(span.first, span.last)
    series = work.series
    valued = series.has_value[part] & ~gap
    if not (valued | gap | (series.state[part] == State.MISSING)).all():
        return
    total = span.delta - int(series.values[part][valued].sum(dtype=np.int64))
    if -_tolerance(work, span) <= total < 0:
        total = 0
    is_shaped = bool((series.state[part][gap] == State.ESTIMATED).all())
    shares = _shares(work, series.values[part], gap, total, is_shaped)
    if shares is None:
        series.rules[part] |= np.uint32(Rule.SUM_CHECK)
        return
    new, keeps_shape = shares
    series.values[part] = new
    series.state[part][gap] = State.ESTIMATED
    if not keeps_shape:
        series.reason[part][gap] = Reason.REGISTER_LUMP


def _shares(
    work: _Work, values: npt.NDArray[np.int32], gap: npt.NDArray[np.bool_], total: int, is_shaped: bool
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


def _is_plausible(work: _Work, span: RegisterSpan) -> bool:
    """Say whether the slots could hold the difference at all; a register misread once must not taint its neighbors."""
    slots = span.last - span.first
    return work.limits.low * slots <= span.delta <= work.limits.high * slots


def _tolerance(work: _Work, span: RegisterSpan) -> int:
    return tolerance(span, counts=work.rules.sum_counts, permille=work.rules.sum_permille)
