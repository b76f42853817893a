"""What is learned of how long meters take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.collect.latency import DEAF, ENOUGH, FEW, FLOOR, HALVED_AT, Latencies, Pace
from tests.headend.collect.builders import taught

DECLARED = 2.0


@given(times=st.lists(st.floats(0, 1.0), min_size=ENOUGH, max_size=300))
def test_an_answer_as_late_as_any_before_still_comes_in_time_and_no_more_than_declared_is_allowed(
    times: list[float],
) -> None:
    latency = taught(times)

    allowed = latency.allowance(DECLARED, 0)

    assert max(times) < allowed <= DECLARED


@given(times=st.lists(st.floats(0.001, 1.0), min_size=100, max_size=400))
def test_the_percentile_is_within_a_step_of_the_exact_one(times: list[float]) -> None:
    exact = sorted(times)[-1 - int(len(times) * 0.01)]

    assert exact * 0.99 <= taught(times).percentile() <= exact * 1.16


def test_a_meter_is_given_what_it_declares_until_enough_is_known_then_little_more_than_it_takes() -> None:
    latencies = Latencies()
    pace = Pace(latencies, "serial:///x", "A:1", "model", DECLARED)

    before = []
    for _ in range(ENOUGH):
        before.append(pace.latency())
        pace.heard(0.02)

    assert before == [DECLARED] * ENOUGH
    assert FLOOR < pace.latency() < 0.05


def test_a_stranger_is_given_twice_what_its_kin_on_the_same_link_take_and_elsewhere_all() -> None:
    latencies = Latencies()
    for _ in range(ENOUGH):
        latencies.heard("bus", "A:1", "model", 0.1)

    kin = latencies.allowance("bus", "A:1", "model", DECLARED)

    assert latencies.allowance("bus", "A:2", "model", DECLARED) == pytest.approx(2 * kin)
    assert latencies.allowance("other bus", "A:2", "model", DECLARED) == DECLARED
    assert latencies.allowance("bus", "A:2", "other model", DECLARED) == DECLARED


def test_a_meter_heard_a_few_times_is_given_as_much_as_its_kin_or_more_where_it_took_longer() -> None:
    latencies = Latencies()
    for _ in range(ENOUGH):
        latencies.heard("bus", "A:1", "model", 0.1)
    kin = latencies.allowance("bus", "A:1", "model", DECLARED)
    for _ in range(FEW):
        latencies.heard("bus", "A:2", "model", 0.1)

    like_kin = latencies.allowance("bus", "A:2", "model", DECLARED)
    for _ in range(FEW):
        latencies.heard("bus", "A:3", "model", 0.4)

    assert like_kin == pytest.approx(kin)
    assert latencies.allowance("bus", "A:3", "model", DECLARED) >= 1.5 * 0.4


def test_silences_double_the_time_twice_and_at_last_give_all_until_an_answer_comes() -> None:
    latencies = Latencies()
    pace = Pace(latencies, "bus", "A:1", "model", DECLARED)
    for _ in range(ENOUGH):
        pace.heard(0.1)
    known = pace.latency()

    allowed = []
    for _ in range(DEAF):
        pace.silent()
        allowed.append(pace.latency())
    pace.heard(0.1)

    assert allowed == pytest.approx([2 * known, 4 * known, 4 * known, 4 * known, 4 * known, DECLARED])
    assert pace.latency() == known


def test_a_meter_that_became_quick_is_believed_after_a_while() -> None:
    latency = taught([1.0] * 100)

    for _ in range(3 * HALVED_AT):
        latency.heard(0.02)

    assert latency.allowance(DECLARED, 0) < 0.1


def test_what_is_kept_is_bounded_and_those_heard_longest_ago_are_forgotten() -> None:
    latencies = Latencies(max_meters=4)
    for number in range(ENOUGH):
        for _ in range(ENOUGH):
            latencies.heard("bus", f"A:{number}", "model", 0.1)

    assert latencies.allowance("bus", "A:0", "none", DECLARED) == DECLARED
    assert latencies.allowance("bus", f"A:{ENOUGH - 1}", "none", DECLARED) < DECLARED
