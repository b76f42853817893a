"""Control codes of both editions, and what a meter says when it refuses.

Source: DL/T 645-2007, clause 5.2.4 (control code: D7 direction, D6 refusal, D5 more follows, D4 to D0 function), 7 (services) and
annex C.3 (error word); DL/T 645-1997, clause 5.2.4 and 7.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum
from typing import Final

from drivers.dlt645.frame import Frame
from drivers.errors import MeterRefused, RemoteProtocolError

FROM_METER: Final = 0x80
REFUSED: Final = 0x40
MORE: Final = 0x20
_FUNCTION: Final = 0x1F


class Edition(StrEnum):
    """Which standard a meter keeps."""

    E2007 = "2007"
    E1997 = "1997"

    @property
    def identifier_octets(self) -> int:
        """Octets of a data identifier."""
        return 4 if self is Edition.E2007 else 2


class Control(IntEnum):
    """Functions of DL/T 645-2007, clause 7."""

    AUTHENTICATE = 0x03
    BROADCAST_TIME = 0x08
    READ = 0x11
    FOLLOW_UP = 0x12
    READ_ADDRESS = 0x13
    WRITE = 0x14
    WRITE_ADDRESS = 0x15
    FREEZE = 0x16
    BAUD = 0x17
    PASSWORD = 0x18
    CLEAR_DEMAND = 0x19
    CLEAR_METER = 0x1A
    CLEAR_EVENTS = 0x1B
    RELAY = 0x1C


class Control1997(IntEnum):
    """Functions of DL/T 645-1997, clause 7."""

    READ = 0x01
    FOLLOW_UP = 0x02
    READ_AGAIN = 0x03
    WRITE = 0x04
    BROADCAST_TIME = 0x08
    WRITE_ADDRESS = 0x0A
    BAUD = 0x0C
    PASSWORD = 0x0F
    CLEAR_DEMAND = 0x10


READ: Final = {Edition.E2007: Control.READ, Edition.E1997: Control1997.READ}
FOLLOW_UP: Final = {Edition.E2007: Control.FOLLOW_UP, Edition.E1997: Control1997.FOLLOW_UP}


class ErrorWord(IntFlag):
    """Why a meter refuses. DL/T 645-2007, annex C.3."""

    OTHER = 0x01
    NO_DATA = 0x02
    PASSWORD = 0x04
    BAUD = 0x08
    YEAR_ZONES = 0x10
    DAY_PERIODS = 0x20
    TARIFFS = 0x40


class ErrorWord1997(IntFlag):
    """Why a meter refuses. DL/T 645-1997, annex B."""

    ILLEGAL_DATA = 0x01
    NO_DATA = 0x02
    PASSWORD = 0x04
    YEAR_ZONES = 0x10
    DAY_PERIODS = 0x20
    TARIFFS = 0x40


_WORDS: Final = {
    0x02: "no such data",
    0x04: "wrong password or not authorised",
    0x10: "too many yearly zones",
    0x20: "too many daily periods",
    0x40: "too many tariffs",
}
_ONLY: Final = {
    Edition.E2007: {0x01: "another error", 0x08: "baud rate cannot be changed"},
    Edition.E1997: {0x01: "illegal data"},
}
_FLAGS: Final = {Edition.E2007: ErrorWord, Edition.E1997: ErrorWord1997}


@dataclass(frozen=True, slots=True)
class ControlCode:
    """A control code taken apart."""

    function: int
    from_meter: bool = False
    is_refusal: bool = False
    has_more: bool = False

    def encode(self) -> int:
        """Give the octet."""
        return self.function | FROM_METER * self.from_meter | REFUSED * self.is_refusal | MORE * self.has_more


def decode_control(octet: int) -> ControlCode:
    """Take a control code apart."""
    return ControlCode(octet & _FUNCTION, bool(octet & FROM_METER), bool(octet & REFUSED), bool(octet & MORE))


def describe_error(word: int, edition: Edition) -> str:
    """Say in words what an error word means."""
    known = _WORDS | _ONLY[edition]
    told = [text for bit, text in sorted(known.items()) if word & bit]
    return ", ".join(told) or f"error word {word:02X}"


def refusal(frame: Frame, edition: Edition, what: str) -> MeterRefused:
    """Turn a refusal's frame into our error. Raises `RemoteProtocolError` where it carries no error word.

    2007 gives one octet; some meters of 1997 give the reason in one octet too, some in two.
    """
    if not 1 <= len(frame.data) <= 2:
        raise RemoteProtocolError(f"a refusal carries an error word, not {len(frame.data)} bytes")
    word = int(_FLAGS[edition](frame.data[0]))
    return MeterRefused(f"{what}: {describe_error(word, edition)} (error word {word:02X})", word)
