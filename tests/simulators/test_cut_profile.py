"""A load profile whose line is cut, at every answer in turn: nothing that came whole is asked for again, and nothing doubles."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from drivers.contract import Endpoint, Salvage, SessionContext
from drivers.dlms import xdlms
from drivers.dlms.driver import DlmsSession, open_session
from drivers.errors import ConnectionLost, DriverError
from drivers.facts import IntervalBlock
from drivers.metadata import MemoryMetadata
from drivers.profile import Referencing
from drivers.transports import MemoryStream, null_modem
from simulators.dlms.gateway import DlmsGateway
from simulators.household import Household
from tests.simulators.homes import HALF_HOUR, MONDAY
from tests.simulators.reading import Counters
from tests.simulators.test_dlms import SETTINGS, client, gateway, named

COUNTS = tuple(None if slot in {5, 40} else slot * 3 for slot in range(48))
END = MONDAY + len(COUNTS) * HALF_HOUR
HOUSEHOLD = Household("h", MONDAY, HALF_HOUR, COUNTS)


@dataclass
class Line:
    """A line to simulated meters that is cut behind so many answers. ``exchanges``: octets of each question and its answer."""

    meters: DlmsGateway
    framing: str
    counters: Counters = field(default_factory=Counters)
    cache: MemoryMetadata = field(default_factory=MemoryMetadata)
    exchanges: list[int] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)

    async def _serve(self, stream: MemoryStream, answers: int) -> None:
        talk = self.meters.wrapper_conversation() if self.framing == "wrapper" else self.meters.hdlc_conversation()
        with suppress(ConnectionLost):
            while True:
                question = await stream.read(60)
                self.exchanges.append(len(question))
                self._note(question)
                for answer in talk.receive(question, END):
                    if not answers:
                        await stream.close()
                        return
                    answers -= 1
                    self.exchanges[-1] += len(answer.data)
                    await stream.write(answer.data)

    def _note(self, question: bytes) -> None:
        apdu = question[8:] if self.framing == "wrapper" else b""
        if apdu[:2] == b"\xc0\x01":
            request = xdlms.decode(apdu)
            assert isinstance(request, xdlms.GetRequest)
            self.asked[f"{request.attribute.class_id}/{request.attribute.index}"] += 1
        elif apdu[:2] == b"\xc0\x03":
            request_list = xdlms.decode(apdu)
            assert isinstance(request_list, xdlms.GetRequestList)
            self.asked.update(f"{one.class_id}/{one.index}" for one, _ in request_list.items)

    @asynccontextmanager
    async def session(self, meter: Endpoint, answers: int = 10_000) -> AsyncIterator[DlmsSession]:
        self.exchanges.clear()
        self.asked.clear()
        near, far = null_modem()
        serving = asyncio.create_task(self._serve(far, answers))
        context = SessionContext(lambda: END, bytes_of(), self.counters, 0.01, self.cache)
        try:
            async with open_session(near, meter, context) as opened:
                yield opened
        finally:
            await near.close()
            await serving


def bytes_of() -> Any:
    numbers = iter(range(1, 1000))
    return lambda size: next(numbers).to_bytes(size, "big")


def merged(*facts: Any) -> list[int | None]:
    """Lay blocks side by side; each interval in one of them at most."""
    found: list[int | None] = [None] * len(COUNTS)
    for block in facts:
        assert isinstance(block, IntervalBlock)
        for at, count in enumerate(block.counts, (block.start - MONDAY) // HALF_HOUR):
            assert count is None or found[at] is None, "an interval came twice"
            found[at] = count if found[at] is None else found[at]
    return found


async def read(line: Line, meter: Endpoint, start: int, answers: int = 10_000) -> tuple[list[Any], Salvage | None]:
    """Read from ``start`` [s UTC] on; give facts, or what was saved of them."""
    opened: DlmsSession | None = None
    try:
        async with line.session(meter, answers) as opened:
            await opened.read_identity()
            return await opened.read_load_profile(start, END), None
    except DriverError:
        return [], opened.salvage() if opened else None


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("authentication", ["none", "hls5"])
@pytest.mark.parametrize("referencing", ["logical-name", "short-name"])
async def test_wherever_the_line_is_cut_the_next_session_asks_for_the_rest_alone(
    framing: str, authentication: str, referencing: Referencing
) -> None:
    settings = replace(SETTINGS[authentication], max_pdu=128, referencing=referencing)
    line = Line(gateway(framing, settings, named(17, household=HOUSEHOLD)), framing)
    meter = client(framing, authentication)
    assert meter.profile.dlms is not None
    dlms = replace(meter.profile.dlms, referencing=referencing)
    meter = replace(meter, profile=replace(meter.profile, dlms=dlms))
    await read(line, meter, MONDAY)  # so that the cache is warm
    whole, _ = await read(line, meter, MONDAY)
    uncut, exchange, answers = sum(line.exchanges), max(line.exchanges), len(line.exchanges)
    async with line.session(meter) as opened:
        await opened.read_identity()
    opening = sum(line.exchanges)
    assert merged(*whole) == list(COUNTS)

    saved_rows = []
    for cut in range(answers):
        first, saved = await read(line, meter, MONDAY, cut)
        octets = sum(line.exchanges)
        rest: list[Any] = []
        if not first:
            rest, _ = await read(line, meter, MONDAY if saved is None else saved.end)
            octets += sum(line.exchanges)

        facts = [*first, *rest] if saved is None else [*saved.facts, *rest]
        assert merged(*facts) == list(COUNTS), f"cut behind {cut} answers"
        assert octets <= uncut + opening + exchange, f"cut behind {cut} answers"
        saved_rows.append(0 if saved is None else (saved.end - saved.start) // HALF_HOUR)

    assert answers > 10
    assert saved_rows.count(0) < 12
    assert max(saved_rows) > 40


async def test_the_second_session_transfers_no_metadata_nor_the_first_with_another_meter_of_that_kind() -> None:
    line = Line(
        gateway("wrapper", SETTINGS["none"], named(17, household=HOUSEHOLD), named(18, household=HOUSEHOLD)), "wrapper"
    )

    asked = []
    for address in (0, 0, 1):
        facts, _ = await read(line, client("wrapper", "none", address), MONDAY)
        assert merged(*facts) == list(COUNTS)
        asked.append(dict(line.asked))

    only_rows = {"1/2": 2, "7/2": 1}
    assert asked == [{**only_rows, "7/3": 1, "7/4": 1, "3/3": 1}, only_rows, only_rows]
