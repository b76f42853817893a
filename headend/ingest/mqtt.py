"""Takes what concentrators publish over MQTT and hands it on, once it is decoded, to be stored.

The broker's acknowledgement (QoS 1) is sent when a message reaches this process, which is before it is stored; a process
killed in between would lose it. So two things make sure that nothing is lost and nothing doubled: storing is idempotent
(the sink's business), and a sender keeps each message until our own receipt says it is stored. The receipt for a message
on topic T is published on ``headend/ack/T``, QoS 1, after the sink has returned::

    {"batch": 17, "stored": true}
    {"batch": 18, "stored": true, "set_aside": "rows.3.kwh: 'abc' is not a number"}

``batch`` is the value of the message's own top-level field ``batch`` (whole number or text), else null. A message set
aside is kept too, with its reason, so its sender may forget it; one whose ``batch`` cannot even be read gets no receipt.
"""

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

import aiomqtt
import structlog

from drivers.errors import ProfileError
from drivers.profile import MeterProfile
from drivers.push import PayloadError, PushMessage, decode, match_topic, subscription
from drivers.push.decode import Batch, batch_of
from headend.errors import RegistryError, SettingsError
from headend.settings import MqttSettings

RECEIPT_PREFIX: Final = "headend/ack/"
FIRST_PAUSE: Final = 0.25  # [s] before connecting again, doubled each time
LONGEST_PAUSE: Final = 30.0  # [s]
BROKER_TIMEOUT: Final = 10.0  # [s] for one exchange with the broker
MAX_IN_FLIGHT: Final = 8  # messages being stored at once: they share one commit
MAX_QUEUED: Final = 1_000  # beyond it messages are dropped unread, and come again for want of a receipt
MAX_KEPT: Final = 1_048_576  # of a payload set aside [byte]
MAX_REASON: Final = 500

Sink = Callable[[PushMessage], Awaitable[None]]
SetAside = Callable[[str, bytes, str], Awaitable[None]]

log = structlog.get_logger(__name__)


class OtherProfile(RegistryError):
    """The meter of a message is registered with another profile than the one that read it."""


async def ingest(
    settings: MqttSettings,
    routes: Sequence[MeterProfile],
    sink: Sink,
    set_aside: SetAside,
    stop: asyncio.Event,
    *,
    password: str = "",
    jitter: Callable[[], float] = random.random,
) -> None:
    """Receive until ``stop`` is set, connecting again whenever the broker is lost.

    ``settings.client_id`` names the persistent session at the broker: two processes must not share it.
    ``routes``: profiles with a payload map. Of those whose topic fits a message, the one that its meter is registered with
    decodes it: ``sink`` raises `OtherProfile` for another. ``sink`` returns once the message is durably stored, storing it
    twice being the same as once; it may raise `PayloadError` or `RegistryError` for a message that cannot be stored, which
    is then set aside as ``(topic, payload, reason)`` like a malformed one. Any
    other error of either ends ingestion and is raised here. ``password`` goes with ``settings.username``.
    ``jitter``: random, 0 to 1. Raises `SettingsError` for a bad URL, `ProfileError` for a route without payload map.
    """
    if not routes:
        raise SettingsError(["mqtt.url: set, but no profile says how to read a pushed message; add one or clear it"])
    for profile in routes:
        if profile.push is None:
            raise ProfileError(profile.name, ["push: the table is missing"])
    ingester = _Ingester(routes, sink, set_aside)
    pause = FIRST_PAUSE
    is_out = False
    while not stop.is_set():
        try:
            async with _connected(_client(settings, password)) as client:
                await ingester.subscribe(client)
                _notice_cancellation()
                log.info("broker connected", url=settings.url, after_outage=is_out)
                pause, is_out = FIRST_PAUSE, False
                await ingester.serve(client, stop)
        except aiomqtt.MqttError as error:
            if not is_out:
                log.warning("broker lost, connecting again", url=settings.url, reason=str(error))
            is_out = True
        _notice_cancellation()
        await _sleep_unless(stop, pause * (0.5 + jitter()))
        pause = min(2 * pause, LONGEST_PAUSE)


class _Ingester:
    def __init__(self, routes: Sequence[MeterProfile], sink: Sink, set_aside: SetAside) -> None:
        self._routes = [(profile, profile.push.topic) for profile in routes if profile.push is not None]
        self._sink = sink
        self._set_aside = set_aside

    async def subscribe(self, client: aiomqtt.Client) -> None:
        """Ask for every topic a route reads. Raises `MqttError`."""
        for topic_filter in dict.fromkeys(subscription(topic) for _, topic in self._routes):
            await client.subscribe(topic_filter, qos=1)

    async def serve(self, client: aiomqtt.Client, stop: asyncio.Event) -> None:
        """Handle messages until stopped or disconnected; those begun are finished. Raises `MqttError` and what the sink raises."""
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(client, group))
                stopping = group.create_task(stop.wait())
                await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
                reading.cancel()
                stopping.cancel()
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        if not reading.cancelled():
            raise reading.result()

    async def _read(self, client: aiomqtt.Client, group: asyncio.TaskGroup) -> aiomqtt.MqttError:
        """Start handling each message; return how the connection ended, so that what is begun may finish."""
        free = asyncio.Semaphore(MAX_IN_FLIGHT)
        try:
            async for message in client.messages:
                await free.acquire()
                handling = group.create_task(self._handle(client, message))
                handling.add_done_callback(lambda _: free.release())
        except aiomqtt.MqttError as error:
            return error
        return aiomqtt.MqttError("the broker's messages ended")

    async def _handle(self, client: aiomqtt.Client, message: aiomqtt.Message) -> None:
        topic = str(message.topic)
        if topic.startswith(RECEIPT_PREFIX):
            return  # our own words, delivered by a route with a name in its first level
        payload = message.payload if isinstance(message.payload, bytes) else b""
        try:
            decoded = await self._routed(topic, payload)
        except (PayloadError, RegistryError) as error:
            reason = str(error)[:MAX_REASON]
            await self._set_aside(topic, payload[:MAX_KEPT], reason)
            log.warning("message set aside", topic=topic, reason=reason)
            if (batch := batch_of(payload)) is not None:
                await self._receipt(client, topic, batch, reason)
        else:
            await self._receipt(client, topic, decoded.batch)

    async def _routed(self, topic: str, payload: bytes) -> PushMessage:
        """Store a message as the one profile reads it that fits topic and meter. Raises `PayloadError`, `RegistryError`."""
        routes = [profile for profile, pattern in self._routes if match_topic(pattern, topic) is not None]
        reason: PayloadError | RegistryError | None = None
        for profile in routes:
            try:
                decoded = decode(profile, topic, payload)
                await self._sink(decoded)
            except OtherProfile as error:
                reason = reason or error
            except (PayloadError, RegistryError) as error:
                if len(routes) == 1:
                    raise
                reason = type(error)(f"{profile.name}: {error}")
            else:
                return decoded
        raise reason or PayloadError("no profile's topic has this form")

    async def _receipt(self, client: aiomqtt.Client, topic: str, batch: Batch | None, reason: str = "") -> None:
        """Tell the sender that it may forget a message. Where the broker is gone the sender will send it again."""
        receipt = {"batch": batch, "stored": True} | ({"set_aside": reason} if reason else {})
        try:
            await client.publish(RECEIPT_PREFIX + topic, json.dumps(receipt), qos=1)
        except aiomqtt.MqttError as error:
            log.info("receipt not sent; the message will come again", topic=topic, reason=str(error))


def _notice_cancellation() -> None:
    """Raise `CancelledError` if it was asked for: `asyncio.wait_for` of Python 3.11, by which aiomqtt waits, may swallow it."""
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError


@asynccontextmanager
async def _connected(client: aiomqtt.Client) -> AsyncIterator[aiomqtt.Client]:
    """Connect for the length of a block. Raises `MqttError`.

    Cancelled while it connects, aiomqtt leaves an open socket and a task behind; so connecting is finished first, which
    its own timeouts bound, and then left in order.
    """
    entering = asyncio.ensure_future(client.__aenter__())
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        with suppress(aiomqtt.MqttError):
            await entering
            await client.__aexit__(None, None, None)
        raise
    async with AsyncExitStack() as stack:
        stack.push_async_exit(client.__aexit__)
        yield client


def _client(settings: MqttSettings, password: str) -> aiomqtt.Client:
    host, port, is_tls = _parse(settings.url)
    return aiomqtt.Client(
        host,
        port,
        identifier=settings.client_id,
        clean_session=False,
        username=settings.username or None,
        password=password or None,
        timeout=BROKER_TIMEOUT,
        max_queued_incoming_messages=MAX_QUEUED,
        tls_context=ssl.create_default_context() if is_tls else None,
    )


def _parse(url: str) -> tuple[str, int, bool]:
    """Take a broker's URL apart: host, port, TLS."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError([f"mqtt.url: {url!r}: {error}"]) from error
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or parts.username or parts.path not in {"", "/"}:
        raise SettingsError([f"mqtt.url: {url!r} must look like mqtt://host:1883 or mqtts://host:8883"])
    is_tls = parts.scheme == "mqtts"
    return parts.hostname, port or (8883 if is_tls else 1883), is_tls


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
