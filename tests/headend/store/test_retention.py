"""What has outlived its term goes, and nothing else; who misses something by it is told; what is gone is not called missing."""

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.facts import Fact, MeterEvent, RegisterValue, StatusWord
from drivers.obis import Obis
from headend.export.archive import Part, archive
from headend.export.errors import NotExportable
from headend.export.write import export
from headend.ledger import coverage, holes
from headend.registry.model import DAY, Installation
from headend.series import Series
from headend.settings import RetentionSettings
from headend.store.block import Channel
from headend.store.meterdays import MeterDays
from headend.store.model import Layer, Recorded, VeeRun
from headend.store.place import Place
from headend.store.retention import Floor, Gap, Kept, Plan
from headend.store.store import Store
from kernels.quality import Reason, State
from tests.headend.store.builders import (
    EXPORT,
    FIRST_DAY,
    IMPORT,
    NOW,
    PERIOD,
    REGISTER,
    START,
    WH,
    block,
    expect,
    open_store,
)  # fmt: skip

DAYS, SLOTS = 120, 48
THEN = START + DAYS * DAY
"""The day after the last that is stored."""
INFLUX = "sink/influx"


@pytest.fixture(scope="module")
def filled(module_place: Place) -> Place:
    """A meter's half-hours of DAYS days, each a change, and all of them validated."""
    with open_store(module_place) as store, store.transaction():
        expect(store, 1, (IMPORT,))
        for day in range(DAYS):
            counts = [100 * day + slot for slot in range(SLOTS)]
            store.record(1, [block(day * SLOTS, counts)], START + (day + 1) * DAY)
            series = Series.empty(START + day * DAY, PERIOD, WH, SLOTS)
            series.values[:], series.state[:] = counts, State.MEASURED
            series.state[3:5] = State.ESTIMATED
            store.write_validated(1, IMPORT, FIRST_DAY + day, series, VeeRun("rules 1", START + (day + 1) * DAY))
        store.advance_cursor("vee", store.last_seq())
    return module_place


@pytest.fixture
def store(filled: Place, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Give each test the same store, which it may change."""
    copy: Place
    if isinstance(filled, Path):
        copy = shutil.copy(filled, tmp_path / "s.db")
    else:
        copy = request.getfixturevalue("postgres").emptied(like=filled)
    with Store.open(copy, lambda: NOW) as opened:
        yield opened


def retain(store: Store, *sinks: str, now: int = THEN, **terms: Any) -> Plan:
    """Do all that a policy wants."""
    policy = RetentionSettings(**terms)
    plan = store.plan_retention(policy, now, sinks)
    with store.transaction():
        assert store.raise_floors(plan)
    for what in Kept:
        while (doomed := store.doomed(what, policy.keep_sums, 7)).keys:
            with store.transaction():
                store.drop(doomed)
    assert list(store.faults()) == []
    return plan


def raw(store: Store) -> Series:
    return store.raw_series(1, IMPORT, START, THEN)


def test_what_has_outlived_its_term_is_dropped_and_nothing_else(store: Store) -> None:
    retain(store, raw_days=40)

    series, gone = raw(store), (DAYS - 40) * SLOTS
    assert (series.state[gone:] == State.MEASURED).all()
    assert series.values[gone:].tolist() == [100 * day + slot for day in range(80, DAYS) for slot in range(SLOTS)]
    assert store._rows("SELECT count(*) FROM raw") == [(40,)]
    assert store._rows("SELECT count(*) FROM validated") == [(DAYS,)]


def test_what_is_dropped_is_neither_missing_nor_expected_and_no_hole_to_fetch_again(store: Store) -> None:
    retain(store, raw_days=40)

    gone = raw(store).window(START, START + 80 * DAY)
    assert set(gone.state.tolist()) == {State.NOT_EXPECTED}
    assert set(gone.reason.tolist()) == {Reason.DROPPED}
    assert holes(raw(store)) == []
    assert coverage(raw(store)).missing == 0
    assert coverage(raw(store)).expected == 40 * SLOTS


def test_before_the_meter_was_there_nothing_is_called_dropped(store: Store) -> None:
    retain(store, raw_days=40)

    before = store.raw_series(1, IMPORT, START - DAY, START)
    assert set(before.reason.tolist()) == {Reason.NONE}


def test_a_term_of_nothing_keeps_everything_for_good(store: Store) -> None:
    plan = retain(store)

    assert not plan.floors
    assert raw(store).has_value.all()


def test_what_comes_again_below_the_floor_is_not_stored_and_told_once_a_day(store: Store) -> None:
    retain(store, raw_days=40, register_days=40, event_days=40)
    old: list[Fact] = [block(0, [1, 2]), RegisterValue(REGISTER, 1, WH, START), MeterEvent(1, START, "cover opened")]

    with store.transaction():
        first = store.record(1, old, THEN)
        again = store.record(1, old, THEN + 60)
        marked = store.mark_missing(1, IMPORT, START, START + DAY, Reason.NO_ANSWER)

    assert first == again == Recorded(dropped=4)
    assert marked == 0
    assert len(store.events(kind="older_than_retention")) == 1
    assert not store.registers(1, REGISTER, 0, THEN)
    assert not store.events(kind="meter")


def test_what_is_said_of_old_intervals_is_no_event_below_the_floor_and_tears_no_gap(store: Store) -> None:
    with store.transaction():
        store.advance_cursor(INFLUX, store.last_seq())
    retain(store, event_days=40)
    told = replace(block(0, [0]), status=(StatusWord(START, START + PERIOD, 128, "power failure"),))

    with store.transaction():
        store.record(1, [told], THEN)
        store.record(1, [block(0, [7, 8])], THEN)
        store.record(1, [block(0, [1], REGISTER)], THEN)
        store.advance_cursor(INFLUX, store.last_seq())

    assert len(store.conflicts()) == 2
    assert [(event.kind, event.at) for event in store.events()] == [("conflict", THEN), ("unexpected_channel", THEN)]
    assert store.gaps() == []
    assert not store.doomed(Kept.EVENT, "none", 10).keys


def test_whole_days_in_bulk_below_the_floor_are_not_stored_either(store: Store) -> None:
    retain(store, raw_days=40)
    gone = START // DAY + DAYS - 41
    rows = store._rows("SELECT count(*) FROM raw")
    channels = (Channel(IMPORT, PERIOD, 0, WH),)

    with store.transaction():
        done = store.record_days(MeterDays(gone, [1], channels, np.ones((1, SLOTS), np.int32)), NOW)

    assert done == Recorded(dropped=SLOTS)
    assert store._rows("SELECT count(*) FROM raw") == rows


def test_what_is_dropped_reads_the_same_from_many_channels_at_once(store: Store) -> None:
    retain(store, raw_days=40)
    window = THEN - 42 * DAY, THEN - 38 * DAY

    alone = store.raw_series(1, IMPORT, *window)
    (listed,), matrix = store.series([(1, IMPORT)], *window), store.matrix([1], IMPORT, *window)

    assert Reason.DROPPED in alone.reason
    for other in (listed, matrix.series(0)):
        assert np.array_equal(other.state, alone.state)
        assert np.array_equal(other.reason, alone.reason)
        assert np.array_equal(other.values[other.has_value], alone.values[alone.has_value])


def test_a_value_on_both_sides_of_the_floor_is_stored_on_this_side(store: Store) -> None:
    with store.transaction():
        expect(store, 1, (IMPORT, EXPORT))
        store.advance_cursor("vee", store.last_seq())
    retain(store, raw_days=40)

    with store.transaction():
        done = store.record(1, [block(80 * SLOTS - 2, [1, 2, 3], EXPORT)], THEN)

    assert (done.new, done.dropped) == (1, 2)


@pytest.mark.parametrize(("keep", "parts"), [("hour", 24), ("day", 1)])
def test_of_a_validated_day_its_sums_stay_with_what_they_are_made_of(store: Store, keep: str, parts: int) -> None:
    retain(store, validated_days=40, keep_sums=keep)

    (day,) = store.sums(1, "UP1", FIRST_DAY + 2, FIRST_DAY + 3)
    (channel,) = day.channels
    counts = np.arange(200, 200 + SLOTS).reshape(parts, -1)
    assert channel.sums.tolist() == counts.sum(axis=1).tolist()
    assert channel.counts.sum() == SLOTS
    assert channel.counts[:, State.ESTIMATED].sum() == 2
    assert channel.counts[min(1, parts - 1), State.ESTIMATED] > 0
    assert (channel.obis, channel.scaler_unit, channel.period, channel.version) == (IMPORT, WH, PERIOD, 1)
    assert set(store.validated_series(1, IMPORT, START, START + DAY).reason.tolist()) == {Reason.DROPPED}
    assert store.versions(1, IMPORT, FIRST_DAY) == []
    assert len(store.versions(1, IMPORT, FIRST_DAY + 100)) == 1


def test_an_archive_holds_the_sums_of_dropped_days_and_what_sinks_missed(store: Store, tmp_path: Path) -> None:
    with store.transaction():
        store.advance_cursor(INFLUX, 1)
    retain(store, INFLUX, validated_days=40, keep_sums="day", sink_wait_days=0)

    archive(store, tmp_path / "left", "csv", Part(), THEN)

    with (tmp_path / "left" / "sum.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == DAYS - 40
    assert {(row["usage_point"], row["seconds"], row["unit"]) for row in rows} == {("UP1", "86400", "Wh")}
    assert rows[1]["sum"] == str(sum(100 + slot for slot in range(SLOTS)))
    assert (rows[1]["measured"], rows[1]["estimated"]) == (str(SLOTS - 2), "2")
    assert (tmp_path / "left" / "sink_gap.csv").read_text().count(INFLUX) == 1


def test_sums_have_a_term_of_their_own(store: Store) -> None:
    retain(store, validated_days=40, sums_days=60)

    kept = [day.day - FIRST_DAY for day in store.sums(1, "UP1", FIRST_DAY, FIRST_DAY + DAYS)]
    assert kept == list(range(DAYS - 60, DAYS - 40))


def test_a_damaged_validated_day_is_dropped_without_sums_and_told(store: Store) -> None:
    store._run("UPDATE validated SET block = substr(block, 1, 40) WHERE k = ?", (FIRST_DAY << 32 | 1,))

    retain(store, validated_days=40)

    assert not list(store.sums(1, "UP1", FIRST_DAY, FIRST_DAY + 1))
    (event,) = store.events(kind="retention_damage")
    assert "it was damaged" in event.text


def test_nothing_is_validated_again_of_a_day_whose_readings_are_gone(store: Store) -> None:
    retain(store, raw_days=40)
    before = store.validated_series(1, IMPORT, START, START + DAY).values.tolist()

    with store.transaction():
        written = store.write_validated(1, IMPORT, FIRST_DAY, Series.empty(START, PERIOD, WH, SLOTS), VeeRun("2", THEN))

    assert written is None
    assert store.validated_series(1, IMPORT, START, START + DAY).values.tolist() == before


def test_what_validation_has_not_seen_is_kept_however_old_it_is(store: Store) -> None:
    with store.transaction():
        store._run("DELETE FROM sink_cursor WHERE name = 'vee'")
        store.advance_cursor("vee", 2 * 50)  # a raw and a validated change a day

    plan = retain(store, raw_days=40, change_days=40, sink_wait_days=0)

    assert plan.floors == {Kept.RAW: Floor(FIRST_DAY + 50, 0, THEN), Kept.CHANGE: Floor(FIRST_DAY + 80, 100, THEN)}
    assert {(held.what, held.cursor) for held in plan.held} == {(Kept.RAW, "vee"), (Kept.CHANGE, "vee")}
    assert store.changes(0, 1)[0].seq == 101


def test_readings_wait_for_a_change_of_the_registry_to_be_validated(store: Store) -> None:
    with store.transaction():
        store.put_usage_point("UP1", "UTC+10:00")  # from the first day on

    plan = store.plan_retention(RetentionSettings(raw_days=40), THEN)
    assert plan.floors == {}

    with store.transaction():
        store.advance_cursor("vee", store.last_seq())
    assert Kept.RAW in store.plan_retention(RetentionSettings(raw_days=40), THEN).floors


def test_what_a_sink_has_not_taken_waits_and_then_goes_with_a_gap_record(store: Store) -> None:
    with store.transaction():
        store.advance_cursor(INFLUX, 2 * 70)

    plan = retain(store, raw_days=40, sink_wait_days=30)
    assert plan.floors[Kept.RAW].day == FIRST_DAY + 70, "it waits for the sink"
    assert plan.gaps == []

    plan = retain(store, raw_days=40, sink_wait_days=5)
    assert plan.floors[Kept.RAW].day == FIRST_DAY + 75, "no longer than it is told"
    (gap,) = store.gaps()
    assert gap == Gap(INFLUX, 141, 149, Layer.RAW, FIRST_DAY + 70, FIRST_DAY + 74, 5, THEN, None, gap.id)
    text = "before sink/influx had taken it: changes of the raw layer, 5 with numbers 141 to 149, days 2022-03-19 to 2022-03-23"
    assert text in store.events(kind="retention_gap")[0].text


def test_a_sink_that_comes_to_a_gap_is_told_once(store: Store) -> None:
    with store.transaction():
        store.advance_cursor(INFLUX, 2 * 70)
    retain(store, raw_days=40, sink_wait_days=5)

    with store.transaction():
        told = store.advance_cursor(INFLUX, 140 + 1)
        told_again = store.advance_cursor(INFLUX, 160)

    (gap,) = store.gaps()
    assert ([one.id for one in told], list(told_again)) == ([gap.id], [])
    assert gap.reached_at == NOW
    (event,) = store.events(kind="sink_gap")
    assert "sink/influx came to what was dropped before: changes of the raw layer, 5 with" in event.text


def test_a_sink_set_up_later_is_told_what_it_will_never_get(store: Store) -> None:
    retain(store, raw_days=40, change_days=60)

    with store.transaction():
        store.advance_cursor(INFLUX, 2 * DAYS)

    log, block_days = store.gaps()
    assert (log.layer, log.first_seq, log.last_seq) == (None, 1, 118)
    assert (block_days.layer, block_days.first_day, block_days.last_day) == (
        Layer.RAW, FIRST_DAY + 59, FIRST_DAY + 79,
    )  # fmt: skip
    assert len(store.events(kind="sink_gap")) == 2


def test_a_sink_of_the_settings_that_has_not_begun_is_waited_for(store: Store) -> None:
    plan = retain(store, INFLUX, raw_days=40, change_days=40)

    assert plan.floors[Kept.RAW].day == FIRST_DAY + DAYS - 70
    assert {held.cursor for held in plan.held} == {INFLUX}


def test_the_change_log_keeps_its_newest_entry_so_that_numbers_go_on(store: Store) -> None:
    newest = store.last_seq()

    retain(store, now=THEN + 1_000 * DAY, change_days=40)
    with store.transaction():
        store.add_event(None, "test", 0, THEN, "later", THEN)

    assert store.last_seq() > newest
    assert store.changes(0)[0].seq == newest


def test_other_rows_go_by_their_own_terms(store: Store) -> None:
    with store.transaction():
        for day in range(0, DAYS, 10):
            at = START + day * DAY
            store.record(1, [RegisterValue(REGISTER, day, WH, at), MeterEvent(1, at, "cover opened")], at)
            store.record_job(1, "load_profile", at, at)
            store.set_aside("topic", b"%d" % day, "unreadable", at)
        store.advance_cursor("vee", store.last_seq())

    retain(store, register_days=35, event_days=45, job_run_days=55, set_aside_days=65)

    assert len(store.registers(1, REGISTER, 0, THEN)) == 3
    assert len(store.events(kind="meter")) == 4
    assert len(store.job_runs()) == 5
    assert len(store.set_asides()) == 6


def test_what_is_kept_of_registers_is_not_looked_through_again_for_each_handful_that_goes(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:  # of a server nobody counts the steps
        with store.transaction():
            for number in range(60):
                code = Obis(1, 0, number, 8, 0)
                store.record(1, [RegisterValue(code, day, WH, START + day * DAY) for day in range(0, DAYS, 4)], THEN)
            store.advance_cursor("vee", store.last_seq())
            assert store.raise_floors(store.plan_retention(RetentionSettings(register_days=100), THEN))
        steps = [0]

        def step() -> bool:
            steps[0] += 1
            return False  # go on

        store._connection.set_progress_handler(step, 50)

        taken: list[int] = []
        last: tuple[Any, ...] | None = None
        while (doomed := store.doomed(Kept.REGISTER, "none", 5, last)).keys:
            with store.transaction():
                store.drop(doomed)
            last = doomed.keys[-1]
            taken.append(steps[0])
            steps[0] = 0

        assert len(taken) == 60
        assert len(store._rows("SELECT 1 FROM register")) == 60 * 25
        assert max(taken[-5:]) <= 2 * max(taken[:5])


def test_a_change_that_comes_between_plan_and_act_stops_it(store: Store) -> None:
    plan = store.plan_retention(RetentionSettings(raw_days=40), THEN)

    with store.transaction():
        expect(store, 1, (IMPORT, EXPORT))
        store.record(1, [block(0, [7], EXPORT)], THEN)
        assert store.raise_floors(plan) is False

    assert store.floors() == {}


def test_a_change_of_the_registry_that_comes_between_plan_and_act_stops_it_too(store: Store) -> None:
    plan = store.plan_retention(RetentionSettings(raw_days=40), THEN)

    with store.transaction():
        store.put_installation(Installation(1, 1, START, multiplier=40))
        assert store.raise_floors(plan) is False

    assert store.floors() == {}
    assert store.plan_retention(RetentionSettings(raw_days=40), THEN).floors[Kept.RAW].day == FIRST_DAY


def test_a_shorter_term_taken_back_does_not_let_old_days_in_again(store: Store) -> None:
    retain(store, raw_days=40)
    retain(store, raw_days=100)

    assert store.floor(Kept.RAW).day == FIRST_DAY + DAYS - 40


def test_a_sink_set_up_later_does_not_bring_the_floor_down(store: Store) -> None:
    retain(store, raw_days=40, change_days=40)

    plan = retain(store, INFLUX, now=THEN + DAY, raw_days=40, change_days=40)

    assert plan.floors == {}
    assert (store.floor(Kept.RAW).day, store.floor(Kept.CHANGE).seq) == (FIRST_DAY + 80, 158)


def test_what_is_dropped_stands_in_the_audit(store: Store) -> None:
    retain(store, raw_days=40)

    (entry,) = store.audit_entries()
    assert (entry.user, entry.action, entry.subject) == ("headend", "retention", "raw")
    assert "dropped before 2022-03-29" in entry.detail


@pytest.mark.parametrize("terms", [{"validated_days": 40}, {"raw_days": 40, "validated_days": 40}])
def test_an_export_over_dropped_days_is_refused_and_not_short(
    store: Store, terms: dict[str, int], tmp_path: Path
) -> None:
    retain(store, **terms)

    with pytest.raises(NotExportable, match="dropped by retention"):
        export(store, "csv", None, None, START, THEN, tmp_path / "out", NOW)
    export(store, "csv", None, None, START + 80 * DAY, THEN, tmp_path / "out", NOW)


def test_room_of_dropped_rows_is_given_back_bit_by_bit(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_store(path) as store:
        with store.transaction():
            for number in range(400):
                store.set_aside("topic", bytes([number % 256]) * 8_000 + b"%d" % number, "unreadable", START)
        store.checkpoint()
        before = path.stat().st_size
        retain(store, set_aside_days=35)
        free = store.free_pages()

        with store.transaction():
            left = store.give_back(16)
        while store.free_pages():
            with store.transaction():
                store.give_back()
        store.checkpoint()

        assert store.can_give_back()
        assert free > 300
        assert left == free - 16
        assert before - path.stat().st_size > 300 * 8_192
        assert list(store.faults()) == []


def test_a_file_from_before_gives_back_bit_by_bit_once_it_was_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headend.store.store.INCREMENTAL", 0)
    with open_store(tmp_path / "s.db") as store:
        assert not store.can_give_back()

        store.compact()

        assert store.can_give_back()
        assert len(store.end_devices()) == 1
