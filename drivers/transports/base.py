"""What all transports share: waiting with a deadline, and a byte stream over any file descriptor.

Reading asks the descriptor first and waits on the event loop only where it is empty, so nothing is buffered here: what
nobody reads stays with the kernel, and `discard_input` sees all of it.
"""

import asyncio
import os
from collections.abc import Callable

from drivers.errors import ConnectionLost, LineNoise, LocalProtocolError, TransportTimeout

READ_SIZE = 65_536
WRITE_TIMEOUT = 30.0  # a peer that takes nothing for this long is gone [s]
MAX_DISCARD = 1_048_576  # a line that never falls silent must not hold us for ever [byte]


class Deadline:
    """A point on the event loop's monotonic clock, ``seconds`` from its making. [s]"""

    def __init__(self, seconds: float) -> None:
        self._at = asyncio.get_running_loop().time() + seconds

    def remaining(self) -> float:
        """Time left, never negative. [s]"""
        return max(0.0, self._at - asyncio.get_running_loop().time())


async def pause(seconds: float) -> None:
    """Keep silent for a while. [s]"""
    await asyncio.sleep(seconds)


class FdStream:
    """A `ByteStream` over a non-blocking descriptor it owns: socket, serial port or pseudo-terminal.

    ``close_fd`` closes the descriptor and whatever object holds it. One reader at a time.
    """

    def __init__(
        self,
        fd: int,
        name: str,
        close_fd: Callable[[], None],
        bits_per_second: int | None = None,
        bits_per_character: int = 10,
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._name = name
        self._close_fd = close_fd
        self._bits_per_second = bits_per_second
        self._bits_per_character = bits_per_character
        self._is_open = True
        self._waiters: dict[str, asyncio.Future[None]] = {}
        self._heard_at = asyncio.get_running_loop().time()

    def __repr__(self) -> str:
        """Name the link and whether it is open."""
        return f"<{type(self).__name__} {self._name} {'open' if self._is_open else 'closed'}>"

    @property
    def bits_per_second(self) -> int | None:
        """Line speed where there is one, else None. [bit/s]"""
        return self._bits_per_second

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte. [bit]"""
        return self._bits_per_character

    async def write(self, data: bytes) -> None:
        """Send all of ``data``. Raises `ConnectionLost`, or `TransportTimeout` where the peer takes nothing for 30 s."""
        rest = memoryview(data)
        while rest:
            self._check_open()
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                await self._wait("write", WRITE_TIMEOUT)
            except OSError as error:
                raise ConnectionLost(f"{self._name}: sending failed: {error.strerror}") from error

    async def read(self, timeout: float) -> bytes:
        """Return at least one byte, waiting at most ``timeout`` [s]. Raises `TransportTimeout`, `ConnectionLost`."""
        deadline = Deadline(timeout)
        while True:
            if data := self._receive(READ_SIZE):
                return data
            try:
                await self._wait("read", deadline.remaining())
            except TransportTimeout:
                # What arrived while the loop was held up elsewhere is no silence.
                if data := self._receive(READ_SIZE):
                    return data
                raise

    def discard_input(self) -> bytes:
        """Throw away what has arrived unread and return it. A lost connection shows at the next read."""
        thrown = bytearray()
        while len(thrown) < MAX_DISCARD:
            try:
                data = self._receive(READ_SIZE)
            except LineNoise:
                continue
            except ConnectionLost:
                break  # the next read or write meets it again and raises
            if not data:
                break
            thrown += data
        return bytes(thrown)

    def silent_for(self) -> float:
        """Give the time since something arrived, or since the link was opened. [s, real]"""
        return asyncio.get_running_loop().time() - self._heard_at

    async def close(self) -> None:
        """Close; whoever waits on this stream gets `ConnectionLost`. Closing twice is harmless."""
        if not self._is_open:
            return
        self._is_open = False
        for kind, waiter in self._waiters.items():
            self._forget(kind)
            if not waiter.done():
                waiter.set_exception(ConnectionLost(f"{self._name}: closed by us"))
        self._waiters.clear()
        self._close_fd()

    def _receive(self, size: int) -> bytes:
        """Read what is there; empty where nothing is. The end of the stream is a lost connection."""
        self._check_open()
        try:
            data = os.read(self._fd, size)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise ConnectionLost(f"{self._name}: receiving failed: {error.strerror}") from error
        self._heard_at = asyncio.get_running_loop().time()
        return data or self._at_end()

    def _at_end(self) -> bytes:
        """Say what a read of nothing means: the end of a stream."""
        raise ConnectionLost(f"{self._name}: the other side hung up")

    def _check_open(self) -> None:
        if not self._is_open:
            raise ConnectionLost(f"{self._name}: closed by us")

    async def _wait(self, kind: str, timeout: float) -> None:
        """Wait until the descriptor can be read or written."""
        if kind in self._waiters:
            raise LocalProtocolError(f"{self._name}: two tasks {kind} at once")
        loop = asyncio.get_running_loop()
        waiter = self._waiters[kind] = loop.create_future()
        add = loop.add_reader if kind == "read" else loop.add_writer
        add(self._fd, _wake, waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError as error:
            what = "nothing arrived" if kind == "read" else "nothing could be sent"
            raise TransportTimeout(f"{self._name}: {what} within {timeout:.2g} s") from error
        finally:
            if self._waiters.pop(kind, None) is not None:
                self._forget(kind)

    def _forget(self, kind: str) -> None:
        loop = asyncio.get_running_loop()
        (loop.remove_reader if kind == "read" else loop.remove_writer)(self._fd)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
