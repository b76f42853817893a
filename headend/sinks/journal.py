"""`StoreJournal`: a sink's view of the store, read beside the writer and written through it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from drivers.facts import UtcSeconds
from headend.sinks.describe import describe
from headend.sinks.model import Poison, Window
from headend.store.reader import StoreReader
from headend.store.retention import Gap
from headend.store.store import Store

_log = structlog.get_logger(__name__)
PREFIX = "sink/"
"""What sinks' cursors begin with; validation has one of its own."""


class StoreJournal:
    """One sink's. ``reader``: its own, nobody else may use it meanwhile.  ``read_next``: makes the window behind a cursor.

    ``call``: runs what reads, in a thread.
    """

    def __init__(
        self,
        name: str,
        reader: StoreReader,
        submit: Callable[[Callable[[Store], Any]], Awaitable[Any]],
        read_next: Callable[[StoreReader, int], Window],
        call: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> None:
        self._name = PREFIX + name
        self._reader = reader
        self._submit = submit
        self._call = call
        self._read_next = read_next

    async def cursor(self) -> int:
        """Give the last change that is delivered for certain."""
        found: int = await self._call(self._reader.cursor, self._name)
        return found

    async def read(self, after: int) -> Window:
        """Read the next window. Raises `StoreError`, `Unavailable`."""
        window: Window = await self._call(self._read_next, self._reader, after)
        return window

    async def describe(self, now: UtcSeconds) -> list[bytes]:
        """Make the lines that say where meters are and how complete the collection is. Raises `StoreError`."""
        lines: list[bytes] = await self._call(describe, self._reader, now)
        return lines

    async def acknowledge(self, seq: int, poison: Sequence[Poison]) -> None:
        """Move the cursor and keep what was quarantined, in one transaction; say what had been dropped on the way. Raises `StoreError`."""

        def change(store: Store) -> Sequence[Gap]:
            for item in poison:
                store.quarantine_point(self._name, item.point, item.reason, seq)
            return store.advance_cursor(self._name, seq)

        for gap in await self._submit(change):
            _log.warning("retention had dropped what this sink has not had", sink=self._name, what=str(gap))

    async def report(self, error: str) -> None:
        """Note why nothing can be delivered; empty: it can again. Raises `StoreError`."""
        await self._submit(lambda store: store.note_sink_trouble(self._name, error))
