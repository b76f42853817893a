"""An RS-485 line on a pty, paced to its baud rate in world time.

A pty has no speed: what the host writes is there at once. The relay lets the line carry one character after the other, in one
direction at a time, and hands over bytes when a UART would. Who talks while the other does is flagged, and both are garbled.
"""

import asyncio
import logging
import os
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from simulators.clock import WorldClock

log = logging.getLogger(__name__)

READ_SIZE = 4096


class Answer(NamedTuple):
    """What a meter sends, and how long it thinks before. ``latency``: [s]  ``pause``: after each octet. [s]"""

    latency: float
    data: bytes
    pause: float = 0.0


class Bus(Protocol):
    """All the meters on a line."""

    def receive(self, data: bytes, now: int) -> Answer | None:
        """Hear bytes from the host, complete at world time ``now`` [s UTC]; answer or keep quiet."""


@dataclass(slots=True)
class LineCount:
    """What went over the line. ``busy``: time it carried anything. [s of the world]"""

    host_bytes: int = 0
    meter_bytes: int = 0
    busy: float = 0.0
    collisions: int = 0


class Line:
    """A paced half-duplex line between a pty and a bus of meters."""

    def __init__(
        self, bus: Bus, clock: WorldClock, *, baud: int = 9600, bits_per_character: int = 10, fifo: int = 1
    ) -> None:
        """``baud``: [bit/s].  ``bits_per_character``: 10 for 8N1, 11 for 8E1. [bit]

        ``fifo``: characters that the host's UART lets gather before it hands them over, unless the answer ends.
        """
        self.count = LineCount()
        self.path = ""
        self._bus = bus
        self._clock = clock
        self._character = bits_per_character / baud  # [s]
        self._fifo = fifo
        self._heard: asyncio.Queue[bytes] = asyncio.Queue()
        self._is_answering = False
        self._has_collided = False
        self._master = -1

    @contextmanager
    def opened(self) -> Iterator[str]:
        """Open the pty and give the path of its host side; needs a running loop."""
        master, slave = os.openpty()  # the host side stays open here too, so that the host may come and go
        loop = asyncio.get_running_loop()
        try:
            tty.setraw(slave)
            os.set_blocking(master, False)
            self._master, self.path = master, os.ttyname(slave)
            loop.add_reader(master, self._on_readable)
            yield self.path
        finally:
            loop.remove_reader(master)
            os.close(master)
            os.close(slave)
            self._master = -1

    async def run(self) -> None:
        """Carry bytes both ways until cancelled."""
        while True:
            request = await self._heard.get()
            heard = self._clock.time() + self._carry(len(request))
            await self._clock.sleep_until(heard)
            self.count.host_bytes += len(request)
            answer = self._bus.receive(request, self._clock.now())
            if answer is not None and answer.data:
                await self._send(answer, heard)

    def _carry(self, size: int) -> float:
        busy = size * self._character
        self.count.busy += busy
        return busy

    async def _send(self, answer: Answer, heard: float) -> None:
        """Let out the answer to what was ``heard``, each byte when its last bit would be through."""
        begin, character = heard + answer.latency, self._character + answer.pause
        await self._clock.sleep_until(begin)
        self._is_answering, self._has_collided = True, False
        try:
            sent = 0
            while sent < len(answer.data):
                await self._clock.sleep_until(begin + min(sent + self._fifo, len(answer.data)) * character)
                through = min(len(answer.data), int((self._clock.time() - begin) / character + 1e-6))
                piece = answer.data[sent : max(through, sent + 1)]
                self._write(bytes(byte ^ 0xFF for byte in piece) if self._has_collided else piece)
                sent += len(piece)
        finally:
            self._is_answering = False
        self._carry(len(answer.data))
        self.count.meter_bytes += len(answer.data)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._master, READ_SIZE)
        except BlockingIOError:
            return
        if self._is_answering:
            self.count.collisions += 1
            self._has_collided = True
            self._carry(len(data))
            log.debug("collision on %s: the host sent %d bytes into an answer", self.path, len(data))
        else:
            self._heard.put_nowait(data)

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._master, data)
        except BlockingIOError:
            log.debug("%s: nobody listens, %d bytes lost", self.path, len(data))
