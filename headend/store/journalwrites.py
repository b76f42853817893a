"""Writing plain rows. Each method needs a transaction."""

import hashlib
from collections.abc import Sequence

from drivers.errors import CounterError
from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.errors import StoreError
from headend.store.database import WritableDatabase
from headend.store.journalreads import COUNTER_QUERY, JournalReads
from headend.store.model import COUNTER_LIMIT, COUNTER_WARN, Layer
from headend.store.retention import Gap
from headend.store.seal import change_crc
from kernels.quality import Reason

MAX_PAYLOAD = 65_536
"""Longest beginning of a set-aside message that is kept. [B]"""
MAX_KINDS = 10_000
"""Most kinds of meter whose metadata are kept: where a model's firmware is not known, each meter is one."""
MAX_LINKS = 100_000
"""Most links whose latencies are kept."""
MAX_TEXT = 2_000
"""Longest text kept of an error or an event. [characters]"""
_LOG_COLUMNS = ("seq", "layer", "entity_id", "day", "channels", "version", "run_id", "at", "crc")
_LOG = f"INSERT INTO change_log ({', '.join(_LOG_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  constants

LogEntry = tuple[int, int, bytes, UtcSeconds, int | None]
"""Entity, day, codes of the channels one after the other, when, and by which run."""


class JournalWrites(WritableDatabase, JournalReads):
    """What is recorded beside the blocks."""

    def record_job(
        self,
        end_device_id: int,
        kind: str,
        started_at: UtcSeconds,
        ended_at: UtcSeconds,
        *,
        cause: Reason = Reason.NONE,
        detail: str = "",
        window: tuple[UtcSeconds, UtcSeconds] | None = None,
    ) -> int:
        """Record one attempt to read a meter and give its id; it succeeded where ``cause`` is NONE."""
        self._require_transaction()
        start, end = window or (None, None)
        return self._insert(
            "INSERT INTO job_run (end_device_id, kind, started_at, ended_at, succeeded, cause, detail, window_start,"
            " window_end) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                end_device_id, kind, started_at, ended_at, int(cause is Reason.NONE), int(cause), detail[:MAX_TEXT],
                start, end,
            ),
        )  # fmt: skip

    def add_event(
        self, end_device_id: int | None, kind: str, code: int, at: UtcSeconds, text: str, received_at: UtcSeconds
    ) -> bool:
        """Record what happened, once; False where exactly this is already recorded. Enters the change log when new."""
        self._require_transaction()
        is_new = self._put_event(end_device_id, kind, code, at, text, received_at)
        if is_new:
            self._log_change(Layer.EVENT, end_device_id or 0, at // 86_400, (), at=received_at)
        return is_new

    def set_aside(self, topic: str, payload: bytes, reason: str, at: UtcSeconds) -> None:
        """Keep a message nobody could use: its first 64 KiB, once, counting how often it came."""
        self._require_transaction()
        self._run(
            "INSERT INTO set_aside (topic, digest, payload, size, reason, first_at, last_at, times)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 1) ON CONFLICT (topic, digest) DO UPDATE SET"
            " last_at = CASE WHEN excluded.last_at > set_aside.last_at THEN excluded.last_at ELSE set_aside.last_at END,"
            " times = set_aside.times + 1, reason = excluded.reason",
            (
                _cut(topic), hashlib.sha256(payload).digest(), payload[:MAX_PAYLOAD], len(payload),
                reason[:MAX_TEXT], at,
            ),
        )  # fmt: skip

    def advance_cursor(self, name: str, seq: int) -> Sequence[Gap]:
        """Note that a sink has durably acknowledged all changes up to ``seq``; give what was dropped before it came there.

        Raises `StoreError` for a step back or beyond the newest change: either would hide a loss.
        """
        self._require_transaction()
        present, newest = self.cursor(name), self.last_seq()
        if not present <= seq <= newest:
            raise StoreError(f"cursor {name} stands at {present} of {newest}; it cannot go to {seq}")
        if seq != present:
            self._run(
                "INSERT INTO sink_cursor (name, seq, at) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, at = excluded.at",
                (name, seq, self._now()),
            )
        return ()

    def quarantine_point(self, sink: str, point: str, reason: str, seq: int) -> None:
        """Keep a point that a sink's server refused for good: once, counting how often it was met."""
        self._require_transaction()
        self._run(
            "INSERT INTO sink_quarantine (sink, point, reason, seq, first_at, last_at, times)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?5, 1) ON CONFLICT (sink, point) DO UPDATE SET reason = excluded.reason,"
            " seq = excluded.seq, times = sink_quarantine.times + 1, last_at = CASE"
            " WHEN excluded.last_at > sink_quarantine.last_at THEN excluded.last_at ELSE sink_quarantine.last_at END",
            (sink, _cut(point), reason[:MAX_TEXT], seq, self._now()),
        )

    def note_sink_trouble(self, name: str, error: str) -> None:
        """Note why a sink can deliver nothing, since when it first could not; an empty error: it can again."""
        self._require_transaction()
        if not error:
            self._run("DELETE FROM sink_trouble WHERE name = ?", (name,))
            return
        self._run(
            "INSERT INTO sink_trouble (name, error, since) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET error = excluded.error",
            (name, error[:MAX_TEXT], self._now()),
        )

    def reserve_counter(self, key_id: str, size: int, floor: int = 0, meter: str = "") -> range:
        """Reserve ``size`` invocation counters at or above ``floor``; they are never handed out again.

        ``meter``: who asks. Counters once reserved under its name, not its key's, are not handed out either.
        Use them only once the transaction is committed. Raises `CounterError` where the last is not below 2^32-1.
        """
        self._require_transaction()
        if size < 1 or floor < 0:
            raise ValueError(f"cannot reserve {size} counters from {floor} on")
        by_name = f"{key_id.partition('/')[0]}/{meter}" if meter else key_id
        first = max(self._next_counter(key_id), self._next_counter(by_name), floor)
        whose = f"{key_id} (meter {meter})" if meter else key_id
        if first + size > COUNTER_LIMIT:
            raise CounterError(
                f"invocation counter of {whose} is used up ({first} of {COUNTER_LIMIT}); change the key (rekey) before going on"
            )
        self._keep_counter(key_id, first + size, whose, is_peer=False)
        return range(first, first + size)

    def note_counter(self, key_id: str, counter: int) -> int:
        """Note an invocation counter seen of a meter; give the highest noted before, -1 for none. Never goes down."""
        self._require_transaction()
        if not 0 <= counter <= COUNTER_LIMIT:
            raise ValueError(f"{counter} is no invocation counter")
        following = self._next_counter(key_id)
        if counter >= following:
            self._keep_counter(key_id, counter + 1, key_id, is_peer=True)
        return following - 1

    def _keep_counter(self, key_id: str, following: int, whose: str, *, is_peer: bool) -> None:
        self._run(
            "INSERT INTO invocation_counter (key_id, next, is_peer) VALUES (?, ?, ?)"
            " ON CONFLICT (key_id) DO UPDATE SET next = excluded.next, is_peer = excluded.is_peer",
            (key_id, following, int(is_peer)),
        )
        if following >= COUNTER_WARN:
            now = self._now()
            text = f"invocation counter of {whose} has passed half of its range; plan a key change"
            self.add_event(None, "counter_warning", 0, now - now % 86_400, text, now)

    def jump_counters(self, margin: int) -> int:
        """Put all counters that we hand out ahead by ``margin``, and give how many; what was seen of meters stays.

        After a restore the counters in the store have been used. One that would pass the end stands there: its key must be
        changed.
        """
        self._require_transaction()
        if margin < 0:
            raise ValueError(f"counters never go back, not by {-margin} either")
        rows = self._sealed("invocation_counter", f"{COUNTER_QUERY} WHERE is_peer IS DISTINCT FROM 1")
        for key_id, following, _ in rows:
            self._keep_counter(key_id, min(following + margin, COUNTER_LIMIT), key_id, is_peer=False)
        return len(rows)

    def keep_metadata(self, kind: str, entry: bytes) -> None:
        """Keep what meters of a kind say alike; beyond `MAX_KINDS` what was kept longest ago goes. Raises `StoreError`."""
        self._require_transaction()
        if len(entry) > MAX_PAYLOAD or len(kind) > MAX_TEXT:
            raise StoreError(f"metadata of {len(entry)} octets; at most {MAX_PAYLOAD} are kept for one kind of meter")
        self._run("DELETE FROM driver_metadata WHERE kind = ?", (kind,))
        self._run("INSERT INTO driver_metadata (kind, entry) VALUES (?, ?)", (kind, entry))
        self._run(
            "DELETE FROM driver_metadata WHERE id <= (SELECT id FROM driver_metadata ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (MAX_KINDS,),
        )

    def drop_metadata(self, kind: str) -> None:
        """Forget what meters of a kind say alike."""
        self._require_transaction()
        self._run("DELETE FROM driver_metadata WHERE kind = ?", (kind,))

    def keep_latencies(self, link: str, entry: bytes) -> None:
        """Keep what was learned of a link's latencies; beyond `MAX_LINKS` what was kept longest ago goes."""
        self._require_transaction()
        self._run("DELETE FROM link_latency WHERE link = ?", (link,))
        self._run("INSERT INTO link_latency (link, entry) VALUES (?, ?)", (link, entry))
        self._run(
            "DELETE FROM link_latency WHERE id <= (SELECT id FROM link_latency ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (MAX_LINKS,),
        )

    def audit(self, user: str, action: str, subject: str, detail: str = "") -> int:
        """Note who did what, and give the entry's id."""
        self._require_transaction()
        return self._insert(
            'INSERT INTO audit (at, "user", action, subject, detail) VALUES (?, ?, ?, ?, ?)',
            (self._now(), user, action, subject, detail[:MAX_TEXT]),
        )

    def _put_event(
        self, end_device_id: int | None, kind: str, code: int, at: UtcSeconds, text: str, received_at: UtcSeconds
    ) -> bool:
        return bool(
            self._change(
                "INSERT INTO event (end_device_id, kind, code, at, text, received_at) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (end_device_id, kind, code, at, text[:MAX_TEXT], received_at),
            )
        )

    def _log_change(
        self,
        layer: Layer,
        entity_id: int,
        day: int,
        channels: tuple[Obis, ...],
        *,
        at: UtcSeconds,
        version: int = 0,
        run_id: int | None = None,
    ) -> int:
        """Append to the change log and give the commit number."""
        seq = self._next_change()
        self._run(_LOG, _entry(seq, layer, entity_id, day, _codes(channels), version, run_id, at))
        return seq

    def _log_changes(self, layer: Layer, entries: Sequence[LogEntry]) -> None:
        """Append to the change log in one statement."""
        self._put_many(
            "change_log",
            _LOG_COLUMNS,
            [
                _entry(seq, layer, entity_id, day, codes, 0, run_id, at)
                for seq, (entity_id, day, codes, at, run_id) in enumerate(entries, self._next_change())
            ],
        )

    def _next_change(self) -> int:
        self._check_usable()
        return self._engine.highest("change_log", "seq") + 1


def _entry(
    seq: int,
    layer: Layer,
    entity_id: int,
    day: int,
    channels: bytes,
    version: int,
    run_id: int | None,
    at: UtcSeconds,
) -> tuple[int | bytes | None, ...]:
    """Make the row of `_LOG`, its checksum with it."""
    number = int(layer)
    crc = change_crc(seq, number, entity_id, day, channels, version, run_id, at)
    return seq, number, entity_id, day, channels, version, run_id, at, crc


def _codes(channels: tuple[Obis, ...]) -> bytes:
    return b"".join(code.to_bytes() for code in channels)


def _cut(key: str) -> str:
    """Cut a text that is part of a key to so many octets: PostgreSQL's index takes no longer one."""
    return key.encode()[:MAX_TEXT].decode(errors="ignore") if len(key) * 4 > MAX_TEXT else key
