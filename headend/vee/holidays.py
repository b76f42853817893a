"""`Holidays`: days that are like no weekday, as data. Local days are counted since 1970-01-01, Thursday."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from drivers.table import CheckedTable

EPOCH = date(1970, 1, 1)
SUNDAY = 6


@dataclass(frozen=True, slots=True)
class Holidays:
    """``dates``: single days.  ``yearly``: month and day of those that come every year."""

    dates: frozenset[date] = frozenset()
    yearly: frozenset[tuple[int, int]] = frozenset()

    def __contains__(self, day: date) -> bool:
        """Say whether a day is one."""
        return day in self.dates or (day.month, day.day) in self.yearly

    def has(self, day: int) -> bool:
        """Say whether a day, counted since 1970-01-01, is one."""
        return bool(self.dates or self.yearly) and EPOCH + timedelta(days=day) in self


def weekday(day: int) -> int:
    """Give the weekday of a day counted since 1970-01-01: 0 for Monday."""
    return (day + 3) % 7


def parse_holidays(table: CheckedTable) -> Holidays:
    """Read ``dates`` (``2026-04-03``) and ``yearly`` (``12-25``); faults are noted in the table."""
    return Holidays(frozenset(parse_dates(table, "dates")), frozenset(parse_month_days(table, "yearly")))


def parse_dates(table: CheckedTable, key: str) -> Sequence[date]:
    """Read a list of days."""
    found = []
    for text in table.words(key):
        try:
            found.append(date.fromisoformat(text))
        except ValueError:
            table.fault(key, f"{text[:20]!r} is no day; write it as 2026-04-03")
    return found


def parse_month_days(table: CheckedTable, key: str) -> Sequence[tuple[int, int]]:
    """Read a list of days of the year; 02-29 is one."""
    found = []
    for text in table.words(key):
        if (day := month_day(text)) is None:
            table.fault(key, f"{text[:20]!r} is no day of the year; write it as 12-25")
        else:
            found.append(day)
    return found


def month_day(text: str) -> tuple[int, int] | None:
    """Read ``12-25``; None for what is none."""
    try:
        day = date.fromisoformat(f"2000-{text}")  # a leap year, so that 02-29 is a day
    except ValueError:
        return None
    return day.month, day.day
