"""Simulated meters reached without a network: real protocol bytes, handed over in memory, at whatever time the test says."""

import io
from collections.abc import Awaitable, Callable, Mapping

from drivers.contract import ByteStream, Driver
from drivers.dlms.driver import open_session as open_dlms
from drivers.errors import ConnectionLost, TransportTimeout
from drivers.modbus.driver import open_session as open_modbus
from headend.profiles import load_profiles
from headend.registry import table
from headend.registry.apply import apply
from headend.store.store import Store
from simulators.tcp import Conversation

DRIVERS: Mapping[str, Driver] = {"dlms": open_dlms, "modbus": open_modbus}


class ManualClock:
    """A clock the test sets. Sleeping takes no time: the test says what time it is."""

    rate = 1.0

    def __init__(self, instant: int) -> None:
        self.instant = instant

    def now(self) -> int:
        return self.instant

    def monotonic(self) -> float:
        return float(self.instant)

    async def sleep(self, seconds: float) -> None:
        """Not at all."""

    async def sleep_until(self, instant: int) -> None:
        self.instant = max(self.instant, instant)


class DirectStream:
    """The near end of a link whose far end is a simulated gateway in this process."""

    bits_per_second: int | None = None
    bits_per_character = 10

    def __init__(self, conversation: Conversation, now: Callable[[], int]) -> None:
        self._conversation = conversation
        self._now = now
        self._input = bytearray()
        self._is_open = True

    async def write(self, data: bytes) -> None:
        if not self._is_open:
            raise ConnectionLost("closed")
        for answer in self._conversation.receive(data, self._now()):
            self._input += answer.data

    async def read(self, timeout: float) -> bytes:
        if not self._input:
            raise TransportTimeout(f"nothing within {timeout} s")
        return self.discard_input()

    def discard_input(self) -> bytes:
        data = bytes(self._input)
        self._input.clear()
        return data

    async def close(self) -> None:
        self._is_open = False


def transports(
    links: Mapping[str, Callable[[], Conversation]], now: Callable[[], int]
) -> Callable[[str], Awaitable[ByteStream]]:
    """Open links by URL; each opening is a new conversation."""

    async def open_transport(url: str) -> ByteStream:
        return DirectStream(links[url](), now)

    return open_transport


def register(store: Store, rows: list[dict[str, str]]) -> None:
    """Register meters through the meter table, as a user would."""
    text = io.StringIO()
    text.write(",".join(rows[0]) + "\n")
    text.writelines(",".join(row.values()) + "\n" for row in rows)
    parsed = table.parse(text.getvalue(), load_profiles())
    assert not parsed.faults, parsed.faults
    apply(store, parsed.rows)
