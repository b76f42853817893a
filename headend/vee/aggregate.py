"""Spans of local time of a series: sums, how complete they are, least and greatest value, and the maximum demand with
its time. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from fractions import Fraction

import numpy as np

from drivers.units import ScalerUnit
from headend.series import Series
from headend.vee.localtime import Int64, Span, edges, edges_at, utc_offsets
from kernels import aggregate as kernel
from kernels import combine as adder
from kernels.quality import HAS_VALUE, State


@dataclass(frozen=True, slots=True, eq=False)
class Aggregates:
    """Buckets of local time; arrays of shape (m,), ``counts`` (m, 7).

    ``span``: how the buckets were cut, None for billing periods.
    ``starts``, ``ends``: first slot's start and last slot's end [s UTC]; the first and last bucket hold what the series
    does.
    ``sums``: of slots that carry a value, in counts of ``scaler_unit``.  ``counts``: slots by code of `State`.
    ``minima``, ``maxima``: least and greatest value of a slot, and ``minimum_at``, ``maximum_at`` [s UTC] where it
    starts.
    ``demand``: greatest sum of one demand period, and ``demand_at`` [s UTC] where it starts. All times are -1 where
    there is none.
    """

    span: Span | None
    scaler_unit: ScalerUnit
    starts: Int64
    ends: Int64
    sums: Int64
    counts: Int64
    minima: Int64
    minimum_at: Int64
    maxima: Int64
    maximum_at: Int64
    demand: Int64
    demand_at: Int64

    def __len__(self) -> int:
        """Count the buckets."""
        return len(self.sums)

    def means(self) -> list[Fraction | None]:
        """Give each bucket's exact mean of the slots that carry a value, None where none does. [counts]"""
        valued = self.counts[:, [int(state) for state in HAS_VALUE]].sum(axis=1)
        return [
            Fraction(total, slots) if slots else None
            for total, slots in zip(self.sums.tolist(), valued.tolist(), strict=True)
        ]

    def is_complete(self) -> list[bool]:
        """Say of each bucket whether every slot that is expected carries a value, so that its sum is whole."""
        open_slots = self.counts[:, [State.EXPECTED, State.MISSING]].sum(axis=1)
        return [not slots for slots in open_slots.tolist()]


def aggregate(
    series: Series,
    zone: tzinfo,
    span: Span | Sequence[date],
    demand_period: int | None = None,
    demand_step: int | None = None,
) -> Aggregates:
    """Sum up a series by quarter, half-hour, hour, local day or month, or by billing period.

    ``span``: or the local days on which billing periods begin, and the one behind the last; what lies outside is left
    out.
    ``demand_period``: length demand is taken over, whole slots [s]; one slot unless given.  ``demand_step``: from one
    such period's start to the next's [s]: the demand period itself unless given (block demand), less for sliding
    demand.
    Raises `ValueError` where one is no multiple of the series' period, or the span is shorter than that.
    """
    width = whole_slots("demand period", demand_period or series.period, series.period)
    step = whole_slots("demand step", demand_step or width * series.period, series.period)
    offsets = utc_offsets(zone, series.start, series.period, len(series))
    cuts = cut(series, span, offsets)
    buckets = len(cuts) - 1
    sums, counts = np.zeros(buckets, np.int64), np.zeros((buckets, kernel.STATES), np.int64)
    demand, slots = np.zeros(buckets, np.int64), np.zeros(buckets, np.int64)
    found = np.zeros((buckets, 4), np.int64)
    kernel.aggregate(series.values, series.state, cuts, sums, counts)
    kernel.extremes(series.values, series.state, cuts, found)
    kernel.maximum_demand(series.values, series.state, cuts, demand, slots, width=width, step=step)
    instants = series.start + series.period * cuts
    return Aggregates(
        span if isinstance(span, Span) else None,
        series.scaler_unit,
        instants[:-1],
        instants[1:],
        sums,
        counts,
        found[:, 0],
        instants_of(series, found[:, 1]),
        found[:, 2],
        instants_of(series, found[:, 3]),
        demand,
        instants_of(series, slots),
    )


def coarsen(series: Series, zone: tzinfo, period: int) -> Series:
    """Add up a series to longer intervals, on the local grid at its start; what does not fill one at its ends is left
    out.

    Each longer slot is worth what its worst part is worth, see `kernels.combine`.  ``period``: [s]. Raises `ValueError`
    where it is no multiple of the series' own, does not divide a day, or a sum does not fit 32 bits.
    """
    width = whole_slots("interval", period, series.period)
    if 86_400 % period:
        raise ValueError(f"an interval of {period} s does not divide a day")
    offset = int(utc_offsets(zone, series.start, series.period, min(1, len(series))).sum())
    skip = -(series.start + offset) % period
    if skip % series.period:
        raise ValueError(f"intervals of {period} s in this zone do not begin where ones of {series.period} s do")
    first = min(skip // series.period, len(series))
    last = first + (len(series) - first) // width * width
    part = series.window(series.start + first * series.period, series.start + last * series.period)
    made = Series.empty(part.start, period, series.scaler_unit, (last - first) // width)
    adder.coarsen(
        part.values, part.state, part.reason, part.rules,
        made.values, made.state, made.reason, made.rules, width=width,
    )  # fmt: skip
    return made


def whole_slots(what: str, seconds: int, period: int) -> int:
    """Give how many slots of ``period`` [s] a length [s] has. Raises `ValueError` where it has no whole number of
    them.
    """
    slots, rest = divmod(seconds, period)
    if rest or slots < 1:
        raise ValueError(f"a {what} of {seconds} s is not a multiple of {period} s")
    return slots


def cut(series: Series, span: Span | Sequence[date], offsets: Int64) -> Int64:
    """Give the slot offsets at which a series is cut by local spans or billing periods."""
    if isinstance(span, Span):
        return edges(span, offsets, series.start, series.period)
    return edges_at(span, offsets, series.start, series.period)


def instants_of(series: Series, slots: Int64) -> Int64:
    """Give where slots start [s UTC], -1 for a slot of -1; shape as ``slots``."""
    found: Int64 = np.where(slots >= 0, series.start + series.period * slots, -1)
    return found
