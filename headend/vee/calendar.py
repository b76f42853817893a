"""`TariffCalendar`: which tariff bucket (register, rate) a slot belongs to, from seasons, day types, holidays and
special days. Data, as TOML.

A slot belongs to the bucket in force when it starts, in local time. A switch that falls within a slot is refused:
nobody could say how its energy divides.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from drivers.obis import TARIFFS
from drivers.table import CheckedTable, Faults, nearest
from headend.errors import SettingsError
from headend.toml_file import TomlFileError, read_toml
from headend.vee.holidays import EPOCH, Holidays, month_day, parse_dates, parse_holidays, weekday
from headend.vee.localtime import DAY, Int64

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_BUCKETS = 64

Switches = tuple[tuple[int, int], ...]
"""Local second of the day and bucket from then on; the first at 0."""


@dataclass(frozen=True, slots=True)
class Season:
    """``first`` to ``last``: month and day, both inclusive; a season may run over the end of the year."""

    name: str
    first: tuple[int, int]
    last: tuple[int, int]

    def __contains__(self, day: date) -> bool:
        """Say whether a day is in the season."""
        at = (day.month, day.day)
        if self.first <= self.last:
            return self.first <= at <= self.last
        return at >= self.first or at <= self.last


@dataclass(frozen=True, slots=True)
class Tariff:
    """Buckets by name, and the switches of each season and day type.

    ``registers``: of each bucket the tariff register that the meter counts it in (value group E: 1 is 1.8.1), two buckets may
    share one; empty where the meter has none, or nobody says.
    """

    name: str
    buckets: tuple[str, ...]
    schedule: Mapping[tuple[str, str], Switches]
    registers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TariffCalendar:
    """Seasons and day types of several tariffs. ``by_weekday``: day type of each weekday.  ``special``: of single days,
    before holidays.
    """

    name: str
    version: int
    source: str
    seasons: tuple[Season, ...]
    by_weekday: tuple[str, ...]
    holidays: Holidays
    holiday_type: str
    special: Mapping[date, str]
    tariffs: Mapping[str, Tariff]

    def season(self, day: date) -> str:
        """Name the season of a local day."""
        return next(season.name for season in self.seasons if day in season)

    def day_type(self, day: date) -> str:
        """Name the type of a local day: a special day first, then a holiday, then its weekday."""
        if day in self.special:
            return self.special[day]
        if day in self.holidays:
            return self.holiday_type
        return self.by_weekday[weekday((day - EPOCH).days)]

    def tariff(self, name: str) -> Tariff:
        """Find a tariff by name. Raises `SettingsError` naming those there are."""
        if name not in self.tariffs:
            raise SettingsError([f"{self.name}: no tariff {name[:60]!r}{nearest(name[:60], self.tariffs)}"])
        return self.tariffs[name]

    def buckets(self, tariff: str, offsets: Int64, start: int, period: int) -> npt.NDArray[np.uint8]:
        """Give the bucket of each slot of a series, as an index into the tariff's buckets, shape (len(offsets),).

        ``offsets``: from `headend.vee.localtime.utc_offsets`. Raises `ValueError` for a switch within a slot,
        `SettingsError` for an unknown tariff.
        """
        chosen = self.tariff(tariff)
        local = start + period * np.arange(len(offsets), dtype=np.int64) + offsets
        days, seconds = local // DAY, local % DAY
        found = np.zeros(len(offsets), np.uint8)
        for day in np.unique(days).tolist():
            here = EPOCH + timedelta(days=day)
            switches = chosen.schedule[self.season(here), self.day_type(here)]
            slots = np.flatnonzero(days == day)
            times = np.array([second for second, _ in switches], np.int64)
            inside = (times[:, None] > seconds[slots]) & (times[:, None] < seconds[slots] + period)
            if inside.any():
                second = int(times[inside.any(axis=1)][0])
                raise ValueError(
                    f"{self.name}, {tariff}: the switch at {second // 3600:02}:{second % 3600 // 60:02} on {here} falls within an "
                    f"interval of {period} s; its energy cannot be divided"
                )
            codes = np.array([bucket for _, bucket in switches], np.uint8)
            found[slots] = codes[np.searchsorted(times, seconds[slots], side="right") - 1]
        return found


class Calendars:
    """The calendars there are, by name."""

    def __init__(self, known: Iterable[TariffCalendar] = ()) -> None:
        self._known = {calendar.name: calendar for calendar in known}

    @property
    def tariffs(self) -> Mapping[str, Collection[str]]:
        """The tariffs of each calendar, by name."""
        return {name: calendar.tariffs.keys() for name, calendar in self._known.items()}

    def calendar(self, name: str) -> TariffCalendar:
        """Find a calendar. Raises `SettingsError` naming those there are."""
        if name not in self._known:
            known = ", ".join(sorted(self._known)) or "none"
            raise SettingsError([f"vee.calendars: no calendar is named {name[:60]!r}; there are {known}"])
        return self._known[name]


def load_calendars(directories: Sequence[str] = ()) -> Calendars:
    """Load the shipped calendars, then those of ``directories``; one of the same name takes the place of the one before.

    Raises `SettingsError` with the faults of all files.
    """
    places: list[Traversable] = [files("headend.config") / "calendars"]
    faults: list[str] = []
    for directory in map(Path, directories):
        if directory.is_dir():
            places.append(directory)
        else:
            faults.append(f"vee.calendars: {directory} is no directory")
    found = []
    for place in places:
        for entry in sorted(place.iterdir(), key=lambda one: one.name):
            if entry.name.endswith(".toml"):
                try:
                    found.append(load_calendar(entry))
                except SettingsError as error:
                    faults += error.faults
    if faults:
        raise SettingsError(faults)
    return Calendars(found)


def load_calendar(file: Traversable) -> TariffCalendar:
    """Load a calendar from its TOML file. Raises `SettingsError`, all faults at once."""
    try:
        document = read_toml(file)
    except TomlFileError as error:
        raise SettingsError([f"{file}: {error}"]) from error
    return parse_calendar(file.name.removesuffix(".toml"), document)


def parse_calendar(name: str, document: Mapping[str, object]) -> TariffCalendar:
    """Make a calendar out of a parsed document. Raises `SettingsError` with every fault as ``name: key: what``."""
    faults = Faults()
    top = CheckedTable(document, faults)
    version, source = top.integer("version", None, 1, 1_000_000), top.text("source")
    seasons = tuple(_season(table) for table in top.tables("seasons")) or (Season("all", (1, 1), (12, 31)),)
    _check_seasons(seasons, top)
    by_weekday, types = _day_types(top)
    holidays_table = top.table("holidays")
    holidays = parse_holidays(holidays_table)
    holiday_type = holidays_table.text("day_type", "sun" if "sun" in types else types[-1] if types else "")
    special: dict[date, str] = {}
    for table in top.tables("special_days"):
        kind = table.text("day_type")
        special |= dict.fromkeys(parse_dates(table, "dates"), kind)
        table.finish()
    for kind in {holiday_type, *special.values()} - set(types):
        top.fault("day_types", f"has no {kind!r}{nearest(kind, types)}")
    tariffs = [_tariff(table, [season.name for season in seasons], types) for table in top.tables("tariffs")]
    if not tariffs:
        top.fault("tariffs", "must have one tariff or more")
    holidays_table.finish()
    top.finish()
    if faults.lines:
        raise SettingsError([f"{name}: {line}" for line in faults.lines])
    by_name = MappingProxyType({tariff.name: tariff for tariff in tariffs})
    return TariffCalendar(
        name, version, source, seasons, by_weekday, holidays, holiday_type, MappingProxyType(special), by_name
    )


def _season(table: CheckedTable) -> Season:
    bounds = []
    for key in ("from", "to"):
        text = table.text(key)
        if (day := month_day(text)) is None:
            table.fault(key, f"{text[:20]!r} is no day of the year; write it as 12-25")
        bounds.append(day or (1, 1))
    season = Season(table.text("name"), bounds[0], bounds[1])
    table.finish()
    return season


def _check_seasons(seasons: Sequence[Season], top: CheckedTable) -> None:
    for number in range(366):
        day = date(2000, 1, 1) + timedelta(days=number)
        if (found := sum(day in season for season in seasons)) != 1:
            top.fault("seasons", f"{day:%m-%d} is in {found} of them, not in one")
            return


def _day_types(top: CheckedTable) -> tuple[tuple[str, ...], list[str]]:
    types, of_day = [], dict.fromkeys(WEEKDAYS, "")
    for table in top.tables("day_types"):
        types.append(table.text("name"))
        for word in table.words("weekdays") if table.has("weekdays") else []:
            if word not in of_day or of_day[word]:
                table.fault("weekdays", f"{word[:20]!r} is no weekday such as mon, or has a day type already")
            of_day[word] = types[-1]
        table.finish()
    if missing := [word for word, kind in of_day.items() if not kind]:
        top.fault("day_types", f"leave out {', '.join(missing)}")
    return tuple(of_day[word] for word in WEEKDAYS), types


def _tariff(table: CheckedTable, seasons: Sequence[str], types: Sequence[str]) -> Tariff:
    name, buckets = table.text("name"), table.words("buckets")
    if not 1 <= len(buckets) <= MAX_BUCKETS or len(set(buckets)) != len(buckets):
        table.fault("buckets", f"must name 1 to {MAX_BUCKETS} buckets, each once")
    schedule: dict[tuple[str, str], Switches] = {}
    for row in table.tables("schedules"):
        switches = _switches(row, buckets)
        for season in row.words("seasons") if row.has("seasons") else seasons:
            for kind in row.words("day_types") if row.has("day_types") else types:
                if season not in seasons or kind not in types:
                    row.fault("day_types", f"{season[:20]!r} or {kind[:20]!r} is not defined")
                elif (season, kind) in schedule:
                    row.fault("day_types", f"{season}, {kind} has a schedule already")
                schedule[season, kind] = switches
        row.finish()
    if missing := [f"{season}, {kind}" for season in seasons for kind in types if (season, kind) not in schedule]:
        table.fault("schedules", f"leave out {'; '.join(missing[:5])}")
    registers = table.integers("registers", 1, TARIFFS) if table.has("registers") else []
    if registers and len(registers) != len(buckets):
        table.fault("registers", f"has {len(registers)} of them for {len(buckets)} buckets; name one for each")
    table.finish()
    return Tariff(name, tuple(buckets), MappingProxyType(schedule), tuple(registers))


def _switches(row: CheckedTable, buckets: Sequence[str]) -> Switches:
    found = []
    for table in row.tables("switches"):
        at, bucket = table.text("at"), table.text("bucket")
        hours, _, minutes = at.partition(":")
        is_time = len(at) == 5 and hours.isdecimal() and minutes.isdecimal() and int(hours) < 24 and int(minutes) < 60
        if not is_time:
            table.fault("at", f"{at[:20]!r} is no time of day; write it as 07:30")
        if bucket not in buckets:
            table.fault("bucket", f"{bucket[:20]!r} is none{nearest(bucket, buckets)}")
        if is_time and bucket in buckets:
            found.append((int(hours) * 3600 + int(minutes) * 60, list(buckets).index(bucket)))
        table.finish()
    if not found or found[0][0] or any(one >= two for (one, _), (two, _) in pairwise(found)):
        row.fault("switches", "must begin at 00:00 and rise")
    return tuple(found)
