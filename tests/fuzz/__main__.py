"""Fuzz every target: python -m tests.fuzz [--seconds 10] [--jobs 2] [NAME ...]; fails where an input breaks one.

What is found goes to build/fuzz: ``corpus`` is where the next run starts from, ``crashes`` holds the inputs that broke a
target. Each becomes a case: write it in hex to ``tests/data/fuzz/NAME/WHAT-IT-IS.hex``.
"""

import argparse
import importlib.util
import os
import platform
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


def run(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; say what came of it."""
    started = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(seconds), str(FOLDER)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    log = FOLDER / f"{name}.log"
    log.write_text(done.stdout + done.stderr)
    executions = _EXECUTIONS.findall(done.stderr)
    features = _FEATURES.findall(done.stderr)
    is_good = done.returncode == 0 or _DONE.search(done.stderr) is not None
    outcome = "ok" if is_good else f"BROKEN, see {log.relative_to(ROOT)}"
    figures = f"{int(executions[-1]) if executions else 0:>9} inputs {features[-1] if features else 0:>6} features"
    print(f"{name:<22}{figures} {time.monotonic() - started:6.1f} s  {outcome}", flush=True)
    if not is_good:
        print("\n".join([*done.stdout.splitlines()[-30:], *done.stderr.splitlines()[-12:]]), file=sys.stderr)
    return is_good


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
    with ThreadPoolExecutor(chosen.jobs) as pool:
        good = list(pool.map(lambda name: run(name, chosen.seconds), names))
    cases = sum(len(known_cases(name)) for name in names)
    print(
        f"{sum(good)} of {len(names)} targets held for {chosen.seconds} s each, from {cases} known cases and the published frames"
    )
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
