"""A year of a town in one store: 1,000 meters x 10 channels x 96 quarter hours x 365 days; `make bench-year`.

350 million readings, by the bulk way, a commit per 50 meters and day. Says what they take, and how long the store needs to open: for
reading, for writing, and for writing after an end without closing. The last line of the output is one JSON object.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.store_workload import CODES, FIRST_DAY, PERIOD, batches, open_store, record, size
from headend.registry.model import DAY
from headend.store.reader import StoreReader
from headend.store.store import Store

METERS, DAYS = 1_000, 365
OPENINGS = 5
LEAVE = """import os, sys
sys.path.insert(0, sys.argv[2])
from headend.store.store import Store
store = Store.open(sys.argv[1], lambda: 0)
with store.transaction():
    store.audit("bench", "leave", "without closing")
os._exit(0)
"""
"""Another process, which writes and ends without closing; what it leaves is a log that is not empty."""


def opening(kind: type[Store] | type[StoreReader], path: Path) -> float:
    """Measure how long a store takes to open and give its first answer. [ms]"""
    begin = time.perf_counter()
    with Store.open(path, lambda: 0) if kind is Store else StoreReader.open(path) as opened:
        opened.raw_series(1, CODES[0], FIRST_DAY * DAY, (FIRST_DAY + 1) * DAY)
        return (time.perf_counter() - begin) * 1e3


def main() -> None:
    """Load a year and print what it takes."""
    with tempfile.TemporaryDirectory(prefix="headend-bench-") as name:
        path = Path(name) / "year.db"
        took = 0.0
        with open_store(path, METERS) as store:
            for number in range(DAYS):
                of_day = batches(METERS, number, number)
                begin = time.perf_counter()
                for batch in of_day:
                    record(store, batch)
                took += time.perf_counter() - begin
            octets = size(store)
        readings = METERS * DAYS * len(CODES) * (DAY // PERIOD)
        figures = {
            "readings": float(readings),
            "octets": float(octets),
            "bytes_per_reading": octets / readings,
            "insert_m_per_s": readings / took / 1e6,
            "open_reading_ms": statistics.median(opening(StoreReader, path) for _ in range(OPENINGS)),
            "open_writing_ms": statistics.median(opening(Store, path) for _ in range(OPENINGS)),
        }
        subprocess.run([sys.executable, "-c", LEAVE, str(path), sys.path[0]], check=True)
        figures["open_unclean_ms"] = opening(Store, path)
        shutil.rmtree(name, ignore_errors=True)
    print(
        f"{readings:,} readings in {octets:,} bytes, {figures['bytes_per_reading']:.2f} each, at {figures['insert_m_per_s']:.0f} M/s"
    )
    print(json.dumps({key: round(value, 3) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
