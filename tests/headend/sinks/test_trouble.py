"""Seeded sequences of trouble: every sink ends equal to the store, and quarantine holds exactly the poison."""

import asyncio
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from headend.sinks.influx import InfluxServer
from headend.sinks.journal import PREFIX
from headend.sinks.linesink import LineSink
from headend.sinks.window import Form
from headend.store.store import Store
from tests.headend.collect import virtual
from tests.headend.sinks.fake_influx import BEACON, FakeInflux, Key, read_line
from tests.headend.sinks.world import ALL, NOW, Expected, change, expected, journal, make_store
from tests.postgres import Postgres

SEQUENCES = int(os.environ.get("HEADEND_TEST_SINK_SEQUENCES", "250"))
SEQUENCES_ON_SERVER = 6
NIGHTLY = int(os.environ.get("HEADEND_TEST_SINK_SEQUENCES", "10000"))
CHANGES = 5
SETTLE = 15.0
DURABLE = 12.0
"""After which VictoriaMetrics keeps what it took, as measured. [s]"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.db"
    make_store(path)
    return path


def poisoned(seed: int, kind: str, share: float) -> Callable[[Key], bool]:
    """Choose some keys by their content alone, so that a sequence always has the same ones; never a beacon."""

    def choose(key: Key) -> bool:
        text = f"{seed} {kind} {key[0]} {sorted(key[1])} {key[2]}"
        return key[0] != BEACON and zlib.crc32(text.encode()) < share * 2**32

    return choose


@dataclass
class Place:
    """A sink's name and form, and its server."""

    name: str
    form: Form
    server: FakeInflux


def places(seed: int, random: Random, now: Callable[[], float]) -> list[Place]:
    trouble = random.choice([0.0, 0.2, 0.4])
    plain = FakeInflux(Random(seed), now, trouble, refuses=poisoned(seed, "refused", 0.04))
    lazy = FakeInflux(
        Random(seed + 1), now, trouble, DURABLE, loses=True,
        refuses=poisoned(seed, "refused", 0.03), drops=poisoned(seed, "dropped", 0.03),
    )  # fmt: skip
    return [
        Place("plain", Form(ALL, replaces=True), plain),
        Place("lazy", Form(ALL, replaces=False), lazy),
    ]


async def deliver_until_done(place: Place, store: Store, random: Random, is_over: asyncio.Event) -> None:
    """Run a sink, ending it now and then in the middle of whatever it does, until it has caught up with a finished log."""
    clock = virtual.LoopClock()
    while not (is_over.is_set() and store.cursor(PREFIX + place.name) == store.last_seq()):
        server = InfluxServer(place.server, reads_back=not place.form.replaces)
        view = journal(place.name, store, place.form, random.choice([1, 20, 1_000]))
        sink = LineSink(place.name, view, server, clock, random.random, settle=SETTLE, pace=100.0)
        task = asyncio.ensure_future(sink.run(asyncio.Event()))
        await asyncio.wait([task], timeout=random.choice([10.0, 100.0, 1_000.0]))
        assert not task.done(), task.exception()
        task.cancel()
        await asyncio.wait([task])


async def play(store: Store, seed: int) -> list[Place]:
    random = Random(seed)
    clock = virtual.LoopClock()
    all_places = places(seed, random, clock.monotonic)
    is_over = asyncio.Event()

    async def keep_changing() -> None:
        for _ in range(CHANGES):
            change(store, random)
            await clock.sleep(random.choice([0, 1, 30]))
        is_over.set()

    async def keep_crashing() -> None:
        while True:
            await clock.sleep(random.expovariate(1 / 120))
            all_places[1].server.crash()

    crashing = asyncio.ensure_future(keep_crashing())
    sinks = [deliver_until_done(place, store, Random(seed + index), is_over) for index, place in enumerate(all_places)]
    await asyncio.gather(keep_changing(), *sinks)
    crashing.cancel()
    all_places[1].server.crash()  # the cursor says that all of it is safe
    return all_places


def check(place: Place, store: Store, wanted: Expected) -> None:
    server = place.server
    poison = {key for key in wanted if server.refuses(key) or server.drops(key)}
    for key in wanted.keys() - poison:
        held = server.held.get(key, {})
        for name, value in wanted[key].items():
            kind = str if isinstance(value, str) else float
            samples = [kind(text) for text in held.get(name, {})]
            if place.form.replaces:
                assert samples[-1:] == [kind(value)], (key, name, samples)
            else:  # it shows either of two samples of one key, so there must be no two
                assert samples == [kind(value)], (key, name, samples)
    kept = store.quarantine(PREFIX + place.name)
    found = {read_line(item.point)[0] for item in kept if "more than 15 digits" not in item.reason}
    too_long = [item for item in kept if "more than 15 digits" in item.reason]
    assert {key for key in found if key in wanted} == poison & wanted.keys()
    assert all(server.refuses(key) or server.drops(key) for key in found)
    assert len(kept) == len(too_long) + len(
        [item for item in kept if "acknowledged" in item.reason or "answered" in item.reason]
    )


def run_one(template: Path, folder: Path, seed: int) -> None:
    path = folder / f"{seed}.db"
    shutil.copy(template, path)
    with Store.open(path, lambda: NOW) as store:
        store._connection.pragma("synchronous", 0)  # no power fails here, and the device would be the slowest part
        play_and_check(store, seed)
    path.unlink()


def run_one_on_server(server: Postgres, seed: int) -> None:
    place = server.emptied()
    make_store(place)
    with Store.open(place, lambda: NOW) as store:
        play_and_check(store, seed)


def play_and_check(store: Store, seed: int) -> None:
    with capture_logs():
        all_places = virtual.run(lambda: play(store, seed))

        for place in all_places:
            check(place, store, expected(store, place.form))


def test_every_sink_ends_equal_to_the_store_and_quarantine_holds_the_poison(template: Path, tmp_path: Path) -> None:
    for seed in range(SEQUENCES):
        run_one(template, tmp_path, seed)


def test_the_same_with_the_store_on_postgresql(postgres: Postgres) -> None:
    for seed in range(SEQUENCES_ON_SERVER):
        run_one_on_server(postgres, seed)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_a_thousand_sequences_end_the_same_with_the_store_on_postgresql(postgres: Postgres) -> None:
    for seed in range(NIGHTLY // 10):
        run_one_on_server(postgres, seed)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_ten_thousand_sequences_end_equal_to_the_store(template: Path, tmp_path: Path) -> None:
    for seed in range(NIGHTLY):
        run_one(template, tmp_path, seed)
