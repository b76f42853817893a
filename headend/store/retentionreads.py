"""Reading what retention has dropped, what it may drop, and what is to go next. Changes nothing."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from drivers.facts import UtcSeconds
from headend.registry.model import DAY
from headend.settings import RetentionSettings
from headend.store.block import decode
from headend.store.database import Database
from headend.store.errors import BlockError
from headend.store.model import Layer
from headend.store.retention import LAYERS, VALIDATION, Doomed, Floor, Gap, Held, Kept, Plan, terms
from headend.store.sums import MAX_PARTS, DaySums, decode_sums, encode_sums, sum_up

_GAP = "id, sink, first_seq, last_seq, layer, first_day, last_day, changes, at, reached_at, crc"
PARTS = {"hour": MAX_PARTS, "day": 1, "none": 0}
"""Spans of a day whose sums are kept, by the settings' word."""
_DOOMED = {
    Kept.RAW: "SELECT k FROM raw WHERE k < ?1 AND k > ?3 ORDER BY k LIMIT ?2",
    Kept.SUM: "SELECT k FROM validated_sum WHERE k < ?1 AND k > ?3 ORDER BY k LIMIT ?2",
    Kept.REGISTER: (
        "SELECT end_device_id, obis, captured_at FROM register WHERE captured_at < ?1"
        " AND (end_device_id, obis, captured_at) > (?3, ?4, ?5) ORDER BY end_device_id, obis, captured_at LIMIT ?2"
    ),
    Kept.EVENT: "SELECT id FROM event WHERE at < ?1 AND id > ?3 ORDER BY id LIMIT ?2",
    Kept.JOB_RUN: "SELECT id FROM job_run WHERE started_at < ?1 AND id > ?3 ORDER BY id LIMIT ?2",
    Kept.SET_ASIDE: "SELECT id FROM set_aside WHERE last_at < ?1 AND id > ?3 ORDER BY id LIMIT ?2",
    Kept.CHANGE: "SELECT seq FROM change_log WHERE seq <= ?1 AND seq > ?3 ORDER BY seq LIMIT ?2",
}
_VALIDATED_FROM = (Layer.RAW, Layer.REGISTER, Layer.REGISTRY)
"""Changes that have days validated again, for which their readings must be there."""
_BY_KEY = frozenset({Kept.RAW, Kept.VALIDATED, Kept.SUM})
"""What has ``day << 32 | id`` for its key."""


def waited_for(what: Kept) -> Collection[Layer]:
    """Give the layers whose changes a kind has to be there for: its own, and those that have its days validated again."""
    if what in {Kept.RAW, Kept.REGISTER}:
        return _VALIDATED_FROM
    return (LAYERS[what],) if what in LAYERS else ()


class RetentionReads(Database):
    """What is gone, and what is to go."""

    def floors(self) -> dict[Kept, Floor]:
        """Give what retention has dropped up to where."""
        rows = self._sealed("retention", "SELECT what, day, seq, at, crc FROM retention")
        return {Kept(what): Floor(*rest) for what, *rest in rows}

    def floor(self, what: Kept) -> Floor:
        """Give up to where one kind is dropped."""
        rows = self._sealed("retention", "SELECT what, day, seq, at, crc FROM retention WHERE what = ?", (what,))
        return Floor(*rows[0][1:]) if rows else Floor()

    def gaps(self, sink: str | None = None) -> list[Gap]:
        """List what was dropped before a sink, or any, had taken it, oldest first."""
        where = "" if sink is None else " WHERE sink = ?"
        query = f"SELECT {_GAP} FROM sink_gap{where} ORDER BY id"  # noqa: S608  constants
        rows = self._sealed("sink_gap", query, () if sink is None else (sink,))
        return [
            Gap(
                name, first, last, None if layer is None else Layer(layer), first_day, last_day, changes, at, reached_at,
                number,
            )
            for number, name, first, last, layer, first_day, last_day, changes, at, reached_at in rows
        ]  # fmt: skip

    def plan_retention(self, policy: RetentionSettings, now: UtcSeconds, sinks: Collection[str] = ()) -> Plan:
        """Say what a policy would drop at ``now``, what it would not because a cursor has not come so far, and for whom it tears a gap.

        ``sinks``: cursors that are to be waited for though they have not begun.
        """
        with self.snapshot():
            newest_row = self._row("SELECT max(seq) FROM change_log")
            newest = int(newest_row[0] or 0) if newest_row else 0
            cursors = dict.fromkeys(sinks, 0) | self._cursors()
            present = self.floors()
            floors: dict[Kept, Floor] = {}
            gaps: list[Gap] = []
            held: list[Held] = []
            for what, term in terms(policy):
                wanted = now // DAY - term
                forced = wanted - policy.sink_wait_days
                find = self._of_log if what is Kept.CHANGE else self._of_layer
                floor, waits = find(what, wanted, forced, cursors, newest)
                held += waits
                before = present.get(what, Floor())
                # It never goes down, though a sink may have been set up since that has taken nothing of what is gone.
                if floor.seq > before.seq if what is Kept.CHANGE else floor.day > before.day:
                    floors[what] = replace(floor, at=now)
                    gaps += self._gaps_torn(what, before, floor, cursors, now)
        return Plan(newest, floors, gaps, held)

    def doomed(self, what: Kept, keep_sums: str, limit: int, after: tuple[Any, ...] | None = None) -> Doomed:
        """Find at most ``limit`` rows below the floor; of validated days also what is to be left of them.

        ``after``: the last key found before, so that what is kept is not looked through again for each handful of rows.
        """
        floor = self.floor(what)
        bound = floor.seq if what is Kept.CHANGE else floor.day << 32 if what in _BY_KEY else floor.day * DAY
        if not bound:
            return Doomed(what, [])
        if what is not Kept.VALIDATED:
            first = (0, b"", 0) if what is Kept.REGISTER else (0,)
            return Doomed(what, self._rows(_DOOMED[what], (bound, limit, *(after or first))))
        keys, sums, damaged = [], [], []
        for key, data in self._rows("SELECT k, block FROM validated WHERE k < ? ORDER BY k LIMIT ?", (bound, limit)):
            keys.append((key,))
            try:
                if parts := PARTS[keep_sums]:
                    sums.append((key, encode_sums(sum_up(decode(data), parts))))
            except BlockError as error:
                damaged.append(f"row {key} of table validated: {error}")
        return Doomed(what, keys, sums, damaged)

    def below(self, what: Kept, floor: Floor) -> tuple[int, int]:
        """Count rows, and the bytes of blocks, that a floor would drop. Reads all of them."""
        table, column = what.value if what is not Kept.SUM else "validated_sum", "0"
        bound, where = floor.day * DAY, {Kept.REGISTER: "captured_at", Kept.EVENT: "at", Kept.JOB_RUN: "started_at"}
        key = where.get(what, "last_at")
        if what in _BY_KEY:
            key, bound, column = "k", floor.day << 32, "length(sums)" if what is Kept.SUM else "length(block)"
        elif what is Kept.CHANGE:
            key, bound = "seq", floor.seq + 1
        query = f"SELECT count(*), coalesce(sum({column}), 0) FROM {table} WHERE {key} < ?"  # noqa: S608  names are ours
        ((rows, size),) = self._rows(query, (bound,))
        return int(rows), int(size)

    def first_sums(self) -> int | None:
        """Give the first day since 1970 of which sums are left, None where there are none."""
        row = self._row("SELECT min(k) FROM validated_sum")
        return None if row is None or row[0] is None else int(row[0]) >> 32

    def sums(self, usage_point_id: int, name: str, first: int, last: int) -> Iterator[DaySums]:
        """Give what is left of a usage point's dropped days within ``[first, last)`` (days since 1970), oldest first."""
        for day in range(first, last):
            key = day << 32 | usage_point_id
            if row := self._row("SELECT sums FROM validated_sum WHERE k = ?", (key,)):
                yield self._sums(key, row[0], name)

    def _sums(self, key: int, data: bytes, name: str) -> DaySums:
        try:
            found = decode_sums(data)
        except BlockError as error:
            raise BlockError(
                f"{self.path}: row {key} of table validated_sum is damaged: {error}; restore a backup"
            ) from error
        if (found.usage_point, found.day) != (name, key >> 32):
            raise BlockError(
                f"{self.path}: row {key} of table validated_sum holds day {found.day} of {found.usage_point}, not of {name};"
                " the file is damaged: restore a backup"
            )
        return found

    def _cursors(self) -> dict[str, int]:
        rows = self._sealed("sink_cursor", "SELECT name, seq, at, crc FROM sink_cursor ORDER BY name")
        return {name: int(seq) for name, seq, _ in rows}

    def _of_layer(
        self, what: Kept, wanted: int, forced: int, cursors: dict[str, int], _newest: int
    ) -> tuple[Floor, list[Held]]:
        """Say up to which day a kind may go: not what validation has not seen, nor, for a while, what a sink has not."""
        floor = wanted
        held: list[Held] = []
        layer = LAYERS.get(what)
        known = {VALIDATION: 0} | cursors if what in {Kept.RAW, Kept.REGISTER} else cursors
        if layer is None:
            return Floor(max(0, floor)), held
        for name, seq in known.items():
            if name == VALIDATION and what not in {Kept.RAW, Kept.REGISTER}:
                continue
            layers = _VALIDATED_FROM if name == VALIDATION else (layer,)
            among = ", ".join(str(int(one)) for one in layers)
            ((day,),) = self._rows(f"SELECT min(day) FROM change_log WHERE seq > ? AND layer IN ({among})", (seq,))  # noqa: S608  numbers
            if day is not None and day < wanted:
                until = day if name == VALIDATION else max(day, forced)
                held.append(Held(what, name, until))
                floor = min(floor, until)
        return Floor(max(0, floor)), held

    def _of_log(
        self, what: Kept, wanted: int, forced: int, cursors: dict[str, int], newest: int
    ) -> tuple[Floor, list[Held]]:
        """Say up to which number the change log may go. Its newest entry stays, so that numbers go on from there."""
        wanted_seq, forced_seq = (self._last_before(day, newest) for day in (wanted, forced))
        floor, held = wanted_seq, []
        for name, seq in ({VALIDATION: 0} | cursors).items():
            if seq < wanted_seq:
                until = seq if name == VALIDATION else max(seq, forced_seq)
                held.append(Held(what, name, until))
                floor = min(floor, until)
        return Floor(wanted, max(0, floor)), held

    def _last_before(self, day: int, newest: int) -> int:
        row = self._row("SELECT seq FROM change_log WHERE at >= ? ORDER BY seq LIMIT 1", (day * DAY,))
        return min(int(row[0]), newest) - 1 if row else newest - 1

    def _gaps_torn(
        self, what: Kept, before: Floor, after: Floor, cursors: dict[str, int], now: UtcSeconds
    ) -> Iterator[Gap]:
        layer = LAYERS.get(what)
        if layer is None and what is not Kept.CHANGE:
            return
        for name, cursor in cursors.items():
            if name == VALIDATION:
                continue
            where, bounds = "seq <= ? AND seq > ?", (after.seq, before.seq)
            if layer is not None:
                where, bounds = f"layer = {layer:d} AND day < ? AND day >= ?", (after.day, before.day)
            ((first, last, first_day, last_day, changes),) = self._rows(
                f"SELECT min(seq), max(seq), min(day), max(day), count(*) FROM change_log WHERE seq > ? AND {where}",  # noqa: S608  both wheres are ours
                (cursor, *bounds),
            )
            if changes:
                yield Gap(name, first, last, layer, first_day, last_day, changes, now)
