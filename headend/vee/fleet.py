"""Validate days of many usage points at once. The same results as `headend.vee.service.run`, channel by channel.

Usage points alike (zone, channels, grids, multipliers, one end device all through) are worked on in batches:

1. their raw days are read and decoded together, as many around the days asked for as the rules reach from one slot to the next;
2. each channel is laid out in rows (`headend.vee.rows`), and the rules, the sum checks and the short lines are done for all rows;
3. a row with a gap left is run by itself, over the days that its estimates may look at;
4. the days are written, each with all its channels.

All others go the way of `run`: a meter swapped or moved within the time looked at, a grid that changes, several scalers, a
count that does not fit with its multiplier, a register of another unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo

import numpy as np
import numpy.typing as npt

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.zone import parse_zone
from headend.errors import HeadendError, StoreError
from headend.registry.model import DAY, UsagePoint
from headend.series import Series
from headend.store.block import Channel, layout_of
from headend.store.dayreads import BlockRows
from headend.store.model import Layer, VeeRun
from headend.store.store import Store
from headend.store.validatedwrites import Writing
from headend.vee.alike import Place, place_of
from headend.vee.assemble import VeeError
from headend.vee.balance import balance, check_sums
from headend.vee.beside import siblings, year_before
from headend.vee.fill import fill_short
from headend.vee.likedays import YEAR
from headend.vee.localtime import utc_offsets, whole_days
from headend.vee.mark import mark
from headend.vee.registers import RegisterSpan
from headend.vee.rows import Kind, Rows, lay_out, multiplied
from headend.vee.rules import MEAN_POWER_UNITS, RuleSet
from headend.vee.run import run_series
from headend.vee.service import CHUNK_DAYS, run
from headend.vee.work import Beside, Work
from kernels.quality import Reason, State

SLOTS_AT_ONCE = 1_000_000
"""Slots of raw days that a batch holds about, at some 30 bytes each; a usage point with more is a batch by itself."""


@dataclass(slots=True)
class FleetSummary:
    """What a run did. ``written``, ``unchanged``: channel-days.  ``failed``: channels that could not be validated, in words.

    ``alone``: channels that went one by one.  ``rows_alone``: rows of batches that had to be looked at by themselves.
    """

    channels: int = 0
    written: int = 0
    unchanged: int = 0
    failed: list[str] = field(default_factory=list)
    alone: int = 0
    rows_alone: int = 0


def run_fleet(
    store: Store,
    wanted: Sequence[tuple[UsagePoint, Sequence[Obis]]],
    day_from: int,
    day_to: int,
    rules: RuleSet,
    now: UtcSeconds,
) -> FleetSummary:
    """Validate days ``[day_from, day_to)`` (whole UTC days since 1970-01-01) of channels of usage points and write them.

    As `headend.vee.service.run` of each channel, which see; but a channel that cannot be validated does not stop the others. Needs
    a transaction. Raises the store's errors.
    """
    summary = FleetSummary()
    vee_run = VeeRun(rules.title, now, "", "")
    groups: dict[tuple[object, ...], list[Place]] = {}
    for point, channels in wanted:
        place = None
        try:
            parse_zone(point.zone)
            place = place_of(store, point, channels, day_from, day_to, rules)
        except (ValueError, VeeError):  # said by the run of each channel by itself
            pass
        if place is None or day_to <= day_from:
            _run_alone(store, point, channels, day_from, day_to, rules, now, summary)
        else:
            groups.setdefault((point.zone, place.kinds, tuple(sorted(channels))), []).append(place)
    for (_, _, channels), places in groups.items():  # type: ignore[misc]  # the key as it was made above
        for first in range(day_from, day_to, CHUNK_DAYS):
            last = min(first + CHUNK_DAYS, day_to)
            for batch in _batches(places, last - first):
                job = Batch(store, batch, channels, first, last, rules)
                for place in job.refused:
                    _run_alone(store, place.point, channels, first, last, rules, now, summary)
                if job.places:
                    written = store.write_validated_rows(job.validated(), vee_run)
                    summary.written += int((written == Writing.NEW).sum())
                    summary.unchanged += int((written == Writing.UNCHANGED).sum())
                    summary.channels += len(channels) * len(job.places)
                    summary.rows_alone += job.rows_alone
    return summary


def _run_alone(
    store: Store, point: UsagePoint, channels: Sequence[Obis], day_from: int, day_to: int, rules: RuleSet,
    now: UtcSeconds, summary: FleetSummary,
) -> None:  # fmt: skip
    for obis in channels:
        summary.alone += 1
        try:
            done = run(store, point, obis, day_from, day_to, rules, now)
        except StoreError:
            raise
        except HeadendError as error:
            summary.failed.append(str(error))
            continue
        summary.channels += 1
        summary.written += done.written
        summary.unchanged += done.unchanged


def _batches(places: Sequence[Place], days: int) -> Iterator[Sequence[Place]]:
    slots = sum(DAY // kind.period for kind in places[0].kinds) * (days + 8)
    size = max(1, SLOTS_AT_ONCE // slots)
    for first in range(0, len(places), size):
        yield places[first : first + size]


class Batch:
    """Days ``[first, last)`` of usage points alike. ``refused``: those whose counts do not fit, left out."""

    def __init__(
        self, store: Store, places: Sequence[Place], wanted: Sequence[Obis], first: int, last: int, rules: RuleSet
    ) -> None:
        self._store, self._wanted, self._rules = store, wanted, rules
        self._first, self._last = first, last
        self._zone: tzinfo = parse_zone(places[0].point.zone)
        self._longest = max(place.longest_span for place in places)
        # What reaches from slot to slot, without the weeks and years that estimates look back.
        near = replace(rules, longest_span=self._longest, weeks=0, longest_gap=0)
        self._raw = _Window(store, places, first, last, near)
        self.refused = [place for at, place in enumerate(places) if self._raw.refused[at]]
        self.places = [place for at, place in enumerate(places) if not self._raw.refused[at]]
        if self.refused and self.places:
            self._raw = _Window(store, self.places, first, last, near)
        self.rows_alone = 0

    def validated(self) -> BlockRows:
        """Validate; gives a row for each usage point and day."""
        done: dict[Obis, Rows] = {}
        left: dict[Obis, npt.NDArray[np.int64]] = {}
        for obis in self._wanted:
            done[obis], left[obis] = self._together(obis)
        self._by_themselves(done, left)
        return self._laid_out(done)

    def _together(self, obis: Obis) -> tuple[Rows, npt.NDArray[np.int64]]:
        """Do what can be done for all rows at once; gives the rows, and which of them are left to be run by themselves."""
        raw, kind = self._raw.rows[obis], self._raw.kinds[obis]
        rows = raw.copy()
        beside = Beside(obis, {one: self._raw.rows[one].flat for one in self._beside(kind)}, None, None, kind.limiting)
        work = self._work(rows.flat, kind, beside)
        offsets = utc_offsets(self._zone, rows.flat.start, kind.period, rows.slots)
        work.edges = rows.edges(whole_days(offsets, rows.flat.start, kind.period))
        is_energy = kind.scaler_unit.unit in MEAN_POWER_UNITS
        mark(work, judge_values=is_energy)
        if not is_energy:
            return rows, np.zeros(0, np.int64)
        known = [
            (at, self._work(rows.row(at), kind, beside), self._raw.spans(place, obis))
            for at, place in enumerate(self.places)
            if place.spans.get(obis)
        ]
        for _, one, spans in known:
            check_sums(one, spans)
        fill_short(work)
        for at, one, spans in known:
            before = raw.row(at)
            gaps = (before.state == State.MISSING) & (before.reason != Reason.POWER_OFF)
            for span in spans:
                balance(one, span, gaps[span.first : span.last])
        return rows, np.flatnonzero(self._is_open(rows, kind) | self._wants_year(obis))

    def _is_open(self, rows: Rows, kind: Kind) -> npt.NDArray[np.bool_]:
        """Say which rows have a slot left to estimate, in the days asked for or in a register span that touches them."""
        reach = self._longest // kind.period
        days = self._raw.slots(kind)
        part = rows.tables[1][:, max(0, days.start - reach) : days.stop + reach]
        found: npt.NDArray[np.bool_] = (part == State.MISSING).any(axis=1)
        return found

    def _wants_year(self, obis: Obis) -> npt.NDArray[np.bool_]:
        """Say of which usage points a rule looks at the year before."""
        if "high_low_year" not in self._rules.checks:
            return np.zeros(len(self.places), np.bool_)
        first = self._raw.start - (YEAR + self._rules.look_year) * DAY
        last = self._raw.end - (YEAR - 1) * DAY
        return np.array([any(piece.touches(first, last) for piece in place.pieces[obis]) for place in self.places])

    def _by_themselves(self, done: Mapping[Obis, Rows], left: Mapping[Obis, npt.NDArray[np.int64]]) -> None:
        """Run rows one by one over all the days that their results may depend on, and put the days asked for in place."""
        which = sorted({int(at) for rows in left.values() for at in rows})
        if not which:
            return
        far = replace(self._rules, longest_span=self._longest)
        window = _Window(self._store, [self.places[at] for at in which], self._first, self._last, far)
        for obis, rows in left.items():
            kind = self._raw.kinds[obis]
            target, source = self._raw.slots(kind), window.slots(kind)
            for at in rows.tolist():
                self.rows_alone += 1
                place, index = self.places[at], which.index(at)
                same_grid = [
                    one for one in place.pieces[obis] if (one.period, one.offset) == (kind.period, kind.offset)
                ]
                beside = Beside(
                    obis, {one: window.rows[one].row(index) for one in self._beside(kind)},
                    year_before(self._store, obis, same_grid, window.start, window.end, self._rules), None, kind.limiting,
                )  # fmt: skip
                found = run_series(
                    window.rows[obis].row(index), self._zone, self._rules, window.spans(place, obis), beside=beside
                )
                arrays = (found.values, found.state, found.reason, found.rules)
                for mine, theirs in zip(done[obis].tables, arrays, strict=True):
                    mine[at, target] = theirs[source]

    def _beside(self, kind: Kind) -> list[Obis]:
        """List the channels that one is judged by, of those on its grid."""
        return [
            one
            for one in siblings(kind.obis, self._rules)
            if (found := self._raw.kinds.get(one)) and (found.period, found.offset) == (kind.period, kind.offset)
        ]

    def _work(self, series: Series, kind: Kind, beside: Beside) -> Work:
        limits = self._rules.for_channel(kind.scaler_unit, kind.period, kind.limiting)
        return Work(series, NO_OFFSETS, self._zone, limits, self._rules, beside)

    def _laid_out(self, done: Mapping[Obis, Rows]) -> BlockRows:
        days, kinds = self._last - self._first, self._raw.kinds
        layout = layout_of(
            tuple(
                Channel(obis, kinds[obis].period, kinds[obis].offset, kinds[obis].scaler_unit, is_primary=True)
                for obis in self._wanted
            )
        )
        shape = (len(self.places), days, layout.slots)
        arrays = (np.empty(shape, np.int32), np.empty(shape, np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.uint32))
        for channel in layout.channels:
            cut = self._raw.slots(kinds[channel.obis])
            for mine, theirs in zip(arrays, done[channel.obis].tables, strict=True):
                mine[:, :, layout.spans[channel]] = theirs[:, cut].reshape(len(self.places), days, channel.slots)
        ids = np.repeat(np.array([place.point.id for place in self.places], np.int64), days)
        numbers = np.tile(np.arange(self._first, self._last, dtype=np.int64), len(self.places))
        values, state, reason, rules = (array.reshape(-1, layout.slots) for array in arrays)
        return BlockRows(layout, ids, numbers, values, state, reason, rules)


NO_OFFSETS = np.zeros(0, np.int64)
"""Rows laid end to end have no time of their own; what asks for it must go by single rows."""


class _Window:
    """The raw days around those asked for, of all channels in question."""

    def __init__(self, store: Store, places: Sequence[Place], first: int, last: int, reach: RuleSet) -> None:
        self._first = first
        self._begin = max(0, first - reach.look_back // DAY)
        until = last + reach.look_ahead // DAY
        self.start, self.end = self._begin * DAY, until * DAY
        self._days = last - first
        self.kinds = {kind.obis: kind for kind in places[0].kinds}
        devices = {piece.end_device_id for place in places for piece in place.now.values()}
        blocks = store.block_rows(Layer.RAW, devices, self._begin, until)
        self.rows: dict[Obis, Rows] = {}
        self.refused = np.zeros(len(places), np.bool_)
        for obis, kind in self.kinds.items():
            self.rows[obis] = lay_out(kind, [place.now[obis] for place in places], blocks, self._begin, until)
            if kind.multiplier != 1:
                self.refused |= multiplied(self.rows[obis], kind.multiplier)

    def slots(self, kind: Kind) -> slice:
        """Give where the days asked for lie in a row."""
        first = (self._first - self._begin) * DAY // kind.period
        return slice(first, first + self._days * DAY // kind.period)

    def spans(self, place: Place, obis: Obis) -> list[RegisterSpan]:
        """Give the register spans that lie within a row, by its slots."""
        shift = (self.start - place.start) // self.kinds[obis].period
        length = self.rows[obis].slots
        return [
            RegisterSpan(span.first - shift, span.last - shift, span.delta, span.resolution)
            for span in place.spans.get(obis, ())
            if shift <= span.first and span.last - shift <= length
        ]
