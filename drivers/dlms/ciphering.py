"""Message security: suite 0, AES-128-GCM, and GMAC for HLS-5. IEC 62056-5-3, clause 9.2.7 and 9.2.3 (security suite 0).

A ciphered APDU is: tag (glo-), length, security control, invocation counter (4), ciphertext, authentication tag (12).
Nonce: sender's system title (8) and invocation counter (4). Only security control 0x30 (authenticated and encrypted) is
sent or taken: a weaker one is a downgrade. The tag is always verified.
"""

import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drivers.dlms import axdr
from drivers.errors import CounterError, LocalProtocolError, RemoteProtocolError, SecurityError

AUTHENTICATED = 0x10
AUTHENTICATED_ENCRYPTED = 0x30
TAG_SIZE = 12
TITLE_SIZE = 8
KEY_SIZE = 16
HEADER_SIZE = 5
MAX_COUNTER = 2**32 - 1
"""Never used: the counter must not reach its end. IEC 62056-5-3, 9.2.7.2.4.7."""

# Plain tag -> tag of its globally ciphered form. IEC 62056-5-3, 9.5.
GLO_TAGS = {0x01: 0x21, 0x08: 0x28, 0x0E: 0x2E, 0xC0: 0xC8, 0xC1: 0xC9, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF}
PLAIN_TAGS = {glo: plain for plain, glo in GLO_TAGS.items()}
GENERAL_GLO_CIPHERING = 0xDB


@dataclass(frozen=True, slots=True)
class Keys:
    """Global unicast encryption key and authentication key, 16 octets each. Never in a repr."""

    encryption: bytes = field(repr=False)
    authentication: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse keys of another length, without showing them."""
        for name, key in (("encryption", self.encryption), ("authentication", self.authentication)):
            if len(key) != KEY_SIZE:
                raise SecurityError(f"the {name} key has {len(key)} octets, suite 0 needs {KEY_SIZE}")


def check_title(title: bytes, whose: str) -> None:
    """Refuse a system title that is not 8 octets. Raises `SecurityError`."""
    if len(title) != TITLE_SIZE:
        raise SecurityError(f"{whose} system title has {len(title)} octets, not {TITLE_SIZE}")


def encrypt(keys: Keys, title: bytes, counter: int, plain: bytes) -> bytes:
    """Protect octets: security control 0x30, counter, ciphertext, tag. ``title`` is the sender's."""
    header = _header(AUTHENTICATED_ENCRYPTED, counter)
    associated = header[:1] + keys.authentication
    sealed = AESGCM(keys.encryption).encrypt(title + header[1:], plain, associated)
    return header + sealed[: len(plain) + TAG_SIZE]


def decrypt(keys: Keys, title: bytes, protected: bytes) -> tuple[int, bytes]:
    """Verify and decrypt; return the counter and the plain octets. ``title`` is the sender's.

    Raises `SecurityError` for a wrong tag or anything weaker than 0x30. The message shows neither keys nor content.
    """
    if len(protected) < HEADER_SIZE + TAG_SIZE:
        raise SecurityError(f"protected APDU of {len(protected)} octets is too short for counter and tag")
    if protected[0] != AUTHENTICATED_ENCRYPTED:
        raise SecurityError(f"security control 0x{protected[0]:02x}: only 0x30, authenticated and encrypted, is taken")
    counter = int.from_bytes(protected[1:HEADER_SIZE], "big")
    decryptor = Cipher(
        algorithms.AES128(keys.encryption),
        modes.GCM(title + protected[1:HEADER_SIZE], protected[-TAG_SIZE:], min_tag_length=TAG_SIZE),
    ).decryptor()
    decryptor.authenticate_additional_data(protected[:1] + keys.authentication)
    try:
        plain = decryptor.update(protected[HEADER_SIZE:-TAG_SIZE]) + decryptor.finalize()
    except InvalidTag:
        raise SecurityError(
            "authentication tag is wrong: wrong key, wrong system title, or altered in transit"
        ) from None
    return counter, plain


def gmac_token(keys: Keys, title: bytes, counter: int, challenge: bytes) -> bytes:
    """Give f(challenge) of HLS-5: security control 0x10, counter, GMAC. ``title`` is the prover's. IEC 62056-5-3, 9.2.7.4."""
    header = _header(AUTHENTICATED, counter)
    associated = header[:1] + keys.authentication + challenge
    return header + AESGCM(keys.encryption).encrypt(title + header[1:], b"", associated)[:TAG_SIZE]


def verify_gmac_token(keys: Keys, title: bytes, challenge: bytes, token: bytes) -> int:
    """Check f(challenge) made by the owner of ``title``; return its counter. Raises `SecurityError`."""
    if len(token) != HEADER_SIZE + TAG_SIZE or token[0] != AUTHENTICATED:
        raise SecurityError("HLS answer has not the form of a GMAC token")
    counter = int.from_bytes(token[1:HEADER_SIZE], "big")
    if not hmac.compare_digest(gmac_token(keys, title, counter, challenge), token):
        raise SecurityError("HLS answer is wrong: the other side does not know the keys")
    return counter


def _header(control: int, counter: int) -> bytes:
    if not 0 <= counter < MAX_COUNTER:
        raise CounterError(f"invocation counter {counter} is used up: change the key")
    return bytes([control]) + counter.to_bytes(4, "big")


class SecureChannel:
    """Turns plain APDUs into glo- ones and back, for one side of one association.

    Each counter of ``supply`` is used once. The other side's must rise strictly. Ask `counters_left` before sending.
    """

    def __init__(self, keys: Keys, own_title: bytes, peer_title: bytes = b"") -> None:
        check_title(own_title, "our")
        self._keys = keys
        self._own_title = own_title
        self._peer_title = b""
        self._counters: list[range] = []
        self.last_seen = -1
        if peer_title:
            self.set_peer(peer_title)

    def set_peer(self, title: bytes) -> None:
        """Take the other side's system title. Raises `SecurityError` for our own (reflection) or a wrong length."""
        check_title(title, "the other side's")
        if title == self._own_title:
            raise SecurityError("the other side claims our own system title")
        self._peer_title = title

    def supply(self, counters: range) -> None:
        """Add counters that were reserved durably for this key and title, so that nobody else uses them."""
        if counters.step != 1 or counters.start < 0 or counters.stop > MAX_COUNTER:
            raise CounterError(f"invocation counters {counters} are not usable: change the key")
        self._counters.append(counters)

    @property
    def counters_left(self) -> int:
        """Count the counters still unused."""
        return sum(len(counters) for counters in self._counters)

    def seal(self, apdu: bytes) -> bytes:
        """Protect a plain APDU as its glo- form. Raises `CounterError` without counters, `LocalProtocolError` without form."""
        glo = GLO_TAGS.get(apdu[0])
        if glo is None:
            raise LocalProtocolError(f"APDU 0x{apdu[0]:02x} has no globally ciphered form")
        protected = encrypt(self._keys, self._own_title, self._next_counter(), apdu)
        return bytes([glo]) + axdr.encode_length(len(protected)) + protected

    def open(self, apdu: bytes) -> bytes:
        """Verify a glo- APDU and give the plain one. Raises `SecurityError`, also for a plain APDU or a replay."""
        if not apdu or apdu[0] not in PLAIN_TAGS:
            raise SecurityError(f"APDU 0x{apdu[:1].hex()} where a globally ciphered one was agreed")
        check_title(self._peer_title, "the other side's")
        length, start = axdr.parse_length(apdu, 1)
        if start + length != len(apdu):
            raise RemoteProtocolError(f"ciphered APDU says {length} octets and has {len(apdu) - start}")
        counter, plain = decrypt(self._keys, self._peer_title, apdu[start:])
        if counter <= self.last_seen:
            raise CounterError(f"invocation counter {counter} is not above {self.last_seen}: replayed, or out of step")
        self.last_seen = counter
        if not plain or plain[0] != PLAIN_TAGS[apdu[0]]:
            raise SecurityError(f"APDU 0x{apdu[0]:02x} holds another service than it says")
        return plain

    def prove(self, challenge: bytes) -> bytes:
        """Give our HLS-5 answer f(challenge), using up one counter."""
        return gmac_token(self._keys, self._own_title, self._next_counter(), challenge)

    def verify(self, challenge: bytes, token: bytes) -> None:
        """Check the other side's HLS-5 answer to our fresh challenge. Raises `SecurityError`.

        Its counter needs no order: the challenge was never used before, so an old answer cannot fit it.
        """
        verify_gmac_token(self._keys, self._peer_title, challenge, token)

    def _next_counter(self) -> int:
        while self._counters and not self._counters[0]:
            del self._counters[0]
        if not self._counters:
            raise CounterError("no invocation counter is reserved")
        first = self._counters[0]
        self._counters[0] = first[1:]
        return first[0]
