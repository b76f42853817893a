"""Wired M-Bus frames that carry pushed APDUs. EN 13757-2 (long frame), IEC 62056-7-3 (segments, service access points).

``68 L L 68``, then L octets: C field, A field, CI field, source and destination service access point, a piece of the APDU;
then their sum modulo 256, and ``16``. CI 0x00 to 0x1F: the low four bits count the segments, 0x10 marks the last one.
"""

from dataclasses import dataclass

from drivers.dlms.events import NEED_DATA, NeedData
from drivers.dlms.hdlc import DamagedFrame

START = 0x68
STOP = 0x16
FINAL = 0x10
_HEAD = 5  # C, A, CI and the two service access points
_FRAME_COUNT_BIT = 0x20
_SEND_USER_DATA = 0x53


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of an APDU. ``number``: 0 to 15, counted per APDU."""

    source: int
    number: int
    is_last: bool
    octets: bytes


class MbusReader:
    """Finds long frames in a stream. After an error it looks for the next start, so it may be asked again."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped = 0

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._buffer += data

    def unread(self) -> bytes:
        """Take back what no frame was made of so far."""
        octets = bytes(self._buffer)
        self._buffer.clear()
        return octets

    def next_event(self) -> Segment | NeedData:
        """Give the next segment or `NEED_DATA`. Raises `DamagedFrame` for a broken frame, once each."""
        buffer = self._buffer
        while buffer:
            is_start = is_mbus(buffer)
            if is_start is None:
                return NEED_DATA
            if is_start:
                return self._frame()
            del buffer[0]
            self.skipped += 1
        return NEED_DATA

    def _frame(self) -> Segment | NeedData:
        buffer = self._buffer
        length = buffer[1]
        if len(buffer) < length + 6:
            return NEED_DATA
        body, checksum, stop = bytes(buffer[4 : 4 + length]), buffer[4 + length], buffer[5 + length]
        if checksum != sum(body) & 0xFF or stop != STOP:
            del buffer[0]
            self.skipped += 1
            raise DamagedFrame(f"checksum or stop octet of an M-Bus frame of {length} octets is wrong")
        del buffer[: length + 6]
        control, address, information = body[0], body[1], body[2]
        if control & ~_FRAME_COUNT_BIT != _SEND_USER_DATA or information & 0xE0:
            raise DamagedFrame(f"M-Bus frame with C field 0x{control:02x} and CI field 0x{information:02x} is no push")
        return Segment(address << 8 | body[3], information & 0x0F, bool(information & FINAL), body[_HEAD:])


def is_mbus(octets: bytes | bytearray, at: int = 0) -> bool | None:
    """Say whether a long frame begins at an offset; None where too few octets are there to tell."""
    head = octets[at : at + 4]
    expected = (START, head[1] if len(head) > 1 else 0, head[1] if len(head) > 1 else 0, START)
    if any(have != want for have, want in zip(head, expected, strict=False)):
        return False
    if len(head) > 1 and head[1] <= _HEAD:
        return False
    return True if len(head) == 4 else None
