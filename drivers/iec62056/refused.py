"""Remembers, across sessions, that a meter did not take a password, so that it is not sent again and the meter does not lock.

Kept is when it was and two octets made of the password: enough to tell that it was changed, too little to find it by. After a
day it is sent once more, for the refusal may have been damage on the line, and meters that lock begin to count anew each day.
"""

import hashlib
from typing import Final

from drivers.contract import MetadataCache
from drivers.errors import SecurityError
from drivers.facts import UtcSeconds

DAY: Final = 86_400
_KIND: Final = "iec62056-password/"
_PRINT: Final = 2  # [octet]
_STAMP: Final = 8  # [octet]


class RefusedPasswords:
    """What one meter has refused. Without a cache it is remembered nowhere."""

    def __init__(self, cache: MetadataCache | None, meter: str) -> None:
        self._cache = cache
        self._meter = meter

    async def check(self, secret: bytes, now: UtcSeconds) -> None:
        """Raise `SecurityError` for a password that was refused within a day."""
        entry = await self._cache.load(_KIND + self._meter) if self._cache else None
        if entry is None or len(entry) != _STAMP + _PRINT or entry[_STAMP:] != self._print(secret):
            return
        since = now - int.from_bytes(entry[:_STAMP], "big")
        if 0 <= since < DAY:
            raise SecurityError(
                f"{self._meter} did not take this password {since // 60} min ago; it is not sent again within a day."
                " Correct the meter's password reference"
            )

    async def note(self, secret: bytes, now: UtcSeconds) -> None:
        """Remember a password that the meter refuses now."""
        if self._cache:
            await self._cache.keep(_KIND + self._meter, now.to_bytes(_STAMP, "big") + self._print(secret))

    def _print(self, secret: bytes) -> bytes:
        salt = hashlib.sha256(self._meter.encode()).digest()[:16]
        return hashlib.blake2b(secret, digest_size=_PRINT, salt=salt).digest()
