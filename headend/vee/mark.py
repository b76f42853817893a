"""The rules of an energy channel: each sets its bit of the mask on the slots that fail it.

The core rules run in one kernel; the checks a rule set switches on run each in its own.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from drivers.obis import Obis
from headend.series import Series
from headend.vee.checks import Check, tangent_ppm
from headend.vee.drift import flag_drift
from headend.vee.electrical import mark_electrical
from headend.vee.likedays import YEAR
from headend.vee.localtime import DAY, Int64, utc_offsets, whole_days
from headend.vee.maincheck import mark_main_check
from headend.vee.work import Work, on_scaler
from kernels import aggregate, pairs, runs, usage, validate
from kernels.quality import Rule, State

IMPORT, EXPORT, REACTIVE_IMPORT, REACTIVE_EXPORT = 1, 2, 3, 4
"""Value group C of energy channels. IEC 62056-6-1."""
_REACTIVE_OF = {IMPORT: REACTIVE_IMPORT, EXPORT: REACTIVE_EXPORT}


def mark(work: Work, *, judge_values: bool) -> None:
    """Set the bits of the rules that slots fail, and make questionable what a rule rejects. ``judge_values``: it is an
    energy channel.
    """
    series, checks = work.series, work.rules.checks
    days = whole_days(work.offsets, series.start, series.period) if judge_values else np.zeros(1, np.int64)
    _mark_core(work, days, zero_run=work.limits.zero_run if judge_values else len(series) + 1)
    if "clock_drift" in checks and work.beside.clock:
        flag_drift(series, work.beside.clock, checks["clock_drift"]["tolerance"])
    if judge_values:
        _mark_runs(work)
        for name, marker in _MARKERS.items():
            if name in checks:
                marker(work, checks[name], days)
    else:
        mark_electrical(work)
    doubt(work)


def doubt(work: Work) -> None:
    """Make questionable each measured value that fails a rule whose severity is reject."""
    series = work.series
    failed = (series.state == State.MEASURED) & (series.rules & np.uint32(work.rules.failing) != 0)
    series.state[failed] = State.QUESTIONABLE


def energy_siblings(obis: Obis, checks: Mapping[str, Check]) -> list[Obis]:
    """List the channels that an interval channel of energy is judged by."""
    found = []
    if "both_ways" in checks and obis.c in {IMPORT, EXPORT}:
        found.append(_beside(obis, IMPORT + EXPORT - obis.c))
    if checks.keys() & {"reactive_absent", "power_factor"} and obis.c in _REACTIVE_OF:
        found.append(_beside(obis, _REACTIVE_OF[obis.c]))
    return found


def _beside(obis: Obis, group_c: int) -> Obis:
    return Obis(obis.a, obis.b, group_c, obis.d, obis.e, obis.f)


def _mark_runs(work: Work) -> None:
    series, checks = work.series, work.rules.checks
    lengths = {
        key: -(-checks[name]["hours"] * 3_600 // series.period) if name in checks else 0
        for key, name in (("negative", "negative_run"), ("constant", "constant_run"), ("never_zero", "never_zero"))
    }
    if any(lengths.values()):
        runs.runs(series.values, series.state, series.rules, **lengths)


def _mark_steps(work: Work, check: Check, _: Int64) -> None:
    series = work.series
    floor = work.counts_of(check["floor"])
    runs.steps(series.values, series.state, series.rules, permille=check["permille"], floor=floor)


def _mark_peaks(work: Work, check: Check, _: Int64) -> None:
    series = work.series
    floor = work.counts_of(check["floor"])
    runs.local_peaks(series.values, series.state, series.rules, permille=check["permille"], floor=floor)


def _mark_days(work: Work, check: Check, days: Int64) -> None:
    usage.incomplete_days(work.series.state, days, work.series.rules, permille=check["permille"])


def _mark_both_ways(work: Work, check: Check, _: Int64) -> None:
    obis = work.beside.obis
    if obis is None or obis.c not in {IMPORT, EXPORT}:
        return
    if (other := work.beside.siblings.get(_beside(obis, IMPORT + EXPORT - obis.c))) is not None:
        row, beside, scaler = _together(work.series, other)
        floor = work.counts_of(check["floor"]) * 10 ** (work.series.scaler_unit.scaler - scaler)
        pairs.both_ways(*row, *beside, work.series.rules, floor=min(floor, 2**31 - 1))


def _mark_reactive(work: Work, check: Check, _: Int64) -> None:
    obis = work.beside.obis
    if obis is None or obis.c not in _REACTIVE_OF:
        return
    if (other := work.beside.siblings.get(_beside(obis, _REACTIVE_OF[obis.c]))) is not None:
        row, beside, scaler = _together(work.series, other)
        floor = min(work.counts_of(check["floor"]) * 10 ** (work.series.scaler_unit.scaler - scaler), 2**31 - 1)
        found = np.zeros(len(work.series), np.uint32)
        tangent = tangent_ppm(check["least_permille"]) if check.rule is Rule.POWER_FACTOR else 0
        pairs.reactive(*row, *beside, found, floor=floor, tangent_ppm=min(tangent, 10**9))
        work.series.rules[:] |= found & np.uint32(check.rule)


_Row = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]


def _together(series: Series, other: Series) -> tuple[_Row, _Row, int]:
    """Give values and state of two channels on the finer of their scalers, and that scaler."""
    scaler = min(series.scaler_unit.scaler, other.scaler_unit.scaler)
    return on_scaler(series, scaler), on_scaler(other, scaler), scaler


def _day_totals(series: Series, days: Int64) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Give each day's sum and whether every slot of it carries a value, both of shape (days,)."""
    sums = np.zeros(len(days) - 1, np.int64)
    counts = np.zeros((len(days) - 1, aggregate.STATES), np.int64)
    aggregate.aggregate(series.values, series.state, days, sums, counts)
    return sums, counts[:, [State.NOT_EXPECTED, State.EXPECTED, State.MISSING]].sum(axis=1) == 0


def _window_sums(sums: Int64, days: int) -> Int64:
    """Sum up each day with the ones before it, ``days`` in all; where there are fewer, those there are. Shape as
    ``sums``.
    """
    total = np.concatenate([np.zeros(days, np.int64), np.cumsum(sums)])
    result: Int64 = total[days:] - total[: len(sums)]
    return result


def _mark_high_low(work: Work, check: Check, days: Int64) -> None:
    width = check["days"]
    sums, whole = _day_totals(work.series, days)
    known = _window_sums(whole.astype(np.int64), 2 * width) == 2 * width
    now = _window_sums(sums, width)
    before = np.concatenate([np.zeros(width, np.int64), now])[: len(now)]
    _flag_usage(work, check, days, now, before, known)


def _mark_high_low_year(work: Work, check: Check, days: Int64) -> None:
    width = check["days"]
    sums, whole = _day_totals(work.series, days)
    known = _window_sums(whole.astype(np.int64), width) == width
    if not known.any() or (year := previous_year(work)) is None:
        return
    then = whole_days(year.offsets, year.series.start, year.series.period)
    if len(then) < 2:
        return
    old_sums, old_whole = _day_totals(year.series, then)
    old_known = _window_sums(old_whole.astype(np.int64), width) == width
    index = local_days(work, days[:-1]) - YEAR - local_days(year, then[:1])
    inside = (index >= 0) & (index < len(old_sums))
    at = np.where(inside, index, 0)
    base = np.where(inside, _window_sums(old_sums, width)[at], 0)
    _flag_usage(work, check, days, _window_sums(sums, width), base, known & inside & old_known[at])


LARGEST_USAGE = 2**45
"""What the kernel takes. A period beyond it (31 days of minutes, all near the end of int32) is not judged. [counts]"""


def _flag_usage(work: Work, check: Check, days: Int64, now: Int64, before: Int64, known: npt.NDArray[np.bool_]) -> None:
    series = work.series
    least = work.counts_of(check["least"]) * (check["days"] * DAY // series.period)
    large = (np.abs(now) > LARGEST_USAGE) | (np.abs(before) > LARGEST_USAGE)
    usage.high_low(
        now, before, known & ~large, days, series.rules,
        low_permille=check["low_permille"], high_permille=check["high_permille"],
        least=min(least, LARGEST_USAGE), rule=check.rule,
    )  # fmt: skip


def local_days(work: Work, slots: Int64) -> Int64:
    """Give the local day in which each slot starts, counted since 1970-01-01; shape as ``slots``."""
    series = work.series
    found: Int64 = (series.start + series.period * slots + work.offsets[slots]) // DAY
    return found


def previous_year(work: Work) -> Work | None:
    """Give the marked series of 364 days before, asking for it once; None where there is none on the same grid."""
    if not work.has_asked_year and work.beside.year is not None:
        series = work.beside.year()
        if series is not None and len(series) and series.period == work.series.period:
            zone = work.zone
            work.year = Work(
                series, utc_offsets(zone, series.start, series.period, len(series)), zone, work.limits, work.rules
            )
            # By range and spike alone: what may serve as history.
            days = whole_days(work.year.offsets, series.start, series.period)
            _mark_core(work.year, days, zero_run=len(series) + 1)
    work.has_asked_year = True
    return work.year


def _mark_core(work: Work, days: Int64, zero_run: int) -> None:
    series, limits = work.series, work.limits
    validate.validate(
        series.values,
        series.state,
        days,
        series.rules,
        low=limits.low,
        high=limits.high,
        zero_run=zero_run,
        spike_permille=limits.spike_permille,
        spike_floor=limits.spike_floor,
    )


_MARKERS: Mapping[str, Callable[[Work, Check, Int64], None]] = {
    "count": _mark_days,
    "local_peak": _mark_peaks,
    "step": _mark_steps,
    "high_low": _mark_high_low,
    "high_low_year": _mark_high_low_year,
    "reactive_absent": _mark_reactive,
    "power_factor": _mark_reactive,
    "both_ways": _mark_both_ways,
    "check_meter": mark_main_check,
}
