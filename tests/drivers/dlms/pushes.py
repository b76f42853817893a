"""The published pushes carried in ``tests/data/dlms-push``, and ways to feed them to a reader."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.dlms.events import NEED_DATA
from drivers.dlms.push import PushedApdu, PushReader
from drivers.dlms.unprotect import PushKeys
from drivers.errors import RemoteProtocolError

DATA = Path(__file__).resolve().parents[2] / "data" / "dlms-push"


@dataclass(frozen=True)
class Push:
    name: str
    frame: bytes
    expected: dict[str, Any]
    error: str | None

    @property
    def expect(self) -> dict[str, Any]:
        expect: dict[str, Any] = self.expected["expect"]
        return expect

    @property
    def apdu(self) -> bytes:
        """The APDU of one that came without damage; of the damaged one, as its maker would have sent it."""
        if self.error is None:
            (pushed,), _ = read(self.frame)
            return pushed.octets
        wrong, right = (bytes.fromhex(self.expected[key]) for key in ("published_octets", "corrected_octets"))
        assert wrong in self.frame
        information = self.frame[self.frame.index(bytes.fromhex("e6e700")) + 3 : -3]
        return information.replace(wrong, right)

    def keys(self, _title: bytes = b"") -> PushKeys | None:
        keys = {name: bytes.fromhex(key) for name, key in self.expected.get("keys", {}).items()}
        if not keys:
            return None
        authentication = keys.get("authentication_key", b"")
        return PushKeys(keys["encryption_key"], authentication, not authentication)


def load(number: str) -> Push:
    (folder,) = DATA.glob(f"dlms-push-{number}-*")
    error = folder / "error.txt"
    return Push(
        folder.name,
        bytes.fromhex((folder / "frame.hex").read_text()),
        tomllib.loads((folder / "expected.toml").read_text()),
        error.read_text().strip() if error.exists() else None,
    )


def load_all() -> list[Push]:
    return [load(folder.name.split("-")[2]) for folder in sorted(DATA.iterdir())]


def read(*pieces: bytes, end: bool = True) -> tuple[list[PushedApdu], list[str]]:
    """Feed pieces to a fresh reader; give what it finds, and the errors it raises on the way and at the end."""
    reader = PushReader()
    found: list[PushedApdu] = []
    errors: list[str] = []
    for piece in pieces:
        reader.receive_data(piece)
        drain(reader, found, errors)
    if end:
        try:
            reader.receive_end()
        except RemoteProtocolError as error:
            errors.append(str(error))
    return found, errors


def drain(reader: PushReader, found: list[PushedApdu], errors: list[str]) -> None:
    while True:
        try:
            event = reader.next_event()
        except RemoteProtocolError as error:
            errors.append(str(error))
            continue
        if event is NEED_DATA:
            return
        found.append(event)


def one_by_one(octets: bytes) -> Iterable[bytes]:
    return (octets[at : at + 1] for at in range(len(octets)))
