"""COSEM date-time and UTC. IEC 62056-6-2, clause 4.1.6.1 (date and time formats).

12 octets: year (2), month, day of month, day of week, hour, minute, second, hundredths, deviation (2), clock status.
UTC = local time + deviation [min]; 0x8000 means the deviation is not specified, and then the zone of the meter's
`ClockProfile` says it, with the daylight-saving bit of the clock status for the hour that comes twice.
"""

import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import IntFlag
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from drivers.errors import LocalProtocolError, ProfileError, RemoteProtocolError
from drivers.facts import UtcSeconds
from drivers.profile import ClockProfile

_LAYOUT = struct.Struct(">HBBBBBBBhB")
SIZE = _LAYOUT.size
UNSPECIFIED_DEVIATION = -0x8000
MAX_DEVIATION = 840  # [min]  The standard allows -720 to 840; zones reach from UTC-14 in its sign to UTC+12 and beyond
STATUS_UNSPECIFIED = 0xFF
_FIXED_ZONE = re.compile(r"UTC(?:([+-])(\d{2}):([0-5]\d))?", re.ASCII)


class ClockStatus(IntFlag):
    """Bits of the clock status octet. 0xFF as a whole means not specified."""

    INVALID_VALUE = 0x01
    DOUBTFUL_VALUE = 0x02
    DIFFERENT_BASE = 0x04
    INVALID_STATUS = 0x08
    DAYLIGHT_SAVING = 0x80


_UNTRUSTED = int(ClockStatus.INVALID_VALUE | ClockStatus.DOUBTFUL_VALUE)
_DAYLIGHT_SAVING = int(ClockStatus.DAYLIGHT_SAVING)


@dataclass(frozen=True, slots=True)
class CosemDateTime:
    """A date-time as the meter writes it. 0xFF (year 0xFFFF) in a field means not specified.

    ``deviation``: minutes to add to local time to get UTC; None where not specified. [min]  ``status``: clock status octet.
    """

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    deviation: int | None = None
    status: int = 0
    weekday: int = 0xFF
    hundredths: int = 0

    @classmethod
    def decode(cls, octets: bytes) -> "CosemDateTime":
        """Read the 12 octets. Raises `RemoteProtocolError` for another length or a deviation outside a day."""
        if len(octets) != SIZE:
            raise RemoteProtocolError(f"date-time of {len(octets)} octets, expected {SIZE}")
        year, month, day, weekday, hour, minute, second, hundredths, deviation, status = _LAYOUT.unpack(octets)
        if deviation != UNSPECIFIED_DEVIATION and abs(deviation) > MAX_DEVIATION:
            raise RemoteProtocolError(f"deviation {deviation} min in date-time {octets.hex()}")
        known = None if deviation == UNSPECIFIED_DEVIATION else deviation
        return cls(year, month, day, hour, minute, second, known, status, weekday, hundredths)

    def encode(self) -> bytes:
        """Give the 12 octets. Raises `LocalProtocolError` for a field that does not fit."""
        deviation = UNSPECIFIED_DEVIATION if self.deviation is None else self.deviation
        try:
            return _LAYOUT.pack(
                self.year, self.month, self.day, self.weekday, self.hour, self.minute, self.second, self.hundredths,
                deviation, self.status,
            )  # fmt: skip
        except struct.error as error:
            raise LocalProtocolError(f"{self} does not fit a date-time") from error

    @classmethod
    def from_utc(cls, instant: UtcSeconds, zone: str = "UTC", *, specify_deviation: bool = True) -> "CosemDateTime":
        """Write an instant as a meter in ``zone`` would, with deviation or without; day of week is left open."""
        local = datetime.fromtimestamp(instant, find_zone(zone))
        offset = local.utcoffset() or timedelta()
        status = ClockStatus.DAYLIGHT_SAVING if local.dst() else ClockStatus(0)
        deviation = -int(offset.total_seconds()) // 60 if specify_deviation else None
        return cls(
            local.year, local.month, local.day, local.hour, local.minute, local.second, deviation, int(status)
        )  # fmt: skip

    @property
    def is_daylight_saving(self) -> bool:
        """True where the meter says that daylight-saving time is in force."""
        return self.status != STATUS_UNSPECIFIED and bool(self.status & _DAYLIGHT_SAVING)

    @property
    def is_invalid(self) -> bool:
        """True where the meter itself does not trust the time (invalid or doubtful value)."""
        return self.status != STATUS_UNSPECIFIED and bool(self.status & _UNTRUSTED)

    def local(self) -> datetime:
        """Give local time without zone; unspecified seconds count as 0. Raises `RemoteProtocolError` for a gap elsewhere."""
        try:
            return datetime(  # noqa: DTZ001  # local time of the meter; the caller adds its deviation or zone
                self.year, self.month, self.day, self.hour, self.minute, 0 if self.second == 0xFF else self.second
            )
        except ValueError:
            raise RemoteProtocolError(f"date-time {self.encode().hex()} is not a point in time") from None

    def to_utc(self, clock: ClockProfile) -> UtcSeconds:
        """Give the instant, by the meter's deviation where specified and believed, else by ``clock.zone``."""
        instants = self._instants(clock)
        return min(instants) if self.is_daylight_saving else max(instants)

    def is_doubtful(self, clock: ClockProfile) -> bool:
        """True where the meter does not trust the time, or the hour comes twice and nothing says which is meant."""
        return self.is_invalid or (self.status == STATUS_UNSPECIFIED and len(set(self._instants(clock))) > 1)

    def _instants(self, clock: ClockProfile) -> tuple[UtcSeconds, UtcSeconds]:
        """Give what the two readings of local time are; they differ in an hour that comes twice or never alone."""
        local = self.local()
        if self.deviation is not None and clock.deviation == "meter":
            instant = _seconds(local.replace(tzinfo=UTC)) + self.deviation * 60
            return instant, instant
        zone = find_zone(clock.zone)
        # The readings differ by fold (PEP 495); the one further east has daylight saving.
        return _seconds(local.replace(tzinfo=zone, fold=0)), _seconds(local.replace(tzinfo=zone, fold=1))


def _seconds(moment: datetime) -> UtcSeconds:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


@lru_cache(maxsize=64)
def find_zone(name: str) -> tzinfo:
    """Find an IANA zone or a fixed one written ``UTC+10:00``. Raises `ProfileError` naming both forms."""
    if match := _FIXED_ZONE.fullmatch(name):
        sign, hours, minutes = match.groups()
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        if offset < timedelta(hours=15):
            return timezone(-offset if sign == "-" else offset, name)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ProfileError(
            "clock", [f"zone: {name!r} is neither an IANA zone (Europe/Vienna) nor a fixed one (UTC+10:00)"]
        ) from None
