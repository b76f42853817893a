"""Services of short-name referencing: READ, WRITE, UnconfirmedWrite, InformationReport. IEC 62056-5-3, clause 9.5.

Objects are variables here, named by 16 bits; what they belong to is `drivers.dlms.basenames`. Codecs alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.dlms import axdr
from drivers.dlms.axdr import Data
from drivers.dlms.descriptor import Cursor
from drivers.errors import RemoteProtocolError

READ_REQUEST, WRITE_REQUEST = 0x05, 0x06
READ_RESPONSE, WRITE_RESPONSE = 0x0C, 0x0D
UNCONFIRMED_WRITE, INFORMATION_REPORT = 0x16, 0x18
MAX_LIST = 255  # variables taken of one request or answer
TIME_SIZES = frozenset({*range(10, 20)})  # [octet] of a GeneralizedTime, YYYYMMDDHH at least


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable by its name, [2]; with ``selector`` parameterised access, [4], as for selective access and methods."""

    name: int
    selector: int | None = None
    parameters: Data = axdr.NULL

    def encode(self) -> bytes:
        """Give the octets."""
        name = self.name.to_bytes(2, "big")
        if self.selector is None:
            return b"\x02" + name
        return b"\x04" + name + bytes([self.selector]) + axdr.encode(self.parameters)


@dataclass(frozen=True, slots=True)
class BlockNumber:
    """``block-number-access``, [5]: acknowledges a block of the answer and asks for the one after."""

    number: int

    def encode(self) -> bytes:
        """Give the octets."""
        return b"\x05" + self.number.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """``read-data-block-access``, [6]: a piece of a READ-request too long for an APDU."""

    number: int
    raw: bytes
    is_last: bool

    def encode(self) -> bytes:
        """Give the octets."""
        head = bytes([6, self.is_last]) + self.number.to_bytes(2, "big")
        return head + axdr.encode_length(len(self.raw)) + self.raw


@dataclass(frozen=True, slots=True)
class WriteBlock:
    """``write-data-block-access``, [7]: a piece of a WRITE-request, which follows as an octet-string among its data."""

    number: int
    is_last: bool

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([7, self.is_last]) + self.number.to_bytes(2, "big")


Access = Variable | BlockNumber | ReadBlock | WriteBlock


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """READ-request: several variables, or one block."""

    items: tuple[Access, ...]

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([READ_REQUEST]) + encode_items(self.items)


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What came of one variable: data, [0], or why not, [1] (``data`` None and ``result`` not 0)."""

    data: Data | None
    result: int = 0

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([1, self.result]) if self.data is None else b"\x00" + axdr.encode(self.data)


@dataclass(frozen=True, slots=True)
class ResultBlock:
    """``data-block-result``, [2]: a piece of the answer."""

    number: int
    raw: bytes
    is_last: bool

    def encode(self) -> bytes:
        """Give the octets."""
        head = bytes([2, self.is_last]) + self.number.to_bytes(2, "big")
        return head + axdr.encode_length(len(self.raw)) + self.raw


@dataclass(frozen=True, slots=True)
class BlockAccepted:
    """A block of a request was taken, the next may come: [3] of READ, [2] of WRITE."""

    number: int
    choice: int = 3

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([self.choice]) + self.number.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class ReadResponse:
    """READ-response: a result for each variable, in their order, or one about a block."""

    results: tuple[ReadResult | ResultBlock | BlockAccepted, ...]

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([READ_RESPONSE]) + encode_items(self.results)


@dataclass(frozen=True, slots=True)
class ReadResponseOctets:
    """READ-response with data left encoded: what `decode` gives if told so. ``octets``: results, their number first."""

    octets: bytes

    def encode(self) -> bytes:
        """Give the octets."""
        return bytes([READ_RESPONSE]) + self.octets


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """WRITE-request: variables, and what is written to each. ``is_confirmed``: whether an answer is wanted."""

    items: tuple[Access, ...]
    values: tuple[Data, ...]
    is_confirmed: bool = True

    def encode(self) -> bytes:
        """Give the octets."""
        tag = WRITE_REQUEST if self.is_confirmed else UNCONFIRMED_WRITE
        return bytes([tag]) + self.body()

    def body(self) -> bytes:
        """Give the octets behind the tag."""
        return encode_items(self.items) + encode_values(self.values)


@dataclass(frozen=True, slots=True)
class WriteResponse:
    """WRITE-response: for each variable 0, or why not; or a block that was taken."""

    results: tuple[int | BlockAccepted, ...]

    def encode(self) -> bytes:
        """Give the octets."""
        parts = [bytes([WRITE_RESPONSE]), axdr.encode_length(len(self.results))]
        for result in self.results:
            if isinstance(result, BlockAccepted):
                parts.append(result.encode())
            else:
                parts.append(bytes([1, result]) if result else b"\x00")
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class InformationReport:
    """What a server says unasked: variables and their values. ``time``: GeneralizedTime as it came, or empty."""

    time: bytes
    names: tuple[int, ...]
    values: tuple[Data, ...]

    def encode(self) -> bytes:
        """Give the octets."""
        time = b"\x01" + axdr.encode_length(len(self.time)) + self.time if self.time else b"\x00"
        variables = tuple(Variable(name) for name in self.names)
        return bytes([INFORMATION_REPORT]) + time + encode_items(variables) + encode_values(self.values)


ShortNameApdu = ReadRequest | ReadResponse | ReadResponseOctets | WriteRequest | WriteResponse | InformationReport


def encode_items(items: Sequence[Access | ReadResult | ResultBlock | BlockAccepted]) -> bytes:
    """Give the octets of a list, as they stand in one APDU or in the blocks of one."""
    return axdr.encode_length(len(items)) + b"".join([item.encode() for item in items])


def encode_values(values: Sequence[Data]) -> bytes:
    """Give the octets of a list of data."""
    return axdr.encode_length(len(values)) + b"".join([axdr.encode(value) for value in values])


def read_read_request(cursor: Cursor) -> ReadRequest:
    """Read a READ-request behind its tag. Raises `RemoteProtocolError`."""
    return ReadRequest(tuple(_access(cursor) for _ in range(cursor.count(MAX_LIST))))


def read_read_response(cursor: Cursor) -> ReadResponse | ReadResponseOctets:
    """Read a READ-response behind its tag. Raises `RemoteProtocolError`."""
    if cursor.leaves_data and cursor.peek(2)[1:] in {b"\x00", b"\x01"}:
        return ReadResponseOctets(cursor.take(cursor.left))
    return ReadResponse(tuple(_result(cursor) for _ in range(cursor.count(MAX_LIST))))


def decode_results(octets: bytes, count: int) -> tuple[ReadResult, ...]:
    """Read results, their number first; one for each of ``count`` variables. Raises `RemoteProtocolError`."""
    cursor = Cursor(octets, 0)
    results = tuple(_result(cursor) for _ in range(cursor.count(MAX_LIST)))
    cursor.end()
    plain = tuple(result for result in results if isinstance(result, ReadResult))
    if len(plain) != count or len(results) != count:
        raise RemoteProtocolError(f"{len(results)} results for {count} variables")
    return plain


def read_write_request(cursor: Cursor) -> WriteRequest:
    """Read a WRITE-request behind its tag. Raises `RemoteProtocolError`."""
    return _write_request(cursor, is_confirmed=True)


def read_unconfirmed_write(cursor: Cursor) -> WriteRequest:
    """Read an UnconfirmedWrite behind its tag. Raises `RemoteProtocolError`."""
    return _write_request(cursor, is_confirmed=False)


def read_write_response(cursor: Cursor) -> WriteResponse:
    """Read a WRITE-response behind its tag. Raises `RemoteProtocolError`."""
    return WriteResponse(tuple(_written(cursor) for _ in range(cursor.count(MAX_LIST))))


def read_information_report(cursor: Cursor) -> InformationReport:
    """Read an InformationReport behind its tag. Raises `RemoteProtocolError`."""
    time = cursor.octets() if cursor.flag() else b""
    if time and len(time) not in TIME_SIZES:
        raise RemoteProtocolError(f"time of {len(time)} octets in an information report")
    items = [_access(cursor) for _ in range(cursor.count(MAX_LIST))]
    names = tuple(item.name for item in items if isinstance(item, Variable) and item.selector is None)
    if len(names) != len(items):
        raise RemoteProtocolError("an information report names something else than variables")
    return InformationReport(time, names, _values(cursor, len(items)))


def _write_request(cursor: Cursor, *, is_confirmed: bool) -> WriteRequest:
    items = tuple(_access(cursor) for _ in range(cursor.count(MAX_LIST)))
    return WriteRequest(items, _values(cursor, len(items)), is_confirmed)


def _values(cursor: Cursor, wanted: int) -> tuple[Data, ...]:
    count = cursor.count(MAX_LIST)
    if count != wanted:
        raise RemoteProtocolError(f"{count} values for {wanted} variables")
    return tuple(cursor.data() for _ in range(count))


def _access(cursor: Cursor) -> Access:
    match choice := cursor.number():
        case 2:
            return Variable(cursor.number(2))
        case 4:
            return Variable(cursor.number(2), cursor.number(), cursor.data())
        case 5:
            return BlockNumber(cursor.number(2))
        case 6:
            is_last, number = cursor.flag(), cursor.number(2)
            return ReadBlock(number, cursor.octets(), is_last)
        case 7:
            is_last, number = cursor.flag(), cursor.number(2)
            return WriteBlock(number, is_last)
    raise RemoteProtocolError(f"variable access specification {choice} is not supported")


def _result(cursor: Cursor) -> ReadResult | ResultBlock | BlockAccepted:
    match choice := cursor.number():
        case 0:
            return ReadResult(cursor.data())
        case 1:
            if code := cursor.number():
                return ReadResult(None, code)
            raise RemoteProtocolError("data-access-error says success where data should be")
        case 2:
            is_last, number = cursor.flag(), cursor.number(2)
            return ResultBlock(number, cursor.octets(), is_last)
        case 3:
            return BlockAccepted(cursor.number(2))
    raise RemoteProtocolError(f"read result {choice} is not supported")


def _written(cursor: Cursor) -> int | BlockAccepted:
    match choice := cursor.number():
        case 0:
            return 0
        case 1:
            if code := cursor.number():
                return code
            raise RemoteProtocolError("data-access-error says success")
        case 2:
            return BlockAccepted(cursor.number(2), 2)
    raise RemoteProtocolError(f"write result {choice} is not supported")
