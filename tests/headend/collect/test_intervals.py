import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.facts import RegisterValue
from drivers.profile import ChannelProfile
from drivers.units import ScalerUnit, Unit
from headend.collect.intervals import Derived, derive
from kernels.quality import Rule
from tests.headend.collect.builders import HALF_HOUR, IMPORT_REGISTER, MIDNIGHT, WH, channel

CHANNEL = channel("register", upper=10_000, dials=8, boundary_tolerance=30)


def reading(at: int, count: int, scaler_unit: ScalerUnit = WH, rules: Rule = Rule(0)) -> RegisterValue:
    return RegisterValue(IMPORT_REGISTER, count, scaler_unit, MIDNIGHT + at, rules=rules)


def slots(what: ChannelProfile, *readings: RegisterValue, count: int) -> Derived:
    return derive(what, readings, MIDNIGHT, MIDNIGHT + count * HALF_HOUR)


def test_two_polls_just_after_their_boundaries_make_one_exact_interval() -> None:
    derived = slots(CHANNEL, reading(2, 1_000), reading(HALF_HOUR + 5, 1_250), count=1)

    assert derived.block.counts == (250,)
    assert not derived.rejected


def test_a_poll_beyond_the_tolerance_leaves_both_neighbours_empty_and_no_spike() -> None:
    derived = slots(
        CHANNEL,
        reading(0, 1_000),
        reading(HALF_HOUR + 31, 1_250),
        reading(2 * HALF_HOUR, 1_500),
        reading(3 * HALF_HOUR, 1_700),
        count=3,
    )

    assert derived.block.counts == (None, None, 200)
    assert not derived.doubted


def test_an_early_poll_does_not_count_for_the_boundary_after_it() -> None:
    derived = slots(CHANNEL, reading(0, 1_000), reading(HALF_HOUR - 1, 1_250), count=1)

    assert derived.block.counts == (None,)


def test_a_missed_poll_leaves_a_lump_in_the_registers_not_in_a_slot() -> None:
    derived = slots(CHANNEL, reading(0, 0), reading(HALF_HOUR, 300), reading(3 * HALF_HOUR, 900), count=3)

    assert derived.block.counts == (300, None, None)


def test_rollover_is_counted_through_zero() -> None:
    derived = slots(CHANNEL, reading(0, 99_999_900), reading(HALF_HOUR, 150), reading(2 * HALF_HOUR, 400), count=2)

    assert derived.block.counts == (250, 250)
    assert not derived.rejected


def test_a_drop_that_no_rollover_explains_is_neither_negative_nor_a_spike() -> None:
    derived = slots(CHANNEL, reading(0, 50_000_000), reading(HALF_HOUR, 49_999_000), count=1)

    assert derived.block.counts == (None,)
    assert derived.doubted == {MIDNIGHT}
    assert "fell from 50000000 to 49999000 Wh" in derived.rejected[0].what


def test_a_transient_zero_does_not_book_the_lifetime_register() -> None:
    derived = slots(
        CHANNEL,
        reading(0, 50_000_000),
        reading(HALF_HOUR, 0),
        reading(2 * HALF_HOUR, 50_000_300),
        reading(3 * HALF_HOUR, 50_000_400),
        count=3,
    )

    assert derived.block.counts == (None, None, 100)
    assert derived.doubted == {MIDNIGHT, MIDNIGHT + HALF_HOUR}


def test_a_zero_that_lasts_is_not_booked_either() -> None:
    readings = [reading(0, 50_000_000), *(reading(i * HALF_HOUR, 0) for i in (1, 2, 3))]

    derived = slots(CHANNEL, *readings, reading(4 * HALF_HOUR, 50_000_300), count=4)

    assert derived.block.counts == (None, None, None, None)


def test_a_zero_in_the_first_reading_of_all_is_not_booked() -> None:
    derived = slots(
        CHANNEL,
        reading(0, 0),
        reading(HALF_HOUR, 50_000_000),
        reading(2 * HALF_HOUR, 50_000_100),
        reading(3 * HALF_HOUR, 50_000_300),
        count=3,
    )

    assert derived.block.counts == (None, 100, 200)


def test_a_register_that_starts_anew_goes_on_from_there() -> None:
    derived = slots(
        CHANNEL,
        reading(0, 50_000_000),
        reading(HALF_HOUR, 0),
        reading(2 * HALF_HOUR, 70),
        reading(3 * HALF_HOUR, 90),
        count=3,
    )

    assert derived.block.counts == (None, 70, 20)
    assert [item.what for item in derived.rejected][1:] == ["register started anew at 0"]


def test_an_ambiguous_rollover_is_not_assumed() -> None:
    small = channel("register", upper=600, dials=3, boundary_tolerance=30)

    derived = slots(small, reading(0, 900), reading(HALF_HOUR, 100), count=1)

    assert derived.block.counts == (None,)


def test_a_register_finer_than_its_channel_loses_no_energy_over_time() -> None:
    tenths = ScalerUnit(-1, Unit.WATT_HOUR)

    derived = slots(
        CHANNEL,
        *(reading(i * HALF_HOUR, count, tenths) for i, count in enumerate((1_005, 1_010, 1_019, 1_025))),
        count=3,
    )

    assert derived.block.counts == (1, 0, 1)


def test_rules_of_both_readings_stand_on_the_interval() -> None:
    derived = slots(CHANNEL, reading(0, 0, rules=Rule.FLOAT_RESOLUTION), reading(HALF_HOUR, 1), count=1)

    assert derived.block.rules == (Rule.FLOAT_RESOLUTION,)


def test_a_register_in_another_unit_is_refused() -> None:
    var = ScalerUnit(0, Unit.VAR_HOUR)

    with pytest.raises(ValueError, match="in varh, its channel in Wh"):
        slots(CHANNEL, reading(0, 0, var), count=1)


@given(
    start=st.integers(0, 10**8 - 1),
    steps=st.lists(st.integers(0, 10_000), min_size=1, max_size=60),
    late=st.lists(st.integers(0, 30), min_size=61, max_size=61),
)
def test_exact_intervals_telescope_to_the_register_difference_also_over_rollovers(
    start: int, steps: list[int], late: list[int]
) -> None:
    total = [start]
    for step in steps:
        total.append(total[-1] + step)
    readings = [reading(i * HALF_HOUR + late[i], count % 10**8) for i, count in enumerate(total)]

    derived = slots(CHANNEL, *readings, count=len(steps))

    assert derived.block.counts == tuple(steps)
    assert not derived.rejected


@given(
    counts=st.lists(st.one_of(st.none(), st.integers(0, 10**8 - 1)), min_size=2, max_size=40),
    late=st.lists(st.integers(-40, 60), min_size=40, max_size=40),
)
def test_no_readings_whatever_make_a_negative_or_implausible_interval(
    counts: list[int | None], late: list[int]
) -> None:
    readings = [
        reading(HALF_HOUR + i * HALF_HOUR + late[i], count) for i, count in enumerate(counts) if count is not None
    ]

    derived = slots(CHANNEL, *readings, count=len(counts) + 2)

    assert all(count is None or 0 <= count <= 2 * CHANNEL.upper for count in derived.block.counts)
