"""Parsers fed whole or in pieces, and what comes of it."""

from collections.abc import Iterator
from enum import Enum
from typing import Any, Protocol

from drivers.errors import RemoteProtocolError


class Reader(Protocol):
    def receive_data(self, data: bytes) -> None: ...

    def next_event(self) -> object: ...


def fed(reader: Reader, need_data: Enum, octets: bytes, *, step: int = 0) -> Iterator[Any]:
    """Give events, and the errors between them as text; ``step`` octets at a time, 0 for all at once."""
    for piece in [octets[at : at + step] for at in range(0, len(octets), step)] if step else [octets]:
        reader.receive_data(piece)
        while True:
            try:
                event = reader.next_event()
            except RemoteProtocolError as error:
                yield str(error)
                continue
            if event is need_data:
                break
            yield event
