"""Rows that decide what a reading means carry a checksum, also those from before there was one."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import apsw
import pytest

from headend.errors import StoreError
from headend.series import Series
from headend.store.keychanges import KeyPairRef
from headend.store.migrate import shipped_scripts
from headend.store.model import VeeRun
from headend.store.place import Place
from headend.store.seal import audit_digest, change_crc, row_crc
from headend.store.store import Store
from tests.headend.store.builders import FIRST_DAY, IMPORT, NOW, PERIOD, START, WH, block, open_store

SEALED: dict[str, tuple[str, Callable[[Store], object]]] = {
    "installation": ("multiplier = 1000", lambda store: store.installations(usage_point_id=1)),
    "expectation": ("scaler = 3", lambda store: store.expectations(1)),
    "usage_point": ("zone = 'UTC+10:00'", lambda store: store.usage_points()),
    "end_device": ("profile = 'another'", lambda store: store.end_device("SIM:1")),
    "invocation_counter": ("next = 1", lambda store: store.reserve_counter("ours/key", 1)),
    "sink_cursor": ("seq = seq + 5", lambda store: store.cursor("influx")),
    "link": ("url = 'memory://two'", lambda store: store.links()),
    "event": ("text = 'nothing'", lambda store: store.events()),
    "conflict": ("kept = kept + 1", lambda store: store.conflicts()),
    "set_aside": ("payload = x'00'", lambda store: store.set_asides()),
    "job_run": ("cause = 9", lambda store: store.job_runs()),
    "change_log": ("day = day + 1", lambda store: store.changes(0)),
    "vee_run": ("user = 'bert'", lambda store: store.versions(1, IMPORT, FIRST_DAY)),
    "validated_version": ("seq = seq + 1", lambda store: store.versions(1, IMPORT, FIRST_DAY)),
    "key_change": ("new_encryption_ref = 'env:OTHER'", lambda store: store.key_changes(1)),
    "sink_quarantine": ("reason = 'none'", lambda store: store.quarantine("influx")),
    "sink_trouble": ("since = 0", lambda store: store.sink_states()),
}


def fill(store: Store) -> None:
    with store.transaction():
        store.reserve_counter("ours/key", 256)
        store.add_event(None, "test", 0, NOW, "something", NOW)
        store.advance_cursor("influx", 1)
        store.record(1, [block(0, [1])], NOW)
        store.record(1, [block(0, [2])], NOW)
        store.set_aside("topic", b"what", "unreadable", NOW)
        store.record_job(1, "load_profile", NOW, NOW)
        series = Series.empty(START, PERIOD, WH, 48)
        store.write_validated(1, IMPORT, FIRST_DAY, series, VeeRun("residential 1", NOW, "anna"))
        store.begin_key_change(1, KeyPairRef("env:A", "env:B", "1"), KeyPairRef("env:C", "env:D", "2"), "anna")
        store.quarantine_point("influx", "a point", "refused", 1)
        store.note_sink_trouble("influx", "no route")


@pytest.mark.parametrize("table", SEALED)
def test_a_row_changed_behind_the_store_s_back_is_refused(table: str, tmp_path: Path) -> None:
    change, read = SEALED[table]
    with open_store(tmp_path / "s.db") as store:
        fill(store)
        for trigger in store._rows("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,)):
            store._connection.execute(f"DROP TRIGGER {trigger[0]}")  # as a flipped bit would have it
        store._connection.execute(f"UPDATE {table} SET {change}")
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
        store._run("INSERT INTO event (kind, code, at, text, received_at) VALUES ('test', 0, 1, 'x', 2)")
        store._run("INSERT INTO change_log (layer, entity_id, day, channels, version, at) VALUES (3, 0, 0, x'', 0, 2)")
        for action in ("first", "second", "third"):
            store._run("INSERT INTO audit (at, user, action, subject, detail) VALUES (1, 'a', ?, '', '')", (action,))

    with Store.open(path, lambda: NOW) as store:
        assert [point.name for point in store.usage_points()] == ["UP1"]
        assert [counter.next for counter in store.counters()] == [77]
        assert [entry.action for entry in store.audit_entries()] == ["first", "second", "third"]
        assert len(store.events()) == len(store.changes(0)) == 1
        assert list(store.faults()) == []


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


def test_a_change_log_entry_without_a_checksum_gets_one(place: Place) -> None:
    with open_store(place) as store:
        columns = "(layer, entity_id, day, channels, version, at)"
        store._run(f"INSERT INTO change_log {columns} VALUES (0, 1, 2, ?, 0, 3)", (b"",))

        assert store._rows("SELECT seq, crc FROM change_log") == [(1, change_crc(1, 0, 1, 2, b"", 0, None, 3))]
        assert len(store.changes(0)) == 1


def add_events(store: Store, entries: int) -> None:
    with store.transaction():
        for number in range(entries):
            store.add_event(None, "test", number, NOW + store.last_seq(), "something", NOW)


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("seq = 2", "1 entries between 1 and 4 are gone"),
        ("seq < 3", "entries 1 to 2 are gone, and retention has not dropped them"),
        ("seq > 2", "entries 3 to 4 are gone from its end"),
        ("seq > 0", "entries 1 to 4 are gone from its end"),
    ],
)
def test_entries_of_the_change_log_that_are_gone_are_named_by_the_check(
    condition: str, named: str, place: Place
) -> None:
    with open_store(place) as store:
        add_events(store, 4)
        assert list(store.faults()) == []
        store._run(f"DELETE FROM change_log WHERE {condition}")

        assert any(named in fault for fault in store.faults())


def test_numbers_of_entries_that_are_gone_are_not_given_again(place: Place) -> None:
    with open_store(place) as store:
        add_events(store, 4)
    with Store.open(place, lambda: NOW) as store:
        store._run("DELETE FROM change_log WHERE seq > 2")

        add_events(store, 1)

        assert [change.seq for change in store.changes(0)] == [1, 2, 5]
        assert any("2 entries between 1 and 5 are gone" in fault for fault in store.faults())


def test_numbers_of_an_undone_transaction_leave_no_gap(place: Place) -> None:
    with open_store(place) as store:
        add_events(store, 2)
        with store.transaction():
            with store.transaction(keep=False):
                add_events(store, 3)
            store.add_event(None, "test", 9, NOW, "kept", NOW)
        with store.transaction(keep=False):
            add_events(store, 3)
            store.audit("anna", "connect", "SIM:1")
        add_events(store, 1)

        assert [change.seq for change in store.changes(0)] == [1, 2, 3, 4]
        assert list(store.faults()) == []


def audited(place: Place, entries: int = 6) -> Store:
    store = open_store(place)
    with store.transaction():
        for number in range(entries):
            store.audit("anna", "disconnect", f"SIM:{number}")
    return store


FORGED = audit_digest(b"\0", 2, NOW, "anna", "disconnect", "SIM:1", "")


@pytest.mark.parametrize(
    ("tampering", "named"),
    [
        ("UPDATE audit SET \"user\" = 'bert' WHERE id = 3", "audit: entry 3 was changed"),
        ("DELETE FROM audit WHERE id = 1", "audit: entries 1 to 1 were removed"),
        ("DELETE FROM audit WHERE id IN (3, 4)", "audit: entries 3 to 4 were removed"),
        ("DELETE FROM audit WHERE id > 4", "audit: entries 5 to 6 were removed from its end"),
        ("DELETE FROM audit WHERE id > 0", "audit: entries 1 to 6 were removed from its end"),
        ("UPDATE audit SET digest = ?1 WHERE id = 2", "entry 2"),
        (
            "UPDATE audit SET subject = CASE id WHEN 2 THEN 'SIM:2' ELSE 'SIM:1' END WHERE id IN (2, 3)",  # two that changed places
            "audit: entry 2 was changed",
        ),
    ],
)
def test_an_audit_that_was_tampered_with_is_named_by_the_check(tampering: str, named: str, place: Place) -> None:
    with audited(place) as store:
        assert list(store.faults()) == []
        store._run(tampering, (FORGED,) if "?" in tampering else ())

        assert any(named in fault for fault in store.faults()), list(store.faults())


def test_an_audit_whose_end_was_removed_goes_on_behind_the_hole(place: Place) -> None:
    with audited(place) as store:
        store._run("DELETE FROM audit WHERE id > 4")

        with store.transaction():
            number = store.audit("anna", "connect", "SIM:1")

        assert number == 7
        assert any("audit: entries 5 to 6 were removed" in fault for fault in store.faults())


def test_an_audit_entry_that_was_changed_is_not_read(place: Place) -> None:
    with audited(place) as store:
        store._run("UPDATE audit SET \"user\" = 'bert' WHERE id = 3")

        with pytest.raises(StoreError, match="entry 3 of the audit is damaged"):
            store.audit_entries()


def test_the_audit_s_head_changes_with_each_entry(place: Place) -> None:
    with audited(place, 0) as store:
        heads = {store.audit_head()}
        for number in range(3):
            with store.transaction():
                store.audit("anna", "connect", "SIM:1")
            heads.add(store.audit_head())
            assert store.audit_head()[0] == number + 1

        assert len({digest for _, digest in heads}) == 4
