"""The command line as a whole: quick help, exit codes, and an output contract that holds for every command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from headend.cli.exits import MEANING, Exit
from headend.cli.main import COMMANDS, cli
from tests.headend.cli.conftest import Run

HEAVY = ("numpy", "pydantic", "rich", "apsw", "cryptography", "structlog", "asyncio", "plotille", "serial", "aiomqtt")


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    clean = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "COLUMNS"}}
    command = [sys.executable, "-m", "headend.cli", *arguments]
    return subprocess.run(command, capture_output=True, env=clean | environment, timeout=60, check=False)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom headend.cli.main import run\ncode = run(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_help_names_every_exit_code() -> None:
    done = process("--help")

    text = " ".join(done.stdout.decode().split())
    assert done.returncode == 0
    assert all(f"{int(code)} {words}" in text for code, words in MEANING.items())


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"demo"}))
def test_every_command_has_help(name: str, run: Run) -> None:
    done = run(name, "--help")

    assert done.code == Exit.OK
    assert len(done.out.splitlines()) > 3
    assert cli.lazy[name][1]


def test_unknown_command_names_the_nearest(run: Run) -> None:
    done = run("statu")

    assert done.code == Exit.USAGE
    assert "did you mean status?" in done.err
    assert not done.out


def test_unknown_option_is_a_usage_error(run: Run) -> None:
    assert run("status", "--nonsense").code == Exit.USAGE


def test_missing_store_is_a_usage_error_that_says_what_to_do(run: Run) -> None:
    done = run("status")

    assert done.code == Exit.USAGE
    assert "headend meter import" in done.err
    assert not done.out


def test_faulty_settings_are_exit_5_with_every_fault(run: Run) -> None:
    Path("headend.toml").write_text("[collect]\nwindow_days = 0\nnonsense = 1\n")

    done = run("config", "check")

    assert done.code == Exit.CONFIG
    assert "settings: 2 faults" in done.err
    assert "collect.window_days" in done.err
    assert "collect.nonsense: is unknown" in done.err


def test_bug_of_ours_is_exit_1_with_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("headend.cli.config.App.of", fail)

    done = run("config", "check")

    assert done.code == Exit.INTERNAL
    assert "ZeroDivisionError" in done.err
    assert "This is a bug" in done.err


def test_place_that_may_not_be_read_or_written_is_said_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/var/lib/headend")

    monkeypatch.setattr("headend.cli.config.App.of", deny)

    done = run("config", "check")

    assert done.code == Exit.INTERNAL
    assert done.err == "error: /var/lib/headend: Permission denied\n"


def test_interrupt_is_exit_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headend.cli.config.App.of", interrupt)

    assert run("config", "check").code == Exit.INTERRUPTED


def test_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m headend.cli config show -o ndjson | head -n 1"

    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)

    assert json.loads(done.stdout)["schema"] == "headend.config/1"
    assert "Error" not in done.stderr


@pytest.mark.parametrize("name", ["table", "json", "ndjson", "csv"])
def test_reader_that_has_gone_before_anything_is_written_is_exit_0(name: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stdout:
        command = [sys.executable, "-m", "headend.cli", "config", "show", "-o", name]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (Exit.OK, b"")


def test_output_that_has_no_room_is_said_without_a_traceback() -> None:
    with Path("/dev/full").open("wb") as stdout:
        command = [sys.executable, "-m", "headend.cli", "config", "show"]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False)

    assert done.returncode == Exit.INTERNAL
    assert done.stderr == (
        "error: the output could not be written: No space left on device; make room where it goes, or send it elsewhere\n"
    )


def test_streams_that_are_closed_are_nobody_to_write_to() -> None:
    command = f"{sys.executable} -m headend.cli config show <&- >&-"

    done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (Exit.OK, b"")


def test_pipe_gets_no_escape_sequences(filled: Path) -> None:
    done = process("--data", str(filled), "doctor")

    assert b"\x1b" not in done.stdout
    assert b"PASS" in done.stdout


def test_color_always_colors_and_no_color_does_not_win_over_it(filled: Path) -> None:
    assert b"\x1b[" in process("--data", str(filled), "--color", "always", "doctor", NO_COLOR="1").stdout


def test_ascii_console_gets_ascii_and_no_error(filled: Path) -> None:
    done = process("--data", str(filled), "curve", "UP1", "--day", "2024-11-20", PYTHONIOENCODING="ascii")

    assert done.returncode == 0
    assert done.stdout.isascii()
    assert b"#" in done.stdout
    assert b"?" not in done.stdout


def test_ascii_option_gives_ascii(filled: Path) -> None:
    for arguments in (("status",), ("meter", "list"), ("curve", "UP1", "--day", "2024-11-20")):
        done = process("--ascii", "--data", str(filled), *arguments, PYTHONIOENCODING="utf-8")

        assert done.returncode == 0
        assert done.stdout.isascii()


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("missing",), ("meter", "list"), ("meter", "show", "SIM:17"), ("curve", "UP1"), ("profile", "list"),
     ("config", "show"), ("doctor",)],
    ids=" ".join,
)  # fmt: skip
def test_every_command_gives_versioned_json_ndjson_and_csv(
    arguments: tuple[str, ...], run: Run, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert filled.exists()
    free = 2**40  # doctor tells it, and others fill the disk between two calls
    monkeypatch.setattr("headend.doctor.shutil.disk_usage", lambda _: SimpleNamespace(free=free))

    whole = json.loads(run(*arguments, "-o", "json").out)
    lines = [json.loads(line) for line in run(*arguments, "-o", "ndjson").out.splitlines()]
    table = run(*arguments, "-o", "csv").out.splitlines()

    assert whole["schema"].startswith("headend.")
    assert whole["schema"].endswith("/1")
    assert lines == [{"schema": whole["schema"], **row} for row in whole["rows"]]
    assert len(table) == len(whole["rows"]) + 1
    assert whole["rows"]
