"""SET and ACTION of several at once, and in blocks both ways."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms import acting, axdr, setlist, writing, xdlms
from drivers.dlms.acting import ActionResult
from drivers.dlms.association import ClientAssociation, State
from drivers.dlms.axdr import Data
from drivers.dlms.commands import Act, ActList, BlockTaken, Command, Done, MoreBlocks, NextBlock, Received, SetList
from drivers.dlms.datablock import DataBlock, cut
from drivers.dlms.xdlms import Attribute, Conformance
from drivers.errors import MeterRefused, RemoteProtocolError
from drivers.obis import Obis
from tests.drivers.dlms.both_ways import assert_both_ways
from tests.drivers.dlms.test_services import FIVE, METHOD, NAME, TEXT, VALUE, answered, opened

BLOCK_SIZE = 64


def sent(association: ClientAssociation, command: Command) -> xdlms.Apdu:
    octets = association.send(command)
    assert len(octets) <= BLOCK_SIZE
    return xdlms.decode(octets)


def raw_of(request: xdlms.Apdu) -> DataBlock:
    if isinstance(request, writing.SetRequestBlock):
        return DataBlock(request.block_number, request.raw, is_last=request.is_last)
    assert isinstance(
        request,
        setlist.SetRequestListFirstBlock
        | acting.ActionRequestFirstBlock
        | acting.ActionRequestListFirstBlock
        | acting.ActionRequestBlock,
    )
    return request.block


def taken(association: ClientAssociation, command: Command, acknowledge: type[xdlms.Apdu]) -> tuple[bytes, int]:
    """Send a command in blocks, and give what the meter put together and how many there were; the last is not answered."""
    block = raw_of(sent(association, command))
    octets = block.raw
    while not block.is_last:
        acknowledgement = acknowledge(0xC1, block.number)  # type: ignore[call-arg, arg-type]
        assert answered(association, acknowledgement) == BlockTaken()
        following = raw_of(sent(association, NextBlock()))
        assert following.number == block.number + 1
        block = following
        octets += block.raw
    return octets, block.number


def test_several_attributes_are_set_at_once() -> None:
    association = opened(may_write=True)

    request = xdlms.decode(association.send(SetList(((VALUE, FIVE), (NAME, TEXT)))))
    event = answered(association, setlist.SetResponseList(0xC1, (0, 3)))

    assert request == setlist.SetRequestList(0xC1, ((VALUE, None), (NAME, None)), (FIVE, TEXT))
    assert event == Received((0, 3))
    assert association.state is State.OPEN


def test_a_list_to_set_larger_than_the_meter_takes_goes_in_blocks() -> None:
    association = opened(may_write=True, max_pdu=BLOCK_SIZE)

    octets, count = taken(association, SetList(((VALUE, TEXT), (NAME, FIVE))), writing.SetResponseBlock)

    assert setlist.decode_values(octets) == (TEXT, FIVE)
    assert answered(association, setlist.SetResponseLastBlockList(0xC1, (0, 0), count)) == Received((0, 0))


def test_several_methods_are_invoked_at_once() -> None:
    association = opened(may_write=True)
    results = (ActionResult(0, FIVE), ActionResult(3), ActionResult(0, access_result=4))

    request = xdlms.decode(association.send(ActList(((METHOD, FIVE), (METHOD, None), (METHOD, TEXT)))))
    event = answered(association, acting.ActionResponseList(0xC1, results))

    assert request == acting.ActionRequestList(0xC1, (METHOD,) * 3, (FIVE, axdr.NULL, TEXT))
    assert event == Received(results)


def test_a_method_with_long_parameters_is_invoked_in_blocks() -> None:
    association = opened(may_write=True, max_pdu=BLOCK_SIZE)

    octets, _ = taken(association, Act(METHOD, TEXT), acting.ActionResponseNext)

    assert axdr.decode(octets) == TEXT
    assert answered(association, acting.ActionResponse(0xC1, 0, FIVE)) == Done(FIVE)


def test_a_list_of_methods_goes_in_blocks_both_ways() -> None:
    association = opened(may_write=True, max_pdu=BLOCK_SIZE)
    results = (ActionResult(0, TEXT), ActionResult(0))

    octets, _ = taken(association, ActList(((METHOD, TEXT), (METHOD, None))), acting.ActionResponseNext)
    pieces = cut(acting.encode_action_results(results), BLOCK_SIZE, BLOCK_SIZE)
    for piece in pieces[:-1]:
        assert isinstance(answered(association, acting.ActionResponseBlock(0xC1, piece)), MoreBlocks)
        assert sent(association, NextBlock()) == acting.ActionRequestNext(0xC1, piece.number)

    assert octets == acting.encode_parameters((TEXT, axdr.NULL))
    assert answered(association, acting.ActionResponseBlock(0xC1, pieces[-1])) == Received(results)


@pytest.mark.parametrize("octets", [axdr.encode(TEXT), ActionResult(0, TEXT).encode()])
def test_a_long_return_value_comes_in_blocks_with_or_without_its_result(octets: bytes) -> None:
    association = opened(may_write=True)

    association.send(Act(METHOD))
    *some, last = cut(octets, 48, 48)
    for piece in some:
        answered(association, acting.ActionResponseBlock(0xC1, piece))
        association.send(NextBlock())

    assert answered(association, acting.ActionResponseBlock(0xC1, last)) == Done(TEXT)


@pytest.mark.parametrize(
    ("command", "answers"),
    [
        (ActList(((METHOD, None),)), [acting.ActionResponse(0xC1, 0)]),
        (ActList(((METHOD, None),)), [acting.ActionResponseList(0xC1, (ActionResult(0),) * 2)]),
        (Act(METHOD), [acting.ActionResponseList(0xC1, (ActionResult(0),))]),
        (Act(METHOD), [acting.ActionResponseNext(0xC1, 1)]),
        (Act(METHOD), [acting.ActionResponseBlock(0xC1, DataBlock(2, b"\x00", is_last=True))]),
        (Act(METHOD), [acting.ActionResponseBlock(0xC1, DataBlock(1, b"", is_last=False))]),
        (Act(METHOD), [acting.ActionResponseBlock(0xC1, DataBlock(1, b"", is_last=True))]),
        (Act(METHOD), [acting.ActionResponseBlock(0xC1, DataBlock(1, b"\x11\x05\x00", is_last=True))]),
        (
            Act(METHOD),
            [acting.ActionResponseBlock(0xC1, DataBlock(1, b"\x09", is_last=False)), acting.ActionResponse(0xC1, 0)],
        ),
        (Act(METHOD, TEXT), [acting.ActionResponseNext(0xC1, 2)]),
        (Act(METHOD, TEXT), [acting.ActionResponse(0xC1, 0)]),
        (Act(METHOD, TEXT), [acting.ActionResponseBlock(0xC1, DataBlock(1, b"\x00", is_last=True))]),
        (SetList(((VALUE, FIVE),)), [setlist.SetResponseList(0xC1, (0, 0))]),
        (SetList(((VALUE, FIVE),)), [writing.SetResponse(0xC1, 0)]),
        (SetList(((VALUE, TEXT),)), [setlist.SetResponseLastBlockList(0xC1, (0,), 1)]),
    ],
)
def test_an_answer_that_does_not_fit_is_an_error(command: Command, answers: Sequence[xdlms.Apdu]) -> None:
    association = opened(may_write=True, max_pdu=BLOCK_SIZE)

    association.send(command)
    for answer in answers[:-1]:
        answered(association, answer)
        association.send(NextBlock())
    with pytest.raises(RemoteProtocolError):
        answered(association, answers[-1])

    assert association.state is State.FAILED


@pytest.mark.parametrize("command", [SetList(((VALUE, FIVE),)), ActList(((METHOD, None),))])
def test_a_list_refused_as_a_whole_leaves_the_association_open(command: Command) -> None:
    association = opened(may_write=True)
    refusal: xdlms.Apdu = (
        writing.SetResponse(0xC1, 3) if isinstance(command, SetList) else acting.ActionResponse(0xC1, 3)
    )

    association.send(command)
    with pytest.raises(MeterRefused) as refused:
        answered(association, refusal)

    assert (refused.value.code, association.state) == (3, State.OPEN)


LONG = st.binary(max_size=400).map(axdr.octet_string)


@given(LONG, st.integers(30, 200), st.integers(30, 200))
def test_blocks_joined_are_what_was_cut_and_none_is_too_large(data: Data, first: int, following: int) -> None:
    octets = axdr.encode(data)

    blocks = cut(octets, first, following)

    assert b"".join(block.raw for block in blocks) == octets
    assert [block.number for block in blocks] == list(range(1, len(blocks) + 1))
    assert [block.is_last for block in blocks] == [False] * (len(blocks) - 1) + [True]
    assert len(blocks[0].encode()) <= first
    assert all(len(block.encode()) <= following for block in blocks[1:])


APDUS: list[xdlms.Apdu] = [
    setlist.SetRequestList(0xC1, ((VALUE, None), (NAME, xdlms.Selection(1, FIVE))), (FIVE, TEXT)),
    setlist.SetRequestListFirstBlock(0xC1, ((VALUE, None),), DataBlock(1, bytes(200), is_last=False)),
    setlist.SetResponseList(0xC1, (0, 3)),
    setlist.SetResponseLastBlockList(0xC1, (0, 3), 7),
    acting.ActionRequestNext(0xC1, 2),
    acting.ActionRequestList(0xC1, (METHOD, METHOD), (FIVE, axdr.NULL)),
    acting.ActionRequestFirstBlock(0xC1, METHOD, DataBlock(1, b"abc", is_last=False)),
    acting.ActionRequestListFirstBlock(0xC1, (METHOD,), DataBlock(1, b"abc", is_last=False)),
    acting.ActionRequestBlock(0xC1, DataBlock(2, b"abc", is_last=True)),
    acting.ActionResponseBlock(0xC1, DataBlock(1, b"abc", is_last=True)),
    acting.ActionResponseList(0xC1, (ActionResult(0, FIVE), ActionResult(3), ActionResult(0, access_result=3))),
    acting.ActionResponseNext(0xC1, 1),
]


@pytest.mark.parametrize("apdu", APDUS, ids=lambda apdu: type(apdu).__name__)
def test_an_apdu_encoded_is_the_one_decoded_and_cut_short_or_longer_an_error(apdu: xdlms.Apdu) -> None:
    assert_both_ways(apdu)


@pytest.mark.parametrize(
    "octets",
    ["c304c1", "c103c100", "c30300", "c303c10100460000600301ff0100", "c104c101000100002a0000ff020000", "c503c1"],
)
def test_a_list_without_items_or_of_two_lengths_is_an_error(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        xdlms.decode(bytes.fromhex(octets))


def test_a_service_that_was_not_granted_is_refused_before_it_is_sent() -> None:
    association = opened(may_write=True, withheld=Conformance.MULTIPLE_REFERENCES)

    with pytest.raises(MeterRefused, match="does not grant multiple-references"):
        association.send(ActList(((Attribute(70, Obis(0, 0, 96, 3, 10), 1), None),)))

    assert association.state is State.OPEN


@pytest.mark.parametrize("command", [Act(METHOD, TEXT)])
def test_a_long_request_to_a_meter_without_blocks_is_refused_with_a_reason(command: Command) -> None:
    association = opened(may_write=True, max_pdu=BLOCK_SIZE, withheld=Conformance.BLOCK_TRANSFER_ACTION)

    with pytest.raises(MeterRefused, match="takes 64 octets"):
        association.send(command)

    assert association.state is State.OPEN


# What the client of gurux-dlms 1.0.203 sends to a meter that takes 64 octets, for a script with octets 0 to 99.
GURUX_BLOCKS = (
    "c304c1000900000a0000ff0100000000012e0964" + bytes(range(44)).hex(),
    "c306c1010000000238" + bytes(range(44, 100)).hex(),
)


def test_action_blocks_of_an_independent_client_are_read_and_written_back() -> None:
    first, second = (xdlms.decode(bytes.fromhex(octets)) for octets in GURUX_BLOCKS)

    assert isinstance(first, acting.ActionRequestFirstBlock)
    assert isinstance(second, acting.ActionRequestBlock)
    assert axdr.decode(first.block.raw + second.block.raw) == axdr.octet_string(bytes(range(100)))
    assert (first.encode().hex(), second.encode().hex()) == GURUX_BLOCKS
