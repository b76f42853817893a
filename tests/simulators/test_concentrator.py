import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from drivers.push.decode import decode
from simulators.chance import seeded
from simulators.clock import WorldClock
from simulators.concentrator import MALFORMED, PUBLISH_DELAY, Concentrator, decode_acknowledgement, encode_batch
from simulators.faults import Dead, MalformedPayload, MissingRows
from simulators.meter import Position
from tests.simulators.broker import Broker, mosquitto, needs_mosquitto
from tests.simulators.homes import HALF_HOUR, MONDAY, meter
from tests.simulators.reading import PROFILES

BATCH = 2 * HALF_HOUR
FIRST_DUE = MONDAY + BATCH + PUBLISH_DELAY
TOPIC = "ami/c7/SIM:7/intervals"


def concentrator(clock: WorldClock, *positions: Position, malformed: MalformedPayload | None = None) -> Concentrator:
    return Concentrator(
        "c7",
        positions or (Position("", (meter(),)),),
        clock,
        start=MONDAY,
        batch_period=BATCH,
        repeat_after=60.0,
        malformed=malformed,
        randomness=seeded(1),
    )


class HeadEnd:
    """Listens, and acknowledges where it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.is_storing = True
        self.news = asyncio.Event()

    async def run(self, port: int) -> None:
        while True:
            with suppress(aiomqtt.MqttError):
                async with aiomqtt.Client("127.0.0.1", port, identifier="head-end", clean_session=False) as client:
                    await client.subscribe("ami/#", qos=1)
                    self.news.set()
                    async for message in client.messages:
                        assert isinstance(message.payload, bytes)
                        self.heard.append((str(message.topic), message.payload))
                        if self.is_storing and message.payload != MALFORMED:
                            said = {"batch": json.loads(message.payload)["batch"], "stored": True}
                            await client.publish(f"headend/ack/{message.topic}", json.dumps(said), qos=1)
                        self.news.set()
            await asyncio.sleep(0.05)

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                self.news.clear()
                await self.news.wait()

    @property
    def batches(self) -> list[int]:
        return [json.loads(payload)["batch"] for _, payload in self.heard if payload != MALFORMED]


@asynccontextmanager
async def working(broker: Broker, published: Concentrator, clock: WorldClock) -> AsyncIterator[HeadEnd]:
    head_end = HeadEnd()
    tasks = [asyncio.create_task(head_end.run(broker.port))]
    await asyncio.wait_for(head_end.news.wait(), 10)
    tasks += [asyncio.create_task(published.run("127.0.0.1", broker.port)), asyncio.create_task(clock.run())]
    try:
        await asyncio.wait_for(published.connected(), 10)
        yield head_end
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_batch_says_start_of_interval_and_exact_kwh_and_our_decoder_reads_it() -> None:
    payload = encode_batch("SIM:7", 3, [(MONDAY, 5), (MONDAY + HALF_HOUR, 12_345)])

    message = decode(PROFILES["sim-concentrator"], TOPIC, payload)

    assert json.loads(payload) == {
        "meter": "SIM:7",
        "batch": 3,
        "rows": [{"t": "2026-03-02T00:00:00Z", "kwh": "0.005"}, {"t": "2026-03-02T00:30:00Z", "kwh": "12.345"}],
    }
    assert message.meter_name == "SIM:7"
    assert (message.facts[0].start, message.facts[0].counts) == (MONDAY, (5, 12_345))


@needs_mosquitto
async def test_batches_are_published_when_due_and_kept_until_the_head_end_has_stored_them(tmp_path: Path) -> None:
    clock = WorldClock(MONDAY, 1.0, time.monotonic)
    published = concentrator(clock)

    async with mosquitto(tmp_path) as broker, working(broker, published, clock) as head_end:
        await clock.skip_to(FIRST_DUE - 1)
        assert head_end.heard == []
        head_end.is_storing = False
        await clock.skip_to(FIRST_DUE)
        await head_end.wait_for(1)
        assert list(published.unacknowledged) == [(TOPIC, 1)]
        head_end.is_storing = True
        await clock.skip_to(FIRST_DUE + BATCH)
        await head_end.wait_for(2)
        async with asyncio.timeout(10):
            while (TOPIC, 2) in published.unacknowledged:  # noqa: ASYNC110  # it tells only when all are
                await asyncio.sleep(0.01)

    assert [json.loads(payload)["rows"] for _, payload in head_end.heard] == [
        [{"t": "2026-03-02T00:00:00Z", "kwh": "0.100"}, {"t": "2026-03-02T00:30:00Z", "kwh": "0.000"}],
        [{"t": "2026-03-02T01:00:00Z", "kwh": "0.360"}],
    ]
    assert list(published.unacknowledged) == [(TOPIC, 1)]


@needs_mosquitto
async def test_what_is_not_acknowledged_is_published_again_from_time_to_time(tmp_path: Path) -> None:
    clock = WorldClock(MONDAY, 200.0, time.monotonic)
    published = concentrator(clock)

    async with mosquitto(tmp_path) as broker, working(broker, published, clock) as head_end:
        head_end.is_storing = False
        await clock.skip_to(FIRST_DUE)
        await head_end.wait_for(2)
        head_end.is_storing = True
        await asyncio.wait_for(published.settled(), 10)

    assert set(head_end.batches[:2]) == {1}
    assert published.unacknowledged == {}


@needs_mosquitto
async def test_a_killed_broker_loses_nothing(tmp_path: Path) -> None:
    clock = WorldClock(MONDAY, 200.0, time.monotonic)
    published = concentrator(clock)

    async with mosquitto(tmp_path) as broker, working(broker, published, clock) as head_end:
        for number in range(10):
            if number % 3 == 1:
                await broker.kill()
            await clock.skip_to(FIRST_DUE + number * BATCH)
            if number % 3 == 2:
                await broker.start()
        await asyncio.wait_for(published.settled(), 30)

    assert set(head_end.batches) == set(range(1, 11))


@needs_mosquitto
async def test_dead_meters_missing_rows_and_one_malformed_payload_are_as_declared(tmp_path: Path) -> None:
    clock = WorldClock(MONDAY, 1.0, time.monotonic)
    holed = meter(name="SIM:8", faults=(MissingRows(MONDAY, MONDAY + HALF_HOUR),))
    places = [Position("", (meter(faults=(Dead(),)),)), Position("", (holed,))]
    published = concentrator(clock, *places, malformed=MalformedPayload(MONDAY))

    async with mosquitto(tmp_path) as broker, working(broker, published, clock) as head_end:
        await clock.skip_to(FIRST_DUE + BATCH)
        await head_end.wait_for(3)

    assert [payload for _, payload in head_end.heard].count(MALFORMED) == 1
    first = next(json.loads(payload) for _, payload in head_end.heard if payload != MALFORMED)
    assert first["meter"] == "SIM:8"
    assert first["rows"] == [{"t": "2026-03-02T00:30:00Z", "kwh": "0.000"}]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"batch": 4, "stored": true}', (4, True)),
        (b'{"batch": 4, "stored": 0}', (4, True)),
        (b'{"batch": 4, "stored": false}', (4, False)),
    ],
)
def test_an_acknowledgement_says_whether_a_batch_is_stored(payload: Any, expected: object) -> None:
    assert decode_acknowledgement(payload) == expected


@pytest.mark.parametrize(
    "payload",
    [b"", b"stored", b"[4]", b'{"batch": true, "stored": true}', b'{"batch": 4}', b"[" * 60_000, b" " * 70_000, None],
)
def test_what_is_no_acknowledgement_is_refused(payload: Any) -> None:
    with pytest.raises(ValueError):
        decode_acknowledgement(payload)
