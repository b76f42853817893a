"""Telegrams that meters print at a household interface (P1), read into the same objects as a data-notification. Sans-IO.

IEC 62056-21, mode D, as the Dutch P1 companion standard (DSMR 2.2 to 5) profiles it: ``/`` and who made the meter, an empty
line, lines ``A-B:C.D.E(value*unit)``, and ``!``, from version 4 on with four hexadecimal digits of a checksum (CRC-16/ARC) over
all from ``/`` to ``!``. Versions 2.2 and 3 have neither checksum nor time. The time of the telegram is local, ``YYMMDDhhmmssX``,
where X is S while daylight saving is in force and W else.

Taken are electricity (value group A = 1) with a unit, the telegram's time, what names the meter, and the last reading of meters
behind it (group B is their channel) or of a maximum, which have a time of their own::

    0-1:24.2.1(YYMMDDhhmmssX)(value*m3)                                  from version 4 on, value group A = 1 too
    0-1:24.3.0(YYMMDDhhmmss)(00)(60)(1)(0-1:24.2.1)(m3) CRLF (value)     versions 2.2 and 3

The two digits behind the time of versions 2.2 and 3 are a status, which the companion standard does not explain.

Left out is what has no unit, and rows of earlier readings.
"""

import re
from dataclasses import replace
from itertools import pairwise

from drivers.dlms.axdr import Data, Tag
from drivers.dlms.datetime import STATUS_UNSPECIFIED, ClockStatus, CosemDateTime
from drivers.dlms.notification import Notification, PushedObject, decode_notification
from drivers.errors import RemoteProtocolError
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from kernels.checksum import crc16_modbus

START = 0x2F  # /
MAX_TELEGRAM = 16_384
MAX_LINES = 512
_HEAD = re.compile(rb"/[A-Za-z]{3}[0-9][\x20-\x7e]*\r?\n")
_END = re.compile(rb"!([0-9A-Fa-f]{4})?\r?\n")
_LINE = re.compile(r"(\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3})\(([^()]*)\)", re.ASCII)
_VALUE = re.compile(r"(\d{1,15})(?:\.(\d{1,6}))?\*([A-Za-z0-9]{1,6})", re.ASCII)
_STAMPED = re.compile(r"(\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3})\((\d{12}[SW])\)\(([^()]*)\)", re.ASCII)
_BEHIND = re.compile(
    r"\d-\d{1,3}:24\.3\.0\((\d{12})\)\(([0-9A-Fa-f]{0,8})\)(?:\([^()]*\)){2}\((\d-\d{1,3}:24\.\d{1,3}\.\d{1,3})\)\(([A-Za-z0-9]{1,6})\)",
    re.ASCII,
)
_ALONE = re.compile(r"\(([0-9.]{1,22})\)", re.ASCII)
_STAMP = re.compile(r"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)([SW]?)", re.ASCII)
_PREFIXES = {"": 0, "k": 3, "M": 6}
_UNITS = {
    "wh": Unit.WATT_HOUR, "w": Unit.WATT, "varh": Unit.VAR_HOUR, "var": Unit.VAR, "va": Unit.VOLT_AMPERE,
    "vah": Unit.VOLT_AMPERE_HOUR, "v": Unit.VOLT, "a": Unit.AMPERE, "hz": Unit.HERTZ, "m3": Unit.CUBIC_METRE,
}  # fmt: skip
_CLOCK = Obis(0, 0, 1, 0, 0)
_TEXTS = (Obis(0, 0, 42, 0, 0), Obis(0, 0, 96, 1, 0), Obis(0, 0, 96, 1, 1))


def begins(octets: bytes | bytearray) -> bool | None:
    """Say whether a telegram begins here; None where too few octets are there to tell."""
    head = bytes(octets[:5])
    right = head[1:4].isalpha() and head[1:4].isascii() if len(head) > 3 else True
    if head[:1] != b"/" or not right or (len(head) == 5 and not head[4:].isdigit()):
        return False
    return True if len(head) == 5 else None


def find_end(octets: bytes | bytearray) -> int | None:
    """Give the offset behind a telegram that begins the octets, or None while it goes on.

    Raises `RemoteProtocolError` where it cannot be one: octets that are no text, or no end in `MAX_TELEGRAM`.
    """
    found = _END.search(octets)
    text = bytes(octets[: found.start() if found else MAX_TELEGRAM])
    if not text.isascii() or text.translate(None, b"\r\n\t").translate(None, bytes(range(0x20, 0x7F))):
        raise RemoteProtocolError("a telegram holds octets that are no text")
    if found is None and len(octets) > MAX_TELEGRAM:
        raise RemoteProtocolError(f"a telegram without an end in {MAX_TELEGRAM} octets")
    return found.end() if found else None


def decode_telegram(octets: bytes) -> Notification:
    """Read a whole telegram. Raises `RemoteProtocolError` for a wrong checksum, form or time.

    One without a checksum says so (``is_checked``); whether that is as it should be the meter's profile knows.
    """
    head, end = _HEAD.match(octets), _END.search(octets)
    if head is None or end is None or find_end(octets) != len(octets) or end.start() > MAX_TELEGRAM:
        raise RemoteProtocolError("octets that are no telegram")
    checksum = crc16_modbus(octets[: end.start() + 1], 0)  # the same polynomial, begun at 0: CRC-16/ARC
    if end[1] is not None and checksum != int(end[1], 16):
        raise RemoteProtocolError(f"checksum of a telegram is {end[1].decode()}, computed {checksum:04X}")
    lines = octets[head.end() : end.start()].decode("ascii").split("\n")
    if len(lines) > MAX_LINES:
        raise RemoteProtocolError(f"telegram of {len(lines)} lines; at most {MAX_LINES} are taken")
    stamp: CosemDateTime | None = None
    found: list[PushedObject] = []
    for line, following in pairwise([*map(str.strip, lines), ""]):
        if (stamped := _stamped(line, following)) is not None:
            found.append(stamped)
        if (match := _LINE.fullmatch(line)) is None:
            continue
        name = _name(match[1])
        if name == _CLOCK:
            stamp = _stamp(match[2])
        elif name in _TEXTS:
            found.append(PushedObject(name, Data(Tag.OCTET_STRING, _text(match[2]))))
        elif name.a == 1 and (value := _VALUE.fullmatch(match[2])) is not None:
            found.append(_quantity(name, *value.groups(default="")))
    return Notification(0, stamp, tuple(found), len(found), is_checked=end[1] is not None)


def _stamped(line: str, following: str) -> PushedObject | None:
    """Read a value that has a time of its own; None for another line. Of versions 2.2 and 3 the number is in the line behind."""
    if (match := _STAMPED.fullmatch(line)) is not None:
        (code, time, text), word = match.groups(), ""
    elif (behind := _BEHIND.fullmatch(line)) is not None and (alone := _ALONE.fullmatch(following)) is not None:
        time, word, code, unit = behind.groups()
        text = f"{alone[1]}*{unit}"
    else:
        return None
    value = _VALUE.fullmatch(text)
    return (
        replace(
            _quantity(_name(code), *value.groups(default="")),
            captured_at=_stamp(time, needs_letter=False),
            status=int(word or "0", 16),
        )
        if value
        else None
    )


def _name(text: str) -> Obis:
    try:
        return Obis.parse(text)
    except ValueError as error:
        raise RemoteProtocolError(f"telegram line {text[:40]!r}: {error}") from error


def decode_pushed(octets: bytes) -> Notification:
    """Read what a meter pushed, free of framing and protection: a telegram, or a data-notification. Raises `RemoteProtocolError`."""
    return decode_telegram(octets) if octets[:1] == bytes([START]) else decode_notification(octets)


def _quantity(name: Obis, whole: str, fraction: str, unit: str) -> PushedObject:
    """Make a count of the digits: 000004.426*kWh is 4426 of 10^0 Wh. An unknown unit costs its own value alone."""
    count = Data(Tag.LONG64_UNSIGNED, int(whole + fraction))
    for prefix, power in _PREFIXES.items():
        known = _UNITS.get(unit.removeprefix(prefix).lower()) if unit.startswith(prefix) else None
        if known is not None:
            return PushedObject(name, count, ScalerUnit(power - len(fraction), known))
    return PushedObject(name, count)


def _text(text: str) -> bytes:
    """Give a name as text: the companion standard writes octet-strings as hexadecimal digits."""
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        return text.encode("ascii")
    return octets if octets and octets.isascii() and octets.decode("ascii").isprintable() else text.encode("ascii")


def _stamp(text: str, *, needs_letter: bool = True) -> CosemDateTime:
    """Read a time. Without its letter, which only versions 2.2 and 3 leave out, an hour that comes twice is in doubt."""
    match = _STAMP.fullmatch(text)
    if match is None or (needs_letter and not match[7]):
        raise RemoteProtocolError(f"time {text[:20]!r} in a telegram is not YYMMDDhhmmss and S or W")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    known = {"S": int(ClockStatus.DAYLIGHT_SAVING), "W": 0, "": STATUS_UNSPECIFIED}
    return CosemDateTime(2000 + year, month, day, hour, minute, second, None, known[match[7]])
