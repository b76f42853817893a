"""Published frames, each in tests/data/dlt645 with its origin; and the shipped catalogue."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.dlt645.frame import NEED_DATA, Frame, FrameReader
from drivers.profile import Dlt645Point, Dlt645Profile, MeterProfile
from drivers.profile_parser import parse_profile
from tests.drivers.fed import fed
from tests.shared import REPOSITORY

CASES = sorted((REPOSITORY / "tests" / "data" / "dlt645").iterdir())
PROFILES = REPOSITORY / "config" / "profiles"


@dataclass(frozen=True)
class Case:
    name: str
    frame: bytes
    request: bytes
    expect: dict[str, Any]
    origin: dict[str, str]


def load(folder: Path) -> Case:
    told = tomllib.loads((folder / "expected.toml").read_text())
    frame = bytes.fromhex((folder / "frame.hex").read_text())
    return Case(folder.name, frame, bytes.fromhex(told.get("request", "")), told["expect"], told["origin"])


def load_all() -> list[Case]:
    return [load(folder) for folder in CASES]


def shipped(name: str) -> MeterProfile:
    return parse_profile(name, {path.stem: tomllib.loads(path.read_text()) for path in PROFILES.glob("*.toml")})


def catalogue(name: str = "sim-dlt645") -> Dlt645Profile:
    found = shipped(name).dlt645
    assert found is not None
    return found


def point(di: str) -> Dlt645Point:
    return next(one for one in catalogue().points if one.di == di)


def events(reader: FrameReader, octets: bytes, *, step: int = 0) -> list[Frame | str]:
    """Frames and the errors between them, fed whole or in pieces."""
    return list(fed(reader, NEED_DATA, octets, step=step))
