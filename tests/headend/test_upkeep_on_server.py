"""Retention in one process while it collects and others read, on a real PostgreSQL server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headend.registry.model import DAY
from headend.store.model import Change, Layer
from headend.store.place import ServerPlace
from headend.store.reader import StoreReader
from headend.store.request import Request, requests_of
from headend.store.retention import Gap, Kept
from tests.headend.child_headend import ROWS_AT_ONCE, TERMS
from tests.headend.store.builders import FIRST_DAY, IMPORT, PERIOD, START, block, open_store
from tests.postgres import Postgres

ROOT = Path(__file__).parents[2]
DAYS, SLOTS = 100, 48
SINK, TAKEN = "sink/city", 25
KEPT = TERMS.raw_days + TERMS.sink_wait_days
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity AS one JOIN pg_stat_activity AS other ON other.pid = ANY (pg_blocking_pids(one.pid))"
    " WHERE one.application_name LIKE 'headend %' AND other.application_name LIKE 'headend %'"
)


@pytest.fixture
def place(postgres: Postgres) -> ServerPlace:
    """A meter's days, each with an unreadable message, all of it validated; a sink has taken half of it."""
    place = postgres.emptied()
    with open_store(place) as store, store.transaction():
        for day in range(DAYS):
            at = START + (day + 1) * DAY
            store.record(1, [block(day * SLOTS, range(SLOTS))], at)
            store.set_aside("topic", bytes([day]) * 1_000, "unreadable", at)
        store.advance_cursor("vee", store.last_seq())
        store.advance_cursor(SINK, TAKEN)
    return place


@pytest.fixture
def headend(place: ServerPlace) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.headend.child_headend", str(place), str(DAYS * SLOTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def gap_of(gone: list[Change], layer: Layer | None, at: int, number: int) -> Gap:
    """Say what the record must say of changes that are gone."""
    seqs, days = [change.seq for change in gone], [change.day for change in gone]
    return Gap(SINK, seqs[0], seqs[-1], layer, days[0], days[-1], len(gone), at, None, number)


def test_retention_beside_a_collecting_headend_loses_nothing_and_nobody_waits_for_another(
    place: ServerPlace, headend: subprocess.Popen[str], postgres: Postgres
) -> None:
    deadlocks = postgres.sql("SELECT sum(deadlocks) FROM pg_stat_database")
    followed: list[Change] = []
    blocked = 0

    with StoreReader.open(place) as feed, StoreReader.open(place) as exporting, exporting.snapshot():
        before = exporting.changes(0)
        whole = exporting.raw_series(1, IMPORT, START, START + DAYS * DAY)
        followed += before
        with requests_of(place) as requests:
            requests.ask_for(Request.RETAIN)
        while headend.poll() is None:
            followed += feed.changes(followed[-1].seq)
            blocked += feed._rows(BLOCKED)[0][0]
        again = exporting.raw_series(1, IMPORT, START, START + DAYS * DAY)
        followed += feed.changes(followed[-1].seq)

    assert headend.stdout is not None
    said = json.loads(headend.stdout.read().splitlines()[-1])
    assert said["waited_for"] <= 2, "one that was under way, and one that was asked for before"
    assert said["kept"] > sum(said["dropped"].values()) // ROWS_AT_ONCE
    assert blocked == 0
    assert postgres.sql("SELECT sum(deadlocks) FROM pg_stat_database") == deadlocks
    assert whole.has_value.all()
    assert again.values.tolist() == whole.values.tolist(), "who reads one view goes on seeing it"
    assert [change.seq for change in followed] == list(range(1, followed[-1].seq + 1))
    with StoreReader.open(place) as reader:
        series = reader.raw_series(1, IMPORT, START, START + DAYS * DAY + (said["stored"] + SLOTS) * PERIOD)
        left = reader.changes(0)
        floors = reader.floors()
        raw, log = floors[Kept.RAW], floors[Kept.CHANGE]
        gaps = reader.gaps()
        faults = list(reader.faults())
    with requests_of(place) as requests:
        assert requests.asked_for() is None, "it is done"
    assert faults == []
    assert series.values[series.has_value].tolist() == [*list(range(SLOTS)) * KEPT, *range(said["stored"])]
    assert raw.day == FIRST_DAY + DAYS - KEPT
    assert said["dropped"] == {"raw": DAYS - KEPT, "set_aside": DAYS - 36, "change_log": log.seq}
    assert left == followed[log.seq :]
    missed = [change for change in before if change.seq > TAKEN]
    assert gaps == [
        gap_of([change for change in missed if change.day < raw.day], Layer.RAW, raw.at, 1),
        gap_of([change for change in missed if change.seq <= log.seq], None, log.at, 2),
    ]
