"""Each check of a rule set: where it fires, and where it just does not."""

from collections.abc import Sequence
from datetime import UTC
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from drivers.obis import CATALOGUE, Obis
from drivers.units import ScalerUnit, Unit
from drivers.zone import parse_zone
from headend.series import Series
from headend.toml_file import read_toml
from headend.vee.drift import ClockReading
from headend.vee.rules import RuleSet, parse_rules
from headend.vee.run import run_series
from headend.vee.work import Beside
from kernels.quality import Rule, State
from tests.headend.vee.series import DAY, MONDAY, Slot, build

ISSUE = {"severity": "issue", "source": "this test"}
CONNECTION = {"source": "this test", "phases": 3, "volts": 230, "basic": 5, "maximum": 60}
IMPORT, EXPORT, REACTIVE = (
    CATALOGUE[f"{name}_interval"].obis
    for name in ("active_energy_import", "active_energy_export", "reactive_energy_import")
)
VOLTS, AMPS = ScalerUnit(-1, Unit.VOLT), ScalerUnit(-3, Unit.AMPERE)


def rules_with(**tables: Any) -> RuleSet:
    """Give rules whose core is wide open, with these checks."""
    document = dict(read_toml(files("headend.config") / "rules" / "residential.toml"))
    core = {key: document[key] for key in ("version", "zero_run", "sum_check", "registers", "estimate", "spike")}
    limits = {"Wh": {"low": -(10**9), "high": 10**9}}
    core["range"] = {**ISSUE, "limits": limits}
    core["zero_run"] = {**ISSUE, "hours": 168}
    core["spike"] = {**ISSUE, "permille": 1_000_000}
    return parse_rules("test", core | tables)


def failed(series: Series, rule: Rule) -> list[int]:
    found: list[int] = np.flatnonzero(series.rules & np.uint32(rule)).tolist()
    return found


def judged(slots: Sequence[Slot], beside: Beside = Beside(), period: int = 3600, **tables: Any) -> Series:  # noqa: B008  frozen
    return run_series(build(slots, period), UTC, rules_with(**tables), beside=beside)


def run_of(name: str, hours: int) -> Any:
    return {name: {**ISSUE, "hours": hours}}


def energy(other: Sequence[Slot], obis: Obis, beside_of: Obis = IMPORT, scaler: int = 0) -> Beside:
    unit = Unit.VAR_HOUR if obis == REACTIVE else Unit.WATT_HOUR
    return Beside(beside_of, {obis: build(other, 3600, scaler_unit=ScalerUnit(scaler, unit))})


@pytest.mark.parametrize(("hours", "expected"), [(3, [1, 2, 3]), (4, [])])
@pytest.mark.parametrize(
    ("name", "slots", "rule"),
    [
        ("negative_run", [5, -1, -2, -1, 0], Rule.NEGATIVE_RUN),
        ("constant_run", [5, 7, 7, 7, 8], Rule.CONSTANT_RUN),
        ("never_zero", [0, 7, 8, 9, 0], Rule.NEVER_ZERO),
    ],
)
def test_run_fails_from_its_length_on(
    name: str, slots: list[Slot], rule: Rule, hours: int, expected: list[int]
) -> None:
    assert failed(judged(slots, **run_of(name, hours)), rule) == expected


def test_run_is_as_long_at_any_capture_period() -> None:
    slots: list[Slot] = [0, *[7] * 11, 0]

    assert failed(judged(slots, period=900, constant_run={**ISSUE, "hours": 3}), Rule.CONSTANT_RUN) == []
    assert len(failed(judged([7, *slots], period=900, constant_run={**ISSUE, "hours": 2}), Rule.CONSTANT_RUN)) == 11


def test_peak_fails_above_its_share_of_the_higher_neighbor_and_its_floor() -> None:
    check = {**ISSUE, "permille": 1000, "floor": 150}

    assert failed(judged([100, 200, 90, 201, 100], local_peak=check), Rule.LOCAL_PEAK) == [3]
    assert failed(judged([70, 150, 70], local_peak=check), Rule.LOCAL_PEAK) == []
    assert failed(judged([70, 151, 70], local_peak=check), Rule.LOCAL_PEAK) == [1]


def test_step_fails_above_its_share_and_its_floor() -> None:
    check = {**ISSUE, "permille": 2000, "floor": 50}

    assert failed(judged([20, 70, 20, 71], step=check), Rule.STEP) == [3]
    assert failed(judged([100, 300, 100, 301], step=check), Rule.STEP) == [3]


def test_day_with_too_few_values_fails_by_its_own_length_across_a_change_of_clocks() -> None:
    zone = parse_zone("Europe/Berlin")
    start = 1_711_753_200  # 2024-03-29T23:00Z, so that the second day has 23 hours
    slots: list[Slot] = [1] * (24 + 23 + 24)
    slots[30] = slots[31] = None
    series = build(slots, 3600, start=start)

    for permille, expected in ((913, []), (914, list(range(24, 47)))):
        rules = rules_with(count={**ISSUE, "permille": permille}, estimate=NO_ESTIMATE)
        assert failed(run_series(series, zone, rules), Rule.INCOMPLETE_DAY) == expected, permille


NO_ESTIMATE = {"source": "this test", "linear_hours": 0, "like_days": 1, "weeks": 0}
PERIOD = {**ISSUE, "days": 2, "low_permille": 500, "high_permille": 2000, "least": 5}


def days_of(*daily: int) -> list[Slot]:
    return [value for value in daily for _ in range(24)]


def test_period_out_of_proportion_to_the_last_one_fails() -> None:
    fine = judged(days_of(100, 100, 200, 200, 100, 100), high_low=PERIOD)
    high = judged(days_of(100, 100, 200, 201), high_low=PERIOD)
    low = judged(days_of(100, 100, 50, 49), high_low=PERIOD)

    assert failed(fine, Rule.HIGH_LOW) == []
    assert failed(high, Rule.HIGH_LOW) == failed(low, Rule.HIGH_LOW) == list(range(72, 96))


def test_period_with_a_gap_or_below_what_matters_is_not_judged() -> None:
    slots = days_of(100, 100, 900, 900)
    slots[3] = None

    assert failed(judged(slots, high_low=PERIOD), Rule.HIGH_LOW) == []
    assert failed(judged(days_of(1, 1, 5, 5), high_low=PERIOD), Rule.HIGH_LOW) == []
    assert failed(judged(days_of(1, 1, 5, 6), high_low=PERIOD), Rule.HIGH_LOW) == list(range(72, 96))


def test_period_out_of_proportion_to_last_years_fails() -> None:
    asked = []

    def year() -> Series:
        asked.append(1)
        return build(days_of(7, 100, 100, 100), 3600, start=MONDAY - 365 * DAY)

    for value, expected in ((200, []), (201, [*range(24, 72)])):
        found = judged(days_of(value, value, value), Beside(year=year), high_low_year=PERIOD)
        assert failed(found, Rule.HIGH_LOW_YEAR) == expected
    assert len(asked) == 2
    assert failed(judged(days_of(900, 900), high_low_year=PERIOD), Rule.HIGH_LOW_YEAR) == []


def test_import_and_export_at_once_fail_on_both_channels() -> None:
    check = {**ISSUE, "floor": 100}
    one: list[Slot] = [101, 101, 100, 500]
    two: list[Slot] = [101, 100, 101, None]

    assert failed(judged(one, energy(two, EXPORT), both_ways=check), Rule.BOTH_WAYS) == [0]
    assert failed(judged(two, energy(one, IMPORT, EXPORT), both_ways=check), Rule.BOTH_WAYS) == [0]
    assert failed(judged(one, both_ways=check), Rule.BOTH_WAYS) == []
    finer = energy([1010, 1001, 1001, None], EXPORT, scaler=-1)
    assert failed(judged(one, finer, both_ways=check), Rule.BOTH_WAYS) == [0, 1]


def test_active_energy_without_reactive_and_a_poor_power_factor_fail() -> None:
    beside = energy([0, None, 3180, 3179], REACTIVE)
    slots: list[Slot] = [1000, 1000, 1000, 1000]

    found = judged(
        slots,
        beside,
        reactive_absent={**ISSUE, "floor": 999},
        power_factor={**ISSUE, "floor": 999, "least_permille": 300},
    )

    assert failed(found, Rule.REACTIVE_ABSENT) == [1]
    assert failed(found, Rule.POWER_FACTOR) == [2]
    assert failed(judged(slots, beside, reactive_absent={**ISSUE, "floor": 1000}), Rule.REACTIVE_ABSENT) == []


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("power_failure", Rule.POWER_FAILURE), ("clock_set", Rule.CLOCK_SET), ("test_mode", Rule.TEST_MODE),
        ("overflow", Rule.OVERFLOW), ("meter_status", Rule.METER_STATUS), ("duplicate", Rule.CONFLICT),
    ],
)  # fmt: skip
def test_what_meter_and_store_say_is_worth_what_the_rule_set_says(name: str, rule: Rule) -> None:
    series = build([1, 2])
    series.rules[1] = rule

    for severity, state in (("issue", State.MEASURED), ("reject", State.QUESTIONABLE)):
        found = run_series(series, UTC, rules_with(**{name: {**ISSUE, "severity": severity}}))
        assert found.state.tolist() == [State.MEASURED, state]
        assert found.rules.tolist() == [0, rule]


def test_slots_between_a_bad_reading_of_the_clock_and_the_good_ones_around_it_fail() -> None:
    check = {**ISSUE, "tolerance": 180}
    readings = (ClockReading(MONDAY, 0), ClockReading(MONDAY + 7200, 181), ClockReading(MONDAY + 10_800, -180))

    found = judged([1, 2, None, 4, 5], Beside(clock=readings), clock_drift=check)
    good = judged([1, 2, 3], Beside(clock=(ClockReading(MONDAY, 180),)), clock_drift=check)
    open_end = judged([1, 2, 3], Beside(clock=(ClockReading(MONDAY + 3600, -181),)), clock_drift=check)

    assert failed(found, Rule.CLOCK_DRIFT) == [0, 1]
    assert failed(good, Rule.CLOCK_DRIFT) == []
    assert failed(open_end, Rule.CLOCK_DRIFT) == [0, 1, 2]


def instant(name: str) -> Obis:
    return CATALOGUE[name].obis


def electrical(name: str, rows: dict[str, Sequence[Slot]], *, period: int = 60, **tables: Any) -> Series:
    units = {"v": VOLTS, "c": AMPS, "p": ScalerUnit(-2, Unit.COUNT), "a": ScalerUnit(0, Unit.WATT)}
    made = {
        instant(key): build(slots, period, scaler_unit=units["p" if key == "power_factor" else key[0]])
        for key, slots in rows.items()
    }
    own = made.pop(instant(name))
    rules = rules_with(connection=CONNECTION, **tables)
    return run_series(own, UTC, rules, judge_values=False, beside=Beside(instant(name), made))


def test_voltage_fails_below_78_and_above_120_percent() -> None:
    found = electrical("voltage_l1", {"voltage_l1": [1793, 1794, 2760, 2761]}, voltage=ISSUE)

    assert failed(found, Rule.VOLTAGE) == [0, 3]


def test_lost_voltage_stands_until_85_percent_and_a_broken_phase_has_no_current() -> None:
    rows: dict[str, Sequence[Slot]] = {"voltage_l1": [1793, 1900, 1955, 1900], "current_l1": [26, 26, 26, 26]}
    narrow = {**ISSUE, "low_permille": 1, "high_permille": 2000}

    assert failed(electrical("voltage_l1", rows, voltage=narrow), Rule.VOLTAGE) == [0, 1]
    rows = {"voltage_l1": [1379, 1380], "current_l1": [24, 24]}
    assert failed(electrical("voltage_l1", rows, voltage=narrow), Rule.VOLTAGE) == [0]


def test_condition_must_stand_for_a_minute() -> None:
    rows: dict[str, Sequence[Slot]] = {"voltage_l1": [2300, 1000, 2300, 1000, 1000]}

    assert failed(electrical("voltage_l1", rows, period=30, voltage=ISSUE), Rule.VOLTAGE) == [3, 4]
    assert failed(electrical("voltage_l1", rows, period=60, voltage=ISSUE), Rule.VOLTAGE) == [1, 3, 4]


def test_current_fails_above_its_maximum_and_where_it_is_lost_or_broken() -> None:
    assert failed(electrical("current_l1", {"current_l1": [72_000, 72_001]}, current=ISSUE), Rule.CURRENT) == [1]
    rows: dict[str, Sequence[Slot]] = {
        "voltage_l1": [2300] * 4, "current_l1": [24, 25, 24, 24], "current_l2": [251, 251, 250, None]
    }  # fmt: skip
    checks: Any = {"current": ISSUE, "voltage": ISSUE}
    # Lost beside a loaded phase; broken, since 60 % of voltage is there, beside none.
    assert failed(electrical("current_l1", rows, **checks), Rule.CURRENT) == [0, 2, 3]


def test_power_fails_above_the_connection_and_backwards_and_by_its_factor() -> None:
    most, backwards = 3 * 230 * 60 * 1200 // 1000, 3 * 230 * 5 * 5 // 1000
    rows: dict[str, Sequence[Slot]] = {"active_power_import": [most, most + 1, -backwards, -backwards - 1]}

    assert failed(electrical("active_power_import", rows, power=ISSUE), Rule.POWER) == [1, 3]
    rows = {"active_power_export": [backwards, backwards + 1]}
    assert failed(electrical("active_power_export", rows, power=ISSUE), Rule.POWER) == [1]
    assert failed(electrical("power_factor", {"power_factor": [30, 29]}, power=ISSUE), Rule.POWER) == [1]


def test_phases_that_differ_fail_on_all_of_them() -> None:
    rows: dict[str, Sequence[Slot]] = {f"voltage_l{phase}": [2300, 2300] for phase in (1, 2)}
    rows["voltage_l3"] = [1610, 1609]
    for phase in (1, 2, 3):
        assert failed(electrical(f"voltage_l{phase}", rows, imbalance=ISSUE), Rule.IMBALANCE) == [1]
    rows = {"current_l1": [1000, 1000], "current_l2": [1000, 1000], "current_l3": [700, 699]}
    assert failed(electrical("current_l2", rows, imbalance=ISSUE), Rule.IMBALANCE) == [1]


def test_neutral_fails_above_its_share_of_basic_current_and_of_the_phases() -> None:
    rows: dict[str, Sequence[Slot]] = {f"current_l{phase}": [1990, 1990, 2002] for phase in (1, 2, 3)}
    rows["current_neutral"] = [1000, 1001, 1001]

    assert failed(electrical("current_neutral", rows, neutral=ISSUE), Rule.NEUTRAL) == [1]
    assert failed(electrical("current_l1", rows, neutral=ISSUE), Rule.NEUTRAL) == [1]


def test_channel_without_neighbors_or_connection_is_left_alone() -> None:
    volts = build([1000], 60, scaler_unit=VOLTS)

    assert not run_series(
        volts, UTC, rules_with(), judge_values=False, beside=Beside(instant("voltage_l1"))
    ).rules.any()
    rules = rules_with(connection=CONNECTION, voltage=ISSUE)
    assert not run_series(volts, UTC, rules, judge_values=False).rules.any()
