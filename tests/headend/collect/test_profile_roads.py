"""A load profile from a simulated DLMS meter to the store: across the hours that come twice or never, and over a line that is cut."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from drivers.contract import ByteStream
from drivers.dlms.driver import open_session
from drivers.errors import ConnectionLost
from drivers.profile import ClockProfile, MeterProfile
from drivers.transports import null_modem
from drivers.transports.memory import MemoryStream
from headend.collect.engine import Engine
from headend.collect.job import RoundSummary
from headend.profiles import load_profiles
from headend.secrets import Secrets
from headend.settings import CollectSettings
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from headend.vee.localtime import Span, edges, utc_offsets
from kernels.quality import Reason
from simulators.dlms.gateway import DlmsGateway, DlmsPlace
from simulators.dlms.settings import ClockHabit, DlmsSettings
from simulators.household import Household
from simulators.meter import Meter, Position
from tests.headend.collect.builders import IMPORT, expectation
from tests.headend.collect.fakes import FakeClock

BERLIN = ZoneInfo("Europe/Berlin")
QUARTER = 900
NAME = "SIM0000000000007"
ENDLESS = 10_000


def quarter_hourly(clock: ClockProfile) -> MeterProfile:
    base = load_profiles()["sim-dlms-wrapper"]
    return replace(base, channels=tuple(replace(one, period=QUARTER) for one in base.channels), clock=clock)


@dataclass
class Road:
    """One meter, its line and a store. ``answers``: until the line is cut, for each connection.  ``sizes``: of those answers."""

    path: Path
    profile: MeterProfile
    household: Household
    settings: DlmsSettings
    answers: int = ENDLESS
    sizes: list[int] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        start = self.household.start
        self.clock.world = float(start + 2)
        self.store = Store.open(self.path / "store.db", self.clock.now)
        meter = Meter(NAME, 7, self.household, start)
        self.gateway = DlmsGateway([DlmsPlace(Position("1", (meter,)), self.settings)], random.Random(1))
        with self.store.transaction():
            entry, _ = self.store.put_end_device(NAME, self.profile.name, self.store.put_link("memory://road"), "1")
            self.number = entry.id
            self.store.put_expectations(
                entry.id, start, [expectation(one, start, None, entry.id) for one in self.profile.channels]
            )

    async def _serve(self, stream: MemoryStream) -> None:
        talk, left = self.gateway.wrapper_conversation(), self.answers
        with suppress(ConnectionLost):
            while True:
                for answer in talk.receive(await stream.read(60), self.clock.now()):
                    if not left:
                        await stream.close()
                        return
                    left -= 1
                    self.sizes.append(len(answer.data))
                    await stream.write(answer.data)

    async def _open(self, url: str) -> ByteStream:
        assert url == "memory://road"
        near, far = null_modem()
        self.tasks.append(asyncio.create_task(self._serve(far)))
        return near

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        writer = GroupCommitWriter(self.store)
        profiles = {self.profile.name: self.profile}
        try:
            async with Engine(
                writer, profiles, self.clock, CollectSettings(), open_transport=self._open,
                drivers={"dlms": open_session}, secrets=Secrets({}), timeout_scale=0.02,
            ) as made:  # fmt: skip
                yield made
        finally:
            await asyncio.gather(*self.tasks)
            await writer.close()

    async def collect(self, engine: Engine, at: int) -> RoundSummary:
        await self.clock.sleep_until(at)
        return await engine.run_due()

    def values(self, start: int, end: int) -> list[int | Reason]:
        made = self.store.raw_series(self.number, IMPORT, start, end)
        return [
            value if has else Reason(reason)
            for value, has, reason in zip(
                made.values.tolist(), made.has_value.tolist(), made.reason.tolist(), strict=True
            )
        ]


HABITS = {
    "with deviation": (ClockHabit("Europe/Berlin"), ClockProfile()),
    "without deviation": (
        ClockHabit("Europe/Berlin", specify_deviation=False),
        ClockProfile(zone="Europe/Berlin", range_deviation="unspecified"),
    ),
    "standard time all year": (
        ClockHabit("Etc/GMT-1", specify_deviation=False),
        ClockProfile(zone="UTC+01:00", range_deviation="unspecified"),
    ),
}
DAYS = {
    "hour comes twice": (datetime(2026, 10, 25, tzinfo=BERLIN), 100),
    "hour never comes": (datetime(2026, 3, 29, tzinfo=BERLIN), 92),
}


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("habit", HABITS)
async def test_a_local_day_arrives_with_all_its_quarters_and_no_other(tmp_path: Path, habit: str, day: str) -> None:
    midnight, quarters = DAYS[day]
    start = int((midnight - timedelta(days=1)).timestamp())
    stamps, clock = HABITS[habit]
    load = tuple(range(1, 96 + quarters + 96 + 1))
    road = Road(tmp_path, quarter_hourly(clock), Household("h", start, QUARTER, load), DlmsSettings(clock=stamps))

    async with road.engine() as engine:
        done = await road.collect(engine, start + len(load) * QUARTER + 2)

    assert (done.new, done.conflicts, done.marked) == (len(load) + 1, 0, 0)  # and the running register
    made = road.store.raw_series(road.number, IMPORT, start, start + len(load) * QUARTER)
    offsets = utc_offsets(BERLIN, made.start, made.period, len(made))
    days = edges(Span.DAY, offsets, made.start, made.period).tolist()
    assert [after - before for before, after in pairwise(days)] == [96, quarters, 96]
    assert tuple(made.values.tolist()) == load
    assert not made.rules.any()
    road.store.close()


@pytest.mark.parametrize("answers", range(13))
async def test_what_came_before_the_line_was_cut_is_stored_and_the_rest_is_fetched_next_time(
    tmp_path: Path, answers: int
) -> None:
    start = int(datetime(2026, 3, 2, tzinfo=BERLIN).timestamp())
    load = tuple(None if slot in {20, 60} else slot for slot in range(96))
    end = start + len(load) * QUARTER
    # No half-hour is too small to be cut in: AARE, name, firmware, columns, period, scaler, then blocks of less than nine rows.
    settings = DlmsSettings(max_pdu=200, takes_lists=False)
    profile = quarter_hourly(ClockProfile())
    profile = replace(profile, timing=replace(profile.timing, retries=0))
    road = Road(tmp_path, profile, Household("h", start, QUARTER, load), settings, answers=answers)
    whole = [Reason.NO_ROW if count is None else count for count in load]

    async with road.engine() as engine:
        cut = await road.collect(engine, end + 2)
        came = road.values(start, end)
        first, road.answers = sum(road.sizes), ENDLESS
        road.sizes.clear()
        rest = await road.collect(engine, end + 3_602)

    rows = next((at for at, value in enumerate(came) if value is Reason.NO_ROUTE), len(load))
    assert cut.failed == {Reason.NO_ROUTE: 1}
    assert came == whole[:rows] + [Reason.NO_ROUTE] * (len(load) - rows)
    assert rows >= 8 * max(0, answers - 7)
    assert road.values(start, end) == whole
    assert (rest.new + cut.new, rest.conflicts, rest.failed) == (96 - 2 + 1, 0, {})
    assert first + sum(road.sizes) < 96 * 21 + 1_200
    road.store.close()
