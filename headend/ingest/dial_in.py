"""Listens for meters that call: TCP connections and UDP datagrams, admitted at a bounded rate and number.

What is not admitted yet waits with the kernel, and beyond its backlog the meter tries again. A call is ended when it is
silent for too long, when a message in it takes too long to become whole, when too many octets make no message, and after
`MAX_FAULTS` damaged or refused ones. A notification in a WRAPPER that wants to be confirmed is, once it is stored; over UDP
nothing is answered.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import structlog

from drivers.contract import ByteStream
from drivers.dlms.events import NEED_DATA
from drivers.dlms.push import PushedApdu, PushReader
from drivers.errors import ConnectionLost, PortUnavailable, RemoteProtocolError, TransportError, TransportTimeout
from drivers.listen_url import parse_listen_url
from drivers.transports import Deadline, TcpListener, UdpListener, listen, pause
from headend.errors import SettingsError
from headend.ingest.desk import Desk, Taken
from headend.settings import PushSettings

MAX_FAULTS: Final = 3
"""Damaged or refused messages after which a call is ended."""
MAX_BARREN: Final = 131_072
"""Octets without a message after which a call is ended: two of the longest. [octet]"""
MESSAGES_PER_SECOND: Final = 10
"""Of one call, beyond a burst of as many; a caller that sends more is read more slowly."""
RETRY: Final = 1.0
"""Pause after a call that could not be taken, for want of descriptors for example. [s]"""
GRACE: Final = 5.0
"""When told to stop: time for messages that are being stored. [s]"""

log = structlog.get_logger(__name__)


class Pace:
    """Lets ``rate`` things pass per second, after a burst of as many. [1/s, wall]"""

    def __init__(self, rate: int) -> None:
        self._step = 1 / rate
        self._burst = 1.0
        self._next = 0.0

    async def wait(self) -> None:
        """Wait for the next turn. One task at a time."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - self._burst) + self._step
        if self._next > now:
            await pause(self._next - now)


class DialIn:
    """The door for meters that call. ``opened`` hears each port that is listened at, in the order of the settings."""

    def __init__(self, settings: PushSettings, desk: Desk, opened: Callable[[int], None] = lambda _: None) -> None:
        self._settings = settings
        self._desk = desk
        self._opened = opened
        self._free = asyncio.Semaphore(settings.max_calls)
        self._pace = Pace(settings.calls_per_second)
        self._turn = asyncio.Lock()
        self._storing: set[asyncio.Task[Taken]] = set()
        self.in_call = 0
        self.most_in_call = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Take calls until ``stop`` is set. Raises `SettingsError` for a place where nobody can listen, and `StoreError`."""
        async with AsyncExitStack() as stack:
            doors: list[TcpListener | UdpListener] = []
            for text in self._settings.listen:
                try:
                    door = await listen(parse_listen_url(text))
                except (PortUnavailable, ValueError) as error:
                    raise SettingsError([f"push.listen: {error}"]) from error
                stack.callback(door.close)
                doors.append(door)
                self._opened(door.port)
                log.info("listening for meters that call", where=text, port=door.port)
            await self._serve(doors, stop)

    async def _serve(self, doors: list[TcpListener | UdpListener], stop: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for door in doors:
                    group.create_task(self._watch(door, group))
                group.create_task(_until(stop))
        except ExceptionGroup as several:
            errors = [error for error in several.exceptions if not isinstance(error, _Stopped)]
            if errors:
                raise errors[0] from several
        finally:
            await self._finish()

    async def _finish(self) -> None:
        """Let what is being stored become durable."""
        storing = list(self._storing)
        if storing:
            _, late = await asyncio.wait(storing, timeout=GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*storing, return_exceptions=True)

    async def _admit(self) -> None:
        """Wait until one more call may be taken."""
        await self._free.acquire()
        try:
            async with self._turn:
                await self._pace.wait()
        except BaseException:
            self._free.release()
            raise

    async def _watch(self, door: TcpListener | UdpListener, group: asyncio.TaskGroup) -> None:
        if isinstance(door, TcpListener):
            await self._accept(door, group)
        else:
            await self._receive(door, group)

    async def _accept(self, door: TcpListener, group: asyncio.TaskGroup) -> None:
        while True:
            await self._admit()
            try:
                stream, source = await door.accept()
            except TransportError as error:
                self._free.release()
                log.warning("call not taken", reason=str(error))
                await pause(RETRY)
                continue
            except BaseException:
                self._free.release()
                raise
            group.create_task(self._held(self._call(stream, source)))

    async def _receive(self, door: UdpListener, group: asyncio.TaskGroup) -> None:
        while True:
            await self._admit()
            try:
                data, source = await door.receive()
            except TransportError as error:
                self._free.release()
                log.warning("datagram not taken", reason=str(error))
                await pause(RETRY)
                continue
            except BaseException:
                self._free.release()
                raise
            group.create_task(self._held(self._datagram(data, source)))

    async def _held(self, call: Awaitable[None]) -> None:
        """Handle a call that was admitted, and give its place back."""
        self.in_call += 1
        self.most_in_call = max(self.most_in_call, self.in_call)
        self._desk.summary.calls += 1
        try:
            await call
        finally:
            self.in_call -= 1
            self._free.release()

    async def _datagram(self, data: bytes, source: str) -> None:
        """Take what one datagram holds; a message does not go on in the next."""
        reader = PushReader()
        reader.receive_data(data)
        faults = 0
        while faults < MAX_FAULTS:
            try:
                event = reader.next_event()
                if event is NEED_DATA:
                    reader.receive_end()
                    return
            except RemoteProtocolError as error:
                faults += 1
                await self._desk.refuse(data, source, str(error))
                continue
            faults += not (await self._take(event, source)).is_stored

    async def _call(self, stream: ByteStream, source: str) -> None:
        call = _Call(self._settings, self._desk, self._take, source)
        try:
            await call.run(stream)
        finally:
            await stream.close()

    async def _take(self, pushed: PushedApdu, source: str) -> Taken:
        """Hand a message to the desk, which finishes it even if the call is cut meanwhile."""
        task = asyncio.ensure_future(self._desk.take(pushed, source))
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
        return await asyncio.shield(task)


class _Call:
    """One TCP connection."""

    def __init__(
        self, settings: PushSettings, desk: Desk, take: Callable[[PushedApdu, str], Awaitable[Taken]], source: str
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._take = take
        self._source = source
        self._reader = PushReader()
        self._recent = bytearray()
        self._pace = Pace(MESSAGES_PER_SECOND)
        self._faults = 0

    async def run(self, stream: ByteStream) -> None:
        """Take messages until the meter hangs up or the call is to be ended."""
        whole_by: Deadline | None = None
        while self._faults < MAX_FAULTS:
            wait = float(self._settings.idle_timeout)
            if whole_by is not None:
                wait = min(wait, whole_by.remaining())
            try:
                data = await stream.read(wait)
            except TransportTimeout:
                if self._recent:
                    await self._refuse("the message did not become whole in time")
                return
            except ConnectionLost:
                await self._end()
                return
            self._recent += data
            self._reader.receive_data(data)
            try:
                await self._drain(stream)
            except TransportError:
                return  # it takes no confirmation, and what it said is stored
            if len(self._recent) > MAX_BARREN:
                await self._refuse(f"more than {MAX_BARREN} octets without a message")
                return
            if not self._recent.strip(b"\x7e"):
                self._recent.clear()  # flags between frames begin no message
            whole_by = (whole_by or Deadline(self._settings.message_timeout)) if self._recent else None

    async def _drain(self, stream: ByteStream) -> None:
        while self._faults < MAX_FAULTS:
            try:
                event = self._reader.next_event()
            except RemoteProtocolError as error:
                await self._refuse(str(error))
                continue
            if event is NEED_DATA:
                return
            self._recent.clear()
            await self._pace.wait()
            taken = await self._take(event, self._source)
            self._faults += not taken.is_stored
            if taken.confirmation and (octets := self._reader.reply(taken.confirmation)):
                await stream.write(octets)

    async def _end(self) -> None:
        try:
            self._reader.receive_end()
        except RemoteProtocolError as error:
            if self._recent:
                await self._refuse(str(error))

    async def _refuse(self, reason: str) -> None:
        self._faults += 1
        octets = bytes(self._recent)
        self._recent.clear()
        await self._desk.refuse(octets, self._source, reason)


class _Stopped(Exception):  # control flow inside this module, never seen outside
    """Told to stop: ends the group of tasks."""


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _Stopped
