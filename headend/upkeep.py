"""What a store needs while it is in use: terms kept, room given back, and the check that an unclean end left to be done.

All of it in small transactions among the others', each a few milliseconds, with pauses as long as the work between; so readings
are stored, and read, meanwhile. Nothing is dropped or moved while a check is owed, or while the clock cannot be right.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from drivers.facts import UtcSeconds
from headend.clock import Clock
from headend.errors import HeadendError, StoreError
from headend.settings import RetentionSettings
from headend.store.errors import StoreUnavailable
from headend.store.place import Place, server_of
from headend.store.quarantine import quarantine, why_quarantined
from headend.store.reader import StoreReader
from headend.store.request import Request, RequestFile
from headend.store.retention import Kept, terms
from headend.store.store import Store
from headend.store.unclean import owed_since, settle_check

PACE = 2.0
"""How often it is looked whether anything is asked for or due. [wall s]"""
ROUND_PACE = 3_600
"""How often terms are looked at. [clock s]"""
ROWS_AT_ONCE = 200
"""Most rows that one transaction drops."""
SHARE = 10
"""Room that is unused is given back beyond one part in so many of the file: the next days need some again."""
LONGEST_SILENCE = 60 * 86_400
"""A clock so far ahead of what was stored last is believed only by a person's word. [s]"""
MOST_DRIFT = 86_400
"""A clock that has moved by so much more or less than time has passed is not believed. [s]"""
DOUBTED, BELIEVED = "clock_doubted", "clock_believed"
"""Kinds of the events that keep a doubt through a restart: the first stands at the last instant that was believed."""

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class UpkeepSummary:
    """What was dropped, in rows, and how many pages were given back."""

    dropped: dict[Kept, int] = field(default_factory=dict)
    given_back: int = 0


class Writer(Protocol):
    """Whoever makes changes in transactions; `headend.store.writer.FromReserve` does."""

    async def submit(self, change: Callable[[Store], T]) -> T:
        """Make a change, durable on return. Raises `StoreError`."""


class Alone:
    """The writer of a command that has the store to itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def submit(self, change: Callable[[Store], T]) -> T:
        """Make a change in a transaction of its own."""
        with self._store.transaction():
            return change(self._store)


class Upkeep:
    """One store's. One task calls `run`."""

    def __init__(
        self,
        writer: Writer,
        store: Place,
        policy: RetentionSettings,
        sinks: Collection[str],
        clock: Clock,
    ) -> None:
        """``writer``: dropping makes room, so it works from the reserve too.  ``sinks``: cursors to wait for, begun or not."""
        self._writer = writer
        self._store = store
        self._policy = policy
        self._sinks = sinks
        self._file = None if server_of(store) is not None else RequestFile(str(store))
        self._clock = clock
        self._anchor = clock.now() - clock.monotonic()
        self._last_known: UtcSeconds | None = None
        self._knows_before = self._has_looked = False
        self._is_doubted = False
        self._next_round = clock.now()
        self._told = ""
        self._stop = asyncio.Event()
        self.total = UpkeepSummary()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the store until ``stop`` is set. Raises `StoreUnavailable` where its device failed; other troubles are logged."""
        self._stop = stop
        with suppress(StoreError), StoreReader.open(self._store) as reader:
            self._last_known = reader.last_change_at()  # before anything of this run is stored
            self._knows_before = True
        while not stop.is_set():
            try:
                await self._turn()
                self._told = ""
            except StoreUnavailable:
                raise
            except HeadendError as error:
                if str(error) != self._told:
                    _log.error("the store's upkeep waits", error=str(error))
                self._told = str(error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PACE)

    async def _turn(self) -> None:
        if why_quarantined(str(self._store)) or not await self.settle():
            return
        request = await self._asked()
        if not request and self._clock.now() < self._next_round:
            return
        with StoreReader.open(self._store) as reader:
            if request is not Request.COMPACT:
                await self.retain(reader, by_word=request is Request.RETAIN)
                self._next_round = self._clock.now() + ROUND_PACE
            await self.give_back(reader, everything=request is Request.COMPACT)
        if request and not self._stop.is_set():
            await self._settle(request)

    async def _asked(self) -> Request | None:
        """Give what is asked; on a server over the writer's connection, as to open one each time is dear."""
        return self._file.asked_for() if self._file is not None else await self._writer.submit(Store.asked_for)

    async def _settle(self, request: Request) -> None:
        if self._file is not None:
            self._file.settle_request(request)
        else:
            await self._writer.submit(partial(Store.settle_request, request=request))

    async def retain(self, reader: StoreReader, *, by_word: bool = False) -> None:
        """Drop what has outlived its term. ``by_word``: a person asked, so the clock is believed. Raises `StoreError`."""
        now = self._clock.now()
        if by_word or any(terms(self._policy)):
            await self._check_clock(reader, now, by_word=by_word)
        plan = await self._read(reader.plan_retention, self._policy, now, self._sinks)
        while plan.floors and not await self._writer.submit(partial(Store.raise_floors, plan=plan)):
            # A change of so old a day came in between: it is seen now.
            plan = await self._read(reader.plan_retention, self._policy, now, self._sinks)
        for gap in plan.gaps:
            _log.warning("dropped before a sink had taken it", sink=gap.sink, what=str(gap))
        for what in Kept:
            await self._drop(reader, what)

    async def _drop(self, reader: StoreReader, what: Kept) -> None:
        count, last = 0, None
        while not self._stop.is_set():
            doomed = await self._read(reader.doomed, what, self._policy.keep_sums, ROWS_AT_ONCE, last)
            if not doomed.keys:
                break
            last = doomed.keys[-1]
            count += await self._submit(partial(Store.drop, doomed=doomed))
        if count:
            self.total.dropped[what] = self.total.dropped.get(what, 0) + count
            _log.info("dropped by the settings' terms", what=what.value, rows=count)

    async def give_back(self, reader: StoreReader, *, everything: bool) -> None:
        """Give unused room back to the file system, all of it or what is more than a reserve. Raises `StoreError`."""
        if not reader.can_give_back():
            return
        kept = 0 if everything else reader.pages() // SHARE
        free = reader.free_pages()
        begun = free
        while free > kept and not self._stop.is_set():
            free = await self._submit(Store.give_back)
        if free < begun:
            self.total.given_back += begun - free
            _log.info("unused room was given back to the file system", pages=begun - free)

    async def settle(self) -> bool:
        """Check the whole file beside its use, where that is owed; False where we were told to stop before the end.

        A damaged one is set apart, so that no reading is stored any more, and `StoreError` is raised.
        """
        since = owed_since(str(self._store))
        if since is None:
            return True
        _log.info("the store was not closed; it is checked as a whole while it is used")
        with StoreReader.open(self._store) as reader:
            checking = asyncio.ensure_future(asyncio.to_thread(reader.structure))
            stopping = asyncio.ensure_future(self._stop.wait())
            await asyncio.wait({checking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not checking.done():
                reader.interrupt()
                with suppress(StoreError):
                    await checking
                return False
            verdict = await checking
        if verdict != "ok":
            quarantine(str(self._store), f"after an unclean end: {verdict}")
            raise StoreError(
                f"{self._store}: damaged ({verdict}); it is set apart, nothing is stored any more: restore a backup"
            )
        settle_check(str(self._store), since)
        _log.info("the store is sound")
        return True

    def _look_back(self, reader: StoreReader) -> None:
        """Learn by what instant a clock is judged: the last that was stored before this run, or that was believed before a doubt.

        What a wrong clock itself has stamped since is no proof of it.
        """
        doubts, settled = reader.events(kind=DOUBTED), reader.events(kind=BELIEVED)
        doubt = max(doubts, key=lambda event: event.id, default=None)
        self._is_doubted = doubt is not None and all(event.id < doubt.id for event in settled)
        if doubt is not None and self._is_doubted:
            self._last_known = doubt.at
        elif not self._knows_before:
            self._last_known = reader.last_change_at()
        self._has_looked = True

    async def _check_clock(self, reader: StoreReader, now: UtcSeconds, *, by_word: bool) -> None:
        if not self._has_looked:
            await self._read(self._look_back, reader)
        drift = now - self._clock.monotonic() - self._anchor
        known = now if self._last_known is None else self._last_known
        is_far = now - known > LONGEST_SILENCE
        if not by_word and (is_far or abs(drift) > MOST_DRIFT):
            if is_far and not self._is_doubted:
                text = f"the clock says {now}, which is too far from what was stored last; nothing is dropped by it"
                await self._note(DOUBTED, known, text, now)
                self._is_doubted = True
            raise StoreError(
                "nothing is dropped: the clock is far from what was stored last, or has jumped; if it is right,"
                " `headend store retain` drops what is due"
            )
        if self._is_doubted:
            await self._note(BELIEVED, now, "the clock is believed again", now)
            self._is_doubted = False
        self._last_known = max(known, now)  # a gateway without a battery begins in 1970

    async def _note(self, kind: str, at: UtcSeconds, text: str, now: UtcSeconds) -> None:
        await self._writer.submit(
            partial(Store.add_event, end_device_id=None, kind=kind, code=0, at=at, text=text, received_at=now)
        )

    async def _submit(self, change: Callable[[Store], T]) -> T:
        """Make one small change, then leave the device to others for as long as it took."""
        begun = self._clock.monotonic()
        result = await self._writer.submit(change)
        await asyncio.sleep((self._clock.monotonic() - begun) / self._clock.rate)
        return result

    async def _read(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.to_thread(call, *arguments)
