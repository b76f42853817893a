"""Hours, local days and months of a series: sums, how complete they are, and the maximum demand with its time. Pure."""

from dataclasses import dataclass
from datetime import tzinfo

import numpy as np

from drivers.units import ScalerUnit
from headend.series import Series
from headend.vee.localtime import Int64, Span, edges, utc_offsets
from kernels import aggregate as kernel


@dataclass(frozen=True, slots=True, eq=False)
class Aggregates:
    """Buckets of local time; arrays of shape (m,), ``counts`` (m, 7).

    ``starts``, ``ends``: first slot's start and last slot's end [s UTC]; the first and last bucket hold what the series does.
    ``sums``: of slots that carry a value, in counts of ``scaler_unit``.  ``counts``: slots by code of `State`.
    ``demand``: greatest sum of one demand period, and ``demand_at`` [s UTC] where it starts, -1 where there is none.
    """

    span: Span
    scaler_unit: ScalerUnit
    starts: Int64
    ends: Int64
    sums: Int64
    counts: Int64
    demand: Int64
    demand_at: Int64

    def __len__(self) -> int:
        """Count the buckets."""
        return len(self.sums)


def aggregate(series: Series, zone: tzinfo, span: Span, demand_period: int | None = None) -> Aggregates:
    """Sum up a series by hour, local day or month.

    ``demand_period``: length of the block demand is taken over, whole slots [s]; one slot unless given.
    Raises `ValueError` where it is not a multiple of the series' period.
    """
    width, rest = divmod(demand_period or series.period, series.period)
    if rest or width < 1:
        raise ValueError(f"a demand period of {demand_period} s is not a multiple of {series.period} s")
    cuts = edges(span, utc_offsets(zone, series.start, series.period, len(series)), series.start, series.period)
    buckets = len(cuts) - 1
    sums, counts = np.zeros(buckets, np.int64), np.zeros((buckets, kernel.STATES), np.int64)
    demand, slots = np.zeros(buckets, np.int64), np.zeros(buckets, np.int64)
    kernel.aggregate(series.values, series.state, cuts, sums, counts)
    kernel.maximum_demand(series.values, series.state, cuts, demand, slots, width=width)
    instants = series.start + series.period * cuts
    return Aggregates(
        span,
        series.scaler_unit,
        instants[:-1],
        instants[1:],
        sums,
        counts,
        demand,
        np.where(slots >= 0, series.start + series.period * slots, -1),
    )
