"""A real Mosquitto killed and restarted while a concentrator publishes: every half-hour is in the store, once."""

import asyncio
import random
import time
from pathlib import Path

from drivers.obis import CATALOGUE
from headend.clock import Anchor, SharedClock
from headend.profiles import load_profiles
from headend.secrets import Secrets
from headend.service import serve
from headend.settings import MqttSettings, Settings
from headend.store.reader import StoreReader
from headend.store.store import Store
from kernels.quality import State
from simulators.clock import WorldClock
from simulators.concentrator import Concentrator
from simulators.household import bundled
from simulators.meter import Meter, Position
from tests.end_to_end.direct import register
from tests.headend.ingest.broker import running, until

OBIS = CATALOGUE["active_energy_import_interval"].obis
START = 1_772_409_600  # 2026-03-02T00:00:00Z
DAYS, METERS, KILLS = 4, 6, 8
RATE = 20_000.0  # a day in about four seconds


async def test_broker_killed_while_a_concentrator_publishes_costs_and_doubles_nothing(tmp_path: Path) -> None:
    homes = [home.moved_to(START) for home in bundled()[:METERS]]
    meters = [Meter(f"SIM:{2001 + n}", 2001 + n, home, START, 0) for n, home in enumerate(homes)]
    with running(tmp_path) as broker, Store.open(tmp_path / "headend.db", lambda: START) as store:
        register(
            store,
            [
                {"usage_point": f"DEM{n:07d}", "meter": meter.name, "profile": "sim-concentrator", "link": broker.url,
                 "address": "", "from": "2026-03-02T00:00:00Z", "to": "2026-03-06T00:00:00Z", "zone": "UTC"}
                for n, meter in enumerate(meters)
            ],
        )  # fmt: skip
        store.close()
        world = WorldClock(START, RATE, time.monotonic)
        concentrator = Concentrator(
            "c1", [Position("", (meter,)) for meter in meters], world, start=START, randomness=random.Random(1)
        )  # fmt: skip
        stop = asyncio.Event()
        settings = Settings(mqtt=MqttSettings(url=broker.url, client_id="restart-test"))
        clock = SharedClock(Anchor(world.anchor.monotonic, world.anchor.world, RATE))
        serving = asyncio.create_task(
            serve(tmp_path / "headend.db", settings, load_profiles(), clock, Secrets({}), stop)
        )
        tasks = [
            asyncio.create_task(work)
            for work in (
                world.run(),
                concentrator.run("127.0.0.1", broker.port),
            )
        ]

        randomness = random.Random(2)
        for _ in range(KILLS):
            await asyncio.sleep(randomness.uniform(0.2, 1.5))
            broker.kill()
            await asyncio.sleep(randomness.uniform(0.0, 0.3))
            broker.start()
        await until(lambda: concentrator.made >= METERS * DAYS * 12 and not concentrator.unacknowledged, 100)
        stop.set()
        summary = await serving
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert summary.push.messages >= METERS * DAYS * 12
    with StoreReader.open(tmp_path / "headend.db") as reader:
        for device, home in zip(reader.end_devices(), homes, strict=True):
            series = reader.raw_series(device.id, OBIS, START, START + DAYS * 86_400)
            assert set(series.state.tolist()) == {State.MEASURED}
            assert series.values.tolist() == [home.interval(START + slot * 1800) for slot in range(DAYS * 48)]
        assert not reader.conflicts()
