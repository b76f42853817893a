"""Each parser holds with what once broke it, with what it is fuzzed from, and with the worst that is known of its kind.

Fuzzing itself is `make fuzz`; here nothing is random.
"""

from collections.abc import Iterator

import pytest

from drivers.dlms import axdr
from tests.fuzz import limits
from tests.fuzz.targets import TARGETS

EVERY = pytest.mark.parametrize("name", list(TARGETS))


def nested(size: int) -> Iterator[bytes]:
    """Data that is deep, long, or says more than it has."""
    for opening in ("0101", "0201", "010101", "1301", "02820001", "1302820001", "1384ffffffff"):
        yield (bytes.fromhex(opening) * size)[:size]
    for item in ("00", "0900", "1100", "0100", "040200", "0cc0", "180000000000000001", "1800000000000001"):
        octets = bytes.fromhex(item)
        count = (size - 5) // len(octets)
        yield b"\x01\x83" + count.to_bytes(3, "big") + octets * count
    yield b"\x04\x83" + (8 * (size - 5)).to_bytes(3, "big") + b"\x55" * (size - 5)
    for share in (10, 2, 1):  # a compact-array whose elements are nulls but for one octet
        nulls = size * share // 11
        element = b"\x02" + axdr.encode_length(nulls + 1) + bytes(nulls) + b"\x11"
        rows = max(0, size - 12 - nulls)
        yield b"\x13" + element + axdr.encode_length(rows) + bytes(rows)
    yield b"\x13\x01\xff\xff\x01\xff\xff\x11\x83" + (size - 20).to_bytes(3, "big") + bytes(size - 20)


def noisy(size: int) -> Iterator[bytes]:
    """Noise that begins like a frame again and again."""
    for pattern in (
        "7e", "7ea7ff", "7ea000", "7ea8", "7ea7ff010310", "7e7d", "68", "68f8f868", "68ffff6853ff00", "0001", "00", "ff",
        "0001000100100001", "0001000100010001c4", "0f000000000001", "e0", "db", "e6e7000f", "60", "61ff", "c401c10001", "010308", "68111111111111689100", "681111111111116891c8", "a0a005", "a0a0ff",
    ):  # fmt: skip
        yield (bytes.fromhex(pattern) * size)[:size]


@EVERY
def test_known_inputs_hold(name: str) -> None:
    target = TARGETS[name]
    inputs = [*target.seeds(), *limits.known_cases(name)]

    faults = [f"{octets[:32].hex()}: {fault}" for octets in inputs if (fault := limits.excess(target.feed, octets))]

    assert inputs
    assert not faults


@EVERY
def test_the_worst_of_its_kind_holds(name: str) -> None:
    target = TARGETS[name]

    for octets in (*nested(target.largest), *noisy(target.largest)):
        assert not limits.excess(target.feed, octets), octets[:32].hex()


def test_every_case_belongs_to_a_target() -> None:
    assert {path.name for path in limits.CASES.iterdir()} <= set(TARGETS)


def test_what_is_too_slow_too_large_or_raises_is_found_out() -> None:
    def slow(octets: bytes) -> None:
        for _ in range(2_000_000):
            octets = octets[::-1] + octets[:1]

    def large(octets: bytes) -> None:
        assert bytearray(9 * 2**20) + octets

    def wrong(octets: bytes) -> None:
        raise IndexError(octets)

    assert "took" in limits.excess(slow, b"")
    assert "held" in limits.excess(large, b"")
    with pytest.raises(IndexError):
        limits.excess(wrong, b"")
