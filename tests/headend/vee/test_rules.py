from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from drivers.units import ScalerUnit, Unit
from headend.errors import SettingsError
from headend.toml_file import read_toml
from headend.vee.checks import KINDS, tangent_ppm
from headend.vee.classprofile import with_class
from headend.vee.rules import CORE, load_rules, parse_rules
from kernels.quality import Reason, Rule
from tests.shared import REPOSITORY

SHIPPED = sorted(
    entry.name.removesuffix(".toml")
    for entry in (files("headend.config") / "rules").iterdir()
    if entry.name.endswith(".toml")
)


VERSIONS = {"commercial": 3, "prosumer": 2, "residential": 3, "transformer-check": 2}


def document() -> dict[str, Any]:
    return dict(with_class(read_toml(files("headend.config") / "rules" / "residential.toml")))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_rule_set_loads_and_names_a_source_for_each_rule(name: str) -> None:
    rules = load_rules(name)

    written = {
        key
        for key, value in read_toml(files("headend.config") / "rules" / f"{name}.toml").items()
        if isinstance(value, dict)
    }
    assert set(rules.sources) == written >= {"range", "zero_run", "spike", "sum_check", "registers", "estimate"}
    assert all(rules.sources.values())
    assert rules.failing == Rule.RANGE | Rule.TEST_MODE | Rule.OVERFLOW
    assert rules.title.startswith(f"{name} {VERSIONS[name]} (")


def test_four_rule_sets_are_shipped_with_the_measured_spike_ratios() -> None:
    assert sorted(VERSIONS) == SHIPPED
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
    broken["range"] = {"severity": "reject", "source": "x", "limits": {"kWh": {"low": 0}, "Wh": {"low": 5, "high": 1}}}
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
    broken["range"] = {"severity": "reject", "source": "x"} | ({} if limits is None else {"limits": limits})

    with pytest.raises(SettingsError, match="limits"):
        parse_rules("mine", broken)


@pytest.mark.parametrize("name", ["nosuch", "../residential", "", "a/b", "x" * 500])
def test_unknown_rule_set_names_the_shipped_ones(name: str) -> None:
    with pytest.raises(SettingsError, match=r"shipped: commercial, prosumer, residential, transformer-check"):
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


def test_every_check_of_the_program_is_on_in_a_shipped_rule_set() -> None:
    used = {check for name in SHIPPED for check in load_rules(name).checks}

    # A negative value is out of range in every shipped set; the run is for channels whose lower limit is below 0.
    assert set(KINDS) - used == {"negative_run"}


def test_upper_limit_follows_from_connection_and_transformers() -> None:
    rules = load_rules("transformer-check")

    limits = rules.for_channel(ScalerUnit(0, Unit.WATT_HOUR), 900, multiplier=100)

    assert rules.connection is not None
    assert rules.connection.power(100) == 3 * 230 * 6 * 100
    assert (limits.low, limits.high) == (0, 3 * 230 * 6 * 100 * 1200 // 1000 // 4)
    assert rules.for_channel(ScalerUnit(0, Unit.WATT_HOUR), 900).high == 3 * 230 * 6 * 1200 // 1000 // 4


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"voltage": {"severity": "issue", "source": "x"}}, "voltage.severity: needs a table connection"),
        ({"step": {"severity": "issue", "source": "x", "permille": 0}}, "step.permille: is 0"),
        ({"step": {"severity": "warning", "source": "x", "permille": 5}}, "information, issue, reject"),
        ({"step": {"severity": "issue", "permille": 5}}, "step.source: is missing"),
        ({"step": 5}, "step: must be a table"),
        ({"high_low": {"severity": "issue", "source": "x", "days": 7, "low_permille": 9, "high_permille": 8}}, "is 9, above"),
        ({"holidays": {"source": "x", "yearly": ["02-30"], "dates": ["2026-13-01"]}}, "no day of the year"),
        ({"profile": {"source": "x", "workday": [1], "saturday": [1] * 24, "sunday": [1] * 24}}, "1 hours, not 24"),
    ],
)  # fmt: skip
def test_fault_of_a_check_names_its_key(change: dict[str, Any], what: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_rules("mine", document() | change)

    assert what in "\n".join(caught.value.faults)


def test_reach_grows_with_what_the_checks_look_at() -> None:
    short = document()
    of_class = parse_rules("mine", document())
    del short["profile"]
    plain = parse_rules("mine", short)
    check = {"severity": "issue", "source": "x"}
    long_run = parse_rules("mine", short | {"never_zero": {**check, "hours": 240}})
    year = parse_rules("mine", short | {"high_low_year": {**check, "days": 7, "low_permille": 1, "high_permille": 9}})

    assert long_run.look_back - plain.look_back == long_run.look_ahead - plain.look_ahead == 8 * 86_400
    assert of_class.look_back - plain.look_back == of_class.look_ahead - plain.look_ahead == 5 * 86_400
    assert (plain.look_year, year.look_year) == (1, 8)


@pytest.mark.parametrize(("cosine", "tangent"), [(300, 3_179_797), (999, 44_754), (1, 999_999_499)])
def test_tangent_of_a_power_factor_is_rounded_down(cosine: int, tangent: int) -> None:
    assert tangent_ppm(cosine) == tangent


def test_every_rule_and_method_is_on_the_page_for_people() -> None:
    page = (REPOSITORY / "docs" / "validation.md").read_text()
    methods = [reason.name.lower() for reason in Reason if Reason.LINEAR <= reason <= Reason.REGISTER_LUMP]

    assert [name for name in (*KINDS, *CORE, *SHIPPED, *methods) if f"`{name}`" not in page] == []
    assert {kind.rule for kind in KINDS.values()} | set(CORE.values()) == set(Rule) - {
        Rule.FLOAT_RESOLUTION, Rule.UNPROTECTED
    }  # fmt: skip
