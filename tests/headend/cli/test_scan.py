"""``headend scan`` on a simulated line in this process: what it prints and drafts, how it ends, and how it goes on."""

import asyncio
import errno
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.contract import ByteStream
from drivers.errors import PortUnavailable
from headend.cli import scan
from headend.cli.exits import Exit
from headend.collect.line import Open
from headend.scan import probe
from headend.scan.ground import Kind
from headend.scan.state import StateFile
from simulators.mixed import HostPort, MixedLine, Station
from tests.headend.cli.conftest import NOON, Run
from tests.headend.scan.town import E96, N96, modbus

QUICK = ("--baud", "9600", "--units", "1-3", "--protocol", "modbus", "--wait", "0.03")
PORT = "/dev/ttyS97"
Wire = Callable[..., list[MixedLine]]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Hang stations on whatever port is opened; give the lines, one for each time that it was."""
    monkeypatch.setitem(probe.WAITS, Kind.LISTEN, 0.05)

    def hang(*stations: Station) -> list[MixedLine]:
        lines: list[MixedLine] = []

        async def opened(_: str) -> ByteStream:
            lines.append(MixedLine(stations, random.Random(1), lambda: NOON))
            return HostPort(lines[-1])

        monkeypatch.setattr(scan, "open_transport", opened)
        return lines

    return hang


def test_meters_are_told_tabled_and_drafted_for_the_import(run: Run, wire: Wire, tmp_path: Path) -> None:
    wire(modbus(E96, 2, 1002), modbus(E96, 3, 1003))

    ran = run(
        "scan", PORT, *QUICK, "--profile", "sim-modbus-rtu", "--draft", "found.csv", "--usage-point", "UP",
        "--zone", "UTC+08:00",
    )  # fmt: skip
    imported = run("meter", "import", "found.csv", "--dry-run")

    assert ran.code == Exit.OK
    assert "found   modbus     2         9600 8E1   SIM:1002   sim-modbus-rtu" in ran.out
    assert "found: modbus 3 at 9600 8E1, SIM:1003" in ran.err
    assert "2 meters in " in ran.err
    assert "headend meter import found.csv --dry-run" in ran.err
    assert (
        "UP2,SIM:1003,sim-modbus-rtu,serial:///dev/ttyS97?baud=9600&parity=E&bits=8&stop=1,3,2024-11-20,,UTC+08:00"
        in ((tmp_path / "found.csv").read_text())
    )
    assert imported.code == Exit.OK


def test_what_is_to_be_filled_in_is_said_and_the_import_names_the_same(run: Run, wire: Wire) -> None:
    wire(modbus(E96, 2, 1002), modbus(N96, 3, 1003))

    ran = run("scan", PORT, *QUICK, "--draft", "found.csv")
    imported = run("meter", "import", "found.csv", "--dry-run")

    assert ran.code == Exit.OK
    assert "to be filled in: profile of 2 rows: its model" in ran.err
    assert "several settings on one port" in ran.err
    assert imported.code == Exit.CONFIG
    assert "no profile is named ''" in imported.out


def test_json_holds_it_all_and_ndjson_a_line_for_each(run: Run, wire: Wire) -> None:
    wire(modbus(E96, 2, 1002), modbus(E96, 3, 1003), modbus(E96, 3, 1004))

    whole = run("scan", PORT, *QUICK, "-o", "json")
    lines = run("scan", PORT, *QUICK, "-o", "ndjson")

    document = json.loads(whole.out)
    assert (whole.code, lines.code) == (Exit.PARTIAL, Exit.PARTIAL)
    assert document["schema"] == "headend.scan/1"
    assert [(row["state"], row["address"]) for row in document["rows"]][-1] == ("several answer", "3")
    assert [json.loads(line)["address"] for line in lines.out.splitlines()].count("2") == 1
    assert "more than one meter answers at modbus 3 at 9600 8E1" in whole.err


def test_nothing_there_is_said_with_what_to_look_at(run: Run, wire: Wire, data: Path) -> None:
    wire()

    ran = run("scan", PORT, *QUICK)

    assert ran.code == Exit.NO_ANSWER
    assert "nothing answered" in ran.err
    assert "--full asks more" in ran.err
    assert not list(data.glob("scan-*"))


def test_a_cut_scan_goes_on_and_one_with_other_options_is_refused(
    run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    lines = wire(modbus(E96, 1, 1001), modbus(N96, 3, 1003))
    write = StateFile.write

    def write_and_cut(self: StateFile, octets: bytes) -> None:
        write(self, octets)
        if len(json.loads(octets)["meters"]) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(StateFile, "write", write_and_cut)
    cut = run("scan", PORT, *QUICK)
    monkeypatch.setattr(StateFile, "write", write)
    other = run("scan", PORT, *QUICK, "--fast")
    resumed = run("scan", PORT, *QUICK, "-o", "ndjson")

    kept = data / "scan-serial-dev-ttyS97.json"
    assert cut.code == Exit.INTERRUPTED
    assert f"cut: 1 meter so far; kept in {kept}, the same command goes on" in cut.err
    assert other.code == Exit.USAGE
    assert "effort usual instead of fast" in other.err
    assert resumed.code == Exit.OK
    assert "1 meter so far" in resumed.err
    assert [json.loads(line)["address"] for line in resumed.out.splitlines()] == ["1", "3"]
    first, second = ({question for _, question in on.questions if question[0] == 1} for on in lines)
    assert first
    assert not {question for question in second if (E96, question) in lines[1].questions}
    assert not kept.exists()


def test_a_table_that_cannot_be_written_costs_no_second_scan(
    run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path
) -> None:
    lines = wire(modbus(E96, 1, 1001))
    write = StateFile.write

    def write_while_somebody_makes_the_table(self: StateFile, octets: bytes) -> None:
        write(self, octets)
        (tmp_path / "found.csv").touch()

    monkeypatch.setattr(StateFile, "write", write_while_somebody_makes_the_table)
    failed = run("scan", PORT, *QUICK, "--profile", "sim-modbus-rtu", "--draft", "found.csv")
    again = run("scan", PORT, *QUICK, "--profile", "sim-modbus-rtu", "--draft", "other.csv")

    assert failed.code == Exit.USAGE
    assert "found.csv cannot be written" in failed.err
    assert "the same command asks nothing again" in failed.err
    assert again.code == Exit.OK
    assert "SIM:1001" in (tmp_path / "other.csv").read_text()
    assert lines[0].questions
    assert not lines[1].questions
    assert not list(data.glob("scan-*"))


def test_a_damaged_state_is_named_and_restart_begins_anew(run: Run, wire: Wire, tmp_path: Path) -> None:
    wire(modbus(E96, 2, 1002))
    (tmp_path / "s.json").write_text("{")

    refused = run("scan", PORT, *QUICK, "--state", "s.json")
    anew = run("scan", PORT, *QUICK, "--state", "s.json", "--restart")

    assert refused.code == Exit.USAGE
    assert "s.json is damaged" in refused.err
    assert anew.code == Exit.OK
    assert not (tmp_path / "s.json").exists()


def test_a_state_that_cannot_be_written_is_said_before_anything_is_asked(run: Run, wire: Wire, tmp_path: Path) -> None:
    lines = wire(modbus(E96, 2, 1002))
    (tmp_path / "file").touch()

    ran = run("scan", PORT, *QUICK, "--state", "file/s.json")

    assert ran.code == Exit.INTERNAL
    assert "file: File exists; what a cut scan goes on from is kept there" in ran.err
    assert "--state FILE" in ran.err
    assert lines == []


def test_a_state_that_can_no_longer_be_written_ends_the_scan_with_the_same_words(
    run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wire(modbus(E96, 2, 1002))

    def no_room(_self: StateFile, _octets: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "s.json.new")

    monkeypatch.setattr(StateFile, "write", no_room)
    ran = run("scan", PORT, *QUICK, "--state", "s.json")

    assert ran.code == Exit.INTERNAL
    assert "s.json.new: No space left on device" in ran.err
    assert "--state FILE" in ran.err
    assert not list(tmp_path.glob("s.json*"))


def test_a_port_that_another_program_has_is_named_with_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(url: str) -> ByteStream:
        raise PortUnavailable(f"{url}: busy; another program has locked it")

    monkeypatch.setattr(scan, "open_transport", busy)
    ran = run("scan", PORT)

    assert ran.code == Exit.PORT
    assert "busy" in ran.err
    assert "if headend run collects there, stop that first" in ran.err


def test_a_meter_that_sends_by_itself_keeps_the_scan_from_asking(
    run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = wire(modbus(E96, 2, 1002))
    opened: Open = vars(scan)["open_transport"]

    async def with_talk(url: str) -> ByteStream:
        stream = await opened(url)
        text = b"/XYZ5 A METER\r\n1-0:1.8.0(1*kWh)\r\n!\r\n"
        asyncio.get_running_loop().call_later(0.04, lines[-1].ask, text, E96)
        return stream

    monkeypatch.setattr(scan, "open_transport", with_talk)
    ran = run("scan", PORT, *QUICK)

    assert ran.code == Exit.PORT
    assert "not scanned: a meter sends telegrams as text unasked" in ran.err
    assert lines[-1].questions == []


def test_a_dry_run_says_what_is_asked_and_how_long_it_takes_and_asks_nothing(run: Run, wire: Wire) -> None:
    lines = wire()

    ran = run("scan", PORT, "--full", "--dry-run", "-o", "json")

    document = json.loads(ran.out)
    assert ran.code == Exit.OK
    assert sum(row["questions"] for row in document["rows"] if row["protocol"] == "modbus") == 27 * 247
    assert 3_600 < document["seconds"] < 4 * 3_600
    assert lines == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("udp://192.0.2.1:5",), "a line is scanned"),
        (("tcp://192.0.2.1:5",), "whose line has one setting"),
        (("tcp://192.0.2.1:5?baud=9600", "--baud", "2400"), "is in its link"),
        ((PORT, "--units", "0-4"), "no unit from 1 to 247"),
        ((PORT, "--units", "9-4"), "no unit from 1 to 247"),
        ((PORT, "--units", "1-999999999"), "no unit from 1 to 247"),
        ((PORT, "--zone", "Nowhere"), "Nowhere"),
        ((PORT, "--draft", "found.txt"), "does not end in .csv"),
        ((PORT, "--draft", "nowhere/found.csv"), "nowhere is no directory that may be written"),
        ((PORT, "--profile", "nothing"), "no profile is named 'nothing'"),
        ((PORT, "--usage-point", "UP"), "--usage-point is of the drafted meter table; it goes with --draft"),
        ((PORT, "--zone", "UTC"), "--zone is of the drafted meter table; it goes with --draft"),
    ],
)
def test_wrong_arguments_are_named(run: Run, arguments: tuple[str, ...], told: str) -> None:
    ran = run("scan", *arguments)

    assert ran.code == Exit.USAGE
    assert told in ran.err
