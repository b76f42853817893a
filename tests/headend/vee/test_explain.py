from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.facts import IntervalBlock, StatusWord
from drivers.obis import resolve
from headend.errors import RegistryError
from headend.registry.model import ChannelExpectation
from headend.store.store import Store
from headend.vee.explain import Explanation, explain
from headend.vee.rules import load_rules
from headend.vee.service import run
from kernels.quality import Reason, Rule, State
from tests.headend.vee.series import DAY, MONDAY, WH
from tests.headend.vee.test_checks import ISSUE, rules_with
from tests.headend.vee.test_service import FIRST, NOW, OBIS, RULES, day, install, record, register

EXPORT = resolve("active_energy_export_interval")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db", lambda: NOW) as opened:
        yield opened


def explained(store: Store, slot: int, rules: Any = RULES) -> Explanation:
    return explain(store, store.usage_point("UP1"), OBIS, MONDAY + slot * 1800 + 7, rules)


def also_exports(store: Store, device: int) -> None:
    with store.transaction():
        expected = [ChannelExpectation(device, obis, 1800, 0, WH, "load_profile", MONDAY) for obis in (OBIS, EXPORT)]
        store.put_expectations(device, MONDAY, expected)


def test_slot_on_a_line_names_its_ends_and_the_register_that_scaled_it(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [10, None, 30, *[5] * 45])
    register(store, device, MONDAY, 1000)
    register(store, device, MONDAY + 3 * 1800, 1100)
    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)

    found = explained(store, 1)

    assert (found.raw.state, found.raw.reason) == (State.MISSING, Reason.NO_ROW)
    assert (found.result.state, found.result.reason, found.result.value) == (State.ESTIMATED, Reason.LINEAR, 60)
    assert [note.step for note in found.notes] == ["linear", "scaled"]
    assert [(one.start, one.value) for one in found.notes[0].sources] == [(MONDAY, 10), (MONDAY + 3600, 30)]
    assert "counted 100 over 3 slots, which leaves 60 for 1: scaled in proportion" in found.notes[1].text
    assert found.stored is not None
    assert (found.stored.version, found.is_as_stored) == (1, True)


def test_slot_of_like_days_names_the_days(store: Store) -> None:
    _, device = install(store, "SIM:1")
    record(store, device, [week + 1 for week in range(4) for _ in range(7 * 48)])
    record(store, device, [None] * 48, MONDAY + 28 * DAY)

    found = explained(store, 28 * 48 + 20)

    (note,) = found.notes
    assert (note.step, found.result.value) == ("like_day", 3)
    assert [(one.start - MONDAY) % DAY for one in note.sources] == [20 * 1800] * 3
    assert [one.value for one in note.sources] == [4, 3, 2]
    assert [(one.start - MONDAY) // DAY for one in note.sources] == [21, 14, 7]
    assert found.stored is None


def test_failed_rules_come_with_severity_and_source(store: Store) -> None:
    _, device = install(store, "SIM:1")
    record(store, device, [10, 30_000, *[10] * 46])

    found = explained(store, 1)

    assert [(one.name, one.severity) for one in found.failed] == [("range", "reject"), ("spike", "issue")]
    assert found.failed[0].says == "is outside the limits 0 Wh to 25000 Wh"
    assert found.failed[0].source == RULES.sources["range"]
    assert found.result.rules == Rule.RANGE | Rule.SPIKE


def test_slot_that_stays_missing_says_why(store: Store) -> None:
    _, device = install(store, "SIM:1")
    record(store, device, [10, *[None] * 47])

    assert [note.step for note in explained(store, 20).notes] == ["none"]
    limited = {"source": "x", "linear_hours": 2, "like_days": 3, "weeks": 4, "longest_hours": 10}
    assert [note.step for note in explained(store, 20, rules_with(estimate=limited)).notes] == ["limit"]


def test_version_made_by_other_rules_is_told_apart(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [10, None, 30, *[5] * 45])
    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)

    found = explained(store, 1, rules_with(estimate={"source": "x", "linear_hours": 0, "like_days": 1, "weeks": 0}))

    assert (found.result.state, found.is_as_stored) == (State.MISSING, False)


def test_power_off_is_told_as_zero_and_the_cause_stays_with_the_raw_slot(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [10])
    with store.transaction():
        store.mark_missing(device, OBIS, MONDAY + 1800, MONDAY + DAY, Reason.POWER_OFF, None)
    run(store, point, OBIS, FIRST, FIRST + 1, RULES, NOW)

    found = explained(store, 5)

    assert day(store, point) == [10, *[0] * 47]
    assert (found.raw.reason, found.result.reason, found.result.value) == (Reason.POWER_OFF, Reason.ZERO, 0)
    assert [note.step for note in found.notes] == ["zero"]


def test_instant_at_which_nothing_is_expected_is_refused(store: Store) -> None:
    install(store, "SIM:1")

    with pytest.raises(RegistryError, match="no slot is expected"):
        explained(store, -100)


def test_channel_is_judged_beside_the_others_of_its_usage_point(store: Store) -> None:
    point, device = install(store, "SIM:1")
    also_exports(store, device)
    record(store, device, [700] * 48)
    record(store, device, [0, 700, *[0] * 46], obis=EXPORT)
    rules = rules_with(both_ways={**ISSUE, "floor": 500})

    for obis in (OBIS, EXPORT):
        run(store, point, obis, FIRST, FIRST + 1, rules, NOW)
        series = store.validated_series(point.id, obis, MONDAY, MONDAY + DAY)
        assert series.rules.tolist() == [0, Rule.BOTH_WAYS, *[0] * 46]


def test_year_before_serves_where_no_like_day_does(store: Store) -> None:
    point, device = install(store, "SIM:1")
    record(store, device, [7] * 48, MONDAY)
    record(store, device, [None] * 48, MONDAY + 364 * DAY)

    run(store, point, OBIS, FIRST + 364, FIRST + 365, RULES, NOW)
    found = explained(store, 364 * 48 + 3)

    assert day(store, point, 364) == [7] * 48
    assert found.result.reason == Reason.PREVIOUS_YEAR
    assert [(one.start, one.value) for one in found.notes[0].sources] == [(MONDAY + 3 * 1800, 7)]
    assert found.is_as_stored


def test_class_profile_serves_last_by_hour_and_kind_of_day(store: Store) -> None:
    point, device = install(store, "SIM:1")
    with store.transaction():
        store.mark_missing(device, OBIS, MONDAY, MONDAY + 7 * DAY, Reason.NO_ROW, None)
    document = {
        "source": "this test", "workday": [100 + hour for hour in range(24)], "saturday": [201] * 24, "sunday": [300] * 24
    }  # fmt: skip
    holidays = {"source": "this test", "dates": ["2024-01-02"]}
    rules = rules_with(profile=document, holidays=holidays)

    run(store, point, OBIS, FIRST, FIRST + 7, rules, NOW)

    assert day(store, point)[:4] == [50, 50, 51, 51]
    assert day(store, point, 1) == [150] * 48
    assert day(store, point, 5) == [101] * 48
    assert day(store, point, 6) == [150] * 48
    assert explained(store, 0, rules).result.reason == Reason.CLASS_PROFILE


def test_rule_sets_of_one_name_are_told_apart_in_an_explanation(store: Store) -> None:
    _, device = install(store, "SIM:1")
    record(store, device, [1])

    assert explained(store, 0).rules == load_rules("residential").title


def test_the_meters_words_are_those_that_fit_the_slot_and_began_last_before_it(store: Store) -> None:
    _, device = install(store, "SIM:1")
    off, moved = Rule.POWER_FAILURE, Rule.CLOCK_SET
    words = [
        (2, "power failure: first"),
        (4, "clock set, power failure: both"),
        (6, "clock set: alone"),
        (9, "doubtful: x"),
    ]
    said = tuple(StatusWord(MONDAY + slot * 1800, MONDAY + slot * 1800 + 1, slot, text) for slot, text in words)
    rules = [Rule(0)] * 48
    rules[2] = rules[3] = off
    rules[5] = off | moved
    rules[7] = moved
    counts = [1] * 48
    with store.transaction():
        store.record(device, [IntervalBlock(OBIS, WH, MONDAY, 1800, tuple(counts), tuple(rules), said)], NOW)

    told = {slot: explained(store, slot).said for slot in (1, 2, 3, 5, 7, 8)}

    assert told == {
        1: (), 2: ("power failure: first",), 3: ("power failure: first",), 5: ("clock set, power failure: both",),
        7: ("clock set: alone",), 8: (),
    }  # fmt: skip


def test_a_slot_without_power_is_explained_by_the_nearest_word_also_by_the_row_behind_it(store: Store) -> None:
    _, device = install(store, "SIM:1")
    word = StatusWord(MONDAY + 4 * 1800, MONDAY + 5 * 1800, 0x80, "power failure: behind the gap")
    rules = (Rule(0), *[Rule.POWER_FAILURE] * 4)
    with store.transaction():
        store.record(device, [IntervalBlock(OBIS, WH, MONDAY, 1800, (1, None, None, None, 2), rules, (word,))], NOW)

    found = explained(store, 2)

    assert (found.raw.reason, found.result.value) == (Reason.POWER_OFF, 0)
    assert found.said == ("power failure: behind the gap",)
