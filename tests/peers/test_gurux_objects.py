"""Objects of every class that an independent meter can serve are read by their tables, and what may be changed is changed."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.contract import Endpoint, SessionContext
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.commanding import DlmsCommands
from drivers.dlms.discovery import describe
from drivers.dlms.driver import open_commands
from drivers.dlms.listing import ObjectEntry
from drivers.dlms.objects.associations import AssociationStatus, LogicalDevice
from drivers.dlms.objects.catalogue import find_class
from drivers.dlms.objects.dates import CosemDate, CosemTime
from drivers.dlms.objects.images import ImageStatus
from drivers.dlms.objects.prepay import AccountMode, AccountState, AccountStatus, Currency, CurrencyUnit, TokenStatus
from drivers.dlms.objects.schedules import ActionItem, Day, DayAction, ExecutionTime, SpecialDay, Week
from drivers.dlms.objects.supply import ControlState
from drivers.dlms.session import Conversation
from drivers.errors import CommandDeclined, DriverError, MeterRefused, ProfileError, RemoteProtocolError
from drivers.obis import Obis
from drivers.profile import ClockProfile
from drivers.transports import open_transport
from drivers.units import ScalerUnit, Unit
from tests.peers.meters import gurux_meter
from tests.peers.test_gurux_meter import Counters, endpoint
from tests.simulators import reading

pytest.importorskip("gurux_dlms", reason="the peer is not installed: pip install 'headend[peers]'")

SCRIPTS = Obis(0, 0, 10, 0, 100)
SWITCH = Obis(0, 0, 96, 3, 10)
# What gurux-dlms 1.0.203 cannot give (it fails inside, or says hardware-fault) or writes against the standard.
NOT_GIVEN = {(8, 5), (8, 6), (15, 3), (15, 5), (47, 2)}
NOT_STANDARD = {
    (40, 8): "a logical name has 6 octets, not 0",
}
EXPECTED: dict[tuple[int, int], Any] = {
    (4, 2): Data(Tag.LONG_UNSIGNED, 77),
    (4, 3): ScalerUnit(0, Unit.WATT),
    (4, 4): Data(Tag.UNSIGNED, 5),
    (5, 3): Data(Tag.LONG_UNSIGNED, 22),
    (5, 8): 900,
    (11, 2): (SpecialDay(1, CosemDate(2026, 12, 25), 7),),
    (15, 8): AssociationStatus.ASSOCIATED,
    (17, 2): (LogicalDevice(1, "GRX0000000000042"),),
    (18, 2): 128,
    (18, 3): "1101",
    (18, 5): True,
    (18, 6): ImageStatus.INITIATED,
    (19, 6): b"42",
    (20, 4): (Week(b"W", 1, 1, 1, 1, 1, 2, 2),),
    (20, 5): (Day(1, (DayAction(CosemTime(6, 0), SCRIPTS, 3),)),),
    (22, 2): ActionItem(SCRIPTS, 3),
    (22, 4): (ExecutionTime(CosemTime(22, 0), CosemDate(2026, 11, 20)),),
    (23, 5): 128,
    (40, 7): 300,
    (41, 2): 4059,
    (42, 3): int.from_bytes(bytes((192, 0, 2, 7)), "big"),
    (45, 2): b"internet",
    (64, 5): b"GRX\x00\x00\x00\x00\x2a",
    (70, 3): ControlState.CONNECTED,
    (71, 4): Data(Tag.LONG_UNSIGNED, 5000),
    (71, 9): (1, 2),
    (72, 6): 12345678,
    (111, 2): AccountState(AccountMode.PREPAYMENT, AccountStatus.ACTIVE),
    (111, 8): -5,
    (111, 15): Currency("EUR", -2, CurrencyUnit.MONETARY),
    (112, 2): 1234,
    (113, 11): 7,
    (115, 2): b"0123",
    (115, 6): TokenStatus(0, "0101"),  # type: ignore[arg-type]
}


@pytest.fixture(scope="module")
def meter() -> Iterator[dict[str, Any]]:
    with gurux_meter("--objects", "all") as known:
        yield known


@asynccontextmanager
async def conversation(known: dict[str, Any]) -> AsyncIterator[Conversation]:
    async with reading.conversation(f"tcp://127.0.0.1:{known['port']}", endpoint(known), context()) as opened:
        yield opened


def context() -> SessionContext:
    return SessionContext(lambda: int(time.time()), lambda size: bytes(range(size)), Counters())


@asynccontextmanager
async def commands(known: dict[str, Any], meter_endpoint: Endpoint, ahead: int = 0) -> AsyncIterator[DlmsCommands]:
    stream = await open_transport(f"tcp://127.0.0.1:{known['port']}")
    world = SessionContext(lambda: int(time.time()) + ahead, context().random_bytes, Counters())
    try:
        async with open_commands(stream, meter_endpoint, world) as opened:
            yield opened
    finally:
        await stream.close()


async def entries(known: dict[str, Any]) -> tuple[ObjectEntry, ...]:
    script = describe(ClockProfile(), Obis(0, 0, 42, 0, 0))
    async with conversation(known) as opened:
        wanted = next(script)
        while True:
            replies = await opened.get_many(wanted, is_tolerant=True)
            try:
                wanted = script.send([reply.value for reply in replies])
            except StopIteration as finished:
                found: tuple[ObjectEntry, ...] = finished.value.entries
                return found


async def test_every_attribute_that_an_independent_meter_serves_is_read_by_its_table(meter: dict[str, Any]) -> None:
    found: dict[tuple[int, int], Any] = {}
    wanted = [
        (table, entry.logical_name, one.index)
        for entry in await entries(meter)
        if (table := find_class(entry.class_id, entry.version)) is not None
        and entry.logical_name != Obis(1, 0, 2, 8, 0)  # it is denied
        for one in table.attributes
    ]
    while wanted:
        async with conversation(meter) as opened:
            while wanted:
                table, name, index = wanted.pop()
                try:
                    data = await opened.get(table.at(name, index))
                except MeterRefused as refusal:
                    found[table.class_id, index] = refusal
                    continue
                except DriverError as error:  # it fell over, and begins anew with a new connection
                    found[table.class_id, index] = error
                    break
                try:
                    found[table.class_id, index] = table.decode(index, data)
                except RemoteProtocolError as error:
                    found[table.class_id, index] = str(error).rpartition("attribute")[2]

    assert {key for key, value in found.items() if isinstance(value, DriverError)} <= NOT_GIVEN
    odd = {key: value for key, value in found.items() if key in NOT_STANDARD}
    assert all(NOT_STANDARD[key] in value for key, value in odd.items())
    assert {key: found[key] for key in EXPECTED} == EXPECTED
    assert len({class_id for class_id, _ in found}) == 29
    assert len(found) - len(NOT_GIVEN) - len(NOT_STANDARD) == 212
    assert "secret" not in f"{found[19, 7]!r}".replace("Secret", "")


async def test_an_independent_meters_clock_is_set_within_the_bound_and_read_back(meter: dict[str, Any]) -> None:
    async with commands(meter, endpoint(meter), ahead=40) as opened:
        with pytest.raises(CommandDeclined, match="more than the 10 s"):
            await opened.set_clock(10)
        after = await opened.set_clock(60)

    assert abs(after.offset) <= 2


async def test_an_independent_meters_supply_is_switched_and_read_back(meter: dict[str, Any]) -> None:
    async with commands(meter, endpoint(meter, disconnect_control=SWITCH)) as opened:
        assert await opened.disconnect_supply()
        assert not await opened.disconnect_supply()
        assert not (await opened.read_supply()).is_connected
        assert await opened.reconnect_supply()
        assert (await opened.read_supply()).is_connected


async def test_an_independent_meters_account_is_read(meter: dict[str, Any]) -> None:
    async with commands(meter, endpoint(meter, account=Obis(0, 0, 19, 0, 0))) as opened:
        account = await opened.read_account()

    assert (str(account.available), str(account.debt)) == ("12.34", "-0.05")
    assert [str(one.amount) for one in account.credits] == ["12.34"]
    assert [str(one.paid) for one in account.charges] == ["1.00"]


async def test_what_the_profile_does_not_name_is_not_tried(meter: dict[str, Any]) -> None:
    async with commands(meter, endpoint(meter)) as opened:
        with pytest.raises(ProfileError, match="disconnect_control: not declared"):
            await opened.disconnect_supply()
