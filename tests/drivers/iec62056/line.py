"""A line of simulated IEC 62056-21 meters behind an optical head, and sessions with them, in virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from drivers.contract import Credentials, Endpoint, MetadataCache, SessionContext
from drivers.counters import NoCounters
from drivers.iec62056.driver import Iec62056Session, open_session
from drivers.profile import MeterProfile
from drivers.transports import MemoryStream, null_modem
from simulators.faults import Fault
from simulators.household import Household
from simulators.iec62056 import Iec62056Bus, Settings
from simulators.meter import Meter, Position
from tests.drivers.dlt645.cases import shipped
from tests.drivers.far_end import playing
from tests.headend.collect import virtual

T = TypeVar("T")
START = 1_800_000_000 // 86_400 * 86_400
PERIOD = 1800
LOAD = tuple(number % 97 for number in range(48 * 10))
NOW = START + 48 * 5 * PERIOD + 700
SECRET = b"00000000"


def meter(serial: int, *faults: Fault) -> Position:
    home = Household("home", START, PERIOD, LOAD)
    return Position(f"{serial:08d}", (Meter(f"SIM:{serial:08d}", serial, home, START, faults=faults),))


def bus(*positions: Position, **settings: Any) -> Iec62056Bus:
    return Iec62056Bus(positions, random.Random(1), Settings(**settings))


def profile(name: str = "sim-iec62056", **changes: Any) -> MeterProfile:
    found = shipped(name)
    assert found.iec62056 is not None
    return replace(found, iec62056=replace(found.iec62056, **changes))


class Head(MemoryStream):
    """A head on a port that checks parity. ``speeds``: what it was set to."""

    has_parity = True
    speeds: list[int]

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        assert (parity, bits) in {("E", 7), ("N", 8)}
        self.speeds.append(baud)
        await asyncio.sleep(after)


class Kept:
    """What is kept between sessions, as the store does."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    async def load(self, kind: str) -> bytes | None:
        return self.entries.get(kind)

    async def keep(self, kind: str, entry: bytes) -> None:
        self.entries[kind] = entry

    async def drop(self, kind: str) -> None:
        self.entries.pop(kind, None)


@asynccontextmanager
async def session(
    line: Iec62056Bus,
    address: str = "1001",
    *,
    meant: MeterProfile | None = None,
    secret: bytes = SECRET,
    heard: list[bytes] | None = None,
    head: bool = True,
    metadata: MetadataCache | None = None,
    later: int = 0,
    **options: str,
) -> AsyncIterator[Iec62056Session]:
    near, far = null_modem("line")
    if head:
        near.__class__ = Head
        assert isinstance(near, Head)
        near.speeds = []

    def now() -> int:
        return NOW + later + int(asyncio.get_running_loop().time())

    async def serve() -> None:
        while True:
            data = await far.read(1_000_000)
            if heard is not None:
                heard.append(data)
            answer = line.receive(data, now())
            if answer is not None:
                await asyncio.sleep(answer.latency)
                await far.write(answer.data)

    context = SessionContext(now, bytes, NoCounters(), metadata=metadata)
    endpoint = Endpoint("SIM:00001001", address, meant or profile(), Credentials(password=secret), options)
    async with playing(near, serve()):
        async with open_session(near, endpoint, context) as opened:
            yield opened
        await asyncio.sleep(0)  # the meter hears the end


def with_session(line: Iec62056Bus, talk: Callable[[Iec62056Session], Awaitable[T]], **how: Any) -> T:
    """Hold a session in virtual time and give what came of it."""

    async def main() -> T:
        async with session(line, **how) as opened:
            return await talk(opened)

    return virtual.run(main)
