"""Decode damaged blocks: python -m tests.fuzz.blocks [--count 10000000] [--seed 0]; fails where one does harm.

Rows, runs and bodies (`kernels.blocks`, versions 1 and 2) and whole stored blocks (`headend.store.block`, with a checksum that
matches) are encoded, damaged, and decoded, alone and in batches. Each must be refused, or give a row of the length asked for:
what lies around the arrays stays as it was, every state is a known one, what was accepted comes back from being encoded
again, and the process does not grow.
"""

import argparse
import re
import resource
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.store.block import Block, Channel, decode, encode
from headend.store.errors import BlockError
from headend.store.model import Layer
from kernels import blocks, reference
from kernels.quality import HAS_VALUE, IS_SANITIZED_BUILD, State

GUARD, MARGIN = 0xEE, 64
"""A pattern no decoder writes as a state, and how many octets of it lie on either side of an array."""
MOST_GROWTH = 64 * 1024
"""Largest growth of the process over a run, whatever its length: the caches of heads, 65,536 channels, fill up. [KiB]"""
PER_ROUND, SEEDS = 2_000, 24
EDGES = ([0, 5], [0, 16, 33], [0, 24, 120, 168], list(range(0, 961, 96)))
Bytes = npt.NDArray[np.uint8]
_FAULTY = re.compile(r"^encoded \w+ (\d+) of ")
_BLOCK_HEADS = tuple(
    Channel(Obis(1, 0, code, 29, 0), period, 0, ScalerUnit(0, Unit.WATT_HOUR))
    for code, period in ((1, 3_600), (2, 900), (3, 21_600))
)


@dataclass(frozen=True)
class Damaged:
    """Damaged encodings one after the other; row i lies from ``starts[i]`` to ``ends[i]``."""

    data: Bytes
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def one(self, row: int) -> Bytes:
        return self.data[self.starts[row] : self.ends[row]]


@dataclass
class Guarded:
    """An array amid a pattern that must stay."""

    around: Bytes
    array: npt.NDArray[Any]

    @classmethod
    def make(cls, shape: tuple[int, ...], dtype: Any) -> "Guarded":
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        around = np.full(size + 2 * MARGIN, GUARD, np.uint8)
        return cls(around, around[MARGIN : MARGIN + size].view(dtype).reshape(shape))

    def check(self) -> None:
        if (self.around[:MARGIN] != GUARD).any() or (self.around[-MARGIN:] != GUARD).any():
            raise AssertionError("something was written beside the row")


def damage(random: np.random.Generator, seeds: list[bytes], count: int) -> Damaged:
    """Copy seeds and damage each copy: bits, octets, small numbers, ends cut off or drawn out. One in 32 stays whole."""
    width = max(len(seed) for seed in seeds) + 8
    table = random.integers(0, 256, (len(seeds), width), dtype=np.uint8)
    for row, seed in zip(table, seeds, strict=True):
        row[: len(seed)] = np.frombuffer(seed, np.uint8)
    chosen = random.integers(0, len(seeds), count)
    cells = table[chosen]
    lengths = np.array([len(seed) for seed in seeds])[chosen]
    whole = random.random(count) < 1 / 32
    for _ in range(3):
        rows = np.flatnonzero((random.random(count) < 0.6) & ~whole)
        # Heads matter more than bits of fields: half of the damage goes to the first octets.
        reach = np.where(random.random(len(rows)) < 0.5, np.minimum(lengths[rows], 12), lengths[rows])
        at = (random.random(len(rows)) * reach).astype(np.int64)
        kind = random.integers(0, 3, len(rows))
        flipped = cells[rows, at] ^ (1 << random.integers(0, 8, len(rows)))
        any_octet, small = random.integers(0, 256, len(rows)), random.choice([0, 1, 2, 3, 0x7F, 0x80, 0xFF], len(rows))
        cells[rows, at] = np.choose(kind, [flipped, any_octet, small])
    cut = (random.random(count) < 0.2) & ~whole
    lengths[cut] = (random.random(int(cut.sum())) * (lengths[cut] + 8)).astype(np.int64)
    ends = np.cumsum(lengths)
    return Damaged(cells[np.arange(width) < lengths[:, None]], ends - lengths, ends)


def rows_of(random: np.random.Generator, slots: int) -> tuple[npt.NDArray[np.int32], Bytes, Bytes, Any]:
    """Make rows worth encoding: steps of every size, runs of states."""
    steps = random.integers(-(2**31), 2**31, (SEEDS, slots)) >> random.integers(0, 32, (SEEDS, slots))
    values = np.cumsum(steps, axis=1).astype(np.int32)
    state = np.full((SEEDS, slots), State.MEASURED, np.uint8)
    for row in state:
        for _ in range(int(random.integers(0, 4))):
            first = int(random.integers(0, slots))
            row[first : first + int(random.integers(1, 9))] = random.integers(0, len(State))
    state[0] = State.EXPECTED
    reason = np.where(state == State.MISSING, 3, 0).astype(np.uint8)
    rules = np.where(random.random((SEEDS, slots)) < 0.02, 2**31 + 2, 0).astype(np.uint32)
    return values, state, reason, rules


def outcome(work: Callable[[], object], refusal: type[Exception] = ValueError) -> str | None:
    """Give why it was refused, None where it was accepted."""
    try:
        work()
    except refusal as error:
        return str(error)
    return None


class Rows:
    """`decode_rows`; which slots have a value is known and the same for all rows."""

    def __init__(self, random: np.random.Generator, edges: list[int]) -> None:
        self.edges = np.array(edges, np.int64)
        values, state, *_ = rows_of(random, edges[-1])
        row = np.isin(state[1], [int(code) for code in HAS_VALUE])
        self.has_value = np.tile(row, (PER_ROUND, 1)).view(np.uint8)
        cells = [[int(value) if has else None for value, has in zip(line, row, strict=True)] for line in values]
        self.seeds = [reference.encode_row(line, edges) for line in cells] + [
            reference.encode_old_row(line) for line in cells
        ]
        self.out = Guarded.make((PER_ROUND, edges[-1]), np.int32)

    def decode(self, damaged: Damaged, first: int, last: int) -> None:
        start = damaged.starts[first]
        blocks.decode_rows(
            damaged.data[start : damaged.ends[last - 1]], damaged.ends[first:last] - start,
            self.has_value[first:last], self.edges, self.out.array[first:last],
        )  # fmt: skip

    def check(self, row: int) -> None:
        self.out.check()
        values = self.out.array[row : row + 1]
        if values[self.has_value[row : row + 1] == 0].any():
            raise AssertionError("a slot without value has one")
        out, ends, back = np.empty(blocks.row_bound(self.edges), np.uint8), np.empty(1, np.int64), np.empty_like(values)
        used = blocks.encode_rows(values, self.has_value[row : row + 1], self.edges, out, ends)
        blocks.decode_rows(out[:used], ends, self.has_value[row : row + 1], self.edges, back)
        if not np.array_equal(back, values):
            raise AssertionError("what was accepted does not come back")


class Bodies:
    """`decode_bodies`."""

    def __init__(self, random: np.random.Generator, edges: list[int]) -> None:
        self.edges = np.array(edges, np.int64)
        rows = rows_of(random, edges[-1])
        self.seeds = [
            reference.encode_body(values.tolist(), state.tolist(), reason.tolist(), rules.tolist(), edges)
            for values, state, reason, rules in zip(*rows, strict=True)
        ]
        self.out = [Guarded.make((PER_ROUND, edges[-1]), part.dtype) for part in rows]

    def decode(self, damaged: Damaged, first: int, last: int) -> None:
        arrays = (part.array[first:last] for part in self.out)
        blocks.decode_bodies(damaged.data, damaged.starts[first:last], damaged.ends[first:last], self.edges, *arrays)

    def check(self, row: int) -> None:
        for part in self.out:
            part.check()
        arrays = [part.array[row : row + 1] for part in self.out]
        if arrays[1].max() > max(State):
            raise AssertionError("a state that nobody knows")
        back = [np.empty_like(array) for array in arrays]
        out, ends = np.empty(blocks.body_bound(self.edges), np.uint8), np.empty(1, np.int64)
        values, state, reason, rules = arrays
        used = blocks.encode_bodies(values, state, reason, rules, self.edges, out, ends)
        blocks.decode_bodies(out[:used], np.zeros(1, np.int64), ends, self.edges, *back)
        if not all(np.array_equal(mine, theirs) for mine, theirs in zip(arrays, back, strict=True)):
            raise AssertionError("what was accepted does not come back")


class Runs:
    """`decode_runs`; alone only."""

    def __init__(self, random: np.random.Generator, edges: list[int]) -> None:
        codes = [row.tolist() for row in np.concatenate(rows_of(random, edges[-1])[1:4:2])]
        self.seeds = [reference.encode_runs(row) for row in codes] + [reference.encode_old_runs(row) for row in codes]
        self.out = Guarded.make((PER_ROUND, edges[-1]), np.uint32)

    def decode(self, damaged: Damaged, first: int, last: int) -> None:
        for row in range(first, last):
            blocks.decode_runs(damaged.one(row), self.out.array[row])

    def check(self, row: int) -> None:
        self.out.check()
        codes, back = self.out.array[row], np.empty_like(self.out.array[row])
        blocks.decode_runs(blocks.encode_runs(codes), back)
        if not np.array_equal(back, codes):
            raise AssertionError("what was accepted does not come back")


class Blocks:
    """`headend.store.block.decode`, the checksum made to match; alone only."""

    def __init__(self, random: np.random.Generator, edges: list[int]) -> None:
        block = Block.empty(Layer.RAW, "FUZZ:1", 20_000 + edges[-1], _BLOCK_HEADS)
        self.seeds = []
        for row in zip(*rows_of(random, block.layout.slots), strict=True):
            for mine, theirs in zip(block.arrays, row, strict=True):
                mine[:] = theirs
            self.seeds.append(encode(block)[:-4])
        self.found: dict[int, Block] = {}

    def decode(self, damaged: Damaged, first: int, last: int) -> None:
        for row in range(first, last):
            content = damaged.one(row).tobytes()
            self.found[row] = decode(content + struct.pack("<I", zlib.crc32(content)))

    def check(self, row: int) -> None:
        block = self.found.pop(row)
        if any(len(array) != sum(channel.slots for channel in block.channels) for array in block.arrays):
            raise AssertionError("a block of another length than its channels have")
        back = decode(encode(block))
        if not all(np.array_equal(mine, theirs) for mine, theirs in zip(block.arrays, back.arrays, strict=True)):
            raise AssertionError("what was accepted does not come back")


Target = Rows | Bodies | Runs | Blocks
Way = Callable[[Target, "Damaged", int], Iterator[int]]


def alone(target: Target, damaged: Damaged, count: int) -> Iterator[int]:
    """Decode rows one by one; yields those accepted."""
    refusal = BlockError if isinstance(target, Blocks) else ValueError
    for row in range(count):
        if outcome(lambda row=row: target.decode(damaged, row, row + 1), refusal) is None:  # type: ignore[misc]
            yield row


def together(target: Target, damaged: Damaged, count: int) -> Iterator[int]:
    """Decode rows in batches, each as far as it goes and the next from behind the row it names; yields those accepted."""
    first = 0
    while first < count:
        last = min(first + 50, count)
        refused = outcome(lambda first=first, last=last: target.decode(damaged, first, last))  # type: ignore[misc]
        named = None if refused is None else _FAULTY.match(refused)
        if refused is not None and named is None:
            raise AssertionError(f"a batch was refused without naming the row: {refused}")
        yield from range(first, last if named is None else first + int(named[1]))
        first = last if named is None else first + int(named[1]) + 1


def fuzz(count: int, seed: int = 0) -> tuple[Counter[str], Counter[str], int]:
    """Decode ``count`` damaged encodings. Gives how many of each kind, how many accepted, and growth of the process [KiB].

    Raises `AssertionError` where one did harm.
    """
    random = np.random.default_rng(seed)
    # Of eleven rounds ten are the kernels', where a decoder can do harm, and one the whole block's, slower by ten times.
    ways: tuple[tuple[type[Target], Way], ...] = (
        (Rows, alone), (Rows, together), (Bodies, alone), (Bodies, together), (Runs, alone),
    )  # fmt: skip
    whole: tuple[type[Target], Way] = (Blocks, alone)
    plan = [*ways, *ways, whole]
    done: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    before = 0
    kept: dict[tuple[type[Target], int], Target] = {}
    for turn, (kind, way) in enumerate(cycle(plan)):
        if sum(done.values()) >= count:
            break
        shape = turn // len(plan) % len(EDGES)
        if turn % 1_000 == 0:
            kept.clear()  # and begin with other rows
        if (kind, shape) not in kept:
            kept[kind, shape] = kind(random, EDGES[shape])
        target = kept[kind, shape]
        size = min(PER_ROUND, count - sum(done.values()))
        name = f"{kind.__name__.lower()} {way.__name__}"
        for number, row in enumerate(way(target, damage(random, target.seeds, size), size)):
            accepted[name] += 1
            if number % 16 == 0:
                target.check(row)
        done[name] += size
        if turn == len(plan) * len(EDGES):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before if before else 0
    # A sanitizer keeps freed memory to watch it.
    if grown > MOST_GROWTH and not IS_SANITIZED_BUILD:
        raise AssertionError(f"the process grew by {grown} KiB")
    return done, accepted, grown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.blocks", description="Decode damaged blocks.")
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    started = time.monotonic()
    done, accepted, grown = fuzz(chosen.count, chosen.seed)
    for name, number in done.items():
        print(f"{name:<18}{number:>12} decoded {accepted[name]:>12} accepted")
    print(
        f"{sum(done.values())} damaged blocks decoded in {time.monotonic() - started:.0f} s: no crash, no wrong length,"
        f" process grown by {grown} KiB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
