"""What several meters said, recorded together, is to the row and its number what it would be one by one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.facts import INT32_MAX, Fact, IntervalBlock, MeterEvent, RegisterValue, StatusWord
from drivers.obis import Obis
from headend.errors import RegistryError
from headend.registry.model import DAY
from headend.store import groupwrites, slotrows
from headend.store.model import MeterReading, Recorded
from headend.store.place import ServerPlace
from headend.store.rawwrites import Missing, RawWrites
from headend.store.sqlite import SqliteEngine
from headend.store.store import Store
from kernels.quality import Reason, Rule, State
from tests.headend.store.builders import EXPORT, IMPORT, NOW, REGISTER, START, WH, expect, open_store
from tests.postgres import Postgres

PERIOD = 21_600
SLOTS = 4
METERS = range(1, 7)
STATUS = [Rule(0), Rule(0), Rule.METER_STATUS, Rule.METER_STATUS | Rule.RANGE, Rule.POWER_FAILURE, Rule.CLOCK_SET]
TABLES = {
    "raw": "k, block",
    "change_log": "seq - (SELECT min(seq) FROM change_log), layer, entity_id, day, channels, version, run_id, at",
    "conflict": "end_device_id, layer, obis, at, kept, refused, received_at",
    "event": "end_device_id, kind, code, at, text, received_at",
    "set_aside": "topic, payload, reason, times",
    "register": "end_device_id, count, captured_at, run_id",
    "sqlite_sequence": "*",
}
"""What recording may write. Numbers that a server gave to rows it does not take back."""


def populate(store: Store) -> None:
    """Meters 1 to 3 expect both channels for ever; 4 until noon of the second day; 5 twice, with a break; 6 only one of them."""
    noon = START + DAY + DAY // 2
    with store.transaction():
        for number in METERS[1:]:
            store.put_end_device(f"SIM:{number}", "sim", 1, str(number))
        expect(store, 1, start=START, codes=())
        for meter, codes, start, end in (
            (1, (IMPORT, EXPORT), START, None), (2, (IMPORT, EXPORT), START, None), (3, (IMPORT, EXPORT), START, None),
            (4, (IMPORT, EXPORT), START, noon), (5, (IMPORT, EXPORT), START, noon),
            (5, (IMPORT, EXPORT), noon + PERIOD, None), (6, (IMPORT,), START, None),
        ):  # fmt: skip
            expect(store, meter, codes, start, end, period=PERIOD)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("group")
    with open_store(folder / "s.db") as opened:
        populate(opened)
        yield opened


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Store]:
    place: ServerPlace = postgres.emptied()
    with open_store(place) as opened:
        populate(opened)
        yield opened


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Give all that recording may write; of a file with the rows' numbers and checksums."""
    if isinstance(store._engine, SqliteEngine):
        return {table: sorted(store._rows(f"SELECT * FROM {table}"), key=repr) for table in TABLES}
    return {
        table: sorted(store._rows(f"SELECT {columns} FROM {table}"), key=repr)
        for table, columns in TABLES.items()
        if columns != "*"
    }


Way = Callable[[Store, Sequence[MeterReading]], list[Recorded]]


def slot_by_slot(store: Store, readings: Sequence[MeterReading]) -> list[Recorded]:
    return [
        RawWrites.record(store, reading.end_device_id, reading.facts, reading.received_at, reading.run_id)
        for reading in readings
    ]


def rehearse(
    store: Store,
    way: Way,
    before: Sequence[MeterReading],
    readings: Sequence[MeterReading],
    marked: Sequence[tuple[int, Missing]] = (),
) -> tuple[list[Recorded], dict[str, Any]]:
    with store.transaction(keep=False):
        slot_by_slot(store, before)
        for meter, mark in marked:
            store.mark_missing(meter, *mark)
        return way(store, readings), contents(store)


@st.composite
def readings(draw: st.DrawFn) -> MeterReading:
    """What a meter says of two or three days from the first on: mostly values that depend on the slot alone."""
    first, length = draw(st.tuples(st.integers(0, 2 * SLOTS - 1), st.integers(1, 2 * SLOTS)))
    if draw(st.booleans()):
        first, length = 0, draw(st.sampled_from([SLOTS, 2 * SLOTS]))
    codes = draw(st.sampled_from([(IMPORT, EXPORT), (IMPORT, EXPORT), (EXPORT, IMPORT), (IMPORT,), ()]))
    blocks: list[IntervalBlock] = []
    for code in codes:
        counts: list[int | None] = [slot % 3 for slot in range(first, first + length)]
        for at in draw(st.sets(st.integers(0, length - 1), max_size=2)):
            counts[at] = draw(st.sampled_from([None, None, 1, INT32_MAX]))
        rules = draw(st.lists(st.sampled_from(STATUS), min_size=length, max_size=length)) if draw(RARELY) else []
        start = START + first * PERIOD
        status = (StatusWord(start, start + PERIOD, 5, "cover"),) if draw(RARELY) else ()
        blocks.append(IntervalBlock(code, WH, start, PERIOD, tuple(counts), tuple(rules), status))
    odd = draw(st.sampled_from([0, 0, 0, 0, 1, 2, 3])) if blocks else 1
    others: list[Fact] = []
    if odd == 1:
        others = [RegisterValue(REGISTER, draw(st.integers(5, 6)), WH, START), MeterEvent(3, START, "cover")]
    elif odd == 2:
        blocks = [*blocks, blocks[0]]
    elif odd == 3:
        blocks = [*blocks[:-1], replace(blocks[-1], start=blocks[-1].start + DAY)]
    facts: list[Fact] = draw(st.sampled_from([[*blocks, *others], [*others, *blocks]]))
    return MeterReading(
        draw(st.sampled_from(METERS)), facts, NOW + draw(st.integers(0, 1)), draw(st.sampled_from([None, 7]))
    )


RARELY = st.sampled_from([False, False, True])
GROUPS = st.lists(readings(), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=GROUPS, said=GROUPS, is_again=st.booleans())
def test_a_group_is_to_the_row_and_its_number_what_record_does_one_by_one(
    store: Store, before: list[MeterReading], said: list[MeterReading], is_again: bool
) -> None:
    if is_again:
        said = [*said, *before]

    together = rehearse(store, Store.record_all, before, said)

    assert together == rehearse(store, slot_by_slot, before, said)


CAUSES = [Reason.NO_ANSWER, Reason.NO_ROW, Reason.NO_LINE_TIME, Reason.POWER_OFF]


@st.composite
def marks(draw: st.DrawFn, codes: Sequence[Obis]) -> Missing:
    first, length = draw(st.tuples(st.integers(0, 2 * SLOTS), st.integers(0, 2 * SLOTS)))
    start = START + first * PERIOD
    return draw(st.sampled_from(codes)), start, start + length * PERIOD, draw(st.sampled_from(CAUSES))


@st.composite
def parts(draw: st.DrawFn, first: int, meters: Sequence[int]) -> list[MeterReading]:
    """The same of some meters: two days or what remains of them, with holes, and here and there a doubt."""
    said = []
    for meter in meters:
        facts: list[Fact] = []
        for code in (IMPORT, EXPORT):
            slots = range(first, 2 * SLOTS)
            holes = draw(st.sets(st.sampled_from(slots), max_size=draw(st.sampled_from([0, 2, 8]))))
            rules = draw(st.lists(st.sampled_from(STATUS), min_size=len(slots), max_size=len(slots)))
            facts.append(
                IntervalBlock(
                    code, WH, START + first * PERIOD, PERIOD,
                    tuple(None if slot in holes else slot for slot in slots),
                    tuple(rules) if draw(RARELY) else (),
                )
            )  # fmt: skip
        said.append(MeterReading(meter, facts, NOW, 7))
    return said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(meters=st.lists(st.sampled_from(METERS[:4]), unique=True, min_size=1), draw=st.data())
def test_parts_of_a_day_are_added_to_what_is_stored_and_marked(
    store: Store, meters: list[int], draw: st.DataObject
) -> None:
    before = draw.draw(parts(0, draw.draw(st.sampled_from([meters, meters, []]))))
    marked = [(meter, draw.draw(marks([IMPORT, EXPORT]))) for meter in meters if draw.draw(st.booleans())]
    said = draw.draw(parts(draw.draw(st.integers(0, SLOTS)), meters))

    together = rehearse(store, Store.record_all, before, said, marked)

    assert together == rehearse(store, slot_by_slot, before, said, marked)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=GROUPS, said=GROUPS)
def test_so_it_is_on_a_server(server: Store, before: list[MeterReading], said: list[MeterReading]) -> None:
    together = rehearse(server, Store.record_all, before, [*said, *before])

    assert together == rehearse(server, slot_by_slot, before, [*said, *before])


def said_by(meter: int, *counts: int | None, first: int = 0) -> MeterReading:
    start = START + first * PERIOD
    return MeterReading(meter, [IntervalBlock(code, WH, start, PERIOD, counts) for code in (EXPORT, IMPORT)], NOW)


def test_plain_intervals_never_go_slot_by_slot(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = [said_by(1, None, 1, None, 3, 4, 5), said_by(2, 0, 1)]
    later = [said_by(1, 0, 1, None, 3, 4, 5, None), said_by(2, 0, 1), said_by(3, 2, 3, 4, first=2)]

    expected = rehearse(store, slot_by_slot, begun, later)
    with store.transaction(keep=False):
        slot_by_slot(store, begun)
        monkeypatch.setattr(RawWrites, "record", None)
        monkeypatch.setattr(RawWrites, "_merge_day", None)
        done = store.record_all(later)
        found = contents(store)

    assert done == [Recorded(new=2, same=8), Recorded(same=4), Recorded(new=6)]
    assert (done, found) == expected


def test_a_doubt_of_what_is_new_in_a_day_is_kept(store: Store) -> None:
    begun = [said_by(meter, 0, 1) for meter in (1, 2)]
    doubts = Rule(0), Rule.METER_STATUS | Rule.RANGE, Rule.OVERFLOW
    later = [
        replace(
            reading, facts=[replace(fact, rules=doubts) for fact in reading.facts if isinstance(fact, IntervalBlock)]
        )
        for reading in (said_by(meter, None, 3, 4, first=1) for meter in (1, 2))
    ]

    with store.transaction(keep=False):
        slot_by_slot(store, begun)
        assert store.record_all(later) == [Recorded(new=4)] * 2
        series = store.raw_series(2, EXPORT, START, START + 2 * DAY)

    assert series.rules.tolist()[:5] == [0, 0, doubts[1], doubts[2], 0]
    assert series.state.tolist()[:5] == [
        State.MEASURED, State.MEASURED, State.QUESTIONABLE, State.MEASURED, State.EXPECTED
    ]  # fmt: skip


def test_a_long_group_is_merged_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [said_by(meter, 5, 6, first=first) for meter, first in ((1, 0), (2, 0), (3, 0), (1, 4), (2, 4), (3, 4))]
    expected = rehearse(store, Store.record_all, [], said)
    merged: list[int] = []
    merge = slotrows.merge

    def note(rows: Any, stored: Any) -> Any:
        merged.append(len(rows.keys))
        return merge(rows, stored)

    monkeypatch.setattr(groupwrites, "merge", note)
    monkeypatch.setattr(groupwrites, "SLOTS_TOGETHER", 4 * SLOTS)

    assert rehearse(store, Store.record_all, [], said) == expected
    assert merged == [2, 2, 2]


def test_a_meter_the_registry_contradicts_stops_the_group(store: Store) -> None:
    wrong = MeterReading(2, [IntervalBlock(IMPORT, WH, START, 900, (1,))], NOW)

    with store.transaction(keep=False), pytest.raises(RegistryError, match=r"SIM:2: .* came every 900 s"):
        store.record_all([said_by(1, 5), wrong])

    with store.transaction(keep=False), pytest.raises(RegistryError, match="99"):
        store.record_all([said_by(1, 5), said_by(99, 5)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=GROUPS, meter=st.sampled_from(METERS), draw=st.data())
def test_marks_made_together_are_what_they_are_one_by_one(
    store: Store, before: list[MeterReading], meter: int, draw: st.DataObject
) -> None:
    said = draw.draw(st.lists(marks([IMPORT] if meter == 6 else [IMPORT, EXPORT]), max_size=6))

    with store.transaction(keep=False):
        slot_by_slot(store, before)
        together = store.mark_all_missing(meter, said, 7), contents(store)
    with store.transaction(keep=False):
        slot_by_slot(store, before)
        one_by_one = sum(store.mark_missing(meter, *mark, 7) for mark in said), contents(store)

    assert together == one_by_one
