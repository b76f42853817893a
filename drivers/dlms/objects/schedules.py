"""What runs by the clock: Script table, Schedule, Special days, Activity calendar, Register monitor, Single action schedule.

IEC 62056-6-2, clauses 5.4.2 to 5.4.7.
"""

from dataclasses import dataclass
from enum import IntEnum

from drivers.dlms.axdr import Data
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.objects.dates import CosemDate, CosemTime
from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import (
    ANY,
    BOOLEAN,
    DATE,
    DATE_TIME,
    INTEGER,
    LONG_UNSIGNED,
    NAME,
    OCTETS,
    SIMPLE,
    TIME,
    UNSIGNED,
    Bits,
    Enumerated,
    Grouped,
    Repeated,
)
from drivers.obis import Obis


class ScriptService(IntEnum):
    """What an action of a script does."""

    WRITE_ATTRIBUTE = 1
    EXECUTE_METHOD = 2


class ScheduleType(IntEnum):
    """How dates and times of a single action schedule belong together."""

    SIZE_1_WITH_WILDCARD_DATE = 1
    SIZE_N_SAME_TIME_WITH_WILDCARD_DATE = 2
    SIZE_N_SAME_TIME = 3
    SIZE_N_WITH_WILDCARD_DATE = 4
    SIZE_N = 5


@dataclass(frozen=True, slots=True)
class ScriptAction:
    """One action of a script."""

    service: ScriptService
    class_id: int
    logical_name: Obis
    index: int
    parameter: Data


@dataclass(frozen=True, slots=True)
class Script:
    """A script and what it does, in order."""

    identifier: int
    actions: tuple[ScriptAction, ...]


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """When a script runs. ``weekdays``: Monday first, seven of 0 and 1.  ``validity_window``: [min], 0xFFFF for ever."""

    index: int
    is_enabled: bool
    script: Obis
    selector: int
    switch_time: CosemTime
    validity_window: int
    weekdays: str
    special_days: str
    begin_date: CosemDate
    end_date: CosemDate


@dataclass(frozen=True, slots=True)
class EntryRanges:
    """Entries to disable (A) and to enable (B), by index; 0 and 0 for none."""

    first_disabled: int
    last_disabled: int
    first_enabled: int
    last_enabled: int


@dataclass(frozen=True, slots=True)
class EntryRange:
    """Entries to delete, by index."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """A date, or pattern of dates, and the day profile that holds on it."""

    index: int
    date: CosemDate
    day_id: int


@dataclass(frozen=True, slots=True)
class Season:
    """A season: when it begins, and its week profile."""

    name: bytes
    start: CosemDateTime
    week_name: bytes


@dataclass(frozen=True, slots=True)
class Week:
    """A week profile: a day profile's id for each weekday."""

    name: bytes
    monday: int
    tuesday: int
    wednesday: int
    thursday: int
    friday: int
    saturday: int
    sunday: int


@dataclass(frozen=True, slots=True)
class DayAction:
    """A script that runs at a time of day."""

    start: CosemTime
    script: Obis
    selector: int


@dataclass(frozen=True, slots=True)
class Day:
    """A day profile."""

    day_id: int
    actions: tuple[DayAction, ...]


@dataclass(frozen=True, slots=True)
class ActionItem:
    """A script of a script table."""

    script: Obis
    selector: int


@dataclass(frozen=True, slots=True)
class ActionSet:
    """What runs where a threshold is crossed upwards, and downwards."""

    up: ActionItem
    down: ActionItem


@dataclass(frozen=True, slots=True)
class ValueDefinition:
    """The attribute whose value is watched."""

    class_id: int
    logical_name: Obis
    attribute: int


@dataclass(frozen=True, slots=True)
class ExecutionTime:
    """When a single action runs."""

    time: CosemTime
    date: CosemDate


SCRIPT_ACTION = Grouped(
    ScriptAction,
    service=Enumerated(ScriptService),
    class_id=LONG_UNSIGNED,
    logical_name=NAME,
    index=INTEGER,
    parameter=ANY,
)
SCHEDULE_ENTRY = Grouped(
    ScheduleEntry,
    index=LONG_UNSIGNED,
    is_enabled=BOOLEAN,
    script=NAME,
    selector=LONG_UNSIGNED,
    switch_time=TIME,
    validity_window=LONG_UNSIGNED,
    weekdays=Bits(7),
    special_days=Bits(),
    begin_date=DATE,
    end_date=DATE,
)
SPECIAL_DAY = Grouped(SpecialDay, index=LONG_UNSIGNED, date=DATE, day_id=UNSIGNED)
SEASONS = Repeated(Grouped(Season, name=OCTETS, start=DATE_TIME, week_name=OCTETS), 255)
WEEKS = Repeated(
    Grouped(
        Week,
        name=OCTETS,
        monday=UNSIGNED,
        tuesday=UNSIGNED,
        wednesday=UNSIGNED,
        thursday=UNSIGNED,
        friday=UNSIGNED,
        saturday=UNSIGNED,
        sunday=UNSIGNED,
    ),
    255,
)
DAYS = Repeated(
    Grouped(
        Day,
        day_id=UNSIGNED,
        actions=Repeated(Grouped(DayAction, start=TIME, script=NAME, selector=LONG_UNSIGNED), 255),
    ),
    255,
)
ACTION_ITEM = Grouped(ActionItem, script=NAME, selector=LONG_UNSIGNED)
VALUE_DEFINITION = Grouped(ValueDefinition, class_id=LONG_UNSIGNED, logical_name=NAME, attribute=INTEGER)

SCRIPT_TABLE = InterfaceClass(
    9,
    0,
    "script table",
    (
        AttributeType(
            2,
            "scripts",
            Repeated(Grouped(Script, identifier=LONG_UNSIGNED, actions=Repeated(SCRIPT_ACTION, 255))),
            is_writable=True,
        ),
    ),
    (MethodType(1, "execute", LONG_UNSIGNED),),
)
SCHEDULE = InterfaceClass(
    10,
    0,
    "schedule",
    (AttributeType(2, "entries", Repeated(SCHEDULE_ENTRY), is_writable=True),),
    (
        MethodType(
            1,
            "enable_disable",
            Grouped(
                EntryRanges,
                first_disabled=LONG_UNSIGNED,
                last_disabled=LONG_UNSIGNED,
                first_enabled=LONG_UNSIGNED,
                last_enabled=LONG_UNSIGNED,
            ),
        ),
        MethodType(2, "insert", SCHEDULE_ENTRY),
        MethodType(3, "delete", Grouped(EntryRange, first=LONG_UNSIGNED, last=LONG_UNSIGNED)),
    ),
)
SPECIAL_DAYS = InterfaceClass(
    11,
    0,
    "special days table",
    (AttributeType(2, "entries", Repeated(SPECIAL_DAY), is_writable=True),),
    (MethodType(1, "insert", SPECIAL_DAY), MethodType(2, "delete", LONG_UNSIGNED)),
)
ACTIVITY_CALENDAR = InterfaceClass(
    20,
    0,
    "activity calendar",
    (
        AttributeType(2, "calendar_name_active", OCTETS, is_writable=True),
        AttributeType(3, "season_profile_active", SEASONS, is_writable=True),
        AttributeType(4, "week_profile_table_active", WEEKS, is_writable=True),
        AttributeType(5, "day_profile_table_active", DAYS, is_writable=True),
        AttributeType(6, "calendar_name_passive", OCTETS, is_writable=True),
        AttributeType(7, "season_profile_passive", SEASONS, is_writable=True),
        AttributeType(8, "week_profile_table_passive", WEEKS, is_writable=True),
        AttributeType(9, "day_profile_table_passive", DAYS, is_writable=True),
        AttributeType(10, "activate_passive_calendar_time", DATE_TIME, is_writable=True),
    ),
    (MethodType(1, "activate_passive_calendar"),),
)
REGISTER_MONITOR = InterfaceClass(
    21,
    0,
    "register monitor",
    (
        AttributeType(2, "thresholds", Repeated(SIMPLE, 255), is_writable=True),
        AttributeType(3, "monitored_value", VALUE_DEFINITION, is_writable=True),
        AttributeType(
            4, "actions", Repeated(Grouped(ActionSet, up=ACTION_ITEM, down=ACTION_ITEM), 255), is_writable=True
        ),
    ),
)
SINGLE_ACTION_SCHEDULE = InterfaceClass(
    22,
    0,
    "single action schedule",
    (
        AttributeType(2, "executed_script", ACTION_ITEM, is_writable=True),
        AttributeType(3, "type", Enumerated(ScheduleType), is_writable=True),
        AttributeType(4, "execution_time", Repeated(Grouped(ExecutionTime, time=TIME, date=DATE)), is_writable=True),
    ),
)
CLASSES = (SCRIPT_TABLE, SCHEDULE, SPECIAL_DAYS, ACTIVITY_CALENDAR, REGISTER_MONITOR, SINGLE_ACTION_SCHEDULE)
