"""Serve simulated meters over TCP on the loopback: one conversation per connection, each answer after its meter's latency."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from drivers.errors import DriverError
from simulators.clock import WorldClock
from simulators.line import Answer

log = logging.getLogger(__name__)

READ_SIZE = 65_536
HOST = "127.0.0.1"
BACKLOG = 1024


class Conversation(Protocol):
    """What one client and the meters behind the port say to each other."""

    def receive(self, data: bytes, now: int) -> list[Answer]:
        """Hear bytes at world time ``now`` [s UTC]; give the answers, in order. Raises `DriverError` to hang up."""


@asynccontextmanager
async def serving(clock: WorldClock, conversation: Callable[[], Conversation], port: int = 0) -> AsyncIterator[int]:
    """Listen on the loopback while the block runs, and give the port (a free one for 0). Connections end with the block."""
    talks: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # inside a task by definition of start_server
        talks.add(task)
        try:
            await _converse(clock, conversation(), reader, writer)
        except (OSError, DriverError) as error:
            log.debug("connection ended: %s", error)
        except asyncio.CancelledError:
            log.debug("connection ended by us")
        finally:
            talks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(on_connection, HOST, port, backlog=BACKLOG)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await server.wait_closed()


async def _converse(
    clock: WorldClock, talk: Conversation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while data := await reader.read(READ_SIZE):
        for answer in talk.receive(data, clock.now()):
            await clock.sleep(answer.latency)
            size = 1 if answer.pause else max(1, len(answer.data))
            for at in range(0, len(answer.data), size):
                writer.write(answer.data[at : at + size])
                await writer.drain()
                await clock.sleep(answer.pause)
