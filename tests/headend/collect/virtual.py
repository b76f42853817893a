"""An event loop whose time passes only when everybody waits: a slow line takes no time, and every run the same."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tests.headend.collect.builders import MIDNIGHT

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, Any]]:
        ready = super().select(0)
        if not ready and timeout is not None:
            self.now += max(0.0, timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


class LoopClock:
    """The clock of such a loop."""

    rate = 1.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> int:
        return MIDNIGHT + int(self.monotonic())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sleep_until(self, instant: int) -> None:
        await asyncio.sleep(max(0, instant - self.now()))


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main`` in virtual time."""

    async def wait() -> T:
        return await main()

    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(wait())
