"""A line's day played through on paper: each job in its turn, for its time. Pure.

The rules are the engine's: turns as `Turns` gives them, no job planned while one like it is on its way, and a poll whose next
boundary has come is not made any more.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from drivers.facts import UtcSeconds
from headend.collect.demand import Due
from headend.collect.job import JobKind, Priority
from headend.collect.turns import Turns


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
    def is_punctual(self) -> bool:
        return self.due.job.is_punctual


class _Line:
    """What waits for the line, by class in order of arrival, and what is on its way."""

    def __init__(self, dues: Iterable[Due]) -> None:
        self._coming = sorted(dues, key=lambda due: due.at)
        self._next = 0
        self._waiting: dict[Priority, deque[_Waiting]] = {priority: deque() for priority in Priority}
        self._busy: Counter[tuple[int, JobKind]] = Counter()
        self._turns = Turns()
        self.missed: list[Due] = []

    def next_arrival(self) -> float | None:
        """Say when something falls due next; None where nothing does, or something waits. [s UTC]"""
        if any(self._waiting.values()) or self._next == len(self._coming):
            return None
        return float(self._coming[self._next].at)

    def arrive(self, now: float) -> None:
        """Let wait what has fallen due by ``now`` [s UTC]; the jobs of one instant are planned together."""
        while self._next < len(self._coming) and (at := self._coming[self._next].at) <= now:
            before = frozenset(self._busy)
            while self._next < len(self._coming) and (due := self._coming[self._next]).at == at:
                if due.key in before:
                    self.missed.append(due)
                else:
                    self._busy[due.key] += 1
                    self._waiting[due.job.priority].append(_Waiting(due.job.priority, self._next, float(at), due))
                self._next += 1

    def choose(self, now: float) -> Due | None:
        """Give the turn to one that waits; None where nobody does."""
        # The most urgent and the oldest are both first of their class.
        firsts = [waiting[0] for waiting in self._waiting.values() if waiting]
        if not firsts:
            return None
        return self._waiting[self._turns.choose(firsts, now).priority].popleft().due

    def done(self, due: Due) -> None:
        """Take note that a job is not on its way any more."""
        self._busy[due.key] -= 1
        if not self._busy[due.key]:
            del self._busy[due.key]


def play(dues: Iterable[Due], until: float) -> Outcome:
    """Play jobs through a line, one at a time, those that begin before ``until``. [s UTC]"""
    line = _Line(dues)
    played: list[Played] = []
    now = 0.0
    while now < until:
        now = max(now, line.next_arrival() or now)
        line.arrive(now)
        due = line.choose(now)
        if due is None:
            break
        if due.job.expires_at is not None and now >= due.job.expires_at:
            line.missed.append(due)
        else:
            played.append(Played(due, now, now + due.seconds))
            now += due.seconds
            line.arrive(now)  # what falls due meanwhile meets it on its way
        line.done(due)
    return Outcome(tuple(played), tuple(line.missed))


def busy_within(outcome: Outcome, start: UtcSeconds, end: UtcSeconds) -> float:
    """Give the time within ``[start, end)`` [s UTC] in which the line was in use. [s]"""
    return sum(max(0.0, min(one.ended, end) - max(one.began, start)) for one in outcome.played)
