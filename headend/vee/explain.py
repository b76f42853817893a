"""Why a validated slot is what it is: which rules it failed, which method filled it and from what. Nothing is written.

The run is done again for the slot's day with a watch on the slot, so that what is told is what the rules do, not an
account kept beside it; then the result is held against the version that stands in the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.units import ScalerUnit
from headend.errors import RegistryError
from headend.registry.model import UsagePoint
from headend.series import Series
from headend.store.model import Version
from headend.vee.assemble import DAY, Reader
from headend.vee.calendar import Calendars
from headend.vee.checks import KINDS, Severity
from headend.vee.rules import CORE, RuleSet
from headend.vee.service import NO_CALENDARS, Prepared, prepared_days
from headend.vee.work import Note, Watch
from kernels.quality import HAS_VALUE, Reason, Rule, State

_SAYS = {
    Rule.RANGE: "is outside the limits {low} to {high}",
    Rule.SPIKE: "stands more than {spike} permille above the third highest of its local day",
    Rule.ZERO_RUN: "is of a run of {zeros} zeros or more",
    Rule.SUM_CHECK: "is of a span whose intervals do not sum to the register difference",
    Rule.FLOAT_RESOLUTION: "was sent as a float coarser than the channel's resolution",
    Rule.UNPROTECTED: "was read where nobody checks parity",
}
_NAMES = {rule: name for name, rule in CORE.items()} | {kind.rule: name for name, kind in KINDS.items()}


class ExplainReader(Reader, Protocol):
    """What is read of the store."""

    def versions(self, usage_point_id: int, obis: Obis, day: int) -> Sequence[Version]:
        """List the versions of a validated channel-day, oldest first."""

    def validated_version(self, usage_point_id: int, obis: Obis, day: int, version: int | None = None) -> Series:
        """Give one version of a validated channel-day."""


@dataclass(frozen=True, slots=True)
class SlotState:
    """What a slot is. ``value``: in counts, None where the state carries none."""

    state: State
    reason: Reason
    rules: Rule
    value: int | None


@dataclass(frozen=True, slots=True)
class FailedRule:
    """A rule that the slot failed. ``name``: its table in the rule set.  ``severity``, ``source``: None where the rule
    set has no such table.
    """

    rule: Rule
    name: str
    says: str
    severity: Severity | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """How slot ``[start, start + period)`` [s UTC] came about. ``raw``: at the primary side.  ``notes``: the steps, in
    order.

    ``stored``: the version in force of the slot's day, None where it was never validated.  ``is_as_stored``: it is what
    the rules give now.
    """

    usage_point: str
    obis: Obis
    start: UtcSeconds
    period: int
    scaler_unit: ScalerUnit
    rules: str
    raw: SlotState
    result: SlotState
    failed: tuple[FailedRule, ...]
    notes: tuple[Note, ...]
    stored: Version | None
    is_as_stored: bool


def explain(
    reader: ExplainReader,
    usage_point: UsagePoint,
    obis: Obis,
    at: UtcSeconds,
    rules: RuleSet,
    calendars: Calendars = NO_CALENDARS,
) -> Explanation:
    """Explain the slot of a channel in which an instant falls. Raises `RegistryError` where none is expected there,
    `VeeError` and the store's errors.
    """
    # A slot that starts before midnight may hold an instant behind it.
    for day in (at // DAY, at // DAY - 1):
        for prepared in prepared_days(reader, usage_point, obis, max(0, day), max(0, day) + 1, rules, calendars):
            raw = prepared.raw
            slot = (at - raw.start) // raw.period
            if (
                prepared.first <= (raw.start + slot * raw.period) // DAY < prepared.last
                and raw.state[slot] != State.NOT_EXPECTED
            ):
                return _explained(reader, usage_point, obis, prepared, slot, rules)
    raise RegistryError(
        f"usage point {usage_point.name}, {obis}: no slot is expected at {at} s UTC; see `headend meter show`"
    )


def _explained(
    reader: ExplainReader, usage_point: UsagePoint, obis: Obis, prepared: Prepared, slot: int, rules: RuleSet
) -> Explanation:
    watch = Watch(slot)
    done = prepared.run(watch)
    start = done.start + slot * done.period
    day = start // DAY
    versions = reader.versions(usage_point.id, obis, day)
    result = _state(done, slot)
    is_same = False
    if versions:
        stored = reader.validated_version(usage_point.id, obis, day)
        index = (start - stored.start) // stored.period
        is_same = stored.scaler_unit == done.scaler_unit and _state(stored, index) == result
    limits = rules.for_channel(done.scaler_unit, done.period, prepared.beside.multiplier)
    low, high = (
        f"{done.scaler_unit.to_decimal(limit)} {done.scaler_unit.unit.symbol}" for limit in (limits.low, limits.high)
    )
    words = {"low": low, "high": high, "spike": limits.spike_permille, "zeros": limits.zero_run}
    failed = []
    for rule in Rule:
        if rule in result.rules:
            name = _NAMES.get(rule, str(rule.name).lower())
            says = KINDS[name].says if name in KINDS else _SAYS[rule].format(**words)
            failed.append(FailedRule(rule, name, says, rules.severities.get(rule), rules.sources.get(name)))
    return Explanation(
        usage_point.name, obis, start, done.period, done.scaler_unit, rules.title, _state(prepared.raw, slot), result,
        tuple(failed), tuple(watch.notes), versions[-1] if versions else None, is_same,
    )  # fmt: skip


def _state(series: Series, slot: int) -> SlotState:
    state = State(int(series.state[slot]))
    value = int(series.values[slot]) if state in HAS_VALUE else None
    return SlotState(state, Reason(int(series.reason[slot])), Rule(int(series.rules[slot])), value)
