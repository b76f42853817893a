"""The head-end at work: one store writer, the collector, ingestion from concentrators, validation and sinks behind them.

`serve` is what ``headend run`` and the demonstration call; everything it needs from the world is passed in.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from drivers.contract import Driver, SessionContext
from drivers.counters import NoCounters
from drivers.dlms.driver import open_session as open_dlms
from drivers.dlt645.driver import open_session as open_dlt645
from drivers.errors import PortUnavailable
from drivers.facts import RegisterValue
from drivers.iec62056.driver import open_session as open_iec62056
from drivers.listen_url import parse_listen_url
from drivers.modbus.driver import open_session as open_modbus
from drivers.obis import Obis
from drivers.profile import MeterProfile
from drivers.push.decode import PushMessage
from drivers.transports import open_transport as open_any
from drivers.transports.url import parse_url
from headend.clock import Clock, pause
from headend.collect.engine import Engine
from headend.collect.job import RoundSummary
from headend.collect.line import Open
from headend.collect.modbus_proxy import Door, ModbusProxy
from headend.errors import SettingsError
from headend.ingest.desk import CallSummary, Desk
from headend.ingest.dial_in import DialIn
from headend.ingest.mqtt import OtherProfile, ingest
from headend.secrets import Secrets
from headend.settings import ProxySettings, Settings
from headend.sinks.journal import PREFIX
from headend.sinks.run import check_sinks, open_sinks
from headend.store.condition import condition_of
from headend.store.errors import StoreFull, StoreUnavailable
from headend.store.model import MeterReading, Recorded
from headend.store.place import Place
from headend.store.pulse import Pulse
from headend.store.recording import Recording, Steps
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from headend.upkeep import Upkeep
from headend.validation import ValidationSummary, Validator
from headend.vee.calendar import load_calendars
from headend.vee.rules import load_rules

T = TypeVar("T")
DRIVERS: Mapping[str, Driver] = {
    "dlms": open_dlms,
    "modbus": open_modbus,
    "dlt645": open_dlt645,
    "iec62056": open_iec62056,
}
VALIDATION_PACE = 900.0
"""How often closed days that changed are validated. [clock s]"""
ROOM_PACE = 60.0
"""How often a full store is tried again with a message that has come. [clock s]"""
WATCH_PACE = 1.0
"""How often the store's condition is looked at. [wall s]"""
REOPEN_PACE = 10.0
"""How often a store whose device failed is opened again. [wall s]"""
LISTEN = 3.0
"""How long a single round listens for messages the broker has kept for us. [wall s]"""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class PushSummary:
    """What concentrators sent. ``recorded`` counts slots."""

    messages: int = 0
    set_aside: int = 0
    recorded: Recorded = field(default_factory=Recorded)


@dataclass(slots=True)
class ServiceSummary:
    """What a service did from start to stop. ``round``: only of a single round."""

    round: RoundSummary = field(default_factory=RoundSummary)
    push: PushSummary = field(default_factory=PushSummary)
    calls: CallSummary = field(default_factory=CallSummary)
    validation: ValidationSummary = field(default_factory=ValidationSummary)


async def serve(
    store_path: Place,
    settings: Settings,
    profiles: Mapping[str, MeterProfile],
    clock: Clock,
    secrets: Secrets,
    stop: asyncio.Event,
    once: bool = False,
    *,
    open_transport: Open = open_any,
    drivers: Mapping[str, Driver] = DRIVERS,
    timeout_scale: float = 1.0,
) -> ServiceSummary:
    """Collect, ingest and validate until ``stop`` is set, or for one round.

    Validates each UTC day once it is over and whenever it changes later; at the end also the open day. After one round the
    sinks take on what is waiting, for a bounded time. ``timeout_scale``:
    wall seconds per protocol second, for simulations. Raises `SettingsError`, `StoreError`; whatever a meter does only
    shows in ledger and summary.
    """
    rules = load_rules(settings.vee.rules)
    check_sinks(settings.sinks, secrets)
    summary = ServiceSummary()
    async with AsyncExitStack() as stack:
        store = stack.enter_context(Store.open(store_path, clock.now))
        monotonic = asyncio.get_running_loop().time
        pulse = stack.enter_context(closing(Pulse(store_path, monotonic)))
        writer = GroupCommitWriter(
            store,
            condition=lambda: pulse.trouble() or condition_of(store_path, settings.store.reserve_mib * 2**20),
            monotonic=monotonic,
        )
        stack.push_async_callback(writer.close)
        watching = asyncio.ensure_future(watch(writer.trouble))
        stack.callback(watching.cancel)
        engine = await stack.enter_async_context(
            _engine(writer, settings, profiles, clock, secrets, open_transport, drivers, timeout_scale)
        )
        validator = Validator(writer, rules, load_calendars(settings.vee.calendars))
        # A round that is over ends what runs beside it; being told to stop ends the sinks after it too.
        ending = asyncio.Event() if once else stop
        relay = asyncio.ensure_future(_relay(stop, ending))
        stack.callback(relay.cancel)
        intake = Intake(writer, clock, summary.push, ending)
        tasks: list[Coroutine[Any, Any, None]] = []
        if not once:
            tasks += open_sinks(settings.sinks, store_path, writer, clock, secrets, stop)
            waited_for = [PREFIX + name for name in settings.sinks]
            upkeep = Upkeep(writer.from_reserve, store_path, settings.retention, waited_for, clock)
            tasks.append(upkeep.run(stop))
        if settings.mqtt.url:
            tasks.append(intake.run(settings, profiles, secrets))
        if once:
            tasks.append(_one_round(engine, summary, ending, LISTEN if settings.mqtt.url else 0.0))
        else:
            tasks += [engine.run_forever(stop), _keep_validating(validator, clock, stop)]
            if settings.push.listen:
                title = bytes.fromhex(settings.dlms.system_title)
                desk = Desk(intake.with_room, profiles, secrets, clock, summary.calls, system_title=title)
                tasks.append(DialIn(settings.push, desk).run(stop))
            context = SessionContext(clock.now, os.urandom, NoCounters(), timeout_scale)
            tasks += [_share(engine, settings.proxy, place, context, stop) for place in settings.proxy.lines]
        await _together(tasks, ending)
        try:
            await validator.catch_up(clock.now(), with_today=True)
        except StoreFull as error:
            if once:
                raise
            _log.error("no room in the store; what is left is validated at the next start", error=str(error))
        summary.validation = validator.total
        if once and settings.sinks and not stop.is_set():
            draining = open_sinks(settings.sinks, store_path, writer, clock, secrets, stop, once=True)
            await _together(draining, asyncio.Event())
    return summary


async def serve_on(
    serve_until: Callable[[asyncio.Event], Coroutine[Any, Any, ServiceSummary]], stop: asyncio.Event
) -> ServiceSummary:
    """Serve until ``stop`` is set, and begin anew whenever the store's device failed, as soon as it can be written again.

    ``serve_until``: `serve` with everything but its ``stop``. A failed write or fsync ends all that was under way; what was
    not acknowledged is read from the meters again.
    """
    is_told = False
    while True:
        attempt = asyncio.Event()
        relay = asyncio.ensure_future(_relay(stop, attempt))
        try:
            return await serve_until(attempt)
        except StoreUnavailable as error:
            if stop.is_set():
                raise
            if not is_told:
                _log.error("the store's device failed; collecting stops until it can be written", error=str(error))
            is_told = True
        finally:
            relay.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), REOPEN_PACE)


async def _relay(stop: asyncio.Event, attempt: asyncio.Event) -> None:
    await stop.wait()
    attempt.set()


async def watch(trouble: Callable[[], str]) -> None:
    """Log when the store begins to be in trouble, and when it is well again; within 5 s, whether anything is written or not."""
    known = False
    while True:
        why = trouble()
        if why and not known:
            _log.error("health: degraded; polling stops, reading goes on", why=why)
        elif known and not why:
            _log.info("health: ok; polling goes on")
        known = bool(why)
        await asyncio.sleep(WATCH_PACE)


async def read_now(
    store_path: Place,
    settings: Settings,
    profiles: Mapping[str, MeterProfile],
    clock: Clock,
    secrets: Secrets,
    meter: str,
    registers: Sequence[Obis] = (),
    *,
    open_transport: Open = open_any,
    drivers: Mapping[str, Driver] = DRIVERS,
) -> list[RegisterValue]:
    """Read running values of one meter now, store them, and give them. See `Engine.read_now` for what it raises."""
    with Store.open(store_path, clock.now) as store:
        writer = GroupCommitWriter(store)
        try:
            async with _engine(writer, settings, profiles, clock, secrets, open_transport, drivers, 1.0) as engine:
                return await engine.read_now(meter, registers)
        finally:
            await writer.close()


def _engine(
    writer: GroupCommitWriter,
    settings: Settings,
    profiles: Mapping[str, MeterProfile],
    clock: Clock,
    secrets: Secrets,
    open_transport: Open,
    drivers: Mapping[str, Driver],
    timeout_scale: float,
) -> Engine:
    return Engine(
        writer,
        profiles,
        clock,
        settings.collect,
        open_transport=open_transport,
        drivers=drivers,
        secrets=secrets,
        system_title=bytes.fromhex(settings.dlms.system_title),
        timeout_scale=timeout_scale,
        trouble=writer.trouble,
    )


class Intake:
    """Stores what concentrators push. While the store is full it holds what came, and so the broker keeps the rest."""

    def __init__(self, writer: GroupCommitWriter, clock: Clock, summary: PushSummary, stop: asyncio.Event) -> None:
        self._writer = writer
        self._clock = clock
        self._summary = summary
        self._stop = stop

    async def run(self, settings: Settings, profiles: Mapping[str, MeterProfile], secrets: Secrets) -> None:
        """Ingest until told to stop. Raises `SecretError`, and what `ingest` raises."""
        routes = [profile for profile in profiles.values() if profile.push is not None]
        password = secrets.password(settings.mqtt.password_ref).decode()
        await ingest(settings.mqtt, routes, self.store, self.set_aside, self._stop, password=password)

    async def store(self, message: PushMessage) -> None:
        """Record one message, durable on return.

        Raises `RegistryError` for a meter or channel the registry does not know, or a meter of another profile: what that
        would make of the same numbers is not known.
        """
        received_at = self._clock.now()

        def steps(store: Store) -> Steps[Recorded]:
            device = store.end_device(message.meter_name)
            if device.profile != message.profile:
                raise OtherProfile(
                    f"{device.name} is registered with profile {device.profile}, but its message was read by"
                    f" {message.profile}; correct the meter's profile, or the topics of the two"
                )
            return (yield MeterReading(device.id, message.facts, received_at))

        self._summary.recorded += await self.with_room(Recording(message.meter_name, steps))
        self._summary.messages += 1

    async def set_aside(self, topic: str, payload: bytes, reason: str) -> None:
        """Keep a message nobody could use, durable on return."""
        at = self._clock.now()
        await self.with_room(lambda store: store.set_aside(topic, payload, reason, at))
        self._summary.set_aside += 1

    async def with_room(self, change: Callable[[Store], T]) -> T:
        """Make a change as soon as the store has room for it. Raises `StoreFull` when told to stop before that."""
        is_told = False
        while True:
            try:
                return await self._writer.submit(change)
            except StoreFull as error:
                if self._stop.is_set():
                    raise
                if not is_told:
                    _log.error("no room in the store; what is pushed waits until there is", error=str(error))
                is_told = True
                await pause(self._clock, ROOM_PACE, self._stop)


async def _one_round(engine: Engine, summary: ServiceSummary, stop: asyncio.Event, listen: float) -> None:
    """Do one round, and listen for at least ``listen`` [wall s]; being told to stop cuts both short."""
    work: asyncio.Future[tuple[RoundSummary, None]] = asyncio.gather(engine.run_due(), asyncio.sleep(listen))
    stopping = asyncio.ensure_future(stop.wait())
    either: set[asyncio.Future[Any]] = {work, stopping}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            summary.round, _ = work.result()
    finally:
        stop.set()
        work.cancel()
        stopping.cancel()
        await asyncio.gather(*either, return_exceptions=True)


async def _share(
    engine: Engine, settings: ProxySettings, place: str, context: SessionContext, stop: asyncio.Event
) -> None:
    """Let other Modbus masters share a line until told to stop. Raises `SettingsError`."""
    where, link = parse_listen_url(place), settings.lines[place]
    try:
        parse_url(link)
    except ValueError as error:
        raise SettingsError([f"proxy.lines: {error}"]) from error
    line, timing = await engine.share(link)
    proxy = ModbusProxy(line, Door(where.port, where.host, place in settings.may_write), timing, context)
    serving = asyncio.ensure_future(proxy.serve())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
    except PortUnavailable as error:
        raise SettingsError([f"proxy.lines: {error}"]) from error
    finally:
        serving.cancel()
        stopping.cancel()
        await asyncio.gather(serving, stopping, return_exceptions=True)


async def _keep_validating(validator: Validator, clock: Clock, stop: asyncio.Event) -> None:
    is_full = False
    while not stop.is_set():
        try:
            await validator.catch_up(clock.now(), with_today=False)
            is_full = False
        except StoreFull as error:
            if not is_full:
                _log.error("no room in the store; validation waits until there is", error=str(error))
            is_full = True
        await pause(clock, VALIDATION_PACE, stop)


async def _together(coroutines: list[Coroutine[Any, Any, None]], stop: asyncio.Event) -> None:
    """Run until all have ended; the first that fails stops the others, and its error is raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    finally:
        stop.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise errors[0]
