"""Protocol data units: register reads both ways, what every request can tell, and the checks a reply has to pass.

The other functions are in `drivers.modbus.functions`.

Source: MODBUS Application Protocol Specification V1.1b3, clauses 6.3 (function 3), 6.4 (function 4), 7 (exceptions).
"""

import struct
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, ClassVar, Final, Protocol

from drivers.errors import LocalProtocolError, RemoteProtocolError


class NeedData(Enum):
    """Type of `NEED_DATA`."""

    TOKEN = 0


NEED_DATA: Final = NeedData.TOKEN
"""Nothing whole has arrived yet."""

MAX_READ = 125  # V1.1b3, clauses 6.3 and 6.4: quantity 1 to 0x7D
MAX_PDU = 253  # V1.1b3, clause 4.1
EXCEPTION_BIT = 0x80  # V1.1b3, clause 7


class Function(IntEnum):
    """Function codes this driver knows. V1.1b3, clause 5.1."""

    READ_COILS = 1
    READ_DISCRETE_INPUTS = 2
    READ_HOLDING_REGISTERS = 3
    READ_INPUT_REGISTERS = 4
    WRITE_SINGLE_COIL = 5
    WRITE_SINGLE_REGISTER = 6
    WRITE_MULTIPLE_COILS = 15
    WRITE_MULTIPLE_REGISTERS = 16
    READ_FILE_RECORD = 20
    MASK_WRITE_REGISTER = 22
    READ_WRITE_REGISTERS = 23
    ENCAPSULATED = 43


REGISTER_READS: Final = frozenset((Function.READ_HOLDING_REGISTERS, Function.READ_INPUT_REGISTERS))


class ExceptionCode(IntEnum):
    """Why a server refuses. V1.1b3, clause 7."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_DATA_ADDRESS = 2
    ILLEGAL_DATA_VALUE = 3
    SERVER_DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    SERVER_DEVICE_BUSY = 6
    MEMORY_PARITY_ERROR = 8
    GATEWAY_PATH_UNAVAILABLE = 10
    GATEWAY_TARGET_FAILED_TO_RESPOND = 11


class Request(Protocol):
    """What can be asked. ``changes``: whether it writes, so that it is for those alone who execute an approved command."""

    changes: ClassVar[bool]

    @property
    def function(self) -> Function:
        """Function code."""

    def encode(self) -> bytes:
        """Give the request's PDU."""

    def answer_length(self, head: bytes) -> int | None:
        """Give the length of the answer's PDU as far as its first bytes tell, None where no answer begins like that.

        ``head``: from the function code on, which is right. Where ``head`` is shorter than what is given, more of it may
        tell of a longer one.
        """

    def decode_answer(self, pdu: bytes) -> Any:
        """Take an answer of at least two bytes with the right function apart. Raises `RemoteProtocolError`."""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Ask for ``count`` registers from zero-based ``address``."""

    function: Function
    address: int
    count: int
    changes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what the specification gives no encoding for."""
        if self.function not in REGISTER_READS:
            raise LocalProtocolError(f"function {int(self.function)} does not read registers")
        check_count(self.count, MAX_READ, "registers")
        check_span(self.address, self.count)

    def encode(self) -> bytes:
        """Give the five bytes: function, address, quantity."""
        return struct.pack(">BHH", self.function, self.address, self.count)

    def answer_length(self, head: bytes) -> int | None:
        """See `Request.answer_length`."""
        return 2 + 2 * self.count if len(head) < 2 or head[1] == 2 * self.count else None

    def decode_answer(self, pdu: bytes) -> "ReadResponse":
        """See `Request.decode_answer`."""
        wanted = 2 * self.count
        if pdu[1] != wanted:
            raise RemoteProtocolError(f"answer announces {pdu[1]} bytes, {self.count} registers are {wanted}")
        if len(pdu) != 2 + wanted:
            raise RemoteProtocolError(f"answer announces {wanted} bytes and carries {len(pdu) - 2}")
        return ReadResponse(self.function, struct.unpack(f">{self.count}H", pdu[2:]))


@dataclass(frozen=True, slots=True)
class ReadResponse:
    """Registers read, each 0 to 65535, in address order."""

    function: Function
    registers: tuple[int, ...]

    def encode(self) -> bytes:
        """Give function, byte count and registers, high byte first."""
        return struct.pack(f">BB{len(self.registers)}H", self.function, 2 * len(self.registers), *self.registers)


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    """A refusal. ``function`` is the one asked for, without the exception bit; any byte, as the request may hold any."""

    function: int
    code: int

    def encode(self) -> bytes:
        """Give the two bytes: function with the exception bit, code."""
        return bytes((self.function | EXCEPTION_BIT, self.code))


class RequestFault(RemoteProtocolError):
    """A request that a server must refuse; ``response`` is what it answers."""

    def __init__(self, message: str, response: ExceptionResponse) -> None:
        super().__init__(message)
        self.response = response


def decode_request(pdu: bytes) -> ReadRequest:
    """Read a register read as a server. Raises `RequestFault` with the answer to send, `RemoteProtocolError` on an empty PDU."""
    if not pdu:
        raise RemoteProtocolError("a request without a function code")
    function = pdu[0]
    if function not in REGISTER_READS:
        raise fault(f"function {function} is not served", function, ExceptionCode.ILLEGAL_FUNCTION)
    if len(pdu) != 5:
        raise fault(f"a read request has 5 bytes, not {len(pdu)}", function, ExceptionCode.ILLEGAL_DATA_VALUE)
    _, address, count = struct.unpack(">BHH", pdu)
    if not 1 <= count <= MAX_READ:
        raise fault(f"{count} registers asked for", function, ExceptionCode.ILLEGAL_DATA_VALUE)
    if address + count > 0x10000:
        raise fault(f"{count} registers from {address}", function, ExceptionCode.ILLEGAL_DATA_ADDRESS)
    return ReadRequest(Function(function), address, count)


def decode_response(pdu: bytes, request: Request) -> Any:
    """Read the answer to ``request`` as a client: what its `decode_answer` gives, or an `ExceptionResponse`.

    Raises `RemoteProtocolError` for an answer to anything else.
    """
    if len(pdu) < 2:
        raise RemoteProtocolError(f"an answer of {len(pdu)} bytes is too short")
    if pdu[0] == request.function | EXCEPTION_BIT:
        if len(pdu) != 2:
            raise RemoteProtocolError(f"an exception has 2 bytes, not {len(pdu)}")
        return ExceptionResponse(int(request.function), pdu[1])
    if pdu[0] != request.function:
        raise RemoteProtocolError(f"answered function {pdu[0]}, asked function {int(request.function)}")
    return request.decode_answer(pdu)


def check_count(count: int, limit: int, what: str) -> None:
    """Refuse to encode a quantity beyond what the specification allows. Raises `LocalProtocolError`."""
    if not 1 <= count <= limit:
        raise LocalProtocolError(f"a request is for 1 to {limit} {what}, not {count}")


def check_span(address: int, count: int) -> None:
    """Refuse to encode addresses beyond 65535. Raises `LocalProtocolError`."""
    if not 0 <= address <= 0x10000 - count:
        raise LocalProtocolError(f"addresses {address} to {address + count - 1} are not in 0 to 65535")


def fault(message: str, function: int, code: ExceptionCode) -> RequestFault:
    """Make the error of a request that a server refuses, with the answer due."""
    return RequestFault(message, ExceptionResponse(function & ~EXCEPTION_BIT, code))
