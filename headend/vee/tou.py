"""Time of use: energy and maximum demand by tariff bucket, and energy by price step. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, tzinfo

import numpy as np
import numpy.typing as npt

from drivers.units import ScalerUnit
from headend.series import Series
from headend.vee.aggregate import cut, instants_of, whole_slots
from headend.vee.calendar import TariffCalendar
from headend.vee.localtime import Int64, Span, utc_offsets
from kernels import aggregate, tou

Int64Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class TimeOfUse:
    """Periods by tariff buckets; arrays of shape (m, k), ``counts`` (m, k, 7), ``starts`` and ``ends`` (m,) [s UTC].

    ``sums``, ``demand``: counts of ``scaler_unit``.  ``demand_at``: where the greatest demand starts [s UTC], -1 where
    there is none.
    ``calendar``: name and version of what the buckets come from.
    """

    calendar: str
    buckets: tuple[str, ...]
    scaler_unit: ScalerUnit
    starts: Int64
    ends: Int64
    sums: Int64Rows
    counts: Int64Rows
    demand: Int64Rows
    demand_at: Int64Rows


def time_of_use(
    series: Series,
    zone: tzinfo,
    span: Span | Sequence[date],
    calendar: TariffCalendar,
    tariff: str,
    demand_period: int | None = None,
    demand_step: int | None = None,
) -> TimeOfUse:
    """Sum up a series by period and tariff bucket; the arguments are those of `headend.vee.aggregate.aggregate`.

    A demand period counts where it lies in one bucket. Raises `ValueError` as there and for a switch within a slot,
    `SettingsError` for an unknown tariff.
    """
    width = whole_slots("demand period", demand_period or series.period, series.period)
    step = whole_slots("demand step", demand_step or width * series.period, series.period)
    offsets = utc_offsets(zone, series.start, series.period, len(series))
    cuts = cut(series, span, offsets)
    bucket = calendar.buckets(tariff, offsets, series.start, series.period)
    names = calendar.tariff(tariff).buckets
    shape = (len(cuts) - 1, len(names))
    sums, counts = np.zeros(shape, np.int64), np.zeros((*shape, aggregate.STATES), np.int64)
    demand, slots = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    tou.by_bucket(series.values, series.state, bucket, cuts, sums, counts)
    tou.demand_by_bucket(series.values, series.state, bucket, cuts, demand, slots, width=width, step=step)
    instants = series.start + series.period * cuts
    return TimeOfUse(
        f"{calendar.name} {calendar.version}",
        names,
        series.scaler_unit,
        instants[:-1],
        instants[1:],
        sums,
        counts,
        demand,
        instants_of(series, slots),
    )


def tiers(total: int, limits: Sequence[int]) -> list[int]:
    """Cut a period's energy into price steps: up to the first limit, between it and the second, and so on; they sum to
    ``total``.

    All in counts. Raises `ValueError` for limits that fall or are below 0.
    """
    shares = np.zeros(len(limits) + 1, np.int64)
    tou.tiers(total, np.array(limits, np.int64), shares)
    return [int(share) for share in shares]
