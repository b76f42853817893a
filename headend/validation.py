"""Follows the change log and validates what changed: a durable cursor, like every other consumer of the log.

A value may change the result of days before it (a gap that it ends, a register that closes a span) and after it
(reference days), as far as the rule set reaches. All those days are run again; days that come out as they stand get no new
version. A change of the registry (a swap or a multiplier noted late) has the days run again that are validated already.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from drivers.facts import UtcSeconds
from drivers.obis import Obis, interval_of
from headend.errors import HeadendError, StoreError
from headend.registry.model import UsagePoint
from headend.store.model import Change, Layer
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from headend.vee.beside import siblings
from headend.vee.calendar import Calendars
from headend.vee.likedays import YEAR
from headend.vee.rules import RuleSet
from headend.vee.service import NO_CALENDARS, channels, run

CURSOR = "vee"
BATCH = 5_000
DAY = 86_400

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ValidationSummary:
    """What was validated. ``written``: channel-days that got a new version.  ``failed``: channels that could not be, in words."""

    channels: int = 0
    written: int = 0
    unchanged: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, other: "ValidationSummary") -> None:
        """Add another run's."""
        self.channels += other.channels
        self.written += other.written
        self.unchanged += other.unchanged
        self.failed += other.failed


@dataclass(frozen=True, slots=True)
class _Channel:
    point: UsagePoint
    obis: Obis


class Validator:
    """Keeps the validated layer up with the raw one. One task at a time calls `catch_up`."""

    def __init__(self, writer: GroupCommitWriter, rules: RuleSet, calendars: Calendars = NO_CALENDARS) -> None:
        self._writer = writer
        self._calendars = calendars
        self._rules = rules
        self._position: int | None = None
        self._pending: dict[_Channel, dict[int, int]] = defaultdict(dict)
        self.total = ValidationSummary()

    async def catch_up(self, now: UtcSeconds, *, with_today: bool) -> ValidationSummary:
        """Validate all days that changed since the last call; the UTC day of ``now`` stays pending unless ``with_today``.

        The cursor moves only past changes that are dealt with. Raises `StoreError`; a channel that cannot be validated is
        named in the summary and in the log, and does not stop the others.
        """
        await self._read_log()
        summary = ValidationSummary()
        last = now // DAY if with_today else now // DAY - 1
        for channel in sorted(self._pending, key=lambda item: (item.point.name, item.obis)):
            days = [day for day in self._pending[channel] if day <= last]
            if days:
                summary.add(await self._validate(channel, days, now))
                for day in days:
                    del self._pending[channel][day]
        await self._advance()
        self.total.add(summary)
        return summary

    async def _read_log(self) -> None:
        while True:
            changes = await self._writer.submit(self._next_changes)
            if not changes:
                return
            self._position = changes[-1].seq
            found = await self._writer.submit(partial(_touched, changes=changes, rules=self._rules))
            for channel, day, seq in found:
                self._pending[channel].setdefault(day, seq)

    def _next_changes(self, store: Store) -> list[Change]:
        if self._position is None:
            self._position = store.cursor(CURSOR)
        return store.changes(self._position, BATCH)

    async def _validate(self, channel: _Channel, days: Iterable[int], now: UtcSeconds) -> ValidationSummary:
        done = ValidationSummary(1)
        for first, last in self._spans(sorted(days), now // DAY):
            done.add(await self._run(channel, first, last, now))
            if done.failed:
                break
        return replace(done, channels=0 if done.failed else 1)

    def _spans(self, days: Sequence[int], today: int) -> list[tuple[int, int]]:
        """Say which days, first and last inclusive, may come out differently: around the changed ones, and a year later."""
        first = max(0, days[0] - -(-self._rules.look_ahead // DAY))
        last = min(today, days[-1] + -(-self._rules.look_back // DAY))
        spans = [(first, last)]
        around = self._rules.look_year
        if around and days[0] + YEAR - around <= today:
            spans.append((max(last + 1, days[0] + YEAR - around), min(today, days[-1] + YEAR + around)))
        return spans

    async def _run(self, channel: _Channel, first: int, last: int, now: UtcSeconds) -> ValidationSummary:
        try:
            done = await self._writer.submit(
                lambda store: run(
                    store, channel.point, channel.obis, first, last + 1, self._rules, now, calendars=self._calendars
                )
            )
        except StoreError:
            raise
        except HeadendError as error:
            _log.warning("not validated", usage_point=channel.point.name, obis=str(channel.obis), error=str(error))
            return ValidationSummary(failed=[str(error)])
        return ValidationSummary(0, done.written, done.unchanged)

    async def _advance(self) -> None:
        open_since = min((seq for days in self._pending.values() for seq in days.values()), default=None)
        reached = self._position if open_since is None else open_since - 1
        await self._writer.submit(lambda store: store.advance_cursor(CURSOR, max(store.cursor(CURSOR), reached or 0)))


def _touched(store: Store, changes: Iterable[Change], rules: RuleSet) -> list[tuple[_Channel, int, int]]:
    """Say which channels and days of usage points changes touch, with the change's number: those that changed, and those judged by them."""
    points = {point.id: point for point in store.usage_points()}
    known: dict[int, frozenset[Obis]] = {}
    checked_by: dict[str, list[UsagePoint]] = defaultdict(list)
    for point in points.values():
        checked_by[point.check_meter].append(point)
    found = []

    def is_known(point: UsagePoint, obis: Obis) -> bool:
        if point.id not in known:
            known[point.id] = frozenset(channels(store, point))
        return obis in known[point.id]

    for change in changes:
        if change.layer is Layer.REGISTRY:
            for point in (points[change.entity_id], *checked_by[points[change.entity_id].name]):
                found += [
                    (_Channel(point, obis), day, change.seq)
                    for day, obis in store.validated_days(point.id, change.day)
                    if is_known(point, obis)
                ]
            continue
        if change.layer not in {Layer.RAW, Layer.REGISTER} or change.obis is None:
            continue
        touched = {change.obis} if change.layer is Layer.RAW else _counted_by(change.obis)
        for place in store.installations(end_device_id=change.entity_id):
            starts_before_end = place.start < (change.day + 1) * DAY
            if not starts_before_end or (place.end is not None and place.end <= change.day * DAY):
                continue
            point = points[place.usage_point_id]
            for obis in sorted(touched):
                if not is_known(point, obis):
                    continue
                judged = (other for other in known[point.id] if obis in siblings(other, rules))
                found += [(_Channel(point, one), change.day, change.seq) for one in (obis, *judged)]
                if change.layer is Layer.RAW:
                    others = [other for other in checked_by[point.name] if is_known(other, obis)]
                    found += [(_Channel(other, obis), change.day, change.seq) for other in others]
    return found


def _counted_by(register: Obis) -> set[Obis]:
    """List the interval channels that a register sums up: its own, and of a tariff's the whole."""
    return {interval_of(register), interval_of(replace(register, e=0))}
