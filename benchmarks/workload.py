"""The made-up readings that the benchmarks of the kernels share: meters of ten channels and 96 quarter hours a day.

What a fleet looks like, one year on: homes, a third of them with photovoltaics; energy in four directions (Wh and varh),
three voltages (0.1 V) and three currents (mA). 1 % of the slots are missing, in gaps of about eight quarter hours that take all
channels of a meter or one; 0.1 % are spikes; 0.05 % arrived twice with another value. All of it comes from a seed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.quality import Reason, Rule, State

CHANNELS, SLOTS = 10, 96
EDGES = np.arange(0, CHANNELS * SLOTS + 1, SLOTS, dtype=np.int64)
"""Where the channels of a meter-day lie in its row; shape (CHANNELS + 1,)."""
MISSING, SPIKES, DUPLICATES, GAP = 0.01, 0.001, 0.0005, 8
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fleet:
    """One day of many meters. Arrays have the shape (meters, CHANNELS * SLOTS)."""

    values: npt.NDArray[np.int32]
    state: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    rules: npt.NDArray[np.uint32]

    @property
    def has_value(self) -> npt.NDArray[np.bool_]:
        has_value: npt.NDArray[np.bool_] = self.state != State.MISSING
        return has_value


def fleet(meters: int, seed: int, gap: float = GAP) -> Fleet:
    """Make a day. A slot without value counts 0; ``gap`` is the mean length of a gap. [slots]"""
    random = np.random.default_rng(seed)
    values = np.concatenate([_energy(random, meters), _voltages(random, meters)], axis=1)
    values = np.concatenate([values, _currents(random, values)], axis=1)
    counts = np.rint(values).astype(np.int32)
    spiky = random.random(counts.shape) < SPIKES
    counts[spiky] = counts[spiky] * random.integers(4, 12, int(spiky.sum())) + 50
    state = np.full(counts.shape, State.MEASURED, np.uint8)
    reason, rules = np.zeros_like(state), np.zeros(counts.shape, np.uint32)
    rules[spiky], state[spiky] = Rule.SPIKE, State.QUESTIONABLE
    again = random.random(counts.shape) < DUPLICATES
    rules[again], state[again] = rules[again] | Rule.CONFLICT, State.QUESTIONABLE
    gone = _gaps(random, meters, gap)
    counts[gone], state[gone], reason[gone], rules[gone] = 0, State.MISSING, Reason.NO_ANSWER, 0
    shape = (meters, CHANNELS * SLOTS)
    return Fleet(*(array.reshape(shape) for array in (counts, state, reason, rules)))


def _energy(random: np.random.Generator, meters: int) -> Floats:
    """Import, export, reactive import and export of a quarter hour; shape (meters, 4, SLOTS). [Wh, varh]"""
    hour = np.arange(SLOTS) / 4
    base = random.lognormal(4.0, 0.5, (meters, 1))
    evening = random.lognormal(4.6, 0.6, (meters, 1)) * np.exp(
        -(((hour - random.normal(19, 1.2, (meters, 1))) / 2.5) ** 2)
    )
    morning = random.lognormal(4.0, 0.6, (meters, 1)) * np.exp(
        -(((hour - random.normal(7.5, 1, (meters, 1))) / 1.2) ** 2)
    )
    load = (base + evening + morning) * random.normal(1, 0.25, (meters, SLOTS)).clip(0.4)
    # Appliances: a few times a day something of one or two kilowatt runs for half an hour.
    load += (random.random((meters, SLOTS)) < 0.04) * random.uniform(100, 500, (meters, SLOTS))
    sun = np.exp(-(((hour - 12.7) / 2.6) ** 2)) * (np.abs(hour - 12.7) < 6)
    cloud = random.normal(1, 0.12, (meters, SLOTS)).clip(0.2)
    solar = (random.random((meters, 1)) < 0.33) * random.uniform(400, 1500, (meters, 1)) * sun * cloud
    net = load - solar
    reactive = load * random.uniform(0.1, 0.4, (meters, 1)) * random.normal(1, 0.15, (meters, SLOTS))
    is_leading = solar > load
    return np.stack([net.clip(0), (-net).clip(0), reactive * ~is_leading, reactive * is_leading], axis=1)


def _voltages(random: np.random.Generator, meters: int) -> Floats:
    """Voltages of three phases, slow with a little noise; shape (meters, 3, SLOTS). [0.1 V]"""
    slow = np.cumsum(random.normal(0, 5, (meters, 3, SLOTS)), axis=2) * 0.5
    return random.normal(2_330, 20, (meters, 3, 1)) + slow + random.normal(0, 14, (meters, 3, SLOTS))


def _currents(random: np.random.Generator, others: Floats) -> Floats:
    """Currents that go with energy and voltage, unevenly over the phases; shape (meters, 3, SLOTS). [mA]"""
    apparent = np.hypot(others[:, 0] + others[:, 1], others[:, 2] + others[:, 3])[:, None] * 4
    share = random.dirichlet((4, 4, 4), len(others))[:, :, None] * random.normal(1, 0.08, (len(others), 3, SLOTS))
    return apparent * share / (others[:, 4:7] / 10) * 1_000


def _gaps(random: np.random.Generator, meters: int, gap: float) -> npt.NDArray[np.bool_]:
    """Gaps of a whole meter and of single channels, half of the missing slots each; shape (meters, CHANNELS, SLOTS)."""
    gone = np.zeros((meters, CHANNELS, SLOTS), np.bool_)
    for rows, columns in ((1, slice(None)), (CHANNELS, None)):
        count = random.poisson(MISSING / 2 * meters * rows * SLOTS / gap)
        for meter, channel, start, length in zip(
            random.integers(0, meters, count), random.integers(0, CHANNELS, count),
            random.integers(0, SLOTS, count), random.geometric(1 / gap, count),
            strict=True,
        ):  # fmt: skip
            gone[meter, columns or channel, start : start + length] = True
    return gone
