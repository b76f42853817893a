"""One owner task per link, so that never two frames are in flight on a bus.

Work waits in four classes: alarm, on-demand, scheduled, back-fill. The most urgent goes first, in order of arrival within
its class. Work that has waited longer than the ageing time gets every second turn, so that nobody starves and a person
still waits for one job at most. The transport is opened when there is work and kept until it fails; a link that is one
connection to one place (no line speed of its own) is hung up when nothing is left to do.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import structlog

from drivers.contract import ByteStream
from drivers.errors import DriverError, TransportTimeout
from headend.clock import Clock
from headend.collect.job import Priority

T = TypeVar("T")
Open = Callable[[str], Awaitable[ByteStream]]
AGEING = 600.0
"""Waiting time after which work gets every second turn, whatever its class. [s]"""

_log = structlog.get_logger(__name__)


class Carrier:
    """The link as a job sees it: gives the open stream, and drops it when it can no longer be trusted."""

    def __init__(self, url: str, open_transport: Open) -> None:
        self.url = url
        self._open = open_transport
        self._stream: ByteStream | None = None
        self.could_open = True
        """Whether the last attempt to open the link succeeded."""

    async def stream(self) -> ByteStream:
        """Give the open stream, opening it first where needed. Raises `TransportError`."""
        if self._stream is None:
            self.could_open = False
            self._stream = await self._open(self.url)
            self.could_open = True
        return self._stream

    async def recover(self, error: DriverError) -> None:
        """Make the link fit for another attempt after ``error``.

        Late bytes of an answer must not reach the next request. On a shared line the input is thrown away, elsewhere the
        connection; after anything but silence it is opened anew in any case.
        """
        if self._stream is None:
            return
        if isinstance(error, TransportTimeout) and self._stream.bits_per_second is not None:
            self._stream.discard_input()
        else:
            await self.close()

    async def rest(self) -> None:
        """Hang up where the link is a connection of its own; keep a port that is a line."""
        if self._stream is not None and self._stream.bits_per_second is None:
            await self.close()

    async def close(self) -> None:
        """Close the stream, if open."""
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                await stream.close()
            except (DriverError, OSError) as error:
                _log.warning("link did not close cleanly", link=self.url, error=str(error))


@dataclass(slots=True, eq=False)
class _Work:
    priority: Priority
    order: int
    since: float
    run: Callable[[Carrier], Awaitable[Any]]
    turnaround: float
    done: "asyncio.Future[Any]" = field(repr=False)


class LineOwner:
    """The one task that uses a link. Use as ``async with``; leaving cancels what waits and closes the link."""

    def __init__(self, url: str, open_transport: Open, clock: Clock, ageing: float = AGEING) -> None:
        self._carrier = Carrier(url, open_transport)
        self._clock = clock
        self._ageing = ageing
        self._waiting: list[_Work] = []
        self._order = 0
        self._was_aged_turn = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start the owner."""
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the owner."""
        await self.close()

    def start(self) -> None:
        """Start the owner task in the running loop."""
        if self._task is None:
            self._task = asyncio.create_task(self._own(), name=f"line {self._carrier.url}")

    @property
    def waiting(self) -> int:
        """Jobs that wait for their turn."""
        return len(self._waiting)

    async def submit(self, priority: Priority, run: Callable[[Carrier], Awaitable[T]], turnaround: float = 0.0) -> T:
        """Wait for a turn, run ``run`` alone on the line, and keep silent for ``turnaround`` [clock s] afterwards.

        Raises what ``run`` raises. Cancelling the caller takes waiting work out of the queue and stops running work.
        """
        if self._task is None or self._task.done():
            raise RuntimeError(f"line {self._carrier.url} is not running")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._order += 1
        self._waiting.append(_Work(priority, self._order, self._clock.monotonic(), run, turnaround, done))
        self._wake.set()
        return await done

    async def close(self) -> None:
        """Stop the owner, cancel what waits and close the link. Closing twice is harmless."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for work in self._waiting:
            work.done.cancel()
        self._waiting.clear()
        await self._carrier.close()

    async def _own(self) -> None:
        while True:
            work = self._next()
            if work is None:
                await self._carrier.rest()
                # Work may have arrived while hanging up.
                if not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                continue
            await self._turn(work)
            if work.turnaround:
                await self._clock.sleep(work.turnaround)

    def _next(self) -> _Work | None:
        self._waiting = [work for work in self._waiting if not work.done.done()]
        if not self._waiting:
            return None
        chosen = min(self._waiting, key=lambda work: (work.priority, work.order))
        oldest = min(self._waiting, key=lambda work: work.order)
        is_aged = self._clock.monotonic() - oldest.since > self._ageing
        self._was_aged_turn = is_aged and not self._was_aged_turn and chosen.priority is not Priority.ALARM
        if self._was_aged_turn:
            chosen = oldest
        self._waiting.remove(chosen)
        return chosen

    async def _turn(self, work: _Work) -> None:
        running = asyncio.ensure_future(work.run(self._carrier))
        work.done.add_done_callback(lambda done: running.cancel() if done.cancelled() else None)
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            work.done.cancel()
            raise
        if running.cancelled():
            # A session cut in the middle may leave half an exchange on the line.
            await self._carrier.close()
            work.done.cancel()
        elif (error := running.exception()) is not None:
            if not work.done.done():
                work.done.set_exception(error)
        elif not work.done.done():
            work.done.set_result(running.result())
