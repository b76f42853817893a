"""`Sink`: takes what changed to one place, and moves its cursor only past what that place holds for certain.

Here is what all sinks share: reading the log, waiting out trouble, saying so once, and the cursor's step together with the
quarantined points. As it stands it serves a place that the journal itself writes when it is read (Parquet files);
`headend.sinks.linesink` adds sending lines to a server.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from headend.clock import Clock, pause
from headend.errors import StoreError
from headend.sinks.model import Journal, Poison, Unavailable, Window
from headend.store.errors import StoreFull, StoreUnavailable

FIRST_PAUSE = 1.0
"""Longest pause after the first failure; it doubles with each further one. [s]"""
LONGEST_PAUSE = 300.0
"""Longest pause of our own. [s]"""
LONGEST_ASKED = 3_600.0
"""Longest pause that a server may ask for. [s]"""

_log = structlog.get_logger(__name__)


class Stopped(Exception):
    """We were told to stop; the cursor stands, so that nothing is lost."""


class Sink:
    """One cursor and one place. One task calls `run`."""

    def __init__(
        self, name: str, journal: Journal, clock: Clock, random: Callable[[], float], *, pace: float = 5.0
    ) -> None:
        """``random``: from [0, 1).  ``pace``: between looks at the log [s]."""
        self.name = name
        self._journal = journal
        self._clock = clock
        self._random = random
        self._pace = pace
        self._stop = asyncio.Event()
        self._failures = 0
        self._reported: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop`` is set. Raises `StoreError` where the store's writer failed or a connection is lost; of the place's troubles, nothing."""
        self._stop = stop
        while not stop.is_set():
            with suppress(Stopped):
                await self._turn()

    async def _turn(self) -> None:
        try:
            if not await self._step():
                await self._wait(self._pace)
        except (Stopped, StoreError):
            raise
        except Exception as error:  # noqa: BLE001  a fault in one sink must not stop the others, nor collection
            _log.exception("a sink failed; it goes on later", sink=self.name)
            self._begin_anew()
            await self._wait_out(f"a fault of this program: {error!r}")

    async def run_once(self, stop: asyncio.Event) -> None:
        """Deliver all that is waiting, or until ``stop`` is set. Raises `StoreError` as `run` does."""
        self._stop = stop
        try:
            with suppress(Stopped):
                await self.deliver()
        except StoreError:
            raise
        except Exception:  # noqa: BLE001  as in `_turn`
            _log.exception("a sink failed; the next run goes on", sink=self.name)

    async def deliver(self) -> bool:
        """Deliver all that is waiting; False where nothing was. Goes on until the place has it, or it is told to stop."""
        found = False
        while not self._stop.is_set() and await self._step():
            found = True
        return found

    async def _step(self) -> bool:
        """Take one step towards delivery; False where nothing is waiting and nothing is on its way."""
        after = await self._journal.cursor()
        window = await self._read(after)
        if self._failures:
            await self._went_well()
        if window.seq == after:
            return False
        await self._acknowledge(window.seq, window.poison)
        return True

    def _begin_anew(self) -> None:
        """Forget what is on its way: it is behind the cursor and is read again."""

    async def _read(self, after: int) -> Window:
        while True:
            try:
                window = await self._journal.read(after)
            except StoreUnavailable:
                raise  # this connection is lost for good; the service opens all anew
            except StoreError as error:
                await self._wait_out(f"the store could not be read: {error}")
            except Unavailable as error:
                await self._wait_out(str(error), error.retry_after)
            else:
                return window

    async def _acknowledge(self, seq: int, poison: Sequence[Poison]) -> None:
        while True:
            try:
                await self._journal.acknowledge(seq, poison)
            except StoreFull as error:
                await self._wait_out(str(error))
            else:
                if poison:
                    _log.warning("points were quarantined", sink=self.name, points=len(poison), first=poison[0].reason)
                return

    async def _wait_out(self, error: str, asked: float = 0.0) -> None:
        """Pause after a failure: doubling, with jitter, and no shorter than the server asks. Says so once per outage."""
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 16))
        self._failures += 1
        if self._reported is None:
            _log.warning("a sink cannot deliver; it tries again", sink=self.name, error=error)
        if error != self._reported:
            self._reported = error
            await self._report(error)
        await self._wait(max(longest * (0.5 + self._random() / 2), min(asked, LONGEST_ASKED)))

    async def _went_well(self) -> None:
        self._failures = 0
        if self._reported is not None:
            self._reported = None
            _log.info("a sink delivers again", sink=self.name)
            await self._report("")

    async def _report(self, error: str) -> None:
        try:
            await self._journal.report(error)
        except StoreFull:
            self._reported = error or "?"  # said later, when there is room

    async def _wait(self, seconds: float) -> None:
        await pause(self._clock, seconds, self._stop)
        if self._stop.is_set():
            raise Stopped
