"""Whole meter-days at once: what another store holds, or an import has made."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from drivers.facts import UtcSeconds
from headend.errors import RegistryError
from headend.store.block import HAS_VALUE_BY_STATE, Block, Channel, Layout, encode
from headend.store.blockwrites import REMEMBERED
from headend.store.model import Layer, Recorded
from headend.store.rawwrites import Piece, RawWrites
from headend.store.seriesreads import block_key

_LOG = ("layer", "entity_id", "day", "channels", "version", "run_id", "at")


class BlockLoads(RawWrites):
    """Loads raw blocks in bulk: PostgreSQL takes them by COPY."""

    _known_layouts: dict[int, Layout]

    def load_blocks(
        self, blocks: Iterable[tuple[int, Block]], received_at: UtcSeconds, run_id: int | None = None
    ) -> Recorded:
        """Store raw meter-days, each with its end device's id, in one go; equal in the end to recording their values.

        A day that is not there yet is taken as it stands, with its causes of missing values; one that is, is merged value by
        value as `record` does: the same is nothing, another value a conflict. Needs a transaction. Raises `RegistryError`,
        before anything is written, for a block of another meter, or with a channel on no grid the registry expects of it.
        """
        self._require_transaction()
        given = list(blocks)
        for end_device_id, block in given:
            self._check_expected(end_device_id, block)
        keys = [block_key(block.day, end_device_id) for end_device_id, block in given]
        present = self._engine.present("raw", keys)
        fresh: dict[int, tuple[int, Block]] = {}
        merged: list[tuple[int, Block]] = []
        for key, item in zip(keys, given, strict=True):
            if key in present or key in fresh:
                merged.append(item)
            else:
                fresh[key] = item
        self._put_many("raw", ("k", "block"), [(key, encode(block)) for key, (_, block) in fresh.items()])
        self._put_many(
            "change_log",
            _LOG,
            [
                (int(Layer.RAW), end_device_id, block.day, _codes(block.channels), 0, run_id, received_at)
                for end_device_id, block in fresh.values()
            ],
        )
        done = Recorded(new=sum(int(np.count_nonzero(_has_value(block))) for _, block in fresh.values()))
        for end_device_id, block in merged:
            name = self._device_name(end_device_id)
            done += self._merge_day(
                end_device_id, name, block.day, _pieces(block), received_at=received_at, run_id=run_id
            )
        return done

    def _forget(self) -> None:
        super()._forget()
        self._known_layouts = {}

    def _check_expected(self, end_device_id: int, block: Block) -> None:
        name = self._device_name(end_device_id)
        if (block.layer, block.identity) != (Layer.RAW, name):
            raise RegistryError(
                f"meter {name}: a {block.layer.name.lower()} block of {block.identity} is none of its own"
            )
        if self._known_layouts.get(end_device_id) is block.layout:  # equal layouts are mostly one object
            return
        lines = self._lines(end_device_id)
        for channel in block.channels:
            if all(channel != expected for _, expected in lines.get(channel.obis, ())):
                raise RegistryError(
                    f"meter {name}: {channel.obis} comes every {channel.period} s from {channel.offset} s in"
                    f" 10^{channel.scaler_unit.scaler} {channel.scaler_unit.unit.symbol}, as the registry does not expect it"
                )
        if len(self._known_layouts) >= REMEMBERED:
            self._known_layouts.clear()
        self._known_layouts[end_device_id] = block.layout


def _has_value(block: Block) -> npt.NDArray[np.bool_]:
    return HAS_VALUE_BY_STATE[block.state]


@lru_cache(maxsize=4096)
def _codes(channels: tuple[Channel, ...]) -> bytes:
    return b"".join(channel.obis.to_bytes() for channel in channels)


def _pieces(block: Block) -> list[Piece]:
    has = _has_value(block)
    return [
        Piece(channel, 0, block.values[cut], has[cut], block.rules[cut])
        for channel in block.channels
        if has[cut := block.span(channel)].any()
    ]
