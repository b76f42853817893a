"""What single commands say about a store that holds two meters."""

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import click
import pytest

from drivers.facts import IntervalBlock, StatusWord
from headend.cli.exits import Exit
from headend.cli.main import cli
from headend.places import store_file
from headend.report import Days, Recent, coverage_by_link, coverages_by_link
from headend.store.reader import StoreReader
from headend.store.store import Store
from kernels.quality import Rule
from simulators.main import main as simulate
from tests.headend.cli.conftest import ENERGY, METERS, MIDNIGHT, NOON, WATT_HOUR, Run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "meters.csv"
    path.write_text(METERS)
    return path


def rows(text: str) -> list[dict[str, object]]:
    found = json.loads(text)["rows"]
    assert isinstance(found, list)
    return found


def test_import_adds_and_a_second_import_changes_nothing(run: Run, table: Path) -> None:
    first, second = run("meter", "import", str(table), "-o", "json"), run("meter", "import", str(table), "-o", "json")

    assert rows(first.out) == [{"added": 2, "changed": 0, "unchanged": 0, "dry_run": False}]
    assert rows(second.out) == [{"added": 0, "changed": 0, "unchanged": 2, "dry_run": False}]


def test_dry_run_makes_no_store(run: Run, table: Path, data: Path) -> None:
    done = run("meter", "import", str(table), "--dry-run", "-o", "json")

    assert rows(done.out) == [{"added": 2, "changed": 0, "unchanged": 0, "dry_run": True}]
    assert not data.exists()


def test_import_names_every_fault_of_every_row_and_changes_nothing(run: Run, table: Path, data: Path) -> None:
    table.write_text(METERS.replace("sim-modbus-rtu", "sim-modbus").replace("2024-11-19,,UTC,north", "soon,,UTC,north"))

    done = run("meter", "import", str(table), "-o", "json")

    assert done.code == Exit.CONFIG
    assert [(row["row"], row["column"]) for row in rows(done.out)] == [(2, "from"), (3, "profile")]
    assert not data.exists()


def test_table_that_is_not_utf8_is_a_usage_error(run: Run, table: Path) -> None:
    table.write_bytes(b"usage_point,meter\n\xff\n")

    assert run("meter", "import", str(table)).code == Exit.USAGE


def test_list_as_csv_imports_unchanged(run: Run, filled: Path, tmp_path: Path) -> None:
    assert filled.exists()
    listed = run("meter", "list", "-o", "csv").out
    (tmp_path / "again.csv").write_text(listed)

    done = run("meter", "import", str(tmp_path / "again.csv"), "-o", "json")

    assert rows(done.out) == [{"added": 0, "changed": 0, "unchanged": 2, "dry_run": False}]
    assert run("meter", "list", "-o", "csv").out == listed


def test_add_registers_one_meter_with_the_checks_of_a_table(run: Run) -> None:
    common = ["meter", "add", "--usage-point", "UP9", "--meter", "SIM:9", "--link", "tcp://h:502", "--address", "9"]

    faulty = run(*common, "--profile", "sim-modbus-rt", "--from", "2024-11-01", "-o", "json")
    added = run(*common, "--profile", "sim-modbus-rtu", "--from", "2024-11-01", "-o", "json")

    assert faulty.code == Exit.CONFIG
    assert "did you mean sim-modbus-rtu?" in faulty.out
    assert rows(added.out)[0]["added"] == 1
    assert rows(run("meter", "list", "-o", "json").out)[0]["meter"] == "SIM:9"


def test_secret_written_into_the_table_is_refused_and_not_repeated(run: Run, table: Path) -> None:
    table.write_text(
        "usage_point,meter,profile,link,address,from,zone,password\n"
        "UP1,SIM0000001,sim-dlms-wrapper,tcp://h:1,1,2024-11-19,UTC,hunter2\n"
    )

    done = run("meter", "import", str(table))

    assert done.code == Exit.CONFIG
    assert "hunter2" not in done.out + done.err


def test_show_tells_where_a_meter_is_and_how_its_visits_went(run: Run, filled: Path) -> None:
    assert filled.exists()

    found = rows(run("meter", "show", "SIM0000001", "-o", "json").out)

    assert {"about": "meter", "key": "profile", "value": "sim-dlms-wrapper"} in found
    assert {"about": "visit", "key": "2024-11-20T11:58:50Z load_profile", "value": "ok"} in found


def test_unknown_meter_is_a_usage_error(run: Run, filled: Path) -> None:
    assert filled.exists()

    for arguments in (("meter", "show", "NONE"), ("curve", "NONE"), ("missing", "--meter", "NONE")):
        done = run(*arguments)

        assert done.code == Exit.USAGE
        assert "NONE" in done.err


def test_status_counts_by_link_and_cause(run: Run, filled: Path) -> None:
    assert filled.exists()

    found = rows(run("status", "-o", "json").out)

    today = {str(row["link"]): row for row in found if row["period"] == "today"}
    assert list(today) == ["serial:///dev/ttyS9?baud=9600", "tcp://127.0.0.1:4059", "all links"]
    read = today["tcp://127.0.0.1:4059"]
    assert (read["expected"], read["measured"], read["missing"]) == (24, 20, 4)
    assert read["missing_by_cause"] == {"not_tried": 2, "no_row": 2}
    assert read["read_percent"] == "83.3"
    dead = today["serial:///dev/ttyS9?baud=9600"]
    assert dead["missing_by_cause"] == {"no_answer": 24}
    assert today["all links"]["expected"] == 48
    week = next(row for row in found if row["period"] == "7 days" and row["link"] == "all links")
    assert week["expected"] == 48 + 96


def test_missing_gives_runs_with_cause_and_advice(run: Run, filled: Path) -> None:
    assert filled.exists()

    found = rows(run("missing", "--meter", "SIM0000001", "--day", "2024-11-20", "-o", "json").out)

    assert [(row["start"], row["end"], row["slots"], row["cause"]) for row in found] == [
        ("2024-11-20T05:00:00Z", "2024-11-20T06:00:00Z", 2, "no_row"),
        ("2024-11-20T11:00:00Z", "2024-11-20T12:00:00Z", 2, "not_tried"),
    ]
    assert all(row["advice"] for row in found)
    assert not any(row["is_filled"] for row in found)


def test_missing_can_be_narrowed_and_limited(run: Run, filled: Path) -> None:
    assert filled.exists()

    south = rows(run("missing", "--area", "south", "-o", "json").out)
    limited = run("missing", "--limit", "1", "-o", "json")

    assert {row["meter"] for row in south} == {"SIM:17"}
    assert len(rows(limited.out)) == 1
    assert "more rows than 1" in limited.err


def test_curve_draws_gaps_as_gaps(run: Run, filled: Path) -> None:
    assert filled.exists()

    done = run("--ascii", "curve", "UP1", "--day", "2024-11-20", "--height", "4")

    lines = done.out.splitlines()
    top, base = lines[3], lines[4]
    assert base == f"{'0':>8} |{'-' * 10}xx{'-' * 10}xx"
    assert top[10:20] == "#" * 10
    assert top[20:22] == "  "
    assert lines[-1] == "Wh per interval; # measured 20, x missing 4; sum 2210 Wh"


def test_curve_gives_slots_with_exact_values(run: Run, filled: Path) -> None:
    assert filled.exists()

    found = rows(run("curve", "SIM0000001", "--day", "2024-11-20", "-o", "json").out)

    assert found[0] == {
        "start": "2024-11-20T00:00:00Z", "end": "2024-11-20T00:30:00Z", "value": "100", "unit": "Wh",
        "state": "measured", "reason": None,
    }  # fmt: skip
    assert (found[10]["value"], found[10]["state"], found[10]["reason"]) == (None, "missing", "no_row")


def test_curve_of_an_unexpected_channel_names_those_there_are(run: Run, filled: Path) -> None:
    assert filled.exists()

    done = run("curve", "UP1", "--channel", "active_energy_export_interval")

    assert done.code == Exit.USAGE
    assert "1-0:1.29.0*255" in done.err


def test_profile_check_takes_a_name_or_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('inherits = "sim-modbus-rtu"\nmakr = "X"\n')

    assert run("profile", "check", "sim-modbus-rtu").code == Exit.OK
    faulty = run("profile", "check", str(tmp_path / "mine.toml"))
    unknown = run("profile", "check", "sim-modbus-rt")
    parent = run("profile", "check", "dlms-base")

    assert faulty.code == Exit.CONFIG
    assert "makr: is unknown; did you mean maker?" in faulty.err
    assert unknown.code == Exit.CONFIG
    assert "did you mean sim-modbus-rtu?" in unknown.err
    assert parent.code == Exit.CONFIG
    assert "abstract: this profile is only there to be inherited from" in parent.err


def test_config_show_names_the_origin_of_each_value(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("headend.toml").write_text("[collect]\nwindow_days = 3\n")
    monkeypatch.setenv("HEADEND_LOG__LEVEL", "error")

    found = {row["key"]: row for row in rows(run("config", "show", "-o", "json").out)}

    assert found["collect.window_days"] == {"key": "collect.window_days", "value": 3, "origin": "headend.toml"}
    assert found["log.level"]["origin"] == "HEADEND_LOG__LEVEL"
    assert found["vee.rules"]["origin"] == "default"


def test_doctor_fails_with_exit_8_on_faulty_settings(run: Run) -> None:
    Path("headend.toml").write_text("[nonsense]\n")

    done = run("doctor", "-o", "json")

    assert done.code == Exit.CHECK_FAILED
    assert [row["subject"] for row in rows(done.out) if row["verdict"] == "FAIL"] == ["settings", "clock"]


def test_meter_whose_profile_is_not_there_fails_doctor_and_round(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "models"
    mine.mkdir()
    (mine / "acme.toml").write_text('inherits = "sim-concentrator"\n')
    (tmp_path / "meters.csv").write_text("usage_point,meter,profile,from,zone\nUP1,SIM:9,acme,2024-11-19,UTC\n")
    run("--profiles", str(mine), "meter", "import", "meters.csv")

    with_it, without = run("--profiles", str(mine), "run", "--once"), run("run", "--once")
    doctor = run("doctor", "-o", "json")

    assert with_it.code == Exit.OK, with_it.err
    assert "no profile" not in with_it.err
    assert without.code == Exit.PARTIAL
    assert (
        "1 meter not read, SIM:9 first: there is no profile 'acme'; name its directory with --profiles" in without.err
    )
    (found,) = [row for row in json.loads(doctor.out)["rows"] if row["subject"] == "meters"]
    assert found["verdict"] == "FAIL"
    assert "SIM:9" in found["found"]
    assert doctor.code == Exit.CHECK_FAILED


def test_store_without_any_meter_says_how_to_register_some(run: Run) -> None:
    ran = [run("run", "--once"), run("plan"), run("status"), run("meter", "list")]

    assert {one.code for one in ran} == {Exit.OK}
    assert all("no meter is registered; headend meter import FILE.csv" in one.err for one in ran)
    assert all(one.out.split() for one in ran)


def test_export_writes_a_file_and_verify_finds_it_intact(run: Run, filled: Path, tmp_path: Path) -> None:
    assert filled.exists()
    period = ("--from", "2024-11-20", "--to", "2024-11-20", "--directory", str(tmp_path / "out"))

    first = run("export", "csv", *period, "--meter", "SIM0000001", "-o", "json")
    verified = run("export", "verify", "--directory", str(tmp_path / "out"), "-o", "json")

    document = json.loads(first.out)
    assert document["is_new"] is True
    assert document["rows"][0]["total"] == "2.210"
    assert all(Path(path).stat().st_size for path in document["files"])
    assert verified.code == Exit.OK
    Path(document["files"][0]).write_text("altered")
    assert run("export", "verify", "--directory", str(tmp_path / "out")).code == Exit.CHECK_FAILED


def test_export_of_days_that_are_not_over_is_warned_of(run: Run, filled: Path, tmp_path: Path) -> None:
    assert filled.exists()
    target = str(tmp_path / "out")

    over = run("export", "csv", "--from", "2024-11-19", "--to", "2024-11-19", "--directory", target)
    open_ = run("export", "csv", "--from", "2024-11-19", "--to", "2024-11-20", "--directory", target)

    assert over.code == open_.code == Exit.OK
    assert "warning" not in over.err
    assert "warning: the period ends at 2024-11-21T00:00:00Z and is not over" in open_.err


def test_export_of_an_area_takes_what_belongs_to_it(run: Run, filled: Path, tmp_path: Path) -> None:
    assert filled.exists()
    day = ("--from", "2024-11-20", "--to", "2024-11-20", "--directory", str(tmp_path))

    north = run("export", "csv", *day, "--area", "north", "-o", "json")
    other = run("export", "csv", *day, "--area", "north", "--meter", "UP2")

    assert {row["usage_point"] for row in json.loads(north.out)["rows"]} == {"UP1"}
    assert other.code == Exit.USAGE
    assert "no such usage point belongs to area north" in other.err


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (("--from", "2024-11-20", "--to", "2024-11-19"), "--to 2024-11-19 is before --from 2024-11-20"),
        (("--from", "2023-01-01", "--to", "2023-01-31"), "nothing to export"),
        (("--from", "2024-11-20", "--to", "2024-11-20", "--channel", "active_energy_import"), "no usage point has"),
    ],
)
def test_export_of_what_there_is_not_is_a_usage_error_and_writes_nothing(
    question: tuple[str, ...], words: str, run: Run, filled: Path, tmp_path: Path
) -> None:
    assert filled.exists()

    done = run("export", "csv", *question, "--directory", str(tmp_path / "out"))

    assert done.code == Exit.USAGE
    assert words in done.err
    assert not list((tmp_path / "out").glob("headend*"))


def test_export_onto_a_broken_chain_is_exit_8(run: Run, filled: Path, tmp_path: Path) -> None:
    assert filled.exists()
    (tmp_path / "headend-000007-20240101-20240131.csv").write_text("no manifest")

    done = run("export", "csv", "--from", "2024-11-20", "--to", "2024-11-20", "--directory", str(tmp_path))

    assert done.code == Exit.CHECK_FAILED
    assert "headend-000007-20240101-20240131.csv has no manifest" in done.err


def test_verify_of_a_directory_without_exports_is_no_pass(run: Run, tmp_path: Path) -> None:
    empty = run("export", "verify", "--directory", str(tmp_path))
    absent = run("export", "verify", "--directory", str(tmp_path / "nowhere"))

    assert empty.code == Exit.CHECK_FAILED
    assert "there is no export in" in empty.out
    assert absent.code == Exit.USAGE
    assert "nowhere: there is no such directory" in absent.err


def test_misspelt_names_are_answered_with_those_that_may_be_meant(run: Run, filled: Path) -> None:
    assert filled.exists()

    for arguments, words in (
        (("meter", "show", "SIM:71"), "did you mean SIM:17?"),
        (("curve", "SIM000000l"), "did you mean SIM0000001?"),
        (("read", "UP1"), "a usage point is called that; it has SIM0000001"),
        (("missing", "--meter", "UP2"), "a usage point is called that; it has SIM:17"),
        (("missing", "--area", "nort"), "no usage point is in area 'nort'; did you mean north?"),
    ):
        done = run(*arguments)

        assert done.code == Exit.USAGE
        assert words in " ".join(done.err.split())


@pytest.mark.parametrize("day", ["01.11.2026", "2026-02-30", "1900-01-01", "9999-12-31", "20261101"])
def test_day_that_is_none_is_a_usage_error(day: str, run: Run, filled: Path) -> None:
    assert filled.exists()

    for arguments in (("curve", "UP1", "--day", day), ("missing", "--day", day), ("export", "csv", "--from", day)):
        assert run(*arguments).code == Exit.USAGE


@pytest.mark.parametrize("day", ["1970-01-02", "9998-12-31"])
def test_first_and_last_day_are_days(day: str, run: Run, filled: Path) -> None:
    assert filled.exists()

    assert run("curve", "UP1", "--day", day).code == Exit.OK
    assert run("missing", "--day", day).code == Exit.OK


def test_day_and_days_are_not_both_obeyed(run: Run, filled: Path) -> None:
    assert filled.exists()

    done = run("missing", "--day", "2024-11-20", "--days", "2")

    assert done.code == Exit.USAGE
    assert "choose one of --day and --days" in done.err


def test_csv_has_the_keys_of_causes_and_not_their_words_alone(run: Run, filled: Path) -> None:
    assert filled.exists()

    missing = list(csv.DictReader(run("missing", "-o", "csv").out.splitlines()))
    status = list(csv.DictReader(run("status", "-o", "csv").out.splitlines()))

    assert {row["cause"] for row in missing} == {"no_row", "not_tried", "no_answer"}
    assert status[1]["missing_by_cause"] == "not_tried 2, no_row 2"


def test_config_check_reads_the_rule_set_and_the_profiles_that_settings_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.toml").write_text('inherits = "sim-modbus-rtu"\nmakr = "X"\n')
    (tmp_path / "headend.toml").write_text('[vee]\nrules = "residental"\n[profiles]\ndirectories = ["models"]\n')

    done = run("config", "check")

    assert done.code == Exit.CONFIG
    assert "settings: 2 faults" in done.err
    assert "'residental' is no rule set" in done.err
    assert "profile mine: makr: is unknown; did you mean maker?" in done.err


def test_row_that_contradicts_the_store_is_exit_5_like_any_faulty_row(run: Run, table: Path, filled: Path) -> None:
    assert filled.exists()
    table.write_text(METERS.replace("SIM:17", "SIM:18"))

    done = run("meter", "import", str(table))

    assert done.code == Exit.CONFIG
    assert "SIM:17 and SIM:18" in done.err
    assert "nothing was changed" in done.err


def test_every_option_of_every_command_has_help() -> None:
    def bare(command: click.Command, context: click.Context) -> list[str]:
        lacking = [
            f"{context.command_path} {option.opts[0]}"
            for option in command.get_params(context)
            if isinstance(option, click.Option) and not option.help
        ]
        for name in command.list_commands(context) if isinstance(command, click.Group) else ():
            found = command.get_command(context, name)  # type: ignore[attr-defined]
            lacking += bare(found, click.Context(found, parent=context, info_name=name))
        return lacking

    assert not bare(cli, click.Context(cli, info_name="headend"))
    assert not bare(simulate, click.Context(simulate, info_name="headend-simulate"))


def test_no_list_of_commands_is_cut_at_80_columns() -> None:
    def lists(group: click.Group, context: click.Context) -> dict[str, str]:
        formatter = context.make_formatter()
        group.format_commands(context, formatter)
        found = {context.command_path: formatter.getvalue()}
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                found |= lists(command, click.Context(command, parent=context, info_name=name))
        return found

    found = {
        path: text
        for group, name in ((cli, "headend"), (simulate, "headend-simulate"))
        for path, text in lists(group, click.Context(group, info_name=name, terminal_width=80)).items()
    }

    assert len(found) == 10
    assert [path for path, text in found.items() if "..." in text] == []
    assert max(len(line) for text in found.values() for line in text.splitlines()) <= 80


def test_periods_counted_in_one_pass_are_as_if_counted_one_by_one(filled: Path) -> None:
    periods: list[Days | Recent] = [
        Recent(NOON, 7),
        Recent(NOON, 2),
        Recent(NOON, 1),
        Days(date(2024, 11, 19), date(2024, 11, 19)),
    ]

    with StoreReader.open(store_file(filled)) as reader:
        together = coverages_by_link(reader, periods, NOON)
        alone = [coverage_by_link(reader, period, NOON) for period in periods]

    assert together == alone
    assert len({link.coverage.expected for links in together for link in links}) == 3


def test_explain_says_what_became_of_a_slot(run: Run, filled: Path) -> None:
    assert filled.exists()

    done = run("vee", "explain", "SIM0000001", "--slot", "2024-11-20T05:05Z", "-o", "json")

    assert json.loads(done.out)["start"] == "2024-11-20T05:00:00Z"
    assert json.loads(done.out)["schema"] == "headend.vee-explain/1"
    steps = rows(done.out)
    assert (steps[0]["step"], steps[0]["what"], steps[0]["value"]) == ("raw", "missing, no row", None)
    estimate = next(row for row in steps if row["step"] == "estimate")
    assert estimate["what"] == "linear"
    assert "2024-11-20T04:30:00Z" in str(estimate["detail"])
    sources: Any = estimate["sources"]
    assert [one["start"] for one in sources] == ["2024-11-20T04:30:00Z", "2024-11-20T06:00:00Z"]
    assert next(row for row in steps if row["step"] == "result")["what"] == "estimated, linear"
    assert steps[-1]["detail"] == "this day was never validated"
    assert run("vee", "explain", "UP1", "--slot", "2024-11-20T06:05+01:00").code == Exit.OK


def test_explain_repeats_the_meters_own_words(run: Run, filled: Path) -> None:
    said = StatusWord(MIDNIGHT + 10 * 1800, MIDNIGHT + 12 * 1800, 0x80, "power failure: status 0x80")
    off = IntervalBlock(ENERGY, WATT_HOUR, said.start, 1800, (None, None), (Rule.POWER_FAILURE,) * 2, (said,))
    with Store.open(store_file(filled), lambda: NOON) as store, store.transaction():
        store.record(store.end_device("SIM0000001").id, [off], NOON)

    steps = rows(run("vee", "explain", "SIM0000001", "--slot", "2024-11-20T05:05Z", "-o", "json").out)

    assert [(row["step"], row["what"], row["value"]) for row in steps[:2]] == [
        ("raw", "missing, power off", None), ("meter", "said", None)
    ]  # fmt: skip
    assert steps[1]["detail"] == said.text
    assert next(row for row in steps if row["step"] == "result")["value"] == "0 Wh"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("UP1", "--slot", "2024-11-20T05:05"), Exit.USAGE, "end it with Z for UTC"),
        (("UP1", "--slot", "noon"), Exit.USAGE, "is no instant"),
        (("UP1", "--slot", "1969-11-20T05:05Z"), Exit.USAGE, "not within 1970"),
        (("NONE", "--slot", "2024-11-20T05:05Z"), Exit.USAGE, "NONE"),
        (("UP1", "--slot", "2020-01-01T00:00Z"), Exit.USAGE, "no slot is expected at 2020-01-01T00:00:00Z"),
        (("SIM0000001", "--slot", "2020-01-01T00:00Z"), Exit.USAGE, "is installed nowhere at 2020-01-01T00:00:00Z"),
        (("UP1", "--slot", "2024-11-20T05:05Z", "--rules", "none"), Exit.CONFIG, "is no rule set"),
    ],
)
def test_what_cannot_be_explained_says_what_to_correct(
    run: Run, filled: Path, arguments: tuple[str, ...], code: Exit, words: str
) -> None:
    assert filled.exists()

    done = run("vee", "explain", *arguments)

    assert (done.code, words in done.err + done.out) == (code, True), done.err
