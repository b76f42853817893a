import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.facts import IntervalBlock, RegisterValue
from drivers.obis import Obis, register_of, resolve
from drivers.units import ScalerUnit, Unit
from headend.registry.model import ChannelExpectation, Installation, UsagePoint
from headend.store.store import Store
from headend.vee import service
from headend.vee.assemble import VeeError
from headend.vee.rules import load_rules
from headend.vee.service import channels, run, validated_days
from kernels.quality import Reason, Rule, State
from tests.headend.vee.series import DAY, MONDAY, WH, same, seen

OBIS = resolve("active_energy_import_interval")
VOLTAGE = resolve("voltage_l1")
RULES = replace(load_rules("residential"), profile=None)  # what nothing of its own fills stays missing
FIRST = MONDAY // DAY
NOW = MONDAY + 400 * DAY


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store.db", lambda: NOW)
    yield opened
    opened.close()


def install(
    store: Store,
    meter: str,
    start: int = MONDAY,
    end: int | None = None,
    *,
    multiplier: int = 1,
    period: int = 1800,
    scaler_unit: ScalerUnit = WH,
    obis: Obis = OBIS,
    zone: str = "UTC",
    dials: int = 0,
) -> tuple[UsagePoint, int]:
    with store.transaction():
        device, _ = store.put_end_device(meter, "sim", store.put_link("memory://x"), "1")
        point, _ = store.put_usage_point("UP1", zone)
        store.put_installation(Installation(point.id, device.id, start, end, multiplier))
        store.put_expectations(
            device.id,
            start,
            [ChannelExpectation(device.id, obis, period, 0, scaler_unit, "load_profile", start, end, dials)],
        )
    return point, device.id


def record(
    store: Store, device: int, counts: Sequence[int | None], start: int = MONDAY, scaler_unit: ScalerUnit = WH,
    *, period: int = 1800, obis: Obis = OBIS,
) -> None:  # fmt: skip
    with store.transaction():
        store.record(device, [IntervalBlock(obis, scaler_unit, start, period, tuple(counts))], NOW)
        stop = start + period * len(counts)
        store.mark_missing(device, obis, start, stop, Reason.NO_ROW, None)


def register(store: Store, device: int, at: int, count: int) -> None:
    with store.transaction():
        store.record(device, [RegisterValue(register_of(OBIS), count, WH, at)], NOW)


def day(store: Store, point: UsagePoint, number: int = 0) -> list[int | str]:
    start = MONDAY + number * DAY
    return seen(store.validated_series(point.id, OBIS, start, start + DAY))


def test_missing_slot_of_a_meter_becomes_an_estimate_of_its_usage_point(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [10, None, 30, *[5] * 45])

    summary = run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)

    assert day(store, point) == [10, 20, 30, *[5] * 45]
    assert (summary.written, summary.unchanged) == (1, 0)
    assert summary.slots[State.ESTIMATED] == 1
    assert store.raw_series(device, OBIS, MONDAY, MONDAY + DAY).state[1] == State.MISSING


def test_same_input_and_rules_write_no_new_version(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [10, None, 30, *[5] * 45])
    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)
    seq = store.last_seq()

    again = run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW + 5)

    assert (again.written, again.unchanged, store.last_seq()) == (0, 1, seq)
    versions = store.versions(point.id, OBIS, FIRST)
    assert [(version.version, version.run.rules, version.run.at) for version in versions] == [(1, RULES.title, NOW)]


def test_late_value_replaces_the_estimate_by_a_new_version(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [10, None, 30, *[5] * 45])
    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)
    record(store, device, [27], MONDAY + 1800)

    summary = run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)

    assert summary.written == 1
    assert day(store, point)[:3] == [10, 27, 30]
    assert [version.version for version in store.versions(point.id, OBIS, FIRST)] == [1, 2]


def test_days_nobody_knows_anything_of_are_not_written(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [5] * 48)

    summary = run(store, point, OBIS, FIRST - 3, FIRST + 10, RULES, NOW)

    assert (summary.written, summary.unchanged) == (1, 0)
    assert day(store, point, 1) == ["EXPECTED"] * 48


def test_meter_swap_is_an_ordinary_day_and_its_slot_is_estimated(store: Store) -> None:
    swap = MONDAY + 12 * 3600 + 600
    point, old = install(store, "SIM:1", end=swap)
    _, new = install(store, "SIM:2", start=swap, multiplier=3)
    record(store, old, [100] * 25)
    record(store, new, [50] * 23, MONDAY + 25 * 1800)

    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)

    series = store.validated_series(point.id, OBIS, MONDAY, MONDAY + DAY)
    assert seen(series) == [*[100] * 24, 125, *[150] * 23]
    assert (series.state[24], series.reason[24]) == (State.ESTIMATED, Reason.LINEAR)


def test_multiplier_applies_exactly_and_not_to_volts(store: Store) -> None:
    point, device = install(store, "SIM:1", multiplier=80)
    record(store, device, [3] * 48)
    with store.transaction():
        store.put_expectations(
            device,
            MONDAY,
            [
                *store.expectations(device),
                ChannelExpectation(device, VOLTAGE, 1800, 0, ScalerUnit(-1, Unit.VOLT), "load_profile", MONDAY),
            ],
        )
    record(store, device, [2300] * 48, scaler_unit=ScalerUnit(-1, Unit.VOLT), obis=VOLTAGE)

    for obis in channels(store, point):
        run(store, point, obis, FIRST, FIRST + 1, RULES, NOW)

    assert channels(store, point) == sorted([OBIS, VOLTAGE])
    assert day(store, point) == [240] * 48
    assert set(seen(store.validated_series(point.id, VOLTAGE, MONDAY, MONDAY + DAY))) == {2300}


def test_count_that_does_not_fit_with_its_multiplier_is_a_clear_error_and_nothing_is_written(store: Store) -> None:
    point, device = install(store, "SIM:1", multiplier=1000)
    record(store, device, [2_147_483, 2_147_484])

    with pytest.raises(VeeError, match=r"UP1.*2147484000.*multiplier 1000.*32 bits"):
        run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)
    assert store.versions(point.id, OBIS, FIRST) == []


def test_meters_of_two_scalers_stand_in_the_finer_one(store: Store) -> None:
    tenth = ScalerUnit(-1, Unit.WATT_HOUR)
    point, old = install(store, "SIM:1", end=MONDAY + DAY)
    _, new = install(store, "SIM:2", start=MONDAY + DAY, scaler_unit=tenth)
    record(store, old, [7] * 48)
    record(store, new, [75] * 48, MONDAY + DAY, tenth)

    run(store, point, OBIS, FIRST, FIRST + 2, RULES, NOW)

    series = store.validated_series(point.id, OBIS, MONDAY, MONDAY + 2 * DAY)
    assert series.scaler_unit == tenth
    assert seen(series) == [70] * 48 + [75] * 48


def test_new_grid_from_midnight_on_is_fine_and_within_a_day_a_clear_error(store: Store) -> None:
    point, old = install(store, "SIM:1", end=MONDAY + DAY)
    _, new = install(store, "SIM:2", start=MONDAY + DAY, period=900)
    record(store, old, [7] * 48)
    record(store, new, [5] * 96, MONDAY + DAY, period=900)

    assert run(store, point, OBIS, FIRST, FIRST + 2, RULES, NOW).written == 2
    assert len(store.validated_series(point.id, OBIS, MONDAY + DAY, MONDAY + 2 * DAY)) == 96

    other, _ = install(store, "SIM:2", start=MONDAY + DAY, end=MONDAY + 3 * DAY + 3600, period=900)
    install(store, "SIM:3", start=MONDAY + 3 * DAY + 3600)
    with pytest.raises(VeeError, match="grid changes within UTC day"):
        run(store, other, OBIS, FIRST + 3, FIRST + 4, RULES, NOW)


def test_registers_at_both_ends_make_a_long_gap_sum_exactly(store: Store) -> None:
    point, device = install(store, "SIM:1", multiplier=2)
    record(store, device, [100] * 10 + [None] * 20 + [100] * 18)
    register(store, device, MONDAY + 1, 5_000)
    register(store, device, MONDAY + DAY + 2, 5_000 + 2_800 + 1_111)

    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)

    series = store.validated_series(point.id, OBIS, MONDAY, MONDAY + DAY)
    assert int(series.values.sum()) == 2 * (2_800 + 1_111)
    assert set(series.reason[10:30].tolist()) == {Reason.REGISTER_LUMP}


def test_intervals_that_miss_the_register_are_marked(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [100] * 48)
    register(store, device, MONDAY, 0)
    register(store, device, MONDAY + DAY, 5_000)

    summary = run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)

    assert summary.failed[Rule.SUM_CHECK] == 48
    assert summary.slots[State.MEASURED] == 48


def test_registers_of_two_meters_are_never_subtracted_from_each_other(store: Store) -> None:
    swap = MONDAY + DAY // 2
    point, old = install(store, "SIM:1", end=swap)
    _, new = install(store, "SIM:2", start=swap)
    record(store, old, [100] * 24)
    record(store, new, [100] * 24, swap)
    register(store, old, MONDAY, 0)
    register(store, new, MONDAY + DAY, 4_900)

    assert run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW).failed[Rule.SUM_CHECK] == 0


def ragged(days: int, seed: int) -> list[int | None]:
    rng = np.random.default_rng(seed)
    slots: list[int | None] = rng.integers(0, 2_000, 48 * days).tolist()
    for first, length in zip(rng.integers(0, 48 * days, days), rng.choice([1, 3, 4, 5, 30, 100], days), strict=True):
        slots[first : first + length] = [None] * len(slots[first : first + length])
    for slot in rng.integers(0, 48 * days, days).tolist():
        slots[slot] = 30_000
    first = int(rng.integers(0, 48 * days - 100))
    slots[first : first + 100] = [0] * 100
    return slots


@pytest.mark.parametrize("seed", range(3))
def test_result_does_not_depend_on_how_the_days_are_cut_into_runs(
    store: Store, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    point, device = install(store, "SIM:1", zone="Europe/Berlin", start=MONDAY)
    slots = ragged(150, seed)
    record(store, device, slots)
    rng = np.random.default_rng(seed)
    total = list(itertools.accumulate((slot or 300 for slot in slots), initial=0))
    for slot in sorted(rng.choice(len(slots), 40, replace=False).tolist()):
        register(store, device, MONDAY + slot * 1800, total[slot])

    whole = dict(validated_days(store, point, OBIS, FIRST, FIRST + 150, RULES))

    for number in range(FIRST, FIRST + 150, 11):
        ((_, alone),) = validated_days(store, point, OBIS, number, number + 1, RULES)
        assert same(alone, whole[number]), number - FIRST
    monkeypatch.setattr(service, "CHUNK_DAYS", 17)
    chunked = dict(validated_days(store, point, OBIS, FIRST, FIRST + 150, RULES))
    assert chunked.keys() == whole.keys()
    assert all(same(chunked[number], whole[number]) for number in whole)
    assert any((series.reason == Reason.LIKE_DAY).any() for series in whole.values())
    assert any((series.reason == Reason.LINEAR).any() for series in whole.values())
    assert any((series.rules & np.uint32(Rule.ZERO_RUN)).any() for series in whole.values())


def test_unknown_channel_and_senseless_span_are_clear_errors(store: Store) -> None:
    point, _ = install(store, "SIM:1")

    with pytest.raises(VeeError, match="no meter installed there"):
        run(store, point, VOLTAGE, FIRST, FIRST + 1, RULES, NOW)
    with pytest.raises(VeeError, match="no span"):
        run(store, point, OBIS, FIRST + 1, FIRST, RULES, NOW)
    broken = UsagePoint(point.id, point.name, "Nowhere/City")
    with pytest.raises(VeeError, match="correct the usage point's zone"):
        run(store, broken, OBIS, FIRST, FIRST + 1, RULES, NOW)


def test_a_register_misread_as_zero_is_not_booked_as_consumption(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [100] * 10 + [None, None] + [100] * 36)
    for slot in range(49):
        register(store, device, MONDAY + slot * 1800, 0 if slot == 11 else 5_000 + 100 * slot)

    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)

    assert day(store, point) == [100] * 48


def test_register_that_went_round_its_dials_scales_the_estimates_too(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [10, None, 30, *[5] * 45])
    register(store, device, MONDAY, 999_960)
    register(store, device, MONDAY + 3 * 1800, 60)

    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)
    assert day(store, point)[:3] == [10, 20, 30]

    run(store, point, OBIS, FIRST, FIRST + 1, replace(RULES, register_dials=6), NOW)
    assert day(store, point)[:3] == [10, 60, 30]


def test_digits_come_from_the_registry_before_the_rule_set_and_count_in_the_channel_s_unit(store: Store) -> None:
    # Six digits of Wh, shown in kWh: 999 is followed by 0.
    kilo = ScalerUnit(3, Unit.WATT_HOUR)
    point, device = install(store, "SIM:1", dials=6)
    record(store, device, [10_000, None, 10_000, *[5] * 45])
    with store.transaction():
        for at, count in ((MONDAY, 990), (MONDAY + 3 * 1800, 30)):
            store.record(device, [RegisterValue(register_of(OBIS), count, kilo, at)], NOW)

    run(store, point, OBIS, FIRST, FIRST + 1, replace(RULES, register_dials=8), NOW)

    assert day(store, point)[:3] == [10_000, 20_000, 10_000]


def test_a_multiplier_does_not_widen_the_dials(store: Store) -> None:
    point, device = install(store, "SIM:1", dials=6, multiplier=10)
    record(store, device, [10, None, 30, *[5] * 45])
    register(store, device, MONDAY, 999_960)
    register(store, device, MONDAY + 3 * 1800, 60)

    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)

    assert day(store, point)[:3] == [100, 600, 300]
