"""What `benchmarks/kernels.py` feeds to all engines: a day of the shared made-up fleet, its limits, hours, tariffs and registers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.workload import CHANNELS, SLOTS, Fleet, fleet
from kernels.tile import LANES, NO_REGISTER, Limits

HOURS, PER_HOUR = 24, 4
ENERGY = 4
"""So many of the channels are energy, and have a register."""
HOUR_EDGES = np.arange(0, SLOTS + 1, PER_HOUR, dtype=np.int32)
TARIFFS = np.repeat(np.array([0] * 7 + [1] * 10 + [2] * 4 + [3] * 3, np.uint8), PER_HOUR)
"""Night, day, peak, evening: in which of four sums each slot counts."""
ZERO_RUN, PERMILLE, LONGEST, SUM_PERMILLE, SUM_COUNTS = 24, 1_800, 8, 5, 50
LIMITS = tuple(
    Limits(
        low=0, high=high, zero_run=ZERO_RUN, spike_permille=PERMILLE, longest_gap=LONGEST,
        sum_permille=SUM_PERMILLE, sum_counts=SUM_COUNTS, estimates_rejected=True,
    )
    for high in (12_500, 3_000, 100_000)
)  # fmt: skip
"""Of energy [Wh, varh in a quarter of an hour: three phases of 63 A and headroom], voltage [0.1 V] and current [mA]."""
KINDS = np.array([0] * ENERGY + [1] * 3 + [2] * 3, np.uint8)
"""Which of `LIMITS` is each channel's."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A day of a fleet, with the register difference of each row, int64, shape (channels, meters), or `NO_REGISTER`."""

    fleet: Fleet
    registers: npt.NDArray[np.int64]

    @property
    def meters(self) -> int:
        return len(self.fleet.values)

    @property
    def tile_kinds(self) -> npt.NDArray[np.uint8]:
        """Kind of each tile, channel after channel."""
        return np.repeat(KINDS, self.meters // LANES)


def make(meters: int, seed: int) -> Workload:
    """Make a day of so many meters, a multiple of 16; the same seed gives the same day.

    A register says what its slots say, the mean for those missing, a few counts more or less; one in fifty is off by 5 %.
    """
    day = fleet(meters, seed)
    random = np.random.default_rng(seed)
    energy = day.values.reshape(meters, CHANNELS, SLOTS)[:, :ENERGY].sum(axis=2, dtype=np.int64).T
    held = day.has_value.reshape(meters, CHANNELS, SLOTS)[:, :ENERGY].sum(axis=2).T
    registers = np.full((CHANNELS, meters), NO_REGISTER, np.int64)
    percent = np.where(random.random(energy.shape) < 0.02, 105, 100)
    registers[:ENERGY] = energy * percent * SLOTS // (100 * np.maximum(held, 1)) + random.integers(-9, 10, energy.shape)
    return Workload(day, registers)
