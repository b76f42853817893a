"""The programs that the developer's page shows, run as they stand there against a simulated meter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "developer.md").read_text(), re.MULTILINE | re.DOTALL)
METER = "SIM0000000001001"


@pytest.mark.parametrize(("program", "said"), list(zip(PROGRAMS, [METER, "MeterIdentity(name='" + METER], strict=True)))
def test_a_program_that_the_page_shows_reads_a_meter(program: str, said: str) -> None:
    simulator = [sys.executable, "-u", "-m", "simulators.main", "dlms", "--port", "0", "--authentication", "none"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(simulator, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as meter:
        try:
            assert meter.stdout is not None
            port = next(found[1] for line in meter.stdout if (found := re.search(r"127\.0\.0\.1:(\d+)", line)))
            assert "4059" in program
            done = subprocess.run(
                [sys.executable, "-W", "error", "-c", program.replace("4059", port)],
                capture_output=True, text=True, timeout=30, check=False, cwd=ROOT, env=environment,
            )  # fmt: skip
        finally:
            meter.terminate()

    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout
