"""Opening, locking, migrating; versions, cursors, counters; and a device that fails or is full."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import numpy as np
import pytest

from drivers.errors import CounterError
from headend.errors import RegistryError, StoreError
from headend.registry.model import DAY, Installation
from headend.series import Series
from headend.store.errors import StoreFull
from headend.store.migrate import shipped_scripts
from headend.store.model import COUNTER_LIMIT, COUNTER_WARN, Layer, VeeRun
from headend.store.place import Place
from headend.store.reader import StoreReader
from headend.store.registrywrites import Outcome
from headend.store.sqlite import check_sqlite
from headend.store.store import Store
from kernels.quality import Reason, State
from tests.headend.store.builders import (
    EXPORT,
    FIRST_DAY,
    IMPORT,
    NOW,
    PERIOD,
    START,
    WH,
    block,
    expect,
    open_store,
    sqlite_alone,
)

RUN = VeeRun("residential 1", NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with open_store(place) as opened:
        yield opened


class Mishap(Exception):
    """Something else went wrong within a transaction."""


def undone(store: Store, work: Callable[[], object]) -> None:
    """Do ``work`` within a transaction, and let a mishap undo it."""
    with pytest.raises(Mishap):
        run_into_mishap(store, work)


def run_into_mishap(store: Store, work: Callable[[], object]) -> None:
    with store.transaction():
        work()
        raise Mishap


def record(store: Store, first: int, count: int) -> None:
    with store.transaction():
        store.record(1, [block(first, range(first, first + count))], NOW)


# opening


@sqlite_alone
def test_a_store_keeps_what_the_design_asks_of_sqlite(store: Store) -> None:
    pragma = store._connection.pragma

    assert (pragma("journal_mode"), pragma("synchronous"), pragma("foreign_keys"), pragma("mmap_size")) == (
        "wal", 2, 1, 0,
    )  # fmt: skip
    assert pragma("page_size") == 8_192
    assert pragma("foreign_key_check") is None


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.7.0"])
def test_an_sqlite_with_the_wal_reset_bug_is_refused(version: str) -> None:
    with pytest.raises(StoreError, match="upgrade apsw"):
        check_sqlite(version)


@pytest.mark.usefixtures("store")
def test_a_second_writer_is_told_who_holds_the_store(place: Place) -> None:
    with pytest.raises(StoreError, match=rf"process {os.getpid()}( \(.*\))? is writing"):
        Store.open(place, lambda: NOW)


@pytest.mark.usefixtures("store")
def test_a_second_writer_in_another_process_is_told_too(place: Place) -> None:
    code = f"from headend.store.store import Store; Store.open({str(place)!r}, lambda: 0)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert f"process {os.getpid()} " in done.stderr
    assert "is writing this store" in done.stderr


def test_closing_lets_the_next_writer_in(place: Place) -> None:
    open_store(place).close()

    with open_store(place) as again:
        again.close()
        again.close()


def test_an_opening_that_fails_releases_the_lock(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)

    for _ in range(2):
        with pytest.raises(StoreError, match="damaged or not a store"):
            Store.open(path, lambda: NOW)
    with pytest.raises(StoreError, match="damaged or not a store"):
        StoreReader.open(path)


def test_a_foreign_database_is_refused_untouched(path: Path) -> None:
    foreign = apsw.Connection(str(path))
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    before = path.read_bytes()

    with pytest.raises(StoreError, match="another program"):
        Store.open(path, lambda: NOW)

    assert path.read_bytes() == before


def test_a_missing_store_is_not_made_by_reading(path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"):
        StoreReader.open(path)
    assert not path.exists()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        Store.open(tmp_path / "nowhere" / "s.db", lambda: NOW)


@pytest.mark.usefixtures("store")
def test_a_reader_cannot_write(place: Place) -> None:
    with StoreReader.open(place) as reader, pytest.raises(StoreError, match=r"cannot be .* written"):
        reader._run("DELETE FROM raw")


def test_a_damaged_page_is_found_at_an_unclean_start(path: Path) -> None:
    store = open_store(path)
    record(store, 0, 48 * 400)
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    record(store, 48 * 400, 1)
    log = Path(f"{path}-wal").read_bytes()
    store.close()
    content = bytearray(path.read_bytes())
    content[8_192 * 3 : 8_192 * 3 + 200] = bytes(200)
    path.write_bytes(content)
    Path(f"{path}-wal").write_bytes(log)

    with pytest.raises(StoreError, match="damaged"):
        Store.open(path, lambda: NOW)


# migrations


def test_migrations_run_once_and_in_order(path: Path) -> None:
    scripts = shipped_scripts()
    open_store(path).close()
    newer = {**scripts, len(scripts) + 1: "CREATE TABLE extra (x INTEGER) STRICT; INSERT INTO extra VALUES (7);"}

    for _ in range(2):
        with Store.open(path, lambda: NOW, scripts=newer) as store:
            assert store._rows("SELECT x FROM extra") == [(7,)]
            assert [device.name for device in store.end_devices()] == ["SIM:1"]


def test_a_migration_that_fails_leaves_the_store_as_it_was(path: Path) -> None:
    scripts = shipped_scripts()
    open_store(path).close()
    broken = {**scripts, len(scripts) + 1: "CREATE TABLE extra (x) STRICT; SELECT nonsense FROM nowhere;"}

    with pytest.raises(StoreError):
        Store.open(path, lambda: NOW, scripts=broken)

    with open_store(path) as store:
        assert store._connection.pragma("user_version") == len(scripts)
        assert store._rows("SELECT name FROM sqlite_master WHERE name = 'extra'") == []


def test_a_newer_schema_is_refused_with_what_to_do(path: Path) -> None:
    scripts = shipped_scripts()
    newer = {**scripts, len(scripts) + 1: "SELECT 1"}
    Store.open(path, lambda: NOW, scripts=newer).close()

    with pytest.raises(StoreError, match=f"schema {len(newer)}, this program knows up to {len(scripts)}.*upgrade"):
        Store.open(path, lambda: NOW)
    with pytest.raises(StoreError, match="upgrade"):
        StoreReader.open(path)


# damage


@sqlite_alone
def test_every_flipped_bit_of_a_stored_block_names_row_and_file(store: Store) -> None:
    record(store, 0, 48)
    ((key, data),) = store._rows("SELECT k, block FROM raw")

    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        store._run("UPDATE raw SET block = ? WHERE k = ?", (bytes(damaged), key))
        with pytest.raises(StoreError, match=rf"s\.db: row {key} of table raw") as caught:
            store.raw_series(1, IMPORT, START, START + DAY)
        assert len(str(caught.value)) < 500


def test_a_block_in_anothers_place_is_found(store: Store) -> None:
    record(store, 0, 48)
    store._run("UPDATE raw SET k = k + 4294967296")

    with pytest.raises(StoreError, match=f"holds raw day {FIRST_DAY} of SIM:1, not day {FIRST_DAY + 1}"):
        store.raw_series(1, IMPORT, START, START + 2 * DAY)


# transactions


def test_an_inner_part_that_fails_undoes_itself_alone(store: Store) -> None:
    with store.transaction():
        record(store, 0, 1)
        undone(store, lambda: record(store, 1, 1))
        record(store, 2, 1)

    assert store.raw_series(1, IMPORT, START, START + 3 * PERIOD).has_value.tolist() == [True, False, True]


def test_a_rehearsal_keeps_nothing(store: Store) -> None:
    with store.transaction(keep=False):
        record(store, 0, 1)
        assert store.last_seq() == 1

    assert store.last_seq() == 0


def test_what_an_undone_transaction_registered_is_forgotten(store: Store) -> None:
    def expect_less() -> None:
        expect(store, 1, [EXPORT])
        assert len(store.expectations(1)) == 1

    undone(store, expect_less)

    assert len(store.expectations(1)) == 2


@sqlite_alone
def test_a_full_device_undoes_the_transaction_and_the_store_goes_on(store: Store) -> None:
    record(store, 0, 1)
    pages = store._connection.pragma("page_count")
    store._connection.pragma("max_page_count", pages + 2)

    with pytest.raises(StoreFull, match="make room"):
        record(store, 1, 48 * 1_000)

    assert int(store.raw_series(1, IMPORT, START, START + 1_000 * DAY).has_value.sum()) == 1
    store._connection.pragma("max_page_count", 2**30)
    record(store, 1, 48 * 100)
    assert int(store.raw_series(1, IMPORT, START, START + 1_000 * DAY).has_value.sum()) == 1 + 48 * 100


class FailingFile(apsw.VFSFile):
    is_failing = False

    def __init__(self, filename: object, flags: list[int]) -> None:
        super().__init__("", filename, flags)  # type: ignore[arg-type]

    def xSync(self, flags: int) -> None:  # noqa: N802  SQLite's name
        if FailingFile.is_failing:
            raise apsw.IOError("fsync failed")
        super().xSync(flags)


class FailingDevice(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("failing", "")

    def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  SQLite's name
        return FailingFile(name, flags)


def test_a_failed_fsync_is_fatal_and_nothing_more_is_written(path: Path) -> None:
    device = FailingDevice()
    open_store(path).close()
    store = Store.open(path, lambda: NOW, vfs="failing")
    record(store, 0, 1)

    FailingFile.is_failing = True
    try:
        with pytest.raises(StoreError, match="device failed"):
            record(store, 1, 1)
    finally:
        FailingFile.is_failing = False

    with pytest.raises(StoreError, match="refused after an earlier failure"):
        record(store, 2, 1)
    store.close()
    device.unregister()
    with Store.open(path, lambda: NOW) as again:
        record(again, 2, 1)
        assert again.raw_series(1, IMPORT, START, START + 3 * PERIOD).has_value[[0, 2]].all()


# registry


def test_one_meter_cannot_be_in_two_places_at_once(store: Store) -> None:
    with store.transaction():
        other, _ = store.put_usage_point("UP2", "UTC")
        with pytest.raises(RegistryError, match="SIM:1 hangs at usage point UP1"):
            store.put_installation(Installation(other.id, 1, START + DAY))
        assert store.put_installation(Installation(1, 1, START, START + DAY, 40)) is Outcome.CHANGED
        assert store.put_installation(Installation(other.id, 1, START + DAY)) is Outcome.ADDED
        assert store.put_installation(Installation(other.id, 1, START + DAY)) is Outcome.UNCHANGED

    assert [(place.usage_point_id, place.multiplier) for place in store.installations(end_device_id=1)] == [
        (1, 40),
        (2, 1),
    ]
    assert len(store.installations(usage_point_id=2)) == 1
    assert len(store.installations()) == 2


def test_a_channel_cannot_be_expected_twice_at_once(store: Store) -> None:
    with store.transaction(), pytest.raises(RegistryError, match="expected twice"):
        expect(store, 1, start=START + DAY)


def test_unknown_names_are_refused_in_words(store: Store) -> None:
    with pytest.raises(RegistryError, match="no meter 'M2'"):
        store.end_device("M2")
    with pytest.raises(RegistryError, match="no usage point"):
        store.usage_point("M2")
    with store.transaction(), pytest.raises(RegistryError, match="no meter"):
        store.set_disabled("M2", disabled=True)
    with store.transaction(), pytest.raises(RegistryError, match="blank"):
        store.put_usage_point(" x", "UTC")


def test_a_text_that_is_none_or_a_number_too_long_costs_its_own_part_alone(store: Store) -> None:
    with store.transaction():
        for broken in ({"text": "\ud800"}, {"code": 2**70}):
            with pytest.raises(StoreError), store.transaction():
                store.add_event(1, at=NOW, received_at=NOW, **{"kind": "meter", "code": 1, "text": "", **broken})  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="correct it"):
            store.end_device("\udcff")
        store.add_event(1, "meter", 7, NOW, "", NOW)

    assert [event.code for event in store.events()] == [7]


def test_a_disabled_meter_stays_expected(store: Store) -> None:
    with store.transaction():
        store.set_disabled("SIM:1", disabled=True)

    assert store.end_device("SIM:1").disabled
    assert len(store.expectations(1)) == 2


# validated layer


def day_of(value: int, state: State = State.MEASURED) -> Series:
    series = Series.empty(START, PERIOD, WH, 48, state)
    series.values[:] = value
    return series


def write(store: Store, series: Series, run: VeeRun = RUN, obis: object = IMPORT) -> int | None:
    with store.transaction():
        return store.write_validated(1, obis, FIRST_DAY, series, run)  # type: ignore[arg-type]


def test_versions_follow_each_other_and_the_old_ones_stay(store: Store) -> None:
    second = VeeRun("residential 2", NOW + 1, "ann", "meter swapped")

    assert write(store, day_of(1)) == 1
    assert write(store, day_of(5), obis=EXPORT) == 1
    assert write(store, day_of(1), second) is None
    assert write(store, day_of(2), second) == 2

    assert set(store.validated_series(1, IMPORT, START, START + DAY).values) == {2}
    assert set(store.validated_version(1, IMPORT, FIRST_DAY, 1).values) == {1}
    assert set(store.validated_version(1, IMPORT, FIRST_DAY, 2).values) == {2}
    assert set(store.validated_version(1, IMPORT, FIRST_DAY).values) == {2}
    assert set(store.validated_version(1, EXPORT, FIRST_DAY).values) == {5}
    assert store.validated_channels(1, FIRST_DAY) == [IMPORT, EXPORT]
    assert [(item.version, item.run, item.is_newest) for item in store.versions(1, IMPORT, FIRST_DAY)] == [
        (1, RUN, False), (2, second, True),
    ]  # fmt: skip
    found = [(change.obis, change.version) for change in store.changes(0) if change.layer is Layer.VALIDATED]
    assert found == [(IMPORT, 1), (EXPORT, 1), (IMPORT, 2)]


def test_a_run_that_changes_nothing_leaves_no_trace(store: Store) -> None:
    write(store, day_of(1))
    before = store.last_seq()

    assert write(store, day_of(1), VeeRun("residential 9", NOW)) is None

    assert store.last_seq() == before
    assert store._rows("SELECT count(*) FROM vee_run") == [(1,)]


def test_garbage_under_a_slot_without_value_is_no_difference(store: Store) -> None:
    write(store, day_of(0, State.MISSING))

    assert write(store, day_of(77, State.MISSING)) is None


def test_a_missing_version_is_said(store: Store) -> None:
    write(store, day_of(1))

    with pytest.raises(StoreError, match="UP1 has no version 3"):
        store.validated_version(1, IMPORT, FIRST_DAY, 3)


def test_only_whole_days_are_validated(store: Store) -> None:
    with pytest.raises(ValueError, match="are not day"):
        write(store, day_of(1).window(START, START + PERIOD))


def test_what_vee_has_not_seen_is_expected_across_a_meter_swap(store: Store) -> None:
    turn = START + 2 * DAY + 10 * PERIOD
    with store.transaction():
        store.put_installation(Installation(1, 1, START, turn))
        new, _ = store.put_end_device("SIM:2", "sim", 1, "2")
        store.put_installation(Installation(1, new.id, turn + PERIOD, START + 4 * DAY))
        expect(store, new.id, start=turn + PERIOD)
    write(store, day_of(1))

    states = store.validated_series(1, IMPORT, START - DAY, START + 5 * DAY).state.tolist()

    wanted = [State.NOT_EXPECTED] * 48 + [State.MEASURED] * 48 + [State.EXPECTED] * 58 + [State.NOT_EXPECTED]
    wanted += [State.EXPECTED] * (48 - 11 + 48) + [State.NOT_EXPECTED] * 48
    assert states == wanted


def test_a_usage_point_without_such_a_channel_is_said(store: Store) -> None:
    with store.transaction():
        store.put_usage_point("UP2", "UTC")
    with pytest.raises(RegistryError, match="UP2"):
        store.validated_series(2, IMPORT, START, START + DAY)


# plain rows


def test_a_cursor_only_goes_forward_and_not_beyond_the_log(store: Store) -> None:
    for slot in range(3):
        record(store, slot, 1)
    with store.transaction():
        store.advance_cursor("csv", 2)
        for wrong in (1, 4):
            with pytest.raises(StoreError, match="cursor csv"):
                store.advance_cursor("csv", wrong)

    assert (store.cursor("csv"), store.cursor("other"), store.cursors()) == (2, 0, {"csv": 2})
    assert [change.seq for change in store.changes(store.cursor("csv"))] == [3]


def test_counters_are_never_handed_out_twice_also_after_reopening(place: Place) -> None:
    handed: list[int] = []
    for _ in range(3):
        with open_store(place) as store:
            with store.transaction():
                handed += store.reserve_counter("title/key", 10)
            undone(store, lambda store=store: store.reserve_counter("title/key", 10))  # type: ignore[misc]

    assert handed == list(range(30))


def test_a_counter_follows_the_meter_up_and_never_goes_down(store: Store) -> None:
    with store.transaction():
        assert store.reserve_counter("k", 5, floor=1_000) == range(1_000, 1_005)
        assert store.reserve_counter("k", 5, floor=7) == range(1_005, 1_010)
        assert store.reserve_counter("other", 1) == range(1)
    assert [(counter.key_id, counter.next) for counter in store.counters()] == [("k", 1_010), ("other", 1)]


def test_counters_once_reserved_under_a_meter_s_name_are_not_handed_out_under_its_key(store: Store) -> None:
    with store.transaction():
        store.reserve_counter("title/meter-17", 300)
        assert store.reserve_counter("title/0123", 10, meter="meter-17") == range(300, 310)
        assert store.reserve_counter("title/0123", 10, meter="meter-18") == range(310, 320)
        with pytest.raises(CounterError, match=r"of title/0123 \(meter meter-17\) is used up"):
            store.reserve_counter("title/0123", 10, COUNTER_LIMIT - 1, "meter-17")


def test_a_meter_s_counter_is_noted_and_never_goes_down(store: Store) -> None:
    with store.transaction():
        assert [store.note_counter("meter/key", counter) for counter in (7, 5, 7, 9)] == [-1, 7, 7, 7]
        assert store.note_counter("meter/key", 0) == 9
        for counter in (-1, 2**32):
            with pytest.raises(ValueError, match="no invocation counter"):
                store.note_counter("meter/key", counter)


def test_a_counter_warns_at_half_and_ends_before_its_last(store: Store) -> None:
    with store.transaction():
        store.reserve_counter("k", 10, floor=COUNTER_WARN - 11)
        assert not store.counters()[0].should_change_key
        store.reserve_counter("k", 10)
        assert store.counters()[0].should_change_key
        assert [event.kind for event in store.events()] == ["counter_warning"]
        assert store.reserve_counter("k", 1, floor=COUNTER_LIMIT - 1) == range(COUNTER_LIMIT - 1, COUNTER_LIMIT)
        with pytest.raises(CounterError, match="change the key"):
            store.reserve_counter("k", 1)
        with pytest.raises(ValueError, match="cannot reserve"):
            store.reserve_counter("k", 0)


def test_a_set_aside_message_is_kept_once_and_bounded(store: Store) -> None:
    with store.transaction():
        for at in (5, 9):
            store.set_aside("ami/x", b"a" * 100_000, "not JSON", at)
        store.set_aside("ami/x", b"b", "not JSON", 7)

    first, second = store.set_asides()

    assert (first.size, len(first.payload), first.times, first.first_at, first.last_at) == (100_000, 65_536, 2, 5, 9)
    assert second.payload == b"b"
    assert store.set_asides(since=8) == [first]


def test_job_runs_are_listed_by_meter_and_kind(store: Store) -> None:
    with store.transaction():
        store.record_job(1, "load_profile", 10, 12, window=(0, 10))
        store.record_job(1, "load_profile", 20, 29, cause=Reason.NO_ANSWER, detail="x" * 9_000)
        store.record_job(1, "clock", 30, 31)

    runs = store.job_runs(1, "load_profile")

    assert [(run.started_at, run.succeeded, run.cause, run.window) for run in runs] == [
        (10, True, Reason.NONE, (0, 10)), (20, False, Reason.NO_ANSWER, None),
    ]  # fmt: skip
    assert len(runs[1].detail) == 2_000
    assert len(store.job_runs()) == 3
    assert [run.started_at for run in store.job_runs(1, since=20, limit=1)] == [30]


def test_an_audit_entry_says_who_did_what(store: Store) -> None:
    with store.transaction():
        store.audit("ann", "disable", "SIM:1", "moved away")

    (entry,) = store.audit_entries()

    assert (entry.at, entry.user, entry.action, entry.subject, entry.detail) == (
        NOW,
        "ann",
        "disable",
        "SIM:1",
        "moved away",
    )


def test_a_year_of_half_hours_comes_back_whole(store: Store) -> None:
    record(store, 0, 48 * 365)

    series = store.raw_series(1, IMPORT, START, START + 365 * DAY)

    assert np.array_equal(series.values, np.arange(48 * 365))
    assert set(series.state) == {State.MEASURED}


# sinks


def test_quarantined_point_is_kept_once_and_counted(store: Store) -> None:
    with store.transaction():
        store.quarantine_point("sink/one", "m value=1 1", "refused", 3)
        store.quarantine_point("sink/one", "m value=1 1", "refused again", 4)
        store.quarantine_point("sink/two", "m value=1 1", "refused", 5)

    (found,) = store.quarantine("sink/one")
    assert (found.point, found.reason, found.seq, found.times) == ("m value=1 1", "refused again", 4, 2)
    assert (found.first_at, found.last_at) == (NOW, NOW)


def test_state_of_a_sink_says_how_far_it_is_and_since_when_it_cannot_deliver(store: Store) -> None:
    with store.transaction():
        store.record(1, [block(0, [1]), block(0, [2], EXPORT)], NOW - 50)
        store.add_event(None, "ours", 0, NOW, "", NOW - 20)
        store.advance_cursor("sink/one", store.last_seq() - 1)
        store.note_sink_trouble("sink/one", "answered 503")
        store.note_sink_trouble("sink/one", "answered 500")
        store.quarantine_point("sink/one", "m value=1 1", "refused", 1)

    state = store.sink_states()["sink/one"]
    assert (state.seq, state.waiting_since, state.quarantined) == (store.last_seq() - 1, NOW - 20, 1)
    assert (state.error, state.error_since) == ("answered 500", NOW)

    with store.transaction():
        store.note_sink_trouble("sink/one", "")
        store.advance_cursor("sink/one", store.last_seq())

    state = store.sink_states()["sink/one"]
    assert (state.waiting_since, state.error, state.error_since) == (None, "", None)
