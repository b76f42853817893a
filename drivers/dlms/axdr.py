"""A-XDR: the ``Data`` type of COSEM, encoded and decoded. IEC 62056-6-2, clause 4 (common data types); IEC 61334-6.

Every decoded item keeps its tag (`Data`), so that decoding and encoding again gives the same octets. What a hostile or
noisy meter can make us do is bounded: nesting by `MAX_DEPTH`, octets by `MAX_OBJECT`, items by `most_items`.

Three outcomes: `parse` returns a value and where it ends, or `NEED_DATA`, or raises `RemoteProtocolError`.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple

from drivers.dlms.events import NEED_DATA, NeedData
from drivers.errors import LocalProtocolError, RemoteProtocolError

MAX_DEPTH = 16
MAX_OBJECT = 8 * 2**20
MAX_ITEMS = 1_000_000
ITEMS_PER_OCTET = 4  # the nulls of a compact-array cost no octet; a row of one octet and two nulls is four items
MIN_ITEMS = 1024


class Tag(IntEnum):
    """Tags of ``Data``. IEC 62056-6-2, table of common data types."""

    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    DOUBLE_LONG = 5
    DOUBLE_LONG_UNSIGNED = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INTEGER = 15
    LONG = 16
    UNSIGNED = 17
    LONG_UNSIGNED = 18
    COMPACT_ARRAY = 19
    LONG64 = 20
    LONG64_UNSIGNED = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DELTA_INTEGER = 28
    DELTA_LONG = 29
    DELTA_DOUBLE_LONG = 30
    DELTA_UNSIGNED = 31
    DELTA_LONG_UNSIGNED = 32
    DELTA_DOUBLE_LONG_UNSIGNED = 33
    DONT_CARE = 255

    # Tags are looked up for each item of a load profile; an enum's own hash, of its name, is computed in Python.
    __hash__ = int.__hash__


class Data(NamedTuple):
    """One item: its tag and its value.

    ``value``: None (null), int, bool, bytes (octet-string, date-time, date, time, bcd), str (visible, UTF-8, and a
    bit-string as text of 0 and 1), `Decimal` (the floats, exactly), or a tuple of `Data` (array, structure, compact-array).
    """

    tag: Tag
    value: Any

    def items(self) -> "tuple[Data, ...]":
        """Give the items of an array or structure. Raises `RemoteProtocolError` for anything else."""
        if self.tag not in _COMPOSITE:
            raise RemoteProtocolError(f"expected an array or structure, got {self.tag.name.lower()}")
        items: tuple[Data, ...] = self.value
        return items

    def integer(self) -> int:
        """Give an integer's value. Raises `RemoteProtocolError` for anything that is not one."""
        if self.tag not in INTEGERS:
            raise RemoteProtocolError(f"expected an integer, got {self.tag.name.lower()}")
        return int(self.value)

    def octets(self) -> bytes:
        """Give the octets of an octet-string, string or date-time. Raises `RemoteProtocolError` for anything else."""
        if isinstance(self.value, bytes):
            return self.value
        if isinstance(self.value, str) and self.tag is not Tag.BIT_STRING:
            return self.value.encode()
        raise RemoteProtocolError(f"expected an octet-string, got {self.tag.name.lower()}")


_COMPOSITE = frozenset({Tag.ARRAY, Tag.STRUCTURE, Tag.COMPACT_ARRAY})
_FIXED: Mapping[Tag, struct.Struct] = {
    Tag.DOUBLE_LONG: struct.Struct(">i"), Tag.DOUBLE_LONG_UNSIGNED: struct.Struct(">I"), Tag.INTEGER: struct.Struct(">b"),
    Tag.LONG: struct.Struct(">h"), Tag.UNSIGNED: struct.Struct(">B"), Tag.LONG_UNSIGNED: struct.Struct(">H"),
    Tag.LONG64: struct.Struct(">q"), Tag.LONG64_UNSIGNED: struct.Struct(">Q"), Tag.ENUM: struct.Struct(">B"),
    Tag.DELTA_INTEGER: struct.Struct(">b"), Tag.DELTA_LONG: struct.Struct(">h"),
    Tag.DELTA_DOUBLE_LONG: struct.Struct(">i"), Tag.DELTA_UNSIGNED: struct.Struct(">B"),
    Tag.DELTA_LONG_UNSIGNED: struct.Struct(">H"), Tag.DELTA_DOUBLE_LONG_UNSIGNED: struct.Struct(">I"),
}  # fmt: skip
DELTAS = frozenset(
    tag for tag in _FIXED if tag.name.startswith("DELTA_")
)  # differences from the item before, no values
INTEGERS = frozenset(_FIXED) - DELTAS
# By code: tag, reader of the content, octets with the tag's own. None where the content has another form.
_FIXED_CODES: list[tuple[Tag, Callable[[bytes, int], tuple[int]], int] | None] = [None] * 256
for _tag, _layout in _FIXED.items():
    _FIXED_CODES[_tag] = _tag, _layout.unpack_from, 1 + _layout.size
_FLOATS: Mapping[Tag, struct.Struct] = {Tag.FLOAT32: struct.Struct(">f"), Tag.FLOAT64: struct.Struct(">d")}
_OCTETS: Mapping[Tag, int] = {Tag.BCD: 1, Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4}
_TAGS: list[Tag | None] = [None] * 256
for _tag in Tag:
    _TAGS[_tag] = _tag
NULL = Data(Tag.NULL, None)


class _Short(Exception):  # control flow inside this module, never seen outside
    """The octets end inside an item."""


def most_items(size: int) -> int:
    """Give how many items so many octets may hold: a few octets must not cost the time and memory of a million items."""
    return min(MAX_ITEMS, MIN_ITEMS + ITEMS_PER_OCTET * size)


def parse(octets: bytes, offset: int = 0) -> tuple[Data, int] | NeedData:
    """Decode one item at ``offset``; return it with the offset behind it, or `NEED_DATA` where the octets end too soon.

    Raises `RemoteProtocolError` where no further octets could make it right.
    """
    reader = _Reader(octets, offset)
    try:
        data = reader.item(0)
    except _Short:
        if len(octets) - offset > MAX_OBJECT:
            raise RemoteProtocolError(f"object larger than {MAX_OBJECT} octets") from None
        return NEED_DATA
    return data, reader.offset


def parse_content(octets: bytes, offset: int, tag: Tag) -> Data:
    """Decode the content at ``offset`` of an item whose tag is known; it must be there whole."""
    return _Reader(octets, offset).content(tag, 0)


def decode(octets: bytes) -> Data:
    """Decode octets that hold exactly one item. Raises `RemoteProtocolError` for damage, too few octets or a surplus."""
    if len(octets) > MAX_OBJECT:
        raise RemoteProtocolError(f"object of {len(octets)} octets is larger than {MAX_OBJECT}")
    outcome = parse(octets)
    if outcome is NEED_DATA:
        raise RemoteProtocolError(f"data ends early, after {len(octets)} octets")
    data, end = outcome
    if end != len(octets):
        raise RemoteProtocolError(f"{len(octets) - end} surplus octets behind the data at offset {end}")
    return data


def parse_length(octets: bytes, offset: int) -> tuple[int, int]:
    """Decode an A-XDR length; return it with the offset behind it. Raises `RemoteProtocolError`, also for too few octets."""
    reader = _Reader(octets, offset)
    try:
        return reader.length(), reader.offset
    except _Short:
        raise RemoteProtocolError(f"length field at offset {offset} ends early") from None


class _Reader:
    """One pass over the octets. ``items``: items met so far, bounded because a null costs one octet but many of memory."""

    def __init__(self, octets: bytes, offset: int) -> None:
        self._octets = octets
        self.offset = offset
        self._items = 0
        self._most_items = most_items(len(octets))

    def take(self, count: int) -> bytes:
        end = self.offset + count
        if end > len(self._octets):
            raise _Short
        taken = self._octets[self.offset : end]
        self.offset = end
        return bytes(taken)

    def octet(self) -> int:
        at = self.offset
        if at >= len(self._octets):
            raise _Short
        self.offset = at + 1
        return self._octets[at]

    def length(self) -> int:
        first = self.octet()
        if first < 0x80:
            return first
        if not 0x81 <= first <= 0x84:
            raise RemoteProtocolError(f"length field 0x{first:02x} at offset {self.offset - 1}")
        length = int.from_bytes(self.take(first - 0x80), "big")
        if length > MAX_OBJECT:
            raise RemoteProtocolError(f"length {length} at offset {self.offset} exceeds the limit of {MAX_OBJECT}")
        return length

    def tag(self) -> Tag:
        code = self.octet()
        tag = _TAGS[code]
        if tag is None:
            raise RemoteProtocolError(f"unknown data tag {code} at offset {self.offset - 1}")
        return tag

    def _count(self, items: int = 1) -> None:
        self._items += items
        if self._items > self._most_items:
            raise RemoteProtocolError(f"more than {self._most_items} items in one object")

    def item(self, depth: int) -> Data:
        return self._items_of(1, depth)[0]

    def _items_of(self, count: int, depth: int) -> list[Data]:
        """Read items one behind the other; integers, of which a load profile is made, without a call each."""
        octets, size, make = (
            self._octets,
            len(self._octets),
            tuple.__new__,
        )  # what Data() does, without a call of Python
        items: list[Data] = []
        for _ in range(count):
            at = self.offset
            layout = _FIXED_CODES[octets[at]] if at < size else None
            if layout is None:
                items.append(self.content(self.tag(), depth))
                continue
            tag, unpack, width = layout
            end = at + width
            if end > size:
                raise _Short
            self._items += 1
            if self._items > self._most_items:
                raise RemoteProtocolError(f"more than {self._most_items} items in one object")
            self.offset = end
            items.append(make(Data, (tag, unpack(octets, at + 1)[0])))
        return items

    def content(self, tag: Tag, depth: int) -> Data:
        self._count()
        if tag is Tag.OCTET_STRING:
            return Data(tag, self.take(self.length()))
        if (fixed := _FIXED.get(tag)) is not None:
            return Data(tag, fixed.unpack(self.take(fixed.size))[0])
        if tag is Tag.NULL:
            return NULL
        if tag is Tag.DONT_CARE:
            return Data(tag, None)
        if tag in _COMPOSITE:
            if depth >= MAX_DEPTH:
                raise RemoteProtocolError(f"data nested deeper than {MAX_DEPTH} at offset {self.offset}")
            if tag is Tag.COMPACT_ARRAY:
                return self._compact(depth)
            return Data(tag, tuple(self._items_of(self.length(), depth + 1)))
        return Data(tag, self._simple(tag))

    def _simple(self, tag: Tag) -> bytes | str | bool | Decimal:
        if tag in {Tag.VISIBLE_STRING, Tag.UTF8_STRING}:
            octets = self.take(self.length())
            try:
                return octets.decode("utf-8" if tag is Tag.UTF8_STRING else "latin-1")
            except UnicodeDecodeError:
                raise RemoteProtocolError(f"string before offset {self.offset} is not UTF-8") from None
        if tag is Tag.BOOLEAN:
            return self.take(1) != b"\x00"
        if tag is Tag.BIT_STRING:
            bits = self.length()
            octets = self.take((bits + 7) // 8)
            return "".join(f"{octet:08b}" for octet in octets)[:bits]
        if (layout := _FLOATS.get(tag)) is not None:
            return Decimal(layout.unpack(self.take(layout.size))[0])
        return self.take(_OCTETS[tag])

    def _compact(self, depth: int) -> Data:
        """Read a compact-array: one type description, then values without tags. IEC 62056-6-2, ``compact-array``."""
        build = self._description(depth + 1) or self._null
        size = self.length()
        end = self.offset + size
        if end > len(self._octets):
            raise _Short
        rows: list[Data] = []
        while self.offset < end:
            before = self.offset
            rows.append(build())
            if not before < self.offset <= end:
                raise RemoteProtocolError(f"compact-array element at offset {before} does not fit its array")
        return Data(Tag.COMPACT_ARRAY, tuple(rows))

    def _description(self, depth: int) -> "Callable[[], Data] | None":
        """Read a type description; give what reads an element of it, None for one that is always null."""
        if depth >= MAX_DEPTH:
            raise RemoteProtocolError(f"type description nested deeper than {MAX_DEPTH} at offset {self.offset}")
        self._count()
        tag = self.tag()
        if tag is Tag.COMPACT_ARRAY:
            raise RemoteProtocolError(f"compact-array inside a compact-array at offset {self.offset}")
        if tag is Tag.ARRAY:
            count = int.from_bytes(self.take(2), "big")
            element = self._description(depth + 1) or self._null
            return lambda: self._repeat(tag, [(self._spending(element), 1)] * count)
        if tag is Tag.STRUCTURE:
            elements: list[tuple[Callable[[], Data] | None, int]] = []
            for _ in range(self.length()):
                part = self._description(depth + 1)
                if part is None and elements and elements[-1][0] is None:
                    elements[-1] = None, elements[-1][1] + 1
                else:
                    elements.append((part, 1))
            return lambda: self._repeat(tag, elements)
        return None if tag is Tag.NULL else lambda: self.content(tag, depth)

    def _null(self) -> Data:
        self._count()
        return NULL

    def _spending(self, element: "Callable[[], Data]") -> "Callable[[], Data]":
        """Refuse an element of no octets: a description of a dozen octets could repeat it a million times."""

        def build() -> Data:
            before = self.offset
            data = element()
            if self.offset == before:
                raise RemoteProtocolError(f"compact-array repeats an element without octets at offset {before}")
            return data

        return build

    def _repeat(self, tag: Tag, elements: "list[tuple[Callable[[], Data] | None, int]]") -> Data:
        """Read elements, of which so many nulls in a row are one: they cost no octet, so they must cost no time."""
        self._count()
        found: list[Data] = []
        for element, count in elements:
            if element is None:
                self._count(count)
                found += [NULL] * count
            else:
                found.append(element())
        return Data(tag, tuple(found))


def encode(data: Data) -> bytes:
    """Encode one item. Raises `LocalProtocolError` for a value its tag cannot carry."""
    return bytes([data.tag]) + _encode_content(data)


def encode_length(length: int) -> bytes:
    """Encode an A-XDR length in the shortest form."""
    if length < 0x80:
        return bytes([length])
    size = (length.bit_length() + 7) // 8
    return bytes([0x80 | size]) + length.to_bytes(size, "big")


def _encode_content(data: Data) -> bytes:
    tag, value = data
    try:
        if (layout := _FIXED.get(tag) or _FLOATS.get(tag)) is not None:
            return layout.pack(value)
        if tag in {Tag.NULL, Tag.DONT_CARE}:
            return b""
        if tag in {Tag.ARRAY, Tag.STRUCTURE}:
            return encode_length(len(value)) + b"".join([encode(item) for item in value])
        return _encode_simple(tag, value)
    except (struct.error, TypeError, ValueError, OverflowError, UnicodeError) as error:
        raise LocalProtocolError(f"cannot encode a {type(value).__name__} as {tag.name.lower()}") from error


def _encode_simple(tag: Tag, value: Any) -> bytes:
    if tag is Tag.BOOLEAN:
        return b"\x01" if value else b"\x00"
    if tag is Tag.OCTET_STRING:
        return encode_length(len(value)) + bytes(value)
    if tag in {Tag.VISIBLE_STRING, Tag.UTF8_STRING}:
        octets = value.encode("utf-8" if tag is Tag.UTF8_STRING else "latin-1")
        return encode_length(len(octets)) + bytes(octets)
    if tag is Tag.BIT_STRING:
        padded = value.ljust((len(value) + 7) // 8 * 8, "0")
        return encode_length(len(value)) + bytes(int(padded[at : at + 8], 2) for at in range(0, len(padded), 8))
    if tag is Tag.COMPACT_ARRAY:
        raise LocalProtocolError("compact-arrays are decoded only; send an array")
    if len(value) != _OCTETS[tag]:
        raise LocalProtocolError(f"{tag.name.lower()} has {_OCTETS[tag]} octets, not {len(value)}")
    return bytes(value)


def array(items: Iterable[Data]) -> Data:
    """Make an array."""
    return Data(Tag.ARRAY, tuple(items))


def structure(*items: Data) -> Data:
    """Make a structure."""
    return Data(Tag.STRUCTURE, items)


def octet_string(value: bytes) -> Data:
    """Make an octet-string."""
    return Data(Tag.OCTET_STRING, value)


def unsigned(value: int) -> Data:
    """Make an unsigned (8 bits)."""
    return Data(Tag.UNSIGNED, value)


def long_unsigned(value: int) -> Data:
    """Make a long-unsigned (16 bits)."""
    return Data(Tag.LONG_UNSIGNED, value)


def double_long_unsigned(value: int) -> Data:
    """Make a double-long-unsigned (32 bits)."""
    return Data(Tag.DOUBLE_LONG_UNSIGNED, value)


def integer(value: int) -> Data:
    """Make an integer (8 bits, signed)."""
    return Data(Tag.INTEGER, value)


def enum(value: int) -> Data:
    """Make an enum."""
    return Data(Tag.ENUM, value)
