import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.facts import RegisterValue
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.vee.registers import RegisterPart, RegisterSpan, register_difference, register_spans, tolerance
from tests.headend.vee.series import MONDAY, WH

OBIS = Obis.parse("1-0:1.8.0*255")
KWH = ScalerUnit(3, Unit.WATT_HOUR)


def reading(after: int, count: int, scaler_unit: ScalerUnit = WH, uncertainty: int = 0) -> RegisterValue:
    return RegisterValue(OBIS, count, scaler_unit, MONDAY + after, uncertainty)


def spans(*readings: RegisterValue, multiplier: int = 1, longest: int = 86_400) -> list[RegisterSpan]:
    return register_spans(
        readings, start=MONDAY, period=900, slots=96, scaler_unit=WH, within=10, longest=longest, multiplier=multiplier
    )


def test_registers_near_boundaries_make_spans_of_whole_slots() -> None:
    found = spans(reading(-3, 100), reading(1802, 150), reading(86_400, 900))

    assert found == [RegisterSpan(0, 2, 50, 1), RegisterSpan(2, 96, 750, 1)]


@pytest.mark.parametrize(("after", "uncertainty"), [(911, 0), (889, 0), (905, 6), (450, 0), (-900, 0), (87_300, 0)])
def test_register_off_the_boundary_or_the_window_makes_no_span(after: int, uncertainty: int) -> None:
    assert spans(reading(0, 1), reading(after, 5, uncertainty=uncertainty), reading(1800, 9)) == [
        RegisterSpan(0, 2, 8, 1)
    ]


def test_nearest_of_several_reads_at_one_boundary_counts_then_the_earlier() -> None:
    assert spans(reading(0, 1), reading(893, 4), reading(898, 5), reading(902, 6)) == [RegisterSpan(0, 1, 4, 1)]


def test_register_that_went_down_makes_no_span_and_none_next_to_the_fall() -> None:
    turned = [reading(900 * slot, count % 1_000_000) for slot, count in enumerate(range(999_940, 1_000_060, 20))]

    assert spans(*turned) == [RegisterSpan(0, 1, 20, 1), RegisterSpan(4, 5, 20, 1)]


@pytest.mark.parametrize("zeros", [1, 2, 3])
def test_register_misread_as_zero_never_makes_itself_the_energy_of_a_span(zeros: int) -> None:
    counts = [5_000, 5_100, *([0] * zeros), 5_500, 5_600]

    found = spans(*(reading(900 * slot, count) for slot, count in enumerate(counts)))

    assert found == [RegisterSpan(zeros + 2, zeros + 3, 100, 1)]


def test_register_misread_once_as_too_high_makes_no_span() -> None:
    counts = [5_000, 5_100, 9_000, 5_300, 5_400, 5_500]

    found = spans(*(reading(900 * slot, count) for slot, count in enumerate(counts)))

    assert found == [RegisterSpan(0, 1, 100, 1), RegisterSpan(4, 5, 100, 1)]


def test_fall_further_off_than_the_longest_span_is_forgotten() -> None:
    counts = [50, 10, 10, 10, 40]

    found = spans(*(reading(900 * slot, count) for slot, count in enumerate(counts)), longest=2_700)

    assert found == [RegisterSpan(3, 4, 30, 1)]


def test_span_longer_than_the_rules_allow_is_left_out() -> None:
    assert spans(reading(0, 1), reading(2700, 5), reading(3600, 6), longest=1800) == [RegisterSpan(3, 4, 1, 1)]


def test_multiplier_and_coarser_scaler_apply_to_difference_and_resolution() -> None:
    found = spans(reading(0, 1, KWH), reading(900, 4, KWH), multiplier=80)

    assert found == [RegisterSpan(0, 1, 240_000, 80_000)]
    assert tolerance(found[0], counts=1, permille=5) == 80_000
    assert tolerance(found[0], counts=0, permille=5) == 1_200


def test_finer_register_is_rounded_half_up() -> None:
    tenth = ScalerUnit(-1, Unit.WATT_HOUR)

    assert [span.delta for span in spans(reading(0, 0, tenth), reading(900, 5, tenth), reading(1800, 9, tenth))] == [
        1,
        0,
    ]


def test_register_of_another_unit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="counts varh, its intervals Wh"):
        spans(reading(0, 1, ScalerUnit(0, Unit.VAR_HOUR)))


@given(st.lists(st.tuples(st.integers(-2000, 90_000), st.integers(0, 10**6)), max_size=30))
def test_spans_lie_in_order_within_the_series_and_never_overlap(drawn: list[tuple[int, int]]) -> None:
    found = spans(*(reading(after, count) for after, count in drawn))

    edges = [edge for span in found for edge in (span.first, span.last)]
    assert edges == sorted(edges)
    assert all(0 <= span.first < span.last <= 96 and span.delta >= 0 for span in found)


def rolled(counts: list[int], dials: int) -> list[int]:
    found = register_spans(
        [reading(900 * slot, count) for slot, count in enumerate(counts)],
        start=MONDAY, period=900, slots=96, scaler_unit=WH, within=10, longest=86_400, dials=dials,
    )  # fmt: skip
    return [span.delta for span in found]


def test_register_goes_round_its_dials_where_they_are_known() -> None:
    assert rolled([999_940, 999_980, 20, 60], 6) == [40, 40, 40]
    assert rolled([999_940, 999_980, 20, 60], 0) == []
    assert rolled([5_000, 5_100, 0, 5_300, 5_400, 5_500, 5_600], 6) == rolled(
        [5_000, 5_100, 0, 5_300, 5_400, 5_500, 5_600], 0
    )


def test_period_adds_up_across_a_swap_another_multiplier_and_a_rollover() -> None:
    parts = [
        RegisterPart(999_900, 100, WH, multiplier=40, dials=6),
        RegisterPart(100, 150, WH, multiplier=60, dials=6),
        RegisterPart(5, 8, KWH),
    ]

    assert register_difference(parts) == 200 * 40 + 50 * 60 + 3_000
    assert register_difference([]) == 0


@pytest.mark.parametrize(
    ("part", "what"),
    [
        (RegisterPart(5, 4, WH), "nobody knows its dials"),
        (RegisterPart(100, 4, WH, dials=2), "do not fit 2 dials"),
        (RegisterPart(1, 4, ScalerUnit(0, Unit.VAR_HOUR)), "one unit is needed"),
    ],
)
def test_period_that_cannot_be_added_up_is_refused(part: RegisterPart, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        register_difference([RegisterPart(1, 2, WH), part])


def test_digits_that_a_register_does_not_fit_are_not_believed() -> None:
    readings = reading(0, 123_400), reading(900, 124_900), reading(1800, 900)

    found = register_spans(
        readings, start=MONDAY, period=900, slots=96, scaler_unit=WH, within=10, longest=86_400, dials=3, dials_of=0
    )

    assert found == []  # 1500 counts forward and not 500, and then a fall: both spans are left out


def test_digits_count_in_the_channel_s_unit_and_behind_the_multiplier() -> None:
    readings = reading(0, 998, KWH), reading(900, 3, KWH)

    (span,) = register_spans(
        readings, start=MONDAY, period=900, slots=96, scaler_unit=WH, within=10, longest=86_400, multiplier=40,
        dials=6, dials_of=0,
    )  # fmt: skip

    assert span == RegisterSpan(0, 1, 5 * 40 * 1000, 40 * 1000)
