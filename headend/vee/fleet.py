"""Validate days of many usage points at once. The same results as `headend.vee.service.run`, channel by channel.

Usage points alike (zone, channels, grids, multipliers, one end device all through) are worked on in batches:

1. their raw days are read and decoded together, no further around those asked for than rules reach (`headend.vee.window`);
2. channels are laid out in rows, and rules and estimates are done for all rows at once (`headend.vee.rows`, `headend.vee.together`);
3. the days are written, each with all its channels.

All others go the way of `run`: a meter swapped or moved within the time looked at, a grid that changes, several scalers, a
count that does not fit with its multiplier, a register of another unit, a check meter beside, tariffs whose registers were read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.zone import parse_zone
from headend.errors import HeadendError, SettingsError, StoreError
from headend.registry.model import DAY, UsagePoint
from headend.store.model import VeeRun
from headend.store.store import Store
from headend.store.validatedwrites import Writing
from headend.vee.alike import Place, place_of
from headend.vee.assemble import VeeError
from headend.vee.calendar import Calendars
from headend.vee.rows import Kind
from headend.vee.rules import RuleSet
from headend.vee.service import CHUNK_DAYS, NO_CALENDARS, run
from headend.vee.together import Batch

SLOTS_AT_ONCE = 500_000
"""Slots of raw days that a batch holds about, at some 30 bytes each; a usage point with more is a batch by itself."""


@dataclass(slots=True)
class FleetSummary:
    """What a run did. ``written``, ``unchanged``: channel-days.  ``failed``: why channels could not be validated, in words.

    ``alone``: channels that went one by one.  ``rows_alone``: rows of batches that were, for the sake of another year.
    """

    channels: int = 0
    written: int = 0
    unchanged: int = 0
    failed: dict[tuple[UsagePoint, Obis], str] = field(default_factory=dict)
    alone: int = 0
    rows_alone: int = 0


def run_fleet(
    store: Store,
    wanted: Sequence[tuple[UsagePoint, Sequence[Obis]]],
    day_from: int,
    day_to: int,
    rules: RuleSet,
    now: UtcSeconds,
    calendars: Calendars = NO_CALENDARS,
) -> FleetSummary:
    """Validate days ``[day_from, day_to)`` (whole UTC days since 1970-01-01) of channels of usage points and write them.

    As `headend.vee.service.run` of each channel, which see; but a channel that cannot be validated does not stop the others. Needs
    a transaction. Raises the store's errors.
    """
    summary = FleetSummary()
    vee_run = VeeRun(rules.title, now, "", "")
    groups: dict[tuple[int, str, tuple[Kind, ...], tuple[Obis, ...]], list[Place]] = {}
    for point, channels in wanted:
        place = None
        try:
            parse_zone(point.zone)
            place = place_of(store, point, channels, day_from, day_to, rules, calendars)
        except (ValueError, SettingsError, VeeError):  # said by the run of each channel by itself
            pass
        if place is None or day_to <= day_from:
            _run_alone(store, point, channels, day_from, day_to, rules, now, summary, calendars)
        else:
            groups.setdefault((place.first, point.zone, place.kinds, tuple(sorted(channels))), []).append(place)
    for (begin, _, _, channels), places in groups.items():
        for first in range(begin, day_to, CHUNK_DAYS):
            last = min(first + CHUNK_DAYS, day_to)
            for batch in _batches(places, last - first):
                job = Batch(store, batch, channels, first, last, rules)
                for place in job.refused:
                    _run_alone(store, place.point, channels, first, last, rules, now, summary, calendars)
                if not job.places:
                    continue
                try:
                    rows = job.validated()
                except StoreError:
                    raise
                except HeadendError:  # a count of weeks or a year before does not fit; its channel says so by itself
                    for place in job.places:
                        _run_alone(store, place.point, channels, first, last, rules, now, summary, calendars)
                    continue
                written = store.write_validated_rows(rows, vee_run)
                summary.written += int((written == Writing.NEW).sum())
                summary.unchanged += int((written == Writing.UNCHANGED).sum())
                summary.rows_alone += job.rows_alone
    summary.channels = sum(len(channels) for _, channels in wanted) - len(summary.failed)
    return summary


def _run_alone(
    store: Store, point: UsagePoint, channels: Sequence[Obis], day_from: int, day_to: int, rules: RuleSet,
    now: UtcSeconds, summary: FleetSummary, calendars: Calendars,
) -> None:  # fmt: skip
    for obis in channels:
        summary.alone += 1
        try:
            done = run(store, point, obis, day_from, day_to, rules, now, calendars=calendars)
        except StoreError:
            raise
        except HeadendError as error:
            summary.failed[point, obis] = str(error)
            continue
        summary.written += done.written
        summary.unchanged += done.unchanged


def _batches(places: Sequence[Place], days: int) -> Iterator[Sequence[Place]]:
    slots = sum(DAY // kind.period for kind in places[0].kinds) * (days + 8)
    size = max(1, SLOTS_AT_ONCE // slots)
    for first in range(0, len(places), size):
        yield places[first : first + size]
