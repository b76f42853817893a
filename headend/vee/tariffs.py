"""Tariff registers against intervals: which register of the meter counts a slot, the check of each, and the scaling of estimates.

A tariff calendar says which bucket a slot belongs to, and which register counts the bucket. Between two reads of such a
register the slots that it counts must sum to its difference: complete ones are checked, estimates are scaled to it exactly.
Source: TOU sum test of Californian monthly VEE; TOU buckets scale to TOU registers, utility practice (Itron, topic 252762).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from headend.registry.model import TariffSince
from headend.series import Series, UInt8
from headend.vee.balance import balance
from headend.vee.calendar import Calendars
from headend.vee.holidays import EPOCH
from headend.vee.localtime import DAY, Int64, utc_offsets
from headend.vee.mark import doubt
from headend.vee.registers import RegisterSpan, tolerance
from headend.vee.work import Work
from kernels import validate
from kernels.quality import Rule

FAR = (date.max - EPOCH).days
Bools = npt.NDArray[np.bool_]


def numbers_of(tariffs: Sequence[TariffSince], calendars: Calendars) -> list[int]:
    """List the tariff registers that any of a usage point's tariffs uses. Raises `SettingsError` for one there is not."""
    found: set[int] = set()
    for entry in tariffs:
        found.update(calendars.calendar(entry.calendar).tariff(entry.tariff).registers)
    return sorted(found)


def with_ends(tariffs: Sequence[TariffSince]) -> Iterator[tuple[TariffSince, int]]:
    """Give each tariff with the local day behind its last, counted since 1970-01-01; far away where it lasts."""
    for entry, following in zip_longest(tariffs, tariffs[1:]):
        yield entry, FAR if following is None else following.day


def registers_of_slots(series: Series, zone: tzinfo, tariffs: Sequence[TariffSince], calendars: Calendars) -> UInt8:
    """Say for each slot which tariff register counts it, 0 where none is known, shape (len(series),).

    None is known before the first tariff, where the tariff names no registers, and where it switches within a slot: the
    meter divides that slot between two of them, and nobody knows how.
    """
    offsets = utc_offsets(zone, series.start, series.period, len(series))
    days = (series.start + series.period * np.arange(len(series), dtype=np.int64) + offsets) // DAY
    found = np.zeros(len(series), np.uint8)
    for entry, behind in with_ends(tariffs):
        tariff = calendars.calendar(entry.calendar).tariff(entry.tariff)
        first, last = np.searchsorted(days, [entry.day, behind]).tolist()
        if first < last and tariff.registers:
            start = series.start + series.period * first
            found[first:last] = _registers(entry, calendars, offsets[first:last], start, series.period)
    return found


def _registers(entry: TariffSince, calendars: Calendars, offsets: Int64, start: int, period: int) -> UInt8:
    calendar = calendars.calendar(entry.calendar)
    try:
        buckets = calendar.buckets(entry.tariff, offsets, start, period)
    except ValueError:
        return np.zeros(len(offsets), np.uint8)
    numbers = np.array(calendar.tariff(entry.tariff).registers, np.uint8)
    found: UInt8 = numbers[buckets]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What one tariff register knows: a span, and which of its slots it counted. ``counted``: shape (last - first,)."""

    number: int
    span: RegisterSpan
    counted: Bools

    def touches(self, other: RegisterSpan) -> bool:
        return self.span.first < other.last and other.first < self.span.last


def _parts(work: Work) -> Iterator[_Part]:
    """Give what the tariff registers know; a span with a slot of which nobody knows who counts it says nothing."""
    tariff = work.beside.tariff
    if tariff is None:
        return
    for number, spans in sorted(tariff.spans.items()):
        for span in spans:
            numbers = tariff.of_slot[span.first : span.last]
            if numbers.all():
                yield _Part(number, span, numbers == number)


def check_tariffs(work: Work) -> None:
    """Flag the slots of a tariff that all have a value and do not sum to their register's difference."""
    check = work.rules.checks.get("tariff_sum")
    if check is None:
        return
    series = work.series
    for part in _parts(work):
        slots = part.span.first + np.flatnonzero(part.counted)
        if not _is_plausible(work, part):
            continue
        found = np.zeros(len(slots), np.uint32)
        validate.sum_check(
            series.values[slots], series.state[slots], found, register_delta=part.span.delta,
            tolerance=tolerance(part.span, counts=check["counts"], permille=check["permille"]),
        )  # fmt: skip
        series.rules[slots[found != 0]] |= np.uint32(Rule.TARIFF_SUM)
    doubt(work)


def scale(work: Work, registers: Sequence[RegisterSpan], gaps: Bools) -> None:
    """Make the estimates sum to the registers: by tariff where all tariff registers were read at a span's both ends and agree
    with the whole, else by the whole.

    Registers show whole counts, so tariffs and whole may disagree by one count of each register: then the tariffs' sums are
    exact, and the whole is that far off. Where they disagree by more, or one tariff's rest would be implausible, the whole is
    exact and the tariff's slots fail `Rule.TARIFF_SUM`. Tariff registers alone scale where no register of the whole was read.
    ``gaps``: slots that were missing, shape (len(series),).
    """
    parts = list(_parts(work))
    for span in registers:
        group = [part for part in parts if (part.span.first, part.span.last) == (span.first, span.last)]
        gap = gaps[span.first : span.last]
        if not (gap.any() and group and _scale_by_tariff(work, span, group, gap)):
            balance(work, span, gap)
    for part in parts:
        if not any(part.touches(span) for span in registers):
            _balance(work, part, gaps[part.span.first : part.span.last])


def _scale_by_tariff(work: Work, span: RegisterSpan, group: Collection[_Part], gap: Bools) -> bool:
    """Scale one span by its tariffs; False, and nothing is changed but the mask, where that cannot be."""
    if not np.any([part.counted for part in group], axis=0).all():
        return False
    off = abs(sum(part.span.delta for part in group) - span.delta)
    if off > span.resolution + sum(part.span.resolution for part in group):
        work.series.rules[span.first : span.last][gap] |= np.uint32(_rule(work))
        return False
    series, here = work.series, slice(span.first, span.last)
    before = series.values[here].copy(), series.state[here].copy(), series.reason[here].copy()
    notes = None if work.watch is None else len(work.watch.notes)
    if all(_balance(work, part, gap) for part in group):
        return True
    series.values[here], series.state[here], series.reason[here] = before
    if work.watch is not None:
        del work.watch.notes[notes:]
    return False


def _balance(work: Work, part: _Part, gap: Bools) -> bool:
    return balance(work, part.span, gap, part.counted, f"register of tariff {part.number}", _rule(work))


def _rule(work: Work) -> Rule:
    """Give the rule that a tariff fails; none where the rule set has it not on."""
    return Rule.TARIFF_SUM if "tariff_sum" in work.rules.checks else Rule(0)


def _is_plausible(work: Work, part: _Part) -> bool:
    slots = int(part.counted.sum())
    return work.limits.low * slots <= part.span.delta <= work.limits.high * slots
