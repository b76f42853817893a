"""The raw layer's writer for whole days in bulk: what `record` of the same would do, at the speed of the codec."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drivers.facts import Fact, IntervalBlock, UtcSeconds
from headend.errors import StoreError
from headend.registry.model import DAY
from headend.series import Int32, UInt32
from headend.store.block import Channel, encode_head, encode_rows_of, layout_of, whole_head
from headend.store.blockwrites import REMEMBERED
from headend.store.meterdays import MeterDays, whole_days
from headend.store.model import Layer, Recorded
from headend.store.rawwrites import LAST_INSTANT, Piece, RawWrites, channel_for, check_instant, doubt
from headend.store.retention import Kept
from headend.store.seriesreads import block_key
from kernels.quality import State

_NEVER = range(0)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is remembered of a meter that records ``channels``.

    ``head``: of its blocks.  ``is_expected``: the registry knows each of the channels, whenever.
    ``whole``: days on which each is expected all day long.
    """

    channels: tuple[Channel, ...]
    head: bytes
    is_expected: bool
    whole: range


class _Rows:
    """Rows of slots as the blocks they are where nothing is stored. ``places``: end device and day of each."""

    def __init__(
        self,
        channels: tuple[Channel, ...],
        places: Sequence[tuple[int, int]],
        heads: Sequence[bytes],
        values: Int32,
        has_value: npt.NDArray[np.bool_] | None,
        said_rules: UInt32 | None,
    ) -> None:
        """``heads``: of `encode_head`.  Arrays as those of `MeterDays`."""
        self.channels = channels
        self.places = places
        self.keys = [block_key(day, meter) for meter, day in places]
        self._slots = int(values.shape[1])
        self._has_value = has_value
        state, reason = np.full(values.shape, State.MEASURED, np.uint8), np.zeros(values.shape, np.uint8)
        rules: UInt32 = np.zeros(values.shape, np.uint32)
        if said_rules is not None:
            rules = said_rules if has_value is None else said_rules * has_value
            doubt(state, rules)
        if has_value is not None:
            state[~has_value] = State.EXPECTED
        whole_heads = [whole_head(Layer.RAW, day, head) for (_, day), head in zip(places, heads, strict=True)]
        self.blocks = encode_rows_of(
            layout_of(channels), whole_heads, np.ascontiguousarray(values), state, reason, np.ascontiguousarray(rules)
        )

    def count(self, rows: Sequence[int]) -> int:
        """Count the values of some rows."""
        if self._has_value is None or not rows:
            return len(rows) * self._slots
        held: npt.NDArray[np.bool_] = self._has_value[rows]
        return int(np.count_nonzero(held))


class BulkWrites(RawWrites):
    """Records arrays."""

    _known_kinds: dict[int, _Known]

    def record_days(self, said: MeterDays, received_at: UtcSeconds, run_id: int | None = None) -> Recorded:
        """Store what many meters said of one day: bit for bit what `record` of ``said.facts(row)`` would of each.

        A day of channels that are expected all day long, which is not stored yet or exactly so, is encoded together with the
        others; whatever else there is takes the way of `record`. Needs a transaction. Raises as `record`, before anything is written.
        """
        self._require_transaction()
        if said.day < 0 or (said.day + 1) * DAY > LAST_INSTANT:
            raise StoreError(f"day {said.day} lies outside 1970 to 9999; the meters' clocks are wrong")
        if said.day < self.floor(Kept.RAW).day:
            told = Recorded()
            for row, meter in enumerate(said.end_device_ids):
                told += super().record(meter, said.facts(row), received_at, run_id)
            return told
        known = [self._known_kind(meter, said.channels) for meter in said.end_device_ids]
        for row, kind in enumerate(known):
            if not kind.is_expected:
                self._check_grids(said, row)
        is_full = _says_something_of_each_channel(said.channels, said.values, said.has_value)
        plain = [
            row for row, (kind, full) in enumerate(zip(known, is_full, strict=True)) if full and said.day in kind.whole
        ]
        done, rest = Recorded(), {*range(len(known))}.difference(plain)
        if plain:
            cut = slice(None) if len(plain) == len(known) else plain
            has_value = None if said.has_value is None else said.has_value[cut]
            rows = _Rows(
                said.channels, [(said.end_device_ids[row], said.day) for row in plain], [known[row].head for row in plain],
                said.values[cut], has_value, None if said.rules is None else said.rules[cut],
            )  # fmt: skip
            new, same, other = self._compared(rows)
            done = self._put_new(rows, new, received_at, run_id) + Recorded(same=rows.count(same))
            rest.update(plain[place] for place in other)
        for row in sorted(rest):
            done += self._record_row(said, row, received_at, run_id, is_expected=known[row].is_expected)
        for row in said.explained():
            for fact in said.facts(row) if known[row].is_expected else ():
                self._record_status(said.end_device_ids[row], fact, received_at, run_id)
        return done

    def _known_kind(self, meter: int, channels: tuple[Channel, ...]) -> _Known:
        known = self._known_kinds.get(meter)
        if known is None or known.channels is not channels:
            if known is None or known.channels != channels:
                known = self._kind_of(meter, channels)
            if len(self._known_kinds) >= REMEMBERED:
                self._known_kinds.clear()
            self._known_kinds[meter] = known = _Known(channels, known.head, known.is_expected, known.whole)
        return known

    def _kind_of(self, meter: int, channels: tuple[Channel, ...]) -> _Known:
        name, lines = self._device_name(meter), self._lines(meter)
        entries = [[entry for entry, other in lines.get(channel.obis, ()) if other == channel] for channel in channels]
        whole = _NEVER
        # A channel that comes and goes is looked at day by day, by `record`.
        if all(len(of_channel) == 1 for of_channel in entries):
            spans = [(of_channel[0], channel) for of_channel, channel in zip(entries, channels, strict=True)]
            first = max(-((channel.offset - entry.start) // DAY) for entry, channel in spans)
            ends = [(entry.end - channel.offset) // DAY for entry, channel in spans if entry.end is not None]
            whole = range(first, min(ends, default=LAST_INSTANT))
        return _Known(channels, encode_head(name, channels), all(entries), whole)

    def _forget(self) -> None:
        super()._forget()
        self._known_kinds = {}

    def _check_grids(self, said: MeterDays, row: int) -> None:
        meter = said.end_device_ids[row]
        name, lines = self._device_name(meter), self._lines(meter)
        for fact in said.facts(row):
            channel_for(name, fact, lines.get(fact.obis, ()))

    def record(
        self, end_device_id: int, facts: Sequence[Fact], received_at: UtcSeconds, run_id: int | None = None
    ) -> Recorded:
        """Do as `RawWrites.record`; whole days that are not stored yet, or exactly so, are encoded together."""
        self._require_transaction()
        days = whole_days([fact for fact in facts if isinstance(fact, IntervalBlock)])
        if days is None or days.first < self.floor(Kept.RAW).day:
            return super().record(end_device_id, facts, received_at, run_id)
        name, kind = self._device_name(end_device_id), self._known_kind(end_device_id, days.channels)
        places = [(end_device_id, days.first + number) for number in range(len(days.values))]
        if not (
            places[0][1] in kind.whole
            and places[-1][1] in kind.whole
            and all(_says_something_of_each_channel(days.channels, days.values, days.has_value))
        ):
            return super().record(end_device_id, facts, received_at, run_id)
        rows = _Rows(days.channels, places, [kind.head] * len(places), days.values, days.has_value, days.rules)
        new, same, other = self._compared(rows)
        if other:
            return super().record(end_device_id, facts, received_at, run_id)
        for fact in facts:
            check_instant(name, fact)
        done = self._put_new(rows, new, received_at, run_id) + Recorded(same=rows.count(same))
        others: list[Fact] = []
        for fact in facts:
            if isinstance(fact, IntervalBlock):
                self._record_status(end_device_id, fact, received_at, run_id)
            else:
                others.append(fact)
        return done + super().record(end_device_id, others, received_at, run_id) if others else done

    def _compared(self, rows: "_Rows") -> tuple[list[int], list[int], list[int]]:
        """Say which rows are of days not stored yet, which are stored exactly so, and which others there are."""
        stored = self._stored_blocks(Layer.RAW, rows.keys)
        if not stored:
            return list(range(len(rows.keys))), [], []
        new: list[int] = []
        same: list[int] = []
        other: list[int] = []
        for row, (key, block) in enumerate(zip(rows.keys, rows.blocks, strict=True)):
            before = stored.get(key)
            (new if before is None else same if before == block else other).append(row)
        return new, same, other

    def _put_new(self, rows: "_Rows", new: Sequence[int], received_at: UtcSeconds, run_id: int | None) -> Recorded:
        if new:
            self._put_blocks(Layer.RAW, [rows.keys[row] for row in new], [rows.blocks[row] for row in new])
            codes = tuple(dict.fromkeys(channel.obis for channel in rows.channels))
            self._log_changes(Layer.RAW, [rows.places[row] for row in new], codes, at=received_at, run_id=run_id)
        return Recorded(new=rows.count(new))

    def _record_row(
        self, said: MeterDays, row: int, received_at: UtcSeconds, run_id: int | None, *, is_expected: bool
    ) -> Recorded:
        meter = said.end_device_ids[row]
        if not is_expected:
            return self.record(meter, said.facts(row), received_at, run_id)
        pieces: list[Piece] = []
        for channel, span in said.layout.spans.items():
            has = None if said.has_value is None else said.has_value[row, span]
            if has is None or has.any():
                rules = None if said.rules is None else said.rules[row, span]
                pieces.append(
                    Piece(
                        channel, 0, said.values[row, span],
                        None if has is None or has.all() else has,
                        None if rules is None or not rules.any() else rules,
                    )
                )  # fmt: skip
        if not pieces:
            return Recorded()
        name = self._device_name(meter)
        return self._merge_day(meter, name, said.day, pieces, received_at=received_at, run_id=run_id)


def _says_something_of_each_channel(
    channels: tuple[Channel, ...], values: Int32, has_value: npt.NDArray[np.bool_] | None
) -> Sequence[bool]:
    """Say of each row whether all its channels have a value: one without is not made a channel of a new block."""
    if has_value is None:
        return [True] * len(values)
    of_each: npt.NDArray[np.bool_] = np.logical_or.reduceat(has_value, layout_of(channels).edges[:-1], axis=1)
    is_full: list[bool] = np.all(of_each, axis=1).tolist()
    return is_full
