"""Messages, both ways: a readout, an answer, a command; between STX or SOH and the check character behind ETX or EOT.

::

    readout    STX DATA ! CRLF ETX BCC                     after the identification
    answer     STX DATA ETX BCC                            in programming mode; EOT for ETX where more follows
    command    SOH C D STX DATA ETX BCC                    C: P, R, W or B, D: its kind; B0 has no STX and no data
    short      ACK, NAK                                    taken, repeat

The check character is the exclusive or of all behind the first STX or SOH, ETX or EOT among them: it finds each single flipped
bit, not two in one column; the parity of the line must find those. Meters of modes A and B may send their readout without STX,
ETX and check character. That is taken only from whom it was expected, or a damaged STX would take the check away.

Source: IEC 62056-21, 6.3 (messages and check character) and 6.5 (programming mode).
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import xor
from typing import Final

from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.iec62056.events import NEED_DATA, NeedData

SOH: Final = 0x01
STX: Final = 0x02
ETX: Final = 0x03
EOT: Final = 0x04
ACK: Final = 0x06
NAK: Final = 0x15
MAX_MESSAGE: Final = 65_536  # readouts of meters that print a year of days are some 30,000 long [octet]
MAX_NOISE: Final = 256  # before a message [octet]
_BEGINS: Final = re.compile(rb"[\x01\x02](?![\x01\x02])|[\x06\x15]")  # of two in a row the first began nothing
_NO_TEXT: Final = re.compile(rb"[^\t\r\n\x20-\x7e]")
_NO_TEXTS: Final = re.compile(rb"[^\t\r\n\x20-\x7e]+")
_PLAIN_END: Final = re.compile(rb"(?:\A|[\r\n])!\r\n")
_COMMAND: Final = re.compile(rb"[PRWBE][0-9]")
_DAMAGED: Final = 0x80  # stands for what came damaged: no octet of seven bits


class Handshake(Enum):
    """A message of one octet."""

    TAKEN = ACK
    REPEAT = NAK

    def encode(self) -> bytes:
        """Give the octet."""
        return bytes((self.value,))


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One message. ``command``: such as R1, empty for an answer or a readout.  ``data``: text between STX and its end.

    ``is_last``: False where the sender waits for an acknowledgement to go on.
    """

    command: str
    data: bytes
    is_last: bool = True

    def __repr__(self) -> str:
        """Tell what it is; not what is in it, which may be a password."""
        return f"Message({self.command!r}, {len(self.data)} octets, is_last={self.is_last})"

    def encode(self) -> bytes:
        """Give the octets. Raises `LocalProtocolError` for what would not be read back as it is."""
        command = self.command.encode("ascii", "replace")
        if _NO_TEXT.search(self.data) or (command and not _COMMAND.fullmatch(command)):
            raise LocalProtocolError(f"{self!r} holds what no message of IEC 62056-21 can")
        if not command:
            head = bytes((STX,))
        elif command == b"B0" and not self.data:
            head = bytes((SOH,)) + command
        else:
            head = bytes((SOH,)) + command + bytes((STX,))
        octets = head + self.data + bytes((ETX if self.is_last else EOT,))
        return octets + bytes((check_character(octets[1:]),))


def check_character(octets: bytes) -> int:
    """Compute the check character over all behind the first STX or SOH. IEC 62056-21, 6.3."""
    return reduce(xor, octets, 0)


class MessageReader:
    """Cuts what a line delivers into messages. Noise before one is skipped, damage is raised.

    ``is_checked``: False for a meter that sends its readout without check character, ended by ``!`` on a line of its own.
    """

    def __init__(self, *, is_checked: bool = True) -> None:
        self._buffer = bytearray()
        self._is_checked = is_checked
        self._seen = 0  # so much of the buffer is text without an end
        self._noise = 0  # octets passed over since the last message

    @property
    def is_waiting(self) -> bool:
        """True where a message seems to have begun."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._buffer += data

    def receive_damage(self) -> None:
        """Take note that an octet came here of which nothing is known but that it was damaged."""
        self._buffer.append(_DAMAGED)

    def next_event(self) -> Message | Handshake | NeedData:
        """Give the next message, or `NEED_DATA`. Raises `RemoteProtocolError` for a damaged one, and for one without end."""
        return self._checked() if self._is_checked else self._plain()

    def _checked(self) -> Message | Handshake | NeedData:
        if self._seen == 0:
            found = _BEGINS.search(self._buffer)
            self._pass_over(found.start() if found else len(self._buffer))
            if found is None:
                return NEED_DATA
            if self._buffer[0] in {ACK, NAK}:
                return Handshake(self._take(1)[0])
            self._seen = 1
        end = self._end()
        if end is None or end + 1 >= len(self._buffer):
            return NEED_DATA
        octets = self._take(end + 2)
        if check_character(octets[1:-1]) != octets[-1]:
            raise RemoteProtocolError(
                f"check character of a message is {octets[-1]:02X}, computed {check_character(octets[1:-1]):02X}"
            )
        return _message(octets[:-1])

    def _end(self) -> int | None:
        """Find the ETX or EOT. Raises `RemoteProtocolError` for what no message can hold."""
        while (found := _NO_TEXT.search(self._buffer, self._seen, MAX_MESSAGE)) is not None:
            at = found.start()
            octet = self._buffer[at]
            if octet in {ETX, EOT}:
                self._seen = at
                return at
            if octet != STX or self._buffer[0] != SOH or at != 3:  # SOH C D STX
                self._take(at)  # what stands there may begin a message of its own
                raise RemoteProtocolError(f"octet {octet:02X} inside a message")
            self._seen = at + 1
        self._go_on()
        return None

    def _plain(self) -> Message | NeedData:
        damage = _NO_TEXTS.search(self._buffer, self._seen, MAX_MESSAGE)
        end = _PLAIN_END.search(self._buffer, max(0, self._seen - 4), damage.start() if damage else MAX_MESSAGE)
        if end is not None:
            return Message("", self._take(end.end()))
        if damage is not None:
            octet = self._take(damage.end())[damage.start()]
            raise RemoteProtocolError(f"octet {octet:02X} inside a readout without check character")
        self._go_on()
        return NEED_DATA

    def _go_on(self) -> None:
        """Note that there is no end in what came. Raises `RemoteProtocolError` where no more can be waited for."""
        self._seen = len(self._buffer)
        if self._seen >= MAX_MESSAGE:
            self._take(MAX_MESSAGE)
            raise RemoteProtocolError(f"a message without an end in {MAX_MESSAGE} octets")

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._seen = self._noise = 0
        return taken

    def _pass_over(self, count: int) -> None:
        del self._buffer[:count]
        self._noise += count
        if self._noise > MAX_NOISE:
            noise, self._noise = self._noise, 0
            raise RemoteProtocolError(f"{noise} octets of noise, no message")


def _message(octets: bytes) -> Message:
    """Take a message apart whose check character was right. ``octets``: from STX or SOH to ETX or EOT."""
    is_last = octets[-1] == ETX
    if octets[0] == STX:
        return Message("", octets[1:-1], is_last)
    command, mark, data = octets[1:3], octets[3:4], octets[4:-1]
    if not _COMMAND.fullmatch(command) or (mark != bytes((STX,)) and len(octets) != 4):
        raise RemoteProtocolError(f"not a command of IEC 62056-21: {octets[:8].hex(' ')}")
    return Message(command.decode("ascii"), data, is_last)
