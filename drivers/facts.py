"""Facts: what the meter said. Frozen, in UTC, with scaler and unit attached. Nobody edits a fact."""

from dataclasses import dataclass
from decimal import Decimal

from drivers.obis import Obis
from drivers.units import ScalerUnit
from kernels.quality import Rule

UtcSeconds = int
"""An instant: whole seconds since 1970-01-01T00:00:00Z, no leap seconds. [s]"""

INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class MeterIdentity:
    """Who answered. ``name`` is global: the DLMS logical device name, else ``maker:serial`` (docs/decisions/identity.md)."""

    name: str
    maker: str = ""
    serial: str = ""
    model: str = ""
    firmware: str = ""

    def __post_init__(self) -> None:
        """Refuse a nameless meter."""
        if not self.name.strip():
            raise ValueError("a meter identity needs a name")


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """One register at one instant.

    ``captured_at``: instant the value held, by the meter where it says so, else midway between request and answer. [s UTC]
    ``uncertainty``: half-width of what ``captured_at`` may be off by; 0 for a value the meter stamped itself. [s]
    ``rules``: rules the driver already saw broken (float32 coarser than the declared resolution, meter status bit).
    """

    obis: Obis
    count: int
    scaler_unit: ScalerUnit
    captured_at: UtcSeconds
    uncertainty: int = 0
    rules: Rule = Rule(0)

    def __post_init__(self) -> None:
        """Refuse a count beyond int64 or a negative uncertainty."""
        if not -(2**63) <= self.count < 2**63:
            raise ValueError(f"{self.obis}: count {self.count} does not fit 64 bits")
        if self.uncertainty < 0:
            raise ValueError(f"{self.obis}: uncertainty {self.uncertainty} s is negative")

    @property
    def value(self) -> Decimal:
        """Exact value in ``scaler_unit.unit``."""
        return self.scaler_unit.to_decimal(self.count)


@dataclass(frozen=True, slots=True)
class StatusWord:
    """What the meter's own status, or its log, said of ``[start, end)`` [s UTC]. ``word``: as it gave it.  ``text``: what that means,
    and by which layout.
    """

    start: UtcSeconds
    end: UtcSeconds
    word: int
    text: str


@dataclass(frozen=True, slots=True)
class IntervalBlock:
    """Consecutive intervals of one channel, as the meter's load profile holds them.

    ``start``: start of the first interval. [s UTC]  ``period``: length of each. [s]
    ``counts``: one per interval; None where the meter has no row for it.
    ``rules``: per interval, rules the meter's own status already reports broken; empty means none anywhere. `Rule.RANGE`
    on an interval without a count: the meter has a row for it, but what stands there is no count that can be held;
    `Rule.POWER_FAILURE`: the power was off; `Rule.CLOCK_SET`: the clock was set across it.
    ``status``: the words in which the meter said so, where it has any.
    """

    obis: Obis
    scaler_unit: ScalerUnit
    start: UtcSeconds
    period: int
    counts: tuple[int | None, ...]
    rules: tuple[Rule, ...] = ()
    status: tuple[StatusWord, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a period that does not divide a day, a value beyond int32, or quality of another length."""
        if self.period <= 0 or 86_400 % self.period:
            raise ValueError(f"{self.obis}: period {self.period} s does not divide a day")
        if self.rules and len(self.rules) != len(self.counts):
            raise ValueError(f"{self.obis}: {len(self.rules)} rule masks for {len(self.counts)} intervals")
        for index, count in enumerate(self.counts):
            if count is not None and not -INT32_MAX <= count <= INT32_MAX:
                raise ValueError(
                    f"{self.obis}: interval {index} holds {count}, which does not fit 32 bits; choose a coarser scaler"
                )

    @property
    def end(self) -> UtcSeconds:
        """End of the last interval, exclusive. [s UTC]"""
        return self.start + self.period * len(self.counts)


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """What happened, by the meter's own log. ``code`` is the meter's."""

    code: int
    at: UtcSeconds
    text: str = ""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The meter's clock beside ours. ``offset`` is meter minus ours. [s]"""

    meter: UtcSeconds
    host: UtcSeconds
    is_invalid: bool = False

    @property
    def offset(self) -> int:
        """Meter minus host; positive when the meter is fast. [s]"""
        return self.meter - self.host


Fact = RegisterValue | IntervalBlock | MeterEvent
