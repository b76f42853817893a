"""Reading simulated meters from the command line, each process on its own."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headend.cli.exits import Exit
from headend.cli.run import verdict
from headend.collect.job import RoundSummary
from headend.service import ServiceSummary
from kernels.quality import Reason

HEADING = "usage_point,meter,profile,link,address,from,to,zone\n"


def since() -> str:
    return (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")


@pytest.fixture
def port() -> Iterator[int]:
    """Port of two simulated DLMS meters at addresses 1 and 2, whose clocks are right."""
    start = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    command = [sys.executable, "-u", "-m", "simulators.main", "dlms", "--meters", "2", "--start", start]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield int(line.split("127.0.0.1:")[1].split(",")[0])
        finally:
            process.terminate()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def headend(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headend.cli", "--data", str(data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, cwd=data.parent)


def register(data: Path, *rows: str) -> None:
    table = data.parent / "meters.csv"
    table.write_text(HEADING + "".join(row + "\n" for row in rows))
    done = headend(data, "meter", "import", str(table))
    assert done.returncode == Exit.OK, done.stdout + done.stderr


def row(number: int, port: int, address: int | None = None) -> str:
    name = f"SIM0000000001{number:03d}"
    return f"UP{number},{name},sim-dlms-wrapper,tcp://127.0.0.1:{port},{address or number},{since()},,UTC"


def test_round_reads_what_is_due_and_a_second_one_finds_nothing_open(port: int, data: Path) -> None:
    register(data, row(1, port), row(2, port))

    first = headend(data, "run", "--once", "-o", "json")
    second = headend(data, "run", "--once", "-o", "json")
    status = json.loads(headend(data, "status", "-o", "json").stdout)["rows"]

    assert first.returncode == second.returncode == Exit.OK, first.stderr + second.stderr
    (done,) = json.loads(first.stdout)["rows"]
    assert (done["ok"], done["failed"]) == (2, {})
    assert done["validated_days"] >= 2
    (week,) = [found for found in status if found["period"] == "7 days"]
    assert week["expected"] == week["measured"] >= 96


def test_round_with_a_dead_link_is_partial_and_says_why(port: int, data: Path) -> None:
    register(data, row(1, port), row(7, 1))

    done = headend(data, "run", "--once", "-o", "json")
    missing = json.loads(headend(data, "missing", "-o", "json").stdout)["rows"]

    assert done.returncode == Exit.PARTIAL
    assert json.loads(done.stdout)["rows"][0]["failed"] == {"no_route": 1}
    assert {(found["meter"], found["cause"]) for found in missing} == {("SIM0000000001007", "no_route")}


def test_wrong_meter_at_an_address_stores_nothing_and_counts_as_refused(port: int, data: Path) -> None:
    register(data, row(7, port, address=1))

    done = headend(data, "run", "--once", "-o", "json")
    read = headend(data, "read", "SIM0000000001007")

    (found,) = json.loads(done.stdout)["rows"]
    assert done.returncode == read.returncode == Exit.REFUSED
    assert (found["failed"], found["new"]) == ({"wrong_meter": 1}, 0)
    assert "SIM0000000001001" in read.stderr


def test_read_gives_values_with_instant_and_unit(port: int, data: Path) -> None:
    register(data, row(1, port))

    done = headend(data, "read", "SIM0000000001001", "active_energy_import", "voltage_l1", "-o", "json")

    values = json.loads(done.stdout)["rows"]
    assert done.returncode == Exit.OK, done.stderr
    assert [(value["name"], value["unit"]) for value in values] == [("active_energy_import", "Wh"), ("voltage_l1", "V")]
    assert all(isinstance(value["value"], str) and value["captured_at"].endswith("Z") for value in values)


def test_read_says_which_item_the_meter_did_not_give(port: int, data: Path) -> None:
    register(data, row(1, port))

    done = headend(data, "read", "SIM0000000001001", "active_energy_import", "current_neutral", "-o", "json")

    assert done.returncode == Exit.PARTIAL, done.stderr
    assert [value["name"] for value in json.loads(done.stdout)["rows"]] == ["active_energy_import"]
    assert "gave no current_neutral" in done.stderr


def test_read_of_a_meter_that_does_not_answer_is_exit_4(data: Path) -> None:
    register(data, row(1, 1))

    done = headend(data, "read", "SIM0000000001001")

    assert done.returncode == Exit.NO_ANSWER
    error, following = done.stderr.splitlines()
    assert error.startswith("error: tcp://127.0.0.1:1: ")
    assert following.startswith("next: check port, cable, address")
    assert not done.stdout


def test_missing_port_is_exit_6(data: Path) -> None:
    register(data, f"UP1,SIM:1,sim-modbus-rtu,serial:///dev/ttyNONE?baud=9600,1,{since()},,UTC")

    done = headend(data, "read", "SIM:1")

    assert done.returncode == Exit.PORT
    assert "/dev/ttyNONE" in done.stderr


def test_daemon_reads_lets_others_look_and_stops_when_told(port: int, data: Path) -> None:
    register(data, row(1, port))
    command = [sys.executable, "-m", "headend.cli", "--data", str(data), "run", "-o", "json"]

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=data.parent
    ) as daemon:
        try:
            measured = 0
            deadline = time.monotonic() + 60
            while not measured and time.monotonic() < deadline:
                time.sleep(0.2)
                status = headend(data, "status", "-o", "json")
                measured = sum(found["measured"] for found in json.loads(status.stdout)["rows"])
            second = headend(data, "run", "--once")
        finally:
            daemon.send_signal(signal.SIGTERM)
            out, err = daemon.communicate(timeout=30)

    assert measured
    assert second.returncode == Exit.INTERNAL
    assert f"process {daemon.pid} is writing this store" in second.stderr
    assert daemon.returncode == Exit.OK, err
    assert json.loads(out)["schema"] == "headend.run/1"


@pytest.mark.parametrize(
    ("ok", "failed", "expected"),
    [
        (2, {}, Exit.OK),
        (0, {}, Exit.OK),
        (1, {Reason.NO_ROUTE: 1}, Exit.PARTIAL),
        (0, {Reason.NO_ANSWER: 1, Reason.REFUSED: 1}, Exit.NO_ANSWER),
        (0, {Reason.SECURITY: 1, Reason.COUNTER: 1}, Exit.REFUSED),
    ],
)
def test_exit_code_of_a_round_follows_its_jobs(ok: int, failed: dict[Reason, int], expected: Exit) -> None:
    jobs = ok + sum(failed.values())

    assert verdict(ServiceSummary(round=RoundSummary(jobs=jobs, ok=ok, failed=failed))) is expected
