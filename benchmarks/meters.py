"""Thousands of simulated DLMS meters in one process: what each costs while it is idle, and how many reads a second they answer.

``make bench-meters``. A child process runs ``headend-simulate dlms``; here as many clients, each with a connection of its own to its
own meter, associate and then read a register again and again. Answers are checked. CPU time is the child's alone.
"""

import asyncio
import json
import os
import re
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from drivers.dlms.association import ClientAssociation
from drivers.dlms.ciphering import Keys
from drivers.dlms.commands import Accepted, Associate, Command, Get, Prove, Received
from drivers.dlms.descriptor import Attribute
from drivers.dlms.events import NEED_DATA, Apdu
from drivers.dlms.parameters import Parameters
from drivers.dlms.wrapper import WrapperLink
from drivers.obis import resolve
from drivers.profile import Authentication

METERS = int(os.environ.get("METERS", "5000"))
ROUNDS = 3
CLIENT = 16
TITLE = bytes.fromhex("4845440000000001")
KEYS = Keys(bytes(range(16)), bytes(range(16, 32)))
ENERGY = Attribute(3, resolve("active_energy_import"), 2)
TICKS = os.sysconf("SC_CLK_TCK")
OPENED_AT_ONCE = 200


class Client:
    """One connection to one meter."""

    def __init__(self, number: int, authentication: Authentication) -> None:
        keys = KEYS if authentication == "hls5" else None
        self.number = number
        self.link = WrapperLink(CLIENT, number)
        parameters = Parameters(
            authentication=authentication,
            keys=keys,
            client_title=TITLE if keys else b"",
            challenge=number.to_bytes(16, "big") if keys else b"",
        )
        self.association = ClientAssociation(parameters)
        if self.association.channel is not None:
            self.association.channel.supply(range(1, 1000))

    async def open(self, port: int) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        event = await self.ask(Associate())
        if not isinstance(event, Accepted):
            event = await self.ask(Prove())
        assert isinstance(event, Accepted), event

    async def ask(self, command: Command) -> object:
        self.writer.write(self.link.send(Apdu(self.association.send(command))))
        while (event := self.link.next_event()) is NEED_DATA:
            self.link.receive_data(await self.reader.read(4096))
        assert isinstance(event, Apdu), event
        self.association.receive_data(event.octets)
        return self.association.next_event()

    async def read(self) -> int:
        event = await self.ask(Get(ENERGY))
        assert isinstance(event, Received), event
        return int(event.data.integer())


def resident(pid: int) -> float:
    """Memory of a process that is really there. [MB]"""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def cpu(pid: int) -> float:
    """CPU time of a process so far. [s]"""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def measure(authentication: Authentication, more: Sequence[str]) -> dict[str, float]:
    """Run the simulator, connect, read, and say what it took."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.main", "dlms", "--meters", str(METERS), "--authentication", authentication,
        *more, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        match = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert match is not None, line
        port, before = int(match[1]), resident(process.pid)
        clients = [Client(number, authentication) for number in range(1, METERS + 1)]
        for at in range(0, METERS, OPENED_AT_ONCE):
            await asyncio.gather(*(client.open(port) for client in clients[at : at + OPENED_AT_ONCE]))
        idle = resident(process.pid)
        used, begun = cpu(process.pid), time.monotonic()
        for _ in range(ROUNDS):
            values = await asyncio.gather(*(client.read() for client in clients))
            assert min(values) > 0
        reads, elapsed = ROUNDS * METERS, time.monotonic() - begun
        used = cpu(process.pid) - used
        for client in clients:
            client.writer.close()
        return {
            "memory_without_clients_mb": round(before, 1),
            "memory_with_clients_mb": round(idle, 1),
            "kb_per_meter": round((idle - before) * 1024 / METERS, 1),
            "reads_per_second": round(reads / elapsed),
            "reads_per_cpu_second": round(reads / used),
        }
    finally:
        process.terminate()
        await process.wait()


async def main() -> None:
    """Measure both without and with ciphering."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < METERS + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(METERS + 100, hard), hard))
    figures: dict[str, object] = {"meters": METERS}
    with TemporaryDirectory() as directory:
        keys = Path(directory) / "keys"
        keys.write_text(f"{KEYS.encryption.hex()}\n{KEYS.authentication.hex()}\n")
        cases: dict[Authentication, list[str]] = {"none": [], "hls5": ["--keys-file", str(keys)]}
        for authentication, more in cases.items():
            figures[authentication] = found = await measure(authentication, more)
            for name, value in found.items():
                print(f"{authentication:<6}{name:<28} {value:>12,}")
    print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main())
