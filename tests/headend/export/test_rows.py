"""One row per expected slot, whatever its state."""

from decimal import Decimal

import pytest

from drivers.units import ScalerUnit, Unit
from headend.errors import ExportError
from headend.export.readings import Freshness, rows_of
from headend.export.rows import Row, instant, printed_scale, printed_unit, printed_value, word
from headend.export.source import channels
from headend.registry.model import EndDevice, Installation
from kernels.quality import Reason, Rule, State
from tests.headend.export.fakes import DAY, IMPORT, MIDNIGHT, WH, FakeStore, house, lose, validate


def all_rows(store: FakeStore, start: int = MIDNIGHT, end: int = MIDNIGHT + 2 * DAY) -> list[Row]:
    return [row for channel in channels(store, None, None, start, end) for row in rows_of(store, channel, Freshness())]


def test_every_expected_slot_has_exactly_one_row() -> None:
    store = house()
    lose(store.raw[1, IMPORT], 10, 14, Reason.NO_ANSWER)

    rows = all_rows(store)

    assert [row.start for row in rows] == list(range(MIDNIGHT, MIDNIGHT + 2 * DAY, 1_800))
    assert {row.source for row in rows} == {"raw"}


def test_missing_slot_has_its_cause_and_no_value() -> None:
    store = house()
    lose(store.raw[1, IMPORT], 10, 11, Reason.NO_ROW)

    row = all_rows(store)[10]

    assert (row.state, row.reason, row.method, row.value) == (State.MISSING, Reason.NO_ROW, Reason.NONE, None)


def test_slot_outside_the_expectation_has_no_row() -> None:
    store = house()
    store.raw[1, IMPORT].state[5] = State.NOT_EXPECTED

    rows = all_rows(store)

    assert len(rows) == 95
    assert MIDNIGHT + 5 * 1_800 not in {row.start for row in rows}


def test_day_with_a_version_comes_from_the_validated_layer() -> None:
    store = house()
    series = validate(store)
    series.values[3] = 777
    series.rules[3] = Rule.SPIKE | Rule.RANGE
    series.state[3] = State.QUESTIONABLE

    row = all_rows(store)[3]

    assert (row.value, row.version, row.source) == (Decimal("0.777"), 1, "validated")
    assert row.rules == Rule.SPIKE | Rule.RANGE


def test_day_without_version_falls_back_to_raw() -> None:
    store = house()
    validate(store)
    del store.version_of[1, IMPORT, MIDNIGHT // DAY]

    rows = all_rows(store)

    assert [row.source for row in rows] == ["raw"] * 20 + ["validated"] * 76


def test_estimate_names_its_method_and_what_was_missing() -> None:
    store = house()
    lose(store.raw[1, IMPORT], 4, 6, Reason.POWER_OFF)
    series = validate(store)
    series.state[4:6] = State.ESTIMATED
    series.reason[4:6] = Reason.LINEAR
    series.values[4:6] = 5

    row = all_rows(store)[4]

    assert (row.method, row.reason, row.value) == (Reason.LINEAR, Reason.POWER_OFF, Decimal("0.005"))


def test_expected_slot_that_validation_skipped_is_taken_from_raw() -> None:
    store = house()
    validate(store).state[7] = State.NOT_EXPECTED

    rows = all_rows(store)

    assert len(rows) == 96
    assert [row.source for row in rows[6:9]] == ["validated", "raw", "validated"]


def test_value_that_arrived_after_validation_is_counted() -> None:
    store = house()
    lose(validate(store), 0, 3, Reason.NO_ROUTE)
    freshness = Freshness()

    list(rows_of(store, channels(store, None, None, MIDNIGHT, MIDNIGHT + DAY)[0], freshness))

    assert freshness.slots == 3


def test_multiplier_is_applied_to_raw_and_not_twice_to_validated() -> None:
    store = house(multiplier=40)
    raw = all_rows(store)[95].value
    validate(store)

    validated = all_rows(store)[95].value

    assert raw == Decimal("3.800")
    assert validated == Decimal("0.095")


def test_meter_swap_changes_the_meter_and_not_the_usage_point() -> None:
    store = house()
    swap = MIDNIGHT + DAY + 3_600
    store.installed = [Installation(1, 1, MIDNIGHT, swap), Installation(1, 2, swap)]
    store.meters.append(EndDevice(2, "HED0000000000002", "m", 1, "2"))
    old = store.expected[0]
    store.expected.append(type(old)(2, IMPORT, 1_800, 0, WH, "load_profile", MIDNIGHT))
    store.raw[2, IMPORT] = store.raw[1, IMPORT]

    rows = all_rows(store)

    assert [row.meter for row in rows] == ["HED0000000000001"] * 50 + ["HED0000000000002"] * 46
    assert {row.usage_point for row in rows} == {"NAAAMYS582"}


def test_two_meters_at_once_on_one_channel_are_refused() -> None:
    store = house()
    house("OTHER", store=store)
    store.installed[1] = Installation(1, 2, MIDNIGHT + DAY)

    with pytest.raises(ExportError, match="both deliver 1-0:1"):
        all_rows(store)


def test_grid_with_an_offset_keeps_every_slot() -> None:
    store = house(period=3_600, start=MIDNIGHT + 1_800)

    rows = all_rows(store, MIDNIGHT, MIDNIGHT + 3 * DAY)

    assert len(rows) == 48
    assert rows[0].start == MIDNIGHT + 1_800


def test_unknown_usage_point_is_named() -> None:
    with pytest.raises(ExportError, match="no such usage point: NOBODY"):
        channels(house(), ["NOBODY"], None, MIDNIGHT, MIDNIGHT + DAY)


def test_channel_that_nobody_has_is_named() -> None:
    with pytest.raises(ExportError, match=r"no usage point has channel 1-0:9\.29\.0\*255"):
        channels(house(), None, [type(IMPORT).parse("9.29.0")], MIDNIGHT, MIDNIGHT + DAY)


def test_nothing_expected_is_an_error_and_not_an_empty_file() -> None:
    with pytest.raises(ExportError, match="nothing to export"):
        channels(house(), None, None, MIDNIGHT + 10 * DAY, MIDNIGHT + 11 * DAY)


@pytest.mark.parametrize(
    ("count", "scaler_unit", "value", "unit"),
    [
        (441, ScalerUnit(0, Unit.WATT_HOUR), "0.441", "kWh"),
        (441, ScalerUnit(-1, Unit.WATT_HOUR), "0.0441", "kWh"),
        (440, ScalerUnit(0, Unit.WATT_HOUR), "0.440", "kWh"),
        (-7, ScalerUnit(1, Unit.VAR_HOUR), "-0.07", "kvarh"),
        (5, ScalerUnit(3, Unit.WATT_HOUR), "5", "kWh"),
        (5, ScalerUnit(5, Unit.VOLT_AMPERE_HOUR), "500", "kVAh"),
        (2301, ScalerUnit(-1, Unit.VOLT), "230.1", "V"),
        (2**31 - 1, ScalerUnit(-3, Unit.WATT_HOUR), "2147.483647", "kWh"),
    ],
)
def test_value_is_printed_exactly_in_thousands_for_energy(
    count: int, scaler_unit: ScalerUnit, value: str, unit: str
) -> None:
    assert format(printed_value(count, printed_scale(scaler_unit)), "f") == value
    assert printed_unit(scaler_unit.unit) == unit


def test_instant_is_written_in_utc() -> None:
    assert instant(MIDNIGHT) == "2023-12-31T14:00:00Z"


def test_codes_of_equal_number_keep_their_own_words() -> None:
    words = [(word(state), word(Reason(int(state)))) for state in State]

    assert words[1:] == [
        ("expected", "not_due"),
        ("measured", "no_route"),
        ("questionable", "no_answer"),
        ("estimated", "line_noise"),
        ("edited", "wrong_meter"),
        ("missing", "refused"),
    ]
