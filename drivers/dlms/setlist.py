"""SET-with-list: several attributes written in one request, whole or in blocks. IEC 62056-5-3, clause 9.5.

Codecs alone, beside those of `drivers.dlms.writing`.
"""

from dataclasses import dataclass

from drivers.dlms import axdr
from drivers.dlms.axdr import Data
from drivers.dlms.datablock import DataBlock, read_block
from drivers.dlms.descriptor import Attribute, Cursor, Selection
from drivers.errors import RemoteProtocolError

SET_REQUEST = 0xC1
SET_RESPONSE = 0xC5
WITH_LIST, LIST_FIRST_BLOCK = 4, 5  # requests
LAST_BLOCK_LIST_TAKEN, LIST_TAKEN = 4, 5  # responses
MAX_LIST = 255  # attributes taken of one request or answer
Item = tuple[Attribute, Selection | None]


@dataclass(frozen=True, slots=True)
class SetRequestList:
    """SET-request-with-list: attributes, each with its selective access, and what is written to each."""

    invoke_id: int
    items: tuple[Item, ...]
    values: tuple[Data, ...]

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([SET_REQUEST, WITH_LIST, self.invoke_id]) + encode_items(self.items) + encode_values(self.values)


@dataclass(frozen=True, slots=True)
class SetRequestListFirstBlock:
    """SET-request-with-list-and-first-datablock: the beginning of the encoded values, their number first."""

    invoke_id: int
    items: tuple[Item, ...]
    block: DataBlock

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([SET_REQUEST, LIST_FIRST_BLOCK, self.invoke_id]) + encode_items(self.items) + self.block.encode()


@dataclass(frozen=True, slots=True)
class SetResponseList:
    """SET-response-with-list: for each attribute 0, or why not."""

    invoke_id: int
    results: tuple[int, ...]

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([SET_RESPONSE, LIST_TAKEN, self.invoke_id, *axdr.encode_length(len(self.results)), *self.results])


@dataclass(frozen=True, slots=True)
class SetResponseLastBlockList:
    """SET-response-last-datablock-with-list."""

    invoke_id: int
    results: tuple[int, ...]
    block_number: int

    def encode(self) -> bytes:
        """Give the octets."""
        head = [SET_RESPONSE, LAST_BLOCK_LIST_TAKEN, self.invoke_id, *axdr.encode_length(len(self.results))]
        return bytes([*head, *self.results]) + self.block_number.to_bytes(4, "big")


SetListRequests = SetRequestList | SetRequestListFirstBlock
SetListResponses = SetResponseList | SetResponseLastBlockList


def encode_items(items: tuple[Item, ...]) -> bytes:
    """Give the octets of a list of attribute descriptors."""
    parts = [axdr.encode_length(len(items))]
    for attribute, selection in items:
        parts += [attribute.encode(), b"\x00" if selection is None else b"\x01" + selection.encode()]
    return b"".join(parts)


def encode_values(values: tuple[Data, ...]) -> bytes:
    """Give the octets of a list of data, as they stand in one request or in the blocks of one."""
    return axdr.encode_length(len(values)) + b"".join([axdr.encode(value) for value in values])


def decode_values(octets: bytes) -> tuple[Data, ...]:
    """Read values joined of blocks. Raises `RemoteProtocolError`."""
    cursor = Cursor(octets, 0)
    values = tuple(cursor.data() for _ in range(cursor.count(MAX_LIST)))
    cursor.end()
    return values


def read_list_request(cursor: Cursor, kind: int, invoke_id: int) -> SetListRequests:
    """Read a request behind its kind and invoke-id. Raises `RemoteProtocolError`."""
    items = tuple((cursor.attribute(), cursor.selection()) for _ in range(cursor.count(MAX_LIST)))
    if kind == LIST_FIRST_BLOCK:
        return SetRequestListFirstBlock(invoke_id, items, read_block(cursor))
    values = tuple(cursor.data() for _ in range(cursor.count(MAX_LIST)))
    if len(values) != len(items):
        raise RemoteProtocolError(f"{len(values)} values for a list of {len(items)} attributes")
    return SetRequestList(invoke_id, items, values)


def read_list_response(cursor: Cursor, kind: int, invoke_id: int) -> SetListResponses:
    """Read an answer behind its kind and invoke-id. Raises `RemoteProtocolError`."""
    results = tuple(cursor.number() for _ in range(cursor.count(MAX_LIST)))
    if kind == LIST_TAKEN:
        return SetResponseList(invoke_id, results)
    return SetResponseLastBlockList(invoke_id, results, cursor.number(4))
