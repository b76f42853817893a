"""One cell of the meter table at a time: text to value and back. Each parser raises `ValueError` with what is wrong."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from difflib import get_close_matches
from fractions import Fraction
from types import MappingProxyType
from urllib.parse import urlsplit

from drivers.dlt645.address import parse_address as parse_dlt645_address
from drivers.facts import UtcSeconds
from drivers.profile import MeterProfile
from drivers.profile_iec62056 import FULL_ADDRESS
from drivers.transports.url import parse_url
from headend.registry.model import MAX_DIALS, MAX_MULTIPLIER, TariffSince, check_name
from headend.secrets import SECRET_OPTIONS

MAX_CELL = 1_024
"""Longest cell. [characters]"""
BROKER_LINK = "mqtt:"
"""Link of meters that arrive over the broker of the settings."""
CALL_LINK = "call:"
"""Link of meters that only call us."""
WIRED_SCHEMES = ("tcp", "udp", "serial", "memory")
LINK_SCHEMES = (*WIRED_SCHEMES, "mqtt", "mqtts", "call")
_SECRET = re.compile(r"(?:env:[A-Za-z_][A-Za-z0-9_]*|file:\S.*)", re.ASCII)
_DLMS_ADDRESS = re.compile(r"\d{1,5}(?:/\d{1,5})?", re.ASCII)
_OPTION = re.compile(r"([a-z][a-z0-9_]*)=([^;=]+)", re.ASCII)
_RATIO = re.compile(r"\d{1,9}\.\d{1,9}|\d{1,18}(?:/\d{1,18})?", re.ASCII)
_TARIFF = re.compile(r"(?:(\d{4}-\d\d-\d\d)=)?([^/;=]+)/([^;=]+)", re.ASCII)
_ACTIVE = re.compile(r"'*[=+\-@\t\r]")
"""What a spreadsheet would take for a formula, also behind our own escapes. OWASP ASVS 5.0, 1.2.10."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


def escape(cell: str) -> str:
    """Put an apostrophe before text that a spreadsheet would take for a formula."""
    return f"'{cell}" if _ACTIVE.match(cell) else cell


def unescape(cell: str) -> str:
    """Take away the apostrophe that `escape` put there."""
    return cell[1:] if cell.startswith("'") and _ACTIVE.match(cell) else cell


def parse_name(cell: str) -> str:
    """Read a global name."""
    try:
        check_name(cell)
    except ValueError as error:
        raise ValueError(f"the name {error}") from None
    return cell


def parse_text(cell: str) -> str:
    """Read free text: printable, of bounded length."""
    if not cell.isprintable():
        raise ValueError("holds a control character")
    return cell


def parse_link(cell: str, profile: MeterProfile | None) -> str:
    """Read a link's URL; meters that push may leave it empty."""
    if not cell and profile is not None and profile.protocol == "push":
        return CALL_LINK if profile.call is not None and profile.push is None else BROKER_LINK
    try:
        parts = urlsplit(cell)
    except ValueError as error:
        raise ValueError(f"{cell[:80]!r} is no link: {error}") from None
    if parts.scheme not in LINK_SCHEMES:
        raise ValueError(
            f"{cell[:80]!r} is no link; write tcp://host:port, udp://host:port or serial:///dev/ttyX?baud=9600"
        )
    if cell == CALL_LINK and profile is not None and (profile.call is None or profile.protocol != "push"):
        raise ValueError(f"{CALL_LINK} is for meters that only call, and profile {profile.name} is no model of one")
    if parts.password is not None:
        raise ValueError("a link must not hold a password; give it as a reference in the settings")
    if parts.scheme in WIRED_SCHEMES:
        parse_url(cell)
    return parse_text(cell)


def parse_address(cell: str, profile: MeterProfile | None) -> str:
    """Read an address as the profile's protocol has it."""
    protocol = "push" if profile is None else profile.protocol
    if protocol == "dlms" and not _DLMS_ADDRESS.fullmatch(cell):
        raise ValueError(f"{cell[:80]!r} is no DLMS server address; write 1, or logical/physical such as 1/17")
    if protocol == "modbus" and not (cell.isascii() and cell.isdigit() and int(cell[:4]) <= 255):
        raise ValueError(f"{cell[:80]!r} is no Modbus unit identifier; write 0 to 255")
    if protocol == "dlt645":
        return parse_dlt645_address(cell)
    if protocol == "iec62056" and not FULL_ADDRESS.fullmatch(cell):
        raise ValueError(f"{cell[:80]!r} is no IEC 62056-21 address; write up to 32 letters and digits, or nothing")
    return parse_text(cell)


def parse_instant(cell: str, zone: tzinfo | None) -> UtcSeconds:
    """Read ``2026-11-01`` (midnight in ``zone``) or an RFC 3339 instant with offset, in whole seconds. [s UTC]"""
    wanted = "write a date (2026-11-01) or an instant with its offset (2026-11-01T00:00:00Z)"
    is_date = len(cell) == 10
    if is_date and zone is None:
        raise ValueError("a date needs a valid zone; correct the zone first")
    try:
        if is_date:
            day = date.fromisoformat(cell)
            moment = datetime(day.year, day.month, day.day, tzinfo=zone)
        else:
            moment = datetime.fromisoformat(cell)
    except ValueError:
        raise ValueError(f"{cell[:40]!r} is no instant; {wanted}") from None
    if moment.tzinfo is None:
        raise ValueError(f"{cell[:40]!r} has no offset; {wanted}")
    seconds, rest = divmod(moment - _EPOCH, timedelta(seconds=1))
    if rest or seconds < 0:
        raise ValueError(f"{cell[:40]!r} is not a whole second from 1970 on")
    return seconds


def format_instant(instant: UtcSeconds | None) -> str:
    """Write an instant as RFC 3339 in UTC; empty for None."""
    return "" if instant is None else (_EPOCH + timedelta(seconds=instant)).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_multiplier(cell: str) -> int:
    """Read a whole transformer ratio; empty means 1."""
    text = cell or "1"
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and 1 <= int(text) <= MAX_MULTIPLIER):
        raise ValueError(f"{cell[:40]!r} is not a whole number from 1 to {MAX_MULTIPLIER}")
    return int(text)


def parse_dials(cell: str) -> int:
    """Read how many digits the meter's registers have; empty, as 0, means what its model says."""
    if cell and not (cell.isascii() and cell.isdigit() and len(cell) <= 2 and 1 <= int(cell) <= MAX_DIALS):
        raise ValueError(f"{cell[:40]!r} is not a number of digits from 1 to {MAX_DIALS}")
    return int(cell or "0")


def parse_ratio(cell: str) -> Fraction:
    """Read an exact ratio above 0: ``2``, ``0.98`` or ``3/2``; empty means 1."""
    if cell and not _RATIO.fullmatch(cell):
        raise ValueError(f"{cell[:40]!r} is no ratio; write 2, 0.98 or 3/2")
    over, _, under = (cell or "1").partition("/")
    if int(under or "1") == 0 or Fraction(over) == 0:
        raise ValueError(f"{cell[:40]!r} is not a ratio above 0")
    return Fraction(over) / int(under or "1")


def parse_tariffs(cell: str, known: Mapping[str, Collection[str]]) -> tuple[TariffSince, ...]:
    """Read ``calendar/tariff``, or several, each but the first with its first local day: ``a/x;2027-01-01=a/y``.

    ``known``: tariffs by calendar.
    """
    found: list[TariffSince] = []
    for part in filter(None, map(str.strip, cell.split(";"))):
        match = _TARIFF.fullmatch(part)
        if match is None:
            raise ValueError(f"{part[:80]!r} is no tariff; write calendar/tariff or 2027-01-01=calendar/tariff")
        since, calendar, tariff = match.groups()
        for what, name, names in (("calendar", calendar, known), ("tariff", tariff, known.get(calendar, ()))):
            if name not in names:
                near = get_close_matches(name[:80], names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(names)) or 'none'}"
                raise ValueError(f"no {what} is named {name[:80]!r}; {hint}")
        try:
            day = 0 if since is None else (date.fromisoformat(since) - _EPOCH.date()).days
        except ValueError:
            raise ValueError(f"{since!r} is no day; write it as 2027-01-01") from None
        if day < 0 or (found and day <= found[-1].day):
            raise ValueError(f"{part[:80]!r} does not begin after the one before it")
        found.append(TariffSince(day, calendar, tariff))
    return tuple(found)


def format_tariffs(tariffs: Sequence[TariffSince]) -> str:
    """Write tariffs as `parse_tariffs` reads them."""
    return ";".join(
        f"{_EPOCH.date() + timedelta(days=entry.day)}={entry.calendar}/{entry.tariff}"
        if entry.day
        else f"{entry.calendar}/{entry.tariff}"
        for entry in tariffs
    )


def parse_secret(cell: str) -> str:
    """Read a reference to a secret; never repeats what it was given, which may be the secret itself."""
    if cell and not _SECRET.fullmatch(cell):
        raise ValueError("is not a reference; write env:NAME or file:PATH, never the secret itself")
    return cell


def parse_options(cell: str) -> Mapping[str, str]:
    """Read ``key=value;key=value``."""
    if not cell:
        return _NO_OPTIONS
    options: dict[str, str] = {}
    for part in cell.split(";"):
        match = _OPTION.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part[:40]!r} is no option; write key=value;key=value")
        key, value = match.groups()
        if key in SECRET_OPTIONS and not _SECRET.fullmatch(value.strip()):
            raise ValueError(f"option {key} is not a reference; write env:NAME or file:PATH, never the secret itself")
        if key in options:
            raise ValueError(f"option {key!r} stands there twice")
        options[key] = value.strip()
    return MappingProxyType(options)


def format_options(options: Mapping[str, str]) -> str:
    """Write options as `parse_options` reads them, sorted."""
    return ";".join(f"{key}={value}" for key, value in sorted(options.items()))
