"""Starts the kill loop as the process of its own that it must be."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.shared import REPOSITORY


def kill(directory: Path, kills: int, seed: int, loop: str = "kill_loop") -> dict[str, int]:
    """Kill a writer ``kills`` times; give the figures. ``loop``: module of this package that says what it writes."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{loop}", str(directory), str(kills), str(seed)],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return figures
