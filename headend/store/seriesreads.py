"""Reading blocks back as series: the ledger's grid with what is stored laid over it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.units import ScalerUnit
from headend.errors import RegistryError, StoreError
from headend.registry.model import DAY, ChannelExpectation
from headend.series import Series
from headend.store.block import Block, Channel, Opened, decode, unseal
from headend.store.errors import BlockError
from headend.store.model import Layer, VeeRun, Version
from headend.store.registryreads import KEYS_AT_ONCE, RegistryReads
from headend.store.retention import Kept
from headend.store.retentionreads import RetentionReads
from kernels.quality import Reason, State

MAX_WINDOW_SLOTS = 10_000_000
"""Most slots one call returns: 19 years of minutes."""
TABLES = {Layer.RAW: "raw", Layer.VALIDATED: "validated"}
_ONE_DAY = 1 << 32
VERSION_COLUMNS = "id, usage_point_id, day, obis, version, run_id, seq, CASE WHEN block IS NULL THEN 1 ELSE 0 END, crc"

Span = tuple[UtcSeconds, UtcSeconds | None]
Grid = tuple[int, int, ScalerUnit]
Read = TypeVar("Read", Block, Opened)


def block_key(day: int, local_id: int) -> int:
    """Make the key of a block's row: the blocks of one day lie side by side."""
    return day << 32 | local_id


def mark_expected(series: Series, spans: Iterable[Span]) -> None:
    """Set which slots without value are expected, in place: those that start in one of ``spans``, and no others.

    The registry decides, whatever a block was written with: its dates may have been corrected since.
    """
    expected = np.zeros(len(series), np.bool_)
    for start, end in spans:
        first = max(0, -((series.start - start) // series.period))
        last = len(series) if end is None else max(0, -((series.start - end) // series.period))
        expected[first:last] = True
    unfilled = ~series.has_value
    idle = unfilled & ~expected
    series.state[idle] = State.NOT_EXPECTED
    series.reason[idle] = 0
    series.state[unfilled & expected & (series.state == State.NOT_EXPECTED)] = State.EXPECTED


class SeriesReads(RegistryReads, RetentionReads):
    """Raw series of end devices, validated series of usage points."""

    def raw_series(self, end_device_id: int, obis: Obis, start: UtcSeconds, end: UtcSeconds) -> Series:
        """Give the raw slots of a channel that start within ``[start, end)`` [s UTC].

        Slots without value are expected, or missing with a cause, within the channel's expectations, and not expected
        outside, nor where retention has dropped them, which `Reason.DROPPED` says. Raises `RegistryError` for a channel the
        registry does not know, or whose grid changes within the window (ask for each part then), `StoreError` naming row
        and file for a damaged block.
        """
        with self.snapshot():
            entries = self._channel_expectations(end_device_id, obis)
            grid = grid_within(entries, start, end)
            series = _empty(grid, start, end)
            name = self._device_name(end_device_id)
            for block in self._blocks(Layer.RAW, end_device_id, name, series.start, series.end):
                _lay_over(series, block, block.find(obis, grid))
            mark_expected(series, [(entry.start, entry.end) for entry in entries if entry.grid == grid])
            self.mark_dropped(Kept.RAW, series)
        return series

    def validated_series(self, usage_point_id: int, obis: Obis, start: UtcSeconds, end: UtcSeconds) -> Series:
        """Give the newest validated slots of a channel that start within ``[start, end)`` [s UTC].

        What no VEE run has seen yet is expected where an installed end device should deliver it. Raises as `raw_series`.
        """
        with self.snapshot():
            entries = self._usage_point_expectations(usage_point_id, obis)
            name = self._usage_point_name(usage_point_id)
            found = [
                (block, channel)
                for block in self._blocks(Layer.VALIDATED, usage_point_id, name, start, end)
                if (channel := block.find(obis)) is not None
            ]
        grids = {channel.grid for _, channel in found}
        if len(grids) > 1:
            days = sorted({block.day for block, _ in found})
            raise RegistryError(
                f"{name}: the grid of {obis} changes within days {days[0]} to {days[-1]}; ask for each part by itself"
            )
        if not grids and not entries:
            raise RegistryError(f"usage point {name}: no meter installed there is expected to deliver {obis}")
        grid = grids.pop() if grids else grid_within(entries, start, end)
        series = _empty(grid, start, end)
        for block, channel in found:
            _lay_over(series, block, channel)
        mark_expected(series, [(entry.start, entry.end) for entry in entries if entry.grid[:2] == grid[:2]])
        self.mark_dropped(Kept.VALIDATED, series)
        return series

    def stored_channels(
        self, layer: Layer, local_id: int, day: int, codes: Sequence[Obis] | None = None
    ) -> list[tuple[Channel, Series]]:
        """Give some channels of one day, or all, as they were written, whatever the registry says now. Raises `BlockError`."""
        name = self._device_name(local_id) if layer is Layer.RAW else self._usage_point_name(local_id)
        block = self._block(layer, local_id, name, day)
        if block is None:
            return []
        return [
            (channel, block.series(channel)) for channel in block.channels if codes is None or channel.obis in codes
        ]

    def stored_days(self, layer: Layer) -> list[int]:
        """List the UTC days of which a layer holds anything, in order; none for the registry's changes."""
        if layer in TABLES:
            # Skip from day to day along the key, not row to row.
            table = TABLES[layer]
            sql = (
                f"WITH RECURSIVE next (k) AS (SELECT min(k) FROM {table} UNION ALL"  # noqa: S608  the table's name is ours
                f" SELECT (SELECT min(k) FROM {table} WHERE k >= ((next.k >> 32) + 1) << 32)"
                " FROM next WHERE next.k IS NOT NULL) SELECT k >> 32 FROM next WHERE k IS NOT NULL"
            )
        elif layer is Layer.REGISTER:
            sql = "SELECT DISTINCT captured_at / 86400 AS day FROM register ORDER BY day"
        elif layer is Layer.EVENT:
            sql = "SELECT DISTINCT at / 86400 AS day FROM event ORDER BY day"
        else:
            return []
        return [int(day) for (day,) in self._rows(sql)]

    def validated_channels(self, usage_point_id: int, day: int) -> list[Obis]:
        """List the channels a VEE run has written for one day, sorted."""
        block = self._block(Layer.VALIDATED, usage_point_id, self._usage_point_name(usage_point_id), day)
        return [] if block is None else [channel.obis for channel in block.channels]

    def validated_days(self, usage_point_id: int, first: int) -> list[tuple[int, Obis]]:
        """List day and channel of what VEE runs have written from day ``first`` on, by day."""
        rows = self._rows(
            "SELECT DISTINCT day, obis FROM validated_version WHERE usage_point_id = ? AND day >= ? ORDER BY day, obis",
            (usage_point_id, first),
        )
        return [(day, Obis.from_bytes(obis)) for day, obis in rows]

    def validated_version(self, usage_point_id: int, obis: Obis, day: int, version: int | None = None) -> Series:
        """Give one version of a validated channel-day as it was written; the newest where none is named. Raises `StoreError`."""
        name = self._usage_point_name(usage_point_id)
        block = self._block(Layer.VALIDATED, usage_point_id, name, day)
        channel = None if block is None else block.find(obis)
        if block is not None and channel is not None and version in {None, channel.version}:
            return block.series(channel)
        row = self._row(
            "SELECT block FROM validated_version WHERE usage_point_id = ? AND day = ? AND obis = ? AND version = ?"
            " AND block IS NOT NULL",
            (usage_point_id, day, obis.to_bytes(), version),
        )
        if row is None:
            raise StoreError(f"{self.path}: {name} has no version {version} of {obis} on day {day}")
        where = f"validated_version of {name}, {obis}, day {day}, version {version}"
        old = self._decode(row[0], where, Layer.VALIDATED, name, day)
        found = old.find(obis)
        if found is None or found.version != version:
            raise StoreError(f"{self.path}: {where} holds another version; the file is damaged: restore a backup")
        return old.series(found)

    def versions(self, usage_point_id: int, obis: Obis, day: int) -> list[Version]:
        """List the versions of a validated channel-day, oldest first."""
        return [version for _, version in self._versions("day = ? AND obis = ?", usage_point_id, day, obis.to_bytes())]

    def newest_versions(self, usage_point_id: int, first: int, last: int) -> dict[tuple[int, Obis], Version]:
        """Give the newest version of each validated channel-day of UTC days ``[first, last)``, by day and channel."""
        return dict(self._versions("day >= ? AND day < ?", usage_point_id, first, last))

    def _versions(self, which: str, *bindings: int | bytes) -> list[tuple[tuple[int, Obis], Version]]:
        rows = self._sealed(
            "validated_version",
            f"SELECT {VERSION_COLUMNS} FROM validated_version WHERE usage_point_id = ? AND {which} ORDER BY version",  # noqa: S608  constant columns
            bindings,
        )
        runs = {run_id: self._vee_run(run_id) for run_id in {row[5] for row in rows}}
        return [
            ((day, Obis.from_bytes(obis)), Version(version, run_id, runs[run_id], seq, bool(is_newest)))
            for _, _, day, obis, version, run_id, seq, is_newest in rows
        ]

    def _vee_run(self, run_id: int) -> VeeRun:
        rows = self._sealed("vee_run", 'SELECT id, rules, at, "user", reason, crc FROM vee_run WHERE id = ?', (run_id,))
        if not rows:
            raise StoreError(f"{self.path}: VEE run {run_id} is not there; the file is damaged: restore a backup")
        return VeeRun(*rows[0][1:])

    def mark_dropped(self, what: Kept, series: Series, floor: int | None = None) -> None:
        """Say of slots that retention has dropped that they are, in place: they are neither missing nor to be fetched again.

        ``floor``: the first day kept, where it is known already.
        """
        if floor is not None and series.start >= floor * DAY:
            return
        unfilled = ~series.has_value
        if not unfilled.any():
            return
        first_day = self.floor(what).day if floor is None else floor
        below = max(0, -((series.start - first_day * DAY) // series.period))
        gone = np.flatnonzero(unfilled[:below] & (series.state[:below] != State.NOT_EXPECTED))
        series.state[gone], series.reason[gone], series.rules[gone] = State.NOT_EXPECTED, Reason.DROPPED, 0

    def _device_name(self, end_device_id: int) -> str:
        return self.end_device_by_id(end_device_id).name

    def _usage_point_name(self, usage_point_id: int) -> str:
        return self.usage_point_by_id(usage_point_id).name

    def _channel_expectations(self, end_device_id: int, obis: Obis) -> list[ChannelExpectation]:
        known = self.expectations(end_device_id)
        entries = [entry for entry in known if entry.obis == obis]
        if not entries:
            channels = ", ".join(sorted({str(entry.obis) for entry in known})) or "no channel"
            raise RegistryError(
                f"meter {self._device_name(end_device_id)} is not expected to deliver {obis}, but {channels}"
            )
        return entries

    def _usage_point_expectations(self, usage_point_id: int, obis: Obis) -> list[ChannelExpectation]:
        """Give the expectations of a channel at a usage point, each cut to the time its end device hangs there."""
        cut: list[ChannelExpectation] = []
        for place in self.installations(usage_point_id=usage_point_id):
            for entry in self.expectations(place.end_device_id):
                ends = [end for end in (entry.end, place.end) if end is not None]
                start, end = max(entry.start, place.start), min(ends, default=None)
                if entry.obis == obis and (end is None or start < end):
                    period, offset, scaler_unit = entry.grid
                    cut.append(
                        ChannelExpectation(
                            entry.end_device_id,
                            obis,
                            period,
                            offset,
                            scaler_unit,
                            entry.origin,
                            start,
                            end,
                            entry.dials,
                        )
                    )
        return cut

    def _blocks(self, layer: Layer, local_id: int, name: str, start: UtcSeconds, end: UtcSeconds) -> Iterator[Block]:
        """Read the blocks of the UTC days that ``[start, end)`` touches, oldest first."""
        for key, data in self._block_rows(layer, local_id, start, end):
            yield self._decode(data, f"row {key} of table {TABLES[layer]}", layer, name, key >> 32)

    def _block_rows(self, layer: Layer, local_id: int, start: UtcSeconds, end: UtcSeconds) -> list[tuple[Any, ...]]:
        if start >= end:
            return []
        first, last = start // DAY, (end - 1) // DAY
        table = TABLES[layer]
        return self._rows(
            f"WITH RECURSIVE day (k) AS (SELECT CAST(?1 AS BIGINT) UNION ALL SELECT k + {_ONE_DAY} FROM day WHERE k < ?2)"  # noqa: S608  the table's name is ours
            f" SELECT {table}.k, {table}.block FROM day CROSS JOIN {table} WHERE {table}.k = day.k",
            (block_key(first, local_id), block_key(last, local_id)),
        )

    def _stored_blocks(self, layer: Layer, keys: Sequence[int]) -> dict[int, bytes]:
        """Give the blocks of some rows as they are stored, of those there are."""
        return dict(self._rows_in(f"SELECT k, block FROM {TABLES[layer]} WHERE k", keys))  # noqa: S608  the table's name is ours

    def _rows_in(self, sql: str, keys: Sequence[int]) -> list[tuple[Any, ...]]:
        """Run a statement that ends with a column, for the rows where that is one of ``keys``."""
        found: list[tuple[Any, ...]] = []
        for first in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[first : first + KEYS_AT_ONCE]
            found += self._rows(f"{sql} IN ({', '.join('?' * len(some))})", some)
        return found

    def _block(self, layer: Layer, local_id: int, name: str, day: int) -> Block | None:
        """Read one block, None where there is none."""
        table, key = TABLES[layer], block_key(day, local_id)
        row = self._row(f"SELECT block FROM {table} WHERE k = ?", (key,))  # noqa: S608  the table's name is ours
        return None if row is None else self._decode(row[0], f"row {key} of table {table}", layer, name, day)

    def _decode(self, data: bytes, where: str, layer: Layer, name: str, day: int) -> Block:
        """Decode a block and hold its own account of what it is against where it was found."""
        return self._checked(decode, data, where, layer, name, day)

    def _unseal(self, data: bytes, where: str, layer: Layer, name: str, day: int) -> Opened:
        """Do as `_decode`, up to the body."""
        return self._checked(unseal, data, where, layer, name, day)

    def _checked(
        self, read: Callable[[bytes], Read], data: bytes, where: str, layer: Layer, name: str, day: int
    ) -> Read:
        try:
            block = read(data)
        except BlockError as error:
            raise BlockError(
                f"{self.path}: {where} is damaged: {error}; keep the file, restore a backup or read the meter again"
            ) from error
        if (block.layer, block.identity, block.day) != (layer, name, day):
            raise BlockError(
                f"{self.path}: {where} holds {block.layer.name.lower()} day {block.day} of {block.identity},"
                f" not day {day} of {name}; the file is damaged: restore a backup"
            )
        return block


def grid_within(entries: Sequence[ChannelExpectation], start: UtcSeconds, end: UtcSeconds) -> Grid:
    """Choose the one grid in force within the window; outside all expectations, that of the nearest before, or the first."""
    ordered = sorted(entries, key=lambda entry: entry.start)
    inside = [entry for entry in ordered if entry.start < end and (entry.end is None or start < entry.end)]
    grids = {entry.grid for entry in inside}
    if len(grids) > 1:
        changes = ", ".join(str(entry.start) for entry in inside[1:])
        raise RegistryError(
            f"the grid of {entries[0].obis} changes within [{start}, {end}), at {changes}; ask for each part by itself"
        )
    if grids:
        return grids.pop()
    before = [entry for entry in ordered if entry.start < end]
    return (before[-1] if before else ordered[0]).grid


def _empty(grid: Grid, start: UtcSeconds, end: UtcSeconds) -> Series:
    period, offset, scaler_unit = grid
    first = start + (offset - start) % period
    slots = max(0, -((first - end) // period))
    if start < 0 or slots > MAX_WINDOW_SLOTS:
        raise StoreError(f"a window of {slots} slots from {start} is more than {MAX_WINDOW_SLOTS}, or before 1970")
    return Series.empty(first, period, scaler_unit, slots)


def _lay_over(series: Series, block: Block, channel: Channel | None) -> None:
    """Copy what of the block's channel lies within the series; both are on one grid."""
    if channel is None:
        return
    stored = block.series(channel)
    start, end = max(series.start, stored.start), min(series.end, stored.end)
    if start >= end:
        return
    here, there = series.window(start, end), stored.window(start, end)
    here.values[:], here.state[:], here.reason[:], here.rules[:] = there.values, there.state, there.reason, there.rules
