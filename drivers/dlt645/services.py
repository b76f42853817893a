"""What a frame's data says, per service, both ways.

What changes a meter (writing, relay, passwords, clearing) is encoded and decoded here, for a simulator, a trace and a layer of
commands; the driver never sends it. A broadcast of the time is no exception.

Source: DL/T 645-2007, clause 7 (services) and annex A (identifiers: DI3 DI2 DI1 DI0, sent DI0 first).
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Final

from drivers.dlt645.address import ANY, BROADCAST, decode_own_address, encode_address
from drivers.dlt645.control import FOLLOW_UP, READ, Control, Control1997, ControlCode, Edition
from drivers.dlt645.frame import Frame
from drivers.errors import LocalProtocolError, RemoteProtocolError

MAX_SEQUENCE: Final = 255
MAX_WRITE: Final = 50  # clause 5.2.5
_HEX: Final = re.compile(r"[0-9A-F]+", re.ASCII)
_PARTS: Final = {4: 8, 2: 4}


@dataclass(frozen=True, slots=True)
class Identifier:
    """A data identifier. ``text``: hexadecimal, DI3 first: 8 digits of 2007, 4 of 1997."""

    text: str

    def __post_init__(self) -> None:
        """Refuse what is no identifier."""
        if len(self.text) not in _PARTS.values() or not _HEX.fullmatch(self.text):
            raise ValueError(
                f"{self.text[:40]!r} is no data identifier; write 8 hexadecimal digits (1997: 4), such as 00010000"
            )

    @classmethod
    def parse(cls, text: str) -> "Identifier":
        """Read an identifier, in capitals or not. Raises `ValueError`."""
        return cls(text.strip().upper())

    def encode(self) -> bytes:
        """Give the octets, low byte first."""
        return bytes.fromhex(self.text)[::-1]

    def with_last(self, octet: int) -> "Identifier":
        """Give the identifier with another DI0: which occurrence, counted back."""
        return Identifier(f"{self.text[:-2]}{octet:02X}")

    def __str__(self) -> str:
        """Write it as tables do."""
        return self.text


def decode_identifier(octets: bytes) -> Identifier:
    """Read two or four octets, low byte first."""
    return Identifier(octets[::-1].hex().upper())


def read(address: str, identifier: Identifier, edition: Edition, parameters: bytes = b"") -> Frame:
    """Ask for data. ``parameters``: block count and time, of load records (2007)."""
    return Frame(address, READ[edition], identifier.encode() + parameters)


def follow_up(address: str, identifier: Identifier, edition: Edition, sequence: int) -> Frame:
    """Ask for what did not fit the frame before. ``sequence``: from 1; 1997 has none. Raises `LocalProtocolError`."""
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise LocalProtocolError(f"follow-up frames are counted 1 to {MAX_SEQUENCE}, not {sequence}")
    number = bytes((sequence,)) if edition is Edition.E2007 else b""
    return Frame(address, FOLLOW_UP[edition], identifier.encode() + number)


def read_address(address: str = ANY) -> Frame:
    """Ask whoever is alone on the line for its address."""
    return Frame(address, Control.READ_ADDRESS)


@dataclass(frozen=True, slots=True)
class Data:
    """Part of an answer to a read. ``sequence``: None in the first frame; ``has_more``: the rest is to be asked for."""

    identifier: Identifier
    octets: bytes
    has_more: bool = False
    sequence: int | None = None


def decode_data(frame: Frame, control: ControlCode, edition: Edition) -> Data:
    """Read the data of an answer to read or follow-up. Raises `RemoteProtocolError` for one too short to say what it is of."""
    width = edition.identifier_octets
    numbered = edition is Edition.E2007 and control.function == Control.FOLLOW_UP
    if len(frame.data) < width + numbered:
        raise RemoteProtocolError(f"an answer of {len(frame.data)} bytes does not say what it is of")
    octets = frame.data[width:]
    sequence = octets[-1] if numbered else None
    return Data(decode_identifier(frame.data[:width]), octets[:-1] if numbered else octets, control.has_more, sequence)


def decode_address_answer(frame: Frame) -> str:
    """Read the answer to `read_address`. Raises `RemoteProtocolError`, also where it contradicts the frame's own address."""
    if len(frame.data) != len(encode_address(ANY)):
        raise RemoteProtocolError(f"an address has 6 bytes, not {len(frame.data)}")
    address = decode_own_address(frame.data)
    if frame.address != address:
        raise RemoteProtocolError(f"meter {frame.address} says its address is {address}")
    return address


# -- what changes a meter: never sent by the driver


@dataclass(frozen=True, slots=True)
class Authority:
    """Password with its level, and operator's code. Clause 7.4: PA P0 P1 P2, then C0 to C3. Never in a repr."""

    level: int
    password: bytes = field(repr=False)
    operator: bytes = field(default=bytes(4), repr=False)

    def __post_init__(self) -> None:
        """Refuse other lengths."""
        if not 0 <= self.level <= 0x99 or len(self.password) != 3 or len(self.operator) != 4:
            raise ValueError("an authority has a level, a password of 3 bytes and an operator's code of 4")

    def encode(self) -> bytes:
        """Give the eight octets."""
        return bytes((self.level,)) + self.password + self.operator


def decode_authority(octets: bytes) -> Authority:
    """Read eight octets. Raises `RemoteProtocolError`."""
    if len(octets) != 8 or octets[0] > 0x99:
        raise RemoteProtocolError(f"an authority has 8 bytes, not {len(octets)}")
    return Authority(octets[0], octets[1:4], octets[4:])


def write(address: str, identifier: Identifier, authority: Authority, value: bytes) -> Frame:
    """Write data (2007, clause 7.5). Raises `LocalProtocolError` beyond 50 bytes."""
    data = identifier.encode() + authority.encode() + value
    if len(data) > MAX_WRITE:
        raise LocalProtocolError(f"{len(data)} bytes to write are more than {MAX_WRITE}")
    return Frame(address, Control.WRITE, data)


def write_address(address: str) -> Frame:
    """Give the one meter on the line another address (clause 7.6)."""
    return Frame(ANY, Control.WRITE_ADDRESS, encode_address(address))


def broadcast_time(at: datetime) -> Frame:
    """Set all clocks on the line (clause 7.7). ``at``: as the meters' clocks shall show it; nobody answers."""
    return Frame(BROADCAST, Control.BROADCAST_TIME, bytes.fromhex(at.strftime("%S%M%H%d%m%y")))


def decode_broadcast_time(frame: Frame) -> datetime:
    """Read a broadcast time, without zone. Raises `RemoteProtocolError`."""
    try:
        return datetime.strptime(frame.data.hex(), "%S%M%H%d%m%y")  # noqa: DTZ007  the meter's own time
    except ValueError as error:
        raise RemoteProtocolError(f"{frame.data[:16].hex(' ')} is no time") from error


def freeze(
    address: str, month: int | None = None, day: int | None = None, hour: int | None = None, minute: int | None = None
) -> Frame:
    """Freeze all registers (clause 7.8): at once, or on each hour, day or month. None stands for every one."""
    fields = (minute, hour, day, month)
    return Frame(
        address, Control.FREEZE, bytes.fromhex("".join("99" if part is None else f"{part:02d}" for part in fields))
    )


class Speed(IntEnum):
    """Speed bits (clause 7.9): the new speed holds after the answer."""

    B600 = 0x02
    B1200 = 0x04
    B2400 = 0x08
    B4800 = 0x10
    B9600 = 0x20
    B19200 = 0x40


def change_speed(address: str, speed: Speed, edition: Edition = Edition.E2007) -> Frame:
    """Ask for another speed; it changes once the answer has come."""
    return Frame(address, Control.BAUD if edition is Edition.E2007 else Control1997.BAUD, bytes((speed,)))


def change_password(address: str, identifier: Identifier, old: bytes, new: bytes) -> Frame:
    """Change a password (clause 7.10). ``old``, ``new``: level and three bytes."""
    if len(old) != 4 or len(new) != 4:
        raise ValueError("a password goes with its level, 4 bytes in all")
    return Frame(address, Control.PASSWORD, identifier.encode() + old + new)


def clear_demand(address: str, authority: Authority) -> Frame:
    """Clear the maximum demand (clause 7.11)."""
    return Frame(address, Control.CLEAR_DEMAND, authority.encode())


def clear_meter(address: str, authority: Authority) -> Frame:
    """Clear energy, demand, freezes, events and load records (clause 7.12)."""
    return Frame(address, Control.CLEAR_METER, authority.encode())


def clear_events(address: str, authority: Authority, identifier: Identifier | None = None) -> Frame:
    """Clear the log of one kind of events, or all (clause 7.13: FF FF FF FF)."""
    which = b"\xff\xff\xff\xff" if identifier is None else identifier.encode()
    return Frame(address, Control.CLEAR_EVENTS, authority.encode() + which)


class Relay(IntEnum):
    """What a relay command (1C) does: N1. Q/GDW 365 and 354, control of the supply."""

    OPEN = 0x1A
    ALLOW_CLOSE = 0x1B
    CLOSE = 0x1C
    ALARM = 0x2A
    ALARM_OFF = 0x2B
    KEEP_SUPPLY = 0x3A
    KEEP_SUPPLY_OFF = 0x3B


def relay(address: str, authority: Authority, deed: Relay, until: datetime) -> Frame:
    """Switch the supply (1C): N1, N2 kept 00, and until when the command holds. Encoded only; see the head of this module."""
    return Frame(
        address, Control.RELAY, authority.encode() + bytes((deed, 0)) + bytes.fromhex(until.strftime("%S%M%H%d%m%y"))
    )


def decode_relay(frame: Frame) -> tuple[Relay, datetime]:
    """Read a relay command. Raises `RemoteProtocolError`; never says the password."""
    try:
        return Relay(frame.data[8]), datetime.strptime(frame.data[10:16].hex(), "%S%M%H%d%m%y")  # noqa: DTZ007
    except (IndexError, ValueError):
        raise RemoteProtocolError(f"{len(frame.data)} bytes are no relay command") from None


IDENTITY_AUTHENTICATION: Final = Identifier("070000FF")
"""Proof of identity (03): operator's code, ciphertext, random number and key diversification factor. Q/GDW 365."""


def authenticate(address: str, operator: bytes, ciphertext: bytes, random_number: bytes, factor: bytes) -> Frame:
    """Prove who we are to the meter's security module, with what a key machine made. Encoded only."""
    if (len(operator), len(ciphertext), len(random_number), len(factor)) != (4, 8, 8, 8):
        raise ValueError("an authentication has 4, 8, 8 and 8 bytes")
    return Frame(
        address, Control.AUTHENTICATE, IDENTITY_AUTHENTICATION.encode() + operator + ciphertext + random_number + factor
    )


def decode_authentication_answer(frame: Frame) -> tuple[bytes, bytes]:
    """Read random number (4) and serial number of the security module (8). Raises `RemoteProtocolError`."""
    if len(frame.data) != 16 or decode_identifier(frame.data[:4]) != IDENTITY_AUTHENTICATION:
        raise RemoteProtocolError(f"{len(frame.data)} bytes are no answer to an authentication")
    return frame.data[4:8], frame.data[8:]
