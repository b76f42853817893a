"""Our driver reads, sets and switches an independent meter that knows its objects by short names."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import ByteStream, SessionContext
from drivers.dlms import axdr, xdlms
from drivers.dlms.basenames import ASSOCIATION, OBJECT_LIST, BaseNames
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.driver import open_session
from drivers.dlms.metadata import decode_metadata
from drivers.dlms.session import Conversation
from drivers.dlms.shortnames import ReadRequest, Variable
from drivers.dlms.xdlms import Attribute
from drivers.errors import MeterRefused, RemoteProtocolError
from drivers.facts import IntervalBlock, RegisterValue
from drivers.metadata import MemoryMetadata
from drivers.obis import Obis
from drivers.transports import open_transport
from tests.peers.meters import gurux_meter
from tests.peers.test_gurux_metadata import Heard
from tests.peers.test_gurux_meter import (
    DAY,
    DENIED,
    INTERVALS,
    NOW,
    PERIOD,
    REGISTER,
    TEN_WATT_HOURS,
    WATT_HOUR,
    Counters,
    endpoint,
    session,
)
from tests.simulators import reading

SHORT_METER = Path(__file__).with_name("gurux_short_meter.py")
CLOCK = Attribute(8, Obis(0, 0, 1, 0, 0), 2)
SWITCH = Obis(0, 0, 96, 3, 10)
LIST_NAME = ASSOCIATION + 8
FRAMINGS, AUTHENTICATIONS = ["wrapper", "hdlc"], ["none", "lls", "hls5"]
SIZES = [65_535, 128]


@pytest.fixture(
    scope="module", params=[(framing, kind) for framing in FRAMINGS for kind in AUTHENTICATIONS], ids="-".join
)
def meter(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    framing, authentication = request.param
    with gurux_meter("--framing", framing, "--authentication", authentication, script=SHORT_METER) as known:
        yield known


def taken(meter: dict[str, Any], max_pdu: int = 65_535) -> int:
    """Give the size to agree on: 1.0.203 loses count of the frames of an answer that is both ciphered and longer than one."""
    return min(max_pdu, 128) if (meter["framing"], meter["authentication"]) == ("hdlc", "hls5") else max_pdu


@asynccontextmanager
async def conversation(known: dict[str, Any], **changes: Any) -> AsyncIterator[Conversation]:
    url, context = f"tcp://127.0.0.1:{known['port']}", SessionContext(lambda: NOW, os.urandom, Counters())
    changes = {"referencing": "short-name", **changes}
    async with reading.conversation(url, endpoint(known, **changes), context, may_write=True) as talk:
        yield talk


@pytest.mark.parametrize("max_pdu", SIZES)
async def test_a_meter_with_short_names_is_read_like_any_other(meter: dict[str, Any], max_pdu: int) -> None:
    short = endpoint(meter, referencing="short-name", max_pdu=taken(meter, max_pdu))
    async with session(meter["port"], short) as opened:
        identity = await opened.read_identity()
        clock = await opened.read_clock()
        (register,) = await opened.read_registers([REGISTER])
        block, *_ = await opened.read_load_profile(DAY, DAY + 86_400)

    assert (identity.name, identity.firmware) == (meter["name"], meter["firmware"])
    assert (clock.host, clock.is_invalid) == (NOW, False)
    assert register == RegisterValue(REGISTER, meter["register"], TEN_WATT_HOURS, NOW)
    assert block == IntervalBlock(INTERVALS, WATT_HOUR, DAY, PERIOD, tuple(10 * value for value in meter["values"]))


@pytest.mark.parametrize("ways", [("range",), ("entry",), ("none",)])
async def test_rows_are_selected_by_parameterised_access(meter: dict[str, Any], ways: tuple[str, ...]) -> None:
    short = endpoint(meter, referencing="short-name", selective_access=ways, max_pdu=taken(meter))
    async with session(meter["port"], short) as opened:
        block, *_ = await opened.read_load_profile(DAY, DAY + 4 * PERIOD)

    assert isinstance(block, IntervalBlock)
    assert block.counts[:4] == tuple(10 * value for value in meter["values"][:4])


@pytest.mark.parametrize("max_pdu", SIZES)
async def test_the_list_of_objects_names_every_register_and_each_is_read(meter: dict[str, Any], max_pdu: int) -> None:
    async with conversation(meter, max_pdu=taken(meter, max_pdu)) as talk:
        listed = [item.items() for item in (await talk.get(OBJECT_LIST)).items()]
        names = [Obis.from_bytes(name.octets()) for _, kind, _, name in listed if kind.integer() == 3]
        replies = await talk.get_many([Attribute(3, name, 2) for name in names], is_tolerant=True)

    values = {
        str(name): None if isinstance(reply.value, MeterRefused) else reply.data.integer()
        for name, reply in zip(names, replies, strict=True)
    }
    assert sorted(kind.integer() for _, kind, _, _ in listed) == [1, 1, 3, 3, 3, 3, 7, 8, 12, 70]
    assert values == {
        "1-0:1.8.0*255": meter["register"],
        "1-0:2.8.0*255": None,
        "1-0:32.7.0*255": 2304,
        "1-0:1.29.0*255": meter["values"][-1],
    }


@pytest.mark.parametrize("max_pdu", SIZES)
async def test_a_clock_is_set_and_a_switch_is_worked(meter: dict[str, Any], max_pdu: int) -> None:
    instant = axdr.octet_string(CosemDateTime.from_utc(NOW).encode())

    async with conversation(meter, max_pdu=taken(meter, max_pdu)) as talk:
        await talk.set(CLOCK, instant)
        clock = await talk.get(CLOCK)
        await talk.act(Attribute(70, SWITCH, 1), axdr.integer(0))
        output = await talk.get(Attribute(70, SWITCH, 2))

    assert CosemDateTime.decode(clock.octets()) == CosemDateTime.from_utc(NOW)
    assert output.value is False


async def test_what_is_denied_and_what_is_not_there_is_refused_with_its_code(meter: dict[str, Any]) -> None:
    async with conversation(meter) as talk:
        with pytest.raises(MeterRefused) as denied:
            await talk.get(Attribute(3, DENIED, 2))
        with pytest.raises(MeterRefused) as undefined:
            await talk.get(Attribute(3, Obis(1, 0, 9, 9, 9), 2))
        replies = await talk.get_many([Attribute(3, REGISTER, 2), Attribute(3, DENIED, 2)], is_tolerant=True)

    assert (denied.value.code, undefined.value.code) == (3, 4)
    assert replies[0].data.integer() == meter["register"]
    assert isinstance(replies[1].value, MeterRefused)


async def heard(known: dict[str, Any], cache: MemoryMetadata, counts: list[int | None]) -> list[int]:
    """Read a day, a register and the identity, and give the short names that were asked for, in order."""
    heard = HeardNames(await open_transport(f"tcp://127.0.0.1:{known['port']}"))
    try:
        context = SessionContext(lambda: NOW, os.urandom, Counters(), metadata=cache)
        async with open_session(heard, endpoint(known, referencing="short-name"), context) as opened:
            assert (await opened.read_identity()).name == known["name"]
            (register,) = await opened.read_registers([REGISTER])
            block, *_ = await opened.read_load_profile(DAY, DAY + 86_400)
    finally:
        await heard.close()
    assert register.count == known["register"]
    assert isinstance(block, IntervalBlock)
    assert list(block.counts)[: len(counts)] == counts
    return heard.asked


class HeardNames(Heard):
    """A stream on which the short names that are read are noted. WRAPPER, plain."""

    def __init__(self, stream: ByteStream) -> None:
        super().__init__(stream)
        self.asked: list[int] = []  # type: ignore[assignment]

    async def write(self, data: bytes) -> None:
        request = xdlms.decode(data[8:]) if data[8:9] == b"\x05" else None
        if isinstance(request, ReadRequest):
            self.asked += [one.name for one in request.items if isinstance(one, Variable)]
        await self._stream.write(data)


async def test_the_second_session_asks_for_no_list_and_no_metadata_nor_does_another_meter_of_that_model() -> None:
    cache = MemoryMetadata()
    plain = ("--framing", "wrapper", "--authentication", "none")

    with (
        gurux_meter(*plain, script=SHORT_METER) as known,
        gurux_meter(*plain, "--name", "GRX0000000000043", "--values", "7,8,9", script=SHORT_METER) as other,
    ):
        truth = [10 * value for value in known["values"]]
        first = await heard(known, cache, truth)
        second = await heard(known, cache, truth)
        third = await heard(other, cache, [70, 80, 90])

    assert LIST_NAME in first
    assert len(second) == 4  # logical device name, firmware, register, buffer
    assert second == third
    assert set(second) < set(first)


async def test_a_meter_whose_names_moved_with_its_firmware_is_asked_for_them() -> None:
    cache = MemoryMetadata()
    plain = ("--framing", "wrapper", "--authentication", "none")

    with gurux_meter(*plain, script=SHORT_METER) as known:
        await heard(known, cache, [])
        key, entry = next((key, entry) for key, entry in cache._entries.items() if b'"names":' in entry)
        found = decode_metadata(entry, NOW)
        assert found is not None
        assert found.names is not None
        one, other = (what for what in found.names.bases if what[0] == 1)  # logical device name and firmware
        moved = {one: found.names.bases[other], other: found.names.bases[one]}
        found.names = BaseNames({**found.names.bases, **moved})
        await cache.keep(key, found.encode())
        again = await heard(known, cache, [10 * value for value in known["values"]])
        then = await heard(known, cache, [])

    assert LIST_NAME in again
    assert LIST_NAME not in then


async def test_a_meter_with_logical_names_is_no_meter_with_short_ones() -> None:
    with gurux_meter("--framing", "wrapper", "--authentication", "none") as known:
        with pytest.raises((MeterRefused, RemoteProtocolError)):
            async with conversation(known):
                pass
        logical = replace(endpoint(known))
        async with session(known["port"], logical) as opened:
            assert (await opened.read_identity()).name == known["name"]
