"""Whole meter-days at once end as the same values recorded one by one."""

from collections.abc import Iterator

import pytest

from drivers.facts import IntervalBlock
from headend.errors import RegistryError, StoreError
from headend.registry.model import DAY
from headend.store.block import Block, Channel, channel_of
from headend.store.model import Layer, Recorded
from headend.store.place import Place
from headend.store.store import Store
from kernels.quality import Reason, Rule, State
from tests.headend.store.builders import EXPORT, FIRST_DAY, IMPORT, NOW, PERIOD, START, WH, block, open_store

HEAD = channel_of(IMPORT, PERIOD, 0, WH)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with open_store(place) as opened:
        yield opened


def day(number: int, first: int = 0, channel: Channel = HEAD, name: str = "SIM:1") -> tuple[int, Block]:
    """A day of the meter of id 1: values from ``first`` on, but for a slot the meter had no row for."""
    made = Block.empty(Layer.RAW, name, FIRST_DAY + number, [channel])
    made.values[:] = range(first, first + len(made.values))
    made.state[:] = State.MEASURED
    made.values[7], made.state[7], made.reason[7] = 0, State.MISSING, Reason.NO_ROW
    return 1, made


def load(store: Store, *blocks: tuple[int, Block]) -> Recorded:
    with store.transaction():
        return store.load_blocks(blocks, NOW)


def test_days_come_back_as_they_were_loaded_with_their_causes(store: Store) -> None:
    assert load(store, *(day(number, 100 * number) for number in range(300))) == Recorded(new=300 * 47)

    series = store.raw_series(1, IMPORT, START, START + 300 * DAY)
    assert series.values[2 * 48 : 2 * 48 + 3].tolist() == [200, 201, 202]
    assert (series.state[7], series.reason[7]) == (State.MISSING, Reason.NO_ROW)
    changes = store.changes(0)
    assert [(change.day - FIRST_DAY, change.obis) for change in changes] == [(number, IMPORT) for number in range(300)]
    assert list(store.faults()) == []


def test_a_day_that_is_there_is_merged_value_by_value(store: Store) -> None:
    with store.transaction():
        store.record(1, [block(0, [0, 1, 999]), block(7, [7])], NOW)
    before = store.last_seq()

    done = load(store, day(0), day(1))

    assert done == Recorded(new=44 + 47, same=2, conflicts=1)
    series = store.raw_series(1, IMPORT, START, START + DAY)
    assert series.values.tolist() == [0, 1, 999, *range(3, 48)]
    assert series.rules[2] == Rule.CONFLICT
    assert [conflict.refused for conflict in store.conflicts()] == [2]
    assert {change.layer for change in store.changes(before)} == {Layer.RAW, Layer.EVENT}


def test_the_same_again_changes_nothing_also_within_one_call(store: Store) -> None:
    assert load(store, day(0), day(0)) == Recorded(new=47, same=47)
    before = store.last_seq()

    assert load(store, day(0)) == Recorded(same=47)

    assert store.last_seq() == before


def test_loading_ends_in_the_same_blocks_as_recording(store: Store) -> None:
    with store.transaction():
        store.record(1, [IntervalBlock(IMPORT, WH, START, PERIOD, (*range(7), None, *range(8, 48)))], NOW)
        store.mark_missing(1, IMPORT, START + 7 * PERIOD, START + 8 * PERIOD, Reason.NO_ROW)

    load(store, day(1))

    (_, recorded), (_, loaded) = store._rows("SELECT k, block FROM raw ORDER BY k")
    assert len(recorded) == len(loaded)
    assert recorded[12:-4] == loaded[12:-4], "all but day and checksum"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (day(0, name="SIM:2"), "block of SIM:2 is none of its own"),
        (day(0, channel=channel_of(IMPORT, 900, 0, WH)), "every 900 s"),
        (day(0, channel=channel_of(EXPORT, PERIOD, 60, WH)), "from 60 s"),
    ],
)
def test_a_block_the_registry_does_not_expect_is_refused_before_anything_is_written(
    store: Store, wrong: tuple[int, Block], words: str
) -> None:
    with pytest.raises(RegistryError, match=words):
        load(store, day(1), wrong)

    assert store.last_seq() == 0
    with pytest.raises(StoreError, match="nothing may be written outside"):
        store.load_blocks([day(0)], NOW)
