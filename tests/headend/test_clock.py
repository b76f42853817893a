"""Clocks: the machine's, and a simulated world's that runs faster and skips idle time."""

import time

import pytest

from headend.clock import Anchor, SharedClock, SystemClock

WORLD = 1_700_000_000


async def test_system_clock_is_the_machines() -> None:
    clock = SystemClock()

    assert abs(clock.now() - time.time()) < 2
    assert isinstance(clock.now(), int)
    assert clock.rate == 1


async def test_system_clock_does_not_wait_for_what_has_passed() -> None:
    clock = SystemClock()
    before = time.monotonic()

    await clock.sleep_until(clock.now() - 10)
    await clock.sleep(-1)

    assert time.monotonic() - before < 1


async def test_system_clock_waits_for_an_instant() -> None:
    clock = SystemClock()
    instant = clock.now() + 1

    await clock.sleep_until(instant)

    assert clock.now() == instant


async def test_shared_clock_follows_its_anchor_and_rate() -> None:
    clock = SharedClock(Anchor(time.monotonic() - 10, WORLD, 60.0))

    assert 600 <= clock.now() - WORLD < 660
    assert clock.rate == 60


async def test_two_clocks_of_one_anchor_agree() -> None:
    anchor = Anchor(time.monotonic(), WORLD, 1_000.0)

    assert abs(SharedClock(anchor).monotonic() - SharedClock(anchor).monotonic()) < 50


async def test_work_is_waited_for_at_the_worlds_pace() -> None:
    clock = SharedClock(Anchor(time.monotonic(), WORLD, 1_000.0))
    before = time.monotonic()

    await clock.sleep(100)

    assert 0.1 <= time.monotonic() - before < 2
    assert clock.now() >= WORLD + 100


async def test_idle_time_is_skipped_through_whoever_leads_the_world() -> None:
    asked: list[int] = []

    async def skip(instant: int) -> Anchor:
        asked.append(instant)
        return Anchor(time.monotonic(), float(instant), 10.0)

    clock = SharedClock(Anchor(time.monotonic(), WORLD, 10.0), skip)
    before = time.monotonic()

    await clock.sleep_until(WORLD + 86_400)
    await clock.sleep_until(WORLD + 100)

    assert time.monotonic() - before < 2
    assert asked == [WORLD + 86_400]
    assert WORLD + 86_400 <= clock.now() < WORLD + 86_500


async def test_without_skip_idle_time_passes_at_the_worlds_pace() -> None:
    clock = SharedClock(Anchor(time.monotonic(), WORLD, 1_000.0))

    await clock.sleep_until(WORLD + 100)

    assert clock.now() >= WORLD + 100


async def test_world_that_goes_back_is_refused() -> None:
    async def skip(_: int) -> Anchor:
        return Anchor(time.monotonic(), WORLD - 1_000.0, 1.0)

    clock = SharedClock(Anchor(time.monotonic(), WORLD, 1.0), skip)

    with pytest.raises(ValueError, match="must not run backwards"):
        await clock.sleep_until(WORLD + 100)

    assert clock.now() >= WORLD


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_world_that_stands_still_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        Anchor(0.0, WORLD, rate)
