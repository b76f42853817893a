"""That `make sanitize` would see a fault: one is planted, built as the kernels are, and run as their tests are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.quality import IS_SANITIZED_BUILD
from tests.shared import REPOSITORY

PLANTED = """
from libc.stdlib cimport free, malloc

def write(Py_ssize_t slots, Py_ssize_t at):
    cdef unsigned char* row = <unsigned char*>malloc(slots)
    row[at] = 1
    free(row)

def read(const unsigned char[::1] data, Py_ssize_t at):
    return data[at]

def add(int one, int other):
    return one + other
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    (folder / "kernels").mkdir()
    (folder / "kernels" / "planted.pyx").write_text(PLANTED)
    (folder / "setup.py").write_text((REPOSITORY / "setup.py").read_text())
    environment = {name: value for name, value in os.environ.items() if name not in {"LD_PRELOAD", "PYTHONPATH"}}
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder, env=environment | {"HEADEND_SANITIZED_KERNELS": "1"}, check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    return folder


@pytest.mark.skipif(not IS_SANITIZED_BUILD, reason="needs the sanitizers: make sanitize")
@pytest.mark.parametrize(
    ("call", "report"),
    [
        ("write(8, 7)", None),
        ("write(8, 8)", "heap-buffer-overflow"),
        ("write(8, -1)", "heap-buffer-overflow"),
        ("read(bytearray(600), 599)", None),
        ("read(bytearray(600), 700)", "heap-buffer-overflow"),
        ("add(2**31 - 2, 1)", None),
        ("add(2**31 - 1, 1)", "signed integer overflow"),
    ],
)
def test_planted_fault_is_reported_and_ends_the_run(planted: Path, call: str, report: str | None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from kernels import planted; planted.{call}"],
        cwd=planted, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    if report is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode != 0
        assert report in done.stderr
