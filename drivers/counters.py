"""A `drivers.contract.CounterStore` for sessions without security: nothing is ciphered, so nothing is counted.

There is none that keeps counters in memory, on purpose: a counter used twice under one key breaks AES-GCM, so what hands
them out must outlast the process.
"""

from drivers.errors import LocalProtocolError


class NoCounters:
    """Refuses every counter."""

    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:
        """Raise `LocalProtocolError`: a session that asks has security."""
        del key_id, size, floor
        raise LocalProtocolError(f"{meter}: a session without security asks for an invocation counter")

    async def note(self, key_id: str, counter: int) -> int:
        """Raise `LocalProtocolError`: a session that has seen one has security."""
        del key_id
        raise LocalProtocolError(f"a session without security has seen an invocation counter, {counter}")
