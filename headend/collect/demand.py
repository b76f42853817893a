"""What falls due for a meter in a day, and what it costs the line: the planner's own jobs, each with its time. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from drivers.contract import Endpoint
from drivers.cost import Ask, Cost, Medium, NotComputed, VisitCost
from drivers.errors import DriverError
from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.collect.job import Job, JobKind
from headend.collect.plan import DAY, Ledger, clock_checks, plan, polls
from headend.collect.schedule import Meter, boundary_at, next_due, next_tick
from headend.registry.model import ChannelExpectation
from headend.series import Series
from headend.settings import CollectSettings
from kernels.quality import State

LOOK_BACK = (3_600, DAY, 8 * DAY, 32 * DAY, 366 * DAY)
"""How far back the tick before is looked for, the nearest first. [s]"""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is reckoned with. ``latencies``: until an answer begins, by profile [s]; else what the profile declares.

    ``failures``: share of attempts that fail.  ``period``: of every interval channel, as if it were so [s]; None as it is.
    ``shortest``: no polled channel is given a shorter one. [s]
    """

    settings: CollectSettings
    costs: Mapping[str, VisitCost]
    latencies: Mapping[str, float] = field(default_factory=dict)
    failures: float = 0.0
    period: int | None = None
    shortest: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """A job that falls due at an instant [s UTC], and its time on the line, of it ``waiting`` for answers. [s]

    ``cost``: undisturbed.  ``device``: id of the end device; the job is one that meters alike have in common.
    """

    at: UtcSeconds
    job: Job
    cost: Cost
    seconds: float
    waiting: float
    device: int

    @property
    def key(self) -> tuple[int, JobKind]:
        """Name of the work that must not be planned twice at a time."""
        return self.device, self.job.kind

    @property
    def boundary(self) -> UtcSeconds | None:
        """The interval boundary that a poll is for, else None. [s UTC]"""
        if self.job.kind is not JobKind.REGISTERS or not self.job.spans:
            return None
        return max(span.end for span in self.job.spans)


class Demands:
    """What meters ask of a link of one kind in a day. What meters have in common is planned and counted once."""

    def __init__(self, assumptions: Assumptions, day: UtcSeconds) -> None:
        """``day``: midnight before the day. [s UTC]"""
        self._assumptions = assumptions
        self._day = day
        self._jobs: dict[tuple[object, ...], tuple[tuple[UtcSeconds, Job], ...]] = {}
        self._dues: dict[tuple[object, ...], tuple[Due, ...]] = {}

    def scheduled(self, meter: Meter, medium: Medium) -> tuple[Due, ...]:
        """Give what falls due in the day and in the one before it, in order. Raises `NotComputed`."""
        return self._reckoned(meter, medium, None)

    def backfill(self, meter: Meter, medium: Medium, days: int) -> tuple[Due, ...]:
        """Give what fetches so many days of load profile up to the day, newest first. Raises `NotComputed`."""
        return self._reckoned(meter, medium, days)

    def _reckoned(self, meter: Meter, medium: Medium, days: int | None) -> tuple[Due, ...]:
        assert meter.profile is not None
        device = meter.device
        lasting = _lasting(meter, self._day, self._assumptions)
        # Longer names and addresses take more octets; of DLMS an address' length does not show how many.
        address = device.address if meter.profile.protocol == "dlms" else str(len(device.address))
        key = (medium, address, len(device.name), days, *_alike(lasting))
        if key not in self._dues:
            costs: dict[tuple[object, ...], Cost] = {}
            self._dues[key] = tuple(
                self._due(lasting, medium, at, job, costs) for at, job in self._jobs_of(lasting, days)
            )
        return tuple(Due(one.at, one.job, one.cost, one.seconds, one.waiting, device.id) for one in self._dues[key])

    def _jobs_of(self, meter: Meter, days: int | None) -> tuple[tuple[UtcSeconds, Job], ...]:
        key = (days, *_alike(meter))
        if key not in self._jobs:
            settings, day = self._assumptions.settings, self._day
            found = (
                jobs_of(meter, settings, day - DAY, day + DAY)
                if days is None
                else _backfill(meter, settings, day, days)
            )
            self._jobs[key] = tuple(found)
        return self._jobs[key]

    def _due(
        self, meter: Meter, medium: Medium, at: UtcSeconds, job: Job, costs: dict[tuple[object, ...], Cost]
    ) -> Due:
        assert meter.profile is not None
        key = (job.kind, job.registers, job.end - job.start)  # windows of one length cost the same wherever they lie
        if key not in costs:
            costs[key] = self._cost(meter, medium, job)
        cost, latency = costs[key], self._latency(meter)
        # Attempt k comes about where the k before it failed; a failed one takes as long as a good one, and then an answer is
        # waited for in vain and listened for as long again.
        failures, timing = self._assumptions.failures, meter.profile.timing
        attempts = sum(failures**number for number in range(timing.retries + 1))
        seconds = attempts * (cost.seconds(medium, latency) + failures * 2 * timing.latency)
        return Due(at, job, cost, seconds, attempts * cost.turns * latency, meter.device.id)

    def _cost(self, meter: Meter, medium: Medium, job: Job) -> Cost:
        assert meter.profile is not None
        count = self._assumptions.costs.get(meter.profile.protocol)
        if count is None:
            raise NotComputed(f"protocol {meter.profile.protocol}")
        endpoint = Endpoint(meter.device.name, meter.device.address, meter.profile, options=meter.device.options)
        is_profile = job.kind is JobKind.LOAD_PROFILE
        ask = Ask(job.registers, job.window if is_profile else None, is_profile or job.kind is JobKind.CLOCK)
        try:
            return count(endpoint, ask, medium, self._latency(meter))
        except (DriverError, ValueError) as error:
            raise NotComputed(str(error)) from error

    def _latency(self, meter: Meter) -> float:
        assert meter.profile is not None
        return self._assumptions.latencies.get(meter.profile.name, meter.profile.timing.latency)


def jobs_of(
    meter: Meter, settings: CollectSettings, start: UtcSeconds, end: UtcSeconds
) -> Iterator[tuple[UtcSeconds, Job]]:
    """Give the jobs that fall due in ``[start, end)`` [s UTC] as the engine plans them where every answer comes."""
    since = start - 1
    tick = tick_before(settings.profile_schedule, start)
    while (now := next_due([meter], settings, since)) < end:
        yield from ((now, job) for job in polls([meter], settings, since, now))
        if next_tick(settings.clock_check, since) <= now:
            yield from ((now, job) for job in clock_checks([meter], now))
        if next_tick(settings.profile_schedule, since) <= now:
            yield from ((now, job) for job in _profile_jobs(meter, settings, tick, now))
            tick = now
        since = now


def tick_before(cron: str, instant: UtcSeconds) -> UtcSeconds:
    """Find the last instant before ``instant`` [s UTC] that a cron expression names, a year back at most."""
    for reach in LOOK_BACK:
        found = instant - reach
        while (tick := next_tick(cron, found)) < instant:
            found = tick
        if found > instant - reach:
            return found
    return instant - LOOK_BACK[-1]


def _profile_jobs(meter: Meter, settings: CollectSettings, since: UtcSeconds, now: UtcSeconds) -> Sequence[Job]:
    """Plan a tick at which the slots that ended within ``(since, now]`` are open."""
    series = [
        (item, _expected(item, boundary_at(item, since), boundary_at(item, now)))
        for item in meter.expectations
        if item.origin == "load_profile" and boundary_at(item, since) < boundary_at(item, now)
    ]
    return plan([Ledger(meter, series)], settings, now).jobs


def _backfill(meter: Meter, settings: CollectSettings, now: UtcSeconds, days: int) -> Iterator[tuple[UtcSeconds, Job]]:
    assert meter.profile is not None
    bare = replace(meter, profile=replace(meter.profile, registers=()))
    yield from ((now, job) for job in _profile_jobs(bare, settings, now - days * DAY, now))


def _expected(item: ChannelExpectation, start: UtcSeconds, end: UtcSeconds) -> Series:
    return Series.empty(start, item.period, item.scaler_unit, (end - start) // item.period, State.EXPECTED)


def _lasting(meter: Meter, now: UtcSeconds, assumptions: Assumptions) -> Meter:
    """Give the meter as if it had been there for long: what is expected now or later, at all times."""
    expectations: dict[Obis, ChannelExpectation] = {}
    for item in sorted(meter.expectations, key=lambda item: item.start):
        if item.end is None or item.end > now:
            period = assumptions.period or item.period
            if item.origin == "register":
                period = max(period, assumptions.shortest)
            expectations[item.obis] = replace(item, start=0, end=None, period=period, offset=item.offset % period)
    profile = meter.profile
    if profile is not None and assumptions.period is not None:
        channels = tuple(replace(channel, period=assumptions.period) for channel in profile.channels)
        profile = replace(profile, channels=channels)
    return replace(meter, profile=profile, expectations=tuple(expectations.values()))


def _alike(meter: Meter) -> tuple[object, ...]:
    """Name what two meters have in common that have the same to do."""
    grids = tuple((item.obis, item.origin, item.period, item.offset) for item in meter.expectations)
    return meter.device.profile, tuple(sorted(meter.device.options.items())), grids
