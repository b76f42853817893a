"""A `drivers.contract.MetadataCache` that lasts as long as the process: for tools and tests."""

from typing import Final

MAX_KINDS: Final = 1_000


class MemoryMetadata:
    """Keeps the newest entries, in memory."""

    def __init__(self, max_kinds: int = MAX_KINDS) -> None:
        self._entries: dict[str, bytes] = {}
        self._max_kinds = max_kinds

    async def load(self, kind: str) -> bytes | None:
        """Give what was kept last for ``kind``, None for nothing."""
        return self._entries.get(kind)

    async def keep(self, kind: str, entry: bytes) -> None:
        """Keep ``entry`` for ``kind``; beyond `MAX_KINDS` the one kept longest ago goes."""
        self._entries.pop(kind, None)
        self._entries[kind] = entry
        while len(self._entries) > self._max_kinds:
            del self._entries[next(iter(self._entries))]

    async def drop(self, kind: str) -> None:
        """Forget what was kept for ``kind``."""
        self._entries.pop(kind, None)
