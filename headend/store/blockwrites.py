"""What both layers' writers share: putting a block's row, and what the writer remembers of the registry."""

from collections.abc import Sequence

from drivers.obis import Obis
from headend.registry.model import ChannelExpectation
from headend.store.block import Block, Channel, channel_of, encode
from headend.store.model import Layer
from headend.store.registrywrites import RegistryWrites
from headend.store.retentionwrites import RetentionWrites
from headend.store.seriesreads import TABLES, SeriesReads, block_key

_PUT = {
    Layer.RAW: "INSERT INTO raw (k, block) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET block = excluded.block",
    Layer.VALIDATED: "INSERT INTO validated (k, block) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET block = excluded.block",
}
REMEMBERED = 20_000
"""Most end devices whose registry entries are kept in memory."""

Lines = dict[Obis, list[tuple[ChannelExpectation, Channel]]]


class BlockWrites(RetentionWrites, RegistryWrites, SeriesReads):
    """The writer alone changes the registry, so it may remember it; undoing a transaction forgets all."""

    _known_expectations: dict[int, Sequence[ChannelExpectation]]
    _known_names: dict[int, str]
    _known_channels: dict[int, Lines]

    def expectations(self, end_device_id: int) -> Sequence[ChannelExpectation]:
        """List what an end device should deliver, by channel and start."""
        known = self._known_expectations.get(end_device_id)
        if known is None:
            if len(self._known_expectations) >= REMEMBERED:
                self._known_expectations.clear()
            known = self._known_expectations[end_device_id] = super().expectations(end_device_id)
        return known

    def _device_name(self, end_device_id: int) -> str:
        name = self._known_names.get(end_device_id)
        if name is None:
            if len(self._known_names) >= REMEMBERED:
                self._known_names.clear()
            name = self._known_names[end_device_id] = super()._device_name(end_device_id)
        return name

    def _forget(self) -> None:
        super()._forget()
        self._known_expectations = {}
        self._known_names = {}
        self._known_channels = {}

    def _lines(self, end_device_id: int) -> Lines:
        """Give, by code, what an end device should deliver, each with the head its blocks have."""
        lines = self._known_channels.get(end_device_id)
        if lines is None:
            if len(self._known_channels) >= REMEMBERED:
                self._known_channels.clear()
            lines = self._known_channels[end_device_id] = {}
            for entry in self.expectations(end_device_id):
                channel = channel_of(entry.obis, entry.period, entry.offset, entry.scaler_unit)
                lines.setdefault(entry.obis, []).append((entry, channel))
        return lines

    def _put_blocks(self, layer: Layer, blocks: Sequence[tuple[int, bytes]]) -> None:
        """Write blocks, by their keys, of rows that are not there yet."""
        self._put_many(TABLES[layer], ("k", "block"), blocks)

    def _put_block(self, block: Block, local_id: int) -> None:
        self._replace_block(block.layer, block_key(block.day, local_id), encode(block))

    def _replace_block(self, layer: Layer, key: int, block: bytes) -> None:
        self._run(_PUT[layer], (key, block))
