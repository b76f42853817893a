"""``headend store``."""

import csv
import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headend.cli.exits import Exit
from headend.clock import SystemClock
from headend.places import store_file
from headend.registry.model import DAY
from headend.series import Series
from headend.store.model import VeeRun
from headend.store.quarantine import mark_of, quarantine
from headend.store.reader import StoreReader
from headend.store.request import Request, RequestFile
from headend.store.store import Store
from kernels.quality import State
from tests.headend.cli.conftest import ENERGY, MIDNIGHT, NOON, WATT_HOUR, Run

KEY = "ab" * 32


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "backup.key").write_text(f"{KEY}\n")
    return f"file:{tmp_path / 'backup.key'}"


@pytest.mark.usefixtures("filled")
def test_a_sound_store_passes_the_check_and_a_flipped_bit_does_not(run: Run, data: Path) -> None:
    assert run("store", "check").code == 0
    path = store_file(data)
    content = bytearray(path.read_bytes())
    at = content.index(b"HEBK") + 30  # inside the block
    content[at] ^= 1
    path.write_bytes(content)

    ran = run("store", "check", "-o", "json")

    assert ran.code == 8
    (row,) = json.loads(ran.out)["rows"]
    assert "of table raw is damaged" in row["fault"]


@pytest.mark.usefixtures("filled")
def test_stats_say_what_there_is_and_whether_it_can_be_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(run("store", "stats", "-o", "json").out)
    monkeypatch.setenv("HEADEND_STORE__RESERVE_MIB", str(2**30))
    reserved = run("store", "stats")

    tables = {row["table"]: row["rows"] for row in found["rows"]}
    assert tables["raw"] > 0
    assert tables["end_device"] == 2
    assert found["condition"] == "ok"
    assert found["file_bytes"] > 0
    assert "condition: degraded" in reserved.err
    assert "kept for commands and audit" in reserved.err


@pytest.mark.usefixtures("filled")
def test_a_backup_comes_back_in_another_place(run: Run, data: Path, tmp_path: Path, key: str) -> None:
    before = run("status", "-o", "json").out

    assert run("store", "backup", "city.hbk", "--key", key).code == 0
    assert run("store", "backup", "city.hbk", "--key", key).code == 1
    assert run("store", "restore", "city.hbk", "--key", key).code == 1, "what is there is not replaced unasked"
    replaced = run("store", "restore", "city.hbk", "--key", key, "--replace")

    assert replaced.code == 0
    assert "is kept as" in replaced.err
    assert run("status", "-o", "json").out == before
    assert KEY not in (tmp_path / "city.hbk").read_bytes().hex()
    assert list(data.glob("headend.db.replaced-*"))


@pytest.mark.usefixtures("filled")
def test_a_backup_that_another_key_is_given_for_is_refused(run: Run, tmp_path: Path, key: str) -> None:
    (tmp_path / "other.key").write_text("cd" * 32)
    assert run("store", "backup", "city.hbk", "--key", key).code == 0

    ran = run("--data", "drill", "store", "restore", "city.hbk", "--key", f"file:{tmp_path / 'other.key'}")

    assert ran.code == Exit.REFUSED
    assert "does not open: another key" in ran.err


def test_what_is_no_backup_is_not_taken_for_one_of_another_key(run: Run, tmp_path: Path, key: str) -> None:
    (tmp_path / "city.hbk").write_bytes(bytes(100))

    ran = run("store", "restore", "city.hbk", "--key", key)

    assert ran.code == Exit.INTERNAL
    assert "is no backup of headend" in ran.err


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("text", ["garbage", "ab" * 16])
def test_what_is_no_key_of_a_backup_is_told_the_one_length_there_is(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.key").write_text(text)

    ran = run("store", "backup", "city.hbk", "--key", f"file:{tmp_path / 'bad.key'}")

    assert ran.code == Exit.CONFIG
    assert ran.err.endswith("bad.key: is no key; write 64 hexadecimal digits (AES-256)\n")


@pytest.mark.usefixtures("filled")
def test_a_key_written_out_is_refused_and_not_repeated(run: Run) -> None:
    ran = run("store", "backup", "city.hbk", "--key", KEY)

    assert ran.code == 5
    assert KEY not in ran.err


@pytest.mark.usefixtures("filled")
def test_a_store_set_apart_is_read_but_not_written(run: Run, data: Path) -> None:
    quarantine(str(store_file(data)), "a page makes no sense")

    assert run("status").code == 0
    assert run("store", "check").code == 8
    compacted = run("store", "compact")

    assert compacted.code == 1
    assert "a page makes no sense" in compacted.err
    mark_of(str(store_file(data))).unlink()
    assert run("store", "compact").code == 0


@pytest.mark.usefixtures("filled")
def test_compact_beside_a_running_headend_asks_it_and_waits(run: Run, data: Path) -> None:
    path = str(store_file(data))

    def answer() -> None:
        while RequestFile(path).asked_for() is None:
            time.sleep(0.01)
        RequestFile(path).settle_request(Request.COMPACT)

    with Store.open(path, lambda: NOON):
        answering = threading.Thread(target=answer)
        answering.start()
        asking = run("store", "compact")
        answering.join()
        late = run("store", "compact", "--wait", "0")

    assert asking.code == 0
    assert late.code == 1
    assert "was asked to compact, and is not done after 0 s" in late.err
    assert RequestFile(path).asked_for() is Request.COMPACT, "it is not forgotten"


@pytest.mark.usefixtures("data")
def test_a_store_from_before_is_compacted_only_by_who_has_it_alone(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.mkdir()
    monkeypatch.setattr("headend.store.store.INCREMENTAL", 0)
    with Store.open(store_file(data), lambda: NOON):
        beside = run("store", "compact")
    alone = run("store", "compact")

    assert beside.code == 1
    assert "is writing this store" in beside.err
    assert "rewritten once" in beside.err
    assert alone.code == 0
    with StoreReader.open(store_file(data)) as reader:
        assert reader.can_give_back()


TERMS = "[retention]\nraw_days = 40\nvalidated_days = 40\nevent_days = 40\n[sinks.city]\nkind = 'influxdb'\nurl = 'http://127.0.0.1:9'\n"


@pytest.fixture
def outlived(run: Run, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The filled store, validated, a hundred days later; a sink of the settings has taken nothing of it."""
    run("--version")  # its clock is put forward only now
    (tmp_path / "headend.toml").write_text(TERMS)
    with Store.open(store_file(filled), lambda: NOON) as store, store.transaction():
        series = Series.empty(MIDNIGHT, 1_800, WATT_HOUR, 48, State.MEASURED)
        series.values[:] = range(48)
        store.write_validated(1, ENERGY, MIDNIGHT // DAY, series, VeeRun("residential 3", NOON))
        store.advance_cursor("vee", store.last_seq())
    monkeypatch.setattr(SystemClock, "now", lambda _: NOON + 100 * DAY)
    return filled


@pytest.mark.usefixtures("outlived")
def test_a_dry_run_says_what_would_go_and_what_a_sink_would_miss_and_changes_nothing(run: Run) -> None:
    ran = run("store", "retain", "--dry-run", "-o", "json")

    said = json.loads(ran.out)
    assert ran.code == 0
    assert [(row["what"], row["before"], row["rows"]) for row in said["rows"]] == [
        ("event", "2025-01-19", 0), ("raw", "2024-12-20", 2), ("validated", "2024-12-20", 1),
    ]  # fmt: skip
    assert [(gap["sink"], gap["layer"], gap["changes"]) for gap in said["gaps"]] == [
        ("city", "raw", 3), ("city", "validated", 1),
    ]  # fmt: skip
    assert "city will not get changes of the raw layer, 3 with numbers" in ran.err
    assert json.loads(run("store", "stats", "-o", "json").out)["kept_from"] == {}


@pytest.mark.usefixtures("outlived")
def test_retain_drops_what_the_dry_run_said_and_sums_and_gaps_can_be_seen(run: Run) -> None:
    assert run("store", "retain").code == 0

    stats = json.loads(run("store", "stats", "-o", "json").out)
    assert {row["table"]: row["rows"] for row in stats["rows"]}["raw"] == 0
    assert stats["kept_from"]["raw"] == "2024-12-20", "thirty days more for the sink, and no longer"
    assert len(stats["gaps"]) == 2
    assert stats["audit_entries"] == 1 + 3
    assert len(stats["audit_head"]) == 64
    sink = run("sink", "status", "-o", "json")
    (row,) = json.loads(sink.out)["rows"]
    assert (row["sink"], row["gaps"]) == ("city", 2)
    assert "city will not get changes of the raw layer, 3 with numbers" in run("sink", "status").err
    day = datetime.fromtimestamp(MIDNIGHT, UTC).date().isoformat()
    sums = json.loads(run("store", "sums", "UP1", "--from", day, "--to", day, "-o", "json").out)
    assert [row["sum"] for row in sums["rows"]] == [str(4 * hour + 1) for hour in range(24)]
    assert {row["measured"] for row in sums["rows"]} == {2}
    assert "48 slots were dropped by retention" in run("curve", "UP1", "--day", day).err
    curve = json.loads(run("curve", "UP1", "--day", day, "-o", "json").out)
    assert {(row["state"], row["reason"]) for row in curve["rows"]} == {("not_expected", "dropped")}
    assert run("missing", "--day", day).out == run("missing", "--day", "2024-01-01").out, "nothing is missing there"


def test_sums_of_days_without_any_value_are_none(run: Run, outlived: Path, tmp_path: Path) -> None:
    with Store.open(store_file(outlived), lambda: NOON) as store, store.transaction():
        nothing = Series.empty(MIDNIGHT, 1_800, WATT_HOUR, 48, State.MISSING)
        store.write_validated(2, ENERGY, MIDNIGHT // DAY, nothing, VeeRun("residential 3", NOON))
        store.advance_cursor("vee", store.last_seq())
    day = datetime.fromtimestamp(MIDNIGHT, UTC).date().isoformat()
    assert run("store", "retain").code == 0

    shown = json.loads(run("store", "sums", "UP2", "--from", day, "--to", day, "-o", "json").out)
    run("store", "export", "left", "--format", "csv")

    with (tmp_path / "left" / "sum.csv").open(newline="") as file:
        left = [row["sum"] for row in csv.DictReader(file) if row["usage_point"] == "UP2"]
    assert [(row["sum"], row["missing"]) for row in shown["rows"]] == [(None, 2)] * 24
    assert left == [""] * 24


@pytest.mark.usefixtures("filled")
def test_without_terms_nothing_is_dropped(run: Run) -> None:
    ran = run("store", "retain")

    assert ran.code == 0
    assert "nothing has outlived its term" in ran.err


@pytest.mark.parametrize(
    "command", [("check",), ("stats",), ("compact",), ("retain",), ("backup", "f", "--key", "env:K")]
)
def test_without_a_store_the_next_step_is_named(run: Run, command: tuple[str, ...]) -> None:
    ran = run("store", *command)

    assert ran.code == 2
    assert "headend store restore BACKUP" in ran.err


@pytest.mark.usefixtures("filled")
def test_the_store_is_left_as_files_that_a_new_one_can_begin_with(run: Run) -> None:
    ran = run("store", "export", "left", "--format", "csv", "-o", "json")

    assert ran.code == 0
    tables = {row["table"]: row["rows"] for row in json.loads(ran.out)["rows"]}
    assert tables["meters"] == 2
    assert tables["raw"] > 0
    assert "sha256sum -c SHA256SUMS" in ran.err
    assert run("meter", "import", "left/meters.csv", "--dry-run").code == 0
    again = run("store", "export", "left")
    assert again.code != 0
    assert "is there already" in again.err


@pytest.mark.usefixtures("filled")
def test_days_of_an_export_stand_in_order(run: Run, tmp_path: Path) -> None:
    assert run("store", "export", "left", "--from", "2024-11-20", "--to", "2024-11-19").code == 2

    assert run("store", "export", "left", "--from", "2024-11-20", "--area", "north").code == 0
    assert (tmp_path / "left/manifest.json").exists()
