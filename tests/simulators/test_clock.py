import asyncio
import time

import pytest

from simulators.clock import Action, Anchor, WorldClock
from tests.simulators.homes import MONDAY, FakeMonotonic


def test_world_time_runs_at_its_rate() -> None:
    monotonic = FakeMonotonic()
    clock = WorldClock(MONDAY, 60.0, monotonic)

    monotonic.seconds += 1.5

    assert clock.now() == MONDAY + 90


def test_a_clock_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Anchor(0.0, 0.0, 0.0)


async def test_skipping_runs_what_fell_due_in_order_each_at_its_instant() -> None:
    clock = WorldClock(MONDAY, 1.0, FakeMonotonic())
    seen: list[tuple[str, int, int]] = []

    def event(name: str) -> Action:
        async def action(due: int) -> None:
            seen.append((name, due, clock.now()))
            if name == "again" and due < MONDAY + 30:
                clock.schedule(due + 10, event("again"))

        return action

    clock.schedule(MONDAY + 15, event("once"))
    clock.schedule(MONDAY + 10, event("again"))
    clock.schedule(MONDAY + 10, event("second"))
    clock.schedule(MONDAY + 41, event("later"))

    anchor = await clock.skip_to(MONDAY + 40)

    assert [(name, due - MONDAY) for name, due, _ in seen] == [
        ("again", 10), ("second", 10), ("once", 15), ("again", 20), ("again", 30),
    ]  # fmt: skip
    assert all(due == now for _, due, now in seen)
    assert anchor.world == MONDAY + 40


async def test_the_world_never_goes_back() -> None:
    clock = WorldClock(MONDAY, 1.0, FakeMonotonic())

    await clock.skip_to(MONDAY - 100)

    assert clock.now() == MONDAY


async def test_a_skip_wakes_who_waits_for_an_instant() -> None:
    clock = WorldClock(MONDAY, 1.0, time.monotonic)
    sleeper = asyncio.create_task(clock.sleep_until(MONDAY + 3600))
    await asyncio.sleep(0)

    await clock.skip_to(MONDAY + 3599)
    await asyncio.sleep(0.01)
    assert not sleeper.done()
    await clock.skip_to(MONDAY + 3600)

    await asyncio.wait_for(sleeper, 1.0)


async def test_a_running_world_runs_events_by_itself_also_those_added_late() -> None:
    clock = WorldClock(MONDAY, 1000.0, time.monotonic)
    done = asyncio.Event()

    async def action(due: int) -> None:
        assert clock.time() >= due
        done.set()

    running = asyncio.create_task(clock.run())
    await asyncio.sleep(0.01)
    clock.schedule(clock.now() + 20, action)

    await asyncio.wait_for(done.wait(), 2.0)
    running.cancel()
