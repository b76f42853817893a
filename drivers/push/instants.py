"""Instants in pushed messages: text or numbers to whole UTC seconds."""

from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Literal

from drivers.facts import UtcSeconds
from drivers.push.document import PayloadError, shown

EARLIEST: UtcSeconds = 946_684_800  # 2000-01-01T00:00:00Z; before it no meter of ours had a clock
LATEST: UtcSeconds = 4_102_444_800  # 2100-01-01T00:00:00Z
MAX_TEXT = 40


def parse_instant(
    value: object, time_format: Literal["epoch", "epoch_ms", "iso"], zone: tzinfo, where: str
) -> UtcSeconds:
    """Turn a field into an instant [s UTC]. ``zone`` is for ISO text without offset. Raises `PayloadError`."""
    instant = _from_text(value, zone, where) if time_format == "iso" else _from_number(value, time_format, where)
    if not EARLIEST <= instant < LATEST:
        raise PayloadError(f"{where}: {shown(value)} is not between 2000 and 2100")
    return instant


def _from_text(value: object, zone: tzinfo, where: str) -> UtcSeconds:
    if not isinstance(value, str) or not 16 <= len(value) <= MAX_TEXT:
        raise PayloadError(f"{where}: {shown(value)} is not an ISO 8601 date and time, such as 2026-01-31T23:30:00Z")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = _in_zone(moment, zone)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError) as error:
        raise PayloadError(f"{where}: {shown(value)}: {error}") from error
    if moment.microsecond:
        raise PayloadError(f"{where}: {shown(value)} is not a whole second")
    return seconds


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Place a local time; one that daylight saving skips or repeats has no single instant. Raises `ValueError`."""
    first, second = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    if first.utcoffset() != second.utcoffset():
        raise ValueError(f"this local time is skipped or repeated in {zone}; the message needs an offset from UTC")
    return first.astimezone(UTC)


def _from_number(value: object, time_format: Literal["epoch", "epoch_ms"], where: str) -> UtcSeconds:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PayloadError(f"{where}: {shown(value)} is not a number of {'ms' if time_format == 'epoch_ms' else 's'}")
    limit = LATEST * (1000 if time_format == "epoch_ms" else 1)
    if not 0 <= value < limit:
        raise PayloadError(f"{where}: {shown(value)} is not between 2000 and 2100")
    whole, rest = divmod(value, 1000 if time_format == "epoch_ms" else 1)
    if rest:
        raise PayloadError(f"{where}: {shown(value)} is not a whole second")
    return int(whole)
