"""The power fails at any moment, and whatever may be left of the store is left: nothing acknowledged is lost, nothing doubled."""

import random
from collections import Counter
from pathlib import Path

import pytest

from headend.store.store import Store
from tests.faults.crash import Verdicts, crash_in_processes, judge, record
from tests.faults.device import Disk, Name, Sync, Write, images
from tests.headend.store.builders import NOW


def assert_nothing_happened(found: Verdicts, images: int) -> None:
    assert (found.images, found.lost, found.doubled, found.corrupt) == (images, 0, 0, 0), found.examples


@pytest.mark.timeout(300)
def test_no_crash_image_lacks_or_doubles_anything_acknowledged() -> None:
    assert_nothing_happened(crash_in_processes(1_500), 1_500)


@pytest.mark.timeout(300)
def test_no_crash_image_does_after_syncs_that_failed() -> None:
    assert_nothing_happened(crash_in_processes(500, failing_syncs=3), 500)


@pytest.mark.timeout(300)
def test_the_same_images_without_a_sync_at_each_commit_show_losses() -> None:
    found = crash_in_processes(100, synchronous="normal")

    assert found.lost > 10
    assert (found.doubled, found.corrupt) == (0, 0), found.examples


@pytest.mark.timeout(300)
def test_the_same_images_without_any_sync_show_damage() -> None:
    assert crash_in_processes(100, synchronous="off").corrupt > 10


@pytest.mark.nightly
def test_100000_crash_images() -> None:
    assert_nothing_happened(crash_in_processes(80_000), 80_000)
    assert_nothing_happened(crash_in_processes(20_000, failing_syncs=3), 20_000)


def test_a_recording_holds_syncs_checkpoints_and_new_logs(tmp_path: Path) -> None:
    actions = record(tmp_path, 1).actions

    found = Counter((type(action), getattr(action, "name", "")) for action in actions)
    assert found[Sync, "s.db"] > 5, "too few checkpoints"
    assert found[Sync, "s.db-wal"] > 40
    assert found[Write, "s.db"] > 50
    assert found[Name, "s.db-wal"] > 5, "too few logs that came and went"


def test_a_step_that_is_there_twice_is_found_out(tmp_path: Path) -> None:
    recording = record(tmp_path, 1)
    acknowledged = len(recording.digests) - 1
    path = tmp_path / "s.db"
    with Store.open(path, lambda: NOW) as store, store.transaction():
        store._run(
            "INSERT INTO change_log (layer, entity_id, day, channels, version, run_id, at)"
            " SELECT layer, entity_id, day, channels, version, run_id, at FROM change_log WHERE seq = (SELECT max(seq) FROM change_log)"
        )

    found = judge(path, recording, acknowledged)

    assert found.corrupt == 1


def test_what_was_not_synced_may_be_there_or_not_whole_or_cut() -> None:
    disk = Disk()
    for action in (
        Name("f"),
        Name("", is_durable=True),
        Write("f", 0, b"a" * 1024),
        Sync("f"),
        Write("f", 0, b"b" * 1024),
    ):
        disk.apply(action)
    dice = random.Random(1)

    found = {disk.crash(dice)["f"] for _ in range(3_000)}

    assert {b"a" * 1024, b"b" * 1024, b"a" * 512 + b"b" * 512, b"b" * 512 + b"a" * 512} <= found
    assert len(found) > 50, "no write was cut within a sector"
    assert all(len(content) == 1024 and set(content) <= {*b"ab"} for content in found)


def test_what_a_failed_sync_lost_never_comes_to_the_disk() -> None:
    disk = Disk()
    for action in (
        Name("f"),
        Name("", is_durable=True),
        Write("f", 0, b"a"),
        Sync("f", failed=True),
        Write("f", 1, b"b"),
        Sync("f"),
    ):
        disk.apply(action)

    assert disk.crash(random.Random(1)) == {"f": b"\0b"}


def test_a_file_whose_directory_was_not_synced_may_be_missing() -> None:
    dice = random.Random(1)

    found = {tuple(image) for _, image in images([Name("f"), Write("f", 0, b"a"), Sync("f")], 50, dice)}

    assert found == {(), ("f",)}
