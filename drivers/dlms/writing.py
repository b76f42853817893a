"""SET: an attribute written whole, or in blocks where it is larger than an APDU. IEC 62056-5-3, clause 9.5, ``Set-Request``.

Codecs alone. Who may send them: `drivers.dlms.session.Conversation.set`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from drivers.dlms import axdr, setlist
from drivers.dlms.axdr import Data
from drivers.dlms.descriptor import Attribute, Cursor, Selection
from drivers.errors import RemoteProtocolError

SET_REQUEST = 0xC1
SET_RESPONSE = 0xC5
NORMAL, FIRST_BLOCK, BLOCK = 1, 2, 3  # requests
BLOCK_TAKEN, LAST_BLOCK_TAKEN = 2, 3  # responses
FIRST_HEAD = 13 + 5  # [octet] tag, kind, invoke-id, descriptor, no selection; last-block, block number
BLOCK_HEAD = 3 + 5  # [octet] the same without a descriptor
LENGTH = 3  # [octet] at most, of a piece's length


@dataclass(frozen=True, slots=True)
class SetRequest:
    """SET-request-normal."""

    invoke_id: int
    attribute: Attribute
    data: Data
    selection: Selection | None = None

    def encode(self) -> bytes:
        """Give the octets."""
        return _head(NORMAL, self.invoke_id, self.attribute, self.selection) + axdr.encode(self.data)


@dataclass(frozen=True, slots=True)
class SetRequestFirstBlock:
    """SET-request-with-first-datablock: ``raw`` is the beginning of the encoded data, block 1."""

    invoke_id: int
    attribute: Attribute
    is_last: bool
    block_number: int
    raw: bytes
    selection: Selection | None = None

    def encode(self) -> bytes:
        """Give the octets."""
        return _head(FIRST_BLOCK, self.invoke_id, self.attribute, self.selection) + _block(self)


@dataclass(frozen=True, slots=True)
class SetRequestBlock:
    """SET-request-with-datablock: the piece that follows."""

    invoke_id: int
    is_last: bool
    block_number: int
    raw: bytes

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([SET_REQUEST, BLOCK, self.invoke_id]) + _block(self)


@dataclass(frozen=True, slots=True)
class SetResponse:
    """SET-response-normal: taken (0), or why not."""

    invoke_id: int
    result: int

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([SET_RESPONSE, NORMAL, self.invoke_id, self.result])


@dataclass(frozen=True, slots=True)
class SetResponseBlock:
    """SET-response-datablock: ``block_number`` was taken, the next may come."""

    invoke_id: int
    block_number: int

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([SET_RESPONSE, BLOCK_TAKEN, self.invoke_id]) + self.block_number.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class SetResponseLastBlock:
    """SET-response-last-datablock: the whole was taken (0), or why not."""

    invoke_id: int
    result: int
    block_number: int

    def encode(self) -> bytes:
        """Give the octets."""
        head = bytes([SET_RESPONSE, LAST_BLOCK_TAKEN, self.invoke_id, self.result])
        return head + self.block_number.to_bytes(4, "big")


SetRequests = SetRequest | SetRequestFirstBlock | SetRequestBlock | setlist.SetListRequests
SetResponses = SetResponse | SetResponseBlock | SetResponseLastBlock | setlist.SetListResponses


def requests(invoke_id: int, attribute: Attribute, data: Data, room: int) -> Iterator[SetRequests]:
    """Cut a SET into requests of at most ``room`` octets each; a single one where it fits, or ``room`` is 0."""
    whole = SetRequest(invoke_id, attribute, data)
    if not room or len(whole.encode()) <= room:
        yield whole
        return
    octets = axdr.encode(data)
    at = max(1, room - FIRST_HEAD - LENGTH)
    yield SetRequestFirstBlock(invoke_id, attribute, at >= len(octets), 1, octets[:at])
    size, number = max(1, room - BLOCK_HEAD - LENGTH), 1
    while at < len(octets):
        number += 1
        yield SetRequestBlock(invoke_id, at + size >= len(octets), number, octets[at : at + size])
        at += size


def read_request(cursor: Cursor) -> SetRequests:
    """Read a SET-request behind its tag. Raises `RemoteProtocolError`."""
    kind, invoke_id = cursor.number(), cursor.number()
    if kind == BLOCK:
        return SetRequestBlock(invoke_id, cursor.flag(), cursor.number(4), cursor.octets())
    if kind in {setlist.WITH_LIST, setlist.LIST_FIRST_BLOCK}:
        return setlist.read_list_request(cursor, kind, invoke_id)
    if kind not in {NORMAL, FIRST_BLOCK}:
        raise RemoteProtocolError(f"SET-request type {kind} is not supported")
    attribute, selection = cursor.attribute(), cursor.selection()
    if kind == NORMAL:
        return SetRequest(invoke_id, attribute, cursor.data(), selection)
    return SetRequestFirstBlock(invoke_id, attribute, cursor.flag(), cursor.number(4), cursor.octets(), selection)


def read_response(cursor: Cursor) -> SetResponses:
    """Read a SET-response behind its tag. Raises `RemoteProtocolError`."""
    kind, invoke_id = cursor.number(), cursor.number()
    match kind:
        case 1:
            return SetResponse(invoke_id, cursor.number())
        case 2:
            return SetResponseBlock(invoke_id, cursor.number(4))
        case 3:
            return SetResponseLastBlock(invoke_id, cursor.number(), cursor.number(4))
        case setlist.LAST_BLOCK_LIST_TAKEN | setlist.LIST_TAKEN:
            return setlist.read_list_response(cursor, kind, invoke_id)
    raise RemoteProtocolError(f"SET-response type {kind} is not supported")


def _head(kind: int, invoke_id: int, attribute: Attribute, selection: Selection | None) -> bytes:
    access = b"\x00" if selection is None else b"\x01" + selection.encode()
    return bytes([SET_REQUEST, kind, invoke_id]) + attribute.encode() + access


def _block(block: SetRequestFirstBlock | SetRequestBlock) -> bytes:
    head = bytes([block.is_last]) + block.block_number.to_bytes(4, "big")
    return head + axdr.encode_length(len(block.raw)) + block.raw
