"""A line's day played through on paper: each job in its turn, for its time. Pure.

The rules are the engine's: turns as `Turns` gives them, no job planned while one like it is on its way, and a poll whose next
boundary has come is not made any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from drivers.facts import UtcSeconds
from headend.collect.demand import Due
from headend.collect.job import JobKind, Priority
from headend.collect.turns import Turns

UNLIMITED: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Played:
    """A job that had its turn, from ``began`` to ``ended``. [s UTC]"""

    due: Due
    began: float
    ended: float

    @property
    def lateness(self) -> float | None:
        """How long after its boundary a poll was done, None for what is no poll. [s]"""
        return None if self.due.boundary is None else self.ended - self.due.boundary


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the jobs. ``missed``: those that never had a turn, as the one before was still on its way or time was up."""

    played: tuple[Played, ...]
    missed: tuple[Due, ...]


@dataclass(frozen=True, slots=True)
class _Waiting:
    priority: Priority
    order: int
    since: float
    due: Due

    @property
    def key(self) -> tuple[int, JobKind]:
        return self.due.job.key


def play(dues: Iterable[Due], until: float = UNLIMITED) -> Outcome:
    """Play jobs through a line, one at a time, those that began before ``until`` [s UTC]; in order of when they fall due."""
    coming = sorted(dues, key=lambda due: due.at)
    turns = Turns()
    waiting: dict[int, _Waiting] = {}
    busy: set[tuple[int, JobKind]] = set()
    played: list[Played] = []
    missed: list[Due] = []
    now, at = 0.0, 0
    while at < len(coming) or waiting:
        if not waiting:
            now = max(now, float(coming[at].at))
        at = _arrive(coming, at, now, waiting, busy, missed)
        if now >= until:
            break
        chosen = turns.choose(waiting.values(), now)
        del waiting[chosen.order]
        due = chosen.due
        if due.job.expires_at is not None and now >= due.job.expires_at:
            missed.append(due)
            busy.discard(chosen.key)
            continue
        played.append(Played(due, now, now + due.seconds))
        # What falls due while it is on its way meets it there.
        at = _arrive(coming, at, now + due.seconds, waiting, busy, missed)
        now += due.seconds
        if not any(other.key == chosen.key for other in waiting.values()):
            busy.discard(chosen.key)
    return Outcome(tuple(played), tuple(missed))


def _arrive(
    coming: list[Due],
    at: int,
    now: float,
    waiting: dict[int, _Waiting],
    busy: set[tuple[int, JobKind]],
    missed: list[Due],
) -> int:
    """Let wait what has fallen due by ``now`` [s UTC]; give the place of the next."""
    before = frozenset(busy)
    first = at
    while at < len(coming) and coming[at].at <= now:
        due = coming[at]
        # The jobs of one instant are planned together, so several of one kind may be among them.
        if at > first and coming[at - 1].at != due.at:
            before = frozenset(busy)
        if due.job.key in before:
            missed.append(due)
        else:
            busy.add(due.job.key)
            waiting[at] = _Waiting(due.job.priority, at, float(due.at), due)
        at += 1
    return at


def busy_within(outcome: Outcome, start: UtcSeconds, end: UtcSeconds) -> float:
    """Give the time within ``[start, end)`` [s UTC] in which the line was in use. [s]"""
    return sum(max(0.0, min(one.ended, end) - max(one.began, start)) for one in outcome.played)
