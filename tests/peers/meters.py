"""Start the independent meter in its own process, and stop it again."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("gurux_meter.py")


@contextmanager
def gurux_meter(*arguments: str, script: Path = SCRIPT) -> Iterator[dict[str, Any]]:
    """Run ``gurux_meter.py``, or another ``script``, with the given arguments and yield what it says of itself: port, names, keys, values."""
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the meter ended at once, with code {process.poll()}"
        yield json.loads(line)
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the meter ends with its standard input
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()
