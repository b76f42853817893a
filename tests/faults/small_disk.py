"""A store on a disk of a few megabytes: filled to the brim, given room again, then mounted read-only.

Run by root within a mount namespace of its own: ``unshare -m python -m tests.faults.small_disk DIRECTORY``. Prints what was
seen as one JSON object.
"""

import json
import subprocess
import sys
from pathlib import Path

from headend.errors import StoreError
from headend.store.condition import condition_of
from headend.store.errors import StoreFull, StoreUnavailable
from headend.store.reader import StoreReader
from headend.store.store import Store
from tests.headend.store.builders import IMPORT, NOW, PERIOD, START, block, open_store

SLOTS = 480
RESERVE = 2**20


def present(reader: StoreReader, slots: int) -> int:
    return int(reader.raw_series(1, IMPORT, START, START + (slots + SLOTS) * PERIOD).has_value.sum())


def main(directory: Path) -> dict[str, object]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)], check=True)
    path = directory / "s.db"
    seen: dict[str, object] = {"before": condition_of(path, RESERVE)}
    ballast = directory / "ballast"
    ballast.write_bytes(bytes(2 * 2**20))
    slots = 0
    with open_store(path) as store, StoreReader.open(path) as reader:
        try:
            while True:
                with store.transaction():
                    store.record(1, [block(slots, [n * 7919 % 1_000_003 for n in range(SLOTS)])], NOW)
                slots += SLOTS
        except StoreFull as error:
            seen["full"] = str(error)
        seen["condition when full"] = condition_of(path, RESERVE)
        seen["acknowledged"], seen["present when full"] = slots, present(reader, slots)
        ballast.unlink()
        seen["condition with room"] = condition_of(path, RESERVE)
        with store.transaction():
            store.record(1, [block(slots, range(SLOTS))], NOW)
        seen["present with room"] = present(reader, slots)
        store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
    seen["condition read-only"] = condition_of(path, RESERVE)
    try:
        Store.open(path, lambda: NOW).close()
    except StoreError as error:
        seen["refused"] = type(error) is StoreUnavailable
    with StoreReader.open(path) as reader:
        seen["present read-only"] = present(reader, slots)
    subprocess.run(["mount", "-o", "remount,rw", str(directory)], check=True)
    with Store.open(path, lambda: NOW) as store, store.transaction():
        store.record(1, [block(slots + SLOTS, range(SLOTS))], NOW)
    with StoreReader.open(path) as reader:
        seen["present in the end"] = present(reader, slots + SLOTS)
        seen["faults"] = list(reader.faults())
    return seen


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
