"""The simulated meter where it knows its objects by short names: read, set and switched like any other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal

import pytest

from drivers.contract import Endpoint
from drivers.dlms import axdr
from drivers.dlms.basenames import OBJECT_LIST
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.session import Conversation
from drivers.dlms.xdlms import Attribute
from drivers.errors import DriverError, MeterRefused, SecurityError
from drivers.facts import IntervalBlock
from drivers.obis import Obis
from simulators.dlms.objects import CATALOGUE
from simulators.faults import Deed, Misdeed
from tests.simulators.homes import HALF_HOUR, MONDAY
from tests.simulators.reading import context, conversation, dlms_session
from tests.simulators.test_dlms import AUTHENTICATIONS, ENERGY, FRAMINGS, NOW, SETTINGS, client, named, served

SIZES = pytest.mark.parametrize("max_pdu", [0xFFFF, 96])
CLOCK, SWITCH, DAYS = Obis(0, 0, 1, 0, 0), Obis(0, 0, 96, 3, 10), Obis(0, 0, 11, 0, 0)


def short_client(framing: str, authentication: str) -> Endpoint:
    endpoint = client(framing, authentication)
    assert endpoint.profile.dlms is not None
    dlms = replace(endpoint.profile.dlms, referencing="short-name")
    return replace(endpoint, profile=replace(endpoint.profile, dlms=dlms))


@asynccontextmanager
async def talk(
    framing: str, authentication: str, *faults: Misdeed, max_pdu: int = 0xFFFF
) -> AsyncIterator[Conversation]:
    settings = replace(SETTINGS[authentication], referencing="short-name", max_pdu=max_pdu)
    meter = short_client(framing, authentication)
    async with (
        served(framing, settings, named(17, *faults)) as url,
        conversation(url, meter, context(lambda: NOW), may_write=True) as opened,
    ):
        yield opened


@FRAMINGS
@AUTHENTICATIONS
@SIZES
async def test_a_meter_with_short_names_is_read(framing: str, authentication: str, max_pdu: int) -> None:
    settings = replace(SETTINGS[authentication], referencing="short-name", max_pdu=max_pdu)
    async with (
        served(framing, settings, named(17, register_start=5000)) as url,
        dlms_session(url, short_client(framing, authentication), context(lambda: NOW)) as session,
    ):
        identity = await session.read_identity()
        (register,) = await session.read_registers([ENERGY])
        (block,) = await session.read_load_profile(MONDAY, MONDAY + 6 * HALF_HOUR)

    assert (identity.name, register.value) == ("SIM0000000000017", Decimal(6367))
    assert isinstance(block, IntervalBlock)
    assert list(block.counts) == [100, 0, 360, None, 7, 900]


@FRAMINGS
@AUTHENTICATIONS
@SIZES
async def test_a_meter_with_short_names_is_set_and_switched(framing: str, authentication: str, max_pdu: int) -> None:
    wanted = CosemDateTime.from_utc(NOW + 90, "UTC")
    days = axdr.array(
        axdr.structure(axdr.long_unsigned(number), axdr.octet_string(bytes((7, 234, 12, 25, 255))), axdr.unsigned(1))
        for number in range(30)
    )

    async with talk(framing, authentication, max_pdu=max_pdu) as opened:
        await opened.set(Attribute(8, CLOCK, 2), axdr.octet_string(wanted.encode()))
        shown = await opened.get(Attribute(8, CLOCK, 2))
        await opened.act(Attribute(70, SWITCH, 1), axdr.integer(0))
        output = await opened.get(Attribute(70, SWITCH, 2))
        await opened.set(Attribute(11, DAYS, 2), days)
        found = await opened.get(Attribute(11, DAYS, 2))
        listed = await opened.get(OBJECT_LIST)

    assert shown.octets() == wanted.encode()
    assert output.value is False
    assert found == days
    assert len(listed.items()) == len(CATALOGUE)


async def test_what_is_not_there_or_may_not_be_is_refused() -> None:
    async with talk("wrapper", "none") as opened:
        with pytest.raises(MeterRefused):
            await opened.get(Attribute(3, Obis(1, 0, 99, 8, 0), 2))
        with pytest.raises(MeterRefused, match="read-write-denied"):
            await opened.set(Attribute(3, ENERGY, 2), axdr.double_long_unsigned(0))
        with pytest.raises(MeterRefused):
            await opened.get(Attribute(3, ENERGY, 9))


@pytest.mark.parametrize(
    ("deed", "error"),
    [(Deed.WRONG_TAG, SecurityError), (Deed.WRONG_PROOF, SecurityError), (Deed.PLAIN_ANSWER, SecurityError)],
)
async def test_misdeeds_happen_with_short_names_too(deed: Deed, error: type[DriverError]) -> None:
    with pytest.raises(error):
        async with talk("wrapper", "hls5", Misdeed(deed)) as opened:
            await opened.get(Attribute(3, ENERGY, 2))
