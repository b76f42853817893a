"""The service: stops when told, fails when a part fails, and stores what is pushed once."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import structlog

from drivers.contract import ByteStream
from drivers.errors import PortUnavailable
from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.push import PushMessage
from drivers.units import ScalerUnit, Unit
from headend.clock import SystemClock
from headend.errors import RegistryError, SettingsError
from headend.profiles import load_profiles
from headend.registry import table
from headend.secrets import SecretError, Secrets
from headend.service import Intake, PushSummary, ServiceSummary, serve
from headend.settings import MqttSettings, Settings, SinkSettings, VeeSettings
from headend.store.errors import StoreFull
from headend.store.pulse import Pulse
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from headend.validation import ValidationSummary, Validator

T = TypeVar("T")
NOW = 1_732_104_000
METERS = """usage_point,meter,profile,link,address,from,to,zone
UP1,SIM1,sim-dlms-wrapper,tcp://h:4059,1,2024-11-19,,UTC
UP2,SIM:2,sim-concentrator,,,2024-11-19,,UTC
"""
ENERGY = Obis.parse("1-0:1.29.0*255")


class At(SystemClock):
    """A clock that stands still but lets time be waited for."""

    def now(self) -> int:
        """Always the same instant."""
        return NOW


async def hang(_: str) -> ByteStream:
    await asyncio.Event().wait()
    raise AssertionError


async def fail(url: str) -> ByteStream:
    raise PortUnavailable(f"{url}: no such port")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "headend.db"
    parsed = table.parse(METERS, load_profiles())
    assert not parsed.faults, parsed.faults
    with Store.open(found, lambda: NOW) as store:
        table.apply(store, parsed.rows)
    return found


Serve = Callable[..., "asyncio.Task[ServiceSummary]"]


@pytest.fixture
def start(path: Path) -> Serve:
    def start(
        settings: Settings, stop: asyncio.Event, open_transport: Callable[..., object] = fail, *, once: bool = False
    ) -> "asyncio.Task[ServiceSummary]":
        return asyncio.ensure_future(
            serve(
                path, settings, load_profiles(), At(), Secrets({}), stop, once,
                open_transport=open_transport,  # type: ignore[arg-type]
            )
        )  # fmt: skip

    return start


async def test_one_round_gives_its_summary_and_explains_every_slot(start: Serve, path: Path) -> None:
    summary = await start(Settings(), asyncio.Event(), once=True)

    assert (summary.round.jobs, summary.round.ok) == (1, 0)
    with StoreReader.open(path) as reader:
        series = reader.raw_series(reader.end_device("SIM1").id, ENERGY, NOW - 36 * 3_600, NOW)
    assert [int(reason) for reason in set(series.reason)] == [PortUnavailable.cause]


async def test_stopping_cuts_a_hanging_round_short(start: Serve) -> None:
    stop = asyncio.Event()
    task = start(Settings(), stop, hang, once=True)
    await asyncio.sleep(0.2)
    before = time.monotonic()

    stop.set()
    summary = await task

    assert time.monotonic() - before < 5
    assert summary.round.jobs == 0


async def test_stopping_ends_the_daemon(start: Serve) -> None:
    stop = asyncio.Event()
    task = start(Settings(), stop, hang)
    await asyncio.sleep(0.2)

    stop.set()

    await asyncio.wait_for(task, 10)


async def test_a_device_that_hangs_while_nothing_is_written_is_told(
    start: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, stop = threading.Event(), asyncio.Event()
    for place in ("store.pulse.SLOW", "store.pulse.PACE", "service.WATCH_PACE"):
        monkeypatch.setattr(f"headend.{place}", 0.01)

    def flush(_: int) -> None:
        hangs.wait(60)

    async def told(word: str) -> None:
        async with asyncio.timeout(60):
            while not any(log["event"].startswith(word) for log in logs):  # noqa: ASYNC110  nobody else tells
                await asyncio.sleep(0.01)

    monkeypatch.setattr("headend.service.Pulse", partial(Pulse, flush=flush))
    with structlog.testing.capture_logs() as logs:
        task = start(Settings(), stop, hang)
        await told("health: degraded")
        hangs.set()
        await told("health: ok")
        stop.set()
        await asyncio.wait_for(task, 10)

    assert any("has not answered" in log.get("why", "") for log in logs)


async def test_cancelling_ends_the_daemon_and_frees_the_store(start: Serve, path: Path) -> None:
    task = start(Settings(), asyncio.Event(), hang)
    await asyncio.sleep(0.2)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with Store.open(path, lambda: NOW):
        pass


async def test_part_that_fails_stops_the_service_and_is_raised(start: Serve) -> None:
    settings = Settings(mqtt=MqttSettings(url="mqtt://127.0.0.1:1", username="me", password_ref="env:NONE"))

    with pytest.raises(SecretError, match="env:NONE"):
        await asyncio.wait_for(start(settings, asyncio.Event(), hang), 10)


async def test_sinks_deliver_beside_a_collector_and_one_without_server_stops_nothing(start: Serve, path: Path) -> None:
    bodies: list[bytes] = []
    is_done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        bodies.append(head + await reader.readexactly(size))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        is_done.set()

    with Store.open(path, lambda: NOW) as store, store.transaction():
        device = store.end_device("SIM1")
        store.record(
            device.id, [IntervalBlock(ENERGY, ScalerUnit(0, Unit.WATT_HOUR), NOW - NOW % 86_400, 1_800, (7, 8))], NOW
        )
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sinks = {
        name: SinkSettings(kind="influxdb", url=f"http://127.0.0.1:{port}", bucket="meters", token_ref=reference)
        for name, port, reference in (("up", server.sockets[0].getsockname()[1], ""), ("down", 1, ""))
    }
    stop = asyncio.Event()
    task = start(Settings(sinks=sinks), stop, hang)

    await asyncio.wait_for(is_done.wait(), 20)
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.wait_for(task, 20)
    server.close()

    assert b"POST /api/v2/write?" in bodies[0]
    assert b"bucket=meters" in bodies[0]
    assert b"precision=s" in bodies[0]
    prefix = b"meter_interval,channel=active_energy_import_interval,meter=SIM1,period=1800,unit=Wh value=7,"
    assert any(prefix in body for body in bodies)
    with StoreReader.open(path) as reader:
        states = reader.sink_states()
    assert states["sink/up"].seq > 0
    assert not states["sink/up"].error
    assert states["sink/down"].seq == 0
    assert "refused" in states["sink/down"].error


async def test_single_round_takes_what_is_waiting_to_the_sinks(start: Serve, path: Path, tmp_path: Path) -> None:
    with Store.open(path, lambda: NOW) as store, store.transaction():
        block = IntervalBlock(ENERGY, ScalerUnit(0, Unit.WATT_HOUR), NOW - NOW % 86_400, 1_800, (7, 8))
        store.record(store.end_device("SIM1").id, [block], NOW)
    sinks = {"files": SinkSettings(kind="parquet", directory=str(tmp_path / "files"))}

    await asyncio.wait_for(start(Settings(sinks=sinks), asyncio.Event(), once=True), 60)

    with StoreReader.open(path) as reader:
        assert reader.cursor("sink/files") == reader.last_seq() > 0
    assert (tmp_path / "files/manifest.json").exists()


async def test_sink_without_server_holds_up_a_single_round_for_a_bounded_time(
    start: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headend.sinks.run.DRAIN", 0.2)
    with Store.open(path, lambda: NOW) as store, store.transaction():
        store.add_event(1, "meter", 1, NOW, "lid opened", NOW)
    sinks = {"down": SinkSettings(kind="influxdb", url="http://127.0.0.1:1")}

    await asyncio.wait_for(start(Settings(sinks=sinks), asyncio.Event(), once=True), 60)

    with StoreReader.open(path) as reader:
        assert reader.cursor("sink/down") == 0


async def test_secret_of_a_sink_that_leads_nowhere_is_named_before_anything_runs(start: Serve) -> None:
    sinks = {"one": SinkSettings(kind="influxdb", url="http://127.0.0.1:1", token_ref="env:NONE")}

    with pytest.raises(SecretError, match="env:NONE"):
        await asyncio.wait_for(start(Settings(sinks=sinks), asyncio.Event(), hang), 10)


async def test_unknown_rule_set_is_refused_before_anything_is_opened(start: Serve) -> None:
    with pytest.raises(SettingsError, match="nonsense"):
        await start(Settings(vee=VeeSettings(rules="nonsense")), asyncio.Event(), once=True)


async def test_pushed_message_is_stored_once_and_one_of_an_unknown_meter_is_not(path: Path) -> None:
    block = IntervalBlock(ENERGY, ScalerUnit(0, Unit.WATT_HOUR), NOW - 3_600, 1800, (100, 200))
    summary = PushSummary()
    with Store.open(path, lambda: NOW) as store:
        writer = GroupCommitWriter(store)
        intake = Intake(writer, At(), summary, asyncio.Event())

        await intake.store(PushMessage("SIM:2", "sim-concentrator", [block]))
        await intake.store(PushMessage("SIM:2", "sim-concentrator", [block]))
        with pytest.raises(RegistryError, match="SIM:3"):
            await intake.store(PushMessage("SIM:3", "sim-concentrator", [block]))
        await intake.set_aside("ami/1/SIM:3/intervals", b"{}", "no such meter")
        await writer.close()

        asides = store.set_asides()

    assert (summary.messages, summary.recorded.new, summary.recorded.same, summary.set_aside) == (2, 2, 2, 1)
    assert [(aside.topic, aside.reason) for aside in asides] == [("ami/1/SIM:3/intervals", "no such meter")]


async def test_pushed_message_read_by_another_profile_than_the_meters_is_refused_and_nothing_is_stored(
    path: Path,
) -> None:
    block = IntervalBlock(ENERGY, ScalerUnit(0, Unit.WATT_HOUR), NOW - 3_600, 1800, (100, 200))
    with Store.open(path, lambda: NOW) as store:
        writer = GroupCommitWriter(store)
        intake = Intake(writer, At(), PushSummary(), asyncio.Event())

        with pytest.raises(RegistryError, match="SIM1 is registered with profile sim-dlms-wrapper"):
            await intake.store(PushMessage("SIM1", "sim-concentrator", [block]))
        await writer.close()

        series = store.raw_series(store.end_device("SIM1").id, ENERGY, NOW - 3_600, NOW)
    assert not series.has_value.any()


class FullFor(GroupCommitWriter):
    """A writer whose store has no room for so many submissions."""

    def __init__(self, store: Store, times: int) -> None:
        super().__init__(store)
        self.times = times

    async def submit(self, change: Callable[[Store], T]) -> T:
        """As the writer does, once there is room."""
        if self.times:
            self.times -= 1
            raise StoreFull("no room left on the device")
        return await super().submit(change)


class Hasty(At):
    """Sleeping takes no time."""

    async def sleep(self, seconds: float) -> None:
        """Only give way."""
        await asyncio.sleep(0 * seconds)


BLOCK = IntervalBlock(ENERGY, ScalerUnit(0, Unit.WATT_HOUR), NOW - 3_600, 1800, (100, 200))


async def test_pushed_message_waits_for_room_in_a_full_store(path: Path) -> None:
    summary = PushSummary()
    with Store.open(path, lambda: NOW) as store:
        writer = FullFor(store, 3)
        await Intake(writer, Hasty(), summary, asyncio.Event()).store(PushMessage("SIM:2", "sim-concentrator", [BLOCK]))
        await writer.close()

    assert (summary.messages, summary.recorded.new, writer.times) == (1, 2, 0)


async def test_stopping_ends_the_wait_for_room(path: Path) -> None:
    stop = asyncio.Event()
    with Store.open(path, lambda: NOW) as store:
        writer = FullFor(store, 1_000)
        message = PushMessage("SIM:2", "sim-concentrator", [BLOCK])
        task = asyncio.ensure_future(Intake(writer, At(), PushSummary(), stop).store(message))
        await asyncio.sleep(0.05)

        stop.set()

        with pytest.raises(StoreFull):
            await asyncio.wait_for(task, 5)
        await writer.close()


async def test_full_store_does_not_end_validation_in_the_daemon(start: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    went_on = asyncio.Event()

    async def catch_up(_: Validator, now: int, *, with_today: bool) -> ValidationSummary:
        assert now == NOW
        calls.append(with_today)
        if len(calls) < 3:
            raise StoreFull("no room left on the device")
        went_on.set()
        return ValidationSummary()

    monkeypatch.setattr(Validator, "catch_up", catch_up)
    monkeypatch.setattr("headend.service.VALIDATION_PACE", 0.01)
    stop = asyncio.Event()
    task = start(Settings(), stop, hang)
    await asyncio.wait_for(went_on.wait(), 10)

    stop.set()

    await asyncio.wait_for(task, 10)
    assert calls[-1]
