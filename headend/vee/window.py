"""The raw days around those asked for, of usage points alike, laid out in rows. Reads the raw layer."""

from collections.abc import Iterable, Sequence

import numpy as np

from drivers.obis import Obis
from headend.registry.model import DAY
from headend.store.dayreads import DayReads
from headend.store.model import Layer
from headend.store.retention import Kept
from headend.vee.alike import Place
from headend.vee.registers import RegisterSpan
from headend.vee.rows import Kind, Rows, lay_out, multiplied
from headend.vee.rules import MEAN_POWER_UNITS, RuleSet


class Window:
    """The raw days around those asked for, of all channels in question. ``reach``: the rules, as far as they look.

    A channel that is judged slot by slot is laid out for the days asked for alone.
    ``refused``: which of the usage points have a count that does not fit with its multiplier, shape (places,).
    """

    def __init__(
        self, store: DayReads, places: Sequence[Place], kinds: Iterable[Kind], first: int, last: int, reach: RuleSet
    ) -> None:
        self.places, self._first = places, first
        self._begin = max(0, first - reach.look_back // DAY)
        until = last + reach.look_ahead // DAY
        self.start, self.end = self._begin * DAY, until * DAY
        self._days = last - first
        self.kinds = {kind.obis: kind for kind in kinds}
        # All channels of a usage point come from one end device.
        row_of = {next(iter(place.now.values())).end_device_id: at for at, place in enumerate(places)}
        blocks = [
            (block, np.array([row_of[local_id] for local_id in block.local_ids.tolist()], np.int64))
            for block in store.block_rows(Layer.RAW, row_of, self._begin, until)
        ]
        self.rows: dict[Obis, Rows] = {}
        self.refused = np.zeros(len(places), np.bool_)
        for obis, kind in self.kinds.items():
            days = (first, last) if _is_judged_slot_by_slot(kind, reach) else (self._begin, until)
            self.rows[obis] = lay_out(kind, [place.now[obis] for place in places], blocks, *days)
            if kind.multiplier != 1:
                self.refused |= multiplied(self.rows[obis], kind.multiplier)
        if self._begin < store.floor(Kept.RAW).day:
            for rows in self.rows.values():
                for at in range(rows.count):
                    store.mark_dropped(Kept.RAW, rows.row(at))

    def slots(self, kind: Kind) -> slice:
        """Give where the days asked for lie in a row."""
        first = (self._first * DAY + kind.offset - self.rows[kind.obis].flat.start) // kind.period
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


def _is_judged_slot_by_slot(kind: Kind, rules: RuleSet) -> bool:
    """Say whether no rule looks from slot to slot: no energy, and nothing that must stand for a delay."""
    return kind.scaler_unit.unit not in MEAN_POWER_UNITS and rules.connection is None
