"""Modbus RTU framing by expected length and CRC, never by gaps in time; noise is skipped.

A reader keeps what arrived and tries each position as the start of a frame, earliest first. A position that could still
become the frame waited for is waited for; a complete one with a wrong CRC is passed over. So a 00 or FF byte before an
answer costs nothing, and a damaged answer is an error as soon as its last byte is there.

Source: MODBUS over Serial Line Specification V1.02, clause 2.5.1 (RTU transmission mode).
"""

from dataclasses import dataclass
from typing import Final, Literal

from drivers.errors import RemoteProtocolError
from drivers.modbus.pdu import EXCEPTION_BIT, MAX_PDU, NEED_DATA, NeedData, Request
from kernels.checksum import crc16_modbus

MAX_FRAME = 1 + MAX_PDU + 2  # V1.02, clause 2.5.1: 256 bytes
MAX_NOISE = 2 * MAX_FRAME
BITS = frozenset((1, 2))  # read coils, read discrete inputs: answers with a byte count
REGISTERS = frozenset((3, 4, 20, 23))  # and file records: an answer has a byte count
WRITES_OF_ONE = frozenset((5, 6))
WRITES_OF_MANY = frozenset((15, 16))
MASK_WRITE = 22
REGISTERS_ASKED = frozenset((3, 4))

SILENCE_CHARACTERS: Final = 3.5  # V1.02, clause 2.5.1.1
FAST_LINE: Final = 19_200  # above it the silence is fixed, same clause [bit/s]
FAST_LINE_SILENCE: Final = 0.00175  # [s]

_Verdict = Literal["ours", "pending", "damaged", "echo", "foreign", "rubbish"]


@dataclass(frozen=True, slots=True)
class RtuFrame:
    """One PDU with its unit (server address)."""

    unit: int
    pdu: bytes

    def encode(self) -> bytes:
        """Give unit, PDU and CRC, low byte first."""
        body = bytes((self.unit,)) + self.pdu
        return body + crc16_modbus(body).to_bytes(2, "little")


def silence_of(bits_per_second: int | None, bits_per_character: int, turnaround: float) -> float:
    """Give the silence to keep before a frame [s]: what the standard asks of a line, or ``turnaround`` where that is longer."""
    if not bits_per_second:
        return turnaround
    is_fast = bits_per_second > FAST_LINE
    return max(FAST_LINE_SILENCE if is_fast else SILENCE_CHARACTERS * bits_per_character / bits_per_second, turnaround)


class ResponseReader:
    """Finds the one answer to one request in what a line delivers: a client's reader.

    Drops the echo of our own request (half-duplex adapters) and noise before the answer.
    """

    def __init__(self, unit: int, request: Request) -> None:
        self._unit = unit
        self._function = int(request.function)
        self._request = request
        echo = RtuFrame(unit, request.encode()).encode()
        # Some writes are confirmed by repeating them; then an echo cannot be told from the answer, and reading back decides.
        self._echo = b"" if request.answer_length(request.encode()) == len(request.encode()) else echo
        self._buffer = bytearray()
        self._was_damaged = False

    @property
    def has_noise(self) -> bool:
        """True where bytes arrived that are not (yet) the answer."""
        return bool(self._buffer) or self._was_damaged

    def receive_data(self, data: bytes) -> None:
        """Take received bytes."""
        self._buffer += data

    def receive_damage(self) -> None:
        """Take note that the line delivered damaged bytes here: nothing that came before can become the answer."""
        self._buffer.clear()
        self._was_damaged = True

    def next_event(self) -> RtuFrame | NeedData:
        """Give the answer's frame, or NEED_DATA.

        Raises `RemoteProtocolError` where the answer is damaged, another unit or an answer to something else came, or the
        line delivers nothing but noise.
        """
        damaged = False
        start = 0
        while start < min(len(self._buffer), MAX_NOISE + 1):  # an answer behind more noise than that is not looked for
            verdict, length = self._judge(start)
            if verdict == "ours":
                frame = bytes(self._buffer[start : start + length])
                self._buffer.clear()
                return RtuFrame(frame[0], frame[1:-2])
            if verdict == "pending":
                return NEED_DATA
            if verdict == "echo":
                del self._buffer[: start + length]
                start, damaged = 0, False
                continue
            if verdict == "foreign":
                raise self._foreign(start)
            damaged = damaged or verdict == "damaged"
            start += 1
        if damaged:
            raise RemoteProtocolError(f"unit {self._unit}: answer with a wrong CRC: {_excerpt(self._buffer)}")
        if len(self._buffer) > MAX_NOISE:
            raise RemoteProtocolError(f"{len(self._buffer)} bytes of noise, no answer: {_excerpt(self._buffer)}")
        return NEED_DATA

    def _judge(self, start: int) -> tuple[_Verdict, int]:
        rest = bytes(self._buffer[start : start + MAX_FRAME])
        if self._echo and rest.startswith(self._echo):
            return "echo", len(self._echo)
        if self._echo.startswith(rest):
            return "pending", 0
        if length := self._own_length(rest):
            if len(rest) < length:
                return "pending", length
            return ("ours" if _has_good_crc(rest[:length]) else "damaged"), length
        length = _response_length(rest)
        if length and len(rest) >= length and _has_good_crc(rest[:length]):
            return "foreign", length
        return "rubbish", 1

    def _own_length(self, rest: bytes) -> int:
        """Length of the answer that may start here; 0 where none can."""
        if rest[0] != self._unit:
            return 0
        if len(rest) == 1:
            return 5
        if rest[1] == self._function | EXCEPTION_BIT:
            return 5
        if rest[1] != self._function:
            return 0
        length = self._request.answer_length(rest[1:])
        return 0 if length is None or length > MAX_PDU else 3 + length

    def _foreign(self, start: int) -> RemoteProtocolError:
        unit, function = self._buffer[start], self._buffer[start + 1]
        if unit != self._unit:
            return RemoteProtocolError(f"unit {unit} answered, unit {self._unit} was asked")
        if function & ~EXCEPTION_BIT != self._function:
            return RemoteProtocolError(f"unit {unit} answered function {function}, function {self._function} was asked")
        asked = (self._request.answer_length(b"") or 2) - 2
        return RemoteProtocolError(
            f"unit {unit} answered {self._buffer[start + 2]} bytes of registers, {asked} were asked"
        )


class RequestReader:
    """Cuts what a client sends into requests: a server's reader. Noise and damaged frames are skipped, as the standard asks.

    A request with an unknown function ends where its CRC fits the end of what has arrived.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take received bytes."""
        self._buffer += data

    def next_event(self) -> RtuFrame | NeedData:
        """Give the next request with a good CRC, for whatever unit, or NEED_DATA."""
        for start in range(len(self._buffer)):
            rest = bytes(self._buffer[start : start + MAX_FRAME])
            length = _request_length(rest)
            if len(rest) >= length >= 4 and _has_good_crc(rest[:length]):
                del self._buffer[: start + length]
                return RtuFrame(rest[0], rest[1 : length - 2])
        del self._buffer[:-MAX_FRAME]
        return NEED_DATA


def _has_good_crc(frame: bytes) -> bool:
    return crc16_modbus(frame[:-2]) == int.from_bytes(frame[-2:], "little")


def _response_length(rest: bytes) -> int:
    """Length any answer starting here announces; 0 where it is no answer or too short to tell. V1.1b3, clause 6."""
    if len(rest) < 3:
        return 0
    function = rest[1]
    if function & EXCEPTION_BIT:
        return 5
    if function in BITS | REGISTERS:
        return 5 + rest[2]
    if function == MASK_WRITE:
        return 10
    return 8 if function in WRITES_OF_ONE | WRITES_OF_MANY else 0


def _request_length(rest: bytes) -> int:
    """Length the request starting here announces; all that is there where the function does not tell. V1.1b3, clause 6."""
    if len(rest) < 2:
        return 0
    if rest[1] in BITS | REGISTERS_ASKED | WRITES_OF_ONE:
        return 8
    if rest[1] in WRITES_OF_MANY:
        return 9 + rest[6] if len(rest) > 6 else 0
    if rest[1] == MASK_WRITE:
        return 10
    if rest[1] == 20:
        return 5 + rest[2] if len(rest) > 2 else 0
    if rest[1] == 23:
        return 13 + rest[10] if len(rest) > 10 else 0
    return len(rest)


def _excerpt(data: bytearray) -> str:
    return data[:16].hex(" ") + (" ..." if len(data) > 16 else "")
