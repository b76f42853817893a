"""What came of a buffer before the line was cut, and which part of the window it says all of."""

from dataclasses import replace

import pytest

from drivers.dlms import axdr, objects
from drivers.dlms.loading import LoadProfile, Question
from drivers.dlms.metadata import Metadata
from drivers.dlms.objects import CaptureObject
from drivers.dlms.xdlms import Attribute
from drivers.facts import IntervalBlock
from drivers.obis import Obis
from kernels.quality import Rule
from tests.drivers.dlms.meter import DAY, INTERVALS, PERIOD, PROFILE, WATT_HOUR, stamp
from tests.drivers.layouts import DLMS, layout_of

IDIS = layout_of("idis-base", **DLMS)
ROW = 19  # [octet] structure, date-time, long-unsigned
HEAD = 2
END = DAY + 8 * PERIOD


def reading(sort_method: int | None, *more: CaptureObject) -> LoadProfile:
    """Give a load profile of whose rows one answer is under way."""
    columns = (CaptureObject(8, Obis(0, 0, 1, 0, 0), 2), CaptureObject(3, INTERVALS, 2), *more)
    known = Metadata(DAY, columns, PERIOD, sort_method, {Attribute(3, INTERVALS, 3): WATT_HOUR})
    assert PROFILE.dlms is not None
    loading = LoadProfile(replace(PROFILE, status_layout=IDIS), PROFILE.dlms, known)
    assert isinstance(next(loading.read(DAY, END)), Question)
    return loading


def buffer(slots: list[int]) -> bytes:
    return axdr.encode(
        axdr.array([axdr.structure(stamp(DAY + (slot + 1) * PERIOD), axdr.long_unsigned(slot)) for slot in slots])
    )


FIFO, LIFO, LARGEST = objects.FIRST_IN_FIRST_OUT, objects.LAST_IN_FIRST_OUT, 3


@pytest.mark.parametrize(
    ("slots", "sort_method", "rows", "settled"),
    [
        pytest.param([0, 1, 2, 3], None, 3, (0, 3), id="rising"),
        pytest.param([7, 6, 5, 4], None, 3, (5, 8), id="falling"),
        pytest.param([0, 1, 2, 3], None, 1, (0, 0), id="one row, order not known"),
        pytest.param([0, 1, 2, 3], FIFO, 1, (0, 1), id="one row, the oldest first"),
        pytest.param([7, 6, 5, 4], LIFO, 1, (7, 8), id="one row, the newest first"),
        pytest.param([0, 1, 2, 3], LARGEST, 3, (0, 0), id="ordered by something else"),
        pytest.param([0, 2, 1, 3], None, 3, (0, 0), id="no order at all"),
    ],
)
def test_a_part_of_the_window_is_settled_as_far_as_the_order_of_the_rows_tells(
    slots: list[int], sort_method: int | None, rows: int, settled: tuple[int, int]
) -> None:
    saved = reading(sort_method).salvage(buffer(slots)[: HEAD + rows * ROW + 7])

    assert saved is not None
    assert (saved.start, saved.end) == tuple(DAY + slot * PERIOD for slot in settled)
    (block,) = saved.facts
    assert isinstance(block, IntervalBlock)
    assert [count for count in block.counts if count is not None] == sorted(slots[:rows])


def test_nothing_whole_is_nothing_saved() -> None:
    assert reading(FIFO).salvage(buffer([0, 1])[: HEAD + ROW - 1]) is None


def test_damage_saves_nothing() -> None:
    damaged = bytearray(buffer([0, 1, 2]))
    damaged[HEAD + ROW] = 0xEE

    assert reading(FIFO).salvage(bytes(damaged)) is None


@pytest.mark.parametrize(("sort_method", "is_told"), [(FIFO, True), (LARGEST, False)])
def test_a_gap_in_what_was_cut_is_explained_only_where_no_row_of_it_can_be_still_to_come(
    sort_method: int, is_told: bool
) -> None:
    down = 0x80
    rows = [
        axdr.structure(stamp(DAY + (slot + 1) * PERIOD), axdr.long_unsigned(slot), axdr.unsigned(down))
        for slot in (0, 4, 5)
    ]
    octets = axdr.encode(axdr.array(rows))

    saved = reading(sort_method, CaptureObject(1, Obis(0, 0, 96, 10, 1), 2)).salvage(octets[:-7])

    assert saved is not None
    (block,) = saved.facts
    assert isinstance(block, IntervalBlock)
    off = Rule.POWER_FAILURE if is_told else Rule(0)
    assert block.rules[:5] == (Rule.POWER_FAILURE, off, off, off, Rule.POWER_FAILURE)
