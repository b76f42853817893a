"""A concentrator: reads the meters behind it and publishes their intervals as JSON over MQTT, QoS 1.

A batch stays in its memory until the head-end itself says that it is stored, on ``headend/ack/<topic>``; the broker's acknowledgement
is not enough. Batches without that word are published again after each reconnection, and from time to time.
"""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import aiomqtt

from simulators.clock import WorldClock
from simulators.faults import MalformedPayload
from simulators.meter import Position

log = logging.getLogger(__name__)

ACKNOWLEDGEMENT_PREFIX = "headend/ack/"
MAX_ACKNOWLEDGEMENT_BYTES = 64 * 1024
PUBLISH_DELAY = 5  # [s] after the end of the last interval of a batch
BROKER_TIMEOUT = 10.0  # [s] of real time: the broker is real
FIRST_PAUSE = 0.1  # [s]
LONGEST_PAUSE = 5.0  # [s]
MALFORMED = b'{"meter": "?", "rows": ['


@dataclass(frozen=True, slots=True)
class Batch:
    """Intervals of one meter under a running number, as published."""

    topic: str
    number: int
    payload: bytes


def encode_batch(meter: str, number: int, rows: Sequence[tuple[int, int]]) -> bytes:
    """Write a batch: ``rows`` are (start of interval [s UTC], energy [Wh]); kWh go out as exact decimal text."""
    return json.dumps(
        {
            "meter": meter,
            "batch": number,
            "rows": [
                {
                    "t": datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "kwh": f"{wh // 1000}.{wh % 1000:03d}",
                }
                for start, wh in rows
            ],
        },
        separators=(",", ":"),
    ).encode()


class Concentrator:
    """One concentrator with its meters; each batch holds ``batch_period`` [s] of one meter's intervals.

    ``made``: batches so far.  ``published``: messages sent, those that came again included.
    """

    def __init__(
        self,
        name: str,
        positions: Sequence[Position],
        clock: WorldClock,
        *,
        start: int,
        batch_period: int = 7200,
        repeat_after: float = 3600.0,
        malformed: MalformedPayload | None = None,
        randomness: random.Random,
    ) -> None:
        """Schedule the first batch ``batch_period`` after ``start`` [s UTC]. ``repeat_after``: running world seconds. [s]"""
        self.name = name
        self.unacknowledged: dict[tuple[str, int], Batch] = {}
        self.published = 0
        self._positions = positions
        self._clock = clock
        self._period = batch_period
        self._repeat_after = repeat_after
        self._malformed = malformed
        self._random = randomness
        self.made = 0
        self._client: aiomqtt.Client | None = None
        self._connected = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        clock.schedule(start + batch_period + PUBLISH_DELAY, self._on_due)

    async def connected(self) -> None:
        """Wait until the broker is there and acknowledgements are subscribed to."""
        await self._connected.wait()

    async def settled(self) -> None:
        """Wait until the head-end has acknowledged every batch."""
        await self._settled.wait()

    async def run(self, host: str, port: int) -> None:
        """Keep connected to the broker until cancelled: publish again what was not acknowledged, listen for acknowledgements."""
        pause = FIRST_PAUSE
        while True:
            client = aiomqtt.Client(host, port, identifier=f"concentrator-{self.name}", timeout=BROKER_TIMEOUT)
            try:
                async with client:
                    await client.subscribe(f"{ACKNOWLEDGEMENT_PREFIX}ami/{self.name}/#", qos=1)
                    self._client = client
                    self._connected.set()
                    pause = FIRST_PAUSE
                    await self._serve(client)
            except aiomqtt.MqttError as error:
                log.debug("concentrator %s lost its broker: %s", self.name, error)
            finally:
                self._client = None
                self._connected.clear()
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _serve(self, client: aiomqtt.Client) -> None:
        repeating = asyncio.create_task(self._repeat(client))
        try:
            async for message in client.messages:
                self._on_acknowledgement(str(message.topic), message.payload)
        finally:
            repeating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await repeating

    async def _repeat(self, client: aiomqtt.Client) -> None:
        while True:
            try:
                for batch in list(self.unacknowledged.values()):
                    await self._publish(client, batch)
            except aiomqtt.MqttError as error:
                log.debug("concentrator %s could not publish again: %s", self.name, error)
            await self._clock.sleep(self._repeat_after)

    async def _publish(self, client: aiomqtt.Client, batch: Batch) -> None:
        await client.publish(batch.topic, batch.payload, qos=1)
        self.published += 1

    async def _on_due(self, due: int) -> None:
        self._clock.schedule(due + self._period, self._on_due)
        fresh = self._collect(due)
        self.unacknowledged.update({(batch.topic, batch.number): batch for batch in fresh})
        if fresh:
            self._settled.clear()
        if (client := self._client) is None:
            return  # they wait for the reconnection
        try:
            if self._malformed is not None and due >= self._malformed.at:
                await client.publish(self._topic("unknown"), MALFORMED, qos=1)
                self._malformed = None
            for batch in fresh:
                await self._publish(client, batch)
        except aiomqtt.MqttError as error:
            log.debug("concentrator %s could not publish: %s", self.name, error)

    def _collect(self, due: int) -> list[Batch]:
        end = due - PUBLISH_DELAY
        batches = []
        for position in self._positions:
            meter = position.at(due)
            period = meter.household.period
            if meter.is_silent(due):
                continue
            starts = range(end - self._period, end, period)
            rows = [(start, wh) for start in starts if (wh := meter.row(start)) is not None]
            self.made += 1
            batches.append(Batch(self._topic(meter.name), self.made, encode_batch(meter.name, self.made, rows)))
        return batches

    def _topic(self, meter: str) -> str:
        return f"ami/{self.name}/{meter}/intervals"

    def _on_acknowledgement(self, topic: str, payload: object) -> None:
        """Forget a batch that the head-end has stored. What is no acknowledgement of ours is logged and left."""
        try:
            number, is_stored = decode_acknowledgement(payload)
        except ValueError as error:
            log.warning("concentrator %s, acknowledgement on %s: %s", self.name, topic[:200], error)
            return
        if is_stored:
            self.unacknowledged.pop((topic.removeprefix(ACKNOWLEDGEMENT_PREFIX), number), None)
            if not self.unacknowledged:
                self._settled.set()


def decode_acknowledgement(payload: object) -> tuple[int, bool]:
    """Read a head-end's word on a batch: its number, and whether it is stored. Raises `ValueError`."""
    if not isinstance(payload, bytes) or len(payload) > MAX_ACKNOWLEDGEMENT_BYTES:
        raise ValueError(f"not bytes, or more than {MAX_ACKNOWLEDGEMENT_BYTES} of them")
    try:
        said = json.loads(payload)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(said, dict) or type(said.get("batch")) is not int or "stored" not in said:
        raise ValueError("needs a whole number `batch` and `stored`")
    return said["batch"], said["stored"] is not None and said["stored"] is not False
