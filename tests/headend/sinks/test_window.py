"""What changed becomes lines: all of it, once, and what is damaged costs itself alone."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import apsw
import pytest

from drivers.facts import IntervalBlock, MeterEvent, RegisterValue
from headend.registry.model import DAY
from headend.sinks.model import Window
from headend.sinks.window import Form, read_window
from headend.store.model import Layer
from headend.store.store import Store
from tests.headend.sinks.fake_influx import read_line
from tests.headend.sinks.world import ALL, ENERGY, FIRST_DAY, NOW, REGISTER, UNITS, change, expected, make_store

UPSERT, APPEND = Form(ALL, replaces=True), Form(ALL, replaces=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_store(tmp_path / "headend.db")
    return tmp_path / "headend.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path, lambda: NOW) as store:
        yield store


def day_of_energy(store: Store, meter: int, day: int, counts: tuple[int | None, ...]) -> None:
    with store.transaction():
        store.record(meter, [IntervalBlock(ENERGY, UNITS[ENERGY], day * DAY, 21_600, counts)], NOW)


def comparable(value: object) -> object:
    try:
        return float(str(value))
    except ValueError:
        return value


def windows(store: Store, form: Form, most_lines: int) -> list[Window]:
    found = [read_window(store, 0, form, most_lines)]
    while found[-1].seq < store.last_seq():
        found.append(read_window(store, found[-1].seq, form, most_lines))
    return found


@pytest.mark.parametrize("form", [UPSERT, APPEND], ids=["replaces", "appends"])
@pytest.mark.parametrize("most_lines", [1, 30, 100_000])
def test_windows_together_hold_the_store_and_their_size_is_bounded(store: Store, form: Form, most_lines: int) -> None:
    random = Random(5)
    with store.transaction():
        for _ in range(60):
            change(store, random)

    found = windows(store, form, most_lines)

    lines = [read_line(line.decode()) for window in found for line in window.lines]
    held: dict[object, dict[str, object]] = {}
    for key, fields in lines:
        held.setdefault(key, {}).update({name: comparable(text) for name, text in fields.items()})
    wanted = {
        key: {name: comparable(value) for name, value in fields.items()}
        for key, fields in expected(store, form).items()
    }
    assert {key: held[key] | fields for key, fields in wanted.items()} == {key: held[key] for key in wanted}
    # What one commit changed goes out whole: a channel's four slots, or a meter's events of a day.
    of_one_commit = max(4, *Counter((event.end_device_id, event.at // DAY) for event in store.events()).values())
    assert all(len(window.lines) < most_lines + of_one_commit for window in found)
    assert len(found) == 1 or most_lines < 100_000


def test_channel_day_that_changed_often_goes_out_once(store: Store) -> None:
    for counts in ((1, None, None, None), (None, 2, None, None), (None, None, 3, None)):
        day_of_energy(store, 1, FIRST_DAY, counts)

    window = read_window(store, 0, APPEND, 1_000)

    assert [line.split(b" value=")[1].split()[0] for line in window.lines] == [b"1", b"2", b"3"]
    assert window.seq == store.last_seq()


def test_layers_that_do_not_go_out_are_passed_over(store: Store) -> None:
    day_of_energy(store, 1, FIRST_DAY, (1, 2, 3, 4))

    window = read_window(store, 0, Form(frozenset({Layer.VALIDATED}), replaces=True), 1_000)

    assert (window.lines, window.seq) == ([], store.last_seq())


def test_damaged_block_is_poison_and_the_rest_goes_out(path: Path, store: Store) -> None:
    for meter in (1, 2):
        day_of_energy(store, meter, FIRST_DAY, (1, 2, 3, 4))
    foreign = apsw.Connection(str(path))
    foreign.execute(
        "UPDATE raw SET block = CAST(substr(block, 1, length(block) - 1) || x'55' AS BLOB) WHERE k = ?",
        (FIRST_DAY << 32 | 1,),
    )
    foreign.close()

    window = read_window(store, 0, APPEND, 1_000)

    (poison,) = window.poison
    assert poison.point == f"meter_interval of SIM:1, day {FIRST_DAY} since 1970"
    assert "is damaged" in poison.reason
    assert len(window.lines) == 4


@pytest.mark.parametrize("table", ["register", "event"])
def test_damaged_row_is_poison_and_the_rest_goes_out(path: Path, store: Store, table: str) -> None:
    with store.transaction():
        for meter in (1, 2):
            values = [RegisterValue(REGISTER, count, UNITS[ENERGY], NOW + count) for count in (1, 2)]
            store.record(meter, [*values, MeterEvent(7, NOW), MeterEvent(8, NOW)], NOW)
    foreign = apsw.Connection(str(path))
    which = {"register": "count = 1", "event": "code = 7"}[table]
    foreign.execute(f"UPDATE {table} SET crc = crc + 1 WHERE end_device_id = 1 AND {which}")
    foreign.close()

    window = read_window(store, 0, APPEND, 1_000)

    (poison,) = window.poison
    assert "damaged" in poison.reason
    assert len(window.lines) == 7
    assert window.seq == store.last_seq()


def test_readings_of_a_meter_whose_own_row_is_damaged_are_poison_and_the_rest_goes_out(
    path: Path, store: Store
) -> None:
    for meter in (1, 2):
        day_of_energy(store, meter, FIRST_DAY, (1, 2, 3, 4))
    foreign = apsw.Connection(str(path))
    foreign.execute("UPDATE end_device SET crc = crc + 1 WHERE id = 1")
    foreign.close()

    window = read_window(store, 0, APPEND, 1_000)

    assert [(item.point, "damaged" in item.reason) for item in window.poison] == [
        (f"meter_interval of local id 1, day {FIRST_DAY} since 1970", True)
    ]
    assert len(window.lines) == 4


def test_name_that_cannot_be_written_is_poison(store: Store) -> None:
    with store.transaction():
        link = store.put_link("memory://one")
        store.put_end_device("back\\slash", "sim", link, "9")
        store.put_expectations(3, FIRST_DAY * DAY, [replace(entry, end_device_id=3) for entry in store.expectations(1)])
    day_of_energy(store, 3, FIRST_DAY, (1, 2, 3, 4))

    window = read_window(store, 0, APPEND, 1_000)

    assert window.lines == []
    assert [item.reason for item in window.poison] == [
        r"'back\\slash' is empty or holds a backslash or control character, which line protocol cannot carry"
    ]


def test_event_has_its_text_only_where_a_line_may_be_replaced(store: Store) -> None:
    with store.transaction():
        store.add_event(1, "meter", 5, NOW, 'lid "open", twice', NOW)
        store.add_event(1, "meter", 5, NOW, "said again", NOW)
        store.add_event(None, "counter_warning", 0, NOW, "change the key", NOW)

    plain, worded = (read_window(store, 0, form, 100).lines for form in (APPEND, UPSERT))

    assert list(plain) == [
        b"meter_event,code=5,kind=meter,meter=SIM:1 value=1i %d" % NOW,
        b"meter_event,code=0,kind=counter_warning value=1i %d" % NOW,
    ]
    assert b'text="lid \\"open\\", twice; said again"' in worded[0]
