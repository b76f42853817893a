"""Follows the change log and validates what changed: a durable cursor, like every other consumer of the log.

A value may change the result of days before it (a gap that it ends, a register that closes a span) and after it
(reference days), as far as the rule set reaches. All those days are run again; days that come out as they stand get no new
version. A change of the registry (a swap or a multiplier noted late) has the days run again that are validated already.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from drivers.facts import UtcSeconds
from drivers.obis import Obis, interval_of
from headend.registry.model import UsagePoint
from headend.store.model import Change, Layer
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from headend.vee.beside import siblings
from headend.vee.calendar import Calendars
from headend.vee.fleet import run_fleet
from headend.vee.likedays import YEAR
from headend.vee.rules import RuleSet
from headend.vee.service import NO_CALENDARS, channels

CURSOR = "vee"
BATCH = 5_000
CHANNEL_DAYS_AT_ONCE = 1_000
"""Channel-days validated in one transaction: what is collected meanwhile waits for it, and must not for long."""
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
        for spans, due in self._due(last, now // DAY).items():
            for part in _parts(due, sum(last - first + 1 for first, last in spans)):
                summary.add(await self._validate(part, spans, now))
                for point, codes in part:
                    for obis in codes:
                        days = self._pending[_Channel(point, obis)]
                        for day in [day for day in days if day <= last]:
                            del days[day]
        await self._advance(now // DAY)
        self.total.add(summary)
        return summary

    def _due(self, last: int, today: int) -> dict[tuple[tuple[int, int], ...], list[tuple[UsagePoint, list[Obis]]]]:
        """Give what is to be validated up to day ``last``: usage points and channels, by the days that they need."""
        found: dict[tuple[tuple[int, int], ...], dict[UsagePoint, list[Obis]]] = {}
        for channel in sorted(self._pending, key=lambda item: (item.point.name, item.obis)):
            if days := sorted(day for day in self._pending[channel] if day <= last):
                points = found.setdefault(tuple(self._spans(days, today)), {})
                points.setdefault(channel.point, []).append(channel.obis)
        return {spans: list(points.items()) for spans, points in found.items()}

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

    async def _validate(
        self, due: list[tuple[UsagePoint, list[Obis]]], spans: Iterable[tuple[int, int]], now: UtcSeconds
    ) -> ValidationSummary:
        summary = ValidationSummary(sum(len(codes) for _, codes in due))
        for first, last in spans:
            done = await self._writer.submit(
                partial(
                    run_fleet,
                    wanted=due,
                    day_from=first,
                    day_to=last + 1,
                    rules=self._rules,
                    now=now,
                    calendars=self._calendars,
                )
            )
            for (point, obis), error in done.failed.items():
                _log.warning("not validated", usage_point=point.name, obis=str(obis), error=error)
            summary.add(ValidationSummary(-len(done.failed), done.written, done.unchanged, list(done.failed.values())))
            due = [(point, [one for one in codes if (point, one) not in done.failed]) for point, codes in due]
        return summary

    def _spans(self, days: Sequence[int], today: int) -> list[tuple[int, int]]:
        """Say which days, first and last inclusive, may come out differently: around the changed ones, and a year later."""
        first = max(0, days[0] - -(-self._rules.look_ahead // DAY))
        last = min(today, days[-1] + -(-self._rules.look_back // DAY))
        spans = [(first, last)]
        around = self._rules.look_year
        if around and days[0] + YEAR - around <= today:
            spans.append((max(last + 1, days[0] + YEAR - around), min(today, days[-1] + YEAR + around)))
        return spans

    async def _advance(self, today: int) -> None:
        """Move the cursor up to the first change of an open day.

        One far ahead is a wrong clock's. It is kept in mind until it is over, but is not waited for: retention waits for this cursor, and a
        start reads everything behind it. After a restart the day is validated with whatever else comes of it.
        """
        ahead = (item for days in self._pending.values() for item in days.items())
        open_since = min((seq for day, seq in ahead if day <= today + 1), default=None)
        reached = self._position if open_since is None else open_since - 1
        await self._writer.submit(lambda store: store.advance_cursor(CURSOR, max(store.cursor(CURSOR), reached or 0)))


def _parts(due: Sequence[tuple[UsagePoint, list[Obis]]], days: int) -> Iterator[list[tuple[UsagePoint, list[Obis]]]]:
    """Cut what is due into parts that may each be done in one transaction."""
    part: list[tuple[UsagePoint, list[Obis]]] = []
    channel_days = 0
    for point, codes in due:
        part.append((point, codes))
        channel_days += len(codes) * days
        if channel_days >= CHANNEL_DAYS_AT_ONCE:
            yield part
            part, channel_days = [], 0
    if part:
        yield part


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
