"""Whose turn it is on a line: the most urgent first, and nobody waits for ever. Pure; the owner and the forecast both go by it.

Work that has aged gets every second turn. It stands back behind polls at their boundary, whose values would not be exact any
more: those are overtaken only where they alone have had the line for as long as ageing takes.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from headend.collect.job import Priority

AGEING = 600.0
"""Waiting time after which work gets every second turn, whatever its class. [s]"""


class Waiting(Protocol):
    """Work that waits. ``order``: of arrival.  ``since``: when it arrived. [clock s]"""

    @property
    def priority(self) -> Priority:
        """Class of the work."""

    @property
    def order(self) -> int:
        """Number of its arrival, rising."""

    @property
    def since(self) -> float:
        """Instant of its arrival. [clock s]"""

    @property
    def is_punctual(self) -> bool:
        """Whether it is worth less the later it is done: a poll at its boundary."""


W = TypeVar("W", bound=Waiting)


class Turns:
    """Gives turns by class and order of arrival; every second one, from `AGEING` on, to whoever has waited longest."""

    def __init__(self, ageing: float = AGEING) -> None:
        self._ageing = ageing
        self._was_aged_turn = False
        self._punctual_since: float | None = None  # since when punctual work alone has had the line [clock s]

    def choose(self, waiting: Iterable[W], now: float) -> W:
        """Choose among work that waits, at least one, at an instant of the clock. [s]"""
        some = list(waiting)
        chosen = min(some, key=lambda work: (work.priority, work.order))
        oldest = min(some, key=lambda work: work.order)
        is_aged = now - oldest.since > self._ageing
        self._was_aged_turn = is_aged and not self._was_aged_turn and self._gives_way(chosen, now)
        if self._was_aged_turn:
            chosen = oldest
        if not chosen.is_punctual:
            self._punctual_since = None
        elif self._punctual_since is None:
            self._punctual_since = now
        return chosen

    def _gives_way(self, chosen: Waiting, now: float) -> bool:
        """Say whether work whose turn it would be lets aged work go first."""
        if chosen.is_punctual:
            return self._punctual_since is not None and now - self._punctual_since > self._ageing
        return chosen.priority is not Priority.ALARM
