"""What ships is exactly what should: every module and data file of the four packages, and nothing else."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("headend", "drivers", "kernels", "simulators")
PROJECT = ("pyproject.toml", "setup.py", "LICENSE", "README.md")
BUILT = (".so", ".c", ".cpp", ".pyc")
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}
BUILD_SECONDS = 500

pytestmark = pytest.mark.timeout(BUILD_SECONDS + 60)


@dataclass(frozen=True)
class Built:
    """A wheel, and what it should hold."""

    wheel: Path
    expected: frozenset[str]


def expected(source: Path) -> frozenset[str]:
    """Every file of the packages but kernels' sources, each kernel compiled, and config as headend.config."""

    def tree(folder: str) -> set[str]:
        return {path.relative_to(source).as_posix() for path in (source / folder).rglob("*") if path.is_file()}

    names = {name for package in PACKAGES for name in tree(package)}
    kernels = {name for name in names if name.endswith(".pyx")}
    modules = {name.removesuffix(".pyx") for name in kernels} | {"kernels/_cython"}
    compiled = {name + sysconfig.get_config_var("EXT_SUFFIX") for name in modules}
    data = {name.replace("config/", "headend/config/", 1) for name in tree("config")}
    return frozenset(names - kernels | compiled | data)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build from a copy, as a fresh clone would be built, so that nothing of this checkout's builds leaks in."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in PROJECT:
        shutil.copy(ROOT / name, source)
    for folder in (*PACKAGES, "config", "tests", "benchmarks"):
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns(*(f"*{end}" for end in BUILT), "__pycache__")
        )
    wanted = expected(source)
    environment = {key: value for key, value in os.environ.items() if key != "HEADEND_CHECKED_KERNELS"}
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(work / "out"), str(source)],
        capture_output=True, text=True, timeout=BUILD_SECONDS, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    (wheel,) = (work / "out").glob("*.whl")
    return Built(wheel, wanted)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(built.wheel) as archive:
        archive.extractall(target)
    yield target
    shutil.rmtree(target)


def test_wheel_holds_exactly_the_expected_files(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}

    name, version, _ = built.wheel.name.split("-", 2)
    info = f"{name}-{version}.dist-info/"
    assert {name.removeprefix(info) for name in names if name.startswith(info)} == METADATA
    assert {name for name in names if not name.startswith(info)} == built.expected


def test_wheel_installs_the_four_packages_and_nothing_beside_them(installed: Path) -> None:
    found = {entry.name for entry in installed.iterdir() if not entry.name.endswith(".dist-info")}

    assert found == set(PACKAGES)


def test_expected_files_are_no_empty_promise(built: Built) -> None:
    names = built.expected

    assert "headend/store/schema/001.sql" in names
    assert "headend/config/profiles/dlms-base.toml" in names
    assert "headend/config/__init__.py" in names
    assert "kernels/quality.pxd" in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "config"))]


def test_installed_wheel_runs_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = """
import kernels.quality, headend, sys
from headend.profiles import load_profiles
from headend.store.store import Store
assert headend.__file__.startswith(sys.argv[1]), headend.__file__
assert not kernels.quality.IS_CHECKED_BUILD
Store.open("x.db", lambda: 0).close()
print(len(load_profiles()))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(installed)],
        cwd=tmp_path, env={"PYTHONPATH": str(installed), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4


def test_licence_of_the_wheel_is_apache_2_0(installed: Path) -> None:
    (info,) = installed.glob("*.dist-info")

    assert "License-Expression: Apache-2.0" in (info / "METADATA").read_text()
    assert "Apache License" in (info / "licenses" / "LICENSE").read_text()
