"""What the store hands out beside series and registry entries. All instants are UTC seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from drivers.facts import Fact, UtcSeconds
from drivers.obis import Obis
from drivers.units import ScalerUnit
from kernels.quality import Reason

COUNTER_WARN = 2**31
"""Invocation counter at which the key should be changed."""
COUNTER_LIMIT = 2**32 - 1
"""First invocation counter that is never handed out. IEC 62056-5-3: 32-bit counter, no wrap under one key."""


class Layer(IntEnum):
    """What a change-log entry is about. Stored: never renumber."""

    RAW = 0
    VALIDATED = 1
    REGISTER = 2
    EVENT = 3
    REGISTRY = 4


@dataclass(frozen=True, slots=True)
class Change:
    """One changed channel-day. Entries of one write share ``seq``; a cursor at ``seq`` has seen all of them.

    ``entity_id``: usage point in the validated layer and for registry changes, else end device.
    ``obis``: None for events and registry changes.
    ``day``: days since 1970-01-01 UTC; of a registry change the first from which it counts.  ``version``: of the validated layer, else 0.  ``run_id``: VEE run or job, if any.
    """

    seq: int
    layer: Layer
    entity_id: int
    obis: Obis | None
    day: int
    version: int
    run_id: int | None
    at: UtcSeconds


@dataclass(frozen=True, slots=True)
class MeterReading:
    """What one meter said at once (CIM MeterReading). ``run_id``: of the job that asked it, if any."""

    end_device_id: int
    facts: Sequence[Fact]
    received_at: UtcSeconds
    run_id: int | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What `Store.record` did, counted in slots, registers and events.

    ``set_aside``: values of channels the registry does not expect at all, kept as set-asides with an event.
    ``dropped``: values older than retention keeps; not stored, with an event a day.
    """

    new: int = 0
    same: int = 0
    conflicts: int = 0
    set_aside: int = 0
    dropped: int = 0

    def __add__(self, other: "Recorded") -> "Recorded":
        """Add up."""
        return Recorded(
            self.new + other.new,
            self.same + other.same,
            self.conflicts + other.conflicts,
            self.set_aside + other.set_aside,
            self.dropped + other.dropped,
        )


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another value for a key that already has one. ``kept`` stays in force, ``refused`` stands here alone.

    ``layer``: raw (``at`` is the slot's start) or register (``at`` is captured_at). Counts are of the own ``scaler_unit`` each.
    """

    id: int
    end_device_id: int
    layer: Layer
    obis: Obis
    at: UtcSeconds
    kept: int
    kept_scaler_unit: ScalerUnit
    refused: int
    refused_scaler_unit: ScalerUnit
    received_at: UtcSeconds


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. ``kind``: ``meter`` for the meter's own log (``code`` is the meter's), ``status`` for what it says of
    intervals (``code`` is its word), else one of ours.
    """

    id: int
    end_device_id: int | None
    kind: str
    code: int
    at: UtcSeconds
    text: str
    received_at: UtcSeconds


@dataclass(frozen=True, slots=True)
class SetAside:
    """A message nobody could use, with the reason. ``size``: of the whole payload, ``payload`` may be its beginning. [B]"""

    id: int
    topic: str
    payload: bytes
    size: int
    reason: str
    first_at: UtcSeconds
    last_at: UtcSeconds
    times: int


@dataclass(frozen=True, slots=True)
class SinkState:
    """How far a sink has come. ``waiting_since``: of the first change it has not delivered, None where there is none.

    ``error``: why it can deliver nothing at present, empty where it can.  ``error_since``: [s UTC]
    """

    seq: int = 0
    waiting_since: UtcSeconds | None = None
    quarantined: int = 0
    error: str = ""
    error_since: UtcSeconds | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A point that a sink could not deliver. ``seq``: where its cursor went past it.  ``times``: how often it was met."""

    id: int
    point: str
    reason: str
    seq: int
    first_at: UtcSeconds
    last_at: UtcSeconds
    times: int


@dataclass(frozen=True, slots=True)
class JobRun:
    """One attempt to read a meter.

    ``kind``: what was asked, for example ``load_profile``.  ``window``: the asked ``[start, end)``, None where there is none.
    ``cause``: why it failed, `Reason.NONE` where it succeeded.  ``detail``: the error in words.
    """

    id: int
    end_device_id: int
    kind: str
    started_at: UtcSeconds
    ended_at: UtcSeconds
    succeeded: bool
    cause: Reason
    detail: str
    window: tuple[UtcSeconds, UtcSeconds] | None


@dataclass(frozen=True, slots=True)
class VeeRun:
    """On whose word a validated version stands. ``rules``: rule set and its version, for example ``residential 3``."""

    rules: str
    at: UtcSeconds
    user: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a validated channel-day. The highest is in force."""

    version: int
    run_id: int
    run: VeeRun
    seq: int
    is_newest: bool


@dataclass(frozen=True, slots=True)
class Counter:
    """Invocation counter of one (system title, key), ours or a meter's.

    ``key_id``: system title and fingerprint of the key.  ``next``: first value never handed out, or seen, yet.
    """

    key_id: str
    next: int

    @property
    def should_change_key(self) -> bool:
        """Say whether the warning level is passed."""
        return self.next >= COUNTER_WARN


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what. Plain rows, append-only."""

    id: int
    at: UtcSeconds
    user: str
    action: str
    subject: str
    detail: str
