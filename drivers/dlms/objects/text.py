"""Values of attributes as a technician reads them: names for numbers, times written out, octets as text or hexadecimal."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from enum import IntEnum, IntFlag
from typing import Any

from drivers.dlms.axdr import Data
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.objects.dates import CosemDate, CosemTime
from drivers.dlms.objects.kinds import Secret
from drivers.obis import Obis
from drivers.units import ScalerUnit

MAX_TEXT = 2_000  # [character]
_UNSPECIFIED = 0xFF


def write_value(value: Any) -> str:
    """Write a decoded value in one line of at most `MAX_TEXT` characters."""
    text = _text(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _text(value: Any) -> str:
    match value:
        case Data():
            return "" if value.value is None else _text(value.value)
        case bool():
            return "yes" if value else "no"
        case IntFlag():
            return ", ".join(_words(one.name or str(int(one))) for one in value) or "none"
        case IntEnum():
            return _words(value.name)
        case bytes():
            return _octets(value)
        case CosemDateTime():
            return _date_time(value)
        case ScalerUnit():
            return f"10^{value.scaler} {value.unit.symbol}".rstrip()
        case Obis() | CosemDate() | CosemTime() | Secret():
            return str(value)
        case tuple():
            return f"[{'; '.join(_bounded(value))}]"
    if is_dataclass(value):
        return ", ".join(f"{_words(one.name)} {_text(getattr(value, one.name))}" for one in fields(value))
    return str(value)


def _bounded(items: Iterable[Any]) -> Iterable[str]:
    """Write items until there is enough text to be cut off."""
    length = 0
    for item in items:
        text = _text(item)
        yield text
        length += len(text)
        if length > MAX_TEXT:
            return


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _octets(octets: bytes) -> str:
    is_text = bool(octets) and all(0x20 <= octet < 0x7F for octet in octets)
    return octets.decode("ascii") if is_text else octets.hex()


def _date_time(at: CosemDateTime) -> str:
    def part(number: int, width: int = 2, unspecified: int = _UNSPECIFIED) -> str:
        return "*" * width if number == unspecified else f"{number:0{width}}"

    date = f"{part(at.year, 4, 0xFFFF)}-{part(at.month)}-{part(at.day)}"
    time = f"{part(at.hour)}:{part(at.minute)}:{part(at.second)}"
    deviation = "" if at.deviation is None else f" deviation {at.deviation} min"
    doubt = ", daylight saving" if at.is_daylight_saving else ""
    return f"{date} {time}{deviation}{doubt}" + (", invalid or doubtful" if at.is_invalid else "")
