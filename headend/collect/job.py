"""What the planner hands to the engine: jobs to do, slots to mark, and how a job ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.registry.model import EndDevice
from kernels.quality import Reason


class Priority(IntEnum):
    """Class of work on a line; lower goes first."""

    ALARM = 0
    ON_DEMAND = 1
    SCHEDULED = 2
    BACKFILL = 3


class JobKind(StrEnum):
    """What a job asks of a meter; stored with each run."""

    LOAD_PROFILE = "load_profile"
    REGISTERS = "registers"
    CLOCK = "clock"
    ON_DEMAND = "on_demand"


@dataclass(frozen=True, slots=True)
class Span:
    """Slots of one channel within ``[start, end)`` [s UTC], ``period`` [s] each, without value yet.

    ``is_untried``: nor do they have a cause; these get one even when the line is not used.
    """

    obis: Obis
    period: int
    start: UtcSeconds
    end: UtcSeconds
    is_untried: bool


@dataclass(frozen=True, slots=True)
class Job:
    """One visit to one meter.

    ``start``, ``end``: window asked, or the slots that a poll answers for [s UTC]; equal where no slot depends on it.
    ``spans``: the slots within that the job is for; they get its cause if it fails.
    ``registers``: running values to read.  ``expires_at``: instant from which doing it is pointless [s UTC].
    """

    device: EndDevice
    kind: JobKind
    priority: Priority
    start: UtcSeconds
    end: UtcSeconds
    spans: tuple[Span, ...] = ()
    registers: tuple[Obis, ...] = ()
    expires_at: UtcSeconds | None = None

    @property
    def key(self) -> tuple[int, JobKind]:
        """Name of the work that must not be planned twice at a time."""
        return self.device.id, self.kind

    @property
    def is_punctual(self) -> bool:
        """Whether it is worth less the later it is done: a poll at its boundary."""
        return self.expires_at is not None

    @property
    def window(self) -> tuple[UtcSeconds, UtcSeconds] | None:
        """Window ``[start, end)`` as a run records it, None where the job answers for no slots. [s UTC]"""
        return (self.start, self.end) if self.start < self.end else None


@dataclass(frozen=True, slots=True)
class Mark:
    """Slots of one channel within ``[start, end)`` [s UTC] that are missing for ``cause``, known without asking."""

    end_device_id: int
    obis: Obis
    start: UtcSeconds
    end: UtcSeconds
    cause: Reason


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """What one round did. ``failed``: jobs by cause.  ``new``: facts stored.  ``marked``: slots given a cause."""

    jobs: int = 0
    ok: int = 0
    failed: Mapping[Reason, int] = field(default_factory=dict)
    new: int = 0
    same: int = 0
    conflicts: int = 0
    marked: int = 0

    def __add__(self, other: "RoundSummary") -> "RoundSummary":
        """Add up two rounds."""
        causes = self.failed.keys() | other.failed.keys()
        return RoundSummary(
            self.jobs + other.jobs,
            self.ok + other.ok,
            {cause: self.failed.get(cause, 0) + other.failed.get(cause, 0) for cause in sorted(causes)},
            self.new + other.new,
            self.same + other.same,
            self.conflicts + other.conflicts,
            self.marked + other.marked,
        )
