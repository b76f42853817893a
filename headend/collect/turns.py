"""Whose turn it is on a line: the most urgent first, and nobody waits for ever. Pure; the owner and the forecast both go by it."""

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


W = TypeVar("W", bound=Waiting)


class Turns:
    """Gives turns by class and order of arrival; every second one, from `AGEING` on, to whoever has waited longest."""

    def __init__(self, ageing: float = AGEING) -> None:
        self._ageing = ageing
        self._was_aged_turn = False

    def choose(self, waiting: Iterable[W], now: float) -> W:
        """Choose among work that waits, at least one, at an instant of the clock. [s]"""
        some = list(waiting)
        chosen = min(some, key=lambda work: (work.priority, work.order))
        oldest = min(some, key=lambda work: work.order)
        is_aged = now - oldest.since > self._ageing
        self._was_aged_turn = is_aged and not self._was_aged_turn and chosen.priority is not Priority.ALARM
        return oldest if self._was_aged_turn else chosen
