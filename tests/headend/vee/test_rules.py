from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from drivers.units import ScalerUnit, Unit
from headend.errors import SettingsError
from headend.toml_file import read_toml
from headend.vee.rules import load_rules, parse_rules
from kernels.quality import Rule

SHIPPED = sorted(
    entry.name.removesuffix(".toml")
    for entry in (files("headend.config") / "rules").iterdir()
    if entry.name.endswith(".toml")
)


def document() -> dict[str, Any]:
    return dict(read_toml(files("headend.config") / "rules" / "residential.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_rule_set_loads_and_names_a_source_for_each_rule(name: str) -> None:
    rules = load_rules(name)

    assert set(rules.sources) == {"range", "zero_run", "spike", "sum_check", "registers", "estimate"}
    assert all(rules.sources.values())
    assert rules.failing == Rule.RANGE
    assert rules.title.startswith(f"{name} 1 (")


def test_both_rule_sets_are_shipped_with_the_measured_spike_ratios() -> None:
    assert SHIPPED == ["commercial", "residential"]
    assert load_rules("residential").spike_permille == 12_000
    assert load_rules("commercial").spike_permille == 1_800


def test_limits_are_mean_power_whatever_the_period_and_scaler() -> None:
    rules = replace(load_rules("residential"), limits={Unit.WATT_HOUR: (-5, 10_001)}, spike_floor=3_000)

    quarter = rules.for_channel(ScalerUnit(0, Unit.WATT_HOUR), 900)
    hour = rules.for_channel(ScalerUnit(-1, Unit.WATT_HOUR), 3600)

    assert (quarter.low, quarter.high, quarter.spike_floor) == (-1, 2_500, 750)
    assert (quarter.zero_run, quarter.linear_slots) == (96, 8)
    assert (hour.low, hour.high, hour.spike_floor) == (-50, 100_010, 30_000)
    assert (hour.zero_run, hour.linear_slots) == (24, 2)


def test_limits_beyond_int32_are_its_ends_and_a_unit_without_limits_has_none() -> None:
    rules = load_rules("commercial")

    fine = rules.for_channel(ScalerUnit(-9, Unit.WATT_HOUR), 3600)
    hertz = rules.for_channel(ScalerUnit(-2, Unit.HERTZ), 900)

    assert fine.high == 2**31 - 1
    assert (hertz.low, hertz.high) == (-(2**31), 2**31 - 1)


def test_other_content_under_the_same_version_is_told_apart() -> None:
    changed = document()
    changed["spike"] = {**changed["spike"], "permille": 11_999}

    assert parse_rules("residential", document()).title == load_rules("residential").title
    assert parse_rules("residential", changed).title != load_rules("residential").title


def test_every_fault_is_named_at_once_with_its_key() -> None:
    broken = document()
    broken["version"] = 0
    broken["spike"] = {"severity": "fatal", "permille": "many", "florr": 3}
    broken["range"] = {"severity": "failed", "source": "x", "limits": {"kWh": {"low": 0}, "Wh": {"low": 5, "high": 1}}}
    del broken["zero_run"]
    broken["colour"] = "blue"

    with pytest.raises(SettingsError) as caught:
        parse_rules("mine", broken)

    text = "\n".join(caught.value.faults)
    for expected in (
        "mine: version", "mine: spike.source", "mine: spike.severity", "mine: spike.permille", "mine: spike.florr",
        "kWh", "range.limits.Wh.low", "mine: zero_run", "mine: colour",
    ):  # fmt: skip
        assert expected in text


@pytest.mark.parametrize("limits", [5, {"Wh": 5}, None])
def test_limits_that_are_no_table_are_a_fault(limits: object) -> None:
    broken = document()
    broken["range"] = {"severity": "failed", "source": "x"} | ({} if limits is None else {"limits": limits})

    with pytest.raises(SettingsError, match="limits"):
        parse_rules("mine", broken)


@pytest.mark.parametrize("name", ["nosuch", "../residential", "", "a/b", "x" * 500])
def test_unknown_rule_set_names_the_shipped_ones(name: str) -> None:
    with pytest.raises(SettingsError, match=r"shipped: commercial, residential"):
        load_rules(name)


def test_rule_set_of_ones_own_is_given_by_its_file(tmp_path: Path) -> None:
    own = tmp_path / "valley.toml"
    own.write_bytes((files("headend.config") / "rules" / "residential.toml").read_bytes())

    assert load_rules(str(own)).name == "valley"
    own.write_text("version = ")
    with pytest.raises(SettingsError, match="not TOML"):
        load_rules(str(own))
    with pytest.raises(SettingsError, match="cannot be read"):
        load_rules(str(tmp_path / "absent.toml"))
