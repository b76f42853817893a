"""Group commit: many tasks, one thread, one transaction for those that wait together."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from drivers.facts import IntervalBlock
from headend.collect.latency import ENOUGH, Latencies
from headend.collect.ports import StoredCounters, StoredLatencies, StoredMetadata
from headend.errors import RegistryError, StoreError
from headend.store import journalwrites
from headend.store.errors import StoreFull
from headend.store.model import MeterReading, Recorded
from headend.store.place import Place
from headend.store.reader import StoreReader
from headend.store.recording import Recording, Steps
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from tests.headend.store.builders import (
    EXPORT,
    IMPORT,
    NOW,
    PERIOD,
    START,
    WH,
    block,
    expect,
    open_store,
    sqlite_alone,
)


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[tuple[Store, GroupCommitWriter, StoreReader]]:
    with open_store(place) as store, StoreReader.open(place) as reader:
        writer = GroupCommitWriter(store)
        yield store, writer, reader
        await writer.close()


Opened = tuple[Store, GroupCommitWriter, StoreReader]


async def submit(writer: GroupCommitWriter, slot: int) -> Recorded:
    return await writer.submit(lambda store: store.record(1, [block(slot, [slot])], NOW))


async def test_what_was_submitted_is_durable_when_the_awaiter_goes_on(opened: Opened) -> None:
    _, writer, reader = opened

    assert await submit(writer, 3) == Recorded(new=1)

    assert reader.raw_series(1, IMPORT, START + 3 * PERIOD, START + 4 * PERIOD).values.tolist() == [3]


async def test_those_that_wait_together_share_a_commit(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    store, writer, reader = opened
    commits = 0
    commit = store._engine.commit

    def count() -> None:
        nonlocal commits
        commits += 1
        commit()

    monkeypatch.setattr(store._engine, "commit", count)

    await asyncio.gather(*(submit(writer, slot) for slot in range(500)))

    assert reader.raw_series(1, IMPORT, START, START + 500 * PERIOD).values.tolist() == list(range(500))
    assert 0 < commits < 100


async def test_one_that_fails_does_not_undo_the_others(opened: Opened) -> None:
    _, writer, reader = opened

    def fail(store: Store) -> None:
        store.record(1, [block(100, [1])], NOW)
        raise KeyError("mine")

    results = await asyncio.gather(submit(writer, 0), writer.submit(fail), submit(writer, 1), return_exceptions=True)

    assert isinstance(results[1], KeyError)
    assert reader.raw_series(1, IMPORT, START, START + 101 * PERIOD).has_value.sum() == 2


async def test_one_whose_part_cannot_be_kept_is_told_so_and_the_writer_goes_on(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, writer, reader = opened
    end_part, failures = store._engine.end_part, [StoreError("the part was not kept")]

    def fail_once() -> None:
        if failures:
            raise failures.pop()
        end_part()

    monkeypatch.setattr(store._engine, "end_part", fail_once)

    with pytest.raises(StoreError, match="was not kept"):
        await submit(writer, 0)
    await submit(writer, 1)

    assert reader.raw_series(1, IMPORT, START, START + 2 * PERIOD).has_value.tolist() == [False, True]


@sqlite_alone
async def test_a_full_device_tells_everyone_of_the_batch_and_then_works_again(opened: Opened) -> None:
    store, writer, reader = opened
    await submit(writer, 0)

    def squeeze(store: Store) -> None:
        store._connection.pragma("max_page_count", store._connection.pragma("page_count"))

    await writer.submit(squeeze)
    results = await asyncio.gather(
        *(submit(writer, 48 * day) for day in range(1, 3_000)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, StoreFull)]
    assert refused
    store._connection.pragma("max_page_count", 2**30)

    assert await submit(writer, 1) == Recorded(new=1)
    kept = sum(1 for result in results if isinstance(result, Recorded))
    assert len(reader.changes(0)) == kept + 2


async def test_closing_commits_what_waits_and_refuses_what_comes_after(opened: Opened) -> None:
    _, writer, reader = opened
    tasks = [asyncio.ensure_future(submit(writer, slot)) for slot in range(50)]
    await asyncio.sleep(0)

    await writer.close()
    await writer.close()

    assert all(result == Recorded(new=1) for result in await asyncio.gather(*tasks))
    assert reader.last_seq() == 50
    with pytest.raises(StoreError, match="closed"):
        await submit(writer, 51)


async def test_too_many_waiting_are_refused_as_by_a_device_without_room_so_that_polling_pauses_and_goes_on(
    opened: Opened,
) -> None:
    store, writer, _ = opened
    await writer.close()
    narrow = GroupCommitWriter(store, max_waiting=0)

    with pytest.raises(StoreFull, match="slow down"):  # any other error of the store ends the service
        await submit(narrow, 0)

    await narrow.close()


async def test_a_cancelled_task_does_no_harm(opened: Opened) -> None:
    _, writer, _ = opened
    task = asyncio.ensure_future(submit(writer, 0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (await submit(writer, 1)).new == 1


async def test_counters_come_durable_from_the_store(opened: Opened) -> None:
    _, writer, reader = opened
    counters = StoredCounters(writer)

    assert await counters.reserve("k", 1_000, 5) == range(5, 1_005)

    assert reader.counters()[0].next == 1_005
    assert await counters.note("meter", 41) == -1
    assert await counters.note("meter", 7) == 41


async def test_metadata_of_a_kind_of_meter_come_durable_from_the_store(opened: Opened) -> None:
    _, writer, reader = opened
    metadata = StoredMetadata(writer)

    for entry in (b"first", b"second"):
        await metadata.keep("model/1.0", entry)
    await metadata.keep("model/1.1", b"other")

    assert reader.metadata("model/1.0") == await metadata.load("model/1.0") == b"second"
    await metadata.drop("model/1.0")
    assert (await metadata.load("model/1.0"), await metadata.load("model/1.1")) == (None, b"other")


def learned(link: str) -> Latencies:
    latencies = Latencies()
    for _ in range(ENOUGH):
        latencies.heard(link, "A:1", "model", 0.1)
    return latencies


async def test_latencies_outlast_a_restart_but_for_a_damaged_entry(opened: Opened) -> None:
    _, writer, reader = opened
    await StoredLatencies(writer, learned("bus")).keep()
    await writer.submit(lambda store: store.keep_latencies("other bus", b"rubbish"))

    again = Latencies()
    await StoredLatencies(writer, again).recall()

    assert [link for link, _ in reader.latencies()] == ["bus", "other bus"]
    assert again.allowance("bus", "A:1", "model", 2.0) < 0.2
    assert again.allowance("other bus", "A:1", "model", 2.0) == 2.0


async def test_latencies_are_written_only_where_there_is_news_and_bounded_in_number(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, writer, reader = opened
    monkeypatch.setattr(journalwrites, "MAX_LINKS", 2)
    latencies = learned("a")
    kept = StoredLatencies(writer, latencies)

    await kept.keep()
    for link in ("b", "c"):
        latencies.heard(link, "A:1", "model", 0.1)
        await kept.keep()
    await kept.keep()

    assert [link for link, _ in reader.latencies()] == ["b", "c"]


async def test_metadata_are_bounded_in_number_and_size(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    _, writer, _ = opened
    metadata = StoredMetadata(writer)
    monkeypatch.setattr(journalwrites, "MAX_KINDS", 2)

    for kind in ("a", "b", "a", "c"):
        await metadata.keep(kind, kind.encode())
    with pytest.raises(StoreError, match="at most"):
        await metadata.keep("d", bytes(journalwrites.MAX_PAYLOAD + 1))

    assert [await metadata.load(kind) for kind in "abcd"] == [b"a", None, b"c", None]


def recording(number: int, *counts: int, fault: Exception | None = None, is_early: bool = False) -> Recording[Recorded]:
    """A day of meter ``number``, and a word of it before and after; ``fault``: raised before or after the reading."""

    def steps(store: Store) -> Steps[Recorded]:
        store.add_event(number, "before", 0, NOW, "", NOW)
        if fault is not None and is_early:
            raise fault
        told = yield MeterReading(number, [block(0, counts), block(0, counts, EXPORT)], NOW)
        store.add_event(number, "after", 0, NOW, str(told.new), NOW)
        if fault is not None:
            raise fault
        return told

    return Recording(f"SIM:{number}", steps)


def add_meters(store: Store) -> None:
    for number in (2, 3, 4):
        store.put_end_device(f"SIM:{number}", "sim", 1, str(number))
        expect(store, number)


async def submitted_together(writer: GroupCommitWriter, *changes: Callable[[Store], object]) -> list[Any]:
    """Let changes wait for one commit: while the writer is busy they gather."""
    is_busy, go_on = threading.Event(), threading.Event()

    def hold(_: Store) -> None:
        is_busy.set()
        go_on.wait(60)

    holding = asyncio.ensure_future(writer.submit(hold))
    await asyncio.to_thread(is_busy.wait, 60)
    waiting = [asyncio.ensure_future(writer.submit(change)) for change in changes]
    await asyncio.sleep(0)
    go_on.set()
    await holding
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_readings_of_different_meters_that_wait_together_are_recorded_by_one_call(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, writer, reader = opened
    await writer.submit(add_meters)
    sizes: list[int] = []
    record_all = store.record_all

    def note(readings: Sequence[MeterReading]) -> list[Recorded]:
        sizes.append(len(readings))
        return record_all(readings)

    monkeypatch.setattr(store, "record_all", note)

    done = await submitted_together(
        writer,
        recording(1, 5),
        recording(2, 6, 7),
        recording(3, 8),
        recording(1, 5),
        lambda _: "beside",
        recording(4, 9),
    )

    assert sizes == [3, 1, 1]
    assert done == [Recorded(new=2), Recorded(new=4), Recorded(new=2), Recorded(same=2), "beside", Recorded(new=2)]
    assert reader.raw_series(2, EXPORT, START, START + 2 * PERIOD).values.tolist() == [6, 7]


@pytest.mark.parametrize("is_early", [True, False])
async def test_a_recording_that_fails_undoes_its_own_part_alone(opened: Opened, is_early: bool) -> None:
    _, writer, reader = opened
    await writer.submit(add_meters)

    done = await submitted_together(
        writer, recording(1, 5), recording(2, 6, fault=KeyError("mine"), is_early=is_early), recording(3, 7)
    )

    assert isinstance(done[1], KeyError)
    assert [done[0], done[2]] == [Recorded(new=2)] * 2
    assert [reader.raw_series(meter, IMPORT, START, START + PERIOD).has_value.sum() for meter in (1, 2, 3)] == [1, 0, 1]
    assert {(event.end_device_id, event.kind) for event in reader.events()} == {
        (meter, kind) for meter in (1, 3) for kind in ("before", "after")
    }


async def test_a_reading_the_registry_contradicts_is_refused_alone(opened: Opened) -> None:
    _, writer, reader = opened
    await writer.submit(add_meters)

    def steps(_: Store) -> Steps[Recorded]:
        return (yield MeterReading(3, [IntervalBlock(IMPORT, WH, START, 900, (1,))], NOW))

    done = await submitted_together(writer, recording(1, 5), Recording("SIM:3", steps), recording(2, 6))

    assert isinstance(done[1], RegistryError)
    assert [done[0], done[2]] == [Recorded(new=2)] * 2
    assert reader.raw_series(2, IMPORT, START, START + PERIOD).values.tolist() == [6]


@sqlite_alone
async def test_a_full_device_while_readings_are_recorded_together_tells_each(opened: Opened) -> None:
    store, writer, reader = opened
    await writer.submit(add_meters)
    await writer.submit(
        lambda store: store._connection.pragma("max_page_count", store._connection.pragma("page_count"))
    )
    counts = [at * 7919 % 1_000_003 for at in range(48 * 40)]

    done = await submitted_together(writer, *(recording(meter, *counts) for meter in (1, 2, 3, 4)))

    assert all(isinstance(found, StoreFull) for found in done)
    store._connection.pragma("max_page_count", 2**30)
    assert await writer.submit(recording(1, 5)) == Recorded(new=2)
    assert len(reader.changes(0)) == 4
