"""What reading a meter costs a line, before anything is sent: octets each way, answers waited for, silences kept.

Each protocol counts its own in a module ``cost`` beside its driver, from its own encoders: one function, `VisitCost`. What it
cannot count it names by raising `NotComputed`; nothing is guessed. A figure here is of the line alone: what the host, its
adapter and a network add is part of the latency, where that was learned.
"""

from collections.abc import Callable
from dataclasses import dataclass

from drivers.contract import Endpoint
from drivers.facts import UtcSeconds
from drivers.obis import Obis


class NotComputed(Exception):
    """What a visit costs cannot be said; the message names what it is that cannot be counted."""


@dataclass(frozen=True, slots=True)
class Medium:
    """A link as costs see it. ``bits_per_second``: None where it has no speed of its own; then octets take no time.

    ``bits_per_character``: 10 for 8N1, 11 for 8E1. [bit]  ``has_parity``: whether a byte with wrong parity is never delivered.
    """

    bits_per_second: int | None = None
    bits_per_character: int = 10
    has_parity: bool = False

    def wire(self, octets: float) -> float:
        """Time that octets take. [s]"""
        return octets * self.bits_per_character / self.bits_per_second if self.bits_per_second else 0.0


@dataclass(frozen=True, slots=True)
class Ask:
    """What one visit asks for. ``window``: load profile of ``[start, end)`` [s UTC], or None.  ``clock``: compare clocks."""

    registers: tuple[Obis, ...] = ()
    window: tuple[UtcSeconds, UtcSeconds] | None = None
    clock: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """What something takes. ``sent``, ``received``: by us [octet].  ``turns``: answers whose beginning is waited for.

    ``silence``: in which nobody speaks, because a rule or the profile says so. [s]
    ``other_speed``: what the octets take beyond their time at the link's own speed, where a protocol changes it; below 0
    where they are faster. [s]
    """

    sent: int = 0
    received: int = 0
    turns: int = 0
    silence: float = 0.0
    other_speed: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Do both."""
        return Cost(
            self.sent + other.sent,
            self.received + other.received,
            self.turns + other.turns,
            self.silence + other.silence,
            self.other_speed + other.other_speed,
        )

    def times(self, number: int) -> "Cost":
        """Do it so often."""
        return Cost(
            number * self.sent,
            number * self.received,
            number * self.turns,
            number * self.silence,
            number * self.other_speed,
        )

    @property
    def octets(self) -> int:
        """Octets on the line, both ways."""
        return self.sent + self.received

    def seconds(self, medium: Medium, latency: float) -> float:
        """Give the time that it takes on a link, of a meter that begins its answers after ``latency``. [s]"""
        return medium.wire(self.octets) + self.other_speed + self.turns * latency + self.silence


VisitCost = Callable[[Endpoint, Ask, Medium, float], Cost]
"""Counts one undisturbed visit to a meter whose kind is known, from its identity to the silence behind its last answer.

Given the meter (no credentials needed), what to ask, the link, and the latency that is reckoned with [s]: where a driver
decides by it what to ask for. Raises `NotComputed`, and `ProfileError` for an endpoint that cannot be read.
"""
