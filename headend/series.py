"""`Series`: contiguous slots of one channel, values beside their qualities. What store, VEE and export hand each other."""

from dataclasses import dataclass
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
        for name, dtype in (("values", np.int32), ("state", np.uint8), ("reason", np.uint8), ("rules", np.uint32)):
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != self.values.shape or array.ndim != 1:
                raise ValueError(f"{name} is {array.dtype}{array.shape}, not {np.dtype(dtype)}{self.values.shape}")

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
