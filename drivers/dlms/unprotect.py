"""Takes the protection from a pushed APDU: general-glo-ciphering (0xDB). IEC 62056-5-3, clauses 9.2.7 and 9.5.

``DB``, system title of the sender as an octet-string, the protected octets as another. Keys come from a provider by system
title, and are for suite 0. The tag is always verified, but for a sender whose keys say that the utility withholds the
authentication key: then, and only then, content is taken that nobody vouches for, and is marked so.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.dlms import axdr, ciphering
from drivers.errors import RemoteProtocolError, SecurityError

GENERAL_GLO_CIPHERING = 0xDB
_SUITE = 0
_SIZE = ciphering.KEY_SIZES[_SUITE]


@dataclass(frozen=True, slots=True)
class PushKeys:
    """Keys of one sender, suite 0, 16 octets each. Never in a repr.

    ``is_authentication_withheld``: the utility gives out no authentication key, so that no tag can be verified.
    """

    encryption: bytes = field(repr=False)
    authentication: bytes = field(default=b"", repr=False)
    is_authentication_withheld: bool = False

    def __post_init__(self) -> None:
        """Refuse keys of another length, and a key that is both withheld and there; shows neither."""
        wanted = 0 if self.is_authentication_withheld else _SIZE
        if len(self.encryption) != _SIZE:
            raise SecurityError(f"the encryption key has {len(self.encryption)} octets, not {_SIZE}")
        if len(self.authentication) != wanted:
            raise SecurityError(f"the authentication key has {len(self.authentication)} octets, not {wanted}")


KeyProvider = Callable[[bytes], PushKeys | None]
"""System title -> keys of that sender, or None where there are none."""


@dataclass(frozen=True, slots=True)
class Protected:
    """A general-glo-ciphered APDU taken apart, nothing of it believed yet. ``octets``: from security control to tag."""

    system_title: bytes
    octets: bytes


@dataclass(frozen=True, slots=True)
class Unprotected:
    """A plain APDU and how far it can be trusted.

    ``system_title``, ``counter``: of the sender; empty and None where the APDU came plain.  ``is_authenticated``: the tag
    was verified.  ``key_id``: names sender and key without showing it, for whoever remembers counters.
    """

    apdu: bytes
    system_title: bytes = b""
    counter: int | None = None
    is_authenticated: bool = False
    key_id: str = ""


def parse_protected(apdu: bytes) -> Protected | None:
    """Take a ciphered APDU apart; None for a plain one. Raises `RemoteProtocolError` for a damaged one."""
    if apdu[:1] != bytes([GENERAL_GLO_CIPHERING]):
        return None
    title_length, start = axdr.parse_length(apdu, 1)
    title = apdu[start : start + title_length]
    if title_length != ciphering.TITLE_SIZE or len(title) != title_length:
        raise RemoteProtocolError(f"ciphered APDU with a system title of {title_length} octets")
    length, at = axdr.parse_length(apdu, start + title_length)
    if at + length != len(apdu):
        raise RemoteProtocolError(f"ciphered APDU says {length} octets and has {len(apdu) - at}")
    return Protected(title, apdu[at:])


def unprotect(apdu: bytes, keys_for: KeyProvider) -> Unprotected:
    """Verify and decrypt a pushed APDU; a plain one comes back as it is.

    Raises `SecurityError` for a sender without keys, a wrong tag or weaker protection than its keys allow for, and
    `RemoteProtocolError` for damage. Messages show the system title, never keys or content.
    """
    protected = parse_protected(apdu)
    if protected is None:
        return Unprotected(apdu)
    title = protected.system_title
    keys = keys_for(title)
    if keys is None:
        raise SecurityError(f"no keys for system title {title.hex()}")
    pair = ciphering.Keys(keys.encryption, keys.authentication, _SUITE)
    agreed = ciphering.ENCRYPTED if keys.is_authentication_withheld else ciphering.AUTHENTICATED_ENCRYPTED
    counter, plain = ciphering.decrypt(pair, title, protected.octets, agreed)
    if not plain or plain[0] == GENERAL_GLO_CIPHERING:
        raise RemoteProtocolError("ciphered APDU holds nothing, or a ciphered one again")
    return Unprotected(plain, title, counter, not keys.is_authentication_withheld, f"{title.hex()}/{_print(keys)}/push")


def _print(keys: PushKeys) -> str:
    """Tell keys apart without showing them: a hash of both, cut short."""
    return hashlib.sha256(b"push" + keys.encryption + keys.authentication).hexdigest()[:16]
