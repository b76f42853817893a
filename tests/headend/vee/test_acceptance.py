"""Worked examples of others, with their published answers. Figures and origins are in tests/data/vee."""

import json
import tomllib
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from drivers.facts import RegisterValue
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.vee.registers import RegisterSpan, energy_of_pulses, estimated_register, register_spans
from headend.vee.rules import load_rules
from headend.vee.run import run_series
from kernels.estimate import spread
from kernels.quality import Reason, State
from tests.headend.vee.series import MONDAY, Slot, build
from tests.shared import REPOSITORY, shared_data

RULES = replace(load_rules("residential"), profile=None)  # what nothing of its own fills stays missing
CASES = {
    "linear_interpolation_itron": "linear_itron", "gap_limit_itron": "gap_limit_itron",
    "sum_check_cmep": "sum_check_cmep", "cim_cumulative": "cim_cumulative",
    "interval_adjust_from_scalar_oracle": "interval_adjust_oracle", "usage_calculation_itron": "usage_calculation_itron",
    "pulse": "pulse",
}  # fmt: skip


def case(name: str) -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "tests/data/vee" / name / "case.toml").read_text())


def slot_of(time: str) -> int:
    hour, minute = map(int, time.split(":"))
    return (hour * 60 + minute) // 15


def test_figures_carried_here_are_those_of_the_shared_examples() -> None:
    data = shared_data()
    if data is None:
        pytest.skip("shared data is absent: set HEADEND_SHARED, or put it beside the checkout")
    shared = json.loads((data / "acceptance.json").read_text())

    assert shared.keys() >= CASES.keys()
    linear, sums, cim = shared["linear_interpolation_itron"], shared["sum_check_cmep"], shared["cim_cumulative"]
    assert [linear[key] for key in ("before", "missing", "after", "expected")] == [
        case("linear_itron")[key] for key in ("before", "missing", "after", "expected")
    ]
    ours = case("sum_check_cmep")
    assert (sums["register_start"], sums["register_end"]) == (ours["register_start"], ours["register_end"])
    assert sums["expected_delta"] == sums["intervals_sum"] == ours["expected_sum"]
    assert [str(cim["r0"]), str(cim["r1"]), str(cim["expected_15min_kwh"])] == [
        *case("cim_cumulative")["registers"], case("cim_cumulative")["expected"]
    ]  # fmt: skip
    limit = shared["gap_limit_itron"]
    assert limit["max_range_h"] == case("gap_limit_itron")["longest_hours"]
    assert (limit["gapA"], limit["gapB"]) == ("08:00-10:00 filled", "13:15-17:30 skipped")


def test_gap_within_the_maximum_range_is_filled_and_a_longer_one_is_skipped() -> None:
    example = case("gap_limit_itron")
    rules = replace(RULES, linear=example["longest_hours"] * 3600)
    slots: list[Slot] = [100] * 96
    filled, skipped = (range(*map(slot_of, example[key])) for key in ("filled", "skipped"))
    for slot in (*filled, *skipped):
        slots[slot] = None

    series = run_series(build(slots, example["period"]), UTC, rules)

    assert np.flatnonzero(series.state == State.ESTIMATED).tolist() == list(filled)
    assert np.flatnonzero(series.state == State.MISSING).tolist() == list(skipped)
    assert set(series.reason[list(filled)].tolist()) == {Reason.LINEAR}


def test_two_readings_of_a_register_give_the_energy_of_the_interval_between() -> None:
    example = case("cim_cumulative")
    tenths = ScalerUnit(-1, Unit.WATT_HOUR)
    counts = [tenths.quantise(Decimal(text) * 1000) for text in example["registers"]]
    registers = [
        RegisterValue(Obis.parse("1-0:1.8.0*255"), count, tenths, MONDAY + index * example["period"])
        for index, count in enumerate(counts)
    ]

    (span,) = register_spans(
        registers, start=MONDAY, period=example["period"], slots=1, scaler_unit=tenths, within=10, longest=86_400
    )

    assert tenths.to_decimal(span.delta) / 1000 == Decimal(example["expected"])
    lump = run_series(build([None], example["period"], scaler_unit=tenths), UTC, RULES, [span])
    assert (lump.values.tolist(), lump.reason.tolist()) == ([441], [Reason.REGISTER_LUMP])


def test_intervals_are_adjusted_in_proportion_and_equally_where_they_sum_to_zero() -> None:
    example = case("interval_adjust_oracle")
    values = np.array(example["intervals"], np.int32)
    zeros = np.zeros(4, np.int32)

    spread(values, np.ones(4, np.uint8), example["scalar"])
    spread(zeros, np.ones(4, np.uint8), example["flat_scalar"])

    assert values.tolist() == example["expected"]
    assert zeros.tolist() == example["flat_expected"]
    # In a run: an estimate of all zeros has no shape, so the register's difference is laid flat.
    gap = run_series(build([0, None, None, None, None, 0]), UTC, RULES, [RegisterSpan(0, 6, example["flat_scalar"], 1)])
    assert gap.values.tolist() == [0, *example["flat_expected"], 0]
    assert set(gap.reason[1:5].tolist()) == {Reason.FLAT}


def test_register_is_estimated_from_the_one_before_and_the_intervals_between() -> None:
    example, intervals = case("usage_calculation_itron"), case("sum_check_cmep")["values"]

    assert estimated_register(example["register"], intervals) == example["expected"]
    assert estimated_register(example["rolled_register"], intervals, example["dials"]) == example["rolled_expected"]
    with pytest.raises(ValueError, match="turn the register back"):
        estimated_register(5, [3, -1])


def test_energy_of_pulses_is_the_product_of_constant_and_ratios() -> None:
    example = case("pulse")

    energy = energy_of_pulses(
        example["pulses"], ScalerUnit(0, Unit.WATT_HOUR), example["wh_per_pulse"],
        example["current_ratio"], example["voltage_ratio"],
    )  # fmt: skip

    assert energy == example["expected_wh"]
