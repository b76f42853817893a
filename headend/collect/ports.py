"""What the engine needs of the store's writer and of whoever holds the secrets."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from drivers.contract import Credentials
from headend.store.store import Store

T = TypeVar("T")


class Writer(Protocol):
    """The store's one writer, as `headend.store.writer.GroupCommitWriter`."""

    async def submit(self, change: Callable[[Store], T]) -> T:
        """Run ``change`` in a transaction, and give its result once that is durable."""


class CredentialSource(Protocol):
    """Follows references to secrets, as `headend.secrets.Secrets`."""

    def credentials(self, password: str = "", encryption_key: str = "", authentication_key: str = "") -> Credentials:
        """Follow the three references of one meter. Raises `HeadendError`."""


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
