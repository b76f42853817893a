"""An MQTT broker for the demonstration: Mosquitto where installed, else the pure-Python amqtt (extra ``demo``)."""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from headend.errors import HeadendError

START_LIMIT = 15.0  # [s]; amqtt takes about 2 s to import on a small gateway

_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {directory}/
autosave_interval 1
log_dest file {directory}/mosquitto.log
"""

_AMQTT = """\
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker on loopback."""

    name: str
    port: int

    @property
    def url(self) -> str:
        """Where it listens, as settings take it."""
        return f"mqtt://127.0.0.1:{self.port}"


def free_port() -> int:
    """Find a loopback TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _command(directory: Path, port: int) -> tuple[str, list[str]]:
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    if mosquitto := shutil.which("mosquitto", path=search):
        config = directory / "mosquitto.conf"
        config.write_text(_MOSQUITTO.format(port=port, directory=directory))
        # Mosquitto drops root for its own user, who could not write here: keep the user it was started by.
        if os.geteuid() == 0:
            config.write_text(config.read_text() + "user root\n")
        return "Mosquitto", [mosquitto, "-c", str(config)]
    if find_spec("amqtt") is not None:
        config = directory / "amqtt.yaml"
        config.write_text(_AMQTT.format(port=port))
        return "amqtt", [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(config)]
    raise HeadendError(
        "the demonstration needs an MQTT broker: install Mosquitto (apt install mosquitto) or the extra: pip install 'headend[demo]'"
    )


@asynccontextmanager
async def running_broker(directory: Path) -> AsyncIterator[Broker]:
    """Run a broker on a free loopback port, its files in ``directory`` (which exists), until the block is left. Raises `HeadendError`."""
    port = free_port()
    name, command = _command(directory, port)
    with (directory / "broker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        await _accepts(process, port, directory)
        yield Broker(name, port)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _accepts(process: asyncio.subprocess.Process, port: int, directory: Path) -> None:
    for _ in range(int(START_LIMIT / 0.05)):
        if process.returncode is not None:
            break
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await writer.wait_closed()
        return
    raise HeadendError(f"the MQTT broker did not start; see {directory / 'broker.log'}")
