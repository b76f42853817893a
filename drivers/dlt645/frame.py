"""Frames, both ways: 68, address, 68, control code, length, data plus 33 hex each, sum modulo 256, 16.

A reader keeps what arrived and tries each 68 as the start of a frame, earliest first. One that could still become a frame is
waited for; one whose checksum or end is wrong is an error, and what lies inside it is looked at again, because noise before a
frame can look like the beginning of one. The sum misses errors that cancel out; parity must catch those, so a character the
line marked as damaged spoils every frame it lies in.

Source: DL/T 645-2007, clause 5.2 (frame format) and 5.3 (transmission: FE in front, order of bytes, error control).
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from drivers.dlt645.address import OCTETS, decode_address, encode_address
from drivers.errors import LocalProtocolError, RemoteProtocolError

START: Final = 0x68
END: Final = 0x16
WAKE_UP: Final = 0xFE
OFFSET: Final = 0x33
HEADER: Final = 10  # 68, six of address, 68, control code, length
OVERHEAD: Final = HEADER + 2
MAX_DATA: Final = 200  # clause 5.2.5: at most 200 when reading; writing is held to 50 by whoever writes
MAX_WAKE_UP: Final = 16
MAX_NOISE: Final = 2 * (OVERHEAD + MAX_DATA)
_SECOND_START: Final = 7
_LENGTH: Final = 9
_ADD: Final = bytes((value + OFFSET) % 256 for value in range(256))
_TAKE: Final = bytes((value - OFFSET) % 256 for value in range(256))


class NeedData(Enum):
    """Type of `NEED_DATA`."""

    TOKEN = 0


NEED_DATA: Final = NeedData.TOKEN
"""Nothing whole has arrived yet."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``address``: twelve digits, A for wildcards.  ``data``: as meant, without the 33 hex of the line."""

    address: str
    control: int
    data: bytes = b""

    def encode(self, wake_up: int = 0) -> bytes:
        """Give the octets, with so many FE in front. Raises `LocalProtocolError` for data that does not fit."""
        if len(self.data) > MAX_DATA:
            raise LocalProtocolError(f"{len(self.data)} bytes of data do not fit a frame, which takes {MAX_DATA}")
        body = bytes((START, *encode_address(self.address), START, self.control, len(self.data)))
        body += self.data.translate(_ADD)
        return bytes((WAKE_UP,)) * min(wake_up, MAX_WAKE_UP) + body + bytes((sum(body) % 256, END))


class FrameReader:
    """Cuts what a line delivers into frames. Noise is skipped, damage is raised."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._damaged: list[int] = []  # positions in the buffer
        self._noise = 0  # bytes passed over since the last frame

    @property
    def has_noise(self) -> bool:
        """True where bytes other than FE arrived that are not (yet) a frame."""
        return bool(self._noise or self._buffer)

    @property
    def is_waiting(self) -> bool:
        """True where a frame seems to have begun."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take received bytes."""
        self._buffer += data

    def receive_damage(self) -> None:
        """Take note that a byte came here of which nothing is known but that it was damaged."""
        self._damaged.append(len(self._buffer))
        self._buffer.append(0)

    def next_event(self) -> Frame | NeedData:
        """Give the next frame, or NEED_DATA. Raises `RemoteProtocolError` for a damaged one, and for noise without end."""
        while (start := self._buffer.find(START)) >= 0:
            self._pass_over(start)
            length = self._length()
            if length > len(self._buffer):
                return NEED_DATA
            if length:
                return self._take(length)
            self._pass_over(1)  # a 68 that begins nothing
        self._pass_over(len(self._buffer))
        if self._noise > MAX_NOISE:
            noise, self._noise = self._noise, 0
            raise RemoteProtocolError(f"{noise} bytes of noise, no frame")
        return NEED_DATA

    def give_up(self) -> None:
        """Wait no longer for the frame that seemed to begin: let what lies behind its start be looked at."""
        self._pass_over(min(1, len(self._buffer)))

    def _length(self) -> int:
        """Length of the frame that may begin here, or of as much as is needed to tell; 0 where none can."""
        if len(self._buffer) > _SECOND_START and self._buffer[_SECOND_START] != START:
            return 0
        if len(self._buffer) < HEADER:
            return OVERHEAD
        length = self._buffer[_LENGTH]
        return OVERHEAD + length if length <= MAX_DATA else 0

    def _take(self, length: int) -> Frame:
        octets = bytes(self._buffer[:length])
        fault = ""
        if any(position < length for position in self._damaged):
            fault = "a damaged byte"
        elif sum(octets[:-2]) % 256 != octets[-2]:
            fault = "a wrong checksum"
        elif octets[-1] != END:
            fault = "a wrong last byte"
        if fault:
            self._pass_over(1)
            raise RemoteProtocolError(f"a frame with {fault}: {octets[:16].hex(' ')}{' ...' if length > 16 else ''}")
        self._noise = 0
        self._drop(length)
        address = decode_address(octets[1 : 1 + OCTETS])
        return Frame(address, octets[_SECOND_START + 1], octets[HEADER:-2].translate(_TAKE))

    def _pass_over(self, count: int) -> None:
        self._noise += count - self._buffer.count(WAKE_UP, 0, count)
        self._drop(count)

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        if self._damaged:
            self._damaged = [position - count for position in self._damaged if position >= count]
