"""The self-describing meter-day block: one UTC day of one end device (raw) or usage point (validated).

Layout, little-endian (docs/decisions/block-format.md):

    4   magic "HEBK"
    1   format version, 1
    1   layer: 0 raw, 1 validated
    4   day, signed, days since 1970-01-01 UTC
    2   length h of the head
    h   head: identity (length byte, UTF-8) | number of channels (1 byte) | channels
          channel: OBIS (6) | scaler (signed 1) | unit (1) | flags (1; bit 0: primary values) |
                   period, offset, version (LEB128 each)
    12+n values, state and reason, rule masks of all channels one after the other, `kernels.blocks.encode_bodies`
    4   CRC-32 (IEEE 802.3, as zlib) over all before it

A channel has 86400 / period slots; slot i starts at day * 86400 + offset + i * period. Equal content gives equal bytes.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.registry.model import DAY, MAX_NAME_BYTES
from headend.series import Int32, Int64, Series, UInt8, UInt32
from headend.store.errors import BlockError
from headend.store.model import Layer
from kernels.blocks import begin_with, body_bound, decode_blocks, encode_bodies
from kernels.quality import HAS_VALUE

MAGIC = b"HEBK"
FORMAT_VERSION = 1
MAX_CHANNELS = 255
MAX_SLOTS = MAX_CHANNELS * 1_440
"""Most slots a block may hold; keeps a damaged or hostile head from asking for memory without end."""
HAS_VALUE_BY_STATE = np.zeros(256, dtype=np.bool_)
"""Whether a state, taken as index, carries a value; shape (256,)."""
HAS_VALUE_BY_STATE[[int(state) for state in HAS_VALUE]] = True
_FIXED = struct.Struct("<4sBBiH")
FIXED_SIZE = _FIXED.size
"""Where the head begins. [B]"""
_DAY = struct.Struct("<i")
_DAY_AT = 6
_LENGTH = struct.Struct("<I")
_CHANNEL = struct.Struct("<6sbBB")
_PRIMARY = 1
_LAYERS = {int(layer): layer for layer in Layer}
_RESIDUE = 0x2144DF1C
"""CRC-32 of anything with its own CRC-32 behind it, lowest octet first."""


@dataclass(frozen=True, slots=True, order=True)
class Channel:
    """Head of one channel of a block. ``version`` counts validated versions; 0 in the raw layer."""

    obis: Obis
    period: int
    offset: int
    scaler_unit: ScalerUnit
    is_primary: bool = False
    version: int = 0
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a grid that does not tile the UTC day."""
        # Channels are dictionary keys on the way of every reading; their parts are hashed once.
        parts = (self.obis, self.period, self.offset, self.scaler_unit, self.is_primary, self.version)
        object.__setattr__(self, "_hash", hash(parts))
        if self.period <= 0 or DAY % self.period or not 0 <= self.offset < self.period:
            raise ValueError(f"{self.obis}: a grid of {self.period} s from {self.offset} s does not tile a day")
        if not 0 <= self.version < 2**32:
            raise ValueError(f"{self.obis}: version {self.version} does not fit 32 bits")

    def __hash__(self) -> int:
        return self._hash

    @property
    def slots(self) -> int:
        """Slots that start within one UTC day."""
        return DAY // self.period

    @property
    def grid(self) -> tuple[int, int, ScalerUnit]:
        """Period [s], offset [s] and scaler with unit."""
        return self.period, self.offset, self.scaler_unit


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where each channel's slots lie in a block's arrays: ``spans`` by name, ``edges`` in a row. Channels are sorted.

    ``by_code``: numbers of the channels of a code, rising.
    """

    channels: tuple[Channel, ...]
    spans: Mapping[Channel, slice]
    slots: int
    edges: Int64
    by_code: Mapping[Obis, tuple[int, ...]]

    def find(self, obis: Obis, grid: tuple[int, int, ScalerUnit] | None = None) -> Channel | None:
        """Find a channel by its code, and by its grid where given; None where there is none."""
        for number in self.by_code.get(obis, ()):
            channel = self.channels[number]
            if grid is None or channel.grid == grid:
                return channel
        return None

    def between(self, codes: Iterable[Obis]) -> tuple[int, int]:
        """Number the first and, exclusive, the last of the channels of some codes; (0, 0) where there is none."""
        numbers = [number for obis in codes for number in self.by_code.get(obis, ())]
        return (min(numbers), max(numbers) + 1) if numbers else (0, 0)


@lru_cache(maxsize=4096)
def layout_of(channels: tuple[Channel, ...]) -> Layout:
    """Lay out channels, given in any order."""
    ordered = tuple(sorted(channels))
    spans: dict[Channel, slice] = {}
    at = 0
    for channel in ordered:
        spans[channel] = slice(at, at + channel.slots)
        at += channel.slots
    if len(spans) != len(channels):
        raise ValueError("a channel stands there twice")
    edges = np.array([0, *(span.stop for span in spans.values())], np.int64)
    by_code: dict[Obis, tuple[int, ...]] = {}
    for number, channel in enumerate(ordered):
        by_code[channel.obis] = (*by_code.get(channel.obis, ()), number)
    return Layout(ordered, spans, at, edges, by_code)


@dataclass(slots=True, eq=False)
class Block:
    """A decoded block; its arrays may be written to until it is encoded again.

    ``values`` int32, ``state`` and ``reason`` uint8, ``rules`` uint32: shape (sum of all channels' slots,).
    """

    layer: Layer
    identity: str
    day: int
    layout: Layout
    values: Int32
    state: UInt8
    reason: UInt8
    rules: UInt32

    @classmethod
    def empty(cls, layer: Layer, identity: str, day: int, channels: Sequence[Channel] = ()) -> "Block":
        """Make a block in which no slot is expected. Channels come out sorted."""
        layout = layout_of(tuple(channels))
        slots = layout.slots
        return cls(
            layer, identity, day, layout,
            np.zeros(slots, np.int32), np.zeros(slots, np.uint8), np.zeros(slots, np.uint8), np.zeros(slots, np.uint32),
        )  # fmt: skip

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Heads of the channels, sorted."""
        return self.layout.channels

    def span(self, channel: Channel) -> slice:
        """Find the slots of a channel within the arrays."""
        return self.layout.spans[channel]

    def start(self, channel: Channel) -> UtcSeconds:
        """Start of the channel's first slot. [s UTC]"""
        return self.day * DAY + channel.offset

    def series(self, channel: Channel) -> Series:
        """Give a channel as a series that shares the block's memory."""
        cut = self.span(channel)
        return Series(
            self.start(channel), channel.period, channel.scaler_unit,
            self.values[cut], self.state[cut], self.reason[cut], self.rules[cut],
        )  # fmt: skip

    def find(self, obis: Obis, grid: tuple[int, int, ScalerUnit] | None = None) -> Channel | None:
        """Find a channel by its code, and by its grid where given; None where there is none."""
        return self.layout.find(obis, grid)

    def with_channels(self, channels: Iterable[Channel], dropped: Iterable[Channel] = ()) -> "Block":
        """Copy the block with ``channels`` added (no slot of theirs expected) and ``dropped`` left out."""
        gone = frozenset(dropped)
        kept = [channel for channel in self.channels if channel not in gone]
        copy = Block.empty(self.layer, self.identity, self.day, [*kept, *channels])
        for channel in kept:
            source, target = self.span(channel), copy.span(channel)
            for mine, theirs in zip(copy.arrays, self.arrays, strict=True):
                mine[target] = theirs[source]
        return copy

    @property
    def arrays(self) -> tuple[npt.NDArray[np.generic], ...]:
        """Values, state, reason and rules."""
        return self.values, self.state, self.reason, self.rules


def encode(block: Block) -> bytes:
    """Write a block. Slots without value count as 0. Raises `ValueError` where a head does not fit the format."""
    head = whole_head(block.layer, block.day, encode_head(block.identity, block.channels))
    rows = block.values[None], block.state[None], block.reason[None], block.rules[None]
    return encode_rows_of(block.layout, [head], *rows)[0]


def whole_head(layer: Layer, day: int, head: bytes) -> bytes:
    """Give all that stands before a block's body. ``head``: of `encode_head`."""
    return _start(layer, day, len(head)) + head


def encode_rows_of(
    layout: Layout, heads: Sequence[bytes], values: Int32, state: UInt8, reason: UInt8, rules: UInt32
) -> list[bytes]:
    """Write blocks that share a layout: a row each of arrays of shape (blocks, slots), behind a head of `whole_head`."""
    out, ends = np.empty(len(heads) * body_bound(layout.edges), np.uint8), np.empty(len(heads), np.int64)
    used = encode_bodies(values, state, reason, rules, layout.edges, out, ends)
    bodies, at = out[:used].tobytes(), 0
    blocks: list[bytes] = []
    for head, end in zip(heads, ends.tolist(), strict=True):
        content = head + bodies[at:end]
        blocks.append(content + _LENGTH.pack(zlib.crc32(content)))
        at = end
    return blocks


@dataclass(slots=True, eq=False)
class Opened:
    """What a block says of itself. ``at``: where its body begins."""

    layer: Layer
    identity: str
    day: int
    layout: Layout
    at: int


def decode(data: bytes) -> Block:
    """Read a block. Raises `BlockError` for anything but exactly one whole, undamaged block of a known format."""
    opened = unseal(data)
    values, state, reason, rules = decode_rows_of(opened.layout, [data], [opened.at])
    return Block(opened.layer, opened.identity, opened.day, opened.layout, values[0], state[0], reason[0], rules[0])


def unseal(data: bytes) -> Opened:
    """Check a block and read its head, but not its body. Raises `BlockError`."""
    if len(data) < FIXED_SIZE + 4:
        raise BlockError(f"a block of {len(data)} bytes is cut off")
    if zlib.crc32(data) != _RESIDUE:
        raise BlockError("the block's checksum does not match its content")
    magic, version, layer, day, head_length = _FIXED.unpack_from(data)
    if magic != MAGIC:
        raise BlockError(f"a block begins with {MAGIC!r}, not {magic!r}")
    if version != FORMAT_VERSION:
        raise BlockError(f"block format {version} is newer than this program, which knows {FORMAT_VERSION}; upgrade it")
    at = FIXED_SIZE + head_length
    try:
        identity, layout = _decode_head(data[FIXED_SIZE:at])
        return Opened(_LAYERS[layer], identity, day, layout, at)
    except (ValueError, KeyError, struct.error) as error:
        raise BlockError(f"the block's content makes no sense: {error}") from error


def head_of(data: bytes, opened: Opened) -> bytes:
    """Give the part of a block that says whose it is, and which channels it has."""
    return data[FIXED_SIZE : opened.at]


def is_whole(data: bytes, layer: Layer, day: int, head: bytes) -> bool:
    """Say whether a block is undamaged, and has exactly this layer, day and head: as `unseal`, where that is known before."""
    start = _start(layer, day, len(head))
    return zlib.crc32(data) == _RESIDUE and data.startswith(start) and data.startswith(head, FIXED_SIZE)


@dataclass(slots=True, eq=False)
class Heads:
    """What stands before the bodies of some blocks of one day, to know those of another day by.

    ``octets``: one after the other.  ``at``: where each block's body begins.  ``days``: where they name their day, shape (blocks, 4).
    """

    octets: UInt8
    at: Int64
    days: Int64

    @classmethod
    def of(cls, blocks: Sequence[bytes], at: Sequence[int]) -> "Heads":
        """Take the heads of blocks that are known to be whole."""
        octets = b"".join([block[:begin] for block, begin in zip(blocks, at, strict=True)])
        begins = np.array(at, np.int64)
        days = (np.cumsum(begins) - begins)[:, None] + range(_DAY_AT, _DAY_AT + _DAY.size)
        return cls(np.frombuffer(bytearray(octets), np.uint8), begins, days)

    def are_of(self, blocks: list[bytes], day: int) -> bool:
        """Say whether blocks are undamaged and say exactly this of themselves, but for their day: as `is_whole` of each."""
        self.octets[self.days] = np.frombuffer(_DAY.pack(day), np.uint8)
        return begin_with(blocks, self.octets, self.at, _LENGTH.size) and (
            [zlib.crc32(block) for block in blocks].count(_RESIDUE) == len(blocks)
        )


@lru_cache(maxsize=1024)
def _start(layer: Layer, day: int, head_length: int) -> bytes:
    return _FIXED.pack(MAGIC, FORMAT_VERSION, layer, day, head_length)


def decode_rows_of(
    layout: Layout, blocks: list[bytes], at: Sequence[int] | Int64, first: int = 0, last: int = -1
) -> tuple[Int32, UInt8, UInt8, UInt32]:
    """Decode blocks of one layout, whose bodies begin ``at``, into values, state, reason and rules of shape (blocks, slots) each.

    ``first``, ``last``: only these of its channels, last exclusive, -1 for all. Raises `BlockError`.
    """
    edges = layout.edges
    shape = (len(blocks), int(edges[last] - edges[first]))
    arrays = np.empty(shape, np.int32), np.empty(shape, np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.uint32)
    try:
        decode_blocks(blocks, np.asarray(at, np.int64), _LENGTH.size, edges, *arrays, first=first, last=last)
    except ValueError as error:
        raise BlockError(f"the block's content makes no sense: {error}") from error
    return arrays


channel_of = lru_cache(maxsize=65_536)(Channel)
"""Makes a channel's head; equal ones are mostly the same object, so that comparing them costs nothing."""


@lru_cache(maxsize=4096)
def encode_head(identity: str, channels: tuple[Channel, ...]) -> bytes:
    """Write what a block says of itself behind its day: whose it is, and its channels. Raises `ValueError` where it does not fit."""
    name = identity.encode()
    if not 0 < len(name) <= MAX_NAME_BYTES:
        raise ValueError(f"identity {identity[:40]!r} has {len(name)} bytes, not 1 to {MAX_NAME_BYTES}")
    if len(channels) > MAX_CHANNELS or sum(channel.slots for channel in channels) > MAX_SLOTS:
        raise ValueError(f"{identity}: {len(channels)} channels are more than a block takes")
    parts = [bytes((len(name),)), name, bytes((len(channels),))]
    for channel in channels:
        unit = channel.scaler_unit
        parts.append(
            _CHANNEL.pack(channel.obis.to_bytes(), unit.scaler, unit.unit, _PRIMARY if channel.is_primary else 0)
        )
        parts.extend(_leb(number) for number in (channel.period, channel.offset, channel.version))
    return b"".join(parts)


def _decode_head(head: bytes) -> tuple[str, Layout]:
    if not head or len(head) < 2 + head[0]:
        raise ValueError("its head is cut off")
    at = 1 + head[0]
    return head[1:at].decode(), _decode_channels(head[at:])


@lru_cache(maxsize=4096)
def _decode_channels(head: bytes) -> Layout:
    """Read what stands behind the identity: meters of one kind have it alike."""
    count, at = head[0], 1
    channels: list[Channel] = []
    for _ in range(count):
        code, scaler, unit, flags = _CHANNEL.unpack_from(head, at)
        at += _CHANNEL.size
        if flags & ~_PRIMARY:
            raise ValueError(f"it has unknown channel flags {flags:#x}")
        period, at = _read_leb(head, at)
        offset, at = _read_leb(head, at)
        version, at = _read_leb(head, at)
        scaler_unit = ScalerUnit(scaler, Unit(unit))
        channels.append(channel_of(Obis.from_bytes(code), period, offset, scaler_unit, bool(flags), version))
    if at != len(head):
        raise ValueError("its head is longer than its channels")
    if channels != sorted(channels) or sum(channel.slots for channel in channels) > MAX_SLOTS:
        raise ValueError(f"its channels are not in order, or have more than {MAX_SLOTS} slots")
    return layout_of(tuple(channels))


def _leb(number: int) -> bytes:
    octets = bytearray()
    while number >= 0x80:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _read_leb(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        octet = data[at]
        at += 1
        number |= (octet & 0x7F) << shift
        if not octet & 0x80:
            return number, at
    raise ValueError("a number in its head is cut off or too long")
