"""What the steps of one validation run share: the series being made, what the rules mean for it, and what may be looked
at beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from fractions import Fraction
from math import floor

import numpy as np

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.units import ScalerUnit
from headend.series import Int32, Series, UInt8
from headend.vee.drift import ClockReading
from headend.vee.localtime import Int64
from headend.vee.registers import TariffRegisters
from headend.vee.rules import HOUR, MEAN_POWER_UNITS, ChannelLimits, RuleSet
from kernels.quality import Rule, State

_STATUS = Rule.POWER_FAILURE | Rule.CLOCK_SET | Rule.TEST_MODE | Rule.OVERFLOW | Rule.CLOCK_DRIFT
NO_END = int(_STATUS)
"""Rules whose slots are no end of a line: the interval is not whole, or is no usage."""
DOUBTED = int(
    _STATUS
    | Rule.RANGE
    | Rule.SPIKE
    | Rule.LOCAL_PEAK
    | Rule.STEP
    | Rule.NEGATIVE_RUN
    | Rule.METER_STATUS
    | Rule.CONFLICT
    | Rule.MAIN_CHECK
)
"""Rules whose slots are no reference for an estimate."""
INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Source:
    """A value that something was made from. ``start``: of its slot. [s UTC]  ``value``: in counts of the series."""

    start: UtcSeconds
    value: int


@dataclass(frozen=True, slots=True)
class Note:
    """One step of how a slot came to be what it is. ``step``: a word for programs.  ``text``: for people."""

    step: str
    text: str
    sources: tuple[Source, ...] = ()


@dataclass(slots=True)
class Watch:
    """Collects what happens to one slot during a run."""

    slot: int
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Beside:
    """What a run may look at beside its own series. All of it in primary counts, on the series' own grid of time.

    ``obis``: the channel itself, None where only its unit is known.  ``siblings``: other channels of the usage point
    over the same slots.  ``year``: gives the raw slots of 364 days before, some days around included, None where there
    are none; asked at most once, and only when needed.
    ``check_meter``: the same energy by another meter, over the same slots and in our counts; ``check_name`` says which.
    ``multiplier``: of the installation.  ``tariff``: what the meter's tariff registers counted.
    ``clock``: readings of the meter's clock, by time.
    """

    obis: Obis | None = None
    siblings: Mapping[Obis, Series] = field(default_factory=dict)
    year: Callable[[], Series | None] | None = None
    check_meter: Series | None = None
    multiplier: int = 1
    clock: Sequence[ClockReading] = ()
    check_name: str = ""
    tariff: TariffRegisters | None = None


@dataclass(slots=True)
class Work:
    """One run's own copy of a series, with what the rules mean for it. ``year``: filled on demand by
    `previous_year`.
    """

    series: Series
    offsets: Int64
    zone: tzinfo
    limits: ChannelLimits
    rules: RuleSet
    beside: Beside = Beside()
    watch: Watch | None = None
    year: "Work | None" = None
    has_asked_year: bool = False

    def counts_of(self, watts: int) -> int:
        """Turn mean power over an interval [W] into counts of an energy channel, rounded down."""
        return counts_of(watts, self.series.scaler_unit, self.series.period)

    def at(self, slot: int) -> UtcSeconds:
        """Give a slot's start. [s UTC]"""
        return self.series.start + slot * self.series.period

    def note(self, step: str, text: str, sources: Sequence[Source] = ()) -> None:
        """Note a step of the slot that is watched."""
        if self.watch is not None:
            self.watch.notes.append(Note(step, text, tuple(sources)))


def counts_of(value: int | Fraction, scaler_unit: ScalerUnit, period: int) -> int:
    """Turn a limit into counts, rounded down and within int32: energy is given as mean power over ``period`` [s], other
    units as they are.
    """
    worth = Fraction(10) ** scaler_unit.scaler
    if scaler_unit.unit in MEAN_POWER_UNITS:
        worth *= Fraction(HOUR, period)
    return min(floor(value / worth), INT32_MAX)


def on_scaler(series: Series, scaler: int) -> tuple[Int32, UInt8]:
    """Give values and state with a scaler not coarser than the series' own; a count beyond 32 bits has no value
    then.
    """
    factor = 10 ** (series.scaler_unit.scaler - scaler)
    if factor == 1:
        return series.values, series.state
    fits = np.abs(series.values.astype(np.int64)) <= INT32_MAX // factor
    values = np.where(fits, series.values * np.int64(min(factor, INT32_MAX)), 0).astype(np.int32)
    return values, np.where(fits | ~series.has_value, series.state, np.uint8(State.NOT_EXPECTED))


def instant_text(at: UtcSeconds) -> str:
    """Write an instant in UTC for people."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
