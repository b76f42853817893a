"""Reading plain rows: registers, events, conflicts, set-asides, job runs, the change log and its cursors."""

import struct
import zlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeVar

from drivers.facts import RegisterValue, UtcSeconds
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.errors import StoreError
from headend.store.database import Database
from headend.store.errors import RowError
from headend.store.model import (
    AuditEntry,
    Change,
    Conflict,
    Counter,
    Event,
    JobRun,
    Layer,
    Quarantined,
    SetAside,
    SinkState,
)
from headend.store.seal import CHAIN_START, audit_digest, change_crc, damaged
from kernels.quality import Reason, Rule

T = TypeVar("T")
DEFAULT_LIMIT = 10_000
"""Most rows a listing gives unless told otherwise."""
_FOREVER = 2**62
_REGISTER = struct.Struct("<q6sqqbBqI")
_AUDIT = 'id, at, "user", action, subject, detail, digest'
_EVENT = "SELECT id, end_device_id, kind, code, at, text, received_at, crc FROM event"
_CURSOR = "SELECT name, seq, at, crc FROM sink_cursor"
COUNTER_QUERY = "SELECT key_id, next, is_peer, crc FROM invocation_counter"
_REGISTER_COLUMNS = "count, scaler, unit, captured_at, uncertainty, rules, crc"


def register_crc(end_device_id: int, value: RegisterValue) -> int:
    """Make the checksum of a register's row over its key and content, CRC-32 as zlib."""
    unit = value.scaler_unit
    return zlib.crc32(
        _REGISTER.pack(
            end_device_id, value.obis.to_bytes(), value.captured_at, value.count, unit.scaler, unit.unit,
            value.uncertainty, value.rules,
        )
    )  # fmt: skip


@lru_cache(maxsize=256)
def _scaler_unit(scaler: int, unit: int) -> ScalerUnit:
    return ScalerUnit(scaler, Unit(unit))


class JournalReads(Database):
    """What was recorded beside the blocks."""

    def registers(self, end_device_id: int, obis: Obis, start: UtcSeconds, end: UtcSeconds) -> list[RegisterValue]:
        """List a register's values captured within ``[start, end)`` [s UTC], oldest first. Raises `StoreError`."""
        rows = self._rows(
            f"SELECT {_REGISTER_COLUMNS} FROM register"  # noqa: S608  constant columns
            " WHERE end_device_id = ? AND obis = ? AND captured_at >= ? AND captured_at < ? ORDER BY captured_at",
            (end_device_id, obis.to_bytes(), start, end),
        )
        return [self._register(end_device_id, obis, row) for row in rows]

    def registers_or_damage(
        self, end_device_id: int, obis: Obis, start: UtcSeconds, end: UtcSeconds
    ) -> list[RegisterValue | RowError]:
        """List as `registers`; a damaged row is its error, and costs itself alone."""
        try:
            return list(self.registers(end_device_id, obis, start, end))
        except RowError:
            instants = self._rows(
                "SELECT captured_at FROM register WHERE end_device_id = ? AND obis = ? AND captured_at >= ? AND captured_at < ?"
                " ORDER BY captured_at",
                (end_device_id, obis.to_bytes(), start, end),
            )
            return [
                one
                for (at,) in instants
                for one in _or_damage(partial(self.registers, end_device_id, obis, at, at + 1))
            ]

    def last_register(self, end_device_id: int, obis: Obis, before: UtcSeconds) -> RegisterValue | None:
        """Find a register's newest value captured before an instant, exclusive [s UTC]. Raises `StoreError`."""
        row = self._row(
            f"SELECT {_REGISTER_COLUMNS} FROM register"  # noqa: S608  constant columns
            " WHERE end_device_id = ? AND obis = ? AND captured_at < ? ORDER BY captured_at DESC LIMIT 1",
            (end_device_id, obis.to_bytes(), before),
        )
        return None if row is None else self._register(end_device_id, obis, row)

    def register_codes(self, end_device_id: int) -> list[Obis]:
        """List the registers of which any value is stored, sorted."""
        # Skip from code to code along the key, not row to row.
        rows = self._rows(
            "WITH RECURSIVE code (obis) AS ("
            " SELECT (SELECT obis FROM register WHERE end_device_id = ?1 ORDER BY obis LIMIT 1) UNION ALL"
            " SELECT (SELECT obis FROM register WHERE end_device_id = ?1 AND obis > code.obis ORDER BY obis LIMIT 1)"
            " FROM code WHERE code.obis IS NOT NULL) SELECT obis FROM code WHERE obis IS NOT NULL",
            (end_device_id,),
        )
        return [Obis.from_bytes(code) for (code,) in rows]

    def _register(self, end_device_id: int, obis: Obis, row: tuple[Any, ...]) -> RegisterValue:
        count, scaler, unit, captured_at, uncertainty, rules, crc = row
        try:
            value = RegisterValue(obis, count, _scaler_unit(scaler, unit), captured_at, uncertainty, Rule(rules))
            fault = "" if register_crc(end_device_id, value) == crc else "its checksum does not match"
        except (TypeError, ValueError, struct.error) as error:
            fault = str(error)
        if fault:
            where = f"{self.path}: register {obis} of end device {end_device_id} at {captured_at}"
            raise RowError(f"{where} is damaged: {fault}; keep the file, restore a backup")
        return value

    def changes(self, after: int, limit: int = DEFAULT_LIMIT) -> list[Change]:
        """List what changed after commit number ``after``, oldest first: at most ``limit`` numbers, each of them whole."""
        rows = self._rows(
            "SELECT seq, layer, entity_id, day, channels, version, run_id, at, crc FROM change_log WHERE seq > ?"
            " ORDER BY seq LIMIT ?",
            (after, limit),
        )
        found: list[Change] = []
        for *row, crc in rows:
            seq, layer, entity_id, day, channels, version, run_id, at = row
            if change_crc(*row) != crc:
                raise damaged(self.path, "change_log", seq)
            codes: list[Obis | None] = [
                Obis.from_bytes(channels[first : first + 6]) for first in range(0, len(channels), 6)
            ]
            found.extend(
                Change(seq, Layer(layer), entity_id, code, day, version, run_id, at) for code in codes or [None]
            )
        return found

    def last_seq(self) -> int:
        """Give the number of the newest change, 0 before the first."""
        row = self._row("SELECT max(seq) FROM change_log")
        return int(row[0]) if row and row[0] is not None else 0

    def first_change_at(self) -> UtcSeconds | None:
        """Give the instant of the oldest change in the log, None where there is none. [s UTC]"""
        row = self._row("SELECT at FROM change_log ORDER BY seq LIMIT 1")
        return int(row[0]) if row else None

    def last_change_at(self) -> UtcSeconds | None:
        """Give the instant of the newest change in the log, None where there is none. [s UTC]"""
        row = self._row("SELECT at FROM change_log ORDER BY seq DESC LIMIT 1")
        return int(row[0]) if row else None

    def cursor(self, name: str) -> int:
        """Give the last change a sink has acknowledged, 0 before its first."""
        rows = self._sealed("sink_cursor", f"{_CURSOR} WHERE name = ?", (name,))
        return int(rows[0][1]) if rows else 0

    def cursors(self) -> dict[str, int]:
        """Give the cursors of all sinks, by name."""
        rows = self._sealed("sink_cursor", f"{_CURSOR} ORDER BY name")
        return {name: int(seq) for name, seq, _ in rows}

    def sink_states(self) -> dict[str, SinkState]:
        """Give how far each sink has come and what ails it, by name; every one that ever wrote anything."""
        cursors = self.cursors()
        troubles = {
            name: (error, since)
            for name, error, since in self._sealed("sink_trouble", "SELECT name, error, since, crc FROM sink_trouble")
        }
        quarantined = dict(self._rows("SELECT sink, count(*) FROM sink_quarantine GROUP BY sink"))
        found = {}
        for name in sorted(cursors.keys() | troubles.keys() | quarantined.keys()):
            seq = cursors.get(name, 0)
            waiting = self._row("SELECT at FROM change_log WHERE seq > ? ORDER BY seq LIMIT 1", (seq,))
            since = int(waiting[0]) if waiting else None
            found[name] = SinkState(seq, since, quarantined.get(name, 0), *troubles.get(name, ("", None)))
        return found

    def quarantine(self, sink: str, limit: int = DEFAULT_LIMIT) -> list[Quarantined]:
        """List what a sink's server refused for good: the newest ``limit``, oldest first."""
        rows = self._sealed(
            "sink_quarantine",
            "SELECT id, sink, point, reason, seq, first_at, last_at, times, crc FROM sink_quarantine WHERE sink = ?"
            " ORDER BY id DESC LIMIT ?",
            (sink, limit),
        )
        return [Quarantined(number, *rest) for number, _, *rest in reversed(rows)]

    def events(
        self,
        end_device_id: int | None = None,
        kind: str | None = None,
        start: UtcSeconds = 0,
        end: UtcSeconds = _FOREVER,
        limit: int = DEFAULT_LIMIT,
    ) -> list[Event]:
        """List what happened within ``[start, end)`` [s UTC], oldest first."""
        rows = self._sealed(
            "event",
            f"{_EVENT} WHERE (end_device_id = ?1 OR"
            " ?1 IS NULL) AND (kind = ?2 OR ?2 IS NULL) AND at >= ?3 AND at < ?4 ORDER BY at, id LIMIT ?5",
            (end_device_id, kind, start, end, limit),
        )
        return [Event(*row) for row in rows]

    def events_or_damage(self, start: UtcSeconds, end: UtcSeconds) -> list[Event | RowError]:
        """List all events within ``[start, end)`` [s UTC], oldest first; a damaged row is its error, and costs itself alone."""
        try:
            return list(self.events(start=start, end=end, limit=_FOREVER))
        except RowError:
            numbers = self._rows("SELECT id FROM event WHERE at >= ? AND at < ? ORDER BY at, id", (start, end))
            return [one for (number,) in numbers for one in _or_damage(partial(self._event, number))]

    def _event(self, number: int) -> list[Event]:
        return [Event(*row) for row in self._sealed("event", f"{_EVENT} WHERE id = ?", (number,))]

    def conflicts(
        self,
        end_device_id: int | None = None,
        start: UtcSeconds = 0,
        end: UtcSeconds = _FOREVER,
        limit: int = DEFAULT_LIMIT,
    ) -> list[Conflict]:
        """List values that contradicted a stored one, of slots or captures within ``[start, end)`` [s UTC]."""
        rows = self._sealed(
            "conflict",
            "SELECT id, end_device_id, layer, obis, at, kept, kept_scaler, kept_unit, refused, refused_scaler,"
            " refused_unit, received_at, crc FROM conflict WHERE (end_device_id = ?1 OR ?1 IS NULL)"
            " AND at >= ?2 AND at < ?3 ORDER BY at, id LIMIT ?4",
            (end_device_id, start, end, limit),
        )
        return [
            Conflict(
                number, device, Layer(layer), Obis.from_bytes(code), at, kept, ScalerUnit(kept_scaler, Unit(kept_unit)),
                refused, ScalerUnit(refused_scaler, Unit(refused_unit)), received_at,
            )
            for number, device, layer, code, at, kept, kept_scaler, kept_unit, refused, refused_scaler, refused_unit,
            received_at in rows
        ]  # fmt: skip

    def set_asides(self, since: UtcSeconds = 0, limit: int = DEFAULT_LIMIT) -> list[SetAside]:
        """List messages nobody could use, last seen at or after ``since`` [s UTC], oldest first."""
        rows = self._sealed(
            "set_aside",
            "SELECT id, topic, payload, size, reason, first_at, last_at, times, crc FROM set_aside WHERE last_at >= ?"
            " ORDER BY id LIMIT ?",
            (since, limit),
        )
        return [SetAside(*row) for row in rows]

    def job_runs(
        self,
        end_device_id: int | None = None,
        kind: str | None = None,
        since: UtcSeconds = 0,
        limit: int = DEFAULT_LIMIT,
    ) -> list[JobRun]:
        """List attempts to read that started at or after ``since`` [s UTC]: the newest ``limit``, oldest first."""
        where = "end_device_id = ?1" if end_device_id is not None else "CAST(?1 AS BIGINT) IS NULL"
        rows = self._sealed(
            "job_run",
            "SELECT id, end_device_id, kind, started_at, ended_at, succeeded, cause, detail, window_start, window_end, crc"  # noqa: S608  both wheres are ours
            f" FROM job_run WHERE {where} AND (kind = ?2 OR ?2 IS NULL) AND started_at >= ?3"
            " ORDER BY started_at DESC, id DESC LIMIT ?4",
            (end_device_id, kind, since, limit),
        )
        return [_job_run(row) for row in reversed(rows)]

    def counters(self) -> list[Counter]:
        """List the invocation counters, by key."""
        rows = self._sealed("invocation_counter", f"{COUNTER_QUERY} ORDER BY key_id")
        return [Counter(key_id, following) for key_id, following, _ in rows]

    def _next_counter(self, key_id: str) -> int:
        rows = self._sealed("invocation_counter", f"{COUNTER_QUERY} WHERE key_id = ?", (key_id,))
        return int(rows[0][1]) if rows else 0

    def metadata(self, kind: str) -> bytes | None:
        """Give what was kept of a kind of meter, None for nothing."""
        row = self._row("SELECT entry FROM driver_metadata WHERE kind = ?", (kind,))
        return bytes(row[0]) if row else None

    def latencies(self) -> list[tuple[str, bytes]]:
        """List what was kept of each link's latencies."""
        return [(link, bytes(entry)) for link, entry in self._rows("SELECT link, entry FROM link_latency ORDER BY id")]

    def audit_entries(self, since: UtcSeconds = 0, limit: int = DEFAULT_LIMIT) -> list[AuditEntry]:
        """List who did what at or after ``since`` [s UTC], oldest first."""
        rows = self._rows(f"SELECT {_AUDIT} FROM audit WHERE at >= ? ORDER BY id LIMIT ?", (since, limit))  # noqa: S608  constant columns
        for row in rows:
            before = self._row("SELECT digest FROM audit WHERE id < ? ORDER BY id DESC LIMIT 1", (row[0],))
            if audit_digest(before[0] if before else CHAIN_START, *row[:-1]) != row[-1]:
                raise StoreError(
                    f"{self.path}: entry {row[0]} of the audit is damaged, or the one before it is not the one it was written"
                    " after; keep the file, restore a backup"
                )
        return [AuditEntry(*row[:-1]) for row in rows]

    def audit_head(self) -> tuple[int, str]:
        """Give number and digest of the newest audit entry, 0 and nothing for none: noted elsewhere, they show what is cut off."""
        row = self._row("SELECT id, digest FROM audit ORDER BY id DESC LIMIT 1")
        return (int(row[0]), row[1].hex()) if row else (0, "")


def _or_damage(read: Callable[[], list[T]]) -> list[T | RowError]:
    try:
        return list(read())
    except RowError as error:
        return [error]


def _job_run(row: tuple[Any, ...]) -> JobRun:
    number, end_device_id, kind, started_at, ended_at, succeeded, cause, detail, start, end = row
    window = None if start is None else (start, end)
    return JobRun(number, end_device_id, kind, started_at, ended_at, bool(succeeded), Reason(cause), detail, window)
