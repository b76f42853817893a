"""Killed at random moments: what was acknowledged is there, once, and the file is sound."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headend.store.model import Layer
from headend.store.reader import StoreReader
from headend.store.store import Store
from tests.headend.store.builders import EXPORT, IMPORT, NOW, PERIOD, START, open_store

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("HEADEND_TEST_KILLS", "50"))


def start_writer(path: Path, first: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.headend.store.child_writer", str(path), str(first)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill_while_writing(path: Path, first: int, delay: float) -> int:
    """Let a child write for ``delay`` [s], kill it, and give the first slot it did not acknowledge."""
    process = start_writer(path, first)
    assert process.stdout is not None
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    acknowledged = [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    return acknowledged[-1] + 1 if acknowledged else first


def check(path: Path, acknowledged: int) -> int:
    """Hold the store against what was acknowledged; give the first slot it does not have."""
    with Store.open(path, lambda: NOW) as store:
        assert store._connection.pragma("integrity_check") == "ok"
        imported, exported = (
            store.raw_series(1, code, START, START + (acknowledged + 2) * PERIOD) for code in (IMPORT, EXPORT)
        )
        present = int(imported.has_value.sum())
        assert imported.has_value[:present].all()
        assert acknowledged <= present <= acknowledged + 1
        assert imported.values[:present].tolist() == list(range(present))
        assert exported.values[:present].tolist() == list(range(1, present + 1))
        assert (imported.has_value == exported.has_value).all()
        assert store.conflicts() == []
        assert len([change for change in store.changes(0, 10**6) if change.layer is Layer.RAW]) == 2 * present
    return present


def test_killed_at_random_moments_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    run(tmp_path, KILLS)


@pytest.mark.nightly
@pytest.mark.timeout(7_200)
def test_killed_very_often(tmp_path: Path) -> None:
    run(tmp_path, int(os.environ.get("HEADEND_TEST_KILLS", "5000")))


def run(tmp_path: Path, kills: int) -> None:
    path = tmp_path / "s.db"
    open_store(path).close()
    dice = random.Random(1)
    slot = 0
    for _ in range(kills):
        slot = check(path, kill_while_writing(path, slot, dice.uniform(0, 0.03)))
    assert slot > kills


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
