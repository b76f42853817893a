"""Invocation counters for driver sessions, out of the store."""

from headend.store.writer import GroupCommitWriter


class StoreCounters:
    """`drivers.contract.CounterStore` over the store: durable before a counter is used, never lowered."""

    def __init__(self, writer: GroupCommitWriter) -> None:
        self._writer = writer

    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:
        """Reserve ``size`` fresh counters at or above ``floor``; durable on return. Raises `CounterError`."""
        return await self._writer.submit(lambda store: store.reserve_counter(key_id, size, floor, meter))

    async def note(self, key_id: str, counter: int) -> int:
        """Note a meter's verified counter; give the highest noted before, -1 for none. Durable on return."""
        return await self._writer.submit(lambda store: store.note_counter(key_id, counter))
