"""What arrives that nobody asked for, between question and answer or beyond them, on its way through a conversation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from drivers.contract import ByteStream
from drivers.dlms import acse, axdr, session, shortnames, xdlms
from drivers.dlms.association import ClientAssociation
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.basenames import ASSOCIATION
from drivers.dlms.ciphering import Keys
from drivers.dlms.events import NEED_DATA, Apdu
from drivers.dlms.gateway import REQUEST, RESPONSE, Gateway
from drivers.dlms.hdlc import LLC_RESPONSE, Frame, HdlcAddress, Kind
from drivers.dlms.link import HdlcLink
from drivers.dlms.noticing import EventNotification
from drivers.dlms.parameters import Parameters
from drivers.dlms.session import Conversation
from drivers.dlms.transfer import BlockTransfer, GeneralBlock
from drivers.dlms.wrapper import WrapperLink
from drivers.dlms.xdlms import Attribute, Conformance
from drivers.errors import ConnectionLost, RemoteProtocolError, SecurityError, TransportTimeout
from drivers.obis import Obis
from drivers.profile import MeterProfile, TimingProfile
from drivers.transports import null_modem
from tests.drivers.dlms.meter import PROFILE, Meter, serving
from tests.drivers.dlms.test_driver import HDLC, context, endpoint, with_dlms

VALUE = Attribute(3, Obis(1, 0, 1, 8, 0), 2)
OTHER = Attribute(3, Obis(1, 0, 2, 8, 0), 2)
EVENT = EventNotification(b"", VALUE, axdr.unsigned(9))
DATA = xdlms.DataNotification(7, b"", axdr.unsigned(9))
BEHIND = Gateway(3, b"012")
CLIENT = HdlcAddress(16)
KEYS = Keys(bytes(16), bytes(range(16)))


@asynccontextmanager
async def answering(
    answer: Callable[[bytes], list[bytes]], profile: MeterProfile, *, gateway: Gateway | None = None
) -> AsyncIterator[Conversation]:
    """Converse with a meter on a wrapper; all that ``answer`` gives goes in one piece."""
    near, far = null_modem()
    options = {} if gateway is None else {"gateway": str(gateway)}

    async def serve(stream: ByteStream) -> None:
        link = WrapperLink(1, None)
        with suppress(ConnectionLost):
            while True:
                link.receive_data(await stream.read(60))
                while (event := link.next_event()) is not NEED_DATA:
                    asked = event.octets if gateway is None else gateway.unwrap(event.octets, REQUEST)
                    said = answer(asked)
                    if gateway is not None:
                        said = [gateway.wrap(one, RESPONSE) for one in said]
                    await stream.write(b"".join(link.send(Apdu(one)) for one in said))

    task = asyncio.create_task(serve(far))
    conversation = Conversation(near, endpoint(profile, **options), context())
    try:
        await conversation.open()
        yield conversation
    finally:
        await conversation.close()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def granted(conformance: Conformance, name: int = xdlms.LOGICAL_NAMES, max_pdu: int = 0xFFFF) -> bytes:
    response = xdlms.InitiateResponse(conformance, max_pdu, name=name).encode()
    return acse.Aare(acse.ApplicationContext.LOGICAL_NAME, user_information=response).encode()


def value_of(apdu: bytes, count: int = 5) -> bytes:
    request = xdlms.decode(apdu)
    assert isinstance(request, xdlms.GetRequest)
    return xdlms.GetResponse(request.invoke_id, axdr.unsigned(count)).encode()


# -- short names: answers have no number


def short_meter(apdu: bytes) -> list[bytes]:
    """Answer each READ of a value twice over."""
    if apdu[0] == acse.AARQ:
        return [granted(Conformance.READ, ASSOCIATION)]
    if apdu[0] == acse.RLRQ:
        return [acse.Release(is_response=True).encode()]
    request = xdlms.decode(apdu)
    assert isinstance(request, shortnames.ReadRequest)
    (variable,) = request.items
    assert isinstance(variable, shortnames.Variable)
    if variable.name == ASSOCIATION + 8:
        entries = [
            axdr.structure(
                Data(Tag.LONG, base), axdr.long_unsigned(3), axdr.unsigned(0), axdr.octet_string(one.to_bytes())
            )
            for base, one in ((0x100, VALUE.logical_name), (0x200, OTHER.logical_name))
        ]
        return [shortnames.ReadResponse((shortnames.ReadResult(axdr.array(entries)),)).encode()]
    value = axdr.unsigned(1 if variable.name == 0x108 else 2)
    return [shortnames.ReadResponse((shortnames.ReadResult(value),)).encode()] * 2


async def test_an_answer_that_comes_twice_is_not_taken_for_the_next_one_where_answers_have_no_number() -> None:
    async with answering(short_meter, with_dlms(referencing="short-name")) as meter:
        assert (await meter.get(VALUE)).integer() == 1
        with pytest.raises(RemoteProtocolError, match="before it was asked"):
            await meter.get(OTHER)


# -- on a wrapper


def noticing_meter(apdu: bytes) -> list[bytes]:
    """Say something of its own before the answer."""
    if apdu[0] == acse.AARQ:
        return [granted(Conformance.GET)]
    if apdu[0] == acse.RLRQ:
        return [acse.Release(is_response=True).encode()]
    return [EVENT.encode(), value_of(apdu)]


@pytest.mark.parametrize("gateway", [None, BEHIND], ids=["direct", "gateway"])
async def test_an_event_before_the_answer_is_noticed_also_behind_a_gateway(gateway: Gateway | None) -> None:
    async with answering(noticing_meter, PROFILE, gateway=gateway) as meter:
        value = await meter.get(VALUE)
        notices = list(meter.notices)

    assert (value.integer(), notices) == (5, [EVENT])


def blockwise(apdu: bytes) -> list[bytes]:
    """Say something of its own, and answer in general blocks, streaming."""
    if apdu[0] == acse.AARQ:
        return [granted(Conformance.GET | Conformance.GENERAL_BLOCK_TRANSFER)]
    if apdu[0] == acse.RLRQ:
        return [acse.Release(is_response=True).encode()]
    answer = value_of(apdu)
    first, last = GeneralBlock(1, 0, answer[:3], is_streaming=True), GeneralBlock(2, 0, answer[3:], is_last=True)
    return [EVENT.encode(), first.encode(), last.encode()]


@pytest.mark.parametrize("gateway", [None, BEHIND], ids=["direct", "gateway"])
async def test_an_event_before_an_answer_in_blocks_is_noticed_and_the_blocks_are_joined(
    gateway: Gateway | None,
) -> None:
    async with answering(blockwise, with_dlms(block_window=4), gateway=gateway) as meter:
        value = await meter.get(VALUE)
        notices = list(meter.notices)

    assert (value.integer(), notices) == (5, [EVENT])


async def test_the_rest_of_a_block_that_comes_too_late_is_not_cut_out_of_its_middle() -> None:
    near, far = null_modem()
    text = bytes(range(60))

    async def serve(stream: ByteStream) -> None:
        link = WrapperLink(1, None)

        async def asked() -> bytes:
            while (event := link.next_event()) is NEED_DATA:
                link.receive_data(await stream.read(60))
            return event.octets

        async def say(*apdus: bytes) -> None:
            await stream.write(b"".join(link.send(Apdu(one)) for one in apdus))

        await asked()
        await say(granted(Conformance.GET | Conformance.GENERAL_BLOCK_TRANSFER))
        request = xdlms.decode(await asked())
        assert isinstance(request, xdlms.GetRequest)
        answer = xdlms.GetResponse(request.invoke_id, axdr.octet_string(text)).encode()
        await say(GeneralBlock(1, 0, answer[:10], is_streaming=True).encode())
        last = link.send(Apdu(GeneralBlock(2, 0, answer[10:], is_last=True).encode()))
        await stream.write(last[:40])
        await asyncio.sleep(0.3)  # after the time we allow, before we ask again
        await stream.write(last[40:])
        await asked()
        await stream.write(last)

    profile = replace(with_dlms(block_window=4), timing=TimingProfile(latency=0.01, turnaround=0.5))
    conversation = Conversation(near, endpoint(profile), context())
    task = asyncio.create_task(serve(far))
    try:
        await conversation.open()
        value = await conversation.get(VALUE)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    assert value.octets() == text


def test_blocks_of_which_the_first_was_lost_are_asked_for_from_the_beginning() -> None:
    transfer = BlockTransfer(window=4)

    assert transfer.receive(GeneralBlock(2, 0, b"12", is_streaming=True).encode()) is None
    (asked,) = transfer.repeat()

    assert asked == GeneralBlock(1, 0, b"", is_last=True, window=4).encode()


# -- on HDLC: frames outside the count (UI)


def unnumbered(octets: bytes, source: HdlcAddress = HDLC, destination: HdlcAddress = CLIENT) -> bytes:
    return Frame(destination, source, Kind.UI, poll_final=False, information=LLC_RESPONSE + octets).encode()


LIE = xdlms.GetResponse(0xC1, axdr.octet_string(b"a lie")).encode()  # the invoke-id of the first question


@pytest.mark.parametrize(
    ("said", "noticed"),
    [
        (unnumbered(EVENT.encode()), [EVENT]),
        (unnumbered(DATA.encode()), [DATA]),
        (unnumbered(LIE), []),
        (unnumbered(b"\xff\xff"), []),
        (unnumbered(EVENT.encode(), source=HdlcAddress(1, 18)), []),
        (unnumbered(EVENT.encode(), destination=HdlcAddress(17)), []),
        (Frame(CLIENT, HDLC, Kind.UI).encode(), []),
    ],
    ids=["event", "data", "an answer", "rubbish", "another meter's", "to another client", "empty"],
)
@pytest.mark.parametrize("number", range(5), ids=["opening", "associating", "asked", "releasing", "closing"])
async def test_a_frame_outside_the_count_is_a_notice_and_never_an_answer(
    said: bytes, noticed: list[object], number: int
) -> None:
    near, far = null_modem()
    meter = Meter(hdlc=HDLC, disturb=lambda at, octets: said + octets if at == number else octets)
    conversation = Conversation(near, endpoint(with_dlms(framing="hdlc"), str(HDLC)), context())

    async with serving(meter, far):
        await conversation.open()
        value = await conversation.get(Attribute(1, Obis(0, 0, 42, 0, 0), 2))
        await conversation.close()

    assert value.octets() == b"TST0000000000001"
    assert list(conversation.notices) == (noticed if number in {1, 2, 3} else [])


async def test_frames_outside_the_count_without_end_end_in_a_timeout() -> None:
    near, far = null_modem()
    meter = Meter(hdlc=HDLC, disturb=lambda at, octets: octets if at < 2 else unnumbered(EVENT.encode()))
    profile = replace(with_dlms(framing="hdlc"), timing=TimingProfile(latency=0.01))
    conversation = Conversation(near, endpoint(profile, str(HDLC)), context())

    async with serving(meter, far):
        await conversation.open()
        with pytest.raises(TransportTimeout):
            await conversation.get(VALUE)
        await conversation.close()

    assert len(conversation.notices) <= 16


def test_a_plain_notice_in_a_ciphered_association_is_not_believed() -> None:
    association = ClientAssociation(Parameters(security="authenticated-encrypted", keys=KEYS, client_title=b"HEADEND1"))
    assert association.channel is not None
    association.channel.set_peer(b"METER001")

    with pytest.raises(SecurityError, match="globally ciphered"):
        association.overhear(EVENT.encode())


@pytest.mark.parametrize("kind", [Kind.I, Kind.RR, Kind.RNR])
async def test_what_is_left_of_the_session_before_does_not_keep_a_link_from_opening(kind: Kind) -> None:
    near, far = null_modem()
    late = Frame(CLIENT, HDLC, kind, 3 if kind is Kind.I else 0, 4, information=LIE if kind is Kind.I else b"").encode()
    meter = Meter(hdlc=HDLC, disturb=lambda at, octets: late + octets if at == 0 else octets)
    conversation = Conversation(near, endpoint(with_dlms(framing="hdlc"), str(HDLC)), context())

    async with serving(meter, far):
        await conversation.open()
        value = await conversation.get(Attribute(1, Obis(0, 0, 42, 0, 0), 2))
        await conversation.close()

    assert value.octets() == b"TST0000000000001"


async def test_what_a_meter_says_when_its_link_is_kept_alive_is_noticed() -> None:
    near, far = null_modem()
    event = Frame(CLIENT, HDLC, Kind.I, 1, 1, information=LLC_RESPONSE + EVENT.encode()).encode()
    meter = Meter(hdlc=HDLC, disturb=lambda at, octets: event if at == 2 else octets)
    profile = with_dlms(framing="hdlc", inactivity_time_out=1)
    conversation = Conversation(near, endpoint(profile, str(HDLC)), replace(context(), timeout_scale=0.2))

    with suppress(RemoteProtocolError):  # the scripted link does not know that it has said this
        async with serving(meter, far):
            await conversation.open()
            async with asyncio.timeout(5):
                while not conversation.notices:  # noqa: ASYNC110  there is nothing to wait for but the notice
                    await asyncio.sleep(0.01)
            await conversation.close()

    assert list(conversation.notices) == [EVENT]


async def test_a_meter_that_never_comes_to_the_end_of_its_leave_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LONGEST_LEAVE", 0.4)
    near, far = null_modem()

    async def serve(stream: ByteStream) -> None:
        link, meter = HdlcLink("server", HDLC, None), Meter(hdlc=HDLC)
        for _ in range(2):  # SNRM and AARQ
            link.receive_data(await stream.read(60))
            event = link.next_event()
            said = link.send(Apdu(meter.answer(event.octets))) if isinstance(event, Apdu) else b""
            await stream.write(link.data_to_send() + said)
        with suppress(ConnectionLost):
            for number in range(1, 1_000):
                await stream.read(60)
                await asyncio.sleep(0.05)
                piece = Frame(CLIENT, HDLC, Kind.I, number % 8, 2, segmented=True, information=LLC_RESPONSE[:1])
                await stream.write(piece.encode())

    conversation = Conversation(near, endpoint(with_dlms(framing="hdlc"), str(HDLC)), context())
    task = asyncio.create_task(serve(far))
    await conversation.open()
    async with asyncio.timeout(5):
        await conversation.close()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
