"""A whole store held against itself: the file's structure, every checksum, every reference. Changes nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from drivers.obis import Obis
from headend.errors import HeadendError, StoreError
from headend.store.block import Block
from headend.store.journalreads import JournalReads
from headend.store.model import Layer
from headend.store.quarantine import why_quarantined
from headend.store.seriesreads import SeriesReads

MAX_FAULTS = 1_000
"""Most faults that are named; a file that has more is not mended by reading on."""
_STEP = 1_000
"""Rows read in one turn, so that a large store is checked in little memory."""


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a table takes with its indexes. ``unused``: room within its pages. [B]"""

    table: str
    rows: int
    size: int
    unused: int


class CheckReads(JournalReads, SeriesReads):
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

    def free_bytes(self) -> int:
        """Give what nobody uses between the tables. [B]"""
        self._check_usable()
        return self._engine.unused_bytes()

    def _faults(self) -> Iterator[str]:
        yield from self._engine.structure_faults(MAX_FAULTS)
        for read in (self.links, self.installations, self.counters, self._check_cursors):
            yield from _failure(read)
        devices = {device.id: device.name for device in self.end_devices()}
        points = {point.id: point.name for point in self.usage_points()}
        for number in devices:
            yield from _failure(partial(self.expectations, number))
            yield from _failure(partial(self._check_registers, number))
        yield from self._block_faults(Layer.RAW, "raw", devices)
        yield from self._block_faults(Layer.VALIDATED, "validated", points)
        yield from self._version_faults(points)

    def _check_cursors(self) -> None:
        newest = self.last_seq()
        for name, seq in self.cursors().items():
            if not 0 <= seq <= newest:
                raise StoreError(f"{self.path}: cursor {name} stands at {seq}, the change log ends at {newest}")

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
