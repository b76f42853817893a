"""One owner task per link, so that never two frames are in flight on a bus.

Work waits in four classes: alarm, on-demand, scheduled, back-fill. The most urgent goes first, in order of arrival within
its class. Work that has waited longer than the ageing time gets every second turn, so that nobody starves and a person
still waits for one job at most; polls at their boundary it does not overtake. Work that raises `Later` gets another turn behind all of its class: what nobody answers is
asked again when the others have been read.

Before each turn the line has to be free: a late answer has been listened for, and what arrived unasked is thrown away. Where
that looks like frames, and again, somebody else asks on this line: it is told once, and each turn then waits for a silence.

The transport is opened when there is work and kept until it fails; a link that is one
connection to one place (no line speed of its own) is hung up when nothing is left to do.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog

from drivers.contract import ByteStream
from drivers.errors import ConnectionLost, DriverError, RemoteProtocolError, TransportError, TransportTimeout
from drivers.transports.url import SerialUrl, parse_url
from headend.clock import Clock
from headend.collect.job import Priority
from headend.collect.turns import AGEING, Turns
from headend.collect.watch import WatchedStream

T = TypeVar("T")
Open = Callable[[str], Awaitable[ByteStream]]
Told = Callable[[bool], Awaitable[None]]
LONGEST_NOISE = 2.0
"""Longest wait for the end of noise, before the link is opened anew. [s]"""
SHORTEST_FRAME = 4  # unasked octets that are more than a disturbance
STRANGER_FRAMES = 3  # within `STRANGER_MEMORY` tell of another master
STRANGER_MEMORY = 3_600.0  # [s]
STRANGER_SILENCE = 0.2  # longer than any meter takes between another master's question and its answer [s]
STRANGER_PATIENCE = 5.0  # longest wait for such a silence [s]

_log = structlog.get_logger(__name__)


class Later(Exception):
    """Raised by work that wants another turn, after what waits in its class."""


class Carrier:
    """The link as a job sees it: gives the open stream, and drops it when it can no longer be trusted."""

    def __init__(self, url: str, open_transport: Open, clock: Clock, told: Told | None = None) -> None:
        """``told``: whom to tell, True that another master speaks on the line, False that it does no more."""
        self.url = url
        self._told = told
        self._open = open_transport
        self._clock = clock
        self._stream: WatchedStream | None = None
        self._missing = ""
        self._strange: deque[float] = deque(maxlen=STRANGER_FRAMES)
        self.has_stranger = False
        """Whether another master asks on this line."""
        self.could_open = True
        """Whether the link could be opened when last tried, and has not broken since."""

    async def stream(self) -> WatchedStream:
        """Give the open stream, opening it first where needed. Raises `TransportError`."""
        if self._stream is None:
            self.could_open = False
            try:
                self._stream = WatchedStream(await self._open(self.url), self._clock)
            except TransportError:
                self._missing = _missing_port(self.url)
                raise
            self.could_open, self._missing = True, ""
        return self._stream

    def has_returned(self) -> bool:
        """Say whether a port whose name was not there when it was last opened is there again."""
        return bool(self._missing) and Path(self._missing).exists()

    async def make_free(self) -> None:
        """Wait until nobody speaks on the line. Somebody who asks there beside us is logged once, and once when gone."""
        stream, now = self._stream, self._clock.monotonic()
        if stream is None or not stream.is_line:
            return
        stream.heard = None
        unasked = len(stream.discard_input())
        if self.has_stranger:
            try:
                unasked += await stream.listen(STRANGER_SILENCE / self._clock.rate, STRANGER_PATIENCE)
            except TransportError:
                return  # whoever uses the link next meets it again
        if unasked >= SHORTEST_FRAME:
            self._strange.append(now)
        recent = sum(now - at < STRANGER_MEMORY for at in self._strange)
        if recent == STRANGER_FRAMES and not self.has_stranger:
            self.has_stranger = True
            _log.warning("another master speaks on this line, or a meter unasked; waiting for silences", link=self.url)
        elif not recent and self.has_stranger:
            self.has_stranger = False
            _log.info("nobody else speaks on this line any more", link=self.url)
        else:
            return
        if self._told is not None:
            await self._told(self.has_stranger)

    async def recover(self, error: DriverError) -> None:
        """Make the link fit for another attempt after ``error``.

        Late bytes of an answer must not reach the next request. A shared line is listened to until they have passed,
        elsewhere the connection is dropped; after anything but silence it is opened anew in any case.
        """
        stream = self._stream
        if stream is None:
            return
        try:
            if stream.is_line and isinstance(error, TransportTimeout):
                await stream.settle()
                return
            if stream.is_line and isinstance(error, RemoteProtocolError):
                await stream.calm(LONGEST_NOISE)
        except TransportError as lost:
            error = lost
        await self.close()
        if stream.is_line and isinstance(error, ConnectionLost):
            self.could_open = False  # the adapter is gone, not the meter

    async def rest(self) -> None:
        """Hang up where the link is a connection of its own; keep a port that is a line."""
        if self._stream is not None and not self._stream.is_line:
            await self.close()

    async def close(self) -> None:
        """Close the stream, if open."""
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                await stream.close()
            except (DriverError, OSError) as error:
                _log.warning("link did not close cleanly", link=self.url, error=str(error))


def _missing_port(url: str) -> str:
    """Give the path of a serial port that is not there, else nothing."""
    try:
        link = parse_url(url)
    except ValueError:
        return ""
    return link.path if isinstance(link, SerialUrl) and not Path(link.path).exists() else ""


@dataclass(slots=True, eq=False)
class _Work:
    priority: Priority
    order: int
    since: float
    run: Callable[[Carrier], Awaitable[Any]]
    turnaround: float
    is_punctual: bool
    done: "asyncio.Future[Any]" = field(repr=False)


class LineOwner:
    """The one task that uses a link. Use as ``async with``; leaving cancels what waits and closes the link."""

    def __init__(
        self, url: str, open_transport: Open, clock: Clock, ageing: float = AGEING, *, told: Told | None = None
    ) -> None:
        self._carrier = Carrier(url, open_transport, clock, told)
        self._clock = clock
        self._waiting: list[_Work] = []
        self._order = 0
        self._turns = Turns(ageing)
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

    async def submit(
        self,
        priority: Priority,
        run: Callable[[Carrier], Awaitable[T]],
        turnaround: float = 0.0,
        *,
        is_punctual: bool = False,
    ) -> T:
        """Wait for a turn, run ``run`` alone on the line, and keep silent for ``turnaround`` [clock s] afterwards.

        ``is_punctual``: it is worth less the later it is done, so that what has aged does not overtake it.
        ``run`` may raise `Later`, and is then run again. Raises what ``run`` raises. Cancelling the caller takes waiting work out of the queue and stops running work.
        """
        if self._task is None or self._task.done():
            raise RuntimeError(f"line {self._carrier.url} is not running")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Work(priority, self._last(), self._clock.monotonic(), run, turnaround, is_punctual, done))
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

    def _last(self) -> int:
        self._order += 1
        return self._order

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
        chosen = self._turns.choose(self._waiting, self._clock.monotonic())
        self._waiting.remove(chosen)
        return chosen

    async def _run(self, work: _Work) -> Any:
        await self._carrier.make_free()
        return await work.run(self._carrier)

    async def _turn(self, work: _Work) -> None:
        running = asyncio.ensure_future(self._run(work))
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
        elif isinstance(error := running.exception(), Later):
            work.order = self._last()
            self._waiting.append(work)
        elif error is not None:
            if not work.done.done():
                work.done.set_exception(error)
        elif not work.done.done():
            work.done.set_result(running.result())
