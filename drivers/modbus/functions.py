"""Requests and answers of every function beside the register reads of `drivers.modbus.pdu`, both ways.

Each request knows the length of its answer from that answer's first bytes, and takes the answer's body apart; so framing by
expected length and the matching of replies need no list of functions of their own. Longer than most: there are ten of them.

Source: MODBUS Application Protocol Specification V1.1b3, clauses 6.1 (coils) to 6.21 (device identification).
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.modbus.pdu import (
    MAX_PDU,
    MAX_READ,
    ExceptionCode,
    Function,
    ReadResponse,
    Request,
    RequestFault,
    check_count,
    check_span,
    fault,
)
from drivers.modbus.pdu import decode_request as decode_register_read

MAX_BITS = 2000  # clauses 6.1 and 6.2: 0x7D0
MAX_COILS_WRITTEN = 1968  # clause 6.11: 0x7B0
MAX_WRITTEN = 123  # clause 6.12: 0x7B
MAX_WRITTEN_READING = 121  # clause 6.17: 0x79
MAX_RECORD = 9_999  # clause 6.14: 0x270F
MAX_FILE_OCTETS = 0xF5  # clause 6.14
FILE_REFERENCE = 6  # clause 6.14, reference type
DEVICE_IDENTIFICATION = 14  # clause 6.21, MEI type
COIL_ON, COIL_OFF = 0xFF00, 0  # clause 6.5
MAX_OBJECTS = 64  # of one answer; each takes two bytes at least, and no device has as many
MAX_GROUPS = 35  # sub-requests of 7 bytes in 0xF5


@dataclass(frozen=True, slots=True)
class Bits:
    """Answer to `ReadBits`: as many bits as were asked for."""

    function: Function
    values: tuple[bool, ...]

    def encode(self) -> bytes:
        """Give function, byte count and bits, the first in the least significant place."""
        octets = pack_bits(self.values)
        return bytes((self.function, len(octets))) + octets


@dataclass(frozen=True, slots=True)
class Written:
    """Answer to a write: the octets that confirm it, function code included."""

    octets: bytes

    def encode(self) -> bytes:
        """Give the octets."""
        return self.octets


@dataclass(frozen=True, slots=True)
class FileRecords:
    """Answer to `ReadFile`: registers of each record asked for, in that order."""

    records: tuple[tuple[int, ...], ...]

    def encode(self) -> bytes:
        """Give function, byte count, and each record behind its length and reference type."""
        body = b"".join(
            struct.pack(f">BB{len(record)}H", 1 + 2 * len(record), FILE_REFERENCE, *record) for record in self.records
        )
        return bytes((Function.READ_FILE_RECORD, len(body))) + body


@dataclass(frozen=True, slots=True)
class DeviceObjects:
    """Answer to `ReadDevice`: what a device says of itself, object identifier -> octets. ``next_object``: None at the end."""

    code: int
    conformity: int
    next_object: int | None
    objects: Mapping[int, bytes]

    def encode(self) -> bytes:
        """Give function, MEI type, code, conformity, whether more follows and with which object, and the objects."""
        more = (0xFF, self.next_object) if self.next_object is not None else (0, 0)
        head = (Function.ENCAPSULATED, DEVICE_IDENTIFICATION, self.code, self.conformity, *more, len(self.objects))
        return bytes(head) + b"".join(bytes((key, len(octets))) + octets for key, octets in self.objects.items())


@dataclass(frozen=True, slots=True)
class ReadBits:
    """Ask for ``count`` coils (function 1) or discrete inputs (function 2). Clauses 6.1, 6.2."""

    function: Function
    address: int
    count: int
    changes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what the specification gives no encoding for."""
        if self.function not in {Function.READ_COILS, Function.READ_DISCRETE_INPUTS}:
            raise LocalProtocolError(f"function {int(self.function)} does not read bits")
        check_count(self.count, MAX_BITS, "bits")
        check_span(self.address, self.count)

    def encode(self) -> bytes:
        """Give the five bytes: function, address, quantity."""
        return struct.pack(">BHH", self.function, self.address, self.count)

    def answer_length(self, head: bytes) -> int | None:
        """See `drivers.modbus.pdu.Request.answer_length`."""
        octets = (self.count + 7) // 8
        return 2 + octets if len(head) < 2 or head[1] == octets else None

    def decode_answer(self, pdu: bytes) -> Bits:
        """See `drivers.modbus.pdu.Request.decode_answer`."""
        octets = (self.count + 7) // 8
        if len(pdu) != 2 + octets or pdu[1] != octets:
            raise RemoteProtocolError(f"{self.count} bits are {octets} bytes, the answer announces {pdu[1]}")
        return Bits(self.function, unpack_bits(pdu[2:], self.count))


@dataclass(frozen=True, slots=True)
class WriteOne:
    """Write one coil (function 5, ``value`` 0 or 0xFF00) or one register (function 6). Clauses 6.5, 6.6."""

    function: Function
    address: int
    value: int
    changes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what the specification gives no encoding for."""
        check_span(self.address, 1)
        if self.function == Function.WRITE_SINGLE_COIL:
            if self.value not in {COIL_ON, COIL_OFF}:
                raise LocalProtocolError(f"a coil is written as 0xFF00 or 0, not {self.value:#x}")
        elif self.function == Function.WRITE_SINGLE_REGISTER:
            _check_registers((self.value,), 1)
        else:
            raise LocalProtocolError(f"function {int(self.function)} does not write one value")

    def encode(self) -> bytes:
        """Give function, address and value."""
        return struct.pack(">BHH", self.function, self.address, self.value)

    def answer_length(self, head: bytes) -> int | None:
        """See `drivers.modbus.pdu.Request.answer_length`."""
        return _fixed(head, self.encode())

    def decode_answer(self, pdu: bytes) -> Written:
        """See `drivers.modbus.pdu.Request.decode_answer`."""
        return _confirmed(pdu, self.encode())


@dataclass(frozen=True, slots=True)
class WriteCoils:
    """Write consecutive coils. Clause 6.11."""

    address: int
    values: tuple[bool, ...]
    function: ClassVar[Function] = Function.WRITE_MULTIPLE_COILS
    changes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what the specification gives no encoding for."""
        check_count(len(self.values), MAX_COILS_WRITTEN, "coils")
        check_span(self.address, len(self.values))

    def encode(self) -> bytes:
        """Give function, address, quantity, byte count and bits."""
        octets = pack_bits(self.values)
        return struct.pack(">BHHB", self.function, self.address, len(self.values), len(octets)) + octets

    def answer_length(self, head: bytes) -> int | None:
        """See `drivers.modbus.pdu.Request.answer_length`."""
        return _fixed(head, self.encode()[:5])

    def decode_answer(self, pdu: bytes) -> Written:
        """See `drivers.modbus.pdu.Request.decode_answer`."""
        return _confirmed(pdu, self.encode()[:5])


@dataclass(frozen=True, slots=True)
class WriteRegisters:
    """Write consecutive registers. Clause 6.12."""

    address: int
    values: tuple[int, ...]
    function: ClassVar[Function] = Function.WRITE_MULTIPLE_REGISTERS
    changes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what the specification gives no encoding for."""
        _check_registers(self.values, MAX_WRITTEN)
        check_span(self.address, len(self.values))

    def encode(self) -> bytes:
        """Give function, address, quantity, byte count and registers."""
        count = len(self.values)
        return struct.pack(f">BHHB{count}H", self.function, self.address, count, 2 * count, *self.values)

    def answer_length(self, head: bytes) -> int | None:
        """See `drivers.modbus.pdu.Request.answer_length`."""
        return _fixed(head, self.encode()[:5])

    def decode_answer(self, pdu: bytes) -> Written:
        """See `drivers.modbus.pdu.Request.decode_answer`."""
        return _confirmed(pdu, self.encode()[:5])


@dataclass(frozen=True, slots=True)
class MaskWrite:
    """Change bits of one register: (current AND ``and_mask``) OR (``or_mask`` AND NOT ``and_mask``). Clause 6.16."""

    address: int
    and_mask: int
    or_mask: int
    function: ClassVar[Function] = Function.MASK_WRITE_REGISTER
    changes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what the specification gives no encoding for."""
        check_span(self.address, 1)
        _check_registers((self.and_mask, self.or_mask), 2)

    def encode(self) -> bytes:
        """Give function, address and masks."""
        return struct.pack(">BHHH", self.function, self.address, self.and_mask, self.or_mask)

    def answer_length(self, head: bytes) -> int | None:
        """See `drivers.modbus.pdu.Request.answer_length`."""
        return _fixed(head, self.encode())

    def decode_answer(self, pdu: bytes) -> Written:
        """See `drivers.modbus.pdu.Request.decode_answer`."""
        return _confirmed(pdu, self.encode())


@dataclass(frozen=True, slots=True)
class ReadWrite:
    """Write registers, then read others, in one exchange. Clause 6.17."""

    address: int
    count: int
    write_address: int
    values: tuple[int, ...]
    function: ClassVar[Function] = Function.READ_WRITE_REGISTERS
    changes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what the specification gives no encoding for."""
        check_count(self.count, MAX_READ, "registers")
        check_span(self.address, self.count)
        _check_registers(self.values, MAX_WRITTEN_READING)
        check_span(self.write_address, len(self.values))

    def encode(self) -> bytes:
        """Give function, where and how many to read, where and what to write."""
        head = (self.function, self.address, self.count, self.write_address, len(self.values), 2 * len(self.values))
        return struct.pack(f">BHHHHB{len(self.values)}H", *head, *self.values)

    def answer_length(self, head: bytes) -> int | None:
        """See `drivers.modbus.pdu.Request.answer_length`."""
        return 2 + 2 * self.count if len(head) < 2 or head[1] == 2 * self.count else None

    def decode_answer(self, pdu: bytes) -> ReadResponse:
        """See `drivers.modbus.pdu.Request.decode_answer`."""
        if len(pdu) != 2 + 2 * self.count or pdu[1] != 2 * self.count:
            raise RemoteProtocolError(f"answer announces {pdu[1]} bytes, {self.count} registers are {2 * self.count}")
        return ReadResponse(self.function, struct.unpack(f">{self.count}H", pdu[2:]))


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """``length`` registers from ``record`` of ``file``."""

    file: int
    record: int
    length: int


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Read records of files. Clause 6.14."""

    groups: tuple[RecordRequest, ...]
    function: ClassVar[Function] = Function.READ_FILE_RECORD
    changes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what the specification gives no encoding for, and what has no room in one answer."""
        check_count(len(self.groups), MAX_GROUPS, "records")
        for group in self.groups:
            if not (1 <= group.file <= 0xFFFF and 0 <= group.record <= MAX_RECORD and group.length >= 1):
                raise LocalProtocolError(f"record {group.record} of file {group.file}, {group.length} registers")
        if self._octets > MAX_FILE_OCTETS:
            raise LocalProtocolError(f"records of {self._octets} bytes; at most {MAX_FILE_OCTETS} have room")

    @property
    def _octets(self) -> int:
        return sum(2 + 2 * group.length for group in self.groups)

    def encode(self) -> bytes:
        """Give function, byte count, and seven bytes for each record."""
        body = b"".join(struct.pack(">BHHH", FILE_REFERENCE, one.file, one.record, one.length) for one in self.groups)
        return bytes((self.function, len(body))) + body

    def answer_length(self, head: bytes) -> int | None:
        """See `drivers.modbus.pdu.Request.answer_length`."""
        return 2 + self._octets if len(head) < 2 or head[1] == self._octets else None

    def decode_answer(self, pdu: bytes) -> FileRecords:
        """See `drivers.modbus.pdu.Request.decode_answer`."""
        if len(pdu) != 2 + self._octets or pdu[1] != self._octets:
            raise RemoteProtocolError(f"answer announces {pdu[1]} bytes of records, asked were {self._octets}")
        records, at = [], 2
        for group in self.groups:
            if pdu[at] != 1 + 2 * group.length or pdu[at + 1] != FILE_REFERENCE:
                raise RemoteProtocolError(f"record {group.record} of file {group.file} has another length or type")
            records.append(struct.unpack_from(f">{group.length}H", pdu, at + 2))
            at += 2 + 2 * group.length
        return FileRecords(tuple(records))


@dataclass(frozen=True, slots=True)
class ReadDevice:
    """Read device identification. ``code``: 1 basic, 2 regular, 3 extended, 4 one object. Clause 6.21."""

    code: int = 1
    object_id: int = 0
    function: ClassVar[Function] = Function.ENCAPSULATED
    changes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what the specification gives no encoding for."""
        if not (1 <= self.code <= 4 and 0 <= self.object_id <= 0xFF):
            raise LocalProtocolError(f"device identification code {self.code}, object {self.object_id}")

    def encode(self) -> bytes:
        """Give function, MEI type, code and object."""
        return bytes((self.function, DEVICE_IDENTIFICATION, self.code, self.object_id))

    def answer_length(self, head: bytes) -> int | None:
        """See `drivers.modbus.pdu.Request.answer_length`: seven bytes, then objects that each tell their length."""
        expected = bytes((self.function, DEVICE_IDENTIFICATION, self.code))
        if head[:3] != expected[: len(head)]:
            return None
        if len(head) < 7:
            return 7
        length = 7
        for _ in range(head[6]):
            length += 2 + (head[length + 1] if len(head) > length + 1 else 0)
            if length > MAX_PDU or head[6] > MAX_OBJECTS:
                return None
            if len(head) < length:
                break
        return length

    def decode_answer(self, pdu: bytes) -> DeviceObjects:
        """See `drivers.modbus.pdu.Request.decode_answer`."""
        if self.answer_length(pdu) != len(pdu) or len(pdu) < 7:
            raise RemoteProtocolError(f"device identification of {len(pdu)} bytes does not hold what it announces")
        objects, at = {}, 7
        for _ in range(pdu[6]):
            if at + 2 > len(pdu):
                raise RemoteProtocolError("device identification ends inside an object")
            objects[pdu[at]] = pdu[at + 2 : at + 2 + pdu[at + 1]]
            at += 2 + pdu[at + 1]
        if at != len(pdu) or len(objects) != pdu[6]:
            raise RemoteProtocolError("device identification holds an object twice, or more than it announces")
        return DeviceObjects(pdu[2], pdu[3], pdu[5] if pdu[4] else None, objects)


def decode_any_request(pdu: bytes) -> Request:
    """Read a request of any function as a server. Raises `RequestFault` with the answer to send, `RemoteProtocolError` if empty."""
    if not pdu:
        raise RemoteProtocolError("a request without a function code")
    if pdu[0] in {Function.READ_HOLDING_REGISTERS, Function.READ_INPUT_REGISTERS}:
        return decode_register_read(pdu)
    decode = _DECODERS.get(pdu[0])
    if decode is None:
        raise fault(f"function {pdu[0]} is not known", pdu[0], ExceptionCode.ILLEGAL_FUNCTION)
    try:
        return decode(pdu)
    except RequestFault:
        raise
    except (struct.error, IndexError, ValueError) as error:
        raise fault(
            f"a request of {len(pdu)} bytes has not its form", pdu[0], ExceptionCode.ILLEGAL_DATA_VALUE
        ) from error
    except LocalProtocolError as error:
        raise fault(str(error), pdu[0], ExceptionCode.ILLEGAL_DATA_VALUE) from error


def _read_bits(pdu: bytes) -> Request:
    _, address, count = struct.unpack(">BHH", pdu)
    return ReadBits(Function(pdu[0]), address, count)


def _write_one(pdu: bytes) -> Request:
    _, address, value = struct.unpack(">BHH", pdu)
    return WriteOne(Function(pdu[0]), address, value)


def _write_coils(pdu: bytes) -> Request:
    _, address, count, octets = struct.unpack_from(">BHHB", pdu)
    if octets != (count + 7) // 8 or len(pdu) != 6 + octets:
        raise ValueError(octets)
    return WriteCoils(address, unpack_bits(pdu[6:], count))


def _write_registers(pdu: bytes) -> Request:
    _, address, count, octets = struct.unpack_from(">BHHB", pdu)
    if octets != 2 * count:
        raise ValueError(octets)
    return WriteRegisters(address, struct.unpack(f">{count}H", pdu[6:]))


def _mask_write(pdu: bytes) -> Request:
    _, address, and_mask, or_mask = struct.unpack(">BHHH", pdu)
    return MaskWrite(address, and_mask, or_mask)


def _read_write(pdu: bytes) -> Request:
    _, address, count, write_address, written, octets = struct.unpack_from(">BHHHHB", pdu)
    if octets != 2 * written:
        raise ValueError(octets)
    return ReadWrite(address, count, write_address, struct.unpack(f">{written}H", pdu[10:]))


def _read_file(pdu: bytes) -> Request:
    def groups() -> Iterator[RecordRequest]:
        for kind, file, record, length in struct.iter_unpack(">BHHH", pdu[2:]):
            if kind != FILE_REFERENCE:
                raise ValueError(kind)
            yield RecordRequest(file, record, length)

    if pdu[1] != len(pdu) - 2:
        raise ValueError(pdu[1])
    return ReadFile(tuple(groups()))


def _read_device(pdu: bytes) -> Request:
    _, kind, code, object_id = struct.unpack(">BBBB", pdu)
    if kind != DEVICE_IDENTIFICATION:
        raise fault(f"MEI type {kind} is not known", pdu[0], ExceptionCode.ILLEGAL_FUNCTION)
    return ReadDevice(code, object_id)


_DECODERS: Final[Mapping[int, Callable[[bytes], Request]]] = {
    Function.READ_COILS: _read_bits,
    Function.READ_DISCRETE_INPUTS: _read_bits,
    Function.WRITE_SINGLE_COIL: _write_one,
    Function.WRITE_SINGLE_REGISTER: _write_one,
    Function.WRITE_MULTIPLE_COILS: _write_coils,
    Function.WRITE_MULTIPLE_REGISTERS: _write_registers,
    Function.READ_FILE_RECORD: _read_file,
    Function.MASK_WRITE_REGISTER: _mask_write,
    Function.READ_WRITE_REGISTERS: _read_write,
    Function.ENCAPSULATED: _read_device,
}


def pack_bits(values: tuple[bool, ...]) -> bytes:
    """Give bits eight to the byte, the first in the least significant place. Clause 6.1."""
    return sum(1 << at for at, value in enumerate(values) if value).to_bytes((len(values) + 7) // 8, "little")


def unpack_bits(octets: bytes, count: int) -> tuple[bool, ...]:
    """Give the first ``count`` bits."""
    number = int.from_bytes(octets, "little")
    return tuple(bool(number >> at & 1) for at in range(count))


def _fixed(head: bytes, expected: bytes) -> int | None:
    return len(expected) if expected.startswith(head[: len(expected)]) else None


def _confirmed(pdu: bytes, expected: bytes) -> Written:
    if pdu != expected:
        raise RemoteProtocolError(f"the write of {expected.hex(' ')} was confirmed as {pdu[:16].hex(' ')}")
    return Written(pdu)


def _check_registers(values: tuple[int, ...], limit: int) -> None:
    check_count(len(values), limit, "registers")
    if not all(0 <= value <= 0xFFFF for value in values):
        raise LocalProtocolError("a register holds 0 to 65535")
