"""The world's clock: the only time the simulated meters, lines and concentrators know.

World time runs `rate` times as fast as the injected monotonic clock, and may be told to skip idle time. Skipping never loses
an event: what falls due in between runs first, in order, each at its own instant.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count

Action = Callable[[int], Awaitable[None]]
"""What an event does. Called with the world instant it fell due at. [s UTC]"""


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where world time hangs on the monotonic clock: ``world`` [s UTC] at ``monotonic`` [s], running ``rate`` times as fast."""

    monotonic: float
    world: float
    rate: float

    def __post_init__(self) -> None:
        """Refuse a clock that stands still or runs backwards."""
        if not self.rate > 0:
            raise ValueError(f"a clock rate must be above 0, not {self.rate}")

    def at(self, monotonic: float) -> float:
        """World time at a monotonic instant. [s UTC]"""
        return self.world + (monotonic - self.monotonic) * self.rate


class WorldClock:
    """World time, its events and its sleepers. Lives in one asyncio loop."""

    def __init__(self, start: int, rate: float, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.anchor = Anchor(monotonic(), float(start), rate)
        self._events: list[tuple[int, int, Action]] = []
        self._order = count()
        self._sleepers: list[asyncio.Event] = []
        self._turn = asyncio.Lock()

    @property
    def rate(self) -> float:
        """World seconds per real second."""
        return self.anchor.rate

    def time(self) -> float:
        """World time. [s UTC]"""
        return self.anchor.at(self._monotonic())

    def now(self) -> int:
        """World time in whole seconds, rounded down. [s UTC]"""
        return int(self.time() // 1)

    def schedule(self, due: int, action: Action) -> None:
        """Run ``action`` when the world reaches ``due`` [s UTC]; events due at one instant run in the order scheduled."""
        heapq.heappush(self._events, (due, next(self._order), action))
        self._wake()

    async def sleep(self, seconds: float) -> None:
        """Wait so many world seconds of running time; a skip does not shorten it. [s]"""
        await asyncio.sleep(max(0.0, seconds) / self.rate)

    async def sleep_until(self, instant: float) -> None:
        """Wait until the world reaches ``instant`` [s UTC], by running or by a skip."""
        while (remaining := instant - self.time()) > 0:
            await self._wait(remaining)

    async def skip_to(self, instant: int) -> Anchor:
        """Move the world on to ``instant`` [s UTC], running on the way what falls due, each at its instant. Never goes back."""
        async with self._turn:
            while self._events and self._events[0][0] <= instant:
                await self._run_first()
            self._move_to(instant)
        return self.anchor

    async def run(self) -> None:
        """Run events as they fall due, until cancelled."""
        while True:
            if not self._events:
                await self._wait(None)
                continue
            await self._wait(max(0.0, self._events[0][0] - self.time()))
            async with self._turn:
                while self._events and self._events[0][0] <= self.time():
                    await self._run_first()

    async def _run_first(self) -> None:
        due, _, action = heapq.heappop(self._events)
        self._move_to(due)
        await action(due)

    def _move_to(self, instant: int) -> None:
        monotonic = self._monotonic()
        if instant > self.anchor.at(monotonic):
            self.anchor = Anchor(monotonic, float(instant), self.rate)
            self._wake()

    def _wake(self) -> None:
        for sleeper in self._sleepers:
            sleeper.set()

    async def _wait(self, seconds: float | None) -> None:
        """Wait so many world seconds, or less if the clock is moved or an event is added."""
        if seconds is not None and seconds <= 0:
            return
        woken = asyncio.Event()
        self._sleepers.append(woken)
        try:
            async with asyncio.timeout(None if seconds is None else seconds / self.rate):
                await woken.wait()
        except TimeoutError:
            pass
        finally:
            self._sleepers.remove(woken)
