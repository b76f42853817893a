"""The store's writer killed at random moments. The rest of the 500 kills of `make test` is in tests/end_to_end/test_kill.py."""

from pathlib import Path

import pytest

from tests.faults.kills import kill


def assert_nothing_happened(figures: dict[str, int], kills: int) -> None:
    assert figures["slots"] > 0, "no kill came after any work was done"
    assert {key: figures[key] for key in ("kills", "lost", "doubled", "corrupt")} == {
        "kills": kills, "lost": 0, "doubled": 0, "corrupt": 0,
    }  # fmt: skip


@pytest.mark.timeout(300)
def test_300_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    assert_nothing_happened(kill(tmp_path, 300, seed=1), 300)


def assert_retention_was_safe(figures: dict[str, int], kills: int) -> None:
    assert figures["days"] > kills / 10, "too few kills came after anything was dropped"
    assert {key: figures[key] for key in ("kills", "lost", "corrupt", "untold")} == {
        "kills": kills, "lost": 0, "corrupt": 0, "untold": 0,
    }  # fmt: skip


@pytest.mark.timeout(300)
def test_retention_killed_40_times_drops_nothing_that_is_kept_and_says_what_is_gone(tmp_path: Path) -> None:
    assert_retention_was_safe(kill(tmp_path, 40, seed=1, loop="retention_loop"), 40)


@pytest.mark.nightly
def test_retention_killed_2000_times_drops_nothing_that_is_kept(tmp_path: Path) -> None:
    assert_retention_was_safe(kill(tmp_path, 2_000, seed=2, loop="retention_loop"), 2_000)


@pytest.mark.nightly
def test_8000_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    assert_nothing_happened(kill(tmp_path, 8_000, seed=2), 8_000)
