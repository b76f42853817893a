"""Exports on disk: complete or absent, chained, and compared with what they replace."""

import copy
import csv as stdlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from headend.errors import ExportError
from headend.export.errors import BrokenChain
from headend.export.write import ExportResult, export, manifest_name, verify
from kernels.quality import Reason, State
from tests.headend.export.fakes import DAY, EXPORT, IMPORT, MIDNIGHT, NOW, FakeStore, house, lose

END = MIDNIGHT + 2 * DAY
FORMATS = ("csv", "nem12")


def run(
    store: FakeStore,
    directory: Path,
    format: str = "csv",  # noqa: A002
    *,
    now: int = NOW,
    points: list[str] | None = None,
    at_step: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    return export(store, format, points, None, MIDNIGHT, END, directory, now, at_step=at_step)


def gapped() -> FakeStore:
    store = house(obis=(IMPORT, EXPORT))
    house("VKTS876510", store=store)
    lose(store.raw[1, IMPORT], 10, 14, Reason.NO_ANSWER)
    return store


def fill(store: FakeStore) -> None:
    """The late data: what the meter still had."""
    series = store.raw[1, IMPORT]
    series.values[10:14], series.state[10:14], series.reason[10:14] = range(10, 14), 2, 0
    store.seq += 1


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != ".headend-export.lock"}


@pytest.mark.parametrize("format", FORMATS)
def test_export_is_a_data_file_and_its_manifest(tmp_path: Path, format: str) -> None:  # noqa: A002
    result = run(gapped(), tmp_path / "out", format)

    assert result.is_new
    assert set(contents(tmp_path / "out")) == {result.manifest.name, result.files[0].name}
    assert result.rows == 288
    assert verify(tmp_path / "out").is_intact


def test_manifest_holds_sums_and_counts_by_quality_and_cause(tmp_path: Path) -> None:
    result = run(gapped(), tmp_path)

    document = json.loads(result.manifest.read_text())
    data = result.files[0].read_bytes()
    assert document["sequence"] == 1
    assert document["created"] == "2024-03-09T16:00:00Z"
    assert document["period"] == {"start": "2023-12-31T14:00:00Z", "end": "2024-01-02T14:00:00Z"}
    assert document["files"] == [
        {"name": result.files[0].name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    ]
    assert document["channels"][0] == {
        "usage_point": "NAAAMYS582", "meter": "HED0000000000001", "obis": "1-0:1.29.0*255",
        "name": "active_energy_import_interval", "total": "4.514", "unit": "kWh", "rows": 96,
        "slots": {"measured": 92, "missing": 4}, "missing": {"no_answer": 4},
    }  # fmt: skip
    assert (document["change_log"], document["previous"], document["replaces"]) == (1, None, None)


@pytest.mark.parametrize("format", FORMATS)
def test_channel_without_any_value_has_no_total_now_nor_as_what_is_replaced(tmp_path: Path, format: str) -> None:  # noqa: A002
    store = gapped()
    lose(store.raw[1, IMPORT], 0, 96, Reason.NO_ANSWER)
    first = run(store, tmp_path, format)
    fill(store)

    (change,) = run(store, tmp_path, format).changes

    (channel, *_) = json.loads(first.manifest.read_text())["channels"]
    assert (channel["total"], channel["missing"]) == (None, {"no_answer": 96})
    assert (change.slots, change.old_total, change.new_total) == (4, None, Decimal("0.046"))


def test_totals_of_the_manifest_are_the_sums_of_the_file(tmp_path: Path) -> None:
    result = run(gapped(), tmp_path)

    sums: dict[str, Decimal] = {}
    with result.files[0].open(newline="") as file:
        for row in stdlib.DictReader(file):
            key = row["usage_point"] + row["obis"]
            sums[key] = sums.get(key, Decimal(0)) + Decimal(row["value"] or 0)
    assert sums == {up + obis: account.total for (up, _, obis), account in result.channels.items()}


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_changed_says_so_and_writes_nothing(tmp_path: Path, format: str) -> None:  # noqa: A002
    store = gapped()
    first = run(store, tmp_path, format)
    before = contents(tmp_path)

    again = run(store, tmp_path, format, now=NOW + DAY)

    assert not again.is_new
    assert (again.sequence, again.files) == (first.sequence, first.files)
    assert again.notes == ("nothing has changed since export 1; nothing was written",)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("format", FORMATS)
def test_late_data_names_the_export_it_replaces_and_what_changed(tmp_path: Path, format: str) -> None:  # noqa: A002
    store = gapped()
    run(store, tmp_path, format)
    fill(store)

    result = run(store, tmp_path, format, now=NOW + DAY)

    document = json.loads(result.manifest.read_text())
    assert (result.sequence, result.replaces) == (2, 1)
    assert document["replaces"] == {
        "sequence": 1,
        "changes": [
            {
                "usage_point": "NAAAMYS582", "obis": "1-0:1.29.0*255", "slots": 4,
                "old_total": "4.514", "new_total": "4.560",
            }
        ],
    }  # fmt: skip
    assert document["previous"] == {
        "sequence": 1,
        "sha256": hashlib.sha256((tmp_path / manifest_name(1)).read_bytes()).hexdigest(),
    }
    assert verify(tmp_path).is_intact


def test_channel_that_is_new_or_gone_has_no_old_or_new_total(tmp_path: Path) -> None:
    store = gapped()
    run(store, tmp_path)
    store.expected = [one for one in store.expected if one.obis != EXPORT]
    house("QAAAVZZZZZ", store=store)

    changes = run(store, tmp_path).changes

    assert [(one.usage_point, one.obis, one.slots, one.old_total, one.new_total) for one in changes] == [
        ("NAAAMYS582", str(EXPORT), 96, Decimal("4.560"), None),
        ("QAAAVZZZZZ", str(IMPORT), 96, None, Decimal("4.560")),
    ]


def test_another_selection_or_format_replaces_nothing(tmp_path: Path) -> None:
    store = gapped()
    run(store, tmp_path)

    results = [run(store, tmp_path, "nem12"), run(store, tmp_path, points=["VKTS876510"])]

    assert [(one.sequence, one.replaces) for one in results] == [(2, None), (3, None)]


@pytest.mark.parametrize("format", FORMATS)
def test_same_input_gives_the_same_bytes(tmp_path: Path, format: str) -> None:  # noqa: A002
    run(gapped(), tmp_path / "one", format)
    run(gapped(), tmp_path / "two", format)

    assert contents(tmp_path / "one") == contents(tmp_path / "two")


class Stop(Exception):
    pass


def steps_of(directory: Path) -> list[str]:
    taken: list[str] = []
    store = gapped()
    run(store, directory)
    fill(store)
    run(store, directory, at_step=taken.append)
    return taken


def test_steps_come_in_the_order_that_makes_an_export_whole(tmp_path: Path) -> None:
    assert steps_of(tmp_path) == [
        "create data", "write data", "sync data", "compare", "rename data", "sync directory of data",
        "create manifest", "write manifest", "sync manifest", "rename manifest", "sync directory of manifest",
    ]  # fmt: skip


@pytest.mark.parametrize("failing", range(11))
def test_failure_at_any_step_leaves_the_export_complete_or_absent(tmp_path: Path, failing: int) -> None:
    store = gapped()
    run(store, tmp_path)
    before = contents(tmp_path)
    fill(store)
    taken: list[str] = []

    def stop(step: str) -> None:
        taken.append(step)
        if len(taken) > failing:
            raise Stop(step)

    with pytest.raises(Stop):
        run(store, tmp_path, at_step=stop)

    if taken[-1] == "sync directory of manifest":
        assert len(contents(tmp_path)) == 4
    else:
        assert contents(tmp_path) == before
    assert verify(tmp_path) == verify(tmp_path)
    assert verify(tmp_path).is_intact
    assert not verify(tmp_path).notes


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.headend.export.test_write import fill, gapped, run
taken = []
def die(step):
    taken.append(step)
    if len(taken) > int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
store = gapped()
fill(store)
run(store, Path(sys.argv[1]), at_step=die)
"""


@pytest.mark.parametrize("failing", range(11))
def test_kill_at_any_step_leaves_the_export_complete_or_absent(tmp_path: Path, failing: int) -> None:
    store = gapped()
    run(store, tmp_path)
    before = contents(tmp_path)

    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), str(failing)],
        env={**os.environ, "PYTHONPATH": "."}, capture_output=True, timeout=100, check=False,
    )  # fmt: skip

    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    found = verify(tmp_path)
    assert found.is_intact
    assert {name: data for name, data in contents(tmp_path).items() if name in before} == before
    fill(store)
    result = run(store, tmp_path)
    assert result.sequence == 2
    assert result.is_new is (found.sequences == (1,))
    assert [note for note in result.notes if note.startswith("removed")] == [
        f"removed {note.split()[0]}: left by an interrupted run, never an export" for note in found.notes
    ]
    assert len(contents(tmp_path)) == 4
    assert verify(tmp_path).is_intact
    assert not verify(tmp_path).notes


def test_data_files_that_no_interrupted_run_can_have_left_are_a_broken_chain_and_stay(tmp_path: Path) -> None:
    for name in ("headend-000001-20250101-20250131.csv", "headend-000002-20250201-20250228.csv"):
        (tmp_path / name).write_text("a bill's numbers, moved here without their manifests")
    before = contents(tmp_path)

    with pytest.raises(BrokenChain, match=r"headend-000002-20250201-20250228\.csv has no manifest"):
        run(gapped(), tmp_path)

    assert contents(tmp_path) == before


def three_exports(directory: Path) -> list[ExportResult]:
    store = gapped()
    results = [run(store, directory)]
    for value in (7, 8):
        store.raw[1, EXPORT].values[0] = value
        results.append(run(store, directory))
    return results


def test_missing_sequence_is_named(tmp_path: Path) -> None:
    three_exports(tmp_path)[1].manifest.unlink()

    assert verify(tmp_path).faults == ("export 2 is missing: there is no headend-000002.manifest.json",)


def test_missing_data_file_is_named(tmp_path: Path) -> None:
    name = three_exports(tmp_path)[1].files[0]
    name.unlink()

    assert verify(tmp_path).faults == (f"{name.name} of export 2 is missing",)


@pytest.mark.parametrize("place", [0, 100, -1])
def test_altered_file_is_named(tmp_path: Path, place: int) -> None:
    path = three_exports(tmp_path)[1].files[0]
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)

    assert verify(tmp_path).faults == (f"{path.name} of export 2 was altered: its SHA-256 differs from the manifest's",)


def test_altered_manifest_breaks_the_chain(tmp_path: Path) -> None:
    path = three_exports(tmp_path)[1].manifest
    path.write_text(path.read_text().replace('"total": "4.5', '"total": "9.5', 1))

    (fault,) = verify(tmp_path).faults
    assert "headend-000002.manifest.json is not the one that export 3 followed" in fault


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "\x00", '{"schema": "headend.export/1"}', '{"schema": "other/1"}', "[" * 100_000]
)
def test_unreadable_manifest_is_named(tmp_path: Path, text: str) -> None:
    three_exports(tmp_path)[1].manifest.write_text(text)

    assert "headend-000002.manifest.json cannot be read" in verify(tmp_path).faults[0]


def test_manifest_may_not_name_a_file_elsewhere(tmp_path: Path) -> None:
    path = three_exports(tmp_path)[2].manifest
    path.write_text(path.read_text().replace('"name": "headend-', '"name": "../headend-', 1))

    assert "headend-000003.manifest.json cannot be read" in verify(tmp_path).faults[0]


def test_manifest_under_another_number_is_named(tmp_path: Path) -> None:
    results = three_exports(tmp_path)
    results[2].manifest.rename(tmp_path / manifest_name(4))

    faults = verify(tmp_path).faults
    assert "export 3 is missing" in faults[0]
    assert "headend-000004.manifest.json calls itself export 3" in faults[1]


def test_nothing_is_added_to_a_broken_chain(tmp_path: Path) -> None:
    three_exports(tmp_path)[0].manifest.unlink()
    before = contents(tmp_path)

    with pytest.raises(ExportError, match=r"chain of exports is broken.*export 1 is missing"):
        run(house(), tmp_path)

    assert contents(tmp_path) == before


def test_altered_file_is_not_replaced(tmp_path: Path) -> None:
    store = gapped()
    run(store, tmp_path).files[0].write_bytes(b"")
    before = contents(tmp_path)
    fill(store)

    with pytest.raises(ExportError, match="was altered"):
        run(store, tmp_path)

    assert contents(tmp_path) == before


def test_two_runs_in_one_directory_do_not_mix(tmp_path: Path) -> None:
    def again(step: str) -> None:
        if step == "write data":
            run(gapped(), tmp_path)

    with pytest.raises(ExportError, match="another export is being written here"):
        run(gapped(), tmp_path, at_step=again)


def test_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="known: csv, nem12"):
        run(house(), tmp_path, "xls")


def test_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ExportError, match=r"file.*nothing was left half written"):
        run(house(), tmp_path / "file")


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def full(step: str) -> None:
        if step == "sync data":
            raise OSError(28, "No space left on device")

    with pytest.raises(ExportError, match="No space left on device; nothing was left half written"):
        run(house(), tmp_path, at_step=full)

    assert contents(tmp_path) == {}


def test_value_that_arrived_after_validation_is_noted(tmp_path: Path) -> None:
    store = gapped()
    store.validated[1, IMPORT] = store.raw[1, IMPORT]
    for day in range(MIDNIGHT // DAY, MIDNIGHT // DAY + 3):
        store.version_of[1, IMPORT, day] = 1
    store.raw[1, IMPORT] = house().raw[1, IMPORT]

    result = run(store, tmp_path)

    assert result.notes == ("4 values arrived after validation and are not in it; run validation again",)
    assert json.loads(result.manifest.read_text())["notes"] == list(result.notes)


def test_value_that_arrived_after_its_slot_was_estimated_is_noted(tmp_path: Path) -> None:
    store = gapped()
    estimated = copy.deepcopy(store.raw[1, IMPORT])
    estimated.state[estimated.state == State.MISSING] = State.ESTIMATED
    store.validated[1, IMPORT] = estimated
    for day in range(MIDNIGHT // DAY, MIDNIGHT // DAY + 3):
        store.version_of[1, IMPORT, day] = 1
    before = run(store, tmp_path)
    store.raw[1, IMPORT] = house().raw[1, IMPORT]

    after = run(store, tmp_path)

    assert before.notes == ()
    assert after.notes[0] == "4 values arrived after validation and are not in it; run validation again"
