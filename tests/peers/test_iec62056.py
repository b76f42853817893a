"""The PyPI package iec62056-21 (BSD-3-Clause, another hand's work) reads our simulated meters, and writes a meter that we read."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import Credentials, Endpoint, SessionContext
from drivers.counters import NoCounters
from drivers.errors import MeterRefused, SecurityError
from drivers.iec62056.driver import open_session
from drivers.obis import resolve
from drivers.profile import MeterProfile
from drivers.transports import open_transport
from simulators.clock import WorldClock
from simulators.iec62056 import Iec62056Conversation
from simulators.tcp import serving
from tests.drivers.iec62056.line import NOW, bus, meter, profile
from tests.peers.meters import gurux_meter

pytestmark = pytest.mark.skipif(
    find_spec("iec62056_21") is None, reason="needs the package iec62056-21: pip install -e '.[peers]'"
)
FOLDER = Path(__file__).parent
WANTED = [resolve(name) for name in ("active_energy_import", "active_energy_export", "voltage_l1")]
SPEED = 0.2
"""Real seconds per protocol second: nobody but we keeps the standard's pauses."""


@pytest.fixture
def peer() -> Iterator[dict[str, Any]]:
    with gurux_meter(script=FOLDER / "iec62056_meter.py") as told:
        yield told


def reading(opening: Any) -> MeterProfile:
    return replace(profile(opening=opening), maker="TST")


@pytest.mark.parametrize("opening", ["readout", "programming"])
async def test_our_driver_reads_an_independent_meter(peer: dict[str, Any], opening: Any) -> None:
    stream = await open_transport(f"tcp://127.0.0.1:{peer['port']}")
    endpoint = Endpoint("TST:00471108", "471108", reading(opening), Credentials(peer["password"].encode()))
    context = SessionContext(lambda: NOW, bytes, NoCounters(), SPEED)

    try:
        async with open_session(stream, endpoint, context) as session:
            identity = await session.read_identity()
            values = await session.read_registers(WANTED)
            clock = await session.read_clock()
            with pytest.raises(MeterRefused):
                await session.read_registers([resolve("voltage_l2")])
    finally:
        await stream.close()

    assert (identity.name, identity.serial) == ("TST:00471108", peer["values"]["0.0.0"][0])
    told = [Decimal(peer["values"][name][0]) for name in ("1.8.0", "2.8.0", "32.7.0")]
    assert [value.value for value in values] == [told[0] * 1000, told[1] * 1000, told[2]]
    assert clock.meter == 1_800_008_100  # 2027-01-15T10:15:00Z


async def test_an_independent_meter_refuses_a_wrong_password(peer: dict[str, Any]) -> None:
    stream = await open_transport(f"tcp://127.0.0.1:{peer['port']}")
    endpoint = Endpoint("TST:00471108", "", reading("programming"), Credentials(b"87654321"))

    try:
        async with open_session(stream, endpoint, SessionContext(lambda: NOW, bytes, NoCounters(), SPEED)) as session:
            with pytest.raises(SecurityError):
                await session.read_identity()
    finally:
        await stream.close()


async def test_an_independent_client_reads_our_simulated_meter() -> None:
    line = bus(meter(1001))
    clock = WorldClock(NOW, 1.0, time.monotonic)

    async with serving(clock, lambda: Iec62056Conversation(line), 0) as port:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(FOLDER / "iec62056_reader.py"), str(port), "1001", "00000000", "1.8.0", "0.0.0",
            stdout=subprocess.PIPE,
        )  # fmt: skip
        told, _ = await asyncio.wait_for(process.communicate(), 60)
        said = json.loads(told)

    where = line._places[0]._position.at(NOW)
    energy = Decimal(where.register(NOW)) / 1000
    assert (said["maker"], said["is_taken"]) == ("SIM", True)
    for source in (said["printed"], said["read"]):
        assert source["0.0.0"] == ["00001001", None]
        assert source["1.8.0"][1] == "kWh"
        assert abs(Decimal(source["1.8.0"][0]) - energy) <= Decimal("0.002")  # it went on measuring
    assert set(said["printed"]) >= {"0.9.1", "0.9.2", "F.F", "2.8.0", "32.7.0"}
