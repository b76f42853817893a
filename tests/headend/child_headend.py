"""Collects and keeps a store as ``headend run`` does, until retention has been asked for and done: ``python child_headend.py STORE SLOT``.

Says in JSON how many readings were acknowledged from SLOT on, what was dropped, and how many transactions of the upkeep a reading had
to wait for at most.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from headend import upkeep as module
from headend.clock import SystemClock
from headend.settings import RetentionSettings
from headend.store.place import parse_place
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from headend.upkeep import Upkeep
from tests.headend.store.builders import PERIOD, START, block

TERMS = RetentionSettings(raw_days=40, set_aside_days=35, change_days=60, sink_wait_days=5)
ROWS_AT_ONCE = 10
"""So that there are many transactions though there are few rows."""
AFTER = 20
"""Readings that are stored after everything is dropped. [transactions]"""

T = TypeVar("T")


class Clock(SystemClock):
    """Stands at the end of what is stored."""

    def __init__(self, now: int) -> None:
        self._at = now

    def now(self) -> int:
        """Give that instant."""
        return self._at


class Counted:
    """A writer that counts what it has done."""

    def __init__(self, writer: GroupCommitWriter) -> None:
        self._writer = writer.from_reserve
        self.done = 0

    async def submit(self, change: Callable[[Store], T]) -> T:
        """Pass it on."""
        result = await self._writer.submit(change)
        self.done += 1
        return result


async def main() -> None:
    """Store one slot after the other, and keep the store beside that."""
    place, slot = parse_place(sys.argv[1]), int(sys.argv[2])
    module.PACE, module.ROWS_AT_ONCE = 0.01, ROWS_AT_ONCE
    clock = Clock(START + slot * PERIOD)
    with Store.open(place, clock.now) as store:
        writer, stop = GroupCommitWriter(store), asyncio.Event()
        counted = Counted(writer)
        upkeep = Upkeep(counted, place, TERMS, (), clock)
        upkeep._next_round += 1  # nothing is due, it is asked for
        keeping = asyncio.ensure_future(upkeep.run(stop))
        print("ready", flush=True)  # noqa: T201  the parent reads it
        stored = longest = after = 0
        while after < AFTER:
            before = counted.done
            facts = [block(slot + stored, [stored])]
            await writer.submit(partial(Store.record, end_device_id=1, facts=facts, received_at=clock.now()))
            longest = max(longest, counted.done - before)
            stored += 1
            if upkeep._next_round > clock.now() + 1 and await writer.submit(Store.asked_for) is None:
                after += 1
        stop.set()
        await keeping
        await writer.close()
        print(  # noqa: T201  the parent reads it
            json.dumps({"stored": stored, "dropped": upkeep.total.dropped, "waited_for": longest, "kept": counted.done})
        )


if __name__ == "__main__":
    asyncio.run(main())
