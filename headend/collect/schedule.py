"""When collection falls due: cron instants and interval boundaries, all in UTC. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim

from drivers.facts import UtcSeconds
from drivers.profile import MeterProfile
from headend.registry.model import ChannelExpectation, EndDevice
from headend.settings import CollectSettings


@dataclass(frozen=True, slots=True)
class Meter:
    """An end device with its model and what is expected of it. ``profile`` is None where its name leads nowhere."""

    device: EndDevice
    profile: MeterProfile | None
    expectations: tuple[ChannelExpectation, ...]

    @property
    def is_visited(self) -> bool:
        """Say whether we go to the meter; else it is disabled, of unknown model, or speaks first (push)."""
        return not self.device.disabled and self.profile is not None and self.profile.protocol != "push"

    def is_in_place(self, now: UtcSeconds) -> bool:
        """Say whether anything is expected of the meter at ``now`` [s UTC]; else it is not there yet, or not any more.

        One that only has registers to be read is expected nothing of.
        """
        spans = [(entry.start, entry.end) for entry in self.expectations]
        return not spans or any(start <= now and (end is None or now < end) for start, end in spans)


def next_tick(cron: str, after: UtcSeconds) -> UtcSeconds:
    """Find the first instant after ``after`` that the cron expression names. [s UTC]"""
    return int(next(CronSim(cron, datetime.fromtimestamp(after, UTC))).timestamp())


def is_due(cron: str, since: UtcSeconds | None, now: UtcSeconds) -> bool:
    """Say whether the cron expression names an instant within ``(since, now]``; at the start (None) everything is due."""
    return since is None or next_tick(cron, since) <= now


def boundary_at(expectation: ChannelExpectation, instant: UtcSeconds) -> UtcSeconds:
    """Find the latest slot boundary at or before ``instant``. [s UTC]"""
    return instant - (instant - expectation.offset) % expectation.period


def polled_boundary(
    expectation: ChannelExpectation, delay: int, since: UtcSeconds | None, now: UtcSeconds
) -> UtcSeconds | None:
    """Find the boundary whose poll fell due within ``(since, now]``, the latest if several; None if none did.

    A boundary is polled when the slot before or the slot after it is expected.
    """
    boundary = boundary_at(expectation, now - delay)
    if since is not None and boundary + delay <= since:
        return None
    if boundary < expectation.start or (
        expectation.end is not None and boundary - expectation.period >= expectation.end
    ):
        return None
    return boundary


def due_slots(expectation: ChannelExpectation, earliest: UtcSeconds, now: UtcSeconds) -> tuple[UtcSeconds, UtcSeconds]:
    """Give the window ``[start, end)`` of expected slots that start at or after ``earliest`` and are over at ``now``."""
    floor = max(earliest, expectation.start)
    start = boundary_at(expectation, floor + expectation.period - 1)
    end = boundary_at(expectation, now)
    if expectation.end is not None:
        end = min(end, boundary_at(expectation, expectation.end + expectation.period - 1))
    return start, max(start, end)


def next_due(meters: Iterable[Meter], settings: CollectSettings, now: UtcSeconds) -> UtcSeconds:
    """Say when the next job of any meter falls due, after ``now``. [s UTC]"""
    instants = [next_tick(settings.profile_schedule, now), next_tick(settings.clock_check, now)]
    delay = settings.register_delay
    grids = {
        (expectation.period, expectation.offset): expectation
        for meter in meters
        if meter.is_visited
        for expectation in meter.expectations
        if expectation.origin == "register" and (expectation.end is None or now < expectation.end + expectation.period)
    }
    instants += [boundary_at(item, now - delay) + item.period + delay for item in grids.values()]
    return min(instants)
