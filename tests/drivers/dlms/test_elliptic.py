"""Signatures, key agreement and key wrap, held to published figures; what is altered or of another curve is refused."""

import logging
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Credentials, CurveKeys
from drivers.dlms.agreement import derive_key, unwrap_key, wrap_key
from drivers.dlms.elliptic import (
    CURVES,
    PrivateKey,
    Signer,
    fresh_key,
    parse_private,
    parse_public,
    public_from_octets,
)
from drivers.errors import SecurityError

DATA = Path(__file__).resolve().parents[2] / "data/dlms-security"
TITLE = b"SIM00001"


def published(kind: str) -> list[Any]:
    cases = []
    for folder in sorted(DATA.iterdir()):
        known = tomllib.loads((folder / "expected.toml").read_text())
        if known["kind"] == kind:
            octets = bytes.fromhex((folder / "frame.hex").read_text())
            cases.append(pytest.param(octets, known["expect"], id=folder.name))
    assert cases
    return cases


def counting(start: int) -> Callable[[int], bytes]:
    return lambda size: bytes((start + at) % 256 for at in range(size))


@pytest.mark.parametrize(("signed", "known"), published("ecdsa") + published("ecdsa-deterministic"))
def test_a_published_signature_verifies_and_no_altered_one_does(signed: bytes, known: dict[str, Any]) -> None:
    private = parse_private(known["suite"], known["private"].encode())
    public = parse_public(known["suite"], known["public"].encode())
    signature = bytes.fromhex(known["signature"])

    public.verify(signed, signature)
    assert private.public.octets.hex() == known["public"]
    public.verify(signed, private.sign(signed))
    for bit in range(8 * len(signature)):
        altered = bytearray(signature)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SecurityError, match="signature is wrong"):
            public.verify(signed, bytes(altered))
    for wrong in (b"", signature[:-1], signature + b"\x00", bytes(len(signature)), b"\xff" * len(signature)):
        with pytest.raises(SecurityError):
            public.verify(signed, wrong)


@pytest.mark.parametrize(("signed", "known"), published("ecdsa-deterministic"))
def test_a_signature_needs_no_randomness(signed: bytes, known: dict[str, Any]) -> None:
    assert parse_private(known["suite"], known["private"].encode()).sign(signed).hex() == known["signature"]


@given(st.data())
def test_any_altered_text_fits_no_signature(data: st.DataObject) -> None:
    key = fresh_key(data.draw(st.sampled_from([1, 2])), counting(5))
    text = data.draw(st.binary(min_size=1, max_size=64))
    bit = data.draw(st.integers(0, 8 * len(text) - 1))
    altered = bytearray(text)
    altered[bit // 8] ^= 1 << bit % 8

    with pytest.raises(SecurityError):
        key.public.verify(bytes(altered), key.sign(text))


@pytest.mark.parametrize(("other", "known"), published("agreement"))
def test_a_published_agreement_gives_its_secret_and_its_key(other: bytes, known: dict[str, Any]) -> None:
    suite = known["suite"]
    secret = parse_private(suite, known["private"].encode()).agree(public_from_octets(suite, other))
    titles = bytes.fromhex(known["originator"]), bytes.fromhex(known["recipient"])

    assert secret.hex() == known.get("shared_secret", secret.hex())
    key = derive_key(suite, secret, *titles, bytes.fromhex(known.get("transaction", "")))
    assert key.hex() == known.get("key", key.hex())


def test_both_sides_of_suite_2_agree_on_a_key_of_256_bits() -> None:
    ours, theirs = fresh_key(2, counting(1)), fresh_key(2, counting(99))

    secret = ours.agree(theirs.public)
    assert secret == theirs.agree(ours.public)
    assert len(derive_key(2, secret, b"HDE00001", TITLE)) == 32
    assert derive_key(2, secret, b"HDE00001", TITLE) != derive_key(2, secret, TITLE, b"HDE00001")
    with pytest.raises(SecurityError, match="agree on nothing"):
        ours.agree(fresh_key(1, counting(1)).public)


@pytest.mark.parametrize(("key", "known"), published("key-wrap"))
def test_a_published_key_wrap_opens_and_no_altered_one_does(key: bytes, known: dict[str, Any]) -> None:
    kek, wrapped = bytes.fromhex(known["kek"]), bytes.fromhex(known["wrapped"])

    assert wrap_key(kek, key) == wrapped
    assert unwrap_key(kek, wrapped) == key
    for bit in range(8 * len(wrapped)):
        altered = bytearray(wrapped)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SecurityError, match="does not open"):
            unwrap_key(kek, bytes(altered))
    for wrong in (b"", wrapped[:-1], wrapped[:-8], wrapped + bytes(8)):
        with pytest.raises(SecurityError):
            unwrap_key(kek, wrong)
    with pytest.raises(SecurityError, match="no AES key"):
        wrap_key(kek, b"short")


def pem(key: PrivateKey) -> bytes:
    return key.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate(key: PrivateKey, name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.key.public_key())
        .serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2021, 1, 1, tzinfo=UTC))
        .sign(key.key, hashes.SHA256())
    )  # fmt: skip
    return built.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("suite", [1, 2])
def test_keys_are_read_as_pem_hexadecimal_or_certificate(suite: int) -> None:
    key = fresh_key(suite, counting(7))
    size = CURVES[suite].size
    bare = key.key.private_numbers().private_value.to_bytes(size, "big").hex().encode()
    public_pem = key.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    for text in (bare, pem(key)):
        assert parse_private(suite, text).public.octets == key.public.octets
    for text in (key.public.octets.hex().encode(), public_pem):
        assert parse_public(suite, text).octets == key.public.octets
    named = parse_public(suite, certificate(key, TITLE.hex()))
    assert (named.octets, named.title) == (key.public.octets, TITLE)
    assert parse_public(suite, certificate(key, "a laboratory")).title == b""


@pytest.mark.parametrize("suite", [1, 2])
def test_what_is_no_key_is_refused_and_not_shown(suite: int) -> None:
    other = fresh_key(3 - suite, counting(7))
    zero = b"00" * CURVES[suite].size
    texts = (b"", b"secret text", b"\xff", zero, zero + b"00", b"-----BEGIN PRIVATE KEY-----\nsecret", pem(other))

    for text in texts:
        with pytest.raises(SecurityError) as failure:
            parse_private(suite, text)
        assert "secret" not in str(failure.value)
        assert failure.value.__cause__ is None
        with pytest.raises(SecurityError):
            parse_public(suite, text)
    for octets in (b"", bytes(2 * CURVES[suite].size), b"\x01" * 2 * CURVES[suite].size):
        with pytest.raises(SecurityError):
            public_from_octets(suite, octets)
    with pytest.raises(SecurityError, match="has no elliptic curve"):
        parse_private(0, zero)
    with pytest.raises(SecurityError, match="our key is of suite"):
        Signer(fresh_key(suite, counting(1)), other.public)


def test_a_certificate_of_another_title_is_refused() -> None:
    key = fresh_key(1, counting(7))
    signer = Signer(key, parse_public(1, certificate(key, TITLE.hex())))

    signer.check_title(TITLE)
    with pytest.raises(SecurityError, match="certificate is of"):
        signer.check_title(b"SIM00002")


def test_no_private_key_shows_in_a_repr(caplog: pytest.LogCaptureFixture) -> None:
    key = fresh_key(1, counting(7))
    number = key.key.private_numbers().private_value
    text = pem(key)
    credentials = Credentials(b"", b"", b"", b"0123456789abcdef", CurveKeys(text, text, text, text))

    logging.getLogger("test").warning("%r %r %s", key, Signer(key, key.public), credentials)

    shown = caplog.text
    for secret in (str(number), f"{number:x}", "0123456789abcdef", text.decode().splitlines()[1]):
        assert secret not in shown
