"""The raw layer's writer for many meters at once: what `RawWrites.record` of each would do, at the speed of the codec."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from drivers.facts import Fact, IntervalBlock, UtcSeconds
from headend.registry.model import DAY
from headend.store.block import Channel, Layout, encode_head
from headend.store.blockwrites import REMEMBERED
from headend.store.journalwrites import LogEntry
from headend.store.model import Layer, MeterReading, Recorded
from headend.store.rawwrites import LAST_INSTANT, RawWrites, check_instant
from headend.store.retention import Kept
from headend.store.slotrows import Merged, Shape, SlotRows, key_of, lay, merge, shape_of

SLOTS_TOGETHER = 250_000
"""About how many slots are merged in one call; each takes some 30 octets of memory meanwhile."""
_NEVER = range(0)


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a meter that records ``channels``.

    ``head``: of its blocks.  ``is_expected``: the registry knows each of the channels, whenever.
    ``whole``: days on which each is expected all day long.
    """

    channels: tuple[Channel, ...]
    head: bytes
    is_expected: bool
    whole: range


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """A meter's reading, its intervals apart. ``shape``: None where they can only go slot by slot."""

    reading: MeterReading
    intervals: list[IntervalBlock]
    shape: Shape | None

    @property
    def slots(self) -> int:
        """Slots of its rows."""
        return 0 if self.shape is None else self.shape.slots


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """What is plain of a reading: ``span`` of the rows that were merged."""

    rows: SlotRows
    merged: Merged
    span: range


@dataclass(slots=True, eq=False)
class Pending:
    """Blocks by their keys, new ones and those that replace one, and the change-log entries of both: not written yet."""

    added: list[tuple[int, bytes]] = field(default_factory=list)
    replaced: list[tuple[int, bytes]] = field(default_factory=list)
    entries: list[LogEntry] = field(default_factory=list)

    def add(self, plain: Plain, received_at: UtcSeconds, run_id: int | None) -> Recorded:
        """Take what rows change, and count what they say."""
        rows, merged = plain.rows, plain.merged
        for row in plain.span:
            block = merged.blocks.get(row)
            if block is not None:
                (self.replaced if merged.is_stored[row] else self.added).append((rows.keys[row], block))
                self.entries.append((*rows.places[row], merged.codes[row], received_at, run_id))
        cut = slice(plain.span.start, plain.span.stop)
        return Recorded(new=sum(merged.new[cut]), same=sum(merged.same[cut]))


class GroupWrites(RawWrites):
    """Records what several meters said."""

    _known_kinds: dict[int, Known]

    def record_all(self, readings: Sequence[MeterReading]) -> list[Recorded]:
        """Store what meters said: to the row and its number what `RawWrites.record` of each in turn would; say of each what that did.

        Intervals of channels that are expected all day long, and contradict nothing, are merged, encoded and written together,
        those of one meter alone where that pays; whatever else there is goes slot by slot. Needs a transaction. Raises as
        `RawWrites.record`; then nothing of the readings before may be kept either: undo the transaction's part.
        """
        self._require_transaction()
        done: list[Recorded] = []
        for some in _apart(readings):
            done += self._record_apart(some)
        return done

    def record(
        self, end_device_id: int, facts: Sequence[Fact], received_at: UtcSeconds, run_id: int | None = None
    ) -> Recorded:
        """Do as `RawWrites.record`, at the speed of `record_all`."""
        return self.record_all([MeterReading(end_device_id, facts, received_at, run_id)])[0]

    def _record_apart(self, some: Sequence[_Said]) -> list[Recorded]:
        """Record readings of different meters: none sees what another one changes."""
        merged = self._merged_together(some)
        pending, done = Pending(), list[Recorded]()
        for said in some:
            reading, plain = said.reading, merged.get(said.reading.end_device_id)
            if plain is None:
                others, telling, told = reading.facts, [], Recorded()
            else:
                others = [fact for fact in reading.facts if not isinstance(fact, IntervalBlock)]
                for fact in others:
                    check_instant(self._device_name(reading.end_device_id), fact)
                telling = [fact for fact in said.intervals if fact.status or (fact.rules and None in fact.counts)]
                told = pending.add(plain, reading.received_at, reading.run_id)
            if others or telling or plain is None:
                # What is written now has a number behind that of what came before.
                self._put_pending(pending)
                pending = Pending()
            for block in telling:
                self._record_status(reading.end_device_id, block, reading.received_at, reading.run_id)
            if others or plain is None:
                told += super().record(reading.end_device_id, others, reading.received_at, reading.run_id)
            done.append(told)
        self._put_pending(pending)
        return done

    def _merged_together(self, some: Sequence[_Said]) -> dict[int, Plain]:
        """Merge what is plain with what is stored, by end device; of the others there is nothing."""
        floor, alike = self.floor(Kept.RAW).day, dict[Layout, list[tuple[_Said, Shape, Known, int]]]()
        for said in some:
            if (shape := said.shape) is None:
                continue
            first = said.intervals[0].start // DAY
            last = first + shape.days - 1
            known = self._known_kind(said.reading.end_device_id, shape.layout.channels)
            if floor <= first and first in known.whole and last in known.whole and (last + 2) * DAY <= LAST_INSTANT:
                alike.setdefault(shape.layout, []).append((said, shape, known, first))
        found: dict[int, Plain] = {}
        for layout, group in alike.items():
            if len(group) == 1 and not group[0][1].pays_alone:
                continue
            places = [
                (said.reading.end_device_id, day)
                for said, shape, _, first in group
                for day in range(first, first + shape.days)
            ]
            heads = [known.head for _, shape, known, _ in group for _ in range(shape.days)]
            arrays = lay([shape for _, shape, _, _ in group], [fact for said, *_ in group for fact in said.intervals])
            rows = SlotRows(layout, places, heads, *arrays)
            merged, at = merge(rows, self._stored_blocks(Layer.RAW, rows.keys)), 0
            for said, shape, _, _ in group:
                span = range(at, at + shape.days)
                at = span.stop
                if merged.odd.isdisjoint(span):
                    found[said.reading.end_device_id] = Plain(rows, merged, span)
        return found

    def _put_pending(self, pending: Pending) -> None:
        if pending.added:
            self._put_blocks(Layer.RAW, pending.added)
        for key, block in pending.replaced:
            self._replace_block(Layer.RAW, key, block)
        if pending.entries:
            self._log_changes(Layer.RAW, pending.entries)

    def _known_kind(self, meter: int, channels: tuple[Channel, ...]) -> Known:
        known = self._known_kinds.get(meter)
        if known is None or known.channels is not channels:
            if known is None or known.channels != channels:
                known = self._kind_of(meter, channels)
            if len(self._known_kinds) >= REMEMBERED:
                self._known_kinds.clear()
            self._known_kinds[meter] = known = Known(channels, known.head, known.is_expected, known.whole)
        return known

    def _kind_of(self, meter: int, channels: tuple[Channel, ...]) -> Known:
        name, lines = self._device_name(meter), self._lines(meter)
        entries = [[entry for entry, other in lines.get(channel.obis, ()) if other == channel] for channel in channels]
        whole = _NEVER
        # A channel that comes and goes is looked at day by day, by `record`.
        if all(len(of_channel) == 1 for of_channel in entries):
            spans = [(of_channel[0], channel) for of_channel, channel in zip(entries, channels, strict=True)]
            first = max(-((channel.offset - entry.start) // DAY) for entry, channel in spans)
            ends = [(entry.end - channel.offset) // DAY for entry, channel in spans if entry.end is not None]
            whole = range(first, min(ends, default=LAST_INSTANT))
        return Known(channels, encode_head(name, channels), all(entries), whole)

    def _forget(self) -> None:
        super()._forget()
        self._known_kinds = {}


def _apart(readings: Sequence[MeterReading]) -> Iterator[list[_Said]]:
    """Divide readings, in their order, so that no meter stands twice in a part, and none is too long."""
    part: list[_Said] = []
    meters: set[int] = set()
    slots, key, shape = 0, key_of(()), shape_of(key_of(()))
    for reading in readings:
        intervals = [fact for fact in reading.facts if isinstance(fact, IntervalBlock)]
        if (own := key_of(intervals)) != key:
            key, shape = own, shape_of(own)
        said = _Said(reading, intervals, shape)
        if part and (reading.end_device_id in meters or slots + said.slots > SLOTS_TOGETHER):
            yield part
            part, meters, slots = [], set(), 0
        part.append(said)
        meters.add(reading.end_device_id)
        slots += said.slots
    if part:
        yield part
