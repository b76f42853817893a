"""Line protocol around the kernel: names of measurements and tags, lines of registers, and reading a line of ours again.

Source: docs.influxdata.com, "Line protocol" of InfluxDB v2. A backslash in a name cannot be written so that every server
reads the same, so it is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from drivers.facts import RegisterValue, UtcSeconds
from drivers.obis import Obis, by_obis

MAX_DIGITS = 15
"""Digits that any decimal keeps through a 64-bit float (DBL_DIG of IEEE 754 binary64)."""
_SPECIAL = re.compile(r"[,= ]")
_ESCAPED = re.compile(r"\\([,= ])")
_SPLIT = {mark: re.compile(rf"(?<!\\){mark}") for mark in ",="}


def escape(text: str) -> str:
    """Escape a name or a tag's value. Raises `ValueError` for what line protocol cannot carry."""
    if not text or "\\" in text or not text.isprintable():
        raise ValueError(
            f"{text!r} is empty or holds a backslash or control character, which line protocol cannot carry"
        )
    return _SPECIAL.sub(r"\\\g<0>", text)


def quote(text: str) -> str:
    """Write text as a field; what moves a cursor, or ends a line, is a blank."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'


def head(measurement: str, tags: Mapping[str, str]) -> bytes:
    """Make a line's measurement and tags, sorted as servers want them; an empty tag is left out. Raises `ValueError`."""
    parts = [f"{key}={escape(value)}" for key, value in sorted(tags.items()) if value]
    return ",".join([escape(measurement), *parts]).encode()


def channel_name(obis: Obis) -> str:
    """Name a channel as the catalogue does, or by its code."""
    entry = by_obis(obis)
    return str(obis) if entry is None else entry.name


def register_line(prefix: bytes, value: RegisterValue) -> bytes:
    """Make the line of a register's value. Raises `ValueError` where a 64-bit float would not keep all its digits."""
    if len(str(abs(value.count)).rstrip("0")) > MAX_DIGITS:
        raise ValueError(f"{value.count} has more than {MAX_DIGITS} digits; a 64-bit float would not keep them")
    scaler = value.scaler_unit.scaler
    shown = format(value.value, "f") if value.count else format(Decimal(0).scaleb(min(scaler, 0)), "f")
    fields = f"value={shown},uncertainty={value.uncertainty}i,rules={int(value.rules)}i"
    return prefix + f" {fields} {value.captured_at}".encode()


@dataclass(frozen=True, slots=True)
class Point:
    """A line read again. ``fields``: numbers alone, we write no others."""

    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, Decimal]
    at: UtcSeconds


def parse(line: bytes) -> Point:
    """Read a line that we wrote."""
    names, fields, at = line.rsplit(b" ", 2)
    pairs = (field.split("=") for field in fields.decode().split(","))
    return Point(*parse_head(names), {key: Decimal(text.rstrip("i")) for key, text in pairs}, int(at))


def parse_head(names: bytes) -> tuple[str, dict[str, str]]:
    """Read a measurement with its tags, as `head` made it."""
    measurement, *tags = _SPLIT[","].split(names.decode())
    pairs = (_SPLIT["="].split(tag) for tag in tags)
    return _ESCAPED.sub(r"\1", measurement), {key: _ESCAPED.sub(r"\1", value) for key, value in pairs}
