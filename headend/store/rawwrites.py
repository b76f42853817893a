"""The raw layer's writer: what the meters said, merged slot by slot into their days; the first value stays."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from drivers.facts import Fact, IntervalBlock, MeterEvent, RegisterValue, UtcSeconds
from drivers.obis import Obis
from headend.errors import RegistryError, StoreError
from headend.registry.model import DAY, ChannelExpectation
from headend.series import Int32, UInt8, UInt32
from headend.store.block import HAS_VALUE_BY_STATE, Block, Channel
from headend.store.blockwrites import BlockWrites
from headend.store.journalreads import register_crc
from headend.store.model import Layer, Recorded
from headend.store.retention import Kept
from headend.store.seriesreads import mark_expected
from kernels.quality import Reason, Rule, State

LAST_INSTANT = 253_402_300_800
"""Year 10000. [s UTC]"""
_LAST_CAUSE = 63
"""Reasons up to here are causes of a missing slot (kernels.quality)."""
_SETTLED = np.zeros(256, np.bool_)
_SETTLED[[Reason.NO_ROW, Reason.MEMORY_LOST, Reason.POWER_OFF, Reason.CLOCK_MOVED]] = True

Missing = tuple[Obis, UtcSeconds, UtcSeconds, Reason]
"""Slots of a channel that start within ``[start, end)`` [s UTC] have no value for a cause."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What one fact says about one day: slots ``first`` and on of ``channel``.

    ``has`` None: a value in each slot.  ``rules`` None: none broken.
    """

    channel: Channel
    first: int
    values: Int32
    has: npt.NDArray[np.bool_] | None
    rules: UInt32 | None


class RawWrites(BlockWrites):
    """Records facts and causes of misses."""

    def record(
        self, end_device_id: int, facts: Sequence[Fact], received_at: UtcSeconds, run_id: int | None = None
    ) -> Recorded:
        """Store what a meter said. What is stored already is found the same; a contradiction becomes a conflict and an event.

        Intervals: None leaves a slot as it is, or missing for the cause that the meter itself gives; a value with `Rule.METER_STATUS` is questionable instead of measured; values
        outside the channel's dates are kept, not expected but measured; those of a channel the registry never expects are set aside with an event. Needs a transaction.
        Raises `RegistryError`, before anything is written, where period, grid or scaler and unit contradict the registry.
        """
        self._require_transaction()
        name = self._device_name(end_device_id)
        lines = self._lines(end_device_id)
        days: dict[int, list[Piece]] = {}
        unexpected: list[IntervalBlock] = []
        first_day, dropped = self.floor(Kept.RAW).day, 0
        for fact in facts:
            check_instant(name, fact)
            if isinstance(fact, IntervalBlock):
                if channel := channel_for(name, fact, lines.get(fact.obis, ())):
                    for day, piece in _pieces(fact, channel):
                        if day < first_day:
                            dropped += len(piece.values) if piece.has is None else int(np.count_nonzero(piece.has))
                        else:
                            days.setdefault(day, []).append(piece)
                else:
                    unexpected.append(fact)
        done = Recorded()
        for day in sorted(days):
            done += self._merge_day(end_device_id, name, day, days[day], received_at=received_at, run_id=run_id)
        for fact in facts:
            if isinstance(fact, IntervalBlock) and fact not in unexpected:
                self._record_status(end_device_id, fact, received_at, run_id)
        for fact in unexpected:
            done += self._set_aside_channel(end_device_id, name, fact, received_at)
        since = self.floor(Kept.REGISTER).day * DAY
        registers = [fact for fact in facts if isinstance(fact, RegisterValue)]
        kept_registers = [fact for fact in registers if fact.captured_at >= since]
        done += self._record_registers(end_device_id, kept_registers, received_at, run_id)
        since = self.floor(Kept.EVENT).day * DAY
        events = [fact for fact in facts if isinstance(fact, MeterEvent)]
        kept_events = [fact for fact in events if fact.at >= since]
        done += self._record_events(end_device_id, kept_events, received_at, run_id)
        dropped += len(registers) - len(kept_registers) + len(events) - len(kept_events)
        if dropped:
            text = "values older than retention keeps came again; they were not stored"
            self.add_event(end_device_id, "older_than_retention", 0, received_at // DAY * DAY, text, received_at)
        return done + Recorded(dropped=dropped)

    def mark_missing(
        self,
        end_device_id: int,
        obis: Obis,
        start: UtcSeconds,
        end: UtcSeconds,
        cause: Reason,
        run_id: int | None = None,
    ) -> int:
        """Do as `mark_all_missing` of the slots of one channel that start within ``[start, end)`` [s UTC]."""
        return self.mark_all_missing(end_device_id, [(obis, start, end, cause)], run_id)

    def mark_all_missing(self, end_device_id: int, marks: Sequence[Missing], run_id: int | None = None) -> int:
        """Say why expected slots of a meter have no value, one mark after the other; give how many that changed.

        A slot with a value is never touched. The newest cause stands, but what the meter itself has settled (no row,
        memory lost, power off, clock moved) is not replaced by a later failure to ask again. Each day's block is read and written once.
        Needs a transaction.
        """
        self._require_transaction()
        name, changed = self._device_name(end_device_id), 0
        begun: dict[int, Block | None] = {}
        written: dict[int, Block] = {}
        for obis, start, end, cause in marks:
            if not Reason.NONE < cause <= _LAST_CAUSE:
                raise ValueError(f"{cause!r} is not a cause of a missing value")
            for day, spans in self._slots_by_day(end_device_id, obis, start, end):
                if day not in begun:
                    begun[day] = self._block(Layer.RAW, end_device_id, name, day)
                block = self._with_channels(begun[day], end_device_id, name, day, [channel for channel, _, _ in spans])
                in_day = sum(_mark(block, *span, cause) for span in spans)
                if in_day:
                    # Only now: a channel of which nothing changed is not put into a block.
                    begun[day] = written[day] = block
                    self._log_change(Layer.RAW, end_device_id, day, (obis,), at=self._now(), run_id=run_id)
                    changed += in_day
        for block in written.values():
            self._put_block(block, end_device_id)
        return changed

    def _slots_by_day(
        self, end_device_id: int, obis: Obis, start: UtcSeconds, end: UtcSeconds
    ) -> list[tuple[int, list[tuple[Channel, int, int]]]]:
        """List by day the expected slots of a code within ``[start, end)`` [s UTC]: channel, first slot, and how many."""
        touched: dict[int, list[tuple[Channel, int, int]]] = {}
        self._channel_expectations(end_device_id, obis)
        for entry, channel in self._lines(end_device_id)[obis]:
            first_start = max(start, entry.start)
            last_end = end if entry.end is None else min(end, entry.end)
            first, last = _slot_at(channel, first_start), _slot_at(channel, last_end)
            earliest = _slot_at(channel, self.floor(Kept.RAW).day * DAY)
            for day, index, count in _by_day(channel, max(first, earliest), last - max(first, earliest)):
                touched.setdefault(day, []).append((channel, index, count))
        return sorted(touched.items())

    def _day_block(self, end_device_id: int, name: str, day: int, channels: Sequence[Channel]) -> Block:
        """Read a day's block, or begin one, with at least the given channels in it."""
        stored = self._block(Layer.RAW, end_device_id, name, day)
        return self._with_channels(stored, end_device_id, name, day, channels)

    def _with_channels(
        self, stored: Block | None, end_device_id: int, name: str, day: int, channels: Sequence[Channel]
    ) -> Block:
        """Give a day's block with at least the given channels in it: the one stored, a larger copy, or a new one."""
        present = () if stored is None else stored.layout.spans
        added = list(dict.fromkeys(channel for channel in channels if channel not in present))
        if not added and stored is not None:
            return stored
        block = Block.empty(Layer.RAW, name, day, added) if stored is None else stored.with_channels(added)
        lines = self._lines(end_device_id)
        for channel in added:
            spans = [(entry.start, entry.end) for entry, other in lines[channel.obis] if other == channel]
            start = block.start(channel)
            if any(first <= start and (last is None or start + DAY <= last) for first, last in spans):
                block.state[block.span(channel)] = State.EXPECTED
            else:
                mark_expected(block.series(channel), spans)
        return block

    def _merge_day(
        self,
        end_device_id: int,
        name: str,
        day: int,
        pieces: list[Piece],
        *,
        received_at: UtcSeconds,
        run_id: int | None,
    ) -> Recorded:
        block = self._day_block(end_device_id, name, day, [piece.channel for piece in pieces])
        done = Recorded()
        changed: set[Obis] = set()
        for piece in pieces:
            base = block.span(piece.channel).start + piece.first
            cut = slice(base, base + len(piece.values))
            result, is_changed = self._merge_piece(end_device_id, block, piece, cut, received_at)
            done += result
            if is_changed:
                changed.add(piece.channel.obis)
        if changed:
            self._put_block(block, end_device_id)
            self._log_change(Layer.RAW, end_device_id, day, tuple(sorted(changed)), at=received_at, run_id=run_id)
        return done

    def _merge_piece(
        self, end_device_id: int, block: Block, piece: Piece, cut: slice, received_at: UtcSeconds
    ) -> tuple[Recorded, bool]:
        values, state, rules = block.values[cut], block.state[cut], block.rules[cut]
        held = HAS_VALUE_BY_STATE[state]
        if piece.has is None and not held.any():
            values[:], state[:] = piece.values, State.MEASURED
            block.reason[cut], rules[:] = 0, 0 if piece.rules is None else piece.rules
            if piece.rules is not None:
                doubt(state, rules)
            return Recorded(new=len(values)), True
        has = np.ones(len(values), np.bool_) if piece.has is None else piece.has
        fresh = has & ~held
        new = int(np.count_nonzero(fresh))
        if new:
            values[fresh] = piece.values[fresh]
            state[fresh] = State.MEASURED
            block.reason[cut][fresh] = 0
            rules[fresh] = 0 if piece.rules is None else piece.rules[fresh]
            doubt(state, rules)
        again = has & held
        repeated = int(np.count_nonzero(again))
        if not repeated:
            return Recorded(new=new), bool(new)
        differing = again & (values != piece.values)
        is_changed = bool(new)
        if piece.rules is not None:
            # The same count, but the meter has since come to doubt it: the doubt is news.
            doubted = again & ~differing & (piece.rules & ~rules != 0)
            rules[doubted] |= piece.rules[doubted]
            doubt(state, rules)
            is_changed |= bool(doubted.any())
        conflicts = np.flatnonzero(differing).tolist()
        if conflicts:
            channel = piece.channel
            start = block.start(channel) + piece.first * channel.period
            unit = (channel.scaler_unit.scaler, int(channel.scaler_unit.unit))
            added = [
                self._put_conflict(
                    end_device_id, Layer.RAW, channel.obis, start + index * channel.period,
                    kept=(int(values[index]), *unit), refused=(int(piece.values[index]), *unit), received_at=received_at,
                )
                for index in conflicts
            ]  # fmt: skip
            if any(added):
                rules[differing] |= np.uint32(Rule.CONFLICT)
                is_changed = True
                self._report_conflict(end_device_id, channel.obis, start + conflicts[0] * channel.period, received_at)
        return Recorded(new, repeated - len(conflicts), len(conflicts)), is_changed

    def _record_status(
        self, end_device_id: int, fact: IntervalBlock, received_at: UtcSeconds, run_id: int | None
    ) -> None:
        """Keep the meter's own words of its intervals as events, and the causes of what is missing that it gives."""
        for said in fact.status:
            self.add_event(end_device_id, "status", said.word, said.start, said.text, received_at)
        for start, end, cause in told_causes(fact):
            self.mark_missing(end_device_id, fact.obis, start, end, cause, run_id)

    def _record_registers(
        self, end_device_id: int, values: list[RegisterValue], received_at: UtcSeconds, run_id: int | None
    ) -> Recorded:
        new = same = conflicts = 0
        changed: dict[int, set[Obis]] = {}
        for value in values:
            unit = value.scaler_unit
            is_new = self._change(
                "INSERT INTO register (end_device_id, obis, captured_at, count, scaler, unit, uncertainty, rules,"
                " received_at, run_id, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    end_device_id, value.obis.to_bytes(), value.captured_at, value.count, unit.scaler, int(unit.unit),
                    value.uncertainty, int(value.rules), received_at, run_id, register_crc(end_device_id, value),
                ),
            )  # fmt: skip
            if is_new:
                new += 1
                changed.setdefault(value.captured_at // DAY, set()).add(value.obis)
                continue
            (kept,) = self.registers(end_device_id, value.obis, value.captured_at, value.captured_at + 1)
            if kept.scaler_unit.unit is unit.unit and kept.value == value.value:
                same += 1
                continue
            conflicts += 1
            if self._put_conflict(
                end_device_id, Layer.REGISTER, value.obis, value.captured_at,
                kept=(kept.count, kept.scaler_unit.scaler, int(kept.scaler_unit.unit)),
                refused=(value.count, unit.scaler, int(unit.unit)), received_at=received_at,
            ):  # fmt: skip
                self._report_conflict(end_device_id, value.obis, value.captured_at, received_at)
        for day, codes in sorted(changed.items()):
            self._log_change(Layer.REGISTER, end_device_id, day, tuple(sorted(codes)), at=received_at, run_id=run_id)
        return Recorded(new, same, conflicts)

    def _record_events(
        self, end_device_id: int, events: list[MeterEvent], received_at: UtcSeconds, run_id: int | None
    ) -> Recorded:
        days: set[int] = set()
        new = 0
        for event in events:
            if self._put_event(end_device_id, "meter", event.code, event.at, event.text, received_at):
                new += 1
                days.add(event.at // DAY)
        for day in sorted(days):
            self._log_change(Layer.EVENT, end_device_id, day, (), at=received_at, run_id=run_id)
        return Recorded(new, len(events) - new)

    def _set_aside_channel(
        self, end_device_id: int, name: str, fact: IntervalBlock, received_at: UtcSeconds
    ) -> Recorded:
        payload = json.dumps({
            "obis": str(fact.obis), "scaler": fact.scaler_unit.scaler, "unit": fact.scaler_unit.unit.symbol,
            "start": fact.start, "period": fact.period, "counts": fact.counts,
        })  # fmt: skip
        reason = f"{fact.obis}: the registry expects no such channel of this meter; add it to the meter's profile"
        self.set_aside(f"meter {name}", payload.encode(), reason, received_at)
        at = self._told_at(fact.start - fact.start % DAY, received_at)
        self.add_event(end_device_id, "unexpected_channel", 0, at, reason, received_at=received_at)
        return Recorded(set_aside=sum(count is not None for count in fact.counts))

    def _put_conflict(
        self,
        end_device_id: int,
        layer: Layer,
        obis: Obis,
        at: UtcSeconds,
        *,
        kept: tuple[int, int, int],
        refused: tuple[int, int, int],
        received_at: UtcSeconds,
    ) -> bool:
        """Keep a refused value; False where exactly this one has been refused before."""
        return bool(
            self._change(
                "INSERT INTO conflict (end_device_id, layer, obis, at, kept, kept_scaler, kept_unit, refused,"
                " refused_scaler, refused_unit, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (end_device_id, int(layer), obis.to_bytes(), at, *kept, *refused, received_at),
            )
        )

    def _report_conflict(self, end_device_id: int, obis: Obis, at: UtcSeconds, received_at: UtcSeconds) -> None:
        text = f"{obis}: another value came for one that is stored; the first is kept, the other is a conflict"
        self.add_event(end_device_id, "conflict", 0, self._told_at(at, received_at), text, received_at)

    def _told_at(self, at: UtcSeconds, received_at: UtcSeconds) -> UtcSeconds:
        """Choose the instant of an event of ours: where events of that day are dropped already, the day it is found on."""
        return at if at >= self.floor(Kept.EVENT).day * DAY else received_at // DAY * DAY


def _mark(block: Block, channel: Channel, first: int, count: int, cause: Reason) -> int:
    """Give slots of a channel that have no value a cause, in place; say how many changed."""
    base = block.span(channel).start + first
    state, reason = block.state[base : base + count], block.reason[base : base + count]
    target = ~HAS_VALUE_BY_STATE[state] & ((state != State.MISSING) | (reason != cause))
    if not _SETTLED[cause]:
        target &= ~((state == State.MISSING) & _SETTLED[reason])
    state[target] = State.MISSING
    reason[target] = cause
    return int(np.count_nonzero(target))


def told_causes(fact: IntervalBlock) -> Iterator[tuple[UtcSeconds, UtcSeconds, Reason]]:
    """Give the spans of intervals without value of which the meter says why: the power was off, the clock was set across them."""
    causes = [
        None
        if count is not None
        else Reason.POWER_OFF
        if Rule.POWER_FAILURE in rule
        else Reason.CLOCK_MOVED
        if Rule.CLOCK_SET in rule
        else None
        for count, rule in zip(fact.counts, fact.rules, strict=False)
    ]
    at = fact.start
    for cause, run in groupby(causes):
        end = at + fact.period * sum(1 for _ in run)
        if cause is not None:
            yield at, end, cause
        at = end


def doubt(state: UInt8, rules: UInt32) -> None:
    """Make measured slots that their own meter doubts questionable, in place; the value stays."""
    state[(state == State.MEASURED) & (rules & np.uint32(Rule.METER_STATUS) != 0)] = State.QUESTIONABLE


def _slot_at(channel: Channel, instant: UtcSeconds) -> int:
    """Number the first slot that starts at or after an instant, counting from the grid's first in 1970."""
    return -((channel.offset - instant) // channel.period)


def _by_day(channel: Channel, first: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Split ``count`` slots from number ``first`` on into (day, slot within the day, slots)."""
    done = 0
    while done < count:
        day, index = divmod(first + done, channel.slots)
        take = min(count - done, channel.slots - index)
        yield day, index, take
        done += take


def _pieces(fact: IntervalBlock, channel: Channel) -> Iterator[tuple[int, Piece]]:
    """Split a fact by UTC days, leaving out days of which it says nothing."""
    has = None
    if None in fact.counts:
        values = np.array([0 if count is None else count for count in fact.counts], np.int32)
        has = np.array([count is not None for count in fact.counts], np.bool_)
    else:
        values = np.array(fact.counts, np.int32)
    rules = np.array(fact.rules, np.uint32) if any(fact.rules) else None
    at = 0
    for day, index, count in _by_day(channel, _slot_at(channel, fact.start), len(values)):
        cut = slice(at, at + count)
        at += count
        if has is None or has[cut].any():
            cut_rules = None if rules is None else rules[cut]
            yield day, Piece(channel, index, values[cut], None if has is None else has[cut], cut_rules)


def channel_for(name: str, fact: IntervalBlock, lines: Sequence[tuple[ChannelExpectation, Channel]]) -> Channel | None:
    """Find the channel on the fact's grid; None where its code is never expected. Raises `RegistryError`."""
    for _, channel in lines:
        on_grid = (fact.start - channel.offset) % channel.period == 0
        if channel.period == fact.period and channel.scaler_unit == fact.scaler_unit and on_grid:
            return channel
    if not lines:
        return None
    grids = sorted(
        {
            f"{entry.period} s from {entry.offset} s in 10^{entry.scaler_unit.scaler} {entry.scaler_unit.unit.symbol}"
            for entry, _ in lines
        }
    )
    raise RegistryError(
        f"meter {name}: {fact.obis} came every {fact.period} s from {fact.start % DAY} s in 10^{fact.scaler_unit.scaler}"
        f" {fact.scaler_unit.unit.symbol}, the registry expects it every {' or '.join(grids)}; correct the meter's profile"
    )


def check_instant(name: str, fact: Fact) -> None:
    """Refuse what no calendar holds: before 1970 or after the year 9999. Raises `StoreError`."""
    if isinstance(fact, IntervalBlock):
        first, last = fact.start, fact.end - 1
    elif isinstance(fact, RegisterValue):
        first = last = fact.captured_at
    else:
        first = last = fact.at
    if first < 0 or last >= LAST_INSTANT:
        raise StoreError(f"meter {name}: a value at {first} s lies outside 1970 to 9999; the meter's clock is wrong")
