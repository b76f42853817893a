"""Another process reads while one writes. What a killed writer leaves is looked at in tests/faults."""

import subprocess
import sys
from pathlib import Path

from headend.store.reader import StoreReader
from tests.headend.store.builders import IMPORT, PERIOD, START, open_store

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
