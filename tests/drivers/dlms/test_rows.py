"""Rows by column and rows one by one give the same facts, the same errors, and ask the meter the same."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.dlms import axdr, objects
from drivers.dlms.axdr import NULL, Data, Tag
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.events import NeedData
from drivers.dlms.objects import CaptureObject, Column, Row
from drivers.dlms.rows import Buffer, Columns, Rows, whole_rows
from drivers.errors import RemoteProtocolError
from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.profile import ChannelProfile, ClockProfile, DlmsColumn
from drivers.status import Stated
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule
from tests.drivers.dlms.cases import load_all
from tests.kernels.profile_buffers import CLOCK, CLOCKS, DAY, PERIOD, STEPS, buffers

ENERGY = Obis.parse("1.29.0")
CAPTURED = [CLOCK, CaptureObject(3, ENERGY, 2)]
END = ClockProfile()
MANY = settings(max_examples=300)


def stamp(instant: int, status: int = 0) -> Data:
    return axdr.octet_string(CosemDateTime.from_utc(instant).encode()[:11] + bytes([status]))


def outcome_of(work: Callable[[], object]) -> str:
    try:
        return repr(work())
    except RemoteProtocolError as error:
        return f"error: {error}"


def channel(scaler: int) -> ChannelProfile:
    return ChannelProfile(ENERGY, PERIOD, ScalerUnit(scaler, Unit.WATT_HOUR), "load_profile")


def by_one(data: Data, captured: list[CaptureObject], step: int, clock: ClockProfile) -> list[Row]:
    objects.lacks_stamps(data, captured)
    return objects.decode_rows(data, captured, step, clock)


@MANY
@given(st.lists(buffers(), min_size=1, max_size=2), STEPS, CLOCKS, st.sampled_from([0, 0, 3, -3, -20, 12]), st.data())
def test_facts_are_the_same_whichever_way_the_rows_were_read(
    drawn: list[tuple[Data, list[CaptureObject]]], step: int, clock: ClockProfile, exponent: int, more: st.DataObject
) -> None:
    start = DAY + more.draw(st.integers(-2, 4)) * PERIOD // 2
    end = start + more.draw(st.integers(0, 9)) * PERIOD
    window: dict[str, Any] = {"start": start, "end": end}
    index = more.draw(st.integers(0, min(len(captured) for _, captured in drawn) - 1))
    column = Column(index, DlmsColumn(ENERGY, ENERGY), ScalerUnit(exponent, Unit.WATT_HOUR))

    def rows_by_column() -> Rows:
        pieces = Rows()
        for data, captured in drawn:
            pieces += Buffer(axdr.encode(data), captured, clock).rows(step)
        return pieces.between(start, end)

    def rows_by_one() -> list[Row]:
        rows: list[Row] = []
        for data, captured in drawn:
            rows += objects.decode_rows(axdr.decode(axdr.encode(data)), captured, step, clock)
        return [row for row in rows if start <= row.stamp <= end]

    for by_column, one_by_one in (
        (lambda: rows_by_column().one_by_one(), rows_by_one),
        (lambda: rows_by_column().stamps(), lambda: [row.stamp for row in rows_by_one()]),
        (
            lambda: rows_by_column().interval_block(column, channel(0), clock, **window),
            lambda: objects.interval_block(column, channel(0), rows_by_one(), clock, **window),
        ),
        (
            lambda: rows_by_column().register_values(column, clock, PERIOD, **window),
            lambda: list(objects.register_values(column, rows_by_one(), clock, PERIOD, **window)),
        ),
    ):
        assert outcome_of(by_column) == outcome_of(one_by_one)


@MANY
@given(buffers(), CLOCKS, st.data())
def test_octets_are_refused_at_once_or_say_whether_the_order_of_rows_must_be_asked(
    drawn: tuple[Data, list[CaptureObject]], clock: ClockProfile, more: st.DataObject
) -> None:
    data, captured = drawn
    octets = axdr.encode(data)
    octets = octets[: more.draw(st.integers(len(octets) - 2, len(octets)))]

    by_column = outcome_of(lambda: Buffer(octets, captured, clock).lacks_stamps)

    assert by_column == outcome_of(lambda: objects.lacks_stamps(axdr.decode(octets), captured))


def test_the_published_buffer_is_read_by_column() -> None:
    (case,) = load_all("dlms-profile")
    columns = [text.split(";") for text in case.expected["columns"]]
    captured = [CaptureObject(int(code), Obis.parse(name), int(index)) for code, name, index in columns]
    step = case.expected["capture_period_s"]
    buffer = Buffer(case.frame, captured, END)

    rows = buffer.rows(step)

    assert buffer.lacks_stamps
    assert isinstance(rows._pieces[0], Columns)
    assert rows.one_by_one() == objects.decode_rows(axdr.decode(case.frame), captured, step, END)


ODD: dict[str, tuple[list[tuple[Data, Data]], int, list[int | None], list[Rule]]] = {
    "filler": (
        [(stamp(DAY + PERIOD), Data(Tag.DOUBLE_LONG_UNSIGNED, 2**32 - 1)), (stamp(DAY + 2 * PERIOD), axdr.unsigned(5))],
        0, [None, 5], [Rule.RANGE, Rule(0)],
    ),
    "no number": ([(stamp(DAY + PERIOD), axdr.octet_string(b"5")), (stamp(DAY + 2 * PERIOD), axdr.unsigned(5))],
        0, [None, 5], [Rule.RANGE, Rule(0)],
    ),
    "doubled, differing": ([(stamp(DAY + PERIOD), axdr.unsigned(4)), (stamp(DAY + PERIOD), axdr.unsigned(5))],
        0, [4, None], [Rule.CONFLICT, Rule(0)],
    ),
    "doubled, equal": ([(stamp(DAY + PERIOD), axdr.unsigned(4)), (stamp(DAY + PERIOD), axdr.enum(4))], 0, [4, None], []),
    "out of order": ([(stamp(DAY + 2 * PERIOD), axdr.unsigned(4)), (stamp(DAY + PERIOD), axdr.unsigned(5))], 0, [5, 4], []),
    "null stamps, newest first": ([(stamp(DAY + 2 * PERIOD), axdr.unsigned(4)), (NULL, NULL)], -PERIOD, [4, 4], []),
    "null stamps": ([(stamp(DAY + PERIOD), axdr.unsigned(4)), (NULL, Data(Tag.DELTA_INTEGER, -3))], PERIOD, [4, 1], []),
    "doubted": ([(stamp(DAY + PERIOD, 2), axdr.unsigned(4)), (NULL, NULL)], PERIOD, [4, 4], [Rule.METER_STATUS] * 2),
    "status not specified": ([(stamp(DAY + PERIOD, 255), axdr.unsigned(4))], 0, [4, None], []),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_rows_cost_their_own_slot_alone(name: str) -> None:
    items, step, counts, rules = ODD[name]
    octets = axdr.encode(axdr.array([axdr.structure(*pair) for pair in items]))
    column = Column(1, DlmsColumn(ENERGY, ENERGY), ScalerUnit(0, Unit.WATT_HOUR))

    rows = Buffer(octets, CAPTURED, END).rows(step)
    block = rows.interval_block(column, channel(0), END, start=DAY, end=DAY + 2 * PERIOD)

    assert isinstance(rows._pieces[0], Columns)
    assert block == IntervalBlock(ENERGY, column.scaler_unit, DAY, PERIOD, tuple(counts), tuple(rules))


@pytest.mark.parametrize(
    "item", [Data(Tag.LONG64_UNSIGNED, 2**64 - 1), Data(Tag.UTF8_STRING, "x"), axdr.array([NULL]), axdr.structure()]
)
def test_what_the_kernel_does_not_handle_costs_its_own_slot_alone_too(item: Data) -> None:
    pairs = [(stamp(DAY + PERIOD), item), (stamp(DAY + 2 * PERIOD), axdr.unsigned(5))]
    octets = axdr.encode(axdr.array([axdr.structure(*pair) for pair in pairs]))
    column = Column(1, DlmsColumn(ENERGY, ENERGY), ScalerUnit(0, Unit.WATT_HOUR))

    rows = Buffer(octets, CAPTURED, END).rows(0)

    assert not isinstance(rows._pieces[0], Columns)
    block = rows.interval_block(column, channel(0), END, start=DAY, end=DAY + 2 * PERIOD)
    assert (block.counts, block.rules) == ((None, 5), (Rule.RANGE, Rule(0)))


@MANY
@given(buffers(), STEPS, CLOCKS, st.data())
def test_the_beginning_of_a_buffer_gives_the_rows_that_are_there_whole(
    drawn: tuple[Data, list[CaptureObject]], step: int, clock: ClockProfile, more: st.DataObject
) -> None:
    data, captured = drawn
    octets = axdr.encode(data)
    data = axdr.decode(octets)  # floats as Decimal
    cut = octets[: more.draw(st.integers(0, len(octets) - 1))]
    count, behind = axdr.parse_length(octets, 1)
    ends = [behind]
    for _ in range(count):
        outcome = axdr.parse(octets, ends[-1])
        assert not isinstance(outcome, NeedData)
        ends.append(outcome[1])
    there = sum(end <= len(cut) for end in ends[1:])

    beginning = whole_rows(cut)

    expected = axdr.array(data.items()[:there])
    assert repr(axdr.decode(beginning)) == repr(expected)
    assert outcome_of(lambda: Buffer(beginning, captured, clock).rows(step).one_by_one()) == outcome_of(
        lambda: objects.decode_rows(expected, captured, step, clock)
    )


@given(st.binary(max_size=40))
def test_octets_of_nobody_have_no_beginning_or_are_an_error(octets: bytes) -> None:
    try:
        found = whole_rows(octets)
    except RemoteProtocolError:
        return
    assert isinstance(axdr.decode(found).items(), tuple)


@MANY
@given(buffers(), STEPS, CLOCKS)
def test_the_types_of_columns_are_the_same_whichever_way_the_rows_were_read(
    drawn: tuple[Data, list[CaptureObject]], step: int, clock: ClockProfile
) -> None:
    data, captured = drawn
    try:
        rows = Buffer(axdr.encode(data), captured, clock).rows(step)
    except RemoteProtocolError:
        return

    assert rows.types() == Rows((by_one(data, captured, step, clock),)).types()


STATUS = CaptureObject(1, Obis.parse("0-0:96.10.1"), 2)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (axdr.unsigned(0x80), 0x80),
        (axdr.double_long_unsigned(0x8000_0001), 0x8000_0001),
        (Data(Tag.INTEGER, -128), 0x80),
        (Data(Tag.LONG64_UNSIGNED, 2**32 + 4), 4),  # no layout explains bits beyond 32
        (Data(Tag.BIT_STRING, "00000101"), 0xA0),  # numbered from the first
        (axdr.octet_string(bytes((1, 2))), 0x0102),
        (NULL, 0),
        (Data(Tag.VISIBLE_STRING, "x"), 0),
    ],
)
def test_a_status_column_is_read_whatever_its_type_and_whichever_way(data: Data, word: int) -> None:
    captured = [CLOCK, CaptureObject(3, ENERGY, 2), STATUS]
    rows = axdr.array(
        [
            axdr.structure(stamp(DAY + PERIOD * slot), axdr.unsigned(slot), axdr.unsigned(0) if slot == 1 else data)
            for slot in (1, 2)
        ]
    )
    octets = axdr.encode(rows)

    by_column = Buffer(octets, captured, END).rows(0)
    one_by_one = Rows((objects.decode_rows(rows, captured, 0, END),))

    expected = [Stated(DAY + 2 * PERIOD, word)] if word else []
    assert by_column.stated(2) == one_by_one.stated(2) == expected


@pytest.mark.parametrize(
    ("wanted", "names", "index"),
    [
        (None, ["0-0:1.0.0", "0-0:96.10.1", "1-0:1.29.0"], 1),
        (None, ["0-0:1.0.0", "1-0:96.10.2"], 1),
        (None, ["0-0:1.0.0", "0-0:96.10.1", "0-0:96.10.2"], None),  # which one of them nobody knows
        (None, ["0-0:1.0.0", "0-0:96.5.1"], None),
        ("0-0:96.10.2", ["0-0:1.0.0", "0-0:96.10.1", "0-0:96.10.2"], 2),
        ("0-0:96.5.1", ["0-0:96.5.1"], 0),
        ("0-0:96.10.7", ["0-0:96.10.1"], None),
    ],
)
def test_the_status_column_is_the_one_named_or_the_only_one(
    wanted: str | None, names: list[str], index: int | None
) -> None:
    captured = [CaptureObject(1, Obis.parse(name), 2) for name in names]

    assert objects.find_status(Obis.parse(wanted) if wanted else None, captured) == index
