"""The published frames carried in ``tests/data/dlms``: one folder each, ``frame.hex`` beside ``expected.toml``."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "data" / "dlms"


@dataclass(frozen=True)
class Case:
    name: str
    frames: list[bytes]
    expected: dict[str, Any]
    error: str | None

    @property
    def frame(self) -> bytes:
        return b"".join(self.frames)

    @property
    def expect(self) -> dict[str, Any]:
        expect: dict[str, Any] = self.expected["expect"]
        return expect

    def key(self, name: str) -> bytes:
        return bytes.fromhex(self.expected["keys"][name])


def load(name: str) -> Case:
    (folder,) = DATA.glob(f"{name}*")
    frames = [bytes.fromhex(line) for line in (folder / "frame.hex").read_text().split()]
    error = folder / "error.txt"
    return Case(
        folder.name,
        frames,
        tomllib.loads((folder / "expected.toml").read_text()),
        error.read_text().strip() if error.exists() else None,
    )


def load_all(protocol: str) -> list[Case]:
    cases = [load(folder.name) for folder in sorted(DATA.iterdir())]
    return [case for case in cases if case.expected["protocol"] == protocol]
