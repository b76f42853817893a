"""What the engine needs of the store's writer and of whoever holds the secrets."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol, TypeVar

from drivers.contract import Credentials
from headend.secrets import NO_OPTIONS
from headend.store.errors import StoreFull
from headend.store.store import Store

T = TypeVar("T")


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
