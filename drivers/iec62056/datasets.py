"""What data lines say: ``ADDRESS(VALUE*UNIT)(VALUE*UNIT)``, one or more of them in a line.

The address is an OBIS code in full, ``1-0:1.8.0*255``, or what a meter leaves of it, ``1.8.0``; letters stand for value groups,
``F.F`` for the error register. A further value in parentheses is of the address before it: the time of a maximum, or rows of a
load profile, which go on over lines. What is no data line is handed on as it is, not dropped and not an error: meters print
titles and rulings of their own.

Source: IEC 62056-21, 6.6 (data block, data line, data set); IEC 62056-61, annex A (reduced identification codes).
"""

import re
from dataclasses import dataclass
from typing import Final

from drivers.errors import MeterRefused, RemoteProtocolError
from drivers.obis import Obis

MAX_LINES: Final = 4_096
END_OF_BLOCK: Final = "!"
_SET: Final = re.compile(r"([^()/!\s]{0,32})((?:\([^()]*\))+)")
_LINE: Final = re.compile(r"(?:[^()/!\s]{0,32}\([^()]*\))+")
_REFUSAL: Final = re.compile(r"ER(?:ROR)?\s?([0-9]{0,4})", re.IGNORECASE | re.ASCII)
_REDUCED: Final = re.compile(
    r"(?:(\d{1,3})-(\d{1,3}):)?([CFLP])\.([\dF]{1,3})(?:\.(\d{1,3}))?(?:[*&](\d{1,3}))?", re.ASCII
)
_LETTERS: Final = {"C": 96, "F": 97, "L": 98, "P": 99}  # IEC 62056-61, table A.1


@dataclass(frozen=True, slots=True)
class Value:
    """What stands in one pair of parentheses. ``unit``: as printed; empty for a value without one."""

    text: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class DataSet:
    """An address as printed, and its values, one at least. The address is empty for the answer to a read that gives none."""

    address: str
    values: tuple[Value, ...]

    @property
    def obis(self) -> Obis | None:
        """The address as a code, None where it is none. ``1.8.0`` is 1-0:1.8.0*255, ``F.F`` is 0-0:97.97.0*255."""
        return parse_address(self.address)


@dataclass(frozen=True, slots=True)
class DataBlock:
    """Data sets in the order printed, and the lines that are none."""

    sets: tuple[DataSet, ...]
    others: tuple[str, ...] = ()

    def find(self, obis: Obis) -> DataSet | None:
        """Give the data set of a code, None where there is none. Raises `RemoteProtocolError` where two have it."""
        return _only([one for one in self.sets if one.obis == obis], str(obis))

    def at(self, address: str) -> DataSet | None:
        """Give the data set of an address, written so or as the same code in another form. Raises as `find` does."""
        return _only([one for one in self.sets if is_at(one, address)], address)


def _only(found: list[DataSet], what: str) -> DataSet | None:
    if len(found) > 1:
        raise RemoteProtocolError(f"{what} stands in {len(found)} lines; nobody knows which counts")
    return found[0] if found else None


def is_at(one: DataSet, address: str) -> bool:
    """Say whether a data set has an address, written as there or as the same code in another form."""
    return one.address == address or (parse_address(address) is not None and one.obis == parse_address(address))


def parse_address(text: str) -> Obis | None:
    """Read the address of a data set as a code, None where it is the maker's own."""
    try:
        if (match := _REDUCED.fullmatch(text)) is None:
            return Obis.parse(text)
        a, b, letter, d, e, f = match.groups()
        group_d = _LETTERS["F"] if d == "F" else int(d)
        return Obis(int(a or 0), int(b or 0), _LETTERS[letter], group_d, int(e or 0), int(f or 255))
    except ValueError:
        return None


def asked_as(address: str) -> str:
    """Write a full code as meters take it in a question: in part, as nearly all print it; anything else as it stands."""
    code = parse_address(address)
    if code is None or address != str(code) or (code.a, code.b, code.f) != (1, 0, 255):
        return address
    return f"{code.c}.{code.d}.{code.e}"


def decode_block(data: bytes) -> DataBlock:
    """Read the data of a readout, up to its ``!``, or of an answer, which has none. Raises `RemoteProtocolError`.

    Behind the ``!`` may stand nothing but the end of its line.
    """
    try:
        lines = data.decode("ascii").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("a data block holds octets that are no text") from error
    if END_OF_BLOCK in lines:
        end = lines.index(END_OF_BLOCK)
        if any(lines[end + 1 :]):
            raise RemoteProtocolError("text behind the end of a data block")
        lines = lines[:end]
    if len(lines) > MAX_LINES:
        raise RemoteProtocolError(f"a data block of {len(lines)} lines; at most {MAX_LINES} are taken")
    sets: list[tuple[str, list[Value]]] = []
    others: list[str] = []
    for line in filter(None, map(str.strip, lines)):
        if _LINE.fullmatch(line):
            _line(line, sets)
        else:
            others.append(line)
    return DataBlock(tuple(DataSet(address, tuple(values)) for address, values in sets), tuple(others))


def _line(line: str, sets: list[tuple[str, list[Value]]]) -> None:
    for address, texts in _SET.findall(line):
        if address or not sets:
            sets.append((address, []))
        sets[-1][1].extend(map(_value, texts[1:-1].split(")(")))


def _value(text: str) -> Value:
    number, _, unit = text.partition("*")
    return Value(number, unit)


def decode_answer(data: bytes) -> DataBlock:
    """Read the answer to a read in programming mode. Raises `MeterRefused` where the meter says that it will not, else as `decode_block`."""
    block = decode_block(data)
    for one in block.sets:
        if not one.address and len(one.values) == 1 and (match := _REFUSAL.fullmatch(one.values[0].text)):
            raise MeterRefused(f"the meter refuses: {one.values[0].text}", int(match[1] or 0))
    return block
