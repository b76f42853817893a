from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from drivers.facts import UtcSeconds
from headend.collect.job import Job, JobKind, Mark, Priority
from headend.collect.plan import PUSH_GRACE, Ledger, clock_checks, plan, polls
from headend.collect.schedule import Meter, due_slots, next_due, next_tick
from headend.series import Series
from headend.settings import CollectSettings
from headend.store.model import JobRun
from kernels.quality import Reason, State
from tests.headend.collect.builders import (
    DAY,
    EXPORT,
    HALF_HOUR,
    HOUR,
    IMPORT,
    IMPORT_REGISTER,
    MIDNIGHT,
    SETTINGS,
    WH,
    channel,
    expectation,
    meter,
    run,
    series,
)

NOON = MIDNIGHT + 12 * HOUR


def ledger(subject: Meter, made: Series, *runs: JobRun) -> Ledger:
    return Ledger(subject, [(subject.expectations[0], made)], runs)


def windows(jobs: tuple[Job, ...]) -> list[tuple[UtcSeconds, UtcSeconds]]:
    return [(job.start, job.end) for job in jobs if job.window]


def test_nothing_is_asked_when_every_due_slot_has_a_value() -> None:
    made = series(MIDNIGHT, NOON, {})

    assert plan([ledger(meter(channel()), made)], SETTINGS, NOON).jobs == ()


def test_a_hole_behind_the_newest_reading_is_asked_for_exactly() -> None:
    made = series(MIDNIGHT, NOON, {MIDNIGHT + HOUR: None, MIDNIGHT + HOUR + HALF_HOUR: Reason.NO_ANSWER})

    (job,) = plan([ledger(meter(channel()), made)], SETTINGS, NOON).jobs

    assert (job.kind, job.start, job.end) == (JobKind.LOAD_PROFILE, MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR)
    assert [(span.start, span.is_untried) for span in job.spans] == [
        (MIDNIGHT + HOUR, True),
        (MIDNIGHT + HOUR + HALF_HOUR, False),
    ]


def test_holes_close_together_are_one_window_and_far_apart_two_newest_first() -> None:
    now = MIDNIGHT + 3 * DAY
    made = series(MIDNIGHT, now, {MIDNIGHT: None, MIDNIGHT + HOUR: None, now - HALF_HOUR: None})

    jobs = plan([ledger(meter(channel()), made)], SETTINGS, now).jobs

    assert windows(jobs) == [(now - HALF_HOUR, now), (MIDNIGHT, MIDNIGHT + HOUR + HALF_HOUR)]
    assert [job.priority for job in jobs] == [Priority.SCHEDULED, Priority.BACKFILL]


def test_a_long_outage_is_asked_for_in_windows_that_cover_it_once() -> None:
    now = MIDNIGHT + 30 * DAY + 5 * HALF_HOUR
    start, end = due_slots(expectation(channel()), MIDNIGHT, now)
    made = Series.empty(start, HALF_HOUR, WH, (end - start) // HALF_HOUR, State.EXPECTED)

    jobs = plan([ledger(meter(channel()), made)], SETTINGS, now).jobs

    asked = sorted(windows(jobs))
    assert all(later[0] == earlier[1] for earlier, later in pairwise(asked))
    assert (asked[0][0], asked[-1][1]) == (start, end)
    assert max(end - start for start, end in asked) <= SETTINGS.window_days * DAY


def test_windows_of_channels_with_other_periods_lose_no_slot_at_a_cut() -> None:
    hourly = channel(obis=EXPORT, period=HOUR)
    subject = meter(channel(), hourly)
    shifted = replace(subject.expectations[1], offset=HALF_HOUR)
    now = MIDNIGHT + 20 * DAY
    pairs = []
    for item in (subject.expectations[0], shifted):
        start, end = due_slots(item, MIDNIGHT, now)
        pairs.append((item, Series.empty(start, item.period, WH, (end - start) // item.period, State.EXPECTED)))

    jobs = plan([Ledger(subject, pairs)], SETTINGS, now).jobs

    for obis, (item, made) in zip((IMPORT, EXPORT), pairs, strict=True):
        slots = sorted(
            slot
            for job in jobs
            for span in job.spans
            if span.obis == obis
            for slot in range(span.start, span.end, item.period)
        )
        assert slots == list(range(made.start, made.end, item.period))
        assert all(job.start <= span.start < span.end <= job.end for job in jobs for span in job.spans)


def test_a_row_the_meter_does_not_have_is_asked_again_only_so_often() -> None:
    slot = MIDNIGHT + HOUR
    made = series(MIDNIGHT, NOON, {slot: Reason.NO_ROW})
    window = (slot, slot + HALF_HOUR)
    runs = [run(window, NOON - i) for i in range(1, 5)]

    within = plan([ledger(meter(channel()), made, *runs[:3])], SETTINGS, NOON)
    beyond = plan([ledger(meter(channel()), made, *runs)], SETTINGS, NOON)

    assert windows(within.jobs) == [window]
    assert beyond.jobs == ()
    assert beyond.settled == {1: NOON}


def test_a_refused_slot_waits_until_the_meter_has_been_read_since() -> None:
    slot = MIDNIGHT + HOUR
    made = series(MIDNIGHT, NOON, {slot: Reason.SECURITY})
    failed = run((slot, slot + HALF_HOUR), NOON - 100, Reason.SECURITY)
    read = run((NOON - HALF_HOUR, NOON), NOON - 50)

    waiting = plan([ledger(meter(channel()), made, failed)], SETTINGS, NOON)
    healed = plan([ledger(meter(channel()), made, failed, read)], SETTINGS, NOON)

    assert waiting.jobs == ()
    assert waiting.settled == {1: slot}
    assert windows(healed.jobs) == [(slot, slot + HALF_HOUR)]


def test_memory_the_meter_lost_is_not_asked_for() -> None:
    made = series(MIDNIGHT, NOON, {MIDNIGHT: Reason.MEMORY_LOST, MIDNIGHT + HALF_HOUR: Reason.POWER_OFF})

    assert plan([ledger(meter(channel()), made)], SETTINGS, NOON).jobs == ()


def test_a_disabled_meter_gets_its_cause_and_no_visit() -> None:
    made = series(MIDNIGHT, NOON, {MIDNIGHT: None})

    made_plan = plan([ledger(meter(channel(), disabled=True), made)], SETTINGS, NOON)

    assert made_plan.jobs == ()
    assert made_plan.marks == (Mark(1, IMPORT, MIDNIGHT, MIDNIGHT + HALF_HOUR, Reason.DISABLED),)


def test_a_meter_of_unknown_model_is_missing_all_the_same() -> None:
    subject = replace(meter(channel()), profile=None)
    made = series(MIDNIGHT, NOON, {MIDNIGHT: None})

    made_plan = plan([ledger(subject, made)], SETTINGS, NOON)

    assert made_plan.jobs == ()
    assert [mark.cause for mark in made_plan.marks] == [Reason.NO_ROUTE]


def test_pushed_slots_are_unanswered_only_after_their_grace() -> None:
    subject = meter(channel("push"), protocol="push")
    late, fresh = NOON - PUSH_GRACE - HALF_HOUR, NOON - PUSH_GRACE
    made = series(MIDNIGHT, NOON, {late: None, fresh: None})

    made_plan = plan([ledger(subject, made)], SETTINGS, NOON)

    assert made_plan.jobs == ()
    assert made_plan.marks == (Mark(1, IMPORT, late, late + HALF_HOUR, Reason.NO_ANSWER),)
    assert made_plan.settled == {1: late}


def test_slots_whose_boundary_nobody_polled_are_missing_because_the_gateway_was_down() -> None:
    subject = meter(channel("register"), protocol="modbus")
    now = NOON + SETTINGS.register_delay
    made = series(MIDNIGHT, NOON, {NOON - HOUR: None, NOON - HALF_HOUR: None})

    marks = plan([ledger(subject, made)], SETTINGS, now).marks

    assert marks == (Mark(1, IMPORT, NOON - HOUR, NOON - HALF_HOUR, Reason.GATEWAY_DOWN),)


def test_each_boundary_is_polled_once_at_its_delay() -> None:
    subject = meter(channel("register"), protocol="modbus")
    due = NOON + SETTINGS.register_delay

    (job,) = polls([subject], SETTINGS, NOON - 100, due)

    assert (job.kind, job.start, job.end, job.registers) == (
        JobKind.REGISTERS,
        NOON - HALF_HOUR,
        NOON,
        (IMPORT_REGISTER,),
    )
    assert job.expires_at == NOON + HALF_HOUR
    assert polls([subject], SETTINGS, due - 1, due) == [job]
    assert polls([subject], SETTINGS, due, due + 60) == []
    assert polls([subject], SETTINGS, NOON - 100, due - 1) == []


def test_the_first_boundary_is_polled_though_no_slot_ends_there() -> None:
    subject = meter(channel("register"), protocol="modbus")

    (job,) = polls([subject], SETTINGS, None, MIDNIGHT + SETTINGS.register_delay)

    assert job.window is None
    assert job.registers == (IMPORT_REGISTER,)


def test_polling_ends_with_the_boundary_that_ends_the_last_expected_slot() -> None:
    what = channel("register")
    base = meter(what, protocol="modbus")
    subject = replace(base, expectations=(expectation(what, end=NOON),))
    delay = SETTINGS.register_delay

    assert len(polls([subject], SETTINGS, NOON, NOON + delay)) == 1
    assert polls([subject], SETTINGS, NOON + HALF_HOUR, NOON + HALF_HOUR + delay) == []


def test_work_still_on_its_way_is_not_planned_again() -> None:
    made = series(MIDNIGHT, NOON, {MIDNIGHT: None})
    subject = meter(channel())

    assert plan([ledger(subject, made)], SETTINGS, NOON, {(1, JobKind.LOAD_PROFILE)}).jobs == ()


def test_registers_of_the_model_are_read_with_the_newest_window_or_alone() -> None:
    subject = meter(channel(), registers=(IMPORT_REGISTER,))
    holes = series(MIDNIGHT, NOON, {MIDNIGHT: None, NOON - HALF_HOUR: None})

    with_windows = plan([ledger(subject, holes)], SETTINGS, NOON).jobs
    alone = plan([ledger(subject, series(MIDNIGHT, NOON, {}))], SETTINGS, NOON).jobs

    assert [job.registers for job in with_windows] == [(IMPORT_REGISTER,), ()]
    assert [(job.kind, job.registers, job.window) for job in alone] == [(JobKind.REGISTERS, (IMPORT_REGISTER,), None)]


def test_a_meter_that_was_taken_away_is_asked_for_its_last_slots_and_nothing_else() -> None:
    there = meter(channel(), registers=(IMPORT_REGISTER,))
    gone = replace(there, expectations=(replace(there.expectations[0], end=NOON),))
    full, lacking = series(MIDNIGHT, NOON, {}), series(MIDNIGHT, NOON, {NOON - HOUR: None})

    (rest,) = plan([ledger(gone, lacking)], SETTINGS, NOON + HOUR).jobs

    assert (rest.start, rest.end, rest.registers) == (NOON - HOUR, NOON - HALF_HOUR, ())
    assert plan([ledger(gone, full)], SETTINGS, NOON + HOUR).jobs == ()
    assert clock_checks([gone], NOON + HOUR) == []
    assert len(plan([ledger(there, full)], SETTINGS, NOON + HOUR).jobs) == len(clock_checks([there], NOON)) == 1


def test_clocks_are_compared_where_the_protocol_has_them() -> None:
    dlms, modbus = meter(channel()), meter(channel("register"), protocol="modbus", number=2)
    iec62056 = meter(channel(), protocol="iec62056", number=3)

    assert [job.device.id for job in clock_checks([dlms, modbus, iec62056], NOON)] == [1, 3]


def test_the_next_wake_is_the_earliest_of_schedule_and_boundary() -> None:
    subject = meter(channel("register"), protocol="modbus")

    assert next_tick("5 * * * *", NOON) == NOON + 300
    assert next_due([subject], SETTINGS, NOON) == NOON + 2
    assert next_due([subject], SETTINGS, NOON + 2) == NOON + 300
    assert next_due([], SETTINGS, NOON + 301) == NOON + HOUR + 300


class World:
    """One meter with a load profile, planned and read through simulated time; counts how often each slot is asked."""

    def __init__(self, settings: CollectSettings, rows: npt.NDArray[np.bool_]) -> None:
        self.settings, self.rows = settings, rows
        self.now = MIDNIGHT
        self.subject = meter(channel())
        self.made = Series.empty(MIDNIGHT, HALF_HOUR, WH, len(rows), State.EXPECTED)
        self.runs: list[JobRun] = []
        self.asked = np.zeros(len(rows), np.int64)
        self.reachable = True
        self.settled = MIDNIGHT

    def tick(self) -> None:
        self.now = next_tick(self.settings.profile_schedule, self.now)
        earliest = max(self.settled, self.now - self.settings.backfill_days * DAY)
        start, end = due_slots(self.subject.expectations[0], earliest, self.now)
        made_plan = plan([ledger(self.subject, self.made.window(start, end), *self.runs)], self.settings, self.now)
        self.settled = made_plan.settled[1]
        for job in made_plan.jobs:
            first, last = (job.start - MIDNIGHT) // HALF_HOUR, (job.end - MIDNIGHT) // HALF_HOUR
            cut = slice(first, last)
            self.asked[cut] += 1
            empty = self.made.state[cut] != State.MEASURED
            if self.reachable:
                self.made.state[cut][empty] = np.where(self.rows[cut], State.MEASURED, State.MISSING)[empty]
                self.made.reason[cut][empty] = np.where(self.rows[cut], Reason.NONE, Reason.NO_ROW)[empty]
            else:
                self.made.state[cut][empty] = State.MISSING
                self.made.reason[cut][empty] = Reason.NO_ANSWER
            cause = Reason.NONE if self.reachable else Reason.NO_ANSWER
            self.runs.append(run((job.start, job.end), self.now, cause))


def test_three_simulated_weeks_leave_no_hole_that_the_meter_can_fill() -> None:
    rng = np.random.default_rng(1)
    rows = rng.random(21 * 48) > 0.02
    world = World(SETTINGS, rows)

    while world.now < MIDNIGHT + 20 * DAY:
        # Out of reach for hours now and then, and from day 9 to day 14.
        day = (world.now - MIDNIGHT) / DAY
        world.reachable = bool(rng.random() > 0.3) and not 9 <= day < 14
        world.tick()
    world.reachable = True
    world.tick()

    due = slice(0, (world.now - MIDNIGHT) // HALF_HOUR)
    assert np.array_equal(world.made.state[due] == State.MEASURED, rows[due])
    assert set(world.made.reason[due][~rows[due]]) <= {Reason.NO_ROW}


def test_simulated_days_of_a_row_that_never_comes_ask_it_a_bounded_number_of_times() -> None:
    rows = np.ones(10 * 48, np.bool_)
    rows[100] = False
    world = World(SETTINGS, rows)

    while world.now < MIDNIGHT + 9 * DAY:
        world.tick()

    assert world.asked[100] == 1 + SETTINGS.no_row_retries
    assert world.asked[200] == 1
    assert world.settled > MIDNIGHT + 8 * DAY
