"""The command line on a store that is on a PostgreSQL server: the same answers as on a file, octet for octet."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headend.cli import main
from headend.clock import SystemClock
from headend.store.reader import StoreReader
from headend.store.request import Request, requests_of
from headend.store.store import Store
from tests.headend.cli.conftest import METERS, NOON, Ran, Run
from tests.postgres import PASSWORD, Postgres

START = "2024-11-20T11:40:00"
"""Of the simulated meters' clocks: twenty minutes before noon, so that this morning lies in their memory."""


@pytest.fixture
def port() -> Iterator[int]:
    command = [sys.executable, "-u", "-m", "simulators.main", "dlms", "--meters", "1", "--start", START]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().split("127.0.0.1:")[1].split(",")[0])
        finally:
            process.terminate()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line at noon of a fixed day, in a directory of its own, without saying where the store is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SystemClock, "now", lambda _: NOON)
    for name in ("NO_COLOR", "XDG_DATA_HOME", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Ran:
        code = main.run(list(arguments))
        captured = capsys.readouterr()
        return Ran(int(code), captured.out, captured.err)

    return run


@pytest.fixture
def on_server(postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Name a schema over TCP in the settings, its password in a file; give the schema's name."""
    place = postgres.remote()
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    monkeypatch.setenv("HEADEND_STORE__URL", str(place))
    monkeypatch.setenv("HEADEND_STORE__PASSWORD_REF", f"file:{tmp_path / 'password'}")
    return place.schema


def collect(run: Run, port: int, *where: str) -> dict[str, str]:
    """Register a meter, read it, validate and export; give what came out, by what was asked."""
    Path("meters.csv").write_text(
        METERS.splitlines()[0]
        + f"\n6102000001,SIM0000000001001,sim-dlms-wrapper,tcp://127.0.0.1:{port},1,2024-11-19,,UTC,north\n"
    )
    imported = run(*where, "meter", "import", "meters.csv")
    assert imported.code == 0, imported.err
    done = run(*where, "run", "--once", "-o", "json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["rows"][0]["ok"] == 1
    answers = {
        " ".join(question): run(*where, *question).out
        for question in (
            ("status", "-o", "json"), ("missing", "-o", "json"), ("meter", "list", "-o", "csv"), ("store", "check", "-o", "json"),
            ("explain", "6102000001", "-o", "json"), ("sink", "list", "-o", "json"),
        )
    }  # fmt: skip
    for name in ("nem12", "csv"):
        directory = Path(f"{'-'.join(where).strip('-').replace('/', '_') or 'server'}-{name}")
        exported = run(
            *where, "export", name, "--from", "2024-11-20", "--to", "2024-11-20", "--directory", str(directory)
        )
        assert exported.code == 0, exported.err
        for file in sorted(directory.iterdir()):
            answers[f"{name} {file.name}"] = file.read_text()
    return answers


def test_a_meter_read_into_postgresql_exports_the_same_octets_as_from_a_file(
    run: Run, port: int, on_server: str, postgres: Postgres
) -> None:
    from_server = collect(run, port)
    from_file = collect(run, port, "--data", "data")

    assert from_server == from_file
    assert len(from_server) >= 10
    rows = postgres.sql(
        f"SELECT count(*), min(start)::TEXT, min(unit) FROM {on_server}.validated_reading WHERE value IS NOT NULL"
    )
    assert int(rows.split("|")[0]) >= 40


@pytest.mark.usefixtures("on_server")
def test_what_only_a_file_can_do_says_what_to_do_instead(run: Run, tmp_path: Path) -> None:
    (tmp_path / "backup.key").write_text("ab" * 32)
    (tmp_path / "city.hbk").write_bytes(b"a backup")
    key = ("--key", f"file:{tmp_path / 'backup.key'}")

    for command, words in (
        (("store", "backup", "new.hbk", *key), "pg_dump"),
        (("store", "restore", "city.hbk", *key), "pg_restore, then headend store advance-counters"),
        (("store", "compact"), "autovacuum"),
    ):
        ran = run(*command)
        assert ran.code == 2, ran.err
        assert "on a PostgreSQL server" in ran.err
        assert words in ran.err
    assert not (tmp_path / "new.hbk").exists()


@pytest.mark.usefixtures("on_server")
def test_there_is_no_store_before_meters_are_registered(run: Run) -> None:
    asked = run("status")
    Path("meters.csv").write_text(METERS)
    rehearsed = run("meter", "import", "meters.csv", "--dry-run", "-o", "json")
    again = run("status")

    assert asked.code == again.code == 2, "a rehearsal makes none either"
    assert "there is no store in postgresql://headend@127.0.0.1" in asked.err
    assert json.loads(rehearsed.out)["rows"][0]["added"] > 0, rehearsed.err


def test_retain_beside_a_running_headend_asks_it_and_waits(run: Run, on_server: str, postgres: Postgres) -> None:
    place = postgres.remote(on_server)

    def answer() -> None:
        with requests_of(place) as requests:
            while requests.asked_for() is None:
                time.sleep(0.01)
            requests.settle_request(Request.RETAIN)

    with Store.open(place, lambda: NOON) as store:
        answering = threading.Thread(target=answer)
        answering.start()
        asking = run("store", "retain")
        answering.join()
        late = run("store", "retain", "--wait", "0")

        assert asking.code == 0, asking.err
        assert late.code == 1
        assert "was asked to retain, and is not done after 0 s" in late.err
        assert store.asked_for() is Request.RETAIN, "it is not forgotten"


def test_counters_go_ahead_once_a_dump_is_restored(run: Run, on_server: str, postgres: Postgres) -> None:
    place = postgres.remote(on_server)
    with Store.open(place, lambda: NOON) as store, store.transaction():
        store.reserve_counter("ours/key", 256)

    ran = run("store", "advance-counters", "--counter-jump", "1000")

    assert ran.code == 0, ran.err
    assert "1 invocation counter went ahead by 1000" in ran.err
    with StoreReader.open(place) as reader:
        assert [counter.next for counter in reader.counters()] == [1256]
        assert [event.kind for event in reader.events()] == ["restored"]


def test_stats_and_doctor_look_at_the_server(run: Run, on_server: str, postgres: Postgres) -> None:
    Store.open(postgres.remote(on_server), lambda: NOON).close()

    stats = json.loads(run("store", "stats", "-o", "json").out)
    checked = json.loads(run("doctor", "-o", "json").out)["rows"]

    assert {row["table"] for row in stats["rows"]} >= {"raw", "validated", "change_log"}
    assert (stats["condition"], stats["log_bytes"]) == ("ok", 0)
    assert stats["file_bytes"] == sum(row["bytes"] for row in stats["rows"]) > 0
    (store,) = [row for row in checked if row.get("subject", row.get("check")) == "store"]
    assert "fsync is off" in json.dumps(store), "as the tests' server is"
    assert PASSWORD not in json.dumps(checked)
