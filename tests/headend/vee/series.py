"""Builds series for VEE tests: ``None`` is missing, a `Reason` is missing for that cause."""

from collections.abc import Sequence

import numpy as np

from drivers.units import ScalerUnit, Unit
from headend.series import Series
from kernels.quality import Reason, State

WH = ScalerUnit(0, Unit.WATT_HOUR)
DAY = 86_400
MONDAY = 1_704_067_200
"""2024-01-01T00:00:00Z."""

Slot = int | None | Reason


def build(slots: Sequence[Slot], period: int = 1800, start: int = MONDAY, scaler_unit: ScalerUnit = WH) -> Series:
    series = Series.empty(start, period, scaler_unit, len(slots), State.MEASURED)
    for index, slot in enumerate(slots):
        if slot is None or isinstance(slot, Reason):
            series.state[index] = State.MISSING
            series.reason[index] = Reason.NO_ANSWER if slot is None else slot
        else:
            series.values[index] = slot
    return series


def seen(series: Series) -> list[int | str]:
    """Show each slot as its value, or as the name of its state."""
    return [
        int(value) if has_value else State(int(state)).name
        for value, has_value, state in zip(series.values, series.has_value, series.state, strict=True)
    ]


def same(first: Series, second: Series) -> bool:
    return (first.start, first.period, first.scaler_unit) == (second.start, second.period, second.scaler_unit) and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ("values", "state", "reason", "rules")
    )
