"""Run VEE over days of a usage point's channel: read the raw layer, validate, write what changed."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Protocol

import numpy as np

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.zone import parse_zone
from headend.errors import SettingsError
from headend.registry.model import UsagePoint
from headend.series import Series
from headend.store.model import VeeRun
from headend.vee.assemble import DAY, Piece, Reader, VeeError, assemble, common_scaler_unit, pieces
from headend.vee.beside import gather
from headend.vee.calendar import Calendars
from headend.vee.registers import RegisterSpan, TariffRegisters
from headend.vee.rules import MEAN_POWER_UNITS, RuleSet
from headend.vee.run import run_series
from headend.vee.tariffs import numbers_of, registers_of_slots
from headend.vee.work import Beside, Watch
from kernels.quality import Rule, State

CHUNK_DAYS = 184
"""Days validated at a time; each costs the rule set's context once. Results do not depend on it."""
NO_CALENDARS = Calendars()
ENERGY = 29
"""Value group D of interval channels, IEC 62056-6-1."""
_IDLE = (State.NOT_EXPECTED, State.EXPECTED)


class Writer(Reader, Protocol):
    """What is read and written of the store."""

    def transaction(self) -> AbstractContextManager[None]:
        """Make what is written within one transaction."""

    def write_validated(self, usage_point_id: int, obis: Obis, day: int, series: Series, run: VeeRun) -> int | None:
        """Write one day, unless it is what stands there; gives the new version, else None."""


@dataclass(slots=True)
class VeeSummary:
    """What one run did to one channel. ``written``: days that got a new version; ``unchanged``: days that are as they were.

    ``slots``: by state, of the days looked at.  ``failed``: slots by failed rule.
    """

    usage_point: str
    obis: Obis
    rules: str
    written: int = 0
    unchanged: int = 0
    slots: dict[State, int] = field(default_factory=dict)
    failed: dict[Rule, int] = field(default_factory=lambda: dict.fromkeys(Rule, 0))

    def count(self, series: Series) -> None:
        """Add a day's slots."""
        states = np.bincount(series.state, minlength=len(State)).tolist()
        for state in State:
            self.slots[state] = self.slots.get(state, 0) + states[state]
        masks, counts = np.unique(series.rules, return_counts=True)
        for mask, count in zip(masks.tolist(), counts.tolist(), strict=True):
            for rule in Rule(mask):
                self.failed[rule] += count


def run(
    store: Writer,
    usage_point: UsagePoint,
    obis: Obis,
    day_from: int,
    day_to: int,
    rules: RuleSet,
    now: UtcSeconds,
    *,
    user: str = "",
    reason: str = "",
    calendars: Calendars = NO_CALENDARS,
) -> VeeSummary:
    """Validate days ``[day_from, day_to)`` (whole UTC days since 1970-01-01) of one channel and write them in one transaction.

    Days on which nothing is known yet are not written. ``now`` only dates the run: the result depends on raw layer, registry and
    rules alone, and a day that comes out as it stands gets no new version. Raises `VeeError` and the store's errors;
    nothing is written then.
    """
    summary = VeeSummary(usage_point.name, obis, rules.title)
    vee_run = VeeRun(rules.title, now, user, reason)
    with store.transaction():
        for day, series in validated_days(store, usage_point, obis, day_from, day_to, rules, calendars):
            is_idle = bool(np.isin(series.state, _IDLE).all())
            if is_idle and obis not in store.validated_channels(usage_point.id, day):
                continue
            if store.write_validated(usage_point.id, obis, day, series, vee_run) is None:
                summary.unchanged += 1
            else:
                summary.written += 1
            summary.count(series)
    return summary


def channels(store: Reader, usage_point: UsagePoint) -> list[Obis]:
    """List the channels any end device was ever expected to deliver at a usage point, sorted."""
    return sorted(
        {
            entry.obis
            for place in store.installations(usage_point_id=usage_point.id)
            for entry in store.expectations(place.end_device_id)
        }
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """Days ``[first, last)`` of a channel, with all that their result depends on. ``raw``: in primary counts, with context on both sides."""

    first: int
    last: int
    offset: int
    raw: Series
    spans: tuple[RegisterSpan, ...]
    beside: Beside
    zone: tzinfo
    rules: RuleSet

    def run(self, watch: Watch | None = None) -> Series:
        """Validate; gives the series with its context."""
        is_energy = self.raw.scaler_unit.unit in MEAN_POWER_UNITS
        return run_series(self.raw, self.zone, self.rules, self.spans, is_energy, beside=self.beside, watch=watch)


def validated_days(
    store: Reader,
    usage_point: UsagePoint,
    obis: Obis,
    day_from: int,
    day_to: int,
    rules: RuleSet,
    calendars: Calendars = NO_CALENDARS,
) -> Iterator[tuple[int, Series]]:
    """Give day and validated series of each UTC day of ``[day_from, day_to)`` on which the channel is expected. Writes nothing.

    Raises as `prepared_days`.
    """
    for prepared in prepared_days(store, usage_point, obis, day_from, day_to, rules, calendars):
        with _named(usage_point, obis):
            done = prepared.run()
        for day in range(prepared.first, prepared.last):
            yield day, done.window(day * DAY + prepared.offset, (day + 1) * DAY + prepared.offset)


def prepared_days(
    store: Reader,
    usage_point: UsagePoint,
    obis: Obis,
    day_from: int,
    day_to: int,
    rules: RuleSet,
    calendars: Calendars = NO_CALENDARS,
) -> Iterator[Prepared]:
    """Read what the UTC days of ``[day_from, day_to)`` on which the channel is expected depend on, chunk by chunk.

    ``calendars``: those that the usage point's tariffs may name. Raises `VeeError` for a channel no meter there delivers, a
    zone that is none, a tariff that there is not, or a grid that changes within a day.
    """
    with _named(usage_point, obis):
        if not 0 <= day_from <= day_to:
            raise VeeError(f"days {day_from} to {day_to} are no span")
        try:
            zone = parse_zone(usage_point.zone)
        except ValueError as error:
            raise VeeError(f"{error}; correct the usage point's zone") from error
        tariffs = usage_point.tariffs if obis.d == ENERGY and obis.e == 0 else ()
        try:
            numbers = numbers_of(tariffs, calendars)
        except SettingsError as error:
            raise VeeError(f"{error}; correct the usage point's tariff, or vee.calendars of the settings") from error
        found = pieces(store, usage_point.id, obis)
        if not found:
            raise VeeError("no meter installed there is expected to deliver it; see `headend meter show`")
        common_scaler_unit(found)
        chunks = _chunks(found, day_from, day_to)
    while True:
        with _named(usage_point, obis):
            if (chunk := next(chunks, None)) is None:
                return
            first, last, same_grid = chunk
            start, end = max(0, first * DAY - rules.look_back), last * DAY + rules.look_ahead
            whole = assemble(store, same_grid, obis, start, end, rules, tariffs=numbers)
            beside = gather(store, usage_point, obis, same_grid, start, end, rules)
            if numbers:
                of_slot = registers_of_slots(whole.series, zone, tariffs, calendars)
                beside = replace(beside, tariff=TariffRegisters(of_slot, whole.tariffs))
        yield Prepared(first, last, same_grid[0].offset, whole.series, whole.spans, beside, zone, rules)


@contextmanager
def _named(usage_point: UsagePoint, obis: Obis) -> Iterator[None]:
    """Say in a `VeeError` which usage point and channel it is about."""
    try:
        yield
    except VeeError as error:
        raise VeeError(f"usage point {usage_point.name}, {obis}: {error}") from error


def _chunks(found: Sequence[Piece], day_from: int, day_to: int) -> Iterator[tuple[int, int, list[Piece]]]:
    """Cut the days on which the channel is expected into chunks of one grid, with all pieces of that grid."""
    chunk: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None
    for day in range(day_from, day_to + 1):
        touching = [piece for piece in found if day < day_to and piece.touches(day * DAY, (day + 1) * DAY)]
        grids = {(piece.period, piece.offset) for piece in touching}
        if len(grids) > 1:
            raise VeeError(
                f"its interval grid changes within UTC day {day}; let the old meter's installation end and the new "
                "one's begin at UTC midnight"
            )
        here = grids.pop() if grids else None
        if chunk and (here != grid or day - chunk[0] == CHUNK_DAYS):
            yield chunk[0], day, [piece for piece in found if (piece.period, piece.offset) == grid]
            chunk = None
        if here is not None:
            chunk = (chunk[0] if chunk else day, day)
            grid = here
