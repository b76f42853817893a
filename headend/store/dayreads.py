"""Reading the days of many end devices or usage points at once: blocks of one layout are decoded together."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headend.series import Int64
from headend.store.block import Block, Layout, Opened, decode_rows_of
from headend.store.errors import BlockError
from headend.store.model import Layer
from headend.store.seriesreads import TABLES, SeriesReads, block_key

KEYS_AT_ONCE = 1_000
"""Rows one statement asks for; an SQLite takes 32,766."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockRows:
    """Decoded blocks of one layout. ``local_ids``, ``days``: whose and of when, shape (n,).

    ``values`` int32, ``state`` and ``reason`` uint8, ``rules`` uint32: shape (n, slots of all channels).
    """

    layout: Layout
    local_ids: Int64
    days: Int64
    values: npt.NDArray[np.int32]
    state: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]
    rules: npt.NDArray[np.uint32]

    @classmethod
    def empty(cls, layout: Layout, local_ids: Int64, days: Int64) -> "BlockRows":
        """Make room for rows; their content is undefined."""
        shape = (len(days), layout.slots)
        return cls(
            layout, local_ids, days,
            np.empty(shape, np.int32), np.empty(shape, np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.uint32),
        )  # fmt: skip

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """Values, state, reason and rules."""
        return self.values, self.state, self.reason, self.rules

    def block(self, row: int, layer: Layer, identity: str) -> Block:
        """Give one row as a block that shares its memory."""
        return Block(
            layer, identity, int(self.days[row]), self.layout,
            self.values[row], self.state[row], self.reason[row], self.rules[row],
        )  # fmt: skip


class DayReads(SeriesReads):
    """Blocks in bulk."""

    def block_rows(self, layer: Layer, local_ids: Iterable[int], first: int, last: int) -> list[BlockRows]:
        """Read all blocks of UTC days ``[first, last)`` of some end devices (raw layer) or usage points (validated).

        Raises `BlockError` naming the row of a damaged block.
        """
        names = self.names(layer, local_ids)
        table = TABLES[layer]
        keys = [block_key(day, local_id) for day in range(first, last) for local_id in names]
        found: dict[int, list[tuple[int, bytes, Opened]]] = defaultdict(list)
        for at in range(0, len(keys), KEYS_AT_ONCE):
            part = keys[at : at + KEYS_AT_ONCE]
            marks = ",".join("?" * len(part))
            for key, data in self._rows(f"SELECT k, block FROM {table} WHERE k IN ({marks})", part):  # noqa: S608  all ours
                opened = self._unseal(data, f"row {key} of table {table}", layer, names[key & _LOW], key >> 32)
                # Equal layouts are the same object but for heads that many others have pushed out of memory.
                found[id(opened.layout)].append((key, data, opened))
        return [self._together(layer, names, blocks) for blocks in found.values()]

    def names(self, layer: Layer, local_ids: Iterable[int]) -> dict[int, str]:
        """Give the global names of end devices (raw layer) or usage points (validated) by local id."""
        name_of = self._device_name if layer is Layer.RAW else self._usage_point_name
        return {local_id: name_of(local_id) for local_id in local_ids}

    def _together(
        self, layer: Layer, names: Mapping[int, str], blocks: Sequence[tuple[int, bytes, Opened]]
    ) -> BlockRows:
        keys, layout = np.array([key for key, _, _ in blocks], np.int64), blocks[0][2].layout
        try:
            arrays = decode_rows_of(layout, [data for _, data, _ in blocks], [opened.at for _, _, opened in blocks])
        except BlockError:
            for key, data, _ in blocks:
                self._decode(data, f"row {key} of table {TABLES[layer]}", layer, names[key & _LOW], key >> 32)
            raise
        return BlockRows(layout, keys & _LOW, keys >> 32, *arrays)


_LOW = 2**32 - 1
