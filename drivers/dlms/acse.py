"""Association control: AARQ, AARE, RLRQ, RLRE. ISO/IEC 8650-1 in BER, as profiled by IEC 62056-5-3, clause 9.4.

Each APDU is a dataclass with ``encode``; `decode` reads any of the four. ``user_information`` is the xDLMS initiate APDU,
plain or ciphered, as octets: `drivers.dlms.xdlms` and `drivers.dlms.ciphering` know what is inside.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from drivers.errors import LocalProtocolError, RemoteProtocolError

AARQ = 0x60
AARE = 0x61
RLRQ = 0x62
RLRE = 0x63
_OID_PREFIX = bytes.fromhex(
    "6085740508"
)  # joint-iso-ccitt(2) country(16) country-name(756) identified-organization(5) DLMS-UA(8)
_OID_CONTEXT = _OID_PREFIX + b"\x01"
_OID_MECHANISM = _OID_PREFIX + b"\x02"
_AUTHENTICATION_REQUIREMENT = bytes.fromhex("0780")  # BIT STRING { authentication(0) }
_MAX_FIELDS = 32


class ApplicationContext(IntEnum):
    """Application context names. IEC 62056-5-3, 9.4.2.2.2."""

    LOGICAL_NAME = 1
    SHORT_NAME = 2
    LOGICAL_NAME_CIPHERED = 3
    SHORT_NAME_CIPHERED = 4


class Mechanism(IntEnum):
    """Authentication mechanism names. IEC 62056-5-3, 9.4.2.2.3."""

    NONE = 0
    LOW = 1
    HIGH = 2
    HIGH_MD5 = 3
    HIGH_SHA1 = 4
    HIGH_GMAC = 5
    HIGH_SHA256 = 6
    HIGH_ECDSA = 7


class Result(IntEnum):
    """Association result."""

    ACCEPTED = 0
    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class Diagnostic(IntEnum):
    """Result source diagnostic of the ACSE service user."""

    NULL = 0
    NO_REASON = 1
    CONTEXT_NOT_SUPPORTED = 2
    MECHANISM_NOT_RECOGNISED = 11
    MECHANISM_REQUIRED = 12
    AUTHENTICATION_FAILURE = 13
    AUTHENTICATION_REQUIRED = 14


@dataclass(frozen=True, slots=True)
class Aarq:
    """Association request. ``authentication_value``: password (LLS) or challenge CtoS (HLS); never shown."""

    context: ApplicationContext = ApplicationContext.LOGICAL_NAME
    mechanism: Mechanism = Mechanism.NONE
    authentication_value: bytes = field(default=b"", repr=False)
    calling_title: bytes = b""
    user_information: bytes = b""

    def encode(self) -> bytes:
        """Give the octets of the APDU."""
        parts = [_element(0xA1, _element(0x06, _OID_CONTEXT + bytes([self.context])))]
        if self.calling_title:
            parts.append(_element(0xA6, _element(0x04, self.calling_title)))
        if self.mechanism is not Mechanism.NONE:
            parts += [
                _element(0x8A, _AUTHENTICATION_REQUIREMENT),
                _element(0x8B, _OID_MECHANISM + bytes([self.mechanism])),
                _element(0xAC, _element(0x80, self.authentication_value)),
            ]
        if self.user_information:
            parts.append(_element(0xBE, _element(0x04, self.user_information)))
        return _element(AARQ, b"".join(parts))


@dataclass(frozen=True, slots=True)
class Aare:
    """Association response. ``diagnostic``: of the ACSE user, or of the provider where ``by_provider``."""

    context: ApplicationContext = ApplicationContext.LOGICAL_NAME
    result: Result = Result.ACCEPTED
    diagnostic: int = 0
    by_provider: bool = False
    responding_title: bytes = b""
    mechanism: Mechanism = Mechanism.NONE
    authentication_value: bytes = field(default=b"", repr=False)
    user_information: bytes = b""

    def encode(self) -> bytes:
        """Give the octets of the APDU."""
        source = _element(0xA2 if self.by_provider else 0xA1, _element(0x02, bytes([self.diagnostic])))
        parts = [
            _element(0xA1, _element(0x06, _OID_CONTEXT + bytes([self.context]))),
            _element(0xA2, _element(0x02, bytes([self.result]))),
            _element(0xA3, source),
        ]
        if self.responding_title:
            parts.append(_element(0xA4, _element(0x04, self.responding_title)))
        if self.mechanism is not Mechanism.NONE:
            parts += [
                _element(0x88, _AUTHENTICATION_REQUIREMENT),
                _element(0x89, _OID_MECHANISM + bytes([self.mechanism])),
            ]
            if self.authentication_value:
                parts.append(_element(0xAA, _element(0x80, self.authentication_value)))
        if self.user_information:
            parts.append(_element(0xBE, _element(0x04, self.user_information)))
        return _element(AARE, b"".join(parts))


@dataclass(frozen=True, slots=True)
class Release:
    """RLRQ (``is_response`` False) or RLRE. ``reason``: 0 normal."""

    is_response: bool = False
    reason: int | None = 0
    user_information: bytes = b""

    def encode(self) -> bytes:
        """Give the octets of the APDU."""
        content = b"" if self.reason is None else _element(0x80, bytes([self.reason]))
        if self.user_information:
            content += _element(0xBE, _element(0x04, self.user_information))
        return _element(RLRE if self.is_response else RLRQ, content)


def decode(apdu: bytes) -> Aarq | Aare | Release:
    """Decode one ACSE APDU. Raises `RemoteProtocolError` for damage, a surplus, or anything else."""
    tag, content, end = _split(apdu, 0)
    if end != len(apdu):
        raise RemoteProtocolError(f"{len(apdu) - end} surplus octets behind an ACSE APDU")
    fields = _fields(content)
    match tag:
        case 0x60:
            return _decode_aarq(fields)
        case 0x61:
            return _decode_aare(fields)
        case 0x62 | 0x63:
            reason = fields.get(0x80)
            if reason is not None and len(reason) != 1:
                raise RemoteProtocolError("release reason is not one octet")
            return Release(tag == RLRE, None if reason is None else reason[0], _octets(fields, 0xBE, 0x04))
    raise RemoteProtocolError(f"0x{tag:02x} is no ACSE APDU")


def _decode_aarq(fields: Mapping[int, bytes]) -> Aarq:
    return Aarq(
        context=_context(fields),
        mechanism=_mechanism(fields, 0x8B),
        authentication_value=_octets(fields, 0xAC, 0x80),
        calling_title=_octets(fields, 0xA6, 0x04),
        user_information=_octets(fields, 0xBE, 0x04),
    )


def _decode_aare(fields: Mapping[int, bytes]) -> Aare:
    source_tag, source, end = _split(fields.get(0xA3, b""), 0)
    if source_tag not in {0xA1, 0xA2} or end != len(fields[0xA3]):
        raise RemoteProtocolError("AARE without a result source diagnostic")
    try:
        result = Result(_small_integer(fields.get(0xA2, b"")))
    except ValueError:
        raise RemoteProtocolError("AARE with an unknown result") from None
    return Aare(
        context=_context(fields),
        result=result,
        diagnostic=_small_integer(source),
        by_provider=source_tag == 0xA2,
        responding_title=_octets(fields, 0xA4, 0x04),
        mechanism=_mechanism(fields, 0x89),
        authentication_value=_octets(fields, 0xAA, 0x80),
        user_information=_octets(fields, 0xBE, 0x04),
    )


def _context(fields: Mapping[int, bytes]) -> ApplicationContext:
    name = _octets(fields, 0xA1, 0x06)
    try:
        if name[:-1] == _OID_CONTEXT:
            return ApplicationContext(name[-1])
    except ValueError:
        pass
    raise RemoteProtocolError(f"unknown application context name {name.hex() or '(none)'}")


def _mechanism(fields: Mapping[int, bytes], tag: int) -> Mechanism:
    name = fields.get(tag)
    if name is None:
        return Mechanism.NONE
    try:
        if name[:-1] == _OID_MECHANISM:
            return Mechanism(name[-1])
    except ValueError:
        pass
    raise RemoteProtocolError(f"unknown authentication mechanism name {name.hex()}")


def _octets(fields: Mapping[int, bytes], tag: int, inner: int) -> bytes:
    content = fields.get(tag)
    if content is None:
        return b""
    found, octets, end = _split(content, 0)
    if found != inner or end != len(content):
        raise RemoteProtocolError(f"ACSE field 0x{tag:02x} does not hold exactly one 0x{inner:02x}")
    return octets


def _small_integer(content: bytes) -> int:
    tag, octets, end = _split(content, 0)
    if tag != 0x02 or len(octets) != 1 or end != len(content):
        raise RemoteProtocolError("ACSE integer is not one octet")
    return octets[0]


def _fields(content: bytes) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(content):
        tag, octets, at = _split(content, at)
        if tag in fields or len(fields) >= _MAX_FIELDS:
            raise RemoteProtocolError(f"ACSE field 0x{tag:02x} repeats, or too many fields")
        fields[tag] = octets
    return fields


def _split(octets: bytes, at: int) -> tuple[int, bytes, int]:
    """Read one BER element: its tag, its content and the offset behind. Raises `RemoteProtocolError` where cut short."""
    if at + 2 > len(octets):
        raise RemoteProtocolError(f"ACSE element at offset {at} is cut short")
    tag, length = octets[at], octets[at + 1]
    start = at + 2
    if length >= 0x80:
        size = length - 0x80
        if not 1 <= size <= 2 or start + size > len(octets):
            raise RemoteProtocolError(f"ACSE length at offset {at + 1} not understood")
        length = int.from_bytes(octets[start : start + size], "big")
        start += size
    if start + length > len(octets):
        raise RemoteProtocolError(f"ACSE element at offset {at} says {length} octets, {len(octets) - start} are there")
    return tag, octets[start : start + length], start + length


def _element(tag: int, content: bytes) -> bytes:
    if len(content) > 0xFFFF:
        raise LocalProtocolError(f"ACSE element of {len(content)} octets")
    size = len(content)
    length = (
        bytes([size]) if size < 0x80 else b"\x81" + bytes([size]) if size < 0x100 else b"\x82" + size.to_bytes(2, "big")
    )
    return bytes([tag]) + length + content
