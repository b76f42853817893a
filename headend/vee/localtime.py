"""Local hours, days and months as slot offsets of a series. Pure; the only arithmetic with zones in VEE.

A slot belongs to the local span in which it starts. Days have 23, 24 or 25 hours where the zone moves its clocks.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

DAY = 86_400
HOUR = 3_600
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Int64 = npt.NDArray[np.int64]


class Span(StrEnum):
    """How long a bucket is, in local time."""

    QUARTER = "quarter"
    HALF_HOUR = "half_hour"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


REMEMBERED = 50_000
"""Slots of the longest series whose offsets are kept: a year of ten minutes. All of them together take 13 MB."""
_LENGTHS = {Span.QUARTER: 900, Span.HALF_HOUR: 1_800, Span.HOUR: HOUR}


def utc_offsets(zone: tzinfo, start: int, period: int, slots: int) -> Int64:
    """Give local minus UTC at the start of each slot, shape (slots,). [s]

    ``start``: of the first slot [s UTC].  ``period``: [s]. Asks the zone once per UTC day, and per slot on a day whose
    two ends differ. The array of a short series is shared by all who ask the same, and cannot be written to.
    """
    return (_known_offsets if slots <= REMEMBERED else _offsets)(zone, start, period, slots)


def _offsets(zone: tzinfo, start: int, period: int, slots: int) -> Int64:
    starts = start + period * np.arange(slots, dtype=np.int64)
    offsets = np.zeros(slots, np.int64)
    if not slots:
        return offsets
    days = starts // DAY
    firsts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    lasts = np.append(firsts[1:], slots)
    known: dict[int, int] = {}

    def at(instant: int) -> int:
        if instant not in known:
            known[instant] = utc_offset(zone, instant)
        return known[instant]

    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        midnight = int(days[first]) * DAY
        if at(midnight) == at(midnight + DAY):
            offsets[first:last] = at(midnight)
        else:
            offsets[first:last] = [utc_offset(zone, int(instant)) for instant in starts[first:last]]
    offsets.flags.writeable = False
    return offsets


_known_offsets = lru_cache(maxsize=32)(_offsets)


def utc_offset(zone: tzinfo, instant: int) -> int:
    """Give local minus UTC at one instant [s UTC]. [s]"""
    offset = (EPOCH + timedelta(seconds=instant)).astimezone(zone).utcoffset()
    assert offset is not None
    return offset.days * DAY + offset.seconds


def edges(span: Span, offsets: Int64, start: int, period: int) -> Int64:
    """Give the slot offset at which each local span starts that the series touches, and behind them its length.

    ``offsets``: from `utc_offsets`. The first and the last span may be cut off by the ends of the series; `whole` tells.
    Shape (m + 1,), for m spans; (1,) for an empty series.
    """
    local = start + period * np.arange(len(offsets), dtype=np.int64) + offsets
    if (length := _LENGTHS.get(span)) is not None:
        # By the elapsed hour: where clocks go back, the hour that occurs twice is two buckets.
        number = local // length - offsets // length
    elif span is Span.DAY:
        number = local // DAY
    else:
        number = local.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    # Clocks that go back across midnight would enter the day before once more; it has ended.
    number = np.maximum.accumulate(number) if len(number) else number
    begins = np.flatnonzero(np.diff(number, prepend=number[:1] - 1)) if len(number) else np.zeros(0, np.int64)
    return np.append(begins, len(offsets)).astype(np.int64)


def edges_at(days: Sequence[date], offsets: Int64, start: int, period: int) -> Int64:
    """Give the slot offset at which each local day of a list starts: billing periods from their first days and the day behind the last.

    ``days``: rising. Slots outside the series are its ends. Shape (len(days),). Raises `ValueError` where they do not rise.
    """
    numbers = np.array([(day - EPOCH.date()).days for day in days], np.int64)
    if (np.diff(numbers) <= 0).any():
        raise ValueError(f"billing periods must begin one after the other: {', '.join(map(str, days))}")
    local = np.maximum.accumulate((start + period * np.arange(len(offsets), dtype=np.int64) + offsets) // DAY)
    return np.searchsorted(local, numbers).astype(np.int64)


def whole_days(offsets: Int64, start: int, period: int) -> Int64:
    """Give the edges of the local days that lie in the series whole: its first and last one only where they are not cut off.

    Shape (m + 1,); (1,) where there is no whole day.
    """
    found = edges(Span.DAY, offsets, start, period)
    if len(offsets) == 0:
        return found
    local_start = start + int(offsets[0])
    local_end = start + period * len(offsets) + int(offsets[-1])
    first = 0 if local_start % DAY < period else 1
    last = len(found) if local_end % DAY < period else len(found) - 1
    return found[first:last] if last > first else found[:1]


def same_wall_time(
    slots: Int64, days_back: int | Int64, offsets: Int64, period: int
) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Find for each slot the one that started at the same wall-clock time ``days_back`` days before.

    ``days_back``: one for all, or one each, shape (len(slots),).  ``period``: divides a day. [s]
    Gives slot offsets, shape (len(slots),), and whether each is one: inside the series, on its grid, at a time that existed.
    """
    return wall_slots(period * slots + offsets[slots] - days_back * DAY, 0, offsets, period)


def wall_slots(local: Int64, start: int, offsets: Int64, period: int) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Find in a series the slots that started at these wall-clock times.

    ``local``: local seconds since 1970-01-01T00:00 on the wall.  ``start``, ``offsets``, ``period``: the series' own, as for `utc_offsets`.
    Gives slot offsets, shape (len(local),), and whether each is one: inside the series, on its grid, at a time that existed.
    """
    n = len(offsets)
    if not n:
        return np.zeros(len(local), np.int64), np.zeros(len(local), np.bool_)
    # Clocks move by less than a day, so the offset at a first guess is that of the slot, or of the other side of one change.
    guess = np.clip((local - start - offsets[0]) // period, 0, n - 1)
    for _ in range(2):
        seconds = local - start - offsets[guess]
        slot = seconds // period
        guess = np.clip(slot, 0, n - 1)
    inside = (seconds % period == 0) & (slot >= 0) & (slot < n)
    index = np.where(inside, slot, 0)
    inside &= start + period * index + offsets[index] == local
    return index, inside
