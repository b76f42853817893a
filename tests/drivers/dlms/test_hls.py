"""HLS-3, 4 and 6: what is hashed, and in which order, by the definitions; and the meter that does not know the secret."""

import hashlib
from dataclasses import replace

import pytest

from drivers.dlms import acse, axdr, hls, xdlms
from drivers.dlms.association import Accepted, Associate, Challenged, ClientAssociation, Parameters, Prove, State
from drivers.dlms.hls import Side
from drivers.errors import SecurityError
from drivers.profile import Authentication, parse_authentication
from tests.drivers.dlms.meter import GRANTED

SECRET = b"a secret of both"
CLIENT, SERVER = Side(b"HDE00001", bytes(range(16))), Side(b"SIM00001", bytes(range(100, 116)))
MECHANISMS = {"hls3": acse.Mechanism.HIGH_MD5, "hls4": acse.Mechanism.HIGH_SHA1, "hls6": acse.Mechanism.HIGH_SHA256}
BY_SECRET = pytest.mark.parametrize("kind", list(MECHANISMS))
INSIDE = xdlms.InitiateResponse(GRANTED, 0).encode()


def parameters(kind: Authentication) -> Parameters:
    return Parameters(kind, password=SECRET, client_title=CLIENT.title, challenge=CLIENT.challenge)


def aare(kind: str, **changes: object) -> acse.Aare:
    title = SERVER.title if kind == "hls6" else b""
    return replace(
        acse.Aare(
            diagnostic=14, responding_title=title, mechanism=MECHANISMS[kind], authentication_value=SERVER.challenge,
            user_information=INSIDE,
        ),
        **changes,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(("prover", "verifier"), [(CLIENT, SERVER), (SERVER, CLIENT)], ids=["client", "server"])
def test_the_answers_are_those_of_the_standard(prover: Side, verifier: Side) -> None:
    theirs = verifier.challenge

    assert hls.answer("hls3", SECRET, prover, verifier) == hashlib.md5(theirs + SECRET).digest()
    assert hls.answer("hls4", SECRET, prover, verifier) == hashlib.sha1(theirs + SECRET).digest()
    whole = SECRET + prover.title + verifier.title + theirs + prover.challenge
    assert hls.answer("hls6", SECRET, prover, verifier) == hashlib.sha256(whole).digest()
    with pytest.raises(SecurityError, match="does not prove"):
        hls.answer("lls", SECRET, prover, verifier)


@BY_SECRET
def test_both_sides_prove_their_secret(kind: Authentication) -> None:
    association = ClientAssociation(parameters(kind))

    aarq = acse.decode(association.send(Associate()))
    association.receive_data(aare(kind).encode())
    assert association.next_event() == Challenged()
    proof = xdlms.decode(association.send(Prove()))
    assert isinstance(proof, xdlms.ActionRequest)
    assert proof.parameters is not None
    hls.verify(
        kind, SECRET, CLIENT, Side(SERVER.title if kind == "hls6" else b"", SERVER.challenge), proof.parameters.octets()
    )
    answer = hls.answer(kind, SECRET, SERVER, CLIENT)
    association.receive_data(xdlms.ActionResponse(proof.invoke_id, 0, axdr.octet_string(answer)).encode())

    assert isinstance(association.next_event(), Accepted)
    assert isinstance(aarq, acse.Aarq)
    assert (aarq.mechanism, aarq.authentication_value) == (MECHANISMS[kind], CLIENT.challenge)
    assert SECRET not in aarq.encode()


@BY_SECRET
def test_a_meter_that_does_not_know_the_secret_is_a_security_error(kind: Authentication) -> None:
    for wrong in (hls.answer(kind, b"another", SERVER, CLIENT), hls.answer(kind, SECRET, CLIENT, SERVER), b""):
        association = ClientAssociation(parameters(kind))
        association.send(Associate())
        association.receive_data(aare(kind).encode())
        association.next_event()
        association.send(Prove())
        association.receive_data(xdlms.ActionResponse(0xC1, 0, axdr.octet_string(wrong)).encode())

        with pytest.raises(SecurityError, match="does not know the secret"):
            association.next_event()
        assert association.state is State.FAILED


@BY_SECRET
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"authentication_value": CLIENT.challenge}, "own challenge"),
        ({"authentication_value": b"short"}, "challenge has 5"),
        ({"diagnostic": 0}, "skips the agreed HLS"),
        ({"mechanism": acse.Mechanism.HIGH}, "skips the agreed HLS"),
        ({"mechanism": acse.Mechanism.LOW}, "skips the agreed HLS"),
    ],
)
def test_a_meter_that_weakens_the_exchange_is_a_security_error(
    kind: Authentication, change: dict[str, object], why: str
) -> None:
    association = ClientAssociation(parameters(kind))
    association.send(Associate())
    association.receive_data(aare(kind, **change).encode())

    with pytest.raises(SecurityError, match=why):
        association.next_event()


@pytest.mark.parametrize("title", [b"", CLIENT.title, b"SIM0001"])
def test_hls6_takes_no_meter_without_a_title_of_its_own(title: bytes) -> None:
    association = ClientAssociation(parameters("hls6"))
    association.send(Associate())
    association.receive_data(aare("hls6", responding_title=title).encode())

    with pytest.raises(SecurityError, match="system title"):
        association.next_event()


@pytest.mark.parametrize(
    "change", [{"password": b""}, {"challenge": b"short"}, {"client_title": b""}, {"challenge": bytes(65)}]
)
def test_what_could_not_prove_a_secret_is_refused_before_a_byte_is_sent(change: dict[str, bytes]) -> None:
    with pytest.raises(SecurityError):
        replace(parameters("hls6"), **change)  # type: ignore[arg-type]


def test_mechanisms_that_are_not_supported_say_why() -> None:
    with pytest.raises(ValueError, match="each maker has its own"):
        parse_authentication("hls2")
    with pytest.raises(ValueError, match="ECDSA is not supported yet"):
        parse_authentication("hls7")
    with pytest.raises(ValueError, match="not one of none, lls"):
        parse_authentication("hls")


def test_a_challenge_is_not_shown() -> None:
    assert repr(CLIENT) == f"Side(title={CLIENT.title!r})"
