import subprocess
import sys
from pathlib import Path

from tests.shared import REPOSITORY

# What Cython adds to every module, and the C enums that quality.pyi shows as their Python twins.
ALLOWED = r"""
kernels\..*\.__test__
kernels\.quality\.C(State|Reason|Rule)
kernels\.phases\.CCondition
"""


def test_stubs_say_what_the_compiled_modules_hold(tmp_path: Path) -> None:
    allowlist = tmp_path / "allowed"
    allowlist.write_text(ALLOWED)

    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "kernels", "--allowlist", str(allowlist), "--concise",
         "--mypy-config-file", str(REPOSITORY / "pyproject.toml")],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_kernel_is_in_the_contract_page() -> None:
    import kernels

    modules = {path.name.split(".")[0] for path in (REPOSITORY / "kernels").glob("*.py*")} - {"__init__", "py"}
    assert {name for name in modules if f"`{name}`" not in (kernels.__doc__ or "")} == set()
