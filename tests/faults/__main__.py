"""Crash, kill and cut the store: ``python -m tests.faults [--images 2000] [--kills 500] [--jobs 2]``.

Prints one JSON object of figures last: ``images`` and ``kills`` done, in how many of them something acknowledged was ``lost``,
something ``doubled``, or the store ``corrupt``, and ``control_caught``: losses that the same images show in a store that does
not sync each commit. Fails unless nothing happened, and the control shows that it would have been seen.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.faults.crash import crash_in_processes
from tests.faults.kills import kill


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Crash, kill and cut the store.")
    parser.add_argument("--images", type=int, default=2_000, help="crash images; a quarter of them after failed syncs")
    parser.add_argument("--kills", type=int, default=500, help="SIGKILLs of a writer")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    chosen = parser.parse_args()
    failed = chosen.images // 4
    found = crash_in_processes(chosen.images - failed, jobs=chosen.jobs)
    print(f"crash images: {found}", flush=True)
    found += (after := crash_in_processes(failed, failing_syncs=3, jobs=chosen.jobs))
    print(f"crash images after failed syncs: {after}", flush=True)
    control = crash_in_processes(200, synchronous="normal", jobs=chosen.jobs)
    print(f"control, synchronous=NORMAL: {control.lost} of {control.images} images lack something", flush=True)
    with tempfile.TemporaryDirectory(prefix="headend-kills-") as directory:
        kills = kill(Path(directory), chosen.kills, seed=1)
    print(f"kills: {kills}", flush=True)
    figures = {
        "images": found.images,
        "kills": kills["kills"],
        **{key: getattr(found, key) + kills[key] for key in ("lost", "doubled", "corrupt")},
        "control_caught": control.lost,
    }
    print(json.dumps(figures))
    return 0 if control.lost and not any(figures[key] for key in ("lost", "doubled", "corrupt")) else 1


if __name__ == "__main__":
    sys.exit(main())
