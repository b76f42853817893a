"""A load profile in file records: which to ask for, and what the rows say. Pure.

Rows are a ring, so where the newest stands is not known: all are read, each whole in one answer, and put in order by their
instants. Source of the service: MODBUS Application Protocol Specification V1.1b3, clause 6.14.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from drivers.errors import RemoteProtocolError
from drivers.facts import INT32_MAX, IntervalBlock, UtcSeconds
from drivers.modbus.functions import MAX_FILE_OCTETS, ReadFile, RecordRequest
from drivers.modbus.values import REGISTERS, ValueAbsent, decode_point
from drivers.profile import ChannelProfile, ModbusLoadProfile, ModbusPoint, Stamp
from kernels.quality import Rule

UNWRITTEN: Final = frozenset((0, 0xFFFF_FFFF))
Row = tuple[int, ...]


def requests(layout: ModbusLoadProfile) -> Iterator[ReadFile]:
    """Give the requests that bring all rows, as many to each answer as have room."""
    at_once = max(1, (MAX_FILE_OCTETS - 2) // (2 * layout.width))
    for first in range(0, layout.rows, at_once):
        count = min(at_once, layout.rows - first)
        record = layout.record + first * layout.width
        yield ReadFile((RecordRequest(layout.file, record, count * layout.width),))


def rows_of(layout: ModbusLoadProfile, registers: Sequence[int]) -> Iterator[Row]:
    """Cut the registers of one answer into rows."""
    for start in range(0, len(registers), layout.width):
        yield tuple(registers[start : start + layout.width])


def starts(layout: ModbusLoadProfile, rows: Sequence[Row], stamp: Stamp) -> Mapping[UtcSeconds, Row]:
    """Give the rows by the start of their interval [s UTC]; what is not on the grid, or not written yet, is left out.

    Raises `RemoteProtocolError` where two rows say different things of one interval.
    """
    found: dict[UtcSeconds, Row] = {}
    for row in rows:
        instant = row[layout.time] << 16 | row[layout.time + 1]
        start = instant - layout.period if stamp == "end" else instant
        if instant in UNWRITTEN or start % layout.period:
            continue
        if found.setdefault(start, row) != row:
            raise RemoteProtocolError(f"file {layout.file}: two rows of {instant} differ")
    return found


def blocks(
    layout: ModbusLoadProfile,
    channels: Sequence[ChannelProfile],
    rows: Mapping[UtcSeconds, Row],
    window: tuple[UtcSeconds, UtcSeconds],
) -> list[IntervalBlock]:
    """Give one block per channel, over ``window`` (start inclusive, end exclusive) clipped to the grid."""
    period = layout.period
    slots = range(-(-window[0] // period) * period, window[1] // period * period, period)
    columns = {column.obis: column for column in layout.columns}
    found = []
    for channel in channels:
        column = columns[channel.obis]
        values = [_value(column, rows[start]) if start in rows else (None, Rule(0)) for start in slots]
        if values:
            counts, rules = zip(*values, strict=True)
            found.append(
                IntervalBlock(
                    channel.obis, column.scaler_unit, slots.start, period, counts, rules if any(rules) else ()
                )
            )
    return found


def _value(column: ModbusPoint, row: Row) -> tuple[int | None, Rule]:
    """Decode one column of a row; a count that cannot be held, or that is no count, breaks `Rule.RANGE`."""
    try:
        count, rules = decode_point(column, row[column.address : column.address + REGISTERS[column.type]])
    except ValueAbsent:
        return None, Rule(0)
    except RemoteProtocolError:
        return None, Rule.RANGE
    return (count, rules) if abs(count) <= INT32_MAX else (None, Rule.RANGE)
