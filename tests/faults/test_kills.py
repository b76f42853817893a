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


@pytest.mark.nightly
def test_8000_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    assert_nothing_happened(kill(tmp_path, 8_000, seed=2), 8_000)
