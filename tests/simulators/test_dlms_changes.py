"""What a client may change in the simulated meter, and that the object list says so truly."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.listing import OBJECT_LIST, decode_object_list
from drivers.dlms.session import Conversation
from drivers.dlms.xdlms import Attribute
from drivers.errors import ConnectionLost, MeterRefused
from drivers.facts import IntervalBlock
from drivers.obis import Obis
from simulators.dlms.objects import CATALOGUE
from simulators.dlms.settings import DlmsSettings, RowManner
from simulators.faults import Deed, Misdeed
from tests.simulators.homes import HALF_HOUR, MONDAY
from tests.simulators.reading import context, conversation, dlms_session
from tests.simulators.test_dlms import AUTHENTICATIONS, FRAMINGS, NOW, SETTINGS, client, named, served

CLOCK, SWITCH, SCRIPTS = Obis(0, 0, 1, 0, 0), Obis(0, 0, 96, 3, 10), Obis(0, 0, 10, 0, 106)
IMAGE, DAYS, FIRMWARE = Obis(0, 0, 44, 0, 0), Obis(0, 0, 11, 0, 0), Obis(1, 0, 0, 2, 0)
ZERO = axdr.integer(0)


@asynccontextmanager
async def writing(url: str, framing: str = "wrapper", kind: str = "none") -> AsyncIterator[Conversation]:
    async with conversation(url, client(framing, kind), context(lambda: NOW), may_write=True) as opened:
        yield opened


def method(class_id: int, name: Obis, index: int) -> Attribute:
    return Attribute(class_id, name, index)


attribute = method


@FRAMINGS
@AUTHENTICATIONS
async def test_a_clock_is_set_and_goes_on_from_there(framing: str, authentication: str) -> None:
    wanted = NOW + 90
    async with (
        served(framing, SETTINGS[authentication], named(17)) as url,
        writing(url, framing, authentication) as opened,
    ):
        await opened.set(attribute(8, CLOCK, 2), axdr.octet_string(CosemDateTime.from_utc(wanted, "UTC").encode()))
        shown = CosemDateTime.decode((await opened.get(attribute(8, CLOCK, 2))).octets())
        await opened.act(method(8, CLOCK, 6), Data(Tag.LONG, -90))
        back = CosemDateTime.decode((await opened.get(attribute(8, CLOCK, 2))).octets())

    assert shown.encode() == CosemDateTime.from_utc(wanted, "UTC").encode()
    assert back.encode() == CosemDateTime.from_utc(NOW, "UTC").encode()


@FRAMINGS
async def test_the_supply_is_disconnected_and_reconnected_by_method_and_by_script(framing: str) -> None:
    states = []
    async with served(framing, SETTINGS["none"], named(17)) as url, writing(url, framing) as opened:
        for act, parameters in (
            (method(70, SWITCH, 1), ZERO),
            (method(70, SWITCH, 2), ZERO),
            (method(9, SCRIPTS, 1), axdr.long_unsigned(1)),
            (method(9, SCRIPTS, 1), axdr.long_unsigned(2)),
        ):
            await opened.act(act, parameters)
            states.append((await opened.get(attribute(70, SWITCH, 2))).value)
        await opened.set(attribute(70, SWITCH, 4), axdr.enum(1))
        await opened.act(method(70, SWITCH, 1), ZERO)
        await opened.act(method(70, SWITCH, 2), ZERO)
        by_hand = (await opened.get(attribute(70, SWITCH, 3))).integer()
        await opened.set(attribute(70, SWITCH, 4), axdr.enum(0))
        with pytest.raises(MeterRefused):
            await opened.act(method(70, SWITCH, 1), ZERO)
        with pytest.raises(MeterRefused):
            await opened.act(method(9, SCRIPTS, 1), axdr.long_unsigned(3))

    assert states == [False, True, False, True]
    assert by_hand == 2  # ready for reconnection


@FRAMINGS
@AUTHENTICATIONS
async def test_a_long_table_is_written_in_blocks_and_read_back(framing: str, authentication: str) -> None:
    days = axdr.array(
        axdr.structure(axdr.long_unsigned(number), axdr.octet_string(bytes((7, 234, 12, 25, 255))), axdr.unsigned(1))
        for number in range(40)
    )
    small = replace(SETTINGS[authentication], max_pdu=96)
    async with served(framing, small, named(17)) as url, writing(url, framing, authentication) as opened:
        await opened.set(attribute(11, DAYS, 2), days)
        found = await opened.get(attribute(11, DAYS, 2))
        with pytest.raises(MeterRefused, match="type-unmatched"):
            await opened.set(attribute(11, DAYS, 2), axdr.array([axdr.structure(ZERO, ZERO, ZERO)]))

    assert found == days


@pytest.mark.parametrize("max_pdu", [0xFFFF, 96])
async def test_an_image_that_was_interrupted_goes_on_where_it_stopped(max_pdu: int) -> None:
    image = bytes(number % 251 for number in range(1000))
    settings = DlmsSettings(max_pdu=max_pdu, image_block=128)
    blocks = [image[at : at + 128] for at in range(0, len(image), 128)]

    async def send(opened: Conversation, first: int) -> None:
        for number, octets in enumerate(blocks):
            if number >= first:
                block = axdr.structure(axdr.double_long_unsigned(number), axdr.octet_string(octets))
                await opened.act(method(18, IMAGE, 2), block)

    async with served("wrapper", settings, named(17, Misdeed(Deed.IMAGE_INTERRUPTED, first=4, times=1))) as url:
        async with writing(url) as opened:
            header = axdr.structure(axdr.octet_string(b"2.0"), axdr.double_long_unsigned(len(image)))
            await opened.act(method(18, IMAGE, 1), header)
            with pytest.raises(ConnectionLost):
                await send(opened, 0)
        async with writing(url) as opened:
            missing = (await opened.get(attribute(18, IMAGE, 4))).integer()
            bits = (await opened.get(attribute(18, IMAGE, 3))).value
            with pytest.raises(MeterRefused):
                await opened.act(method(18, IMAGE, 4), ZERO)
            await send(opened, missing)
            await opened.act(method(18, IMAGE, 3), ZERO)
            await opened.act(method(18, IMAGE, 4), ZERO)
            status = (await opened.get(attribute(18, IMAGE, 6))).integer()
            firmware = (await opened.get(attribute(1, FIRMWARE, 2))).octets()

    assert (missing, bits) == (3, "11100000")
    assert (status, firmware) == (6, b"2.0")


async def test_a_client_that_was_not_granted_set_cannot_write() -> None:
    async with served("wrapper", SETTINGS["none"], named(17)) as url, writing(url) as opened:
        with pytest.raises(MeterRefused, match="read-write-denied"):
            await opened.set(attribute(3, Obis(1, 0, 1, 8, 0), 2), axdr.double_long_unsigned(0))


async def test_the_object_list_says_truly_what_is_read_written_and_done() -> None:
    async with served("wrapper", SETTINGS["none"], named(17)) as url, writing(url) as opened:
        entries = decode_object_list(await opened.get(OBJECT_LIST))
        for entry in entries:
            for index in range(1, 12):
                if entry.attributes.get(index, 0) & 1:
                    await opened.get(Attribute(entry.class_id, entry.logical_name, index))
                else:
                    with pytest.raises(MeterRefused):
                        await opened.get(Attribute(entry.class_id, entry.logical_name, index))

    assert len(entries) == len(CATALOGUE)
    writable = {(entry.class_id, index) for entry in entries for index, mode in entry.attributes.items() if mode & 2}
    assert writable == {(8, 2), (11, 2), (18, 5), (70, 4)}


@pytest.mark.parametrize("rows", ["plain", "null", "delta", "compact"])
@pytest.mark.parametrize("max_pdu", [0xFFFF, 64])
async def test_a_load_profile_is_the_same_in_whatever_manner_it_is_written(rows: RowManner, max_pdu: int) -> None:
    settings = DlmsSettings(rows=rows, max_pdu=max_pdu)
    async with (
        served("wrapper", settings, named(17)) as url,
        dlms_session(url, client("wrapper", "none"), context(lambda: NOW)) as session,
    ):
        (block,) = await session.read_load_profile(MONDAY, MONDAY + 6 * HALF_HOUR)

    assert isinstance(block, IntervalBlock)
    assert list(block.counts) == [100, 0, 360, None, 7, 900]
