"""The monthly day on which meters freeze their registers for billing."""

from datetime import datetime
from typing import Final

from drivers.errors import RemoteProtocolError
from drivers.facts import UtcSeconds
from drivers.zone import parse_zone

LAST_DAY: Final = 28  # DL/T 645-2007, table A.5: settlement days are 1 to 28


class Days:
    """Day and hour of each month, by the meter's clock. DL/T 645-2007, 04000B01: DDhh."""

    def __init__(self, octets: bytes, zone: str) -> None:
        """Raises `RemoteProtocolError` for what is no day; 9999 says that there is none."""
        text = octets[::-1].hex()
        self._zone = parse_zone(zone)
        if len(text) != 4 or not text.isdecimal():
            raise RemoteProtocolError(f"{octets.hex(' ')} is no settlement day")
        self._day, self._hour = int(text[:2]), int(text[2:])
        if text != "9999" and not (1 <= self._day <= LAST_DAY and self._hour < 24):
            raise RemoteProtocolError(f"{text} is no settlement day and hour")

    def before(self, now: UtcSeconds, number: int) -> UtcSeconds | None:
        """Give the ``number``-th last such day at or before an instant [s UTC]; None where there is none."""
        if self._day == 99:
            return None
        local = datetime.fromtimestamp(now, self._zone)
        this = datetime(local.year, local.month, self._day, self._hour, tzinfo=self._zone)
        months = local.year * 12 + local.month - 1 - (number if this > local else number - 1)
        year, month = divmod(months, 12)
        return int(datetime(year, month + 1, self._day, self._hour, tzinfo=self._zone).timestamp())
