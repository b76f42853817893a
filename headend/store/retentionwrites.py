"""Dropping what has outlived its term, a few rows at a time. Each method needs a transaction."""

from collections.abc import Iterator, Sequence

from drivers.facts import UtcSeconds
from headend.registry.model import DAY
from headend.store.journalwrites import JournalWrites
from headend.store.retention import LAYERS, VALIDATION, Doomed, Floor, Gap, Kept, Plan, day_of
from headend.store.retentionreads import RetentionReads, waited_for

USER = "headend"
"""In whose name the audit has what is dropped by policy."""
_DROP = {
    Kept.RAW: "DELETE FROM raw WHERE k = ?",
    Kept.VALIDATED: "DELETE FROM validated WHERE k = ?",
    Kept.SUM: "DELETE FROM validated_sum WHERE k = ?",
    Kept.REGISTER: "DELETE FROM register WHERE end_device_id = ? AND obis = ? AND captured_at = ?",
    Kept.EVENT: "DELETE FROM event WHERE id = ?",
    Kept.JOB_RUN: "DELETE FROM job_run WHERE id = ?",
    Kept.SET_ASIDE: "DELETE FROM set_aside WHERE id = ?",
    Kept.CHANGE: "DELETE FROM change_log WHERE seq = ?",
}


class RetentionWrites(JournalWrites, RetentionReads):
    """First the floor goes up, with an account of what that costs whom; from then on nothing is written below it. Rows go after that."""

    _known_floors: dict[Kept, Floor] | None = None

    def floors(self) -> dict[Kept, Floor]:
        """Give what retention has dropped up to where; the writer alone moves it, so it may remember."""
        if self._known_floors is None:
            self._known_floors = super().floors()
        return self._known_floors

    def floor(self, what: Kept) -> Floor:
        """Give up to where one kind is dropped."""
        return self.floors().get(what, Floor())

    def add_event(
        self, end_device_id: int | None, kind: str, code: int, at: UtcSeconds, text: str, received_at: UtcSeconds
    ) -> bool:
        """Do as `JournalWrites.add_event`; False, and nothing is recorded, below what retention keeps."""
        if at < self.floor(Kept.EVENT).day * DAY:
            return False
        return super().add_event(end_device_id, kind, code, at, text, received_at)

    def raise_floors(self, plan: Plan) -> bool:
        """Do as planned, and note it in the audit; False, and nothing is done, where a change came since that the plan has not seen."""
        self._require_transaction()
        for what, floor in plan.floors.items():
            among = ", ".join(str(int(layer)) for layer in waited_for(what))
            query = f"SELECT 1 FROM change_log WHERE seq > ? AND layer IN ({among}) AND day < ? LIMIT 1"  # noqa: S608  numbers
            if among and self._row(query, (plan.newest, floor.day)):
                return False
        for what, floor in plan.floors.items():
            self._run(
                "INSERT INTO retention (what, day, seq, at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (what) DO UPDATE SET day = excluded.day, seq = excluded.seq, at = excluded.at",
                (what, floor.day, floor.seq, self._now()),
            )
            up_to = f"up to number {floor.seq}" if what is Kept.CHANGE else f"before {day_of(floor.day)}"
            self.audit(USER, "retention", what, f"dropped {up_to}, by the settings")
        self._known_floors = None
        for gap in plan.gaps:
            self._put_gap(gap)
            self._tell("retention_gap", f"dropped before {gap.sink} had taken it: {gap}")
        return True

    def drop(self, doomed: Doomed) -> int:
        """Drop rows found below the floor, leave sums of those that had any, and give how many went."""
        self._require_transaction()
        for key, sums in doomed.sums:
            self._run(
                "INSERT INTO validated_sum (k, sums) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET sums = excluded.sums",
                (key, sums),
            )
        for text in doomed.damaged:
            self._tell("retention_damage", f"dropped without sums, it was damaged: {text}")
        dropped = 0
        for bindings in doomed.keys:
            dropped += self._change(_DROP[doomed.what], bindings)
            if doomed.what is Kept.VALIDATED:
                day_and_point = int(bindings[0])
                self._run(
                    "DELETE FROM validated_version WHERE usage_point_id = ? AND day = ?",
                    (day_and_point & 0xFFFF_FFFF, day_and_point >> 32),
                )
        return dropped

    def advance_cursor(self, name: str, seq: int) -> Sequence[Gap]:
        """Do as `JournalWrites.advance_cursor`; where something was dropped before this cursor came to it, tell so by an event too."""
        before = self.cursor(name)
        super().advance_cursor(name, seq)
        if name == VALIDATION or seq == before or not self.floors():
            return ()
        known = self.gaps(name)
        for gap in self._unknown_gaps(name, before, seq, known):
            self._put_gap(gap)
        reached = [gap for gap in self.gaps(name) if gap.reached_at is None and gap.first_seq <= seq]
        for gap in reached:
            self._run("UPDATE sink_gap SET reached_at = ? WHERE id = ?", (self._now(), gap.id))
            self._tell("sink_gap", f"{name} came to what was dropped before: {gap}")
        return reached

    def _unknown_gaps(self, name: str, before: int, seq: int, known: list[Gap]) -> Iterator[Gap]:
        """Find what a cursor passes that is gone and that nobody foresaw, as the sink was not there then."""
        log = self.floor(Kept.CHANGE).seq
        last = min(seq, log)
        if before < last and not any(gap.layer is None and gap.last_seq >= last for gap in known):
            yield Gap(name, before + 1, log, None, None, None, log - before, self._now())
        for what, layer in LAYERS.items():
            floor = self.floor(what).day
            ((first, last, first_day, last_day, changes),) = self._rows(
                "SELECT min(seq), max(seq), min(day), max(day), count(*) FROM change_log"
                " WHERE seq > ? AND seq <= ? AND layer = ? AND day < ?",
                (before, seq, int(layer), floor),
            )
            covered = (gap for gap in known if gap.layer is layer and gap.first_seq <= first and last <= gap.last_seq)
            if changes and not any(covered):
                yield Gap(name, first, last, layer, first_day, last_day, changes, self._now())

    def _put_gap(self, gap: Gap) -> None:
        self._run(
            "INSERT INTO sink_gap (sink, first_seq, last_seq, layer, first_day, last_day, changes, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                gap.sink, gap.first_seq, gap.last_seq, None if gap.layer is None else int(gap.layer), gap.first_day,
                gap.last_day, gap.changes, gap.at or self._now(),
            ),
        )  # fmt: skip

    def _tell(self, kind: str, text: str) -> None:
        now = self._now()
        self.add_event(None, kind, 0, now, text, received_at=now)

    def _forget(self) -> None:
        super()._forget()
        self._known_floors = None
