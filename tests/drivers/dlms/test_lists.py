"""Several attributes at once, and commands, in a conversation with a scripted meter: fallbacks, blocks, and who may write."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from drivers.dlms import acse, axdr, getlist, writing, xdlms
from drivers.dlms.axdr import Data
from drivers.dlms.hdlc import HdlcAddress
from drivers.dlms.session import Conversation
from drivers.dlms.xdlms import Attribute, Conformance
from drivers.errors import LocalProtocolError, MeterRefused, RemoteProtocolError
from drivers.obis import Obis
from drivers.transports import null_modem
from tests.drivers.dlms.meter import INTERVALS, REGISTER, Meter, serving
from tests.drivers.dlms.test_driver import HDLC, context, endpoint, session, with_dlms

NAME, VALUE = Attribute(1, Obis(0, 0, 42, 0, 0), 2), Attribute(3, REGISTER, 2)
ABSENT = Attribute(3, INTERVALS, 2)
METHOD = Attribute(70, Obis(0, 0, 96, 3, 10), 1)
ALL = (
    Conformance.GET
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.SET
    | Conformance.BLOCK_TRANSFER_SET
    | Conformance.ACTION
)


@dataclass
class ListMeter(Meter):
    """Grants lists and SET. ``refuses``: how it answers a list, None for rightly. ``written``: what it was told."""

    refuses: xdlms.Apdu | None = None
    max_pdu: int = 0
    written: list[tuple[Attribute, Data | None]] = field(default_factory=list)
    blocks: bytes = b""
    target: Attribute = NAME

    def answer(self, apdu: bytes) -> bytes:
        if apdu[0] == acse.AARQ:
            granted = xdlms.InitiateResponse(ALL, self.max_pdu)
            return acse.Aare(user_information=granted.encode()).encode()
        if apdu[0] not in {getlist.GET_REQUEST, writing.SET_REQUEST, xdlms.ACTION_REQUEST}:
            return super().answer(apdu)
        request = xdlms.decode(apdu)
        if isinstance(request, xdlms.GetRequest):
            return super().answer(apdu)
        self.received.append(apdu)
        match request:
            case getlist.GetRequestList():
                return self.listed(request).encode()
            case writing.SetRequest():
                self.written.append((request.attribute, request.data))
                return writing.SetResponse(request.invoke_id, 0).encode()
            case writing.SetRequestFirstBlock():
                self.blocks, self.target = request.raw, request.attribute
                return writing.SetResponseBlock(request.invoke_id, 1).encode()
            case writing.SetRequestBlock():
                self.blocks += request.raw
                if not request.is_last:
                    return writing.SetResponseBlock(request.invoke_id, request.block_number).encode()
                self.written.append((self.target, axdr.decode(self.blocks)))
                return writing.SetResponseLastBlock(request.invoke_id, 0, request.block_number).encode()
            case xdlms.ActionRequest():
                self.written.append((request.method, request.parameters))
                return xdlms.ActionResponse(request.invoke_id, 0, axdr.unsigned(7)).encode()
        raise AssertionError(request)

    def listed(self, request: getlist.GetRequestList) -> xdlms.Apdu:
        if self.refuses is not None:
            return self.refuses
        values = [self.value(attribute, None) for attribute, _ in request.items]
        return getlist.GetResponseList(
            request.invoke_id,
            tuple(
                getlist.GetResult(None, value) if isinstance(value, int) else getlist.GetResult(value)
                for value in values
            ),
        )

    @property
    def kinds(self) -> list[int]:
        """Second octets of what was asked: 1 one value, 3 a list."""
        return [apdu[1] for apdu in self.received if apdu[0] == getlist.GET_REQUEST]


@asynccontextmanager
async def conversation(meter: ListMeter, *, may_write: bool = False) -> AsyncIterator[Conversation]:
    near, far = null_modem()
    async with serving(meter, far):
        profile = with_dlms(framing="hdlc" if meter.hdlc else "wrapper")
        opened = Conversation(near, endpoint(profile, str(meter.hdlc or 1)), context(), may_write=may_write)
        await opened.open()
        yield opened
        await opened.close()


@pytest.mark.parametrize(
    "refusal",
    [xdlms.GetResponse(0xC1, None, 250), xdlms.ExceptionResponse(1, 2), xdlms.GetResponseBlock(0xC1, True, 1, None, 2)],  # noqa: FBT003
    ids=["data-access-result", "exception", "block"],
)
async def test_a_meter_that_refuses_a_list_is_asked_one_by_one_and_never_for_a_list_again(refusal: xdlms.Apdu) -> None:
    meter = ListMeter(refuses=refusal)

    async with conversation(meter) as opened:
        replies = await opened.get_many([NAME, VALUE])
        await opened.get_many([NAME, VALUE])

    assert replies[0].data.octets() == b"TST0000000000001"
    assert meter.kinds == [3, 1, 1, 1, 1]


async def test_a_list_with_too_few_results_is_not_guessed_at() -> None:
    meter = ListMeter(refuses=getlist.GetResponseList(0xC1, (getlist.GetResult(axdr.unsigned(1)),)))

    async with conversation(meter) as opened:
        with pytest.raises(RemoteProtocolError, match="1 results for a list of 2"):
            await opened.get_many([NAME, VALUE])


async def test_registers_and_their_scalers_come_in_one_list() -> None:
    meter = ListMeter()

    async with session(meter) as opened:
        (first,) = await opened.read_registers([REGISTER])
        (again,) = await opened.read_registers([REGISTER])

    assert first == again
    assert meter.kinds == [3, 1]  # the scaler is known the second time


async def test_an_absent_register_among_others_is_a_refusal_that_names_it() -> None:
    async with session(ListMeter()) as opened:
        with pytest.raises(MeterRefused, match=r"1\.29\.0.*object-undefined"):
            await opened.read_registers([REGISTER, INTERVALS])


async def test_tolerantly_each_attribute_has_its_own_answer() -> None:
    async with conversation(ListMeter()) as opened:
        name, absent = await opened.get_many([NAME, ABSENT], is_tolerant=True)

    assert name.data.octets() == b"TST0000000000001"
    assert isinstance(absent.value, MeterRefused)


@pytest.mark.parametrize("hdlc", [None, HDLC], ids=["wrapper", "hdlc"])
@pytest.mark.parametrize(("max_pdu", "requests"), [(0, 1), (64, 5)], ids=["whole", "in blocks"])
async def test_a_command_sets_a_value_and_invokes_a_method(
    hdlc: HdlcAddress | None, max_pdu: int, requests: int
) -> None:
    meter = ListMeter(hdlc=hdlc, max_pdu=max_pdu)
    text = axdr.octet_string(bytes(200))

    async with conversation(meter, may_write=True) as opened:
        await opened.set(VALUE, text)
        returned = await opened.act(METHOD, axdr.integer(0))

    assert meter.written == [(VALUE, text), (METHOD, axdr.integer(0))]
    assert returned == axdr.unsigned(7)
    assert sum(apdu[0] == writing.SET_REQUEST for apdu in meter.received) == requests


async def test_who_reads_cannot_write() -> None:
    meter = ListMeter()

    async with conversation(meter) as opened:
        with pytest.raises(LocalProtocolError, match="opened for reading"):
            await opened.set(VALUE, axdr.unsigned(1))
        with pytest.raises(LocalProtocolError, match="opened for reading"):
            await opened.act(METHOD)
        (reply,) = await opened.get_many([NAME])

    assert reply.data
    assert meter.written == []
