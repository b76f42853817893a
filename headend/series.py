"""`Series`: contiguous slots of one channel, values beside their qualities. What store, VEE and export hand each other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.facts import UtcSeconds
from drivers.units import ScalerUnit
from kernels.quality import HAS_VALUE, State

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt32 = npt.NDArray[np.uint32]

_HAS_VALUE = np.zeros(256, dtype=np.bool_)
_HAS_VALUE[[int(state) for state in HAS_VALUE]] = True
_TYPES: dict[str, np.dtype[Any]] = {
    "values": np.dtype(np.int32),
    "state": np.dtype(np.uint8),
    "reason": np.dtype(np.uint8),
    "rules": np.dtype(np.uint32),
}
_TYPE_LIST = tuple(_TYPES.values())

Part = tuple[slice, int, ScalerUnit]
"""Slots of a row that are a channel, with its period [s] and unit."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Slots ``start + i * period`` [s UTC] for ``i`` in ``range(n)``; four arrays of shape (n,).

    ``values``: counts of ``scaler_unit``, int32, 0 where the state carries no value.
    ``state``, ``reason``: uint8 codes of `kernels.quality`. ``rules``: uint32 mask of failed rules.
    """

    start: UtcSeconds
    period: int
    scaler_unit: ScalerUnit
    values: Int32
    state: UInt8
    reason: UInt8
    rules: UInt32

    def __post_init__(self) -> None:
        """Refuse arrays of other types or unequal lengths."""
        if self.values.ndim != 1:
            raise ValueError(f"values has the shape {self.values.shape}, not (n,)")
        _check_arrays(self.values, self.state, self.reason, self.rules)

    @classmethod
    def empty(
        cls, start: UtcSeconds, period: int, scaler_unit: ScalerUnit, slots: int, state: State = State.NOT_EXPECTED
    ) -> "Series":
        """Make a series of ``slots`` slots, all in one state without value."""
        return cls(
            start,
            period,
            scaler_unit,
            np.zeros(slots, np.int32),
            np.full(slots, int(state), np.uint8),
            np.zeros(slots, np.uint8),
            np.zeros(slots, np.uint32),
        )

    @classmethod
    def cut(cls, start: UtcSeconds, parts: Iterable[Part], *row: npt.NDArray[Any]) -> "list[Series]":
        """Cut a row of slots into series that begin together and share its memory. ``row``: values, state, reason and rules.

        Types are looked at once: a meter's day is ten series, and looking at each would take as long as reading the day.
        """
        _check_arrays(*row)
        values, state, reason, rules = row
        found = []
        for slots, period, scaler_unit in parts:
            series = object.__new__(cls)
            _set_start(series, start)
            _set_period(series, period)
            _set_scaler_unit(series, scaler_unit)
            _set_values(series, values[slots])
            _set_state(series, state[slots])
            _set_reason(series, reason[slots])
            _set_rules(series, rules[slots])
            found.append(series)
        return found

    def __len__(self) -> int:
        """Count the slots."""
        return len(self.values)

    @property
    def end(self) -> UtcSeconds:
        """End of the last slot, exclusive. [s UTC]"""
        return self.start + self.period * len(self)

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """Values, state, reason and rules."""
        return self.values, self.state, self.reason, self.rules

    @property
    def has_value(self) -> npt.NDArray[np.bool_]:
        """Say for each slot whether it carries a value, shape (n,)."""
        return _HAS_VALUE[self.state]

    def window(self, start: UtcSeconds, end: UtcSeconds) -> "Series":
        """Give the part within ``[start, end)``, sharing memory. Both must lie on the grid and inside. Raises `ValueError`."""
        first, rest = divmod(start - self.start, self.period)
        last, rest_end = divmod(end - self.start, self.period)
        if rest or rest_end or not 0 <= first <= last <= len(self):
            raise ValueError(f"[{start}, {end}) is not on the grid of [{self.start}, {self.end}) by {self.period} s")
        cut = slice(first, last)
        return Series(
            start, self.period, self.scaler_unit, self.values[cut], self.state[cut], self.reason[cut], self.rules[cut]
        )


_set_start, _set_period, _set_scaler_unit, _set_values, _set_state, _set_reason, _set_rules = (
    getattr(Series, one.name).__set__ for one in fields(Series)
)


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Slots ``start + j * period`` [s UTC] of one channel of many: row i is that of ``ids[i]``; four arrays of shape (rows, slots).

    ``ids``: local ids of end devices (raw) or usage points (validated).  The arrays are contiguous, and as those of `Series`.
    """

    ids: Sequence[int]
    start: UtcSeconds
    period: int
    scaler_unit: ScalerUnit
    values: Int32
    state: UInt8
    reason: UInt8
    rules: UInt32

    def __post_init__(self) -> None:
        """Refuse arrays of other types or unequal shapes."""
        if self.values.ndim != 2 or len(self.values) != len(self.ids):
            raise ValueError(f"values has the shape {self.values.shape}, not ({len(self.ids)}, n)")
        _check_arrays(self.values, self.state, self.reason, self.rules)

    def series(self, row: int) -> Series:
        """Give a row as a series that shares the memory."""
        return Series(
            self.start, self.period, self.scaler_unit,
            self.values[row], self.state[row], self.reason[row], self.rules[row],
        )  # fmt: skip

    @property
    def has_value(self) -> npt.NDArray[np.bool_]:
        """Say for each slot whether it carries a value, shape (rows, slots)."""
        return _HAS_VALUE[self.state]


def _check_arrays(
    values: npt.NDArray[Any], state: npt.NDArray[Any], reason: npt.NDArray[Any], rules: npt.NDArray[Any]
) -> None:
    shape = values.shape
    if (values.dtype, state.dtype, reason.dtype, rules.dtype) == _TYPE_LIST and (
        state.shape == shape and reason.shape == shape and rules.shape == shape
    ):
        return
    for (name, dtype), array in zip(_TYPES.items(), (values, state, reason, rules), strict=True):
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} is {array.dtype}{array.shape}, not {dtype}{shape}")
