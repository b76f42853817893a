"""A line of simulated meters behind a null modem, and sessions with them."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from drivers.contract import Endpoint, SessionContext
from drivers.dlt645.driver import Dlt645Session, open_session
from drivers.errors import LineNoise
from drivers.profile import MeterProfile, TimingProfile
from drivers.transports import MemoryStream, null_modem
from simulators.dlt645 import Dlt645Bus
from simulators.faults import Fault
from simulators.household import Household
from simulators.line import Answer
from simulators.meter import Meter, Position
from tests.drivers.dlt645.cases import shipped
from tests.drivers.far_end import playing

START = 1_800_000_000 // 86_400 * 86_400
PERIOD = 1800
LOAD = tuple(10 * (number % 97) for number in range(48 * 70))
NOW = START + 48 * 65 * PERIOD + 700


def meter(serial: int, *faults: Fault, **changes: Any) -> Position:
    home = Household("home", START, PERIOD, LOAD)
    return Position(f"{serial:012d}", (Meter(f"SIM:{serial:012d}", serial, home, START, faults=faults, **changes),))


def bus(*positions: Position, largest: int = 200) -> Dlt645Bus:
    return Dlt645Bus(positions, random.Random(1), largest=largest)


class Nothing:
    async def reserve(self, *_: Any, **__: Any) -> range:
        raise AssertionError("there are no counters")

    async def note(self, *_: Any) -> int:
        raise AssertionError("there are no counters")


def context(now: int = NOW) -> SessionContext:
    return SessionContext(lambda: now, bytes, Nothing())


def profile(name: str = "sim-dlt645", latency: float = 0.03, **changes: Any) -> MeterProfile:
    found = shipped(name)
    assert found.dlt645 is not None
    return replace(
        found, timing=TimingProfile(latency=latency, turnaround=0.0), dlt645=replace(found.dlt645, **changes)
    )


class WithParity(MemoryStream):
    """An end of a null modem of which we say that parity is checked."""

    has_parity = True
    spoil: int = 0  # damaged bytes still to come

    async def read(self, timeout: float) -> bytes:
        if self.spoil:
            self.spoil -= 1
            raise LineNoise("a damaged byte")
        return await super().read(timeout)


Respond = Callable[[bytes], Sequence[bytes]]


@asynccontextmanager
async def far_end(respond: Respond, *, parity: bool = True) -> AsyncIterator[MemoryStream]:
    near, far = null_modem("line", 115_200, 11)
    if parity:
        near.__class__ = WithParity

    async def serve() -> None:
        while True:
            for octets in respond(await far.read(60)):
                await far.write(octets)

    async with playing(near, serve()):
        yield near


def meters(line: Dlt645Bus, heard: list[bytes] | None = None, now: int = NOW) -> Respond:
    def respond(data: bytes) -> Sequence[bytes]:
        if heard is not None:
            heard.append(data)
        answer: Answer | None = line.receive(data, now)
        return [answer.data] if answer else []

    return respond


@asynccontextmanager
async def session(
    respond: Respond, address: str = "1001", *, meant: MeterProfile | None = None, parity: bool = True
) -> AsyncIterator[Dlt645Session]:
    async with (
        far_end(respond, parity=parity) as stream,
        open_session(stream, Endpoint("SIM:000000001001", address, meant or profile()), context()) as opened,
    ):
        yield opened
