"""Kernels: a day of 2,000 meters validated, filled and added up, against seven ways of others. ``make bench-kernels``.

All engines get the same readings (`benchmarks/kernel_workload.py`) in the layout they like best, apply the same rules and give
the same results in full: filled values, flags, 24 hours, the day, four tariffs. All run in one thread; the lane tiles are held
to AVX2, where the machine has it, to compare with what others compile for. In each round every rival is measured right after
ours, by CPU time; a figure is the lower quartile of the rounds' ratios. First of all, the results of every engine are compared,
value by value. The last line is one JSON object.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import zstandard

from benchmarks import kernel_rivals as rivals
from benchmarks.kernel_rivals import Results, Rows
from benchmarks.kernel_workload import HOUR_EDGES, HOURS, KINDS, LIMITS, TARIFFS, Workload, make
from benchmarks.workload import CHANNELS, EDGES, SLOTS
from drivers.units import ScalerUnit, Unit
from headend.vee.rules import load_rules
from kernels import blocks
from kernels.quality import Rule
from kernels.tile import LANES, Flag, Limits, Outcome, empty
from kernels.tiles import instruction_sets, run, series_to_tiles, tiles_to_rows, tiles_to_series

METERS, SEED, ROUNDS, REPEATS = 2_000, 7, 9, 5
BEYOND = 4
"""Times the workload that fit no cache: a copy of it as float64 moves 120 MB. The workload once partly stays in a large one."""
PATIENCE = 60
"""How long to wait for a quiet machine. [s]"""
BATCH = 160
"""Meters that one step of the whole way takes at once: what stays in a core's own cache."""
READINGS = METERS * CHANNELS * SLOTS
LOWS = np.array([LIMITS[kind].low for kind in KINDS], np.int32)
Array = npt.NDArray[Any]


def cpu(work: Callable[[], object], repeats: int = 1) -> float:
    """Measure CPU time of all threads. [s]"""
    begin = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - begin) / repeats


def wall(work: Callable[[], object], repeats: int = 1) -> float:
    """Measure wall time. [s]"""
    begin = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - begin) / repeats


def lower_quartile(ratios: list[float]) -> float:
    """Give what three quarters of the rounds reach."""
    return statistics.quantiles(ratios, n=4, method="inclusive")[0]


def busy() -> int:
    """Read what all CPUs have worked since the machine came up, or 0 where it does not say. [1/100 s]"""
    said = Path("/proc/stat")
    if not said.exists():
        return 0
    user, nice, system, _, _, *rest = (int(word) for word in said.read_text().split("\n", 1)[0].split()[1:9])
    return user + nice + system + sum(rest)


def two_threads(ours: "Ours", instruction_set: str | None) -> tuple[list[float], bool]:
    """Compare two threads with one by wall time, while nobody else has work; after a while as it comes. True where it was quiet."""
    quiet: list[float] = []
    anyway: list[float] = []
    end = time.monotonic() + PATIENCE
    while len(quiet) < 3 * ROUNDS and time.monotonic() < end:
        before = busy()
        time.sleep(0.15)
        is_quiet = busy() - before <= 1
        one = wall(lambda: ours.work(instruction_set), REPEATS)
        ratio = one / wall(lambda: ours.work(instruction_set, threads=2), REPEATS)
        (quiet if is_quiet else anyway).append(ratio)
    return (quiet, True) if len(quiet) >= ROUNDS else (anyway or quiet, False)


class Ours:
    """The workload in lane tiles, so many times over, with room for the results."""

    def __init__(self, workload: Workload, times: int = 1) -> None:
        shape = (READINGS // LANES // SLOTS, SLOTS, LANES)
        self.tiles, self.out = empty(shape, np.int32), empty(shape, np.int32)
        day = workload.fleet
        series_to_tiles(
            day.values.reshape(METERS, CHANNELS, SLOTS), day.state.reshape(METERS, CHANNELS, SLOTS),
            day.reason.reshape(METERS, CHANNELS, SLOTS), LOWS, self.tiles,
        )  # fmt: skip
        self.kinds = np.tile(workload.tile_kinds, times)
        self.registers = np.tile(workload.registers.reshape(-1, LANES), (times, 1))
        if times > 1:
            once, shape = self.tiles, (times * shape[0], SLOTS, LANES)
            self.tiles, self.out = empty(shape, np.int32), empty(shape, np.int32)
            self.tiles.reshape(times, -1)[:] = once.reshape(-1)
        self.outcome = Outcome.empty(shape[0], SLOTS, HOURS)

    def work(self, instruction_set: str | None, threads: int = 1, limits: tuple[Limits, ...] = LIMITS) -> None:
        """Run once, results into arrays that are there."""
        run(
            self.tiles, self.kinds, limits, self.outcome, edges=HOUR_EDGES, tariffs=TARIFFS, registers=self.registers,
            out=self.out, threads=threads, instruction_set=instruction_set,
        )  # fmt: skip

    def results(self) -> Results:
        """Give the results by row, as the rivals do."""
        filled = np.empty((READINGS // SLOTS, SLOTS), np.int32)
        tiles_to_rows(self.out, filled)
        lows = np.repeat(LOWS, METERS)
        by_row = {
            name: np.moveaxis(getattr(self.outcome, name), -1, 1).reshape(len(filled), -1).squeeze()
            for name in Outcome.__slots__
        }
        return Results(filled=filled + lows[:, None], **by_row)


def differences(ours: Results, theirs: Results) -> list[str]:
    """Name the results that are not equal. Nothing stands for 0, and a slot that carries nothing after all is not compared."""
    ours_flags = ours.flags.reshape(-1)
    counts = (ours_flags & (Flag.MISSING | Flag.RANGE) == 0) | (ours_flags & Flag.ESTIMATED != 0)
    unequal = []
    for name in Results.__slots__:
        one = getattr(ours, name).reshape(-1).astype(np.int64)
        other = np.nan_to_num(
            getattr(theirs, name).reshape(-1).astype(np.float64), nan=-1 if name == "day_argmax" else 0
        )
        if name == "filled":
            one, other = one[counts], other[counts]
        if not np.array_equal(one, other):
            unequal.append(f"{name} ({(one != other).sum()} of {one.size})")
    return unequal


def engines(rows: Rows, folder: Path) -> dict[str, Callable[[], Results]]:
    """Set the rivals up, compiled and with their tables loaded."""
    table = rivals.long_table(rows)
    connection = duckdb.connect(config={"threads": 1})
    readings = pd.DataFrame(table)
    connection.register("given", readings)
    connection.execute(
        'CREATE TABLE readings AS SELECT "row", slot, tariff, low, high, CASE WHEN NOT isnan(v) THEN v END AS v, '
        "CASE WHEN NOT isnan(register) THEN register END AS register FROM given"
    )
    frame = pl.DataFrame(table).with_columns(pl.col("v", "register").fill_nan(None))
    out = Results.empty(len(rows.values))
    plain, given = rivals.plain_cython(folder), rivals.arguments(rows, out)

    def loop(function: Callable[..., object]) -> Results:
        function(*given)
        return out

    return {
        "numpy_blocked": lambda: rivals.numpy_blocked(rows, out),
        "numpy_whole": lambda: rivals.numpy_whole(rows, out),
        "polars": lambda: rivals.with_polars(frame),
        "duckdb": lambda: rivals.with_duckdb(connection),
        "pandas": lambda: rivals.with_pandas(readings),
        "plain_cython": lambda: loop(plain),
        "numba": lambda: loop(rivals.numba_loop),
    }


def homes() -> tuple[Limits, ...]:
    """Take limits and figures from the shipped rule set for homes."""
    rules = load_rules("residential")
    units = (ScalerUnit(0, Unit.WATT_HOUR), ScalerUnit(-1, Unit.VOLT), ScalerUnit(-3, Unit.AMPERE))
    limits = []
    for unit in units:
        own = rules.for_channel(unit, 900)
        limits.append(
            Limits(
                low=own.low,
                high=own.high,
                zero_run=own.zero_run,
                spike_permille=own.spike_permille,
                spike_floor=own.spike_floor,
                longest_gap=own.linear_slots,
                sum_permille=rules.sum_permille,
                sum_counts=rules.sum_counts,
            )
        )
    return tuple(limits)


class Codec:
    """Stored meter-days by `kernels.blocks`, a batch of meters at a time: the one place that knows how it is called."""

    def __init__(self) -> None:
        shape = (BATCH, CHANNELS * SLOTS)
        self.values, self.rules = np.empty(shape, np.int32), np.empty(shape, np.uint32)
        self.state, self.reason = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        self.room = np.empty(BATCH * blocks.body_bound(EDGES), np.uint8)

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """Values, state, reason and rules of the batch, shape (meters, slots of all channels)."""
        return self.values, self.state, self.reason, self.rules

    def encode(self) -> tuple[bytes, Array]:
        """Encode the batch; give the bodies, and where each ends."""
        ends = np.empty(BATCH, np.int64)
        used = blocks.encode_bodies(*self.arrays, EDGES, self.room, ends)
        return self.room[:used].tobytes(), ends

    def decode(self, bodies: bytes, ends: Array) -> None:
        """Decode into the batch."""
        starts = np.concatenate([[0], ends[:-1]])
        blocks.decode_bodies(bodies, starts, ends, EDGES, *self.arrays)


def codec_figures(workload: Workload) -> dict[str, float]:
    """Measure size, and speed of encoding values against zstd's on differences with bytes shuffled."""
    day = workload.fleet
    rows = METERS, CHANNELS * SLOTS
    room, ends = np.empty(METERS * blocks.body_bound(EDGES), np.uint8), np.empty(METERS, np.int64)
    has_value = day.has_value.astype(np.uint8)
    packer = zstandard.ZstdCompressor(level=3)

    def ours() -> int:
        return blocks.encode_rows(day.values, has_value, EDGES, room, ends)

    def zstd() -> int:
        total = 0
        for values in day.values:
            deltas = np.diff(values, prepend=np.int32(0))
            folded = ((deltas << 1) ^ (deltas >> 31)).astype("<u4")
            total += len(packer.compress(folded.view(np.uint8).reshape(-1, 4).T.tobytes()))
        return total

    size = ours()
    everything = blocks.encode_bodies(day.values, day.state, day.reason, np.zeros(rows, np.uint32), EDGES, room, ends)
    ratios = [cpu(zstd) / cpu(ours) for _ in range(ROUNDS)]
    return {
        "codec_bytes_per_reading": size / READINGS,
        "codec_quality_bytes_per_reading": (everything - size) / READINGS,
        "zstd_bytes_per_reading": zstd() / READINGS,
        "codec_encode_mreadings_s": READINGS / min(cpu(ours) for _ in range(ROUNDS)) / 1e6,
        "codec_encode_vs_zstd": lower_quartile(ratios),
    }


class WholeWay:
    """From stored days to validated ones written back, in batches of meters that stay in a core's own cache."""

    def __init__(self, workload: Workload, ours: Ours) -> None:
        self.codec = Codec()
        self.stored = []
        day = workload.fleet
        for first in range(0, METERS - BATCH + 1, BATCH):
            part = slice(first, first + BATCH)
            self.codec.values[:], self.codec.state[:] = day.values[part], day.state[part]
            self.codec.reason[:], self.codec.rules[:] = day.reason[part], day.rules[part]
            self.stored.append(self.codec.encode())
        shape = (CHANNELS * BATCH // LANES, SLOTS, LANES)
        self.tiles, self.outcome = empty(shape, np.int32), Outcome.empty(shape[0], SLOTS, HOURS)
        self.kinds = np.repeat(KINDS, BATCH // LANES)
        by_channel = ours.registers.reshape(CHANNELS, -1, LANES)
        groups = BATCH // LANES
        self.registers = [
            np.ascontiguousarray(by_channel[:, first : first + groups]).reshape(-1, LANES)
            for first in range(0, len(self.stored) * groups, groups)
        ]

    def work(self, instruction_set: str | None) -> int:
        """Decode, validate, fill and add up, write back what was found, encode; give the bytes written."""
        values, state, reason, rules = (part.reshape(BATCH, CHANNELS, SLOTS) for part in self.codec.arrays)
        written = 0
        for stored, registers in zip(self.stored, self.registers, strict=True):
            self.codec.decode(*stored)
            series_to_tiles(values, state, reason, LOWS, self.tiles)
            run(
                self.tiles, self.kinds, LIMITS, self.outcome, edges=HOUR_EDGES, tariffs=TARIFFS, registers=registers,
                instruction_set=instruction_set,
            )  # fmt: skip
            tiles_to_series(self.tiles, self.outcome.flags, LOWS, values, state, reason, rules, failing=Rule.RANGE)
            bodies, _ = self.codec.encode()
            written += len(bodies)
        return written

    @property
    def readings(self) -> int:
        return len(self.stored) * BATCH * CHANNELS * SLOTS


def main() -> None:
    """Compare, measure, print a table and the figures as JSON."""
    workload = make(METERS, SEED)
    ours = Ours(workload)
    held = "avx2" if "avx2" in instruction_sets() else None
    narrow = "sse2" if "sse2" in instruction_sets() else "portable"
    with tempfile.TemporaryDirectory(prefix="headend-bench-") as folder:
        others = engines(Rows.of(workload), Path(folder))
    sets = {name: partial(ours.work, name) for name in instruction_sets()}
    unequal: dict[str, list[str]] = {}
    ours.work(held)
    expected = ours.results()
    for name, rival in others.items():
        unequal[name] = differences(expected, rival())
    for name in sets:
        ours.out.fill(0)
        ours.work(name)
        unequal[name] = differences(expected, ours.results())
    found = np.bincount(expected.flags.reshape(-1), minlength=64)
    print(f"{READINGS:,} readings; flags: { ({int(flag): int(found[flag]) for flag in np.flatnonzero(found)}) }")
    for name, what in unequal.items():
        print(f"{name:<16}{'differs: ' + ', '.join(what) if what else 'equal'}")

    cells = Rows.of(workload).values
    target = np.ones_like(cells)
    many, many_cells = Ours(workload, BEYOND), np.tile(cells, (BEYOND, 1))
    many_target = np.ones_like(many_cells)
    family = homes()
    slow: dict[str, Callable[[], object]] = dict(others)
    quick: dict[str, Callable[[], object]] = {
        "copyto": lambda: np.copyto(target, cells),
        "residential": lambda: ours.work(held, limits=family),
        **sets,
    }
    ratios: dict[str, list[float]] = {name: [] for name in (*others, *quick)}
    speeds: dict[str, list[float]] = {name: [] for name in ("ours", *others, *quick)}
    sse2, copies = [], []
    for _ in range(ROUNDS):
        for name, work in (slow | quick).items():
            pairs = [(cpu(lambda: ours.work(held)), cpu(work)) for _ in range(REPEATS if name in quick else 1)]
            mine, theirs = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
            ratios[name].append(theirs / mine)
            speeds[name].append(READINGS / theirs / 1e6)
            speeds["ours"].append(READINGS / mine / 1e6)
        pairs = [
            (cpu(lambda: many.work(held)), cpu(lambda: np.copyto(many_target, many_cells))) for _ in range(REPEATS)
        ]
        mine, theirs = (sum(side) for side in zip(*pairs, strict=True))
        copies.append(theirs / mine)
        sse2.append(cpu(others["numpy_blocked"]) / cpu(sets[narrow]))
    threads2, is_quiet = two_threads(ours, held)
    figures = codec_figures(workload)
    way = WholeWay(workload, ours)
    through = [way.readings / cpu(lambda: way.work(held)) / 1e6 for _ in range(ROUNDS)]
    print(f"\n{'engine':<16}{'M readings/s':>14}{'ours against it':>18}   (median; lower quartile of {ROUNDS})")
    for name in (*others, *quick):
        print(f"{name:<16}{statistics.median(speeds[name]):>14.1f}{lower_quartile(ratios[name]):>18.2f}")
    print(f"two threads: {statistics.median(threads2):.2f} times one{'' if is_quiet else ', others were at work'}")
    result = {
        **{f"vs_{name}": round(lower_quartile(ratios[name]), 2) for name in others},
        "vs_copyto": round(lower_quartile(copies), 2),
        "vs_copyto_in_cache": round(lower_quartile(ratios["copyto"]), 2),
        "sse2_vs_numpy": round(lower_quartile(sse2), 1),
        "threads2": round(lower_quartile(threads2), 2),
        "residential_cost": round(statistics.quantiles(ratios["residential"], n=4, method="inclusive")[2], 2),
        **{name: round(figure, 3) for name, figure in figures.items()},
        "end_to_end_mreadings_s": round(lower_quartile(through), 1),
        "mreadings_s": {name: round(statistics.median(found), 1) for name, found in speeds.items()},
        "identical": not any(unequal.values()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
