"""The raw layer's writer for whole days in bulk: what `record` of the same would do, at the speed of the codec."""

from drivers.facts import UtcSeconds
from headend.errors import StoreError
from headend.registry.model import DAY
from headend.store.groupwrites import GroupWrites, Pending, Plain
from headend.store.meterdays import MeterDays
from headend.store.model import Layer, Recorded
from headend.store.rawwrites import LAST_INSTANT, Piece, channel_for
from headend.store.retention import Kept
from headend.store.slotrows import SlotRows, merge


class BulkWrites(GroupWrites):
    """Records arrays."""

    def record_days(self, said: MeterDays, received_at: UtcSeconds, run_id: int | None = None) -> Recorded:
        """Store what many meters said of one day: bit for bit what `record` of ``said.facts(row)`` would of each.

        A day of channels that are expected all day long, and which contradicts nothing stored, is merged and encoded together with the
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
        plain = [row for row, kind in enumerate(known) if said.day in kind.whole]
        done, rest = Recorded(), {*range(len(known))}.difference(plain)
        if plain:
            cut = slice(None) if len(plain) == len(known) else plain
            rows = SlotRows(
                said.layout, [(said.end_device_ids[row], said.day) for row in plain], [known[row].head for row in plain],
                said.values[cut], None if said.has_value is None else said.has_value[cut],
                None if said.rules is None else said.rules[cut],
            )  # fmt: skip
            merged, pending = merge(rows, self._stored_blocks(Layer.RAW, rows.keys)), Pending()
            done = pending.add(Plain(rows, merged, range(len(plain))), received_at, run_id)
            self._put_pending(pending)
            rest.update(plain[row] for row in merged.odd)
        for row in sorted(rest):
            done += self._record_row(said, row, received_at, run_id, is_expected=known[row].is_expected)
        for row in said.explained():
            for fact in said.facts(row) if known[row].is_expected else ():
                self._record_status(said.end_device_ids[row], fact, received_at, run_id)
        return done

    def _check_grids(self, said: MeterDays, row: int) -> None:
        meter = said.end_device_ids[row]
        name, lines = self._device_name(meter), self._lines(meter)
        for fact in said.facts(row):
            channel_for(name, fact, lines.get(fact.obis, ()))

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
