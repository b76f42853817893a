"""What `benchmarks/kernels.py` feeds to all engines: a day of made-up meters of ten channels, with the faults real ones have.

1 % of the slots is missing, in gaps that take all channels of a meter at once; 0.1 % is a spike; 0.05 % is a duplicate of its
neighbour's or late, and so missing too. A channel has limits of its kind, and energy has a register difference.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.quality import State
from kernels.tile import LANES, NO_REGISTER, Limits

SLOTS, HOURS, PER_HOUR = 96, 24, 4
CHANNELS = ("import", "export", "reactive +", "reactive -", "U1", "U2", "U3", "I1", "I2", "I3")
ENERGY = 4
EDGES = np.arange(0, SLOTS + 1, PER_HOUR, dtype=np.int32)
TARIFFS = np.repeat(np.array([0] * 7 + [1] * 10 + [2] * 4 + [3] * 3, np.uint8), PER_HOUR)
"""Night, day, peak, evening: in which of four sums each slot counts."""
GIVEN = {"zero_run": 24, "spike_permille": 1_800, "longest_gap": 8, "sum_permille": 5, "sum_counts": 50}
LIMITS = (
    Limits(low=0, high=12_500, estimates_rejected=True, **GIVEN),
    Limits(low=0, high=3_000, estimates_rejected=True, **GIVEN),
    Limits(low=0, high=100_000, estimates_rejected=True, **GIVEN),
)
"""Of energy [Wh, varh in a quarter of an hour: three phases of 63 A and headroom], voltage [0.1 V] and current [mA]."""
KINDS = np.array([0] * 4 + [1] * 3 + [2] * 3, np.uint8)
"""Which of `LIMITS` is each channel's."""
Counts = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Workload:
    """A day of all meters.

    ``values``: int32, shape (meters, channels, slots). ``state``: `State`, same shape.
    ``registers``: int64, shape (channels, meters), `NO_REGISTER` where the channel has none.
    """

    values: Counts
    state: npt.NDArray[np.uint8]
    registers: npt.NDArray[np.int64]

    @property
    def tile_kinds(self) -> npt.NDArray[np.uint8]:
        """Kind of each tile, channel after channel."""
        return np.repeat(KINDS, len(self.values) // LANES)


def make(meters: int, seed: int) -> Workload:
    """Make a day of so many meters, a multiple of 16; the same seed gives the same day."""
    random = np.random.default_rng(seed)
    truth = _curves(meters, random)
    registers = np.full((len(CHANNELS), meters), NO_REGISTER, np.int64)
    registers[:ENERGY] = truth[:, :ENERGY].sum(axis=2, dtype=np.int64).T + random.integers(-9, 10, (ENERGY, meters))
    values = truth.copy()
    _spike(values, random)
    state = np.full(values.shape, State.MEASURED, np.uint8)
    _lose(values, state, random)
    values[state == State.MISSING] = 0
    return Workload(values, state, registers)


def _curves(meters: int, random: np.random.Generator) -> Counts:
    """Draw load curves: a base, two peaks and appliances; sun on every third roof; the rest follows from the power."""
    hour = np.arange(SLOTS) / PER_HOUR
    shape = 0.4 + 0.8 * np.exp(-(((hour - 7.5) / 1.5) ** 2)) + 1.4 * np.exp(-(((hour - 19) / 2.5) ** 2))
    load = random.lognormal(4.6, 0.5, (meters, 1)) * shape * random.lognormal(0, 0.14, (meters, SLOTS))
    load += (random.random((meters, SLOTS)) < 0.04) * random.uniform(150, 600, (meters, SLOTS))
    sun = np.exp(-(((hour - 13) / 3) ** 2)) * (random.random((meters, 1)) < 1 / 3) * random.uniform(300, 1_200, (meters, 1))
    sun = np.where(sun < 5, 0, sun * random.lognormal(0, 0.12, (meters, SLOTS)))
    net = load - sun
    energy = np.stack([net.clip(0), (-net).clip(0), 0.3 * load, 0.04 * sun], axis=1)
    voltage = 2_300 + np.cumsum(random.normal(0, 3, (meters, 3, SLOTS)), axis=2).clip(-120, 120) + random.normal(0, 5, (meters, 3, SLOTS))
    share = random.dirichlet((4, 4, 4), meters)[:, :, None]
    current = np.abs(net)[:, None, :] * share * 4_000 / 230 * random.lognormal(0, 0.05, (meters, 3, SLOTS))
    return np.concatenate([energy, voltage, current], axis=1).round().astype(np.int32)


def _spike(values: Counts, random: np.random.Generator) -> None:
    """Multiply 0.1 % of the slots."""
    where = random.random(values.shape) < 0.001
    values[where] = np.minimum(values[where] * random.uniform(4, 40, int(where.sum())) + 50, 2**30)


def _lose(values: Counts, state: npt.NDArray[np.uint8], random: np.random.Generator) -> None:
    """Lose 1 % in gaps of 5.5 slots in the mean, and 0.05 % as duplicates of the slot before, half of them late."""
    meters = len(values)
    for meter in np.flatnonzero(random.random(meters) < 0.01 * SLOTS / 5.5):
        first = int(random.integers(0, SLOTS))
        state[meter, :, first : first + int(random.geometric(1 / 5.5))] = State.MISSING
    off = random.random(values.shape) < 0.0005
    off[:, :, 0] = False
    is_late = random.random(values.shape) < 0.5
    state[off & is_late] = State.MISSING
    doubled = off & ~is_late
    values[doubled] = np.roll(values, 1, axis=2)[doubled]
