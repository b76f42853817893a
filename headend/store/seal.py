"""Checksums of rows: made by the schema's triggers through SQL functions, held against wherever a row is read.

The audit's are a chain of SHA-256: each covers the one before, so that a row removed or put elsewhere shows as well.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import apsw

from headend.store.errors import RowError

CHAIN_START = bytes(32)
"""What the first entry of the audit follows."""
_NAMES = {kind: kind.__name__.encode() for kind in (int, float, str, bytes, type(None))}
_REMEMBERED = frozenset({"end_device", "expectation", "installation", "usage_point"})
"""Tables whose rows are short, and are held against their checksums again with each new view."""
_CHANGE = struct.Struct("<7q?")

Column = float | str | bytes | None


def row_crc(*columns: Column) -> int:
    """Make the CRC-32 of a row's columns, in order, each with its type and length."""
    return zlib.crc32(_joined(columns))


_remembered_crc = lru_cache(maxsize=16_384, typed=True)(row_crc)  # typed: 1 and 1.0 are other columns


def _joined(columns: Iterable[Column]) -> bytes:
    parts: list[bytes] = []
    for column in columns:
        octets = column if isinstance(column, bytes) else str(column).encode()
        parts.append(b"%b %d:%b" % (_NAMES[type(column)], len(octets), octets))
    return b"".join(parts)


def change_crc(
    seq: int, layer: int, entity_id: int, day: int, channels: bytes, version: int, run_id: int | None, at: int
) -> int:
    """Make the CRC-32 of a change-log entry: there is one with every block, so it is a quick one."""
    head = _CHANGE.pack(seq, layer, entity_id, day, version, run_id or 0, at, run_id is None)
    return zlib.crc32(channels, zlib.crc32(head))


def audit_digest(before: bytes, *columns: Column) -> bytes:
    """Make the SHA-256 of an audit entry's columns and of the digest of the entry before."""
    return hashlib.sha256(before + _joined(columns)).digest()


def teach(connection: apsw.Connection) -> None:
    """Make the checksums known to a connection."""
    connection.create_scalar_function("row_crc", row_crc, deterministic=True)
    connection.create_scalar_function("change_crc", change_crc, deterministic=True)  # type: ignore[arg-type]
    connection.create_scalar_function("audit_digest", audit_digest, deterministic=True)  # type: ignore[arg-type]


def unsealed(rows: Iterable[tuple[Any, ...]], path: str, table: str) -> Iterator[tuple[Any, ...]]:
    """Give rows without the checksum that ends each. Raises `RowError` for one that does not match its own."""
    made = _remembered_crc if table in _REMEMBERED else row_crc
    for *columns, crc in rows:
        if made(*columns) != crc:
            raise damaged(path, table, columns[0])
        yield tuple(columns)


def damaged(path: str, table: str, row: object) -> RowError:
    """Make the error of a row whose checksum does not match."""
    return RowError(
        f"{path}: row {row} of table {table} is damaged: its checksum does not match its content;"
        " keep the file, restore a backup"
    )
