import asyncio
import csv
import json
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from drivers.contract import Credentials, ReadsLoadProfile, ReadsRegisters
from drivers.dlms.driver import open_session as open_dlms
from drivers.errors import TransportTimeout
from drivers.modbus.driver import open_session as open_modbus
from drivers.obis import resolve
from drivers.transports import open_transport
from simulators import control, faults, town
from simulators.faults import ClockDrift, Dead, MissingRows, Rollover, Silent
from simulators.main import main
from simulators.world import COLUMNS, parse_mqtt
from tests.simulators.broker import mosquitto, needs_mosquitto
from tests.simulators.homes import HALF_HOUR, MONDAY
from tests.simulators.reading import CLIENT_TITLE, context, counts, endpoint

ENERGY = resolve("active_energy_import")


def test_the_town_has_twenty_one_meters_over_four_links_and_the_declared_faults() -> None:
    built = town.build(MONDAY, 2, seed=1)

    links = [resident.link for resident in built.residents]
    faults = [type(fault) for resident in built.residents for fault in resident.meter.faults]
    assert {link: links.count(link) for link in links} == {"wrapper": 5, "hdlc": 5, "modbus": 5, "mqtt": 6}
    assert set(faults) == {Silent, MissingRows, ClockDrift, Dead, Rollover}
    assert all(faults.count(kind) == 1 for kind in (Silent, ClockDrift, Dead, Rollover))
    assert len({resident.meter.name for resident in built.residents}) == 21
    assert len({resident.meter.household.wh for resident in built.residents}) == 21


def test_the_same_seed_gives_the_same_town_and_another_seed_another() -> None:
    assert town.truth(town.build(MONDAY, 2, 1)) == town.truth(town.build(MONDAY, 2, 1))
    assert town.truth(town.build(MONDAY, 2, 1)) != town.truth(town.build(MONDAY, 2, 2))


def test_the_truth_is_what_profiles_hold_and_what_registers_counted() -> None:
    built = town.build(MONDAY, 2, 1)
    told = town.truth(built)
    holes = [f for resident in built.residents for f in resident.meter.faults if isinstance(f, MissingRows)]

    for meter in told.values():
        assert len(meter["wh"]) == 96
        assert meter["total_wh"] == sum(value or 0 for value in meter["wh"])
        assert (meter["used_wh"] > meter["total_wh"]) == ("MissingRows" in meter["faults"])
    assert sum(value is None for meter in told.values() for value in meter["wh"]) == sum(
        (hole.end - hole.start) // HALF_HOUR for hole in holes
    )


def test_the_rollover_happens_on_the_first_day() -> None:
    built = town.build(MONDAY, 1, 1)
    (rolling,) = [r.meter for r in built.residents if any(isinstance(f, Rollover) for f in r.meter.faults)]

    assert rolling.register(MONDAY) > 99_900_000
    assert rolling.register(MONDAY + 86_400) < 100_000


@pytest.mark.parametrize(("start", "days"), [(MONDAY + 1, 2), (MONDAY, 0)])
def test_a_town_that_cannot_be_is_refused(start: int, days: int) -> None:
    with pytest.raises(ValueError):
        town.build(start, days, 1)


@pytest.mark.parametrize("url", ["127.0.0.1:1883", "tcp://x:1", "mqtt://"])
def test_a_bad_broker_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_mqtt(url)


@pytest.mark.parametrize(
    "line", [b"x", b"{}", b'{"skip_to": "1"}', b'{"skip_to": -1}', b'{"skip_to": 1, "a": 2}', b"[1]", b"[" * 50_000]
)
def test_a_command_that_cannot_be_obeyed_says_which_can(line: bytes) -> None:
    with pytest.raises(ValueError, match="skip_to"):
        control.decode_command(line)


class Child:
    """A ``headend-simulate`` in its own process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode()

    async def answer(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await self.line())
        return told

    async def say(self, command: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        await self.process.stdin.drain()
        return await self.answer()


@asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[Child]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.main", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@needs_mosquitto
async def test_a_child_process_is_ready_skips_and_ends_with_its_stdin(tmp_path: Path) -> None:
    async with (
        mosquitto(tmp_path) as broker,
        child("world", "--mqtt", broker.url, "--days", "1", "--rate", "10") as world,
    ):
        ready = await world.answer()
        skipped = await world.say({"skip_to": MONDAY + 3600})
        wrong = await world.say({"jump": 1})
        back = await world.say({"skip_to": MONDAY})
        assert world.process.stdin is not None
        world.process.stdin.close()
        code = await asyncio.wait_for(world.process.wait(), 10)

    assert set(ready["ready"]["links"]) == {"wrapper", "hdlc", "modbus", "mqtt"}
    assert (ready["ready"]["start"], ready["ready"]["end"]) == (MONDAY, MONDAY + 86_400)
    assert (ready["clock"]["world"], ready["clock"]["rate"]) == (MONDAY, 10)
    assert skipped["clock"]["world"] == MONDAY + 3600
    assert skipped["clock"]["monotonic"] > ready["clock"]["monotonic"]
    assert "skip_to" in wrong["error"]
    assert back["clock"] == skipped["clock"]
    assert code == 0


@needs_mosquitto
async def test_every_meter_of_the_town_is_read_by_our_drivers_and_tells_the_truth(tmp_path: Path) -> None:
    table, truth_file = tmp_path / "meters.csv", tmp_path / "truth.json"
    noon = MONDAY + 12 * 3600
    async with (
        mosquitto(tmp_path) as broker,
        child(
            "world", "--mqtt", broker.url, "--days", "1", "--meters-out", str(table), "--truth-out", str(truth_file)
        ) as world,
    ):
        await world.answer()
        await world.say({"skip_to": noon})
        told = json.loads(truth_file.read_text())
        rows = list(csv.DictReader(table.read_text().splitlines()))
        read = {row["meter"]: await read_meter(row, noon) for row in rows if not row["link"].startswith("mqtt:")}

    assert tuple(rows[0]) == COLUMNS
    silent = {name for name, values in read.items() if values is None}
    assert silent == {name for name, meter in told.items() if {"Dead", "Silent"} & set(meter["faults"])}
    for row in rows:
        name, faults = row["meter"], told[row["meter"]]["faults"]
        values = read.get(name)
        if row["profile"].startswith("sim-dlms") and values is not None:
            assert values == told[name]["wh"][:24]
        elif row["profile"] == "sim-modbus-rtu" and values is not None and "Rollover" not in faults:
            assert 1_000_000 <= values[0] <= 61_000_000


async def read_meter(row: dict[str, str], noon: int) -> list[Any] | None:
    """Read a meter as its row says: the load profile of a DLMS meter, the register of a Modbus meter; None for silence."""

    def secret(column: str) -> str:
        reference = row[column].removeprefix("file:")
        if not reference:
            return ""
        assert stat.S_IMODE(Path(reference).stat().st_mode) == 0o600
        return Path(reference).read_text().strip()

    options = dict(item.split("=") for item in row["options"].split(";") if item)
    credentials = Credentials(
        secret("password").encode(),
        bytes.fromhex(secret("encryption_key")),
        bytes.fromhex(secret("authentication_key")),
    )
    is_dlms = row["profile"].startswith("sim-dlms")
    if is_dlms:
        options["system_title"] = CLIENT_TITLE
    wanted = endpoint(row["meter"], row["profile"], row["address"], credentials, **options)
    stream = await open_transport(row["link"])
    try:
        async with (open_dlms if is_dlms else open_modbus)(stream, wanted, context(lambda: noon, scale=0.1)) as session:
            assert (await session.read_identity()).name == row["meter"]
            if isinstance(session, ReadsLoadProfile):
                return counts(await session.read_load_profile(MONDAY, noon))
            assert isinstance(session, ReadsRegisters)
            return [value.count for value in await session.read_registers([ENERGY])]
    except TransportTimeout:
        return None
    finally:
        await stream.close()


async def test_a_world_without_its_broker_says_what_to_start() -> None:
    async with child("world", "--mqtt", "mqtt://127.0.0.1:1") as world:
        code = await asyncio.wait_for(world.process.wait(), 30)

    assert code == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("modbus", "--tcp", "0"), "mbpoll -m tcp"),
        (("modbus", "--pty"), "mbpoll -m rtu"),
        (("dlms",), "sim-dlms-wrapper"),
        (("dlms", "--framing", "hdlc", "--fault", "noise,before=2"), "sim-dlms-hdlc"),
    ],
)
async def test_a_standing_simulator_says_where_it_is_and_ends_on_a_signal(arguments: Any, told: str) -> None:
    async with child(*arguments) as simulator:
        await simulator.line()
        hint = await simulator.line()
        simulator.process.terminate()
        code = await asyncio.wait_for(simulator.process.wait(), 10)

    assert told in hint
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["modbus"], "choose one of"),
        (["modbus", "--tcp", "0", "--fault", "deaf"], "known: dead"),
        (["modbus", "--tcp", "0", "--start", "soon"], "ISO 8601"),
        (["dlms", "--authentication", "hls5"], "needs --keys-file"),
        (["dlms", "--authentication", "hls3"], "needs --password-file"),
        (["dlms", "--authentication", "hls7", "--keys-file", __file__], "needs --signing-key-file"),
        (["dlms", "--security", "encrypted"], "--security encrypted needs --keys-file"),
        (["dlms", "--keys-file", __file__], "no use for --keys-file"),
        (["dlms", "--zone", "Nowhere"], "no such time zone"),
        (["dlms", "--fault", "2:dead"], "there are 1"),
        (["world", "--mqtt", "localhost"], "write it like"),
    ],
)
def test_arguments_that_make_no_sense_are_named(arguments: Any, message: str) -> None:
    result = CliRunner().invoke(main, arguments)

    assert result.exit_code != 0
    assert message in result.output


def test_ctrl_c_while_it_starts_ends_it_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(faults, "parse_fault", interrupted)
    result = CliRunner().invoke(main, ["modbus", "--tcp", "0", "--fault", "dead"])

    assert (result.exit_code, result.output) == (130, "")


def test_help_imports_nothing_heavy() -> None:
    heavy = "import sys; from simulators.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    heavy += "print([name for name in ('numpy', 'aiomqtt', 'cryptography', 'asyncio') if name in sys.modules])"

    import subprocess

    told = subprocess.run(
        [sys.executable, "-c", heavy], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )

    assert told.stdout.splitlines()[-1] == "[]"


def test_half_hours_are_the_grid() -> None:
    assert all(resident.meter.household.period == HALF_HOUR for resident in town.build(MONDAY, 1, 1).residents)
