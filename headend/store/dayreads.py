"""Reading the days of many end devices or usage points at once: blocks of one layout are decoded together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headend.series import Int64
from headend.store.block import Block, Layout
from headend.store.dayblocks import LOCAL_ID, DayBlocks
from headend.store.errors import BlockError
from headend.store.matrixreads import MatrixReads
from headend.store.model import Layer
from headend.store.seriesreads import TABLES


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


class DayReads(MatrixReads):
    """Blocks in bulk."""

    def block_rows(self, layer: Layer, local_ids: Iterable[int], first: int, last: int) -> list[BlockRows]:
        """Read all blocks of UTC days ``[first, last)`` of some end devices (raw layer) or usage points (validated).

        Raises `BlockError` naming the row of a damaged block.
        """
        ids = list(dict.fromkeys(local_ids))
        with self.snapshot():
            self._look_again()
            names = self.names(layer, ids)
            rows = [row for day in range(first, last) for row in self._rows_of_day(layer, ids, day)]
        return [self._decoded(layer, names, group) for group in self._groups(layer, rows, names)]

    def names(self, layer: Layer, local_ids: Sequence[int]) -> dict[int, str]:
        """Give the global names of end devices (raw layer) or usage points (validated) by local id."""
        return self.names_of("end_device" if layer is Layer.RAW else "usage_point", local_ids)

    def _decoded(self, layer: Layer, names: Mapping[int, str], group: DayBlocks) -> BlockRows:
        try:
            group.decode(0, len(group.layout.channels))
        except BlockError:
            for key, data in zip(group.keys, group.blocks, strict=True):
                self._decode(data, f"row {key} of table {TABLES[layer]}", layer, names[key & LOCAL_ID], key >> 32)
            raise
        keys = np.array(group.keys, np.int64)
        ids, days = keys & LOCAL_ID, keys >> 32
        if group.arrays is None:  # blocks without a channel
            return BlockRows.empty(group.layout, ids, days)
        return BlockRows(group.layout, ids, days, *group.arrays)
