"""From COSEM objects to facts: grids, stamps, scalers, and every way a row can be odd."""

from decimal import Decimal

import pytest

from drivers.dlms import axdr, objects
from drivers.dlms.axdr import NULL, Data, Tag
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.objects import CaptureObject, Column, Row
from drivers.errors import ProfileError, RemoteProtocolError
from drivers.facts import RegisterValue
from drivers.obis import Obis
from drivers.profile import ChannelProfile, ClockProfile, DlmsColumn, DlmsProfile, MeterProfile
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule

WATT_HOUR, TEN_WATT_HOURS = ScalerUnit(0, Unit.WATT_HOUR), ScalerUnit(1, Unit.WATT_HOUR)
INTERVALS, REGISTER = Obis.parse("1.29.0"), Obis.parse("1.8.0")
PERIOD = 1800
CHANNEL = ChannelProfile(INTERVALS, PERIOD, WATT_HOUR, "load_profile")
COLUMN = Column(0, DlmsColumn(INTERVALS, INTERVALS), TEN_WATT_HOURS)
START, END = ClockProfile(stamp="start"), ClockProfile(stamp="end")
DAY = 1_767_225_600
CLOCK = CaptureObject(8, Obis(0, 0, 1, 0, 0), 2)
CAPTURED = (CLOCK, CaptureObject(3, INTERVALS, 2))


def row(stamp: int, value: Data, *, doubtful: bool = False) -> Row:
    return Row(stamp, doubtful, (value,))


def stamp(instant: int) -> Data:
    return axdr.octet_string(CosemDateTime.from_utc(instant).encode())


def block(rows: list[Row], clock: ClockProfile = END, slots: int = 4) -> list[int | None]:
    made = objects.interval_block(COLUMN, CHANNEL, rows, clock, start=DAY, end=DAY + slots * PERIOD)
    assert (made.start, made.period, made.scaler_unit) == (DAY, PERIOD, WATT_HOUR)
    return list(made.counts)


def test_a_row_stamped_at_the_end_belongs_to_the_slot_before() -> None:
    rows = [row(DAY + PERIOD, axdr.unsigned(7)), row(DAY + 4 * PERIOD, axdr.unsigned(9))]

    assert block(rows) == [70, None, None, 90]


def test_a_row_stamped_at_the_start_belongs_to_the_slot_it_names() -> None:
    rows = [row(DAY, axdr.unsigned(7)), row(DAY + 4 * PERIOD, axdr.unsigned(9))]

    assert block(rows, START) == [70, None, None, None]


def test_rows_outside_the_window_or_off_the_grid_leave_no_value() -> None:
    rows = [row(DAY - PERIOD, axdr.unsigned(1)), row(DAY + PERIOD + 61, axdr.unsigned(2)), row(DAY, axdr.unsigned(3))]

    assert block(rows) == [None] * 4


def test_two_rows_for_one_slot_keep_the_first_and_say_so_where_they_differ() -> None:
    rows = [row(DAY + PERIOD, axdr.unsigned(7)), row(DAY + PERIOD, axdr.unsigned(8))]
    rows += [row(DAY + 2 * PERIOD, axdr.unsigned(5)), row(DAY + 2 * PERIOD, axdr.unsigned(5))]

    made = objects.interval_block(COLUMN, CHANNEL, rows, END, start=DAY, end=DAY + 2 * PERIOD)

    assert made.counts == (70, 50)
    assert made.rules == (Rule.CONFLICT, Rule(0))


def test_a_row_the_meter_doubts_is_marked() -> None:
    made = objects.interval_block(
        COLUMN, CHANNEL, [row(DAY + PERIOD, axdr.unsigned(7), doubtful=True)], END, start=DAY, end=DAY + PERIOD
    )

    assert made.rules == (Rule.METER_STATUS,)


def test_a_count_that_the_channel_cannot_hold_exactly_is_never_rounded() -> None:
    column = Column(0, COLUMN.wanted, ScalerUnit(-1, Unit.WATT_HOUR))
    rows = [row(DAY + PERIOD, axdr.unsigned(70)), row(DAY + 2 * PERIOD, axdr.unsigned(71))]

    made = objects.interval_block(column, CHANNEL, rows, END, start=DAY, end=DAY + 2 * PERIOD)

    assert (made.counts, made.rules) == ((7, None), (Rule(0), Rule.RANGE))


@pytest.mark.parametrize(
    "value",
    [
        Data(Tag.LONG64, 2**40),
        Data(Tag.DOUBLE_LONG_UNSIGNED, 2**32 - 1),
        axdr.octet_string(b"5"),
        Data(Tag.FLOAT32, Decimal("NaN")),
        Data(Tag.FLOAT64, Decimal("1e300")),
    ],
)
def test_a_value_that_is_no_count_costs_its_own_slot_alone(value: Data) -> None:
    rows = [row(DAY + PERIOD, value), row(DAY + 2 * PERIOD, axdr.unsigned(5))]

    made = objects.interval_block(COLUMN, CHANNEL, rows, END, start=DAY, end=DAY + 2 * PERIOD)

    assert (made.counts, made.rules) == ((None, 50), (Rule.RANGE, Rule(0)))


def test_a_row_that_says_no_instant_costs_itself_and_what_counts_on_from_it() -> None:
    unspecified = axdr.octet_string(bytes.fromhex("ffffffffffffffffff800000"))
    stamps = (stamp(DAY + PERIOD), NULL, unspecified, NULL, None, stamp(DAY + 5 * PERIOD))
    buffer = axdr.array([NULL if at is None else axdr.structure(at, axdr.unsigned(5)) for at in stamps])

    rows = objects.decode_rows(buffer, CAPTURED, PERIOD, END)

    assert [item.stamp for item in rows] == [DAY + PERIOD, DAY + 2 * PERIOD, DAY + 5 * PERIOD]


def test_a_float_is_quantised_half_to_even_and_marked_where_float32_is_coarser() -> None:
    even, _ = objects.decode_count(Data(Tag.FLOAT32, Decimal("2.5")), WATT_HOUR, WATT_HOUR, "x")
    scaled, fine = objects.decode_count(Data(Tag.FLOAT32, Decimal("1.5")), TEN_WATT_HOURS, WATT_HOUR, "x")
    _, coarse = objects.decode_count(Data(Tag.FLOAT32, Decimal(2**24 + 2)), WATT_HOUR, WATT_HOUR, "x")
    _, double = objects.decode_count(Data(Tag.FLOAT64, Decimal(2**24 + 2)), WATT_HOUR, WATT_HOUR, "x")

    assert (even, scaled) == (2, 15)
    assert (fine, coarse, double) == (Rule(0), Rule.FLOAT_RESOLUTION, Rule(0))


def test_a_window_off_the_grid_is_clipped_inwards() -> None:
    made = objects.interval_block(COLUMN, CHANNEL, [], END, start=DAY + 1, end=DAY + 3 * PERIOD + 5)

    assert (made.start, made.end) == (DAY + PERIOD, DAY + 3 * PERIOD)


def test_an_hourly_grid_in_a_zone_of_half_hours_is_shifted() -> None:
    india = ClockProfile(zone="Asia/Kolkata")

    assert objects.grid_offset(india, DAY, 3600) == 1800
    assert objects.grid_offset(india, DAY, 1800) == 0
    assert objects.grid_offset(ClockProfile(zone="Europe/Berlin"), DAY, 3600) == 0


def test_cumulative_columns_are_snapshots_at_the_end_of_their_interval() -> None:
    column = Column(0, DlmsColumn(REGISTER, REGISTER, cumulative=True), TEN_WATT_HOURS)
    rows = [
        row(DAY, axdr.unsigned(1)),
        row(DAY, axdr.unsigned(1)),
        row(DAY + 61, axdr.unsigned(2)),
        row(DAY + 9999, NULL),
    ]

    def read(clock: ClockProfile) -> list[RegisterValue]:
        return list(objects.register_values(column, rows, clock, PERIOD, start=DAY, end=DAY + 86_400))

    assert read(END) == [
        RegisterValue(REGISTER, 1, TEN_WATT_HOURS, DAY), RegisterValue(REGISTER, 2, TEN_WATT_HOURS, DAY + 61),
    ]  # fmt: skip
    assert [value.captured_at for value in read(START)] == [DAY + PERIOD, DAY + PERIOD + 61]


def test_null_data_repeats_the_value_before_and_a_null_first_value_stays_none() -> None:
    buffer = axdr.array(
        [axdr.structure(stamp(DAY + PERIOD), NULL), axdr.structure(NULL, axdr.unsigned(5)), axdr.structure(NULL, NULL)]
    )

    rows = objects.decode_rows(buffer, CAPTURED, PERIOD, END)

    assert [item.stamp for item in rows] == [DAY + PERIOD, DAY + 2 * PERIOD, DAY + 3 * PERIOD]
    assert [item.values[1].value for item in rows] == [None, 5, 5]


@pytest.mark.parametrize(
    ("captured", "buffer", "why"),
    [
        (CAPTURED, axdr.array([axdr.structure(NULL, NULL)]), "without a stamp"),
        (CAPTURED, axdr.array([axdr.structure(stamp(DAY))]), "1 values, expected 2"),
        (CAPTURED[1:], axdr.array([]), "no clock"),
        (CAPTURED, axdr.unsigned(1), "expected an array"),
        (CAPTURED, axdr.array([axdr.structure(axdr.octet_string(b"x"), NULL)]), "date-time of 1"),
    ],
)
def test_a_buffer_that_does_not_fit_its_columns_is_an_error(
    captured: tuple[CaptureObject, ...], buffer: Data, why: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        objects.decode_rows(buffer, captured, PERIOD, END)


@pytest.mark.parametrize(
    ("deviation", "zone", "first"),
    [
        ("meter", "UTC+10:00", "07ea0101ff0a000000fda800"),
        ("unspecified", "UTC+10:00", "07ea0101ff0a000000800000"),
        ("utc", "UTC+10:00", "07ea0101ff00000000000000"),
    ],
)
def test_a_range_is_written_as_the_model_wants_it(deviation: str, zone: str, first: str) -> None:
    clock = ClockProfile(zone=zone, range_deviation=deviation)  # type: ignore[arg-type]

    selection = objects.range_selection(DAY, DAY + PERIOD, clock)

    assert selection.parameters.items()[1].octets().hex() == first


def test_every_missing_column_is_named_at_once() -> None:
    profile = MeterProfile(
        "m", "dlms", "x", channels=(CHANNEL,),
        dlms=DlmsProfile(
            columns=(DlmsColumn(INTERVALS, INTERVALS), DlmsColumn(REGISTER, REGISTER), DlmsColumn(INTERVALS, REGISTER)),
            status=Obis.parse("0-0:96.10.1"),
        ),
    )  # fmt: skip

    with pytest.raises(ProfileError) as caught:
        objects.find_columns(profile, CAPTURED)

    assert len(caught.value.faults) == 3
    assert "not captured" in caught.value.faults[0]
    assert "no channel" in caught.value.faults[1]
    assert caught.value.faults[2].startswith("status: 0-0:96.10.1*255 is not captured")


def test_capture_objects_and_scaler_units_come_back_as_sent() -> None:
    assert objects.decode_capture_objects(axdr.array([item.encode() for item in CAPTURED])) == CAPTURED
    assert objects.decode_scaler_unit(objects.encode_scaler_unit(TEN_WATT_HOURS)) == TEN_WATT_HOURS


@pytest.mark.parametrize(
    "data", [axdr.structure(axdr.integer(0)), axdr.structure(axdr.integer(0), axdr.enum(200)), axdr.unsigned(1)]
)
def test_a_scaler_unit_not_understood_is_an_error(data: Data) -> None:
    with pytest.raises(RemoteProtocolError):
        objects.decode_scaler_unit(data)


@pytest.mark.parametrize("octets", [b"", b"\x00\x00", b"\xff\xfe", b"a\nb"])
def test_a_name_that_is_not_printable_is_an_error(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="printable"):
        objects.decode_text(axdr.octet_string(octets), "name")


@pytest.mark.parametrize(
    ("class_id", "attribute", "data_index"), [(70_000, 2, 0), (-1, 2, 0), (3, 128, 0), (3, 2, 70_000), (3, 2, -1)]
)
def test_a_column_that_no_request_could_name_is_an_error(class_id: int, attribute: int, data_index: int) -> None:
    numbers = [Data(Tag.LONG64, one) for one in (class_id, attribute, data_index)]
    column = axdr.structure(numbers[0], axdr.octet_string(INTERVALS.to_bytes()), *numbers[1:])

    with pytest.raises(RemoteProtocolError, match="is not"):
        objects.decode_capture_objects(axdr.array([column]))


def test_columns_are_selected_by_what_they_capture_or_by_their_numbers() -> None:
    column = objects.CaptureObject(3, Obis(1, 0, 1, 8, 0), 2)

    by_range = objects.range_selection(DAY, DAY + PERIOD, ClockProfile(), selected=(column,)).parameters.items()
    by_entry = objects.entry_selection(1, 10, 2, 3).parameters.items()

    assert by_range[3] == axdr.array([column.encode()])
    assert [item.integer() for item in by_entry] == [1, 10, 2, 3]
