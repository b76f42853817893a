"""One channel of many usage points, laid end to end, so that a rule or an estimate is one call for all of them.

Behind each row stands a slot that nobody expects. It ends every run, gap and neighborhood, and belongs to no whole day, so that
each row comes out as it would by itself, but for its own first and last days, which are context and nobody's result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.facts import INT32_MAX, UtcSeconds
from drivers.obis import Obis
from drivers.units import ScalerUnit
from headend.registry.model import DAY
from headend.series import Int64, Series
from headend.store.dayreads import BlockRows
from headend.vee.assemble import Piece
from kernels.quality import State


@dataclass(frozen=True, slots=True)
class Kind:
    """What the same channel of usage points must share to be worked on together. ``multiplier``: what counts are multiplied by.

    ``limiting``: the multiplier that limits behind transformers are made from.
    """

    obis: Obis
    period: int
    offset: int
    scaler_unit: ScalerUnit
    multiplier: int
    limiting: int


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of ``slots`` slots. ``flat``: all of them, each with the slot behind it; shape (count * (slots + 1),)."""

    flat: Series
    count: int
    slots: int

    @classmethod
    def empty(cls, start: UtcSeconds, period: int, scaler_unit: ScalerUnit, count: int, slots: int) -> "Rows":
        """Make rows of slots that nobody expects. ``start``: of each row's first slot. [s UTC]"""
        return cls(Series.empty(start, period, scaler_unit, count * (slots + 1)), count, slots)

    def copy(self) -> "Rows":
        """Give rows of their own."""
        one = self.flat
        arrays = (array.copy() for array in one.arrays)
        return Rows(Series(one.start, one.period, one.scaler_unit, *arrays), self.count, self.slots)

    def row(self, at: int) -> Series:
        """Give one row; it shares memory."""
        first = at * (self.slots + 1)
        cut = slice(first, first + self.slots)
        one = self.flat
        return Series(one.start, one.period, one.scaler_unit, *(array[cut] for array in one.arrays))

    @property
    def tables(self) -> tuple[npt.NDArray[Any], ...]:
        """Values, state, reason and rules without the slots behind the rows, shape (count, slots); they share memory."""
        one = self.flat
        shape = (self.count, self.slots + 1)
        return tuple(array.reshape(shape)[:, : self.slots] for array in (one.values, one.state, one.reason, one.rules))

    def edges(self, days: Int64) -> Int64:
        """Give where days begin in the flat series, from where they begin in each row; between rows lies a day that is never whole."""
        starts = np.arange(self.count, dtype=np.int64) * (self.slots + 1)
        found: Int64 = (starts[:, None] + days).reshape(-1)
        return found


def lay_out(
    kind: Kind, pieces: Sequence[Piece], blocks: Sequence[tuple[BlockRows, Int64]], first: int, last: int
) -> Rows:
    """Lay the raw days ``[first, last)`` of a channel into rows, one for each piece, in primary counts.

    ``pieces``: which end device delivers it, until the window's end at least, and since when.
    ``blocks``: of that time at least, with the row that each belongs to.
    """
    a_day = DAY // kind.period
    rows = Rows.empty(first * DAY + kind.offset, kind.period, kind.scaler_unit, len(pieces), (last - first) * a_day)
    grid = (kind.period, kind.offset, kind.scaler_unit)
    for block, which in blocks:
        found = [one for one in block.layout.channels if one.obis == kind.obis and one.grid == grid]
        if not found:
            continue
        cut = block.layout.spans[found[0]]
        inside = np.flatnonzero((block.days >= first) & (block.days < last))
        target = (which[inside], block.days[inside] - first)
        for mine, theirs in zip(rows.tables, block.arrays, strict=True):
            mine.reshape(len(pieces), last - first, a_day)[target] = theirs[inside, cut]
    state = rows.tables[1]
    state[state == State.NOT_EXPECTED] = State.EXPECTED
    for at, piece in enumerate(pieces):
        late = max(0, -((rows.flat.start - piece.start) // kind.period))
        for array in rows.tables:
            array[at, :late] = 0
    return rows


def multiplied(rows: Rows, multiplier: int) -> npt.NDArray[np.bool_]:
    """Multiply all counts in place; give the rows in which one does not fit 32 bits, which are left as they are, shape (count,)."""
    values = rows.tables[0]
    too_large = np.any(np.abs(values.astype(np.int64)) > INT32_MAX // multiplier, axis=1)
    values[~too_large] *= multiplier
    return np.asarray(too_large)
