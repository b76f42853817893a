"""A whole store held against itself: the file's structure, every checksum, every reference. Changes nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from drivers.obis import Obis
from headend.errors import HeadendError, StoreError
from headend.store.block import Block
from headend.store.freeing import FreeReads
from headend.store.journalreads import JournalReads
from headend.store.model import Layer
from headend.store.quarantine import why_quarantined
from headend.store.retention import Kept
from headend.store.seal import CHAIN_START, audit_digest, damaged
from headend.store.seriesreads import SeriesReads

MAX_FAULTS = 1_000
"""Most faults that are named; a file that has more is not mended by reading on."""
SEALED = {
    "link": "id, url",
    "event": "id, end_device_id, kind, code, at, text, received_at",
    "conflict": (
        "id, end_device_id, layer, obis, at, kept, kept_scaler, kept_unit, refused, refused_scaler, refused_unit, received_at"
    ),
    "set_aside": "id, topic, payload, size, reason, first_at, last_at, times",
    "job_run": "id, end_device_id, kind, started_at, ended_at, succeeded, cause, detail, window_start, window_end",
    "vee_run": "id, rules, at, user, reason",
    "validated_version": "id, usage_point_id, day, obis, version, run_id, seq, block IS NULL",
    "key_change": (
        "id, end_device_id, phase, old_encryption_ref, old_authentication_ref, old_fingerprint, new_encryption_ref,"
        " new_authentication_ref, new_fingerprint, moved_at"
    ),
    "sink_quarantine": "id, sink, point, reason, seq, first_at, last_at, times",
    "sink_trouble": "name, error, since",
    "retention": "what, day, seq, at",
    "sink_gap": "id, sink, first_seq, last_seq, layer, first_day, last_day, changes, at, reached_at",
}
"""Tables that are not held against their checksums by being read, and the columns these cover, as in the schema's triggers."""
_STEP = 1_000
"""Rows read in one turn, so that a large store is checked in little memory."""


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a table takes with its indexes. ``unused``: room within its pages. [B]"""

    table: str
    rows: int
    size: int
    unused: int


class CheckReads(JournalReads, SeriesReads, FreeReads):
    """Reading everything there is."""

    def faults(self) -> Iterator[str]:
        """Name what is wrong with the store, one fault after the other; nothing where it is sound. Raises no `HeadendError`.

        Reads the whole file, under one view of it: minutes for tens of gigabytes on a card, while the writer's log grows.
        """
        if why := why_quarantined(self.path):
            yield f"set apart as damaged: {why}"
        try:
            with self.snapshot():
                for number, fault in enumerate(self._faults(), 1):
                    yield fault
                    if number == MAX_FAULTS:
                        yield f"more than {MAX_FAULTS} faults; the rest is not named"
                        return
        except HeadendError as error:
            yield str(error)

    def sizes(self) -> list[TableSize]:
        """List what each table takes, the largest first. Reads the whole file."""
        self._check_usable()
        return [
            TableSize(table, int(self._rows(f'SELECT count(*) FROM "{table}"')[0][0]), size, unused)  # noqa: S608  a name of the schema's
            for table, size, unused in self._engine.sizes()
        ]

    def durability_faults(self) -> list[str]:
        """Name the settings under which the database does not keep what it acknowledges."""
        self._check_usable()
        return self._engine.durability_faults()

    def _faults(self) -> Iterator[str]:
        yield from self._engine.structure_faults(MAX_FAULTS)
        for read in (self.installations, self.counters, self._check_cursors):
            yield from _failure(read)
        for table, columns in SEALED.items():
            yield from self._sealed_faults(table, columns)
        yield from self._log_faults()
        yield from self._audit_faults()
        devices = {device.id: device.name for device in self.end_devices()}
        points = {point.id: point.name for point in self.usage_points()}
        for number in devices:
            yield from _failure(partial(self.expectations, number))
            yield from _failure(partial(self._check_registers, number))
        yield from self._block_faults(Layer.RAW, "raw", devices)
        yield from self._block_faults(Layer.VALIDATED, "validated", points)
        yield from self._version_faults(points)
        after = -(2**63)
        while rows := self._rows(
            f"SELECT k, sums FROM validated_sum WHERE k > ? ORDER BY k LIMIT {_STEP}",  # noqa: S608  a constant
            (after,),
        ):
            for key, data in rows:
                yield from _failure(partial(self._sums, key, data, points.get(key & 0xFFFF_FFFF, "")))
            after = rows[-1][0]

    def _check_cursors(self) -> None:
        newest = self.last_seq()
        for name, seq in self.cursors().items():
            if not 0 <= seq <= newest:
                raise StoreError(f"{self.path}: cursor {name} stands at {seq}, the change log ends at {newest}")

    def _sealed_faults(self, table: str, columns: str, crc: str = "row_crc") -> Iterator[str]:
        key = columns.partition(",")[0]
        query = f"SELECT {key} FROM {table} WHERE crc IS DISTINCT FROM {self._engine.crc_of(columns, crc)} LIMIT {MAX_FAULTS}"  # noqa: S608  constants
        try:
            yield from (str(damaged(self.path, table, row)) for (row,) in self._rows(query))
        except StoreError as error:
            yield f"table {table}: {error}"

    def _log_faults(self) -> Iterator[str]:
        """Check the change log: its numbers run without a gap, from wherever retention has let it begin."""
        columns = "seq, layer, entity_id, day, channels, version, run_id, at"
        yield from self._sealed_faults("change_log", columns, "change_crc")
        ((entries, first, last),) = self._rows("SELECT count(*), min(seq), max(seq) FROM change_log")
        given = self._engine.highest("change_log", "seq")
        dropped = self.floor(Kept.CHANGE).seq
        if entries and last - first + 1 != entries:
            yield f"change log: {last - first + 1 - entries} entries between {first} and {last} are gone"
        if entries and first > dropped + 1:
            yield f"change log: entries {dropped + 1} to {first - 1} are gone, and retention has not dropped them"
        if (last or 0) != given:
            yield f"change log: entries {(last or 0) + 1} to {given} are gone from its end"

    def _audit_faults(self) -> Iterator[str]:
        """Follow the audit's chain: name what was changed, put elsewhere or removed, also at its end."""
        before, digest = 0, CHAIN_START
        query = 'SELECT id, at, "user", action, subject, detail, digest FROM audit WHERE id > ? ORDER BY id LIMIT ?'
        while rows := self._rows(query, (before, _STEP)):
            for *entry, own in rows:
                if entry[0] != before + 1:
                    yield f"audit: entries {before + 1} to {entry[0] - 1} were removed"
                if audit_digest(digest, *entry) != own:
                    yield f"audit: entry {entry[0]} was changed, or does not follow the entry it was written after"
                before, digest = entry[0], own
        given = self._engine.highest("audit", "id")
        if before != given:
            yield f"audit: entries {before + 1} to {given} were removed from its end"

    def _check_registers(self, end_device_id: int) -> None:
        for obis in self.register_codes(end_device_id):
            self.registers(end_device_id, obis, 0, 2**62)

    def _block_faults(self, layer: Layer, table: str, names: dict[int, str]) -> Iterator[str]:
        after = -(2**63)
        query = f"SELECT k, block FROM {table} WHERE k > ? ORDER BY k LIMIT {_STEP}"  # noqa: S608  the table's name is ours
        while rows := self._rows(query, (after,)):
            for key, data in rows:
                where, name = f"row {key} of table {table}", names.get(key & 0xFFFF_FFFF)
                if name is None:
                    yield f"{where} belongs to nobody: there is no local id {key & 0xFFFF_FFFF}"
                else:
                    yield from _failure(partial(self._decode, data, where, layer, name, key >> 32))
            after = rows[-1][0]

    def _version_faults(self, points: dict[int, str]) -> Iterator[str]:
        """Check superseded versions, and that what is in force is the newest of them."""
        after = 0
        columns = "id, usage_point_id, day, obis, version, block"
        query = f"SELECT {columns} FROM validated_version WHERE id > ? ORDER BY id LIMIT {_STEP}"  # noqa: S608  constants
        while rows := self._rows(query, (after,)):
            for number, point, day, code, version, data in rows:
                where, name = f"row {number} of table validated_version", points.get(point, "")
                try:
                    if data is None:
                        block = self._block(Layer.VALIDATED, point, name, day)
                    else:
                        block = self._decode(data, where, Layer.VALIDATED, name, day)
                except StoreError as error:
                    yield str(error)
                    continue
                if not _has(block, code, version):
                    yield f"{where}: {name} has no version {version} of {code.hex()} on day {day}"
            after = rows[-1][0]


def _failure(read: Callable[[], object]) -> Iterator[str]:
    try:
        read()
    except HeadendError as error:
        yield str(error)


def _has(block: Block | None, code: bytes, version: int) -> bool:
    channel = None if block is None or len(code) != 6 else block.find(Obis.from_bytes(code))
    return channel is not None and channel.version == version
