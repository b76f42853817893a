"""Days of usage points alike, validated together: first over the few days around that rules reach to; what has more to
estimate once more over the weeks of its like days, by the profile of its class too; and what looks at another year row by row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo

import numpy as np
import numpy.typing as npt

from drivers.obis import Obis
from drivers.zone import parse_zone
from headend.registry.model import DAY
from headend.series import Series
from headend.store.block import Channel, layout_of
from headend.store.dayreads import BlockRows
from headend.store.store import Store
from headend.vee.alike import Place
from headend.vee.assemble import VeeError
from headend.vee.balance import check_sums
from headend.vee.beside import siblings, year_before
from headend.vee.fill import fill_from_class, fill_from_days, fill_short
from headend.vee.likedays import YEAR
from headend.vee.localtime import utc_offsets, whole_days
from headend.vee.mark import mark
from headend.vee.rows import Kind, Rows
from headend.vee.rules import MEAN_POWER_UNITS, RuleSet
from headend.vee.run import run_series
from headend.vee.tariffs import scale
from headend.vee.window import Window
from headend.vee.work import Beside, Work
from kernels.quality import Reason, State

NO_OFFSETS = np.zeros(0, np.int64)
"""Of a single row whose time nobody asks for."""


class Batch:
    """Days ``[first, last)`` of usage points alike. ``refused``: those whose counts do not fit, left out."""

    def __init__(
        self, store: Store, places: Sequence[Place], wanted: Sequence[Obis], first: int, last: int, rules: RuleSet
    ) -> None:
        self._store, self._wanted, self._rules = store, wanted, rules
        self._first, self._last = first, last
        self._zone: tzinfo = parse_zone(places[0].point.zone)
        self._longest = max(place.longest_span for place in places)
        # What reaches from slot to slot, without what estimates from other days and of the class look at.
        near = replace(rules, longest_span=self._longest, weeks=0, longest_gap=0, profile=None)
        self._raw = Window(store, places, places[0].kinds, first, last, near)
        self.refused = [place for at, place in enumerate(places) if self._raw.refused[at]]
        self.places = [place for at, place in enumerate(places) if not self._raw.refused[at]]
        if self.refused and self.places:
            self._raw = Window(store, self.places, places[0].kinds, first, last, near)
        self.rows_alone = 0

    def validated(self) -> BlockRows:
        """Validate; gives a row for each usage point and day."""
        done: dict[Obis, Rows] = {}
        left: dict[Obis, list[int]] = {}
        for obis in self._wanted:
            done[obis], left[obis] = self._together(self._raw, obis, is_far=False)
        self._look_further(done, left)
        return self._laid_out(done)

    def _look_further(self, done: Mapping[Obis, Rows], left: Mapping[Obis, Sequence[int]]) -> None:
        """Do the rows that are left over all the days that their estimates may look at, and put the days asked for in place."""
        which = sorted({at for rows in left.values() for at in rows})
        if not which:
            return
        concerned = [obis for obis, rows in left.items() if rows]
        beside = [one for obis in concerned for one in self._beside(self._raw.kinds[obis])]
        kinds = [kind for kind in self._raw.kinds.values() if kind.obis in {*concerned, *beside}]
        far = replace(self._rules, longest_span=self._longest)
        window = Window(self._store, [self.places[at] for at in which], kinds, self._first, self._last, far)
        if window.refused.any():
            raise VeeError("a count does not fit 32 bits with its multiplier")
        for obis in concerned:
            kind = self._raw.kinds[obis]
            rows, alone = self._together(window, obis, is_far=True)
            for index, at in enumerate(which):
                if at in left[obis]:
                    if index in alone:
                        self.rows_alone += 1
                        found = self._alone(window, obis, index)
                    else:
                        found = rows.row(index)
                    for mine, theirs in zip(done[obis].tables, found.arrays, strict=True):
                        mine[at, self._raw.slots(kind)] = theirs[window.slots(kind)]

    def _together(self, window: Window, obis: Obis, *, is_far: bool) -> tuple[Rows, list[int]]:
        """Do what can be done for all rows at once; gives the rows, and which of them have more to estimate or to look at.

        ``is_far``: the window has all days that estimates look at, but for those of another year.
        """
        raw, kind = window.rows[obis], window.kinds[obis]
        rows = raw.copy()
        beside = Beside(obis, {one: window.rows[one].flat for one in self._beside(kind)}, None, None, kind.limiting)
        work = self._work(rows.flat, kind, beside)
        work.offsets, work.row = utc_offsets(self._zone, rows.flat.start, kind.period, rows.slots), rows.slots + 1
        work.edges = rows.edges(whole_days(work.offsets, rows.flat.start, kind.period))
        is_energy = kind.scaler_unit.unit in MEAN_POWER_UNITS
        mark(work, judge_values=is_energy)
        if not is_energy:
            return rows, []
        known = [
            (at, self._work(rows.row(at), kind, beside), window.spans(place, obis))
            for at, place in enumerate(window.places)
            if place.spans.get(obis)
        ]
        for _, one, spans in known:
            check_sums(one, spans)
        lengths, longest = fill_from_days(work) if is_far else fill_short(work)
        # A register shares out what all estimates of its span are, so it waits for them.
        is_left = self._is_open(window, rows, kind)
        has_year = self._has_year(window, obis)
        if is_far:
            is_left &= has_year & self._rules.previous_year
            fill_from_class(work, lengths, longest)
        if "high_low_year" in self._rules.checks:
            is_left |= has_year
        for at, one, spans in known:
            if is_left[at]:
                continue
            before = raw.row(at)
            gaps = (before.state == State.MISSING) & (before.reason != Reason.POWER_OFF)
            scale(one, spans, gaps)
        return rows, np.flatnonzero(is_left).tolist()

    def _is_open(self, window: Window, rows: Rows, kind: Kind) -> npt.NDArray[np.bool_]:
        """Say which rows have a slot left to estimate, in the days asked for or in a register span that touches them."""
        reach = self._longest // kind.period
        days = window.slots(kind)
        part = rows.tables[1][:, max(0, days.start - reach) : days.stop + reach]
        found: npt.NDArray[np.bool_] = (part == State.MISSING).any(axis=1)
        return found

    def _has_year(self, window: Window, obis: Obis) -> npt.NDArray[np.bool_]:
        """Say for which usage points a meter may have delivered a channel the year before."""
        first = window.start - (YEAR + self._rules.look_year) * DAY
        last = window.end - (YEAR - 1) * DAY
        return np.array([any(piece.touches(first, last) for piece in place.pieces[obis]) for place in window.places])

    def _alone(self, window: Window, obis: Obis, index: int) -> Series:
        """Run one row by itself, with the year before."""
        place, kind = window.places[index], window.kinds[obis]
        same_grid = [one for one in place.pieces[obis] if (one.period, one.offset) == (kind.period, kind.offset)]
        beside = Beside(
            obis, {one: window.rows[one].row(index) for one in self._beside(kind)},
            year_before(self._store, obis, same_grid, window.start, window.end, self._rules), None, kind.limiting,
        )  # fmt: skip
        return run_series(
            window.rows[obis].row(index), self._zone, self._rules, window.spans(place, obis), beside=beside
        )

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
        ids = np.repeat(np.array([place.point.id for place in self.places], np.int64), days)
        numbers = np.tile(np.arange(self._first, self._last, dtype=np.int64), len(self.places))
        rows = BlockRows.empty(layout, ids, numbers)
        for channel in layout.channels:
            cut = self._raw.slots(kinds[channel.obis])
            for mine, theirs in zip(rows.arrays, done[channel.obis].tables, strict=True):
                mine[:, layout.spans[channel]] = theirs[:, cut].reshape(-1, channel.slots)
        return rows
