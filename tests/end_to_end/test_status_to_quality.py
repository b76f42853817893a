"""What a meter says of its intervals, from its own status to the validated layer: read by the engine off simulated meters over a
paced line in virtual time, validated by the shipped rules, explained, and exported.

The power goes at 10:10 and is back at 13:15, the clock is set at 16:01, and from 18:00 on the meter is in test mode for half an hour.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.profile import MeterProfile
from headend.collect.engine import Engine
from headend.export.quality import nem12
from headend.export.rows import Piece, rows
from headend.profiles import load_profiles
from headend.registry.model import Installation, UsagePoint
from headend.secrets import Secrets
from headend.series import Series
from headend.service import DRIVERS
from headend.store.store import Store
from headend.vee.explain import Explanation, explain
from headend.vee.rules import load_rules
from headend.vee.service import run as validate
from kernels.quality import Reason, Rule, State
from simulators.dlms.gateway import DlmsGateway, DlmsPlace
from simulators.dlms.settings import DlmsSettings
from simulators.dlt645 import Dlt645Bus
from simulators.faults import ClockSet, PowerCut, TestMode
from simulators.household import Household
from simulators.iec62056 import Iec62056Bus
from simulators.line import Answer
from simulators.meter import Meter, Position
from tests.headend.collect.builders import DAY, HALF_HOUR, HOUR, IMPORT, MIDNIGHT, SETTINGS, expectation
from tests.headend.collect.paced import Bus, Respond
from tests.headend.collect.test_forecast_on_lines import AtOnce
from tests.headend.collect.virtual import LoopClock, run

PROFILES = load_profiles()
RULES = load_rules("residential")
CUT = PowerCut(MIDNIGHT + 10 * HOUR + 600, MIDNIGHT + 13 * HOUR + 900)
SET = ClockSet(MIDNIGHT + 16 * HOUR + 60)
TEST = TestMode(MIDNIGHT + 18 * HOUR, MIDNIGHT + 18 * HOUR + HALF_HOUR)
HOME = Household("h", MIDNIGHT - DAY, HALF_HOUR, tuple(200 + slot * 70 % 230 for slot in range(48 * 3)))
WENT, DARK, BACK, CLOCK, TESTED = 20, range(21, 26), 26, 32, 36
"""Slots of the day: the power went, it was off all through, it came back, the clock was set, test mode."""


@dataclass
class Site:
    """One meter on a line, installed at a usage point, with a store behind it."""

    path: Path
    profile: MeterProfile
    address: str
    meter: Meter
    respond: Respond
    baud: int = 9600

    def __post_init__(self) -> None:
        self.store = Store.open(self.path / "store.db", lambda: MIDNIGHT)
        with self.store.transaction():
            link = self.store.put_link("serial:///bus")
            device, _ = self.store.put_end_device(
                self.meter.name, self.profile.name, link, self.address, password_ref="env:PASSWORD"
            )
            self.point: UsagePoint = self.store.put_usage_point("UP1", "UTC")[0]
            self.store.put_installation(Installation(self.point.id, device.id, MIDNIGHT, None))
            channels = [expectation(item, MIDNIGHT, None, device.id) for item in self.profile.channels]
            self.store.put_expectations(device.id, MIDNIGHT, channels)
        self.device = device.id

    async def collect(self) -> None:
        bus = Bus(self.respond, self.baud)
        async with Engine(
            AtOnce(self.store), {self.profile.name: self.profile}, LoopClock(), SETTINGS,
            open_transport=bus.open, drivers=DRIVERS, secrets=Secrets({"PASSWORD": "00000000"}),
        ) as engine:  # fmt: skip
            await LoopClock().sleep_until(MIDNIGHT + 20 * HOUR + 300)
            summary = await engine.run_due()
        await bus.close()
        assert summary.ok == summary.jobs

    def read(self) -> Series:
        run(self.collect)
        return self.store.raw_series(self.device, IMPORT, MIDNIGHT, MIDNIGHT + DAY)

    def validated(self) -> Series:
        day = MIDNIGHT // DAY
        validate(self.store, self.point, IMPORT, day, day + 1, RULES, MIDNIGHT + DAY)
        return self.store.validated_series(self.point.id, IMPORT, MIDNIGHT, MIDNIGHT + DAY)

    def explained(self, slot: int) -> Explanation:
        return explain(self.store, self.point, IMPORT, MIDNIGHT + slot * HALF_HOUR, RULES)


def heard(receive: Callable[[bytes, int], list[Answer] | Answer | None]) -> Respond:
    def respond(question: bytes) -> bytes:
        said = receive(question, LoopClock().now())
        return b"".join(answer.data for answer in (said if isinstance(said, list) else [said] if said else []))

    return respond


def dlms(path: Path) -> Site:
    meter = Meter("SIM0000000000007", 7, HOME, MIDNIGHT - DAY, faults=(CUT, SET, TEST))
    settings = DlmsSettings(has_status=True)
    gateway = DlmsGateway([DlmsPlace(Position("1/17", (meter,)), settings)], random.Random(1))
    return Site(path, PROFILES["sim-dlms-hdlc"], "1/17", meter, heard(gateway.hdlc_conversation().receive))


def dlt645(path: Path) -> Site:
    meter = Meter("SIM:000000001001", 1001, HOME, MIDNIGHT - DAY, faults=(CUT, SET, TEST))
    bus = Dlt645Bus([Position("000000001001", (meter,))], random.Random(1))
    return Site(path, PROFILES["sim-dlt645"], "1001", meter, heard(bus.receive))


def iec62056(path: Path) -> Site:
    meter = Meter("SIM:00001001", 1001, HOME, MIDNIGHT - DAY, faults=(CUT, SET, TEST))
    bus = Iec62056Bus([Position("00001001", (meter,))], random.Random(1))
    return Site(path, PROFILES["sim-iec62056"], "1001", meter, heard(bus.receive))


MAKERS = {"dlms": dlms, "dlt645": dlt645, "iec62056": iec62056}
SAID = {
    "dlms": "status 0x80, bit 7 (power down) of the simulated meter's profile status",
    "dlt645": "event 03110001 of its log (power down)",
    "iec62056": "status 0x80, bit 7 (supply failed) of the simulated meter's status word",
}


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(kind: str, tmp_path: Path):  # type: ignore[no-untyped-def]
    made = MAKERS[kind](tmp_path)
    yield made
    made.store.close()


def reasons(series: Series, slots: range) -> set[Reason]:
    return {Reason(int(series.reason[slot])) for slot in slots}


def has(series: Series, slot: int, rule: Rule) -> bool:
    return bool(int(series.rules[slot]) & rule)


def test_slots_without_power_are_missing_for_that_cause_and_the_ones_around_are_marked(site: Site, kind: str) -> None:
    raw = site.read()

    assert {int(raw.state[slot]) for slot in (WENT, *DARK)} == {State.MISSING}
    assert reasons(raw, DARK) == {Reason.POWER_OFF}
    assert reasons(raw, range(WENT, WENT + 1)) == {Reason.NO_ROW}  # what was drawn before the power went no row tells
    if kind == "dlt645":  # the record at the beginning of the slot is missing, so is what was gained in it
        assert reasons(raw, range(BACK, BACK + 1)) == {Reason.NO_ROW}
    else:
        assert has(raw, BACK, Rule.POWER_FAILURE)
        assert int(raw.values[BACK]) == site.meter.row(MIDNIGHT + BACK * HALF_HOUR)
    assert has(raw, CLOCK, Rule.CLOCK_SET)
    quiet = [slot for slot in range(40) if slot not in {WENT, *DARK, BACK, CLOCK, TESTED}]
    assert {int(raw.rules[slot]) & ~Rule.UNPROTECTED for slot in quiet} == {0}


def test_without_power_nothing_was_drawn_and_no_line_is_drawn_to_it(site: Site, kind: str) -> None:
    site.read()

    found = site.validated()

    assert {(int(found.state[slot]), int(found.values[slot])) for slot in DARK} == {(State.ESTIMATED, 0)}
    assert reasons(found, DARK) == {Reason.ZERO}
    assert Reason(int(found.reason[WENT])) is not Reason.LINEAR
    if kind != "dlms":  # registers stand beside the rows: what is left between them is what the slots at both ends had
        left = site.meter.register_at(MIDNIGHT + 27 * HALF_HOUR) - site.meter.register_at(MIDNIGHT + 20 * HALF_HOUR)
        counted = sum(int(found.values[slot]) for slot in (WENT, BACK)) * 10**found.scaler_unit.scaler
        assert abs(counted - left) <= 10  # DL/T 645 counts in 10 Wh


def test_a_slot_in_which_the_clock_was_set_stays_and_is_an_issue(site: Site) -> None:
    site.read()

    found = site.validated()

    assert State(int(found.state[CLOCK])) is State.MEASURED
    assert ("clock_set", "issue") in [(one.name, one.severity) for one in site.explained(CLOCK).failed]


@pytest.mark.parametrize(
    "kind", ["dlms", "iec62056"]
)  # DL/T 645 has neither a status of intervals nor a log of test mode
def test_what_was_measured_in_test_mode_is_rejected(site: Site) -> None:
    raw = site.read()

    found = site.validated()

    assert State(int(raw.state[TESTED])) is State.MEASURED
    assert has(raw, TESTED, Rule.TEST_MODE)
    assert State(int(found.state[TESTED])) is State.QUESTIONABLE
    assert site.explained(TESTED).said[0].startswith("test mode: status 0x")


def test_the_meters_own_words_explain_a_slot(site: Site, kind: str) -> None:
    site.read()
    site.validated()

    for slot in (DARK[0], DARK[-1]):
        assert site.explained(slot).said == (f"power failure: {SAID[kind]}",)
    assert site.explained(CLOCK).said[0].startswith("clock set: ")
    assert site.explained(5).said == ()


def test_an_export_says_power_outage_of_what_had_none(site: Site) -> None:
    raw, found = site.read(), site.validated()
    piece = Piece("UP1", site.meter.name, "1", IMPORT, found, "validated", raw=raw)

    told = [nem12(row) for row in rows(piece)]

    assert {(told[slot].method, told[slot].reason) for slot in DARK} == {("S19", 79)}  # zero, power outage
