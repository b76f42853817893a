"""Message security: AES-GCM of security suites 0 to 2, and GMAC for HLS-5. IEC 62056-5-3, clauses 9.2.3 and 9.2.7.

A protected APDU is: security control, invocation counter (4), content, authentication tag (12). Nonce: sender's system
title (8) and invocation counter (4). The security control says what is done to the content: 0x10 authenticated, 0x20
encrypted, 0x30 both; its low four bits name the suite. What is weaker than agreed is refused, and a tag is always verified,
but for `Keys` without an authentication key: then nobody can, and whoever uses them must say so with each value.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drivers.errors import CounterError, SecurityError
from drivers.profile import Security

AUTHENTICATED: Final = 0x10
ENCRYPTED: Final = 0x20
AUTHENTICATED_ENCRYPTED: Final = 0x30
CONTROL: Final[dict[Security, int]] = {
    "none": 0, "authenticated": AUTHENTICATED, "encrypted": ENCRYPTED, "authenticated-encrypted": AUTHENTICATED_ENCRYPTED,
}  # fmt: skip
"""Security control bits of what a profile agrees on."""
BROADCAST: Final = 0x40
COMPRESSED: Final = 0x80
SUITE_BITS: Final = 0x0F
TAG_SIZE: Final = 12
TITLE_SIZE: Final = 8
KEY_SIZES: Final = {0: 16, 1: 16, 2: 32}
"""Octets of each symmetric key by suite: AES-128, AES-128, AES-256. IEC 62056-5-3, 9.2.3.7."""
HEADER_SIZE: Final = 5
MAX_COUNTER: Final = 2**32 - 1
"""Never used: the counter must not reach its end. IEC 62056-5-3, 9.2.7.2.4.7."""
_FIRST_BLOCK: Final = b"\x00\x00\x00\x02"  # GCM counts its first block of content 2. NIST SP 800-38D, 7.1


@dataclass(frozen=True, slots=True)
class Keys:
    """Encryption key and authentication key of one ``suite``. Never in a repr.

    Without an authentication key nothing can be authenticated: what is received is decrypted and believed unverified.
    """

    encryption: bytes = field(repr=False)
    authentication: bytes = field(repr=False)
    suite: int = 0

    def __post_init__(self) -> None:
        """Refuse keys of another length, without showing them."""
        size = KEY_SIZES.get(self.suite)
        if size is None:
            raise SecurityError(f"security suite {self.suite} is none of {', '.join(map(str, KEY_SIZES))}")
        for name, key in (("encryption", self.encryption), ("authentication", self.authentication)):
            if len(key) != size and (key or name == "encryption"):
                raise SecurityError(f"the {name} key has {len(key)} octets, suite {self.suite} needs {size}")

    @property
    def is_unverified(self) -> bool:
        """Say whether the authentication key is withheld, so that no tag can be compared."""
        return not self.authentication

    @property
    def fingerprint(self) -> str:
        """Name the encryption key without revealing it: a hash keyed with it, 16 hexadecimal digits."""
        return hmac.digest(self.encryption, b"headend invocation counters of this key", "sha256")[:8].hex()


def check_title(title: bytes, whose: str) -> None:
    """Refuse a system title that is not 8 octets. Raises `SecurityError`."""
    if len(title) != TITLE_SIZE:
        raise SecurityError(f"{whose} system title has {len(title)} octets, not {TITLE_SIZE}")


def encrypt(
    keys: Keys,
    title: bytes,
    counter: int,
    plain: bytes,
    control: int = AUTHENTICATED_ENCRYPTED,
    *,
    general: bytes = b"",
) -> bytes:
    """Protect octets as ``control`` (0x10, 0x20 or 0x30) says. ``title`` is the sender's.

    ``general``: header of a general-ciphering APDU, which the tag covers too. Raises `CounterError`, `SecurityError`.
    """
    header = _header(control | keys.suite, counter)
    nonce = title + header[1:]
    if control == ENCRYPTED:
        return header + _counter_mode(keys, nonce, plain)
    if keys.is_unverified:
        raise SecurityError("without the authentication key nothing can be authenticated")
    associated = header[:1] + keys.authentication + general
    if control == AUTHENTICATED:
        return header + plain + AESGCM(keys.encryption).encrypt(nonce, b"", associated + plain)[:TAG_SIZE]
    sealed = AESGCM(keys.encryption).encrypt(nonce, plain, associated)
    return header + sealed[: len(plain) + TAG_SIZE]


def decrypt(
    keys: Keys, title: bytes, protected: bytes, agreed: int = AUTHENTICATED_ENCRYPTED, *, general: bytes = b""
) -> tuple[int, bytes]:
    """Verify and decrypt; return the counter and the plain octets. ``title`` is the sender's; ``general`` as for `encrypt`.

    Raises `SecurityError` for a wrong tag, another suite, or less than what was ``agreed`` (security control bits; more is
    welcome). The message shows neither keys nor content.
    """
    if not protected:
        raise SecurityError("a protected APDU of 0 octets is too short")
    control = protected[0]
    if control & COMPRESSED:
        raise SecurityError(f"security control 0x{control:02x}: compression (ITU-T V.44) is not supported")
    if control & BROADCAST:
        raise SecurityError(f"security control 0x{control:02x}: the broadcast key was not agreed")
    if control & SUITE_BITS != keys.suite:
        raise SecurityError(
            f"security control 0x{control:02x}: suite {control & SUITE_BITS}, agreed is suite {keys.suite}"
        )
    if not agreed or control & agreed != agreed:
        raise SecurityError(f"security control 0x{control:02x} is weaker than the agreed 0x{agreed | keys.suite:02x}")
    tag_size = TAG_SIZE if control & AUTHENTICATED else 0
    if len(protected) < HEADER_SIZE + tag_size:
        raise SecurityError(f"protected APDU of {len(protected)} octets is too short for counter and tag")
    counter = int.from_bytes(protected[1:HEADER_SIZE], "big")
    nonce = title + protected[1:HEADER_SIZE]
    content = protected[HEADER_SIZE : len(protected) - tag_size]
    if not tag_size or keys.is_unverified:
        return counter, _counter_mode(keys, nonce, content) if control & ENCRYPTED else content
    associated = protected[:1] + keys.authentication + general
    return counter, _verified(keys, nonce, associated, content, protected[-TAG_SIZE:])


def _verified(keys: Keys, nonce: bytes, associated: bytes, content: bytes, tag: bytes) -> bytes:
    mode = modes.GCM(nonce, tag, min_tag_length=TAG_SIZE)
    decryptor = Cipher(algorithms.AES(keys.encryption), mode).decryptor()
    decryptor.authenticate_additional_data(associated)
    try:
        if associated[0] & ENCRYPTED:
            return decryptor.update(content) + decryptor.finalize()
        decryptor.authenticate_additional_data(content)
        decryptor.finalize()
    except InvalidTag:
        raise SecurityError(
            "authentication tag is wrong: wrong key, wrong system title, or altered in transit"
        ) from None
    return content


def _counter_mode(keys: Keys, nonce: bytes, octets: bytes) -> bytes:
    """Encrypt or decrypt without a tag: what GCM does to its content. NIST SP 800-38D, 6.5 and 7.1."""
    cipher = Cipher(algorithms.AES(keys.encryption), modes.CTR(nonce + _FIRST_BLOCK)).encryptor()
    return cipher.update(octets) + cipher.finalize()


def gmac_token(keys: Keys, title: bytes, counter: int, challenge: bytes) -> bytes:
    """Give f(challenge) of HLS-5: security control 0x10, counter, GMAC. ``title`` is the prover's. IEC 62056-5-3, 9.2.7.4."""
    protected = encrypt(keys, title, counter, challenge, AUTHENTICATED)
    return protected[:HEADER_SIZE] + protected[-TAG_SIZE:]


def verify_gmac_token(keys: Keys, title: bytes, challenge: bytes, token: bytes) -> int:
    """Check f(challenge) made by the owner of ``title``; return its counter. Raises `SecurityError`."""
    if len(token) != HEADER_SIZE + TAG_SIZE or token[0] != AUTHENTICATED | keys.suite:
        raise SecurityError("HLS answer has not the form of a GMAC token")
    counter = int.from_bytes(token[1:HEADER_SIZE], "big")
    if not hmac.compare_digest(gmac_token(keys, title, counter, challenge), token):
        raise SecurityError("HLS answer is wrong: the other side does not know the keys")
    return counter


def _header(control: int, counter: int) -> bytes:
    if not 0 <= counter < MAX_COUNTER:
        raise CounterError(f"invocation counter {counter} is used up: change the key (rekey)")
    return bytes([control]) + counter.to_bytes(4, "big")
