"""The import contracts name every module they are about, so that none is left out by being new."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
MAY_WAIT = {"session", "driver"}
STAND_ON_THEM = {"drivers.dlms.commanding", "drivers.dlms.idle"}
"""Commands on an open session, and the timer of one."""


def test_a_driver_module_that_is_no_session_is_held_to_do_no_io() -> None:
    held = set(next(contract for contract in LINT["contracts"] if "no I/O" in contract["name"])["source_modules"])

    left_out = set()
    for path in (ROOT / "drivers").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names = {".".join(parts[: depth + 1]) for depth in range(1, len(parts))}
        if parts[1] != "transports" and parts[-1] not in {"__init__", *MAY_WAIT} and not names & (held | STAND_ON_THEM):
            left_out.add(".".join(parts))

    assert not left_out
