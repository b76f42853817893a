"""Rows of slots: what many meters said of their days, a row for each day of each, and what that makes of the blocks stored.

Facts are laid into rows by a kernel, blocks decoded and encoded together. What is not plain is told apart, never guessed at: a
row that contradicts what is stored, or whose block is of other channels, is for `RawWrites.record` to merge slot by slot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress

import numpy as np
import numpy.typing as npt

from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.units import ScalerUnit
from headend.registry.model import DAY
from headend.series import Int32, Int64, UInt8, UInt32
from headend.store.block import (
    FIXED_SIZE,
    HAS_VALUE_BY_STATE,
    MAX_CHANNELS,
    MAX_SLOTS,
    Layout,
    channel_of,
    decode_rows_of,
    encode_rows_of,
    is_whole,
    layout_of,
    whole_head,
)
from headend.store.model import Layer
from headend.store.rawwrites import doubt
from headend.store.seriesreads import block_key
from kernels.counts import lay_facts
from kernels.quality import State

Key = tuple[tuple[Obis, int, int, ScalerUnit, int], ...]
"""Of each fact: code, period [s], start within the day of the first fact [s], scaler and unit, slots."""

MERGED_ALONE = 8
"""From so many channel-days on, parts of days of one meter are merged faster as rows than slot by slot (measured)."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Where the facts of one meter lie in rows, one for each of ``days`` days: ``slots`` in all.

    ``pays_alone``: rows are the faster way even without another meter's beside them.  ``places``: of each fact, as `kernels.counts.lay_facts` takes it.
    """

    layout: Layout
    days: int
    slots: int
    pays_alone: bool
    places: Int64


@dataclass(frozen=True, slots=True, eq=False)
class SlotRows:
    """Rows of meters that record the same channels, those of ``layout``. ``places``: end device and day of each row.  ``heads``: of `encode_head`.

    ``values``, ``has_value``, ``rules``: as those of `MeterDays`.
    """

    layout: Layout
    places: Sequence[tuple[int, int]]
    heads: Sequence[bytes]
    values: Int32
    has_value: npt.NDArray[np.bool_] | None
    rules: UInt32 | None
    keys: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """Say under which keys the rows' blocks are stored."""
        object.__setattr__(self, "keys", [block_key(day, meter) for meter, day in self.places])

    def of(self, chosen: Sequence[int]) -> tuple[Int32, npt.NDArray[np.bool_] | None, UInt32 | None]:
        """Give the arrays of some rows."""
        if len(chosen) == len(self.keys):
            return self.values, self.has_value, self.rules
        has_value, rules = self.has_value, self.rules
        return (
            self.values[chosen], None if has_value is None else has_value[chosen], None if rules is None else rules[chosen]
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class Merged:
    """What rows make of the blocks stored. ``new``, ``same``: values of each row.  ``is_stored``: whether it has a block yet.

    ``blocks``: by row, what is to be stored now.  ``codes``: of the channels that change by that.  ``odd``: rows that are not plain.
    """

    new: list[int]
    same: list[int]
    is_stored: list[bool]
    blocks: dict[int, bytes] = field(default_factory=dict)
    codes: dict[int, bytes] = field(default_factory=dict)
    odd: set[int] = field(default_factory=set)


def key_of(facts: Sequence[IntervalBlock]) -> Key:
    """Say all of some facts that decides about their `Shape`: its first day is that of the first of them."""
    day = facts[0].start // DAY * DAY if facts else 0
    return tuple([(fact.obis, fact.period, fact.start - day, fact.scaler_unit, len(fact.counts)) for fact in facts])


@lru_cache(maxsize=4096)
def shape_of(key: Key) -> Shape | None:
    """Lay facts beside each other; None where two are of one channel, one begins on a day before the first, or days stay nearly empty."""
    channels = [channel_of(obis, period, start % period, unit) for obis, period, start, unit, _ in key]
    slots = [said for *_, said in key]
    if not 0 < len(channels) <= MAX_CHANNELS or len(set(channels)) != len(channels) or not all(slots):
        return None
    if min(start for _, _, start, _, _ in key) < 0:
        return None
    layout = layout_of(tuple(channels))
    places = [
        (start // DAY, layout.spans[channel].start, channel.slots, start % DAY // channel.period)
        for channel, (_, _, start, _, _) in zip(channels, key, strict=True)
    ]
    days = max(day - -(first + said) // width for (day, _, width, first), said in zip(places, slots, strict=True))
    if layout.slots > MAX_SLOTS or days * layout.slots > sum(slots) + 2 * layout.slots:
        return None
    pays_alone = sum(slots) == days * layout.slots or days * len(channels) >= MERGED_ALONE
    return Shape(layout, days, days * layout.slots, pays_alone, np.array(places, np.int64))


def lay(
    shapes: Sequence[Shape], facts: Sequence[IntervalBlock]
) -> tuple[Int32, npt.NDArray[np.bool_] | None, UInt32 | None]:
    """Lay facts of shapes with the same channels into rows, one shape below the other: values, has_value and rules of `SlotRows`."""
    at = np.cumsum([0, *[shape.days for shape in shapes]])
    places = np.concatenate([shape.places for shape in shapes])
    places[:, 0] += np.repeat(at[:-1], [len(shape.places) for shape in shapes])
    size = int(at[-1]), shapes[0].layout.slots
    values, has_value, rules = np.zeros(size, np.int32), np.zeros(size, np.bool_), np.zeros(size, np.uint32)
    laid, ruled = lay_facts(
        [fact.counts for fact in facts], [fact.rules for fact in facts], places, values, has_value, rules
    )
    return values, None if laid == values.size else has_value, rules if ruled else None


def merge(rows: SlotRows, stored: Mapping[int, bytes]) -> Merged:
    """Merge rows of channels that are expected all day long with the blocks stored, by their keys."""
    count, slots = rows.values.shape
    said = [slots] * count if rows.has_value is None else np.count_nonzero(rows.has_value, axis=1).tolist()
    done = Merged([0] * count, [0] * count, [key in stored for key in rows.keys])
    fresh = [row for row, is_stored in enumerate(done.is_stored) if said[row] and not is_stored]
    if rows.has_value is not None and fresh:
        # A channel that says nothing is not made a channel of a new block.
        is_full: list[bool] = np.all(_told(rows.has_value, rows.layout), axis=1).tolist()
        done.odd.update(row for row in fresh if not is_full[row])
        fresh = [row for row in fresh if is_full[row]]
    if fresh:
        _begin(rows, fresh, said, done)
    held = [row for row, is_stored in enumerate(done.is_stored) if said[row] and is_stored]
    whole = [row for row in held if is_whole(stored[rows.keys[row]], Layer.RAW, rows.places[row][1], rows.heads[row])]
    done.odd.update(set(held).difference(whole))
    if whole:
        _continue(rows, whole, [stored[rows.keys[row]] for row in whole], done)
    return done


def _begin(rows: SlotRows, chosen: Sequence[int], said: Sequence[int], done: Merged) -> None:
    """Make blocks of days that are not stored yet."""
    values, has_value, said_rules = rows.of(chosen)
    state, reason = np.full(values.shape, State.MEASURED, np.uint8), np.zeros(values.shape, np.uint8)
    rules: UInt32 = np.zeros(values.shape, np.uint32)
    if said_rules is not None:
        rules = said_rules if has_value is None else said_rules * has_value
        doubt(state, rules)
    if has_value is not None:
        state[~has_value] = State.EXPECTED
    codes = b"".join(dict.fromkeys(_codes(rows.layout)))
    for row, block in zip(chosen, _encoded(rows, chosen, values, state, reason, rules), strict=True):
        done.blocks[row], done.codes[row], done.new[row] = block, codes, said[row]


def _continue(rows: SlotRows, chosen: Sequence[int], blocks: list[bytes], done: Merged) -> None:
    """Put into blocks of these channels what they do not hold yet; a row that contradicts its block, or newly doubts it, is odd."""
    layout = rows.layout
    values, state, reason, rules = decode_rows_of(layout, blocks, [FIXED_SIZE + len(rows.heads[row]) for row in chosen])
    said, has_value, said_rules = rows.of(chosen)
    held = HAS_VALUE_BY_STATE.take(state)
    again, fresh = (held, ~held) if has_value is None else (has_value & held, has_value & ~held)
    is_odd = again & (values != said)
    if said_rules is not None:
        is_odd |= again & (said_rules & ~rules != 0)
    new, same = np.count_nonzero(fresh, axis=1).tolist(), np.count_nonzero(again, axis=1).tolist()
    changed: list[int] = []
    for place, (row, odd) in enumerate(zip(chosen, np.count_nonzero(is_odd, axis=1).tolist(), strict=True)):
        if odd:
            done.odd.add(row)
            continue
        done.new[row], done.same[row] = new[place], same[place]
        if new[place]:
            changed.append(place)
    if not changed:
        return
    values[fresh], state[fresh], reason[fresh] = said[fresh], State.MEASURED, 0
    rules[fresh] = 0 if said_rules is None else said_rules[fresh]
    doubt(state, rules)
    told, codes = _told(fresh, layout), _codes(layout)
    there = [chosen[place] for place in changed]
    kept = _encoded(rows, there, values[changed], state[changed], reason[changed], rules[changed])
    for place, row, block in zip(changed, there, kept, strict=True):
        done.blocks[row] = block
        done.codes[row] = b"".join(dict.fromkeys(compress(codes, told[place].tolist())))


@lru_cache(maxsize=4096)
def _codes(layout: Layout) -> list[bytes]:
    """Give the codes of a layout's channels. Layouts are compared by being the same, which costs nothing."""
    return [channel.obis.to_bytes() for channel in layout.channels]


def _told(slots: npt.NDArray[np.bool_], layout: Layout) -> npt.NDArray[np.bool_]:
    """Say in which channels any of the slots is set: shape (rows, channels)."""
    told: npt.NDArray[np.bool_] = np.logical_or.reduceat(slots, layout.edges[:-1], axis=1)
    return told


def _encoded(
    rows: SlotRows, chosen: Sequence[int], values: Int32, state: UInt8, reason: UInt8, rules: UInt32
) -> list[bytes]:
    heads = [whole_head(Layer.RAW, rows.places[row][1], rows.heads[row]) for row in chosen]
    return encode_rows_of(rows.layout, heads, np.ascontiguousarray(values), state, reason, np.ascontiguousarray(rules))
