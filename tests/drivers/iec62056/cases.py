"""Published frames and a meter's readout, each in tests/data/iec62056 with its origin."""

import tomllib
from dataclasses import dataclass
from typing import Any

from drivers.errors import RemoteProtocolError
from drivers.iec62056.events import NEED_DATA
from drivers.iec62056.message import Handshake, Message, MessageReader
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
    found: list[Message | Handshake | str] = []
    for piece in [octets[at : at + step] for at in range(0, len(octets), step)] if step else [octets]:
        reader.receive_data(piece)
        while True:
            try:
                event = reader.next_event()
            except RemoteProtocolError as error:
                found.append(str(error))
                continue
            if event is NEED_DATA:
                break
            found.append(event)
    return found
