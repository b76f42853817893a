"""``headend identify`` against a simulated meter in this process: what it prints, what it drafts, and how it fails."""

import asyncio
import json
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.dlms.discovery import Description
from headend.cli.exits import Exit
from headend.profiles import load_profile_file
from simulators.clock import WorldClock
from simulators.dlms.server import DlmsSettings
from simulators.tcp import serving
from tests.headend.cli.conftest import Run
from tests.simulators.homes import FakeMonotonic
from tests.simulators.test_dlms import KEYS, NOW, gateway, named

NAME = "SIM0000000000017"


@contextmanager
def meter(settings: DlmsSettings) -> Iterator[str]:
    """A meter on the loopback, served by a loop in a thread of its own."""
    ready, ports = threading.Event(), []
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        served = gateway("wrapper", settings, named(17, register_start=5000))
        async with serving(WorldClock(NOW, 1000.0, FakeMonotonic()), served.wrapper_conversation) as port:
            ports.append(port)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield f"tcp://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def link() -> Iterator[str]:
    with meter(DlmsSettings()) as url:
        yield url


def registered(run: Run, link: str, name: str = NAME) -> None:
    added = run(
        "meter", "add", "--usage-point", "UP9", "--meter", name, "--profile", "sim-dlms-wrapper", "--link", link,
        "--address", "17", "--from", "2026-01-01",
    )  # fmt: skip
    assert added.code == Exit.OK, added.err


def test_what_answers_is_told(run: Run, link: str, data: Path) -> None:
    ran = run("identify", link, "--address", "17", "-o", "json")

    told = json.loads(ran.out)
    assert ran.code == Exit.OK, ran.err
    assert told["schema"] == "headend.identify/1"
    assert (told["meter"], told["serial"], told["firmware"]) == (NAME, "17", "1.0")
    rows = {row["obis"]: row for row in told["rows"]}
    assert len(rows) == 18
    energy = rows["1-0:1.8.0*255"]
    assert (energy["class"], energy["name"], energy["value"], energy["unit"]) == (
        "register",
        "active_energy_import",
        "6367",
        "Wh",
    )
    assert rows["1-0:99.1.0*255"]["detail"].startswith("every 1800 s, ")
    assert not data.exists()


def test_one_object_is_told_attribute_by_attribute(run: Run, link: str) -> None:
    ran = run("identify", link, "--address", "17", "--object", "0-0:1.0.0*255", "-o", "json")

    told = json.loads(ran.out)
    assert ran.code == Exit.OK, ran.err
    assert (told["schema"], told["object"]) == ("headend.identify.object/1", "0-0:1.0.0*255")
    rows = {row["name"]: row for row in told["rows"]}
    assert rows["logical_name"]["value"] == "0-0:1.0.0*255"
    assert rows["time"]["value"].endswith("deviation 0 min")
    assert (rows["time_zone"]["value"], rows["time_zone"]["unit"]) == ("0", "min")


def test_an_object_the_meter_does_not_list_is_named(run: Run, link: str) -> None:
    ran = run("identify", link, "--address", "17", "--object", "0-0:99.99.0*255")

    assert ran.code == Exit.USAGE
    assert f"{NAME} lists no object 0-0:99.99.0*255" in ran.err
    assert run("identify", link, "--object", "nonsense").code == Exit.USAGE


def test_a_draft_is_a_profile_that_asks_what_a_meter_cannot_say(run: Run, link: str, tmp_path: Path) -> None:
    ran = run("identify", link, "--address", "17", "--draft", "new-model.toml")

    text = (tmp_path / "new-model.toml").read_text()
    profile = load_profile_file(tmp_path / "new-model.toml")
    assert ran.code == Exit.OK, ran.err
    assert (profile.maker, profile.status, profile.channels[0].period) == ("SIM", "laboratory", 1800)
    assert "## Which public document" in text
    assert "client_system_title" not in text


@pytest.mark.parametrize("name", ["there.toml", "profile.txt"])
def test_a_draft_replaces_nothing_and_is_a_profile_by_name(run: Run, link: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "there.toml").write_text("mine")

    ran = run("identify", link, "--draft", name)

    assert ran.code == Exit.USAGE
    assert "--draft" in ran.err
    assert (tmp_path / "there.toml").read_text() == "mine"


def test_a_registered_meter_is_asked_as_it_is_registered(run: Run, link: str) -> None:
    registered(run, link)

    ran = run("identify", NAME, "-o", "csv")

    assert ran.code == Exit.OK, ran.err
    assert "register,1-0:1.8.0*255,active_energy_import,6367,Wh," in ran.out


def test_another_meter_than_registered_is_told_and_refused(run: Run, link: str) -> None:
    registered(run, link, "SIM0000000000099")

    ran = run("identify", "SIM0000000000099", "-o", "json")

    assert ran.code == Exit.REFUSED
    assert json.loads(ran.out)["meter"] == NAME
    assert f"{NAME} answers at the address of SIM0000000000099" in ran.err


def test_a_ciphered_meter_is_asked_with_counters_of_the_store(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "ek").write_text(KEYS.encryption.hex())
    (tmp_path / "ak").write_text(KEYS.authentication.hex())
    secrets = ("--encryption-key", "file:ek", "--authentication-key", "file:ak", "--options", "authentication=hls5")

    with meter(DlmsSettings("hls5", keys=KEYS)) as link:
        codes = [run("identify", link, "--address", "17", *secrets).code for _ in range(2)]

    assert codes == [Exit.OK, Exit.OK]
    assert data.exists()


@pytest.mark.parametrize("base", ["idis-base", "dsmr-base"])
def test_what_a_kind_of_meters_shares_is_enough_to_ask_one(run: Run, tmp_path: Path, base: str) -> None:
    (tmp_path / "ek").write_text(KEYS.encryption.hex())
    (tmp_path / "ak").write_text(KEYS.authentication.hex())

    with meter(DlmsSettings("hls5", keys=KEYS)) as link:
        done = run(
            "identify", link, "--address", "17", "--profile", base, "--encryption-key", "file:ek",
            "--authentication-key", "file:ak", "-o", "json",
        )  # fmt: skip

    assert done.code == Exit.OK, done.err
    assert json.loads(done.out)["meter"] == NAME


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("tcp://127.0.0.1:1", "--profile", "dlms-bas"), Exit.CONFIG, "did you mean"),
        (("tcp://127.0.0.1:1", "--profile", "sim-modbus-rtu"), Exit.CONFIG, "only DLMS meters"),
        (("tcp://127.0.0.1:1",), Exit.NO_ANSWER, "127.0.0.1:1"),
        (("tcp://127.0.0.1:1", "--address", "x"), Exit.USAGE, "no DLMS server address"),
        (("tcp://127.0.0.1:1", "--password", "secret"), Exit.USAGE, "not a reference"),
        (("tcp://127.0.0.1:1", "--options", "client"), Exit.USAGE, "no option"),
        (("SIM0000001", "--address", "1"), Exit.USAGE, "only with a link"),
        (("SIM:17",), Exit.USAGE, "modbus meter"),
        (("SIM0000009",), Exit.USAGE, "SIM0000001"),
        (("/dev/ttyUSB0",), Exit.USAGE, "serial:///dev/ttyUSB0?baud=9600"),
    ],
)
def test_a_wrong_question_is_named(
    run: Run, filled: Path, arguments: tuple[str, ...], code: Exit, complaint: str
) -> None:
    assert filled.exists()

    ran = run("identify", *arguments)

    assert ran.code == code, ran.err
    assert complaint in ran.err


def test_a_draft_that_is_no_whole_profile_says_what_is_wanting(
    run: Run, link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_: object) -> Description:
        return Description(name='a "quoted" name')

    monkeypatch.setattr("drivers.dlms.driver.DlmsSession.describe", nothing)

    ran = run("identify", link, "--address", "17", "--draft", "empty.toml")

    assert ran.code == Exit.PARTIAL
    assert "nothing would ever be read" in ran.err
    assert (tmp_path / "empty.toml").exists()


def test_what_the_link_carries_is_traced_and_makes_a_case_without_the_meters_name(
    run: Run, link: str, tmp_path: Path
) -> None:
    registered(run, link)
    path, case = tmp_path / "a.trace", tmp_path / "cases" / "acme-e40"

    done = run("identify", NAME, "--trace", str(path))
    shown, made = run("trace", "decode", str(path)), run("trace", "to-case", str(path), str(case))
    again = run("trace", "to-case", str(path), str(case))

    assert done.code == shown.code == made.code == Exit.OK, done.err + made.err
    assert f"trace: {path}" in done.err
    assert "association LN" in shown.out
    frames = [bytes.fromhex(line) for line in (case / "frame.hex").read_text().splitlines()]
    expected = tomllib.loads((case / "expected.toml").read_text())
    assert (expected["protocol"], expected["framing"]) == ("dlms", "wrapper")
    assert expected["directions"] == "><" * (len(frames) // 2)
    assert expected["expect"] == {}
    assert not any(NAME.encode() in frame for frame in frames)
    assert any(b"*" * len(NAME) in frame for frame in frames)
    assert NAME not in (case / "expected.toml").read_text()
    assert again.code == Exit.USAGE
    assert "File exists" in again.err


def test_a_trace_goes_nowhere_where_another_file_is(run: Run, link: str, tmp_path: Path) -> None:
    other = tmp_path / "mine.txt"
    other.write_text("mine")

    done = run("identify", link, "--trace", str(other))

    assert done.code == Exit.USAGE
    assert other.read_text() == "mine"
