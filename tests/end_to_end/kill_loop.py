"""Collect, validate and export in a child that is killed at random moments; afterwards everything acknowledged must be there.

Run as a process of its own: it forks, and must be single-threaded when it does. Prints one JSON object of figures.
Usage: kill_loop.py DIRECTORY KILLS SEED
"""

import asyncio
import json
import os
import random
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from drivers.obis import CATALOGUE
from headend.collect.engine import Engine
from headend.export import write
from headend.profiles import load_profiles
from headend.secrets import Secrets
from headend.settings import CollectSettings
from headend.store.model import Layer
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from headend.validation import Validator
from headend.vee.rules import load_rules
from kernels.quality import State
from simulators.dlms.gateway import NAME_FORMAT, DlmsGateway, DlmsPlace
from simulators.household import Household, bundled
from simulators.meter import Meter, Position
from tests.end_to_end.direct import DRIVERS, ManualClock, register, transports

OBIS = CATALOGUE["active_energy_import_interval"].obis
LINK = "tcp://127.0.0.1:4059"
METERS = 4
START = 1_772_373_600  # 2026-03-01T14:00:00Z, a midnight at UTC+10
STEP = 4 * 3600
DAY = 86_400
PROFILES = load_profiles()
RULES = load_rules("residential")


@dataclass
class Town:
    homes: list[Household] = field(default_factory=lambda: [home.moved_to(START) for home in bundled()[:METERS]])

    def places(self) -> list[DlmsPlace]:
        return [
            DlmsPlace(Position(str(n + 1), (Meter(NAME_FORMAT.format(n + 1), n + 1, home, START, 0),)))
            for n, home in enumerate(self.homes)
        ]


def setup(directory: Path, town: Town) -> None:
    rows = [
        {
            "usage_point": f"DEM{n:07d}", "meter": place.position.meters[0].name, "profile": "sim-dlms-wrapper",
            "link": LINK, "address": place.position.address, "from": "2026-03-01T14:00:00Z", "zone": "UTC+10:00",
        }
        for n, place in enumerate(town.places(), start=1)
    ]  # fmt: skip
    with Store.open(directory / "headend.db", lambda: START) as store:
        register(store, rows)


async def work(directory: Path, town: Town, first: int, told: int) -> None:
    """Go on in steps of four hours until killed; tell through a pipe what has been acknowledged."""
    clock = ManualClock(first)
    gateway = DlmsGateway(town.places(), random.Random(0))
    store = Store.open(directory / "headend.db", clock.now)
    writer = GroupCommitWriter(store)
    validator = Validator(writer, RULES)
    engine = Engine(
        writer, PROFILES, clock, CollectSettings(backfill_days=60), drivers=DRIVERS, secrets=Secrets({}),
        open_transport=transports({LINK: gateway.wrapper_conversation}, clock.now),
    )  # fmt: skip
    while True:
        await engine.run_due()
        tell(told, {"collected": clock.instant})
        await validator.catch_up(clock.now(), with_today=True)
        until = START + (clock.instant - START) // DAY * DAY
        if until > START:
            with StoreReader.open(directory / "headend.db") as reader:
                result = write.export(reader, "nem12", None, None, until - DAY, until, directory / "out", clock.instant)
            tell(told, {"exported": result.sequence})
        clock.instant += STEP


def tell(told: int, words: dict[str, int]) -> None:
    os.write(told, json.dumps(words).encode() + b"\n")


def run_until_killed(directory: Path, town: Town, first: int, seconds: float) -> list[dict[str, int]]:
    """Fork a worker, kill it after ``seconds`` of work, and give what it acknowledged before."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        try:
            asyncio.run(work(directory, town, first, told))
        except BaseException as error:  # noqa: BLE001 - the parent must hear of it
            tell(told, {"failed": 1})
            print(f"worker: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        finally:
            os._exit(1)
    os.close(told)
    deadline = time.monotonic() + seconds
    received = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([heard], [], [], left)[0]:
            chunk = os.read(heard, 65_536)
            if not chunk:
                break
            received += chunk
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while chunk := os.read(heard, 65_536):
        received += chunk
    os.close(heard)
    return [json.loads(line) for line in received.split(b"\n")[:-1]]


def check(directory: Path, town: Town, collected: int, exported: int) -> dict[str, int]:
    """Count what is lost, invented or doubled, and what is wrong with the exports."""
    found = {"lost": 0, "wrong": 0, "doubled": 0, "broken_exports": 0, "slots": 0}
    with StoreReader.open(directory / "headend.db") as reader:
        for device, home in zip(reader.end_devices(), town.homes, strict=True):
            end = START + (collected - START) // 1800 * 1800
            series = reader.raw_series(device.id, OBIS, START, end + DAY)
            truth = [home.interval(at) for at in range(series.start, series.end, 1800)]
            for index, (state, value) in enumerate(zip(series.state.tolist(), series.values.tolist(), strict=True)):
                is_due = series.start + index * 1800 < end
                found["lost"] += is_due and state != State.MEASURED
                found["wrong"] += state == State.MEASURED and value != truth[index]
                found["slots"] += is_due
        validated = [
            (change.entity_id, change.obis, change.day, change.version)
            for change in reader.changes(0, 10**6)
            if change.layer is Layer.VALIDATED
        ]
        found["doubled"] += len(validated) - len(set(validated)) + len(reader.conflicts())
    if (directory / "out").exists():
        verification = write.verify(directory / "out")
        found["broken_exports"] = len(verification.faults)
        found["lost"] += len([number for number in range(1, exported + 1) if number not in verification.sequences])
    return found


def main(directory: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill ``kills`` times; raise nothing, count everything."""
    randomness = random.Random(seed)
    town = Town()
    setup(directory, town)
    collected, exported, done, checked = START, 0, 0, {"lost": 0, "wrong": 0, "doubled": 0, "broken_exports": 0}
    fruitless = 0
    while done < kills:
        heard = run_until_killed(directory, town, max(collected, START + 600), randomness.uniform(0.02, 0.6))
        if any("failed" in words for words in heard):
            raise SystemExit("a worker failed by itself, see above")
        done += 1
        fruitless += not heard
        collected = max([collected, *(words["collected"] for words in heard if "collected" in words)])
        exported = max([exported, *(words["exported"] for words in heard if "exported" in words)])
        checked = {
            key: count + checked.get(key, 0) for key, count in check(directory, town, collected, exported).items()
        }
        if collected > START + 40 * DAY:  # a fresh store, so that each check stays short
            directory = directory / "next"
            directory.mkdir()
            setup(directory, town)
            collected, exported = START, 0
    return {"kills": done, "before_any_acknowledgement": fruitless, **checked}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))  # noqa: T201
