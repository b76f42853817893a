"""HDLC frames: addresses, control field, checksums, and finding frames in a byte stream. IEC 62056-46, clause 6.4.

Frame format type 3: flag, format and length (2), destination (1, 2 or 4), source, control, HCS, information, FCS, flag.
A frame is delimited by its length field; 7E and 7D may stand inside it and nothing is escaped. One flag may end a frame
and begin the next. What comes before a flag is noise and skipped; what begins like a frame and fails a checksum is damage
and raises, with the stream set to look for the next flag.

How two sides exchange frames is `drivers.dlms.link`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from drivers.dlms.events import NEED_DATA, NeedData
from drivers.errors import LocalProtocolError, RemoteProtocolError
from kernels.checksum import fcs16

FLAG = 0x7E
FORMAT_TYPE_3 = 0xA0
SEGMENTED = 0x08
MAX_FRAME = 0x7FF  # 11-bit length field
DEFAULT_INFO = 128  # IEC 62056-46, 6.4.4.4.3.2: default maximum information field length
DEFAULT_WINDOW = 1
MAX_WINDOW = 7  # numbers count modulo 8
MAX_INFO = 2030
LLC_COMMAND = b"\xe6\xe6\x00"  # IEC 62056-46, LLC addresses: to the server
LLC_RESPONSE = b"\xe6\xe7\x00"  # to the client
_MAX_PARAMETERS = 64
_MAX_HEADER = 13  # format, two addresses of 4, control, HCS [octet]


class DamagedFrame(RemoteProtocolError):
    """A frame arrived broken: noise on the line. Asking for it again may help."""


@dataclass(frozen=True, slots=True)
class HdlcAddress:
    """Address of one side. ``upper``: client, or logical device. ``lower``: physical device. ``size``: 1, 2 or 4 octets.

    Without ``size`` the shortest form that fits: 1 octet where there is no lower part.
    """

    upper: int
    lower: int | None = None
    size: int = 0

    def __post_init__(self) -> None:
        """Choose the size, and refuse parts that do not fit it."""
        size = self.size
        if size == 0:
            highest = max(self.upper, self.lower or 0)
            size = 1 if self.lower is None and highest < 0x80 else 2 if highest < 0x80 else 4
            object.__setattr__(self, "size", size)
        if size > 1 and self.lower is None:
            object.__setattr__(self, "lower", 0)
        limit = 0x3FFF if size == 4 else 0x7F
        parts = [self.upper] if self.lower is None else [self.upper, self.lower]
        if (
            size not in {1, 2, 4}
            or (size == 1) != (self.lower is None)
            or not all(0 <= part <= limit for part in parts)
        ):
            raise LocalProtocolError(f"HDLC address {self} does not fit {size} octets")

    @classmethod
    def parse(cls, text: str) -> "HdlcAddress":
        """Read ``1`` (logical) or ``1/17`` (logical/physical). Raises `LocalProtocolError`."""
        parts = text.strip().split("/")
        if not 1 <= len(parts) <= 2 or not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
            raise LocalProtocolError(f"{text!r} is not a server address; write it like 1 or 1/17")
        return cls(*(int(part) for part in parts))

    def encode(self) -> bytes:
        """Give the octets: seven bits each, the last one marked by its lowest bit."""
        if self.lower is None:
            return bytes([self.upper << 1 | 1])
        if self.size == 2:
            return bytes([self.upper << 1, self.lower << 1 | 1])
        high, low = self.upper, self.lower
        return bytes([high >> 7 << 1, (high & 0x7F) << 1, low >> 7 << 1, (low & 0x7F) << 1 | 1])

    @classmethod
    def decode(cls, octets: bytes) -> "HdlcAddress":
        """Read 1, 2 or 4 octets. Raises `RemoteProtocolError` for another count."""
        sevens = [octet >> 1 for octet in octets]
        match sevens:
            case [upper]:
                return cls(upper, None, 1)
            case [upper, lower]:
                return cls(upper, lower, 2)
            case [a, b, c, d]:
                return cls(a << 7 | b, c << 7 | d, 4)
        raise RemoteProtocolError(f"HDLC address of {len(octets)} octets")

    def __str__(self) -> str:
        """Write ``1`` or ``1/17``."""
        return str(self.upper) if self.lower is None else f"{self.upper}/{self.lower}"


class Kind(IntEnum):
    """Frame types by their control field with the poll/final bit and the numbers cleared. IEC 62056-46, table 5."""

    I = 0x00  # noqa: E741  # the standard's name
    RR = 0x01
    RNR = 0x05
    SNRM = 0x83
    DISC = 0x43
    UA = 0x63
    DM = 0x0F
    FRMR = 0x87
    UI = 0x03


_POLL_FINAL = 0x10
_UNNUMBERED = {int(kind): kind for kind in (Kind.SNRM, Kind.DISC, Kind.UA, Kind.DM, Kind.FRMR, Kind.UI)}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``send_number`` N(S) and ``receive_number`` N(R) count modulo 8, where the kind has them."""

    destination: HdlcAddress
    source: HdlcAddress
    kind: Kind
    send_number: int = 0
    receive_number: int = 0
    poll_final: bool = True
    segmented: bool = False
    information: bytes = b""

    def encode(self) -> bytes:
        """Give the octets from flag to flag. Raises `LocalProtocolError` for a frame too long."""
        control = self.kind | (_POLL_FINAL if self.poll_final else 0)
        if self.kind in {Kind.I, Kind.RR, Kind.RNR}:
            control |= self.receive_number << 5
        if self.kind is Kind.I:
            control |= self.send_number << 1
        head = self.destination.encode() + self.source.encode() + bytes([control])
        length = 2 + len(head) + 2 + (len(self.information) + 2 if self.information else 0)
        if length > MAX_FRAME:
            raise LocalProtocolError(f"HDLC frame of {length} octets exceeds {MAX_FRAME}")
        form = (FORMAT_TYPE_3 | (SEGMENTED if self.segmented else 0)) << 8 | length
        body = form.to_bytes(2, "big") + head
        body += fcs16(body).to_bytes(2, "little")
        if self.information:
            body += self.information
            body += fcs16(body).to_bytes(2, "little")
        return b"\x7e" + body + b"\x7e"


def parse_frame(body: bytes) -> Frame:
    """Decode one frame without its flags. Raises `RemoteProtocolError` for whatever is wrong with it."""
    header = _header_size(body)
    if header is None:
        raise DamagedFrame(f"HDLC frame of {len(body)} octets ends inside its header")
    if fcs16(body[:header]) != int.from_bytes(body[header : header + 2], "little"):
        raise DamagedFrame(f"HDLC header check sequence is wrong: {body[: header + 2].hex()}")
    information = b""
    if len(body) > header + 2:
        information = body[header + 2 : -2]
        if not information or fcs16(body[:-2]) != int.from_bytes(body[-2:], "little"):
            raise DamagedFrame(f"HDLC frame check sequence is wrong in a frame of {len(body)} octets")
    destination_end = _address_end(body, 2) or 0
    control = body[header - 1]
    kind, send_number, receive_number = _control(control)
    if kind is Kind.I and not information:
        raise RemoteProtocolError("HDLC information frame without information")
    return Frame(
        destination=HdlcAddress.decode(body[2:destination_end]),
        source=HdlcAddress.decode(body[destination_end : header - 1]),
        kind=kind,
        send_number=send_number,
        receive_number=receive_number,
        poll_final=bool(control & _POLL_FINAL),
        segmented=bool(body[0] & SEGMENTED),
        information=information,
    )


def _control(control: int) -> tuple[Kind, int, int]:
    if control & 1 == 0:
        return Kind.I, control >> 1 & 7, control >> 5
    if control & 0x0F in {Kind.RR, Kind.RNR}:
        return Kind(control & 0x0F), 0, control >> 5
    kind = _UNNUMBERED.get(control & ~_POLL_FINAL)
    if kind is None:
        raise RemoteProtocolError(f"unknown HDLC control field 0x{control:02x}")
    return kind, 0, 0


def _address_end(body: bytes, start: int) -> int | None:
    """Find the offset behind an address, or None where the octets end first. Raises for 3 octets or more than 4."""
    for size in range(1, 5):
        if start + size > len(body):
            return None
        if body[start + size - 1] & 1:
            if size == 3:
                break
            return start + size
    raise DamagedFrame(f"HDLC address without an end, or of 3 octets: {bytes(body[start : start + 4]).hex()}")


def _header_size(body: bytes) -> int | None:
    """Count the octets from format field to control field; None where they or the HCS behind are not all there."""
    destination_end = _address_end(body, 2)
    source_end = None if destination_end is None else _address_end(body, destination_end)
    return None if source_end is None or source_end + 3 > len(body) else source_end + 1


class FrameReader:
    """Finds frames in a stream. After an error it goes on with the next flag, so it may be asked again.

    ``skipped``: octets outside any frame thrown away so far, flags not counted.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped = 0

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._buffer += data

    def next_event(self) -> Frame | NeedData:
        """Give the next frame or `NEED_DATA`. Raises `DamagedFrame` for a broken one, once each."""
        buffer = self._buffer
        while True:
            start = buffer.find(FLAG)
            if start < 0:
                self.skipped += len(buffer)
                buffer.clear()
                return NEED_DATA
            self.skipped += start
            del buffer[:start]
            if len(buffer) < 3:
                if len(buffer) == 2 and buffer[1] & 0xF0 != FORMAT_TYPE_3:
                    del buffer[0]
                    continue
                return NEED_DATA
            if buffer[1] & 0xF0 == FORMAT_TYPE_3:
                break
            del buffer[0]
        return self._frame()

    def unread(self) -> bytes:
        """Take back what no frame was made of so far; empty between two frames but for a flag that may open the next."""
        octets = bytes(self._buffer)
        self._buffer.clear()
        return octets

    def _frame(self) -> Frame | NeedData:
        buffer = self._buffer
        length = (buffer[1] & 0x07) << 8 | buffer[2]
        head = bytes(buffer[1 : 1 + min(length, _MAX_HEADER)])
        try:
            header = _header_size(head)
            # The header is checked as soon as it is there, so that a broken length cannot make us wait for 2 KiB.
            if header is not None and fcs16(head[:header]) != int.from_bytes(head[header : header + 2], "little"):
                raise DamagedFrame(f"HDLC header check sequence is wrong: {head[: header + 2].hex()}")
            if len(buffer) < length + 2:
                return NEED_DATA
            if buffer[length + 1] != FLAG:
                raise DamagedFrame(f"no flag behind an HDLC frame of {length} octets")
            frame = parse_frame(bytes(buffer[1 : 1 + length]))
        except RemoteProtocolError:
            del buffer[0]
            raise
        del buffer[: length + 1]  # the closing flag stays: it may open the next frame
        return frame


class LinkParameters(NamedTuple):
    """What one side says it sends and takes, from its own view: information fields [octet] and windows [frame]."""

    info_send: int = DEFAULT_INFO
    info_receive: int = DEFAULT_INFO
    window_send: int = DEFAULT_WINDOW
    window_receive: int = DEFAULT_WINDOW


_INFO_SEND, _INFO_RECEIVE, _WINDOW_SEND, _WINDOW_RECEIVE = 5, 6, 7, 8  # parameter identifiers


def encode_parameters(parameters: LinkParameters) -> bytes:
    """Encode the parameters of SNRM or UA. IEC 62056-46, 6.4.4.4.3.2."""
    sizes = {_INFO_SEND: 2, _INFO_RECEIVE: 2, _WINDOW_SEND: 4, _WINDOW_RECEIVE: 4}
    group = b"".join(
        bytes([code, size]) + value.to_bytes(size, "big")
        for (code, size), value in zip(sizes.items(), parameters, strict=True)
    )
    return bytes([0x81, 0x80, len(group)]) + group


def decode_parameters(information: bytes) -> LinkParameters:
    """Decode SNRM or UA parameters; those left out have their defaults. Raises `RemoteProtocolError`."""
    if not information:
        return LinkParameters()
    if information[:2] != b"\x81\x80" or len(information) < 3 or len(information) > _MAX_PARAMETERS:
        raise RemoteProtocolError(f"HDLC parameter field not understood: {information[:16].hex()}")
    group = information[3:]
    if len(group) != information[2]:
        raise RemoteProtocolError(f"HDLC parameter group says {information[2]} octets and has {len(group)}")
    given: dict[int, int] = {}
    at = 0
    while at < len(group):
        size = group[at + 1] if at + 1 < len(group) else 0
        value = group[at + 2 : at + 2 + size]
        if not 1 <= size <= 4 or len(value) != size:
            raise RemoteProtocolError(f"HDLC parameter {group[at]} is cut short")
        given[group[at]] = int.from_bytes(value, "big")
        at += 2 + size
    values = []
    for code, default in zip((_INFO_SEND, _INFO_RECEIVE, _WINDOW_SEND, _WINDOW_RECEIVE), LinkParameters(), strict=True):
        value_given = given.get(code, default)
        if value_given < 1:
            raise RemoteProtocolError(f"HDLC parameter {code} is {value_given}")
        values.append(min(value_given, MAX_INFO if code in {_INFO_SEND, _INFO_RECEIVE} else MAX_WINDOW))
    return LinkParameters(*values)
