"""What a run over lane tiles is given and gives: limits of a kind of channel, flags of a slot, arrays of results."""

from dataclasses import dataclass
from enum import IntFlag
from typing import TypeVar

import numpy as np
import numpy.typing as npt

LANES = 16
"""Rows of a tile."""
MISSING = -1
"""Code of a slot without value that may be estimated."""
CLOSED = -2
"""Code of a slot without value that is never estimated: not expected, or the power was off."""
NO_REGISTER = -(2**63)
"""In place of a row's register difference where there is none: its sum is not checked."""
TARIFFS = 4
MAX_SLOTS = 32_767
WIDEST = 2**31 - 2
"""Most that ``high`` may be above ``low``, so that each code of a value is a positive int32."""
_LARGEST_PERMILLE = 1_000_000_000
Number = TypeVar("Number", bound=np.generic)
_INT32 = range(-(2**31), 2**31)


class Flag(IntFlag):
    """What a run found in a slot. The first four bits are those of `kernels.quality.Rule`."""

    RANGE = 1
    SPIKE = 2
    ZERO_RUN = 4
    SUM_CHECK = 8
    MISSING = 16
    ESTIMATED = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """Parameters of the rules for one kind of channel, in its counts and slots; see `kernels.tiles.run`.

    ``low``, ``high``: inclusive, at most `WIDEST` apart. ``zero_run``: slots, 0 for none. ``spike_permille``: 0 for none.
    ``longest_gap``: slots. ``estimates_rejected``: whether a slot out of limits may be estimated like a missing one.
    Raises `ValueError` if one is outside what the kernel can hold.
    """

    low: int
    high: int
    zero_run: int = 0
    spike_permille: int = 0
    spike_floor: int = 0
    longest_gap: int = 0
    sum_permille: int = 0
    sum_counts: int = 0
    estimates_rejected: bool = False

    def __post_init__(self) -> None:
        """Say no at the door."""
        for name in ("low", "high", "spike_floor"):
            if getattr(self, name) not in _INT32:
                raise ValueError(f"{name} {getattr(self, name)} does not fit 32 bits")
        if not 0 <= self.high - self.low <= WIDEST:
            raise ValueError(f"high {self.high} is not 0 to {WIDEST} above low {self.low}")
        for name, most in (
            ("zero_run", 2**31 - 1),
            ("spike_permille", _LARGEST_PERMILLE),
            ("longest_gap", MAX_SLOTS),
            ("sum_permille", 1_000),
            ("sum_counts", 2**62),
        ):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} {getattr(self, name)} is not in 0..{most}")


def empty(shape: tuple[int, ...], dtype: type[Number]) -> npt.NDArray[Number]:
    """Make an array that begins on a cache line, which wide stores like; its content is undefined."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + 63, np.uint8)
    first = -room.ctypes.data % 64
    return room[first : first + size].view(dtype).reshape(shape)


def tiles_for(rows: int) -> int:
    """Count the tiles that hold so many rows of one channel."""
    return -(-rows // LANES)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Results of a run, by tile and lane; sums, least and greatest in counts. The last axis of each array has 16 lanes.

    ``flags``: bits of `Flag`, shape (tiles, slots, 16).
    ``hour_*``: of the slots with a value within limits, estimates among them, shape (tiles, hours, 16); 0 where there is none.
    ``day_*``: the same over the row, shape (tiles, 16); ``day_argmax`` is the first slot of the maximum, or -1.
    ``tariff_sum``: shape (tiles, 4, 16).
    """

    flags: npt.NDArray[np.uint8]
    hour_sum: npt.NDArray[np.int64]
    hour_min: npt.NDArray[np.int32]
    hour_max: npt.NDArray[np.int32]
    hour_count: npt.NDArray[np.uint16]
    day_sum: npt.NDArray[np.int64]
    day_min: npt.NDArray[np.int32]
    day_max: npt.NDArray[np.int32]
    day_argmax: npt.NDArray[np.int32]
    day_count: npt.NDArray[np.int32]
    tariff_sum: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, tiles: int, slots: int, hours: int) -> "Outcome":
        """Make room for the results of so many tiles; their content is undefined until a run has written it."""
        by_hour, by_day = (tiles, hours, LANES), (tiles, LANES)
        return cls(
            flags=empty((tiles, slots, LANES), np.uint8),
            hour_sum=empty(by_hour, np.int64),
            hour_min=empty(by_hour, np.int32),
            hour_max=empty(by_hour, np.int32),
            hour_count=empty(by_hour, np.uint16),
            day_sum=empty(by_day, np.int64),
            day_min=empty(by_day, np.int32),
            day_max=empty(by_day, np.int32),
            day_argmax=empty(by_day, np.int32),
            day_count=empty(by_day, np.int32),
            tariff_sum=empty((tiles, TARIFFS, LANES), np.int64),
        )
