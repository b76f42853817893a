"""Which registers to read in one request: the set of reads that brings all points in the least time, exactly.

Points of one table, in order of address, are cut into runs; each run is one read from its first register to its last. A read
costs a turn on the line and its registers, so reading over a gap pays where the gap costs less than a turn. Dynamic
programming over the cuts finds the cheapest set: no set that mixes runs is cheaper, because a point between two others of a
read is brought by that read anyway. No value is torn between two answers, no read is longer than the device takes, and none
goes over registers that are known to be refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Final

from drivers.errors import LocalProtocolError
from drivers.modbus.values import REGISTERS
from drivers.profile import ModbusHole, ModbusPoint, Table

NOMINAL_SPEED: Final = 9600  # of the line behind a gateway, which does not tell its own [bit/s]
NOMINAL_CHARACTER: Final = 11  # V1.02, clause 2.5.1: start, eight data bits, parity, stop [bit]
NOMINAL_LATENCY: Final = 0.01  # of a unit that was not timed yet [s]
TURN_CHARACTERS: Final = 8 + 5 + 7  # request, what an answer has beside registers, two silences of 3.5
REGISTER_CHARACTERS: Final = 2


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

    def gaps(self) -> Iterator[ModbusHole]:
        """Give the runs of registers that belong to no point."""
        end = self.address
        for point in self.points:
            if point.address > end:
                yield ModbusHole(end, point.address - end, self.table)
            end = max(end, point.address + REGISTERS[point.type])


@dataclass(frozen=True, slots=True)
class Pace:
    """What reading costs, in any one unit of time."""

    per_read: int
    per_register: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a read must not do. ``max_registers``: of one read.  ``max_gap``: registers of a gap, None for no limit of its own.

    ``holes``: registers that may not be read over.
    """

    max_registers: int = 125
    max_gap: int | None = None
    holes: tuple[ModbusHole, ...] = ()


def pace_of(bits_per_second: int | None, bits_per_character: int, latency: float | None) -> Pace:
    """Say what reading costs on a line. [us]

    ``bits_per_second``: None where the link does not tell; then that of a slow line behind a gateway is taken.
    ``latency``: what the unit takes before it answers [s]; None where it was not timed yet.
    """
    speed, bits = (bits_per_second, bits_per_character) if bits_per_second else (NOMINAL_SPEED, NOMINAL_CHARACTER)
    character = Fraction(1_000_000 * bits, speed)
    thinking = round(1_000_000 * (NOMINAL_LATENCY if latency is None else latency))
    return Pace(round(TURN_CHARACTERS * character) + thinking, max(1, round(REGISTER_CHARACTERS * character)))


def coalesce(points: Sequence[ModbusPoint], pace: Pace, bounds: Bounds) -> list[Read]:
    """Give the cheapest reads that bring each point whole; of equally cheap ones the fewest, then those with fewest registers.

    Raises `LocalProtocolError` for a point that no read of this size can bring whole.
    """
    for point in points:
        if REGISTERS[point.type] > bounds.max_registers:
            raise LocalProtocolError(
                f"{point.obis}: {point.type} is wider than a read of {bounds.max_registers} registers"
            )
    in_order = sorted(points, key=lambda point: (point.table, point.address, REGISTERS[point.type]))
    return [
        read
        for table, of_table in groupby(in_order, key=lambda point: point.table)
        for read in _cheapest(table, list(of_table), pace, bounds)
    ]


def _cheapest(table: Table, points: list[ModbusPoint], pace: Pace, bounds: Bounds) -> list[Read]:
    # best[j]: cost, reads and registers of the cheapest way to bring the first j points, and where its last run begins.
    best: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)]
    for last in range(len(points)):
        found: tuple[int, int, int, int] | None = None
        for first, count in _runs_ending_with(table, points, last, bounds):
            spent, reads, registers, _ = best[first]
            way = (spent + pace.per_read + count * pace.per_register, reads + 1, registers + count, first)
            found = way if found is None else min(found, way)
        assert found is not None  # the point alone is always a run
        best.append(found)
    return list(reversed(list(_trace(table, points, best))))


def _runs_ending_with(table: Table, points: list[ModbusPoint], last: int, bounds: Bounds) -> Iterator[tuple[int, int]]:
    """Give the first point and the count of registers of each run that ends with point ``last`` and is allowed."""
    # Backwards, a run's end is known once its points are; the gap before a point depends on all points before it.
    for first in range(last, -1, -1):
        if points[last].address - points[first].address > bounds.max_registers:
            return
        end = points[first].address
        for point in points[first : last + 1]:
            if point.address > end and not _may_bridge(table, end, point.address, bounds):
                break
            end = max(end, point.address + REGISTERS[point.type])
        else:
            if (count := end - points[first].address) <= bounds.max_registers:
                yield first, count


def _may_bridge(table: Table, start: int, end: int, bounds: Bounds) -> bool:
    if bounds.max_gap is not None and end - start > bounds.max_gap:
        return False
    return not any(
        hole.table == table and hole.address < end and start < hole.address + hole.count for hole in bounds.holes
    )


def _trace(table: Table, points: list[ModbusPoint], best: list[tuple[int, int, int, int]]) -> Iterator[Read]:
    stop = len(points)
    while stop:
        first = best[stop][3]
        run = points[first:stop]
        end = max(point.address + REGISTERS[point.type] for point in run)
        yield Read(table, run[0].address, end - run[0].address, tuple(run))
        stop = first
