"""Retention, forked and killed at random moments, again and again: what policy keeps is there, what is gone is said to be gone.

Run as a process of its own, as `tests.faults.kill_loop`. Prints one JSON object of figures.
Usage: ``python -m tests.faults.retention_loop DIRECTORY KILLS SEED``
"""

import json
import os
import random
import sys
from itertools import count
from pathlib import Path

from headend.registry.model import DAY
from headend.settings import RetentionSettings
from headend.store.retention import Kept
from headend.store.store import Store
from kernels.quality import Reason, State
from tests.faults.kill_loop import LONGEST, OPENED, write_until_killed
from tests.headend.store.builders import FIRST_DAY, IMPORT, NOW, START, block, open_store

DAYS, SLOTS = 400, 48
TERM = 35
POLICY = RetentionSettings(raw_days=TERM, set_aside_days=TERM, change_days=TERM, sink_wait_days=0)


def fill(path: Path) -> None:
    """Make a store of DAYS days of one meter, and as many messages nobody could use; a sink has taken nothing."""
    with open_store(path) as store, store.transaction():
        for day in range(DAYS):
            at = START + day * DAY
            store.record(1, [block(day * SLOTS, range(day, day + SLOTS))], at)
            store.set_aside("topic", bytes([day % 256]) * 3_000 + b"%d" % day, "unreadable", at)
        store.advance_cursor("vee", store.last_seq())
        store.advance_cursor("sink/influx", 1)


def write(path: Path, first: int, told: int) -> None:
    """Let a day pass, drop what that makes too old, a few rows at a time, give back a little room; tell each day that is through."""
    with Store.open(path, lambda: NOW) as store:
        os.write(told, OPENED)
        for day in count(first):
            plan = store.plan_retention(POLICY, START + (day + 1 + TERM) * DAY)
            with store.transaction():
                store.raise_floors(plan)
            os.write(told, (day + 1).to_bytes(4, "big"))
            for what in Kept:
                while (doomed := store.doomed(what, "hour", 2)).keys:
                    with store.transaction():
                        store.drop(doomed)
            with store.transaction():
                store.give_back(1)


def check(path: Path, acknowledged: int, found: dict[str, int]) -> int:
    """Count what is lost or wrong; give the first day that is not through."""
    with Store.open(path, lambda: NOW) as store:
        found["corrupt"] += sum(1 for _ in store.faults())
        floor = max(0, store.floor(Kept.RAW).day - FIRST_DAY)  # none before the first day is through
        found["lost"] += max(0, acknowledged - floor)
        series = store.raw_series(1, IMPORT, START, START + DAYS * DAY)
        kept = series.window(START + floor * DAY, START + DAYS * DAY)
        right = [day + slot for day in range(floor, DAYS) for slot in range(SLOTS)]
        found["lost"] += int((~kept.has_value).sum())
        found["corrupt"] += bool(kept.has_value.all()) and kept.values.tolist() != right
        gone = series.window(START, START + floor * DAY)
        told = gone.has_value | ((gone.state == State.NOT_EXPECTED) & (gone.reason == Reason.DROPPED))
        found["untold"] += int((~told).sum()) + (store.gaps() == [] and floor > 1)
    return floor


def main(directory: Path, kills: int, seed: int) -> dict[str, int]:
    dice = random.Random(seed)
    found = {"kills": 0, "days": 0, "lost": 0, "corrupt": 0, "untold": 0}
    day, path = DAYS, directory
    while found["kills"] < kills:
        if day >= DAYS - TERM - 10:
            day, path = 0, directory / f"{found['kills']}.db"
            fill(path)
        before = day
        seconds = dice.uniform(0, LONGEST)
        acknowledged = write_until_killed(path, day, seconds, is_opening=dice.random() < 0.3, write=write)
        found["kills"] += 1
        day = check(path, acknowledged, found)
        found["days"] += day - before
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
