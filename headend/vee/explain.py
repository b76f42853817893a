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
from headend.store.model import Event, Version
from headend.vee.assemble import DAY, Reader, pieces
from headend.vee.calendar import Calendars
from headend.vee.checks import KINDS, Severity
from headend.vee.rules import CORE, RuleSet
from headend.vee.service import NO_CALENDARS, Prepared, prepared_days
from headend.vee.work import Note, Watch, instant_text
from kernels.quality import HAS_VALUE, Reason, Rule, State

_SAYS = {
    Rule.RANGE: "is outside the limits {low} to {high}",
    Rule.SPIKE: "stands more than {spike} permille above the third highest of its local day",
    Rule.ZERO_RUN: "is of a run of {zeros} zeros or more",
    Rule.SUM_CHECK: "is of a span whose intervals do not sum to the register difference",
    Rule.FLOAT_RESOLUTION: "was sent as a float coarser than the channel's resolution",
    Rule.UNPROTECTED: "was read where nobody checks parity",
}
STATUS_REACH = 41 * DAY
"""How long before a slot the meter may have begun to say what it says of it: as far back as it is ever asked at once. [s]"""
MAX_EVENTS = 100_000
_MEANINGS = {
    Rule.POWER_FAILURE: "power failure",
    Rule.CLOCK_SET: "clock set",
    Rule.TEST_MODE: "test mode",
    Rule.OVERFLOW: "overflow",
    Rule.METER_STATUS: "doubtful",
    Rule.STATUS_UNKNOWN: "unknown",
}
_CAUSES = {Reason.POWER_OFF: "power failure", Reason.CLOCK_MOVED: "clock set"}
_NAMES = {rule: name for name, rule in CORE.items()} | {kind.rule: name for name, kind in KINDS.items()}


class ExplainReader(Reader, Protocol):
    """What is read of the store."""

    def events(
        self, end_device_id: int | None, kind: str | None, start: UtcSeconds, end: UtcSeconds, limit: int
    ) -> list[Event]:
        """List what happened within ``[start, end)``, oldest first."""

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

    ``said``: the meter's own words of it, from its status or its log.
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
    said: tuple[str, ...]
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
        f"usage point {usage_point.name}, {obis}: no slot is expected at {instant_text(at)}; see `headend meter show`"
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
        tuple(failed), tuple(watch.notes), _said(reader, usage_point, obis, prepared.raw, slot), versions[-1] if versions else None, is_same,
    )  # fmt: skip


def _said(reader: ExplainReader, usage_point: UsagePoint, obis: Obis, raw: Series, slot: int) -> tuple[str, ...]:
    """Find the words in which the meter said what the slot's quality goes by.

    They were kept where they began, or at the row behind a gap that they explain.
    """
    start = raw.start + slot * raw.period
    end = start + raw.period
    state = _state(raw, slot)
    wanted = {word for rule, word in _MEANINGS.items() if rule in state.rules}
    if state.state is State.MISSING and state.reason in _CAUSES:
        wanted.add(_CAUSES[state.reason])
    device = next((one.end_device_id for one in pieces(reader, usage_point.id, obis) if one.touches(start, end)), None)
    if not wanted or device is None:
        return ()
    events = reader.events(device, "status", max(0, start - STATUS_REACH), end + STATUS_REACH, MAX_EVENTS)
    fitting = [one for one in events if wanted & set(one.text.partition(":")[0].split(", "))]
    if state.state is not State.MISSING:
        fitting = [one for one in fitting if one.at < end][-1:]
    nearest = min(fitting, key=lambda one: abs(one.at - start), default=None)
    return () if nearest is None else (nearest.text,)


def _state(series: Series, slot: int) -> SlotState:
    state = State(int(series.state[slot]))
    value = int(series.values[slot]) if state in HAS_VALUE else None
    return SlotState(state, Reason(int(series.reason[slot])), Rule(int(series.rules[slot])), value)
