"""Another process reads while one writes. What a killed writer leaves is looked at in tests/faults."""

import subprocess
import sys
from pathlib import Path

import pytest

from headend.store import store as stores
from headend.store.reader import StoreReader
from tests.headend.store.builders import IMPORT, NOW, PERIOD, START, open_store

ROOT = Path(__file__).parents[3]


def start_writer(path: Path, first: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.headend.store.child_writer", str(path), str(first)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_reader_in_another_process_sees_commits_while_the_writer_writes(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_store(path).close()
    process = start_writer(path, 0)
    assert process.stdout is not None
    try:
        with StoreReader.open(path) as reader:
            for _ in range(20):
                slot = int(process.stdout.readline())
                series = reader.raw_series(1, IMPORT, START + slot * PERIOD, START + (slot + 1) * PERIOD)
                assert series.values.tolist() == [slot]
            with reader.snapshot():
                before = reader.last_seq()
                for _ in range(20):
                    process.stdout.readline()
                assert reader.last_seq() == before
            assert reader.last_seq() > before
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


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
