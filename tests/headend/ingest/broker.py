"""A real Mosquitto on a free loopback port, that can be killed and started again; and a sender that keeps what is not stored."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiomqtt
import pytest

from headend.ingest.mqtt import RECEIPT_PREFIX

WAIT = 15.0


async def until(condition: Callable[[], bool], seconds: float = WAIT) -> None:
    """Wait for what another task brings about. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of foreign processes set no event
            await asyncio.sleep(0.01)


class Mosquitto:
    """The broker's process. Its persistence is on, as operators run it; what it had not saved yet dies with it."""

    def __init__(self, folder: Path) -> None:
        self._program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if self._program is None:
            pytest.skip("no MQTT broker to test against: apt-get install mosquitto")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {folder}/",
        ]
        lines += ["autosave_interval 1", "user root"] if os.geteuid() == 0 else ["autosave_interval 1"]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert self._program is not None
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + WAIT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, "mosquitto ended at once"
                assert time.monotonic() < deadline, "mosquitto does not listen"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT)
            self._process = None


@contextmanager
def running(folder: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


class Sender:
    """Publishes messages until each has its receipt, over whatever happens to the broker."""

    def __init__(self, broker: Mosquitto, repeat_after: float = 0.5) -> None:
        self._broker = broker
        self._repeat_after = repeat_after
        self.waiting: dict[tuple[str, object], bytes] = {}
        self.receipts: list[tuple[str, dict[str, object]]] = []
        self.published = 0

    def keep(self, topic: str, batch: object, payload: bytes) -> None:
        self.waiting[topic, batch] = payload

    async def run(self) -> None:
        """Until every message has its receipt."""
        while self.waiting:
            try:
                async with self.connected() as client:
                    listening = asyncio.create_task(self._listen(client))
                    try:
                        await self._publish(client)
                    finally:
                        listening.cancel()
                        await asyncio.gather(listening, return_exceptions=True)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[aiomqtt.Client]:
        async with aiomqtt.Client("127.0.0.1", self._broker.port, identifier="sender", timeout=2) as client:
            await client.subscribe(RECEIPT_PREFIX + "#", qos=1)
            yield client

    async def _publish(self, client: aiomqtt.Client) -> None:
        while self.waiting:
            for (topic, _), payload in list(self.waiting.items()):
                await client.publish(topic, payload, qos=1)
                self.published += 1
            with contextlib.suppress(TimeoutError):
                await until(lambda: not self.waiting, self._repeat_after)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            topic = str(message.topic).removeprefix(RECEIPT_PREFIX)
            assert isinstance(message.payload, bytes)
            receipt = json.loads(message.payload)
            self.receipts.append((topic, receipt))
            if receipt["stored"] is True:
                self.waiting.pop((topic, receipt["batch"]), None)
