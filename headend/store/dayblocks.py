"""Blocks of some days as arrays: those of one layout decoded together, then laid beside each other as rows of slots."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.errors import StoreError
from headend.registry.model import DAY
from headend.series import Part, Series, UInt8
from headend.store.block import FIXED_SIZE, Channel, Layout, decode_rows_of
from headend.store.errors import BlockError
from headend.store.seriesreads import MAX_WINDOW_SLOTS, Grid
from kernels.quality import State

LOCAL_ID = (1 << 32) - 1
"""The part of a block's key that says whose it is."""

Array = npt.NDArray[Any]
Arrays = tuple[Array, Array, Array, Array]
"""Values, state, reason and rules."""
Window = tuple[UtcSeconds, UtcSeconds]


@dataclass(slots=True, eq=False)
class DayBlocks:
    """Blocks of one layout, by their rows' keys. ``at``: where their bodies begin.

    ``is_in_order``: known to be those of a day that were asked for, in that order, none missing.
    """

    path: str
    layout: Layout
    keys: list[int] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)
    at: Any = field(default_factory=list)
    is_in_order: bool = False
    arrays: Arrays | None = None
    base: int = 0

    def add(self, key: int, block: bytes, head: bytes) -> None:
        """Take a block, whose head is known."""
        self.keys.append(key)
        self.blocks.append(block)
        self.at.append(FIXED_SIZE + len(head))

    def is_all_of(self, window: Window) -> bool:
        """Say whether a window is whole UTC days, and these are the blocks of all of them, of one meter."""
        return window[0] % DAY == 0 and window[1] - window[0] == len(self.keys) * DAY

    @property
    def is_busy(self) -> bool:
        """Say whether each decoded slot was expected when it was written."""
        return self.arrays is not None and bool(self.arrays[1].all())

    def series(self, parts: Iterable[Part], start: UtcSeconds) -> list[Series]:
        """Give one meter's whole days of channels; of a single day they share the memory of what was decoded."""
        if self.arrays is None:
            return []
        if len(self.keys) == 1:
            return Series.cut(start, parts, *(array[0] for array in self.arrays))
        found: list[Series] = []
        for slots, period, scaler_unit in parts:
            flat = [array[:, slots].reshape(-1) for array in self.arrays]
            found.append(Series(start, period, scaler_unit, *flat))
        return found

    def decode(self, first: int, last: int) -> None:
        """Decode channels by their numbers, ``last`` exclusive. Raises `BlockError` naming the row."""
        if first == last:
            return
        try:
            self.arrays = decode_rows_of(self.layout, self.blocks, self.at, first, last)
        except BlockError as error:
            raise BlockError(
                f"{self.path}: one of rows {self.keys[0]} to {self.keys[-1]} is damaged: {error}; keep the file, restore a backup"
            ) from error
        self.base = int(self.layout.edges[first])
        self.blocks = []


def check_window(window: Window, period: int, rows: int) -> None:
    """Refuse a window that begins before 1970, or of more slots in all rows than one call returns. Raises `StoreError`."""
    slots = rows * max(0, -((window[0] - window[1]) // period))
    if window[0] < 0 or slots > MAX_WINDOW_SLOTS:
        raise StoreError(
            f"{slots} slots from {window[0]} are more than {MAX_WINDOW_SLOTS}, or before 1970; ask for less"
        )


def days_of(window: Window) -> range:
    """Number the UTC days that a window touches."""
    start, end = window
    return range(start // DAY, -(-end // DAY)) if start < end else range(0)


def grids_of(groups: Iterable[DayBlocks], obis: Obis) -> set[Grid]:
    """Give the grids that blocks have a channel on."""
    return {channel.grid for group in groups if (channel := group.layout.find(obis)) is not None}


def expect_idle(state: UInt8) -> None:
    """Make slots that nobody expected expected, in place: the registry says so now."""
    if not state.all():
        state[state == State.NOT_EXPECTED] = State.EXPECTED


def assembled(
    ids: Collection[int], groups: Sequence[DayBlocks], obis: Obis, grid: Grid, window: Window
) -> tuple[UtcSeconds, Arrays]:
    """Lay decoded days beside each other: start of the first slot, and arrays of shape (ids, slots of the window)."""
    period, offset, _ = grid
    days, slots = days_of(window), DAY // period
    base = days.start * DAY + offset
    start = window[0] + (offset - window[0]) % period
    first, last = (start - base) // period, max((start - base) // period, -((base - window[1]) // period))
    found = [(group, channel) for group in groups if (channel := group.layout.find(obis, grid)) is not None]
    arrays: Arrays | None = None
    if len(found) == 1:
        (group, channel) = found[0]
        if (len(days) == 1 or len(ids) == 1) and (
            group.is_in_order or group.keys == [day << 32 | local_id for day in days for local_id in ids]
        ):
            arrays = _share(group, channel, (len(ids), len(days) * slots))
    if arrays is None:
        rows = {local_id: row for row, local_id in enumerate(ids)}
        shape = len(rows), len(days), slots
        arrays = (
            np.zeros(shape, np.int32),
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.uint32),
        )
        for group, channel in found:
            keys = np.array(group.keys, np.int64)
            at_rows = [rows[local_id] for local_id in (keys & LOCAL_ID).tolist()]
            at_days = (keys >> 32) - days.start
            for target, source in zip(arrays, _share(group, channel, (len(keys), slots)), strict=True):
                target[at_rows, at_days] = source
        arrays = _reshaped(arrays, (len(ids), len(days) * slots))
    if last - first < len(days) * slots:
        arrays = _cut(arrays, first, last)
    return start, arrays


def _share(group: DayBlocks, channel: Channel, shape: tuple[int, int]) -> Arrays:
    span = group.layout.spans[channel]
    cut = slice(span.start - group.base, span.stop - group.base)
    if group.arrays is None:
        raise ValueError(f"{channel.obis} has not been decoded")
    values, state, reason, rules = group.arrays
    return (
        values[:, cut].reshape(shape), state[:, cut].reshape(shape), reason[:, cut].reshape(shape), rules[:, cut].reshape(shape)
    )  # fmt: skip


def _reshaped(arrays: Arrays, shape: tuple[int, int]) -> Arrays:
    values, state, reason, rules = arrays
    return values.reshape(shape), state.reshape(shape), reason.reshape(shape), rules.reshape(shape)


def _cut(arrays: Arrays, first: int, last: int) -> Arrays:
    values, state, reason, rules = (np.ascontiguousarray(array[:, first:last]) for array in arrays)
    return values, state, reason, rules
