"""The stored block's format."""

import tomllib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.store.block import HAS_VALUE_BY_STATE, Block, Channel, Heads, decode, encode, unseal
from headend.store.errors import BlockError
from headend.store.model import Layer
from kernels.quality import Reason, State
from tests.headend.store.builders import EXPORT, IMPORT, WH
from tests.shared import REPOSITORY

scaler_units = st.builds(ScalerUnit, st.integers(-128, 127), st.sampled_from(Unit))
byte = st.integers(0, 255)


@st.composite
def channels(draw: st.DrawFn) -> Channel:
    period = draw(st.sampled_from([900, 1800, 3600, 21_600, 86_400]))
    return Channel(
        draw(st.builds(Obis, byte, byte, byte, byte, byte, byte)),
        period,
        draw(st.integers(0, period - 1)),
        draw(scaler_units),
        draw(st.booleans()),
        draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    name = draw(st.text(min_size=1, max_size=60).filter(lambda text: len(text.encode("utf-8", "ignore")) > 0))
    name = name.encode("utf-8", "ignore").decode()
    block = Block.empty(
        draw(st.sampled_from([Layer.RAW, Layer.VALIDATED])),
        name,
        draw(st.integers(-(2**31), 2**31 - 1)),
        draw(st.lists(channels(), max_size=4, unique=True)),
    )
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    slots = len(block.values)
    block.state[:] = random.integers(0, max(State) + 1, slots)
    block.reason[:] = random.choice([int(reason) for reason in Reason], slots)
    block.rules[:] = random.integers(0, 2**32, slots)
    block.values[:] = random.integers(-(2**31), 2**31, slots)
    block.values[~HAS_VALUE_BY_STATE[block.state]] = 0
    return block


@given(blocks())
@settings(max_examples=150)
def test_a_block_comes_back_as_it_was_written(block: Block) -> None:
    back = decode(encode(block))

    assert (back.layer, back.identity, back.day, back.channels) == (
        block.layer, block.identity, block.day, block.channels,
    )  # fmt: skip
    for mine, theirs in zip(back.arrays, block.arrays, strict=True):
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs)
    assert encode(back) == encode(block)


GOLDEN = sorted((REPOSITORY / "tests" / "data" / "blocks").iterdir())


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.name)
def test_a_block_as_stored_by_an_earlier_version_is_still_read(case: Path) -> None:
    expected = tomllib.loads((case / "expected.toml").read_text())

    block = decode(bytes.fromhex((case / "block.hex").read_text()))

    assert (block.layer.name, block.identity, block.day) == (expected["layer"], expected["identity"], expected["day"])
    found = [
        {
            "obis": str(channel.obis), "period": channel.period, "offset": channel.offset,
            "scaler": channel.scaler_unit.scaler, "unit": channel.scaler_unit.unit.name,
            "is_primary": channel.is_primary, "version": channel.version,
            **{key: getattr(block.series(channel), key).tolist() for key in ("values", "state", "reason", "rules")},
        }
        for channel in block.channels
    ]  # fmt: skip
    assert found == expected["channels"]
    again = decode(encode(block))
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(again.arrays, block.arrays, strict=True))


def small_block() -> Block:
    block = Block.empty(Layer.RAW, "SIM:1", 19_000, [Channel(IMPORT, 3600, 1800, WH), Channel(EXPORT, 1800, 0, WH)])
    block.values[5:40] = np.arange(35)
    block.state[:] = State.MISSING
    block.reason[:] = Reason.NO_ANSWER
    block.state[5:40], block.reason[5:40] = State.MEASURED, 0
    return block


def test_every_flipped_bit_is_found() -> None:
    data = encode(small_block())

    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BlockError):
            decode(bytes(damaged))


def test_heads_know_whole_blocks_of_another_day_and_nothing_else() -> None:
    names, days = ("SIM:1", "SIM:22"), (20_000, -1)
    first, other = ([encode(replace(small_block(), identity=name, day=day)) for name in names] for day in days)
    heads = Heads.of(first, [unseal(block).at for block in first])

    assert heads.are_of(first, days[0])
    assert heads.are_of(other, days[1])
    assert not heads.are_of(first, days[1])
    assert not heads.are_of([other[0], first[1]], days[1])
    assert not heads.are_of([encode(replace(small_block(), identity="SIM:9", day=days[1])), other[1]], days[1])
    for bit in range(len(other[1]) * 8):
        damaged = bytearray(other[1])
        damaged[bit // 8] ^= 1 << bit % 8
        assert not heads.are_of([other[0], bytes(damaged)], days[1])
    for length in range(len(other[0])):
        assert not heads.are_of([other[0][:length], other[1]], days[1])


def test_a_cut_or_lengthened_block_is_refused() -> None:
    data = encode(small_block())

    for length in range(len(data)):
        with pytest.raises(BlockError):
            decode(data[:length])
    with pytest.raises(BlockError):
        decode(data + b"\0")


def sealed(data: bytes) -> bytes:
    """Give damaged content a matching checksum, as a hostile sender would."""
    import struct
    import zlib

    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


@given(st.data())
@settings(max_examples=300)
def test_nonsense_with_a_matching_checksum_is_refused_or_is_a_block(data: st.DataObject) -> None:
    content = bytearray(encode(small_block()))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(byte)

    with suppress(BlockError):
        block = decode(sealed(bytes(content)))
        assert len(block.values) == sum(channel.slots for channel in block.channels)


def test_a_newer_format_says_upgrade() -> None:
    content = bytearray(encode(small_block()))
    content[4] = 2

    with pytest.raises(BlockError, match="newer than this program"):
        decode(sealed(bytes(content)))


def test_equal_content_gives_equal_bytes_in_whatever_order_channels_came() -> None:
    one = Block.empty(Layer.RAW, "M", 1, [Channel(IMPORT, 900, 0, WH)]).with_channels([Channel(EXPORT, 1800, 0, WH)])
    other = Block.empty(Layer.RAW, "M", 1, [Channel(EXPORT, 1800, 0, WH)]).with_channels([Channel(IMPORT, 900, 0, WH)])

    assert encode(one) == encode(other)


def test_adding_and_dropping_channels_keeps_the_others() -> None:
    block = small_block()
    wanted = block.series(block.channels[1]).values.copy()

    grown = block.with_channels([Channel(Obis(1, 0, 0, 29, 0), 900, 0, WH)])
    shrunk = grown.with_channels([], dropped=[grown.channels[0]])

    assert np.array_equal(grown.series(grown.channels[2]).values, wanted)
    assert [channel.obis for channel in shrunk.channels] == [IMPORT, EXPORT]
    assert encode(shrunk) == encode(block)


def test_a_day_of_ten_quarter_hourly_channels_takes_little_more_than_a_byte_per_reading() -> None:
    heads = [Channel(Obis(1, 0, code, 29, 0), 900, 0, WH) for code in range(1, 11)]
    block = Block.empty(Layer.RAW, "SIM0000000000001", 19_000, heads)
    block.values[:] = np.random.default_rng(1).integers(100, 200, len(block.values))
    block.state[:] = State.MEASURED

    assert len(encode(block)) < 1.4 * len(block.values)


@pytest.mark.parametrize(("period", "offset"), [(0, 0), (7, 0), (900, 900), (900, -1)])
def test_a_grid_that_does_not_tile_the_day_is_refused(period: int, offset: int) -> None:
    with pytest.raises(ValueError, match="does not tile"):
        Channel(IMPORT, period, offset, WH)


def test_a_name_that_does_not_fit_its_length_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="256 bytes"):
        encode(Block.empty(Layer.RAW, "x" * 256, 1))
