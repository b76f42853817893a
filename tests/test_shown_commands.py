"""Every command that a page shows is run: page by page, in the order shown, in a shell, as a reader would.

Each page has a fresh directory, and around it what the page takes for granted: a meter that answers, a filled store, files
that another page shows. A command that does not end by itself must come up, and end cleanly when it is told to.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drivers.facts import IntervalBlock
from drivers.obis import CATALOGUE
from drivers.units import ScalerUnit, Unit
from headend.places import store_file
from headend.profiles import load_profiles
from headend.registry import table
from headend.store.store import Store
from tests.peers.meters import gurux_meter
from tests.shared import REPOSITORY
from tests.test_documentation import block, commands

pytestmark = pytest.mark.timeout(240)  # the demonstration alone takes 20 s, more on a busy machine

PATIENCE = 100.0
"""Longest that a command may take to end, or to come up. [s]"""
DAY = 86_400
HALF_HOUR = 1_800
FIRST = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
DAYS = 31
"""What the filled store holds: the month that the pages export. [UTC days]"""
HEADING = "usage_point,meter,profile,link,address,from,to,zone,area\n"
ACME = "ACM0000000004711"

_SHOWN = re.compile(
    r"^ {0,3}```\w*\n(?P<block>.*?)^ {0,3}```|`(?P<inline>(?:headend|headend-simulate|make) [^`|]+)`",
    re.MULTILINE | re.DOTALL,
)
_PLACEHOLDER = re.compile(r"(?<!\S)[A-Z]{2,}(?!\S)")
"""A word such as FILE or METER: what is around it in running text is the form of a command, not a command."""
_OURS = re.compile(r"headend(?:-simulate)? ")
_MAKE = re.compile(r"make (?P<target>bench-|[a-z][a-z-]*)\w*(?P<variables>(?: [A-Z]+=\S+)*)(?: +#.*)?")
_SETTING = re.compile(r"[A-Z_]+=\S.*")
_OWN_DIRECTORY = re.compile(r"mkdir ([\w-]+) && cd \1")
_GLOBALS = r"headend (?:--\S+ \S+ )*"
_LASTING = re.compile(rf"headend-simulate |{_GLOBALS}run\b(?!.*--once)")
_COLLECTING = re.compile(rf"{_GLOBALS}run\b")
_WRITING = re.compile(
    rf"{_GLOBALS}(?:read|run|meter add|meter import|store advance-counters|store compact|store retain)\b"
)
CHECKOUT = "git clone <this repository> headend && cd headend"
ACTIVATE = ". .venv/bin/activate"
DEMO = "headend demo"


def shown(text: str) -> Iterator[str]:
    """Each command line that a page shows, in order: those of its blocks, and whole ones in running text."""
    for found in _SHOWN.finditer(text):
        if found["inline"]:
            line = " ".join(found["inline"].split())
            if line.startswith("make ") or not _PLACEHOLDER.search(line):
                yield line
            continue
        for line in re.sub(r"\s*\\\n\s*", " ", found["block"]).splitlines():
            if line.lstrip().startswith("$ ") or _OURS.match(line.lstrip()):
                yield line.strip().removeprefix("$ ")


@dataclass(frozen=True)
class Taken:
    """What a page takes for granted.

    ``files``: content by name, there wherever the reader goes. ``swaps``: what stands for something of the reader's, such
    as an address. ``answers``: a pattern that the output of a command must have, by the line shown.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    swaps: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)


class Shell:
    """A reader's shell: runs lines in a directory, with the programs on its path. Only `follow` knows what pages show."""

    def __init__(self, directory: Path, programs: Path) -> None:
        kept = {key: text for key, text in os.environ.items() if not key.startswith(("HEADEND_", "XDG_"))}
        path = f"{programs}{os.pathsep}{kept.get('PATH', os.defpath)}"
        self.environment = kept | {"PATH": path, "HOME": str(directory), "NO_COLOR": "1", "COLUMNS": "200"}
        self.directory = directory
        self._home = directory
        self.settings: list[str] = []
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._signals: list[signal.Signals] = []

    def run(self, line: str) -> str:
        """Run a line that ends by itself with exit code 0; give all that it wrote."""
        script = "\n".join([*self.settings, line])
        with subprocess.Popen(
            ["/bin/sh", "-c", script], cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                out, err = process.communicate(timeout=PATIENCE)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert process.returncode == 0, f"$ {line}\nexit code {process.returncode}\n{out}{err}"
        assert "Traceback" not in err, f"$ {line}\n{err}"
        return out + err

    def start(self, line: str) -> str:
        """Start a line that does not end by itself, and wait until it is up; give its first output."""
        out, err = self._written(line)
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = self.running[line] = subprocess.Popen(
                ["/bin/sh", "-c", "\n".join([*self.settings, f"exec {line}"])],
                cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while not self._is_up(line, process.pid):
            assert process.poll() is None, f"$ {line}\nended with {process.returncode}\n{err.read_text()}"
            assert time.monotonic() < deadline, f"$ {line}\ndid not come up\n{err.read_text()}"
            time.sleep(0.05)
        return out.read_text()

    def stop(self, line: str) -> None:
        """End a started line, by turns as Ctrl-C and as a service manager do; it must end well."""
        self._signals = self._signals or [signal.SIGINT, signal.SIGTERM]
        number, process = self._signals.pop(0), self.running.pop(line)
        process.send_signal(number)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        _, err = self._written(line)
        assert code == 0, f"$ {line}\n{number.name}: exit code {code}\n{err.read_text()}"
        assert "Traceback" not in err.read_text(), f"$ {line}\n{err.read_text()}"

    def close(self) -> None:
        """End what is left after a failure, without judging it."""
        for process in self.running.values():
            process.kill()
            process.wait()
        self.running.clear()

    def _written(self, line: str) -> tuple[Path, Path]:
        name = re.sub(r"\W+", "-", line)
        return self._home / f"{name}.stdout", self._home / f"{name}.stderr"

    def _is_up(self, line: str, pid: int) -> bool:
        """A simulator says where it is; a collector says nothing while all is well, but holds its store."""
        if _COLLECTING.match(line):
            return any(lock.read_text().strip() == str(pid) for lock in self._home.rglob("headend.db.lock"))
        out, _ = self._written(line)
        return "Ctrl-C" in out.read_text()


def follow(text: str, shell: Shell, taken: Taken, demo: Callable[[], Path]) -> None:
    """Type every line that a page shows. Fails at a line that nobody here knows how to run."""
    for word in taken.swaps:
        assert word in text, f"the page does not show {word}"
    lines = list(shown(text))
    assert not taken.answers.keys() - set(lines), f"the page does not show {taken.answers.keys() - set(lines)}"
    save(taken.files, shell.directory)
    for shown_line in lines:
        line = shown_line
        for word, stand_in in taken.swaps.items():
            line = line.replace(word, stand_in)
        if make := _MAKE.fullmatch(line):
            assert is_target(make["target"]), f"there is no target for: {line}"
            assert all(map(is_variable, re.findall(r"[A-Z]+(?==)", make["variables"]))), (
                f"takes no such variable: {line}"
            )
        elif line in {CHECKOUT, ACTIVATE}:
            assert "\nVENV := .venv\n" in (REPOSITORY / "Makefile").read_text()
        elif line == DEMO:
            assert (demo() / "demo-data" / "exports").is_dir()
        elif own := _OWN_DIRECTORY.fullmatch(line):
            shell.directory /= own[1]
            shell.directory.mkdir()
            save(taken.files, shell.directory)
        elif _SETTING.fullmatch(line):
            shell.settings.append(line)
        else:
            assert _OURS.match(line), f"nobody here knows how to run: {line}"
            said = obey(shell, line)
            assert re.search(taken.answers.get(shown_line, ""), said), f"$ {line}\n{said}"
    for line in reversed(list(shell.running)):
        shell.stop(line)


def obey(shell: Shell, line: str) -> str:
    """Run one of our commands: a lasting one until the page ends, or until another one needs its store."""
    if line in shell.running:
        return ""
    if _WRITING.match(line):
        for other in [other for other in shell.running if _COLLECTING.match(other)]:
            shell.stop(other)
    return shell.start(line) if _LASTING.match(line) else shell.run(line)


def is_target(name: str) -> bool:
    rule = "bench-%" if name == "bench-" else name
    return re.search(rf"^{re.escape(rule)}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE) is not None


def is_variable(name: str) -> bool:
    return f"$({name})" in (REPOSITORY / "Makefile").read_text()


def save(files: Mapping[str, str], directory: Path) -> None:
    for name, content in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(content, encoding="utf-8")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def fill(directory: Path) -> None:
    """Make a store that has read the page's usage point for a month."""
    name, obis = "SIM0000000001001", CATALOGUE["active_energy_import_interval"].obis
    text = f"{HEADING}NAAAMYS582,{name},sim-dlms-wrapper,tcp://127.0.0.1:4059,1,2026-01-01,,UTC,north\n"
    parsed = table.parse(text, load_profiles())
    assert not parsed.faults
    data = directory / "headend-data"
    data.mkdir()
    counts = tuple(100 + 7 * step % 173 for step in range(DAYS * DAY // HALF_HOUR))
    with Store.open(store_file(data), lambda: FIRST + DAYS * DAY) as store:
        table.apply(store, parsed.rows)
        unit = ScalerUnit(0, Unit.WATT_HOUR)
        with store.transaction():
            store.record(
                store.end_device(name).id, [IntervalBlock(obis, unit, FIRST, HALF_HOUR, counts)], FIRST + DAYS * DAY
            )


@contextmanager
def acme() -> Iterator[dict[str, str]]:
    """Somebody else's meter of the model that CONTRIBUTING describes; give the files the page has the reader write."""
    pytest.importorskip("gurux_dlms", reason="the peer is not installed: pip install 'headend[peers]'")
    first = datetime.now(UTC).date() - timedelta(days=3)
    values = ",".join(str(7 * step % 173) for step in range(5 * DAY // 900))
    arguments = ("--authentication", "hls5", "--period", "900", "--first-day", f"{first}", "--values", values)
    page_link, meters = "192.0.2.10:4059", block("csv")
    assert page_link in meters
    with gurux_meter(*arguments, "--name", ACME) as meter:
        yield {
            "acme-e40.toml": block("toml"),
            "meters.csv": meters.replace(page_link, f"127.0.0.1:{meter['port']}"),
            "keys/4711.ek": meter["encryption_key"],
            "keys/4711.ak": meter["authentication_key"],
        }


@contextmanager
def readme(shell: Shell, demo: Callable[[], Path]) -> Iterator[Taken]:
    """A checkout after `make demo`, and a meter of the model that CONTRIBUTING describes."""
    shutil.copy(REPOSITORY / "pyproject.toml", shell.directory)
    shutil.copytree(demo() / "demo-data", shell.directory / "demo-data")
    with acme() as files:
        yield Taken(
            files,
            swaps={"--tcp 1502": f"--tcp {free_port()}"},
            answers={
                "headend --data demo-data missing --day 2026-03-02": "no answer",
                "headend --data demo-data curve SIM0000000000034 --day 2026-03-02": "measured 43, ░ estimated 5",
                "headend export verify --directory demo-data/exports": "2 exports are intact",
                f"headend --profiles . read {ACME}": "active_energy_import",
                "headend --profiles . export nem12 --from $DAY --to $DAY": "measured 96 ",
            },
        )


@contextmanager
def contributing(_shell: Shell, _demo: Callable[[], Path]) -> Iterator[Taken]:
    """A meter of the model that the page describes."""
    with acme() as files:
        yield Taken(
            files,
            answers={
                f"headend --profiles . read {ACME}": "active_energy_import",
                "headend --profiles . export csv --from $DAY --to $DAY": "measured 96 ",
            },
        )


@contextmanager
def billing(shell: Shell, _demo: Callable[[], Path]) -> Iterator[Taken]:
    """A store with a month of readings."""
    fill(shell.directory)
    yield Taken(
        answers={
            "headend export csv --from 2026-01-01 --to 2026-01-31": "measured 1488 ",
            "headend export nem12 --from 2026-01-01 --to 2026-01-31 --directory exports/market": "measured 14[0-9]{2}",
            "headend export verify --directory exports/market": "intact",
        }
    )


@contextmanager
def validation(shell: Shell, _demo: Callable[[], Path]) -> Iterator[Taken]:
    """A store with a month of readings."""
    fill(shell.directory)
    page = (REPOSITORY / "docs" / "validation.md").read_text(encoding="utf-8")
    yield Taken(
        {"meters.csv": page.split("```csv\n")[1].split("```")[0]},
        answers={
            "headend vee explain NAAAMYS582 --slot 2026-01-15T12:00Z": "(?s)raw +measured.*this day was never validated",
            "headend meter import meters.csv": r" 1 +1 +0 +no",
            "headend meter show SIM0000000001001": "(?s)8 dials.*NAAAMYS583 x 3/2.*2026-07-01=example/peak",
            "headend vee tariffs NAAAMYS582 --from 2026-01-01 --to 2026-01-31": "(?s)two-rate +night.*two-rate +day",
        },
    )


@contextmanager
def integrator(shell: Shell, _demo: Callable[[], Path]) -> Iterator[Taken]:
    """A store with a month of readings."""
    fill(shell.directory)
    yield Taken(
        answers={
            "headend curve NAAAMYS582 --day 2026-01-01 -o csv": "2026-01-01T00:00:00Z.*,measured,",
            "headend export csv --from 2026-01-01 --to 2026-01-31 -o json": '"measured": 1488',
            "headend meter list -o csv | headend meter import - --dry-run": r"0 +0 +1 +yes",
        }
    )


@contextmanager
def operator(shell: Shell, _demo: Callable[[], Path]) -> Iterator[Taken]:
    """Two registered meters that answer, one of them in the north."""
    now = datetime.now(UTC)
    simulator = f"headend-simulate dlms --meters 2 --start {now:%Y-%m-%dT%H:%M:%S}"
    told = shell.start(simulator)
    link, since = f"tcp://127.0.0.1:{told.split('127.0.0.1:')[1].split(',')[0]}", now.date() - timedelta(days=2)
    rows = [
        f"{point},SIM000000000100{number},sim-dlms-wrapper,{link},{number},{since},,UTC,{area}\n"
        for point, number, area in (("NAAAMYS582", 1, "north"), ("NAAAMYS583", 2, "south"))
    ]
    save({"registered.csv": HEADING + "".join(rows)}, shell.directory)
    shell.run("headend meter import registered.csv")
    line = "serial:///dev/ttyS1?baud=9600&parity=E"
    planned = [f"NAAAMYS6{at},SIM:{at},sim-modbus-rtu,{line},{at},{since},,UTC,\n" for at in range(10, 24)]
    yield Taken(
        {"meters.csv": HEADING + "".join(planned), "backup.key": "ab" * 32},
        answers={
            "headend status": rf"7 days +{re.escape(link)} +2 +[1-9]\d* +[1-9]\d* ",
            "headend plan --meters meters.csv": "14 +9600 .* fits",
            "headend plan --night 22:00-06:00 --backfill 40": "40 days for 2 meters: 1 night",
            "headend --data drill store restore north.hbk --key file:backup.key": "restored up to change",
            "headend --data drill store check": "0 faults",
        },
    )


@contextmanager
def technician(shell: Shell, _demo: Callable[[], Path]) -> Iterator[Taken]:
    """A meter on a serial line, and one of a model that nobody has described yet."""
    port = free_port()
    shell.start(f"headend-simulate dlms --meters 1 --port {port}")
    told = shell.start("headend-simulate modbus --pty --meters 2")
    device = told.split(" on ")[1].split(",")[0]
    link = f"serial://{device}?baud=9600&parity=N"
    rows = [
        f"NAAAMYS58{1 + number},SIM:100{number},sim-modbus-rtu,{link},{number},2026-01-01,,UTC,\n" for number in (1, 2)
    ]
    yield Taken(
        {"meters.csv": HEADING + "".join(rows)},
        swaps={"/dev/ttyUSB0": device, "192.0.2.10:4059": f"127.0.0.1:{port}"},
        answers={
            "headend identify tcp://192.0.2.10:4059 --address 1": "active_energy_import .* Wh",
            "headend identify tcp://192.0.2.10:4059 --address 1 --draft acme-e50.toml": "is a valid profile",
            "headend scan /dev/ttyUSB0 --full --dry-run": "115200 8N1 +modbus +247",
            "headend meter import found.csv --dry-run": r" 2 +0 +0 +yes",
            "headend read SIM:1001": "active_energy_import .* Wh",
            "headend read SIM:1001 active_energy_import": "active_energy_import .* Wh",
            "headend curve SIM:1001 --day 2026-01-01": "missing 48",
            "headend trace decode sim1001.trace": "active_energy_import 1-0:1.8.0.255: [0-9]+ Wh",
            "headend trace to-case sim1001.trace cases/sim1001": "lines in frame.hex",
            "headend run --once --trace traces": "SIM_1002.trace",
            "headend-simulate replay sim1001.trace": "SIM:1001 as recorded",
        },
    )


@contextmanager
def developer(_shell: Shell, _demo: Callable[[], Path]) -> Iterator[Taken]:
    """Nothing but a free port."""
    yield Taken(
        swaps={"4059": str(free_port())}, answers={"headend read SIM0000000001001": "active_energy_import .* Wh"}
    )


@contextmanager
def meters(_shell: Shell, _demo: Callable[[], Path]) -> Iterator[Taken]:
    """Nothing."""
    yield Taken(answers={"headend profile list": "(?s)aidon-6515.*sim-modbus-rtu"})


Surroundings = Callable[[Shell, Callable[[], Path]], AbstractContextManager[Taken]]
PAGES: dict[str, Surroundings] = {
    "README.md": readme,
    "CONTRIBUTING.md": contributing,
    "docs/billing.md": billing,
    "docs/developer.md": developer,
    "docs/integrator.md": integrator,
    "docs/meters.md": meters,
    "docs/operator.md": operator,
    "docs/technician.md": technician,
    "docs/validation.md": validation,
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with our programs under the names that the pages use."""
    directory = tmp_path_factory.mktemp("programs")
    for name, module in (("headend", "headend.cli"), ("headend-simulate", "simulators.main")):
        (directory / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Callable[[], Path]:
    """Play the demonstration when it is first asked for; it takes about 20 s. Gives where it was played."""
    directory = tmp_path_factory.mktemp("demo")

    def play() -> Path:
        if not (directory / "demo-data").exists():
            assert "PASS: all" in Shell(directory, programs).run(DEMO)
        return directory

    return play


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_reader_who_types_what_a_page_shows_succeeds(
    page: str, tmp_path: Path, programs: Path, demo: Callable[[], Path]
) -> None:
    shell = Shell(tmp_path, programs)

    with ExitStack() as stack:
        stack.callback(shell.close)
        taken = stack.enter_context(PAGES[page](shell, demo))
        follow((REPOSITORY / page).read_text(encoding="utf-8"), shell, taken, demo)

    assert not shell.running


def test_every_page_is_followed() -> None:
    pages = [*(REPOSITORY / "docs").glob("*.md"), REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"]

    assert {path.relative_to(REPOSITORY).as_posix() for path in pages} == PAGES.keys()


@pytest.mark.parametrize("page", sorted(PAGES))
def test_no_command_of_a_page_is_passed_over(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    followed = list(shown(text))

    for line in commands(text):
        words = " ".join(line.replace("\\", " ").split())
        assert _PLACEHOLDER.search(words) or any(other.startswith(words) for other in followed), words


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("date", "nobody here knows how to run: date"),
        ("make coffee", "no target for: make coffee"),
        ("make fuzz CUPS=2", "takes no such variable: make fuzz CUPS=2"),
        ("headend nothing", "exit code 2"),
        ("headend status", "exit code 2"),
        ("headend-simulate nothing", "ended with 2"),
    ],
)
def test_a_line_that_cannot_be_run_is_found_out(line: str, complaint: str, tmp_path: Path, programs: Path) -> None:
    with pytest.raises(AssertionError, match=complaint):
        follow(f"```console\n$ {line}\n```\n", Shell(tmp_path, programs), Taken(), lambda: tmp_path)
