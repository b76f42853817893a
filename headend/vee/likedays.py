"""Which days serve as reference for an estimate of a day, nearest first. Pure.

Two orders. ``weekday``: the same weekday 1, 2, ... weeks back. ``table``: the two-week like-day table of utility
practice (Itron, topic 252762), days of this week among them. Holidays are a class of their own: they look to Sundays,
and nobody looks to them.
"""

from collections.abc import Sequence
from enum import StrEnum

from headend.vee.holidays import SUNDAY, Holidays, weekday

YEAR = 364
"""The same week of the year before, same weekday. [d]"""

_TABLE: Sequence[Sequence[int]] = (
    (7, 14),  # Monday: Monday of last week and of the week before
    (7, 6, 5),  # Tuesday: Tuesday, Wednesday, Thursday of last week
    (7, 1, 8, 6),  # Wednesday: last week's, Tuesday of this week, Tuesday and Thursday of last week
    (7, 1, 8, 2, 9),  # Thursday: last week's, Wednesday, last week's, Tuesday, last week's
    (7,), (7,), (7,),  # Friday, Saturday, Sunday: last week's
)  # fmt: skip


class Order(StrEnum):
    """How like days are chosen."""

    WEEKDAY = "weekday"
    TABLE = "table"


def like_days(day: int, order: Order, weeks: int, holidays: Holidays) -> list[int]:
    """Give how many days back the reference days of a local day lie, nearest first by the order; none beyond ``weeks``.

    ``day``: counted since 1970-01-01.
    """
    if holidays.has(day):
        to_sunday = (weekday(day) - SUNDAY) % 7 or 7
        back: Sequence[int] = range(to_sunday, 7 * weeks + 1, 7)
    elif order is Order.WEEKDAY:
        back = range(7, 7 * weeks + 1, 7)
    else:
        back = [days for days in _TABLE[weekday(day)] if days <= 7 * weeks]
    return [days for days in back if not holidays.has(day - days)]
