"""With a meter that none of us wrote, the second session asks for rows and nothing else: counted by attribute on the wire."""

import os
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from drivers.contract import ByteStream, SessionContext
from drivers.dlms import xdlms
from drivers.dlms.driver import open_session
from drivers.facts import IntervalBlock
from drivers.metadata import MemoryMetadata
from drivers.transports import open_transport
from tests.peers.meters import gurux_meter
from tests.peers.test_gurux_meter import DAY, NOW, Counters, endpoint

pytest.importorskip("gurux_dlms", reason="the peer is not installed: pip install 'headend[peers]'")

ONLY_ROWS = {"1/2": 2, "7/2": 1}  # logical device name and firmware, then the buffer


class Heard:
    """A stream to the meter on which every question is noted. WRAPPER, plain."""

    bits_per_second = None
    bits_per_character = 10

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.asked: Counter[str] = Counter()
        self.buffers: list[int | None] = []

    async def write(self, data: bytes) -> None:
        if data[8:9] == b"\xc0":
            request = xdlms.decode(data[8:])
            if isinstance(request, xdlms.GetRequest):
                self._note(request.attribute)
                if (request.attribute.class_id, request.attribute.index) == (7, 2):
                    self.buffers.append(request.selection.selector if request.selection else None)
            elif isinstance(request, xdlms.GetRequestList):
                for attribute, _ in request.items:
                    self._note(attribute)
        await self._stream.write(data)

    def _note(self, attribute: xdlms.Attribute) -> None:
        self.asked[f"{attribute.class_id}/{attribute.index}"] += 1

    async def read(self, timeout: float) -> bytes:
        return await self._stream.read(timeout)

    def discard_input(self) -> bytes:
        return self._stream.discard_input()

    async def close(self) -> None:
        await self._stream.close()


async def day_of(known: dict[str, Any], cache: MemoryMetadata) -> tuple[list[int | None], Heard]:
    heard = Heard(await open_transport(f"tcp://127.0.0.1:{known['port']}"))
    try:
        context = SessionContext(lambda: NOW, os.urandom, Counters(), metadata=cache)
        async with open_session(heard, endpoint(known), context) as opened:
            await opened.read_identity()
            block, *_ = await opened.read_load_profile(DAY, DAY + 86_400)
    finally:
        await heard.close()
    assert isinstance(block, IntervalBlock)
    return list(block.counts), heard


async def test_the_second_session_transfers_no_metadata_nor_the_first_with_another_meter_of_that_model() -> None:
    cache = MemoryMetadata()

    with gurux_meter() as known, gurux_meter("--name", "GRX0000000000043", "--values", "7,8,9") as other:
        truth, first = await day_of(known, cache)
        again, second = await day_of(known, cache)
        others, third = await day_of(other, cache)

    assert truth == again == [10 * value for value in known["values"]]
    assert others[:4] == [70, 80, 90, None]
    assert first.asked == {**ONLY_ROWS, "7/3": 1, "7/4": 1, "3/3": 2}
    assert second.asked == third.asked == ONLY_ROWS


@pytest.mark.parametrize(("ways", "used"), [("entry,none", {2}), ("none", {None})])
async def test_the_second_session_begins_with_the_way_of_reading_that_worked(ways: str, used: set[int | None]) -> None:
    cache = MemoryMetadata()

    with gurux_meter("--selective-access", ways) as known:
        truth, first = await day_of(known, cache)
        again, second = await day_of(known, cache)

    assert truth == again == [10 * value for value in known["values"]]
    assert first.buffers[0] == 1
    assert set(second.buffers) == used


async def test_only_the_wanted_columns_are_asked_and_a_meter_that_gives_all_is_understood() -> None:
    cache = MemoryMetadata()

    with gurux_meter() as known:
        meter = endpoint(known)
        assert meter.profile.dlms is not None
        dlms = replace(
            meter.profile.dlms, columns=meter.profile.dlms.columns[:1], selective_access=("columns", "range")
        )
        meter = replace(meter, profile=replace(meter.profile, dlms=dlms))
        stream = await open_transport(f"tcp://127.0.0.1:{known['port']}")
        try:
            context = SessionContext(lambda: NOW, os.urandom, Counters(), metadata=cache)
            async with open_session(stream, meter, context) as opened:
                (block,) = await opened.read_load_profile(DAY, DAY + 86_400)
        finally:
            await stream.close()

    assert isinstance(block, IntervalBlock)
    assert list(block.counts) == [10 * value for value in known["values"]]
