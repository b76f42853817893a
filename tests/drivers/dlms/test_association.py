"""The client's association: what it demands of the meter before it believes anything."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from drivers.dlms import acse, axdr, xdlms
from drivers.dlms.association import TRANSITIONS, ClientAssociation, State, Step
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import CONTROL, Keys
from drivers.dlms.commands import (
    Accepted,
    Associate,
    Challenged,
    Command,
    Event,
    Get,
    MoreBlocks,
    NextBlock,
    Prove,
    Received,
    Release,
    Released,
)
from drivers.dlms.establishing import REPLY_TO_HLS  # fmt: skip
from drivers.dlms.events import NEED_DATA
from drivers.dlms.parameters import Parameters
from drivers.dlms.xdlms import Attribute, Conformance
from drivers.errors import CounterError, LocalProtocolError, MeterRefused, RemoteProtocolError, SecurityError
from drivers.obis import Obis
from drivers.profile import Security

KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
CLIENT_TITLE, SERVER_TITLE = b"HDE00001", b"SIM00001"
CTOS, STOC = bytes(range(16)), bytes(range(100, 116))
NAME = Attribute(1, Obis(0, 0, 42, 0, 0), 2)
GRANTED = xdlms.InitiateResponse(Conformance.GET | Conformance.ACTION, 1024).encode()
HLS5 = Parameters("hls5", keys=KEYS, client_title=CLIENT_TITLE, challenge=CTOS)
HLS5_AARE = acse.Aare(
    acse.ApplicationContext.LOGICAL_NAME_CIPHERED, diagnostic=14, responding_title=SERVER_TITLE,
    mechanism=acse.Mechanism.HIGH_GMAC, authentication_value=STOC,
)  # fmt: skip


def ask(association: ClientAssociation, command: Command, answer: bytes) -> Event:
    association.send(command)
    association.receive_data(answer)
    event = association.next_event()
    assert event is not NEED_DATA
    return event


def plain() -> ClientAssociation:
    association = ClientAssociation(Parameters())
    assert isinstance(ask(association, Associate(), acse.Aare(user_information=GRANTED).encode()), Accepted)
    return association


class Ciphered:
    """A client with HLS-5 and the meter's end of its channel."""

    def __init__(self, parameters: Parameters = HLS5) -> None:
        self.association = ClientAssociation(parameters)
        assert self.association.channel is not None
        self.association.channel.supply(range(1, 1000))
        self.meter = SecureChannel(KEYS, SERVER_TITLE, CLIENT_TITLE)
        self.meter.supply(range(1, 1000))

    def associate(self, aare: acse.Aare = HLS5_AARE, initiate: bytes | None = None) -> Event:
        inside = self.meter.seal(GRANTED) if initiate is None else initiate
        return ask(self.association, Associate(), replace(aare, user_information=inside).encode())

    def prove(self, change: Callable[[bytes], bytes] = bytes) -> Event:
        request = xdlms.decode(self.meter.open(self.association.send(Prove())))
        assert isinstance(request, xdlms.ActionRequest)
        assert request.method == REPLY_TO_HLS
        assert request.parameters is not None
        self.meter.verify(STOC, request.parameters.octets())
        token = change(self.meter.prove(CTOS))
        answer = xdlms.ActionResponse(request.invoke_id, 0, axdr.octet_string(token))
        self.association.receive_data(self.meter.seal(answer.encode()))
        event = self.association.next_event()
        assert event is not NEED_DATA
        return event


def response(number: int = 1) -> bytes:
    return xdlms.GetResponse(0xC0 | number, axdr.unsigned(5)).encode()


def test_each_state_but_failed_can_be_left_and_each_but_the_first_be_reached() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.FAILED}
    assert set(TRANSITIONS.values()) == set(State) - {State.FAILED}
    assert {step for _, step in TRANSITIONS} == set(Step)


def test_a_plain_association_opens_reads_and_closes() -> None:
    association = plain()

    event = ask(association, Get(NAME), response())
    released = ask(association, Release(), acse.Release(is_response=True).encode())

    assert event == Received(axdr.unsigned(5))
    assert released == Released()
    assert association.state is State.CLOSED


def test_an_hls5_association_opens_reads_and_closes() -> None:
    both = Ciphered()

    assert both.associate() == Challenged()
    assert isinstance(both.prove(), Accepted)
    event = ask(both.association, Get(NAME), both.meter.seal(response(2)))

    assert event == Received(axdr.unsigned(5))
    assert acse.decode(both.association.send(Release())) is not None


def test_without_an_answer_there_is_need_of_data() -> None:
    association = ClientAssociation(Parameters())
    association.send(Associate())

    assert association.next_event() is NEED_DATA


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"authentication_value": CTOS}, "own challenge"),
        ({"authentication_value": b"short"}, "challenge has 5"),
        ({"responding_title": CLIENT_TITLE}, "our own system title"),
        ({"responding_title": b""}, "0 octets"),
        ({"responding_title": b"SIM00002"}, "tag is wrong"),
        ({"diagnostic": 0}, "skips"),
        ({"mechanism": acse.Mechanism.LOW}, "skips"),
        ({"context": acse.ApplicationContext.LOGICAL_NAME}, "without ciphering"),
    ],
)
def test_a_meter_that_weakens_the_agreed_authentication_is_a_security_error(
    change: dict[str, object], why: str
) -> None:
    both = Ciphered()

    with pytest.raises(SecurityError, match=why):
        both.associate(replace(HLS5_AARE, **change))  # type: ignore[arg-type]
    assert both.association.state is State.FAILED


def test_a_plain_initiate_response_in_a_ciphered_association_is_a_security_error() -> None:
    with pytest.raises(SecurityError, match="globally ciphered"):
        Ciphered().associate(initiate=GRANTED)


def test_another_server_title_than_the_registered_one_is_a_security_error() -> None:
    both = Ciphered(replace(HLS5, server_title=b"SIM00009"))

    with pytest.raises(SecurityError, match="expected"):
        both.associate()


def test_a_wrong_proof_of_the_meter_is_a_security_error() -> None:
    both = Ciphered()
    both.associate()

    with pytest.raises(SecurityError, match="does not know the keys"):
        both.prove(lambda token: token[:-1] + bytes([token[-1] ^ 1]))


def test_a_plain_answer_in_a_ciphered_association_is_a_security_error_and_the_end() -> None:
    both = Ciphered()
    both.associate()
    both.prove()

    with pytest.raises(SecurityError):
        ask(both.association, Get(NAME), response(2))
    with pytest.raises(LocalProtocolError, match="while failed"):
        both.association.send(Get(NAME))


@pytest.mark.parametrize(
    ("aare", "error"),
    [
        (acse.Aare(result=acse.Result.REJECTED_PERMANENT, diagnostic=13), SecurityError),
        (acse.Aare(result=acse.Result.REJECTED_PERMANENT, diagnostic=11), SecurityError),
        (acse.Aare(result=acse.Result.REJECTED_TRANSIENT, diagnostic=1), MeterRefused),
        (acse.Aare(result=acse.Result.REJECTED_PERMANENT, diagnostic=13, by_provider=True), MeterRefused),
        (acse.Aare(diagnostic=14, user_information=GRANTED), SecurityError),
        (acse.Aare(user_information=xdlms.ConfirmedServiceError(1, 6, 2).encode()), MeterRefused),
        (acse.Aare(user_information=xdlms.InitiateResponse(Conformance.SET, 500).encode()), MeterRefused),
        (acse.Aare(user_information=xdlms.InitiateResponse(Conformance.GET, 500, 5).encode()), RemoteProtocolError),
        (acse.Aare(), RemoteProtocolError),
        (acse.Release(is_response=True), RemoteProtocolError),
        (xdlms.ExceptionResponse(1, 1), MeterRefused),
    ],
)
def test_a_refused_association_says_whether_security_is_the_cause(
    aare: acse.Aare | acse.Release | xdlms.ExceptionResponse, error: type[Exception]
) -> None:
    with pytest.raises(error):
        ask(ClientAssociation(Parameters()), Associate(), aare.encode())


def test_a_late_answer_to_an_earlier_question_is_not_taken() -> None:
    association = plain()
    ask(association, Get(NAME), response(1))

    with pytest.raises(RemoteProtocolError, match="invoke-id 1"):
        ask(association, Get(NAME), response(1))


def test_a_refused_attribute_leaves_the_association_open() -> None:
    association = plain()

    with pytest.raises(MeterRefused, match="object-undefined") as caught:
        ask(association, Get(NAME), xdlms.GetResponse(0xC1, None, 4).encode())
    assert caught.value.code == 4
    assert ask(association, Get(NAME), response(2)) == Received(axdr.unsigned(5))


def test_an_exception_about_one_question_leaves_the_association_open() -> None:
    association = plain()

    with pytest.raises(MeterRefused, match="exception"):
        ask(association, Get(NAME), xdlms.ExceptionResponse(1, 2).encode())
    assert association.state is State.OPEN


@pytest.mark.parametrize(
    ("exception", "error", "why"),
    [
        (xdlms.ExceptionResponse(1, 6, 500), CounterError, "at least 500"),
        (xdlms.ExceptionResponse(1, 5), SecurityError, "decipher"),
    ],
)
def test_an_exception_about_security_is_a_security_error(
    exception: xdlms.ExceptionResponse, error: type[Exception], why: str
) -> None:
    both = Ciphered()
    both.associate()
    both.prove()

    with pytest.raises(error, match=why):
        ask(both.association, Get(NAME), exception.encode())


def test_blocks_are_joined_in_order() -> None:
    association = plain()
    data = axdr.octet_string(bytes(range(200)))
    octets = axdr.encode(data)
    blocks = [octets[at : at + 90] for at in range(0, len(octets), 90)]

    event = ask(association, Get(NAME), xdlms.GetResponseBlock(0xC1, False, 1, blocks[0]).encode())  # noqa: FBT003
    assert event == MoreBlocks(90)
    request = xdlms.decode(association.send(NextBlock()))
    association.receive_data(xdlms.GetResponseBlock(0xC1, False, 2, blocks[1]).encode())  # noqa: FBT003
    association.next_event()
    event = ask(association, NextBlock(), xdlms.GetResponseBlock(0xC1, True, 3, blocks[2]).encode())  # noqa: FBT003

    assert request == xdlms.GetRequestNext(0xC1, 1)
    assert event == Received(data)


@pytest.mark.parametrize(("number", "raw"), [(1, b"again"), (3, b"skipped"), (2, b"")])
def test_a_block_out_of_order_or_empty_is_an_error(number: int, raw: bytes) -> None:
    association = plain()
    ask(association, Get(NAME), xdlms.GetResponseBlock(0xC1, is_last=False, block_number=1, raw=b"\x09\x7f").encode())

    with pytest.raises(RemoteProtocolError, match="block"):
        ask(
            association, NextBlock(), xdlms.GetResponseBlock(0xC1, is_last=False, block_number=number, raw=raw).encode()
        )


def test_blocks_without_end_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axdr, "MAX_OBJECT", 1000)
    association = plain()
    ask(association, Get(NAME), xdlms.GetResponseBlock(0xC1, is_last=False, block_number=1, raw=bytes(900)).encode())

    with pytest.raises(RemoteProtocolError, match="more than 1000 octets"):
        ask(association, NextBlock(), xdlms.GetResponseBlock(0xC1, False, 2, bytes(200)).encode())  # noqa: FBT003


def test_an_answer_nobody_asked_for_is_an_error() -> None:
    association = plain()
    association.receive_data(response())

    with pytest.raises(RemoteProtocolError, match="nothing was asked"):
        association.next_event()


def test_two_questions_at_once_are_our_mistake() -> None:
    association = plain()
    association.send(Get(NAME))

    with pytest.raises(LocalProtocolError, match="while asking"):
        association.send(Get(NAME))


@pytest.mark.parametrize(
    "change",
    [
        {"authentication": "lls"}, {"keys": None}, {"client_title": b"short"}, {"challenge": b"short"},
        {"keys": Keys(bytes(16), b"")}, {"security": "none"}, {"authentication": "none", "security": "encrypted", "keys": None},
    ],
)  # fmt: skip
def test_what_could_not_authenticate_is_refused_before_a_byte_is_sent(change: dict[str, object]) -> None:
    with pytest.raises(SecurityError):
        replace(HLS5, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(("security", "control"), [("authenticated", 0x10), ("encrypted", 0x20)])
def test_a_password_association_is_protected_as_the_profile_asks(security: Security, control: int) -> None:
    asked = Parameters("lls", password=b"12345678", keys=KEYS, client_title=CLIENT_TITLE, security=security)
    association = ClientAssociation(asked)
    assert association.channel is not None
    association.channel.supply(range(1, 9))
    meter = SecureChannel(KEYS, SERVER_TITLE, CLIENT_TITLE, control)
    meter.supply(range(1, 9))
    aare = replace(HLS5_AARE, diagnostic=0, mechanism=acse.Mechanism.LOW, authentication_value=b"")

    aarq = acse.decode(association.send(Associate()))
    association.receive_data(replace(aare, user_information=meter.seal(GRANTED)).encode())

    assert isinstance(aarq, acse.Aarq)
    assert (aarq.mechanism, aarq.context) == (acse.Mechanism.LOW, acse.ApplicationContext.LOGICAL_NAME_CIPHERED)
    assert (aarq.calling_title, aarq.user_information[2]) == (CLIENT_TITLE, control)
    assert isinstance(association.next_event(), Accepted)
    assert ask(association, Get(NAME), meter.seal(response())) == Received(axdr.unsigned(5))


@pytest.mark.parametrize("security", ["authenticated", "encrypted", "authenticated-encrypted"])
@pytest.mark.parametrize("sent", [0x10, 0x20])
def test_an_answer_weaker_than_agreed_is_a_security_error_and_the_end(security: Security, sent: int) -> None:
    both = Ciphered(replace(HLS5, security=security))
    both.meter = SecureChannel(KEYS, SERVER_TITLE, CLIENT_TITLE, sent, agreed=CONTROL[security])
    both.meter.supply(range(1, 9))
    if sent & CONTROL[security] == CONTROL[security]:
        assert both.associate() == Challenged()
        return

    with pytest.raises(SecurityError, match="weaker than the agreed"):
        both.associate()
    assert both.association.state is State.FAILED


def test_a_meter_that_demands_more_than_a_password_is_a_security_error() -> None:
    asked = Parameters("lls", password=b"12345678", keys=KEYS, client_title=CLIENT_TITLE, security="encrypted")
    association = ClientAssociation(asked)
    assert association.channel is not None
    association.channel.supply(range(1, 9))

    with pytest.raises(SecurityError, match="demands high-level"):
        ask(association, Associate(), HLS5_AARE.encode())


def test_secrets_are_not_shown() -> None:
    shown = repr(replace(HLS5, password=b"topsecret"))

    assert "topsecret" not in shown
    assert "\\x0f" not in shown
