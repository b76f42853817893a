"""Merging points into reads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import LocalProtocolError
from drivers.modbus.plan import plan_reads, split_at_gaps
from drivers.modbus.values import REGISTERS
from drivers.obis import Obis
from drivers.profile import ModbusPoint, Table, ValueType
from drivers.units import ScalerUnit, Unit


def point(address: int, type_: ValueType = "uint32", table: Table = "holding") -> ModbusPoint:
    return ModbusPoint(Obis(1, 0, 1, 8, address % 256), address, type_, ScalerUnit(0, Unit.COUNT), table)


def spans(reads: Any) -> Any:
    return [(read.table, read.address, read.count) for read in reads]


def test_touching_and_near_points_are_one_read() -> None:
    assert spans(plan_reads([point(10), point(12), point(30)], 125, 16)) == [("holding", 10, 22)]


def test_far_points_and_other_tables_are_other_reads() -> None:
    reads = plan_reads([point(30), point(10), point(10, table="input")], 125, 15)

    assert spans(reads) == [("holding", 10, 2), ("holding", 30, 2), ("input", 10, 2)]


def test_no_value_is_torn_at_the_limit() -> None:
    assert spans(plan_reads([point(0), point(2), point(4)], 5, 14)) == [("holding", 0, 4), ("holding", 4, 2)]


def test_refused_read_is_split_at_its_gaps() -> None:
    (read,) = plan_reads([point(10), point(12), point(16)], 125, 14)

    assert read.has_gaps()
    assert spans(split_at_gaps(read)) == [("holding", 10, 4), ("holding", 16, 2)]
    assert not any(part.has_gaps() for part in split_at_gaps(read))


def test_point_wider_than_the_limit_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError, match="wider"):
        plan_reads([point(0, "uint64")], 3)


POINTS = st.lists(
    st.builds(point, st.integers(0, 400), st.sampled_from(sorted(REGISTERS)), st.sampled_from(["holding", "input"])),
    max_size=30,
)


@given(POINTS, st.integers(4, 125), st.integers(0, 30))
def test_each_point_is_whole_in_exactly_one_read(points: Any, limit: Any, gap: Any) -> None:
    reads = plan_reads(points, limit, gap)

    assert sorted((p for read in reads for p in read.points), key=repr) == sorted(points, key=repr)
    for read in reads:
        assert read.count <= limit
        for one in read.points:
            assert one.table == read.table
            assert read.address <= one.address
            assert one.address + REGISTERS[one.type] <= read.address + read.count
            assert len(read.registers_of(one, range(read.count))) == REGISTERS[one.type]
