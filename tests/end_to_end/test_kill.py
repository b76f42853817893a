"""SIGKILL at random moments of collect, validate and export: nothing acknowledged is lost, nothing is doubled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared import REPOSITORY

SCRIPT = Path(__file__).with_name("kill_loop.py")


def run_kill_loop(directory: Path, kills: int, seed: int) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(directory), str(kills), str(seed)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return figures


def assert_nothing_happened(figures: dict[str, int], kills: int) -> None:
    assert figures["kills"] == kills
    assert figures["before_any_acknowledgement"] < kills / 2, "most kills came before any work was done"
    assert figures["slots"] > 0
    assert {key: figures[key] for key in ("lost", "wrong", "doubled", "broken_exports")} == {
        "lost": 0, "wrong": 0, "doubled": 0, "broken_exports": 0,
    }  # fmt: skip


@pytest.mark.timeout(400)
def test_200_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    assert_nothing_happened(run_kill_loop(tmp_path, 200, seed=1), 200)


@pytest.mark.nightly
def test_2000_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    assert_nothing_happened(run_kill_loop(tmp_path, 2000, seed=2), 2000)
