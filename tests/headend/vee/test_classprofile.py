"""The profile of a class of customers: the last guess before a flat one."""

from dataclasses import replace
from datetime import UTC, date, timedelta
from importlib.resources import files
from typing import Any

import pytest

from drivers.obis import resolve
from headend.errors import SettingsError
from headend.toml_file import read_toml
from headend.vee.classprofile import with_class
from headend.vee.holidays import EPOCH, Holidays
from headend.vee.registers import RegisterSpan
from headend.vee.rules import load_rules, parse_rules
from headend.vee.run import run_series
from headend.vee.work import Beside, Watch
from kernels.quality import Reason
from tests.headend.vee.series import MONDAY, build, seen

RULES = load_rules("residential")
EXPORT = resolve("active_energy_export_interval")
CLASSES = sorted(entry.name for entry in (files("headend.config") / "classes").iterdir())
WEEK = 7 * 48


@pytest.mark.parametrize("name", ["residential", "commercial", "prosumer"])
def test_a_year_of_a_shipped_class_is_the_yearly_use_of_its_rule_set(name: str) -> None:
    rules = load_rules(name)
    wanted = read_toml(files("headend.config") / "rules" / f"{name}.toml")["profile"]["yearly_kwh"]  # type: ignore[index]

    assert rules.profile is not None
    days = [(date(2025, 1, 1) - EPOCH + timedelta(days=number)).days for number in range(365)]
    kinds = (rules.profile.day(day, Holidays()) for day in days)
    # BDEW's own figures sum to within 2 %, for holidays are Sundays and years differ.
    milliwatt_hours = sum(sum(rules.profile.months[month][kind]) for month, kind in kinds)
    assert milliwatt_hours / 10**6 == pytest.approx(wanted, rel=0.02)


def test_every_shipped_class_names_where_it_is_from_and_serves_a_rule_set() -> None:
    used = {load_rules(name).profile for name in ("residential", "commercial", "prosumer")}

    assert {f"{profile.name}.toml" for profile in used if profile is not None} == set(CLASSES)
    for name in CLASSES:
        document = read_toml(files("headend.config") / "classes" / name)
        assert "BDEW standard load profile" in str(document["source"])


def test_a_gap_that_nothing_of_its_own_fills_takes_the_class_s_shape_of_that_month_day_and_hour() -> None:
    series = run_series(build([100, *[None] * 47, 100]), UTC, RULES)

    assert RULES.profile is not None
    workday = RULES.profile.months[0][0]
    assert series.values[1:48].tolist() == [(workday[slot // 2] + 1_000) // 2_000 for slot in range(1, 48)]
    assert set(series.reason[1:48].tolist()) == {Reason.CLASS_PROFILE}


def test_like_days_and_lines_go_before_the_class() -> None:
    slots: list[int | None] = [7] * WEEK + [None] * 10 + [7] * 38 + [7, None, 7] + [7] * 45

    series = run_series(build(slots), UTC, RULES)

    assert set(series.reason[WEEK : WEEK + 10].tolist()) == {Reason.LIKE_DAY}
    assert series.reason[WEEK + 49] == Reason.LINEAR


def test_the_register_scales_the_class_s_shape_to_the_last_count() -> None:
    series = run_series(build([None] * 48), UTC, RULES, [RegisterSpan(0, 48, 12_345, 1)])

    assert int(series.values.sum()) == 12_345
    assert set(series.reason.tolist()) == {Reason.CLASS_PROFILE}
    assert series.values[36] > series.values[6]  # six in the evening, three at night


def test_a_longer_gap_than_the_rule_set_allows_is_not_guessed_from_strangers() -> None:
    longest = [100, *[None] * WEEK, 100]
    beyond = [100, *[None] * (WEEK + 1), 100]

    filled, left = (run_series(build(slots), UTC, replace(RULES, weeks=0)) for slots in (longest, beyond))

    assert "MISSING" not in seen(filled)
    assert seen(left)[1:-1] == ["MISSING"] * (WEEK + 1)


def test_a_class_is_of_what_is_drawn_and_fills_no_other_channel() -> None:
    series = run_series(build([100, *[None] * 40, 100]), UTC, RULES, beside=Beside(EXPORT))

    assert seen(series)[1:-1] == ["MISSING"] * 40


def test_what_is_told_names_class_month_kind_of_day_and_hour() -> None:
    watch = Watch(20)

    run_series(build([100, *[None] * 40, 100], start=MONDAY + 5 * 86_400), UTC, RULES, watch=watch)

    (note,) = watch.notes
    assert note.step == "class_profile"
    assert note.text.startswith("the profile of its class (household): month 1, saturday, hour 10;")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"class": "nobility"}, "'nobility' is no class; shipped: business, household, household-solar"),
        ({"yearly_kwh": 0}, "profile.yearly_kwh: is 0"),
        ({"longest_hours": -1}, "profile.longest_hours"),
        ({"workday": [1] * 24}, "profile.workday"),
    ],
)
def test_a_faulty_profile_is_named(change: dict[str, Any], what: str) -> None:
    document = dict(read_toml(files("headend.config") / "rules" / "residential.toml"))
    profile = document["profile"]
    assert isinstance(profile, dict)

    with pytest.raises(SettingsError) as caught:
        parse_rules("mine", with_class({**document, "profile": {**profile, **change}}))

    assert what in "\n".join(caught.value.faults)


def test_another_class_is_another_rule_set() -> None:
    document = dict(read_toml(files("headend.config") / "rules" / "residential.toml"))
    other = with_class({**document, "profile": {**document["profile"], "class": "business"}})  # type: ignore[dict-item]

    assert parse_rules("residential", other).title != RULES.title
