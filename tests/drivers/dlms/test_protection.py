"""General-ciphering and general-signing: each form both ways, held to a published APDU; nothing weaker, replayed or altered passes."""

import logging
import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms import general
from drivers.dlms.agreement import derive_key
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import ENCRYPTED, Keys, decrypt
from drivers.dlms.elliptic import Signer, fresh_key, parse_private, parse_public, public_from_octets
from drivers.dlms.general import AgreedKey, GeneralCiphering, GeneralSigning, Header, IdentifiedKey, WrappedKey
from drivers.dlms.protection import Protection
from drivers.errors import CounterError, DriverError, LocalProtocolError, RemoteProtocolError, SecurityError
from drivers.profile import Ciphering, Signing
from tests.drivers.dlms.test_elliptic import DATA

CLIENT, SERVER = b"HDE00001", b"SIM00001"
REQUEST = bytes.fromhex("c001c1000100002b0100ff0200")
ANSWER = bytes.fromhex("c401c1000600000001")
MASTER = bytes(range(0x70, 0x80))
FORMS: list[tuple[Ciphering, Signing]] = [
    ("identified-key", "none"), ("wrapped-key", "none"), ("one-pass", "none"), ("static-unified", "none"),
    ("service", "general"), ("general", "general"), ("identified-key", "general"), ("one-pass", "general"),
]  # fmt: skip
EACH_FORM = pytest.mark.parametrize(("ciphering", "signing"), FORMS, ids=["+".join(form) for form in FORMS])


def keys(suite: int) -> Keys:
    size = 32 if suite == 2 else 16
    return Keys(bytes(range(size)), bytes(range(100, 100 + size)), suite)


def dice(first: int) -> Callable[[int], bytes]:
    drawn = iter(range(first, 10_000))
    return lambda size: bytes([next(drawn) % 256]) * size


def protections(ciphering: Ciphering, signing: Signing, suite: int = 1) -> tuple[Protection, Protection]:
    ours, theirs, signs, theirs_signs = (fresh_key(suite, dice(first)) for first in (11, 22, 33, 44))
    client = Protection(ciphering, signing, MASTER, ours, theirs.public, Signer(signs, theirs_signs.public), dice(50))
    server = replace(
        client, own=theirs, peer=ours.public, signer=Signer(theirs_signs, signs.public), random_bytes=dice(150)
    )
    return client, server


def sides(ciphering: Ciphering, signing: Signing = "none", suite: int = 1) -> tuple[SecureChannel, SecureChannel]:
    asks, answers = protections(ciphering, signing, suite)
    client = SecureChannel(keys(suite), CLIENT, SERVER, protection=asks)
    server = SecureChannel(keys(suite), SERVER, CLIENT, protection=answers, is_server=True)
    client.supply(range(100, 1000))
    server.supply(range(500, 2000))
    return client, server


@pytest.mark.parametrize("suite", [1, 2])
@EACH_FORM
def test_each_form_goes_both_ways(ciphering: Ciphering, signing: Signing, suite: int) -> None:
    client, server = sides(ciphering, signing, suite)

    for _ in range(3):
        sealed = client.seal(REQUEST)
        assert sealed[0] == (0xDF if signing == "general" else 0xDD)
        assert len(sealed) <= len(REQUEST) + client.overhead
        assert server.open(sealed) == REQUEST
        answer = server.seal(ANSWER)
        assert len(answer) <= len(ANSWER) + server.overhead
        assert client.open(answer) == ANSWER


@pytest.mark.parametrize("ciphering", ["identified-key", "wrapped-key"])
def test_forms_without_key_agreement_are_spoken_by_suite_0(ciphering: Ciphering) -> None:
    asks = Protection(ciphering, master_key=MASTER, random_bytes=dice(1))
    client = SecureChannel(keys(0), CLIENT, SERVER, protection=asks)
    server = SecureChannel(keys(0), SERVER, CLIENT, protection=asks, is_server=True)
    client.supply(range(1, 10))

    assert server.open(client.seal(REQUEST)) == REQUEST


@EACH_FORM
def test_any_bit_flipped_in_any_form_is_an_error(ciphering: Ciphering, signing: Signing) -> None:
    client, server = sides(ciphering, signing)
    sealed = client.seal(REQUEST)

    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises((SecurityError, RemoteProtocolError)):
            server.open(bytes(altered))
    for end in range(len(sealed)):
        with pytest.raises((SecurityError, RemoteProtocolError)):
            server.open(sealed[:end])
    with pytest.raises((SecurityError, RemoteProtocolError)):
        server.open(sealed + b"\x00")
    assert server.open(sealed) == REQUEST


@given(st.sampled_from(FORMS), st.data())
def test_protected_octets_that_are_altered_are_a_security_error(
    form: tuple[Ciphering, Signing], data: st.DataObject
) -> None:
    client, server = sides(*form)
    sealed = client.seal(REQUEST)
    tail = 64 if form[1] == "general" else len(REQUEST) + 12  # signature, or ciphertext and tag: no length among them
    at = data.draw(st.integers(len(sealed) - tail, len(sealed) - 1))
    altered = bytearray(sealed)
    altered[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(SecurityError):
        server.open(bytes(altered))


@EACH_FORM
def test_a_replayed_question_and_a_replayed_answer_are_refused(ciphering: Ciphering, signing: Signing) -> None:
    client, server = sides(ciphering, signing)
    question = client.seal(REQUEST)
    server.open(question)
    answer = server.seal(ANSWER)
    client.open(answer)

    with pytest.raises(CounterError):
        server.open(question)
    with pytest.raises(SecurityError):
        client.open(answer)
    client.seal(REQUEST)
    with pytest.raises(SecurityError):
        client.open(answer)
    with pytest.raises(SecurityError):
        client.open(question)  # reflected


@EACH_FORM
def test_where_a_form_is_agreed_no_other_is_taken(ciphering: Ciphering, signing: Signing) -> None:
    _, server = sides(ciphering, signing)
    same = (
        {("service", signing), ("general", signing)} if ciphering in {"service", "general"} else {(ciphering, signing)}
    )
    others = [sides(*form)[0] for form in FORMS if form not in same]
    plain_forms = (SecureChannel(keys(1), CLIENT, SERVER), SecureChannel(keys(1), CLIENT, SERVER, ciphering="general"))
    for other in plain_forms:
        other.supply(range(100, 1000))

    for other in (*others, *plain_forms):
        with pytest.raises(SecurityError):
            server.open(other.seal(REQUEST))
    with pytest.raises(SecurityError):
        server.open(REQUEST)
    with pytest.raises(SecurityError):
        server.open(b"")
    plain = SecureChannel(keys(1), SERVER, CLIENT)
    with pytest.raises(SecurityError, match="globally ciphered one was agreed"):
        plain.open(sides(ciphering, signing)[0].seal(REQUEST))


@EACH_FORM
def test_weaker_protection_within_a_form_is_refused(ciphering: Ciphering, signing: Signing) -> None:
    asks, _ = protections(ciphering, signing)
    weak = SecureChannel(keys(1), CLIENT, SERVER, ENCRYPTED, protection=asks)
    weak.supply(range(100, 200))
    _, server = sides(ciphering, signing)

    with pytest.raises(SecurityError, match="weaker"):
        server.open(weak.seal(REQUEST))


@pytest.mark.parametrize("ciphering", ["one-pass", "static-unified", "wrapped-key"])
def test_another_side_key_opens_nothing(ciphering: Ciphering) -> None:
    client, _ = sides(ciphering)
    _, answers = protections(ciphering, "none")
    wrong = replace(answers, own=fresh_key(1, dice(77)), master_key=bytes(16))
    server = SecureChannel(keys(1), SERVER, CLIENT, protection=wrong, is_server=True)

    with pytest.raises(SecurityError):
        server.open(client.seal(REQUEST))


def test_an_ephemeral_key_that_its_owner_did_not_sign_is_refused() -> None:
    asks, answers = protections("one-pass", "none")
    assert asks.signer is not None
    forger = replace(asks, signer=replace(asks.signer, own=fresh_key(1, dice(99))))
    client = SecureChannel(keys(1), CLIENT, SERVER, protection=forger)
    client.supply(range(1, 9))
    server = SecureChannel(keys(1), SERVER, CLIENT, protection=answers, is_server=True)

    with pytest.raises(SecurityError, match="signature is wrong"):
        server.open(client.seal(REQUEST))


def test_signature_and_ciphering_of_two_exchanges_do_not_fit_together() -> None:
    client, server = sides("identified-key", "general")
    asks, _ = protections("identified-key", "general")
    assert asks.signer is not None
    inner = general.decode(client.seal(REQUEST))
    assert isinstance(inner, GeneralSigning)
    mixed = replace(inner, header=replace(inner.header, transaction=bytes(7) + b"\xff"))
    signed = replace(mixed, signature=asks.signer.own.sign(mixed.signed))

    with pytest.raises(SecurityError, match="different exchanges"):
        server.open(signed.encode())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"originator": b"HDE00002"}, "APDU of system title"),
        ({"recipient": b"SIM00002"}, "APDU for system title"),
        ({"recipient": b""}, "APDU for system title"),
        ({"transaction": b"\x00\x01"}, "transaction-id of 2 octets"),
    ],
)
def test_a_header_of_other_sides_is_refused(change: dict[str, bytes], why: str) -> None:
    client, server = sides("identified-key")
    apdu = general.decode(client.seal(REQUEST))

    with pytest.raises(SecurityError, match=why):
        server.open(replace(apdu, header=replace(apdu.header, **change)).encode())


def test_compression_and_broadcast_keys_are_refused_each_in_its_own_words() -> None:
    client, server = sides("identified-key")
    apdu = general.decode(client.seal(REQUEST))
    assert isinstance(apdu, GeneralCiphering)

    for bit, why in ((0x80, "compression .ITU-T V.44. is not supported"), (0x40, "broadcast key was not agreed")):
        content = bytes([apdu.content[0] | bit]) + apdu.content[1:]
        with pytest.raises(SecurityError, match=why):
            server.open(replace(apdu, content=content).encode())
    with pytest.raises(SecurityError, match="identified key 1"):
        server.open(replace(apdu, key_info=IdentifiedKey(1)).encode())


def test_the_published_general_ciphering_apdu_is_taken_apart_and_decrypts() -> None:
    folder = DATA / "general-ciphering-one-pass"
    known: dict[str, Any] = tomllib.loads((folder / "expected.toml").read_text())["expect"]
    octets = bytes.fromhex((folder / "frame.hex").read_text())
    own, signer = parse_private(1, known["agreement_private"].encode()), parse_public(1, known["signer"].encode())

    apdu = general.decode(octets)

    assert isinstance(apdu, GeneralCiphering)
    assert apdu.encode() == octets
    titles = bytes.fromhex(known["originator"]), bytes.fromhex(known["recipient"])
    assert apdu.header == Header(bytes.fromhex(known["transaction"]), *titles)
    assert isinstance(apdu.key_info, AgreedKey)
    assert apdu.key_info.parameters == b"\x01"
    signer.verify(apdu.key_info.data[:64], apdu.key_info.data[64:])
    secret = own.agree(public_from_octets(1, apdu.key_info.data[:64]))
    agreed = Keys(derive_key(1, secret, *titles), bytes.fromhex(known["authentication_key"]), 1)
    unverified = b"\x21" + apdu.content[1:-12]  # as if encrypted only: the same octets without the tag
    assert decrypt(agreed, titles[0], unverified, ENCRYPTED) == (0, bytes.fromhex(known["plain"]))
    with pytest.raises(SecurityError, match="tag is wrong"):
        decrypt(agreed, titles[0], apdu.content, general=apdu.header.encode())


HEADERS = st.builds(Header, *[st.binary(max_size=200)] * 5)
APDUS = st.one_of(
    st.builds(
        GeneralCiphering,
        HEADERS,
        st.one_of(
            st.none(),
            st.builds(IdentifiedKey, st.integers(0, 255)),
            st.builds(WrappedKey, st.binary(max_size=300), st.integers(0, 255)),
            st.builds(AgreedKey, st.binary(max_size=300), st.binary(max_size=300)),
        ),
        st.binary(max_size=300),
    ),
    st.builds(GeneralSigning, HEADERS, st.binary(max_size=300), st.binary(max_size=100)),
)


@given(APDUS)
def test_what_is_written_is_read_back(apdu: GeneralCiphering | GeneralSigning) -> None:
    assert general.decode(apdu.encode()) == apdu


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda octets: b"\xdd" + octets)))
def test_rubbish_is_an_error_of_the_driver(octets: bytes) -> None:
    for opening in (general.decode, sides("one-pass")[1].open, sides("service", "general")[1].open):
        with pytest.raises(DriverError):
            opening(octets)


def test_a_form_without_its_keys_is_refused_before_a_byte_is_sent() -> None:
    bare: list[tuple[Protection, int, str]] = [
        (Protection("wrapped-key"), 0, "a master key and randomness"),
        (Protection("one-pass"), 1, "agreement keys of both sides and signing keys"),
        (Protection("static-unified"), 1, "agreement keys of both sides"),
        (Protection("service", "general"), 1, "private signing key"),
        (protections("one-pass", "none", 2)[0], 1, "not of suite 1"),
    ]
    for protection, suite, why in bare:
        with pytest.raises(SecurityError, match=why):
            protection.check(suite)
    with pytest.raises(LocalProtocolError, match="no globally ciphered form"):
        sides("one-pass")[0].seal(b"\x60")


def test_no_key_shows_in_a_repr_or_an_error(caplog: pytest.LogCaptureFixture) -> None:
    client, server = sides("wrapped-key")
    asks, _ = protections("wrapped-key", "general")
    sealed = client.seal(REQUEST)
    logging.getLogger("test").warning("%r %r %r %r", asks, client, general.decode(sealed), vars(client)["_protector"])
    try:
        server.open(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    except SecurityError as error:
        logging.getLogger("test").warning("%r", error)

    session_key = bytes([50]) * 16
    for secret in (MASTER, keys(1).encryption, keys(1).authentication, session_key):
        assert secret.hex() not in caplog.text
        assert repr(secret)[2:-1] not in caplog.text
