"""Each thing that a simulated meter can do against its protocol really happens, and only when it was told to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from drivers.dlms.session import Conversation
from drivers.dlms.xdlms import Attribute
from drivers.errors import (
    ConnectionLost,
    CounterError,
    DriverError,
    MeterRefused,
    RemoteProtocolError,
    SecurityError,
    TransportTimeout,
)
from drivers.obis import Obis
from drivers.transports import open_transport
from simulators.dlms.server import DlmsServer
from simulators.faults import Deed, Misdeed, Stage, parse_fault
from tests.simulators.reading import context, dlms_session
from tests.simulators.test_dlms import ENERGY, NOW, SETTINGS, client, named, served

NAME = Attribute(1, Obis(0, 0, 42, 0, 0), 2)
PROFILE = Attribute(7, Obis(1, 0, 99, 1, 0), 2)
SURVIVED = None
ONCE_A_TALK = frozenset(
    {
        Deed.REFLECTED_CHALLENGE, Deed.REFLECTED_PROOF, Deed.WRONG_PROOF, Deed.SKIPPED_PROOF, Deed.CLIENT_TITLE,
        Deed.OTHER_TITLE, Deed.ENDLESS_BLOCKS,
    }
)  # fmt: skip


@asynccontextmanager
async def talk(
    framing: str, authentication: str, *faults: Misdeed, max_pdu: int = 0xFFFF
) -> AsyncIterator[Conversation]:
    settings = replace(SETTINGS[authentication], max_pdu=max_pdu)
    async with served(framing, settings, named(17, *faults)) as url:
        stream = await open_transport(url)
        opened = Conversation(stream, client(framing, authentication), context(lambda: NOW, scale=0.02))
        try:
            await opened.open()
            yield opened
        finally:
            await stream.close()


# Deed, framing, authentication, largest PDU of the meter, what the driver makes of it.
TOLD: list[tuple[Deed, str, str, int, type[DriverError] | None]] = [
    (Deed.WRONG_TAG, "wrapper", "hls5", 0xFFFF, SecurityError),
    (Deed.PLAIN_ANSWER, "wrapper", "hls5", 0xFFFF, SecurityError),
    (Deed.WEAKER_ANSWER, "wrapper", "hls5", 0xFFFF, SecurityError),
    (Deed.COUNTER_STUCK, "hdlc", "hls5", 0xFFFF, CounterError),
    (Deed.COUNTER_RESET, "wrapper", "hls5", 0xFFFF, CounterError),
    (Deed.REPLAYED_ANSWER, "wrapper", "hls5", 0xFFFF, CounterError),
    (Deed.REPLAYED_ANSWER, "wrapper", "none", 0xFFFF, RemoteProtocolError),
    (Deed.REFLECTED_CHALLENGE, "wrapper", "hls5", 0xFFFF, SecurityError),
    (Deed.REFLECTED_PROOF, "wrapper", "hls5", 0xFFFF, SecurityError),
    (Deed.WRONG_PROOF, "hdlc", "hls5", 0xFFFF, SecurityError),
    (Deed.SKIPPED_PROOF, "wrapper", "hls5", 0xFFFF, SecurityError),
    (Deed.CLIENT_TITLE, "wrapper", "hls5", 0xFFFF, SecurityError),
    (Deed.OTHER_TITLE, "wrapper", "hls5", 0xFFFF, SecurityError),
    (Deed.OTHER_METER, "wrapper", "none", 0xFFFF, RemoteProtocolError),
    (Deed.OTHER_METER, "hdlc", "none", 0xFFFF, RemoteProtocolError),
    (Deed.WRONG_INVOKE_ID, "wrapper", "none", 0xFFFF, RemoteProtocolError),
    (Deed.WRONG_INVOKE_ID, "wrapper", "hls5", 0xFFFF, RemoteProtocolError),
    (Deed.LATE_ANSWER, "wrapper", "none", 0xFFFF, RemoteProtocolError),
    (Deed.LATE_ANSWER, "hdlc", "hls5", 0xFFFF, RemoteProtocolError),
    (Deed.HELD_ANSWER, "wrapper", "none", 0xFFFF, TransportTimeout),
    (Deed.NO_ANSWER, "wrapper", "none", 0xFFFF, TransportTimeout),
    (Deed.HANG_UP, "wrapper", "none", 0xFFFF, ConnectionLost),
    (Deed.HANG_UP, "hdlc", "none", 0xFFFF, ConnectionLost),
    (Deed.TRUNCATED_ANSWER, "wrapper", "none", 0xFFFF, RemoteProtocolError),
    (Deed.UNKNOWN_SERVICE, "wrapper", "none", 0xFFFF, RemoteProtocolError),
    (Deed.UNKNOWN_SERVICE, "wrapper", "hls5", 0xFFFF, SecurityError),
    (Deed.NESTED_ANSWER, "hdlc", "none", 0xFFFF, RemoteProtocolError),
    (Deed.CUT_BLOCKS, "wrapper", "none", 64, RemoteProtocolError),
    (Deed.ENDLESS_BLOCKS, "wrapper", "none", 64, RemoteProtocolError),
    (Deed.REPEATED_BLOCK, "wrapper", "none", 64, RemoteProtocolError),
    (Deed.SKIPPED_BLOCK, "hdlc", "none", 64, RemoteProtocolError),
    (Deed.UNENDED_SEGMENTS, "hdlc", "none", 0xFFFF, DriverError),
    (Deed.WRONG_SEQUENCE, "hdlc", "none", 0xFFFF, RemoteProtocolError),
    (Deed.WRONG_FCS, "hdlc", "none", 0xFFFF, SURVIVED),
    (Deed.FLAG_STORM, "hdlc", "none", 0xFFFF, SURVIVED),
]


@pytest.mark.parametrize(("deed", "framing", "authentication", "max_pdu", "error"), TOLD)
async def test_a_misdeed_happens_at_its_chance_and_not_before(
    deed: Deed, framing: str, authentication: str, max_pdu: int, error: type[DriverError] | None
) -> None:
    misdeed = Misdeed(deed, first=1 if deed in ONCE_A_TALK else 2, times=1)

    async def read() -> list[Any]:
        async with talk(framing, authentication, misdeed, max_pdu=max_pdu) as opened:
            first = await opened.get(PROFILE if max_pdu == 64 else NAME)
            return [first, await opened.get(PROFILE if max_pdu == 64 else NAME)]

    if error is SURVIVED:
        first, second = await read()
        assert first == second
    else:
        with pytest.raises(error):
            await read()


async def test_without_misdeeds_the_same_questions_are_answered() -> None:
    async with talk("wrapper", "none") as opened:
        assert (await opened.get(NAME)).octets() == b"SIM0000000000017"
        assert len((await opened.get(PROFILE)).items()) == 5


async def test_a_misdeed_told_once_does_not_come_back_in_the_next_association() -> None:
    once = Misdeed(Deed.REFLECTED_CHALLENGE, times=1)
    async with served("wrapper", SETTINGS["hls5"], named(17, once)) as url:
        with pytest.raises(SecurityError, match="our own challenge"):
            async with dlms_session(url, client("wrapper", "hls5"), context(lambda: NOW)):
                pass
        later = client("wrapper", "hls5", invocation_counter="5000")
        async with dlms_session(url, later, context(lambda: NOW)) as session:
            assert (await session.read_identity()).name == "SIM0000000000017"


async def test_a_stage_narrows_a_misdeed_to_its_answers() -> None:
    with pytest.raises(SecurityError, match="tag is wrong"):
        async with talk("wrapper", "hls5", Misdeed(Deed.WRONG_TAG, stage=Stage.AARE)):
            pytest.fail("opened")
    async with talk("wrapper", "hls5", Misdeed(Deed.WRONG_TAG, stage=Stage.SET)) as opened:
        assert (await opened.get(NAME)).octets() == b"SIM0000000000017"


async def test_another_identity_is_told_from_the_meters_own() -> None:
    async with talk("wrapper", "none", Misdeed(Deed.OTHER_IDENTITY)) as opened:
        assert (await opened.get(NAME)).octets() == b"SIM0000000000018"


@pytest.mark.parametrize("deed", [Deed.REFUSES_RANGE, Deed.REFUSES_DEVIATION])
async def test_a_range_refused_is_read_otherwise(deed: Deed) -> None:
    async with (
        served("wrapper", SETTINGS["none"], named(17, Misdeed(deed))) as url,
        dlms_session(url, client("wrapper", "none"), context(lambda: NOW)) as session,
    ):
        (block,) = await session.read_load_profile(NOW - 6 * 1800, NOW)
        (register,) = await session.read_registers([ENERGY])

    assert list(block.counts) == [100, 0, 360, None, 7, 900]  # type: ignore[union-attr]
    assert register.value is not None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("wrong-tag,first=0", "count from 1"),
        ("wrong-tag,stage=tea", "tea"),
        ("wrong-tag,deed=no-answer", "no setting"),
        ("wrong-tags", "plain-answer"),
    ],
)
def test_a_misdeed_that_cannot_be_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_fault(text, 0)


def test_every_deed_is_told_from_the_command_line() -> None:
    for deed in Deed:
        assert parse_fault(f"{deed},first=2,times=3,stage=get", 0) == Misdeed(deed, 2, 3, Stage.GET)


async def test_a_refusal_leaves_the_association_open() -> None:
    async with talk("wrapper", "none") as opened:
        with pytest.raises(MeterRefused):
            await opened.get(Attribute(3, Obis(1, 0, 99, 8, 0), 2))
        await opened.get(NAME)


async def asked_twice(framing: str, misdeed: Misdeed, *, max_pdu: int = 0xFFFF, max_info: int = 2030) -> list[Any]:
    """Read the load profile twice with a client that takes so much at a time."""
    endpoint = client(framing, "none")
    assert endpoint.profile.dlms is not None
    dlms = replace(endpoint.profile.dlms, max_pdu=max_pdu, max_info=max_info)
    async with served(framing, SETTINGS["none"], named(17, misdeed)) as url:
        stream = await open_transport(url)
        meter = replace(endpoint, profile=replace(endpoint.profile, dlms=dlms))
        opened = Conversation(stream, meter, context(lambda: NOW, scale=0.02))
        try:
            await opened.open()
            return [await opened.get(PROFILE), await opened.get(PROFILE)]
        finally:
            await stream.close()


async def test_an_oversized_answer_comes_whole_where_blocks_were_due(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    receive = DlmsServer.receive

    def measuring(self: DlmsServer, apdu: bytes, now: int) -> bytes | None:
        answer = receive(self, apdu, now)
        sizes.append(len(answer or b""))
        return answer

    monkeypatch.setattr(DlmsServer, "receive", measuring)
    with suppress(DriverError):  # whether it is taken is the client's affair
        await asked_twice("wrapper", Misdeed(Deed.OVERSIZED_ANSWER, first=2), max_pdu=64)

    *before, last = sizes
    assert max(before) <= 64 < last


@pytest.mark.parametrize("deed", [Deed.CUT_SEGMENTS, Deed.UNENDED_SEGMENTS])
async def test_segments_that_end_wrongly_are_refused(deed: Deed) -> None:
    with pytest.raises(DriverError):
        await asked_twice("hdlc", Misdeed(deed, first=2), max_info=64)


async def test_a_frame_beyond_the_window_is_noticed() -> None:
    with pytest.raises(DriverError):
        await asked_twice("hdlc", Misdeed(Deed.WINDOW_VIOLATION, first=1))


async def test_an_answer_that_comes_twice_is_taken_once() -> None:
    twice = Misdeed(Deed.DOUBLED_ANSWER, times=1)

    first, second = await asked_twice("hdlc", twice)
    with pytest.raises(RemoteProtocolError, match="late answer"):
        await asked_twice("wrapper", twice)

    assert first == second


async def test_a_meter_that_demands_the_deviation_is_given_it_where_it_is_told() -> None:
    async with (
        served(
            "wrapper", SETTINGS["none"], named(17, Misdeed(Deed.DEMANDS_DEVIATION), Misdeed(Deed.REFUSES_ENTRY))
        ) as url,
        dlms_session(url, client("wrapper", "none"), context(lambda: NOW)) as session,
    ):
        (block,) = await session.read_load_profile(NOW - 6 * 1800, NOW)

    assert list(block.counts) == [100, 0, 360, None, 7, 900]  # type: ignore[union-attr]
