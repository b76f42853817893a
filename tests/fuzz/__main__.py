"""Fuzz every target: python -m tests.fuzz [--seconds 10] [--jobs 2] [NAME ...]; fails where an input breaks one.

What is found goes to build/fuzz: ``corpus`` is where the next run starts from, ``crashes`` holds the inputs that broke a
target. Each becomes a case: write it in hex to ``tests/data/fuzz/NAME/WHAT-IT-IS.hex``.
"""

import argparse
import importlib.util
import os
import platform
import queue
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.limits import known_cases
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "fuzz"
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_FEATURES = re.compile(r"ft: (\d+)")
_DONE = re.compile(r"^Done \d+ runs in \d+ second", re.MULTILINE)
"""Said when the time is over. A process that falls over on its way out, behind this, has found nothing."""


class Worker:
    """A process that fuzzes one target after the other."""

    def __init__(self, seconds: int) -> None:
        command = [sys.executable, "-m", "tests.fuzz.one", str(seconds), str(FOLDER)]
        with (FOLDER / "workers.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def run(self, name: str) -> bool:
        """Fuzz one target; say what came of it."""
        started = time.monotonic()
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a worker without pipes")
        log = FOLDER / f"{name}.log"
        log.unlink(missing_ok=True)
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        code = self._process.stdout.readline().strip()
        said = log.read_text(errors="replace") if log.exists() else "no output; the worker itself fell over"
        executions, features = _EXECUTIONS.findall(said), _FEATURES.findall(said)
        is_good = code == "0" or _DONE.search(said) is not None
        outcome = "ok" if is_good else f"BROKEN, see {log.relative_to(ROOT)}"
        figures = f"{int(executions[-1]) if executions else 0:>9} inputs {features[-1] if features else 0:>6} features"
        print(f"{name:<22}{figures} {time.monotonic() - started:6.1f} s  {outcome}", flush=True)
        if not is_good:
            print("\n".join(said.splitlines()[-42:]), file=sys.stderr)
        return is_good

    def close(self) -> None:
        """End the process, which has nothing left to do."""
        self._process.communicate()


def in_turn(waiting: "queue.SimpleQueue[str]", seconds: int) -> list[bool]:
    """Fuzz what waits, one after the other, in one worker."""
    worker, good = Worker(seconds), []
    try:
        while True:
            good.append(worker.run(waiting.get_nowait()))
    except queue.Empty:
        return good
    finally:
        worker.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the parsers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}; all of them if left out")
    parser.add_argument("--seconds", type=int, default=10, help="for each target, by the clock")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="at a time")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("atheris") is None:
        where = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
        print(
            f"not fuzzed: atheris is not installed; it has no wheel for {where}, or `pip install -e .[fuzz]` was not run"
        )
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    names = chosen.names or list(TARGETS)
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    with ThreadPoolExecutor(chosen.jobs) as pool:
        running = [pool.submit(in_turn, waiting, chosen.seconds) for _ in range(min(chosen.jobs, len(names)))]
    good = [is_good for one in running for is_good in one.result()]
    cases = sum(len(known_cases(name)) for name in names)
    print(
        f"{sum(good)} of {len(names)} targets held for {chosen.seconds} s each, from {cases} known cases and the published frames"
    )
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
