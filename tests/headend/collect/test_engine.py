import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from drivers.errors import (
    ConnectionLost,
    DriverError,
    MeterRefused,
    RemoteProtocolError,
    SecurityError,
    TransportTimeout,
)
from headend.collect.job import RoundSummary
from headend.collect.latency import ENOUGH
from headend.errors import RegistryError, StoreError
from kernels.quality import Reason, Rule, State
from tests.headend.collect.builders import (
    DAY,
    HALF_HOUR,
    HOUR,
    IMPORT_REGISTER,
    MIDNIGHT,
    channel,
    profile,
)
from tests.headend.collect.fakes import PatientClock
from tests.headend.collect.world import FakeMeter, Scene

NOON = MIDNIGHT + 12 * HOUR
PROFILE_METER = profile(channel(), registers=(IMPORT_REGISTER,))
POLLED_METER = profile(
    channel("register", upper=10_000, dials=8, boundary_tolerance=30), protocol="modbus", name="polled"
)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, now=NOON + 300)
    yield made
    made.store.close()


def always(error: DriverError) -> Callable[[int], DriverError]:
    return lambda _: error


async def test_a_round_reads_what_is_due_and_a_second_finds_nothing_open(scene: Scene) -> None:
    meter = scene.add(PROFILE_METER)

    async with scene.engine() as engine:
        first = await engine.run_due()
        scene.clock.advance(HOUR)
        second = await engine.run_due()

    assert first == RoundSummary(jobs=1, ok=1, new=25)
    assert second == RoundSummary(jobs=1, ok=1, new=3)
    assert scene.causes(MIDNIGHT, NOON) == [meter.count(slot) for slot in range(MIDNIGHT, NOON, HALF_HOUR)]
    assert meter.windows == [(MIDNIGHT, NOON), (NOON, NOON + HOUR)]


async def test_the_slot_that_runs_while_collection_starts_is_read_once_it_is_over(scene: Scene) -> None:
    meter = scene.add(PROFILE_METER)
    scene.clock.world = MIDNIGHT + 2

    async with scene.engine() as engine:
        for instant in (MIDNIGHT + 2, MIDNIGHT + 300, MIDNIGHT + HOUR + 300):
            await scene.clock.sleep_until(instant)
            await engine.run_due()

    assert scene.causes(MIDNIGHT, MIDNIGHT + HOUR) == [meter.count(MIDNIGHT), meter.count(MIDNIGHT + HALF_HOUR)]


async def test_a_row_the_meter_does_not_have_says_so_and_is_fetched_when_it_appears(scene: Scene) -> None:
    hole = MIDNIGHT + 6 * HOUR
    meter = scene.add(PROFILE_METER, meter=FakeMeter("TST:1", missing={hole}))

    async with scene.engine() as engine:
        await engine.run_due()
        without = scene.causes(hole, hole + HALF_HOUR)
        meter.missing.clear()
        scene.clock.advance(HOUR)
        await engine.run_due()

    assert without == [Reason.NO_ROW]
    assert scene.causes(hole, hole + HALF_HOUR) == [meter.count(hole)]
    assert (hole, hole + HALF_HOUR) in meter.windows


async def test_a_retryable_failure_is_tried_again_within_the_job(scene: Scene) -> None:
    faults = {1: RemoteProtocolError("noise")}
    meter = scene.add(PROFILE_METER, meter=FakeMeter("TST:1", fault=faults.get))

    async with scene.engine() as engine:
        summary = await engine.run_due()

    assert summary.ok == 1
    assert meter.visits == 2
    assert scene.opened == ["bus", "bus"]


@pytest.mark.parametrize(
    ("error", "visits", "cause"),
    [
        (TransportTimeout("silent"), 2, Reason.NO_ANSWER),
        (ConnectionLost("gone"), 2, Reason.NO_ROUTE),
        (RemoteProtocolError("noise"), 2, Reason.LINE_NOISE),
        (MeterRefused("no", 3), 1, Reason.REFUSED),
        (SecurityError("bad tag"), 1, Reason.SECURITY),
    ],
)
async def test_a_failed_job_gives_its_slots_the_cause_of_its_error(
    scene: Scene, error: DriverError, visits: int, cause: Reason
) -> None:
    meter = scene.add(PROFILE_METER, meter=FakeMeter("TST:1", fault=always(error)))

    async with scene.engine() as engine:
        summary = await engine.run_due()

    assert summary == RoundSummary(jobs=1, failed={cause: 1}, marked=24)
    assert meter.visits == visits
    assert set(scene.causes(MIDNIGHT, NOON)) == {cause}
    assert [(run.cause, run.detail) for run in scene.runs()] == [(cause, str(error))]


async def test_a_wrong_meter_stores_nothing_and_says_so_once(scene: Scene) -> None:
    scene.add(PROFILE_METER, meter=FakeMeter("TST:99"))

    async with scene.engine() as engine:
        for _ in range(3):
            await engine.run_due()
            scene.clock.advance(HOUR)

    assert set(scene.causes(MIDNIGHT, NOON + 2 * HOUR)) == {Reason.WRONG_METER}
    assert scene.store.registers(1, IMPORT_REGISTER, 0, 2**40) == []
    assert [(event.kind, event.text) for event in scene.events()] == [
        ("wrong_meter", "TST:99 answers at address 1 of TST:1")
    ]


async def test_after_a_wrong_meter_is_put_right_its_slots_are_fetched(scene: Scene) -> None:
    meter = scene.add(PROFILE_METER, meter=FakeMeter("TST:99"))

    async with scene.engine() as engine:
        await engine.run_due()
        meter.name = "TST:1"
        for _ in range(2):
            scene.clock.advance(HOUR)
            await engine.run_due()

    assert scene.causes(MIDNIGHT, NOON + 2 * HOUR) == [
        meter.count(slot) for slot in range(MIDNIGHT, NOON + 2 * HOUR, HALF_HOUR)
    ]


async def test_a_refused_key_is_not_tried_again_for_a_day_but_new_slots_get_their_cause(scene: Scene) -> None:
    meter = scene.add(PROFILE_METER, meter=FakeMeter("TST:1", fault=always(SecurityError("bad tag"))))

    async with scene.engine() as engine:
        for _ in range(24):
            await engine.run_due()
            scene.clock.advance(HOUR)

    assert meter.visits == 1
    assert set(scene.causes(MIDNIGHT, NOON + 23 * HOUR)) == {Reason.SECURITY}
    assert [event.kind for event in scene.events()] == ["security"]


async def test_a_dead_meter_on_a_bus_does_not_stop_the_three_living_ones(scene: Scene) -> None:
    dead = scene.add(PROFILE_METER, number=1, meter=FakeMeter("TST:1", fault=always(TransportTimeout("silent"))))
    living = [scene.add(PROFILE_METER, number=number) for number in (2, 3, 4)]

    async with scene.engine() as engine:
        with capture_logs() as logs:
            for _ in range(5):
                summary = await engine.run_due()
                assert (summary.ok, summary.failed) == (3, {Reason.NO_ANSWER: 1})
                scene.clock.advance(HOUR)

    for number, meter in zip((2, 3, 4), living, strict=True):
        assert scene.causes(MIDNIGHT, NOON + 4 * HOUR, number) == [
            meter.count(slot) for slot in range(MIDNIGHT, NOON + 4 * HOUR, HALF_HOUR)
        ]
    assert set(scene.causes(MIDNIGHT, NOON + 4 * HOUR, 1)) == {Reason.NO_ANSWER}
    assert dead.visits == 3 * 2 + 2, "two attempts each until the breaker opens, then one"
    assert [entry["event"] for entry in logs] == ["outage began"]


async def test_a_meter_that_says_nothing_is_asked_again_when_the_others_were_and_its_other_jobs_wait(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, now=MIDNIGHT + 13 * DAY)
    asked: list[int] = []

    def note(number: int, error: DriverError | None) -> Callable[[int], DriverError | None]:
        def fault(_: int) -> DriverError | None:
            asked.append(number)
            return error

        return fault

    for number in (1, 2, 3):
        silent = TransportTimeout("silent") if number == 1 else None
        scene.add(PROFILE_METER, number=number, meter=FakeMeter(f"TST:{number}", fault=note(number, silent)))

    async with scene.engine() as engine:
        summary = await engine.run_due()

    assert (summary.jobs, summary.failed) == (6, {Reason.NO_ANSWER: 2}), "the newest window of each, and an older one"
    assert asked == [1, 2, 3, 1, 2, 3, 1, 1]
    scene.store.close()


async def test_a_meter_whose_one_answer_was_lost_is_asked_again_at_once_by_a_person_too(scene: Scene) -> None:
    meter = scene.add(
        PROFILE_METER, meter=FakeMeter("TST:1", fault=lambda visit: TransportTimeout("lost") if visit == 1 else None)
    )

    async with scene.engine() as engine:
        (value,) = await engine.read_now("TST:1")

    assert (meter.visits, value.obis) == (2, IMPORT_REGISTER)


async def test_a_poll_put_off_beyond_its_time_fails_for_the_silence_that_put_it_off(scene: Scene) -> None:
    def silent(_: int) -> DriverError:
        scene.clock.advance(HALF_HOUR)
        return TransportTimeout("silent")

    meter = scene.add(POLLED_METER)

    async with scene.engine() as engine:
        await engine.run_due()
        read_before = meter.visits
        meter.fault = silent
        scene.clock.world = NOON + HOUR + 2
        summary = await engine.run_due()

    assert summary.failed == {Reason.NO_ANSWER: 1}
    assert meter.visits == read_before + 1


async def test_learned_latencies_are_kept_at_the_end_and_every_six_hours_and_recalled_at_the_start(
    scene: Scene,
) -> None:
    meter = scene.add(PROFILE_METER, meter=FakeMeter("TST:1", latencies=(0.02,) * ENOUGH))
    kept: list[int] = []

    async with scene.engine() as engine:
        for _ in range(8):
            await engine.run_due()
            kept.append(len(scene.store.latencies()))
            scene.clock.advance(HOUR)
    for _ in range(2):
        async with scene.engine() as engine:
            await engine.run_due()

    assert kept == [0, 0, 0, 0, 0, 0, 1, 1]
    assert meter.allowed[0] == 0.1
    assert all(latency < 0.05 for latency in meter.allowed[1:])


async def test_an_open_breaker_spares_the_line_and_still_names_the_cause(tmp_path: Path) -> None:
    scene = Scene(tmp_path, now=MIDNIGHT + 39 * DAY)
    dead = scene.add(PROFILE_METER, meter=FakeMeter("TST:1", fault=always(TransportTimeout("silent"))))

    async with scene.engine() as engine:
        summary = await engine.run_due()

    assert summary.jobs == 6
    assert dead.visits == 2 * scene.settings.breaker_failures
    assert set(scene.causes(MIDNIGHT, MIDNIGHT + 39 * DAY)) == {Reason.NO_ANSWER}
    assert len(scene.runs()) == scene.settings.breaker_failures
    scene.store.close()


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(scene: Scene) -> None:
    meter = scene.add(PROFILE_METER, meter=FakeMeter("TST:1", fault=always(TransportTimeout("silent"))))

    async with scene.engine() as engine:
        with capture_logs() as logs:
            for _ in range(3):
                await engine.run_due()
                scene.clock.advance(HOUR)
            meter.fault = lambda _: None
            await engine.run_due()

    assert [entry["event"] for entry in logs] == ["outage began", "outage ended"]


async def test_a_link_that_does_not_open_is_left_alone_for_all_its_meters(scene: Scene) -> None:
    scene.dead_links.add("bus")
    for number in range(1, 11):
        scene.add(PROFILE_METER, number=number)

    async with scene.engine() as engine:
        with capture_logs() as logs:
            summary = await engine.run_due()

    assert summary.failed == {Reason.NO_ROUTE: 10}
    assert len(scene.opened) == 2 * scene.settings.breaker_failures
    assert all(set(scene.causes(MIDNIGHT, NOON, number)) == {Reason.NO_ROUTE} for number in range(1, 11))
    assert [entry["event"] for entry in logs] == ["outage began"]


async def test_a_wrong_clock_is_told_once_and_doubts_every_interval_of_the_visit(scene: Scene) -> None:
    scene.add(PROFILE_METER, meter=FakeMeter("TST:1", offset=181))

    async with scene.engine() as engine:
        await engine.run_due()
        scene.clock.advance(HOUR)
        await engine.run_due()

    series = scene.series(MIDNIGHT, NOON + HOUR)
    assert set(series.rules.tolist()) == {int(Rule.METER_STATUS | Rule.CLOCK_DRIFT)}
    assert set(series.state.tolist()) == {int(State.QUESTIONABLE)}
    assert series.values.tolist() == [FakeMeter.count(slot) for slot in range(MIDNIGHT, NOON + HOUR, HALF_HOUR)]
    assert [(event.kind, event.text) for event in scene.events()] == [
        ("clock", "the meter's clock is 181 s ahead of ours")
    ]


async def test_a_clock_that_goes_wrong_does_not_doubt_values_read_before(scene: Scene) -> None:
    meter = scene.add(PROFILE_METER, meter=FakeMeter("TST:1", missing={NOON - HOUR}))

    async with scene.engine() as engine:
        await engine.run_due()
        meter.offset = 181
        scene.clock.advance(HOUR)
        await engine.run_due()

    assert meter.windows[-1][0] == NOON - HOUR
    state = scene.series(NOON - HOUR, NOON + HOUR).state.tolist()
    assert state == [State.MISSING, State.MEASURED, State.QUESTIONABLE, State.QUESTIONABLE]


async def test_registers_that_fail_do_not_cost_the_load_profile(scene: Scene) -> None:
    scene.add(PROFILE_METER, meter=FakeMeter("TST:1", late_fault=always(MeterRefused("no such register", 4))))

    async with scene.engine() as engine:
        summary = await engine.run_due()

    assert (summary.ok, summary.new) == (1, 24)
    assert [(run.succeeded, run.detail) for run in scene.runs()] == [(True, "no such register")]


async def test_a_fault_of_ours_costs_one_meter_not_the_round(scene: Scene) -> None:
    def fault(_: int) -> DriverError | None:
        raise ZeroDivisionError("a bug")

    scene.add(PROFILE_METER, number=1, meter=FakeMeter("TST:1", fault=fault))
    scene.add(PROFILE_METER, number=2)

    async with scene.engine() as engine:
        with capture_logs() as logs:
            summary = await engine.run_due()

    assert (summary.ok, summary.failed) == (1, {Reason.GATEWAY_DOWN: 1})
    assert logs[0]["event"] == "job failed by a fault of ours"


async def poll_at(scene: Scene, instants: list[int]) -> None:
    scene.clock.world = instants[0]
    async with scene.engine() as engine:
        for instant in instants:
            await scene.clock.sleep_until(instant)
            await engine.run_due()


async def test_registers_polled_at_their_boundaries_become_exact_intervals(scene: Scene) -> None:
    meter = scene.add(POLLED_METER, meter=FakeMeter("TST:1", register=lambda now: (now - MIDNIGHT) // HALF_HOUR * 100))
    boundaries = range(MIDNIGHT, MIDNIGHT + 4 * HOUR + 1, HALF_HOUR)

    await poll_at(scene, [boundary + 2 for boundary in boundaries])

    assert scene.causes(MIDNIGHT, MIDNIGHT + 4 * HOUR) == [100] * 8
    assert meter.visits == 9


async def test_rollover_of_a_polled_register_is_booked_through_zero(scene: Scene) -> None:
    scene.add(
        POLLED_METER,
        meter=FakeMeter("TST:1", register=lambda now: (99_999_750 + (now - MIDNIGHT) // HALF_HOUR * 100) % 10**8),
    )

    await poll_at(scene, [MIDNIGHT + i * HALF_HOUR + 2 for i in range(6)])

    assert scene.causes(MIDNIGHT, MIDNIGHT + 5 * HALF_HOUR) == [100] * 5
    assert scene.events() == []


async def test_a_transient_zero_is_an_event_and_two_empty_slots(scene: Scene) -> None:
    def register(now: int) -> int:
        index = (now - MIDNIGHT) // HALF_HOUR
        return 0 if index == 2 else 50_000_000 + 100 * index

    scene.add(POLLED_METER, meter=FakeMeter("TST:1", register=register))

    await poll_at(scene, [MIDNIGHT + i * HALF_HOUR + 2 for i in range(6)])

    assert scene.causes(MIDNIGHT, MIDNIGHT + 5 * HALF_HOUR) == [100, Reason.SET_ASIDE, Reason.SET_ASIDE, 100, 100]
    assert [(event.kind, event.at) for event in scene.events()] == [("register", MIDNIGHT + 2 * HALF_HOUR + 2)]


async def test_a_failed_poll_costs_the_slots_on_both_sides_and_names_its_cause(scene: Scene) -> None:
    meter = FakeMeter("TST:1", register=lambda now: (now - MIDNIGHT) // HALF_HOUR * 100)
    scene.add(POLLED_METER, meter=meter)
    meter.fault = lambda _: TransportTimeout("silent") if scene.clock.now() == MIDNIGHT + HOUR + 2 else None

    await poll_at(scene, [MIDNIGHT + i * HALF_HOUR + 2 for i in range(6)])

    assert scene.causes(MIDNIGHT, MIDNIGHT + 5 * HALF_HOUR) == [100, Reason.NO_ANSWER, Reason.NO_ANSWER, 100, 100]
    assert len(scene.store.registers(1, IMPORT_REGISTER, 0, 2**40)) == 5


async def test_a_late_poll_never_makes_a_spike(scene: Scene) -> None:
    scene.add(POLLED_METER, meter=FakeMeter("TST:1", register=lambda now: (now - MIDNIGHT) // 18))
    late = [MIDNIGHT + 2, MIDNIGHT + HALF_HOUR + 2, MIDNIGHT + HOUR + 900]

    await poll_at(scene, [*late, *(MIDNIGHT + i * HALF_HOUR + 2 for i in (3, 4))])

    assert scene.causes(MIDNIGHT, MIDNIGHT + 4 * HALF_HOUR) == [100, Reason.NO_LINE_TIME, Reason.NO_LINE_TIME, 100]


async def test_while_the_gateway_was_down_nobody_polled(scene: Scene) -> None:
    scene.add(POLLED_METER, meter=FakeMeter("TST:1", register=lambda now: (now - MIDNIGHT) // 18))
    await poll_at(scene, [MIDNIGHT + 2, MIDNIGHT + HALF_HOUR + 2])

    await poll_at(scene, [MIDNIGHT + 6 * HOUR + 300 + i * HALF_HOUR for i in range(2)])
    await poll_at(scene, [MIDNIGHT + 7 * HOUR + 2, MIDNIGHT + 7 * HOUR + 300])

    causes = scene.causes(MIDNIGHT, MIDNIGHT + 7 * HOUR)
    assert causes[0] == 100
    assert None not in causes
    assert set(causes[1:12]) == {Reason.GATEWAY_DOWN}


async def test_a_meter_swap_asks_each_meter_for_its_own_days(scene: Scene) -> None:
    swap = MIDNIGHT + 6 * HOUR
    old = scene.add(PROFILE_METER, number=1, end=swap)
    new = scene.add(PROFILE_METER, number=2, start=swap)

    async with scene.engine() as engine:
        await engine.run_due()
        scene.clock.advance(HOUR)
        await engine.run_due()

    assert old.windows == [(MIDNIGHT, swap)]
    assert new.windows == [(swap, NOON), (NOON, NOON + HOUR)]


async def test_a_person_is_answered_at_once_and_a_breaker_does_not_stop_them(scene: Scene) -> None:
    meter = scene.add(PROFILE_METER, meter=FakeMeter("TST:1", fault=always(SecurityError("bad tag"))))

    async with scene.engine() as engine:
        await engine.run_due()
        meter.fault = lambda _: None
        (value,) = await engine.read_now("TST:1")
        scene.clock.advance(HOUR)
        summary = await engine.run_due()

    assert value.count == meter.register(NOON + 300)
    assert scene.store.registers(1, IMPORT_REGISTER, 0, NOON + 301) == [value]
    assert summary.ok == 1


async def test_reading_now_says_what_is_wrong(scene: Scene) -> None:
    scene.add(PROFILE_METER, meter=FakeMeter("TST:1", fault=always(TransportTimeout("silent"))))

    async with scene.engine() as engine:
        with pytest.raises(RegistryError, match="no meter 'TST:7'"):
            await engine.read_now("TST:7")
        with pytest.raises(TransportTimeout, match="silent"):
            await engine.read_now("TST:1")

    assert [(run.kind, run.cause) for run in scene.runs()] == [("on_demand", Reason.NO_ANSWER)]


async def test_running_for_ever_goes_from_due_to_due_until_told_to_stop(scene: Scene) -> None:
    scene.add(POLLED_METER, meter=FakeMeter("TST:1", register=lambda now: (now - MIDNIGHT) // HALF_HOUR * 100))
    stop = asyncio.Event()
    scene.clock = PatientClock(MIDNIGHT + 2)
    sleep_until = scene.clock.sleep_until

    async def sleep_until_noon(instant: int) -> None:
        if instant > NOON + 2:
            stop.set()
        await sleep_until(instant)

    scene.clock.sleep_until = sleep_until_noon  # type: ignore[method-assign]
    async with scene.engine() as engine:
        await engine.run_forever(stop)

    assert scene.causes(MIDNIGHT, NOON) == [100] * 24


async def test_a_store_that_fails_stops_the_engine(scene: Scene) -> None:
    scene.add(PROFILE_METER)

    class Broken:
        async def submit(self, _: object) -> None:
            raise StoreError("device failed")

    async with scene.engine() as engine:
        await engine._load_registry()
        engine._writer = Broken()  # type: ignore[assignment]
        with pytest.raises(StoreError, match="device failed"):
            await engine.run_forever(asyncio.Event())


async def test_a_store_in_trouble_stops_polling_before_any_meter_is_asked_and_what_fell_due_is_done_after(
    scene: Scene,
) -> None:
    meter = scene.add(PROFILE_METER)
    async with scene.engine() as engine:
        scene.trouble = "the device is nearly full"
        with capture_logs() as logs:
            assert await engine.run_due() == RoundSummary()
            scene.clock.advance(HOUR)
            assert await engine.run_due() == RoundSummary()
        assert meter.visits == 0
        assert [log["error"] for log in logs] == ["the device is nearly full"], "an outage is told once"

        scene.trouble = ""
        scene.clock.advance(60)  # nothing falls due within that minute
        done = await engine.run_due()

    assert done.ok == 1
    assert scene.causes(MIDNIGHT, NOON) == [meter.count(slot) for slot in range(MIDNIGHT, NOON, HALF_HOUR)]


async def test_a_store_in_trouble_is_looked_at_again_each_minute(scene: Scene) -> None:
    meter = scene.add(PROFILE_METER)
    stop = asyncio.Event()
    scene.clock = PatientClock(NOON + 300)
    scene.trouble = "the device is nearly full"
    sleep_until = scene.clock.sleep_until

    async def sleep(instant: int) -> None:
        await sleep_until(instant)
        if scene.trouble:
            assert instant == NOON + 360
        scene.trouble = ""
        if meter.visits:
            stop.set()

    scene.clock.sleep_until = sleep  # type: ignore[method-assign]
    async with scene.engine() as engine:
        await engine.run_forever(stop)

    assert meter.visits == 1
