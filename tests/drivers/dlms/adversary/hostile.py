"""Sessions of ours with a simulated meter behind a null modem, and somebody between the two who may alter everything."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from drivers.contract import ByteStream, CounterStore, Credentials, Endpoint, SessionContext
from drivers.dlms.driver import DlmsSession, open_session
from drivers.dlms.session import Conversation
from drivers.errors import ConnectionLost, CounterError
from drivers.transports import null_modem
from simulators.chance import seeded
from simulators.dlms.gateway import DlmsGateway, DlmsPlace
from simulators.dlms.settings import DlmsSettings
from simulators.faults import Misdeed
from simulators.meter import Meter, position
from tests.simulators.reading import CLIENT_TITLE, PROFILES
from tests.simulators.test_dlms import ADDRESSES, CREDENTIALS, NOW, SETTINGS, named

WRAPPER_HEADER = 8
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
MAX_COUNTER = 2**32 - 1
Alter = Callable[[bytes], bytes]


@dataclass
class Store:
    """Invocation counters as the real store keeps them, of one key; none at or above 2^32-1."""

    following: int = 1
    seen: int = -1

    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:
        first = max(self.following, floor)
        if first >= MAX_COUNTER:
            raise CounterError(f"{meter} {key_id[:4]}: the invocation counters of this key are used up: rekey")
        self.following = min(first + size, MAX_COUNTER)
        return range(first, self.following)

    async def note(self, key_id: str, counter: int) -> int:
        assert key_id
        before, self.seen = self.seen, max(self.seen, counter)
        return before


@dataclass
class Line:
    """A meter on a line. ``settings``: of the meter.  ``dlms``: of the profile it is read with.  ``alter``: what becomes of each piece the meter sends.  ``asked``, ``answered``: what went over."""

    framing: str = "wrapper"
    authentication: str = "none"
    meter: Meter = field(default_factory=lambda: named(17))
    settings: dict[str, Any] = field(default_factory=dict)
    dlms: dict[str, Any] = field(default_factory=dict)
    alter: Alter = field(default=lambda octets: octets)
    now: int = NOW
    address: str = ""
    asked: list[bytes] = field(default_factory=list)
    answered: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings: DlmsSettings = SETTINGS.get(self.authentication) or DlmsSettings()
        settings = replace(settings, **self.settings)
        self.address = self.address or ADDRESSES[self.framing][0]
        places = [DlmsPlace(position(self.address, self.meter, "SIM{:013d}"), settings)]
        self.gateway = DlmsGateway(places, seeded(1, "hostile"))

    def endpoint(self, credentials: Credentials | None = None, options: Mapping[str, str] = NO_OPTIONS) -> Endpoint:
        profile = PROFILES[f"sim-dlms-{self.framing}"]
        assert profile.dlms is not None
        profile = replace(profile, dlms=replace(profile.dlms, **self.dlms))
        options = {"authentication": self.authentication, "system_title": CLIENT_TITLE, **options}
        return Endpoint(
            "SIM0000000000017",
            self.address,
            profile,
            credentials or CREDENTIALS.get(self.authentication) or Credentials(),
            options,
        )

    async def serve(self, stream: ByteStream) -> None:
        gateway = self.gateway
        talk = gateway.wrapper_conversation() if self.framing == "wrapper" else gateway.hdlc_conversation()
        with suppress(ConnectionLost):
            while True:
                heard = await stream.read(60)
                self.asked.append(heard)
                for answer in talk.receive(heard, self.now):
                    if octets := self.alter(answer.data):
                        self.answered.append(octets)
                        await stream.write(octets)


def random_octets(count: int) -> bytes:
    """The challenge of every session here, so that it can be looked for."""
    return bytes(range(0x40, 0x40 + count))


def context(
    line: Line, store: CounterStore | None = None, random_bytes: Callable[[int], bytes] = random_octets
) -> SessionContext:
    return SessionContext(lambda: line.now, random_bytes, store or Store(), 0.02)


@asynccontextmanager
async def serving(line: Line) -> AsyncIterator[ByteStream]:
    near, far = null_modem()
    task = asyncio.create_task(line.serve(far))
    try:
        yield near
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def session(line: Line, store: CounterStore | None = None, **options: str) -> AsyncIterator[DlmsSession]:
    async with (
        serving(line) as stream,
        open_session(stream, line.endpoint(options=options), context(line, store)) as opened,
    ):
        yield opened


@asynccontextmanager
async def conversation(line: Line, store: CounterStore | None = None, **options: str) -> AsyncIterator[Conversation]:
    async with serving(line) as stream:
        opened = Conversation(stream, line.endpoint(options=options), context(line, store))
        await opened.open()
        try:
            yield opened
        finally:
            await opened.close()


def hostile(framing: str, authentication: str, *misdeeds: Misdeed, **settings: Any) -> Line:
    return Line(framing, authentication, named(17, *misdeeds), settings)


def after(count: int, alter: Alter) -> Alter:
    """Leave the first pieces alone and alter what comes behind them."""
    seen = 0

    def altered(octets: bytes) -> bytes:
        nonlocal seen
        seen += 1
        return alter(octets) if seen > count else octets

    return altered
