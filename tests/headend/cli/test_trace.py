"""Tracing from the command line, each process on its own: record, take apart, replay."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headend.cli.exits import Exit
from tests.headend.cli.conftest import Run

PASSWORD = "canary-in-LLS"
KEYS = ("000102030405060708090a0b0c0d0e0f", "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf")
METER = "SIM0000000001001"
HEADING = "usage_point,meter,profile,link,address,from,to,zone,password,encryption_key,authentication_key,options\n"


@contextmanager
def simulator(directory: Path, *arguments: str) -> Iterator[str]:
    """Run a simulator; give the link to it."""
    command = [sys.executable, "-u", "-m", "simulators.main", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=directory) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r" on (127\.0\.0\.1:\d+|/dev/\S+?)(?:,|$)", line)
            assert found, line
            yield found[1]
        finally:
            process.terminate()
            process.communicate(timeout=10)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "keys").write_text("\n".join(KEYS) + "\n")
    for name, key in zip(("ek", "ak"), KEYS, strict=True):
        (tmp_path / name).write_text(key + "\n")
    return tmp_path


def headend(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headend.cli", "--data", "data", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, cwd=directory)


def register(directory: Path, link: str, authentication: str, framing: str = "wrapper") -> None:
    since = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")
    secret = {
        "none": ",,", "lls": f"file:{directory}/password,,", "hls5": f",file:{directory}/ek,file:{directory}/ak",
    }[authentication]  # fmt: skip
    address = "1/17" if framing == "hdlc" else "1"
    row = (
        f"UP1,{METER},sim-dlms-{framing},tcp://{link},{address},{since},,UTC,{secret},authentication={authentication}\n"
    )
    (directory / "meters.csv").write_text(HEADING + row)
    done = headend(directory, "meter", "import", "meters.csv")
    assert done.returncode == Exit.OK, done.stdout + done.stderr


def dlms(directory: Path, authentication: str, framing: str = "wrapper") -> tuple[str, ...]:
    secret = {"none": (), "lls": ("--password-file", "password"), "hls5": ("--keys-file", "keys")}[authentication]
    start = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert directory.is_dir()
    return ("dlms", "--start", start, "--framing", framing, "--authentication", authentication, *secret)


def assert_clean(text: str) -> None:
    for secret in (PASSWORD, PASSWORD.encode().hex(), *KEYS):
        assert secret not in text


def test_a_meter_is_read_traced_taken_apart_and_replayed(secrets: Path) -> None:
    with simulator(secrets, *dlms(secrets, "lls", "hdlc")) as link:
        register(secrets, link, "lls", "hdlc")
        first = headend(secrets, "read", METER, "--trace", "a.trace", "-o", "json")
    port = link.split(":")[1]

    shown = headend(secrets, "trace", "decode", "a.trace")
    parsed = headend(secrets, "trace", "decode", "a.trace", "-o", "json")
    lines = headend(secrets, "trace", "decode", "a.trace", "-o", "ndjson")
    with simulator(secrets, "replay", "a.trace", "--port", port):
        again = headend(secrets, "read", METER, "-o", "json")

    assert first.returncode == again.returncode == Exit.OK, first.stderr + again.stderr
    assert "trace: a.trace" in first.stderr
    assert [row["value"] for row in json.loads(first.stdout)["rows"]] == [
        row["value"] for row in json.loads(again.stdout)["rows"]
    ]
    assert "active_energy_import 1-0:1.8.0*255" in shown.stdout
    assert "authentication value: 13 octets, not shown" in shown.stdout
    document = json.loads(parsed.stdout)
    assert document["schema"] == "headend.trace/1"
    assert (document["meter"], document["framing"]) == (METER, "hdlc")
    assert [json.loads(line)["name"] for line in lines.stdout.splitlines()] == [row["name"] for row in document["rows"]]
    assert_clean((secrets / "a.trace").read_text() + shown.stdout + parsed.stdout + lines.stdout + first.stderr)


def test_a_ciphered_round_is_traced_and_opened_with_the_keys_of_the_registry(secrets: Path) -> None:
    with simulator(secrets, *dlms(secrets, "hls5")) as link:
        register(secrets, link, "hls5")
        done = headend(secrets, "run", "--once", "--trace", "traces")
    path = f"traces/{METER}.trace"

    closed = headend(secrets, "trace", "decode", path)
    opened = headend(secrets, "trace", "decode", path, "--meter", METER)
    refused = subprocess.run(
        [sys.executable, "-m", "simulators.main", "replay", path], capture_output=True, text=True, timeout=30,
        check=False, cwd=secrets,
    )  # fmt: skip

    assert done.returncode == Exit.OK, done.stderr
    assert "globally ciphered" in closed.stdout
    assert "profile generic" not in closed.stdout
    assert "profile generic 1-0:99.1.0*255 attribute 2" in opened.stdout
    assert "FAULT" not in opened.stdout
    assert refused.returncode == 1
    assert "counters and challenges are new each time" in refused.stderr
    assert_clean((secrets / path).read_text() + opened.stdout + opened.stderr)


def test_a_recorded_serial_line_is_replayed_on_a_pseudo_terminal(tmp_path: Path) -> None:
    def import_(device: str) -> None:
        row = f"UP1,SIM:1001,sim-modbus-rtu,serial://{device}?baud=9600,1,2026-01-01,,UTC,,,,\n"
        (tmp_path / "meters.csv").write_text(HEADING + row)
        assert headend(tmp_path, "meter", "import", "meters.csv").returncode == Exit.OK

    with simulator(tmp_path, "modbus", "--pty") as device:
        import_(device)
        first = headend(tmp_path, "read", "SIM:1001", "--trace", "a.trace", "-o", "json")
    shown = headend(tmp_path, "trace", "decode", "a.trace")
    with simulator(tmp_path, "replay", "a.trace", "--pty") as device:
        import_(device)
        began = time.monotonic()
        again = headend(tmp_path, "read", "SIM:1001", "-o", "json")

    assert first.returncode == again.returncode == Exit.OK, first.stderr + again.stderr
    assert [row["value"] for row in json.loads(first.stdout)["rows"]] == [
        row["value"] for row in json.loads(again.stdout)["rows"]
    ]
    assert "active_energy_import 1-0:1.8.0*255: " in shown.stdout
    assert time.monotonic() > began


def test_tracing_without_end_is_refused(run: Run) -> None:
    done = run("run", "--trace", "traces")

    assert done.code == Exit.USAGE
    assert "--once" in done.err


def test_a_file_that_is_no_trace_is_neither_shown_nor_replaced(run: Run, tmp_path: Path, filled: Path) -> None:
    assert filled.is_dir()
    table = tmp_path / "meters.csv"
    table.write_text("usage_point,meter\n")

    shown, written = run("trace", "decode", str(table)), run("read", "SIM0000001", "--trace", str(table))
    missing = run("trace", "decode", "nowhere.trace")

    assert (shown.code, written.code, missing.code) == (Exit.USAGE, Exit.USAGE, Exit.USAGE)
    assert "not a trace" in shown.err
    assert "exists and is no trace" in written.err
    assert "nowhere.trace: No such file" in missing.err
    assert table.read_text() == "usage_point,meter\n"


def test_damaged_lines_are_told_and_the_rest_is_shown(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    path.write_text(
        'headend-trace/1 {"meter": "ACM1", "framing": "hdlc"}\n@ 2026-01-01T00:00:00Z\nrubbish\n0.001000 > 7ea0080'
    )

    done = run("trace", "decode", str(path))

    assert done.code == Exit.PARTIAL
    assert "session 1, 2026-01-01T00:00:00Z" in done.out
    assert "line 3: not understood" in done.err
    assert "line 4: not understood" in done.err


def test_keys_are_those_of_a_registered_meter_that_has_some(run: Run, tmp_path: Path, filled: Path) -> None:
    assert filled.is_dir()
    path = tmp_path / "a.trace"
    path.write_text('headend-trace/1 {"meter": "SIM0000001", "framing": "wrapper"}\n')

    without = run("trace", "decode", str(path), "--meter", "SIM0000001")
    unknown = run("trace", "decode", str(path), "--meter", "NOBODY")

    assert (without.code, unknown.code) == (Exit.USAGE, Exit.USAGE)
    assert "without an encryption key" in without.err
    assert "NOBODY" in unknown.err
