"""`ClassProfile`: how a class of customers uses energy over the day, by month and kind of day. Data, as TOML.

What is nobody's own: the last guess before a flat one, where neither a line nor the usage point's own history serves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files

from drivers.table import CheckedTable
from headend.errors import SettingsError
from headend.toml_file import TomlFileError, read_toml
from headend.vee.holidays import EPOCH, SUNDAY, Holidays, weekday

SATURDAY = 5
KINDS_OF_DAY = ("workday", "saturday", "sunday")
HOURS, MONTHS, MILLE = 24, 12, 1_000
LARGEST = 10**12

Hours = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClassProfile:
    """``months``: mean power by local hour, of workdays, Saturdays, and Sundays with holidays, January first. [mW]

    ``longest``: longer gaps are not filled from it; 0: no limit. [s]
    """

    name: str
    months: tuple[tuple[Hours, Hours, Hours], ...]
    longest: int

    def day(self, day: int, holidays: Holidays) -> tuple[int, int]:
        """Give month, from 0, and kind of a local day counted since 1970-01-01."""
        month = (EPOCH + timedelta(days=day)).month - 1
        if weekday(day) == SUNDAY or holidays.has(day):
            return month, 2
        return month, 1 if weekday(day) == SATURDAY else 0


def with_class(document: Mapping[str, object]) -> Mapping[str, object]:
    """Put the shipped class that a rule set's ``[profile]`` names in its place. Raises `SettingsError` for one there is not."""
    profile = document.get("profile")
    if not isinstance(profile, dict) or "class" not in profile:
        return document
    shipped = files("headend.config") / "classes"
    known = sorted(entry.name.removesuffix(".toml") for entry in shipped.iterdir() if entry.name.endswith(".toml"))
    name = profile["class"]
    if name not in known:
        raise SettingsError([f"profile.class: {str(name)[:60]!r} is no class; shipped: {', '.join(known)}"])
    try:
        shape = read_toml(shipped / f"{name}.toml")
    except TomlFileError as error:
        raise SettingsError([f"{name}: {error}"]) from error
    return {**document, "profile": {**profile, "shape": shape}}


def parse_profile(table: CheckedTable) -> ClassProfile:
    """Read a rule set's ``[profile]``: a class with ``yearly_kwh``, or hours of its own; faults are noted in the table."""
    name = table.text("class", "")
    longest = table.integer("longest_hours", 0, 0, 1_344) * 3_600
    if not name:
        day = _kinds(table)
        return ClassProfile("the rule set's own", ((day[0], day[1], day[2]),) * MONTHS, longest)
    yearly, shape = table.integer("yearly_kwh", None, 1, 10**9), table.table("shape")
    shape.text("source")
    unit = shape.integer("yearly_kwh", None, 1, 10**9)
    rows = shape.tables("months")
    if len(rows) != MONTHS:
        shape.fault("months", f"has {len(rows)} months, not {MONTHS}")
    months = []
    for row in rows:
        day = tuple(tuple((2 * one * yearly + unit) // (2 * unit) for one in hours) for hours in _kinds(row))
        months.append((day[0], day[1], day[2]))
        row.finish()
    shape.finish()
    return ClassProfile(name, tuple(months), longest)


def _kinds(table: CheckedTable) -> tuple[Hours, ...]:
    """Read 24 whole watts of each kind of day. [mW]"""
    found = []
    for key in KINDS_OF_DAY:
        watts = table.integers(key, 0, LARGEST)
        if len(watts) != HOURS:
            table.fault(key, f"has {len(watts)} hours, not {HOURS}")
        found.append(tuple(MILLE * one for one in watts))
    return tuple(found)
