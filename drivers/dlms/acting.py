"""ACTION: methods invoked, one or several, whole or in blocks both ways. IEC 62056-5-3, clause 9.5, ``Action-Request``.

Codecs alone. Who may send them: `drivers.dlms.session.Conversation.act`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.dlms import axdr
from drivers.dlms.axdr import Data
from drivers.dlms.datablock import DataBlock, read_block
from drivers.dlms.descriptor import Attribute, Cursor
from drivers.errors import RemoteProtocolError

ACTION_REQUEST = 0xC3
ACTION_RESPONSE = 0xC7
MAX_LIST = 255  # methods taken of one request or answer
METHOD_SIZE = 9  # [octet] of a method descriptor


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """ACTION-request-normal."""

    invoke_id: int
    method: Attribute
    parameters: Data | None = None

    def encode(self) -> bytes:
        """Give the octets."""
        rest = b"\x00" if self.parameters is None else b"\x01" + axdr.encode(self.parameters)
        return bytes([ACTION_REQUEST, 1, self.invoke_id]) + self.method.encode() + rest


@dataclass(frozen=True, slots=True)
class ActionRequestNext:
    """ACTION-request-next-pblock: acknowledges block ``block_number`` of the answer and asks for the one after."""

    invoke_id: int
    block_number: int

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([ACTION_REQUEST, 2, self.invoke_id]) + self.block_number.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class ActionRequestList:
    """ACTION-request-with-list: methods, each with its parameters; null-data where it has none."""

    invoke_id: int
    methods: tuple[Attribute, ...]
    parameters: tuple[Data, ...]

    def encode(self) -> bytes:
        """Give the octets."""
        head = bytes([ACTION_REQUEST, 3, self.invoke_id])
        return head + encode_methods(self.methods) + encode_parameters(self.parameters)


@dataclass(frozen=True, slots=True)
class ActionRequestFirstBlock:
    """ACTION-request-with-first-pblock: the beginning of the encoded parameters."""

    invoke_id: int
    method: Attribute
    block: DataBlock

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([ACTION_REQUEST, 4, self.invoke_id]) + self.method.encode() + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionRequestListFirstBlock:
    """ACTION-request-with-list-and-first-pblock: the beginning of the encoded parameters, their number first."""

    invoke_id: int
    methods: tuple[Attribute, ...]
    block: DataBlock

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([ACTION_REQUEST, 5, self.invoke_id]) + encode_methods(self.methods) + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionRequestBlock:
    """ACTION-request-with-pblock: the piece that follows."""

    invoke_id: int
    block: DataBlock

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([ACTION_REQUEST, 6, self.invoke_id]) + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What came of one method: ``Action-Response-With-Optional-Data``.

    ``access_result``: data-access-result where the method succeeded but its data did not.
    """

    result: int
    data: Data | None = None
    access_result: int | None = None

    def encode(self) -> bytes:
        """Give the octets."""
        if self.access_result is not None:
            return bytes([self.result, 1, 1, self.access_result])
        if self.data is None:
            return bytes([self.result, 0])
        return bytes([self.result, 1, 0]) + axdr.encode(self.data)


@dataclass(frozen=True, slots=True)
class ActionResponse:
    """ACTION-response-normal; its fields are those of `ActionResult`."""

    invoke_id: int
    result: int
    data: Data | None = None
    access_result: int | None = None

    def encode(self) -> bytes:
        """Give the octets."""
        what = ActionResult(self.result, self.data, self.access_result)
        return bytes([ACTION_RESPONSE, 1, self.invoke_id]) + what.encode()


@dataclass(frozen=True, slots=True)
class ActionResponseBlock:
    """ACTION-response-with-pblock: a piece of what the method or methods return."""

    invoke_id: int
    block: DataBlock

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([ACTION_RESPONSE, 2, self.invoke_id]) + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionResponseList:
    """ACTION-response-with-list: a result for each method, in their order."""

    invoke_id: int
    results: tuple[ActionResult, ...]

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([ACTION_RESPONSE, 3, self.invoke_id]) + encode_action_results(self.results)


@dataclass(frozen=True, slots=True)
class ActionResponseNext:
    """ACTION-response-next-pblock: block ``block_number`` of the request was taken, the next may come."""

    invoke_id: int
    block_number: int

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([ACTION_RESPONSE, 4, self.invoke_id]) + self.block_number.to_bytes(4, "big")


ActionRequests = (
    ActionRequest | ActionRequestNext | ActionRequestList | ActionRequestFirstBlock | ActionRequestListFirstBlock
    | ActionRequestBlock
)  # fmt: skip
ActionResponses = ActionResponse | ActionResponseBlock | ActionResponseList | ActionResponseNext


def encode_methods(methods: Sequence[Attribute]) -> bytes:
    """Give the octets of a list of method descriptors."""
    return axdr.encode_length(len(methods)) + b"".join([method.encode() for method in methods])


def encode_parameters(parameters: Sequence[Data]) -> bytes:
    """Give the octets of a list of data, as they stand in one request or in the blocks of one."""
    return axdr.encode_length(len(parameters)) + b"".join([axdr.encode(one) for one in parameters])


def encode_action_results(results: Sequence[ActionResult]) -> bytes:
    """Give the octets of results, as they stand in one answer or in the blocks of one."""
    return axdr.encode_length(len(results)) + b"".join([result.encode() for result in results])


def decode_action_results(octets: bytes) -> tuple[ActionResult, ...]:
    """Read results joined of blocks. Raises `RemoteProtocolError`."""
    cursor = Cursor(octets, 0)
    results = tuple(_result(cursor) for _ in range(cursor.count(MAX_LIST)))
    cursor.end()
    return results


def decode_returned(octets: bytes) -> ActionResult:
    """Read what one method returns, joined of blocks. Raises `RemoteProtocolError`.

    The standard does not say with which of the fields around it the data is cut; known meters cut the data alone, others
    the whole ``Action-Response-With-Optional-Data``. The two cannot be taken for each other: the latter begins with a
    result 0, which would be null-data with a surplus.
    """
    cursor = Cursor(octets, 0)
    is_whole = octets[:2] in {b"\x00\x00", b"\x00\x01"}
    result = _result(cursor) if is_whole else ActionResult(0, cursor.data())
    cursor.end()
    return result


def read_request(cursor: Cursor) -> ActionRequests:
    """Read an ACTION-request behind its tag. Raises `RemoteProtocolError`."""
    kind, invoke_id = cursor.number(), cursor.number()
    match kind:
        case 1:
            return ActionRequest(invoke_id, cursor.attribute(), cursor.data() if cursor.flag() else None)
        case 2:
            return ActionRequestNext(invoke_id, cursor.number(4))
        case 3:
            methods = _methods(cursor)
            parameters = tuple(cursor.data() for _ in range(cursor.count(MAX_LIST)))
            if len(parameters) != len(methods):
                raise RemoteProtocolError(f"{len(parameters)} parameters for a list of {len(methods)} methods")
            return ActionRequestList(invoke_id, methods, parameters)
        case 4:
            return ActionRequestFirstBlock(invoke_id, cursor.attribute(), read_block(cursor))
        case 5:
            return ActionRequestListFirstBlock(invoke_id, _methods(cursor), read_block(cursor))
        case 6:
            return ActionRequestBlock(invoke_id, read_block(cursor))
    raise RemoteProtocolError(f"ACTION-request type {kind} is not supported")


def read_response(cursor: Cursor) -> ActionResponses:
    """Read an ACTION-response behind its tag. Raises `RemoteProtocolError`."""
    kind, invoke_id = cursor.number(), cursor.number()
    match kind:
        case 1:
            one = _result(cursor)
            return ActionResponse(invoke_id, one.result, one.data, one.access_result)
        case 2:
            return ActionResponseBlock(invoke_id, read_block(cursor))
        case 3:
            return ActionResponseList(invoke_id, tuple(_result(cursor) for _ in range(cursor.count(MAX_LIST))))
        case 4:
            return ActionResponseNext(invoke_id, cursor.number(4))
    raise RemoteProtocolError(f"ACTION-response type {kind} is not supported")


def _methods(cursor: Cursor) -> tuple[Attribute, ...]:
    return tuple(cursor.attribute() for _ in range(cursor.count(MAX_LIST)))


def _result(cursor: Cursor) -> ActionResult:
    result = cursor.number()
    if not cursor.flag():
        return ActionResult(result)
    if cursor.flag():
        return ActionResult(result, access_result=cursor.number())
    return ActionResult(result, cursor.data())
