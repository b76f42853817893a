"""`Dataset`: Parquet files (extra ``parquet``) that show exactly what the store holds (docs/decisions/parquet.md).

A file holds one layer's rows of one UTC day and of one group of owners, whole. When any of them changes, it is written anew as
the store stands. So a reader that takes the manifest's files sees each row once and no superseded one, and doing the same again,
after a crash, changes nothing. What retention took from the store stays in the files.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import structlog

from headend.errors import ExportError
from headend.export import parquet
from headend.export.files import locked, make_directory
from headend.export.holdings import GROUP, owners
from headend.export.registrytables import registry_tables
from headend.registry.model import DAY
from headend.sinks.directory import Directory, Key
from headend.sinks.model import Poison, Unavailable, Window
from headend.store.model import Layer
from headend.store.reader import StoreReader
from headend.store.retention import Kept

LOCK = ".headend-parquet.lock"
MOST_FILES = 256
"""Most files that are written before a manifest names them."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """What one file holds. ``day``: since 1970-01-01 UTC.  Events of all owners are in group 0."""

    layer: Layer
    day: int
    group: int


class Dataset:
    """One directory, written by one sink. ``is_stopped``: asked between files.  ``at_step``: as of `Directory`."""

    def __init__(
        self,
        path: Path,
        layers: Collection[Layer],
        *,
        is_stopped: Callable[[], bool] = lambda: False,
        at_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._directory = Directory(path, at_step)
        self._layers = frozenset(layers)
        self._is_stopped = is_stopped
        self._has_looked = False

    def update(self, reader: StoreReader, after: int) -> Window:
        """Bring the files up to the store as it stands, given the commit number ``after`` which the changes begin.

        At first, and where files are gone, everything is written. Gives a `Window` without lines, at ``after`` where it was
        stopped. Raises `Unavailable` where the directory cannot be written, `StoreError`.
        """
        path = self._directory.path
        has_looked, self._has_looked = self._has_looked, False  # until this has ended well
        try:
            make_directory(path)
            with locked(path / LOCK, f"{path}: another process writes Parquet files here"):
                window = self._update(reader, after, has_looked=has_looked)
        except ExportError as error:
            raise Unavailable(str(error)) from error
        except OSError as error:
            raise Unavailable(f"{error.filename or path}: {error.strerror}") from error
        self._has_looked = True
        return window

    def _update(self, reader: StoreReader, after: int, *, has_looked: bool) -> Window:
        newest = reader.last_seq()
        is_whole = has_looked or self._directory.look()
        # A directory, or a store, that was put back from a copy does not go on where the other is.
        # And where the log was cut before we came to its end, it does not say what changed.
        follows = is_whole and reader.floor(Kept.CHANGE).seq <= after <= self._directory.seq <= newest and after > 0
        found = _changed(reader, after) if follows else _everything(reader)
        names = {layer: owners(reader, layer) for layer in self._layers}
        poison: list[Poison] = []
        for partition in sorted(part for part in found if part.layer in self._layers):
            if self._is_stopped():
                self._directory.publish(self._directory.seq)
                return Window(after)
            poison += self._write(reader, partition, names[partition.layer])
            if self._directory.pending >= MOST_FILES:
                self._directory.publish(self._directory.seq)
        for name, (header, rows) in registry_tables(reader).items():
            self._put((name, "", 0), parquet.text_table(header, rows), newest)
        self._directory.publish(newest)
        return Window(newest, (), poison)

    def _write(self, reader: StoreReader, partition: Partition, names: Mapping[int, str]) -> list[Poison]:
        """Write a partition as the store has it, and what its file so far has that the store does not, or cannot read now."""
        layer, day, group = partition.layer, partition.day, partition.group
        inside = {number: name for number, name in names.items() if layer is Layer.EVENT or number // GROUP == group}
        key = (layer.name.lower(), datetime.fromtimestamp(day * DAY, UTC).date().isoformat(), group)
        old = self._read(layer, key)
        with reader.snapshot():
            seq = reader.last_seq()
            table, damaged = parquet.load(reader, layer, day, inside, seq)
            if old is not None:
                # In a store that was made anew an owner may be of another group; there its rows are now.
                known = parquet.owners_of(layer, old)
                moved = {number: name for number, name in names.items() if number not in inside and name in known}
                there, _ = parquet.load(reader, layer, day, moved, seq)
                table = pa.concat_tables([table, parquet.others(layer, old, pa.concat_tables([table, there]))])
        if len(table) or old is not None:
            self._put(key, table, seq)
        return [Poison(item.where, item.reason) for item in damaged]

    def _read(self, layer: Layer, key: Key) -> pa.Table | None:
        """Read the file there is for a key; None where there is none, or it cannot be read."""
        present = self._directory.find(key)
        if present is None:
            return None
        try:
            return parquet.decode((self._directory.path / present.name).read_bytes(), layer)
        except pa.ArrowException as error:
            _log.warning("a file is damaged; it is written anew from the store", file=present.name, error=str(error))
            return None

    def _put(self, key: Key, table: pa.Table, seq: int) -> None:
        data = parquet.encode(table)
        digest = hashlib.sha256(data).hexdigest()
        present = self._directory.find(key)
        if present is None or present.sha256 != digest:
            self._directory.put(key, data, len(table), seq, digest)


def _changed(reader: StoreReader, after: int) -> set[Partition]:
    found = set()
    while changes := reader.changes(after):
        after = changes[-1].seq
        found |= {
            Partition(change.layer, change.day, 0 if change.layer is Layer.EVENT else change.entity_id // GROUP)
            for change in changes
        }
    return found


def _everything(reader: StoreReader) -> set[Partition]:
    return {
        Partition(layer, day, group)
        for layer in parquet.SCHEMAS
        for day in reader.stored_days(layer)
        for group in ({0} if layer is Layer.EVENT else {number // GROUP for number in owners(reader, layer)})
    }
