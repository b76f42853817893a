"""Many days at once: blocks read and decoded together, validated days written with all their channels."""

import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from drivers.obis import Obis
from headend.errors import StoreError
from headend.registry.model import DAY
from headend.series import Series
from headend.store.block import Channel, layout_of
from headend.store.dayreads import BlockRows
from headend.store.errors import BlockError
from headend.store.model import Layer, VeeRun
from headend.store.place import Place
from headend.store.store import Store
from headend.store.validatedwrites import Writing
from kernels.quality import State
from tests.headend.store.builders import EXPORT, FIRST_DAY, IMPORT, NOW, PERIOD, START, WH, block, open_store

RUN = VeeRun("residential 1", NOW)
SLOTS = DAY // PERIOD


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with open_store(place) as opened, opened.transaction():
        opened.put_usage_point("UP2", "UTC")
    with Store.open(place, lambda: NOW) as opened:
        yield opened


def days(points: list[int], numbers: list[int], *, codes: tuple[Obis, ...] = (IMPORT, EXPORT)) -> BlockRows:
    """Days of usage points, every value 1."""
    layout = layout_of(tuple(Channel(code, PERIOD, 0, WH, is_primary=True) for code in codes))
    rows = BlockRows.empty(layout, np.array(points, np.int64), np.array(numbers, np.int64))
    for array, value in zip(rows.arrays, (1, State.MEASURED, 0, 0), strict=True):
        array[:] = value
    return rows


def write(store: Store, rows: BlockRows) -> list[list[int]]:
    with store.transaction():
        found: list[list[int]] = store.write_validated_rows(rows, RUN).tolist()
        return found


def test_days_of_several_layouts_come_as_they_are_read_one_by_one(store: Store) -> None:
    with store.transaction():
        store.record(1, [block(0, range(48 * 3)), block(48, range(96), EXPORT)], NOW)

    found = store.block_rows(Layer.RAW, [1], FIRST_DAY, FIRST_DAY + 10)

    assert sorted(len(rows.days) for rows in found) == [1, 2]
    for rows in found:
        for at, day in enumerate(rows.days.tolist()):
            for channel in rows.layout.channels:
                alone = store.raw_series(1, channel.obis, day * DAY, (day + 1) * DAY)
                part = rows.block(at, Layer.RAW, "SIM:1").series(channel)
                for mine, theirs in zip(part.arrays, alone.arrays, strict=True):
                    assert np.array_equal(mine, theirs)


def test_flipped_bits_of_a_block_read_with_others_name_row_and_file(store: Store) -> None:
    with store.transaction():
        store.record(1, [block(0, range(48 * 3))], NOW)
    ((key, data),) = store._rows("SELECT k, block FROM raw WHERE k >> 32 = ?", (FIRST_DAY + 1,))

    for bit in range(0, len(data) * 8, 7):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        store._run("UPDATE raw SET block = ? WHERE k = ?", (bytes(damaged), key))
        with pytest.raises(BlockError, match=rf"{re.escape(store.path)}: row {key} of table raw is damaged"):
            store.block_rows(Layer.RAW, [1], FIRST_DAY, FIRST_DAY + 3)


def test_nonsense_with_a_matching_checksum_among_others_names_its_row(store: Store) -> None:
    with store.transaction():
        store.record(1, [block(0, range(48 * 3))], NOW)
    ((key, data),) = store._rows("SELECT k, block FROM raw WHERE k >> 32 = ?", (FIRST_DAY + 1,))
    body = data[:-8] + b"\xff\xff\xff\xff"
    store._run("UPDATE raw SET block = ? WHERE k = ?", (body + struct.pack("<I", zlib.crc32(body)), key))

    with pytest.raises(StoreError, match=rf"row {key} of table raw is damaged.*makes no sense"):
        store.block_rows(Layer.RAW, [1], FIRST_DAY, FIRST_DAY + 3)


def test_a_block_in_anothers_place_is_found_among_others(store: Store) -> None:
    with store.transaction():
        store.record(1, [block(0, range(48))], NOW)
    store._run("UPDATE raw SET k = k + ?", (1 << 32,))

    with pytest.raises(StoreError, match=f"holds raw day {FIRST_DAY} of SIM:1, not day {FIRST_DAY + 1}"):
        store.block_rows(Layer.RAW, [1], FIRST_DAY, FIRST_DAY + 2)


def test_days_written_together_read_as_if_written_one_by_one(store: Store) -> None:
    rows = days([1, 1, 2], [FIRST_DAY, FIRST_DAY + 1, FIRST_DAY])
    rows.values[1, :] = np.arange(2 * SLOTS)
    rows.state[1, 3], rows.values[1, 3] = State.MISSING, 77
    rows.state[2, SLOTS:] = State.EXPECTED

    done = write(store, rows)

    assert done == [[Writing.NEW, Writing.NEW], [Writing.NEW, Writing.NEW], [Writing.NEW, Writing.IDLE]]
    series = store.validated_series(1, IMPORT, START, START + 2 * DAY)
    assert series.values.tolist() == [1] * SLOTS + [0 if slot == 3 else slot for slot in range(SLOTS)]
    assert store.validated_channels(2, FIRST_DAY) == [IMPORT]
    assert {(change.entity_id, change.day, change.obis, change.version) for change in store.changes(0)} >= {
        (1, FIRST_DAY, IMPORT, 1), (1, FIRST_DAY + 1, EXPORT, 1), (2, FIRST_DAY, IMPORT, 1),
    }  # fmt: skip


def test_what_stands_gets_no_new_version_and_what_differs_alone_does(store: Store) -> None:
    alone = Series.empty(START, PERIOD, WH, SLOTS, State.MEASURED)
    with store.transaction():
        store.write_validated(1, Obis(1, 0, 9, 29, 0), FIRST_DAY, alone, RUN)
    write(store, days([1, 2], [FIRST_DAY, FIRST_DAY]))
    before = store.last_seq()
    again = write(store, days([1, 2], [FIRST_DAY, FIRST_DAY]))
    seq = store.last_seq()
    changed = days([1, 2], [FIRST_DAY, FIRST_DAY])
    changed.rules[1, SLOTS + 4] = 1

    done = write(store, changed)

    assert (again, seq) == ([[Writing.UNCHANGED] * 2] * 2, before)
    assert done == [[Writing.UNCHANGED, Writing.UNCHANGED], [Writing.UNCHANGED, Writing.NEW]]
    assert [len(store.versions(2, code, FIRST_DAY)) for code in (IMPORT, EXPORT)] == [1, 2]
    assert store.validated_version(2, EXPORT, FIRST_DAY, 1).rules[4] == 0
    assert store.validated_version(2, EXPORT, FIRST_DAY).rules[4] == 1
    assert len(store.validated_channels(1, FIRST_DAY)) == 3


def test_a_day_that_is_known_no_more_is_written_where_a_version_stands(store: Store) -> None:
    write(store, days([1], [FIRST_DAY], codes=(IMPORT,)))
    idle = days([1], [FIRST_DAY])
    idle.state[:] = State.EXPECTED

    assert write(store, idle) == [[Writing.NEW, Writing.IDLE]]
    assert set(store.validated_version(1, IMPORT, FIRST_DAY).state) == {State.EXPECTED}


def test_days_are_written_within_a_transaction_only(store: Store) -> None:
    with pytest.raises(StoreError, match="transaction"):
        store.write_validated_rows(days([1], [FIRST_DAY]), RUN)
