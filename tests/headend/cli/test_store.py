"""``headend store``."""

import json
from pathlib import Path

import pytest

from headend.places import store_file
from headend.store.quarantine import mark_of, quarantine
from tests.headend.cli.conftest import Run

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


@pytest.mark.parametrize("command", [("check",), ("stats",), ("compact",), ("backup", "f", "--key", "env:K")])
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
