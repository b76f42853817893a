"""An RS-485 line on a pty, paced to its baud rate in world time.

A pty has no speed: what the host writes is there at once. The relay lets the line carry one character after the other, in one
direction at a time, and hands over bytes when a UART would. Who talks while the other does is flagged, and both are garbled.
On request the line flips bits, the adapter hears itself, another master asks in between, and the adapter is pulled out.
"""

import asyncio
import logging
import os
import random
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from simulators.chance import seeded
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


@dataclass(frozen=True, slots=True)
class Troubles:
    """What is wrong with a line and the host's adapter.

    ``bit_errors``: of a million bits so many flip, either way.  ``has_echo``: the adapter hears what it says itself.
    ``stranger``: what another master asks, each ``pause`` [s of the world], without listening first.
    """

    bit_errors: int = 0
    has_echo: bool = False
    stranger: bytes = b""
    pause: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what no line does."""
        if not 0 <= self.bit_errors <= 1_000_000:
            raise ValueError(f"of a million bits {self.bit_errors} cannot flip")
        if self.pause <= 0:
            raise ValueError("another master pauses for more than 0 s")


def parse_troubles(texts: Sequence[str], stranger: bytes) -> Troubles:
    """Read troubles written as ``echo``, ``bit-errors=100`` and ``second-master=5``. ``stranger``: what the master asks.

    Raises `ValueError` naming what is known.
    """
    troubles = Troubles()
    for text in texts:
        name, _, value = text.partition("=")
        match name:
            case "echo" if not value:
                troubles = replace(troubles, has_echo=True)
            case "bit-errors":
                troubles = replace(troubles, bit_errors=int(value))
            case "second-master":
                troubles = replace(troubles, stranger=stranger, pause=float(value))
            case _:
                raise ValueError(
                    f"unknown trouble {text!r}; known: echo, bit-errors=PER_MILLION, second-master=SECONDS"
                )
    return troubles


class Line:
    """A paced half-duplex line between a pty and a bus of meters."""

    def __init__(
        self,
        bus: Bus,
        clock: WorldClock,
        *,
        baud: int = 9600,
        bits_per_character: int = 10,
        fifo: int = 1,
        troubles: Troubles = Troubles(),
        randomness: random.Random | None = None,
    ) -> None:
        """``baud``: [bit/s].  ``bits_per_character``: 10 for 8N1, 11 for 8E1. [bit]

        ``fifo``: characters that the host's UART lets gather before it hands them over, unless the answer ends.
        ``randomness``: which bits flip.
        """
        self.count = LineCount()
        self.path = ""
        self._bus = bus
        self._clock = clock
        self._character = bits_per_character / baud  # [s]
        self._fifo = fifo
        self._troubles = troubles
        self._random = randomness or seeded(0, "line")
        self._heard: asyncio.Queue[bytes] = asyncio.Queue()
        self._conversation = asyncio.Lock()  # one master's question and its answer
        self._is_answering = False
        self._has_collided = False
        self._link: Path | None = None
        self._master = self._slave = -1

    @contextmanager
    def opened(self, link: Path | None = None) -> Iterator[str]:
        """Open the pty and give the path of its host side; needs a running loop.

        ``link``: a stable name for it, as udev gives one, which stays the same when the adapter is plugged in again.
        """
        self._link = link
        self.plug()
        try:
            yield self.path if link is None else str(link)
        finally:
            self.unplug()

    def plug(self) -> None:
        """Plug the adapter in: a new pty, under its stable name where it has one."""
        self._master, self._slave = os.openpty()  # the host side stays open here too, so that the host may come and go
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        if self._link is not None:
            self._link.symlink_to(self.path)
        asyncio.get_running_loop().add_reader(self._master, self._on_readable)

    def unplug(self) -> None:
        """Pull the adapter out: the host's port is gone, and what is said is lost. Twice is harmless."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        if self._link is not None:
            self._link.unlink()
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    async def run(self) -> None:
        """Carry bytes both ways until cancelled."""
        async with asyncio.TaskGroup() as speakers:
            speakers.create_task(self._serve())
            if self._troubles.stranger:
                speakers.create_task(self._interfere())

    async def _serve(self) -> None:
        while True:
            request = await self._heard.get()
            async with self._conversation:
                self._has_collided = False
                begin = self._clock.time()
                heard = begin + self._carry(len(request))
                if self._troubles.has_echo:
                    await self._let_out(request, begin, self._character)
                await self._clock.sleep_until(heard)
                self.count.host_bytes += len(request)
                await self._ask(_garbled(request) if self._has_collided else request, heard)

    async def _interfere(self) -> None:
        question = self._troubles.stranger
        while True:
            await self._clock.sleep(self._troubles.pause)
            if self._conversation.locked():
                self.count.collisions += 1
                self._has_collided = True
                continue
            async with self._conversation:
                began = self._clock.time()
                await self._send(Answer(0.0, question), began)
                await self._ask(question, began + len(question) * self._character)

    async def _ask(self, request: bytes, heard: float) -> None:
        answer = self._bus.receive(self._flipped(request), self._clock.now())
        if answer is not None and answer.data:
            await self._send(answer, heard)

    def _carry(self, size: int) -> float:
        busy = size * self._character
        self.count.busy += busy
        return busy

    async def _send(self, answer: Answer, heard: float) -> None:
        """Let out the answer to what was ``heard``, each byte when its last bit would be through."""
        begin = heard + answer.latency
        await self._clock.sleep_until(begin)
        self._is_answering, self._has_collided = True, False
        try:
            await self._let_out(answer.data, begin, self._character + answer.pause)
        finally:
            self._is_answering = False
        self._carry(len(answer.data))
        self.count.meter_bytes += len(answer.data)

    async def _let_out(self, data: bytes, begin: float, character: float) -> None:
        sent = 0
        while sent < len(data):
            await self._clock.sleep_until(begin + min(sent + self._fifo, len(data)) * character)
            through = min(len(data), int((self._clock.time() - begin) / character + 1e-6))
            piece = self._flipped(data[sent : max(through, sent + 1)])
            self._write(_garbled(piece) if self._has_collided else piece)
            sent += len(piece)

    def _flipped(self, data: bytes) -> bytes:
        """Give what arrives of ``data``."""
        rate = self._troubles.bit_errors / 1_000_000
        if not rate:
            return data
        return bytes(octet ^ sum(1 << bit for bit in range(8) if self._random.random() < rate) for octet in data)

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
        if self._master < 0:
            return
        try:
            os.write(self._master, data)
        except BlockingIOError:
            log.debug("%s: nobody listens, %d bytes lost", self.path, len(data))


def _garbled(data: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in data)
