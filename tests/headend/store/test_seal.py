"""Rows that decide what a reading means carry a checksum, also those from before there was one."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import apsw
import pytest

from headend.errors import StoreError
from headend.store.migrate import shipped_scripts
from headend.store.seal import row_crc, teach
from headend.store.store import Store
from tests.headend.store.builders import NOW, open_store

SEALED: dict[str, tuple[str, Callable[[Store], object]]] = {
    "installation": ("multiplier = 1000", lambda store: store.installations(usage_point_id=1)),
    "expectation": ("scaler = 3", lambda store: store.expectations(1)),
    "usage_point": ("zone = 'UTC+10:00'", lambda store: store.usage_points()),
    "end_device": ("profile = 'another'", lambda store: store.end_device("SIM:1")),
    "invocation_counter": ("next = 1", lambda store: store.reserve_counter("ours/key", 1)),
    "sink_cursor": ("seq = seq + 5", lambda store: store.cursor("influx")),
}


def fill(store: Store) -> None:
    with store.transaction():
        store.reserve_counter("ours/key", 256)
        store.add_event(None, "test", 0, NOW, "something", NOW)
        store.advance_cursor("influx", 1)


@pytest.mark.parametrize("table", SEALED)
def test_a_row_changed_behind_the_store_s_back_is_refused(table: str, tmp_path: Path) -> None:
    change, read = SEALED[table]
    with open_store(tmp_path / "s.db") as store:
        fill(store)
        store._connection.create_scalar_function("row_crc", lambda *_: 0)  # as a flipped bit would have it
        store._connection.execute(f"UPDATE {table} SET {change}")
        teach(store._connection)
        store._forget()

        with pytest.raises(StoreError, match=f"table {table} is damaged"), store.transaction():
            read(store)
        assert any(f"table {table} is damaged" in fault for fault in store.faults())


def test_rows_from_before_there_were_checksums_are_sealed_by_the_migration(tmp_path: Path) -> None:
    scripts = shipped_scripts()
    older = {number: text for number, text in scripts.items() if number < 5}
    path = tmp_path / "s.db"
    with Store.open(path, lambda: NOW, scripts=older) as store, store.transaction():
        store._run(
            "INSERT INTO usage_point (name, zone, area, transformer, feeder, box) VALUES ('UP1', 'UTC', '', '', '', '')"
        )
        store._run("INSERT INTO invocation_counter (key_id, next) VALUES ('ours/key', 77)")

    with Store.open(path, lambda: NOW) as store:
        assert [point.name for point in store.usage_points()] == ["UP1"]
        assert [counter.next for counter in store.counters()] == [77]


def test_columns_that_run_together_make_different_checksums() -> None:
    rows = [("ab", "c"), ("a", "bc"), ("abc", ""), ("abc", None), ("1",), (1,), (b"1",)]

    assert len({row_crc(*row) for row in rows}) == len(rows)


def test_only_a_program_that_knows_the_checksum_writes_sealed_rows(tmp_path: Path) -> None:
    open_store(tmp_path / "s.db").close()
    other = apsw.Connection(str(tmp_path / "s.db"))

    with pytest.raises(apsw.SQLError, match="row_crc"):
        other.execute("UPDATE installation SET multiplier = 2")
    other.close()


def test_rows_that_got_more_columns_are_sealed_anew_and_a_damaged_one_stays_damaged(tmp_path: Path) -> None:
    scripts = shipped_scripts()
    path = tmp_path / "s.db"
    with Store.open(path, lambda: NOW, scripts={number: scripts[number] for number in range(1, 7)}) as store:
        columns = "(name, zone, area, transformer, feeder, box)"
        with store.transaction():
            for name in ("UP1", "UP2"):
                store._run(f"INSERT INTO usage_point {columns} VALUES ('{name}', 'UTC', '', '', '', '')")
        store._connection.create_scalar_function("row_crc", lambda *_: 0)  # as a flipped bit would have it
        store._connection.execute("UPDATE usage_point SET zone = 'UTC+10:00' WHERE name = 'UP2'")

    with Store.open(path, lambda: NOW) as store:
        point = store.usage_point("UP1")
        assert (point.check_meter, point.check_ratio, point.tariffs) == ("", Fraction(1), ())
        with pytest.raises(StoreError, match="table usage_point is damaged"):
            store.usage_point("UP2")
