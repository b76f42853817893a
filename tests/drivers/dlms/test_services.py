"""Lists, SET and ACTION in the client's association: what is sent, what is believed, and what needs a right of its own."""

from collections.abc import Sequence

import pytest

from drivers.dlms import acse, axdr, getlist, writing, xdlms
from drivers.dlms.association import ClientAssociation, State
from drivers.dlms.axdr import Data
from drivers.dlms.commands import (
    Accepted,
    Act,
    Associate,
    BlockTaken,
    Command,
    Done,
    Event,
    Get,
    GetList,
    MoreBlocks,
    NextBlock,
    Received,
    Release,
    Set,
)
from drivers.dlms.events import NEED_DATA
from drivers.dlms.getlist import GetResult
from drivers.dlms.parameters import Parameters
from drivers.dlms.xdlms import Attribute, Conformance
from drivers.errors import DriverError, LocalProtocolError, MeterRefused, RemoteProtocolError
from drivers.obis import Obis

NAME = Attribute(1, Obis(0, 0, 42, 0, 0), 2)
VALUE = Attribute(3, Obis(1, 0, 1, 8, 0), 2)
METHOD = Attribute(70, Obis(0, 0, 96, 3, 10), 1)
FIVE = axdr.unsigned(5)
TEXT = axdr.octet_string(bytes(range(200)))


def opened(*, may_write: bool = False, max_pdu: int = 0, withheld: int = 0) -> ClientAssociation:
    association = ClientAssociation(Parameters(may_write=may_write))
    sent = acse.decode(association.send(Associate()))
    assert isinstance(sent, acse.Aarq)
    offer = xdlms.decode(sent.user_information)
    assert isinstance(offer, xdlms.InitiateRequest)
    granted = xdlms.InitiateResponse(offer.conformance & Conformance(~withheld & 0xFFFFFF), max_pdu)
    association.receive_data(acse.Aare(user_information=granted.encode()).encode())
    event = association.next_event()
    assert isinstance(event, Accepted)
    assert bool(event.conformance & Conformance.SET) is may_write
    return association


def answered(association: ClientAssociation, answer: xdlms.Apdu) -> Event:
    association.receive_data(answer.encode())
    event = association.next_event()
    assert event is not NEED_DATA
    return event


def asked(association: ClientAssociation, *attributes: Attribute) -> int:
    request = xdlms.decode(association.send(GetList(attributes)))
    assert isinstance(request, getlist.GetRequestList)
    assert [attribute for attribute, _ in request.items] == list(attributes)
    return request.invoke_id


def test_a_list_is_answered_item_by_item() -> None:
    association = opened()
    results = (GetResult(FIVE), GetResult(None, 3))

    invoke_id = asked(association, NAME, VALUE)
    event = answered(association, getlist.GetResponseList(invoke_id, results))

    assert event == Received(results)
    assert association.state is State.OPEN


def test_a_list_in_blocks_is_the_same_list() -> None:
    association = opened()
    results = (GetResult(TEXT), GetResult(None, 3), GetResult(FIVE))
    octets = getlist.encode_results(results)

    invoke_id = asked(association, NAME, VALUE, NAME)
    event = answered(association, xdlms.GetResponseBlock(invoke_id, is_last=False, block_number=1, raw=octets[:100]))
    assert event == MoreBlocks(100)
    association.send(NextBlock())
    event = answered(association, xdlms.GetResponseBlock(invoke_id, is_last=True, block_number=2, raw=octets[100:]))

    assert event == Received(results)


def test_a_list_refused_as_a_whole_leaves_the_association_open() -> None:
    association = opened()

    invoke_id = asked(association, NAME, VALUE)
    with pytest.raises(MeterRefused, match="list of 2 attributes: other-reason"):
        answered(association, xdlms.GetResponse(invoke_id, None, 250))

    assert association.state is State.OPEN


@pytest.mark.parametrize("results", [(GetResult(FIVE),), (GetResult(FIVE),) * 3])
def test_another_number_of_results_than_asked_is_an_error(results: tuple[GetResult, ...]) -> None:
    association = opened()

    invoke_id = asked(association, NAME, VALUE)
    with pytest.raises(RemoteProtocolError, match="for a list of 2"):
        answered(association, getlist.GetResponseList(invoke_id, results))

    assert association.state is State.FAILED


def test_one_value_for_a_list_and_a_list_for_one_value_are_errors() -> None:
    lists, one = opened(), opened()

    invoke_id = asked(lists, NAME, VALUE)
    with pytest.raises(RemoteProtocolError, match="type 1"):
        answered(lists, xdlms.GetResponse(invoke_id, FIVE))
    one.send(Get(NAME))
    with pytest.raises(RemoteProtocolError, match="type 3"):
        answered(one, getlist.GetResponseList(0xC1, (GetResult(FIVE),)))


def test_a_list_larger_than_the_meter_takes_is_refused_before_it_is_sent() -> None:
    association = opened(max_pdu=64)

    with pytest.raises(MeterRefused, match="takes 64 octets"):
        association.send(GetList((NAME,) * 10))

    assert association.state is State.OPEN


@pytest.mark.parametrize("command", [Set(VALUE, FIVE), Act(METHOD)])
def test_nothing_is_written_in_an_association_for_reading(command: Command) -> None:
    association = opened()

    with pytest.raises(LocalProtocolError, match="opened for reading"):
        association.send(command)

    assert association.state is State.OPEN


def test_a_value_that_fits_is_set_at_once() -> None:
    association = opened(may_write=True)

    request = xdlms.decode(association.send(Set(VALUE, FIVE)))
    event = answered(association, writing.SetResponse(0xC1, 0))

    assert request == writing.SetRequest(0xC1, VALUE, FIVE)
    assert event == Done()
    assert association.state is State.OPEN


def in_blocks(association: ClientAssociation, data: Data) -> bytes:
    """Set a value in blocks, and give what the meter put together."""
    request = xdlms.decode(association.send(Set(VALUE, data)))
    taken = b""
    while isinstance(request, writing.SetRequestFirstBlock | writing.SetRequestBlock):
        assert len(request.encode()) <= 64
        taken += request.raw
        if request.is_last:
            assert answered(association, writing.SetResponseLastBlock(0xC1, 0, request.block_number)) == Done()
            return taken
        assert answered(association, writing.SetResponseBlock(0xC1, request.block_number)) == BlockTaken()
        request = xdlms.decode(association.send(NextBlock()))
    raise AssertionError(request)


def test_a_value_larger_than_the_meter_takes_is_set_in_blocks() -> None:
    assert axdr.decode(in_blocks(opened(may_write=True, max_pdu=64), TEXT)) == TEXT


@pytest.mark.parametrize(
    "answers",
    [
        [writing.SetResponseBlock(0xC1, 2)],
        [writing.SetResponse(0xC1, 0)],
        [writing.SetResponseLastBlock(0xC1, 0, 1)],
        [xdlms.ActionResponse(0xC1, 0)],
        [writing.SetResponseBlock(0xC1, 1), writing.SetResponseBlock(0xC1, 1)],
        [writing.SetResponseBlock(0xC2, 1)],
    ],
)
def test_an_acknowledgement_out_of_order_is_an_error(answers: Sequence[xdlms.Apdu]) -> None:
    association = opened(may_write=True, max_pdu=64)

    association.send(Set(VALUE, TEXT))
    for answer in answers[:-1]:
        answered(association, answer)
        association.send(NextBlock())
    with pytest.raises(RemoteProtocolError):
        answered(association, answers[-1])

    assert association.state is State.FAILED


@pytest.mark.parametrize("code", [1, 2, 3, 4, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 250, 77])
def test_each_result_but_success_is_a_refusal_with_its_code(code: int) -> None:
    association = opened(may_write=True)
    attempts: list[tuple[Command, xdlms.Apdu]] = [
        (Set(VALUE, FIVE), writing.SetResponse(0xC1, code)),
        (Act(METHOD), xdlms.ActionResponse(0xC2, code)),
        (Act(METHOD), xdlms.ActionResponse(0xC3, 0, access_result=code)),
    ]

    for command, answer in attempts:
        association.send(command)
        with pytest.raises(MeterRefused) as refused:
            answered(association, answer)
        assert refused.value.code == code
        assert association.state is State.OPEN


def test_a_refusal_amid_blocks_leaves_the_association_open() -> None:
    association = opened(may_write=True, max_pdu=64)

    association.send(Set(VALUE, TEXT))
    with pytest.raises(MeterRefused, match="type-unmatched"):
        answered(association, writing.SetResponseLastBlock(0xC1, 12, 1))
    association.send(Set(VALUE, FIVE))

    assert answered(association, writing.SetResponse(0xC2, 0)) == Done()


def test_a_set_may_be_given_up_between_blocks() -> None:
    association = opened(may_write=True, max_pdu=64)

    association.send(Set(VALUE, TEXT))
    answered(association, writing.SetResponseBlock(0xC1, 1))

    assert isinstance(acse.decode(association.send(Release())), acse.Release)


def test_a_method_gives_what_it_returns() -> None:
    association = opened(may_write=True)

    request = xdlms.decode(association.send(Act(METHOD, FIVE)))
    event = answered(association, xdlms.ActionResponse(0xC1, 0, TEXT))

    assert request == xdlms.ActionRequest(0xC1, METHOD, FIVE)
    assert event == Done(TEXT)


def test_an_exception_response_to_a_command_is_a_refusal() -> None:
    association = opened(may_write=True)

    association.send(Act(METHOD))
    with pytest.raises(DriverError, match="service error 2"):
        answered(association, xdlms.ExceptionResponse(1, 2))

    assert association.state is State.OPEN
