"""The planner's promise: what each link needs of its time, and how late the last meter is polled, before anything is deployed. Pure.

What falls due is planned by the planner itself and costed by the drivers; a day of it is then played through the line, in the
turns that the line's owner gives. Where a meter cannot be counted it is named, and the link has no verdict.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain
from typing import Final

from drivers.cost import Medium, NotComputed, VisitCost
from drivers.dlms.cost import visit_cost as dlms_cost
from drivers.dlt645.cost import visit_cost as dlt645_cost
from drivers.facts import UtcSeconds
from drivers.iec62056.cost import visit_cost as iec62056_cost
from drivers.modbus.cost import visit_cost as modbus_cost
from headend.collect.demand import Assumptions, Demands, Due
from headend.collect.plan import DAY
from headend.collect.schedule import Meter, next_tick
from headend.collect.waiting import Outcome, busy_within, play
from headend.settings import CollectSettings

COSTS: Final[Mapping[str, VisitCost]] = {
    "dlms": dlms_cost,
    "modbus": modbus_cost,
    "dlt645": dlt645_cost,
    "iec62056": iec62056_cost,
}
"""Who counts a protocol's visits. A protocol that is not here is said to be not computed."""
TIGHT: Final = 0.8
"""Share of its time, or of a tolerance, from which on a link has no room for a bad day."""


class Verdict(StrEnum):
    """What comes of a plan on a link."""

    FITS = "fits"
    TIGHT = "tight"
    DOES_NOT_FIT = "does not fit"
    NOT_COMPUTED = "not computed"
    SPEAKS_FIRST = "speaks first"


@dataclass(frozen=True, slots=True)
class Night:
    """A nightly window, from ``start`` to ``end`` of the UTC day, over midnight where that is earlier. [s]"""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How long it is. [s]"""
        return (self.end - self.start) % DAY or DAY


@dataclass(frozen=True, slots=True)
class Backfill:
    """Fetching ``days`` of load profile again for so many ``meters``. ``seconds``: on the line; ``longest``: of one job. [s]

    ``free``: line time left by scheduled work in a night, or in a day without one. [s]
    ``nights``: nights, or days, that it takes; None where nothing is left.  ``worst_boundary``: as of a link, while it goes on;
    None where nothing is polled at boundaries.
    """

    days: int
    meters: int
    seconds: float
    longest: float
    free: float
    nights: int | None
    worst_boundary: float | None


@dataclass(frozen=True, slots=True)
class Consumer:
    """A model on a link. ``share``: of the link's time."""

    profile: str
    meters: int
    share: float


@dataclass(frozen=True, slots=True)
class LinkForecast:
    """What a link needs. ``load``: share of its time; more than 1 can never keep up.  ``waiting``: of it, for answers to begin.

    ``octets``: a day, both ways.  ``by_kind``: seconds a day by kind of job.  ``worst_boundary``: from an interval boundary to
    the end of its last poll, at the worst of the day [s], where ``tolerance`` is the least that a channel there has. [s]
    ``late``, ``missed``: polls a day beyond their tolerance, and jobs without a turn.  ``pushing``: meters that speak first.
    ``uncounted``: why meters are not in it, and how many.
    """

    link: str
    medium: Medium
    meters: int
    load: float = 0.0
    waiting: float = 0.0
    octets: int = 0
    by_kind: Mapping[str, float] = field(default_factory=dict)
    worst_boundary: float | None = None
    tolerance: int | None = None
    late: int = 0
    missed: int = 0
    pushing: int = 0
    uncounted: Mapping[str, int] = field(default_factory=dict)
    biggest: tuple[Consumer, ...] = ()
    backfill: Backfill | None = None

    @property
    def verdict(self) -> Verdict:
        """Judge the plan."""
        if self.load > 1 or self.late or self.missed:
            return Verdict.DOES_NOT_FIT  # what is not counted would only add to it
        if self.uncounted:
            return Verdict.NOT_COMPUTED
        if self.pushing == self.meters:
            return Verdict.SPEAKS_FIRST
        is_slow = self.worst_boundary is not None and self.worst_boundary > TIGHT * (self.tolerance or 0)
        return Verdict.TIGHT if self.load > TIGHT or is_slow else Verdict.FITS


def reference_day(settings: CollectSettings, now: UtcSeconds) -> UtcSeconds:
    """Find the next UTC day on which load profiles are read. [s UTC]"""
    return next_tick(settings.profile_schedule, now // DAY * DAY + DAY - 1) // DAY * DAY


class Forecaster:
    """Reckons links under the same assumptions."""

    def __init__(self, assumptions: Assumptions, day: UtcSeconds) -> None:
        """``day``: midnight before the day that is played, see `reference_day`. [s UTC]"""
        self._assumptions = assumptions
        self._day = day
        self._demands = Demands(assumptions, day)

    def other(self, **changes: object) -> "Forecaster":
        """Give one with other assumptions."""
        return Forecaster(replace(self._assumptions, **changes), self._day)  # type: ignore[arg-type]

    @property
    def assumptions(self) -> Assumptions:
        """What is reckoned with."""
        return self._assumptions

    def link(
        self, name: str, medium: Medium, meters: Sequence[Meter], *, days: int = 0, night: Night | None = None
    ) -> LinkForecast:
        """Say what a link needs. ``days``: of back-fill, 0 to leave it out; only within ``night``, where there is one."""
        dues: list[Due] = []
        counted: list[Meter] = []
        uncounted: Counter[str] = Counter()
        pushing = 0
        for meter in meters:
            if meter.device.disabled or (meter.profile is not None and meter.profile.protocol == "push"):
                pushing += not meter.device.disabled
                continue
            if meter.profile is None:
                uncounted[f"there is no profile {meter.device.profile}"] += 1
                continue
            try:
                dues += self._demands.scheduled(meter, medium)
            except NotComputed as error:
                uncounted[str(error)] += 1
            else:
                counted.append(meter)
        outcome = play(dues, self._day + DAY)
        today = [due for due in dues if due.at >= self._day]
        tolerances = {meter.device.id: tolerance for meter in counted if (tolerance := _tolerance(meter)) is not None}
        polls = self._polls(outcome)
        found = LinkForecast(
            name,
            medium,
            sum(not meter.device.disabled for meter in meters),
            load=sum(due.seconds for due in today) / DAY,
            waiting=sum(due.waiting for due in today) / DAY,
            octets=sum(due.cost.octets for due in today),
            by_kind=_sums(today, lambda due: str(due.job.kind)),
            worst_boundary=max((lateness for _, lateness in polls), default=None),
            tolerance=min(tolerances.values(), default=None),
            late=sum(lateness > tolerances[device] for device, lateness in polls),
            missed=sum(due.at >= self._day for due in outcome.missed),
            pushing=pushing,
            uncounted=dict(uncounted),
            biggest=_consumers(today),
        )
        if days:
            found = replace(found, backfill=self._backfill(medium, counted, dues, outcome, days, night))
        return found

    def _polls(self, outcome: Outcome) -> list[tuple[int, float]]:
        """Give the end device of each poll of the day, and how late it was. [s]"""
        return [
            (one.due.device, one.lateness)
            for one in outcome.played
            if one.due.at >= self._day and one.lateness is not None
        ]

    def _backfill(
        self,
        medium: Medium,
        meters: Sequence[Meter],
        dues: Sequence[Due],
        outcome: Outcome,
        days: int,
        night: Night | None,
    ) -> Backfill | None:
        by_meter = [found for meter in meters if (found := self._demands.backfill(meter, medium, days))]
        if not by_meter:
            return None
        jobs = list(chain.from_iterable(by_meter))
        seconds = sum(due.seconds for due in jobs)
        window = night or Night(0, DAY)
        start = self._day + window.start
        # A night that goes over midnight lies before and behind the day that was played.
        parts = [(start, start + window.length)]
        if start + window.length > self._day + DAY:
            parts = [(start, self._day + DAY), (self._day, start + window.length - DAY)]
        free = max(0.0, sum(end - begin - busy_within(outcome, begin, end) for begin, end in parts))
        polls = self._polls(play([*dues, *jobs], self._day + DAY))
        worst = max((lateness for _, lateness in polls), default=None)
        return Backfill(
            days, len(by_meter), seconds, max(due.seconds for due in jobs), free,
            -int(-seconds // free) if free > 0 else None, worst,
        )  # fmt: skip


def _tolerance(meter: Meter) -> int | None:
    """Give the least tolerance of a meter's polled channels [s]; None where it has none."""
    assert meter.profile is not None
    return min(
        (channel.boundary_tolerance for channel in meter.profile.channels if channel.origin == "register"), default=None
    )


def _sums(dues: Iterable[Due], key: Callable[[Due], str]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for due in dues:
        sums[key(due)] = sums.get(key(due), 0.0) + due.seconds
    return sums


def _consumers(dues: Sequence[Due]) -> tuple[Consumer, ...]:
    meters: dict[str, set[int]] = {}
    for due in dues:
        meters.setdefault(due.job.device.profile, set()).add(due.device)
    shares = _sums(dues, lambda due: due.job.device.profile)
    found = [Consumer(profile, len(meters[profile]), seconds / DAY) for profile, seconds in shares.items()]
    return tuple(sorted(found, key=lambda one: (-one.share, one.profile)))
