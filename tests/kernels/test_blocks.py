import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import blocks, reference
from kernels.quality import HAS_VALUE, State
from tests.kernels.strategies import INT32, REASONS, STATES

CELLS = st.lists(st.one_of(st.none(), INT32), max_size=100)
CODES = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1)), max_size=80)
GUARD = 77


@st.composite
def grids(draw: st.DrawFn, cell: Any) -> tuple[list[list[Any]], list[int]]:
    """Rows of equal length, and edges that cut them."""
    slots = draw(st.one_of(st.integers(0, 12), st.integers(13, 70)))
    rows = draw(st.lists(st.lists(cell, min_size=slots, max_size=slots), max_size=3))
    inner = draw(st.lists(st.integers(0, slots), max_size=3))
    return rows, [0, *sorted(inner), slots]


def arrays(rows: list[list[Any]], slots: int) -> Any:
    cells = np.array([[0 if cell is None else cell for cell in row] for row in rows], np.int32)
    has_value = np.array([[cell is not None for cell in row] for row in rows], np.uint8)
    return cells.reshape(len(rows), slots), has_value.reshape(len(rows), slots)


def whole(slots: int) -> Any:
    return np.array([0, slots], np.int64)


def encoded(values: Any, has_value: Any, edges: Any) -> list[bytes]:
    out = np.full(len(values) * blocks.row_bound(edges), GUARD, np.uint8)
    ends = np.empty(len(values), np.int64)
    used = blocks.encode_rows(values, has_value, edges, out, ends)
    assert used == (ends[-1] if len(ends) else 0)
    return [bytes(out[first:last]) for first, last in zip([0, *ends[:-1]], ends, strict=False)]


def decoded_rows(data: list[bytes], has_value: Any, edges: Any) -> Any:
    out = np.full(has_value.shape, GUARD, np.int32)
    blocks.decode_rows(b"".join(data), np.cumsum([len(row) for row in data], dtype=np.int64), has_value, edges, out)
    return out


def encode(cells: list[Any]) -> bytes:
    values, has_value = arrays([cells], len(cells))
    return encoded(values, has_value, whole(len(cells)))[0]


def decode(data: bytes | bytearray, cells: list[Any]) -> list[int]:
    _, has_value = arrays([cells], len(cells))
    row: list[int] = decoded_rows([bytes(data)], has_value, whole(len(cells)))[0].tolist()
    return row


def runs(data: bytes | bytearray, n: int) -> Any:
    out = np.full(n, GUARD, np.uint32)
    blocks.decode_runs(data, out)
    return out


@given(grids(st.one_of(st.none(), INT32)))
def test_rows_come_back_and_agree_with_the_twin(grid: tuple[list[list[Any]], list[int]]) -> None:
    rows, cuts = grid
    edges = np.array(cuts, np.int64)
    values, has_value = arrays(rows, cuts[-1])

    data = encoded(values, has_value, edges)

    assert data == [reference.encode_row(row, cuts) for row in rows]
    assert np.array_equal(decoded_rows(data, has_value, edges), values)


@pytest.mark.parametrize("width", range(33))
def test_every_width_comes_back_and_agrees_with_the_twin(width: int) -> None:
    random = np.random.default_rng(width)
    fields = random.integers(0, 2**width, 55) | (1 << width >> 1)
    steps = [int(field >> 1) ^ -int(field & 1) for field in fields]
    cells = [int(np.int64(total).astype(np.int32)) for total in np.cumsum([5, *steps])]

    data = encode(cells)

    assert data == reference.encode_row(cells, [0, len(cells)])
    assert decode(data, cells) == cells


@given(CELLS)
def test_row_of_version_1_is_still_read(cells: list[Any]) -> None:
    data = reference.encode_old_row(cells)

    assert decode(data, cells) == [cell or 0 for cell in cells]


@given(CODES)
def test_runs_come_back_and_agree_with_the_twin(codes: list[int]) -> None:
    data = blocks.encode_runs(np.array(codes, np.uint32))

    assert data == reference.encode_runs(codes)
    assert runs(data, len(codes)).tolist() == codes


@given(CODES)
def test_runs_of_version_1_are_still_read(codes: list[int]) -> None:
    assert runs(reference.encode_old_runs(codes), len(codes)).tolist() == codes


CELL = st.tuples(INT32, STATES, REASONS, st.sampled_from([0, 0, 0, 2, 2**32 - 1]))


def encode_body(row: list[Any], cuts: list[int]) -> bytes:
    values, state, reason, rules = row
    return reference.encode_body(values, state, reason, rules, cuts)


@given(grids(CELL))
def test_bodies_come_back_and_agree_with_the_twin(grid: tuple[list[list[Any]], list[int]]) -> None:
    rows, cuts = grid
    edges = np.array(cuts, np.int64)
    shape = (len(rows), cuts[-1])
    columns = [
        np.array([[cell[part] for cell in row] for row in rows], dtype).reshape(shape)
        for part, dtype in enumerate((np.int32, np.uint8, np.uint8, np.uint32))
    ]
    values, state, reason, rules = columns
    out, ends = np.empty(len(rows) * blocks.body_bound(edges), np.uint8), np.empty(len(rows), np.int64)
    starts = np.zeros_like(ends)

    used = blocks.encode_bodies(values, state, reason, rules, edges, out, ends)
    starts[1:] = ends[:-1]
    back = [np.full_like(column, GUARD) for column in columns]
    blocks.decode_bodies(out[:used], starts, ends, edges, *back)

    twins = [encode_body(list(zip(*row, strict=True)), cuts) for row in rows if row]
    assert out[:used].tobytes() == (b"".join(twins) if cuts[-1] else bytes(out[:used]))
    columns[0][~np.isin(columns[1], [int(state) for state in HAS_VALUE])] = 0
    for column, theirs in zip(columns, back, strict=True):
        assert np.array_equal(column, theirs)


@given(grids(CELL), st.booleans(), st.data())
def test_some_channels_alone_are_what_they_are_among_all(
    grid: tuple[list[list[Any]], list[int]], is_old: bool, draw: st.DataObject
) -> None:
    rows, cuts = grid
    first = draw.draw(st.integers(0, len(cuts) - 1))
    last = draw.draw(st.integers(first, len(cuts) - 1))
    encode_one = old_body if is_old else encode_body
    bodies = [encode_one(list(zip(*row, strict=True)) if row else [()] * 4, cuts) for row in rows]
    lengths = np.array([len(body) for body in bodies], np.int64)
    data, ends = b"".join(bodies), np.cumsum(lengths)
    starts = ends - lengths
    of_all, (alone, apart) = room(len(rows), cuts[-1]), (room(len(rows), cuts[last] - cuts[first]) for _ in range(2))

    blocks.decode_bodies(data, starts, ends, np.array(cuts), *of_all)
    blocks.decode_bodies(data, starts, ends, np.array(cuts), *alone, first=first, last=last)
    framed = [b"head" + body + b"tail" for body in bodies]
    blocks.decode_blocks(framed, np.full(len(rows), 4), 4, np.array(cuts), *apart, first=first, last=last)

    for some, others, every in zip(alone, apart, of_all, strict=True):
        assert np.array_equal(some, every[:, cuts[first] : cuts[last]])
        assert np.array_equal(some, others)


def room(rows: int, slots: int) -> Any:
    """Arrays for what `blocks.decode_bodies` writes."""
    return [np.full((rows, slots), GUARD, dtype) for dtype in (np.int32, np.uint8, np.uint8, np.uint32)]


def old_body(row: list[Any], _cuts: list[int]) -> bytes:
    """A body whose parts are of version 1."""
    values, state, reason, rules = row
    carried = [value if code in HAS_VALUE else None for value, code in zip(values, state, strict=True)]
    codes = [one + 256 * other for one, other in zip(state, reason, strict=True)]
    parts = reference.encode_old_row(carried), reference.encode_old_runs(codes), reference.encode_old_runs(rules)
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def test_block_that_is_too_short_for_its_head_and_tail_is_an_error() -> None:
    out = room(1, 3)

    for block, start in ((b"1234567", 4), (b"", 0), (b"12345678", -1)):
        with pytest.raises(ValueError, match=r"body 0 of 3 slots, .* does not lie within its buffer"):
            blocks.decode_blocks([block], np.array([start]), 4, whole(3), *out)
    with pytest.raises(ValueError, match="blocks has 2 entries, there are 1 rows"):
        blocks.decode_blocks([b"", b""], np.zeros(1, np.int64), 4, whole(3), *out)


def test_bytes_begin_with_their_own_heads_and_go_on_behind() -> None:
    heads, starts = b"onefour", np.array([3, 0, 4])

    assert blocks.begin_with([b"one....", b"1234", b"four...."], heads, starts, 4)
    assert not blocks.begin_with([b"one....", b"1234", b"fear...."], heads, starts, 4)
    assert not blocks.begin_with([b"one....", b"123", b"four...."], heads, starts, 4)
    assert not blocks.begin_with([b"one....", b"1234", b"fo"], heads, starts, 0)
    assert blocks.begin_with([], b"", np.zeros(0, np.int64), 4)
    for lengths in ([3, 0, 5], [-1, 0, 4], [8, 0, 0]):
        with pytest.raises(ValueError, match=r"head \d of -?\d octets does not lie within its buffer"):
            blocks.begin_with([b"one.....", b"1234", b"four...."], heads, np.array(lengths), 4)
    with pytest.raises(ValueError, match="starts has 3 entries, there are 1 rows"):
        blocks.begin_with([b"one...."], heads, starts, 4)


def test_channels_that_a_row_does_not_have_are_value_errors() -> None:
    out, ends = room(1, 2), np.zeros(1, np.int64)

    for first, last, what in (
        (1, 3, "not among 2"),
        (-1, 1, "not among 2"),
        (1, 0, "not among 2"),
        (0, 1, "have 3 slots"),
    ):
        with pytest.raises(ValueError, match=what):
            blocks.decode_bodies(b"", ends, ends, np.array([0, 3, 5]), *out, first=first, last=last)


def test_value_under_a_slot_without_value_is_not_stored() -> None:
    has_value = np.array([[1, 0, 1]], np.uint8)

    data = encoded(np.array([[5, 999, 7]], np.int32), has_value, whole(3))

    assert decode(data[0], [5, None, 7]) == [5, 0, 7]
    assert data == encoded(np.array([[5, 0, 7]], np.int32), has_value, whole(3))


def test_slot_without_value_costs_nothing() -> None:
    day = [200 + 37 * slot % 91 for slot in range(64)]
    holes = [cell for value in day for cell in (value, None)]

    assert encode(holes) == encode(day)
    assert encode([None] * 96) == bytes([blocks.VALUES_VERSION])


def test_day_of_a_quiet_house_takes_about_half_a_byte_a_reading() -> None:
    assert len(encode([200 + slot % 7 for slot in range(96)])) < 60
    assert len(blocks.encode_runs(np.full(96, 2, np.uint32))) == 2


def test_gap_amid_measured_slots_costs_two_bytes() -> None:
    codes = np.full(96, 2, np.uint32)
    codes[10] = 774
    with_one = len(blocks.encode_runs(codes))
    codes[40] = 774

    assert len(blocks.encode_runs(codes)) == with_one + 2


def test_channels_of_far_apart_values_cost_no_more_together_than_alone() -> None:
    energy, voltage = [200 + slot % 7 for slot in range(20)], [230_000 + slot % 7 for slot in range(20)]
    values, has_value = arrays([energy + voltage], 40)

    together = encoded(values, has_value, np.array([0, 20, 40], np.int64))[0]

    assert len(together) == len(encode(energy)) + len(encode(voltage)) - 1


def test_extremes_wrap_nowhere() -> None:
    cells = [-(2**31), 2**31 - 1, -(2**31), 0, 2**31 - 1]

    assert decode(encode(cells), cells) == cells
    assert len(encode(cells * 20)) <= blocks.row_bound(whole(100))


@given(st.binary(max_size=120), st.lists(st.booleans(), max_size=100))
def test_random_bytes_are_an_error_or_a_row_of_the_right_length(data: bytes, cells: list[bool]) -> None:
    slots = [0 if cell else None for cell in cells]
    for prefix in (b"", b"\x01", b"\x02"):
        try:
            row = decode(prefix + data, slots)
        except ValueError:
            pass
        else:
            assert not any(value for value, cell in zip(row, cells, strict=True) if not cell)
        with contextlib.suppress(ValueError):
            runs(prefix + data, len(cells))


@given(CELLS, st.booleans(), st.data())
def test_truncated_row_is_an_error_and_so_is_trailing_rubbish(
    cells: list[Any], is_old: bool, draw: st.DataObject
) -> None:
    data = reference.encode_old_row(cells) if is_old else encode(cells)
    cut = draw.draw(st.integers(0, len(data) - 1))

    for damaged in (data[:cut], data + b"\x00"):
        with pytest.raises(ValueError, match="encoded row"):
            decode(damaged, cells)


@given(CODES, st.data())
def test_flipped_bit_in_runs_is_an_error_or_a_row_of_the_right_length(codes: list[int], draw: st.DataObject) -> None:
    data = bytearray(blocks.encode_runs(np.array(codes, np.uint32)))
    bit = draw.draw(st.integers(8, 8 * len(data) - 1)) if len(data) > 1 else 0
    data[bit // 8] ^= 1 << bit % 8

    try:
        row = runs(data, len(codes))
    except ValueError:
        return
    assert blocks.encode_runs(row) == data


@given(CELLS, st.data())
def test_flipped_bit_in_values_is_an_error_or_a_row_of_the_right_length(cells: list[Any], draw: st.DataObject) -> None:
    data = bytearray(encode(cells))
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    data[bit // 8] ^= 1 << bit % 8

    try:
        row = decode(data, cells)
    except ValueError:
        return
    assert not any(value for value, cell in zip(row, cells, strict=True) if cell is None)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "ends too early"),
        (b"\x03\x00\x00", "version"),
        (b"\x02", "ends too early"),
        (b"\x02\x00", "ends too early"),
        (b"\x02\x00\x02", "ends too early"),
        (b"\x02\xff\xff\xff\xff\x7f\x00", "longer than 32 bits"),
        (b"\x02\x80\x00\x00", "needlessly long"),
        (b"\x02\x00\x21\x00", "padding"),
        (b"\x02\x00\x01\x04", "padding"),
        (b"\x02\x00\x01\x01", "does not begin with its base"),
        (b"\x02\x00\x00\x00", "behind its last slot"),
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
        decode(data, [1, None, 1])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "ends too early"),
        (b"\x02", "ends too early"),
        (b"\x09\x02", "version"),
        (b"\x02\x02\x00\x03", "empty"),
        (b"\x02\x02\x0a\x03", "longer than the row"),
        (b"\x02\x02\x02\x02", "repeats"),
        (b"\x02\x02\x02\x03\x02\x02", "repeats"),
        (b"\x02\x02\x03", "repeats"),
        (b"\x02\x02\x06\x03", "longer than the row"),
        (b"\x02\x02\x02", "ends too early"),
        (b"\x01", "ends too early"),
        (b"\x01\x02\x00\x03", "empty"),
        (b"\x01\x02\x05\x03", "longer than the row"),
        (b"\x01\x02\x01\x02", "repeats"),
        (b"\x01\x02\x03\x03", "longer than the row"),
    ],
)
def test_damaged_runs_say_what_is_wrong(data: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        runs(data, 3)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("", "too early"),
        ("04000000 0200 0000 02000000 0202", "too early"),
        ("ffffffff 0200 0000 02000000 0202 02000000 0200", "too early"),
        ("04000000 02000000 02000000 0202 02000000 0200 00", "behind its last slot"),
        ("04000000 02000000 02000000 0207 02000000 0200", "state this program does not know"),
        ("04000000 02000000 04000000 02828004 02000000 0200", "state this program does not know"),
        ("04000000 02000000 02000000 0202 02000000 0300", "version"),
        ("04000000 02000000 02000000 0206 02000000 0200", "behind its last slot"),
    ],
)
def test_damaged_body_says_what_is_wrong(body: str, what: str) -> None:
    data = bytes.fromhex(body)
    out = (
        np.empty((1, 3), np.int32),
        np.empty((1, 3), np.uint8),
        np.empty((1, 3), np.uint8),
        np.empty((1, 3), np.uint32),
    )

    with pytest.raises(ValueError, match=what):
        blocks.decode_bodies(data, np.array([0]), np.array([len(data)]), whole(3), *out)


def test_damage_in_a_batch_names_the_row() -> None:
    values, has_value = arrays([[1, 2], [3, 4], [5, 6]], 2)
    data = encoded(values, has_value, whole(2))
    data[1] = data[1][:-1]

    with pytest.raises(ValueError, match="encoded row 1 of 2 slots"):
        decoded_rows(data, has_value, whole(2))


def test_row_that_does_not_lie_in_its_buffer_is_an_error() -> None:
    has_value, out = np.ones((2, 1), np.uint8), np.empty((2, 1), np.int32)
    data = encode([1]) * 2
    size = len(data) // 2

    for ends in ([size, 3 * size], [size, -1], [-size, size], [2**62, size]):
        with pytest.raises(ValueError, match="does not lie within its buffer"):
            blocks.decode_rows(data, np.array(ends), has_value, whole(1), out)
    with pytest.raises(ValueError, match="2 bytes lie behind the last row"):
        blocks.decode_rows(data + b"\0\0", np.array([size, 2 * size]), has_value, whole(1), out)


def test_enormous_run_costs_no_memory() -> None:
    for data in (b"\x01\x02\xff\xff\xff\xff\x0f\x03", b"\x02\x02\xfe\xff\xff\xff\x0f\x03"):
        with pytest.raises(ValueError, match="longer than the row"):
            runs(data, 10)


@pytest.mark.parametrize(
    ("edges", "what"),
    [([], "from 0 to 4"), ([0], "from 0 to 4"), ([0, 3], "from 0 to 4"), ([1, 4], "from 0 to 4"),
     ([0, 3, 2, 4], "never fall"), ([0, 5, 4], "never fall"), ([0, -1, 4], "never fall")],
)  # fmt: skip
def test_edges_that_do_not_cut_the_row_are_value_errors(edges: list[int], what: str) -> None:
    cuts = np.array(edges, np.int64)
    values, has_value, ends = np.zeros((1, 4), np.int32), np.ones((1, 4), np.uint8), np.zeros(1, np.int64)
    qualities = np.zeros((1, 4), np.uint8), np.zeros((1, 4), np.uint8), np.zeros((1, 4), np.uint32)

    for call in (
        lambda: blocks.encode_rows(values, has_value, cuts, np.empty(500, np.uint8), ends),
        lambda: blocks.decode_rows(b"", ends, has_value, cuts, values),
        lambda: blocks.encode_bodies(values, *qualities, cuts, np.empty(500, np.uint8), ends),
        lambda: blocks.decode_bodies(b"", ends, ends, cuts, values, *qualities),
    ):
        with pytest.raises(ValueError, match=what):
            call()


def test_wrong_shapes_types_and_layouts_are_value_errors() -> None:
    values, has_value, edges = np.zeros((2, 4), np.int32), np.ones((2, 4), np.uint8), whole(4)
    ends, out = np.empty(2, np.int64), np.empty(2 * blocks.row_bound(edges), np.uint8)

    for wrong, what in (
        ((values, has_value[:1], edges, out, ends), r"has_value has the shape \(1, 4\), values \(2, 4\)"),
        ((values, has_value, edges, out[1:], ends), "2 rows may take"),
        ((values, has_value, edges, out, ends[:1]), "ends has 1 entries, there are 2 rows"),
        ((values.astype(np.int64), has_value, edges, out, ends), "Buffer dtype mismatch"),
        ((np.zeros((2, 8), np.int32)[:, ::2], has_value, edges, out, ends), "contiguous"),
        ((values[0], has_value, edges, out, ends), "dimensions"),
        ((values, has_value, edges, bytes(500), ends), "read-only|not writable"),
    ):
        with pytest.raises((ValueError, BufferError), match=what):
            blocks.encode_rows(*wrong)
    with pytest.raises(ValueError, match=r"state has the shape \(1, 4\)"):
        blocks.encode_bodies(values, has_value[:1], has_value, np.zeros((2, 4), np.uint32), edges, out, ends)


def test_states_that_carry_a_value_are_those_of_the_quality_codes() -> None:
    states = np.array([[int(state) for state in State]], np.uint8)
    edges = whole(len(State))
    zeros, rules = np.zeros_like(states), np.zeros(states.shape, np.uint32)
    out, ends = np.empty(blocks.body_bound(edges), np.uint8), np.empty(1, np.int64)
    values = np.full(states.shape, 9, np.int32)

    used = blocks.encode_bodies(values, states, zeros, rules, edges, out, ends)
    blocks.decode_bodies(out[:used], np.zeros(1, np.int64), ends, edges, values, states, zeros, rules)

    assert values[0].tolist() == [9 if state in HAS_VALUE else 0 for state in State]
