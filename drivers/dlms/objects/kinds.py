"""What an attribute or a method's parameter is made of: the A-XDR type it must have, its bounds, and the value it becomes.

A kind decodes `Data` into a frozen value and encodes it again. It raises `Unfit` with what was found where, which the table
of the class turns into an error of the driver's tree (`drivers.dlms.objects.interface`). Strict: a type the class does not
name is refused, never converted. IEC 62056-6-2, clause 4 (common data types). One file, because the kinds differ in a few lines each
and are read side by side.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any

from drivers.dlms.axdr import INTEGERS, Data, Tag
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.objects.dates import CosemDate, CosemTime
from drivers.errors import DriverError
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit

MAX_ITEMS = 4_096  # of one array of an attribute: tariffs, schedules, lists of objects
_COMPOSITE = frozenset({Tag.ARRAY, Tag.STRUCTURE, Tag.COMPACT_ARRAY})
_SHOWN = 48  # characters of a wrong value that a message shows


class Unfit(ValueError):
    """A value is not of the kind that the class demands. Never leaves `drivers.dlms.objects`."""


def shown(value: object) -> str:
    """Write a wrong value for a message, bounded."""
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class Kind(ABC):
    """What a value must be. Subclasses say which tags, which bounds, and what it becomes."""

    @abstractmethod
    def decode(self, data: Data) -> Any:
        """Give the value. Raises `Unfit`."""

    @abstractmethod
    def encode(self, value: Any) -> Data:
        """Give the data of a value, the reverse of `decode`. Raises `Unfit`."""


def _expect(data: Data, *tags: Tag) -> Any:
    if data.tag not in tags:
        raise Unfit(f"expected {' or '.join(tag.name.lower() for tag in tags)}, got {data.tag.name.lower()}")
    return data.value


@dataclass(frozen=True, slots=True)
class Whole(Kind):
    """An integer of one width, or an enum kept as the number it is. ``low``, ``high``: bounds within it, both included; None for all that it holds."""

    tag: Tag
    low: int | None = None
    high: int | None = None

    def decode(self, data: Data) -> int:
        """Give the integer."""
        return self._checked(_expect(data, self.tag))

    def encode(self, value: Any) -> Data:
        """Give the integer as data; its width is checked where octets are made of it."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise Unfit(f"expected an integer, got {shown(value)}")
        bits, is_signed = WIDTHS[self.tag]
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
        if not low <= value <= high:
            raise Unfit(f"{shown(value)} does not fit {self.tag.name.lower()}")
        return Data(self.tag, self._checked(int(value)))

    def _checked(self, value: int) -> int:
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise Unfit(f"{value} is outside {self.low} to {self.high}")
        return value


WIDTHS: Mapping[Tag, tuple[int, bool]] = {
    Tag.INTEGER: (8, True), Tag.LONG: (16, True), Tag.DOUBLE_LONG: (32, True), Tag.LONG64: (64, True),
    Tag.UNSIGNED: (8, False), Tag.LONG_UNSIGNED: (16, False), Tag.DOUBLE_LONG_UNSIGNED: (32, False),
    Tag.LONG64_UNSIGNED: (64, False), Tag.ENUM: (8, False),
}  # fmt: skip
"""Bits of each integer type, and whether it has a sign."""


@dataclass(frozen=True, slots=True)
class Enumerated(Kind):
    """An ``enum``. ``maker_from``: first number left to manufacturers, which comes as a bare int.

    ``last``: highest member that this version of the class has.
    """

    values: type[IntEnum]
    maker_from: int = 256
    last: int = 255

    def decode(self, data: Data) -> int:
        """Give the member, or the maker's own number."""
        return self._member(_expect(data, Tag.ENUM))

    def encode(self, value: Any) -> Data:
        """Give the number."""
        if not isinstance(value, int) or not 0 <= value <= 255:
            raise Unfit(f"expected a {self.values.__name__}, got {shown(value)}")
        return Data(Tag.ENUM, int(self._member(value)))

    def _member(self, number: int) -> int:
        if number >= self.maker_from:
            return number
        try:
            if number <= self.last:
                return self.values(number)
        except ValueError:
            pass
        raise Unfit(f"{number} is no {self.values.__name__}")


@dataclass(frozen=True, slots=True)
class Flags(Kind):
    """Bits within a number, or within a bit-string whose first bit is bit 0. ``size``: bits of a bit-string."""

    values: type[IntFlag]
    tag: Tag
    size: int = 8

    def decode(self, data: Data) -> IntFlag:
        """Give the bits; one the standard does not name stays."""
        value = _expect(data, self.tag)
        if self.tag is not Tag.BIT_STRING:
            return self.values(value)
        return self.values(int(_unpadded(value, self.size)[::-1], 2))

    def encode(self, value: Any) -> Data:
        """Give the number or the bit-string."""
        if not isinstance(value, int) or not 0 <= value < 1 << self.size:
            raise Unfit(f"expected {self.values.__name__} of {self.size} bits, got {shown(value)}")
        if self.tag is not Tag.BIT_STRING:
            return Data(self.tag, int(value))
        return Data(self.tag, f"{int(value):0{self.size}b}"[::-1])


@dataclass(frozen=True, slots=True)
class Bits(Kind):
    """A bit-string as text of 0 and 1, as the octets have it. ``size``: how many; None for any number."""

    size: int | None = None

    def decode(self, data: Data) -> str:
        """Give the text."""
        bits: str = _expect(data, Tag.BIT_STRING)
        return bits if self.size is None else _unpadded(bits, self.size)

    def encode(self, value: Any) -> Data:
        """Give the bit-string."""
        if not isinstance(value, str) or not set(value) <= {"0", "1"}:
            raise Unfit(f"expected a text of 0 and 1, got {shown(value)}")
        if self.size is not None and len(value) != self.size:
            raise Unfit(f"bit-string of {len(value)} bits, expected {self.size}")
        return Data(Tag.BIT_STRING, value)


def _unpadded(bits: str, size: int) -> str:
    """Give the first ``size`` bits; some meters count those too that fill the last octet, which must then be 0."""
    if len(bits) != size and (len(bits) != (size + 7) // 8 * 8 or "1" in bits[size:]):
        raise Unfit(f"bit-string of {len(bits)} bits, expected {size}")
    return bits[:size]


class Truth(Kind):
    """A boolean."""

    def decode(self, data: Data) -> bool:
        """Give the boolean."""
        return bool(_expect(data, Tag.BOOLEAN))

    def encode(self, value: Any) -> Data:
        """Give it as data."""
        if not isinstance(value, bool):
            raise Unfit(f"expected a boolean, got {shown(value)}")
        return Data(Tag.BOOLEAN, value)


@dataclass(frozen=True, slots=True)
class Octets(Kind):
    """An octet-string of ``low`` to ``high`` octets."""

    low: int = 0
    high: int = 65_535

    def decode(self, data: Data) -> bytes:
        """Give the octets."""
        return self._checked(_expect(data, Tag.OCTET_STRING))

    def encode(self, value: Any) -> Data:
        """Give the octet-string."""
        if not isinstance(value, bytes):
            raise Unfit(f"expected octets, got {shown(value)}")
        return Data(Tag.OCTET_STRING, self._checked(value))

    def _checked(self, octets: bytes) -> bytes:
        if not self.low <= len(octets) <= self.high:
            raise Unfit(f"octet-string of {len(octets)} octets, expected {self.low} to {self.high}")
        return octets


@dataclass(frozen=True, slots=True)
class Secret:
    """A password or key held in an attribute; shown nowhere."""

    octets: bytes = field(repr=False)

    def __str__(self) -> str:
        """Write how long it is, and nothing of what it is."""
        return f"(secret, {len(self.octets)} octets)"


class SecretOctets(Kind):
    """An octet-string that is a password or a key."""

    def decode(self, data: Data) -> Secret:
        """Give it so that nothing prints it."""
        return Secret(_expect(data, Tag.OCTET_STRING))

    def encode(self, value: Any) -> Data:
        """Give the octet-string."""
        if not isinstance(value, Secret):
            raise Unfit("expected a Secret")
        return Data(Tag.OCTET_STRING, value.octets)


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """A string of one of three forms; the first of ``tags`` is written."""

    tags: tuple[Tag, ...] = (Tag.VISIBLE_STRING, Tag.OCTET_STRING, Tag.UTF8_STRING)

    def decode(self, data: Data) -> str:
        """Give the text; octets that are none are refused."""
        value = _expect(data, *self.tags)
        if isinstance(value, str):
            return value
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise Unfit(f"octets {shown(value)} are no text") from None

    def encode(self, value: Any) -> Data:
        """Give the string."""
        if not isinstance(value, str):
            raise Unfit(f"expected a text, got {shown(value)}")
        tag = self.tags[0]
        try:
            return Data(tag, value.encode() if tag is Tag.OCTET_STRING else value.encode("latin-1").decode("latin-1"))
        except UnicodeEncodeError:
            raise Unfit(f"{shown(value)} cannot be written as {tag.name.lower()}") from None


@dataclass(frozen=True, slots=True)
class Written(Kind):
    """An octet-string that holds a name, a date-time, a date or a time; a tagged date-time, date or time is taken too.

    ``tag``: which of both is written.
    """

    value: type[Obis] | type[CosemDateTime] | type[CosemDate] | type[CosemTime]
    tag: Tag = Tag.OCTET_STRING

    def decode(self, data: Data) -> Obis | CosemDateTime | CosemDate | CosemTime:
        """Give the value."""
        octets = _expect(data, Tag.OCTET_STRING, *_TAGGED.get(self.value, ()))
        try:
            return self.value.from_bytes(octets) if self.value is Obis else self.value.decode(octets)  # type: ignore[union-attr]
        except (DriverError, ValueError) as error:
            raise Unfit(str(error)) from None

    def encode(self, value: Any) -> Data:
        """Give the octet-string."""
        if not isinstance(value, self.value):
            raise Unfit(f"expected {self.value.__name__}, got {shown(value)}")
        try:
            return Data(self.tag, value.to_bytes() if isinstance(value, Obis) else value.encode())
        except (DriverError, ValueError) as error:
            raise Unfit(str(error)) from None


_TAGGED: Mapping[type, tuple[Tag, ...]] = {
    CosemDateTime: (Tag.DATE_TIME,), CosemDate: (Tag.DATE,), CosemTime: (Tag.TIME,),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """A CHOICE that the class leaves to the object: kept as data. ``is_simple``: no array, no structure."""

    is_simple: bool = True

    def decode(self, data: Data) -> Data:
        """Give it as it is."""
        if self.is_simple and data.tag in _COMPOSITE:
            raise Unfit(f"expected a simple type, got {data.tag.name.lower()}")
        return data

    def encode(self, value: Any) -> Data:
        """Give it as it is."""
        if not isinstance(value, Data):
            raise Unfit(f"expected data, got {shown(value)}")
        return self.decode(value)


class Number(Kind):
    """A CHOICE of integers and floats, kept as data: a threshold, an amount whose width the object chooses."""

    def decode(self, data: Data) -> Data:
        """Give it as it is."""
        if data.tag not in INTEGERS and data.tag not in {Tag.FLOAT32, Tag.FLOAT64}:
            raise Unfit(f"expected a number, got {data.tag.name.lower()}")
        return data

    def encode(self, value: Any) -> Data:
        """Give it as it is."""
        if not isinstance(value, Data):
            raise Unfit(f"expected data, got {shown(value)}")
        return self.decode(value)


@dataclass(frozen=True, slots=True)
class Repeated(Kind):
    """An array, as a tuple. ``low``, ``high``: how many, both included."""

    item: Kind
    high: int = MAX_ITEMS
    low: int = 0

    def decode(self, data: Data) -> tuple[Any, ...]:
        """Give the items."""
        return tuple(self._each(self.item.decode, _expect(data, Tag.ARRAY)))

    def encode(self, value: Any) -> Data:
        """Give the array."""
        if not isinstance(value, tuple):
            raise Unfit(f"expected a tuple, got {shown(value)}")
        return Data(Tag.ARRAY, tuple(self._each(self.item.encode, value)))

    def _each(self, convert: Any, items: tuple[Any, ...]) -> list[Any]:
        if not self.low <= len(items) <= self.high:
            raise Unfit(f"array of {len(items)} items, expected {self.low} to {self.high}")
        made = []
        for number, item in enumerate(items, 1):
            try:
                made.append(convert(item))
            except Unfit as error:
                raise Unfit(f"item {number}: {error}") from None
        return made


class Grouped(Kind):
    """A structure, as a frozen dataclass whose fields have the kinds given, in their order."""

    def __init__(self, made: type[Any], **kinds: Kind) -> None:
        self.made = made
        self.kinds = kinds

    def decode(self, data: Data) -> Any:
        """Give the dataclass. Raises `Unfit`, also for what it refuses itself."""
        items = _expect(data, Tag.STRUCTURE)
        if len(items) != len(self.kinds):
            raise Unfit(f"structure of {len(items)} items, expected {len(self.kinds)}")
        values: dict[str, Any] = {}
        for (name, kind), item in zip(self.kinds.items(), items, strict=True):
            values[name] = self._named(name, kind.decode, item)
        try:
            return self.made(**values)
        except ValueError as error:
            raise Unfit(str(error)) from None

    def encode(self, value: Any) -> Data:
        """Give the structure."""
        if not isinstance(value, self.made):
            raise Unfit(f"expected {self.made.__name__}, got {shown(value)}")
        return Data(
            Tag.STRUCTURE,
            tuple(self._named(name, kind.encode, getattr(value, name)) for name, kind in self.kinds.items()),
        )

    @staticmethod
    def _named(name: str, convert: Any, item: Any) -> Any:
        try:
            return convert(item)
        except Unfit as error:
            raise Unfit(f"{name}: {error}") from None


class ScalerUnits(Kind):
    """A scaler and unit. IEC 62056-6-2, ``scal_unit_type``."""

    def decode(self, data: Data) -> ScalerUnit:
        """Give what one count is worth."""
        items = _expect(data, Tag.STRUCTURE)
        if len(items) != 2:
            raise Unfit(f"structure of {len(items)} items, expected 2")
        scaler, unit = _expect(items[0], Tag.INTEGER), _expect(items[1], Tag.ENUM)
        try:
            return ScalerUnit(scaler, Unit(unit))
        except ValueError:
            raise Unfit(f"unit {unit} is not one we know") from None

    def encode(self, value: Any) -> Data:
        """Give the structure."""
        if not isinstance(value, ScalerUnit):
            raise Unfit(f"expected a ScalerUnit, got {shown(value)}")
        return Data(Tag.STRUCTURE, (Data(Tag.INTEGER, value.scaler), Data(Tag.ENUM, int(value.unit))))


INTEGER, LONG, DOUBLE_LONG = Whole(Tag.INTEGER), Whole(Tag.LONG), Whole(Tag.DOUBLE_LONG)
UNSIGNED, LONG_UNSIGNED = Whole(Tag.UNSIGNED), Whole(Tag.LONG_UNSIGNED)
DOUBLE_LONG_UNSIGNED = Whole(Tag.DOUBLE_LONG_UNSIGNED)
ZERO = Whole(Tag.INTEGER, 0, 0)  # parameter of a method that needs none
BOOLEAN, OCTETS, TEXT, SECRET = Truth(), Octets(), Text(), SecretOctets()
NAME, DATE_TIME, DATE, TIME = Written(Obis), Written(CosemDateTime), Written(CosemDate), Written(CosemTime)
TAGGED_DATE_TIME = Written(CosemDateTime, Tag.DATE_TIME)
TITLE = Octets(0, 8)  # a system title; empty where there is none
SIMPLE, ANY, NUMBER = Choice(), Choice(is_simple=False), Number()
