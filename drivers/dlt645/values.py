"""Values: BCD, low byte first, to whole counts and to instants. Exact; FF all over says that the meter has no such thing.

Source: DL/T 645-2007, annex A (XXXXXX.XX is four octets of two digits; the top bit of power, current, power factor and combined
energies is their sign; YYMMDDhhmm and its like are written high byte first there, and sent low byte first).
"""

from datetime import datetime, timedelta
from typing import Final

from drivers.errors import RemoteProtocolError
from drivers.facts import UtcSeconds
from drivers.zone import parse_zone

SIGN: Final = 0x80
NOT_SUPPORTED: Final = 0xFF
_CENTURY: Final = 2000  # two digits of year; meters of either edition are younger
_FIELDS: Final = {"Y": "year", "M": "month", "D": "day", "h": "hour", "m": "minute", "s": "second"}


def decode_count(octets: bytes, *, signed: bool) -> int | None:
    """Read a number in counts of its last digit; None where the meter has none. Raises `RemoteProtocolError` for no BCD."""
    if not octets:
        raise RemoteProtocolError("a value of no bytes")
    if octets.count(NOT_SUPPORTED) == len(octets):
        return None
    digits = bytearray(reversed(octets))
    is_negative = signed and bool(digits[0] & SIGN)
    if is_negative:
        digits[0] &= ~SIGN
    text = digits.hex()
    if not text.isdecimal():
        raise RemoteProtocolError(f"{octets.hex(' ')} is no BCD number")
    return -int(text) if is_negative else int(text)


def encode_count(count: int, octets: int, *, signed: bool) -> bytes:
    """Write a count as the meter does. Raises `ValueError` where it does not fit."""
    text = f"{abs(count):0{2 * octets}d}"
    if len(text) > 2 * octets or (count < 0 and not signed) or (signed and int(text[0]) > 7):
        raise ValueError(f"{count} does not fit {octets} bytes of BCD{' with a sign' if signed else ''}")
    written = bytearray.fromhex(text)
    written[0] |= SIGN * (count < 0)
    return bytes(reversed(written))


def decode_instant(octets: bytes, layout: str, zone: str) -> UtcSeconds | None:
    """Read a stamp of the meter's clock [s UTC]; None for one not set. ``layout``: as the standard writes it, ``YYMMDDhhmm``.

    W is the day of the week, which is not looked at. Raises `RemoteProtocolError` for what is no time.
    """
    text = octets[::-1].hex()
    if len(text) != len(layout):
        raise RemoteProtocolError(f"{octets.hex(' ')} is no stamp {layout}")
    if not text.strip("0") or not text.strip("f") or not text.strip("9"):
        return None
    parts = {"month": 1, "day": 1} | {
        name: int(digits)
        if (digits := "".join(d for d, key in zip(text, layout, strict=True) if key == letter)).isdecimal()
        else -1
        for letter, name in _FIELDS.items()
        if letter in layout
    }
    is_midnight_after = parts.get("hour") == 24 and not parts.get("minute") and not parts.get("second")
    if is_midnight_after:  # some meters end the day so
        parts["hour"] = 0
    try:
        parts["year"] += _CENTURY
        moment = datetime(**parts, tzinfo=parse_zone(zone))
    except (KeyError, ValueError) as error:
        raise RemoteProtocolError(f"{octets.hex(' ')} is no time {layout}") from error
    return int((moment + timedelta(days=is_midnight_after)).timestamp())


def encode_instant(instant: UtcSeconds, layout: str, zone: str) -> bytes:
    """Write an instant as the meter's clock shows it."""
    moment = datetime.fromtimestamp(instant, parse_zone(zone))
    formats = {"YY": "%y", "MM": "%m", "DD": "%d", "WW": "0%w", "hh": "%H", "mm": "%M", "ss": "%S"}
    pairs = (layout[index : index + 2] for index in range(0, len(layout), 2))
    return bytes.fromhex("".join(moment.strftime(formats[pair]) for pair in pairs))[::-1]
