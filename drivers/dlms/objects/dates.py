"""Dates and times of day as a meter writes them in calendars and schedules. IEC 62056-6-2, clause 4.1.6.1."""

from dataclasses import astuple, dataclass

from drivers.errors import RemoteProtocolError

UNSPECIFIED = 0xFF
UNSPECIFIED_YEAR = 0xFFFF
DAYLIGHT_SAVINGS_END, DAYLIGHT_SAVINGS_BEGIN = 0xFD, 0xFE  # in a month
LAST_DAY, LAST_DAY_BUT_ONE = 0xFE, 0xFD  # in a day of month


@dataclass(frozen=True, slots=True)
class CosemDate:
    """A date, or a pattern of dates: 0xFF (year 0xFFFF) in a field stands for each. ``weekday``: Monday is 1."""

    year: int
    month: int
    day: int
    weekday: int = UNSPECIFIED

    def __post_init__(self) -> None:
        """Refuse what the standard does not know."""
        is_right = 0 <= self.year <= UNSPECIFIED_YEAR and (
            1 <= self.month <= 12 or DAYLIGHT_SAVINGS_END <= self.month <= UNSPECIFIED
        )
        is_right &= 1 <= self.day <= 31 or LAST_DAY_BUT_ONE <= self.day <= UNSPECIFIED
        if not is_right or not (1 <= self.weekday <= 7 or self.weekday == UNSPECIFIED):
            raise ValueError(f"{astuple(self)} is no date")

    @classmethod
    def decode(cls, octets: bytes) -> "CosemDate":
        """Read the five octets. Raises `RemoteProtocolError`."""
        if len(octets) != 5:
            raise RemoteProtocolError(f"date of {len(octets)} octets, expected 5")
        try:
            return cls(int.from_bytes(octets[:2], "big"), *octets[2:])
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from None

    def encode(self) -> bytes:
        """Give the five octets."""
        return self.year.to_bytes(2, "big") + bytes((self.month, self.day, self.weekday))

    def __str__(self) -> str:
        """Write ``2026-12-25``, with ``*`` for each of a field."""
        year = "*" if self.year == UNSPECIFIED_YEAR else f"{self.year:04}"
        words = {UNSPECIFIED: "*", LAST_DAY: "last", LAST_DAY_BUT_ONE: "last but one"}
        months = {UNSPECIFIED: "*", DAYLIGHT_SAVINGS_BEGIN: "dst begin", DAYLIGHT_SAVINGS_END: "dst end"}
        text = f"{year}-{months.get(self.month, f'{self.month:02}')}-{words.get(self.day, f'{self.day:02}')}"
        return text if self.weekday == UNSPECIFIED else f"{text} weekday {self.weekday}"


@dataclass(frozen=True, slots=True)
class CosemTime:
    """A time of day, or a pattern: 0xFF in a field stands for each."""

    hour: int
    minute: int
    second: int = 0
    hundredths: int = 0

    def __post_init__(self) -> None:
        """Refuse what the standard does not know."""
        limits = (23, 59, 59, 99)
        if any(
            not 0 <= field <= limit and field != UNSPECIFIED for field, limit in zip(astuple(self), limits, strict=True)
        ):
            raise ValueError(f"{astuple(self)} is no time of day")

    @classmethod
    def decode(cls, octets: bytes) -> "CosemTime":
        """Read the four octets. Raises `RemoteProtocolError`."""
        if len(octets) != 4:
            raise RemoteProtocolError(f"time of {len(octets)} octets, expected 4")
        try:
            return cls(*octets)
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from None

    def encode(self) -> bytes:
        """Give the four octets."""
        return bytes(astuple(self))

    def __str__(self) -> str:
        """Write ``07:30:00``, with ``*`` for each of a field."""
        return ":".join("*" if part == UNSPECIFIED else f"{part:02}" for part in astuple(self)[:3])
