"""Merging points into reads: the cheapest set there is."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import LocalProtocolError
from drivers.modbus.coalesce import Bounds, Pace, Read, coalesce, pace_of
from drivers.modbus.values import REGISTERS
from drivers.obis import Obis
from drivers.profile import ModbusHole, ModbusPoint, Table, ValueType
from drivers.units import ScalerUnit, Unit

SLOW = pace_of(9600, 11, 0.01)


def point(address: int, type_: ValueType = "uint32", table: Table = "holding") -> ModbusPoint:
    return ModbusPoint(Obis(1, 0, 1, 8, address % 256), address, type_, ScalerUnit(0, Unit.COUNT), table)


def spans(reads: Any) -> Any:
    return [(read.table, read.address, read.count) for read in reads]


def cost(reads: list[Read], pace: Pace) -> int:
    return sum(pace.per_read + read.count * pace.per_register for read in reads)


def test_a_gap_that_costs_less_than_a_turn_is_read_over() -> None:
    # 20 characters and 10 ms are 28.7 characters of 11 bits at 9600: 14 registers cost less, 15 more
    assert spans(coalesce([point(10), point(26)], SLOW, Bounds())) == [("holding", 10, 18)]
    assert spans(coalesce([point(10), point(27)], SLOW, Bounds())) == [("holding", 10, 2), ("holding", 27, 2)]


def test_a_fast_line_reads_over_wider_gaps() -> None:
    assert len(coalesce([point(0), point(60)], pace_of(115_200, 11, 0.01), Bounds())) == 1


def test_a_slow_unit_is_worth_wider_gaps() -> None:
    assert len(coalesce([point(0), point(60)], pace_of(9600, 11, 0.2), Bounds())) == 1


def test_tables_are_read_apart() -> None:
    assert spans(coalesce([point(10), point(10, table="input")], SLOW, Bounds())) == [
        ("holding", 10, 2), ("input", 10, 2),
    ]  # fmt: skip


def test_no_value_is_torn_at_the_limit() -> None:
    assert spans(coalesce([point(0), point(2), point(4)], SLOW, Bounds(5))) == [("holding", 0, 2), ("holding", 2, 4)]


def test_where_first_fit_reads_15_registers_11_are_enough() -> None:
    # first fit joins 0 and 8, then 12 and 17: two reads all the same
    points = [point(0, "uint16"), point(8, "uint16"), point(12, "uint16"), point(17, "uint16")]

    assert spans(coalesce(points, Pace(100, 1), Bounds(10))) == [("holding", 0, 1), ("holding", 8, 10)]


def test_a_hole_is_never_read_over() -> None:
    hole = ModbusHole(14, 1)

    assert spans(coalesce([point(10), point(12), point(16)], SLOW, Bounds(holes=(hole,)))) == [
        ("holding", 10, 4), ("holding", 16, 2),
    ]  # fmt: skip
    assert len(coalesce([point(10), point(16)], SLOW, Bounds(holes=(ModbusHole(14, 1, "input"),)))) == 1


def test_point_wider_than_the_limit_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError, match="wider"):
        coalesce([point(0, "uint64")], SLOW, Bounds(3))


def test_gaps_of_a_read_are_what_belongs_to_no_point() -> None:
    (read,) = coalesce([point(10), point(13), point(14, "uint16")], SLOW, Bounds())

    assert list(read.gaps()) == [ModbusHole(12, 1)]


TYPES = st.sampled_from(["uint16", "uint32", "uint64"])
SMALL = st.lists(st.builds(point, st.integers(0, 14), TYPES), max_size=6)
HOLES = st.lists(st.builds(ModbusHole, st.integers(0, 16), st.integers(1, 2)), max_size=2)


def partitions(points: list[ModbusPoint]) -> Iterator[list[list[ModbusPoint]]]:
    """Every way to share points among reads, neighbors or not."""
    if not points:
        yield []
        return
    for rest in partitions(points[1:]):
        yield [[points[0]], *rest]
        for at, group in enumerate(rest):
            yield [*rest[:at], [points[0], *group], *rest[at + 1 :]]


def one_read(group: Sequence[ModbusPoint], bounds: Bounds) -> Read | None:
    """The read that brings a group, by the definition; None where it is forbidden."""
    covered = {one.address + at for one in group for at in range(REGISTERS[one.type])}
    start, end = min(covered), max(covered) + 1
    forbidden = {hole.address + at for hole in bounds.holes for at in range(hole.count)}
    between = set(range(start, end)) - covered
    longest, run = 0, 0
    for address in range(start, end):
        run = run + 1 if address in between else 0
        longest = max(longest, run)
    too_wide = bounds.max_gap is not None and longest > bounds.max_gap
    if end - start > bounds.max_registers or between & forbidden or too_wide:
        return None
    return Read("holding", start, end - start, tuple(group))


@settings(max_examples=300)
@given(
    SMALL,
    st.integers(4, 12),
    st.none() | st.integers(0, 6),
    HOLES,
    st.builds(Pace, st.integers(0, 12), st.integers(1, 3)),
)
def test_no_way_to_read_small_maps_is_cheaper(points: Any, limit: Any, gap: Any, holes: Any, pace: Any) -> None:
    bounds = Bounds(limit, gap, tuple(holes))

    found = coalesce(points, pace, bounds)

    ways = []
    for groups in partitions(points):
        reads = [one_read(group, bounds) for group in groups]
        if all(reads):
            ways.append(cost([read for read in reads if read], pace))
    assert cost(found, pace) == min(ways)
    assert all(one_read(read.points, bounds) for read in found)


POINTS = st.lists(
    st.builds(point, st.integers(0, 400), st.sampled_from(sorted(REGISTERS)), st.sampled_from(["holding", "input"])),
    max_size=30,
)


@given(POINTS, st.integers(4, 125), st.none() | st.integers(0, 30))
def test_each_point_is_whole_in_exactly_one_read(points: Any, limit: Any, gap: Any) -> None:
    reads = coalesce(points, SLOW, Bounds(limit, gap))

    assert sorted((p for read in reads for p in read.points), key=repr) == sorted(points, key=repr)
    for read in reads:
        assert read.count <= limit
        for one in read.points:
            assert one.table == read.table
            assert read.address <= one.address
            assert one.address + REGISTERS[one.type] <= read.address + read.count
            assert len(read.registers_of(one, range(read.count))) == REGISTERS[one.type]


def test_a_thousand_points_are_planned_at_once() -> None:
    points = [point(3 * at) for at in range(1000)]

    reads = coalesce(points, SLOW, Bounds())

    assert len(reads) in {24, 25}
