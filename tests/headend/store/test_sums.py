"""Sums of a day, written and read back."""

import numpy as np
import pytest

from drivers.units import ScalerUnit, Unit
from headend.store.block import Block, Channel
from headend.store.errors import BlockError
from headend.store.model import Layer
from headend.store.sums import decode_sums, encode_sums, sum_up
from kernels.quality import HAS_VALUE, State
from tests.headend.store.builders import EXPORT, IMPORT, REGISTER, WH


def day(seed: int) -> Block:
    random = np.random.default_rng(seed)
    channels = [
        Channel(IMPORT, 900, 0, WH, is_primary=True, version=3),
        Channel(EXPORT, 3_600, 1_800, ScalerUnit(-1, Unit.VOLT), version=1),
        Channel(REGISTER, 43_200, 300, WH, version=70_000),
    ]
    block = Block.empty(Layer.VALIDATED, "UP1", 20_000, channels)
    block.values[:] = random.integers(-(2**31), 2**31, block.layout.slots)
    block.state[:] = random.choice([int(state) for state in State], block.layout.slots)
    return block


@pytest.mark.parametrize("parts", [1, 24])
@pytest.mark.parametrize("seed", range(3))
def test_sums_are_those_of_the_slots_that_start_within_each_part(seed: int, parts: int) -> None:
    block = day(seed)

    found = decode_sums(encode_sums(sum_up(block, parts)))

    assert (found.usage_point, found.day) == ("UP1", 20_000)
    for channel, sums in zip(block.channels, found.channels, strict=True):
        series, spans = block.series(channel), min(parts, channel.slots)
        assert (sums.obis, sums.scaler_unit, sums.period) == (channel.obis, channel.scaler_unit, channel.period)
        assert sums.version == channel.version
        expected, counts = [0] * spans, np.zeros((spans, len(State)), np.int64)
        for slot, (value, state) in enumerate(zip(series.values.tolist(), series.state.tolist(), strict=True)):
            part = (channel.offset + slot * channel.period) * spans // 86_400
            expected[part] += value if state in HAS_VALUE else 0
            counts[part, state] += 1
        assert sums.sums.tolist() == expected
        assert sums.counts.tolist() == counts.tolist()


def test_each_flipped_bit_is_found_and_each_cut() -> None:
    data = encode_sums(sum_up(day(1), 1))

    for at in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(BlockError):
            decode_sums(bytes(damaged))
    for length in range(len(data)):
        with pytest.raises(BlockError):
            decode_sums(data[:length])


def test_more_slots_than_two_octets_count_are_counted_in_more_parts() -> None:
    block = Block.empty(Layer.VALIDATED, "UP1", 20_000, [Channel(IMPORT, 1, 0, WH, is_primary=True, version=1)])
    block.values[:], block.state[:] = 3, State.MEASURED

    (found,) = decode_sums(encode_sums(sum_up(block, 1))).channels

    assert (int(found.sums.sum()), int(found.counts[:, State.MEASURED].sum())) == (3 * 86_400, 86_400)


def test_equal_content_gives_equal_bytes() -> None:
    assert encode_sums(sum_up(day(2), 24)) == encode_sums(sum_up(day(2), 24))
