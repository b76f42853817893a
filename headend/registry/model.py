"""The registry's frozen types. Integers named ``id`` are local to one store and never leave it; names are global."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.profile import Origin
from drivers.units import ScalerUnit

DAY = 86_400
MAX_MULTIPLIER = 1_000_000
MAX_DIALS = 18
"""Decimal digits that always fit 64 bits."""
MAX_NAME_BYTES = 255
"""Longest global name, as UTF-8; it stands in every block behind a one-byte length."""


def check_name(name: str) -> None:
    """Refuse a global name that is empty, padded, too long or holds control characters. Raises `ValueError`."""
    if not name or name != name.strip():
        raise ValueError("is empty or begins or ends with a blank")
    if not name.isprintable():
        raise ValueError("holds a control character")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"is longer than {MAX_NAME_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Link:
    """A shared medium: one serial port, one TCP connection, one broker. ``url`` as `drivers.transports` takes it."""

    id: int
    url: str


@dataclass(frozen=True, slots=True)
class EndDevice:
    """A meter. ``name``: global identity (docs/decisions/identity.md). Secrets are references ``env:NAME`` or ``file:PATH``."""

    id: int
    name: str
    profile: str
    link_id: int
    address: str
    serial: str = ""
    password_ref: str = ""
    encryption_key_ref: str = ""
    authentication_key_ref: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class TariffSince:
    """By which tariff of which calendar a usage point is billed from a local day on. ``day``: counted since 1970-01-01."""

    day: int
    calendar: str
    tariff: str


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """Where supply is measured and billed. ``zone``: IANA name, or ``UTC+10:00`` for a fixed offset.

    ``check_meter``: name of the usage point at which another meter measures the same energy, empty for none; ours is
    ``check_ratio`` times its.  ``tariffs``: by day, each until the next.
    """

    id: int
    name: str
    zone: str
    area: str = ""
    transformer: str = ""
    feeder: str = ""
    box: str = ""
    check_meter: str = ""
    check_ratio: Fraction = Fraction(1)
    tariffs: tuple[TariffSince, ...] = ()


@dataclass(frozen=True, slots=True)
class Installation:
    """Which end device measures which usage point within ``[start, end)`` [s UTC]; ``end`` None: until further notice.

    ``multiplier``: what one secondary count is worth at the primary side (current times voltage transformer ratio).
    ``dials``: digits of the meter's registers, in counts of their channels; 0: as its model has it.
    """

    usage_point_id: int
    end_device_id: int
    start: UtcSeconds
    end: UtcSeconds | None = None
    multiplier: int = 1
    dials: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty span, a multiplier that is not a positive whole number, or more digits than there can be."""
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise ValueError(f"an installation from {self.start} to {self.end} is empty or before 1970")
        if not 1 <= self.multiplier <= MAX_MULTIPLIER:
            raise ValueError(f"multiplier {self.multiplier} is not within 1 to {MAX_MULTIPLIER}")
        if not 0 <= self.dials <= MAX_DIALS:
            raise ValueError(f"{self.dials} dials are not within 0 to {MAX_DIALS}")

    def overlaps(self, other: "Installation") -> bool:
        """Say whether the two spans share an instant."""
        return overlap(self.start, self.end, other.start, other.end)


@dataclass(frozen=True, slots=True)
class ChannelExpectation:
    """One channel an end device should deliver within ``[start, end)`` [s UTC], ``end`` None: until further notice.

    ``period``: [s].  ``offset``: start of the first slot within the UTC day, below ``period``. [s]
    Slot ``i`` of day ``d`` covers ``d * 86400 + offset + i * period`` and on; a slot is expected if it starts in the span.
    ``dials``: digits after which the channel's register starts again at 0, in counts of ``scaler_unit``; 0: nobody knows.
    """

    end_device_id: int
    obis: Obis
    period: int
    offset: int
    scaler_unit: ScalerUnit
    origin: Origin
    start: UtcSeconds
    end: UtcSeconds | None = None
    dials: int = 0

    def __post_init__(self) -> None:
        """Refuse a grid that does not tile the UTC day, or an empty span."""
        if self.period <= 0 or DAY % self.period or not 0 <= self.offset < self.period:
            raise ValueError(f"{self.obis}: a grid of {self.period} s from {self.offset} s does not tile a day")
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise ValueError(f"{self.obis}: an expectation from {self.start} to {self.end} is empty or before 1970")

    @property
    def grid(self) -> tuple[int, int, ScalerUnit]:
        """Period [s], offset [s] and scaler with unit: what must agree for values to stand in one series."""
        return self.period, self.offset, self.scaler_unit


def overlap(start: UtcSeconds, end: UtcSeconds | None, other_start: UtcSeconds, other_end: UtcSeconds | None) -> bool:
    """Say whether two half-open spans share an instant; None means without end."""
    return (end is None or other_start < end) and (other_end is None or start < other_end)
