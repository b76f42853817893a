"""Short-name referencing: what is sent, what is believed, and which variable an attribute is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms import acse, axdr, basenames, shortnames, xdlms
from drivers.dlms.association import ClientAssociation, State
from drivers.dlms.basenames import BaseNames
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import Keys
from drivers.dlms.commands import (
    Accepted,
    Act,
    ActList,
    Associate,
    BlockTaken,
    Challenged,
    Command,
    Done,
    Event,
    Get,
    GetList,
    MoreBlocks,
    NextBlock,
    Prove,
    Received,
    Set,
    SetList,
)
from drivers.dlms.getlist import GetResult
from drivers.dlms.parameters import Parameters
from drivers.dlms.shortnames import (
    BlockAccepted,
    BlockNumber,
    InformationReport,
    ReadBlock,
    ReadRequest,
    ReadResponse,
    ReadResult,
    ResultBlock,
    Variable,
    WriteBlock,
    WriteRequest,
    WriteResponse,
)
from drivers.dlms.xdlms import Attribute, Conformance, Selection
from drivers.errors import LocalProtocolError, MeterRefused, RemoteProtocolError, SecurityError
from drivers.obis import Obis
from drivers.trace.mask import service_flags
from tests.drivers.dlms.both_ways import assert_both_ways
from tests.drivers.dlms.test_services import FIVE, TEXT, answered

REGISTER, SWITCH, PROFILE = Obis(1, 0, 1, 8, 0), Obis(0, 0, 96, 3, 10), Obis(1, 0, 99, 1, 0)
VALUE, SCALER = Attribute(3, REGISTER, 2), Attribute(3, REGISTER, 3)
NAMES = BaseNames({(3, REGISTER): 0x0100, (70, SWITCH): 0x0200, (7, PROFILE): 0x0300})


def opened(*, max_pdu: int = 0, may_write: bool = True, withheld: int = 0) -> ClientAssociation:
    association = ClientAssociation(Parameters(referencing="short-name", may_write=may_write))
    sent = acse.decode(association.send(Associate()))
    assert isinstance(sent, acse.Aarq)
    assert sent.context is acse.ApplicationContext.SHORT_NAME
    offer = xdlms.decode(sent.user_information)
    assert isinstance(offer, xdlms.InitiateRequest)
    conformance = offer.conformance & Conformance(~withheld & 0xFFFFFF)
    granted = xdlms.InitiateResponse(conformance, max_pdu, name=xdlms.SHORT_NAMES).encode()
    association.receive_data(acse.Aare(acse.ApplicationContext.SHORT_NAME, user_information=granted).encode())
    assert isinstance(association.next_event(), Accepted)
    association.names = NAMES
    return association


def asked(association: ClientAssociation, command: Command) -> xdlms.Apdu:
    return xdlms.decode(association.send(command))


def test_an_attribute_is_read_by_its_name() -> None:
    association = opened()

    request = asked(association, Get(VALUE))
    event = answered(association, ReadResponse((ReadResult(FIVE),)))

    assert request == ReadRequest((Variable(0x0108),))
    assert event == Received(FIVE)


def test_selective_access_is_parameterised() -> None:
    association = opened()

    request = asked(association, Get(Attribute(7, PROFILE, 2), Selection(2, FIVE)))

    assert request == ReadRequest((Variable(0x0308, 2, FIVE),))


def test_several_attributes_are_read_at_once() -> None:
    association = opened()

    request = asked(association, GetList((VALUE, SCALER)))
    event = answered(association, ReadResponse((ReadResult(FIVE), ReadResult(None, 3))))

    assert request == ReadRequest((Variable(0x0108), Variable(0x0110)))
    assert event == Received((GetResult(FIVE), GetResult(None, 3)))


@pytest.mark.parametrize("head", [b"", b"\x00", b"\x01\x00"])
def test_a_long_value_comes_in_blocks_with_or_without_its_head(head: bytes) -> None:
    association = opened()
    octets = head + axdr.encode(TEXT)

    asked(association, Get(VALUE))
    event = answered(association, ReadResponse((ResultBlock(1, octets[:100], is_last=False),)))
    following = asked(association, NextBlock())
    last = answered(association, ReadResponse((ResultBlock(2, octets[100:], is_last=True),)))

    assert event == MoreBlocks(100, octets[len(head) : 100])
    assert following == ReadRequest((BlockNumber(1),))
    assert last == Received(TEXT)


def test_a_value_is_written_and_a_switch_is_worked() -> None:
    association = opened()

    written = asked(association, Set(VALUE, FIVE))
    assert answered(association, WriteResponse((0,))) == Done()
    worked = asked(association, Act(Attribute(70, SWITCH, 2)))
    assert answered(association, WriteResponse((0,))) == Done()

    assert written == WriteRequest((Variable(0x0108),), (FIVE,))
    assert worked == WriteRequest((Variable(0x0228),), (axdr.integer(0),))


def test_several_values_are_written_at_once() -> None:
    association = opened()

    asked(association, SetList(((VALUE, FIVE), (SCALER, TEXT))))

    assert answered(association, WriteResponse((0, 3))) == Received((0, 3))


def test_a_long_value_is_written_in_blocks() -> None:
    association = opened(max_pdu=64)
    request = asked(association, Set(VALUE, TEXT))
    taken = b""
    while isinstance(request, WriteRequest):
        (block,), (raw,) = request.items, request.values
        assert isinstance(block, WriteBlock)
        assert len(request.encode()) <= 64
        taken += raw.octets()
        if block.is_last:
            break
        assert answered(association, WriteResponse((BlockAccepted(block.number, 2),))) == BlockTaken()
        request = asked(association, NextBlock())

    assert b"\x06" + taken == WriteRequest((Variable(0x0108),), (TEXT,)).encode()
    assert answered(association, WriteResponse((0,))) == Done()


def test_a_long_question_goes_in_blocks() -> None:
    association = opened(max_pdu=64)
    request = asked(association, Get(Attribute(7, PROFILE, 2), Selection(1, TEXT)))
    taken = b""
    while isinstance(request, ReadRequest):
        (block,) = request.items
        assert isinstance(block, ReadBlock)
        taken += block.raw
        if block.is_last:
            break
        assert answered(association, ReadResponse((BlockAccepted(block.number),))) == BlockTaken()
        request = asked(association, NextBlock())

    assert b"\x05" + taken == ReadRequest((Variable(0x0308, 1, TEXT),)).encode()
    assert answered(association, ReadResponse((ReadResult(FIVE),))) == Received(FIVE)


@pytest.mark.parametrize(
    ("command", "answer", "code"),
    [
        (Get(VALUE), ReadResponse((ReadResult(None, 4),)), 4),
        (Set(VALUE, FIVE), WriteResponse((3,)), 3),
        (Get(VALUE), xdlms.ConfirmedServiceError(5, 1, 2), 2),
        (Get(VALUE), xdlms.ExceptionResponse(1, 2), 2),
    ],
)
def test_a_refusal_leaves_the_association_open(command: Command, answer: xdlms.Apdu, code: int) -> None:
    association = opened()

    asked(association, command)
    with pytest.raises(MeterRefused) as refused:
        answered(association, answer)

    assert (refused.value.code, association.state) == (code, State.OPEN)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (Get(VALUE), WriteResponse((0,))),
        (Get(VALUE), ReadResponse((ReadResult(FIVE), ReadResult(FIVE)))),
        (Get(VALUE), ReadResponse((BlockAccepted(1),))),
        (Get(VALUE), ReadResponse((ResultBlock(2, b"\x00", is_last=True),))),
        (Get(VALUE), ReadResponse((ResultBlock(1, b"", is_last=False),))),
        (Get(VALUE), ReadResponse((ResultBlock(1, b"", is_last=True),))),
        (Get(VALUE), xdlms.GetResponse(0xC1, FIVE)),
        (GetList((VALUE, SCALER)), ReadResponse((ReadResult(FIVE),))),
        (Set(VALUE, FIVE), WriteResponse((0, 0))),
        (Set(VALUE, FIVE), WriteResponse((BlockAccepted(1, 2),))),
        (Set(VALUE, TEXT), WriteResponse((0,))),
        (Set(VALUE, TEXT), WriteResponse((BlockAccepted(2, 2),))),
        (Set(VALUE, FIVE), ReadResponse((ReadResult(FIVE),))),
    ],
)
def test_an_answer_that_does_not_fit_is_an_error(command: Command, answer: xdlms.Apdu) -> None:
    association = opened(max_pdu=64)

    asked(association, command)
    with pytest.raises(RemoteProtocolError):
        answered(association, answer)

    assert association.state is State.FAILED


@pytest.mark.parametrize(
    "command",
    [
        Get(Attribute(3, Obis(1, 0, 9, 9, 9), 2)),
        Act(Attribute(70, SWITCH, 3)),
        Act(Attribute(3, Obis(1, 0, 9, 9, 9), 1)),
        Get(Attribute(3, REGISTER, -1)),
    ],
)
def test_what_has_no_short_name_is_refused_before_it_is_sent(command: Command) -> None:
    association = opened()

    with pytest.raises(MeterRefused):
        association.send(command)

    assert association.state is State.OPEN


def test_lists_of_methods_do_not_exist_here() -> None:
    with pytest.raises(LocalProtocolError, match="short-name"):
        opened().send(ActList(((Attribute(70, SWITCH, 1), None),)))


@pytest.mark.parametrize(
    ("command", "service"),
    [
        (Set(VALUE, FIVE), Conformance.WRITE),
        (GetList((VALUE, SCALER)), Conformance.MULTIPLE_REFERENCES),
        (Get(VALUE, Selection(1, FIVE)), Conformance.PARAMETERIZED_ACCESS),
    ],
)
def test_a_service_not_granted_is_not_asked_for(command: Command, service: Conformance) -> None:
    with pytest.raises(MeterRefused, match="does not grant"):
        opened(withheld=service).send(command)


def test_nothing_is_written_in_an_association_for_reading() -> None:
    with pytest.raises(LocalProtocolError, match="opened for reading"):
        opened(may_write=False).send(Set(VALUE, FIVE))


@pytest.mark.parametrize(
    ("referencing", "name"), [("short-name", xdlms.LOGICAL_NAMES), ("logical-name", xdlms.SHORT_NAMES)]
)
def test_the_other_referencing_than_agreed_is_an_error(referencing: str, name: int) -> None:
    association = ClientAssociation(
        Parameters(referencing="short-name" if referencing == "short-name" else "logical-name")
    )
    association.send(Associate())
    granted = xdlms.InitiateResponse(Conformance.GET | Conformance.READ, 0, name=name).encode()

    association.receive_data(acse.Aare(user_information=granted).encode())
    with pytest.raises(RemoteProtocolError, match=f"does not use {referencing}"):
        association.next_event()


KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
CLIENT, SERVER = b"HDE00001", b"SIM00001"
CTOS, STOC = bytes(range(16)), bytes(range(100, 116))


@pytest.mark.parametrize("is_refused", [False, True])
def test_hls_is_proved_by_a_read_of_the_association(is_refused: bool) -> None:
    parameters = Parameters("hls5", keys=KEYS, client_title=CLIENT, challenge=CTOS, referencing="short-name")
    association, meter = ClientAssociation(parameters), SecureChannel(KEYS, SERVER, CLIENT)
    assert association.channel is not None
    association.channel.supply(range(1, 100))
    meter.supply(range(1, 100))
    granted = xdlms.InitiateResponse(Conformance.READ, 0, name=xdlms.SHORT_NAMES).encode()
    aare = acse.Aare(
        acse.ApplicationContext.SHORT_NAME_CIPHERED, diagnostic=14, responding_title=SERVER,
        mechanism=acse.Mechanism.HIGH_GMAC, authentication_value=STOC, user_information=meter.seal(granted),
    )  # fmt: skip

    def said(octets: bytes) -> Event:
        association.receive_data(octets)
        event = association.next_event()
        assert isinstance(event, Challenged | Accepted | Received)
        return event

    association.send(Associate())
    assert said(aare.encode()) == Challenged()
    sealed = association.send(Prove())
    proof = xdlms.decode(meter.open(sealed))
    assert isinstance(proof, ReadRequest)
    (variable,) = proof.items
    assert isinstance(variable, Variable)
    meter.verify(STOC, variable.parameters.octets())
    result = ReadResult(None, 3) if is_refused else ReadResult(axdr.octet_string(meter.prove(CTOS)))
    answer = meter.seal(ReadResponse((result,)).encode())

    assert (sealed[0], variable.name, answer[0]) == (0x25, 0xFA58, 0x2C)
    if is_refused:
        with pytest.raises(SecurityError, match="refuses our HLS5 proof: read-write-denied"):
            said(answer)
        return
    assert isinstance(said(answer), Accepted)


# As gurux-dlms 1.0.203 answers: an object list, and three variables of which the third is denied.
GURUX_LIST = "0c0100010302041001001200011100090600002a0000ff0204100400120003110009060100010800ff020410fa0012000c110009060000280000ff"
GURUX_THREE = "0c030006000f59680002020f01161e0103"


def test_an_object_list_of_an_independent_meter_names_its_objects() -> None:
    response = xdlms.decode(bytes.fromhex(GURUX_LIST))
    assert isinstance(response, ReadResponse)
    (result,) = response.results
    assert isinstance(result, ReadResult)
    assert result.data is not None

    names = BaseNames.of_list(result.data)

    assert names.attribute(VALUE) == 0x0408
    assert names.method(Attribute(3, REGISTER, 1)) == 0x0428
    assert names.attribute(basenames.OBJECT_LIST) == 0xFA08
    assert names.method(basenames.REPLY_TO_HLS) == 0xFA58


def test_results_of_an_independent_meter_are_read() -> None:
    response = xdlms.decode(bytes.fromhex(GURUX_THREE))

    assert isinstance(response, ReadResponse)
    assert response.results[2] == ReadResult(None, 3)


@pytest.mark.parametrize("entry", [axdr.structure(FIVE), FIVE, axdr.structure(FIVE, FIVE, FIVE, TEXT)])
def test_a_damaged_object_list_is_an_error(entry: axdr.Data) -> None:
    with pytest.raises(RemoteProtocolError):
        BaseNames.of_list(axdr.array([entry]))


APDUS: list[xdlms.Apdu] = [
    ReadRequest((Variable(0x0108), Variable(0xFA00, 1, FIVE))),
    ReadRequest((BlockNumber(7),)),
    ReadRequest((ReadBlock(1, bytes(200), is_last=False),)),
    ReadResponse((ReadResult(FIVE), ReadResult(None, 3))),
    ReadResponse((ResultBlock(1, b"abc", is_last=True),)),
    ReadResponse((BlockAccepted(2),)),
    WriteRequest((Variable(0x0108),), (FIVE,)),
    WriteRequest((WriteBlock(1, is_last=False),), (TEXT,)),
    WriteRequest((Variable(0x0108),), (FIVE,), is_confirmed=False),
    WriteResponse((0, 3, BlockAccepted(1, 2))),
    InformationReport(b"20260101120000Z", (0x0108,), (FIVE,)),
    InformationReport(b"", (0x0108, 0x0110), (FIVE, TEXT)),
]


@pytest.mark.parametrize("apdu", APDUS, ids=lambda apdu: type(apdu).__name__)
def test_an_apdu_encoded_is_the_one_decoded_and_cut_short_or_longer_an_error(apdu: xdlms.Apdu) -> None:
    assert_both_ways(apdu)


@given(st.binary(max_size=100), st.sampled_from([0x05, 0x06, 0x0C, 0x0D, 0x16, 0x18]), st.booleans())
def test_any_octets_behind_any_tag_are_an_apdu_or_an_error(octets: bytes, tag: int, leaves_data: bool) -> None:
    try:
        xdlms.decode(bytes([tag]) + octets, leaves_data=leaves_data)
    except RemoteProtocolError:
        return


@pytest.mark.parametrize("octets", ["0500", "0c00", "0501030100", "0c010100", "0d010100", "0c0104", "0601020108020000"])
def test_what_is_no_such_apdu_is_an_error(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        xdlms.decode(bytes.fromhex(octets))


def test_results_for_another_number_of_variables_are_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="2 results for 1"):
        shortnames.decode_results(bytes.fromhex("020011050103"), 1)


@pytest.mark.parametrize(
    "apdu",
    [
        WriteRequest((Variable(0x0108),), (TEXT,)),
        WriteRequest((Variable(0x0108), Variable(0x0110)), (TEXT, FIVE)),
        WriteRequest((WriteBlock(1, is_last=False),), (TEXT,)),
        WriteRequest((Variable(0x0108),), (TEXT,), is_confirmed=False),
        ReadRequest((Variable(0xFA58, 1, TEXT),)),
        ReadRequest((ReadBlock(1, TEXT.octets(), is_last=False),)),
    ],
)
def test_what_is_written_or_proved_is_hidden_in_traces(apdu: xdlms.Apdu) -> None:
    octets = apdu.encode()

    at = octets.index(TEXT.octets())

    assert all(service_flags(octets)[at : at + len(TEXT.octets())])
