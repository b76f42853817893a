"""A meter that none of us wrote, by the CONTRIBUTING page alone: its profile, a row in a table, one round, one exported day."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.peers.meters import gurux_meter
from tests.shared import REPOSITORY

pytest.importorskip("gurux_dlms", reason="the peer is not installed: pip install 'headend[peers]'")

VALUES = [7 * step % 173 for step in range(96)]
MEMORY_LIMIT = 100 * 1024  # [KiB]


def from_page(heading: str, language: str) -> str:
    """Take a code block of the page, the first of a language after a heading."""
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(rf"### {heading}\n.*?```{language}\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


# A process's peak counts the memory of the one it was forked from, which here is pytest's: hence a small one in between.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def headend(directory: Path, *arguments: str) -> tuple[str, int]:
    """Run a command as a user would; give its standard output and its largest memory [KiB]."""
    command = [sys.executable, "-m", "headend.cli", "--profiles", ".", "--data", "data", *arguments]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "peak", *command], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, int((directory / "peak").read_text())


def test_a_model_written_from_the_page_is_read_stored_and_exported(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    arguments = ("--authentication", "hls5", "--period", "900", "--values", ",".join(map(str, VALUES)))
    with gurux_meter(*arguments) as meter:
        (tmp_path / "acme-e40.toml").write_text(from_page("A DLMS meter with a load profile", "toml"))
        table = from_page("Read one", "csv")
        for page, peer in (
            ("ACM0000000004711", meter["name"]), ("192.0.2.10:4059", f"127.0.0.1:{meter['port']}"),
            ("2026-01-01,,UTC", f"{meter['first_day']},2026-01-02,UTC"),
        ):  # fmt: skip
            assert page in table
            table = table.replace(page, peer)
        (tmp_path / "meters.csv").write_text(table)
        (tmp_path / "keys").mkdir()
        for name, key in (("4711.ek", meter["encryption_key"]), ("4711.ak", meter["authentication_key"])):
            (tmp_path / "keys" / name).write_text(key + "\n")

        headend(tmp_path, "profile", "check", "acme-e40.toml")
        headend(tmp_path, "meter", "import", "meters.csv", "--dry-run")
        headend(tmp_path, "meter", "import", "meters.csv")
        (tmp_path / "settings").mkdir()
        (tmp_path / "settings" / "headend.toml").write_text("[collect]\nbackfill_days = 1000\n")
        summary, memory = headend(tmp_path, "--config", "settings/headend.toml", "run", "--once", "-o", "json")
        headend(tmp_path, "export", "csv", "--from", "2026-01-01", "--to", "2026-01-01", "--directory", "out")

    record_property("collecting_process_peak_kib", memory)
    assert json.loads(summary)["rows"][0]["new"] >= len(VALUES)
    (exported,) = (tmp_path / "out").glob("*.csv")
    with exported.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Decimal(row["value"]) for row in rows] == [Decimal(value) / 100 for value in VALUES]
    assert {(row["unit"], row["quality"], row["usage_point"]) for row in rows} == {("kWh", "measured", "NAAAMYS582")}
    assert memory < MEMORY_LIMIT
