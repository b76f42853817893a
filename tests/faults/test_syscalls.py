"""A fault at each system call of one cycle that changes the disk: refused in words or harmless, and the next cycle makes it good."""

import random
from pathlib import Path

import pytest

from tests.faults.syscalls import CHANGES, SYNCS, WRITES, Outcome, Point, inject, judge, points, prepare, why_not

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "strace works"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def cycle(tmp_path_factory: pytest.TempPathFactory) -> list[Point]:
    """Where one cycle changes the disk."""
    directory = tmp_path_factory.mktemp("cycle") / "whole"
    prepare(directory)
    return points(directory)


def suffer(place: Path, point: Point, fault: str) -> tuple[Path, Outcome]:
    """Run a cycle with a fault; whatever it leaves must be good, and a bug of ours must not be what ended it."""
    directory = place / f"{point.call}-{point.number}-{fault.partition('=')[2]}"
    prepare(directory)
    outcome = inject(directory, point, fault)
    assert outcome.code != 70, outcome.stderr
    left = (directory / "s.db-wal").exists() and (directory / "s.db-wal").stat().st_size
    outcome.said["log is kept"] = bool(left)
    assert judge(directory, outcome) == [], (point, outcome)
    return directory, outcome


def test_every_sync_of_a_cycle_failing_once_is_told_or_harmless(cycle: list[Point], tmp_path: Path) -> None:
    syncs = [point for point in cycle if point.call in SYNCS]
    swallowed = {}
    for point in syncs:
        _, outcome = suffer(tmp_path, point, "error=EIO")
        if outcome.code == 0:
            swallowed[point] = outcome

    directories = [point for point in syncs if point.what.endswith("/whole>) = 0")]
    ours, sqlites = directories[0], directories[1]
    assert (ours.call, sqlites.call) == ("fsync", "fdatasync")
    assert syncs.index(ours) < syncs.index(sqlites), (
        "the log's name is durable before SQLite tries, so its failure is harmless"
    )
    closing = syncs[-2:]
    assert [point.what.partition("whole/")[2] for point in closing] == ["s.db-wal>) = 0", "s.db>) = 0"]
    assert set(swallowed) == {sqlites, *closing}
    for point in closing:
        assert swallowed[point].said["log is kept"], "a checkpoint that failed keeps the log, so nothing is lost"


@pytest.mark.parametrize(("fault", "calls", "sample"), [("signal=KILL", CHANGES, 8), ("error=ENOSPC", WRITES, 6)])
def test_faults_at_some_points_of_a_cycle(
    fault: str, calls: tuple[str, ...], sample: int, cycle: list[Point], tmp_path: Path
) -> None:
    for point in random.Random(3).sample([point for point in cycle if point.call in calls], sample):
        suffer(tmp_path, point, fault)


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(
    ("fault", "calls"),
    [
        ("signal=KILL", CHANGES),
        ("error=ENOSPC", (*WRITES, "rename")),
        ("error=EIO", (*WRITES, "rename", "unlink")),
        ("error=EROFS", WRITES),
    ],
)
def test_faults_at_every_point_of_a_cycle(
    fault: str, calls: tuple[str, ...], cycle: list[Point], tmp_path: Path
) -> None:
    for point in cycle:
        if point.call in calls:
            suffer(tmp_path, point, fault)
