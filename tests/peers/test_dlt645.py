"""The PyPI package dlt645 (Apache-2.0, another hand's work) is read by our driver, and reads our simulated meters."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import Endpoint
from drivers.dlt645.driver import open_session
from drivers.errors import MeterRefused
from drivers.obis import resolve
from drivers.transports import open_transport
from simulators.clock import WorldClock
from simulators.dlt645 import Dlt645Conversation
from simulators.tcp import serving
from tests.drivers.dlt645.cases import catalogue, point
from tests.drivers.dlt645.line import NOW, bus, context, meter, profile
from tests.peers.meters import gurux_meter

pytestmark = pytest.mark.skipif(
    find_spec("dlt645") is None, reason="needs the package dlt645: pip install -e '.[peers]'"
)
FOLDER = Path(__file__).parent
KILO = frozenset({"0001", "0002", "0203"})


@pytest.fixture
def peer() -> Iterator[dict[str, Any]]:
    with gurux_meter(script=FOLDER / "dlt645_meter.py") as told:
        yield told


async def test_our_driver_reads_an_independent_meter(peer: dict[str, Any]) -> None:
    stream = await open_transport(f"tcp://127.0.0.1:{peer['port']}")
    by_di = {one.di: one for one in catalogue().points}
    wanted = {di: by_di[di] for di in peer["values"]}

    try:
        async with open_session(stream, Endpoint("p", peer["address"], profile(latency=1.0)), context()) as session:
            identity = await session.read_identity()
            values = {di: (await session.read_registers([one.obis]))[0] for di, one in wanted.items()}
    finally:
        await stream.close()

    assert identity.serial == peer["address"]
    for di, text in peer["values"].items():
        assert values[di].value == Decimal(text).scaleb(3 if di[:4] in KILO else 0), di


async def test_three_voltages_of_an_independent_meter_are_read_as_a_block_or_singly(peer: dict[str, Any]) -> None:
    stream = await open_transport(f"tcp://127.0.0.1:{peer['port']}")

    try:
        async with open_session(stream, Endpoint("p", peer["address"], profile(latency=1.0)), context()) as session:
            values = await session.read_registers([resolve(f"voltage_l{phase}") for phase in (1, 2, 3)])
            with pytest.raises(MeterRefused):
                await session.read_load_profile(NOW - 7200, NOW)
    finally:
        await stream.close()

    assert [str(value.value) for value in values] == ["230.1", "229.9", "231.0"]


async def test_an_independent_client_reads_our_simulated_meter() -> None:
    line = bus(meter(1001))
    clock = WorldClock(NOW, 1.0, time.monotonic)
    wanted = {"00010000": "active_energy_import", "02010100": "voltage_l1"}

    async with serving(clock, lambda: Dlt645Conversation(line), 0) as port:
        import asyncio

        process = await asyncio.create_subprocess_exec(
            sys.executable, str(FOLDER / "dlt645_reader.py"), str(port), "000000001001", *wanted, stdout=subprocess.PIPE
        )
        told, _ = await asyncio.wait_for(process.communicate(), 60)
        said = json.loads(told)

    where = line._places[0]._position.at(NOW)
    meant = {"00010000": where.register(NOW) // 10, "02010100": where.voltage(NOW)}
    for di, text in said.items():
        one = point(di)
        assert Decimal(text).scaleb(3 if di[:4] in KILO else 0) == one.scaler_unit.to_decimal(meant[di]), di
