"""HLS-3, 4 and 6: what is hashed, and in which order, by the definitions; and the meter that does not know the secret."""

import hashlib
from dataclasses import replace

import pytest

from drivers.dlms import acse, axdr, hls, xdlms
from drivers.dlms.association import ClientAssociation, State
from drivers.dlms.commands import Accepted, Associate, Challenged, Prove
from drivers.dlms.elliptic import Signer, fresh_key
from drivers.dlms.hls import Side
from drivers.dlms.parameters import Parameters
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
    with pytest.raises(ValueError, match="not one of none, lls"):
        parse_authentication("hls")
    with pytest.raises(SecurityError, match="HLS-2 is each maker's own"):
        Parameters("hls2", challenge=CLIENT.challenge)


class MakersOwn:
    """An HLS-2 that somebody knows: both sides reverse the challenge."""

    def answer(self, prover: Side, verifier: Side) -> bytes:
        del prover
        return verifier.challenge[::-1]

    def verify(self, prover: Side, verifier: Side, given: bytes) -> None:
        if given != self.answer(prover, verifier):
            raise SecurityError("not the maker's answer")


@pytest.mark.parametrize("is_right", [True, False])
def test_hls2_is_spoken_with_what_a_maker_is_known_to_compute(*, is_right: bool) -> None:
    association = ClientAssociation(Parameters("hls2", challenge=CLIENT.challenge, maker_mechanism=MakersOwn()))

    aarq = acse.decode(association.send(Associate()))
    association.receive_data(replace(aare("hls3"), mechanism=acse.Mechanism.HIGH).encode())
    association.next_event()
    proof = xdlms.decode(association.send(Prove()))
    answer = CLIENT.challenge[::-1] if is_right else CLIENT.challenge
    association.receive_data(xdlms.ActionResponse(0xC1, 0, axdr.octet_string(answer)).encode())

    assert isinstance(aarq, acse.Aarq)
    assert aarq.mechanism is acse.Mechanism.HIGH
    assert isinstance(proof, xdlms.ActionRequest)
    assert proof.parameters is not None
    assert proof.parameters.octets() == SERVER.challenge[::-1]
    if is_right:
        assert isinstance(association.next_event(), Accepted)
    else:
        with pytest.raises(SecurityError, match="not the maker's answer"):
            association.next_event()


def signers(suite: int) -> tuple[Signer, Signer]:
    ours, theirs = fresh_key(suite, b"\x03".__mul__), fresh_key(suite, b"\x04".__mul__)
    return Signer(ours, theirs.public), Signer(theirs, ours.public)


def signed(suite: int, **changes: object) -> Parameters:
    asked = Parameters(
        "hls7", client_title=CLIENT.title, challenge=CLIENT.challenge, security="none", signer=signers(suite)[0]
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


def after_proof(parameters: Parameters, answer: bytes, title: bytes = SERVER.title) -> ClientAssociation:
    """Give an association whose proof was answered."""
    association = ClientAssociation(parameters)
    association.send(Associate())
    came = replace(aare("hls6"), mechanism=acse.Mechanism.HIGH_ECDSA, responding_title=title)
    association.receive_data(came.encode())
    association.next_event()
    association.send(Prove())
    association.receive_data(xdlms.ActionResponse(0xC1, 0, axdr.octet_string(answer)).encode())
    return association


@pytest.mark.parametrize("suite", [1, 2])
def test_hls7_signs_both_titles_and_both_challenges_the_answered_one_first(suite: int) -> None:
    ours, theirs = signers(suite)
    association = ClientAssociation(signed(suite))
    association.send(Associate())
    association.receive_data(replace(aare("hls6"), mechanism=acse.Mechanism.HIGH_ECDSA).encode())
    association.next_event()

    proof = xdlms.decode(association.send(Prove()))

    assert isinstance(proof, xdlms.ActionRequest)
    assert proof.parameters is not None
    theirs.peer.verify(CLIENT.title + SERVER.title + SERVER.challenge + CLIENT.challenge, proof.parameters.octets())
    answer = theirs.own.sign(SERVER.title + CLIENT.title + CLIENT.challenge + SERVER.challenge)
    association.receive_data(xdlms.ActionResponse(proof.invoke_id, 0, axdr.octet_string(answer)).encode())
    assert isinstance(association.next_event(), Accepted)
    assert len(answer) == {1: 64, 2: 96}[suite]
    assert ours.own.public.octets not in proof.encode()


@pytest.mark.parametrize("suite", [1, 2])
def test_hls7_takes_no_answer_but_the_meters_own_signature_of_this_exchange(suite: int) -> None:
    ours, theirs = signers(suite)
    rows = {
        "our own proof, reflected": ours.own.sign(CLIENT.title + SERVER.title + SERVER.challenge + CLIENT.challenge),
        "our key": ours.own.sign(SERVER.title + CLIENT.title + CLIENT.challenge + SERVER.challenge),
        "another challenge": theirs.own.sign(SERVER.title + CLIENT.title + bytes(16) + SERVER.challenge),
        "another client": theirs.own.sign(SERVER.title + b"HDE00002" + CLIENT.challenge + SERVER.challenge),
        "nothing": b"",
        "zeros": bytes({1: 64, 2: 96}[suite]),
    }
    for answer in rows.values():
        association = after_proof(signed(suite), answer)
        with pytest.raises(SecurityError, match="signature"):
            association.next_event()
        assert association.state is State.FAILED


def test_hls7_refuses_its_own_challenge_sent_back() -> None:
    association = ClientAssociation(signed(1))
    association.send(Associate())
    came = replace(aare("hls6"), mechanism=acse.Mechanism.HIGH_ECDSA, authentication_value=CLIENT.challenge)
    association.receive_data(came.encode())

    with pytest.raises(SecurityError, match="own challenge"):
        association.next_event()


def test_hls7_refuses_any_bit_flipped_in_the_meters_answer() -> None:
    answer = signers(1)[1].own.sign(SERVER.title + CLIENT.title + CLIENT.challenge + SERVER.challenge)
    for bit in range(8 * len(answer)):
        altered = bytearray(answer)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SecurityError, match="signature is wrong"):
            after_proof(signed(1), bytes(altered)).next_event()


def test_hls7_refuses_a_certificate_of_another_meter() -> None:
    ours, theirs = signers(1)
    answer = theirs.own.sign(SERVER.title + CLIENT.title + CLIENT.challenge + SERVER.challenge)
    other = replace(ours, peer=replace(ours.peer, title=b"SIM00009"))

    with pytest.raises(SecurityError, match="certificate is of"):
        after_proof(signed(1, signer=other), answer).next_event()
    with pytest.raises(SecurityError, match="needs our private signing key"):
        signed(1, signer=None)
    with pytest.raises(SecurityError, match="our own system title"):
        after_proof(signed(1), answer, title=CLIENT.title)
    with pytest.raises(SecurityError, match="needs keys"):
        signed(1, security=None)  # which implies that APDUs are ciphered


def test_a_challenge_is_not_shown() -> None:
    assert repr(CLIENT) == f"Side(title={CLIENT.title!r})"
