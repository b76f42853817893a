"""The simulated world as a child process, and its clock shared with it.

The two processes share CLOCK_MONOTONIC, so one pair of anchors gives both the same world time. While the head-end has
nothing to do it asks the world to skip: the world first does all that fell due meanwhile, then answers with new anchors.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headend.clock import Anchor, SharedClock
from headend.errors import HeadendError

ANSWER_LIMIT = 60.0  # [s], wall: longest a skip may take
LINE_LIMIT = 1 << 20


class World:
    """A running simulated world: `clock`, and what it announced."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._lock = asyncio.Lock()
        self.ready: dict[str, Any] = {}
        self.clock: SharedClock

    async def start(self) -> None:
        """Wait until the world announces itself. Raises `HeadendError`."""
        answer = await self._answer()
        self.ready = answer.get("ready", {})
        self.clock = SharedClock(_anchor(answer), skip=self._skip)

    async def _skip(self, instant: int) -> Anchor:
        async with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"skip_to": instant}).encode() + b"\n")
            await self._process.stdin.drain()
            return _anchor(await self._answer())

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_LIMIT)
        except TimeoutError:
            raise HeadendError(
                f"the simulated world did not answer within {ANSWER_LIMIT:.0f} s; see {self._log}"
            ) from None
        if not line:
            raise HeadendError(f"the simulated world stopped; see {self._log}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HeadendError(f"the simulated world: {answer['error']}")
        return answer


def _anchor(answer: dict[str, Any]) -> Anchor:
    clock = answer["clock"]
    return Anchor(float(clock["monotonic"]), float(clock["world"]), float(clock["rate"]))


@asynccontextmanager
async def running_world(directory: Path, *arguments: str) -> AsyncIterator[World]:
    """Start ``headend-simulate world`` with its files in ``directory`` (which exists); it ends with the block, or when we die."""
    log = directory / "simulator.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulators.main", "world", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors, limit=LINE_LIMIT,
        )  # fmt: skip
    world = World(process, log)
    try:
        await world.start()
        yield world
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()
