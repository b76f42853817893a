import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import blocks, reference
from tests.kernels.strategies import INT32

CELLS = st.lists(st.one_of(st.none(), INT32), max_size=100)
CODES = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1)), max_size=80)


def arrays(cells: list[Any]) -> Any:
    values = np.array([0 if cell is None else cell for cell in cells], np.int32)
    return values, np.array([cell is not None for cell in cells], np.uint8)


def decoded(data: bytes | bytearray, has_value: Any) -> Any:
    out = np.full(len(has_value), 77, np.int32)
    blocks.decode_values(data, has_value, out)
    return out


def runs(data: bytes | bytearray, n: int) -> Any:
    out = np.full(n, 77, np.uint32)
    blocks.decode_runs(data, out)
    return out


@given(CELLS)
def test_values_come_back_and_agree_with_the_twin(cells: list[Any]) -> None:
    values, has_value = arrays(cells)

    data = blocks.encode_values(values, has_value)

    assert data == reference.encode_values(cells)
    assert decoded(data, has_value).tolist() == values.tolist()


@given(CODES)
def test_runs_come_back_and_agree_with_the_twin(codes: list[int]) -> None:
    data = blocks.encode_runs(np.array(codes, np.uint32))

    assert data == reference.encode_runs(codes)
    assert runs(data, len(codes)).tolist() == codes


def test_value_under_a_slot_without_value_is_not_stored() -> None:
    values, has_value = np.array([5, 999, 7], np.int32), np.array([1, 0, 1], np.uint8)

    data = blocks.encode_values(values, has_value)

    assert decoded(data, has_value).tolist() == [5, 0, 7]
    assert data == blocks.encode_values(np.array([5, 0, 7], np.int32), has_value)


def test_day_of_a_quiet_house_takes_about_half_a_byte_a_reading() -> None:
    values = (200 + np.arange(96) % 7).astype(np.int32)

    assert len(blocks.encode_values(values, np.ones(96, np.uint8))) < 60
    assert len(blocks.encode_runs(np.full(96, 2, np.uint32))) == 2


def test_extremes_wrap_nowhere() -> None:
    values = np.array([-(2**31), 2**31 - 1, -(2**31), 0, 2**31 - 1], np.int32)
    has_value = np.ones(5, np.bool_)

    assert decoded(blocks.encode_values(values, has_value), has_value).tolist() == values.tolist()


@given(st.binary(max_size=120), st.lists(st.booleans(), max_size=100))
def test_random_bytes_are_an_error_or_a_row_of_the_right_length(data: bytes, cells: list[Any]) -> None:
    has_value = np.array(cells, np.uint8)
    for prefix in (b"", b"\x01"):
        try:
            row = decoded(prefix + data, has_value)
        except ValueError:
            pass
        else:
            assert (row[has_value == 0] == 0).all()
        with contextlib.suppress(ValueError):
            runs(prefix + data, len(cells))


@given(CELLS, st.data())
def test_truncated_row_is_an_error_and_so_is_trailing_rubbish(cells: list[Any], draw: st.DataObject) -> None:
    values, has_value = arrays(cells)
    data = blocks.encode_values(values, has_value)
    cut = draw.draw(st.integers(0, len(data) - 1))

    for damaged in (data[:cut], data + b"\x00"):
        with pytest.raises(ValueError, match="encoded row"):
            decoded(damaged, has_value)


@given(CODES, st.data())
def test_flipped_bit_in_runs_is_an_error_or_a_row_of_the_right_length(codes: list[int], draw: st.DataObject) -> None:
    data = bytearray(blocks.encode_runs(np.array(codes, np.uint32)))
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    data[bit // 8] ^= 1 << bit % 8

    try:
        row = runs(data, len(codes))
    except ValueError:
        return
    assert blocks.encode_runs(row) == data


@given(CELLS, st.data())
def test_flipped_bit_in_values_is_an_error_or_a_row_of_the_right_length(cells: list[Any], draw: st.DataObject) -> None:
    values, has_value = arrays(cells)
    data = bytearray(blocks.encode_values(values, has_value))
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    data[bit // 8] ^= 1 << bit % 8

    try:
        row = decoded(data, has_value)
    except ValueError:
        return
    assert (row[has_value == 0] == 0).all()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "ends too early"),
        (b"\x02\x00\x00", "version"),
        (b"\x01\xff\xff\xff\xff\x7f\x00", "longer than 32 bits"),
        (b"\x01\x80\x00\x00", "needlessly long"),
        (b"\x01\x00\x21", "width above 32"),
        (b"\x01\x00\x01\x08", "padding"),
        (b"\x01\x00\x01\x02", "slot that has none"),
        (b"\x01\x00\x00\x00", "behind its last slot"),
    ],
)
def test_damaged_row_says_what_is_wrong(data: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        decoded(data, np.array([1, 0, 1], np.uint8))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "ends too early"),
        (b"\x01", "ends too early"),
        (b"\x09\x02", "version"),
        (b"\x01\x02\x00\x03", "run"),
        (b"\x01\x02\x05\x03", "longer than the row"),
        (b"\x01\x02\x01\x02", "repeats"),
        (b"\x01\x02\x03\x03", "run"),
    ],
)
def test_damaged_runs_say_what_is_wrong(data: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        runs(data, 3)


def test_enormous_run_costs_no_memory() -> None:
    with pytest.raises(ValueError, match="longer than the row"):
        runs(b"\x01\x02\xff\xff\xff\xff\x0f\x03", 10)


def test_wrong_shapes_types_and_layouts_are_value_errors() -> None:
    values, has_value = np.zeros(4, np.int32), np.ones(4, np.uint8)
    data = blocks.encode_values(values, has_value)

    with pytest.raises(ValueError, match="has_value has 3 slots"):
        blocks.encode_values(values, has_value[:3])
    with pytest.raises(ValueError, match="has_value has 4 slots, out has 3"):
        blocks.decode_values(data, has_value, values[:3])
    with pytest.raises(ValueError, match="Buffer dtype mismatch"):
        blocks.encode_values(values.astype(np.int64), has_value)
    with pytest.raises(ValueError, match="contiguous"):
        blocks.encode_values(np.zeros(8, np.int32)[::2], has_value)
    with pytest.raises(ValueError, match="dimensions"):
        blocks.encode_values(np.zeros((2, 2), np.int32), has_value)
    values.flags.writeable = False
    assert blocks.encode_values(values, has_value) == data
    with pytest.raises(ValueError, match="read-only"):
        blocks.decode_values(data, has_value, values)
