"""Rows in PostgreSQL's binary COPY format. Layout: PostgreSQL 15, COPY, "Binary Format"."""

import struct
from collections.abc import Iterable, Iterator

from headend.store.engine import Bindings

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_COUNT = struct.Struct("!h")
_LENGTH = struct.Struct("!i")
_NUMBER = struct.Struct("!iq")
_NONE = _LENGTH.pack(-1)
CHUNK = 1 << 18
"""About how much is sent at once. [B]"""


def copied(rows: Iterable[Bindings]) -> Iterator[bytes]:
    """Write rows of integers (as bigint), octets and None, in chunks."""
    chunk = bytearray(_HEADER)
    for row in rows:
        chunk += _COUNT.pack(len(row))
        for value in row:
            if value is None:
                chunk += _NONE
            elif isinstance(value, int):
                chunk += _NUMBER.pack(8, value)
            else:
                chunk += _LENGTH.pack(len(value))
                chunk += value
        if len(chunk) >= CHUNK:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk) + _TRAILER
