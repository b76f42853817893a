"""What is measured and recorded: Data, the registers, Register activation, Profile generic. IEC 62056-6-2, clauses 5.3.1 to 5.3.6."""

from dataclasses import dataclass
from enum import IntEnum

from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import (
    ANY,
    DATE_TIME,
    DOUBLE_LONG_UNSIGNED,
    INTEGER,
    LONG_UNSIGNED,
    NAME,
    OCTETS,
    SIMPLE,
    UNSIGNED,
    Enumerated,
    Grouped,
    Repeated,
    ScalerUnits,
)
from drivers.dlms.objects.profiles import MAX_COLUMNS, CaptureObject
from drivers.obis import Obis


class SortMethod(IntEnum):
    """Order of the rows of a profile generic."""

    FIFO = 1
    LIFO = 2
    LARGEST = 3
    SMALLEST = 4
    NEAREST_TO_ZERO = 5
    FARTHEST_FROM_ZERO = 6


@dataclass(frozen=True, slots=True)
class ObjectDefinition:
    """A register that a mask may switch on."""

    class_id: int
    logical_name: Obis


@dataclass(frozen=True, slots=True)
class Mask:
    """Which of the assigned registers, by index from 1, run while the mask is active."""

    name: bytes
    indexes: tuple[int, ...]


CAPTURE_OBJECT = Grouped(
    CaptureObject, class_id=LONG_UNSIGNED, logical_name=NAME, attribute=INTEGER, data_index=LONG_UNSIGNED
)
OBJECT_DEFINITION = Grouped(ObjectDefinition, class_id=LONG_UNSIGNED, logical_name=NAME)
MASK = Grouped(Mask, name=OCTETS, indexes=Repeated(UNSIGNED, 255))

DATA = InterfaceClass(1, 0, "data", (AttributeType(2, "value", ANY, is_writable=True),))
REGISTER = InterfaceClass(
    3,
    0,
    "register",
    (
        AttributeType(2, "value", SIMPLE, is_writable=True, scaled_by=3),
        AttributeType(3, "scaler_unit", ScalerUnits()),
    ),
    (MethodType(1, "reset"),),
)
EXTENDED_REGISTER = InterfaceClass(
    4,
    0,
    "extended register",
    (
        AttributeType(2, "value", SIMPLE, is_writable=True, scaled_by=3),
        AttributeType(3, "scaler_unit", ScalerUnits()),
        AttributeType(4, "status", SIMPLE),
        AttributeType(5, "capture_time", DATE_TIME),
    ),
    (MethodType(1, "reset"),),
)
DEMAND_REGISTER = InterfaceClass(
    5,
    0,
    "demand register",
    (
        AttributeType(2, "current_average_value", SIMPLE, scaled_by=4),
        AttributeType(3, "last_average_value", SIMPLE, scaled_by=4),
        AttributeType(4, "scaler_unit", ScalerUnits()),
        AttributeType(5, "status", SIMPLE),
        AttributeType(6, "capture_time", DATE_TIME),
        AttributeType(7, "start_time_current", DATE_TIME),
        AttributeType(8, "period", DOUBLE_LONG_UNSIGNED, is_writable=True, unit="s"),
        AttributeType(9, "number_of_periods", LONG_UNSIGNED, is_writable=True),
    ),
    (MethodType(1, "reset"), MethodType(2, "next_period")),
)
REGISTER_ACTIVATION = InterfaceClass(
    6,
    0,
    "register activation",
    (
        AttributeType(2, "register_assignment", Repeated(OBJECT_DEFINITION, 255), is_writable=True),
        AttributeType(3, "mask_list", Repeated(MASK, 255), is_writable=True),
        AttributeType(4, "active_mask", OCTETS, is_writable=True),
    ),
    (
        MethodType(1, "add_register", OBJECT_DEFINITION),
        MethodType(2, "add_mask", MASK),
        MethodType(3, "delete_mask", OCTETS),
    ),
)
PROFILE_GENERIC = InterfaceClass(
    7,
    1,
    "profile generic",
    (
        AttributeType(2, "buffer", ANY),
        AttributeType(3, "capture_objects", Repeated(CAPTURE_OBJECT, MAX_COLUMNS), is_writable=True),
        AttributeType(4, "capture_period", DOUBLE_LONG_UNSIGNED, is_writable=True, unit="s"),
        AttributeType(5, "sort_method", Enumerated(SortMethod), is_writable=True),
        AttributeType(6, "sort_object", CAPTURE_OBJECT, is_writable=True),
        AttributeType(7, "entries_in_use", DOUBLE_LONG_UNSIGNED),
        AttributeType(8, "profile_entries", DOUBLE_LONG_UNSIGNED, is_writable=True),
    ),
    (MethodType(1, "reset"), MethodType(2, "capture")),
)
CLASSES = (DATA, REGISTER, EXTENDED_REGISTER, DEMAND_REGISTER, REGISTER_ACTIVATION, PROFILE_GENERIC)
