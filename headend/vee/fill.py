"""The estimates of an energy channel, in the order of utility practice; every filled slot carries its method as reason.

1. A power failure is no gap: nothing was drawn, so its slots are 0.
2. A line between measured ends, up to the rule set's length.
3. A check meter, where one is given: it measured what the others guess.
4. The mean of like days, holidays a class of their own; then the same week of the year before; then the class profile.

A gap beyond the rule set's limit gets none of it. No doubted or estimated value is an end or a reference. The balance
with the register comes after (`headend.vee.balance`).
"""

from collections.abc import Sequence
from fractions import Fraction
from math import floor

import numpy as np
import numpy.typing as npt

from drivers.units import Unit
from headend.series import Int32
from headend.vee.classprofile import KINDS_OF_DAY, ClassProfile
from headend.vee.likedays import YEAR, like_days
from headend.vee.localtime import DAY, HOUR, Int64, same_wall_time, wall_slots
from headend.vee.mark import IMPORT, local_days, previous_year
from headend.vee.work import DOUBTED, NO_END, Source, Work
from kernels import estimate
from kernels.quality import Reason, State

Bools = npt.NDArray[np.bool_]


def fill(work: Work) -> None:
    """Estimate missing slots of the series in place."""
    series, rules = work.series, work.rules
    usable = (series.state == State.MEASURED) & (series.rules & np.uint32(DOUBTED) == 0)
    history = series.values.copy()
    estimate.zero(series.values, series.state, series.reason)
    longest = rules.longest_gap // series.period if rules.longest_gap else len(series)
    lengths = np.zeros(len(series), np.int64)
    estimate.gap_lengths(series.state, series.reason, lengths)
    may = lengths <= longest
    _draw_lines(work, lengths, longest)
    if len(slots := _open(work, may)):
        _from_check_meter(work, slots)
    if len(slots := _open(work, may)) and rules.weeks:
        _from_like_days(work, slots, history, usable)
    if rules.previous_year and len(slots := _open(work, may)):
        _from_last_year(work, slots)
    if rules.profile is not None and _is_import(work):
        longest_of_class = rules.profile.longest // series.period if rules.profile.longest else len(series)
        if len(slots := _open(work, may & (lengths <= longest_of_class))):
            _from_profile(work, slots, rules.profile)
    _note_rest(work, lengths, longest)


def _open(work: Work, may: Bools) -> Int64:
    """Give the slots still missing that may be estimated; the power was on."""
    found: Int64 = np.flatnonzero((work.series.state == State.MISSING) & may)
    return found


def _draw_lines(work: Work, lengths: Int64, longest: int) -> None:
    series = work.series
    doubted = (series.rules & np.uint32(NO_END) != 0).astype(np.uint8)
    longest = min(longest, work.limits.linear_slots)
    estimate.linear(series.values, series.state, series.reason, doubted, longest=longest)
    if work.watch is None or not lengths[work.watch.slot] or series.reason[work.watch.slot] != Reason.LINEAR:
        return
    inside = np.flatnonzero(lengths == 0)
    after = int(inside[np.searchsorted(inside, work.watch.slot)])
    before = int(inside[np.searchsorted(inside, work.watch.slot) - 1])
    ends = [Source(work.at(slot), int(series.values[slot])) for slot in (before, after)]
    work.note(
        "linear",
        f"on a line between the measured values at the ends of its gap (length {lengths[work.watch.slot]})",
        ends,
    )


def _from_check_meter(work: Work, slots: Int64) -> None:
    check = work.beside.check_meter
    if check is None:
        return
    series, limits = work.series, work.limits
    good = (check.state == State.MEASURED) & (check.rules & np.uint32(DOUBTED) == 0)
    good &= (check.values >= limits.low) & (check.values <= limits.high)
    usable = np.zeros(len(series), np.uint8)
    usable[slots] = good[slots]
    estimate.substitute(series.values, series.state, series.reason, check.values, usable, method=Reason.CHECK_METER)
    if work.watch is not None and usable[work.watch.slot]:
        sources = [Source(work.at(work.watch.slot), int(check.values[work.watch.slot]))]
        name = f" {work.beside.check_name}" if work.beside.check_name else ""
        _note_method(work, Reason.CHECK_METER, f"the check meter{name} measured it", sources)


def _from_like_days(work: Work, slots: Int64, history: Int32, usable: Bools) -> None:
    series, rules = work.series, work.rules
    days, which = np.unique(local_days(work, slots), return_inverse=True)
    lists = [like_days(int(day), rules.order, rules.weeks, rules.holidays) for day in days]
    most = max(map(len, lists), default=0)
    if not most:
        return
    table = np.array([[*back, *[0] * (most - len(back))] for back in lists], np.int64)
    back = np.ascontiguousarray(table[which].T)
    reference, is_usable = np.zeros((most, len(slots)), np.int32), np.zeros((most, len(slots)), np.uint8)
    indices = np.zeros((most, len(slots)), np.int64)
    for row in range(most):
        index, exists = same_wall_time(slots, back[row], work.offsets, series.period)
        reference[row], indices[row] = history[index], index
        is_usable[row] = exists & usable[index] & (back[row] > 0)
    values, state, reason = series.values[slots], series.state[slots], series.reason[slots]
    estimate.like_day(values, state, reason, reference, is_usable, most=rules.like_days)
    series.values[slots], series.state[slots], series.reason[slots] = values, state, reason
    if work.watch is not None and work.watch.slot in slots and series.reason[work.watch.slot] == Reason.LIKE_DAY:
        at = int(np.searchsorted(slots, work.watch.slot))
        used = [row for row in range(most) if is_usable[row, at]][: rules.like_days]
        sources = [Source(work.at(int(indices[row, at])), int(reference[row, at])) for row in used]
        work.note("like_day", "the mean of the like days at the same time", sources)


def _from_last_year(work: Work, slots: Int64) -> None:
    year = previous_year(work)
    if year is None:
        return
    series, then = work.series, year.series
    local = series.start + series.period * slots + work.offsets[slots] - YEAR * DAY
    index, exists = wall_slots(local, then.start, year.offsets, then.period)
    good = (then.state == State.MEASURED) & (then.rules & np.uint32(DOUBTED) == 0)
    source, usable = np.zeros(len(series), np.int32), np.zeros(len(series), np.uint8)
    source[slots], usable[slots] = then.values[index], exists & good[index]
    estimate.substitute(series.values, series.state, series.reason, source, usable, method=Reason.PREVIOUS_YEAR)
    if work.watch is not None and work.watch.slot in slots:
        at = int(index[np.searchsorted(slots, work.watch.slot)])
        sources = [Source(year.at(at), int(then.values[at]))]
        _note_method(work, Reason.PREVIOUS_YEAR, "the same weekday and time of the year before", sources)


def _is_import(work: Work) -> bool:
    """Say whether the channel is what classes have profiles of: active energy import."""
    obis = work.beside.obis
    return work.series.scaler_unit.unit is Unit.WATT_HOUR and (obis is None or obis.c == IMPORT)


def _from_profile(work: Work, slots: Int64, profile: ClassProfile) -> None:
    series = work.series
    local = series.start + series.period * slots + work.offsets[slots]
    days, hours = local // DAY, local % DAY // HOUR
    rows: dict[int, list[int]] = {}
    for day in np.unique(days).tolist():
        month, kind = profile.day(day, work.rules.holidays)
        rows[day] = [_mean_count(work, milliwatts) for milliwatts in profile.months[month][kind]]
    source, usable = np.zeros(len(series), np.int32), np.zeros(len(series), np.uint8)
    source[slots] = [rows[day][hour] for day, hour in zip(days.tolist(), hours.tolist(), strict=True)]
    usable[slots] = 1
    estimate.substitute(series.values, series.state, series.reason, source, usable, method=Reason.CLASS_PROFILE)
    if work.watch is not None and usable[work.watch.slot]:
        at = int(np.searchsorted(slots, work.watch.slot))
        month, kind = profile.day(int(days[at]), work.rules.holidays)
        _note_method(
            work,
            Reason.CLASS_PROFILE,
            f"the profile of its class ({profile.name}): month {month + 1}, {KINDS_OF_DAY[kind]}, hour {hours[at]};"
            " nothing of its own could serve",
        )


def _mean_count(work: Work, milliwatts: int) -> int:
    """Turn mean power into counts of an interval, rounded half up."""
    worth = Fraction(10) ** (work.series.scaler_unit.scaler + 3) * Fraction(HOUR, work.series.period)
    return min(floor(milliwatts / worth + Fraction(1, 2)), work.limits.high)


def _note_method(work: Work, method: Reason, text: str, sources: Sequence[Source] = ()) -> None:
    watch, series = work.watch, work.series
    if watch is None or series.state[watch.slot] != State.ESTIMATED or series.reason[watch.slot] != method:
        return
    if all(note.step != method.name.lower() for note in watch.notes):
        work.note(method.name.lower(), text, sources)


def _note_rest(work: Work, lengths: Int64, longest: int) -> None:
    if work.watch is None:
        return
    slot = work.watch.slot
    _note_method(work, Reason.ZERO, "the power was off, so nothing was drawn")
    if work.series.state[slot] != State.MISSING:
        return
    if lengths[slot] > longest:
        work.note("limit", f"its gap has {lengths[slot]} slots; the rules let {longest} be estimated")
    else:
        work.note("none", "no line, no like day and nothing else the rules allow could fill it")
