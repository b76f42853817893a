"""Many channels at once are what each is by itself."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.zone import parse_zone
from headend.errors import RegistryError, StoreError
from headend.registry.model import DAY, Installation
from headend.report import Days
from headend.series import Matrix, Series
from headend.store.errors import BlockError
from headend.store.model import Layer, VeeRun
from headend.store.place import Place
from headend.store.reader import StoreReader
from headend.store.store import Store
from kernels.quality import State
from tests.headend.store.builders import EXPORT, FIRST_DAY, IMPORT, NOW, START, WH, expect, open_store

PERIOD = 21_600
NOON = START + DAY // 2
CURRENT = Obis(1, 0, 31, 25, 0)


@pytest.fixture(scope="module")
def store(module_place: Place) -> Iterator[Store]:
    """Meters 1 to 5 on a grid, some of them late, gone or with a break; meter 6 on another; some days stored, some validated."""
    with open_store(module_place) as opened:
        with opened.transaction():
            for number in range(2, 7):
                opened.put_end_device(f"SIM:{number}", "sim", 1, str(number))
                opened.put_usage_point(
                    f"UP{number}",
                    "UTC",
                    area=f"A{number % 2}" if number < 6 else "B",
                    box=f"B{number}",
                    transformer="T",
                )
                end = NOON + DAY if number == 4 else None
                opened.put_installation(Installation(number, number, START + DAY * (number == 3), end))
            expect(opened, 1, (), START)
            for meter, codes, start, end in (
                (1, (IMPORT, EXPORT), START, None), (2, (IMPORT, EXPORT, CURRENT), START, None), (3, (IMPORT, EXPORT), NOON, None),
                (4, (IMPORT, EXPORT), START, NOON + DAY), (5, (IMPORT, EXPORT), START, NOON), (5, (IMPORT,), NOON + DAY, None),
            ):  # fmt: skip
                expect(opened, meter, codes, start, end, period=PERIOD)
            expect(opened, 6, (IMPORT,), START, period=PERIOD, offset=3_600)
            for meter, code, first, counts in (
                (1, IMPORT, 0, range(12)), (1, EXPORT, 4, [5, None, 6]), (2, IMPORT, 5, [7]), (2, CURRENT, 0, [9] * 12),
                (3, IMPORT, 3, range(8)), (5, IMPORT, 1, [1] * 10), (5, EXPORT, 0, [2, 2]),
            ):  # fmt: skip
                opened.record(meter, [IntervalBlock(code, WH, START + first * PERIOD, PERIOD, tuple(counts))], NOW)
            for point, code, day in ((1, IMPORT, 0), (1, IMPORT, 1), (2, IMPORT, 1), (2, EXPORT, 1), (3, IMPORT, 2)):
                for version in range(1 + (point == 2)):
                    made = Series.empty(START + day * DAY, PERIOD, WH, 4, State.ESTIMATED)
                    made.values[:] = 10 * point + version
                    opened.write_validated(point, code, FIRST_DAY + day, made, VeeRun("r 1", NOW + version))
        yield opened


def same(one: Series, other: Series) -> None:
    assert (one.start, one.period, one.scaler_unit) == (other.start, other.period, other.scaler_unit)
    for name in ("values", "state", "reason", "rules"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name
        assert getattr(one, name).flags.c_contiguous


def alone(reader: StoreReader, layer: Layer, local_id: int, obis: Obis, start: int, end: int) -> Series:
    read = reader.raw_series if layer is Layer.RAW else reader.validated_series
    return read(local_id, obis, start, end)


WINDOWS = st.tuples(st.integers(-1, 12), st.integers(0, 14), st.sampled_from([0, 0, 900])).map(
    lambda drawn: (START + drawn[0] * PERIOD + drawn[2], START + (drawn[0] + drawn[1]) * PERIOD)
)
LAYERS = st.sampled_from([Layer.RAW, Layer.VALIDATED])
ROWS = st.lists(st.integers(1, 5), unique=True, min_size=1)


def test_each_row_of_a_matrix_is_the_series_alone(store: Store, module_place: Place, examples: settings) -> None:
    @examples
    @given(ROWS, st.sampled_from([IMPORT, EXPORT]), WINDOWS, LAYERS, st.booleans())
    def compare(ids: list[int], obis: Obis, window: tuple[int, int], layer: Layer, is_reader: bool) -> None:
        with StoreReader.open(module_place) as reader:
            matrix = (reader if is_reader else store).matrix(ids, obis, *window, layer)

        assert list(matrix.ids) == ids
        for row, local_id in enumerate(ids):
            same(matrix.series(row), alone(store, layer, local_id, obis, *window))

    compare()


def test_many_series_are_each_what_it_is_alone(store: Store, module_place: Place, examples: settings) -> None:
    @examples
    @given(
        st.lists(st.tuples(st.integers(1, 6), st.sampled_from([IMPORT, EXPORT, CURRENT])), min_size=1), WINDOWS, LAYERS
    )
    def compare(channels: list[tuple[int, Obis]], window: tuple[int, int], layer: Layer) -> None:
        known = [channel for channel in channels if is_known(store, layer, channel)]
        with StoreReader.open(module_place) as reader:
            found = reader.series(known, *window, layer)

        for (local_id, obis), series in zip(known, found, strict=True):
            same(series, alone(store, layer, local_id, obis, *window))

    compare()


def is_known(store: Store, layer: Layer, channel: tuple[int, Obis]) -> bool:
    try:
        alone(store, layer, *channel, START, START + DAY)
    except RegistryError:
        return False
    return True


def rows_of(matrix: Matrix) -> dict[int, list[int]]:
    return dict(zip(matrix.ids, matrix.values.tolist(), strict=True))


def test_a_node_is_read_in_one_call(store: Store) -> None:
    two_days = START, START + 2 * DAY

    assert rows_of(store.area_matrix(IMPORT, *two_days, area="A0")) == {2: [0] * 4 + [21] * 4, 4: [0] * 8}
    assert list(store.area_matrix(EXPORT, *two_days, transformer="T").ids) == [2, 3, 4, 5]
    assert rows_of(store.area_matrix(IMPORT, *two_days, Layer.RAW, area="A1", box="B3")) == {
        3: [0, 0, 0, 0, 1, 2, 3, 4]
    }
    with pytest.raises(RegistryError, match="no meter under this node"):
        store.area_matrix(IMPORT, *two_days, feeder="F9")


def test_local_days_have_23_24_or_25_hours(place: Place) -> None:
    zone = parse_zone("Europe/Berlin")
    with open_store(place) as opened:
        with opened.transaction():
            opened.put_expectations(1, START, [])
            expect(opened, 1, (IMPORT, EXPORT), period=900)

        for day, slots in ((date(2022, 3, 26), 96), (date(2022, 3, 27), 92), (date(2022, 10, 30), 100)):
            window = Days(day, day).span(zone)
            assert opened.matrix([1], IMPORT, *window).values.shape == (1, slots)
            assert [len(series) for series in opened.series([(1, IMPORT), (1, EXPORT)], *window)] == [slots] * 2


def test_what_cannot_stand_in_one_matrix_is_refused(store: Store) -> None:
    day = START, START + DAY

    for ids, obis, what in (
        ([1, 6], IMPORT, "has several grids"), ([1, 1], IMPORT, "asked for twice"), ([1, 99], IMPORT, "local id 99"),
        ([2, 3], CURRENT, r"SIM:3 is not expected to deliver 1-0:31\.25\.0\*255"),
    ):  # fmt: skip
        with pytest.raises(RegistryError, match=what):
            store.matrix(ids, obis, *day)
    with pytest.raises(RegistryError, match="UP1: no meter installed there"):
        store.series([(1, CURRENT)], *day, Layer.VALIDATED)
    for start, end in ((-DAY, START), (START, START + 10_000_001 * PERIOD)):
        with pytest.raises(StoreError, match="more than 10000000, or before 1970"):
            store.series([(1, IMPORT)], start, end)


def test_reader_sees_the_registry_and_the_days_as_they_are_now(place: Place) -> None:
    with open_store(place) as opened, StoreReader.open(place) as reader:
        before = reader.matrix([1], IMPORT, START, START + DAY)

        with opened.transaction():
            opened.put_expectations(1, START, [])
            expect(opened, 1, (IMPORT,), NOON)
            opened.record(1, [IntervalBlock(IMPORT, WH, START, 1_800, (4,))], NOW)
        after = reader.matrix([1], IMPORT, START, START + DAY)

    assert before.state[0].tolist() == [State.EXPECTED] * 48
    assert after.state[0].tolist() == [State.MEASURED] + [State.NOT_EXPECTED] * 23 + [State.EXPECTED] * 24


def test_a_change_that_comes_between_a_day_and_the_registry_is_seen_whole(place: Place) -> None:
    waiting: list[Any] = []

    class Slow(StoreReader):
        def _stamp(self) -> object:
            while waiting:
                waiting.pop()()
            return super()._stamp()

    def change() -> None:
        with opened.transaction():
            opened.put_expectations(1, START, [])
            expect(opened, 1, (IMPORT,), NOON)
            opened.record(1, [IntervalBlock(IMPORT, WH, START, 1_800, (4,))], NOW)

    with open_store(place) as opened, Slow.open(place) as reader:
        (before,) = reader.series([(1, IMPORT)], START, START + DAY)
        waiting.append(change)
        (after,) = reader.series([(1, IMPORT)], START, START + DAY)

    assert before.state.tolist() == [State.EXPECTED] * 48
    assert after.state.tolist() == [State.MEASURED] + [State.NOT_EXPECTED] * 23 + [State.EXPECTED] * 24


def test_damaged_and_misplaced_blocks_are_found_also_once_their_heads_are_known(place: Place) -> None:
    def put(data: bytes) -> None:
        with opened.transaction():
            opened._run("UPDATE raw SET block = ? WHERE k = ?", (data, FIRST_DAY << 32 | 1))

    with open_store(place) as opened, StoreReader.open(place) as reader:
        with opened.transaction():
            opened.record(1, [IntervalBlock(IMPORT, WH, START, 1_800, tuple(range(96)))], NOW)
        window: Any = START, START + 2 * DAY
        assert reader.matrix([1], IMPORT, *window).values[0].tolist() == list(range(96))

        ((second,),) = opened._rows("SELECT block FROM raw WHERE k = ?", (FIRST_DAY + 1 << 32 | 1,))
        put(second)
        for read in (lambda: reader.matrix([1], IMPORT, *window), lambda: reader.series([(1, IMPORT)], *window)):
            with pytest.raises(BlockError, match=f"holds raw day {FIRST_DAY + 1} of SIM:1, not day {FIRST_DAY}"):
                read()
        put(second[:-1] + bytes([second[-1] ^ 1]))
        with pytest.raises(BlockError, match="checksum does not match"):
            reader.matrix([1], IMPORT, *window)


def test_matrix_refuses_arrays_that_do_not_fit() -> None:
    fits = (
        np.zeros((1, 2), np.int32),
        np.zeros((1, 2), np.uint8),
        np.zeros((1, 2), np.uint8),
        np.zeros((1, 2), np.uint32),
    )

    assert not Matrix([1], 0, 900, WH, *fits).has_value.any()
    with pytest.raises(ValueError, match=r"values has the shape \(1, 2\), not \(2, n\)"):
        Matrix([1, 2], 0, 900, WH, *fits)
    with pytest.raises(ValueError, match=r"rules is uint32\(1, 1\), not uint32\(1, 2\)"):
        Matrix([1], 0, 900, WH, *fits[:3], np.zeros((1, 1), np.uint32))


def test_series_cut_from_a_row_share_its_memory_and_are_as_made_alone() -> None:
    row = (
        np.arange(5, dtype=np.int32),
        np.full(5, State.MEASURED, np.uint8),
        np.zeros(5, np.uint8),
        np.zeros(5, np.uint32),
    )

    first, second = Series.cut(0, [(slice(0, 2), 43_200, WH), (slice(2, 5), 28_800, WH)], *row)

    assert (first.start, first.period, first.scaler_unit, first.values.tolist()) == (0, 43_200, WH, [0, 1])
    assert (second.end, len(second), second.has_value.tolist()) == (DAY, 3, [True] * 3)
    assert all(np.shares_memory(mine, theirs) for mine, theirs in zip(second.arrays, row, strict=True))
    with pytest.raises(ValueError, match=r"state is int32\(5,\), not uint8\(5,\)"):
        Series.cut(0, [], row[0], row[0], *row[2:])
