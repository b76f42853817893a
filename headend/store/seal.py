"""Checksums of rows: made by the schema's triggers through the SQL function ``row_crc``, held against wherever a row is read."""

import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import apsw

from headend.errors import StoreError

_NAMES = {kind: kind.__name__.encode() for kind in (int, float, str, bytes, type(None))}


@lru_cache(maxsize=16_384, typed=True)  # typed: 1 and 1.0 are other columns
def row_crc(*columns: float | str | bytes | None) -> int:
    """Make the CRC-32 of a row's columns, in order, each with its type and length.

    Remembers rows: readers hold those of the registry against their checksums again with each new view.
    """
    parts: list[bytes] = []
    for column in columns:
        octets = column if isinstance(column, bytes) else str(column).encode()
        parts.append(b"%b %d:%b" % (_NAMES[type(column)], len(octets), octets))
    return zlib.crc32(b"".join(parts))


def teach(connection: apsw.Connection) -> None:
    """Make ``row_crc`` known to a connection."""
    connection.create_scalar_function("row_crc", row_crc, deterministic=True)


def unsealed(rows: Iterable[tuple[Any, ...]], path: str, table: str) -> Iterator[tuple[Any, ...]]:
    """Give rows without the checksum that ends each. Raises `StoreError` for one that does not match its own."""
    for *columns, crc in rows:
        if row_crc(*columns) != crc:
            raise StoreError(
                f"{path}: row {columns[0]} of table {table} is damaged: its checksum does not match its content;"
                " keep the file, restore a backup"
            )
        yield tuple(columns)
