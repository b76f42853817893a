"""What an input may cost, and how it is measured: 50 ms of CPU and 8 MiB at its peak, in a process that does nothing else."""

import gc
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from drivers.errors import DriverError, LocalProtocolError

MAX_SECONDS = 0.05
YARDSTICK = 0.002
"""What the machine on which the limit was set takes to make 30,000 pairs: a busy or older one is given that much more time. [s]"""
MAX_OCTETS = 8 * 2**20
ATTEMPTS = 8
CASES = Path(__file__).resolve().parents[1] / "data" / "fuzz"


def feed(target: Callable[[bytes], object], octets: bytes) -> None:
    """Let a target have octets; what it may raise is swallowed, anything else comes through."""
    try:
        target(octets)
    except LocalProtocolError:
        raise  # what others send is never our bug
    except DriverError:
        pass


def slowness() -> float:
    """Measure how many times longer than `YARDSTICK` this machine takes at the moment; 1 for a faster one.

    The best of a few, and no garbage is looked for meanwhile: what disturbs one measure must not excuse an input.
    """
    best = float("inf")
    gc.disable()
    try:
        for _ in range(3):
            start = time.thread_time()
            _pairs = [(number, None) for number in range(30_000)]
            best = min(best, time.thread_time() - start)
    finally:
        gc.enable()
    return max(1.0, best / YARDSTICK)


def seconds(target: Callable[[bytes], object], octets: bytes) -> float:
    """Measure CPU time, the best of a few attempts: what disturbs only ever adds. [s of a machine that keeps to `YARDSTICK`]

    From the second attempt on, garbage is not looked for in what was there before: in a process that has run other tests that
    would be their heap, not the target's.
    """
    best = float("inf")
    try:
        for _ in range(ATTEMPTS):
            start = time.thread_time()
            feed(target, octets)
            spent = time.thread_time() - start
            best = min(best, spent if spent < MAX_SECONDS else spent / slowness())
            if best < MAX_SECONDS:
                break
            gc.freeze()
    finally:
        gc.unfreeze()
    return best


def peak(target: Callable[[bytes], object], octets: bytes) -> int:
    """Measure the most memory held at once beyond what was held before; what is cached at first use counts. [octet]"""
    tracemalloc.start()
    try:
        feed(target, octets)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def excess(target: Callable[[bytes], object], octets: bytes) -> str:
    """Say which limit an input breaks, "" for none."""
    if (held := peak(target, octets)) > MAX_OCTETS:
        return f"{len(octets)} octets held {held / 2**20:.1f} MiB, allowed are {MAX_OCTETS / 2**20:.0f}"
    if (spent := seconds(target, octets)) > MAX_SECONDS:
        return f"{len(octets)} octets took {1000 * spent:.0f} ms, allowed are {1000 * MAX_SECONDS:.0f}"
    return ""


def known_cases(name: str) -> list[bytes]:
    """Give the inputs that once broke a target, from ``tests/data/fuzz/NAME/*.hex``."""
    return [bytes.fromhex(path.read_text()) for path in sorted((CASES / name).glob("*.hex"))]
