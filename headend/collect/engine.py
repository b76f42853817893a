"""The engine: does what the planner says, one owner per line, and leaves nothing unexplained in the ledger.

It is long because the whole way of a job, from being due to being settled, is here.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import structlog

from drivers.contract import Driver, Endpoint, SessionContext
from drivers.errors import DriverError, LocalProtocolError, ProfileError
from drivers.facts import RegisterValue, UtcSeconds
from drivers.obis import Obis
from drivers.profile import MeterProfile, TimingProfile
from headend.clock import Clock
from headend.collect import settle
from headend.collect.health import Health
from headend.collect.job import Job, JobKind, Priority, RoundSummary
from headend.collect.latency import Latencies, Pace
from headend.collect.line import Carrier, Later, LineOwner, Open
from headend.collect.plan import DAY, clock_checks, plan, polls
from headend.collect.ports import CredentialSource, StoredCounters, StoredLatencies, StoredMetadata, Writer
from headend.collect.registry import load_ledgers, load_meters
from headend.collect.schedule import Meter, is_due, next_due
from headend.collect.visit import Answer, Question, Visit
from headend.errors import HeadendError, RegistryError, StoreError
from headend.secrets import SecretError
from headend.settings import CollectSettings
from headend.store.errors import StoreFull
from headend.store.recording import Recording
from kernels.quality import Reason

LEDGERS_AT_ONCE = 50
"""Meters whose ledgers are read in one turn of the writer's thread, so that commits are not held up for long."""

KEEP_LATENCIES = 21_600
"""How often learned latencies are kept, beside the end. [s]"""
ROOM_PACE = 60
"""How often a store that was full is tried again. [s]"""

_log = structlog.get_logger(__name__)


class Unused(Exception):
    """The line was not used for a job. ``cause`` is given to its slots."""

    def __init__(self, cause: Reason) -> None:
        super().__init__(cause.name)
        self.cause = cause


@dataclass(slots=True)
class _Asking:
    """A job on its way through the turns of a line."""

    meter: Meter
    job: Job
    visit: Visit | None = None
    was_put_off: bool = False


class Engine:
    """Collects from every registered meter. Use as ``async with``; leaving cancels what is under way and closes links.

    ``drivers``: by protocol name.  ``timeout_scale``: see `SessionContext`.  ``system_title``: our own, for profiles that
    name none.  ``trouble``: says why the store takes no readings, empty where it does.  One task at a time calls `run_due` or
    `run_forever`; `read_now` may be called beside them.
    """

    def __init__(
        self,
        writer: Writer,
        profiles: Mapping[str, MeterProfile],
        clock: Clock,
        settings: CollectSettings,
        *,
        open_transport: Open,
        drivers: Mapping[str, Driver],
        secrets: CredentialSource,
        system_title: bytes = b"",
        random_bytes: Callable[[int], bytes] = os.urandom,
        timeout_scale: float = 1.0,
        trouble: Callable[[], str] = str,
    ) -> None:
        self._writer = writer
        self._trouble = trouble
        self._profiles = profiles
        self._clock = clock
        self._settings = settings
        self._open_transport = open_transport
        self._drivers = drivers
        self._secrets = secrets
        self._system_title = system_title
        self._context = SessionContext(
            clock.now, random_bytes, StoredCounters(writer), timeout_scale, StoredMetadata(writer)
        )
        self._meters: dict[int, Meter] = {}
        self._links: dict[int, str] = {}
        self._lines: dict[str, LineOwner] = {}
        self._health = Health(settings)
        self._latencies = Latencies()
        self._kept = StoredLatencies(writer, self._latencies)
        self._kept_at: UtcSeconds | None = None  # None until they were recalled
        self._settled: dict[int, UtcSeconds] = {}
        self._silent: set[int] = set()  # meters that said nothing and are to be asked again when the others were
        self._since: UtcSeconds | None = None
        self._busy: Counter[tuple[int, JobKind]] = Counter()
        self._tasks: set[asyncio.Task[RoundSummary]] = set()
        self._idle = asyncio.Event()
        self._fault: BaseException | None = None
        self._is_full = False

    async def __aenter__(self) -> Self:
        """Give the engine."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Cancel what is under way and close every link. What was not finished stays due."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(line.close() for line in self._lines.values()))
        self._lines.clear()
        try:
            await self._kept.keep()
        except StoreError as error:
            _log.warning("learned latencies were not kept", error=str(error))

    async def run_due(self) -> RoundSummary:
        """Do everything that is due now, and wait for it. The first call takes everything open as due.

        Raises `StoreError` where the store failed; a meter's failure only shows in the summary.
        """
        marked, tasks = await self._start_due()
        return sum(await asyncio.gather(*tasks), marked)

    async def run_forever(self, stop: asyncio.Event) -> None:
        """Do what falls due until ``stop`` is set. A slow line does not hold up the others. Raises `StoreError`."""
        while not stop.is_set():
            await self._start_due()
            due = self.next_due()
            if self._is_full:
                due = min(due, self._clock.now() + ROOM_PACE)
            while not stop.is_set() and self._clock.now() < due:
                self._raise_fault()
                if self._tasks:
                    # Work is under way: time must pass, not be skipped.
                    self._idle.clear()
                    await _first(stop.wait(), self._idle.wait(), self._clock.sleep(due - self._clock.now()))
                else:
                    await _first(stop.wait(), self._clock.sleep_until(due))
        self._raise_fault()

    def next_due(self) -> UtcSeconds:
        """Say when something falls due next; now, before the first round. [s UTC]"""
        if self._since is None:
            return self._clock.now()
        return next_due(self._meters.values(), self._settings, self._since)

    async def read_now(self, name: str, registers: Sequence[Obis] = ()) -> list[RegisterValue]:
        """Read a meter's running values at once, before scheduled work, and store them.

        ``registers``: which; all of the model's if empty. A breaker does not stop it. Raises `RegistryError` for an unknown
        meter, `DriverError` for one that cannot be read.
        """
        await self._load_registry()
        meter = next((item for item in self._meters.values() if item.device.name == name), None)
        if meter is None:
            raise RegistryError(f"no meter {name[:80]!r} is registered; `headend meter list` shows those that are")
        if meter.profile is None:
            raise RegistryError(f"{name}: there is no profile {meter.device.profile!r}")
        if meter.profile.protocol not in self._drivers:
            raise RegistryError(f"{name}: a {meter.profile.protocol} meter speaks first; it cannot be asked")
        now = self._clock.now()
        wanted = tuple(registers) or meter.profile.registers
        job = Job(meter.device, JobKind.ON_DEMAND, Priority.ON_DEMAND, now, now, (), wanted)
        started = self._clock.now()
        try:
            answer = await self._line(meter).submit(
                job.priority, partial(self._visit, _Asking(meter, job)), self._turnaround(meter)
            )
        except DriverError as error:
            await self._settle_failure(meter, job, error, started)
            raise
        await self._settle_answer(meter, job, answer, started)
        if answer.shortfall is not None and not answer.registers:
            raise answer.shortfall
        return list(answer.registers)

    async def _start_due(self) -> tuple[RoundSummary, list[asyncio.Task[RoundSummary]]]:
        self._raise_fault()
        now, since = self._clock.now(), self._since
        self._since = now
        was_full = self._is_full
        if not await self._has_room():
            return RoundSummary(), []
        if self._kept_at is not None and now - self._kept_at >= KEEP_LATENCIES:
            self._kept_at = now
            await self._kept.keep()
        if was_full:
            since = None  # what fell due meanwhile was not done
        try:
            marked, jobs = await self._plan(since, now)
        except StoreFull as error:
            self._note_full(error)
            return RoundSummary(), []
        jobs.sort(key=lambda job: self._health.is_failing(job.device.id))
        return marked, [self._start(job) for job in jobs]

    async def _plan(self, since: UtcSeconds | None, now: UtcSeconds) -> tuple[RoundSummary, list[Job]]:
        """Say what fell due within ``(since, now]``, and settle what needs no asking."""
        is_tick = is_due(self._settings.profile_schedule, since, now)
        if is_tick:
            await self._load_registry()
        meters = list(self._meters.values())
        # Boundaries first: their polls are exact only while they are fresh.
        jobs = polls(meters, self._settings, since, now, self._busy)
        if since is not None and is_due(self._settings.clock_check, since, now):
            jobs += clock_checks(meters, now, self._busy)
        marked = RoundSummary()
        if is_tick:
            marked, profile_jobs = await self._plan_ledgers(meters, now)
            jobs += profile_jobs
        return marked, jobs

    async def _plan_ledgers(self, meters: Sequence[Meter], now: UtcSeconds) -> tuple[RoundSummary, list[Job]]:
        marked = RoundSummary()
        jobs: list[Job] = []
        horizon = now - self._settings.backfill_days * DAY
        for first in range(0, len(meters), LEDGERS_AT_ONCE):
            some = meters[first : first + LEDGERS_AT_ONCE]
            earliest = {item.device.id: max(horizon, self._settled.get(item.device.id, horizon)) for item in some}
            ledgers = await self._writer.submit(partial(load_ledgers, meters=some, earliest=earliest, now=now))
            planned = plan(ledgers, self._settings, now, self._busy)
            self._settled.update(planned.settled)
            jobs += planned.jobs
            if planned.marks:
                marked += await self._writer.submit(partial(settle.settle_marks, marks=planned.marks))
        return marked, jobs

    async def _load_registry(self) -> None:
        if self._kept_at is None:
            self._kept_at = self._clock.now()
            await self._kept.recall()
        meters, self._links = await self._writer.submit(partial(load_meters, profiles=self._profiles))
        known, self._meters = self._meters, {meter.device.id: meter for meter in meters}
        for number, meter in self._meters.items():
            if known.get(number) == meter:
                continue
            # Somebody registered or corrected it: judge it afresh.
            self._settled.pop(number, None)
            self._health.forget(meter)
            if meter.profile is None:
                _log.error("meter has no profile", meter=meter.device.name, profile=meter.device.profile)

    def _start(self, job: Job) -> asyncio.Task[RoundSummary]:
        task = asyncio.create_task(self._do(job), name=f"{job.kind} {job.device.name}")
        self._busy[job.key] += 1
        self._tasks.add(task)
        task.add_done_callback(partial(self._finished, job))
        return task

    def _finished(self, job: Job, task: asyncio.Task[RoundSummary]) -> None:
        self._tasks.discard(task)
        self._busy[job.key] -= 1
        if not self._busy[job.key]:
            del self._busy[job.key]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fault = error
        if not self._tasks or self._fault is not None:
            self._idle.set()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    async def _do(self, job: Job) -> RoundSummary:
        try:
            return await self._do_with_room(job)
        except StoreFull as error:
            self._note_full(error)
            return RoundSummary(1, 0, {Reason.GATEWAY_DOWN: 1})

    def _note_full(self, error: StoreFull) -> None:
        if not self._is_full:
            self._is_full = True
            _log.error("no room in the store; meters keep their data until there is", error=str(error))

    async def _has_room(self) -> bool:
        """Say whether the store takes readings; after it did not, by trying."""
        if why := self._trouble():
            self._note_full(StoreFull(why))
        elif self._is_full:
            now = self._clock.now()
            with suppress(StoreFull):
                await self._writer.submit(
                    lambda store: store.add_event(None, "store_full", 0, now, "there is room again", received_at=now)
                )
                self._is_full = False
                _log.info("there is room in the store again")
        return not self._is_full

    async def _do_with_room(self, job: Job) -> RoundSummary:
        meter = self._meters[job.device.id]
        started = self._clock.now()
        try:
            line = self._line(meter)
            turn = partial(self._turn, _Asking(meter, job))
            answer = await line.submit(job.priority, turn, self._turnaround(meter), is_punctual=job.is_punctual)
        except Unused as unused:
            return await self._writer.submit(partial(settle.settle_untried, job=job, cause=unused.cause))
        except StoreError:
            raise  # reserving counters failed
        except (DriverError, SecretError) as error:
            return await self._settle_failure(meter, job, error, started)
        except Exception as error:  # noqa: BLE001  a fault in one driver must not stop the other meters
            _log.exception("job failed by a fault of ours", meter=job.device.name, kind=job.kind)
            return await self._settle_failure(meter, job, error, started)
        return await self._settle_answer(meter, job, answer, started)

    async def _turn(self, asking: _Asking, carrier: Carrier) -> Answer:
        """Use the line for a job, unless that is pointless or a breaker is open."""
        meter, job, now = asking.meter, asking.job, self._clock.now()
        if job.expires_at is not None and now >= job.expires_at:
            if asking.visit is not None and asking.visit.failure is not None:
                self._note_failure(meter, carrier, asking.visit.failure)
                raise asking.visit.failure
            raise Unused(Reason.NO_LINE_TIME)
        cause = self._health.why_not(meter, carrier.url, now)
        if cause is not None and not carrier.has_returned():
            raise Unused(cause)
        is_silent = meter.device.id in self._silent or self._health.is_failing(meter.device.id)
        if is_silent and not asking.was_put_off:
            asking.was_put_off = True  # another job of this meter has met its silence; this one need not
            raise Later
        return await self._visit(asking, carrier)

    async def _visit(self, asking: _Asking, carrier: Carrier) -> Answer:
        meter, job = asking.meter, asking.job
        assert meter.profile is not None
        self._silent.discard(meter.device.id)
        try:
            if asking.visit is None:
                window = job.window if job.kind is JobKind.LOAD_PROFILE else None
                has_clock = job.kind in {JobKind.LOAD_PROFILE, JobKind.CLOCK}
                asking.visit = Visit(
                    self._drivers[meter.profile.protocol],
                    self._endpoint(meter),
                    self._context,
                    Question(window, job.registers, clock=has_clock),
                    Pace(
                        self._latencies,
                        carrier.url,
                        meter.device.name,
                        meter.profile.name,
                        meter.profile.timing.latency,
                    ),
                )
            on_trial = self._health.is_on_trial(meter, carrier.url)
            answer = await asking.visit.run(
                carrier, 0 if on_trial else meter.profile.timing.retries, may_come_later=not asking.was_put_off
            )
        except Later:
            self._silent.add(meter.device.id)
            asking.was_put_off = True
            raise
        except (DriverError, SecretError) as error:
            self._note_failure(meter, carrier, error)
            raise
        if answer.cut is not None:
            self._note_failure(meter, carrier, answer.cut)
        else:
            self._health.succeeded(meter, carrier.url)
        return answer

    def _note_failure(self, meter: Meter, carrier: Carrier, error: Exception) -> None:
        is_link = not carrier.could_open
        cause, text = _cause(error), str(error)
        self._health.failed(meter, carrier.url, self._clock.now(), cause=cause, text=text, is_link=is_link)

    async def _settle_answer(self, meter: Meter, job: Job, answer: Answer, started: UtcSeconds) -> RoundSummary:
        """Store an answer. One that the store cannot take as it is becomes a failure of that job alone."""
        fault = settle.describe_clock_fault(meter, answer.clock)
        tell_clock = answer.clock is not None and self._health.note_clock(meter, fault)
        cause = Reason.NONE if answer.cut is None else _cause(answer.cut)
        try:
            return await self._writer.submit(
                Recording(
                    meter.device.name,
                    lambda store: settle.settle_answer(
                        store, meter, job, answer,
                        cause=cause, started=started, ended=self._clock.now(), tell_clock=tell_clock,
                    ),
                )
            )  # fmt: skip
        except StoreError:
            raise
        except (HeadendError, ValueError) as error:
            _log.error("answer does not fit the registry", meter=meter.device.name, kind=job.kind, error=str(error))
            return await self._settle_failure(meter, job, error, started, Reason.SET_ASIDE)

    async def _settle_failure(
        self, meter: Meter, job: Job, error: Exception, started: UtcSeconds, cause: Reason | None = None
    ) -> RoundSummary:
        cause = _cause(error) if cause is None else cause
        tell = self._health.is_news(meter)
        return await self._writer.submit(
            lambda store: settle.settle_failure(
                store, meter, job, error, cause=cause, started=started, ended=self._clock.now(), tell=tell
            )
        )

    async def share(self, url: str) -> tuple[LineOwner, TimingProfile]:
        """Give the owner of a link, for others to take turns with our jobs, and the pace of the slowest of our meters on it."""
        await self._load_registry()
        numbers = {number for number, link in self._links.items() if link == url}
        timings = [
            meter.profile.timing
            for meter in self._meters.values()
            if meter.profile is not None and meter.device.link_id in numbers
        ]
        slowest = max((timing.latency for timing in timings), default=TimingProfile().latency)
        return self._owner(url), TimingProfile(slowest, max((timing.turnaround for timing in timings), default=0.0))

    def _line(self, meter: Meter) -> LineOwner:
        return self._owner(self._links[meter.device.link_id])

    def _owner(self, url: str) -> LineOwner:
        line = self._lines.get(url)
        if line is None:
            line = self._lines[url] = LineOwner(
                url, self._open_transport, self._clock, told=partial(self._note_stranger, url)
            )
            line.start()
        return line

    async def _note_stranger(self, url: str, is_there: bool) -> None:
        """Record that another master speaks on a line, or does no more."""
        now = self._clock.now()
        with suppress(StoreError):  # what is under way meets it again
            await self._writer.submit(
                lambda store: store.add_event(None, "second_master", int(is_there), now, url, received_at=now)
            )

    def _endpoint(self, meter: Meter) -> Endpoint:
        device, profile = meter.device, meter.profile
        assert profile is not None
        if profile.dlms is not None and not profile.dlms.client_system_title and self._system_title:
            profile = replace(profile, dlms=replace(profile.dlms, client_system_title=self._system_title))
        credentials = self._secrets.credentials(
            device.password_ref, device.encryption_key_ref, device.authentication_key_ref, device.options
        )
        return Endpoint(device.name, device.address, profile, credentials, device.options)

    def _turnaround(self, meter: Meter) -> float:
        return 0.0 if meter.profile is None else meter.profile.timing.turnaround


def _cause(error: Exception) -> Reason:
    """Give the cause a failed job leaves in its slots: the driver's, or ours where the fault is with us."""
    if isinstance(error, DriverError) and not isinstance(error, LocalProtocolError | ProfileError):
        return error.cause
    if isinstance(error, SecretError):
        return Reason.SECURITY
    return Reason.GATEWAY_DOWN


async def _first(*waits: Awaitable[object] | Coroutine[object, object, object]) -> None:
    """Wait until the first of several is over, and drop the others. Raises what that one raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
