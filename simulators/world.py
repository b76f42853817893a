"""The demonstration world at work: the town's meters on their links, its files, and the clock they share."""

import asyncio
import csv
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from simulators.chance import seeded
from simulators.clock import WorldClock
from simulators.concentrator import Concentrator
from simulators.dlms.gateway import DlmsGateway
from simulators.line import Line
from simulators.modbus import ModbusBus
from simulators.tcp import HOST, serving
from simulators.town import CONCENTRATOR, Town, truth

BAUD = 9600
BROKER_LIMIT = 5.0  # [s] of real time, for the first connection
SETTLE_LIMIT = 5.0  # [s] of real time, for the head-end to acknowledge
COLUMNS = (
    "usage_point", "meter", "profile", "link", "address", "from", "to", "zone", "area", "transformer", "feeder", "box",
    "multiplier", "password", "encryption_key", "authentication_key", "options",
)  # fmt: skip


class World:
    """A running town. ``links``: name of each link -> its URL."""

    def __init__(self, clock: WorldClock, links: Mapping[str, str], concentrator: Concentrator, line: Line) -> None:
        self.clock = clock
        self.links = links
        self._concentrator = concentrator
        self._line = line
        self._is_acknowledging = True

    async def skip_to(self, instant: int) -> None:
        """Move on to ``instant`` [s UTC]; what falls due meanwhile is done, and acknowledged where a head-end does that."""
        await self.clock.skip_to(instant)
        if not self._is_acknowledging:
            return
        try:
            async with asyncio.timeout(SETTLE_LIMIT):
                await self._concentrator.settled()
        except TimeoutError:
            self._is_acknowledging = False  # nobody does; wait no more until somebody has

    def state(self) -> dict[str, object]:
        """Say what time it is, and how the links stand."""
        if not self._concentrator.unacknowledged:
            self._is_acknowledging = True
        anchor, count = self.clock.anchor, self._line.count
        return {
            "clock": {"monotonic": anchor.monotonic, "world": anchor.world, "rate": anchor.rate},
            "unacknowledged": len(self._concentrator.unacknowledged),
            "line": {"busy": round(count.busy, 3), "collisions": count.collisions},
        }


@asynccontextmanager
async def running(town: Town, clock: WorldClock, mqtt: str, seed: int) -> AsyncIterator[World]:
    """Run the town until the block is left. Raises `ValueError` for a bad URL, `OSError` where the broker is not there."""
    host, port = parse_mqtt(mqtt)
    async with AsyncExitStack() as stack:
        wrapper = DlmsGateway(town.wrapper, seeded(seed, "wrapper"))
        hdlc = DlmsGateway(town.hdlc, seeded(seed, "hdlc"))
        wrapper_port = await stack.enter_async_context(serving(clock, wrapper.wrapper_conversation))
        hdlc_port = await stack.enter_async_context(serving(clock, hdlc.hdlc_conversation))
        line = Line(ModbusBus(town.positions("modbus"), seeded(seed, "modbus")), clock, baud=BAUD)
        path = stack.enter_context(line.opened())
        concentrator = Concentrator(
            CONCENTRATOR,
            town.positions("mqtt"),
            clock,
            start=town.start,
            malformed=town.malformed,
            randomness=seeded(seed, "concentrator"),
        )
        tasks = [asyncio.create_task(work) for work in (clock.run(), line.run(), concentrator.run(host, port))]
        stack.push_async_callback(_stop, tasks)
        try:
            async with asyncio.timeout(BROKER_LIMIT):
                await concentrator.connected()
        except TimeoutError:
            raise OSError(f"no MQTT broker answers at {mqtt}; start one, for example: mosquitto -p {port}") from None
        links = {
            "wrapper": f"tcp://{HOST}:{wrapper_port}",
            "hdlc": f"tcp://{HOST}:{hdlc_port}",
            "modbus": f"serial://{path}?baud={BAUD}&parity=N",
            "mqtt": mqtt,
        }
        yield World(clock, links, concentrator, line)


async def _stop(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


def parse_mqtt(url: str) -> tuple[str, int]:
    """Split ``mqtt://host:port`` (port 1883 if left out). Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme != "mqtt" or not parts.hostname:
        raise ValueError(f"{url!r} is not an MQTT address; write it like mqtt://127.0.0.1:1883")
    return parts.hostname, parts.port or 1883


def write_meters(town: Town, links: Mapping[str, str], path: Path) -> None:
    """Write the meters table a head-end imports; secrets go to files of mode 0600 in ``keys/`` beside it."""
    keys = path.resolve().parent / "keys"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        for number, resident in enumerate(town.residents):
            row = {
                "usage_point": resident.usage_point,
                "meter": resident.meter.name,
                "profile": resident.profile,
                "link": links[resident.link],
                "address": resident.position.address,
                "from": datetime.fromtimestamp(town.start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "zone": "UTC+10:00",
                "area": "north" if number % 2 else "south",
                "transformer": f"T{number // 5 + 1}",
                "multiplier": "1",
                "options": resident.options,
            }
            for column, secret in resident.secrets.items():
                keys.mkdir(mode=0o700, exist_ok=True)
                row[column] = f"file:{_write_secret(keys / f'{resident.meter.name}.{column}', secret)}"
            table.writerow(row)


def _write_secret(path: Path, secret: str) -> Path:
    path.unlink(missing_ok=True)  # so that the mode below holds for a file of an earlier run, too
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(secret + "\n")
    return path


def write_truth(town: Town, path: Path) -> None:
    """Write what every meter measured, as JSON (see `simulators.town.truth`)."""
    path.write_text(json.dumps(truth(town)), encoding="utf-8")
