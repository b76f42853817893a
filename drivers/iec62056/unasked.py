r"""Mode D: a meter that sends its identification and data unasked, again and again. Sans-IO.

::

    meter   /XXXZ IDENTIFICATION CRLF CRLF DATA ! CRLF      no STX, ETX or check character

Who comes to listen comes in the middle, so what is before the next ``/`` behind a line or noise is passed over. Meters of the
P1 standard put four hexadecimal digits of a checksum behind the ``!``; where they stand, they must be right.

Source: IEC 62056-21, 6.4 (modes).
"""

import re
from dataclasses import dataclass
from typing import Final

from drivers.errors import RemoteProtocolError
from drivers.iec62056.events import NEED_DATA, NeedData
from drivers.iec62056.message import MAX_MESSAGE
from drivers.iec62056.opening import MAX_IDENTIFICATION, Identification, decode_identification
from kernels.checksum import crc16_modbus

_BEGIN: Final = re.compile(rb"(?:\A|[^\x20-\x7e])/(?=[A-Za-z]{3})")
_END: Final = re.compile(rb"[\r\n]!([0-9A-Fa-f]{4})?\r?\n")
_NO_TEXT: Final = re.compile(rb"[^\t\r\n\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Unasked:
    """What was sent. ``data``: data lines and the ``!`` behind them.  ``is_checked``: a checksum vouches for it."""

    identification: Identification
    data: bytes
    is_checked: bool


class UnaskedReader:
    """Cuts what a meter sends unasked into readouts."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_begun = False
        self._passed = 0

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._buffer += data

    def receive_damage(self) -> None:
        """Take note that an octet came here of which nothing is known but that it was damaged."""
        self._buffer.append(0x80)

    def next_event(self) -> Unasked | NeedData:
        """Give the next readout, or `NEED_DATA`. Raises `RemoteProtocolError` for a damaged one, and for one without end."""
        if not self._is_begun and not self._begin():
            return NEED_DATA
        end = _END.search(self._buffer)
        damage = _NO_TEXT.search(self._buffer, 0, end.end() if end else MAX_MESSAGE)
        if damage is not None:
            octet = self._buffer[damage.start()]
            self._drop(damage.end())
            raise RemoteProtocolError(f"octet {octet:02X} inside a readout")
        if end is None:
            if len(self._buffer) >= MAX_MESSAGE:
                self._drop(MAX_MESSAGE)
                raise RemoteProtocolError(f"a readout without an end in {MAX_MESSAGE} octets")
            return NEED_DATA
        octets, checksum = bytes(self._buffer[: end.end()]), end[1]  # a match looks into the buffer that it was made of
        self._drop(end.end())
        return _readout(octets, end.start() + 2, checksum)

    def _begin(self) -> bool:
        found = _BEGIN.search(self._buffer)
        # Three letters must follow the /, so as many octets may still become a beginning.
        passed = found.end() - 1 if found else max(0, len(self._buffer) - 4)
        del self._buffer[:passed]
        self._passed += passed
        if found is None and self._passed > 2 * MAX_MESSAGE:
            self._passed = 0
            raise RemoteProtocolError(f"nothing begins in {2 * MAX_MESSAGE} octets that a meter sends unasked")
        self._is_begun = found is not None
        return self._is_begun

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._is_begun, self._passed = False, 0


def _readout(octets: bytes, end: int, checksum: bytes | None) -> Unasked:
    """Take a readout apart. ``end``: behind its ``!``."""
    line = octets.find(b"\n") + 1
    head = octets[:line].rstrip(b"\r\n")
    if len(head) > MAX_IDENTIFICATION:
        raise RemoteProtocolError("an identification of IEC 62056-21 without end")
    if checksum is not None and crc16_modbus(octets[:end], 0) != int(checksum, 16):
        raise RemoteProtocolError(
            f"checksum of a readout is {checksum.decode()}, computed {crc16_modbus(octets[:end], 0):04X}"
        )
    identification = decode_identification(head + b"\r\n")
    return Unasked(identification, octets[line:end] + b"\r\n", checksum is not None)
