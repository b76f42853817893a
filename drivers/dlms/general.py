"""General-ciphering and general-signing as octets: who sends what to whom, under which key. IEC 62056-5-3, clauses 9.2.7.2.4 and 9.5.

A-XDR: each field is an octet string behind its length; key-info is optional and a choice. Nothing here is believed yet:
`drivers.dlms.protection` verifies.
"""

from dataclasses import dataclass, field
from typing import Final

from drivers.dlms import axdr
from drivers.errors import RemoteProtocolError

GENERAL_CIPHERING: Final = 0xDD
GENERAL_SIGNING: Final = 0xDF
GLOBAL_UNICAST: Final = 0
MASTER_KEY: Final = 0


@dataclass(frozen=True, slots=True)
class Header:
    """What both forms begin with. ``transaction``: names one exchange; an answer repeats the question's."""

    transaction: bytes
    originator: bytes
    recipient: bytes
    date_time: bytes = b""
    other_information: bytes = b""

    def encode(self) -> bytes:
        """Give the fields with their lengths, which is also what tag and signature cover."""
        fields = (self.transaction, self.originator, self.recipient, self.date_time, self.other_information)
        return b"".join(map(_string, fields))


@dataclass(frozen=True, slots=True)
class IdentifiedKey:
    """A key that both have. ``key_id``: 0 global unicast, 1 global broadcast encryption key."""

    key_id: int = GLOBAL_UNICAST


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key sent along, wrapped by one that both have. ``kek_id``: 0 master key."""

    wrapped: bytes = field(repr=False)
    kek_id: int = MASTER_KEY


@dataclass(frozen=True, slots=True)
class AgreedKey:
    """A key that both compute. ``parameters``: one octet, the scheme.  ``data``: what the recipient needs to compute it."""

    parameters: bytes
    data: bytes = b""


KeyInfo = IdentifiedKey | WrappedKey | AgreedKey


@dataclass(frozen=True, slots=True)
class GeneralCiphering:
    """``content``: security control, counter, ciphered APDU, tag. ``key_info``: None where the key is known anyway."""

    header: Header
    key_info: KeyInfo | None
    content: bytes

    def encode(self) -> bytes:
        """Give the octets of the APDU."""
        match self.key_info:
            case None:
                key_info = b"\x00"
            case IdentifiedKey(key_id):
                key_info = bytes((1, 0, key_id))
            case WrappedKey(wrapped, kek_id):
                key_info = bytes((1, 1, kek_id)) + _string(wrapped)
            case AgreedKey(parameters, data):
                key_info = bytes((1, 2)) + _string(parameters) + _string(data)
        return bytes([GENERAL_CIPHERING]) + self.header.encode() + key_info + _string(self.content)


@dataclass(frozen=True, slots=True)
class GeneralSigning:
    """``content``: a whole APDU, plain or ciphered.  ``signature``: r || s over all that stands before it but the tag."""

    header: Header
    content: bytes
    signature: bytes = b""

    @property
    def signed(self) -> bytes:
        """What the signature covers."""
        return self.header.encode() + _string(self.content)

    def encode(self) -> bytes:
        """Give the octets of the APDU."""
        return bytes([GENERAL_SIGNING]) + self.signed + _string(self.signature)


def decode(apdu: bytes) -> GeneralCiphering | GeneralSigning:
    """Take either form apart. Raises `RemoteProtocolError` for damage, a surplus, or another APDU."""
    reader = _Reader(apdu)
    tag = reader.octet()
    if tag not in {GENERAL_CIPHERING, GENERAL_SIGNING}:
        raise RemoteProtocolError(f"APDU 0x{tag:02x} is neither general-ciphering nor general-signing")
    header = Header(reader.string(), reader.string(), reader.string(), reader.string(), reader.string())
    decoded: GeneralCiphering | GeneralSigning
    if tag == GENERAL_CIPHERING:
        decoded = GeneralCiphering(header, _key_info(reader), reader.string())
    else:
        decoded = GeneralSigning(header, reader.string(), reader.string())
    if reader.at != len(apdu):
        raise RemoteProtocolError(f"{len(apdu) - reader.at} surplus octets behind a general APDU")
    return decoded


def _key_info(reader: "_Reader") -> KeyInfo | None:
    match reader.octet():
        case 0:
            return None
        case 1:
            pass
        case other:
            raise RemoteProtocolError(f"key-info begins with 0x{other:02x}, neither absent nor present")
    match reader.octet():
        case 0:
            return IdentifiedKey(reader.octet())
        case 1:
            kek_id = reader.octet()
            return WrappedKey(reader.string(), kek_id)
        case 2:
            return AgreedKey(reader.string(), reader.string())
        case choice:
            raise RemoteProtocolError(f"key-info of choice {choice}, only 0 to 2 are known")


def _string(octets: bytes) -> bytes:
    return axdr.encode_length(len(octets)) + octets


class _Reader:
    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.at = 0

    def octet(self) -> int:
        if self.at >= len(self._octets):
            raise RemoteProtocolError("general APDU is cut short")
        self.at += 1
        return self._octets[self.at - 1]

    def string(self) -> bytes:
        length, start = axdr.parse_length(self._octets, self.at)
        self.at = start + length
        if self.at > len(self._octets):
            raise RemoteProtocolError(f"general APDU is cut short: {length} octets said at offset {start}")
        return self._octets[start : self.at]
