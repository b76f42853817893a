"""Validation follows the change log: what changed is validated, and nothing twice."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.facts import IntervalBlock, RegisterValue
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.profiles import load_profiles
from headend.registry import table
from headend.settings import RetentionSettings
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from headend.validation import CURSOR, Validator
from headend.vee.alike import place_of
from headend.vee.assemble import VeeError
from headend.vee.calendar import load_calendars
from headend.vee.fleet import run_fleet
from headend.vee.rules import load_rules
from kernels.quality import Reason, Rule, State

DAY = 86_400
TODAY = 20_000
NOW = TODAY * DAY + 12 * 3_600
ENERGY = Obis.parse("1-0:1.29.0*255")
WATT_HOUR = ScalerUnit(0, Unit.WATT_HOUR)
METERS = """usage_point,meter,profile,link,address,from,to,zone
UP1,SIM1,sim-dlms-wrapper,tcp://h:4059,1,2024-09-01,,UTC
UP2,SIM2,sim-dlms-wrapper,tcp://h:4059,2,2024-09-01,,UTC
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    parsed = table.parse(METERS, load_profiles())
    with Store.open(tmp_path / "headend.db", lambda: NOW) as store:
        table.apply(store, parsed.rows)
        yield store


@pytest.fixture
async def writer(store: Store) -> AsyncIterator[GroupCommitWriter]:
    writer = GroupCommitWriter(store)
    yield writer
    await writer.close()


def record(store: Store, meter: str, day: int, counts: tuple[int | None, ...]) -> None:
    block = IntervalBlock(ENERGY, WATT_HOUR, day * DAY, 1800, counts)
    store.record(store.end_device(meter).id, [block], NOW)


def versions(store: Store, point: str, day: int) -> int:
    return len(store.versions(store.usage_point(point).id, ENERGY, day))


async def test_closed_day_is_validated_once(writer: GroupCommitWriter) -> None:
    await writer.submit(lambda store: record(store, "SIM1", TODAY - 1, (100,) * 48))
    validator = Validator(writer, load_rules("residential"))

    first = await validator.catch_up(NOW, with_today=False)
    second = await validator.catch_up(NOW, with_today=False)

    assert (first.written, first.failed, second.written) == (1, [], 0)
    assert await writer.submit(lambda store: versions(store, "UP1", TODAY - 1)) == 1
    assert await writer.submit(lambda store: versions(store, "UP2", TODAY - 1)) == 0


async def test_open_day_waits_and_its_changes_stay_before_the_cursor(writer: GroupCommitWriter) -> None:
    await writer.submit(lambda store: record(store, "SIM1", TODAY, (100,) * 20))
    validator = Validator(writer, load_rules("residential"))

    await validator.catch_up(NOW, with_today=False)
    waiting = await writer.submit(lambda store: (versions(store, "UP1", TODAY), store.cursor(CURSOR)))
    another = await Validator(writer, load_rules("residential")).catch_up(NOW, with_today=True)
    done = await writer.submit(lambda store: (versions(store, "UP1", TODAY), store.cursor(CURSOR), store.last_seq()))

    assert waiting == (0, 0)
    assert another.written == 1
    assert done[0] == 1
    assert done[1] > 0


async def test_readings_of_a_day_far_ahead_hold_neither_the_cursor_nor_retention_for_years(
    writer: GroupCommitWriter,
) -> None:
    later = TODAY + 3_000

    def prepare(store: Store) -> None:
        record(store, "SIM1", later, (7,) * 48)  # a meter's clock that is wrong
        record(store, "SIM1", TODAY - 1, (100,) * 48)

    await writer.submit(prepare)
    validator = Validator(writer, load_rules("residential"))

    await validator.catch_up(NOW, with_today=False)

    def waits(store: Store) -> tuple[int, list[str]]:
        plan = store.plan_retention(RetentionSettings(raw_days=60), (TODAY + 90) * DAY)
        return store.cursor(CURSOR), [held.cursor for held in plan.held]

    assert await writer.submit(waits) == (2, [])
    await validator.catch_up((later + 1) * DAY, with_today=False)
    assert await writer.submit(lambda store: versions(store, "UP1", later)) == 1


async def test_gap_is_filled_and_the_raw_layer_keeps_its_cause(writer: GroupCommitWriter) -> None:
    counts = (*((100,) * 10), None, None, *((100,) * 36))

    def prepare(store: Store) -> None:
        record(store, "SIM1", TODAY - 1, counts)
        start = (TODAY - 1) * DAY + 10 * 1800
        store.mark_missing(store.end_device("SIM1").id, ENERGY, start, start + 3600, Reason.NO_ROW, None)

    await writer.submit(prepare)

    await Validator(writer, load_rules("residential")).catch_up(NOW, with_today=False)

    def read(store: Store) -> tuple[list[int], list[int]]:
        start, end = (TODAY - 1) * DAY, TODAY * DAY
        validated = store.validated_series(store.usage_point("UP1").id, ENERGY, start, end)
        raw = store.raw_series(store.end_device("SIM1").id, ENERGY, start, end)
        return [int(code) for code in validated.state[10:12]], [int(code) for code in np.unique(raw.reason)]

    states, reasons = await writer.submit(read)
    assert states == [State.ESTIMATED, State.ESTIMATED]
    assert reasons == [Reason.NONE, Reason.NO_ROW]


@pytest.mark.parametrize(("at_once", "transactions"), [(1, 2), (1_000, 1)])
async def test_a_fleet_is_validated_in_transactions_of_so_many_channel_days(
    writer: GroupCommitWriter, monkeypatch: pytest.MonkeyPatch, at_once: int, transactions: int
) -> None:
    parts: list[list[str]] = []

    def noting(store, wanted, **rest):  # type: ignore[no-untyped-def]
        parts.append([point.name for point, _ in wanted])
        return run_fleet(store, wanted, **rest)

    monkeypatch.setattr("headend.validation.run_fleet", noting)
    monkeypatch.setattr("headend.validation.CHANNEL_DAYS_AT_ONCE", at_once)
    for meter in ("SIM1", "SIM2"):
        await writer.submit(lambda store, meter=meter: record(store, meter, TODAY - 1, (100,) * 48))  # type: ignore[misc]

    summary = await Validator(writer, load_rules("residential")).catch_up(NOW, with_today=False)

    assert len(parts) == transactions
    assert [name for part in parts for name in part] == ["UP1", "UP2"]
    assert (summary.channels, summary.written, summary.failed) == (2, 2, [])


async def test_late_value_gives_its_day_a_new_version_alone(writer: GroupCommitWriter) -> None:
    for day in (TODAY - 3, TODAY - 2, TODAY - 1):
        counts = (None, *((100,) * 47)) if day == TODAY - 2 else (100,) * 48
        await writer.submit(lambda store, day=day, counts=counts: record(store, "SIM1", day, counts))  # type: ignore[misc]
    validator = Validator(writer, load_rules("residential"))
    await validator.catch_up(NOW, with_today=False)

    await writer.submit(lambda store: record(store, "SIM1", TODAY - 2, (90,)))
    again = await validator.catch_up(NOW, with_today=False)

    assert again.written == 1
    assert await writer.submit(lambda store: versions(store, "UP1", TODAY - 2)) == 2
    assert await writer.submit(lambda store: versions(store, "UP1", TODAY - 1)) == 1


async def test_channel_that_cannot_be_validated_is_named_and_does_not_stop_the_others(
    writer: GroupCommitWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(store, point, *rest, **more):  # type: ignore[no-untyped-def]
        if point.name == "UP1":
            raise VeeError("usage point UP1: its grid changes")
        return place_of(store, point, *rest, **more)

    monkeypatch.setattr("headend.vee.fleet.place_of", failing)
    monkeypatch.setattr("headend.vee.fleet.run", failing)
    for meter in ("SIM1", "SIM2"):
        await writer.submit(lambda store, meter=meter: record(store, meter, TODAY - 1, (100,) * 48))  # type: ignore[misc]

    summary = await Validator(writer, load_rules("residential")).catch_up(NOW, with_today=False)

    assert summary.failed == ["usage point UP1: its grid changes"]
    assert summary.written == 1


def move(store: Store, *rows: str) -> None:
    parsed = table.parse(
        "\n".join([METERS.partition("\n")[0].replace("zone", "zone,multiplier"), *rows]), load_profiles()
    )
    assert not parsed.faults, parsed.faults
    table.apply(store, parsed.rows)


def energy(store: Store, day: int) -> list[int]:
    series = store.validated_series(store.usage_point("UP1").id, ENERGY, day * DAY, (day + 1) * DAY)
    return sorted(set(series.values.tolist()))


async def test_a_multiplier_noted_late_has_the_days_it_counts_for_validated_again(writer: GroupCommitWriter) -> None:
    for day in (TODAY - 30, TODAY - 29, TODAY - 28):
        await writer.submit(lambda store, day=day: record(store, "SIM1", day, (100,) * 48))  # type: ignore[misc]
    validator = Validator(writer, load_rules("residential"))
    await validator.catch_up(NOW, with_today=False)

    await writer.submit(
        lambda store: move(
            store,
            "UP1,SIM1,sim-dlms-wrapper,tcp://h:4059,1,2024-09-01,2024-09-05,UTC,1",
            "UP1,SIM1,sim-dlms-wrapper,tcp://h:4059,1,2024-09-05,,UTC,10",
        )
    )
    await validator.catch_up(NOW, with_today=False)

    found = await writer.submit(lambda store: [energy(store, TODAY - back) for back in (30, 29, 28)])
    assert found == [[100], [1000], [1000]]


async def test_a_registry_change_before_anything_is_validated_is_no_change_to_follow(writer: GroupCommitWriter) -> None:
    await writer.submit(lambda store: move(store, "UP1,SIM1,sim-dlms-wrapper,tcp://h:4059,1,2024-09-01,,UTC,10"))

    assert await writer.submit(lambda store: store.last_seq()) == 0


async def test_late_value_has_the_year_behind_it_validated_again(tmp_path: Path) -> None:
    parsed = table.parse(METERS.replace("2024-09-01", "2023-01-01"), load_profiles())
    with Store.open(tmp_path / "old.db", lambda: NOW) as store:
        table.apply(store, parsed.rows)
        writer = GroupCommitWriter(store)
        later = TODAY - 1
        await writer.submit(lambda store: store.mark_missing(
            store.end_device("SIM1").id, ENERGY, later * DAY, (later + 1) * DAY, Reason.NO_ROW, None
        ))  # fmt: skip
        validator = Validator(writer, load_rules("residential"))
        await validator.catch_up(NOW, with_today=False)

        await writer.submit(lambda store: record(store, "SIM1", later - 364, (100,) * 48))
        await validator.catch_up(NOW, with_today=False)

        filled = await writer.submit(
            lambda store: store.validated_series(store.usage_point("UP1").id, ENERGY, later * DAY, (later + 1) * DAY)
        )
        assert filled.values.tolist() == [100] * 48
        assert set(filled.reason.tolist()) == {Reason.PREVIOUS_YEAR}
        await writer.close()


CHECKED = "usage_point,meter,profile,link,address,from,zone,check_meter,tariff"
TARIFFS = load_calendars()


def name(store: Store, *rows: str) -> None:
    parsed = table.parse("\n".join([CHECKED, *rows]), load_profiles(), TARIFFS.tariffs)
    assert not parsed.faults, parsed.faults
    table.apply(store, parsed.rows)


async def test_a_check_meter_named_late_and_its_late_readings_have_the_days_validated_again(
    writer: GroupCommitWriter,
) -> None:
    counts = (*((100,) * 10), *((None,) * 20), *((100,) * 18))
    rules = replace(load_rules("residential"), profile=None)

    def prepare(store: Store) -> None:
        record(store, "SIM1", TODAY - 1, counts)
        start = (TODAY - 1) * DAY + 10 * 1800
        store.mark_missing(store.end_device("SIM1").id, ENERGY, start, start + 20 * 1800, Reason.NO_ROW, None)
        record(store, "SIM2", TODAY - 1, (7,) * 20)

    await writer.submit(prepare)
    validator = Validator(writer, rules)
    await validator.catch_up(NOW, with_today=False)
    before = await writer.submit(lambda store: energy(store, TODAY - 1))

    await writer.submit(lambda store: name(store, "UP1,SIM1,sim-dlms-wrapper,tcp://h:4059,1,2024-09-01,UTC,UP2,"))
    await validator.catch_up(NOW, with_today=False)
    named = await writer.submit(lambda store: energy(store, TODAY - 1))
    await writer.submit(lambda store: record(store, "SIM2", TODAY - 1, (7,) * 20 + (8,) * 28))
    await validator.catch_up(NOW, with_today=False)
    read = await writer.submit(lambda store: energy(store, TODAY - 1))

    assert (before, named, read) == ([0, 100], [0, 7, 100], [7, 8, 100])


async def test_a_late_reading_of_a_tariff_s_register_has_its_day_validated_again(writer: GroupCommitWriter) -> None:
    await writer.submit(lambda store: record(store, "SIM1", TODAY - 1, (100,) * 48))
    await writer.submit(
        lambda store: name(store, "UP1,SIM1,sim-dlms-wrapper,tcp://h:4059,1,2024-09-01,UTC,,example/two-rate")
    )
    validator = Validator(writer, load_rules("residential"), TARIFFS)
    await validator.catch_up(NOW, with_today=False)
    before = await writer.submit(lambda store: versions(store, "UP1", TODAY - 1))

    def late(store: Store) -> None:
        register, unit = Obis(1, 0, 1, 8, 1), ScalerUnit(0, Unit.WATT_HOUR)
        reads = [RegisterValue(register, count, unit, (TODAY - 1) * DAY + at) for at, count in ((0, 0), (DAY, 9_000))]
        store.record(store.end_device("SIM1").id, reads, NOW)

    await writer.submit(late)
    await validator.catch_up(NOW, with_today=False)

    def rules(store: Store) -> list[int]:
        point = store.usage_point("UP1")
        return [int(mask) for mask in store.validated_series(point.id, ENERGY, (TODAY - 1) * DAY, TODAY * DAY).rules]

    assert (before, await writer.submit(lambda store: versions(store, "UP1", TODAY - 1))) == (1, 2)
    assert await writer.submit(rules) == [*[0] * 12, *[Rule.TARIFF_SUM] * 32, *[0] * 4]
