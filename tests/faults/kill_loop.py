"""A writer of the store, forked and killed at random moments, again and again; afterwards everything acknowledged must be there.

Run as a process of its own: it forks, and must be single-threaded when it does. Prints one JSON object of figures.
Usage: ``python -m tests.faults.kill_loop DIRECTORY KILLS SEED``
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from headend.store.model import Layer
from headend.store.store import Store
from tests.headend.store.builders import EXPORT, IMPORT, NOW, PERIOD, START, block, open_store

OPENED = b"open"
LONGEST = 0.02
"""Longest that a writer lives. [s]"""
SLOTS_PER_STORE = 2_000
"""A fresh store after so many slots, so that each check stays short."""


def write(path: Path, slot: int, told: int) -> None:
    """Record one slot after the other, two channels in one transaction, until killed; tell each once it is durable."""
    with Store.open(path, lambda: NOW) as store:
        os.write(told, OPENED)
        while True:
            with store.transaction():
                store.record(1, [block(slot, [slot]), block(slot, [slot + 1], EXPORT)], NOW)
            slot += 1
            os.write(told, slot.to_bytes(4, "big"))


def write_until_killed(
    path: Path, slot: int, seconds: float, *, is_opening: bool, write: Callable[[Path, int, int], None] = write
) -> int:
    """Fork a writer, kill it after ``seconds``, and give the first slot it did not acknowledge.

    ``is_opening``: count from the fork, so that the store may be killed while it opens; else from when it is open.
    """
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            write(path, slot, told)
        finally:
            os._exit(1)
    os.close(told)
    received = b"" if is_opening else os.read(heard, len(OPENED))
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise SystemExit("a writer ended by itself")
    while chunk := os.read(heard, 65_536):
        received += chunk
    os.close(heard)
    received = received.removeprefix(OPENED)
    whole = len(received) // 4 * 4
    return int.from_bytes(received[whole - 4 : whole], "big") if whole else slot


def check(path: Path, acknowledged: int, found: dict[str, int]) -> int:
    """Count what is lost, doubled or damaged; give the first slot that is not there."""
    with Store.open(path, lambda: NOW) as store:
        found["corrupt"] += store._connection.pragma("quick_check") != "ok"
        end = START + (acknowledged + 2) * PERIOD
        imported, exported = (store.raw_series(1, code, START, end) for code in (IMPORT, EXPORT))
        present = int(imported.has_value.sum())
        found["lost"] += max(0, acknowledged - present)
        whole = imported.has_value[:present].all() and (imported.has_value == exported.has_value).all()
        right = imported.values[:present].tolist() == list(range(present)) and (
            exported.values[:present].tolist() == list(range(1, present + 1))
        )
        found["corrupt"] += not whole or not right
        changes = sum(change.layer is Layer.RAW for change in store.changes(0, 10**6))
        found["doubled"] += max(0, present - acknowledged - 1) + abs(changes - 2 * present) + len(store.conflicts())
    return present


def main(directory: Path, kills: int, seed: int) -> dict[str, int]:
    dice = random.Random(seed)
    found = {"kills": 0, "lost": 0, "doubled": 0, "corrupt": 0, "slots": 0}
    slot, path = SLOTS_PER_STORE, directory
    while found["kills"] < kills:
        if slot >= SLOTS_PER_STORE:
            slot, path = 0, directory / f"{found['kills']}.db"
            open_store(path).close()
        acknowledged = write_until_killed(path, slot, dice.uniform(0, LONGEST), is_opening=dice.random() < 0.3)
        found["slots"] += acknowledged - slot
        found["kills"] += 1
        slot = check(path, acknowledged, found)
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
