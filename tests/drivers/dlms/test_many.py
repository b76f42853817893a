"""Several things at once over a whole conversation, and long APDUs in general blocks, with a meter scripted in the test."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from drivers.contract import Endpoint, SessionContext
from drivers.dlms import accessing, acse, acting, axdr, setlist, writing, xdlms
from drivers.dlms.accessing import AccessItem, AccessResult
from drivers.dlms.acting import ActionResult
from drivers.dlms.events import NEED_DATA, Apdu
from drivers.dlms.session import Conversation
from drivers.dlms.transfer import BLOCK_TAG, BlockTransfer
from drivers.dlms.wrapper import WrapperLink
from drivers.dlms.xdlms import Conformance
from drivers.errors import ConnectionLost, MeterRefused, RemoteProtocolError
from drivers.transports import MemoryStream, null_modem
from tests.drivers.dlms.meter import PROFILE
from tests.drivers.dlms.test_services import FIVE, METHOD, NAME, VALUE

LONG = axdr.octet_string(bytes(range(256)) * 4)
EVERYTHING = (
    Conformance.GET | Conformance.SET | Conformance.ACTION | Conformance.MULTIPLE_REFERENCES | Conformance.ACCESS
    | Conformance.BLOCK_TRANSFER_SET | Conformance.BLOCK_TRANSFER_ACTION
)  # fmt: skip


@dataclass
class Meter:
    """Answers with `answers` in turn; `asked` is what came. ``window``: general blocks it takes, and sends, at a time.

    ``lost``: blocks it does not send, counted from 0.
    """

    answers: list[xdlms.Apdu]
    granted: Conformance = EVERYTHING
    max_pdu: int = 0
    window: int = 3
    lost: frozenset[int] = frozenset()
    asked: list[xdlms.Apdu] = field(default_factory=list)
    blocks: int = 0

    def answer(self, apdu: bytes) -> bytes:
        if apdu[0] == acse.AARQ:
            return acse.Aare(user_information=xdlms.InitiateResponse(self.granted, self.max_pdu).encode()).encode()
        if apdu[0] == acse.RLRQ:
            return acse.Release(is_response=True).encode()
        self.asked.append(xdlms.decode(apdu))
        return self.answers.pop(0).encode()

    def respond(self, apdu: bytes, transfer: BlockTransfer) -> list[bytes]:
        if apdu[:1] != BLOCK_TAG:
            transfer.begin()
            octets = self.answer(apdu)
            return transfer.send(octets, self.max_pdu) if self.max_pdu and len(octets) > self.max_pdu else [octets]
        if apdu[2:4] == b"\x00\x01" and not transfer.is_sending:
            transfer.begin()
        turn = transfer.receive(apdu)
        assert turn is not None
        return list(turn.blocks) if turn.whole is None else transfer.send(self.answer(turn.whole), self.max_pdu)

    async def serve(self, stream: MemoryStream) -> None:
        link, transfer = WrapperLink(1, None), BlockTransfer(self.window, self.window)
        with suppress(ConnectionLost):
            while True:
                link.receive_data(await stream.read(60))
                while (event := link.next_event()) is not NEED_DATA:
                    assert isinstance(event, Apdu)
                    for octets in self.respond(event.octets, transfer):
                        if octets[:1] != BLOCK_TAG or self.blocks not in self.lost:
                            await stream.write(link.send(Apdu(octets)))
                        self.blocks += octets[:1] == BLOCK_TAG


class Counters:
    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:
        raise AssertionError(key_id, size, floor, meter)

    async def note(self, key_id: str, counter: int) -> int:
        raise AssertionError(key_id, counter)


@asynccontextmanager
async def talking(meter: Meter, **changes: Any) -> AsyncIterator[Conversation]:
    near, far = null_modem()
    serving = asyncio.create_task(meter.serve(far))
    assert PROFILE.dlms is not None
    profile = replace(PROFILE, dlms=replace(PROFILE.dlms, **changes))
    talk = Conversation(
        near, Endpoint("m", "1", profile), SessionContext(lambda: 0, os.urandom, Counters()), may_write=True
    )
    try:
        await talk.open()
        yield talk
    finally:
        await talk.close()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def test_several_values_are_set_and_methods_invoked_at_once() -> None:
    meter = Meter(
        [
            setlist.SetResponseList(0xC1, (0, 3)),
            acting.ActionResponseList(0xC2, (ActionResult(0, FIVE), ActionResult(2))),
        ]
    )

    async with talking(meter) as talk:
        written = await talk.set_many([(VALUE, FIVE), (NAME, FIVE)])
        invoked = await talk.act_many([(METHOD, None), (METHOD, FIVE)])

    assert written[0] is None
    assert isinstance(written[1], MeterRefused)
    assert invoked[0] == FIVE
    assert isinstance(invoked[1], MeterRefused)


async def test_a_meter_without_lists_is_told_one_after_the_other() -> None:
    meter = Meter(
        [
            writing.SetResponse(0xC1, 3),
            writing.SetResponse(0xC2, 0),
            acting.ActionResponse(0xC3, 0, FIVE),
            acting.ActionResponse(0xC4, 2),
        ],
        EVERYTHING & ~Conformance.MULTIPLE_REFERENCES,
    )

    async with talking(meter) as talk:
        written = await talk.set_many([(VALUE, FIVE), (NAME, FIVE)])
        invoked = await talk.act_many([(METHOD, None), (METHOD, None)])

    assert isinstance(written[0], MeterRefused)
    assert written[1] is None
    assert invoked[0] == FIVE
    assert isinstance(invoked[1], MeterRefused)
    assert [type(request) for request in meter.asked] == [writing.SetRequest] * 2 + [acting.ActionRequest] * 2


async def test_a_list_is_cut_to_what_a_meter_without_blocks_takes() -> None:
    granted = EVERYTHING & ~Conformance.BLOCK_TRANSFER_SET
    meter = Meter(
        [setlist.SetResponseList(0xC1, (0,) * 4), setlist.SetResponseList(0xC2, (0,) * 2)], granted, max_pdu=64
    )

    async with talking(meter) as talk:
        written = await talk.set_many([(VALUE, FIVE)] * 6)

    assert written == [None] * 6
    assert all(len(request.encode()) <= 64 for request in meter.asked)


async def test_access_is_one_exchange() -> None:
    results = (AccessResult("get", 0, FIVE), AccessResult("set", 0, axdr.NULL))
    meter = Meter([accessing.AccessResponse(1, results)])

    async with talking(meter, services=("access",)) as talk:
        answer = await talk.access([(AccessItem("get", VALUE), axdr.NULL), (AccessItem("set", VALUE), FIVE)])

    assert answer == results
    assert len(meter.asked) == 1


BLOCKS = EVERYTHING | Conformance.GENERAL_BLOCK_TRANSFER


@pytest.mark.parametrize("window", [1, 3, 7])
@pytest.mark.parametrize("own", [1, 7])
async def test_a_long_answer_comes_in_general_blocks(window: int, own: int) -> None:
    meter = Meter([xdlms.GetResponse(0xC1, LONG)], BLOCKS, max_pdu=100, window=window)

    async with talking(meter, block_window=own) as talk:
        value = await talk.get(VALUE)

    assert value == LONG
    assert meter.blocks == 12


async def test_a_long_question_goes_in_general_blocks_where_the_service_has_none_of_its_own() -> None:
    granted = BLOCKS & ~Conformance.BLOCK_TRANSFER_SET
    meter = Meter([writing.SetResponse(0xC1, 0)], granted, max_pdu=100)

    async with talking(meter, block_window=3) as talk:
        await talk.set(VALUE, LONG)

    assert meter.asked == [writing.SetRequest(0xC1, VALUE, LONG)]


@pytest.mark.parametrize("lost", [{1}, {2}, {3}, {1, 4}])
async def test_general_blocks_lost_on_the_way_are_sent_again(lost: set[int]) -> None:
    meter = Meter([xdlms.GetResponse(0xC1, LONG)], BLOCKS, max_pdu=100, lost=frozenset(lost))

    async with talking(meter, block_window=3) as talk:
        assert await talk.get(VALUE) == LONG

    assert len(meter.asked) == 1


async def test_general_blocks_that_were_not_agreed_on_are_an_error() -> None:
    meter = Meter([xdlms.GetResponse(0xC1, LONG)], EVERYTHING, max_pdu=100)

    async with talking(meter, block_window=3) as talk:
        with pytest.raises(RemoteProtocolError, match="0xe0 is not one we know"):
            await talk.get(VALUE)
