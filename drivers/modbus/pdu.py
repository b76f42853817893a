"""Protocol data units of register reads, both ways, and the checks a reply has to pass.

Source: MODBUS Application Protocol Specification V1.1b3, clauses 6.3 (function 3), 6.4 (function 4), 7 (exceptions).
"""

import struct
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

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
    """Function codes this driver reads with. V1.1b3, clause 5.1."""

    READ_HOLDING_REGISTERS = 3
    READ_INPUT_REGISTERS = 4


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


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Ask for ``count`` registers from zero-based ``address``."""

    function: Function
    address: int
    count: int

    def __post_init__(self) -> None:
        """Refuse what the specification gives no encoding for."""
        if not 1 <= self.count <= MAX_READ:
            raise LocalProtocolError(f"a read asks for 1 to {MAX_READ} registers, not {self.count}")
        if not 0 <= self.address <= 0x10000 - self.count:
            raise LocalProtocolError(
                f"registers {self.address} to {self.address + self.count - 1} are not in 0 to 65535"
            )

    def encode(self) -> bytes:
        """Give the five bytes: function, address, quantity."""
        return struct.pack(">BHH", self.function, self.address, self.count)


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
    """Read a request as a server. Raises `RequestFault` with the answer to send, `RemoteProtocolError` on an empty PDU."""
    if not pdu:
        raise RemoteProtocolError("a request without a function code")
    function = pdu[0]
    if function not in set(Function):
        raise _fault(f"function {function} is not served", function, ExceptionCode.ILLEGAL_FUNCTION)
    if len(pdu) != 5:
        raise _fault(f"a read request has 5 bytes, not {len(pdu)}", function, ExceptionCode.ILLEGAL_DATA_VALUE)
    _, address, count = struct.unpack(">BHH", pdu)
    if not 1 <= count <= MAX_READ:
        raise _fault(f"{count} registers asked for", function, ExceptionCode.ILLEGAL_DATA_VALUE)
    if address + count > 0x10000:
        raise _fault(f"{count} registers from {address}", function, ExceptionCode.ILLEGAL_DATA_ADDRESS)
    return ReadRequest(Function(function), address, count)


def decode_response(pdu: bytes, request: ReadRequest) -> ReadResponse | ExceptionResponse:
    """Read the answer to ``request`` as a client. Raises `RemoteProtocolError` for an answer to anything else."""
    if len(pdu) < 2:
        raise RemoteProtocolError(f"an answer of {len(pdu)} bytes is too short")
    if pdu[0] == request.function | EXCEPTION_BIT:
        if len(pdu) != 2:
            raise RemoteProtocolError(f"an exception has 2 bytes, not {len(pdu)}")
        return ExceptionResponse(int(request.function), pdu[1])
    if pdu[0] != request.function:
        raise RemoteProtocolError(f"answered function {pdu[0]}, asked function {int(request.function)}")
    wanted = 2 * request.count
    if pdu[1] != wanted:
        raise RemoteProtocolError(f"answer announces {pdu[1]} bytes, {request.count} registers are {wanted}")
    if len(pdu) != 2 + wanted:
        raise RemoteProtocolError(f"answer announces {wanted} bytes and carries {len(pdu) - 2}")
    return ReadResponse(request.function, struct.unpack(f">{request.count}H", pdu[2:]))


def _fault(message: str, function: int, code: ExceptionCode) -> RequestFault:
    return RequestFault(message, ExceptionResponse(function & ~EXCEPTION_BIT, code))
