"""The simulated meter tells which objects it has, and gives several at once; the driver asks no more often than it must."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal

import pytest

from drivers.dlms.listing import OBJECT_LIST, decode_object_list
from drivers.dlms.session import Conversation
from drivers.dlms.xdlms import Attribute
from drivers.errors import MeterRefused
from drivers.obis import Obis, resolve
from simulators.dlms.server import DlmsServer, DlmsSettings
from tests.simulators.reading import context, conversation, dlms_session
from tests.simulators.test_dlms import AUTHENTICATIONS, ENERGY, FRAMINGS, NOW, SETTINGS, client, named, served

ITEMS = [ENERGY, resolve("voltage_l1"), resolve("current_l1")]
VOLTAGE = Attribute(3, resolve("voltage_l1"), 2)
NAME = Attribute(1, Obis(0, 0, 42, 0, 0), 2)
ABSENT = Attribute(3, Obis(1, 0, 99, 8, 0), 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First octets of the requests that reach the meter."""
    seen: list[int] = []
    receive = DlmsServer.receive

    def counting(self: DlmsServer, apdu: bytes, now: int) -> bytes | None:
        seen.append(apdu[0])
        return receive(self, apdu, now)

    monkeypatch.setattr(DlmsServer, "receive", counting)
    return seen


@asynccontextmanager
async def talk(settings: DlmsSettings, framing: str = "wrapper", kind: str = "none") -> AsyncIterator[Conversation]:
    async with (
        served(framing, settings, named(17)) as url,
        conversation(url, client(framing, kind), context(lambda: NOW)) as opened,
    ):
        yield opened


@FRAMINGS
@AUTHENTICATIONS
@pytest.mark.parametrize("max_pdu", [0xFFFF, 96])
async def test_a_meter_tells_which_objects_it_has(framing: str, authentication: str, max_pdu: int) -> None:
    settings = replace(SETTINGS[authentication], max_pdu=max_pdu)

    async with talk(settings, framing, authentication) as opened:
        entries = decode_object_list(await opened.get(OBJECT_LIST))

    assert [(entry.class_id, str(entry.logical_name)) for entry in entries] == [
        (15, "0-0:40.0.0*255"),
        (1, "0-0:42.0.0*255"),
        (1, "0-0:96.1.0*255"),
        (1, "1-0:0.2.0*255"),
        (1, "0-0:43.1.0*255"),
        (8, "0-0:1.0.0*255"),
        (3, "1-0:1.8.0*255"),
        (3, "1-0:1.29.0*255"),
        (3, "1-0:32.7.0*255"),
        (3, "1-0:31.7.0*255"),
        (7, "1-0:99.1.0*255"),
        (17, "0-0:41.0.0*255"),
        (11, "0-0:11.0.0*255"),
        (18, "0-0:44.0.0*255"),
        (64, "0-0:43.0.0*255"),
        (70, "0-0:96.3.10*255"),
        (9, "0-0:10.0.106*255"),
        (9, "0-0:10.0.107*255"),
    ]
    assert all(entry.is_readable(index, 1) for entry in entries for index in entry.attributes)


@pytest.mark.parametrize(("takes_lists", "requests"), [(True, 1), (False, 6)])
async def test_all_registers_are_read_in_one_exchange_where_the_meter_takes_lists(
    takes_lists: bool, requests: int, asked: list[int]
) -> None:
    async with (
        served("wrapper", DlmsSettings(takes_lists=takes_lists), named(17, register_start=5000)) as url,
        dlms_session(url, client("wrapper", "none"), context(lambda: NOW)) as session,
    ):
        asked.clear()
        values = await session.read_registers(ITEMS)
        count = len(asked)

    assert [value.obis for value in values] == ITEMS
    assert values[0].value == Decimal(6367)
    assert count == requests


@FRAMINGS
@AUTHENTICATIONS
async def test_a_list_that_the_meter_must_answer_in_blocks_is_the_same(framing: str, authentication: str) -> None:
    small = replace(SETTINGS[authentication], max_pdu=64)

    async with talk(small, framing, authentication) as opened:
        replies = await opened.get_many([NAME, NAME, VOLTAGE, ABSENT, NAME], is_tolerant=True)

    assert [isinstance(reply.value, MeterRefused) for reply in replies] == [False, False, False, True, False]
    assert replies[0].data.octets() == replies[4].data.octets() == b"SIM0000000000017"
    with pytest.raises(MeterRefused, match="object-undefined"):
        _ = replies[3].data


@pytest.mark.parametrize("takes_lists", [True, False])
async def test_one_absent_object_refuses_the_whole_unless_told_otherwise(takes_lists: bool) -> None:
    async with talk(DlmsSettings(takes_lists=takes_lists)) as opened:
        with pytest.raises(MeterRefused, match=r"99\.8\.0.*object-undefined"):
            await opened.get_many([NAME, ABSENT, VOLTAGE])
        (reply,) = await opened.get_many([NAME])

    assert reply.data.octets() == b"SIM0000000000017"


async def test_a_list_longer_than_the_meter_takes_goes_in_several(asked: list[int]) -> None:
    async with talk(DlmsSettings(max_pdu=96)) as opened:
        asked.clear()
        replies = await opened.get_many([VOLTAGE] * 20)

    assert len(replies) == 20
    assert len(asked) == 3 + 1  # 9, 9 and 2 of them, and the release
