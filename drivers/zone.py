"""Time zones as profiles write them: an IANA name, or ``UTC+10:00`` for a fixed offset."""

import re
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_FIXED = re.compile(r"UTC([+-])(\d{2}):([0-5]\d)", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", re.ASCII)
MAX_OFFSET_HOURS = 14
MAX_NAME = 64


def parse_zone(text: str) -> tzinfo:
    """Turn ``UTC``, ``UTC-03:00`` or an IANA name such as ``Europe/Berlin`` into a time zone. Raises `ValueError`."""
    if text == "UTC":
        return UTC
    if match := _FIXED.fullmatch(text):
        sign, hours, minutes = match.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        if offset > timedelta(hours=MAX_OFFSET_HOURS):
            raise ValueError(f"{text}: no zone is more than {MAX_OFFSET_HOURS} hours from UTC")
        return timezone(-offset if sign == "-" else offset)
    if len(text) <= MAX_NAME and _NAME.fullmatch(text):
        try:
            return ZoneInfo(text)
        except (KeyError, ValueError, OSError):
            pass
    raise ValueError(f"{text[:MAX_NAME]!r} is neither an IANA time zone (Europe/Berlin) nor a fixed offset (UTC+10:00)")
