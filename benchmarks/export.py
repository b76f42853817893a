"""What an export of a month costs, by format: CPU time, and memory at its peak.

Workload: METERS meters of ten quarter-hourly channels over DAYS days, VALIDATED of them validated. NEM12 carries four of the
channels, and its own days. Each export runs in a process of its own. The last line of the output is one JSON object.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.life import CODES, FIRST_DAY, NOW, load
from headend.export.formats import whole_days
from headend.export.write import export
from headend.registry.model import DAY
from headend.store.model import VeeRun
from headend.store.reader import StoreReader
from headend.store.store import Store

METERS, DAYS, VALIDATED = 500, 30, 20
PERIODS = {"csv": (FIRST_DAY, FIRST_DAY + DAYS - 1), "nem12": (FIRST_DAY + 1, FIRST_DAY + DAYS - 2)}
CHANNELS = {"csv": CODES, "nem12": CODES[:4]}


def validate(path: Path) -> None:
    """Give the first days a validated version that is the raw one."""
    with Store.open(path, lambda: NOW) as store:
        for day in range(FIRST_DAY, FIRST_DAY + VALIDATED):
            with store.transaction():
                for number in range(1, METERS + 1):
                    all_raw = store.series([(number, code) for code in CODES], day * DAY, (day + 1) * DAY)
                    for code, series in zip(CODES, all_raw, strict=True):
                        store.write_validated(number, code, day, series, VeeRun("residential 1", NOW))


def run(path: Path, name: str) -> dict[str, object]:
    """Export in this process; give its CPU time [s] and the most memory it has had [MB]."""
    with StoreReader.open(path) as reader:
        used = time.process_time()
        done = export(reader, name, None, CHANNELS[name], *whole_days(name, *PERIODS[name]), path.with_name(name), NOW)
        used = time.process_time() - used
    most = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert most is not None
    return {
        "rows": done.rows, "bytes": done.files[0].stat().st_size, "cpu_s": round(used, 1), "peak_mb": int(most[1]) // 1024,
    }  # fmt: skip


def measured(path: Path, name: str) -> dict[str, object]:
    """Export in a process of its own."""
    done = subprocess.run([sys.executable, __file__, str(path), name], stdout=subprocess.PIPE, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "month.db"
        load(path, METERS, DAYS)
        validate(path)
        print(json.dumps({name: measured(path, name) for name in PERIODS}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(run(Path(sys.argv[1]), sys.argv[2])))
    else:
        main()
