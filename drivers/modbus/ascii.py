"""Modbus ASCII framing: a colon, hexadecimal characters, LRC, carriage return and line feed.

Only upper-case digits are taken, as the standard writes them: a lower-case one is an upper-case one with a flipped bit.

Source: MODBUS over Serial Line Specification V1.02, clause 2.5.2 (ASCII transmission mode).
"""

from typing import Final

from drivers.errors import RemoteProtocolError
from drivers.modbus.pdu import EXCEPTION_BIT, MAX_PDU, NEED_DATA, NeedData, Request
from drivers.modbus.rtu import RtuFrame

START: Final = b":"
END: Final = b"\r\n"
MAX_FRAME: Final = 1 + 2 * (1 + MAX_PDU + 1) + 2  # clause 2.5.2.1: 513 characters
_DIGITS: Final = frozenset(b"0123456789ABCDEF")


def lrc(octets: bytes) -> int:
    """Give the longitudinal redundancy check: the two's complement of the sum. Clause 2.5.2.2."""
    return -sum(octets) & 0xFF


def encode_frame(frame: RtuFrame) -> bytes:
    """Give the characters of one frame."""
    octets = bytes((frame.unit,)) + frame.pdu
    return START + (octets + bytes((lrc(octets),))).hex().upper().encode("ascii") + END


def decode_frame(characters: bytes) -> RtuFrame:
    """Read what stands between colon and carriage return. Raises `RemoteProtocolError`."""
    if len(characters) % 2 or not _DIGITS.issuperset(characters):
        raise RemoteProtocolError(f"not pairs of hexadecimal digits: {characters[:32]!r}")
    octets = bytes.fromhex(characters.decode("ascii"))
    if not 4 <= len(octets) + 1 <= MAX_PDU + 3:
        raise RemoteProtocolError(f"a frame of {len(octets)} octets")
    if lrc(octets[:-1]) != octets[-1]:
        raise RemoteProtocolError(f"wrong LRC {octets[-1]:02x}, not {lrc(octets[:-1]):02x}")
    return RtuFrame(octets[0], octets[1:-1])


class AsciiReader:
    """Cuts a stream of characters into frames, whoever sent them. A new colon always begins a new frame, noise is skipped."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.has_noise = False
        """True where characters arrived that are not (yet) a frame."""

    def receive_data(self, data: bytes) -> None:
        """Take received characters."""
        self._buffer += data
        self.has_noise = self.has_noise or bool(data)

    def next_event(self) -> RtuFrame | NeedData:
        """Give the next frame, or NEED_DATA. Raises `RemoteProtocolError` for a damaged one, which is then passed over."""
        while (start := self._buffer.find(START)) >= 0:
            del self._buffer[:start]
            end = self._buffer.find(END, 1, MAX_FRAME)
            again = self._buffer.find(START, 1, MAX_FRAME - len(END) + 1 if end < 0 else end)
            if again >= 0:
                del self._buffer[:again]
                continue
            if end >= 0:
                characters = bytes(self._buffer[1:end])
                del self._buffer[: end + len(END)]
                return decode_frame(characters)
            if len(self._buffer) < MAX_FRAME:
                return NEED_DATA
            beginning = bytes(self._buffer[:16])
            del self._buffer[: len(START)]
            raise RemoteProtocolError(f"no end within {MAX_FRAME} characters: {beginning!r} ...")
        self._buffer.clear()
        return NEED_DATA


class AsciiResponseReader:
    """Finds the one answer to one request in what a line delivers, as `drivers.modbus.rtu.ResponseReader` does."""

    def __init__(self, unit: int, request: Request) -> None:
        self._unit = unit
        self._request = request
        self._frames = AsciiReader()
        self._is_repeated = request.answer_length(request.encode()) == len(request.encode())
        self._was_damaged = False

    @property
    def has_noise(self) -> bool:
        """True where characters arrived that are not (yet) the answer."""
        return self._frames.has_noise or self._was_damaged

    def receive_data(self, data: bytes) -> None:
        """Take received characters."""
        self._frames.receive_data(data)

    def receive_damage(self) -> None:
        """Take note that the line delivered damaged characters here: nothing that came before can become the answer."""
        self._frames = AsciiReader()
        self._was_damaged = True

    def next_event(self) -> RtuFrame | NeedData:
        """Give the answer's frame, or NEED_DATA. Raises `RemoteProtocolError` where it is damaged or answers something else."""
        while (frame := self._frames.next_event()) is not NEED_DATA:
            if frame.pdu == self._request.encode() and frame.unit == self._unit and not self._is_repeated:
                continue  # the echo of our own request
            if frame.unit != self._unit:
                raise RemoteProtocolError(f"unit {frame.unit} answered, unit {self._unit} was asked")
            if frame.pdu[0] & ~EXCEPTION_BIT != self._request.function:
                raise RemoteProtocolError(
                    f"unit {frame.unit} answered function {frame.pdu[0]}, function {int(self._request.function)} was asked"
                )
            return frame
        return NEED_DATA
