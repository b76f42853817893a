"""What a store needs while it is in use, done beside its use."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from headend import upkeep as module
from headend.clock import SystemClock
from headend.errors import StoreError
from headend.registry.model import DAY
from headend.settings import RetentionSettings
from headend.store import unclean
from headend.store.condition import condition_of
from headend.store.errors import StoreFull
from headend.store.reader import StoreReader
from headend.store.request import Request, RequestFile
from headend.store.retention import Kept
from headend.store.store import Store
from headend.store.unclean import owed_since
from headend.store.writer import GroupCommitWriter
from headend.upkeep import Upkeep
from tests.headend.store.builders import FIRST_DAY, IMPORT, START, block, open_store

DAYS = 100


class At(SystemClock):
    """A clock that stands where it is put."""

    def __init__(self, now: int) -> None:
        self.at = now

    def now(self) -> int:
        return self.at


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of a meter's days, each with an unreadable message, all of it validated; nobody waits long."""
    monkeypatch.setattr(module, "PACE", 0.01)
    path = tmp_path / "s.db"
    with open_store(path) as store, store.transaction():
        for day in range(DAYS):
            at = START + (day + 1) * DAY
            store.record(1, [block(day * 48, range(48))], at)
            store.set_aside("topic", bytes([day]) * 10_000, "unreadable", at)
        store.advance_cursor("vee", store.last_seq())
    return path


@asynccontextmanager
async def kept(path: Path, clock: At, **terms: Any) -> AsyncIterator[tuple[Upkeep, GroupCommitWriter]]:
    """A store under upkeep, and the writer of the readings beside it."""
    with Store.open(path, clock.now) as store:
        writer, stop = GroupCommitWriter(store), asyncio.Event()
        upkeep = Upkeep(writer.from_reserve, path, RetentionSettings(**terms), (), clock)
        running = asyncio.ensure_future(upkeep.run(stop))
        try:
            yield upkeep, writer
        finally:
            stop.set()
            with suppress(StoreError):
                await running
            await writer.close()


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110  nobody else tells
            await asyncio.sleep(0.01)


async def test_terms_are_kept_and_readings_are_stored_meanwhile(path: Path) -> None:
    clock = At(START + DAYS * DAY)
    async with kept(path, clock, raw_days=40, set_aside_days=35) as (upkeep, writer):
        stored = 0
        while upkeep.total.dropped.get(Kept.SET_ASIDE, 0) < 64:
            facts = [block(DAYS * 48 + stored, [stored])]
            await writer.submit(partial(Store.record, end_device_id=1, facts=facts, received_at=clock.at))
            stored += 1
            await asyncio.sleep(0)

    assert upkeep.total.dropped == {Kept.RAW: 60, Kept.SET_ASIDE: 64}
    with StoreReader.open(path) as reader:
        series = reader.raw_series(1, IMPORT, START, START + (DAYS + 1 + stored // 48) * DAY)
        assert int(series.has_value.sum()) == 40 * 48 + stored
        assert list(reader.faults()) == []


async def test_terms_are_looked_at_again_every_hour(path: Path) -> None:
    clock = At(START + DAYS * DAY)
    async with kept(path, clock, raw_days=60) as (upkeep, _):
        await until(lambda: upkeep._next_round > clock.at)
        upkeep._anchor += DAY  # the clock goes on and has not jumped
        clock.at += DAY

        await until(lambda: upkeep.total.dropped.get(Kept.RAW) == 41)


async def test_what_a_command_asks_for_is_done_by_who_has_the_store(path: Path) -> None:
    async with kept(path, At(START + DAYS * DAY), set_aside_days=35) as (upkeep, _):
        await until(lambda: upkeep.total.dropped.get(Kept.SET_ASIDE) == 64)
        RequestFile(str(path)).ask_for(Request.COMPACT)

        await until(lambda: RequestFile(str(path)).asked_for() is None)

        with StoreReader.open(path) as reader:
            assert reader.free_pages() == 0
        assert upkeep.total.given_back > 64


@pytest.mark.parametrize("jump", [200 * DAY, -2 * DAY])
async def test_while_the_clock_cannot_be_right_nothing_is_dropped_but_by_a_person_s_word(path: Path, jump: int) -> None:
    clock = At(START + DAYS * DAY + max(0, jump))
    with structlog.testing.capture_logs() as logs:
        RequestFile(str(path)).ask_for(Request.COMPACT)
        async with kept(path, clock, raw_days=60) as (upkeep, _):
            if jump < 0:
                upkeep._anchor -= jump
                upkeep._next_round = 0
            await until(lambda: any("the clock is far" in log.get("error", "") for log in logs) or upkeep.total.dropped)
            assert jump < 0 or not upkeep.total.dropped
            RequestFile(str(path)).ask_for(Request.RETAIN)
            await until(lambda: upkeep.total.dropped)

    assert sum("the store's upkeep waits" in log["event"] for log in logs) == 1


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_a_wrong_clock_stamps_is_no_proof_that_it_is_right(path: Path, *, restarts: bool) -> None:
    clock = At(START + (DAYS + 5_000) * DAY)
    async with kept(path, clock, raw_days=60) as (upkeep, writer):
        await until(lambda: upkeep._told)
        facts = [block(DAYS * 48, [1])]
        await writer.submit(partial(Store.record, end_device_id=1, facts=facts, received_at=clock.at))
        with pytest.raises(StoreError, match="the clock is far from what was stored last"):
            await upkeep._turn()
    if restarts:
        async with kept(path, clock, raw_days=60) as (upkeep, _):
            await until(lambda: upkeep._told or upkeep.total.dropped)

    assert not upkeep.total.dropped
    with StoreReader.open(path) as reader:
        assert reader.floors() == {}


async def test_a_clock_that_was_put_right_is_believed_again_and_stays_so(path: Path) -> None:
    clock = At(START + (DAYS + 5_000) * DAY)
    async with kept(path, clock, raw_days=60) as (upkeep, _):
        await until(lambda: upkeep._told)
    clock.at = START + DAYS * DAY
    async with kept(path, clock, raw_days=60) as (upkeep, writer):
        await until(lambda: upkeep.total.dropped)
        facts = [block(DAYS * 48, [1])]
        await writer.submit(partial(Store.record, end_device_id=1, facts=facts, received_at=clock.at))

    clock.at += 59 * DAY
    async with kept(path, clock, raw_days=60) as (upkeep, _):
        await until(lambda: upkeep._told or upkeep.total.dropped)

    assert upkeep.total.dropped == {Kept.RAW: 59}


async def test_a_clock_that_begins_in_1970_and_is_then_set_is_believed_after_the_next_start(path: Path) -> None:
    clock = At(1_000)
    async with kept(path, clock, raw_days=60) as (upkeep, _):
        await until(lambda: upkeep._next_round > clock.at)
        clock.at = START + DAYS * DAY
        await until(lambda: upkeep._told)

    async with kept(path, clock, raw_days=60) as (upkeep, _):
        await until(lambda: upkeep.total.dropped)

    assert upkeep.total.dropped == {Kept.RAW: 40}


async def test_dropping_works_from_the_reserve_because_it_makes_room(path: Path) -> None:
    clock = At(START + DAYS * DAY)
    with Store.open(path, clock.now) as store, StoreReader.open(path) as reader:
        writer = GroupCommitWriter(store, condition=lambda: "no room but the reserve")
        with pytest.raises(StoreFull):
            await writer.submit(lambda store: store.record(1, [block(0, [1])], clock.at))

        await Upkeep(writer.from_reserve, path, RetentionSettings(raw_days=60), (), clock).retain(reader)

        assert store.floor(Kept.RAW).day == FIRST_DAY + DAYS - 60
        await writer.close()


def leave_unclean(path: Path) -> None:
    """Leave the store as a killed writer does: its log not empty."""
    with Store.open(path, lambda: START) as store:
        with store.transaction():
            store.audit("anna", "test", "s")
        files = {part: Path(f"{path}{part}").read_bytes() for part in ("", "-wal")}
    for part, content in files.items():
        Path(f"{path}{part}").write_bytes(content)


@pytest.fixture
def large(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store after an unclean end, as if it were too large to be checked before it is used."""
    monkeypatch.setattr(unclean, "WHOLE", 0)
    leave_unclean(path)
    return path


async def test_a_large_store_that_was_not_closed_is_used_at_once_and_checked_beside_that(large: Path) -> None:
    clock = At(START + DAYS * DAY)
    with Store.open(large, clock.now) as store:
        assert owed_since(str(large)) is not None
        with store.transaction():
            store.record(1, [block(DAYS * 48, [1])], clock.at)

    async with kept(large, clock, raw_days=40) as (upkeep, _):
        await until(lambda: upkeep.total.dropped)
        assert owed_since(str(large)) is None, "what is dropped is dropped after the check"


async def test_what_the_check_finds_sets_the_store_apart_and_nothing_is_dropped(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreReader, "structure", lambda _: "Tree 7 page 9: out of order")
    async with kept(large, At(START + DAYS * DAY), raw_days=40) as (upkeep, _):
        await until(lambda: condition_of(large, 0))

    assert "Tree 7 page 9" in condition_of(large, 0)
    assert owed_since(str(large)) is not None
    assert not upkeep.total.dropped


async def test_being_told_to_stop_ends_the_check_and_it_stays_owed(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e12) SELECT CAST(max(i) AS TEXT) FROM n"
    monkeypatch.setattr(StoreReader, "structure", lambda self: str(self._rows(counting)[0][0]))
    async with kept(large, At(START + DAYS * DAY), raw_days=40):
        await asyncio.sleep(0.1)

    assert owed_since(str(large)) is not None


@pytest.mark.parametrize("table", ["raw", "change_log"])
def test_damage_to_the_newest_rows_of_a_large_store_is_found_before_it_is_used(large: Path, table: str) -> None:
    with Store.open(large, lambda: START) as store:
        column = {"raw": "block = x'00'", "change_log": "day = 0"}[table]
        store._run(f"UPDATE {table} SET {column} WHERE rowid = (SELECT max(rowid) FROM {table})")
    leave = large.parent / "s.db-wal"
    leave.write_bytes(b"\0" * 32)

    with pytest.raises(StoreError, match=f"damaged after an unclean end .*table {table}"):
        Store.open(large, lambda: START)


async def test_a_check_that_was_owed_anew_meanwhile_stays_owed(large: Path) -> None:
    Store.open(large, lambda: START).close()
    since = owed_since(str(large))

    unclean.settle_check(str(large), (since or 0) - 1)
    assert owed_since(str(large)) == since

    unclean.settle_check(str(large), since)
    assert owed_since(str(large)) is None
