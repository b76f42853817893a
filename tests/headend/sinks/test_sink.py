"""One sink at a time, in virtual time: how it waits, what it calls poison, and that it keeps to itself."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from headend.settings import RetentionSettings
from headend.sinks.influx import Answer, InfluxServer
from headend.sinks.journal import PREFIX, StoreJournal
from headend.sinks.linesink import MOST_LOSSES, LineSink
from headend.sinks.model import Poison, Window
from headend.sinks.sink import LONGEST_PAUSE
from headend.sinks.window import Form, read_window
from headend.store.errors import StoreFull, StoreUnavailable
from headend.store.reader import StoreReader
from headend.store.store import Store
from tests.headend.collect import virtual
from tests.headend.sinks.fake_influx import BEACON, FakeInflux, read_line
from tests.headend.sinks.world import ALL, NOW, change, expected, journal, make_store

UPSERT, APPEND = Form(ALL, replaces=True), Form(ALL, replaces=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    make_store(tmp_path / "headend.db")
    with Store.open(tmp_path / "headend.db", lambda: NOW) as store:
        with store.transaction():
            random = Random(7)
            for _ in range(30):
                change(store, random)
        yield store


class Scripted:
    """A server with an answer for each write, by number; it notes when each came."""

    def __init__(self, *answers: Answer | OSError) -> None:
        self.answers = list(answers)
        self.at: list[float] = []
        self.bodies: list[bytes] = []

    async def write(self, body: bytes) -> Answer:
        self.at.append(asyncio.get_running_loop().time())
        self.bodies.append(body)
        answer = self.answers.pop(0) if self.answers else Answer(204)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def export(self, form: list[tuple[str, str]]) -> Answer:
        raise AssertionError(form)


class Desk:
    """A journal with one window in memory."""

    def __init__(self, lines: Sequence[bytes], full: int = 0) -> None:
        self.window = Window(1, lines)
        self.at = 0
        self.poison: list[Poison] = []
        self.reports: list[str] = []
        self._full = full

    async def cursor(self) -> int:
        return self.at

    async def read(self, after: int) -> Window:
        return self.window if after == 0 else Window(after)

    async def acknowledge(self, seq: int, poison: Sequence[Poison]) -> None:
        if self._full:
            self._full -= 1
            raise StoreFull("no room")
        self.at, self.poison = seq, list(poison)

    async def report(self, error: str) -> None:
        self.reports.append(error)


def deliver(server: Scripted, desk: Desk, random: float = 0.0) -> None:
    sink = LineSink("one", desk, InfluxServer(server, reads_back=False), virtual.LoopClock(), lambda: random)
    virtual.run(sink.deliver)


@pytest.mark.parametrize(("random", "first"), [(0.0, [0.5, 1.0, 2.0, 4.0]), (0.5, [0.75, 1.5, 3.0, 6.0])])
def test_pauses_double_with_jitter_up_to_a_bound(random: float, first: list[float]) -> None:
    server, desk = Scripted(*[Answer(503)] * 20), Desk([b"m value=1 1"])

    deliver(server, desk, random)

    pauses = [later - sooner for sooner, later in zip(server.at, server.at[1:], strict=False)]
    assert pauses[:4] == pytest.approx(first)
    assert max(pauses) == pytest.approx(LONGEST_PAUSE * (0.5 + random / 2))


@pytest.mark.parametrize(
    ("asked", "waited"), [("30", 30.0), ("999999", 3_600.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.5)]
)
def test_server_that_asks_for_a_pause_gets_it_within_a_bound(asked: str, waited: float) -> None:
    server, desk = Scripted(Answer(429, "", asked)), Desk([b"m value=1 1"])

    deliver(server, desk)

    assert server.at == pytest.approx([0.0, waited])


def test_one_outage_is_reported_once_and_its_end_once() -> None:
    server, desk = Scripted(*[Answer(404, "no such page")] * 3), Desk([b"m value=1 1"])

    deliver(server, desk)

    assert desk.reports == ["answered 404 to a write: no such page", ""]


def test_a_connection_to_the_store_that_is_lost_ends_the_sink_so_that_all_begins_anew(store: Store) -> None:
    reads = partial(read_window, form=UPSERT, most_lines=10)

    async def main() -> None:
        with StoreReader.open(store.path) as reader:

            def lose(reader: StoreReader, after: int) -> Window:
                reader._engine.fault = StoreUnavailable("the server closed the connection")
                return reads(reader, after)

            async def at_once(call: Callable[..., Any], *arguments: Any) -> Any:
                return call(*arguments)

            async def forget(_: Callable[[Store], Any]) -> None:
                pass

            lost = StoreJournal("one", reader, forget, lose, at_once)
            sink = LineSink("one", lost, InfluxServer(Scripted(), reads_back=False), virtual.LoopClock(), lambda: 0.0)
            async with asyncio.timeout(86_400):
                await sink.run(asyncio.Event())

    with pytest.raises(StoreUnavailable, match="closed the connection"):
        virtual.run(main)


@pytest.mark.parametrize(
    "answer", [Answer(200, "<html>log in</html>"), Answer(302), Answer(401), ConnectionResetError("cut")]
)
def test_only_204_is_taken_for_success(answer: Answer | OSError) -> None:
    server, desk = Scripted(answer), Desk([b"m value=1 1"])

    deliver(server, desk)

    assert len(server.bodies) == 2
    assert (desk.at, desk.poison) == (1, [])


def test_server_that_refuses_everything_makes_no_poison() -> None:
    server, desk = Scripted(*[Answer(400, "bad precision")] * 50), Desk([b"m value=%d 1" % n for n in range(20)])

    deliver(server, desk)

    assert (desk.at, desk.poison) == (1, [])
    assert "the server refuses everything: answered 400 to a write: bad precision" in desk.reports


def test_store_without_room_keeps_the_cursor_until_there_is_some() -> None:
    server, desk = Scripted(), Desk([b"m value=1 1"], full=3)

    deliver(server, desk)

    assert (desk.at, desk.reports[0]) == (1, "no room")


def test_cursor_waits_for_what_was_read_back_after_it_settled(store: Store) -> None:
    clock = virtual.LoopClock()
    seen: list[tuple[float, int]] = []

    async def main() -> None:
        server = FakeInflux(Random(1), clock.monotonic, settles_after=12.0)
        sink = LineSink(
            "one",
            journal("one", store, APPEND, 1_000),
            InfluxServer(server, reads_back=True),
            clock,
            lambda: 0.0,
            settle=15.0,
        )
        task = asyncio.ensure_future(sink.deliver())
        for crash_at in (5.0, 14.0):
            await clock.sleep(crash_at - clock.monotonic())
            server.crash()
            seen.append((clock.monotonic(), store.cursor(PREFIX + "one")))
        await task
        server.crash()
        held = {key for key, row in server.held.items() if any(row.values()) and key[0] != BEACON}
        assert held == set(expected(store, APPEND))

    virtual.run(main)

    assert seen == [(5.0, 0), (14.0, 0)]
    assert store.cursor(PREFIX + "one") == store.last_seq()


def test_server_that_loses_everything_again_and_again_makes_no_poison(store: Store) -> None:
    clock = virtual.LoopClock()

    async def main() -> None:
        server = FakeInflux(Random(1), clock.monotonic, settles_after=12.0)
        view = journal("one", store, APPEND, 1_000)
        sink = LineSink("one", view, InfluxServer(server, reads_back=True), clock, lambda: 0.0, settle=15.0)
        task = asyncio.ensure_future(sink.deliver())
        for _ in range(5 * MOST_LOSSES):
            await clock.sleep(7)
            server.crash()
        assert store.cursor(PREFIX + "one") == 0
        await task
        server.crash()
        assert {key for key, row in server.held.items() if any(row.values())} >= set(expected(store, APPEND))

    virtual.run(main)

    assert all("15 digits" in item.reason for item in store.quarantine(PREFIX + "one"))


def test_point_that_is_dropped_beside_a_kept_beacon_is_poison_after_five_times(store: Store) -> None:
    clock = virtual.LoopClock()
    wanted = set(expected(store, APPEND))
    dropped = min(wanted, key=str)

    async def main() -> None:
        server = FakeInflux(Random(1), clock.monotonic, drops=lambda key: key == dropped)
        view = journal("one", store, APPEND, 1_000)
        sink = LineSink("one", view, InfluxServer(server, reads_back=True), clock, lambda: 0.0, settle=15.0)
        await sink.deliver()
        assert wanted - set(server.held) == {dropped}

    virtual.run(main)

    found = [item for item in store.quarantine(PREFIX + "one") if "15 digits" not in item.reason]
    assert [read_line(item.point)[0] for item in found] == [dropped]
    assert found[0].reason == "the server acknowledged it 5 times and does not hold it so"


def test_sink_whose_server_hangs_or_fails_does_not_stop_another(store: Store) -> None:
    async def hang(_: bytes) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async def crash(_: bytes) -> Answer:
        raise ZeroDivisionError("a fault of the program")

    async def main() -> None:
        stop, clock = asyncio.Event(), virtual.LoopClock()
        exchanges = {name: FakeInflux(Random(1), clock.monotonic) for name in ("hangs", "fails", "works")}
        setattr(exchanges["hangs"], "write", hang)  # noqa: B010  mypy refuses the plain assignment
        setattr(exchanges["fails"], "write", crash)  # noqa: B010
        sinks = [
            LineSink(name, journal(name, store, UPSERT, 10), InfluxServer(server, reads_back=False), clock, lambda: 0.0)
            for name, server in exchanges.items()
        ]
        tasks = [asyncio.ensure_future(sink.run(stop)) for sink in sinks]
        await clock.sleep(1_000)
        assert not any(task.done() for task in tasks)
        stop.set()
        _, pending = await asyncio.wait(tasks, timeout=10)
        assert [tasks.index(task) for task in pending] == [0]  # nothing but its own time-out ends it
        tasks[0].cancel()
        await asyncio.wait(tasks)

    with capture_logs():
        virtual.run(main)

    assert store.cursor(PREFIX + "works") == store.last_seq()
    assert (store.cursor(PREFIX + "hangs"), store.cursor(PREFIX + "fails")) == (0, 0)
    assert "ZeroDivisionError" in store.sink_states()[PREFIX + "fails"].error


def test_requests_are_bounded_by_the_batch_and_one_commit(store: Store) -> None:
    clock = virtual.LoopClock()
    server = FakeInflux(Random(1), lambda: 0.0)

    async def main() -> None:
        sink = LineSink(
            "one", journal("one", store, UPSERT, 10), InfluxServer(server, reads_back=False), clock, lambda: 0.0
        )
        while await sink.deliver():
            pass

    virtual.run(main)

    slots_of_one_commit, beacon = 4, 1
    assert server.largest <= 10 - 1 + slots_of_one_commit + beacon
    assert {key for key in server.held if key[0] != BEACON} >= set(expected(store, UPSERT))


async def test_journal_says_what_retention_had_dropped_on_the_way(store: Store) -> None:
    retention = RetentionSettings(raw_days=35, sink_wait_days=0)
    with store.transaction():
        store.advance_cursor("vee", store.last_seq())
        assert store.raise_floors(store.plan_retention(retention, 2**31))
    view = journal("one", store, UPSERT, 10)

    with capture_logs() as logs:
        await view.acknowledge(store.last_seq(), [])
        await view.acknowledge(store.last_seq(), [])

    assert [log["event"] for log in logs] == ["retention had dropped what this sink has not had"]
    assert "changes of the raw layer" in logs[0]["what"]


async def test_journal_moves_the_cursor_and_keeps_the_poison_in_one_transaction(store: Store) -> None:
    async def submit(work: object) -> None:
        with store.transaction():
            assert callable(work)
            work(store)
            raise StoreFull("no room for the commit")

    view = StoreJournal("one", store, submit, partial(read_window, form=UPSERT, most_lines=10))

    with pytest.raises(StoreFull):
        await view.acknowledge(3, [Poison("m value=1 1", "refused")])

    assert (store.cursor(PREFIX + "one"), store.quarantine(PREFIX + "one")) == (0, [])


def test_fake_reads_lines_with_escapes_as_line_protocol_has_them() -> None:
    key, fields = read_line(r"m\ 1,meter=SIM\=2\,\ north,unit=Wh value=-0.5,state=2i 17")

    assert key == ("m 1", frozenset({("meter", "SIM=2, north"), ("unit", "Wh")}), 17)
    assert fields == {"value": "-0.5", "state": "2"}
