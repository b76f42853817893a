"""Faults at the system calls of one cycle, put there by strace."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from headend.export.write import verify
from headend.store.store import Store
from tests.faults import cycle
from tests.headend.store.builders import FIRST_DAY, IMPORT, NOW, PERIOD, START, open_store
from tests.shared import REPOSITORY

SYNCS = ("fsync", "fdatasync")
WRITES = ("pwrite64", "ftruncate")
CHANGES = (*WRITES, *SYNCS, "rename", "unlink")
_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")


@dataclass(frozen=True, slots=True)
class Point:
    """The ``number``-th ``call`` of a cycle, counted from 1, on ``what``."""

    call: str
    number: int
    what: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a cycle ended. ``code``: exit status, negative for a signal.  ``said``: what it acknowledged."""

    code: int
    said: dict[str, object]
    stderr: str


@cache
def why_not() -> str:
    """Say what keeps strace from working here, empty where it does."""
    if shutil.which("strace") is None:
        return "strace is not installed: apt install strace"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


def prepare(directory: Path) -> None:
    """Put a store with one registered meter there."""
    directory.mkdir()
    open_store(directory / "s.db").close()


def run(directory: Path, *options: str) -> Outcome:
    """Run one cycle under strace."""
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-o", str(directory / "trace"), *options,
         sys.executable, "-m", "tests.faults.cycle", str(directory)],
        cwd=REPOSITORY, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said: dict[str, object] = {}
    for line in done.stdout.splitlines():
        said.update(json.loads(line))
    return Outcome(done.returncode, said, done.stderr)


def points(directory: Path) -> list[Point]:
    """Run one cycle without a fault, and list where it changes anything on the disk."""
    outcome = run(directory, "-e", f"trace={','.join(CHANGES)}")
    assert outcome.code == 0, outcome.stderr
    seen: Counter[str] = Counter()
    found = []
    for line in (directory / "trace").read_text().splitlines():
        if (match := _LINE.match(line)) and match[1] in CHANGES:
            seen[match[1]] += 1
            found.append(Point(match[1], seen[match[1]], match[2].split(",")[0].rstrip(")")))
    return found


def inject(directory: Path, point: Point, fault: str) -> Outcome:
    """Run one cycle with a fault (``error=EIO``, ``signal=KILL``) at a point."""
    return run(directory, "-e", f"trace={point.call}", "-e", f"inject={point.call}:{fault}:when={point.number}")


def judge(directory: Path, outcome: Outcome) -> list[str]:
    """Hold what is there after a fault against what was acknowledged, then go through a whole cycle: list what is wrong."""
    wrong = []
    with Store.open(directory / "s.db", lambda: NOW) as store:
        series = store.raw_series(1, IMPORT, START, START + cycle.SLOTS * PERIOD)
        if "recorded" in outcome.said and series.values.tolist() != list(range(cycle.SLOTS)):
            wrong.append("acknowledged readings are gone")
        if "validated" in outcome.said and len(store.versions(1, IMPORT, FIRST_DAY)) != 1:
            wrong.append("an acknowledged version is gone")
        reserved = outcome.said.get("reserved", 0)
        with store.transaction():
            if store.reserve_counter("ours/key", 1).start < int(str(reserved)):
                wrong.append("counters come twice")
        wrong += store.faults()
    cycle.cycle(directory, lambda *_: None)
    with Store.open(directory / "s.db", lambda: NOW) as store:
        if store.conflicts() or len(store.changes(0)) != 2 or len(store.versions(1, IMPORT, FIRST_DAY)) != 1:
            wrong.append("something was stored twice")
    verified = verify(directory / "out")
    wrong += [str(fault) for fault in verified.faults]
    if "exported" in outcome.said and outcome.said["exported"] not in verified.sequences:
        wrong.append("an acknowledged export is gone")
    return wrong
