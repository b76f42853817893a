"""What was learned of a link's latencies, as octets for the store. Pure.

A version, JSON and a CRC-32 over both: a list for each name, its longest two in microseconds, and count by step. It holds at most
`MAX_NAMES`, as a line has no more meters; what is damaged, of another version or out of bounds is nothing, and is learned anew.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Final

from headend.collect.latency import HALVED_AT, STEPS, Latency

VERSION: Final = 1
MAX_NAMES: Final = 1_000
MAX_ENTRY: Final = 262_144  # [octet]
LONGEST: Final = 3_600_000_000  # [us]
CRC_SIZE: Final = 4


def encode_latencies(known: Mapping[str, Latency]) -> bytes | None:
    """Write what is known by name; None for more than an entry may hold."""
    lists = {
        name: [
            *(round(1e6 * longest) for longest in one.longest),
            [[step, count] for step, count in one.counts if count],
        ]
        for name, one in known.items()
    }
    octets = bytes((VERSION,)) + json.dumps(lists, separators=(",", ":")).encode()
    entry = octets + zlib.crc32(octets).to_bytes(CRC_SIZE)
    return entry if len(lists) <= MAX_NAMES and len(entry) <= MAX_ENTRY else None


def decode_latencies(entry: bytes) -> dict[str, Latency]:
    """Read an entry; nothing from one that is not as `encode_latencies` writes it."""
    octets, crc = entry[:-CRC_SIZE], entry[-CRC_SIZE:]
    if not 1 < len(octets) <= MAX_ENTRY or octets[0] != VERSION or zlib.crc32(octets).to_bytes(CRC_SIZE) != crc:
        return {}
    try:
        lists = json.loads(octets[1:])
        return {name: _latency(*one) for name, one in list(lists.items())[:MAX_NAMES]}
    except (AttributeError, RecursionError, TypeError, ValueError):
        return {}


def _latency(longest: int, longest_before: int, counts: list[list[int]]) -> Latency:
    numbers = [longest, longest_before, *(number for pair in counts for number in pair)]
    if not all(type(number) is int and 0 <= number <= LONGEST for number in numbers):
        raise ValueError("no latencies")
    steps = {step: count for step, count in counts}  # noqa: C416  a pair is a list here, which dict() would not be told
    if any(step >= STEPS for step in steps) or sum(steps.values()) >= HALVED_AT:
        raise ValueError("more answers than are counted, or a step that is none")
    return Latency(steps, (longest / 1e6, longest_before / 1e6))
