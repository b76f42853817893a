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


class BulkWrites(RawWrites):
    """Records arrays."""

    _known_kinds: dict[int, _Known]

    def record_days(self, said: MeterDays, received_at: UtcSeconds, run_id: int | None = None) -> Recorded:
        """Store what many meters said of one day: bit for bit what `record` of ``said.facts(row)`` would of each.

        A day that is not stored yet, of channels that are expected all day long, is encoded together with the others;
        whatever else there is takes the way of `record`. Needs a transaction. Raises as `record`, before anything is written.
        """
        self._require_transaction()
        if said.day < 0 or (said.day + 1) * DAY > LAST_INSTANT:
            raise StoreError(f"day {said.day} lies outside 1970 to 9999; the meters' clocks are wrong")
        known = [self._known_kind(meter, said.channels) for meter in said.end_device_ids]
        for row, kind in enumerate(known):
            if not kind.is_expected:
                self._check_grids(said, row)
        stored = self._stored_keys(Layer.RAW, [block_key(said.day, meter) for meter in said.end_device_ids])
        is_full = _says_something_of_each_channel(said.channels, said.values, said.has_value)
        new = [
            row
            for row, (meter, kind, full) in enumerate(zip(said.end_device_ids, known, is_full, strict=False))
            if full and said.day in kind.whole and block_key(said.day, meter) not in stored
        ]
        done = Recorded()
        if new:
            cut = slice(None) if len(new) == len(known) else new
            has_value = None if said.has_value is None else said.has_value[cut]
            rules = None if said.rules is None else said.rules[cut]
            places = [(said.end_device_ids[row], said.day) for row in new]
            heads = [known[row].head for row in new]
            done = self._put_new(said.channels, places, heads, said.values[cut], has_value, rules, received_at, run_id)
        for row in sorted({*range(len(known))}.difference(new)):
            done += self._record_row(said, row, received_at, run_id, is_expected=known[row].is_expected)
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
        """Do as `RawWrites.record`; whole days of several channels that are not stored yet are encoded together."""
        self._require_transaction()
        days = whole_days([fact for fact in facts if isinstance(fact, IntervalBlock)])
        if days is None or days.first < 0:
            return super().record(end_device_id, facts, received_at, run_id)
        name, kind = self._device_name(end_device_id), self._known_kind(end_device_id, days.channels)
        places = [(end_device_id, days.first + number) for number in range(len(days.values))]
        if not (
            places[0][1] in kind.whole
            and places[-1][1] in kind.whole
            and all(_says_something_of_each_channel(days.channels, days.values, days.has_value))
            and not self._stored_keys(Layer.RAW, [block_key(day, end_device_id) for _, day in places])
        ):
            return super().record(end_device_id, facts, received_at, run_id)
        others = [fact for fact in facts if not isinstance(fact, IntervalBlock)]
        for fact in facts:
            check_instant(name, fact)
        heads = [kind.head] * len(places)
        done = self._put_new(days.channels, places, heads, days.values, days.has_value, days.rules, received_at, run_id)
        return done + super().record(end_device_id, others, received_at, run_id) if others else done

    def _put_new(
        self,
        channels: tuple[Channel, ...],
        places: Sequence[tuple[int, int]],
        heads: Sequence[bytes],
        values: Int32,
        has_value: npt.NDArray[np.bool_] | None,
        said_rules: UInt32 | None,
        received_at: UtcSeconds,
        run_id: int | None,
    ) -> Recorded:
        """Write rows of slots as new blocks. ``places``: end device and day of each.  ``heads``: of `encode_head`."""
        state, reason = np.full(values.shape, State.MEASURED, np.uint8), np.zeros(values.shape, np.uint8)
        rules: UInt32 = np.zeros(values.shape, np.uint32)
        if said_rules is not None:
            rules = said_rules if has_value is None else said_rules * has_value
            doubt(state, rules)
        if has_value is not None:
            state[~has_value] = State.EXPECTED
        whole_heads = [whole_head(Layer.RAW, day, head) for (_, day), head in zip(places, heads, strict=True)]
        blocks = encode_rows_of(
            layout_of(channels), whole_heads, np.ascontiguousarray(values), state, reason, np.ascontiguousarray(rules)
        )
        self._put_blocks(Layer.RAW, [block_key(day, meter) for meter, day in places], blocks)
        codes = tuple(dict.fromkeys(channel.obis for channel in channels))
        self._log_changes(Layer.RAW, places, codes, at=received_at, run_id=run_id)
        return Recorded(new=values.size if has_value is None else int(np.count_nonzero(has_value)))

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
