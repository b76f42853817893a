"""How far an APDU reaches that comes without a frame around it, found octet by octet as it arrives.

A frame says its length; a bare APDU only ends where its content does. `ApduExtent` goes over each octet once, however
small the pieces are in which it comes, and keeps no value.
"""

from drivers.dlms.axdr import MAX_DEPTH, Tag
from drivers.errors import RemoteProtocolError

DATA_NOTIFICATION = 0x0F
GENERAL_GLO_CIPHERING = 0xDB
GENERAL_BLOCK_TRANSFER = 0xE0
TAGS = frozenset({DATA_NOTIFICATION, GENERAL_GLO_CIPHERING, GENERAL_BLOCK_TRANSFER})
MAX_APDU = 65_536
DESCRIPTOR_SIZE = 9  # class (2), logical name (6), attribute (1): IEC 62056-5-3, Cosem-Attribute-Descriptor

_SIZES = {
    Tag.NULL: 0, Tag.BOOLEAN: 1, Tag.DOUBLE_LONG: 4, Tag.DOUBLE_LONG_UNSIGNED: 4, Tag.BCD: 1, Tag.INTEGER: 1, Tag.LONG: 2,
    Tag.UNSIGNED: 1, Tag.LONG_UNSIGNED: 2, Tag.LONG64: 8, Tag.LONG64_UNSIGNED: 8, Tag.ENUM: 1, Tag.FLOAT32: 4,
    Tag.FLOAT64: 8, Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4, Tag.DELTA_INTEGER: 1, Tag.DELTA_LONG: 2,
    Tag.DELTA_DOUBLE_LONG: 4, Tag.DELTA_UNSIGNED: 1, Tag.DELTA_LONG_UNSIGNED: 2, Tag.DELTA_DOUBLE_LONG_UNSIGNED: 4,
    Tag.DONT_CARE: 0,
}  # fmt: skip
_STRINGS = frozenset({int(Tag.OCTET_STRING), int(Tag.VISIBLE_STRING), int(Tag.UTF8_STRING)})
_SIZE_OF = {int(tag): size for tag, size in _SIZES.items()}


class _Short(Exception):  # control flow inside this module, never seen outside
    """The octets end inside a field."""


class ApduExtent:
    """Follows one APDU in a growing buffer that begins with it."""

    def __init__(self) -> None:
        self._at = 0
        self._open: list[int] = []
        self._is_head_done = False
        self._has_descriptors = False

    def find(self, octets: bytes | bytearray) -> int | None:
        """Give the offset behind the APDU, or None while it goes on. Raises `RemoteProtocolError` where it cannot be one."""
        try:
            if not self._is_head_done:
                self._head(octets)
            if octets[0] == DATA_NOTIFICATION:
                self._items(octets)
        except _Short:
            if len(octets) > MAX_APDU:
                raise RemoteProtocolError(f"APDU without a frame and without an end in {MAX_APDU} octets") from None
            return None
        if self._at > MAX_APDU:
            raise RemoteProtocolError(f"APDU of {self._at} octets; at most {MAX_APDU} are taken")
        return self._at if self._at <= len(octets) else None

    def _head(self, octets: bytes | bytearray) -> None:
        tag = _octet(octets, 0)
        if tag == GENERAL_BLOCK_TRANSFER:
            self._at = _string_end(octets, 6)
        elif tag == GENERAL_GLO_CIPHERING:
            self._at = _string_end(octets, _string_end(octets, 1))
        elif tag == DATA_NOTIFICATION:
            size = _octet(octets, 5)
            if size == Tag.OCTET_STRING and _octet(octets, 6) == 12:
                self._at = 19
            elif size in {0, 12}:
                self._at = 6 + size
            else:
                raise RemoteProtocolError(f"date-time of {size} octets in a data-notification")
            self._open = [1]
        else:
            raise RemoteProtocolError(f"APDU 0x{tag:02x} is none that a meter pushes")
        self._is_head_done = True

    def _items(self, octets: bytes | bytearray) -> None:
        start = self._at
        try:
            while self._open:
                self._item(octets)
        except RemoteProtocolError:
            if self._has_descriptors or len(self._open) > 4:
                raise
            # Perhaps attributes are named by descriptors without tags: go over it once more, with that in mind.
            self._has_descriptors = True
            self._is_head_done = False
            self._at = start
            self._head(octets)
            self._items(octets)

    def _item(self, octets: bytes | bytearray) -> None:
        at = self._at
        if self._has_descriptors and len(self._open) == 4 and self._open[-1] == 2:
            self._at, self._open[-1] = at + DESCRIPTOR_SIZE, 1
            return
        tag = _octet(octets, at)
        if tag in {Tag.ARRAY, Tag.STRUCTURE}:
            count, end = _length(octets, at + 1)
            if len(self._open) > MAX_DEPTH:
                raise RemoteProtocolError(f"data nested deeper than {MAX_DEPTH} at offset {at}")
            self._open[-1] -= 1
            self._open.append(count)
        elif tag in _STRINGS:
            end = _string_end(octets, at + 1)
            self._open[-1] -= 1
        elif tag == Tag.BIT_STRING:
            bits, end = _length(octets, at + 1)
            end += (bits + 7) // 8
            self._open[-1] -= 1
        elif tag in _SIZE_OF:
            end = at + 1 + _SIZE_OF[tag]
            self._open[-1] -= 1
        else:
            raise RemoteProtocolError(f"data tag {tag} at offset {at} of an APDU without a frame")
        if end > MAX_APDU:
            raise RemoteProtocolError(f"APDU without a frame reaches beyond {MAX_APDU} octets")
        self._at = end
        while self._open and self._open[-1] == 0:
            self._open.pop()


def _octet(octets: bytes | bytearray, at: int) -> int:
    if at >= len(octets):
        raise _Short
    return octets[at]


def _length(octets: bytes | bytearray, at: int) -> tuple[int, int]:
    first = _octet(octets, at)
    if first < 0x80:
        return first, at + 1
    size = first - 0x80
    if not 1 <= size <= 4:
        raise RemoteProtocolError(f"length field 0x{first:02x} at offset {at}")
    _octet(octets, at + size)
    return int.from_bytes(octets[at + 1 : at + 1 + size], "big"), at + 1 + size


def _string_end(octets: bytes | bytearray, at: int) -> int:
    length, start = _length(octets, at)
    if start + length > MAX_APDU:
        raise RemoteProtocolError(f"string of {length} octets at offset {at}; at most {MAX_APDU} are taken")
    return start + length
