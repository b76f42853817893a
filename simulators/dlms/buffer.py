"""The load profile of the simulated meter: rows selected by range, entry and column, and written in one of four manners.

IEC 62056-6-2, class 7 ``profile generic``: range and entry descriptors; null-data, delta and compact-array encoding.
"""

from collections.abc import Sequence

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.xdlms import DataAccessResult, Selection
from drivers.errors import DriverError
from drivers.obis import Obis
from drivers.status import Meaning
from simulators.dlms.device import Device, Refused
from simulators.meter import Row

CLOCK = Obis(0, 0, 1, 0, 0)
INTERVAL_ENERGY = Obis(1, 0, 1, 29, 0)
LOAD_PROFILE = Obis(1, 0, 99, 1, 0)
DATA_CLASS, REGISTER_CLASS, PROFILE_CLASS, CLOCK_CLASS = 1, 3, 7, 8
BY_RANGE, BY_ENTRY = 1, 2
PROFILE_STATUS = Obis(0, 0, 96, 10, 1)
STATUS = {Meaning.TEST_MODE: 0x10, Meaning.CLOCK_SET: 0x20, Meaning.POWER_FAILURE: 0x80}
"""Bits of a status word; see the profile of the simulated meter."""
_STAMP = bytes((Tag.OCTET_STRING, 12))
_VALUE = bytes((Tag.DOUBLE_LONG_UNSIGNED,))
_OCTET = bytes((Tag.UNSIGNED,))
_NULL = bytes((Tag.NULL,))
_DELTA = bytes((Tag.DELTA_LONG,))


def capture_objects(device: Device) -> list[Data]:
    """Give the columns' definitions: stamp, energy and, where the meter has it, status. IEC 62056-6-2, class 7."""
    columns = [captured(CLOCK_CLASS, CLOCK), captured(REGISTER_CLASS, INTERVAL_ENERGY)]
    return [*columns, captured(DATA_CLASS, PROFILE_STATUS)] if device.settings.has_status else columns


def _whole(device: Device) -> range:
    return range(3 if device.settings.has_status else 2)


def captured(class_id: int, logical_name: Obis) -> Data:
    """Give one capture object: its attribute 2."""
    return axdr.structure(
        axdr.long_unsigned(class_id), axdr.octet_string(logical_name.to_bytes()), axdr.integer(2), axdr.long_unsigned(0)
    )


def read_buffer(device: Device, selection: Selection | None) -> bytes:
    """Give the rows that are selected as encoded data. Raises `Refused`."""
    rows, columns = _select(device, selection)
    return _encode(device, rows, columns)


def _select(device: Device, selection: Selection | None) -> tuple[list[Row], Sequence[int]]:
    if selection is None:
        return device.meter.rows(device.now), _whole(device)
    try:
        if selection.selector == BY_RANGE:
            return _by_range(device, selection.parameters)
        if selection.selector == BY_ENTRY:
            return _by_entry(device, selection.parameters)
    except (DriverError, ValueError) as error:
        raise Refused(DataAccessResult.TYPE_UNMATCHED) from error
    raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)


def _by_range(device: Device, parameters: Data) -> tuple[list[Row], Sequence[int]]:
    """Select rows whose clock lies in the range, both ends inclusive. IEC 62056-6-2, ``range_descriptor``."""
    restricting, first, last, selected = parameters.items()
    class_id, logical_name, index, _ = restricting.items()
    if (class_id.integer(), logical_name.octets(), index.integer()) != (CLOCK_CLASS, CLOCK.to_bytes(), 2):
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    known, wanted = capture_objects(device), selected.items()
    if any(one not in known for one in wanted):
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    habit = device.settings.clock
    rows = device.meter.rows(device.now, habit.decode(first.octets()), habit.decode(last.octets()))
    return rows, [at for at in _whole(device) if not wanted or known[at] in wanted]


def says_deviation(selection: Selection) -> bool:
    """Say whether a range gives the deviation of its first instant; one that cannot be read does not."""
    try:
        return CosemDateTime.decode(selection.parameters.items()[1].octets()).deviation is not None
    except (DriverError, IndexError):
        return False


def _by_entry(device: Device, parameters: Data) -> tuple[list[Row], Sequence[int]]:
    """Select rows and columns by number from 1, both ends inclusive; 0 as last means the highest. IEC 62056-6-2, ``entry_descriptor``."""
    first, last, first_column, last_column = (item.integer() for item in parameters.items())
    if first < 1 or first_column < 1:
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    return device.meter.rows(device.now)[first - 1 : last or None], _whole(device)[
        first_column - 1 : last_column or None
    ]


def _word(device: Device, end: int) -> bytes:
    meter = device.meter
    if not device.settings.has_status:
        return b""  # there is no such column
    return bytes((sum(STATUS[meaning] for meaning in meter.said_of(end - meter.household.period)),))


def _encode(device: Device, rows: list[Row], columns: Sequence[int]) -> bytes:
    """Write rows straight to octets: there may be thousands."""
    habit, manner = device.settings.clock, device.settings.rows
    head = bytes((Tag.STRUCTURE, len(columns)))
    if manner == "compact":
        fields = [(b"\x0c" + habit.encode(end), wh.to_bytes(4, "big"), _word(device, end)) for end, wh in rows]
        content = b"".join([field[at] for field in fields for at in columns])
        described = head + b"".join([(_STAMP[:1], _VALUE, _OCTET)[at] for at in columns])
        return bytes((Tag.COMPACT_ARRAY,)) + described + axdr.encode_length(len(content)) + content
    parts = []
    before: Row | None = None
    period = device.meter.household.period
    for row in rows:
        stamp, value = _STAMP + habit.encode(row.end), _VALUE + row.wh.to_bytes(4, "big")
        word = _OCTET + _word(device, row.end)
        if before is not None and manner != "plain":
            if row.end == before.end + period:
                stamp = _NULL
            if row.wh == before.wh:
                value = _NULL
            elif manner == "delta" and -0x8000 <= row.wh - before.wh < 0x8000:
                value = _DELTA + (row.wh - before.wh).to_bytes(2, "big", signed=True)
        parts.append(head + b"".join([(stamp, value, word)[at] for at in columns]))
        before = row
    return bytes((Tag.ARRAY,)) + axdr.encode_length(len(rows)) + b"".join(parts)
