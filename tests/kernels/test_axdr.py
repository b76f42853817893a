"""The kernel against the Python codec, which is its twin: same rows, same errors, or an honest "not for me"."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drivers.dlms import axdr as codec
from drivers.dlms import objects
from drivers.dlms.axdr import NULL, Data, Tag
from drivers.dlms.datetime import find_zone
from drivers.dlms.objects import CaptureObject, Row
from drivers.dlms.rows import Columns
from drivers.errors import RemoteProtocolError
from drivers.profile import ClockProfile
from kernels import axdr
from tests.kernels.profile_buffers import CLOCK, CLOCKS, DAY, PERIOD, STEPS, buffers, compact, compact_buffers

CAPTURED = [CLOCK, CaptureObject(3, objects.CLOCK_OBJECT, 2)]
MANY = settings(max_examples=4 * settings().max_examples)


def by_kernel(octets: bytes, captured: list[CaptureObject], step: int, clock: ClockProfile) -> Columns | int:
    rows = axdr.count_rows(octets)
    if rows < 0:
        return rows
    shape = len(captured), rows
    values, types = np.full(shape, 77, np.int64), np.full(shape, 77, np.uint8)
    stamps, status = np.full(rows, 77, np.int64), np.full(rows, 77, np.uint8)
    offset = find_zone(clock.zone).utcoffset(None)
    used = axdr.decode_profile(
        octets, objects.find_clock(captured), step, None if offset is None else int(offset.total_seconds()),
        clock.deviation == "meter", values, types, stamps, status,
    )  # fmt: skip
    return used if used < 0 else Columns(octets, values, types, stamps, status).taken(slice(used))


def by_codec(octets: bytes, captured: list[CaptureObject], step: int, clock: ClockProfile) -> list[Row]:
    return objects.decode_rows(codec.decode(octets), captured, step, clock)


def check_equal(octets: bytes, captured: list[CaptureObject], step: int, clock: ClockProfile) -> Columns | int | None:
    """Hold the kernel's outcome against the codec's; give it, None for an error."""
    try:
        outcome = by_kernel(octets, captured, step, clock)
    except ValueError:
        with pytest.raises(RemoteProtocolError):
            by_codec(octets, captured, step, clock)
        return None
    if isinstance(outcome, Columns):
        assert repr(outcome.rows()) == repr(by_codec(octets, captured, step, clock))
    elif outcome == axdr.NEEDS_STEP:
        assert step == 0
        assert objects.lacks_stamps(codec.decode(octets), captured)
    else:
        assert outcome == axdr.NOT_HANDLED
    return outcome


@MANY
@given(buffers(), STEPS, CLOCKS)
def test_every_buffer_gives_the_codecs_rows_or_its_error_or_is_left_to_it(
    drawn: tuple[Data, list[CaptureObject]], step: int, clock: ClockProfile
) -> None:
    data, captured = drawn

    check_equal(codec.encode(data), captured, step, clock)


@MANY
@given(buffers(), STEPS, CLOCKS, st.data())
def test_damage_anywhere_is_what_the_codec_says_it_is(
    drawn: tuple[Data, list[CaptureObject]], step: int, clock: ClockProfile, more: st.DataObject
) -> None:
    data, captured = drawn
    octets = bytearray(codec.encode(data))

    for _ in range(more.draw(st.integers(1, 3))):
        at = more.draw(st.integers(0, len(octets) - 1))
        octets[at] = more.draw(st.one_of(st.integers(0, 34), st.integers(0, 255)))
    cut = more.draw(st.one_of(st.none(), st.integers(1, len(octets))))

    check_equal(bytes(octets[:cut]), captured, step, clock)


@MANY
@given(compact_buffers(), STEPS, CLOCKS)
def test_every_compact_array_likewise(drawn: tuple[bytes, list[CaptureObject]], step: int, clock: ClockProfile) -> None:
    check_equal(*drawn, step, clock)


@MANY
@given(compact_buffers(), STEPS, CLOCKS, st.data())
def test_damage_anywhere_in_a_compact_array_likewise(
    drawn: tuple[bytes, list[CaptureObject]], step: int, clock: ClockProfile, more: st.DataObject
) -> None:
    octets, captured = bytearray(drawn[0]), drawn[1]

    for _ in range(more.draw(st.integers(1, 3))):
        at = more.draw(st.integers(0, len(octets) - 1))
        octets[at] = more.draw(st.one_of(st.integers(0, 34), st.integers(0, 255)))
    cut = more.draw(st.one_of(st.none(), st.integers(1, len(octets))))

    check_equal(bytes(octets[:cut]), captured, step, clock)


STAMP = bytes.fromhex("0c07ea0101ff0a000000000000")


@pytest.mark.parametrize("described", ["0912", "0906", "1206", "090f", "0916", "0917", "091c"])
def test_ordinary_compact_arrays_are_not_left_to_the_codec(described: str) -> None:
    tags = bytes.fromhex(described)
    row = b"".join(STAMP if tag == Tag.OCTET_STRING else codec.encode(Data(Tag(tag), 5))[1:] for tag in tags)
    captured = [CLOCK if tag == Tag.OCTET_STRING else CAPTURED[1] for tag in tags]
    octets = compact(tags, 96 * row)

    if described == "1206":  # no column of stamps
        captured[0] = CLOCK
    outcome = check_equal(octets, captured, PERIOD, ClockProfile())

    if described in {"1206", "091c"}:
        assert outcome is None  # damage: a number is no stamp, a delta has nothing before it
    else:
        assert isinstance(outcome, Columns)
        assert len(outcome.stamps) == 96


@pytest.mark.parametrize(
    "octets",
    [
        b"\x13",
        b"\x13\x02",
        b"\x13\x12\x02\x00\x01",  # of bare numbers
        b"\x13\x02\x00\x00",
        b"\x13\x02\x02\x09",
        compact(b"\x09\x02", STAMP),
        compact(b"\x09\x0c", STAMP + b"\x00"),
        compact(b"\x00\x00", b""),
        compact(b"\x09\x12", STAMP + b"\x00"),
        compact(b"\x09\x12", STAMP + b"\x00\x01") + b"\x00",
        compact(b"\x00" * 254 + b"\x09", bytes(1_000_000)),  # a million rows of 255 items
    ],
)
def test_other_compact_arrays_are_left_to_the_codec(octets: bytes) -> None:
    assert axdr.count_rows(octets) == axdr.NOT_HANDLED


@MANY
@given(st.binary(min_size=1, max_size=60), st.integers(1, 3), STEPS)
def test_any_octets_are_answered_within_their_length(octets: bytes, width: int, step: int) -> None:
    captured = [CLOCK, *CAPTURED[1:] * (width - 1)]

    for head in (b"", b"\x01\x03\x02" + bytes([width])):
        check_equal(head + octets, captured, step, ClockProfile())


@given(buffers(), STEPS)
def test_ordinary_buffers_are_not_left_to_the_codec(drawn: tuple[Data, list[CaptureObject]], step: int) -> None:
    data, captured = drawn
    hard = {Tag.UTF8_STRING, Tag.ARRAY, Tag.STRUCTURE, Tag.LONG64, Tag.LONG64_UNSIGNED}
    rows = [row for row in data.items() if row.tag is not Tag.NULL]
    assume(all(row.tag is not Tag.UNSIGNED for row in rows))
    assume(all(item.tag not in hard for row in rows for item in row.items()))

    assert check_equal(codec.encode(data), captured, step, ClockProfile()) != axdr.NOT_HANDLED


@pytest.mark.parametrize("depth", [1, 15, 16, 1000])
def test_nothing_below_a_rows_items_is_followed(depth: int) -> None:
    stamp = codec.octet_string(bytes.fromhex("07ea0101ff00000000000000"))
    octets = b"\x01\x01\x02\x02" + codec.encode(stamp) + b"\x01\x01" * depth + b"\x11\x01"

    assert by_kernel(octets, CAPTURED, PERIOD, ClockProfile()) == axdr.NOT_HANDLED


def test_more_items_than_the_codec_takes_are_left_to_it() -> None:
    octets = b"\x01\x83\x07\xa1\x20" + b"\x00" * 500_000

    assert axdr.count_rows(octets) == 500_000
    assert by_kernel(octets, CAPTURED, PERIOD, ClockProfile()) == axdr.NOT_HANDLED


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "too early"),
        (b"\x01", "too early"),
        (b"\x01\x82\x01", "too early"),
        (b"\x01\x80", "length field"),
        (b"\x01\x84\xff\xff\xff\xff", "length field"),
        (b"\x01\x02\x00", "too early"),
        (b"\x01\x00\x00", "behind its last row"),
        (b"\x01\x01\xc8", "tag"),
        (b"\x01\x01\x02\x01\x11", "another width"),
        (b"\x01\x01\x02\x02\x09\x02\x11\x00", "no date-time"),
        (b"\x01\x01\x02\x02\x00\x1c\x01", "nothing before"),
    ],
)
def test_damage_is_a_value_error_that_says_what(octets: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        by_kernel(octets, CAPTURED, PERIOD, ClockProfile())


@pytest.mark.parametrize("change", ["values", "types", "stamps", "status", "column", "step", "rows"])
def test_arrays_and_numbers_that_do_not_fit_are_refused_before_the_first_row(change: str) -> None:
    arguments: dict[str, Any] = {
        "values": np.zeros((2, 1), np.int64), "types": np.zeros((2, 1), np.uint8), "stamps": np.zeros(1, np.int64),
        "status": np.zeros(1, np.uint8), "column": 0, "step": PERIOD, "rows": b"\x01\x01\x02\x02\x00\x00",
    }  # fmt: skip
    broken: dict[str, Any] = {
        "values": np.zeros((0, 1), np.int64), "types": np.zeros((1, 1), np.uint8), "stamps": np.zeros(2, np.int64),
        "status": np.zeros(0, np.uint8), "column": 2, "step": 2**33, "rows": b"\x01\x02\x00\x00",
    }  # fmt: skip
    arguments[change] = broken[change]

    with pytest.raises(ValueError, match=r"column|shape|step|rows"):
        axdr.decode_profile(
            arguments["rows"], arguments["column"], arguments["step"], None, True,  # noqa: FBT003
            arguments["values"], arguments["types"], arguments["stamps"], arguments["status"],
        )  # fmt: skip


def test_every_day_of_the_calendar_is_counted_as_datetime_counts_it() -> None:
    years = (0, 1, 4, 100, 400, 1899, 1900, 1970, 2000, 2024, 2026, 2100, 9999, 10_000)
    days = [(year, month, day) for year in years for month in range(14) for day in range(33)]
    dates = [bytes([year >> 8, year & 255, month, day, 255, 1, 2, 3, 0, 0, 0, 0]) for year, month, day in days]
    rows = [codec.structure(codec.octet_string(date), NULL) for date in dates]

    outcome = check_equal(codec.encode(codec.array(rows)), CAPTURED, 0, ClockProfile())

    assert isinstance(outcome, Columns)
    assert len(outcome.stamps) == 12 * 365 + 4  # leap years: 4, 400, 2000, 2024


def slots_of(n: int) -> Any:
    return np.zeros(n, np.int32), np.zeros(n, np.uint8), np.zeros(n, np.uint32)


@pytest.mark.parametrize("change", [0, 1, 2, 3, 8, 9])
def test_slots_and_rows_of_other_shapes_are_refused(change: int) -> None:
    counts, has_value, rules = slots_of(4)
    arguments: list[Any] = [
        np.zeros(1, np.int64), np.zeros(1, np.uint8), np.zeros(1, np.int64), np.zeros(1, np.uint8), DAY, PERIOD, 0,
        counts, has_value, rules,
    ]  # fmt: skip
    arguments[change] = arguments[change].repeat(2)

    with pytest.raises(ValueError, match="shape"):
        axdr.lay_intervals(*arguments)


def test_a_period_of_nothing_is_refused() -> None:
    none, no_status = np.zeros(0, np.int64), np.zeros(0, np.uint8)
    counts, has_value, rules = slots_of(4)

    with pytest.raises(ValueError, match="period"):
        axdr.lay_intervals(none, no_status, none, no_status, DAY, 0, 0, counts, has_value, rules)
