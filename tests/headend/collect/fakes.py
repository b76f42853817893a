"""A clock that stands still unless told, and a stream that only says whether it is open."""

import asyncio

from drivers.errors import ConnectionLost, TransportTimeout
from tests.headend.collect.builders import MIDNIGHT


class FakeClock:
    rate = 1.0

    def __init__(self, now: float = MIDNIGHT) -> None:
        self.world = float(now)
        self.slept: list[float] = []

    def advance(self, seconds: float) -> None:
        self.world += seconds

    def now(self) -> int:
        return int(self.world)

    def monotonic(self) -> float:
        return self.world

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.world += seconds
        await asyncio.sleep(0)

    async def sleep_until(self, instant: int) -> None:
        self.world = max(self.world, float(instant))
        await asyncio.sleep(0)


class PatientClock(FakeClock):
    """Stands still while work is under way, and skips when there is none."""

    async def sleep(self, seconds: float) -> None:
        del seconds
        await asyncio.Event().wait()


class FakeStream:
    bits_per_character = 10

    def __init__(self, bits_per_second: int | None = None) -> None:
        self.bits_per_second = bits_per_second
        self.is_open = True
        self.discarded = 0

    async def write(self, _data: bytes) -> None:
        if not self.is_open:
            raise ConnectionLost("closed")

    async def read(self, _timeout: float) -> bytes:
        raise TransportTimeout("nothing")

    def discard_input(self) -> bytes:
        self.discarded += 1
        return b""

    async def close(self) -> None:
        self.is_open = False
