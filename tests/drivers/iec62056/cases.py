"""Published frames and a meter's readout, each in tests/data/iec62056 with its origin."""

import tomllib
from dataclasses import dataclass
from typing import Any

from drivers.iec62056.events import NEED_DATA
from drivers.iec62056.message import Handshake, Message, MessageReader
from tests.drivers.fed import fed
from tests.shared import REPOSITORY

CASES = sorted((REPOSITORY / "tests" / "data" / "iec62056").iterdir())


@dataclass(frozen=True)
class Case:
    frame: bytes
    expect: dict[str, Any]
    origin: dict[str, str]


def load_all() -> dict[str, Case]:
    """Every case, by the name of its origin."""
    found = {}
    for folder in CASES:
        told = tomllib.loads((folder / "expected.toml").read_text())
        frame = bytes.fromhex((folder / "frame.hex").read_text())
        found[told["origin"]["id"]] = Case(frame, told["expect"], told["origin"])
    return found


def events(reader: MessageReader, octets: bytes, *, step: int = 0) -> list[Message | Handshake | str]:
    """Messages and the errors between them, fed whole or in pieces."""
    return list(fed(reader, NEED_DATA, octets, step=step))
