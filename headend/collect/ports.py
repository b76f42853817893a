"""What the engine needs of the store's writer and of whoever holds the secrets."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

from drivers.contract import Credentials
from headend.collect.latency import Latencies
from headend.collect.latency_entry import decode_latencies, encode_latencies
from headend.secrets import NO_OPTIONS
from headend.store.errors import StoreFull
from headend.store.store import Store

T = TypeVar("T")
LINKS_AT_ONCE = 500
"""Links whose latencies are kept in one turn of the writer's thread."""


class Writer(Protocol):
    """The store's one writer, as `headend.store.writer.GroupCommitWriter`."""

    async def submit(self, change: Callable[[Store], T]) -> T:
        """Run ``change`` in a transaction, and give its result once that is durable."""


class CredentialSource(Protocol):
    """Follows references to secrets, as `headend.secrets.Secrets`."""

    def credentials(
        self,
        password: str = "",
        encryption_key: str = "",
        authentication_key: str = "",
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> Credentials:
        """Follow the references of one meter, also those in its options. Raises `HeadendError`."""


class StoredCounters:
    """Invocation counters of the store, for sessions."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:
        """Reserve counters durably, see `drivers.contract.CounterStore`."""
        return await self._writer.submit(lambda store: store.reserve_counter(key_id, size, floor, meter))

    async def note(self, key_id: str, counter: int) -> int:
        """Note a meter's counter durably, see `drivers.contract.CounterStore`."""
        return await self._writer.submit(lambda store: store.note_counter(key_id, counter))


class StoredLatencies:
    """Latencies kept in the store across restarts: written seldom and in portions, as nothing but time is lost with them."""

    def __init__(self, writer: Writer, latencies: Latencies) -> None:
        self._writer = writer
        self._latencies = latencies

    async def recall(self) -> None:
        """Take what was kept. Damaged entries are as if they were not there."""
        for link, entry in await self._writer.submit(lambda store: store.latencies()):
            self._latencies.recall(link, decode_latencies(entry))

    async def keep(self) -> None:
        """Keep what was learned since this was last done. Where there is no room it is learned again. Raises `StoreError`."""
        news = [(link, encode_latencies(known)) for link, known in self._latencies.take_news().items()]
        for first in range(0, len(news), LINKS_AT_ONCE):
            with suppress(StoreFull):
                await self._writer.submit(partial(_keep_latencies, some=news[first : first + LINKS_AT_ONCE]))


def _keep_latencies(store: Store, some: Sequence[tuple[str, bytes | None]]) -> None:
    for link, entry in some:
        if entry is not None:
            store.keep_latencies(link, entry)


class StoredMetadata:
    """Metadata of kinds of meters in the store, for sessions. Where there is no room it keeps nothing: that costs no reading."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def load(self, kind: str) -> bytes | None:
        """Give what was kept last for ``kind``, None for nothing."""
        return await self._writer.submit(lambda store: store.metadata(kind))

    async def keep(self, kind: str, entry: bytes) -> None:
        """Keep ``entry`` for ``kind`` instead of what was there."""
        with suppress(StoreFull):
            await self._writer.submit(lambda store: store.keep_metadata(kind, entry))

    async def drop(self, kind: str) -> None:
        """Forget what was kept for ``kind``."""
        with suppress(StoreFull):
            await self._writer.submit(lambda store: store.drop_metadata(kind))
