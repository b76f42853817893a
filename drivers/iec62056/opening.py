r"""The opening of IEC 62056-21, of all its modes: we ask, the meter says who it is and what it can do.

::

    ours    /?ADDRESS!CRLF                  at 300 baud 7E1
    meter   /XXXZ\W IDENTIFICATION CRLF     XXX: maker, Z: its speed, \W: what it can do beyond (\2: HDLC, mode E)
    ours    ACK V Z Y CRLF                  modes C and E alone; V: protocol, Z: speed, Y: what is asked for

What Z is tells the mode: a digit is C (E with ``\2``), a letter A to F is B, anything else is A. Meters of mode D send their
identification unasked, at 2400 baud, and Z is 3 there; that they do so is for a profile to say.

Source: IEC 62056-21, 6.3 (messages), 6.4 (modes), annexes A (battery meters) and E. Bytes go in and events come out; heads that
repeat to us what we send are heard out. Seven bits and parity are the port's; what arrives with an eighth bit is damage.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.iec62056.events import NEED_DATA, NeedData

FIRST_SPEED: Final = 300  # [bit/s]
BITS: Final = 10  # of a character of 7E1
SPEEDS: Final = {
    "0": 300,
    "1": 600,
    "2": 1_200,
    "3": 2_400,
    "4": 4_800,
    "5": 9_600,
    "6": 19_200,
}  # mode C, 6.3.14 [bit/s]
SPEEDS_B: Final = {"A": 600, "B": 1_200, "C": 2_400, "D": 4_800, "E": 9_600, "F": 19_200}  # mode B, 6.3.14 [bit/s]
WAKE_UP: Final = bytes(68)  # 2.1 to 2.3 s of zeros at 300 baud of 10 bits, annex A [octet]
WAKE_UP_PAUSE: Final = 1.6  # 1.5 to 1.7 s between them and the request, annex A [s]
CHANGE_PAUSE: Final = 0.25  # 200 to 300 ms between the acknowledgement and the new speed [s]
TURN: Final = 0.2  # nobody answers sooner, 6.3.8 tr [s]
QUICK_TURN: Final = 0.02  # with meters that say so by a small third letter of their maker, 6.3.14 [s]
REACTION: Final = 1.5  # the meter begins to answer within that, 6.3.8 tr [s]
MAX_ADDRESS: Final = 32  # characters
MAX_IDENTIFICATION: Final = 3 + 1 + 2 + 16 + 8  # with some room for escapes [octet]
MAX_NOISE: Final = 256  # before the identification; a line that is never silent ends in an error [octet]
_ADDRESS: Final = re.compile(r"[0-9A-Za-z ]{0,32}")
_IDENTIFICATION: Final = re.compile(
    rb"/([A-Za-z]{3})([ \x22-.0-\[\]-~])((?:\\[!-.0-~])*)([ -.0-~]{0,16})\r\n"
)  # neither / nor ! nor the \ of an escape names a speed
_ACKNOWLEDGEMENT: Final = re.compile(rb"\x06([0-9])([0-9A-Z])([0-9A-Z])\r\n")


class Mode(StrEnum):
    """Protocol modes that an identification names. IEC 62056-21, 6.4."""

    A = "A"
    B = "B"
    C = "C"
    E = "E"


class Purpose(StrEnum):
    """What an acknowledgement asks for, and its two characters V and Y. IEC 62056-21, 6.4.5.2 and annex E."""

    READOUT = "00"
    PROGRAMMING = "01"
    HDLC = "22"


@dataclass(frozen=True, slots=True)
class Identification:
    r"""Who answered. ``mark``: Z, the speed it proposes.  ``escapes``: such as ``\2``; empty for a meter that has none."""

    maker: str
    mark: str
    escapes: str
    identification: str

    @property
    def mode(self) -> Mode:
        """How it goes on after this line."""
        if self.mark.isdecimal():
            return Mode.E if "\\2" in self.escapes else Mode.C
        return Mode.B if "A" <= self.mark <= "I" else Mode.A

    @property
    def turn(self) -> float:
        """Time to leave between what the meter says and our answer. [s]"""
        return QUICK_TURN if self.maker[2:].islower() else TURN

    @property
    def speed(self) -> int:
        """Speed of what follows [bit/s]. Raises `RemoteProtocolError` for one that is reserved."""
        if self.mode is Mode.A:
            return FIRST_SPEED
        speed = (SPEEDS | SPEEDS_B).get(self.mark)
        if speed is None:
            known = ", ".join(SPEEDS | SPEEDS_B)
            raise RemoteProtocolError(
                f"meter {self.maker} {self.identification} names the speed {self.mark}, not one of {known}"
            )
        return speed

    def mark_up_to(self, fastest: int) -> str:
        """Give the mark of the meter's own speed, or of the fastest below it that is not above ``fastest``. [bit/s]

        Raises `RemoteProtocolError` where the meter's is reserved.
        """
        speed = min(self.speed, fastest)
        return max((mark for mark in SPEEDS if SPEEDS[mark] <= speed), key=SPEEDS.__getitem__, default="0")

    def acknowledge(self, purpose: Purpose, mark: str = "") -> bytes:
        """Give the line to answer with, at the meter's speed or that of ``mark``; then both change to it.

        Raises `LocalProtocolError` where the mode knows no acknowledgement, or the speed is none.
        """
        mark = mark or self.mark
        if self.mode not in {Mode.C, Mode.E} or mark not in SPEEDS:
            raise LocalProtocolError(f"mode {self.mode} of IEC 62056-21 knows no acknowledgement with speed {mark}")
        protocol, wanted = purpose
        return f"\x06{protocol}{mark}{wanted}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An acknowledgement taken apart, as a meter hears it. ``mark``: Z."""

    mark: str
    purpose: Purpose


def decode_acknowledgement(line: bytes) -> Acknowledgement:
    """Take apart what answers an identification. Raises `RemoteProtocolError`."""
    match = _ACKNOWLEDGEMENT.fullmatch(line)
    protocol, mark, wanted = (part.decode("ascii") for part in match.groups()) if match else ("", "", "")
    if protocol + wanted not in set(Purpose):
        raise RemoteProtocolError(f"not an acknowledgement of IEC 62056-21: {line[:8].hex(' ')}")
    return Acknowledgement(mark, Purpose(protocol + wanted))


class Opening:
    """One opening, up to the identification. ``address``: at most 32 letters and digits; empty for any meter."""

    def __init__(self, address: str = "") -> None:
        if not _ADDRESS.fullmatch(address):
            raise LocalProtocolError(
                f"{address[:40]!r} is no address of IEC 62056-21: at most {MAX_ADDRESS} letters and digits"
            )
        self.request = f"/?{address}!\r\n".encode()
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._buffer += data

    def next_event(self) -> Identification | NeedData:
        """Give who answered or `NEED_DATA`. Raises `RemoteProtocolError` for another answer, or one without end."""
        start = self._start()
        if start is None:
            return NEED_DATA
        end = self._buffer.find(b"\r\n", start)
        if end < 0:
            if len(self._buffer) - start > MAX_IDENTIFICATION:
                raise RemoteProtocolError("an identification of IEC 62056-21 without end")
            return NEED_DATA
        line = bytes(self._buffer[start : end + 2])
        del self._buffer[: end + 2]
        return decode_identification(line)

    def rest(self) -> bytes:
        """Give, once, what came behind the identification: in modes A and B the meter goes on unasked."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _start(self) -> int | None:
        """Find the identification behind noise and behind our own request, where a head repeats it."""
        at = self._buffer.find(b"/")
        while at >= 0:
            rest = bytes(self._buffer[at : at + len(self.request)])
            if not self.request.startswith(rest):
                return at
            if len(rest) < len(self.request):
                return None  # ours or the meter's, the next octets tell
            at = self._buffer.find(b"/", at + len(self.request))
        if len(self._buffer) > MAX_NOISE:
            raise RemoteProtocolError("noise, and no identification of IEC 62056-21")
        return None


def decode_identification(line: bytes) -> Identification:
    """Take an identification apart, from / to the end of its line. Raises `RemoteProtocolError`."""
    match = _IDENTIFICATION.fullmatch(line)
    if match is None:
        raise RemoteProtocolError(f"not an identification of IEC 62056-21: {line[:MAX_IDENTIFICATION].hex()}")
    return Identification(*(part.decode("ascii") for part in match.groups()))
