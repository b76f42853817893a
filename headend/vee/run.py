"""Validate and estimate one series: rules, then estimates, then the balance with the register. Pure.

Order: the rules mark the raw values (`mark`); the sum check compares complete spans with the register; gaps are
estimated (`fill`); last, the estimates between two registers are scaled so that the span sums to the register
difference exactly (`balance`), each tariff's by its own register where there are some (`tariffs`): interval V, register V, interval E, scale.
"""

from collections.abc import Sequence
from datetime import tzinfo

from headend.series import Series
from headend.vee.balance import check_sums
from headend.vee.fill import fill
from headend.vee.localtime import utc_offsets
from headend.vee.mark import mark
from headend.vee.registers import RegisterSpan
from headend.vee.rules import RuleSet
from headend.vee.tariffs import check_tariffs, scale
from headend.vee.work import Beside, Watch, Work
from kernels.quality import Reason, State

ALONE = Beside()


def run_series(
    raw: Series,
    zone: tzinfo,
    rules: RuleSet,
    registers: Sequence[RegisterSpan] = (),
    judge_values: bool = True,
    *,
    beside: Beside = ALONE,
    watch: Watch | None = None,
) -> Series:
    """Give the validated series of a raw one; ``raw`` is left as it is.

    ``raw``: a usage point's slots, in primary counts, with context: a slot's result is final where ``rules.look_back``
    before and ``rules.look_ahead`` behind it are in the series, whatever else is. ``zone``: where its days are cut.
    ``registers``: spans with a known register difference, by slot offsets of ``raw``.
    ``judge_values``: False for a channel that is no energy: it is judged by range and what the phases say, and never
    estimated.
    ``beside``: what else may be looked at; without it the rules that need it judge nothing.
    ``watch``: collects how its slot came about.

    A measured value that fails a rule whose severity is reject becomes questionable and stays; the mask names every
    failed rule. A missing slot becomes estimated, with the method as reason, or stays missing with its cause. Slots
    expected or not expected are left alone. Same input and rules give the same bytes.
    """
    series = Series(
        raw.start,
        raw.period,
        raw.scaler_unit,
        raw.values.copy(),
        raw.state.copy(),
        raw.reason.copy(),
        raw.rules.copy(),
    )
    limits = rules.for_channel(raw.scaler_unit, raw.period, beside.multiplier)
    work = Work(series, utc_offsets(zone, raw.start, raw.period, len(raw)), zone, limits, rules, beside, watch)
    gaps = (raw.state == State.MISSING) & (raw.reason != Reason.POWER_OFF)
    mark(work, judge_values=judge_values)
    if judge_values:
        check_sums(work, registers)
        check_tariffs(work)
        fill(work)
        scale(work, registers, gaps)
    return series
