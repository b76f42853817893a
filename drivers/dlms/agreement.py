"""Symmetric keys that are agreed or wrapped. IEC 62056-5-3, clauses 9.2.3.4.6 to 9.2.3.4.8.

A shared secret Z (`drivers.dlms.elliptic`) becomes a key by the one-step key derivation of NIST SP 800-56A: hash of a count, Z,
and the other information: algorithm id, originator (party U), recipient (party V). Where both keys are static, Z is always
the same, so the transaction-id joins the originator and makes each key another.
"""

from enum import IntEnum
from typing import Final

from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from drivers.dlms.ciphering import KEY_SIZES
from drivers.dlms.elliptic import curve_of
from drivers.errors import SecurityError

ALGORITHM_IDS: Final = {1: bytes.fromhex("60857405080300"), 2: bytes.fromhex("60857405080301")}
"""AES-GCM-128 and AES-GCM-256, by suite. IEC 62056-5-3, 9.2.3.4.6.5."""
WRAP_OVERHEAD: Final = 8  # octets that AES key wrap adds. RFC 3394, 2.2.1


class Scheme(IntEnum):
    """Key agreement schemes, as key-parameters name them. IEC 62056-5-3, 9.2.3.4.6.1."""

    EPHEMERAL_UNIFIED = 0
    """C(2e, 0s): both keys are fresh; agrees on the keys of the meter itself."""
    ONE_PASS = 1
    """C(1e, 1s): the originator's key is fresh, the recipient's static; one key for one APDU."""
    STATIC_UNIFIED = 2
    """C(0e, 2s): both are static; one key for one transaction."""


def derive_key(suite: int, secret: bytes, originator: bytes, recipient: bytes, transaction: bytes = b"") -> bytes:
    """Give the key of a shared secret. ``originator``, ``recipient``: system titles.  ``transaction``: its id, for static keys."""
    if transaction:
        originator += bytes([len(transaction)]) + transaction
    other = ALGORITHM_IDS[suite] + originator + recipient
    return ConcatKDFHash(curve_of(suite).hash, KEY_SIZES[suite], other).derive(secret)


def wrap_key(master_key: bytes, key: bytes) -> bytes:
    """Wrap a key for transport. RFC 3394. Raises `SecurityError` for lengths that are no AES keys."""
    for octets, what in ((master_key, "master key"), (key, "key to be wrapped")):
        if len(octets) not in KEY_SIZES.values():
            raise SecurityError(f"a {what} of {len(octets)} octets is no AES key")
    return aes_key_wrap(master_key, key)


def unwrap_key(master_key: bytes, wrapped: bytes) -> bytes:
    """Take a wrapped key out. Raises `SecurityError` where it was altered or wrapped with another key."""
    if len(master_key) not in KEY_SIZES.values() or len(wrapped) - WRAP_OVERHEAD not in KEY_SIZES.values():
        raise SecurityError(f"a wrapped key of {len(wrapped)} octets, or a master key of {len(master_key)}, is none")
    try:
        return aes_key_unwrap(master_key, wrapped)
    except InvalidUnwrap:
        raise SecurityError("a wrapped key does not open: another master key, or altered in transit") from None
