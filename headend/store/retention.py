"""What retention drops, and what it owes an account of. Plain values; docs/decisions/retention.md has the reasons."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from drivers.facts import UtcSeconds
from headend.settings import RetentionSettings
from headend.store.model import Layer

VALIDATION = "vee"
"""The cursor of validation. It is in this house, so it is waited for however long it takes."""


def day_of(number: int) -> date:
    """Give the UTC day that is so many days after 1970-01-01."""
    return date(1970, 1, 1) + timedelta(number)


class Kept(StrEnum):
    """What has a term of its own. Stored: never rename."""

    RAW = "raw"
    VALIDATED = "validated"
    SUM = "sum"
    REGISTER = "register"
    EVENT = "event"
    JOB_RUN = "job_run"
    SET_ASIDE = "set_aside"
    CHANGE = "change_log"


LAYERS: Mapping[Kept, Layer] = {
    Kept.RAW: Layer.RAW,
    Kept.VALIDATED: Layer.VALIDATED,
    Kept.REGISTER: Layer.REGISTER,
    Kept.EVENT: Layer.EVENT,
}
"""What sinks take, by the layer under which the change log names it."""


def terms(policy: RetentionSettings) -> Iterator[tuple[Kept, int]]:
    """Give what is not kept for good, with how long it is. [d]"""
    days = {
        Kept.RAW: policy.raw_days,
        Kept.VALIDATED: policy.validated_days,
        Kept.SUM: policy.sums_days,
        Kept.REGISTER: policy.register_days,
        Kept.EVENT: policy.event_days,
        Kept.JOB_RUN: policy.job_run_days,
        Kept.SET_ASIDE: policy.set_aside_days,
        Kept.CHANGE: policy.change_days,
    }
    return ((what, term) for what, term in days.items() if term)


@dataclass(frozen=True, slots=True)
class Floor:
    """Days before ``day`` (since 1970-01-01 UTC) are dropped; of the change log the entries up to ``seq``."""

    day: int = 0
    seq: int = 0
    at: UtcSeconds = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Changes that were dropped before a sink had taken them: numbers and days from first to last, inclusive.

    ``layer``: None where the log's own entries were dropped.  ``first_day``, ``last_day``: None where nobody knows any more.
    ``reached_at``: when the sink came there and was told, None before.
    """

    sink: str
    first_seq: int
    last_seq: int
    layer: Layer | None
    first_day: int | None
    last_day: int | None
    changes: int
    at: UtcSeconds = 0
    reached_at: UtcSeconds | None = None
    id: int = 0

    def __str__(self) -> str:
        """Say it in a line."""
        what = "of the log's entries" if self.layer is None else f"of the {self.layer.name.lower()} layer"
        days = ""
        if self.first_day is not None and self.last_day is not None:
            days = f", days {day_of(self.first_day)} to {day_of(self.last_day)}"
        return f"changes {what}, {self.changes} with numbers {self.first_seq} to {self.last_seq}{days}"


@dataclass(frozen=True, slots=True)
class Held:
    """What is kept beyond its term, up to ``until`` (a day, exclusive; of the change log a number), and for which cursor."""

    what: Kept
    cursor: str
    until: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be dropped, as seen when ``newest`` was the newest change: new floors, and the gaps they tear."""

    newest: int
    floors: Mapping[Kept, Floor] = field(default_factory=dict)
    gaps: Sequence[Gap] = ()
    held: Sequence[Held] = ()


@dataclass(frozen=True, slots=True)
class Doomed:
    """Rows below the floor, by key.  ``sums``: what is to be left of them.  ``damaged``: those of which nothing can be."""

    what: Kept
    keys: Sequence[tuple[Any, ...]]
    sums: Sequence[tuple[int, bytes]] = ()
    damaged: Sequence[str] = ()
