"""The engine over real protocol bytes: simulated meters behind an in-memory null modem, a real store under it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest

from drivers.errors import ConnectionLost, TransportTimeout
from drivers.obis import CATALOGUE
from drivers.transports import open_transport
from drivers.transports.memory import MemoryListener, MemoryStream
from headend.collect.engine import Engine
from headend.collect.job import RoundSummary
from headend.profiles import load_profiles
from headend.secrets import Secrets
from headend.service import DRIVERS
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from kernels.quality import Reason
from simulators.dlms.gateway import DlmsGateway, DlmsPlace
from simulators.faults import Dead, Fault, MissingRows, Rollover
from simulators.household import Household
from simulators.iec62056 import Iec62056Bus, Iec62056Conversation
from simulators.line import Answer
from simulators.meter import Meter, Position
from simulators.modbus import ModbusBus
from tests.headend.collect.builders import HALF_HOUR, HOUR, IMPORT, MIDNIGHT, SETTINGS, expectation
from tests.headend.collect.fakes import FakeClock

PROFILES = load_profiles()
HOUSEHOLD = Household("h", MIDNIGHT, HALF_HOUR, tuple(100 + i * 7 % 300 for i in range(96)))
REGISTER = CATALOGUE["active_energy_import"].obis
FAST = 0.02  # real seconds per protocol second, so that silence is soon over


class Conversation(Protocol):
    def receive(self, data: bytes, now: int) -> list[Answer]: ...


class OnBus:
    """One bus heard by one caller after the other."""

    def __init__(self, bus: ModbusBus) -> None:
        self.bus = bus

    def receive(self, data: bytes, now: int) -> list[Answer]:
        answer = self.bus.receive(data, now)
        return [] if answer is None else [answer]


class Town:
    def __init__(self, path: Path) -> None:
        self.clock = FakeClock(MIDNIGHT + 2)
        self.store = Store.open(path / "store.db", self.clock.now)

    def register(self, name: str, profile: str, link: str, address: str, password: str = "") -> int:
        with self.store.transaction():
            entry, _ = self.store.put_end_device(
                name, profile, self.store.put_link(link), address, password_ref=password
            )
            self.store.put_expectations(
                entry.id,
                MIDNIGHT,
                [expectation(channel, MIDNIGHT, None, entry.id) for channel in PROFILES[profile].channels],
            )
        return entry.id

    @asynccontextmanager
    async def listening(self, name: str, converse: Callable[[], Conversation]) -> AsyncIterator[None]:
        async def serve() -> None:
            while True:
                stream = await listener.accept()
                conversations.add(asyncio.create_task(self._converse(stream, converse())))

        conversations: set[asyncio.Task[None]] = set()
        with MemoryListener(name) as listener:
            server = asyncio.create_task(serve())
            try:
                yield
            finally:
                for task in (server, *conversations):
                    task.cancel()
                await asyncio.gather(server, *conversations, return_exceptions=True)

    async def _converse(self, stream: MemoryStream, conversation: Conversation) -> None:
        with suppress(ConnectionLost):
            while True:
                with suppress(TransportTimeout):
                    for answer in conversation.receive(await stream.read(60), self.clock.now()):
                        await stream.write(answer.data)

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        writer = GroupCommitWriter(self.store)
        try:
            async with Engine(
                writer,
                PROFILES,
                self.clock,
                SETTINGS,
                open_transport=open_transport,
                drivers=DRIVERS,
                secrets=Secrets({"METER_PASSWORD": "00000000", "WRONG_PASSWORD": "12345678"}),
                timeout_scale=FAST,
            ) as made:
                yield made
        finally:
            await writer.close()

    def values(self, number: int, hours: int) -> list[int | Reason]:
        made = self.store.raw_series(number, IMPORT, MIDNIGHT, MIDNIGHT + hours * HOUR)
        return [
            value if has else Reason(reason)
            for value, has, reason in zip(
                made.values.tolist(), made.has_value.tolist(), made.reason.tolist(), strict=True
            )
        ]


def truth(hours: int) -> list[int | None]:
    return list(HOUSEHOLD.wh[: hours * 2])


def modbus_meter(serial: int, faults: Sequence[Fault] = ()) -> Position:
    meter = Meter(f"SIM:{serial}", serial, HOUSEHOLD, MIDNIGHT, 5_000, dials=8, refresh=60, faults=tuple(faults))
    return Position(str(serial - 1000), (meter,))


@pytest.fixture
def town(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Town(tmp_path)
    yield made
    made.store.close()


async def poll(town: Town, hours: int) -> list[RoundSummary]:
    summaries = []
    async with town.engine() as engine:
        for boundary in range(MIDNIGHT, MIDNIGHT + hours * HOUR + 1, HALF_HOUR):
            await town.clock.sleep_until(boundary + 2)
            summaries.append(await engine.run_due())
    return summaries


async def test_a_dead_modbus_meter_does_not_stop_the_three_that_share_its_bus(town: Town) -> None:
    positions = [modbus_meter(1001), modbus_meter(1002, [Dead()]), modbus_meter(1003), modbus_meter(1004)]
    numbers = [
        town.register(f"SIM:{serial}", "sim-modbus-rtu", "memory://bus", str(serial - 1000))
        for serial in range(1001, 1005)
    ]

    async with town.listening("bus", lambda: OnBus(ModbusBus(positions, random.Random(1)))):
        await poll(town, 4)

    for number in (numbers[0], numbers[2], numbers[3]):
        assert town.values(number, 4) == truth(4)
    assert set(town.values(numbers[1], 4)) == {Reason.NO_ANSWER}


async def test_a_modbus_register_rolls_over_and_no_watt_hour_is_lost(town: Town) -> None:
    positions = [modbus_meter(1001, [Rollover(dials=8, left_wh=700)])]
    number = town.register("SIM:1001", "sim-modbus-rtu", "memory://roll", "1")

    async with town.listening("roll", lambda: OnBus(ModbusBus(positions, random.Random(1)))):
        await poll(town, 6)

    readings = town.store.registers(number, REGISTER, MIDNIGHT, MIDNIGHT + 7 * HOUR)
    assert readings[0].count == 10**8 - 700
    assert readings[-1].count < readings[0].count
    assert town.values(number, 6) == truth(6)


async def test_another_meter_at_the_address_stores_nothing(town: Town) -> None:
    number = town.register("SIM:4711", "sim-modbus-rtu", "memory://wrong", "1")

    async with town.listening("wrong", lambda: OnBus(ModbusBus([modbus_meter(1001)], random.Random(1)))):
        await poll(town, 2)

    assert set(town.values(number, 2)) == {Reason.WRONG_METER}
    assert town.store.registers(number, REGISTER, 0, 2**40) == []


@pytest.mark.parametrize(("profile", "address"), [("sim-dlms-wrapper", "1"), ("sim-dlms-hdlc", "1/17")])
async def test_dlms_load_profiles_arrive_to_the_last_digit_with_their_gap_explained(
    town: Town, profile: str, address: str
) -> None:
    gap = MissingRows(MIDNIGHT + 3 * HOUR, MIDNIGHT + 4 * HOUR)
    meter = Meter("SIM0000000000007", 7, HOUSEHOLD, MIDNIGHT, faults=(gap,))
    gateway = DlmsGateway([DlmsPlace(Position(address, (meter,)))], random.Random(1))
    number = town.register(meter.name, profile, f"memory://{profile}", address)
    converse = gateway.hdlc_conversation if profile.endswith("hdlc") else gateway.wrapper_conversation

    async with town.listening(profile, converse), town.engine() as engine:
        town.clock.world = MIDNIGHT + 12 * HOUR + 300
        first = await engine.run_due()
        town.clock.advance(HOUR)
        second = await engine.run_due()
        (value,) = await engine.read_now(meter.name)

    expected: list[int | Reason | None] = [*truth(13)]
    expected[6:8] = [Reason.NO_ROW, Reason.NO_ROW]
    assert town.values(number, 13) == expected
    assert (first.ok, first.marked, second.ok) == (1, 2, 2)
    assert value.count == meter.register(town.clock.now())
    assert town.store.last_register(number, REGISTER, 2**40) == value


def iec62056_meter() -> tuple[Meter, Iec62056Bus]:
    gap = MissingRows(MIDNIGHT + 3 * HOUR, MIDNIGHT + 4 * HOUR)
    meter = Meter("SIM:00001001", 1001, HOUSEHOLD, MIDNIGHT, faults=(gap,))
    return meter, Iec62056Bus([Position("00001001", (meter,))], random.Random(1))


async def test_iec_62056_21_load_profiles_arrive_to_the_last_digit_with_their_gap_explained(town: Town) -> None:
    meter, bus = iec62056_meter()
    number = town.register(meter.name, "sim-iec62056", "memory://probe", "1001", "env:METER_PASSWORD")

    async with town.listening("probe", lambda: Iec62056Conversation(bus)), town.engine() as engine:
        town.clock.world = MIDNIGHT + 12 * HOUR + 300
        await engine.run_due()
        (value, _) = await engine.read_now(meter.name)

    expected: list[int | Reason | None] = [*truth(12)]
    expected[6:8] = [Reason.NO_ROW, Reason.NO_ROW]
    assert town.values(number, 12) == expected
    assert value.count == meter.register(town.clock.now())
    assert town.store.last_register(number, REGISTER, 2**40) == value
    snapshots = town.store.registers(number, REGISTER, MIDNIGHT, MIDNIGHT + 12 * HOUR + 1)
    assert snapshots[-1].count == meter.register_at(MIDNIGHT + 12 * HOUR)


async def test_a_wrong_password_is_sent_to_an_iec_62056_21_meter_once_however_often_it_is_visited(town: Town) -> None:
    meter, bus = iec62056_meter()
    number = town.register(meter.name, "sim-iec62056", "memory://locked", "1001", "env:WRONG_PASSWORD")

    async with town.listening("locked", lambda: Iec62056Conversation(bus)), town.engine() as engine:
        for hour in range(1, 7):
            town.clock.world = MIDNIGHT + hour * HOUR + 300
            await engine.run_due()

    assert bus._places[0].wrong == 1
    assert set(town.values(number, 6)) == {Reason.SECURITY}
