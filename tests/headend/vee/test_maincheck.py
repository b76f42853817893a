"""A check meter that the registry names: its readings serve as estimates, and values are compared with them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.units import ScalerUnit, Unit
from headend.registry.model import ChannelExpectation, Installation, UsagePoint
from headend.store.store import Store
from headend.vee.assemble import VeeError
from headend.vee.explain import explain
from headend.vee.maincheck import in_our_counts
from headend.vee.rules import RuleSet, load_rules
from headend.vee.service import run
from kernels.quality import Reason, Rule, State
from tests.headend.vee.series import DAY, MONDAY, WH, build, seen
from tests.headend.vee.test_checks import ISSUE, rules_with
from tests.headend.vee.test_service import FIRST, NOW, OBIS, RULES, day, install, record, register

TENTH = ScalerUnit(-1, Unit.WATT_HOUR)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db", lambda: NOW) as opened:
        yield opened


def with_check(
    store: Store,
    ratio: Fraction = Fraction(1),
    *,
    multiplier: int = 1,
    scaler_unit: ScalerUnit = WH,
    period: int = 1800,
) -> tuple[UsagePoint, int, int]:
    """Main meter at UP1, check meter at CHECK; give the usage point, and both meters."""
    _, main = install(store, "SIM:1")
    with store.transaction():
        device, _ = store.put_end_device("SIM:2", "sim", store.put_link("memory://y"), "1")
        place, _ = store.put_usage_point("CHECK", "UTC")
        store.put_installation(Installation(place.id, device.id, MONDAY, None, multiplier))
        entry = ChannelExpectation(device.id, OBIS, period, 0, scaler_unit, "load_profile", MONDAY)
        store.put_expectations(device.id, MONDAY, [entry])
        point, _ = store.put_usage_point("UP1", "UTC", check_meter="CHECK", check_ratio=ratio)
    return point, main, device.id


def validate(store: Store, point: UsagePoint, rules: RuleSet = RULES) -> Mapping[Rule, int]:
    return run(store, point, OBIS, FIRST, FIRST + 1, rules, NOW).failed


def test_a_long_gap_is_filled_from_the_check_meter_before_like_days_are_asked(store: Store) -> None:
    point, main, check = with_check(store)
    record(store, main, [10] * 10 + [None] * 20 + [10] * 18)
    record(store, check, list(range(48)))

    validate(store, point)

    series = store.validated_series(point.id, OBIS, MONDAY, MONDAY + DAY)
    assert seen(series)[10:30] == list(range(10, 30))
    assert set(series.reason[10:30].tolist()) == {Reason.CHECK_METER}


def test_multiplier_scaler_and_ratio_of_the_check_meter_count_and_half_a_count_is_rounded_up(store: Store) -> None:
    point, main, check = with_check(store, Fraction(3, 4), multiplier=20, scaler_unit=TENTH)
    record(store, main, [10] * 10 + [None] * 20 + [10] * 18)
    record(store, check, [1] * 20 + [3] * 28, scaler_unit=TENTH)

    validate(store, point)

    assert day(store, point)[10:30] == [2] * 10 + [5] * 10  # 1.5 and 4.5 Wh


def test_estimates_of_the_check_meter_are_scaled_to_the_register_exactly(store: Store) -> None:
    point, main, check = with_check(store)
    record(store, main, [10] * 10 + [None] * 20 + [10] * 18)
    record(store, check, [30] * 20 + [60] * 28)
    register(store, main, MONDAY, 0)
    register(store, main, MONDAY + DAY, 28 * 10 + 901)

    validate(store, point)

    series = store.validated_series(point.id, OBIS, MONDAY, MONDAY + DAY)
    assert int(series.values.sum()) == 28 * 10 + 901
    assert int(series.values[20:30].sum()) > int(series.values[10:20].sum())
    assert set(series.reason[10:30].tolist()) == {Reason.CHECK_METER}


@pytest.mark.parametrize("theirs", [None, 26_000])
def test_what_the_check_meter_does_not_know_or_cannot_have_measured_stays_open(
    store: Store, theirs: int | None
) -> None:
    point, main, check = with_check(store)
    record(store, main, [10] * 10 + [None] * 20 + [10] * 18)
    record(store, check, [20] * 15 + [theirs] + [20] * 32)

    validate(store, point)

    assert day(store, point)[14:17] == [20, "MISSING", 20]


def test_a_check_meter_on_another_grid_serves_nobody(store: Store) -> None:
    point, main, check = with_check(store, period=900)
    record(store, main, [10] * 10 + [None] * 20 + [10] * 18)
    record(store, check, [20] * 96, period=900)

    validate(store, point)

    assert day(store, point)[10:30] == ["MISSING"] * 20


def test_a_check_meter_of_another_unit_is_a_clear_error(store: Store) -> None:
    point, main, _ = with_check(store, scaler_unit=ScalerUnit(0, Unit.VAR_HOUR))
    record(store, main, [10] * 48)

    with pytest.raises(VeeError, match=r"UP1.*check meter counts varh, it counts Wh; correct"):
        validate(store, point)


def test_explain_names_the_check_meter_its_ratio_and_its_value(store: Store) -> None:
    point, main, check = with_check(store, Fraction(3, 2))
    record(store, main, [10] * 10 + [None] * 20 + [10] * 18)
    record(store, check, list(range(48)))

    found = explain(store, point, OBIS, MONDAY + 20 * 1800, RULES)

    (note,) = found.notes
    assert (note.step, note.text) == ("check_meter", "the check meter CHECK x 3/2 measured it")
    assert [(one.start, one.value) for one in note.sources] == [(MONDAY + 20 * 1800, 30)]


def test_the_transformer_s_rules_compare_with_the_check_meter(store: Store) -> None:
    point, main, check = with_check(store)
    rules = load_rules("transformer-check")
    # 5 % of 1000 Wh are 50; of 100 Wh 5, but up to 500 Wh (1000 W over half an hour) nobody minds.
    record(store, main, [20_000, 21_001, 18_999, 21_000, 600, 601, *[20_000] * 42])
    record(store, check, [20_000, 20_000, 20_000, 20_000, 100, 100, *[20_000] * 42])
    rules = replace(rules, limits={Unit.WATT_HOUR: (0, 10**6)})

    failed = validate(store, point, rules)

    series = store.validated_series(point.id, OBIS, MONDAY, MONDAY + DAY)
    assert failed[Rule.MAIN_CHECK] == 3
    assert np.flatnonzero(series.rules & np.uint32(Rule.MAIN_CHECK)).tolist() == [1, 2, 5]
    assert set(series.state.tolist()) == {State.MEASURED}


def test_a_value_off_the_check_meter_is_no_reference_for_estimates(store: Store) -> None:
    point, main, check = with_check(store)
    rules = replace(rules_with(check_meter={**ISSUE, "permille": 50, "floor": 0}), profile=None)
    record(store, main, [400] + [10] * (14 * 48 - 1))
    record(store, main, [None] * 10 + [10] * 38, MONDAY + 14 * DAY)
    record(store, check, [10] * (14 * 48))

    run(store, point, OBIS, FIRST, FIRST + 15, rules, NOW)

    assert day(store, point, 14)[0] == 10  # the mean of 10 and 400 would be 205


@given(
    st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=20),
    st.fractions(Fraction(1, 10**9), 10**9, max_denominator=10**9),
    st.integers(-6, 6),
)
def test_their_counts_become_ours_exactly_to_half_a_count_or_not_at_all(
    counts: list[int], ratio: Fraction, scaler: int
) -> None:
    theirs = build(counts, scaler_unit=ScalerUnit(scaler, Unit.WATT_HOUR))

    made = in_our_counts(theirs, ratio, WH)

    for slot, count in enumerate(counts):
        exact = count * ratio * Fraction(10) ** scaler
        if made.state[slot] == State.MEASURED:
            assert -Fraction(1, 2) <= made.values[slot] - exact <= Fraction(1, 2)
        else:
            assert abs(exact) > 2**31 - 2
