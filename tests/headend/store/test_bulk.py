"""Whole days in bulk are what the same facts would be, one by one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.facts import INT32_MAX, Fact, MeterEvent, RegisterValue
from drivers.units import ScalerUnit, Unit
from headend.errors import RegistryError, StoreError
from headend.registry.model import DAY
from headend.store.block import Channel
from headend.store.meterdays import MeterDays
from headend.store.model import Layer, Recorded
from headend.store.place import Place
from headend.store.rawwrites import RawWrites
from headend.store.store import Store
from kernels.quality import Rule, State
from tests.headend.store.builders import EXPORT, FIRST_DAY, IMPORT, NOW, REGISTER, START, WH, expect, open_store

PERIOD = 21_600
CHANNELS = (Channel(IMPORT, PERIOD, 0, WH), Channel(EXPORT, PERIOD, 0, WH))
SLOTS = 8
METERS = range(1, 7)
STATUS = [Rule(0), Rule.METER_STATUS, Rule.METER_STATUS | Rule.RANGE, Rule.POWER_FAILURE, Rule.CLOCK_SET]


@pytest.fixture(scope="module")
def store(module_place: Place) -> Iterator[Store]:
    """Meters 1 and 2 expect both channels for ever; 3 from noon on; 4 until noon; 5 twice, with a break; 6 only one of them."""
    noon = START + DAY // 2
    with open_store(module_place) as opened:
        with opened.transaction():
            for number in METERS[1:]:
                opened.put_end_device(f"SIM:{number}", "sim", 1, str(number))
            expect(opened, 1, start=START, codes=())
            for meter, codes, start, end in (
                (1, (IMPORT, EXPORT), START, None), (2, (IMPORT, EXPORT), START, None), (3, (IMPORT, EXPORT), noon, None),
                (4, (IMPORT, EXPORT), START, noon), (5, (IMPORT, EXPORT), START, noon),
                (5, (IMPORT, EXPORT), noon + PERIOD, None), (6, (IMPORT,), START, None),
            ):  # fmt: skip
                expect(opened, meter, codes, start, end, period=PERIOD)
        yield opened


def contents(store: Store) -> dict[str, Any]:
    """Everything that recording may write, numbers of rows aside."""
    tables = {
        "raw": "k, block",
        "change_log": "layer, entity_id, day, channels, version, run_id, at",
        "conflict": "end_device_id, layer, obis, at, kept, refused, received_at",
        "event": "end_device_id, kind, code, at, text, received_at",
        "set_aside": "topic, payload, reason, times",
        "register": "end_device_id, count, captured_at, run_id",
    }
    return {
        table: store._rows(f"SELECT {columns} FROM {table} ORDER BY {columns}") for table, columns in tables.items()
    }


def rehearse(store: Store, *steps: Callable[[], Recorded]) -> tuple[Recorded, dict[str, Any]]:
    done = Recorded()
    with store.transaction(keep=False):
        for step in steps:
            done = step()
        return done, contents(store)


def one_by_one(store: Store, said: MeterDays) -> Recorded:
    done = Recorded()
    for row, meter in enumerate(said.end_device_ids):
        done += RawWrites.record(store, meter, said.facts(row), NOW, 7)
    return done


@st.composite
def days(draw: st.DrawFn, meters: st.SearchStrategy[list[int]]) -> MeterDays:
    chosen = draw(meters)
    cells = len(chosen) * SLOTS
    shape = len(chosen), SLOTS
    values = draw(st.lists(st.sampled_from([0, 1, 2, INT32_MAX]), min_size=cells, max_size=cells))
    holes = draw(st.sets(st.integers(0, max(0, cells - 1)), max_size=cells))
    has_value = None
    if draw(st.booleans()):
        has_value = np.array([at not in holes for at in range(cells)], np.bool_).reshape(shape)
    rules = None
    if draw(st.booleans()):
        rules = np.array(
            draw(st.lists(st.sampled_from(STATUS), min_size=cells, max_size=cells)), np.uint32
        ).reshape(shape)  # fmt: skip
    return MeterDays(FIRST_DAY, chosen, CHANNELS, np.array(values, np.int32).reshape(shape), has_value, rules)


SOME = st.lists(st.sampled_from(METERS), unique=True)


def test_bulk_is_bit_for_bit_what_record_does_one_by_one(store: Store, examples: settings) -> None:
    @examples
    @given(before=days(SOME), said=days(SOME.filter(bool)), is_again=st.booleans())
    def compare(before: MeterDays, said: MeterDays, is_again: bool) -> None:
        if is_again:
            before = said
        bulk = rehearse(store, lambda: one_by_one(store, before), lambda: store.record_days(said, NOW, 7))
        single = rehearse(store, lambda: one_by_one(store, before), lambda: one_by_one(store, said))

        assert bulk == single

    compare()


def test_facts_of_whole_days_are_recorded_as_any_others(store: Store, examples: settings) -> None:
    @examples
    @given(
        before=days(SOME),
        said=days(SOME.filter(bool)),
        is_whole=st.booleans(),
        odd=st.sampled_from([0, 0, 1, 2, 3, 4, 5]),
    )
    def compare(before: MeterDays, said: MeterDays, is_whole: bool, odd: int) -> None:
        facts: list[Fact] = [
            replace(fact, counts=fact.counts * 2, rules=fact.rules * 2) if is_whole else fact for fact in said.facts(0)
        ]
        if odd == 1:
            facts = facts[:1]
        elif odd == 2:
            facts = [*facts, facts[0]]
        elif odd == 3:
            facts = [*facts, RegisterValue(REGISTER, 5, WH, START), MeterEvent(3, START, "cover")]
        elif odd == 4:
            facts = [facts[0], replace(said.facts(0)[1], start=START + DAY)]
        elif odd == 5:
            facts = facts[::-1]
        meter = said.end_device_ids[0]

        as_one = rehearse(store, lambda: one_by_one(store, before), lambda: store.record(meter, facts, NOW, 7))
        one_by_one_ = rehearse(
            store, lambda: one_by_one(store, before), lambda: RawWrites.record(store, meter, facts, NOW, 7)
        )

        assert as_one == one_by_one_

    compare()


def whole_day(meters: list[int], value: int = 5) -> MeterDays:
    return MeterDays(FIRST_DAY, meters, CHANNELS, np.full((len(meters), SLOTS), value, np.int32))


def test_new_whole_days_never_pass_through_facts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RawWrites, "record", None)
    monkeypatch.setattr(RawWrites, "_merge_day", None)

    done, found = rehearse(store, lambda: store.record_days(whole_day([1, 2]), NOW))
    of_facts = rehearse(store, lambda: store.record(1, whole_day([1]).facts(0), NOW))

    assert done == Recorded(new=16)
    assert of_facts[1]["raw"] == found["raw"][:1]
    assert [row[0] for row in found["raw"]] == [FIRST_DAY << 32 | 1, FIRST_DAY << 32 | 2]
    assert [row[:3] for row in found["change_log"]] == [(Layer.RAW, 1, FIRST_DAY), (Layer.RAW, 2, FIRST_DAY)]


def test_registry_that_changed_is_asked_again(store: Store) -> None:
    with store.transaction(keep=False):
        store.record_days(whole_day([1]), NOW)
        store.put_expectations(1, START, [])
        expect(store, 1, (IMPORT, EXPORT), START + 2 * DAY, period=PERIOD)

        store.record_days(
            MeterDays(FIRST_DAY + 1, [1], CHANNELS, np.ones((1, SLOTS), np.int32), np.eye(1, SLOTS) == 1), NOW
        )

        with store.snapshot():
            state = store.raw_series(1, IMPORT, START + DAY, START + 2 * DAY).state
    assert state.tolist() == [State.MEASURED, *[State.NOT_EXPECTED] * 3]


def test_another_grid_is_refused_before_anything_is_written(store: Store) -> None:
    other = Channel(IMPORT, PERIOD, 0, ScalerUnit(3, Unit.WATT_HOUR))
    said = MeterDays(FIRST_DAY, [1, 2], (other,), np.ones((2, 4), np.int32))

    with store.transaction(keep=False):
        with pytest.raises(RegistryError, match=r"SIM:1: 1-0:1\.29\.0\*255 came every 21600 s"):
            store.record_days(said, NOW)

        assert contents(store)["raw"] == []


def test_day_that_no_calendar_holds_is_refused(store: Store) -> None:
    for day in (-1, 10_000_000):
        with store.transaction(keep=False), pytest.raises(StoreError, match="outside 1970 to 9999"):
            store.record_days(MeterDays(day, [1], CHANNELS, np.ones((1, SLOTS), np.int32)), NOW)


def test_arrays_that_do_not_fit_are_refused() -> None:
    values: Any = np.ones((1, SLOTS), np.int32)
    lowest = values.copy()
    lowest[0, 3] = -INT32_MAX - 1

    cases: list[tuple[Callable[[], MeterDays], str]] = [
        (lambda: MeterDays(FIRST_DAY, [1], CHANNELS[::-1], values), "not sorted"),
        (lambda: MeterDays(FIRST_DAY, [], (), np.ones((0, 0), np.int32)), "no channel"),
        (lambda: MeterDays(FIRST_DAY, [1], (Channel(IMPORT, PERIOD, 0, WH, version=1),), values[:, :4]), "versions"),
        (lambda: MeterDays(FIRST_DAY, [1, 2], CHANNELS, values), r"values is int32\(1, 8\), not int32\(2, 8\)"),
        (lambda: MeterDays(FIRST_DAY, [1], CHANNELS, values, values), "has_value is int32"),
        (lambda: MeterDays(FIRST_DAY, [1], CHANNELS, values, None, values), "rules is int32"),
        (lambda: MeterDays(FIRST_DAY, [1, 1], CHANNELS, np.ones((2, SLOTS), np.int32)), "twice"),
        (lambda: MeterDays(FIRST_DAY, [4], CHANNELS, lowest), "meter 4: -2147483648 is no count"),
    ]
    for wrong, what in cases:
        with pytest.raises(ValueError, match=what):
            wrong()
    assert MeterDays(FIRST_DAY, [4], CHANNELS, lowest, lowest > 0).facts(0)[0].counts == (1, 1, 1, None)
