"""`headend run` on a small device that fills up: how soon it says so, what goes on meanwhile, and that it goes on by itself.

Run by root within a mount namespace of its own: ``unshare -m python -m tests.faults.full_device DIRECTORY``. A simulated meter is
polled every five seconds, in real time. Then, where strace may trace, each sync of the device takes long; and where files can be
devices, one stops answering. Prints what was seen as one JSON object.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from tests.faults.syscalls import why_not
from tests.shared import REPOSITORY

PERIOD = 5
PROFILE = f"""inherits = "sim-modbus-rtu"
source = "tests of this project"
maker = "SIM"
model = "Modbus meter, polled every five seconds"
status = "simulator"
registers = ["active_energy_import"]

[[channels]]
obis = "active_energy_import_interval"
period = {PERIOD}
unit = "Wh"
scaler = 0
origin = "register"
lower = 0
upper = 34500
dials = 8
boundary_tolerance = 1

[modbus]
framing = "tcp"
"""
SETTINGS = "[store]\nreserve_mib = 4\n[collect]\nregister_delay = 0\n"
DELAY = 20
"""How long a slow device takes to sync. [s]"""
SILENCES = 5
"""How often a device stops answering."""
PATIENCE = 60.0
"""Longest that anything is waited for. [s]"""


class Log:
    """What a process writes, line by line, each with when it came."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, word: str, after: int = 0) -> int:
        """Give the offset behind a word, -1 where it is not there yet."""
        at = self._path.read_text().find(word, after)
        return -1 if at < 0 else at + len(word)


def wait_for(what: Callable[[], object]) -> float:
    """Wait until something holds, and give how long that took. [s]"""
    begun = time.monotonic()
    while not what():
        if time.monotonic() - begun > PATIENCE:
            raise SystemExit(f"waited {PATIENCE:.0f} s in vain")
        time.sleep(0.05)
    return time.monotonic() - begun


@contextmanager
def running(log: Path, *command: str) -> Iterator[int]:
    """Run a program beside until the end; gives its process."""
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-u", "-m", *command], cwd=REPOSITORY, stdout=file, stderr=file)
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(PATIENCE)


def headend(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of headend on the store."""
    return subprocess.run(
        [sys.executable, "-m", *words(directory, *arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def words(directory: Path, *arguments: str) -> list[str]:
    return [
        "headend.cli", "--config", str(directory / "headend.toml"), "--profiles", str(directory / "profiles"), "--data",
        str(directory / "data"), *arguments,
    ]  # fmt: skip


def readings(store: Path) -> int:
    """Count the register readings that are stored."""
    with StoreReader.open(store) as reader:
        return int(reader._rows("SELECT count(*) FROM register")[0][0])


def outage(directory: Path, log: Log, begin: Callable[[], object], end: Callable[[], object]) -> dict[str, object]:
    """Let the device fail and be well again; say what was seen."""
    store = directory / "data" / "headend.db"
    known = (directory / "run.log").stat().st_size
    begin()
    seen: dict[str, object] = {"said_after_s": wait_for(lambda: log.find("health: degraded", known) >= 0)}
    before = readings(store)
    time.sleep(2.5 * PERIOD)
    seen["polled"] = readings(store) - before
    seen["read_meanwhile"] = headend(directory, "status").returncode
    stats = json.loads(headend(directory, "store", "stats", "-o", "json").stdout)
    seen["condition"], seen["why"] = stats["condition"], stats["why"]
    end()
    wait_for(lambda: log.find("health: ok", known) >= 0)
    seen["polls_again_after_s"] = wait_for(lambda: readings(store) > before)
    return seen


def silence(directory: Path, log: Log, device: "Hanging") -> dict[str, object]:
    """Let the device answer nothing, then answer again; say what was seen. Whoever opens the store meanwhile may wait for the device too."""
    before, known = readings(directory / "data" / "headend.db"), (directory / "run.log").stat().st_size
    device.begin()
    try:
        said = wait_for(lambda: log.find("health: degraded", known) >= 0)
    finally:
        device.end()
    wait_for(lambda: log.find("health: ok", known) >= 0)
    return {
        "said_after_s": said,
        "polls_again_after_s": wait_for(lambda: readings(directory / "data" / "headend.db") > before),
    }


async def _audit(store: Store) -> int:
    writer = GroupCommitWriter(store, condition=lambda: "no room but the reserve")
    number = await writer.from_reserve.submit(lambda store: store.audit("anna", "disconnect", "SIM:1001"))
    await writer.close()
    return number


def main(directory: Path) -> dict[str, object]:
    data = directory / "data"
    data.mkdir()
    hanging = Hanging(directory, data)
    if not hanging.mount():
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(data)], check=True)
    (directory / "profiles").mkdir()
    (directory / "profiles" / "fast.toml").write_text(PROFILE)
    (directory / "headend.toml").write_text(SETTINGS)
    ballast, log = data / "ballast", Log(directory / "run.log")
    seen: dict[str, object] = {}
    with ExitStack() as stack:
        simulator = directory / "simulator.log"
        stack.enter_context(running(simulator, "simulators.main", "modbus", "--tcp", "0", "--meters", "1"))
        wait_for(lambda: b"127.0.0.1:" in simulator.read_bytes())
        port = simulator.read_text().partition("127.0.0.1:")[2].partition(",")[0]
        (directory / "meters.csv").write_text(
            "usage_point,meter,profile,link,address,from,to,zone\n"
            f"UP1,SIM:1001,fast,tcp://127.0.0.1:{port},1,{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ},,UTC\n"
        )
        imported = headend(directory, "meter", "import", str(directory / "meters.csv"))
        if imported.returncode:
            raise SystemExit(imported.stderr)
        store = data / "headend.db"
        with running(directory / "run.log", *words(directory, "run")) as process:
            wait_for(lambda: readings(store) > 1)
            room = os.statvfs(data).f_bavail * os.statvfs(data).f_frsize
            seen["full"] = outage(directory, log, lambda: ballast.write_bytes(bytes(room - 2 * 2**20)), ballast.unlink)
            if not why_not():
                slow = Slow(process)
                seen["slow"] = outage(directory, log, slow.begin, slow.end)
            if hanging.is_mounted:
                seen["hanging"] = [silence(directory, log, hanging) for _ in range(SILENCES)]
        ballast.write_bytes(bytes(room - 2 * 2**20))
        with Store.open(store, lambda: 0) as alone:
            seen["audited_from_reserve"] = asyncio.run(_audit(alone)) > 0
            seen["faults"] = list(alone.faults())
    subprocess.run(["umount", str(data)], check=False)
    hanging.unmount()
    return seen


class Slow:
    """Makes each sync of a process take long."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._strace: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """From now on."""
        self._strace = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:delay_enter={DELAY}s",
             "-p", str(self._process)],
        )  # fmt: skip

    def end(self) -> None:
        """Not any more."""
        if self._strace is not None:
            self._strace.terminate()
            self._strace.wait(PATIENCE)


class Hanging:
    """A device that is a file on a file system that can be frozen: then it answers nothing behind the first write."""

    def __init__(self, directory: Path, data: Path) -> None:
        self.is_mounted = False
        self._below = directory / "below"
        self._data = data
        self._writing: subprocess.Popen[bytes] | None = None

    def mount(self) -> bool:
        """Mount it where the store will be; False where that cannot be here."""
        self._below.mkdir()
        below = self._below.with_suffix(".image")
        if self._made(below, 64, self._below):
            self.is_mounted = self._made(self._below / "device.image", 32, self._data)
        return self.is_mounted

    def unmount(self) -> None:
        """Leave nothing mounted."""
        subprocess.run(["umount", str(self._below)], check=False, capture_output=True)

    def begin(self) -> None:
        """Answer nothing from now on."""
        subprocess.run(["fsfreeze", "--freeze", str(self._below)], check=True)
        self._writing = subprocess.Popen(
            ["dd", "if=/dev/zero", f"of={self._data / 'first'}", "bs=4k", "count=1", "oflag=direct", "status=none"]
        )

    def end(self) -> None:
        """Answer again."""
        subprocess.run(["fsfreeze", "--unfreeze", str(self._below)], check=False, capture_output=True)
        if self._writing is not None:
            self._writing.wait(PATIENCE)

    @staticmethod
    def _made(image: Path, mebibytes: int, at: Path) -> bool:
        with image.open("wb") as file:
            file.truncate(mebibytes * 2**20)
        commands = ["mkfs.ext4", "-q", "-F", str(image)], ["mount", "-o", "loop", str(image), str(at)]
        try:
            return all(subprocess.run(words, check=False, capture_output=True).returncode == 0 for words in commands)
        except FileNotFoundError:
            return False


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
