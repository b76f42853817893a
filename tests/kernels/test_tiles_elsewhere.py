"""Lane tiles without Python, and on an aarch64 that QEMU plays: the same bytes as here."""

import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from kernels.quality import Reason, State
from kernels.tile import LANES, NO_REGISTER, Limits, Outcome, empty, tiles_for
from kernels.tiles import run, series_to_tiles, tiles_to_rows, tiles_to_series
from tests.shared import REPOSITORY

CROSS, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
HOW = "make neon installs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static from Debian"
LIMITS = {
    "homes": Limits(0, 3_000, 6, 1_800, 50, 4, 5, 50, estimates_rejected=True),
    "both-ways": Limits(-3_000, 3_000, 3, 500, -9, 8, 1, 0),
    "all-counts": Limits(-(2**30), 2**30 - 2, 2, 12_000, 0, 9, 0, 1),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    return [str(compiled("gcc", [], tmp_path_factory.mktemp("here")))]


@pytest.fixture(scope="module")
def aarch64(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if shutil.which(CROSS) is None or shutil.which(EMULATOR) is None:
        pytest.skip(f"needs {CROSS} and {EMULATOR}: {HOW}")
    return [EMULATOR, str(compiled(CROSS, ["-static"], tmp_path_factory.mktemp("aarch64")))]


def compiled(compiler: str, flags: list[str], folder: Path) -> Path:
    program = folder / "tiles_driver"
    source = Path(__file__).with_name("tiles_driver.c")
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
    subprocess.run(
        [compiler, "-O2", *warnings, f"-I{REPOSITORY / 'kernels'}", *flags, str(source), "-o", str(program), "-lpthread"],
        check=True, timeout=100,
    )  # fmt: skip
    return program


def both(program: list[str], instruction_set: str, limits: Limits, slots: int, per_hour: int) -> tuple[bytes, bytes]:
    """Give the results of the driver and of this process for the same made-up days."""
    meters, failing = 37, 3
    groups = tiles_for(meters)
    random = np.random.default_rng(slots)
    values = random.integers(limits.low // 2 - 40, limits.high, (meters, 1, slots), dtype=np.int32, endpoint=True)
    values[random.random(values.shape) < 0.3] = 0
    values[random.random(values.shape) < 0.02] = 2**31 - 1
    state = np.where(random.random(values.shape) < 0.1, State.MISSING, State.MEASURED).astype(np.uint8)
    state[random.random(values.shape) < 0.01] = State.NOT_EXPECTED
    reason = np.where(random.random(values.shape) < 0.01, Reason.POWER_OFF, Reason.NONE).astype(np.uint8)
    rules = np.zeros(values.shape, np.uint32)
    registers = np.full((groups, LANES), NO_REGISTER, np.int64)
    registers.reshape(-1)[:meters:2] = values.sum(axis=2, dtype=np.int64)[::2, 0]
    edges = np.array([*range(0, slots, per_hour), slots], np.int32)
    tariffs = (np.arange(slots) // 5 % 4).astype(np.uint8)
    head = [meters, slots, len(edges) - 1, failing, *(int(getattr(limits, part.name)) for part in fields(limits))]
    given = b"".join(
        part.tobytes() for part in (np.array(head, np.int64), edges, tariffs, registers, values, state, reason, rules)
    )

    done = subprocess.run([*program, instruction_set], input=given, capture_output=True, check=False, timeout=100)

    assert done.returncode == 0, done.stderr.decode()
    codes, filled = empty((groups, slots, LANES), np.int32), empty((groups, slots, LANES), np.int32)
    outcome, rows = Outcome.empty(groups, slots, len(edges) - 1), np.empty((meters, slots), np.int32)
    lows = np.array([limits.low], np.int32)
    series_to_tiles(values, state, reason, lows, codes)
    run(
        codes, np.zeros(groups, np.uint8), [limits], outcome, edges=edges, tariffs=tariffs, registers=registers, out=filled
    )  # fmt: skip
    tiles_to_rows(filled, rows)
    tiles_to_series(filled, outcome.flags, lows, values, state, reason, rules, failing=failing)
    results = (codes, *(getattr(outcome, part.name) for part in fields(outcome)), rows, values, state, reason, rules)
    return done.stdout, b"".join(part.tobytes() for part in results)


@pytest.mark.parametrize(("slots", "per_hour"), [(24, 1), (96, 4), (47, 2), (1_500, 60)])
@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS.keys())
def test_neon_gives_the_same_bytes(aarch64: list[str], limits: Limits, slots: int, per_hour: int) -> None:
    theirs, ours = both(aarch64, "neon", limits, slots, per_hour)

    assert theirs == ours


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS.keys())
def test_plain_c_on_another_machine_gives_the_same_bytes(aarch64: list[str], limits: Limits) -> None:
    theirs, ours = both(aarch64, "portable", limits, 100, 4)

    assert theirs == ours


def test_the_driver_without_python_gives_the_same_bytes(here: list[str]) -> None:
    theirs, ours = both(here, "portable", LIMITS["homes"], 96, 4)

    assert theirs == ours
