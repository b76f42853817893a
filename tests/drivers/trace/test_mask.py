"""No secret is ever in a trace: wherever it stands, and however it is split over writes, reads and segments."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Credentials, CurveKeys
from drivers.dlms import acse, axdr, xdlms
from drivers.dlms.acse import Aarq, Mechanism
from drivers.dlms.events import Apdu, Connect, Connected
from drivers.dlms.hdlc import Frame, FrameReader, HdlcAddress
from drivers.dlms.link import HdlcLink
from drivers.dlms.wrapper import WrapperLink
from drivers.dlms.xdlms import ActionRequest, Attribute, GetResponse
from drivers.iec62056.message import Message
from drivers.obis import Obis
from drivers.trace.mask import Mask, service_flags
from drivers.trace.text import MASK, Mark, Record, record_line

PASSWORD = b"Gr8-canary"
KEYS = Credentials(PASSWORD, bytes(range(16)), bytes(range(100, 116)))
ASSOCIATION = Obis(0, 0, 40, 0, 0)
AARQ = Aarq(mechanism=Mechanism.LOW, authentication_value=PASSWORD, user_information=b"\x01\x00\x00\x00\x06").encode()


def pieces(octets: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(octets) + 1) for cut in cuts}), len(octets)]
    return [octets[start:end] for start, end in pairwise(edges) if start < end]


def traced(framing: str, carried: Sequence[tuple[str, bytes]]) -> list[Record]:
    mask = Mask(framing, KEYS)
    records: list[Record] = []
    for at, (mark, octets) in enumerate(carried):
        mask.add(at, mark, octets)  # type: ignore[arg-type]
        records += mask.ready()
    return records + list(mask.end())


def assert_clean(records: Sequence[Record], secrets: Sequence[bytes] = (PASSWORD, KEYS.encryption_key)) -> None:
    """Nobody finds a secret: not in one line, not in the joined octets of either way, not written out."""
    lines = "".join(record_line(record) for record in records)
    for marks in (">", "<x"):
        joined = b"".join(record.octets for record in records if record.mark in marks)
        for secret in secrets:
            assert secret not in joined
            assert secret.hex() not in lines
            assert secret.decode("latin-1") not in lines


def hdlc_aarq(size: int = 128) -> bytes:
    """The AARQ as a client sends it, in segments of at most ``size`` octets; what the server sends between is left out."""
    client = HdlcLink("client", HdlcAddress(16), HdlcAddress(1))
    server = HdlcLink("server", HdlcAddress(1), None, size)
    server.receive_data(client.send(Connect()))
    assert isinstance(server.next_event(), Connected)
    client.receive_data(server.data_to_send())
    client.next_event()
    sent = octets = client.send(Apdu(AARQ))
    while octets:
        server.receive_data(octets)
        server.next_event()
        client.receive_data(server.data_to_send())
        client.next_event()
        octets = client.data_to_send()
        sent += octets
    return sent


@given(st.lists(st.integers(0, 500), max_size=6), st.sampled_from([20, 31, 47, 64, 128]))
def test_the_password_of_an_aarq_in_hdlc_is_hidden_however_it_is_split(cuts: list[int], size: int) -> None:
    sent = hdlc_aarq(size)

    records = traced("hdlc", [(">", piece) for piece in pieces(sent, cuts)])

    assert_clean(records)
    joined = b"".join(record.octets for record in records)
    reader = FrameReader()
    reader.receive_data(joined)
    information = b""
    while isinstance(frame := reader.next_event(), Frame):
        information += frame.information
    decoded = acse.decode(information[3:])
    assert isinstance(decoded, Aarq)
    assert decoded.authentication_value == bytes([MASK]) * len(PASSWORD)
    assert len(joined) == len(sent)


@given(st.lists(st.integers(0, 500), max_size=6), st.sampled_from([">", "<", "x"]))
def test_the_password_of_an_aarq_in_a_wrapper_is_hidden_also_where_it_echoes(cuts: list[int], mark: str) -> None:
    sent = WrapperLink(16, 1).send(Apdu(AARQ))

    records = traced("wrapper", [(mark, piece) for piece in pieces(sent, cuts)])

    assert_clean(records)
    hidden = sum(end - start for record in records for start, end in record.masked)
    assert hidden == len(PASSWORD)


@given(
    st.binary(max_size=8),
    st.integers(0, 8),
    st.lists(st.integers(0, 500), max_size=4),
    st.sampled_from(["hdlc", "wrapper"]),
)
def test_a_secret_in_noise_and_in_broken_frames_is_hidden(
    noise: bytes, lost: int, cuts: list[int], framing: str
) -> None:
    carried = noise + hdlc_aarq()[lost : -1 - lost] + noise + b"P1\x02(" + PASSWORD + b")" + KEYS.encryption_key

    assert_clean(traced(framing, [("<", piece) for piece in pieces(carried, cuts)]))


def test_what_waits_is_written_in_the_order_it_was_carried() -> None:
    sent = WrapperLink(16, 1).send(Apdu(AARQ))

    records = traced("wrapper", [(">", sent[:20]), ("<", b"\x00\x01\x00"), (">", sent[20:]), ("<", b"\x01")])

    assert [(record.at, record.mark) for record in records] == [(0, ">"), (1, "<"), (2, ">"), (3, "<")]
    assert [len(record.octets) for record in records] == [20, 3, len(sent) - 20, 1]


@pytest.mark.parametrize(
    ("attribute", "parameters"),
    [
        (Attribute(15, ASSOCIATION, 1), axdr.octet_string(b"proof-of-password")),
        (Attribute(15, ASSOCIATION, 2), axdr.octet_string(b"another-password")),
        (
            Attribute(64, Obis(0, 0, 43, 0, 0), 2),
            axdr.array([axdr.structure(axdr.enum(0), axdr.octet_string(b"k" * 24))]),
        ),
    ],
)
def test_proofs_new_passwords_and_new_keys_are_hidden(attribute: Attribute, parameters: axdr.Data) -> None:
    apdu = ActionRequest(0xC1, attribute, parameters).encode()

    records = traced("wrapper", [(">", WrapperLink(16, 1).send(Apdu(apdu)))])

    assert_clean(records, [b"proof-of-password", b"another-password", b"k" * 24])
    assert records[0].octets[8:21] == apdu[:13]


def test_the_proof_of_a_meter_is_hidden_as_ours_is() -> None:
    client, server = WrapperLink(16, 1), WrapperLink(1, 16)
    question = ActionRequest(0xC1, Attribute(15, ASSOCIATION, 1), axdr.octet_string(b"our-proof")).encode()
    answer = xdlms.ActionResponse(0xC1, 0, axdr.octet_string(b"its-proof")).encode()

    records = traced("wrapper", [(">", client.send(Apdu(question))), ("<", server.send(Apdu(answer)))])

    assert_clean(records, [b"our-proof", b"its-proof"])
    assert records[1].masked == ((16, 25),)


def test_a_password_that_a_meter_gives_is_hidden() -> None:
    client, server = WrapperLink(16, 1), WrapperLink(1, 16)
    question = xdlms.GetRequest(0xC1, Attribute(15, ASSOCIATION, 7)).encode()
    answer = GetResponse(0xC1, axdr.octet_string(b"unknown to us")).encode()

    records = traced("wrapper", [(">", client.send(Apdu(question))), ("<", server.send(Apdu(answer)))])

    assert_clean(records, [b"unknown to us"])


def test_a_password_of_zeros_does_not_hide_the_zeros_of_a_serial_number() -> None:
    answer = WrapperLink(1, 16).send(Apdu(GetResponse(0xC1, axdr.octet_string(b"ACM0000000000017")).encode()))
    mask = Mask("wrapper", Credentials(b"00000000"))

    mask.add(0, "<", answer)

    assert [record.octets for record in mask.ready()] == [answer]


def test_a_dedicated_key_in_a_plain_initiate_request_is_hidden() -> None:
    key = bytes(range(200, 216))
    apdu = Aarq(user_information=b"\x01\x01\x10" + key + b"\x00\x00\x06").encode()

    records = traced("wrapper", [(">", WrapperLink(16, 1).send(Apdu(apdu)))])

    assert_clean(records, [key])


def test_a_challenge_is_no_secret() -> None:
    apdu = Aarq(mechanism=Mechanism.HIGH_GMAC, authentication_value=b"challenge", calling_title=b"HED00001").encode()

    assert not any(service_flags(apdu))


@pytest.mark.parametrize("secret", [bytes(range(60, 76)), bytes(range(80, 112))])
def test_master_key_and_private_keys_are_hidden(secret: bytes) -> None:
    curve = CurveKeys(signing=bytes(range(80, 112)).hex().encode())
    mask = Mask("wrapper", Credentials(master_key=bytes(range(60, 76)), curve_keys=curve))

    for mark in (">", "<"):
        mask.add(1, mark, b"noise" + secret + b"noise")

    assert_clean(list(mask.end()), [secret])


def test_secrets_are_struck_out_of_words() -> None:
    mask = Mask("wrapper", KEYS)

    mask.note(0, f"refused {PASSWORD.decode()} and {KEYS.encryption_key.hex()}")

    (record,) = mask.ready()
    assert record.text == "refused *** and ***"


@given(
    st.lists(st.tuples(st.sampled_from([">", "<", "x"]), st.binary(max_size=300)), max_size=12),
    st.sampled_from(["hdlc", "wrapper", "rtu"]),
)
def test_any_octets_keep_their_number_and_order(carried: list[tuple[str, bytes]], framing: str) -> None:
    records = traced(framing, carried)

    kept = [(mark, len(octets)) for mark, octets in carried if octets]
    assert [(record.mark, len(record.octets)) for record in records] == kept


@pytest.mark.parametrize("cuts", [[], [4], [1, 2, 3, 6, 9, 14]])
@pytest.mark.parametrize("mark", [">", "<"])
def test_a_password_of_iec_62056_21_is_hidden_with_its_check_character_also_where_a_head_repeats_it(
    mark: Mark, cuts: list[int]
) -> None:
    sent = Message("P1", b"(" + PASSWORD + b")").encode()
    hidden = Message("P1", b"(" + b"*" * len(PASSWORD) + b")").encode()

    records = traced("iec62056", [(mark, piece) for piece in pieces(b"\x06" + sent + b"\x06", cuts)])

    assert_clean(records)
    assert b"".join(record.octets for record in records) == b"\x06" + hidden + b"\x06"


def test_what_an_iec_62056_21_meter_prints_is_not_hidden_for_a_password_of_zeros() -> None:
    answer = Message("", b"1.8.0(00000502.853*kWh)").encode()
    mask = Mask("iec62056", Credentials(b"00000000"))

    mask.add(0, "<", answer)

    assert [record.octets for record in mask.ready()] == [answer]
