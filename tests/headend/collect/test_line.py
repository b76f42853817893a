import asyncio
from collections.abc import Awaitable, Callable

import pytest

from drivers.errors import ConnectionLost, DriverError, RemoteProtocolError, TransportTimeout
from headend.clock import SystemClock
from headend.collect.job import Priority
from headend.collect.line import Carrier, Later, LineOwner
from tests.headend.collect.fakes import FakeClock, FakeStream


class Bus:
    """Counts openings and work in flight."""

    def __init__(self, bits_per_second: int | None = 9_600) -> None:
        self.bits_per_second = bits_per_second
        self.opened: list[FakeStream] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.order: list[str] = []

    async def open(self, _: str) -> FakeStream:
        self.opened.append(FakeStream(self.bits_per_second))
        return self.opened[-1]

    def job(self, name: str, pause: float = 0.0) -> Callable[[Carrier], Awaitable[str]]:
        async def work(carrier: Carrier) -> str:
            await carrier.stream()
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            await asyncio.sleep(pause)
            self.in_flight -= 1
            self.order.append(name)
            return name

        return work


async def test_never_two_jobs_are_in_flight_on_a_link() -> None:
    bus = Bus()

    async with LineOwner("serial:///x", bus.open, SystemClock()) as line:
        names = [f"job {i}" for i in range(20)]
        results = await asyncio.gather(*(line.submit(Priority.SCHEDULED, bus.job(name, 0.001)) for name in names))

    assert results == names
    assert bus.most_in_flight == 1
    assert len(bus.opened) == 1


async def test_urgent_work_overtakes_what_waits_but_not_what_runs() -> None:
    bus = Bus()

    async with LineOwner("serial:///x", bus.open, SystemClock()) as line:
        running = asyncio.create_task(line.submit(Priority.BACKFILL, bus.job("running", 0.01)))
        await asyncio.sleep(0.001)
        waiting = [
            asyncio.create_task(line.submit(priority, bus.job(priority.name)))
            for priority in (Priority.BACKFILL, Priority.SCHEDULED, Priority.ON_DEMAND, Priority.ALARM)
        ]
        await asyncio.gather(running, *waiting)

    assert bus.order == ["running", "ALARM", "ON_DEMAND", "SCHEDULED", "BACKFILL"]


async def test_work_that_waited_long_gets_every_second_turn() -> None:
    bus, clock = Bus(), FakeClock()

    async with LineOwner("serial:///x", bus.open, clock, ageing=100) as line:
        blocker = asyncio.Event()

        async def hold(_: Carrier) -> None:
            await blocker.wait()

        held = asyncio.create_task(line.submit(Priority.SCHEDULED, hold))
        await asyncio.sleep(0)
        old = [asyncio.create_task(line.submit(Priority.BACKFILL, bus.job("old"))) for _ in range(2)]
        await asyncio.sleep(0)
        clock.advance(101)
        new = [asyncio.create_task(line.submit(Priority.SCHEDULED, bus.job("new"))) for _ in range(3)]
        await asyncio.sleep(0)
        blocker.set()
        await asyncio.gather(held, *old, *new)

    assert bus.order == ["old", "new", "old", "new", "new"]


async def test_a_serial_port_stays_open_and_a_connection_is_hung_up_when_idle() -> None:
    for speed, is_open in ((9_600, True), (None, False)):
        bus = Bus(speed)
        async with LineOwner("x", bus.open, SystemClock()) as line:
            await line.submit(Priority.SCHEDULED, bus.job("one"))
            await asyncio.sleep(0)

            assert bus.opened[0].is_open is is_open
        assert not bus.opened[0].is_open


async def test_a_silent_meter_costs_a_bus_its_late_bytes_not_its_port() -> None:
    bus = Bus()
    carrier = Carrier("serial:///x", bus.open, SystemClock())
    stream = await carrier.stream()

    await carrier.recover(TransportTimeout("nothing"))

    assert await carrier.stream() is stream
    assert bus.opened[0].discarded == 1


@pytest.mark.parametrize("error", [RemoteProtocolError("noise"), ConnectionLost("gone")])
async def test_the_link_is_opened_anew_after_a_broken_protocol_or_connection(error: DriverError) -> None:
    bus = Bus()
    carrier = Carrier("serial:///x", bus.open, SystemClock())
    await carrier.stream()

    await carrier.recover(error)
    await carrier.stream()

    assert [stream.is_open for stream in bus.opened] == [False, True]


async def test_work_that_comes_later_goes_behind_its_class_and_not_behind_what_is_less_urgent() -> None:
    bus = Bus()
    turns = 0

    async def later(_: Carrier) -> str:
        nonlocal turns
        turns += 1
        bus.order.append(f"later {turns}")
        if turns == 1:
            raise Later
        return "done"

    async with LineOwner("serial:///x", bus.open, SystemClock()) as line:
        outcome, *_ = await asyncio.gather(
            line.submit(Priority.SCHEDULED, later),
            line.submit(Priority.BACKFILL, bus.job("less urgent")),
            line.submit(Priority.SCHEDULED, bus.job("one")),
            line.submit(Priority.SCHEDULED, bus.job("two")),
        )

    assert outcome == "done"
    assert bus.order == ["later 1", "one", "two", "later 2", "less urgent"]


async def test_work_that_is_to_come_later_can_be_called_off() -> None:
    bus = Bus()
    turns = 0

    async def later(_: Carrier) -> None:
        nonlocal turns
        turns += 1
        raise Later

    async with LineOwner("serial:///x", bus.open, SystemClock()) as line:
        waiting = asyncio.create_task(line.submit(Priority.BACKFILL, later))
        holding = asyncio.create_task(line.submit(Priority.SCHEDULED, bus.job("one", 0.01)))
        await asyncio.sleep(0.001)
        waiting.cancel()
        await holding
        await line.submit(Priority.BACKFILL, bus.job("two"))

    assert bus.order == ["one", "two"]
    assert turns <= 1


async def test_an_error_reaches_its_own_caller_and_the_line_goes_on() -> None:
    bus = Bus()

    async def fail(_: Carrier) -> None:
        raise RemoteProtocolError("noise")

    async with LineOwner("x", bus.open, SystemClock()) as line:
        failing = asyncio.create_task(line.submit(Priority.SCHEDULED, fail))
        after = asyncio.create_task(line.submit(Priority.SCHEDULED, bus.job("after")))

        with pytest.raises(RemoteProtocolError):
            await failing
        assert await after == "after"


async def test_cancelled_work_leaves_the_queue_and_a_cancelled_exchange_closes_the_link() -> None:
    bus = Bus()

    async with LineOwner("x", bus.open, SystemClock()) as line:
        running = asyncio.create_task(line.submit(Priority.SCHEDULED, bus.job("running", 10)))
        waiting = asyncio.create_task(line.submit(Priority.SCHEDULED, bus.job("waiting")))
        await asyncio.sleep(0.001)
        waiting.cancel()
        running.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        assert await line.submit(Priority.SCHEDULED, bus.job("next")) == "next"

    assert bus.order == ["next"]
    assert [stream.is_open for stream in bus.opened] == [False, False]


async def test_turnaround_is_silence_between_two_jobs() -> None:
    bus, clock = Bus(), FakeClock()

    async with LineOwner("x", bus.open, clock) as line:
        await line.submit(Priority.SCHEDULED, bus.job("one"), turnaround=7)
        await line.submit(Priority.SCHEDULED, bus.job("two"))

    assert clock.slept == [7]


async def test_closing_cancels_what_waits() -> None:
    bus = Bus()
    line = LineOwner("x", bus.open, SystemClock())
    line.start()
    running = asyncio.create_task(line.submit(Priority.SCHEDULED, bus.job("running", 10)))
    waiting = asyncio.create_task(line.submit(Priority.SCHEDULED, bus.job("waiting")))
    await asyncio.sleep(0.001)

    await line.close()

    results = await asyncio.gather(running, waiting, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    with pytest.raises(RuntimeError, match="not running"):
        await line.submit(Priority.SCHEDULED, bus.job("late"))
