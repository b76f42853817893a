"""Clock. IEC 62056-6-2, clause 5.4.1."""

from dataclasses import dataclass
from enum import IntEnum

from drivers.dlms.axdr import Tag
from drivers.dlms.datetime import ClockStatus, CosemDateTime
from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import BOOLEAN, DATE_TIME, INTEGER, LONG, Enumerated, Flags, Grouped, Whole

MAX_SHIFT = 900  # seconds that shift_time moves the clock, either way


class ClockBase(IntEnum):
    """Where the clock takes its pace from."""

    NOT_DEFINED = 0
    INTERNAL_CRYSTAL = 1
    MAINS_50_HZ = 2
    MAINS_60_HZ = 3
    GPS = 4
    RADIO_CONTROLLED = 5


@dataclass(frozen=True, slots=True)
class PresetTime:
    """A time to be taken over by adjust_to_preset_time, within an interval of validity."""

    preset_time: CosemDateTime
    validity_start: CosemDateTime
    validity_end: CosemDateTime


CLOCK = InterfaceClass(
    8,
    0,
    "clock",
    (
        AttributeType(2, "time", DATE_TIME, is_writable=True),
        AttributeType(3, "time_zone", LONG, is_writable=True, unit="min"),
        AttributeType(4, "status", Flags(ClockStatus, Tag.UNSIGNED)),
        AttributeType(5, "daylight_savings_begin", DATE_TIME, is_writable=True),
        AttributeType(6, "daylight_savings_end", DATE_TIME, is_writable=True),
        AttributeType(7, "daylight_savings_deviation", Whole(Tag.INTEGER, -120, 120), is_writable=True, unit="min"),
        AttributeType(8, "daylight_savings_enabled", BOOLEAN, is_writable=True),
        AttributeType(9, "clock_base", Enumerated(ClockBase), is_writable=True),
    ),
    (
        MethodType(1, "adjust_to_quarter", INTEGER),
        MethodType(2, "adjust_to_measuring_period", INTEGER),
        MethodType(3, "adjust_to_minute", INTEGER),
        MethodType(4, "adjust_to_preset_time", INTEGER),
        MethodType(
            5,
            "preset_adjusting_time",
            Grouped(PresetTime, preset_time=DATE_TIME, validity_start=DATE_TIME, validity_end=DATE_TIME),
        ),
        MethodType(6, "shift_time", Whole(Tag.LONG, -MAX_SHIFT, MAX_SHIFT)),
    ),
)
CLASSES = (CLOCK,)
