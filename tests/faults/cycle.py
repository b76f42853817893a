"""One cycle of a gateway's life: open, record, validate, reserve counters, export, close. Says on stdout what is durable.

Usage: ``python -m tests.faults.cycle DIRECTORY``. Exit code 1, and the error as the last word, where the store or the export
refused; anything else that goes wrong is a traceback and exit code 70.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from headend.errors import HeadendError
from headend.export.write import export
from headend.registry.model import DAY
from headend.series import Series
from headend.store.model import VeeRun
from headend.store.reader import StoreReader
from headend.store.store import Store
from kernels.quality import State
from tests.headend.store.builders import FIRST_DAY, IMPORT, NOW, PERIOD, START, WH, block

SLOTS = 48


def say_aloud(what: str, value: int | str) -> None:
    os.write(1, json.dumps({what: value}).encode() + b"\n")


def cycle(directory: Path, say: Callable[[str, int], None]) -> None:
    """Go through one cycle, saying what is durable; harmless to repeat."""
    path = directory / "s.db"
    with Store.open(path, lambda: NOW) as store:
        with store.transaction():
            store.record(1, [block(0, range(SLOTS))], NOW)
        say("recorded", SLOTS)
        series = Series.empty(START, PERIOD, WH, SLOTS)
        series.values[:], series.state[:] = range(SLOTS), State.MEASURED
        with store.transaction():
            store.write_validated(1, IMPORT, FIRST_DAY, series, VeeRun("residential 1", NOW))
        say("validated", SLOTS)
        with store.transaction():
            counters = store.reserve_counter("ours/key", 256)
        say("reserved", counters.stop)
        with StoreReader.open(path) as reader:
            done = export(reader, "csv", None, None, START, START + DAY, directory / "out", NOW)
        say("exported", done.sequence)
    say("closed", 1)


def main() -> int:
    try:
        cycle(Path(sys.argv[1]), say_aloud)
    except (HeadendError, OSError) as error:
        say_aloud("error", f"{type(error).__name__}: {error}")
        return 1
    except BaseException:  # noqa: BLE001  told from a refusal by the code
        traceback.print_exc()
        return 70
    return 0


if __name__ == "__main__":
    sys.exit(main())
