"""The forecast against what happens: the engine reads simulated meters on a paced line, in virtual time, and is timed.

Bounds: octets exact for Modbus, DL/T 645 and IEC 62056-21, for DLMS within 1 % (it is not known how long a firmware identifier is); time
within 5 %, and that far only where three visits are so short that the silence behind the last of them counts.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from drivers.cost import Medium
from drivers.dlms.hdlc import DEFAULT_INFO
from drivers.profile import MeterProfile
from headend.collect.demand import Assumptions, Demands
from headend.collect.engine import Engine
from headend.collect.forecast import COSTS, Forecaster, LinkForecast, Verdict
from headend.collect.registry import load_meters
from headend.profiles import load_profiles
from headend.secrets import Secrets
from headend.service import DRIVERS
from headend.settings import CollectSettings
from headend.store.store import Store
from kernels.quality import State
from simulators.dlms.gateway import DlmsGateway, DlmsPlace
from simulators.dlms.settings import DlmsSettings
from simulators.dlt645 import Dlt645Bus
from simulators.faults import ClockSet, PowerCut
from simulators.household import Household
from simulators.iec62056 import Iec62056Bus, Settings
from simulators.meter import Meter, Position
from simulators.modbus import ModbusBus
from tests.headend.collect.builders import DAY, HALF_HOUR, HOUR, IMPORT_REGISTER, MIDNIGHT, expectation
from tests.headend.collect.paced import BITS, TURN, Bus, HeadBus, Respond
from tests.headend.collect.virtual import LoopClock, run

T = TypeVar("T")
PROFILES = load_profiles()
SETTINGS = CollectSettings()
MINUTE = 60
TELETYPE = 110  # a slow line is full with few meters [bit/s]


class AtOnce:
    """The store's writer without a thread, which virtual time would not wait for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def submit(self, change: Callable[[Store], T]) -> T:
        with self._store.transaction():
            return change(self._store)


@dataclass
class Plant:
    """Meters of one profile on one line, registered in a store, and the octets that answer for them."""

    path: Path
    profile: MeterProfile
    names: Sequence[tuple[str, str]]
    respond: Respond
    baud: int
    settings: CollectSettings = SETTINGS

    def __post_init__(self) -> None:
        self.store = Store.open(self.path / "store.db", lambda: MIDNIGHT)
        self.bus = HeadBus(self.respond) if self.profile.protocol == "iec62056" else Bus(self.respond, self.baud)
        self.profiles = {self.profile.name: self.profile}
        with self.store.transaction():
            link = self.store.put_link("serial:///bus")
            for name, address in self.names:
                entry, _ = self.store.put_end_device(name, self.profile.name, link, address, password_ref="env:SECRET")
                channels = [expectation(item, MIDNIGHT, None, entry.id) for item in self.profile.channels]
                self.store.put_expectations(entry.id, MIDNIGHT, channels)

    @property
    def medium(self) -> Medium:
        return Medium(self.baud, BITS)

    @property
    def assumptions(self) -> Assumptions:
        return Assumptions(self.settings, COSTS, {self.profile.name: TURN})

    def forecast(self) -> LinkForecast:
        meters, _ = load_meters(self.store, self.profiles)
        return Forecaster(self.assumptions, MIDNIGHT + DAY).link("bus", Medium(self.baud, BITS), meters)

    def expected(self, start: int, end: int) -> tuple[float, int]:
        """Give the time [s] and the octets that are forecast for a part of the day. [s of the UTC day]"""
        demands = Demands(self.assumptions, MIDNIGHT + DAY)
        meters, _ = load_meters(self.store, self.profiles)
        dues = [due for meter in meters for due in demands.scheduled(meter, Medium(self.baud, BITS))]
        within = [due for due in dues if start <= due.at - MIDNIGHT - DAY < end]
        return sum(due.seconds for due in within), sum(due.cost.octets for due in within)

    def engine(self) -> Engine:
        return Engine(
            AtOnce(self.store), self.profiles, LoopClock(), self.settings,
            open_transport=self.bus.open, drivers=DRIVERS, secrets=Secrets({"SECRET": "00000000"}),
        )  # fmt: skip

    async def measured(self, start: int, end: int) -> tuple[float, int]:
        """Read until ``end``; give the time [s] and the octets that the line took from ``start`` on. [s of the UTC day]"""
        clock, took, octets = LoopClock(), 0.0, 0
        async with self.engine() as engine:
            while (due := engine.next_due()) < MIDNIGHT + end:
                await clock.sleep_until(due)
                began, before = clock.monotonic(), self.bus.octets
                summary = await engine.run_due()
                assert summary.ok == summary.jobs
                if due >= MIDNIGHT + start:
                    took += clock.monotonic() - began
                    octets += self.bus.octets - before
        await self.bus.close()
        return took, octets

    async def serve(self, seconds: int) -> None:
        """Collect as in service for so long. [s]"""
        stop = asyncio.Event()
        async with self.engine() as engine, asyncio.TaskGroup() as group:
            group.create_task(engine.run_forever(stop))
            await asyncio.sleep(seconds)
            stop.set()
        await self.bus.close()

    def states(self, end: int) -> Counter[State]:
        """Count the slots of all meters up to ``end`` by their state. [s of the UTC day]"""
        meters, _ = load_meters(self.store, self.profiles)
        return Counter(
            State(state)
            for meter in meters
            for item in meter.expectations
            for state in self.store.raw_series(meter.device.id, item.obis, MIDNIGHT, MIDNIGHT + end).state.tolist()
        )


def household(meters: int) -> list[Meter]:
    load = Household("h", MIDNIGHT - DAY, HALF_HOUR, tuple(100 + i * 7 % 300 for i in range(96)), repeats=True)
    return [Meter("", number, load, MIDNIGHT - DAY) for number in range(1, meters + 1)]


def modbus(path: Path, baud: int, meters: int = 4, profile: MeterProfile = PROFILES["sim-modbus-rtu"]) -> Plant:
    made = [replace(meter, name=f"SIM:{meter.serial}") for meter in household(meters)]
    bus = ModbusBus([Position(str(meter.serial), (meter,)) for meter in made], random.Random(1), TURN)
    return Plant(path, profile, [(meter.name, str(meter.serial)) for meter in made], heard(bus.receive), baud)


def dlt645(path: Path, baud: int, name: str = "sim-dlt645") -> Plant:
    # Their logs have one event each, of the day before: what is asked for is there, and there is no more to ask for.
    logged = (PowerCut(MIDNIGHT - DAY + HOUR, MIDNIGHT - DAY + 2 * HOUR), ClockSet(MIDNIGHT - DAY + 3 * HOUR))
    made = [replace(meter, name=f"SIM:{meter.serial:012d}", faults=logged) for meter in household(3)]
    bus = Dlt645Bus([Position(f"{meter.serial:012d}", (meter,)) for meter in made], random.Random(1), TURN)
    return Plant(
        path, PROFILES[name], [(meter.name, f"{meter.serial:012d}") for meter in made], heard(bus.receive), baud
    )


def hdlc(path: Path, baud: int, info: int = DEFAULT_INFO) -> Plant:
    profile = PROFILES["sim-dlms-hdlc"]
    assert profile.dlms is not None
    profile = replace(profile, dlms=replace(profile.dlms, max_info=info))
    made = [replace(meter, name=f"SIM{meter.serial:013d}") for meter in household(3)]
    settings = DlmsSettings(latency=TURN)
    places = [DlmsPlace(Position(f"1/{16 + meter.serial}", (meter,)), settings) for meter in made]
    conversation = DlmsGateway(places, random.Random(1)).hdlc_conversation()

    def respond(question: bytes) -> bytes:
        return b"".join(answer.data for answer in conversation.receive(question, LoopClock().now()))

    return Plant(path, profile, [(meter.name, f"1/{16 + meter.serial}") for meter in made], respond, baud)


def iec62056(path: Path, baud: int, **changes: object) -> Plant:
    """``baud``: fastest that the profile allows, which is what the meters propose."""
    profile = PROFILES["sim-iec62056"]
    assert profile.iec62056 is not None
    profile = replace(profile, iec62056=replace(profile.iec62056, max_baud=baud, **changes))  # type: ignore[arg-type]
    made = [replace(meter, name=f"SIM:{meter.serial:08d}") for meter in household(3)]
    bus = Iec62056Bus(
        [Position(f"{meter.serial:08d}", (meter,)) for meter in made], random.Random(1), Settings(speed=baud)
    )
    return Plant(path, profile, [(meter.name, f"{meter.serial:08d}") for meter in made], heard(bus.receive), baud)


def heard(receive: Callable[[bytes, int], object]) -> Respond:
    def respond(question: bytes) -> bytes:
        answer = receive(question, LoopClock().now())
        return b"" if answer is None else answer.data  # type: ignore[attr-defined]

    return respond


@pytest.mark.parametrize("baud", [1200, 9600, 115_200])
@pytest.mark.parametrize(("make", "octets_off"), [(modbus, 0), (dlt645, 0), (hdlc, 0.01)])
def test_a_line_takes_the_octets_and_the_time_that_were_forecast(
    make: Callable[[Path, int], Plant], octets_off: float, baud: int, tmp_path: Path
) -> None:
    plant = make(tmp_path, baud)
    span = HOUR, 5 * HOUR  # with the clocks' check at three
    seconds, octets = plant.expected(*span)

    took, carried = run(lambda: plant.measured(*span))

    assert octets == pytest.approx(carried, rel=octets_off)
    assert seconds == pytest.approx(took, rel=0.05)


@pytest.mark.parametrize("baud", [300, 9600])
@pytest.mark.parametrize(("opening", "wake_up"), [("readout", False), ("programming", True)])
def test_a_line_of_changing_speed_takes_the_octets_and_the_time_that_were_forecast(
    opening: str, baud: int, wake_up: bool, tmp_path: Path
) -> None:
    plant = iec62056(tmp_path, baud, opening=opening, wake_up=wake_up)
    span = HOUR, 5 * HOUR  # with the load profile and the clocks' check
    seconds, octets = plant.expected(*span)

    took, carried = run(lambda: plant.measured(*span))

    assert octets == carried
    assert seconds == pytest.approx(took, rel=0.05)


def with_period(period: int, tolerance: int) -> MeterProfile:
    profile = PROFILES["sim-modbus-rtu"]
    (channel,) = profile.channels
    return replace(profile, channels=(replace(channel, period=period, boundary_tolerance=tolerance),), registers=())


def test_a_plan_said_to_need_more_than_all_of_a_line_loses_intervals_on_it(tmp_path: Path) -> None:
    plant = modbus(tmp_path, TELETYPE, 16, with_period(60, 59))

    forecast = plant.forecast()
    run(lambda: plant.serve(10 * MINUTE))

    assert forecast.verdict is Verdict.DOES_NOT_FIT
    assert forecast.load == pytest.approx(1.10, abs=0.01)
    states = plant.states(8 * MINUTE)
    assert states[State.MEASURED] < 0.95 * states.total()


def test_the_same_plan_with_the_period_that_is_advised_loses_none(tmp_path: Path) -> None:
    plant = modbus(tmp_path, TELETYPE, 16, with_period(120, 90))

    forecast = plant.forecast()
    run(lambda: plant.serve(10 * MINUTE))

    assert forecast.verdict is Verdict.FITS
    assert forecast.load == pytest.approx(0.55, abs=0.01)
    assert plant.states(8 * MINUTE) == {State.MEASURED: 16 * 4}


def test_the_last_meter_is_polled_as_late_after_its_boundary_as_was_forecast(tmp_path: Path) -> None:
    plant = modbus(tmp_path, TELETYPE, 6, with_period(120, 90))

    forecast = plant.forecast()
    run(lambda: plant.serve(5 * MINUTE))

    meters, _ = load_meters(plant.store, plant.profiles)
    polls = [
        reading.captured_at % 120
        for meter in meters
        for reading in plant.store.registers(meter.device.id, IMPORT_REGISTER, MIDNIGHT + 60, MIDNIGHT + 5 * MINUTE)
    ]
    assert forecast.worst_boundary == pytest.approx(max(polls), abs=1.5)  # the middle of an exchange, in whole seconds
