"""Elliptic curves of security suites 1 and 2: keys, signatures, shared secrets. IEC 62056-5-3, clauses 9.2.3.4.2 to 9.2.3.4.6.

Suite 1: P-256 and SHA-256. Suite 2: P-384 and SHA-384. On the wire a public key is x || y and a signature r || s, each half as
long as the curve's field. Signatures are deterministic (RFC 6979) and a fresh key is made of octets that are passed in, so that
nothing here draws randomness.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.oid import NameOID

from drivers.errors import SecurityError

_TITLE = re.compile(r"[0-9A-Fa-f]{16}")
_EXTRA = 8  # octets beyond the order's, so that a reduced random number is unbiased. FIPS 186-5, A.2.1


@dataclass(frozen=True, slots=True)
class Curve:
    """One suite's curve and hash. ``size``: of a coordinate, a private key and half a signature. [octet]"""

    curve: ec.EllipticCurve
    hash: hashes.HashAlgorithm
    size: int
    order: int


CURVES: Final = {
    1: Curve(
        ec.SECP256R1(), hashes.SHA256(), 32,
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    ),
    2: Curve(
        ec.SECP384R1(), hashes.SHA384(), 48,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    ),
}  # fmt: skip
"""By security suite; the orders are those of NIST SP 800-186, 3.2.1."""


def curve_of(suite: int) -> Curve:
    """Give a suite's curve. Raises `SecurityError` for a suite that has none."""
    if suite not in CURVES:
        raise SecurityError(f"security suite {suite} has no elliptic curve; suites 1 and 2 have")
    return CURVES[suite]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Somebody's public key. ``title``: the system title its certificate names, empty where it came without one."""

    suite: int
    key: ec.EllipticCurvePublicKey = field(repr=False)
    title: bytes = b""

    @property
    def octets(self) -> bytes:
        """The point as x || y."""
        numbers, size = self.key.public_numbers(), CURVES[self.suite].size
        return numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")

    def verify(self, signed: bytes, signature: bytes) -> None:
        """Check a signature r || s. Raises `SecurityError`."""
        curve = CURVES[self.suite]
        if len(signature) != 2 * curve.size:
            raise SecurityError(f"a signature of {len(signature)} octets, suite {self.suite} has {2 * curve.size}")
        r, s = (int.from_bytes(half, "big") for half in (signature[: curve.size], signature[curve.size :]))
        try:
            self.key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(curve.hash))
        except InvalidSignature:
            raise SecurityError("signature is wrong: another key, or altered in transit") from None


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """Our own key of one suite, never shown."""

    suite: int
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """What the other side may know."""
        return PublicKey(self.suite, self.key.public_key())

    def sign(self, octets: bytes) -> bytes:
        """Give the signature r || s. FIPS 186-5, 6.4, with the per-message number of RFC 6979."""
        curve = CURVES[self.suite]
        r, s = utils.decode_dss_signature(self.key.sign(octets, ec.ECDSA(curve.hash, deterministic_signing=True)))
        return r.to_bytes(curve.size, "big") + s.to_bytes(curve.size, "big")

    def agree(self, other: PublicKey) -> bytes:
        """Give the shared secret Z. Raises `SecurityError` for another curve. NIST SP 800-56A, 5.7.1.2 (ECC CDH)."""
        if other.suite != self.suite:
            raise SecurityError(f"keys of suites {self.suite} and {other.suite} agree on nothing")
        return self.key.exchange(ec.ECDH(), other.key)


def fresh_key(suite: int, random_bytes: Callable[[int], bytes]) -> PrivateKey:
    """Make an ephemeral key of octets that nobody else knows."""
    curve = curve_of(suite)
    number = int.from_bytes(random_bytes(curve.size + _EXTRA), "big") % (curve.order - 1) + 1
    return PrivateKey(suite, ec.derive_private_key(number, curve.curve))


def public_from_octets(suite: int, octets: bytes) -> PublicKey:
    """Read x || y as it comes over the wire. Raises `SecurityError`, also for a point that is not on the curve."""
    curve = curve_of(suite)
    if len(octets) != 2 * curve.size:
        raise SecurityError(f"a public key of {len(octets)} octets, suite {suite} has {2 * curve.size}")
    try:
        return PublicKey(suite, ec.EllipticCurvePublicKey.from_encoded_point(curve.curve, b"\x04" + octets))
    except ValueError:
        raise SecurityError(f"a public key that is no point of suite {suite}'s curve") from None


def parse_private(suite: int, text: bytes) -> PrivateKey:
    """Read a private key: PEM, or the number in hexadecimal. Raises `SecurityError` that shows nothing of it."""
    curve = curve_of(suite)
    try:
        if text.startswith(b"-----BEGIN"):
            key = load_pem_private_key(text, None)
        else:
            number = int(text, 16) if len(text) == 2 * curve.size and text.isalnum() else 0
            key = ec.derive_private_key(number, curve.curve)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SecurityError(
            f"a private key is neither PEM without a passphrase nor {2 * curve.size} hexadecimal digits"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != curve.curve.name:
        raise SecurityError(f"a private key is not of {curve.curve.name}, the curve of suite {suite}")
    return PrivateKey(suite, key)


def parse_public(suite: int, text: bytes) -> PublicKey:
    """Read a public key: a certificate or a key as PEM, or x || y in hexadecimal. Raises `SecurityError`.

    A certificate is taken as the proof it was given as: its issuer and its dates are not looked at, whoever refers to it
    vouches for it. Its subject's common name, where it is a system title, must be that of the sender. IEC 62056-5-3, 9.2.6.4.
    """
    curve, title = curve_of(suite), b""
    try:
        if text.startswith(b"-----BEGIN CERTIFICATE"):
            certificate = x509.load_pem_x509_certificate(text)
            names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            name = names[0].value if names else ""
            if isinstance(name, str) and _TITLE.fullmatch(name):
                title = bytes.fromhex(name)
            key: object = certificate.public_key()
        elif text.startswith(b"-----BEGIN"):
            key = load_pem_public_key(text)
        else:
            return public_from_octets(suite, bytes.fromhex(text.decode("ascii")))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SecurityError(
            f"a public key is neither a certificate or key as PEM nor {4 * curve.size} hexadecimal digits"
        ) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != curve.curve.name:
        raise SecurityError(f"a public key is not of {curve.curve.name}, the curve of suite {suite}")
    return PublicKey(suite, key, title)


@dataclass(frozen=True, slots=True)
class Signer:
    """Both ends of a signed exchange: our private key, and the other side's public one."""

    own: PrivateKey
    peer: PublicKey

    def __post_init__(self) -> None:
        """Refuse keys of two suites."""
        if self.own.suite != self.peer.suite:
            raise SecurityError(f"our key is of suite {self.own.suite}, the other side's of {self.peer.suite}")

    def check_title(self, title: bytes) -> None:
        """Refuse a sender whose certificate names another system title. Raises `SecurityError`."""
        if self.peer.title and self.peer.title != title:
            raise SecurityError(f"the certificate is of {self.peer.title.hex()}, the other side is {title.hex()}")
