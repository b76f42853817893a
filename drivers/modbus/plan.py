"""Which registers to read in one request: near points together, no value torn between two answers.

A turn on a line costs more than a few registers nobody asked for, so small gaps between points are read over. A meter
that refuses such a read gets the same points again without gaps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from drivers.errors import LocalProtocolError
from drivers.modbus.values import REGISTERS
from drivers.profile import ModbusPoint, Table

MAX_GAP = 14  # registers worth reading over rather than asking twice, at 9600 bit/s and 10 ms latency


@dataclass(frozen=True, slots=True)
class Read:
    """One request for ``count`` registers from ``address``, and the points it brings, in address order."""

    table: Table
    address: int
    count: int
    points: tuple[ModbusPoint, ...]

    def registers_of(self, point: ModbusPoint, registers: Sequence[int]) -> Sequence[int]:
        """Cut a point's own registers out of the answer."""
        first = point.address - self.address
        return registers[first : first + REGISTERS[point.type]]

    def has_gaps(self) -> bool:
        """True where registers are read that belong to no point."""
        covered = {point.address + offset for point in self.points for offset in range(REGISTERS[point.type])}
        return len(covered) < self.count


def plan_reads(points: Sequence[ModbusPoint], max_registers: int, max_gap: int = MAX_GAP) -> list[Read]:
    """Merge points of one table into reads of at most ``max_registers``, over gaps of at most ``max_gap`` registers.

    Raises `LocalProtocolError` for a point that no read of this size can bring whole.
    """
    in_order = sorted(points, key=lambda point: (point.table, point.address, REGISTERS[point.type]))
    return [
        read
        for table, of_table in groupby(in_order, key=lambda point: point.table)
        for read in _merge(table, list(of_table), max_registers, max_gap)
    ]


def split_at_gaps(read: Read) -> list[Read]:
    """Give the reads that bring the same points and no register between them."""
    return plan_reads(read.points, read.count, 0)


def _merge(table: Table, points: list[ModbusPoint], max_registers: int, max_gap: int) -> Iterator[Read]:
    group: list[ModbusPoint] = []
    start = end = 0
    for point in points:
        if REGISTERS[point.type] > max_registers:
            raise LocalProtocolError(f"{point.obis}: {point.type} is wider than a read of {max_registers} registers")
        point_end = point.address + REGISTERS[point.type]
        if group and (point.address - end > max_gap or max(point_end, end) - start > max_registers):
            yield Read(table, start, end - start, tuple(group))
            group = []
        if not group:
            start = end = point.address
        group.append(point)
        end = max(end, point_end)
    if group:
        yield Read(table, start, end - start, tuple(group))
