"""Other masters on our line: the daemon reads its meters, and mbpoll through a Modbus TCP port of ours, on one paced line."""

import asyncio
import random
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.obis import CATALOGUE
from drivers.transports import open_transport
from headend.clock import SystemClock
from headend.errors import SettingsError
from headend.profiles import load_profiles
from headend.registry import table
from headend.secrets import Secrets
from headend.service import ServiceSummary, serve
from headend.settings import ProxySettings, Settings
from headend.store.reader import StoreReader
from headend.store.store import Store
from simulators.clock import WorldClock
from simulators.household import Household
from simulators.line import Line
from simulators.meter import Meter, Position
from simulators.modbus import ModbusBus
from tests.headend.collect.builders import HALF_HOUR, MIDNIGHT

IMPORT = CATALOGUE["active_energy_import"].obis
METERS = 8
NOW = MIDNIGHT + HALF_HOUR + 2  # when registers are polled
HOUSEHOLD = Household("h", MIDNIGHT, HALF_HOUR, (200,) * 4)
BOUNDARY = 5_000 + 200  # what each register showed at the end of the first half-hour


class At(SystemClock):
    """A clock that stands still but lets time be waited for."""

    def now(self) -> int:
        """Always the same instant."""
        return NOW


@dataclass(slots=True)
class Daemon:
    port: int
    line: Line
    store: Path
    stop: asyncio.Event
    serving: "asyncio.Task[ServiceSummary]"

    async def is_read(self) -> None:
        """Wait until each meter was read and stored."""
        while True:
            with StoreReader.open(self.store) as reader:
                devices = reader.end_devices()
                if devices and all(reader.registers(device.id, IMPORT, MIDNIGHT, NOW + 60) for device in devices):
                    return
            assert not self.serving.done()
            await asyncio.sleep(0.05)

    async def mbpoll(self, unit: int, register: int, *values: str) -> tuple[int, str]:
        """Run mbpoll once; give its exit code and what it printed."""
        kind = "4:int" if not values else "4"
        process = await asyncio.create_subprocess_exec(
            "mbpoll", "-1", "-0", "-o", "5", "-m", "tcp", "-p", str(self.port), "-a", str(unit), "-B", "-t", kind,
            "-r", str(register), "127.0.0.1", *values, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode is not None
        return process.returncode, output.decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@asynccontextmanager
async def daemon(path: Path, *, may_write: bool = False) -> AsyncIterator[Daemon]:
    places = [
        Position(
            str(unit), (Meter(f"SIM:{1000 + unit}", 1000 + unit, HOUSEHOLD, MIDNIGHT, 5_000, dials=8, refresh=60),)
        )
        for unit in range(1, METERS + 1)
    ]
    line = Line(ModbusBus(places, random.Random(1)), WorldClock(NOW, 1.0, time.monotonic), bits_per_character=11)
    with line.opened() as device:
        link = f"serial://{device}?baud=9600&stop=2"
        rows = [
            f"UP{unit},SIM:{1000 + unit},sim-modbus-rtu,{link},{unit},2024-01-01,,UTC" for unit in range(1, METERS + 1)
        ]
        store = path / "headend.db"
        parsed = table.parse("\n".join(["usage_point,meter,profile,link,address,from,to,zone", *rows]), load_profiles())
        assert not parsed.faults, parsed.faults
        with Store.open(store, lambda: NOW) as opened:
            table.apply(opened, parsed.rows)
        port, stop = free_port(), asyncio.Event()
        place = f"tcp://127.0.0.1:{port}"
        settings = Settings(proxy=ProxySettings(lines={place: link}, may_write=(place,) if may_write else ()))
        running = asyncio.create_task(line.run())
        serving = asyncio.ensure_future(serve(store, settings, load_profiles(), At(), Secrets({}), stop))
        try:
            while not await is_open(port):
                assert not serving.done(), serving.exception()
                await asyncio.sleep(0.01)
            yield Daemon(port, line, store, stop, serving)
        finally:
            stop.set()
            await asyncio.wait_for(serving, 20)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


needs_mbpoll = pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is missing: apt-get install mbpoll")


@needs_mbpoll
async def test_mbpoll_reads_through_us_while_the_daemon_reads_the_same_line(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        polled = [await running.mbpoll(unit, 0) for unit in range(1, 4)]
        await asyncio.wait_for(running.is_read(), 30)
        carried = running.line.count.host_bytes
        code, words = await running.mbpoll(1, 10, "7")
        carried = running.line.count.host_bytes - carried
        with StoreReader.open(running.store) as reader:
            counts = [
                reader.registers(device.id, IMPORT, MIDNIGHT, NOW + 60)[0].count for device in reader.end_devices()
            ]

    assert [re.findall(r"^\[0\]:\s+(\d+)", output, re.MULTILINE) for _, output in polled] == [
        ["1001"],
        ["1002"],
        ["1003"],
    ]
    assert counts == [BOUNDARY] * METERS
    assert running.line.count.collisions == 0
    assert code != 0
    assert "Illegal function" in words
    assert carried == 0


@needs_mbpoll
async def test_a_place_that_may_write_carries_writes_to_the_meter_which_answers_for_itself(tmp_path: Path) -> None:
    async with daemon(tmp_path, may_write=True) as running:
        await asyncio.wait_for(running.is_read(), 30)
        carried = running.line.count.host_bytes
        code, words = await running.mbpoll(1, 10, "7")
        carried = running.line.count.host_bytes - carried

    assert carried == 8, "one write of one register"
    assert code != 0
    assert "Illegal function" in words, "the simulated meter takes no writes; the line carried the question"


async def test_a_port_that_is_taken_and_a_link_that_is_none_are_settings_to_put_right(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        for lines, words in (
            ({place: "serial:///dev/null?baud=9600"}, "proxy.lines: .*127.0.0.1"),
            ({"tcp://127.0.0.1:0": "nonsense://x"}, "proxy.lines: .*nonsense"),
        ):
            settings = Settings(proxy=ProxySettings(lines=lines))
            with pytest.raises(SettingsError, match=words):
                await asyncio.wait_for(
                    serve(
                        tmp_path / "h.db",
                        settings,
                        {},
                        At(),
                        Secrets({}),
                        asyncio.Event(),
                        open_transport=open_transport,
                    ),
                    20,
                )
