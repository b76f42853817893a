"""ACCESS: reading, writing and invoking in one request. IEC 62056-5-3, clauses 9.3.5 and 9.5, ``Access-Request``.

Codecs alone. Each item names what is wanted; the data go in a list of their own, null-data where there is none, both ways.
"""

from dataclasses import dataclass
from typing import Final, Literal

from drivers.dlms import axdr
from drivers.dlms.axdr import Data
from drivers.dlms.descriptor import Attribute, Cursor, Selection
from drivers.errors import RemoteProtocolError

ACCESS_REQUEST, ACCESS_RESPONSE = 0xD9, 0xDA
MAX_LIST = 255  # items taken of one request or answer
NUMBER_MASK = 0xFF_FFFF
# Bits of long-invoke-id-and-priority above the number. IEC 62056-5-3, ``Long-Invoke-Id-And-Priority``.
SELF_DESCRIPTIVE: Final = 1 << 28
BREAK_ON_ERROR: Final = 1 << 29
CONFIRMED: Final = 1 << 30
HIGH_PRIORITY: Final = 1 << 31
DATE_TIME_SIZES = frozenset({0, 12})
Kind = Literal["get", "set", "action"]
_KINDS: tuple[Kind, ...] = ("get", "set", "action")


@dataclass(frozen=True, slots=True)
class AccessItem:
    """One thing wanted: ``Access-Request-Specification``. ``target``: an attribute, or a method for ``action``."""

    kind: Kind
    target: Attribute
    selection: Selection | None = None

    def encode(self) -> bytes:
        """Give the octets: choice 1 get, 2 set, 3 action, 4 get and 5 set with selection."""
        choice = _KINDS.index(self.kind) + 1
        if self.selection is None:
            return bytes([choice]) + self.target.encode()
        return bytes([choice + 3]) + self.target.encode() + self.selection.encode()


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """ACCESS-request. ``values``: one for each item.  ``date_time``: the 12 octets, or empty."""

    long_invoke_id: int
    items: tuple[AccessItem, ...]
    values: tuple[Data, ...]
    date_time: bytes = b""

    def encode(self) -> bytes:
        """Give the octets."""
        head = _head(ACCESS_REQUEST, self.long_invoke_id, self.date_time)
        return head + _items(self.items) + _values(self.values)


@dataclass(frozen=True, slots=True)
class AccessResult:
    """What came of one item: ``result`` 0 for success. ``data``: what was read or returned, null-data for none."""

    kind: Kind
    result: int
    data: Data


@dataclass(frozen=True, slots=True)
class AccessResponse:
    """ACCESS-response: a result for each item, fewer where the first error broke it off. ``items``: what was asked, if repeated."""

    long_invoke_id: int
    results: tuple[AccessResult, ...]
    items: tuple[AccessItem, ...] = ()
    date_time: bytes = b""

    def encode(self) -> bytes:
        """Give the octets."""
        asked = b"\x01" + _items(self.items) if self.items else b"\x00"
        values = _values(tuple(result.data for result in self.results))
        results = b"".join([bytes([_KINDS.index(result.kind) + 1, result.result]) for result in self.results])
        head = _head(ACCESS_RESPONSE, self.long_invoke_id, self.date_time)
        return head + asked + values + axdr.encode_length(len(self.results)) + results


def read_request(cursor: Cursor) -> AccessRequest:
    """Read an ACCESS-request behind its tag. Raises `RemoteProtocolError`."""
    long_invoke_id, date_time = cursor.number(4), _date_time(cursor)
    items = _read_items(cursor)
    values = tuple(cursor.data() for _ in range(cursor.count(MAX_LIST)))
    if len(values) != len(items):
        raise RemoteProtocolError(f"{len(values)} data for {len(items)} items of an ACCESS-request")
    return AccessRequest(long_invoke_id, items, values, date_time)


def read_response(cursor: Cursor) -> AccessResponse:
    """Read an ACCESS-response behind its tag. Raises `RemoteProtocolError`."""
    long_invoke_id, date_time = cursor.number(4), _date_time(cursor)
    items = _read_items(cursor) if cursor.flag() else ()
    values = [cursor.data() for _ in range(cursor.count(MAX_LIST))]
    results: list[AccessResult] = []
    count = cursor.count(MAX_LIST)
    if count != len(values):
        raise RemoteProtocolError(f"{count} results for {len(values)} data of an ACCESS-response")
    for value in values:
        choice = cursor.number()
        if not 1 <= choice <= len(_KINDS):
            raise RemoteProtocolError(f"ACCESS-response specification {choice} is not supported")
        results.append(AccessResult(_KINDS[choice - 1], cursor.number(), value))
    return AccessResponse(long_invoke_id, tuple(results), items, date_time)


def _head(tag: int, long_invoke_id: int, date_time: bytes) -> bytes:
    return bytes([tag]) + long_invoke_id.to_bytes(4, "big") + axdr.encode_length(len(date_time)) + date_time


def _items(items: tuple[AccessItem, ...]) -> bytes:
    return axdr.encode_length(len(items)) + b"".join([item.encode() for item in items])


def _values(values: tuple[Data, ...]) -> bytes:
    return axdr.encode_length(len(values)) + b"".join([axdr.encode(value) for value in values])


def _date_time(cursor: Cursor) -> bytes:
    octets = cursor.octets()
    if len(octets) not in DATE_TIME_SIZES:
        raise RemoteProtocolError(f"date-time of {len(octets)} octets in an ACCESS APDU")
    return octets


def _read_items(cursor: Cursor) -> tuple[AccessItem, ...]:
    items = []
    for _ in range(cursor.count(MAX_LIST)):
        choice = cursor.number()
        if choice in {1, 2, 3}:
            items.append(AccessItem(_KINDS[choice - 1], cursor.attribute()))
        elif choice in {4, 5}:
            target = cursor.attribute()
            items.append(AccessItem(_KINDS[choice - 4], target, Selection(cursor.number(), cursor.data())))
        else:
            raise RemoteProtocolError(f"ACCESS-request specification {choice} is not supported")
    return tuple(items)
