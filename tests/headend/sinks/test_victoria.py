"""Against a real VictoriaMetrics: every value comes back exact, and what it loses when it is killed is sent again."""

import asyncio
import json
import os
from collections.abc import Iterator
from decimal import Context, Decimal
from pathlib import Path
from random import Random

import pytest

from headend.clock import SystemClock
from headend.secrets import Secrets
from headend.settings import SinkSettings
from headend.sinks.exchange import HttpExchange
from headend.sinks.influx import Answer
from headend.sinks.journal import PREFIX
from headend.sinks.run import open_sinks
from headend.sinks.window import MEASUREMENTS, Form
from headend.store.place import Place
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from tests.headend.sinks.victoria import Victoria, running
from tests.headend.sinks.world import ALL, NOW, Expected, change, expected, make_store

FLOAT = Context(prec=15)
FORM = Form(ALL, replaces=False)
KILLS = int(os.environ.get("HEADEND_TEST_SINK_KILLS", "12"))


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[Victoria]:
    with running(tmp_path / "victoria") as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "headend.db"
    make_store(found, period=1_800)
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A store on each engine."""
    found: Place = tmp_path / "headend.db"
    if request.param == "postgresql":
        found = request.getfixturevalue("postgres").emptied()
    make_store(found, period=1_800)
    return found


def held(server: Victoria) -> dict[tuple[str, frozenset[tuple[str, str]], int], list[Decimal]]:
    """What the server holds, by name of the series, tags and instant."""
    found: dict[tuple[str, frozenset[tuple[str, str]], int], list[Decimal]] = {}
    for measurement in MEASUREMENTS.values():
        for line in server.export(measurement).splitlines():
            series = json.loads(line, parse_float=Decimal, parse_int=Decimal)
            name = series["metric"].pop("__name__")
            for value, at in zip(series["values"], series["timestamps"], strict=True):
                found.setdefault((name, frozenset(series["metric"].items()), int(at) // 1_000), []).append(
                    FLOAT.plus(value)
                )
    return found


def lacking(server: Victoria, wanted: Expected) -> list[object]:
    """Those values of the store that the server does not hold exactly."""
    found = held(server)
    return [
        (measurement, name, at, value)
        for (measurement, tags, at), fields in wanted.items()
        for name, value in fields.items()
        if value not in found.get((f"{measurement}_{name}", tags, at), [])
    ]


async def deliver(place: Place, settings: SinkSettings, store: Store, work: "asyncio.Future[None]") -> None:
    """Run the sink beside ``work``, until that is over and the cursor stands at the end of the log."""
    writer, stop = GroupCommitWriter(store), asyncio.Event()
    (sink,) = open_sinks({"vm": settings}, place, writer, SystemClock(), Secrets({}), stop)
    running_sink = asyncio.ensure_future(sink)
    try:
        await work
        while await writer.submit(lambda held: held.cursor(PREFIX + "vm") < held.last_seq()):
            await asyncio.sleep(0.05)
            assert not running_sink.done(), running_sink.exception()
    finally:
        stop.set()
        await running_sink
        await writer.close()


def settings_for(server: Victoria, settle: int, batch: int = 20_000) -> SinkSettings:
    return SinkSettings(kind="victoriametrics", url=server.url, settle=settle, pace=1, batch=batch)


async def test_every_value_comes_back_as_the_store_has_it(victoria: Victoria, path: Path) -> None:
    random = Random(1)
    with Store.open(path, lambda: NOW) as store:
        with store.transaction():
            for _ in range(80):
                change(store, random, period=1_800)

        await deliver(path, settings_for(victoria, 2), store, asyncio.ensure_future(asyncio.sleep(0)))

        wanted = expected(store, FORM)
        assert len(wanted) > 400
        assert lacking(victoria, wanted) == []
        assert all("more than 15 digits" in item.reason for item in store.quarantine(PREFIX + "vm"))


async def test_what_a_killed_server_lost_is_sent_again(victoria: Victoria, place: Place) -> None:
    random = Random(2)
    with Store.open(place, lambda: NOW) as store:
        with store.transaction():
            for _ in range(60):
                change(store, random, period=1_800)

        async def kill() -> None:
            while not victoria.has_taken_lines():  # noqa: ASYNC110 - a foreign process sets no event
                await asyncio.sleep(0.05)
            victoria.kill()
            assert store.cursor(PREFIX + "vm") == 0
            victoria.start()

        await deliver(place, settings_for(victoria, 3), store, asyncio.ensure_future(kill()))

        assert lacking(victoria, expected(store, FORM)) == []


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
async def test_nothing_is_missing_after_kills_under_load_and_one_more_at_the_end(
    victoria: Victoria, place: Place
) -> None:
    random = Random(3)
    with Store.open(place, lambda: NOW) as store:

        async def load() -> None:
            for _ in range(KILLS):
                for _ in range(20):
                    change(store, random, period=1_800)
                await asyncio.sleep(random.uniform(0.5, 25))
                victoria.kill()
                await asyncio.sleep(random.uniform(0, 3))
                victoria.start()

        settings = settings_for(victoria, SinkSettings.model_fields["settle"].default, batch=500)
        await deliver(place, settings, store, asyncio.ensure_future(load()))
        victoria.kill()  # the cursor says that all of it is safe by now
        victoria.start()

        assert lacking(victoria, expected(store, FORM)) == []


async def test_address_that_is_not_the_write_api_is_not_taken_for_success(victoria: Victoria) -> None:
    exchange = HttpExchange(SinkSettings(kind="influxdb", url=f"{victoria.url}/nowhere"), "")

    answer = await exchange.write(b"m value=1 1700000000")
    exchange.close()

    assert isinstance(answer, Answer)
    assert answer.status == 400
    assert "nowhere" in answer.text


async def test_server_that_is_not_there_is_no_answer() -> None:
    exchange = HttpExchange(SinkSettings(kind="influxdb", url="http://127.0.0.1:1"), "")

    with pytest.raises(OSError, match="refused"):
        await exchange.write(b"m value=1 1700000000")
    with pytest.raises(OSError, match="refused"):
        await exchange.export([("match[]", '{a="b"}')])
    exchange.close()
