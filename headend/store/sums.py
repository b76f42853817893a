"""What is left of a validated day that was dropped: for each channel the sums of its hours, or of the day, and what they are made of.

Layout, little-endian; equal content gives equal bytes:

    4   magic "HESU"
    1   format version, 1
    4   day, signed, days since 1970-01-01 UTC
    1   length of the usage point's name; the name, UTF-8
    1   number of channels
        channel: OBIS (6) | scaler (signed 1) | unit (1) | period of its slots [s] (4) | version (4) | parts (1)
    n   zlib: of all channels one after the other the sums (int64, differences), then the slots of each state (uint16),
        the bytes of each kind in planes, lowest first
    4   CRC-32 (IEEE 802.3, as zlib) over all before it

Part *i* of *n* holds the slots that start within [i, i + 1) n-ths of the UTC day.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.registry.model import DAY
from headend.series import Int64
from headend.store.block import Block
from headend.store.errors import BlockError
from kernels.aggregate import STATES, aggregate

MAGIC = b"HESU"
FORMAT_VERSION = 1
MAX_PARTS = 24
_MOST_SLOTS = 2**16 - 1
_FIXED = struct.Struct("<4sBiB")
_CHANNEL = struct.Struct("<6sbBIIB")
_CRC = struct.Struct("<I")
_MAX_BODY = 255 * MAX_PARTS * (8 + 2 * STATES)


@dataclass(frozen=True, slots=True, eq=False)
class ChannelSums:
    """One channel. ``sums``: of the slots that carry a value [counts of ``scaler_unit``], shape (parts,).

    ``counts``: slots by code of `kernels.quality.State`, shape (parts, 7).  ``period``: of the slots [s].
    """

    obis: Obis
    scaler_unit: ScalerUnit
    period: int
    version: int
    sums: Int64
    counts: Int64


@dataclass(frozen=True, slots=True, eq=False)
class DaySums:
    """One UTC day (days since 1970-01-01) of a usage point."""

    usage_point: str
    day: int
    channels: tuple[ChannelSums, ...]


def sum_up(block: Block, parts: int) -> DaySums:
    """Add up a validated day in ``parts`` equal spans; a channel with fewer slots than that keeps each by itself.

    One with more slots than two octets count is added up in two at least.
    """
    return DaySums(block.identity, block.day, tuple(_sum_up(block, parts)))


def _sum_up(block: Block, parts: int) -> Iterator[ChannelSums]:
    for channel in block.channels:
        series = block.series(channel)
        spans = min(max(parts, -(-channel.slots // _MOST_SLOTS)), channel.slots)
        starts = np.arange(spans, dtype=np.int64) * (DAY // spans)
        edges = np.append(np.maximum(0, -((channel.offset - starts) // channel.period)), channel.slots)
        edges[0] = 0
        sums, counts = np.zeros(spans, np.int64), np.zeros((spans, STATES), np.int64)
        aggregate(series.values, series.state, edges, sums, counts)
        yield ChannelSums(channel.obis, channel.scaler_unit, channel.period, channel.version, sums, counts)


def encode_sums(day: DaySums) -> bytes:
    """Write a day's sums."""
    name = day.usage_point.encode()
    head = [_FIXED.pack(MAGIC, FORMAT_VERSION, day.day, len(name)), name, bytes([len(day.channels)])]
    for item in day.channels:
        unit = item.scaler_unit
        head.append(
            _CHANNEL.pack(item.obis.to_bytes(), unit.scaler, unit.unit, item.period, item.version, len(item.sums))
        )
    sums = np.concatenate([np.zeros(0, np.int64), *(item.sums for item in day.channels)])
    counts = np.concatenate([np.zeros((0, STATES), np.int64), *(item.counts for item in day.channels)])
    body = _planes(np.diff(sums, prepend=0).astype("<i8")) + _planes(counts.astype("<u2").ravel())
    data = b"".join([*head, zlib.compress(body, 9)])
    return data + _CRC.pack(zlib.crc32(data))


def _planes(values: "np.ndarray[tuple[int], np.dtype[np.generic]]") -> bytes:
    return values.view(np.uint8).reshape(-1, values.itemsize).T.tobytes()


def decode_sums(data: bytes) -> DaySums:
    """Read a day's sums. Raises `BlockError` for anything but exactly one whole, undamaged day of a known format."""
    try:
        return _decode(data)
    except (ValueError, IndexError, struct.error, zlib.error) as error:
        raise BlockError(f"the sums make no sense: {error}") from error


def _decode(data: bytes) -> DaySums:
    if len(data) < _CRC.size or zlib.crc32(memoryview(data)[:-4]) != _CRC.unpack_from(data, len(data) - 4)[0]:
        raise BlockError("the sums' checksum does not match their content")
    magic, version, day, length = _FIXED.unpack_from(data)
    if (magic, version) != (MAGIC, FORMAT_VERSION):
        raise BlockError(f"sums of format {magic!r} {version} are not known to this program; upgrade it")
    at = _FIXED.size + length
    name, number, at = data[_FIXED.size : at].decode(), data[at], at + 1
    heads = [_CHANNEL.unpack_from(data, at + index * _CHANNEL.size) for index in range(number)]
    parts = sum(head[-1] for head in heads)
    unpacker = zlib.decompressobj()
    body = unpacker.decompress(data[at + number * _CHANNEL.size : -4], _MAX_BODY + 1)
    if len(body) != parts * (8 + 2 * STATES) or not unpacker.eof or unpacker.unused_data:
        raise BlockError(f"{parts} sums take {parts * (8 + 2 * STATES)} bytes, not {len(body)}")
    octets = np.frombuffer(body, np.uint8)
    steps = octets[: 8 * parts].reshape(8, parts).T.copy().view("<i8").ravel()
    counts = octets[8 * parts :].reshape(2, -1).T.copy().view("<u2").reshape(parts, STATES).astype(np.int64)
    sums, channels, first = np.cumsum(steps, dtype=np.int64), [], 0
    for code, scaler, unit, period, channel_version, spans in heads:
        cut = slice(first, first + spans)
        channels.append(
            ChannelSums(
                Obis.from_bytes(code), ScalerUnit(scaler, Unit(unit)), period, channel_version, sums[cut], counts[cut]
            )
        )
        first += spans
    return DaySums(name, day, tuple(channels))
