"""What an independent meter is told to do, it does; and its rows are read by range and by entry, in small pieces too."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from drivers.contract import SessionContext
from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.objects import encode_range, entry_selection
from drivers.dlms.session import Conversation
from drivers.dlms.xdlms import Attribute
from drivers.errors import MeterRefused
from drivers.obis import Obis
from drivers.profile import ClockProfile
from tests.peers.meters import gurux_meter
from tests.peers.test_gurux_meter import AUTHENTICATIONS, DAY, FRAMINGS, NOW, PERIOD, Counters, endpoint
from tests.simulators.reading import conversation

pytest.importorskip("gurux_dlms", reason="the peer is not installed: pip install 'headend[peers]'")

CLOCK, SWITCH, PROFILE = Obis(0, 0, 1, 0, 0), Obis(0, 0, 96, 3, 10), Obis(1, 0, 99, 1, 0)
TIME, BUFFER = Attribute(8, CLOCK, 2), Attribute(7, PROFILE, 2)
OUTPUT, MODE = Attribute(70, SWITCH, 2), Attribute(70, SWITCH, 4)
DISCONNECT, RECONNECT = Attribute(70, SWITCH, 1), Attribute(70, SWITCH, 2)
SIZES = pytest.mark.parametrize("size", [{}, {"max_pdu": 200, "max_info": 128}], ids=["whole", "in pieces"])


@pytest.fixture(
    scope="module", params=[(framing, kind) for framing in FRAMINGS for kind in AUTHENTICATIONS], ids="-".join
)
def meter(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    framing, authentication = request.param
    with gurux_meter("--framing", framing, "--authentication", authentication) as known:
        yield known


@asynccontextmanager
async def talk(meter: dict[str, Any], **changes: Any) -> AsyncIterator[Conversation]:
    context = SessionContext(lambda: NOW, lambda size: bytes(range(1, size + 1)), Counters())
    url = f"tcp://127.0.0.1:{meter['port']}"
    async with conversation(url, endpoint(meter, **changes), context, may_write=True) as opened:
        yield opened


def rows(buffer: Data) -> list[tuple[int, int]]:
    found = []
    for row in buffer.items():
        stamp, value, _ = row.items()
        found.append((CosemDateTime.decode(stamp.octets()).to_utc(ClockProfile()), value.integer()))
    return found


def told(meter: dict[str, Any], first: int, last: int) -> list[tuple[int, int]]:
    """Rows number ``first`` to ``last``, from 1."""
    return [(DAY + PERIOD * number, meter["values"][number - 1]) for number in range(first, last + 1)]


async def test_the_clock_of_an_independent_meter_is_set(meter: dict[str, Any]) -> None:
    wanted = CosemDateTime.from_utc(int(datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()), "UTC")

    async with talk(meter) as opened:
        await opened.set(TIME, axdr.octet_string(wanted.encode()))
        shown = CosemDateTime.decode((await opened.get(TIME)).octets())

    assert shown.to_utc(ClockProfile()) == wanted.to_utc(ClockProfile())


async def test_an_independent_meter_is_disconnected_and_reconnected(meter: dict[str, Any]) -> None:
    states = []
    async with talk(meter) as opened:
        for method in (None, DISCONNECT, RECONNECT):
            if method is not None:
                await opened.act(method, axdr.integer(0))
            states.append((await opened.get(OUTPUT)).value)
        await opened.set(MODE, axdr.enum(2))
        mode = await opened.get(MODE)

    assert states == [True, False, True]
    assert mode == Data(Tag.ENUM, 2)


async def test_what_may_not_be_written_is_refused_and_the_association_goes_on(meter: dict[str, Any]) -> None:
    async with talk(meter) as opened:
        with pytest.raises(MeterRefused, match="read-write-denied"):
            await opened.set(Attribute(3, Obis(1, 0, 1, 8, 0), 2), axdr.double_long_unsigned(0))
        assert (await opened.get(OUTPUT)).value is True


@SIZES
async def test_rows_are_read_by_range(meter: dict[str, Any], size: dict[str, int]) -> None:
    first, last = (CosemDateTime.from_utc(DAY + PERIOD * number, "UTC") for number in (11, 30))

    async with talk(meter, **size) as opened:
        buffer = await opened.get(BUFFER, encode_range(first, last))

    assert rows(buffer) == told(meter, 11, 30)


@SIZES
async def test_rows_are_read_by_entry(meter: dict[str, Any], size: dict[str, int]) -> None:
    async with talk(meter, **size) as opened:
        buffer = await opened.get(BUFFER, entry_selection(20, 41))
        whole = await opened.get(BUFFER)

    assert rows(buffer) == told(meter, 20, 41)
    assert rows(whole) == told(meter, 1, 48)
