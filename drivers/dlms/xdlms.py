"""xDLMS APDUs, encoded and decoded: initiate, GET, SET, ACTION, data-notification, refusals. IEC 62056-5-3, clause 9.5.

Each is a dataclass with ``encode``; `decode` reads any plain one. GET-with-list is `drivers.dlms.getlist`, SET
`drivers.dlms.writing`, ACTION `drivers.dlms.acting`. Ciphered ones (glo-) are `drivers.dlms.ciphering`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Literal

from drivers.dlms import accessing, acting, axdr, getlist, noticing, shortnames, writing
from drivers.dlms.acting import ACTION_REQUEST, ACTION_RESPONSE, ActionRequest, ActionResponse
from drivers.dlms.axdr import Data
from drivers.dlms.descriptor import Attribute, Cursor, Selection
from drivers.dlms.getlist import GET_REQUEST, GET_RESPONSE, GetRequestList, GetResponseList
from drivers.errors import RemoteProtocolError

__all__ = [
    "ACTION_REQUEST",
    "ACTION_RESPONSE",
    "GET_REQUEST",
    "GET_RESPONSE",
    "ActionRequest",
    "ActionResponse",
    "Attribute",
    "GetRequestList",
    "GetResponseList",
    "Selection",
]  # beside what is defined here
MAX_APDU = axdr.MAX_OBJECT + 64  # joined of general blocks; a data link brings 65 536 at a time [octet]
DLMS_VERSION = 6
HIGH_PRIORITY = 0x80
CONFIRMED = 0x40
INITIATE_REQUEST = 0x01
INITIATE_RESPONSE = 0x08
CONFIRMED_SERVICE_ERROR = 0x0E
DATA_NOTIFICATION = 0x0F
EXCEPTION_RESPONSE = 0xD8
LOGICAL_NAMES, SHORT_NAMES = 0x0007, 0xFA00  # vaa-name: how objects are referred to; base name of the association
_CONFORMANCE_TAG = b"\x5f\x1f\x04\x00"


class Conformance(IntFlag):
    """Services both sides agree on, bit 0 of the standard's BIT STRING being the highest. IEC 62056-5-3, 9.4.6.1."""

    GENERAL_PROTECTION = 1 << 22
    GENERAL_BLOCK_TRANSFER = 1 << 21
    READ = 1 << 20
    WRITE = 1 << 19
    UNCONFIRMED_WRITE = 1 << 18
    PRIORITY = 1 << 14
    BLOCK_TRANSFER_GET = 1 << 12
    BLOCK_TRANSFER_SET = 1 << 11
    BLOCK_TRANSFER_ACTION = 1 << 10
    MULTIPLE_REFERENCES = 1 << 9
    INFORMATION_REPORT = 1 << 8
    DATA_NOTIFICATION = 1 << 7
    ACCESS = 1 << 6
    PARAMETERIZED_ACCESS = 1 << 5
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    EVENT_NOTIFICATION = 1 << 1
    ACTION = 1 << 0


class DataAccessResult(IntEnum):
    """Why an attribute was not given. IEC 62056-5-3, ``Data-Access-Result``."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_GET_ABORTED = 15
    NO_LONG_GET_IN_PROGRESS = 16
    LONG_SET_ABORTED = 17
    NO_LONG_SET_IN_PROGRESS = 18
    DATA_BLOCK_NUMBER_INVALID = 19
    OTHER_REASON = 250


def result_name(code: int) -> str:
    """Name a data-access-result or action-result, for messages."""
    try:
        return DataAccessResult(code).name.lower().replace("_", "-")
    except ValueError:
        return f"code {code}"


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    """What the client offers. ``max_pdu``: largest APDU it takes. [octet]  ``dedicated_key``: of this association, never shown."""

    conformance: Conformance
    max_pdu: int
    version: int = DLMS_VERSION
    dedicated_key: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """Give the octets: response allowed, no quality of service."""
        key = (
            b"\x01" + axdr.encode_length(len(self.dedicated_key)) + self.dedicated_key
            if self.dedicated_key
            else b"\x00"
        )
        offer = _CONFORMANCE_TAG + int(self.conformance).to_bytes(3, "big") + self.max_pdu.to_bytes(2, "big")
        return bytes([INITIATE_REQUEST]) + key + bytes([0, 0, self.version]) + offer


@dataclass(frozen=True, slots=True)
class InitiateResponse:
    """What the server grants. ``max_pdu``: largest APDU it takes, 0 for no limit. [octet]"""

    conformance: Conformance
    max_pdu: int
    version: int = DLMS_VERSION
    name: int = LOGICAL_NAMES

    def encode(self) -> bytes:
        """Give the octets."""
        grant = _CONFORMANCE_TAG + int(self.conformance).to_bytes(3, "big") + self.max_pdu.to_bytes(2, "big")
        return bytes([INITIATE_RESPONSE, 0, self.version]) + grant + self.name.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class GetRequest:
    """GET-request-normal."""

    invoke_id: int
    attribute: Attribute
    selection: Selection | None = None

    def encode(self) -> bytes:
        """Give the octets."""
        access = b"\x00" if self.selection is None else b"\x01" + self.selection.encode()
        return bytes([GET_REQUEST, 1, self.invoke_id]) + self.attribute.encode() + access


@dataclass(frozen=True, slots=True)
class GetRequestNext:
    """GET-request-next: acknowledges block ``block_number`` and asks for the one after."""

    invoke_id: int
    block_number: int

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([GET_REQUEST, 2, self.invoke_id]) + self.block_number.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class GetResponse:
    """GET-response-normal: the data, or why not (``data`` None and ``result`` not 0)."""

    invoke_id: int
    data: Data | None
    result: int = 0

    def encode(self) -> bytes:
        """Give the octets."""
        choice = bytes([1, self.result]) if self.data is None else b"\x00" + axdr.encode(self.data)
        return bytes([GET_RESPONSE, 1, self.invoke_id]) + choice


@dataclass(frozen=True, slots=True)
class GetResponseOctets:
    """GET-response with what it holds still encoded: what `decode` gives if told to leave it so.

    ``kind``: 1 normal, with data; 3 with-list, its results.
    """

    invoke_id: int
    octets: bytes
    result: Literal[0] = 0
    kind: int = getlist.NORMAL

    def encode(self) -> bytes:
        """Give the octets."""
        head = bytes([GET_RESPONSE, self.kind, self.invoke_id])
        return head + (b"\x00" if self.kind == getlist.NORMAL else b"") + self.octets


@dataclass(frozen=True, slots=True)
class GetResponseBlock:
    """GET-response-with-datablock: a piece of the encoded data, or why not (``raw`` None and ``result`` not 0)."""

    invoke_id: int
    is_last: bool
    block_number: int
    raw: bytes | None
    result: int = 0

    def encode(self) -> bytes:
        """Give the octets."""
        head = bytes([GET_RESPONSE, 2, self.invoke_id, self.is_last]) + self.block_number.to_bytes(4, "big")
        if self.raw is None:
            return head + bytes([1, self.result])
        return head + b"\x00" + axdr.encode_length(len(self.raw)) + self.raw


@dataclass(frozen=True, slots=True)
class DataNotification:
    """What the meter says unasked. ``date_time``: the 12 octets, or empty."""

    long_invoke_id: int
    date_time: bytes
    body: Data

    def encode(self) -> bytes:
        """Give the octets."""
        head = bytes([DATA_NOTIFICATION]) + self.long_invoke_id.to_bytes(4, "big")
        return head + axdr.encode_length(len(self.date_time)) + self.date_time + axdr.encode(self.body)


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    """The server could not even process the APDU. ``counter``: the one it expects, for service error 6."""

    state_error: int
    service_error: int
    counter: int | None = None

    def encode(self) -> bytes:
        """Give the octets."""
        rest = b"" if self.counter is None else self.counter.to_bytes(4, "big")
        return bytes([EXCEPTION_RESPONSE, self.state_error, self.service_error]) + rest


DECIPHERING_ERROR = 5
INVOCATION_COUNTER_ERROR = 6


@dataclass(frozen=True, slots=True)
class ConfirmedServiceError:
    """A refused initiate (``service`` 1) or read. ``category``, ``code``: of ``ServiceError``."""

    service: int
    category: int
    code: int

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([CONFIRMED_SERVICE_ERROR, self.service, self.category, self.code])


Apdu = (
    InitiateRequest | InitiateResponse | GetRequest | GetRequestNext | GetResponse | GetResponseOctets | GetResponseBlock
    | acting.ActionRequests | acting.ActionResponses | DataNotification | ExceptionResponse | ConfirmedServiceError
    | noticing.EventNotification | noticing.DataNotificationConfirm | accessing.AccessRequest | accessing.AccessResponse | GetRequestList | GetResponseList | shortnames.ShortNameApdu | writing.SetRequests | writing.SetResponses
)  # fmt: skip


def decode(apdu: bytes, *, leaves_data: bool = False) -> Apdu:
    """Decode one plain xDLMS APDU. Raises `RemoteProtocolError` for damage, a surplus, or a service we do not speak.

    ``leaves_data``: a GET-response, normal with data or with-list, comes as `GetResponseOctets`; whether they are A-XDR is not looked at.
    """
    if not 0 < len(apdu) <= MAX_APDU:
        raise RemoteProtocolError(f"APDU of {len(apdu)} octets; 1 to {MAX_APDU} are taken")
    decoder = _DECODERS.get(apdu[0])
    if decoder is None:
        raise RemoteProtocolError(f"APDU 0x{apdu[0]:02x} is not one we know")
    cursor = Cursor(apdu, leaves_data=leaves_data)
    decoded = decoder(cursor)
    if cursor.left:
        raise RemoteProtocolError(f"{cursor.left} surplus octets behind APDU 0x{apdu[0]:02x}")
    return decoded


def _get_request(cursor: Cursor) -> Apdu:
    choice, invoke_id = cursor.number(), cursor.number()
    if choice == 2:
        return GetRequestNext(invoke_id, cursor.number(4))
    if choice == getlist.WITH_LIST:
        return getlist.read_request(cursor, invoke_id)
    if choice != 1:
        raise RemoteProtocolError(f"GET-request type {choice} is not supported")
    attribute = cursor.attribute()
    return GetRequest(invoke_id, attribute, cursor.selection())


def _get_response(cursor: Cursor) -> Apdu:
    choice, invoke_id = cursor.number(), cursor.number()
    if choice == 1:
        if cursor.flag():
            return GetResponse(invoke_id, None, _failure(cursor.number()))
        if cursor.leaves_data:
            return GetResponseOctets(invoke_id, cursor.take(cursor.left))
        return GetResponse(invoke_id, cursor.data())
    if choice == getlist.WITH_LIST:
        if cursor.leaves_data:
            return GetResponseOctets(invoke_id, cursor.take(cursor.left), kind=choice)
        return GetResponseList(invoke_id, getlist.read_results(cursor))
    if choice != 2:
        raise RemoteProtocolError(f"GET-response type {choice} is not supported")
    is_last, block_number = cursor.flag(), cursor.number(4)
    if cursor.flag():
        return GetResponseBlock(invoke_id, is_last, block_number, None, _failure(cursor.number()))
    return GetResponseBlock(invoke_id, is_last, block_number, cursor.octets())


def _failure(code: int) -> int:
    """Refuse a refusal that says success."""
    if code == 0:
        raise RemoteProtocolError("data-access-result says success where data should be")
    return code


def _initiate_request(cursor: Cursor) -> Apdu:
    dedicated_key = cursor.octets() if cursor.flag() else b""
    if cursor.flag():
        cursor.flag()  # response-allowed
    if cursor.flag():
        cursor.number()  # proposed quality of service
    version = cursor.number()
    return InitiateRequest(_conformance(cursor), cursor.number(2), version, dedicated_key)


def _initiate_response(cursor: Cursor) -> Apdu:
    if cursor.flag():
        cursor.number()  # negotiated quality of service
    version = cursor.number()
    return InitiateResponse(_conformance(cursor), cursor.number(2), version, cursor.number(2))


def _conformance(cursor: Cursor) -> Conformance:
    if cursor.take(4) != _CONFORMANCE_TAG:
        raise RemoteProtocolError("initiate APDU without a conformance block")
    return Conformance(cursor.number(3))


def _data_notification(cursor: Cursor) -> Apdu:
    long_invoke_id, date_time = cursor.number(4), cursor.octets()
    if len(date_time) not in {0, 12}:
        raise RemoteProtocolError(f"date-time of {len(date_time)} octets in a data-notification")
    return DataNotification(long_invoke_id, date_time, cursor.data())


def _exception_response(cursor: Cursor) -> Apdu:
    state_error, service_error = cursor.number(), cursor.number()
    has_counter = service_error == INVOCATION_COUNTER_ERROR and cursor.left
    return ExceptionResponse(state_error, service_error, cursor.number(4) if has_counter else None)


def _confirmed_service_error(cursor: Cursor) -> Apdu:
    return ConfirmedServiceError(cursor.number(), cursor.number(), cursor.number())


_DECODERS: Mapping[int, Callable[[Cursor], Apdu]] = {
    INITIATE_REQUEST: _initiate_request,
    INITIATE_RESPONSE: _initiate_response,
    CONFIRMED_SERVICE_ERROR: _confirmed_service_error,
    DATA_NOTIFICATION: _data_notification,
    GET_REQUEST: _get_request,
    GET_RESPONSE: _get_response,
    writing.SET_REQUEST: writing.read_request,
    writing.SET_RESPONSE: writing.read_response,
    ACTION_REQUEST: acting.read_request,
    ACTION_RESPONSE: acting.read_response,
    EXCEPTION_RESPONSE: _exception_response,
    noticing.EVENT_NOTIFICATION: noticing.read_event,
    noticing.DATA_NOTIFICATION_CONFIRM: noticing.read_confirm,
    accessing.ACCESS_REQUEST: accessing.read_request,
    accessing.ACCESS_RESPONSE: accessing.read_response,
    shortnames.READ_REQUEST: shortnames.read_read_request,
    shortnames.READ_RESPONSE: shortnames.read_read_response,
    shortnames.WRITE_REQUEST: shortnames.read_write_request,
    shortnames.WRITE_RESPONSE: shortnames.read_write_response,
    shortnames.UNCONFIRMED_WRITE: shortnames.read_unconfirmed_write,
    shortnames.INFORMATION_REPORT: shortnames.read_information_report,
}
