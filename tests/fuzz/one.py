"""Fuzz targets, each until its time is over or an input breaks it: python -m tests.fuzz.one SECONDS FOLDER.

Their names come on standard input, line by line; each runs in a process of its own, forked so that the parsers are instrumented
once for all, and writes FOLDER/NAME.log. What the process ended with goes to standard output.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["drivers"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz import limits

KIBI = 1024  # ru_maxrss counts these on Linux
LARGEST_SEED = 1024
SUSPICIOUS = 2  # times the limit; instrumentation alone makes a parser three to five times slower
GROWTH = 1.25


def confirmed(name: str, octets: bytes) -> str:
    """Measure an input that looked too costly once more, in a process of its own without instrumentation."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(octets)
        file.flush()
        command = [sys.executable, "-m", "tests.fuzz.cost", name, file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main(name: str, seconds: int, folder: Path) -> None:
    target = TARGETS[name]
    corpus, crashes = folder / "corpus" / name, folder / "crashes"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate([*target.seeds(), *limits.known_cases(name)]):
        if len(octets) > LARGEST_SEED:
            continue  # a test feeds it; here it would cost the time of a thousand others
        (corpus / f"seed-{number}").write_bytes(octets)
    worst = SUSPICIOUS * limits.MAX_SECONDS

    def try_one(octets: bytes) -> None:
        nonlocal worst
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
        limits.feed(target.feed, octets)
        spent = time.thread_time() - start
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * KIBI
        if spent > worst or grown > limits.MAX_OCTETS // 2:
            # Instrumentation makes it several times slower, so an input is judged again without, and one like it only if worse.
            worst = max(worst, GROWTH * spent)
            if fault := confirmed(name, octets):
                raise RuntimeError(fault)

    arguments = [
        "fuzz", f"-max_total_time={seconds}", f"-max_len={target.largest}", "-timeout=60", "-rss_limit_mb=1024", "-print_final_stats=1",
        f"-artifact_prefix={crashes}/{name}-", str(corpus),
    ]  # fmt: skip
    atheris.Setup(arguments, try_one)
    atheris.Fuzz()


def fork(name: str, seconds: int, folder: Path) -> int:
    """Run a target in a process of its own, its output to a file; give its exit status."""
    if not (child := os.fork()):
        log = os.open(folder / f"{name}.log", os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
        os.dup2(log, sys.stdout.fileno())
        os.dup2(log, sys.stderr.fileno())
        main(name, seconds, folder)
        os._exit(1)  # fuzzing ends the process by itself
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for line in sys.stdin:
        print(fork(line.strip(), int(sys.argv[1]), Path(sys.argv[2])), flush=True)
