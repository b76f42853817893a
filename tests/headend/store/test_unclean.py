"""What a writer that ended in the midst of it leaves: how much of its log is written again, and how long that can get."""

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from headend.store import sqlite
from headend.store import store as store_module
from headend.store.reader import StoreReader
from headend.store.store import PAGE_SIZE, Store
from headend.store.unclean import _proven_frames, _unproven
from tests.headend.store.builders import NOW, block, open_store

HEAD, FRAME = 32, 24 + PAGE_SIZE


def killed(store: Store, tmp_path: Path) -> Path:
    """Give what the store would leave were it killed now."""
    left = tmp_path / "left.db"
    for part in ("", "-wal", "-shm"):
        shutil.copy(f"{store.path}{part}", f"{left}{part}")
    return left


def rewritten(left: Path) -> int:
    """Give how much of a log would be written again. [B]"""
    file = apsw.VFSFile("", f"{left}-wal", [apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_WAL, 0])
    try:
        parts = list(_unproven(file, str(left)))
    finally:
        file.xClose()
    ends = [offset + len(part) for offset, part in parts]
    assert [offset for offset, _ in parts[2:]] == ends[1:-1], "without a gap"
    return sum(len(part) for _, part in parts)


def frames(path: Path | str) -> int:
    return (Path(f"{path}-wal").stat().st_size - HEAD) // FRAME


def write(store: Store, commits: int) -> None:
    for slot in range(commits):
        with store.transaction():
            store.record(1, [block(slot, [slot])], NOW)


def test_what_commits_have_proven_to_be_on_the_disk_is_not_written_again(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        write(store, 20)
        left = killed(store, tmp_path)

    assert frames(left) > 40
    assert rewritten(left) == HEAD


def test_the_last_transaction_is_written_again_where_its_commit_did_not_end(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        write(store, 20)
        before, proven = frames(store.path), Path(f"{store.path}-shm").read_bytes()
        with store.transaction():
            store.record(1, [block(30, [1])], NOW)
        left = killed(store, tmp_path)
        Path(f"{left}-shm").write_bytes(proven)

    assert rewritten(left) == HEAD + (frames(left) - before) * FRAME


def forget(left: Path) -> None:
    Path(f"{left}-shm").unlink()


def tear(left: Path) -> None:
    index = bytearray(Path(f"{left}-shm").read_bytes())
    index[16] ^= 1
    Path(f"{left}-shm").write_bytes(index)


def of_another_log(left: Path) -> None:
    index = bytearray(Path(f"{left}-shm").read_bytes())
    index[32] ^= 1
    index[32 + 48] ^= 1
    Path(f"{left}-shm").write_bytes(index)


@pytest.mark.parametrize("harm", [forget, tear, of_another_log])
def test_the_whole_log_is_written_again_where_nothing_proves_it(harm: Callable[[Path], None], tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        write(store, 20)
        left = killed(store, tmp_path)

    harm(left)

    assert rewritten(left) == HEAD + frames(left) * FRAME


def test_a_reader_who_read_the_log_first_proves_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        write(store, 20)
        left = killed(store, tmp_path)
    forget(left)

    with StoreReader.open(left) as reader:
        assert reader.last_seq() == 20

        assert rewritten(left) == HEAD + frames(left) * FRAME


def test_looking_at_the_index_takes_no_lock_from_a_reader_in_this_process(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store, StoreReader.open(store.path) as reader, reader.snapshot():
        assert reader.last_seq() == 0
        held = locks_on(f"{store.path}-shm")
        _proven_frames(store.path, bytes(8))

        assert locks_on(f"{store.path}-shm") == held != []


def locks_on(path: str) -> list[list[str]]:
    inode = Path(path).stat().st_ino
    rows = [line.split()[1:] for line in Path("/proc/locks").read_text().splitlines()]
    return sorted(row for row in rows if any(cell.endswith(f":{inode}") for cell in row))


def test_what_an_earlier_round_left_in_the_log_is_not_written_again(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        write(store, 20)
        before = frames(store.path)
        store._rows("PRAGMA wal_checkpoint(RESTART)")
        with store.transaction():
            store.record(1, [block(30, [1])], NOW)
        left = killed(store, tmp_path)
    forget(left)

    assert frames(left) == before
    assert HEAD < rewritten(left) < HEAD + before // 2 * FRAME
    with Store.open(left, lambda: NOW) as store:
        assert store.last_seq() == 21


def test_a_log_that_is_none_is_not_searched_for_frames(tmp_path: Path) -> None:
    left = tmp_path / "left.db"
    left.touch()
    Path(f"{left}-wal").write_bytes(bytes(100_000))

    assert rewritten(left) == HEAD


def test_a_log_that_a_reader_let_grow_is_begun_anew_and_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = 40 * FRAME
    for module in (sqlite, store_module):
        monkeypatch.setattr(module, "LONGEST_LOG", bound)
    with open_store(tmp_path / "s.db") as store, StoreReader.open(store.path) as reader:
        with reader.snapshot():
            assert reader.last_seq() == 0
            write(store, 40)
            assert frames(store.path) * FRAME > bound, "nothing may move what is still read"
        write(store, 45)

        assert Path(f"{store.path}-wal").stat().st_size <= bound
