"""Models of meters: each shipped one reads the exchange worked out by hand for it, octet by octet, and all of it at once."""

import re
import struct
import tomllib
from dataclasses import dataclass
from typing import Any

import pytest
from pymodbus.framer.rtu import FramerRTU

from drivers.contract import ByteStream
from drivers.facts import RegisterValue
from drivers.modbus.driver import ModbusSession, open_session
from drivers.modbus.mbap import MbapFrame
from drivers.modbus.values import ValueAbsent
from drivers.obis import Obis, resolve
from drivers.profile import MeterProfile
from drivers.profile_parser import is_abstract, parse_profile
from kernels.quality import Rule
from tests.drivers.modbus.fixtures import Respond, context, endpoint, far_end, registers_from, rtu_meter
from tests.shared import REPOSITORY

DOCUMENTS = {path.stem: tomllib.loads(path.read_text()) for path in (REPOSITORY / "config/profiles").glob("*.toml")}
MODELS = {
    name: profile
    for name, document in sorted(DOCUMENTS.items())
    if not is_abstract(document)
    and (profile := parse_profile(name, DOCUMENTS)).modbus is not None
    and not name.startswith("sim-")
}
EXCHANGES = REPOSITORY / "tests/data/modbus"


@dataclass(frozen=True)
class Exchange:
    """What goes to and fro in one turn, and what must come of it: ``230.5 V``, or ``absent``."""

    obis: Obis
    request: bytes
    response: bytes
    expect: str


def load(model: str) -> tuple[dict[str, Any], Exchange, list[Exchange]]:
    told = tomllib.loads((EXCHANGES / model / "exchange.toml").read_text())

    def exchange(row: dict[str, str], obis: Obis) -> Exchange:
        return Exchange(
            obis, bytes.fromhex(row["request"]), bytes.fromhex(row["response"]), row.get("expect", told["name"])
        )

    return (
        told,
        exchange(told["identity"], Obis(0, 0, 96, 1, 0)),
        [exchange(row, resolve(row["obis"])) for row in told["points"]],
    )


def is_tcp(profile: MeterProfile) -> bool:
    assert profile.modbus is not None
    return profile.modbus.framing == "tcp"


def pdu(profile: MeterProfile, frame: bytes) -> bytes:
    return frame[7:] if is_tcp(profile) else frame[1:-2]


def by_the_script(turns: list[Exchange], beside: dict[bytes, bytes]) -> Respond:
    answers = {turn.request: turn.response for turn in turns} | beside

    async def respond(data: bytes, stream: ByteStream) -> None:
        await stream.write(answers[data])

    return respond


def with_these_registers(profile: MeterProfile, turns: list[Exchange]) -> Respond:
    """A meter that has the registers of the exchange, and nothing but zeros between them."""
    present = dict.fromkeys(range(65_536), 0)
    for turn in turns:
        (address,) = struct.unpack(">H", pdu(profile, turn.request)[1:3])
        octets = pdu(profile, turn.response)[2:]
        present |= dict(enumerate(struct.unpack(f">{len(octets) // 2}H", octets), address))
    if not is_tcp(profile):
        return rtu_meter(present, unit=1)
    answer = registers_from(present)

    async def respond(data: bytes, stream: ByteStream) -> None:
        await stream.write(MbapFrame(int.from_bytes(data[:2]), data[6], answer(data[7:])).encode())

    return respond


async def text_of(session: ModbusSession, obis: Obis) -> str:
    try:
        (value,) = await session.read_registers([obis])
    except ValueAbsent:
        return "absent"
    assert value.obis == obis
    return text(value)


def text(value: RegisterValue) -> str:
    assert value.rules == Rule(0)
    return f"{value.value:f} {value.scaler_unit.unit.symbol}".strip()


@pytest.mark.parametrize("model", MODELS)
async def test_each_register_is_asked_for_and_understood_as_the_published_map_says(model: str) -> None:
    told, identity, points = load(model)
    status = {bytes.fromhex(row["request"]): bytes.fromhex(row["response"]) for row in told.get("status", ())}

    async with (
        far_end(by_the_script([identity, *points], status)) as stream,
        open_session(stream, endpoint(MODELS[model], "1", parity="gateway"), context()) as session,
    ):
        who = await session.read_identity()
        found = {str(turn.obis): await text_of(session, turn.obis) for turn in points}

    assert who.name == told["name"]
    assert who.model == MODELS[model].model
    assert found == {str(turn.obis): turn.expect for turn in points}


@pytest.mark.parametrize("model", MODELS)
async def test_registers_read_together_are_the_same_as_one_by_one(model: str) -> None:
    _, _, points = load(model)
    there = [turn for turn in points if turn.expect != "absent"]

    async with (
        far_end(with_these_registers(MODELS[model], points)) as stream,
        open_session(stream, endpoint(MODELS[model], "1", parity="gateway"), context()) as session,
    ):
        values = await session.read_registers([turn.obis for turn in there])

    assert [text(value) for value in values] == [turn.expect for turn in there]


def test_every_shipped_model_has_an_exchange_for_its_serial_number_and_each_register() -> None:
    assert {path.parent.name for path in EXCHANGES.glob("*/exchange.toml")} == set(MODELS)
    assert len(MODELS) >= 15

    for model, profile in MODELS.items():
        told, _, points = load(model)
        assert profile.modbus is not None
        assert told["profile"] == model
        assert told["origin"].startswith("worked out by hand from ")
        assert told["origin"].endswith("; not recorded from a meter")
        assert sorted(turn.obis for turn in points) == sorted(point.obis for point in profile.modbus.points)


@pytest.mark.parametrize("model", [name for name in MODELS if not is_tcp(MODELS[name])])
def test_checksums_of_an_exchange_are_those_an_independent_implementation_computes(model: str) -> None:
    _, identity, points = load(model)

    for turn in (identity, *points):
        for frame in (turn.request, turn.response):
            assert FramerRTU.compute_CRC(frame[:-2]).to_bytes(2) == frame[-2:], frame.hex(" ")


def test_no_model_is_called_more_than_it_is_and_none_is_read_without_a_serial_number() -> None:
    for profile in MODELS.values():
        assert profile.modbus is not None
        assert profile.status == "simulator"
        assert profile.modbus.identity is not None
        assert len(profile.maker) == 3
        assert profile.channels
        assert {(channel.period, channel.origin) for channel in profile.channels} == {(900, "register")}


WORDS = {
    "active energy": "1-0:[12].8.0", "active energy by tariff": "1-0:[12].8.[1-8]", "reactive energy": "1-0:[34].8.[0-8]",
    "apparent energy": "1-0:(9|10).8.[0-8]", "active power": "1-0:16.7.0", "apparent power": "1-0:9.7.0",
    "voltage": "1-0:32.7.0", "current": "1-0:31.7.0", "power factor": "1-0:13.7.0|1-0:33.7.0",
    "frequency": "1-0:14.7.0",
}  # fmt: skip


def what_is_read(profile: MeterProfile) -> str:
    assert profile.modbus is not None
    codes = [str(point.obis).removesuffix("*255") for point in profile.modbus.points]
    return ", ".join(
        word for word, pattern in WORDS.items() if any(re.fullmatch(pattern.replace(".", r"\."), c) for c in codes)
    )


def test_the_page_of_meters_says_of_each_model_what_its_profile_says() -> None:
    page = (REPOSITORY / "docs/meters.md").read_text().partition("\n### Over Modbus\n")[2]
    rows = [line for line in page.splitlines() if line.startswith("| `")]

    assert rows == [
        f"| `{name}` | {profile.model} | `{profile.maker}:` | {what_is_read(profile)} | {profile.source} | {profile.status} |"
        for name, profile in MODELS.items()
    ]
