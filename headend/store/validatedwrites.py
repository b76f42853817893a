"""The validated layer's writer: one version after the other, the newest in the day's block."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from drivers.obis import Obis
from headend.registry.model import DAY
from headend.series import Series
from headend.store.block import (
    HAS_VALUE_BY_STATE,
    Block,
    Channel,
    channel_of,
    encode,
    encode_head,
    encode_rows_of,
    layout_of,
    whole_head,
)
from headend.store.blockwrites import BlockWrites
from headend.store.dayreads import BlockRows, DayReads
from headend.store.model import Layer, VeeRun
from headend.store.retention import Kept
from headend.store.seriesreads import block_key
from kernels.quality import State


class Writing(IntEnum):
    """What became of a channel-day that was to be written."""

    IDLE = 0
    """Nothing is known of it, and no version stands there: left out."""
    UNCHANGED = 1
    NEW = 2


class ValidatedWrites(BlockWrites, DayReads):
    """Writes what VEE made of a day."""

    def write_validated(self, usage_point_id: int, obis: Obis, day: int, series: Series, run: VeeRun) -> int | None:
        """Write a channel-day of a usage point and give its version; None, and nothing written, where it is the same.

        Nor is anything written of a day that retention has dropped of either layer: what it was made of is gone.
        ``series``: all slots that start within UTC day ``day``, primary values. The version before is kept beside it
        with its run. Needs a transaction. Raises `ValueError` for another span than one day.
        """
        self._require_transaction()
        offset = series.start - day * DAY
        if not 0 <= offset < series.period or series.period * len(series) != DAY:
            raise ValueError(
                f"{obis}: {len(series)} slots of {series.period} s from {series.start} on are not day {day}"
            )
        if day < self._first_kept:
            return None
        name = self._usage_point_name(usage_point_id)
        block = self._block(Layer.VALIDATED, usage_point_id, name, day) or Block.empty(Layer.VALIDATED, name, day)
        present = block.find(obis)
        if present is not None and _is_same(block.series(present), series):
            return None
        self._replace(block, usage_point_id, {obis: series}, run)
        return 1 if present is None else present.version + 1

    def write_validated_rows(self, rows: BlockRows, run: VeeRun) -> npt.NDArray[np.uint8]:
        """Write days of many usage points, each with all its channels at once; give `Writing` of each, shape (n, channels).

        ``rows``: one row for each usage point and UTC day; its layout's channels carry primary values, and no version yet.
        Does for each channel-day as `write_validated`. Needs a transaction.
        """
        self._require_transaction()
        names = self.names(Layer.VALIDATED, np.unique(rows.local_ids).tolist())
        channels, edges = rows.layout.channels, rows.layout.edges
        if not len(rows.days):
            return np.zeros((0, len(channels)), np.uint8)
        rows.values[~HAS_VALUE_BY_STATE[rows.state]] = 0
        done = np.where(
            np.maximum.reduceat(rows.state, edges[:-1], axis=1) <= State.EXPECTED, Writing.IDLE, Writing.NEW
        ).astype(np.uint8)
        is_gone = rows.days < self._first_kept
        done[is_gone] = np.minimum(done[is_gone], Writing.UNCHANGED)
        row_of = {
            block_key(int(day), int(at)): row
            for row, (at, day) in enumerate(zip(rows.local_ids, rows.days, strict=True))
        }
        fresh = dict(row_of)
        for stored in self.block_rows(Layer.VALIDATED, names, int(rows.days.min()), int(rows.days.max()) + 1):
            keys = [block_key(int(day), int(at)) for at, day in zip(stored.local_ids, stored.days, strict=True)]
            there = np.array([index for index, key in enumerate(keys) if key in row_of], np.int64)
            mine = np.array([row_of[keys[index]] for index in there], np.int64)
            for key in keys:
                fresh.pop(key, None)
            for index, channel in enumerate(channels):
                found = _compared(rows, mine, channel, stored, there, done[mine, index])
                done[mine, index] = np.where(is_gone[mine], np.minimum(found, Writing.UNCHANGED), found)
            for index, row in zip(there.tolist(), mine.tolist(), strict=True):
                changed = [channels[at] for at in np.flatnonzero(done[row] == Writing.NEW)]
                if changed:
                    local_id = int(rows.local_ids[row])
                    block = stored.block(index, Layer.VALIDATED, names[local_id])
                    mine_block = rows.block(row, Layer.VALIDATED, names[local_id])
                    self._replace(block, local_id, {one.obis: mine_block.series(one) for one in changed}, run)
        self._insert_fresh(rows, names, list(fresh.values()), done, run)
        return done

    @property
    def _first_kept(self) -> int:
        """First day that retention has dropped of neither layer; days before it are written no more."""
        return max(self.floor(Kept.RAW).day, self.floor(Kept.VALIDATED).day)

    def _insert_fresh(
        self, rows: BlockRows, names: Mapping[int, str], fresh: Sequence[int], done: npt.NDArray[np.uint8], run: VeeRun
    ) -> None:
        """Write the days of which no block stands there yet, those of the same channels together."""
        alike: dict[bytes, list[int]] = defaultdict(list)
        for row in fresh:
            alike[(done[row] == Writing.NEW).tobytes()].append(row)
        for mask, group in alike.items():
            kept = [one for one, is_new in zip(rows.layout.channels, mask, strict=True) if is_new]
            if not kept:
                continue
            layout = layout_of(tuple(_version(channel, 1) for channel in kept))
            slots = np.concatenate([np.arange(rows.layout.slots)[rows.layout.spans[channel]] for channel in kept])
            at = np.ix_(np.array(group), slots)
            places = [(int(rows.local_ids[row]), int(rows.days[row])) for row in group]
            heads = [
                whole_head(Layer.VALIDATED, day, encode_head(names[local_id], layout.channels))
                for local_id, day in places
            ]
            blocks = encode_rows_of(layout, heads, rows.values[at], rows.state[at], rows.reason[at], rows.rules[at])
            keys = [block_key(day, local_id) for local_id, day in places]
            self._put_blocks(Layer.VALIDATED, list(zip(keys, blocks, strict=True)))
            codes, run_id = tuple(channel.obis for channel in kept), self._run_id(run)
            for local_id, day in places:
                self._note_versions(local_id, day, 1, codes, run, run_id)

    def _replace(self, block: Block, usage_point_id: int, series: Mapping[Obis, Series], run: VeeRun) -> None:
        """Write new versions of a day's channels into its block; what stood there is set beside, each as a block of its own."""
        dropped, added, versions = [], [], defaultdict(list)
        for obis, one in series.items():
            present = block.find(obis)
            version = 1
            if present is not None:
                version = present.version + 1
                dropped.append(present)
                alone = block.with_channels([], dropped=[other for other in block.channels if other != present])
                self._run(
                    "UPDATE validated_version SET block = ? WHERE usage_point_id = ? AND day = ? AND obis = ? AND version = ?",
                    (encode(alone), usage_point_id, block.day, obis.to_bytes(), version - 1),
                )
            offset = one.start - block.day * DAY
            added.append(Channel(obis, one.period, offset, one.scaler_unit, is_primary=True, version=version))
            versions[version].append(obis)
        new = block.with_channels(added, dropped=dropped)
        for channel in added:
            _copy(series[channel.obis], new.series(channel))
        self._put_block(new, usage_point_id)
        run_id = self._run_id(run)
        for version, codes in versions.items():
            self._note_versions(usage_point_id, block.day, version, tuple(codes), run, run_id)

    def _note_versions(
        self, usage_point_id: int, day: int, version: int, codes: tuple[Obis, ...], run: VeeRun, run_id: int
    ) -> None:
        """Tell the change log, and list the versions that are in force now."""
        seq = self._log_change(Layer.VALIDATED, usage_point_id, day, codes, at=run.at, version=version, run_id=run_id)
        self._put_many(
            "validated_version",
            ("usage_point_id", "day", "obis", "version", "run_id", "seq"),
            [(usage_point_id, day, obis.to_bytes(), version, run_id, seq) for obis in codes],
        )

    def _run_id(self, run: VeeRun) -> int:
        """Find or add a run: one that changed nothing leaves no trace."""
        key = (run.rules, run.at, run.user, run.reason)
        row = self._row('SELECT id FROM vee_run WHERE rules = ? AND at = ? AND "user" = ? AND reason = ?', key)
        return (
            int(row[0])
            if row
            else self._insert('INSERT INTO vee_run (rules, at, "user", reason) VALUES (?, ?, ?, ?)', key)
        )


def _version(channel: Channel, version: int) -> Channel:
    return channel_of(channel.obis, channel.period, channel.offset, channel.scaler_unit, channel.is_primary, version)


def _compared(
    rows: BlockRows, mine: npt.NDArray[np.int64], channel: Channel, stored: BlockRows, there: npt.NDArray[np.int64],
    done: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:  # fmt: skip
    """Say for each row what is to become of a channel, given what stands there."""
    present = stored.layout.find(channel.obis)
    if present is None:
        return done
    if present.grid != channel.grid:
        return np.full(len(mine), Writing.NEW, np.uint8)
    here, old = rows.layout.spans[channel], stored.layout.spans[present]
    same = np.ones(len(mine), np.bool_)
    for name in ("values", "state", "reason", "rules"):
        same &= (getattr(rows, name)[mine, here] == getattr(stored, name)[there, old]).all(axis=1)
    return np.where(same, Writing.UNCHANGED, Writing.NEW).astype(np.uint8)


def _copy(source: Series, target: Series) -> None:
    """Copy a day's slots; a slot without value holds 0, as it will when decoded."""
    target.values[:] = np.where(source.has_value, source.values, 0)
    target.state[:], target.reason[:], target.rules[:] = source.state, source.reason, source.rules


def _is_same(stored: Series, series: Series) -> bool:
    return (
        (stored.start, stored.period, stored.scaler_unit) == (series.start, series.period, series.scaler_unit)
        and np.array_equal(stored.values, np.where(series.has_value, series.values, 0))
        and np.array_equal(stored.state, series.state)
        and np.array_equal(stored.reason, series.reason)
        and np.array_equal(stored.rules, series.rules)
    )
