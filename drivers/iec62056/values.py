"""Printed values to whole counts, exact to the digit; stamps of the meter's clock to instants.

Source: IEC 62056-21, 6.6 (values are decimal digits with a point); stamps as meters print them under 0.9.1 and 0.9.2 and
beside maxima: ``hhmmss``, ``YYMMDD`` and ``YYMMDDhhmm``, with a digit in front where the meter says which time it keeps (0: normal
time, 1: daylight saving, 2: UTC).
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from drivers.errors import RemoteProtocolError
from drivers.facts import RegisterValue, UtcSeconds
from drivers.iec62056.datasets import DataSet, Value
from drivers.obis import Obis
from drivers.units import MAX_COUNT, ScalerUnit, Unit
from drivers.zone import parse_zone

MAX_TEXT: Final = 128  # characters of a value, IEC 62056-21, 6.6
_NUMBER: Final = re.compile(r"([+-]?)(\d{1,18})(?:\.(\d{0,12}))?", re.ASCII)
_ERRORS: Final = re.compile(r"[0-9A-Fa-f]{1,16}")
_STAMP: Final = re.compile(r"([0-2]?)(\d{6})(\d\d)(\d\d)(\d\d)?", re.ASCII)
_MARKS: Final = str.maketrans("", "", "-:., T")
_PREFIXES: Final = {"": 0, "k": 3, "M": 6, "G": 9}
_UNITS: Final = {
    "wh": Unit.WATT_HOUR, "w": Unit.WATT, "varh": Unit.VAR_HOUR, "var": Unit.VAR, "va": Unit.VOLT_AMPERE,
    "vah": Unit.VOLT_AMPERE_HOUR, "v": Unit.VOLT, "a": Unit.AMPERE, "hz": Unit.HERTZ, "m3": Unit.CUBIC_METRE,
    "j": Unit.JOULE, "c": Unit.CELSIUS, "%": Unit.PERCENT, "h": Unit.HOUR, "s": Unit.SECOND,
}  # fmt: skip


def parse_unit(text: str) -> ScalerUnit:
    """Read a printed unit: kWh is 10^3 Wh. Capitals are as meters print them, but for the prefix. Raises `RemoteProtocolError`."""
    for prefix, power in _PREFIXES.items():
        known = _UNITS.get(text.removeprefix(prefix).lower()) if text.startswith(prefix) else None
        if known is not None:
            return ScalerUnit(power, known)
    raise RemoteProtocolError(f"{text[:16]!r} is no unit known here")


def decode_number(value: Value, implied: ScalerUnit | None = None) -> tuple[int, ScalerUnit]:
    """Give digits as a count, and what it counts: 000502.853*kWh is 502853 of 10^0 Wh. Raises `RemoteProtocolError`.

    ``implied``: what a printed 1 is worth where no unit is printed beside it; where one is, it must be of the same quantity.
    """
    match = _NUMBER.fullmatch(value.text)
    if match is None:
        raise RemoteProtocolError(f"{value.text[:40]!r} is no number")
    if not value.unit and implied is None:
        raise RemoteProtocolError(f"{value.text[:40]} has no unit, and nothing says which is meant")
    worth = parse_unit(value.unit) if value.unit else implied
    assert worth is not None
    if implied is not None and worth.unit is not implied.unit:
        raise RemoteProtocolError(f"a value is printed in {value.unit}, and {implied.unit.symbol} was expected")
    sign, whole, fraction = match.groups(default="")
    count = int(sign + whole + fraction)
    if abs(count) > MAX_COUNT:
        raise RemoteProtocolError(f"{value.text[:40]} does not fit 64 bits")
    return count, ScalerUnit(worth.scaler - len(fraction), worth.unit)


def register_value(
    data_set: DataSet, obis: Obis, captured_at: UtcSeconds, uncertainty: int = 0, implied: ScalerUnit | None = None
) -> RegisterValue:
    """Give the first value of a data set as a fact. Raises `RemoteProtocolError`; see `decode_number` for ``implied``."""
    count, scaler_unit = decode_number(data_set.values[0], implied)
    return RegisterValue(obis, count, scaler_unit, captured_at, uncertainty)


def decode_errors(value: Value) -> int:
    """Read the error register F.F, which is hexadecimal; 0 says that there is none. Raises `RemoteProtocolError`."""
    if value.unit or not _ERRORS.fullmatch(value.text):
        raise RemoteProtocolError(f"{value.text[:40]!r} is no error register")
    return int(value.text, 16)


def decode_clock(date: str, time: str, zone: str) -> UtcSeconds:
    """Put the meter's date and time together, as printed under 0.9.2 and 0.9.1. [s UTC] Raises `RemoteProtocolError`."""
    day, hour = date.translate(_MARKS), time.translate(_MARKS)
    if len(hour) == 7 and len(day) == 6:  # which time it keeps is said with the time alone
        day, hour = hour[0] + day, hour[1:]
    elif len(hour) == 7 and hour[0] == day[0]:
        hour = hour[1:]
    return decode_stamp(day + hour, zone)


def decode_stamp(text: str, zone: str) -> UtcSeconds:
    """Read ``YYMMDDhhmm`` or ``YYMMDDhhmmss``, which time it is said in front or not. [s UTC] Raises `RemoteProtocolError`.

    Without that digit, it is the wall clock of ``zone``; of an hour that comes twice, the first is meant. With it, a zone that
    knows no daylight saving is normal time.
    """
    digits = text.translate(_MARKS)
    match = _STAMP.fullmatch(digits)
    if match is None or len(digits) not in {10, 11, 12, 13}:
        raise RemoteProtocolError(f"{text[:40]!r} is no stamp YYMMDDhhmm")
    kept, day, hour, minute, second = match.groups(default="")
    try:
        wall = datetime.strptime(f"{day}{hour}{minute}{second or '00'}", "%y%m%d%H%M%S")  # noqa: DTZ007  zone below
    except ValueError as error:
        raise RemoteProtocolError(f"{text[:40]!r} is no time") from error
    if kept == "2":
        return int(wall.replace(tzinfo=UTC).timestamp())
    there = wall.replace(tzinfo=parse_zone(zone))
    if not kept:
        return int(there.timestamp())
    offset, saving = there.utcoffset() or timedelta(0), there.dst() or timedelta(0)
    said = timedelta(hours=1) if kept == "1" else timedelta(0)
    return int((wall - (offset - saving) - said).replace(tzinfo=UTC).timestamp())
