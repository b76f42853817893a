"""Recording facts: idempotent, the first value stays, nothing is dropped."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from drivers.facts import IntervalBlock, MeterEvent, RegisterValue, StatusWord
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.errors import RegistryError, StoreError
from headend.registry.model import DAY
from headend.store.model import Layer, Recorded
from headend.store.place import Place
from headend.store.store import Store
from kernels.quality import Reason, Rule, State
from tests.headend.store.builders import (
    EXPORT,
    FIRST_DAY,
    IMPORT,
    NOW,
    PERIOD,
    REGISTER,
    START,
    WH,
    block,
    expect,
    open_store,
)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with open_store(place) as opened:
        yield opened


def put(store: Store, *facts: IntervalBlock | RegisterValue | MeterEvent) -> Recorded:
    with store.transaction():
        return store.record(1, facts, NOW)


def counts(store: Store, first: int, last: int, obis: Obis = IMPORT) -> list[int | None]:
    series = store.raw_series(1, obis, START + first * PERIOD, START + last * PERIOD)
    return [int(value) if held else None for value, held in zip(series.values, series.has_value, strict=True)]


def test_values_come_back_where_they_were_put_and_the_rest_is_expected(store: Store) -> None:
    assert put(store, block(46, [1, None, 3, 4])) == Recorded(new=3)

    assert counts(store, 45, 51) == [None, 1, None, 3, 4, None]
    series = store.raw_series(1, IMPORT, START - DAY, START + 3 * DAY)
    assert len(series) == 4 * 48
    assert set(series.state[:48]) == {State.NOT_EXPECTED}
    assert set(series.state[48:94]) == {State.EXPECTED}
    assert set(store.raw_series(1, EXPORT, START, START + DAY).state) == {State.EXPECTED}


def test_the_same_again_changes_nothing_and_enters_no_log(store: Store) -> None:
    put(store, block(0, range(100)), block(0, range(100), EXPORT))
    newest = store.last_seq()

    assert put(store, block(0, range(100)), block(50, range(50, 100), EXPORT)) == Recorded(same=150)

    assert store.last_seq() == newest
    assert store.conflicts() == []


def test_another_value_is_a_conflict_with_an_event_and_the_first_stays(store: Store) -> None:
    put(store, block(0, [10, 20, 30]))

    assert put(store, block(0, [10, 21, 31])) == Recorded(same=1, conflicts=2)

    assert counts(store, 0, 3) == [10, 20, 30]
    found = store.conflicts(1)
    assert [(item.at - START, item.kept, item.refused) for item in found] == [(1800, 20, 21), (3600, 30, 31)]
    assert {item.layer for item in found} == {Layer.RAW}
    assert [event.kind for event in store.events(1)] == ["conflict"]
    assert store.raw_series(1, IMPORT, START, START + 3 * PERIOD).rules.tolist() == [0, Rule.CONFLICT, Rule.CONFLICT]


def test_the_same_contradiction_again_is_not_news(store: Store) -> None:
    put(store, block(0, [10]))
    put(store, block(0, [11]))
    newest = store.last_seq()

    assert put(store, block(0, [11])) == Recorded(conflicts=1)

    assert len(store.conflicts()) == 1
    assert store.last_seq() == newest


def test_two_facts_of_one_call_that_contradict_are_a_conflict(store: Store) -> None:
    assert put(store, block(0, [1]), block(0, [2])) == Recorded(new=1, conflicts=1)


def test_one_log_entry_per_day_names_the_channels_that_changed(store: Store) -> None:
    put(store, block(47, [1, 2]), block(0, [1], EXPORT))

    found = [(change.day - FIRST_DAY, change.obis) for change in store.changes(0)]

    assert found == [(0, IMPORT), (0, EXPORT), (1, IMPORT)]
    assert len({change.seq for change in store.changes(0)}) == 2
    assert [change.obis for change in store.changes(0, 1)] == [IMPORT, EXPORT]
    assert store.changes(store.last_seq()) == []


def test_a_value_its_meter_doubts_is_questionable_and_the_same_again_is_nothing(store: Store) -> None:
    doubted = IntervalBlock(IMPORT, WH, START, PERIOD, (1, 2, 3), (Rule(0), Rule.METER_STATUS, Rule.FLOAT_RESOLUTION))
    put(store, doubted)
    newest = store.last_seq()

    assert put(store, doubted, block(0, [1, 2, 3])) == Recorded(same=6)

    series = store.raw_series(1, IMPORT, START, START + 3 * PERIOD)
    assert series.values.tolist() == [1, 2, 3]
    assert series.state.tolist() == [State.MEASURED, State.QUESTIONABLE, State.MEASURED]
    assert store.last_seq() == newest


def test_a_meters_own_doubt_is_kept_and_a_later_doubt_is_news(store: Store) -> None:
    plain = block(0, [1, 2])
    doubted = IntervalBlock(IMPORT, WH, START, PERIOD, (1, 2), (Rule(0), Rule.METER_STATUS))
    put(store, plain)
    newest = store.last_seq()

    assert put(store, doubted) == Recorded(same=2)

    series = store.raw_series(1, IMPORT, START, START + 2 * PERIOD)
    assert series.rules.tolist() == [0, Rule.METER_STATUS]
    assert series.state.tolist() == [State.MEASURED, State.QUESTIONABLE]
    assert store.last_seq() == newest + 1


def test_what_the_meter_says_of_slots_without_value_is_their_cause(store: Store) -> None:
    off, moved = Rule.POWER_FAILURE, Rule.CLOCK_SET
    told = IntervalBlock(IMPORT, WH, START, PERIOD, (1, None, None, None, 5), (off, off, off | Rule.RANGE, moved, off))

    assert put(store, told) == Recorded(new=2)

    series = store.raw_series(1, IMPORT, START, START + 5 * PERIOD)
    assert series.reason.tolist() == [0, Reason.POWER_OFF, Reason.POWER_OFF, Reason.CLOCK_MOVED, 0]
    assert series.rules.tolist() == [off, 0, 0, 0, off]
    with store.transaction():
        store.mark_missing(1, IMPORT, START, START + 5 * PERIOD, Reason.NO_ANSWER)
    assert store.raw_series(1, IMPORT, START, START + 5 * PERIOD).reason.tolist() == series.reason.tolist()


def test_the_meters_own_words_are_kept_once_as_events(store: Store) -> None:
    said = StatusWord(START, START + 2 * PERIOD, 0x80, "power failure: status 0x80")
    told = IntervalBlock(IMPORT, WH, START, PERIOD, (1, 2), (Rule.POWER_FAILURE,) * 2, (said,))

    put(store, told, replace(told, obis=EXPORT))
    put(store, told)

    (event,) = store.events(1, "status")
    assert (event.code, event.at, event.text) == (0x80, START, said.text)


def test_values_outside_the_channels_dates_are_kept(store: Store) -> None:
    assert put(store, block(-2, [7, 8, 9])) == Recorded(new=3)

    series = store.raw_series(1, IMPORT, START - 3 * PERIOD, START + PERIOD)
    assert series.values.tolist() == [0, 7, 8, 9]
    assert series.state.tolist() == [State.NOT_EXPECTED, *[State.MEASURED] * 3]


def test_a_channel_nobody_expects_is_set_aside_with_an_event(store: Store) -> None:
    other = Obis(1, 0, 3, 29, 0)

    for _ in range(2):
        assert put(store, block(0, [1, None, 3], other), block(0, [5])).set_aside == 2

    assert [(item.topic, item.times) for item in store.set_asides()] == [("meter SIM:1", 2)]
    assert b'"counts": [1, null, 3]' in store.set_asides()[0].payload
    assert [event.kind for event in store.events(1)] == ["unexpected_channel"]
    with pytest.raises(RegistryError, match=r"is not expected to deliver 1-0:3\.29\.0"):
        store.raw_series(1, other, START, START + DAY)


@pytest.mark.parametrize(
    "fact",
    [
        IntervalBlock(IMPORT, WH, START, 900, (1,)),
        IntervalBlock(IMPORT, ScalerUnit(3, Unit.WATT_HOUR), START, PERIOD, (1,)),
        IntervalBlock(IMPORT, ScalerUnit(0, Unit.WATT), START, PERIOD, (1,)),
        IntervalBlock(IMPORT, WH, START + 60, PERIOD, (1,)),
    ],
)
def test_a_fact_off_the_registrys_grid_is_refused_before_anything_is_written(store: Store, fact: IntervalBlock) -> None:
    with pytest.raises(RegistryError, match="the registry expects it every 1800 s"):
        put(store, block(0, [1], EXPORT), fact)

    assert counts(store, 0, 1, EXPORT) == [None]


def test_the_first_instant_of_the_year_10000_is_refused_as_no_calendar_holds_it(store: Store) -> None:
    for fact in (RegisterValue(REGISTER, 1, WH, 253_402_300_800), MeterEvent(1, 253_402_300_800)):
        with store.transaction(keep=False), pytest.raises(StoreError, match="outside 1970 to 9999"):
            store.record(1, [fact], NOW)


def test_an_instant_before_1970_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="clock is wrong"):
        put(store, IntervalBlock(IMPORT, WH, -PERIOD, PERIOD, (1,)))


def test_registers_are_kept_once_and_contradictions_beside(store: Store) -> None:
    value = RegisterValue(REGISTER, 2**62, WH, START, 3, Rule.FLOAT_RESOLUTION)
    kilo = RegisterValue(REGISTER, 5, ScalerUnit(3, Unit.WATT_HOUR), START + 60)

    assert put(store, value, kilo) == Recorded(new=2)
    assert put(store, value, RegisterValue(REGISTER, 5_000, WH, START + 60)) == Recorded(same=2)
    assert put(store, RegisterValue(REGISTER, 6_000, WH, START + 60)) == Recorded(conflicts=1)

    assert store.registers(1, REGISTER, START, START + 61) == [value, kilo]
    assert store.registers(1, REGISTER, START, START + 60) == [value]
    assert store.last_register(1, REGISTER, START + 60) == value
    assert store.last_register(1, REGISTER, START) is None
    assert store.register_codes(1) == [REGISTER]
    (conflict,) = store.conflicts()
    assert (conflict.layer, conflict.kept, conflict.kept_scaler_unit.scaler, conflict.refused) == (
        Layer.REGISTER, 5, 3, 6_000,
    )  # fmt: skip
    assert [change.layer for change in store.changes(0)] == [Layer.REGISTER, Layer.EVENT]


def test_a_damaged_register_is_found(store: Store) -> None:
    put(store, RegisterValue(REGISTER, 5, WH, START))
    store._run("UPDATE register SET count = 6")

    with pytest.raises(StoreError, match=r": register 1-0:1\.8\.0\*255 .* damaged"):
        store.registers(1, REGISTER, START, START + 1)


def test_the_meters_events_are_kept_once(store: Store) -> None:
    event = MeterEvent(17, START, "cover opened")

    assert put(store, event) == Recorded(new=1)
    assert put(store, event) == Recorded(same=1)

    assert [(item.kind, item.code, item.text) for item in store.events(1)] == [("meter", 17, "cover opened")]
    assert store.events(1, kind="conflict") == []
    assert store.events(2) == []


def test_a_miss_has_a_cause_and_never_touches_a_value(store: Store) -> None:
    put(store, block(1, [5]))

    with store.transaction():
        assert store.mark_missing(1, IMPORT, START, START + 3 * PERIOD, Reason.NO_ANSWER) == 2
        assert store.mark_missing(1, IMPORT, START, START + 3 * PERIOD, Reason.NO_ANSWER) == 0
        assert store.mark_missing(1, IMPORT, START, START + PERIOD, Reason.NO_ROUTE) == 1

    series = store.raw_series(1, IMPORT, START, START + 4 * PERIOD)
    assert series.state.tolist() == [State.MISSING, State.MEASURED, State.MISSING, State.EXPECTED]
    assert series.reason.tolist() == [Reason.NO_ROUTE, 0, Reason.NO_ANSWER, 0]
    assert len(store.changes(0)) == 3


def test_what_the_meter_settled_is_not_replaced_by_a_failure_to_ask_again(store: Store) -> None:
    with store.transaction():
        store.mark_missing(1, IMPORT, START, START + PERIOD, Reason.NO_ROW)
        assert store.mark_missing(1, IMPORT, START, START + PERIOD, Reason.NO_ANSWER) == 0
        assert store.mark_missing(1, IMPORT, START, START + PERIOD, Reason.POWER_OFF) == 1


def test_a_value_that_comes_late_fills_a_miss(store: Store) -> None:
    with store.transaction():
        store.mark_missing(1, IMPORT, START, START + DAY, Reason.NO_ROUTE)

    assert put(store, block(3, [9])) == Recorded(new=1)

    series = store.raw_series(1, IMPORT, START + 3 * PERIOD, START + 5 * PERIOD)
    assert (series.state.tolist(), series.reason.tolist()) == ([State.MEASURED, State.MISSING], [0, Reason.NO_ROUTE])


def test_nothing_is_marked_where_nothing_is_expected(store: Store) -> None:
    with store.transaction():
        assert store.mark_missing(1, IMPORT, START - 2 * DAY, START + PERIOD, Reason.NO_ANSWER) == 1


def test_the_registrys_dates_rule_over_what_a_block_was_written_with(store: Store) -> None:
    with store.transaction():
        store.mark_missing(1, IMPORT, START, START + DAY, Reason.NO_ANSWER)
        store.record(1, [block(47, [1])], NOW)
        expect(store, 1, end=START + 10 * PERIOD)

    states = store.raw_series(1, IMPORT, START, START + DAY).state.tolist()

    assert states == [*[State.MISSING] * 10, *[State.NOT_EXPECTED] * 37, State.MEASURED]


def test_hourly_slots_of_a_half_hour_zone_start_at_half_past(store: Store) -> None:
    with store.transaction():
        expect(store, 1, period=3_600, offset=1_800)
        fact = IntervalBlock(IMPORT, WH, START + 23 * 3_600 + 1_800, 3_600, (1, 2))
        store.record(1, [fact], NOW)

        series = store.raw_series(1, IMPORT, START + DAY - 3_600, START + DAY + 3_600)

    assert (series.start, series.values.tolist()) == (fact.start, [1, 2])


def test_a_change_of_grid_is_said_and_each_part_can_be_read(store: Store) -> None:
    turn = START + DAY
    with store.transaction():
        expect(store, 1, end=turn)
        expect(store, 1, start=turn, period=900)
        store.record(1, [block(47, [1]), IntervalBlock(IMPORT, WH, turn, 900, (2,))], NOW)

    with pytest.raises(RegistryError, match="ask for each part"):
        store.raw_series(1, IMPORT, START, turn + DAY)
    assert store.raw_series(1, IMPORT, START, turn).values[-1] == 1
    assert len(store.raw_series(1, IMPORT, turn, turn + DAY)) == 96


def test_a_window_too_long_or_before_1970_is_refused(store: Store) -> None:
    for start, end in ((-PERIOD, 0), (0, 2**50)):
        with pytest.raises(StoreError, match="slots"):
            store.raw_series(1, IMPORT, start, end)


def test_nothing_is_written_outside_a_transaction(store: Store) -> None:
    with pytest.raises(StoreError, match="outside"):
        store.record(1, [block(0, [1])], NOW)
    with pytest.raises(StoreError, match="outside"):
        store.put_link("tcp://a:1")


def test_a_year_of_facts_in_any_order_ends_in_the_same_blocks(store: Store) -> None:
    contents = []
    pieces = [block(first, range(first, first + 30), code) for first in range(0, 300, 30) for code in (IMPORT, EXPORT)]
    for order in (1, -1):
        with store.transaction(keep=False):
            for piece in pieces[::order]:
                put(store, piece)
            contents.append(store._rows("SELECT k, block FROM raw ORDER BY k"))

    assert contents[0] == contents[1]
    assert len(contents[0]) == 7
