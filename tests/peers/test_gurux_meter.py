"""Our driver reads a meter that none of us wrote, and refuses it when its answers are tampered with."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from drivers.contract import Credentials, Endpoint, SessionContext
from drivers.dlms.driver import DlmsSession, open_session
from drivers.dlms.hdlc import parse_frame
from drivers.errors import DriverError, MeterRefused, SecurityError
from drivers.facts import IntervalBlock, RegisterValue
from drivers.obis import Obis
from drivers.profile import ChannelProfile, DlmsColumn, DlmsProfile, DlmsRegister, MeterProfile
from drivers.transports import open_transport
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule
from tests.drivers.layouts import DLMS, layout_of
from tests.peers.meters import gurux_meter

pytest.importorskip("gurux_dlms", reason="the peer is not installed: pip install 'headend[peers]'")

NOW = 1_800_000_000
DAY = 1_767_225_600  # 2026-01-01T00:00:00Z
PERIOD = 1800
INTERVALS, REGISTER = Obis.parse("1-0:1.29.0*255"), Obis.parse("1-0:1.8.0*255")
DENIED = Obis.parse("1-0:2.8.0*255")
WATT_HOUR, TEN_WATT_HOURS = ScalerUnit(0, Unit.WATT_HOUR), ScalerUnit(1, Unit.WATT_HOUR)
FRAMINGS, AUTHENTICATIONS = ["wrapper", "hdlc"], ["none", "lls", "hls5"]

PROFILE = MeterProfile(
    "gurux",
    "dlms",
    "gurux-dlms 1.0.203, server",
    channels=(ChannelProfile(INTERVALS, PERIOD, WATT_HOUR, "load_profile"),),
    dlms=DlmsProfile(
        client_system_title=bytes.fromhex("4844450000000001"),
        firmware=Obis.parse("1-0:0.2.0*255"),
        load_profile=Obis.parse("1-0:99.1.0*255"),
        columns=(DlmsColumn(INTERVALS, INTERVALS), DlmsColumn(REGISTER, REGISTER, cumulative=True)),
        registers=(DlmsRegister(REGISTER, REGISTER),),
    ),
)


class Counters:
    """Remembers what was reserved."""

    def __init__(self) -> None:
        self.next = 0
        self.key_ids: set[str] = set()

    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:  # noqa: ARG002 - the Protocol's names
        start = max(self.next, floor)
        self.next = start + size
        self.key_ids.add(key_id)
        return range(start, self.next)

    async def note(self, key_id: str, counter: int) -> int:
        assert key_id
        assert counter >= 0
        return -1


def endpoint(known: dict[str, Any], **changes: Any) -> Endpoint:
    assert PROFILE.dlms is not None
    dlms = replace(PROFILE.dlms, framing=known["framing"], authentication=known["authentication"], **changes)
    keys = Credentials(
        known["password"].encode(),
        bytes.fromhex(known["encryption_key"]),
        bytes.fromhex(known["authentication_key"]),
    )
    return Endpoint("meter-42", "1", replace(PROFILE, dlms=dlms), keys)


@asynccontextmanager
async def session(port: int, meter: Endpoint) -> AsyncIterator[DlmsSession]:
    stream = await open_transport(f"tcp://127.0.0.1:{port}")
    try:
        context = SessionContext(lambda: NOW, os.urandom, Counters())
        async with open_session(stream, meter, context) as opened:
            yield opened
    finally:
        await stream.close()


@pytest.fixture(
    scope="module", params=[(framing, kind) for framing in FRAMINGS for kind in AUTHENTICATIONS], ids="-".join
)
def meter(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    framing, authentication = request.param
    with gurux_meter("--framing", framing, "--authentication", authentication) as known:
        yield known


async def test_an_independent_meter_is_read(meter: dict[str, Any]) -> None:
    async with session(meter["port"], endpoint(meter)) as opened:
        identity = await opened.read_identity()
        clock = await opened.read_clock()
        (register,) = await opened.read_registers([REGISTER])
        facts = await opened.read_load_profile(DAY, DAY + 86_400)

    assert (identity.name, identity.firmware) == (meter["name"], meter["firmware"])
    assert (clock.host, clock.is_invalid) == (NOW, False)
    assert register == RegisterValue(REGISTER, meter["register"], TEN_WATT_HOURS, NOW)
    block, *registers = facts
    assert block == IntervalBlock(INTERVALS, WATT_HOUR, DAY, PERIOD, tuple(10 * value for value in meter["values"]))
    assert [fact.captured_at for fact in registers if isinstance(fact, RegisterValue)] == [
        DAY + PERIOD * (1 + slot) for slot in range(48)
    ]


async def test_a_day_in_blocks_and_short_segments_is_the_same_day(meter: dict[str, Any]) -> None:
    # 90 octets: AARQ goes in two segments, the ciphered selection (86) in one, because 1.0.203 cannot join ciphered ones.
    async with session(meter["port"], endpoint(meter, max_pdu=300, max_info=90)) as opened:
        block, *_ = await opened.read_load_profile(DAY, DAY + 86_400)

    assert isinstance(block, IntervalBlock)
    assert list(block.counts) == [10 * value for value in meter["values"]]


@pytest.mark.parametrize("ways", ["entry,none", "none"])
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_meter_that_refuses_one_way_of_selection_is_asked_another(framing: str, ways: str) -> None:
    with gurux_meter("--framing", framing, "--selective-access", ways) as known:
        async with session(known["port"], endpoint(known)) as opened:
            block, *_ = await opened.read_load_profile(DAY + 36_000, DAY + 43_200)

    assert isinstance(block, IntervalBlock)
    assert block.counts == tuple(10 * value for value in known["values"][20:24])


@pytest.mark.parametrize("ways", [("range",), ("columns", "range")])
async def test_an_independent_meters_profile_status_becomes_quality(ways: tuple[str, ...]) -> None:
    words = [0, 0x08, 0x80, 0x28, 0x06, 0x40]
    told = ",".join(map(str, words))
    with gurux_meter("--values", "1,2,3,4,5,6", "--status", told) as known:
        meant = endpoint(known, selective_access=ways)
        meant = replace(meant, profile=replace(meant.profile, status_layout=layout_of("idis-base", **DLMS)))
        async with session(known["port"], meant) as opened:
            block, *registers = await opened.read_load_profile(DAY, DAY + 6 * PERIOD)

    assert isinstance(block, IntervalBlock)
    assert block.counts == (10, 20, 30, 40, 50, 60)
    assert block.rules == (
        Rule(0), Rule(0), Rule.POWER_FAILURE, Rule.CLOCK_SET, Rule.METER_STATUS, Rule.STATUS_UNKNOWN
    )  # fmt: skip
    assert [(said.start, said.word) for said in block.status] == [
        (DAY + slot * PERIOD, words[slot]) for slot in range(2, 6)
    ]
    assert [fact.rules for fact in registers if isinstance(fact, RegisterValue)] == [
        {4: Rule.METER_STATUS, 5: Rule.STATUS_UNKNOWN}.get(slot, Rule(0)) for slot in range(6)
    ]


async def test_an_object_the_meter_denies_is_refused_and_the_session_goes_on(meter: dict[str, Any]) -> None:
    async with session(meter["port"], endpoint(meter)) as opened:
        with pytest.raises(MeterRefused, match="read-write-denied"):
            await opened.read_registers([DENIED])
        identity = await opened.read_identity()

    assert identity.name == meter["name"]


async def test_a_wrong_password_is_a_security_error() -> None:
    with gurux_meter("--authentication", "lls") as known:
        meter = endpoint({**known, "password": "87654321"})

        with pytest.raises(SecurityError, match="password"):
            async with session(known["port"], meter):
                pytest.fail("opened")


async def test_a_meter_that_wants_more_than_we_offer_is_a_security_error() -> None:
    with gurux_meter("--authentication", "hls5") as known:
        meter = endpoint({**known, "authentication": "none"})

        with pytest.raises(SecurityError, match="refuses the association"):
            async with session(known["port"], meter):
                pytest.fail("opened")


Alter = Callable[[int, bytes], bytes]


@asynccontextmanager
async def proxy(port: int, alter: Alter) -> AsyncIterator[int]:
    """Carry bytes to the meter on ``port`` and back, each answer through ``alter(its number, its octets)``."""

    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[None]] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Alter) -> None:
        number = 0
        with suppress(ConnectionError):
            while octets := await reader.read(65_536):
                writer.write(change(number, octets))
                number += 1
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_meter, to_meter = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, to_meter))
        tasks.append(asyncio.create_task(carry(from_meter, writer, alter)))
        tasks.append(asyncio.create_task(carry(reader, to_meter, lambda _, octets: octets)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await server.wait_closed()


def flip(octets: bytes, from_end: int) -> bytes:
    altered = bytearray(octets)
    altered[-from_end] ^= 0x01
    return bytes(altered)


def flip_within_frame(frame: bytes, from_end: int) -> bytes:
    """Flip a bit of the information and mend the checksum, as an attacker would."""
    parsed = parse_frame(frame[1:-1])
    return replace(parsed, information=flip(parsed.information, from_end)).encode()


# Answers of the meter: [UA,] AARE, proof of HLS-5, logical device name. Counted from the end: tag 1 to 12, then ciphertext.
@pytest.mark.parametrize(
    "from_end", [1, 12, 13, 20], ids=["tag", "tag's first octet", "ciphertext", "inner ciphertext"]
)
@pytest.mark.parametrize("answer", [0, 1, 2], ids=["AARE", "proof", "data"])
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_one_bit_of_a_ciphered_answer_flipped_in_transit_is_a_security_error(
    framing: str, answer: int, from_end: int
) -> None:
    with gurux_meter("--framing", framing, "--authentication", "hls5") as known:
        target = answer + (framing == "hdlc")
        change = flip_within_frame if framing == "hdlc" else flip

        def alter(number: int, octets: bytes) -> bytes:
            return change(octets, from_end) if number == target else octets

        async with proxy(known["port"], alter) as port:
            with pytest.raises(SecurityError, match="tag is wrong"):
                async with session(port, endpoint(known)) as opened:
                    await opened.read_identity()


async def test_a_replayed_ciphered_answer_is_refused() -> None:
    with gurux_meter("--authentication", "hls5") as known:
        seen: list[bytes] = []

        def alter(_number: int, octets: bytes) -> bytes:
            seen.append(octets)
            return seen[2] if len(seen) == 4 else octets

        async with proxy(known["port"], alter) as port, session(port, endpoint(known)) as opened:
            with pytest.raises(SecurityError, match="not above"):
                await opened.read_identity()  # the second answer within


async def test_a_plain_answer_in_a_ciphered_association_is_a_security_error() -> None:
    plain = bytes.fromhex("0001000100100016c401c200091047525830303030303030303030303432")

    with gurux_meter("--authentication", "hls5") as known:

        def alter(number: int, octets: bytes) -> bytes:
            return plain if number == 2 else octets

        async with proxy(known["port"], alter) as port:
            with pytest.raises(SecurityError, match="where a globally ciphered one was agreed"):
                async with session(port, endpoint(known)) as opened:
                    await opened.read_identity()


async def test_line_noise_in_an_hdlc_answer_is_asked_for_again() -> None:
    with gurux_meter("--framing", "hdlc") as known:

        def alter(number: int, octets: bytes) -> bytes:
            return b"\x00\x7e\xff" + octets if number == 2 else octets

        async with proxy(known["port"], alter) as port, session(port, endpoint(known)) as opened:
            identity = await opened.read_identity()

    assert identity.name == known["name"]


async def test_the_wrong_key_is_a_security_error_and_never_retried() -> None:
    with gurux_meter("--authentication", "hls5") as known:
        meter = endpoint({**known, "encryption_key": "ff" * 16})

        with pytest.raises(DriverError) as caught:
            async with session(known["port"], meter):
                pytest.fail("opened")

    # gurux never verifies our tag (1.0.203), so it may answer nonsense; ours must not take it.
    assert caught.value.retryable is False or "hung up" in str(caught.value)
