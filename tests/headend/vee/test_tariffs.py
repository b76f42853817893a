"""Tariff registers against intervals: which register counts a slot, what is checked, and what estimates are scaled to."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.facts import RegisterValue
from drivers.obis import Obis, tariff_register
from drivers.zone import parse_zone
from headend.errors import RegistryError
from headend.registry.model import TariffSince, UsagePoint
from headend.series import Series
from headend.store.store import Store
from headend.vee.assemble import VeeError
from headend.vee.buckets import bucket_table
from headend.vee.calendar import Calendars, load_calendars, parse_calendar
from headend.vee.explain import explain
from headend.vee.registers import RegisterSpan, TariffRegisters
from headend.vee.rules import load_rules
from headend.vee.run import run_series
from headend.vee.service import run
from headend.vee.tariffs import numbers_of, registers_of_slots
from headend.vee.work import Beside
from kernels.quality import Reason, Rule, State
from tests.headend.vee.series import DAY, MONDAY, WH, Slot, build, same, seen
from tests.headend.vee.test_service import FIRST, NOW, OBIS, install, record, register

RULES = replace(load_rules("residential"), profile=None)
TWO_RATE = (TariffSince(0, "example", "two-rate"),)
SHIPPED = load_calendars()
DAY_SLOTS = range(12, 44)  # 06:00 to 22:00
HALF: dict[str, Any] = {
    "version": 1, "source": "x", "day_types": [{"name": "day", "weekdays": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}],
    "holidays": {"day_type": "day"},
    "tariffs": [{
        "name": "odd", "buckets": ["a", "b"], "registers": [1, 2],
        "schedules": [{"switches": [{"at": "00:00", "bucket": "a"}, {"at": "06:10", "bucket": "b"}]}],
    }],
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db", lambda: NOW) as opened:
        yield opened


# -- which register counts a slot


def test_a_bucket_s_slots_are_those_of_its_register_in_local_time() -> None:
    series = build([0] * 48)

    numbers = registers_of_slots(series, parse_zone("Europe/Berlin"), TWO_RATE, SHIPPED)

    assert np.flatnonzero(numbers == 1).tolist() == list(range(10, 42))
    assert set(numbers.tolist()) == {1, 2}


def test_each_tariff_counts_from_its_day_until_the_next_and_one_without_registers_says_nothing() -> None:
    series = build([0] * 48 * 3)
    tariffs = (
        TariffSince(FIRST + 1, "example", "two-rate"),
        TariffSince(FIRST + 2, "example", "peak"),
    )

    numbers = registers_of_slots(series, UTC, tariffs, SHIPPED)

    assert not numbers[:48].any()
    assert numbers[48:96].all()
    assert not numbers[96:].any()
    assert numbers_of(tariffs, SHIPPED) == [1, 2]


def test_a_tariff_that_switches_within_a_slot_says_nothing_of_registers() -> None:
    calendars = Calendars([parse_calendar("odd", HALF)])

    numbers = registers_of_slots(build([0] * 48), UTC, (TariffSince(0, "odd", "odd"),), calendars)

    assert not numbers.any()


# -- checked and scaled, as series


def validated(
    slots: Sequence[Slot], numbers: Sequence[int], tariffs: dict[int, int], whole: int | None = None, **changes: Any
) -> Series:
    """Run over one span; ``tariffs``: difference of each register, ``whole``: of the register of all."""
    spans = {number: (RegisterSpan(0, len(slots), delta, 1),) for number, delta in tariffs.items()}
    tariff = TariffRegisters(np.array(numbers, np.uint8), spans)
    total = [] if whole is None else [RegisterSpan(0, len(slots), whole, 1)]
    return run_series(build(slots), UTC, replace(RULES, **changes), total, beside=Beside(OBIS, tariff=tariff))


def sums(series: Series, numbers: Sequence[int]) -> dict[int, int]:
    return {one: int(series.values[np.array(numbers) == one].sum()) for one in sorted(set(numbers))}


def test_a_complete_tariff_that_misses_its_register_is_marked_and_the_other_is_not() -> None:
    numbers = [2] * 24 + [1] * 24

    series = validated([100] * 48, numbers, {1: 2_400, 2: 2_450})

    assert np.flatnonzero(series.rules & np.uint32(Rule.TARIFF_SUM)).tolist() == list(range(24))
    assert set(series.state.tolist()) == {State.MEASURED}


def test_estimates_are_scaled_by_tariff_where_the_whole_alone_would_put_energy_into_the_wrong_one() -> None:
    numbers = [2] * 24 + [1] * 24
    slots: list[Slot] = [100] * 22 + [None] * 4 + [100] * 22

    by_whole = run_series(build(slots), UTC, RULES, [RegisterSpan(0, 48, 5_000, 1)])
    by_tariff = validated(slots, numbers, {1: 2_700, 2: 2_300}, 5_000)

    assert seen(by_whole)[22:26] == [150] * 4
    assert seen(by_tariff)[22:26] == [50, 50, 250, 250]
    assert sums(by_tariff, numbers) == {1: 2_700, 2: 2_300}
    assert set(by_tariff.reason[22:26].tolist()) == {Reason.LINEAR}


def test_registers_of_whole_counts_that_disagree_by_a_count_each_give_exact_tariffs() -> None:
    numbers = [2] * 24 + [1] * 24

    series = validated([100] * 22 + [None] * 4 + [100] * 22, numbers, {1: 2_700, 2: 2_300}, 5_002)

    assert sums(series, numbers) == {1: 2_700, 2: 2_300}
    assert not series.rules.any()


def test_tariffs_that_contradict_the_whole_are_marked_and_the_whole_is_exact() -> None:
    numbers = [2] * 24 + [1] * 24

    series = validated([100] * 22 + [None] * 4 + [100] * 22, numbers, {1: 2_700, 2: 2_300}, 5_500)

    assert int(series.values.sum()) == 5_500
    assert np.flatnonzero(series.rules & np.uint32(Rule.TARIFF_SUM)).tolist() == [22, 23, 24, 25]


def test_a_tariff_that_leaves_nothing_plausible_is_marked_and_the_whole_is_exact() -> None:
    numbers = [2] * 24 + [1] * 24

    # Register 2 counted less than the slots that were measured.
    series = validated([100] * 22 + [None] * 4 + [100] * 22, numbers, {1: 3_000, 2: 2_000}, 5_000)

    assert int(series.values.sum()) == 5_000
    assert set(np.flatnonzero(series.rules & np.uint32(Rule.TARIFF_SUM)).tolist()) >= {22, 23}
    assert seen(series)[22:26] == [150] * 4


def test_tariff_registers_alone_scale_where_none_of_the_whole_was_read() -> None:
    numbers = [2] * 24 + [1] * 24

    series = validated([100] * 22 + [None] * 4 + [100] * 22, numbers, {1: 2_700, 2: 2_300})

    assert sums(series, numbers) == {1: 2_700, 2: 2_300}


def test_a_tariff_s_register_alone_is_laid_over_its_own_slots() -> None:
    numbers = [2] * 12 + [1] * 36

    series = validated([None] * 48, numbers, {1: 3_601, 2: 600})

    assert sums(series, numbers) == {1: 3_601, 2: 600}
    assert set(series.reason.tolist()) == {Reason.REGISTER_LUMP}


def test_a_span_with_a_slot_of_which_nobody_knows_who_counts_it_says_nothing() -> None:
    numbers = [2] * 24 + [1] * 23 + [0]

    series = validated([100] * 48, numbers, {1: 1, 2: 2})

    assert not series.rules.any()


days = st.lists(st.one_of(st.none(), st.integers(0, 2_000)), min_size=1, max_size=60)


@given(days, st.data())
def test_estimates_of_each_tariff_sum_to_its_register_exactly_and_the_same_each_time(
    slots: list[int | None], data: st.DataObject
) -> None:
    numbers = data.draw(st.lists(st.integers(1, 3), min_size=len(slots), max_size=len(slots)))
    deltas = {}
    for number in set(numbers):
        mine = [slot for slot, one in zip(slots, numbers, strict=True) if one == number]
        open_slots = mine.count(None)
        # What was measured, and for each open slot up to what the fuse lets through; at least 0.
        deltas[number] = sum(slot or 0 for slot in mine) + data.draw(st.integers(0, 25_000)) * open_slots
        deltas[number] += data.draw(st.integers(0, max(0, open_slots - 1))) if open_slots else 0
        deltas[number] = min(deltas[number], sum(slot or 0 for slot in mine) + 25_000 * open_slots)

    first = validated(slots, numbers, deltas, sum(deltas.values()))
    again = validated(slots, numbers, deltas, sum(deltas.values()))

    assert sums(first, numbers) == deltas
    assert same(first, again)
    assert [slot for slot, count in enumerate(slots) if count is not None and first.values[slot] != count] == []


# -- from the registry


def with_tariff(store: Store, *tariffs: TariffSince, zone: str = "UTC") -> tuple[UsagePoint, int]:
    _, device = install(store, "SIM:1", zone=zone)
    with store.transaction():
        point, _ = store.put_usage_point("UP1", zone, tariffs=tariffs)
    return point, device


def read(store: Store, device: int, at: int, **counts: int) -> None:
    """Put readings of 1.8.N; ``t1=...``."""
    with store.transaction():
        values = [RegisterValue(tariff_register(OBIS, int(name[1:])), count, WH, at) for name, count in counts.items()]
        store.record(device, values, NOW)


def gap_at_the_evening_switch(store: Store) -> tuple[UsagePoint, int]:
    """A gap from 21:00 to 23:00 over the switch to night at 22:00, registers at both midnights."""
    point, device = with_tariff(store, *TWO_RATE)
    record(store, device, [100] * 42 + [None] * 4 + [100] * 2)
    register(store, device, MONDAY, 10_000)
    register(store, device, MONDAY + DAY + 3, 15_000)
    read(store, device, MONDAY, t1=7_000, t2=3_000)
    read(store, device, MONDAY + DAY + 3, t1=7_000 + 3_520, t2=3_000 + 1_480)
    return point, device


def test_estimates_of_a_usage_point_sum_to_the_registers_of_its_tariffs(store: Store) -> None:
    point, _ = gap_at_the_evening_switch(store)

    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW, calendars=SHIPPED)

    series = store.validated_series(point.id, OBIS, MONDAY, MONDAY + DAY)
    assert int(series.values[DAY_SLOTS.start : DAY_SLOTS.stop].sum()) == 3_520
    assert int(series.values.sum()) == 5_000
    assert seen(series)[42:46] == [260, 260, 40, 40]


def test_explain_says_which_tariff_s_register_scaled_it(store: Store) -> None:
    point, _ = gap_at_the_evening_switch(store)

    found = explain(store, point, OBIS, MONDAY + 42 * 1800, RULES, SHIPPED)

    assert [note.step for note in found.notes] == ["linear", "scaled"]
    assert "the register of tariff 1 counted 3520 over 32 slots, which leaves 520 for 2" in found.notes[1].text


def test_a_tariff_that_is_not_there_is_a_clear_error(store: Store) -> None:
    point, device = with_tariff(store, TariffSince(0, "gone", "x"))
    record(store, device, [100] * 48)

    with pytest.raises(
        VeeError, match=r"UP1.*no calendar is named 'gone'; there are example; correct the usage point's tariff"
    ):
        run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW, calendars=SHIPPED)


def test_buckets_stand_beside_what_the_meter_s_registers_counted(store: Store) -> None:
    point, _ = gap_at_the_evening_switch(store)
    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW, calendars=SHIPPED)

    found = bucket_table(store, point, OBIS, date(2024, 1, 1), date(2024, 1, 1), SHIPPED, within=10)

    assert [(one.bucket, one.energy, one.register, one.counted, one.off) for one in found.buckets] == [
        ("night", Decimal(1_480), Obis(1, 0, 1, 8, 2), Decimal(1_480), Decimal(0)),
        ("day", Decimal(3_520), Obis(1, 0, 1, 8, 1), Decimal(3_520), Decimal(0)),
    ]  # fmt: skip
    day = found.buckets[1]
    assert (day.calendar, day.tariff, day.demand, day.demand_at) == (
        "example 1",
        "two-rate",
        Decimal(260),
        MONDAY + 42 * 1800,
    )
    assert (day.slots[State.MEASURED], day.slots[State.ESTIMATED]) == (30, 2)


def test_a_bucket_without_any_value_has_no_energy_and_is_not_compared(store: Store) -> None:
    point, device = with_tariff(store, *TWO_RATE)
    record(store, device, [None] * 48)
    read(store, device, MONDAY, t1=0, t2=0)
    read(store, device, MONDAY + DAY, t1=5, t2=5)

    found = bucket_table(store, point, OBIS, date(2024, 1, 1), date(2024, 1, 1), SHIPPED, within=10)

    assert [(one.energy, one.demand, one.counted, one.off) for one in found.buckets] == [
        (None, None, Decimal(5), None)
    ] * 2


def test_buckets_are_cut_by_month_and_where_the_tariff_changes(store: Store) -> None:
    change = TariffSince(FIRST + 40, "example", "peak")
    point, device = with_tariff(store, TWO_RATE[0], change, zone="Europe/Berlin")
    record(store, device, [100] * 48 * 50)
    run(store, point, OBIS, FIRST, FIRST + 50, RULES, NOW, calendars=SHIPPED)

    found = bucket_table(store, point, OBIS, date(2024, 1, 2), date(2024, 2, 15), SHIPPED, within=10)

    spans = {(one.tariff, one.start, one.end): 0 for one in found.buckets}
    for one in found.buckets:
        spans[one.tariff, one.start, one.end] += int(one.energy or 0)
    hour = 3_600
    assert spans == {
        ("two-rate", MONDAY + DAY - hour, MONDAY + 31 * DAY - hour): 30 * 4_800,
        ("two-rate", MONDAY + 31 * DAY - hour, MONDAY + 40 * DAY - hour): 9 * 4_800,
        ("peak", MONDAY + 40 * DAY - hour, MONDAY + 46 * DAY - hour): 6 * 4_800,
    }
    assert {one.counted for one in found.buckets} == {None}


def test_days_without_a_tariff_are_told_where_to_name_one(store: Store) -> None:
    point, device = with_tariff(store)
    record(store, device, [100] * 48)

    with pytest.raises(
        RegistryError, match="has no tariff from 2024-01-01 to 2024-01-01; give it one in column tariff"
    ):
        bucket_table(store, point, OBIS, date(2024, 1, 1), date(2024, 1, 1), SHIPPED, within=10)


def test_a_tariff_s_register_that_went_round_its_dials_and_a_swap_are_counted_whole(store: Store) -> None:
    swap = MONDAY + DAY // 2
    point, old = install(store, "SIM:1", end=swap, dials=5)
    _, new = install(store, "SIM:2", start=swap, multiplier=10)
    with store.transaction():
        point, _ = store.put_usage_point("UP1", "UTC", tariffs=TWO_RATE)
    record(store, old, [100] * 24)
    record(store, new, [10] * 24, swap)
    read(store, old, MONDAY, t1=99_000, t2=99_500)
    read(store, old, swap, t1=200, t2=700)
    read(store, new, swap, t1=0, t2=0)
    read(store, new, MONDAY + DAY, t1=200, t2=40)
    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW, calendars=SHIPPED)

    found = bucket_table(store, point, OBIS, date(2024, 1, 1), date(2024, 1, 1), SHIPPED, within=10)

    assert [(one.bucket, one.energy, one.counted) for one in found.buckets] == [
        ("night", Decimal(1_600), Decimal(1_600)), ("day", Decimal(3_200), Decimal(3_200)),
    ]  # fmt: skip
