"""The only code that asks what time it is. Everything else is given a `Clock`, or ``now`` as a plain number.

Clock seconds are the time of the world that is being metered. In service they are the wall's; in a simulation they run
``rate`` times faster, and idle waiting may be skipped.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from drivers.facts import UtcSeconds

_LONGEST_NAP = 3_600.0
"""Longest single wait, so that a wall clock set by hand is noticed within the hour. [s]"""


class Clock(Protocol):
    """What time it is, and how to wait."""

    @property
    def rate(self) -> float:
        """Clock seconds per wall second; 1 in service."""

    def now(self) -> UtcSeconds:
        """Current instant, rounded down. [s UTC]"""

    def monotonic(self) -> float:
        """Clock seconds since an arbitrary start, never backwards; for timeouts and durations. [s]"""

    async def sleep(self, seconds: float) -> None:
        """Wait for clock seconds while work is under way (pacing, back-off)."""

    async def sleep_until(self, instant: UtcSeconds) -> None:
        """Wait idly for an instant; a simulated clock may skip to it. Returns at once if it has passed."""


class SystemClock:
    """The machine's own clock."""

    rate = 1.0

    def now(self) -> UtcSeconds:
        """Current instant, rounded down. [s UTC]"""
        return int(time.time())

    def monotonic(self) -> float:
        """Seconds since an arbitrary start. [s]"""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait. [s]"""
        await asyncio.sleep(max(0.0, seconds))

    async def sleep_until(self, instant: UtcSeconds) -> None:
        """Wait for an instant by the wall clock, also when that clock is set meanwhile."""
        while (left := instant - time.time()) > 0:  # noqa: ASYNC110  time passes; there is no event to wait for
            await asyncio.sleep(min(left, _LONGEST_NAP))


@dataclass(frozen=True, slots=True)
class Anchor:
    """One moment on both clocks: ``monotonic`` of the machine [s], ``world`` instant there and then [s UTC], and ``rate``."""

    monotonic: float
    world: float
    rate: float

    def __post_init__(self) -> None:
        """Refuse a world that stands still or runs backwards."""
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"rate {self.rate} is not a positive number")


Skip = Callable[[UtcSeconds], Awaitable[Anchor]]
"""Asks whoever leads the simulated world to go on to an instant at once; gives the world's new anchor."""


class SharedClock:
    """A simulated world's clock, shared with another process through the machine's monotonic clock.

    ``world = anchor.world + (time.monotonic() - anchor.monotonic) * anchor.rate``. Idle waiting asks ``skip``, so that
    simulated nights pass at once; waiting while work is under way does not, because the other side works meanwhile too.
    One task at a time decides that nothing is left to do now: whoever calls `sleep_until` speaks for the whole process.
    """

    def __init__(self, anchor: Anchor, skip: Skip | None = None) -> None:
        self._anchor = anchor
        self._skip = skip
        self._skipping = asyncio.Lock()

    @property
    def rate(self) -> float:
        """Clock seconds per wall second."""
        return self._anchor.rate

    def monotonic(self) -> float:
        """World time as it runs, which never goes backwards. [s]"""
        anchor = self._anchor
        return anchor.world + (time.monotonic() - anchor.monotonic) * anchor.rate

    def now(self) -> UtcSeconds:
        """Current instant of the world, rounded down. [s UTC]"""
        return int(self.monotonic())

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds of the world, at its pace."""
        await asyncio.sleep(max(0.0, seconds) / self.rate)

    async def sleep_until(self, instant: UtcSeconds) -> None:
        """Go to an instant of the world: skip where that is offered, else wait at the world's pace."""
        if self._skip is None:
            while (left := instant - self.monotonic()) > 0:  # noqa: ASYNC110  as above
                await asyncio.sleep(left / self.rate)
            return
        async with self._skipping:
            if instant <= self.monotonic():
                return
            anchor = await self._skip(instant)
            before = self.monotonic()
            self._anchor = anchor
            if self.monotonic() < before:
                self._anchor = Anchor(time.monotonic(), before, anchor.rate)
                raise ValueError(
                    f"the world went back from {before} to {anchor.world}; its time must not run backwards"
                )


async def pause(clock: Clock, seconds: float, stop: asyncio.Event) -> None:
    """Wait [clock s], or until ``stop`` is set."""
    waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(clock.sleep(seconds))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
