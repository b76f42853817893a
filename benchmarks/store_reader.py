"""The second process of `benchmarks/store.py`: reads each newly committed meter-day, as soon as the change feed names it.

Told ``go`` and ``wait`` on its standard input, a line each; at the end of it reads what is left, then everything once more with no
writer beside it, and prints one JSON object: how long reads took in ms, by the clock and of CPU, and the sum of all it read.
"""

import json
import select
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.store_workload import CODES
from headend.registry.model import DAY
from headend.store.model import Layer
from headend.store.reader import StoreReader


def read_new(reader: StoreReader, after: int, took: list[tuple[float, float]]) -> tuple[int, int, int]:
    """Read what changed after a commit number; give the newest, how many values there were and their sum."""
    held = total = 0
    changes = reader.changes(after, 50)
    for entity_id, day in {(change.entity_id, change.day): None for change in changes if change.layer is Layer.RAW}:
        begin, cpu = time.perf_counter(), time.process_time()
        found = reader.series([(entity_id, code) for code in CODES], day * DAY, (day + 1) * DAY)
        took.append(((time.perf_counter() - begin) * 1e3, (time.process_time() - cpu) * 1e3))
        held += sum(int(series.has_value.sum()) for series in found)
        total += sum(int(series.values.sum()) for series in found)
    return (changes[-1].seq if changes else after), held, total


def main() -> None:
    """Read until told to end."""
    took: list[tuple[float, float]] = []
    after = held = total = 0
    is_going = True
    with StoreReader.open(sys.argv[1]) as reader:
        # A process that goes on has met all meters before; what it knows of them it reads anew after each commit.
        for device in reader.end_devices():
            reader.series([(device.id, code) for code in CODES], 0, DAY)
        print("ready", flush=True)
        while True:
            # Asked while waiting, and between two looks at the change feed.
            if not is_going or select.select([sys.stdin], [], [], 0)[0]:
                word = sys.stdin.readline().strip()
                is_going = word == "go"
                if not word:
                    break
                print(word, flush=True)
            newest, more, sums = read_new(reader, after, took)
            held, total = held + more, total + sums
            if newest == after:
                time.sleep(0.0005)
            after = newest
        while (found := read_new(reader, after, []))[0] != after:
            after, held, total = found[0], held + found[1], total + found[2]
        alone: list[tuple[float, float]] = []
        after = 0
        while (found := read_new(reader, after, alone))[0] != after:
            after = found[0]
    of_each = {
        "wall_ms": [wall for wall, _ in took],
        "cpu_ms": [cpu for _, cpu in took],
        "alone_ms": [wall for wall, _ in alone],
    }
    print(json.dumps({**of_each, "held": held, "total": total}))


if __name__ == "__main__":
    main()
