"""Bytes of a line tunneled over an MQTT broker: what we send is published on one topic, what comes is published on another.

One message is any number of bytes; where messages are cut means nothing. Quality of service is 0 on purpose: a message lost
shows as a timeout and is asked for again by the driver, one delivered twice would be a byte sequence nobody sent.
Retained messages are old answers and are not taken. What this process does not read in time is bounded, and lost beyond.
"""

import asyncio
import ssl
from contextlib import AsyncExitStack

import aiomqtt

from drivers.errors import ConnectionLost, TransportError, TransportTimeout
from drivers.transports.url import MqttUrl

MAX_UNREAD = 1_048_576  # [octet]


class MqttStream:
    """A `ByteStream` between two topics."""

    def __init__(self, client: aiomqtt.Client, stack: AsyncExitStack, url: MqttUrl) -> None:
        self._client = client
        self._stack = stack
        self._url = url
        self._input = bytearray()
        self._arrived = asyncio.Event()
        self._is_lost = False
        self._is_open = True
        self._listening = asyncio.create_task(self._listen(), name=f"tunnel {url}")

    @property
    def bits_per_second(self) -> int | None:
        """Speed of the line at the other end, None where the URL does not say. [bit/s]"""
        return self._url.form.baud if self._url.form else None

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte. [bit]"""
        return self._url.form.bits_per_character if self._url.form else 10

    async def write(self, data: bytes) -> None:
        """Publish ``data``. Raises `ConnectionLost`."""
        self._check()
        try:
            await self._client.publish(self._url.tx, data, qos=0)
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"{self._url}: sending failed: {error}") from error

    async def read(self, timeout: float) -> bytes:
        """Return at least one received byte, waiting at most ``timeout`` [s]. Raises `TransportTimeout`, `ConnectionLost`."""
        try:
            async with asyncio.timeout(timeout):
                await self._arrived.wait()
        except TimeoutError as error:
            raise TransportTimeout(f"{self._url}: nothing arrived within {timeout:.2g} s") from error
        if data := self.discard_input():
            return data
        self._check()
        raise TransportTimeout(f"{self._url}: nothing arrived")

    def discard_input(self) -> bytes:
        """Take what has arrived unread."""
        data = bytes(self._input)
        self._input.clear()
        if self._is_open and not self._is_lost:
            self._arrived.clear()
        return data

    async def close(self) -> None:
        """Disconnect; closing twice is harmless."""
        if not self._is_open:
            return
        self._is_open = False
        self._arrived.set()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        try:
            await self._stack.aclose()
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"{self._url}: the broker was gone: {error}") from error

    def _check(self) -> None:
        if not self._is_open or self._is_lost:
            raise ConnectionLost(f"{self._url}: {'the broker hung up' if self._is_open else 'closed by us'}")

    async def _listen(self) -> None:
        try:
            async for message in self._client.messages:
                if isinstance(message.payload, bytes) and not message.retain:
                    self._input += message.payload[: MAX_UNREAD - len(self._input)]
                    if self._input:
                        self._arrived.set()
        except aiomqtt.MqttError:
            pass
        finally:
            self._is_lost = True
            self._arrived.set()


async def open_mqtt(url: MqttUrl) -> MqttStream:
    """Connect to the broker and listen. Raises `TransportError`."""
    stack = AsyncExitStack()
    try:
        client = await stack.enter_async_context(
            aiomqtt.Client(
                url.host,
                url.port,
                timeout=url.connect_timeout,
                tls_context=ssl.create_default_context() if url.is_secure else None,
            )
        )
        await client.subscribe(url.rx, qos=0)
    except (aiomqtt.MqttError, OSError, ValueError) as error:
        await stack.aclose()
        raise TransportError(f"{url}: {error}") from error
    return MqttStream(client, stack, url)
