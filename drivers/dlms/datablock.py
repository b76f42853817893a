"""The blocks that long requests and answers of SET and ACTION are cut into. IEC 62056-5-3, clause 9.5, ``DataBlock-SA``."""

from dataclasses import dataclass

from drivers.dlms import axdr
from drivers.dlms.descriptor import Cursor

HEAD = 1 + 4 + 3  # [octet] last-block, block number, length at most


@dataclass(frozen=True, slots=True)
class DataBlock:
    """One piece. ``number`` counts from 1."""

    number: int
    raw: bytes
    is_last: bool

    def encode(self) -> bytes:
        """Give the octets."""
        head = bytes([self.is_last]) + self.number.to_bytes(4, "big")
        return head + axdr.encode_length(len(self.raw)) + self.raw


def read_block(cursor: Cursor) -> DataBlock:
    """Read a block. Raises `RemoteProtocolError`."""
    is_last, number = cursor.flag(), cursor.number(4)
    return DataBlock(number, cursor.octets(), is_last)


def cut(octets: bytes, first: int, following: int) -> list[DataBlock]:
    """Cut into blocks that take ``first`` octets of an APDU at most, `HEAD` included, and ``following`` for the others."""
    at = max(1, first - HEAD)
    pieces = [octets[:at]]
    size = max(1, following - HEAD)
    pieces += [octets[start : start + size] for start in range(at, len(octets), size)]
    return [DataBlock(number, piece, number == len(pieces)) for number, piece in enumerate(pieces, 1)]
