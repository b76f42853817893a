"""What plays the meter at the other end of a null modem for as long as a test goes on."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from drivers.contract import ByteStream
from drivers.errors import TransportError


@asynccontextmanager
async def playing(near: ByteStream, serve: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run ``serve`` beside the test and close ``near`` behind it. What went wrong there, but the end of the line, is raised."""
    task = asyncio.create_task(serve)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await near.close()
        if not task.cancelled() and not isinstance(task.exception(), TransportError):
            task.result()
