"""Which identifiers to read: blocks first, as one exchange gives all tariffs or phases.

A turn on the line costs about as much as thirty octets at 9600 baud, so a block pays as soon as two of its items are wanted.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from drivers.profile import Dlt645Point

SEPARATOR: Final = 0xAA
BILLING: Final = frozenset({6, 8, 29})
"""Value group D of what bills are made of: maximum demand, energy, energy of an interval. IEC 62056-6-1."""


def blocks(points: Sequence[Dlt645Point], refused: Collection[str]) -> Iterator[tuple[str, list[Dlt645Point]]]:
    """Give each block of which two items or more are wanted, with these. ``refused``: blocks not to be asked for."""
    wanted: dict[str, list[Dlt645Point]] = {}
    for point in points:
        if point.block and point.block not in refused:
            wanted.setdefault(point.block, []).append(point)
    yield from ((block, members) for block, members in wanted.items() if len(members) > 1)


def without_end(octets: bytes, width: int) -> bytes:
    """Take away the AA that meters of 1997 put behind a block; AA is no BCD, so it is no part of a value."""
    return octets[:-1] if len(octets) % width == 1 % width and octets.endswith(bytes((SEPARATOR,))) else octets
