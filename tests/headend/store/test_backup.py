"""A backup is whole or absent, opens with its key alone, and is put back with what must not repeat jumped ahead."""

import io
import shutil
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from headend.errors import StoreError
from headend.store import sqlite
from headend.store import store as stores
from headend.store.backup import Restored, back_up, restore
from headend.store.model import COUNTER_LIMIT, COUNTER_WARN
from headend.store.quarantine import mark_of, quarantine
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.store.vault import seal, unseal
from tests.headend.store.builders import IMPORT, NOW, PERIOD, START, block, open_store

KEY = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "s.db"


def record(store: Store, first: int, count: int) -> None:
    with store.transaction():
        store.record(1, [block(first, range(first, first + count))], NOW)


def present(path: Path) -> list[int]:
    with StoreReader.open(path) as store:
        series = store.raw_series(1, IMPORT, START, START + 1_000 * PERIOD)
        return [int(value) for value in series.values[series.has_value]]


def put_back(backup: Path, path: Path, key: bytes = KEY, *, replace: bool = False) -> Restored:
    return restore(backup, path, key, lambda: NOW, user="anna", replace=replace)


def test_a_restore_drill_brings_back_what_was_there_when_the_backup_was_taken(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "b.hbk"
    with open_store(path) as store:
        record(store, 0, 10)
        with store.transaction():
            store.reserve_counter("ours/key", 256)
            store.note_counter("theirs/key", 1_000)
        size = back_up(path, backup, KEY)
        record(store, 10, 5)
    path.unlink()

    done = put_back(backup, path)

    assert (size, done.counters, done.kept_as) == (backup.stat().st_size, 1, "")
    assert present(path) == list(range(10))
    with Store.open(path, lambda: NOW) as store, store.transaction():
        assert store.reserve_counter("ours/key", 256).start == 256 + 2**24
        assert store.note_counter("theirs/key", 5) == 1_000, "a meter's own counter must not run ahead of the meter"
        assert [entry.action for entry in store.audit_entries()] == ["restore"]
        record(store, 0, 15)
    assert present(path) == list(range(15))
    assert not [*path.parent.glob("*incoming*"), *path.parent.glob("*copy*")]


def test_a_backup_is_one_moment_while_the_writer_goes_on(path: Path, tmp_path: Path) -> None:
    open_store(path).close()
    stop = threading.Event()

    def write() -> None:
        with Store.open(path, lambda: NOW) as store:
            slot = 0
            while not stop.is_set():
                record(store, slot, 1)
                slot += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            back_up(path, tmp_path / f"{number}.hbk", KEY)
    finally:
        stop.set()
        writer.join()

    before = 0
    for number in range(5):
        put_back(tmp_path / f"{number}.hbk", tmp_path / f"{number}.db")
        values = present(tmp_path / f"{number}.db")
        assert values == list(range(len(values)))
        assert len(values) >= before
        before = len(values)
    assert before > 0


def test_what_is_there_is_kept_and_only_replaced_when_told(path: Path, tmp_path: Path) -> None:
    with open_store(path) as store:
        record(store, 0, 10)
        back_up(path, tmp_path / "b.hbk", KEY)
        record(store, 10, 5)
    quarantine(str(path), "a page makes no sense")

    with pytest.raises(StoreError, match="--replace"):
        put_back(tmp_path / "b.hbk", path)
    done = put_back(tmp_path / "b.hbk", path, replace=True)

    assert present(path) == list(range(10))
    assert present(Path(done.kept_as)) == list(range(15))
    assert not mark_of(str(path)).exists()
    assert "makes no sense" in mark_of(done.kept_as).read_text()


def test_a_store_being_written_is_not_replaced(path: Path, tmp_path: Path) -> None:
    with open_store(path):
        back_up(path, tmp_path / "b.hbk", KEY)

        with pytest.raises(StoreError, match="is writing this store"):
            put_back(tmp_path / "b.hbk", path, replace=True)


def test_another_key_or_a_changed_file_restores_nothing(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "b.hbk"
    open_store(path).close()
    back_up(path, backup, KEY)
    content = backup.read_bytes()
    path.unlink()

    with pytest.raises(StoreError, match="another key, or the file was cut or changed"):
        put_back(backup, path, bytes(32))
    with pytest.raises(StoreError, match="16 octets; write 64 hexadecimal digits"):
        put_back(backup, path, bytes(16))
    for damaged in (content[:-1], content[:-20], content[:50], content + b"x", content[:200] + b"\1" + content[201:]):
        backup.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"cut or changed|is no backup"):
            put_back(backup, path)
    assert not path.exists()
    assert not list(path.parent.glob("*incoming*"))


def test_a_backup_of_a_newer_schema_is_refused_with_what_to_do(path: Path, tmp_path: Path) -> None:
    with open_store(path) as store:
        store._connection.pragma("user_version", 99)
    plain = io.BytesIO(path.read_bytes())
    with (tmp_path / "b.hbk").open("wb") as sealed:
        seal(plain, sealed, KEY)
    path.unlink()

    with pytest.raises(StoreError, match=r"schema 99.*newer headend: upgrade"):
        put_back(tmp_path / "b.hbk", path)
    assert not path.exists()


def test_a_damaged_store_makes_no_backup(path: Path, tmp_path: Path) -> None:
    with open_store(path) as store:
        record(store, 0, 10)
    content = bytearray(path.read_bytes())
    for page in range(3, len(content) // 8_192):
        content[page * 8_192 : page * 8_192 + 12] = bytes(12)
    path.write_bytes(content)

    with pytest.raises(StoreError, match="damaged"):
        back_up(path, tmp_path / "b.hbk", KEY)
    assert not list(tmp_path.glob("b.hbk*"))
    assert not Path(f"{path}.copy").exists()


def test_a_second_backup_meanwhile_is_refused_and_takes_nothing_from_the_first(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(path) as store:
        record(store, 0, 5)
    copy_to, refusals = StoreReader.copy_to, []

    def copy_beside_another(reader: StoreReader, copy: Path) -> None:
        copy_to(reader, copy)
        with pytest.raises(StoreError, match="another backup of it is being made; wait") as refused:
            back_up(path, tmp_path / "second.hbk", KEY)
        refusals.append(refused)

    monkeypatch.setattr(StoreReader, "copy_to", copy_beside_another)
    back_up(path, tmp_path / "first.hbk", KEY)
    monkeypatch.undo()

    put_back(tmp_path / "first.hbk", path, replace=True)
    assert present(path) == list(range(5))
    assert len(refusals) == 1
    back_up(path, tmp_path / "third.hbk", KEY)


@pytest.mark.parametrize("holds_a_view", [False, True])
def test_a_restore_puts_counters_ahead_or_is_none_though_another_process_reads_the_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, holds_a_view: bool
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 50)
    with open_store(path) as store, store.transaction():
        store.reserve_counter("ours/key", 256)
    back_up(path, tmp_path / "b.hbk", KEY)

    with ExitStack() as others:

        def now() -> int:
            reader = others.enter_context(StoreReader.open(f"{path}.incoming"))
            if holds_a_view:
                others.enter_context(reader.snapshot())
            reader.last_seq()
            return NOW

        if holds_a_view:
            with pytest.raises(StoreError, match="nothing was changed"):
                restore(tmp_path / "b.hbk", path, KEY, now, user="anna", replace=True)
        else:
            restore(tmp_path / "b.hbk", path, KEY, now, user="anna", replace=True)

    with Store.open(path, lambda: NOW) as store, store.transaction():
        assert store.reserve_counter("ours/key", 256).start == 256 + (0 if holds_a_view else 2**24)


def test_what_a_killed_restore_of_another_backup_left_is_not_read_into_this_one(path: Path, tmp_path: Path) -> None:
    with open_store(path) as store:
        record(store, 0, 10)
        back_up(path, tmp_path / "old.hbk", KEY)
        with store.transaction():
            store.reserve_counter("ours/key", 5_000)
        record(store, 10, 5)
        back_up(path, tmp_path / "new.hbk", KEY)
    left = tmp_path / "left"
    put_back(tmp_path / "old.hbk", left)
    with Store.open(left, lambda: NOW) as store:
        with store.transaction():
            store.audit("anna", "restore", "old.hbk")
        for part in ("", "-wal"):  # as they lie there where the process was killed
            shutil.copy(f"{left}{part}", f"{path}.incoming{part}")

    put_back(tmp_path / "new.hbk", path, replace=True)

    assert present(path) == list(range(15))
    with Store.open(path, lambda: NOW) as store, store.transaction():
        assert list(store.faults()) == []
        assert [entry.subject for entry in store.audit_entries()] == ["new.hbk"]
        assert store.reserve_counter("ours/key", 1).start == 5_000 + 2**24


def test_a_backup_overwrites_nothing(path: Path, tmp_path: Path) -> None:
    open_store(path).close()
    (tmp_path / "b.hbk").write_bytes(b"precious")

    with pytest.raises(StoreError, match="exists; a backup overwrites nothing"):
        back_up(path, tmp_path / "b.hbk", KEY)
    assert (tmp_path / "b.hbk").read_bytes() == b"precious"


def test_a_restore_that_was_cut_short_leaves_no_room_for_an_empty_store(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(path):
        back_up(path, tmp_path / "b.hbk", KEY)
    rename = Path.rename

    def cut(self: Path, target: object) -> Path:
        if self.name == "s.db.incoming":
            raise OSError(5, "killed here")
        return rename(self, target)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "rename", cut)
    with pytest.raises(StoreError, match="killed here"):
        put_back(tmp_path / "b.hbk", path, replace=True)
    monkeypatch.undo()

    with pytest.raises(StoreError, match="a restore was cut short"):
        Store.open(path, lambda: NOW)
    put_back(tmp_path / "b.hbk", path)
    Store.open(path, lambda: NOW).close()


def test_a_counter_near_its_end_stops_there(path: Path) -> None:
    with open_store(path) as store:
        with store.transaction():
            store.reserve_counter("ours/key", 1, floor=COUNTER_LIMIT - 300)
            store.jump_counters(2**24)

        assert [counter.next for counter in store.counters()] == [COUNTER_LIMIT]
        assert COUNTER_WARN < COUNTER_LIMIT
        assert [event.kind for event in store.events()] == ["counter_warning"]
        with pytest.raises(ValueError, match="never go back"), store.transaction():
            store.jump_counters(-1)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 40])
def test_any_size_comes_back_whole_and_nothing_shorter_longer_or_reordered_does(size: int) -> None:
    plain = bytes(range(size))
    sealed = io.BytesIO()
    seal(io.BytesIO(plain), sealed, KEY, chunk=16)
    content = sealed.getvalue()

    assert b"".join(unseal(io.BytesIO(content), "f", KEY)) == plain
    for cut in range(len(content)):
        with pytest.raises(StoreError):
            b"".join(unseal(io.BytesIO(content[:cut]), "f", KEY))
    for bit in range(len(content) * 8):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StoreError):
            b"".join(unseal(io.BytesIO(changed), "f", KEY))
    if size > 32:
        head, first, second = content[:45], content[45:77], content[77:109]
        with pytest.raises(StoreError, match="chunk 0"):
            b"".join(unseal(io.BytesIO(head + second + first + content[109:]), "f", KEY))


def test_two_backups_of_the_same_are_not_alike(path: Path, tmp_path: Path) -> None:
    open_store(path).close()
    for name in ("a", "b"):
        back_up(path, tmp_path / name, KEY)

    first, second = ((tmp_path / name).read_bytes() for name in ("a", "b"))
    assert len(first) == len(second)
    assert sum(one == other for one, other in zip(first[45:], second[45:], strict=True)) < len(first) / 100


def test_compacting_gives_room_back_and_keeps_everything(path: Path) -> None:
    with open_store(path) as store:
        record(store, 0, 1_000)
        with store.transaction():
            for number in range(200):
                store.set_aside("topic", bytes([number]) * 4_000, "unreadable", NOW)
        with store.transaction():
            store._run("DELETE FROM set_aside")
        before = store.free_bytes()
        store.compact()

        assert before > 500_000
        assert store.free_bytes() == 0
        assert list(store.faults()) == []
    assert present(path) == list(range(1_000))


def test_the_log_that_a_long_view_let_grow_shrinks_once_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LONGEST_LOG", 2**20)
    path, log = tmp_path / "s.db", tmp_path / "s.db-wal"
    with open_store(path) as store:
        store._connection.pragma("synchronous", 0)  # no power fails here
        store._connection.pragma("wal_autocheckpoint", 100)

        def put(number: int) -> None:
            with store.transaction():
                store.set_aside("topic", bytes([number]) * 60_000, "unreadable", NOW)

        with StoreReader.open(path) as reader, reader.snapshot():
            reader.last_seq()
            for number in range(40):
                put(number)
            grown = log.stat().st_size
        for number in range(40, 80):
            put(number)

        assert grown > 2 * 2**20
        assert log.stat().st_size < 2 * 2**20
