"""GET-with-list: several attributes asked for in one request. IEC 62056-5-3, clause 9.5, ``Get-Request-With-List``.

Where the answer is larger than an APDU it comes in the blocks of an ordinary GET; joined, they are what `decode_results` reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.dlms import axdr
from drivers.dlms.axdr import Data
from drivers.dlms.descriptor import Attribute, Cursor, Selection
from drivers.errors import RemoteProtocolError

GET_REQUEST = 0xC0
GET_RESPONSE = 0xC4
NORMAL, WITH_LIST = 1, 3  # kinds of request and answer
MAX_LIST = 255  # items taken of one request or answer
REQUEST_HEAD = 4  # [octet] tag, kind, invoke-id, number of items
ITEM_SIZE = 10  # [octet] descriptor without selective access


@dataclass(frozen=True, slots=True)
class GetResult:
    """One item of an answer: the data, or why not (``data`` None and ``result`` not 0)."""

    data: Data | None
    result: int = 0

    def encode(self) -> bytes:
        """Give the octets, ``Get-Data-Result``."""
        return bytes([1, self.result]) if self.data is None else b"\x00" + axdr.encode(self.data)


@dataclass(frozen=True, slots=True)
class GetRequestList:
    """GET-request-with-list. ``items``: attributes, each with its selective access."""

    invoke_id: int
    items: tuple[tuple[Attribute, Selection | None], ...]

    def encode(self) -> bytes:
        """Give the octets."""
        parts = [bytes([GET_REQUEST, WITH_LIST, self.invoke_id]), axdr.encode_length(len(self.items))]
        for attribute, selection in self.items:
            parts += [attribute.encode(), b"\x00" if selection is None else b"\x01" + selection.encode()]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class GetResponseList:
    """GET-response-with-list: a result for each item asked for, in their order."""

    invoke_id: int
    results: tuple[GetResult, ...]

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([GET_RESPONSE, WITH_LIST, self.invoke_id]) + encode_results(self.results)


def encode_results(results: Sequence[GetResult]) -> bytes:
    """Give the octets of results, as they stand in one answer or in the blocks of one."""
    return axdr.encode_length(len(results)) + b"".join([result.encode() for result in results])


def decode_results(octets: bytes) -> tuple[GetResult, ...]:
    """Read results. Raises `RemoteProtocolError` for damage, a surplus, none or more than `MAX_LIST`."""
    cursor = Cursor(octets, 0)
    results = read_results(cursor)
    if cursor.left:
        raise RemoteProtocolError(f"{cursor.left} surplus octets behind a list of {len(results)} results")
    return results


def read_results(cursor: Cursor) -> tuple[GetResult, ...]:
    """Read results where they stand in an answer. Raises `RemoteProtocolError`."""
    return tuple(_result(cursor) for _ in range(cursor.count(MAX_LIST)))


def read_request(cursor: Cursor, invoke_id: int) -> GetRequestList:
    """Read a request from its number of items on. Raises `RemoteProtocolError`."""
    return GetRequestList(
        invoke_id, tuple((cursor.attribute(), cursor.selection()) for _ in range(cursor.count(MAX_LIST)))
    )  # fmt: skip


def _result(cursor: Cursor) -> GetResult:
    if not cursor.flag():
        return GetResult(cursor.data())
    code = cursor.number()
    if code == 0:
        raise RemoteProtocolError("data-access-result says success where data should be")
    return GetResult(None, code)
