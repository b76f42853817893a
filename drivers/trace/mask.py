"""Hides secrets before a trace is written: passwords in AARQ, proofs, new secrets and keys; and any known secret wherever it shows.

What is hidden keeps its length, so that the trace still decodes. Octets are held back until the frame (on HDLC, the row of
segments) they belong to is whole, because a secret may be spread over reads, writes and segments; what never becomes whole
is searched for pieces of known secrets. Ciphered APDUs stay as they are: without keys they say nothing.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields

from drivers.contract import Credentials
from drivers.dlms import axdr
from drivers.dlms.hdlc import FLAG, FORMAT_TYPE_3, LLC_COMMAND, LLC_RESPONSE, Frame, Kind, parse_frame
from drivers.errors import RemoteProtocolError
from drivers.iec62056.message import ETX, SOH, check_character
from drivers.trace.text import MASK, Mark, Record
from kernels.checksum import fcs16

MAX_HELD = 80_000  # octets held back for one direction: an APDU of 64 KiB in segments, and some
MAX_NOISE = 4_096
GRAM = 4
"""Octets of a secret in a row that are hidden where nothing tells what they are."""
DISTINCT = 4
"""Different octets a password must have to be hidden inside other values of a meter: 00000000 stands in many serial numbers."""
MIN_ANYWHERE = 6
_AARQ, _SET, _ACTION, _ACCESS = 0x60, 0xC1, 0xC3, 0xD9
_GET, _GET_RESPONSE, _ACTION_RESPONSE = 0xC0, 0xC4, 0xC7
# Short names do not say what they stand for: whatever is written is hidden, and what a method of the association is given.
_READ, _SHORT_WRITES, _SHORT_SECRETS = 0x05, (0x06, 0x16), (b"\x04\xfa", b"\x06\x00", b"\x06\x01")
_INITIATE_WITH_KEY = b"\x01\x01"
# Association SN and LN (0-0:40.0.e), Security setup (0-0:43.0.e): what is set or invoked there are secrets. IEC 62056-6-2, 4.4.
_SECRET_CLASSES = (12, 15, 64)
_SECRET_OBJECTS = (b"\x00\x0c\x00\x00\x28", b"\x00\x0f\x00\x00\x28", b"\x00\x40\x00\x00\x2b")
SECRET_ATTRIBUTES = tuple(bytes([0, 15, 0, 0, 40, 0, entry, 255, 7]) for entry in range(16))
"""Descriptors of the password in Association LN objects: class, logical name, attribute 7."""
_HIGH_MECHANISMS = range(2, 8)  # what they put into AARQ is a challenge, no secret


@dataclass(slots=True, eq=False)
class _Held:
    """A record under way: ``open`` octets of it have not been judged yet."""

    at: int
    mark: Mark
    octets: bytearray = field(repr=False)
    hidden: bytearray = field(default_factory=bytearray, repr=False)
    text: str = ""

    def is_ready(self) -> bool:
        return len(self.hidden) == len(self.octets)


class Mask:
    """Octets in as they are carried, `Record`s out in the same order. One session of one meter.

    ``framing``: of its profile; Modbus framings carry no secrets and pass.
    """

    def __init__(self, framing: str, credentials: Credentials, session: int = 1) -> None:
        secrets = [getattr(credentials, item.name) for item in fields(credentials)]
        for key in (credentials.curve_keys.signing, credentials.curve_keys.agreement):  # the meter's are public
            secrets.append(key)
            with suppress(ValueError):  # PEM
                secrets.append(bytes.fromhex(key.decode("ascii")))
        self._secrets = _Secrets([secret for secret in secrets if isinstance(secret, bytes) and secret])
        self._session = session
        self._line: deque[_Held] = deque()
        services = _Services(self._secrets)
        self._sides = {mark: _SIDES.get(framing, _Side)(self._secrets, services) for mark in (">", "<")}

    def add(self, at: int, mark: Mark, octets: bytes) -> None:
        """Take what was carried at a time [us since the beginning]; what was thrown away (``x``) was received too."""
        if octets:
            held = _Held(at, mark, bytearray(octets))
            self._line.append(held)
            self._sides[">" if mark == ">" else "<"].add(held)

    def note(self, at: int, text: str) -> None:
        """Take words about what happened."""
        self._line.append(_Held(at, "!", bytearray(), text=self._secrets.without(text)))

    def ready(self) -> Iterator[Record]:
        """Give what may be written, in order."""
        while self._line and self._line[0].is_ready():
            held = self._line.popleft()
            spans = tuple(_spans(held.hidden))
            yield Record(self._session, held.at, held.mark, bytes(held.octets), spans, held.text)

    def end(self) -> Iterator[Record]:
        """Give the rest; nothing more comes."""
        for side in self._sides.values():
            side.give_up()
        return self.ready()


class _Secrets:
    """What must never be seen, and where it stands in octets. Flags: one octet each, 1 where hidden."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        keys = [secret.hex().encode() for secret in secrets if len(secret) >= 16]
        self._all = [*secrets, *keys, *(key.upper() for key in keys)]
        self._grams = {secret[at : at + GRAM] for secret in self._all for at in range(max(1, len(secret) - GRAM + 1))}

    def pieces(self, octets: bytes, *, is_whole: bool = False) -> bytearray:
        """Flag every piece of a secret: in octets whose meaning is not known, and in what we send."""
        flags = bytearray(len(octets))
        for gram in self._grams:
            _flag(flags, octets, gram)
        for secret in () if is_whole else self._all:  # the rest may have been lost before, or come behind
            for size in range(min(GRAM, len(secret)) - 1, 1, -1):
                if octets.endswith(secret[:size]):
                    flags[-size:] = b"\x01" * size
                if octets.startswith(secret[-size:]):
                    flags[:size] = b"\x01" * size
        return flags

    def whole(self, octets: bytes) -> bytearray:
        """Flag whole secrets in what a meter says: anywhere if they are unmistakable, else where they are a value by themselves."""
        flags = bytearray(len(octets))
        for secret in self._all:
            if len(secret) >= MIN_ANYWHERE and len(set(secret)) >= DISTINCT:
                _flag(flags, octets, secret)
                continue
            for tag in (axdr.Tag.OCTET_STRING, axdr.Tag.VISIBLE_STRING, axdr.Tag.UTF8_STRING):
                _flag(flags, octets, bytes([tag]) + axdr.encode_length(len(secret)) + secret, len(secret))
        return flags

    def without(self, text: str) -> str:
        """Strike secrets out of words."""
        for secret in self._all:
            if len(secret) >= GRAM:
                text = text.replace(secret.decode("latin-1"), "***").replace(secret.hex(), "***")
        return text


def _flag(flags: bytearray, octets: bytes, wanted: bytes, size: int = 0) -> None:
    """Flag each occurrence, or only the last ``size`` octets of it."""
    size = size or len(wanted)
    at = octets.find(wanted)
    while at >= 0:
        end = at + len(wanted)
        flags[end - size : end] = b"\x01" * size
        at = octets.find(wanted, at + 1)


class _Services:
    """Knows which parts of APDUs are secret. One for both directions, as an answer is judged by its question."""

    def __init__(self, secrets: _Secrets) -> None:
        self._secrets = secrets
        self._is_secret_row = False
        self._asked_for_secret = False

    def flags(self, apdu: bytes, *, is_sent: bool) -> bytearray:
        """Flag what must be hidden of one whole APDU."""
        known = self._secrets.pieces(apdu, is_whole=True) if is_sent else self._secrets.whole(apdu)
        parts = service_flags(apdu)
        tag, choice = apdu[0], apdu[1] if len(apdu) > 1 else 0
        if tag == _GET and choice != 2:
            self._asked_for_secret = any(name in apdu for name in SECRET_ATTRIBUTES)
        elif tag == _GET_RESPONSE and self._asked_for_secret:
            parts[4:] = b"\x01" * len(parts[4:])
        elif tag == _ACTION_RESPONSE and self._is_secret_row:
            parts = response_flags(apdu)  # the meter's own proof: with the challenge it would let a password be guessed
        elif tag in {_SET, _ACTION}:
            has_object = choice in {1, 2, 4, 5} or (tag == _ACTION and choice == 3)
            if has_object:
                self._is_secret_row = any(parts)
            elif self._is_secret_row:
                parts[3:] = b"\x01" * len(parts[3:])
        return bytearray(one | other for one, other in zip(known, parts, strict=True))


def service_flags(apdu: bytes) -> bytearray:
    """Flag what is secret by its place in an APDU, whatever its value: password of AARQ, dedicated key, proofs, new keys."""
    flags = bytearray(len(apdu))
    tag = apdu[0] if apdu else 0
    if tag == _AARQ:
        _flag_aarq(apdu, flags)
    elif apdu[:2] == _INITIATE_WITH_KEY:
        _flag_dedicated_key(apdu, 0, len(apdu), flags)
    elif tag in {_SET, _ACTION} and apdu[1:2] == b"\x01":
        if int.from_bytes(apdu[3:5], "big") in _SECRET_CLASSES:
            _flag_parameters(apdu, 13, flags)  # behind tag, choice, invoke-id, class, logical name, index, what follows
    elif tag in {_SET, _ACTION, _ACCESS} and any(name in apdu for name in _SECRET_OBJECTS):
        flags[3:] = b"\x01" * len(flags[3:])
    elif tag in _SHORT_WRITES or (tag == _READ and apdu[2:4] in _SHORT_SECRETS):
        if apdu[1:3] in {b"\x01\x02", b"\x01\x04"}:
            _flag_parameters(apdu, 6, flags)  # behind tag, count, kind, name, and count or selector
        else:
            flags[2:] = b"\x01" * len(flags[2:])
    return flags


def response_flags(apdu: bytes) -> bytearray:
    """Flag what an ACTION-response returns."""
    flags = bytearray(len(apdu))
    _flag_parameters(apdu, 6, flags)  # behind tag, choice, invoke-id, result, whether data follow, and of which kind
    return flags


def _flag_parameters(apdu: bytes, start: int, flags: bytearray) -> None:
    """Flag data at the end of an APDU: of an octet-string its octets, else all."""
    content = start
    if apdu[start : start + 1] == bytes([axdr.Tag.OCTET_STRING]):
        try:
            length, at = axdr.parse_length(apdu, start + 1)
        except RemoteProtocolError:
            length, at = -1, start
        if at + length == len(apdu):
            content = at
    flags[content:] = b"\x01" * len(flags[content:])


def _flag_aarq(apdu: bytes, flags: bytearray) -> None:
    """Flag the authentication value unless it is a challenge, and a dedicated key; all of an AARQ that is damaged."""
    spans: dict[int, tuple[int, int]] = {}
    try:
        start, end = _element(apdu, 0)
        while start < end:
            tag = apdu[start]
            inner, behind = _element(apdu, start)
            spans[tag] = (inner, behind)
            start = behind
        mechanism = apdu[spans[0x8B][1] - 1] if 0x8B in spans else 0
        if 0xAC in spans and mechanism not in _HIGH_MECHANISMS:
            inner, behind = _element(apdu, spans[0xAC][0])
            flags[inner:behind] = b"\x01" * (behind - inner)
        if 0xBE in spans:
            inner, behind = _element(apdu, spans[0xBE][0])
            _flag_dedicated_key(apdu, inner, behind, flags)
    except IndexError:
        flags[1:] = b"\x01" * len(flags[1:])


def _element(octets: bytes, at: int) -> tuple[int, int]:
    """Give where a BER element's content starts and ends. Raises `IndexError` where it is cut short."""
    length, start = octets[at + 1], at + 2
    if length >= 0x80:
        size = length - 0x80
        length = int.from_bytes(octets[start : start + size], "big")
        start += size
    if start + length > len(octets):
        raise IndexError
    return start, start + length


def _flag_dedicated_key(octets: bytes, start: int, end: int, flags: bytearray) -> None:
    if octets[start : start + 2] == _INITIATE_WITH_KEY:
        size = octets[start + 2] if start + 2 < end else 0
        flags[start + 3 : min(end, start + 3 + size)] = b"\x01" * max(0, min(end, start + 3 + size) - start - 3)


class _Side:
    """What goes one way, in octets whose framing hides nothing: judged as it comes."""

    def __init__(self, secrets: _Secrets, services: _Services) -> None:
        self._secrets = secrets
        self._services = services
        self._buffer = bytearray()
        self._pieces: deque[_Held] = deque()
        self._is_sent = False

    def add(self, held: _Held) -> None:
        """Take a piece, and judge what is whole."""
        self._is_sent = held.mark == ">"
        self._pieces.append(held)
        self._buffer += held.octets
        self._judge()
        if len(self._buffer) > MAX_HELD:
            self.give_up()

    def give_up(self) -> None:
        """Judge the rest as octets of no known meaning."""
        self._settle(len(self._buffer))

    def _judge(self) -> None:
        self.give_up()

    def _settle(self, size: int, octets: bytes | None = None, flags: bytearray | None = None) -> None:
        """Hand out the judgement of the first octets; without one they are searched for pieces of secrets."""
        judged = bytes(self._buffer[:size])
        flags = self._secrets.pieces(judged) if flags is None else flags
        octets = judged if octets is None else octets
        masked = bytes(MASK if hidden else octet for octet, hidden in zip(octets, flags, strict=True))
        del self._buffer[:size]
        at = 0
        while at < size:
            held = self._pieces[0]
            done = len(held.hidden)
            take = min(size - at, len(held.octets) - done)
            held.octets[done : done + take] = masked[at : at + take]
            held.hidden += flags[at : at + take]
            at += take
            if held.is_ready():
                self._pieces.popleft()


class _Iec62056(_Side):
    """Text, and commands SOH ... ETX BCC, of which P1 and P2 carry a password. Heads repeat ours to us, so both ways alike."""

    def _judge(self) -> None:
        while self._buffer:
            start = self._buffer.find(bytes((SOH,)))
            if start:
                self._text(start if start > 0 else len(self._buffer))
                continue
            end = self._buffer.find(bytes((ETX,))) + 2
            if end < 2 or end > len(self._buffer):
                return
            self._command(bytes(self._buffer[:end]))

    def _text(self, size: int) -> None:
        text = bytes(self._buffer[:size])
        self._settle(size, flags=self._secrets.pieces(text) if self._is_sent else self._secrets.whole(text))

    def _command(self, octets: bytes) -> None:
        if octets[1:3] not in {b"P1", b"P2"} or len(octets) < 8:
            self._text(len(octets))
            return
        flags = bytearray(len(octets))
        flags[5:-3] = b"\x01" * (len(octets) - 8)  # between SOH P C STX ( and ) ETX BCC
        hidden = bytes(MASK if flag else octet for octet, flag in zip(octets, flags, strict=True))
        check = check_character(hidden[1:-1])  # that of the password would tell of it
        self._settle(len(octets), hidden[:-1] + bytes((check,)), flags)


class _Wrapper(_Side):
    """WRAPPER frames: 8 octets of header, then an APDU."""

    def _judge(self) -> None:
        while len(self._buffer) >= 8:
            if self._buffer[:2] != b"\x00\x01":
                self.give_up()
                return
            end = 8 + int.from_bytes(self._buffer[6:8], "big")
            if len(self._buffer) < end:
                return
            apdu = bytes(self._buffer[8:end])
            flags = self._services.flags(apdu, is_sent=self._is_sent) if apdu else bytearray()
            self._settle(end, flags=bytearray(8) + flags)


class _Hdlc(_Side):
    """HDLC frames, noise between them, and segments that belong together."""

    def __init__(self, secrets: _Secrets, services: _Services) -> None:
        super().__init__(secrets, services)
        self._after_flag = False  # the octet before the buffer was a closing flag, which may open the next frame

    def give_up(self) -> None:
        super().give_up()
        self._after_flag = False

    def _judge(self) -> None:
        while self._buffer:
            found = self._frames()
            if found is None:
                return
            end, row = found
            if not row:
                self._settle(end)
                self._after_flag = False
                continue
            self._hide(end, row)
            self._after_flag = True

    def _frames(self) -> tuple[int, list[tuple[int, int, Frame]]] | None:
        """Find noise, or a row of frames that joins to one APDU: where it ends, and each frame's body.

        None where more must come first.
        """
        row: list[tuple[int, int, Frame]] = []
        at = 0
        after_flag = self._after_flag
        while True:
            found = self._frame(at, after_flag=after_flag)
            if found is None:
                return None
            noise, start, end, frame = found
            if frame is None:
                # Noise: alone if nothing is waiting, else the row is broken off.
                return (end, row) if not row else (at, row)
            if noise:
                return (at, row) if row else (noise, [])
            row.append((start, end, frame))
            at, after_flag = end + 1, True
            if frame.kind is not Kind.I or not frame.segmented:
                return at, row

    def _frame(self, at: int, *, after_flag: bool) -> tuple[int, int, int, Frame | None] | None:
        """Find the next frame from ``at``: length of the noise before, start and end of its body. Without frame: noise up to end."""
        buffer = self._buffer
        search = at
        while search < len(buffer):
            if search == at and after_flag and buffer[at] & 0xF0 == FORMAT_TYPE_3:
                flag, start = at, at
            else:
                flag = buffer.find(FLAG, search)
                if flag < 0:
                    return (0, at, len(buffer), None) if len(buffer) - at > MAX_NOISE else None
                start = flag + 1
            if start + 2 > len(buffer):
                return None
            if buffer[start] & 0xF0 == FORMAT_TYPE_3:
                end = start + ((buffer[start] & 0x07) << 8 | buffer[start + 1])
                if end >= len(buffer):
                    return None
                frame = _parsed(bytes(buffer[start:end])) if buffer[end] == FLAG else None
                if frame is not None:
                    return flag - at, start, end, frame
            search = start if start > search else search + 1
        return None

    def _hide(self, end: int, row: list[tuple[int, int, Frame]]) -> None:
        """Judge the information of a row of frames as one APDU, and put right the checksums behind what is hidden."""
        octets = bytearray(self._buffer[:end])
        flags = bytearray(end)
        joined = b"".join(frame.information for _, _, frame in row)
        llc = 3 if joined[:3] in {LLC_COMMAND, LLC_RESPONSE} else 0
        is_whole = not row[-1][2].segmented
        if llc and is_whole and len(joined) > llc:
            hidden = bytearray(llc) + self._services.flags(joined[llc:], is_sent=self._is_sent)
        else:
            hidden = self._secrets.pieces(joined) if row[0][2].kind in {Kind.I, Kind.UI} else bytearray(len(joined))
        at = 0
        for start, stop, frame in row:
            size = len(frame.information)
            mine = hidden[at : at + size]
            at += size
            if any(mine):
                first = stop - 2 - size
                octets[first : stop - 2] = bytes(
                    MASK if hide else octet for octet, hide in zip(frame.information, mine, strict=True)
                )
                octets[stop - 2 : stop] = fcs16(bytes(octets[start : stop - 2])).to_bytes(2, "little")
                flags[first : stop - 2] = mine
        self._settle(end, bytes(octets), flags)


def _parsed(body: bytes) -> Frame | None:
    try:
        return parse_frame(body)
    except RemoteProtocolError:
        return None


def _spans(hidden: bytearray) -> Iterator[tuple[int, int]]:
    start = hidden.find(1)
    while start >= 0:
        end = hidden.find(0, start)
        end = len(hidden) if end < 0 else end
        yield start, end
        start = hidden.find(1, end)


_SIDES: dict[str, type[_Side]] = {"hdlc": _Hdlc, "wrapper": _Wrapper, "iec62056": _Iec62056}
