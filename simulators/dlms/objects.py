"""The COSEM objects of the simulated meter, as encoded data. IEC 62056-6-2: classes 1 Data, 3 Register, 7 Profile generic, 8 Clock, and
15 Association LN, which lists them.
"""

from collections.abc import Callable, Mapping

from drivers.dlms import axdr
from drivers.dlms.axdr import Data
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.listing import ASSOCIATION, CURRENT_ASSOCIATION, READ_ONLY, ObjectEntry, encode_object_list
from drivers.dlms.xdlms import Attribute, DataAccessResult, Selection
from drivers.errors import DriverError
from drivers.obis import Obis
from drivers.units import Unit
from simulators.dlms.settings import ClockHabit
from simulators.meter import Meter, Row

LOGICAL_DEVICE_NAME = Obis(0, 0, 42, 0, 0)
SERIAL_NUMBER = Obis(0, 0, 96, 1, 0)
FIRMWARE = Obis(1, 0, 0, 2, 0)
CLOCK = Obis(0, 0, 1, 0, 0)
ENERGY = Obis(1, 0, 1, 8, 0)
INTERVAL_ENERGY = Obis(1, 0, 1, 29, 0)
VOLTAGE = Obis(1, 0, 32, 7, 0)
CURRENT = Obis(1, 0, 31, 7, 0)
LOAD_PROFILE = Obis(1, 0, 99, 1, 0)

DATA_CLASS, REGISTER_CLASS, PROFILE_CLASS, CLOCK_CLASS = 1, 3, 7, 8
BY_RANGE, BY_ENTRY = 1, 2
FIFO = 1  # sort_method
_VERSIONS = {PROFILE_CLASS: 1, ASSOCIATION: 1}
_ROW_HEAD = bytes((axdr.Tag.STRUCTURE, 2, axdr.Tag.OCTET_STRING, 12))
_ROW_VALUE = bytes((axdr.Tag.DOUBLE_LONG_UNSIGNED,))


class Refused(Exception):  # the meter's answer, not a failure of ours
    """The meter does not give this; ``result`` says why."""

    def __init__(self, result: DataAccessResult) -> None:
        super().__init__(result.name)
        self.result = result


Attributes = Mapping[int, Callable[[], Data]]


def read(meter: Meter, now: int, habit: ClockHabit, attribute: Attribute, selection: Selection | None) -> bytes:
    """Give one attribute at ``now`` [s UTC] as encoded data. Raises `Refused`."""
    if (attribute.class_id, attribute.logical_name, attribute.index) == (PROFILE_CLASS, LOAD_PROFILE, 2):
        return _encode_buffer(_select(meter, now, habit, selection), habit)
    if selection is not None:
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    found = _objects(meter, now, habit).get(attribute.logical_name)
    if found is None:
        raise Refused(DataAccessResult.OBJECT_UNDEFINED)
    class_id, attributes = found
    if class_id != attribute.class_id:
        raise Refused(DataAccessResult.OBJECT_CLASS_INCONSISTENT)
    if attribute.index == 1:
        return axdr.encode(axdr.octet_string(attribute.logical_name.to_bytes()))
    if attribute.index not in attributes:
        raise Refused(DataAccessResult.READ_WRITE_DENIED)
    return axdr.encode(attributes[attribute.index]())


def _objects(meter: Meter, now: int, habit: ClockHabit) -> dict[Obis, tuple[int, Attributes]]:
    def listed() -> Data:
        return encode_object_list(
            [
                ObjectEntry(
                    class_id,
                    _VERSIONS.get(class_id, 0),
                    name,
                    dict.fromkeys([1, *({2} if class_id == PROFILE_CLASS else ()), *attributes], READ_ONLY),
                    {1: 1} if class_id == ASSOCIATION else {},
                )
                for name, (class_id, attributes) in objects.items()
            ]
        )

    objects: dict[Obis, tuple[int, Attributes]] = {
        CURRENT_ASSOCIATION: (ASSOCIATION, {2: listed}),
        LOGICAL_DEVICE_NAME: (DATA_CLASS, {2: lambda: axdr.octet_string(meter.name.encode())}),
        SERIAL_NUMBER: (DATA_CLASS, {2: lambda: axdr.octet_string(str(meter.serial).encode())}),
        FIRMWARE: (DATA_CLASS, {2: lambda: axdr.octet_string(b"1.0")}),
        CLOCK: (
            CLOCK_CLASS,
            {2: lambda: axdr.octet_string(habit.encode(meter.clock(now))), 4: lambda: axdr.unsigned(0)},
        ),
        ENERGY: (REGISTER_CLASS, _register(lambda: meter.register(now), 0, Unit.WATT_HOUR)),
        INTERVAL_ENERGY: (REGISTER_CLASS, _register(lambda: _last_interval(meter, now), 0, Unit.WATT_HOUR)),
        VOLTAGE: (REGISTER_CLASS, _register(lambda: meter.voltage(now), -1, Unit.VOLT)),
        CURRENT: (REGISTER_CLASS, _register(lambda: meter.current(now), -3, Unit.AMPERE)),
        LOAD_PROFILE: (
            PROFILE_CLASS,
            {
                3: lambda: axdr.array([_captured(CLOCK_CLASS, CLOCK), _captured(REGISTER_CLASS, INTERVAL_ENERGY)]),
                4: lambda: axdr.double_long_unsigned(meter.household.period),
                5: lambda: axdr.enum(FIFO),
                6: lambda: _captured(CLOCK_CLASS, CLOCK),
                7: lambda: axdr.double_long_unsigned(len(meter.rows(now))),
                8: lambda: axdr.double_long_unsigned(2**32 - 1),
            },
        ),
    }
    return objects


def _register(value: Callable[[], int], scaler: int, unit: Unit) -> Attributes:
    return {2: lambda: _unsigned(value()), 3: lambda: axdr.structure(axdr.integer(scaler), axdr.enum(unit))}


def _unsigned(value: int) -> Data:
    return axdr.double_long_unsigned(value) if value < 2**32 else Data(axdr.Tag.LONG64_UNSIGNED, value)


def _captured(class_id: int, logical_name: Obis) -> Data:
    """One capture object: its attribute 2. IEC 62056-6-2, ``capture_object_definition``."""
    return axdr.structure(
        axdr.long_unsigned(class_id), axdr.octet_string(logical_name.to_bytes()), axdr.integer(2), axdr.long_unsigned(0)
    )


def _last_interval(meter: Meter, now: int) -> int:
    end = meter.clock(now)
    rows = meter.rows(now, end - meter.household.period + 1, end)
    return rows[-1].wh if rows else 0


def _select(meter: Meter, now: int, habit: ClockHabit, selection: Selection | None) -> list[Row]:
    if selection is None:
        return meter.rows(now)
    try:
        if selection.selector == BY_RANGE:
            return _by_range(meter, now, habit, selection.parameters)
        if selection.selector == BY_ENTRY:
            return _by_entry(meter.rows(now), selection.parameters)
    except (DriverError, ValueError) as error:
        raise Refused(DataAccessResult.TYPE_UNMATCHED) from error
    raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)


def _by_range(meter: Meter, now: int, habit: ClockHabit, parameters: Data) -> list[Row]:
    """Select rows whose clock lies in the range, both ends inclusive. IEC 62056-6-2, ``range_descriptor``."""
    restricting, first, last, selected = parameters.items()
    class_id, logical_name, index, _ = restricting.items()
    if (class_id.integer(), logical_name.octets(), index.integer()) != (CLOCK_CLASS, CLOCK.to_bytes(), 2):
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    if selected.items():
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)  # this model gives whole rows only
    return meter.rows(now, habit.decode(first.octets()), habit.decode(last.octets()))


def says_deviation(selection: Selection) -> bool:
    """Say whether a range gives the deviation of its first instant; one that cannot be read does not."""
    try:
        return CosemDateTime.decode(selection.parameters.items()[1].octets()).deviation is not None
    except (DriverError, IndexError):
        return False


def _by_entry(rows: list[Row], parameters: Data) -> list[Row]:
    """Select rows by number from 1, both ends inclusive; 0 as last means the newest. IEC 62056-6-2, ``entry_descriptor``."""
    first, last, _, _ = (item.integer() for item in parameters.items())
    if first < 1:
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    return rows[first - 1 : last or None]


def _encode_buffer(rows: list[Row], habit: ClockHabit) -> bytes:
    """Write rows as array of structure{date-time octets, double-long-unsigned}, straight to octets: there may be thousands."""
    body = b"".join([_ROW_HEAD + habit.encode(end) + _ROW_VALUE + wh.to_bytes(4, "big") for end, wh in rows])
    return bytes((axdr.Tag.ARRAY,)) + axdr.encode_length(len(rows)) + body
