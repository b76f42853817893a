"""A checked row of the meter table."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from drivers.facts import UtcSeconds
from drivers.profile import MeterProfile
from headend.registry.model import TariffSince, overlap


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one cell. ``row``: line number as an editor counts, the heading is 1.  ``column``: empty for the row."""

    row: int
    column: str
    what: str

    def __str__(self) -> str:
        where = f"row {self.row}" + (f", column {self.column}" if self.column else "")
        return f"{where}: {self.what}"


@dataclass(frozen=True, slots=True)
class MeterRow:
    """One meter at one usage point within ``[start, end)`` [s UTC]. Secrets are references.

    ``grid_offset``: local midnight at ``start``, in seconds of the UTC day; a channel's first slot is that modulo its period.
    """

    number: int
    usage_point: str
    meter: str
    profile: MeterProfile
    link: str
    address: str
    start: UtcSeconds
    end: UtcSeconds | None
    zone: str
    grid_offset: int
    area: str
    transformer: str
    feeder: str
    box: str
    multiplier: int
    dials: int
    check_meter: str
    check_ratio: Fraction
    tariff: tuple[TariffSince, ...]
    password: str
    encryption_key: str
    authentication_key: str
    options: Mapping[str, str]

    @property
    def serial(self) -> str:
        """Serial number where the global name is ``maker:serial``, else empty."""
        maker, colon, serial = self.meter.partition(":")
        return serial if colon and maker else ""

    def overlaps(self, other: "MeterRow") -> bool:
        """Say whether the two rows share an instant."""
        return overlap(self.start, self.end, other.start, other.end)
