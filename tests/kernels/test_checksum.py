import binascii
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import checksum, reference

CHECK = b"123456789"


@pytest.mark.parametrize(
    ("function", "expected"),
    [("crc16_modbus", 0x4B37), ("fcs16", 0x906E), ("crc16_ccitt", 0x29B1), ("crc32", 0xCBF43926)],
)
def test_check_value_of_the_crc_catalogue_comes_out(function: str, expected: int) -> None:
    assert getattr(checksum, function)(CHECK) == expected


BITS = {"crc16_modbus": 16, "fcs16": 16, "crc16_ccitt": 16, "crc32": 32}


@given(st.binary(max_size=200))
def test_kernels_agree_with_their_twins_and_with_the_standard_library(data: bytes) -> None:
    assert checksum.crc16_modbus(data) == reference.crc16_modbus(data)
    assert checksum.fcs16(data) == reference.fcs16(data)
    assert checksum.crc16_ccitt(data) == reference.crc16_ccitt(data) == binascii.crc_hqx(data, 0xFFFF)
    assert checksum.crc32(data) == reference.crc32(data) == zlib.crc32(data)


@pytest.mark.parametrize("name", BITS)
@given(st.binary(max_size=40), st.data())
def test_every_start_agrees_with_the_twin(name: str, data: bytes, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, 2 ** BITS[name] - 1))

    assert getattr(checksum, name)(data, start) == getattr(reference, name)(data, start)


@pytest.mark.parametrize("name", BITS)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_checksum_can_go_on_from_the_bytes_before(name: str, first: bytes, second: bytes) -> None:
    function = getattr(checksum, name)

    assert function(second, function(first)) == function(first + second)


def test_long_buffers_agree_with_the_standard_library_wherever_they_begin() -> None:
    data = memoryview(np.random.default_rng(1).bytes(20_000))

    for first in range(9):
        assert checksum.crc32(data[first:]) == zlib.crc32(data[first:])
        assert checksum.crc16_ccitt(data[first:]) == binascii.crc_hqx(data[first:], 0xFFFF)


@given(st.binary(min_size=1, max_size=60), st.data())
def test_any_single_flipped_bit_changes_every_checksum(data: bytes, draw: st.DataObject) -> None:
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8

    for function in (checksum.crc16_modbus, checksum.fcs16, checksum.crc16_ccitt, checksum.crc32):
        assert function(data) != function(damaged)


def test_any_contiguous_buffer_of_bytes_is_taken_and_nothing_else() -> None:
    assert checksum.fcs16(bytearray(CHECK)) == checksum.fcs16(memoryview(CHECK)) == 0x906E
    assert checksum.fcs16(b"") == 0

    wrong: Any = np.zeros(8, np.uint8)[::2]
    with pytest.raises(ValueError, match="contiguous"):
        checksum.fcs16(wrong)
    for wrong in (None, "text", 5):
        with pytest.raises(TypeError):
            checksum.fcs16(wrong)


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("beyond", [-1, -(2**40), 2**70, None])
def test_start_outside_the_register_is_refused(name: str, beyond: int | None) -> None:
    with pytest.raises(ValueError, match="start"):
        getattr(checksum, name)(CHECK, 2 ** BITS[name] if beyond is None else beyond)
