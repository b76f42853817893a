"""Virtual meters: signed sums of channels, with quality carried through, and what follows from several series together.
Pure.

Every figure is exact: a `Fraction`, or None where there is nothing to divide by.
"""

from collections.abc import Sequence
from datetime import date, tzinfo
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from drivers.units import ScalerUnit
from headend.series import Series
from headend.vee.aggregate import aggregate, cut
from headend.vee.localtime import Span, utc_offsets
from kernels import combine, tou

Permille = npt.NDArray[np.int64]
PASS_BAND, ASSESSED = (930, 1070), (700, 1200)
"""Shares of nominal voltage. DL/T 645 and Q/GDW meters: qualified within 0.93 to 1.07, assessed within 0.7 to 1.2.
[permille]"""


def virtual_meter(parts: Sequence[tuple[Series, int]]) -> Series:
    """Add up channels slot by slot, each times its factor: 1, -1 or a whole weight.

    All on one grid and in one unit; the finest scaler is the sum's. A slot is worth what its worst part is worth, see
    `kernels.combine`. Raises `ValueError` on other grids or units, no part, or a sum beyond 32 bits.
    """
    if not parts:
        raise ValueError("a virtual meter needs one channel or more")
    first = parts[0][0]
    scaler = min(series.scaler_unit.scaler for series, _ in parts)
    for series, _ in parts:
        if (series.start, series.period, len(series)) != (first.start, first.period, len(first)):
            raise ValueError(
                f"channels of a virtual meter need one grid: {len(series)} slots of {series.period} s from {series.start}, "
                f"not {len(first)} of {first.period} s from {first.start}"
            )
        if series.scaler_unit.unit is not first.scaler_unit.unit:
            raise ValueError(f"{series.scaler_unit.unit.symbol} and {first.scaler_unit.unit.symbol} do not add up")
    made = Series.empty(first.start, first.period, ScalerUnit(scaler, first.scaler_unit.unit), len(first))
    factors = [factor * int(10 ** (series.scaler_unit.scaler - scaler)) for series, factor in parts]
    combine.combine(
        np.stack([series.values for series, _ in parts]), np.stack([series.state for series, _ in parts]),
        np.stack([series.reason for series, _ in parts]), np.stack([series.rules for series, _ in parts]),
        np.array(factors, np.int64), made.values, made.state, made.reason, made.rules,
    )  # fmt: skip
    return made


def net(imported: Series, exported: Series) -> Series:
    """Give import less export, slot by slot; negative where more was fed in than drawn. Raises `ValueError` as
    `virtual_meter`.
    """
    return virtual_meter([(imported, 1), (exported, -1)])


def line_loss(supply: Sequence[Series], loads: Sequence[Series]) -> Series:
    """Give what went into a network and reached no meter: supplies less loads. Raises `ValueError` as
    `virtual_meter`.
    """
    return virtual_meter([*((series, 1) for series in supply), *((series, -1) for series in loads)])


def load_factors(
    series: Series, zone: tzinfo, span: Span | Sequence[date], demand_period: int | None = None
) -> list[Fraction | None]:
    """Give mean over maximum demand of each span, None where nothing was drawn or the span has a hole. Raises
    `ValueError` as `aggregate`.
    """
    found = aggregate(series, zone, span, demand_period)
    width = (demand_period or series.period) // series.period
    return [
        mean * width / demand if mean is not None and demand > 0 and is_complete else None
        for mean, demand, is_complete in zip(found.means(), found.demand.tolist(), found.is_complete(), strict=True)
    ]


def coincidence_factors(meters: Sequence[Series], zone: tzinfo, span: Span | Sequence[date]) -> list[Fraction | None]:
    """Give the maximum of the sum over the sum of the maxima, of each span; None where nothing was drawn or one has a
    hole.

    Raises `ValueError` as `virtual_meter` and `aggregate`.
    """
    together = aggregate(virtual_meter([(series, 1) for series in meters]), zone, span)
    alone = [aggregate(series, zone, span) for series in meters]
    maxima = [
        sum(one.scaler_unit.rescale(int(one.maxima[index]), together.scaler_unit) for one in alone)
        for index in range(len(together))
    ]
    return [
        Fraction(int(together.maxima[index]), total) if total > 0 and is_complete else None
        for index, (total, is_complete) in enumerate(zip(maxima, together.is_complete(), strict=True))
    ]


def phase_imbalance(phases: Sequence[Series]) -> Permille:
    """Give (greatest - least) / greatest of the phases' values in each slot, rounded down, -1 where one is missing or
    none is above 0. [permille]

    Shape (n,). Raises `ValueError` on other grids or scalers.
    """
    first = phases[0]
    if any(
        (one.start, one.period, len(one), one.scaler_unit) != (first.start, first.period, len(first), first.scaler_unit)
        for one in phases
    ):
        raise ValueError("phases need one grid and one scaler")
    values = np.stack([one.values for one in phases]).astype(np.int64)
    greatest, least = values.max(axis=0), values.min(axis=0)
    good = np.stack([one.has_value for one in phases]).all(axis=0) & (greatest > 0)
    return np.where(good, (greatest - least) * 1000 // np.where(good, greatest, 1), -1)


def voltage_qualification(
    series: Series, zone: tzinfo, span: Span | Sequence[date], nominal: int
) -> list[Fraction | None]:
    """Give the share of assessed slots of each span whose voltage is within the pass band; None where none is assessed.

    ``nominal``: counts of the series. Raises `ValueError` as `aggregate`.
    """
    cuts = cut(series, span, utc_offsets(zone, series.start, series.period, len(series)))
    counts = np.zeros((len(cuts) - 1, 4), np.int64)
    # Limits are inclusive, so the lower ones are rounded up and the upper ones down.
    tou.within_band(
        series.values, series.state, cuts, counts,
        low=-(-nominal * PASS_BAND[0] // 1000), high=nominal * PASS_BAND[1] // 1000,
        assessed_low=-(-nominal * ASSESSED[0] // 1000), assessed_high=nominal * ASSESSED[1] // 1000,
    )  # fmt: skip
    return [
        Fraction(within, below + within + above) if below + within + above else None
        for below, within, above, _ in counts.tolist()
    ]
