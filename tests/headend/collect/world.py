"""Meters that answer in memory, a real store under them, and a round of both."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from drivers.contract import ByteStream, Credentials, Endpoint, SessionContext
from drivers.errors import DriverError, TransportError
from drivers.facts import ClockReading, IntervalBlock, MeterIdentity, RegisterValue
from drivers.obis import Obis
from drivers.profile import ChannelProfile, MeterProfile
from headend.collect.engine import Engine
from headend.collect.watch import WatchedStream
from headend.secrets import NO_OPTIONS
from headend.series import Series
from headend.settings import CollectSettings
from headend.store.model import Event, JobRun
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from kernels.quality import Reason, State
from tests.headend.collect.builders import HALF_HOUR, IMPORT, MIDNIGHT, SETTINGS, WH, expectation
from tests.headend.collect.fakes import FakeClock, FakeStream


@dataclass
class FakeMeter:
    """One meter. ``missing``: slots it has no row for.  ``fault``: raised at the start of a session, given the visit's number.

    ``latencies``: of its answers in each visit [s].  ``allowed``: the latency it was given in each. [s]
    """

    name: str
    missing: set[int] = field(default_factory=set)
    fault: Callable[[int], DriverError | None] = lambda _: None
    late_fault: Callable[[int], DriverError | None] = lambda _: None
    offset: int = 0
    register: Callable[[int], int] = lambda now: (now - MIDNIGHT) // 6
    latencies: Sequence[float] = ()
    allowed: list[float] = field(default_factory=list)
    visits: int = 0
    windows: list[tuple[int, int]] = field(default_factory=list)

    @staticmethod
    def count(slot: int) -> int:
        return (slot // HALF_HOUR) % 997


class FakeSession:
    def __init__(self, meter: FakeMeter, context: SessionContext) -> None:
        self.meter, self.context = meter, context

    async def read_identity(self) -> MeterIdentity:
        return MeterIdentity(self.meter.name)

    async def read_registers(self, obis: Sequence[Obis]) -> list[RegisterValue]:
        if error := self.meter.late_fault(self.meter.visits):
            raise error
        now = self.context.now()
        return [RegisterValue(code, self.meter.register(now), WH, now) for code in obis]

    async def read_load_profile(self, start: int, end: int) -> list[IntervalBlock | RegisterValue]:
        self.meter.windows.append((start, end))
        counts = (
            None if slot in self.meter.missing else self.meter.count(slot) for slot in range(start, end, HALF_HOUR)
        )
        return [IntervalBlock(IMPORT, WH, start, HALF_HOUR, tuple(counts))]

    async def read_clock(self) -> ClockReading:
        now = self.context.now()
        return ClockReading(now + self.meter.offset, now)


class NoSecrets:
    def credentials(
        self,
        password: str = "",
        encryption_key: str = "",
        authentication_key: str = "",
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> Credentials:
        del password, encryption_key, authentication_key, options
        return Credentials()


class Scene:
    """A store in a directory, meters on lines by URL, and an engine over them."""

    def __init__(self, path: Path, settings: CollectSettings = SETTINGS, now: int = MIDNIGHT) -> None:
        self.clock = FakeClock(now)
        self.settings = settings
        self.path = path / "store.db"
        self.store = Store.open(self.path, self.clock.now)
        self.meters: dict[str, FakeMeter] = {}
        self.profiles: dict[str, MeterProfile] = {}
        self.dead_links: set[str] = set()
        self.opened: list[str] = []
        self.trouble = ""

    def add(
        self,
        profile: MeterProfile,
        *channels: ChannelProfile,
        link: str = "bus",
        number: int = 1,
        meter: FakeMeter | None = None,
        start: int = MIDNIGHT,
        end: int | None = None,
    ) -> FakeMeter:
        made = meter or FakeMeter(f"TST:{number}")
        self.profiles[profile.name] = profile
        self.meters[str(number)] = made
        with self.store.transaction():
            entry, _ = self.store.put_end_device(f"TST:{number}", profile.name, self.store.put_link(link), str(number))
            entries = [expectation(item, start, end, entry.id) for item in channels or profile.channels]
            self.store.put_expectations(entry.id, start, entries)
        return made

    async def open(self, url: str) -> FakeStream:
        self.opened.append(url)
        if url in self.dead_links:
            raise TransportError(f"{url}: nobody there")
        return FakeStream(9_600)

    @asynccontextmanager
    async def session(
        self, stream: ByteStream, endpoint: Endpoint, context: SessionContext
    ) -> AsyncIterator[FakeSession]:
        meter = self.meters[endpoint.address]
        meter.visits += 1
        meter.allowed.append(endpoint.profile.timing.latency)
        for seconds in meter.latencies:
            assert isinstance(stream, WatchedStream)
            assert stream.heard is not None
            stream.heard(seconds)
        if error := meter.fault(meter.visits):
            raise error
        yield FakeSession(meter, context)

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        writer = GroupCommitWriter(self.store, condition=lambda: self.trouble)
        try:
            async with Engine(
                writer,
                self.profiles,
                self.clock,
                self.settings,
                open_transport=self.open,
                drivers={"dlms": self.session, "modbus": self.session},
                secrets=NoSecrets(),
                trouble=writer.trouble,
            ) as made:
                yield made
        finally:
            await writer.close()

    def series(self, start: int, end: int, number: int = 1, obis: Obis = IMPORT) -> Series:
        return self.store.raw_series(self.store.end_device(f"TST:{number}").id, obis, start, end)

    def causes(self, start: int, end: int, number: int = 1) -> list[Reason | int | None]:
        """Give each slot as its count, its cause, or None where it only is expected."""
        made = self.series(start, end, number)
        return [
            int(value) if has else Reason(int(reason)) if state == State.MISSING else None
            for value, has, state, reason in zip(
                made.values.tolist(), made.has_value.tolist(), made.state.tolist(), made.reason.tolist(), strict=True
            )
        ]

    def runs(self, number: int = 1) -> list[JobRun]:
        return self.store.job_runs(self.store.end_device(f"TST:{number}").id)

    def events(self, number: int = 1) -> list[Event]:
        return self.store.events(self.store.end_device(f"TST:{number}").id)
