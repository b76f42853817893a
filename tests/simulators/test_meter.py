import random

import pytest

from drivers.status import Meaning
from simulators import faults
from simulators.faults import (
    ClockDrift,
    ClockSet,
    Dead,
    MeterSwap,
    MissingRows,
    Noise,
    PowerCut,
    Rollover,
    Silent,
    TestMode,
    parse_fault,
)
from simulators.meter import position
from tests.simulators.homes import HALF_HOUR, MONDAY, meter


def test_a_poll_shortly_after_a_boundary_shows_the_boundary_exactly() -> None:
    polled = meter(refresh=60, register_start=1000)
    boundary = MONDAY + 3 * HALF_HOUR

    assert {polled.register(boundary + late) for late in range(60)} == {1460}


def test_a_register_advances_between_boundaries() -> None:
    polled = meter(refresh=60)

    assert [polled.register(MONDAY + seconds) for seconds in (0, 59, 60, 900, 1799, 1800)] == [0, 0, 3, 50, 96, 100]


def test_a_register_rolls_over_at_its_dials() -> None:
    rolling = meter(faults=(Rollover(dials=8, left_wh=250),))

    assert [rolling.register(MONDAY + slot * HALF_HOUR) for slot in range(4)] == [
        99_999_750,
        99_999_850,
        99_999_850,
        210,
    ]


def test_a_register_beyond_its_dials_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit 2 dials"):
        meter(dials=2, register_start=100)


def test_rows_are_stamped_at_the_end_and_appear_when_closed() -> None:
    now = MONDAY + 2 * HALF_HOUR

    assert meter().rows(now - 1) == [(MONDAY + HALF_HOUR, 100)]
    assert meter().rows(now) == [(MONDAY + HALF_HOUR, 100), (now, 0)]


def test_rows_within_a_range_include_both_ends_and_skip_what_the_source_lacks() -> None:
    late = MONDAY + 10**6
    first, last = MONDAY + 3 * HALF_HOUR, MONDAY + 5 * HALF_HOUR

    assert meter().rows(late, first, last) == [(first, 360), (last, 7)]
    assert meter().rows(late, first + 1, last - 1) == []
    assert len(meter().rows(late)) == 5


def test_missing_rows_are_gone_from_the_profile_and_counted_by_the_register() -> None:
    holed = meter(faults=(MissingRows(MONDAY, MONDAY + HALF_HOUR),))
    late = MONDAY + 10**6

    assert [wh for _, wh in holed.rows(late)] == [0, 360, 7, 900]
    assert holed.register(late) == 1367


def test_without_power_a_meter_is_silent_draws_nothing_and_writes_no_rows() -> None:
    whole = meter()
    cut = PowerCut(MONDAY + HALF_HOUR // 2, MONDAY + 3 * HALF_HOUR + HALF_HOUR // 2)
    dark = meter(faults=(cut,))

    rows = [dark.row(MONDAY + slot * HALF_HOUR) for slot in range(6)]

    assert rows[:3] == [None] * 3
    assert rows[4:] == [whole.row(MONDAY + slot * HALF_HOUR) for slot in (4, 5)]
    assert dark.register_at(cut.start) == dark.register_at(cut.end) == whole.register_at(cut.start)
    drawn = whole.register_at(MONDAY + 6 * HALF_HOUR) - whole.register_at(cut.end)
    assert dark.register_at(MONDAY + 6 * HALF_HOUR) - dark.register_at(cut.end) == drawn
    assert [dark.is_silent(at) for at in (cut.start - 1, cut.start, cut.end - 1, cut.end)] == [False, True, True, False]


def test_a_meter_says_what_happened_in_its_intervals() -> None:
    busy = meter(
        faults=(
            PowerCut(MONDAY + 60, MONDAY + HALF_HOUR), ClockSet(MONDAY + 2 * HALF_HOUR, by=40),
            TestMode(MONDAY + 2 * HALF_HOUR, MONDAY + 3 * HALF_HOUR),
        )
    )  # fmt: skip

    assert [busy.said_of(MONDAY + slot * HALF_HOUR) for slot in range(4)] == [
        {Meaning.POWER_FAILURE}, set(), {Meaning.CLOCK_SET, Meaning.TEST_MODE}, set()
    ]  # fmt: skip
    assert [busy.clock(at) - at for at in (MONDAY, MONDAY + 2 * HALF_HOUR)] == [40, 0]


def test_a_drifting_clock_is_ahead_and_closes_intervals_early() -> None:
    fast = meter(faults=(ClockDrift(start=MONDAY, offset=240, ppm=1000),))

    assert fast.clock(MONDAY - 1) == MONDAY - 1
    assert fast.clock(MONDAY + 1000) == MONDAY + 1241
    assert fast.rows(MONDAY + HALF_HOUR - 241) == [(MONDAY + HALF_HOUR, 100)]


def test_a_silent_meter_is_silent_for_its_span_only() -> None:
    silent = meter(faults=(Silent(MONDAY + 10, MONDAY + 20),))

    assert [silent.is_silent(MONDAY + second) for second in (9, 10, 19, 20)] == [False, True, True, False]
    assert meter(faults=(Dead(),)).is_silent(MONDAY)


def test_noise_is_the_same_for_the_same_seed_and_none_outside_its_span() -> None:
    noise = (Noise(start=MONDAY, end=MONDAY + 10, before=2, flips=500_000),)
    answers = [faults.disturb(noise, bytes(100), MONDAY, random.Random(4)) for _ in range(2)]

    assert answers[0] == answers[1]
    assert len(answers[0]) == 102
    assert 30 < sum(byte != 0 for byte in answers[0][2:]) < 70
    assert faults.disturb(noise, bytes(100), MONDAY + 10, random.Random(4)) == bytes(100)


def test_a_swap_puts_another_device_with_an_empty_memory_at_the_address() -> None:
    swap_at = MONDAY + 2 * HALF_HOUR
    swapped = position("17", meter(register_start=5000, faults=(MeterSwap(at=swap_at, serial=99),)), "SIM:{}")
    before, after = swapped.at(swap_at - 1), swapped.at(swap_at)

    assert (before.name, after.name) == ("SIM:7", "SIM:99")
    assert before.register(swap_at) == 5100
    assert after.register(swap_at) == 0
    assert after.register(swap_at + HALF_HOUR) == 360
    assert after.rows(swap_at + HALF_HOUR) == [(swap_at + HALF_HOUR, 360)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dead", Dead()),
        ("silent,start=+60,end=+120", Silent(MONDAY + 60, MONDAY + 120)),
        ("missing-rows, start=2026-03-02T00:00Z, end=2026-03-02T02:00+01:00", MissingRows(MONDAY, MONDAY + 3600)),
        ("drift,offset=-90", ClockDrift(offset=-90)),
        ("rollover,dials=8,left_wh=500", Rollover(8, 500)),
        ("swap,at=+5,serial=9", MeterSwap(MONDAY + 5, 9)),
        ("power-cut,start=+60,end=+7200", PowerCut(MONDAY + 60, MONDAY + 7200)),
        ("clock-set,at=+60,by=-20", ClockSet(MONDAY + 60, -20)),
        ("test-mode,start=+60,end=+120", TestMode(MONDAY + 60, MONDAY + 120)),
    ],
)
def test_a_fault_is_declared_in_words(text: str, expected: object) -> None:
    assert parse_fault(text, MONDAY) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deaf", "known: dead, silent"),
        ("silent,until=+5", "it has: start, end"),
        ("rollover,dials=8", "needs left_wh"),
        ("swap,at=2026-03-02T00:00,serial=1", "has no zone"),
        ("drift,offset=much", "much"),
    ],
)
def test_a_fault_that_cannot_be_read_says_what_can(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_fault(text, MONDAY)
