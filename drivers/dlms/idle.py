"""Rings when nothing was said for a while, so that a data link is kept from its inactivity timeout. IEC 62056-46, 6.4.4.4.1."""

import asyncio
from collections.abc import Callable


class IdleTimer:
    """Calls ``ring`` once, ``seconds`` after the last `touch`; after that not before the next one. [s]"""

    def __init__(self, seconds: float, ring: Callable[[], None]) -> None:
        self._seconds = seconds
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    def touch(self) -> None:
        """Begin to wait, or begin anew."""
        self.stop()
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._ring)

    def stop(self) -> None:
        """Wait no more. Stopping twice is harmless."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
