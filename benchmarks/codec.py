"""Block codec against python-zstandard, in one interleaved run: CPU times of one thread, results checked equal first.

Workload: METERS meter-days of benchmarks/workload.py. The rival takes the differences of all slots at once, shuffles their bytes
into planes, both in numpy, and compresses: each meter-day by itself, as a store has them, or as many as CHUNK at once.
Ratios are of neighboring times, and the lower quartile of them counts; against the fastest of the rival's variants.
Checksums stand beside zlib's, which may use instructions made for it, and beside a plain table in C (`binascii.crc_hqx`).
The last line of the output is one JSON object.
"""

import binascii
import json
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.workload import CHANNELS, EDGES, SLOTS, Fleet, fleet
from kernels import blocks, checksum

METERS, ROUNDS, CHUNK = 2_000, 15, 50
Counts = npt.NDArray[np.int32]


class Ours:
    """Values alone, in batches."""

    def __init__(self, day: Fleet) -> None:
        self.day, self.has_value = day, day.has_value
        self.room = np.empty(len(day.values) * blocks.row_bound(EDGES), np.uint8)
        self.ends = np.empty(len(day.values), np.int64)
        self.back = np.empty_like(day.values)
        self.used = 0

    def encode(self) -> None:
        self.used = blocks.encode_rows(self.day.values, self.has_value, EDGES, self.room, self.ends)

    def decode(self) -> Counts:
        blocks.decode_rows(self.room[: self.used], self.ends, self.has_value, EDGES, self.back)
        return self.back


class OursWhole:
    """Values with qualities: the bodies of stored blocks."""

    def __init__(self, day: Fleet) -> None:
        self.day = day
        self.room = np.empty(len(day.values) * blocks.body_bound(EDGES), np.uint8)
        self.starts, self.ends = np.zeros((2, len(day.values)), np.int64)
        self.back = Fleet(*map(np.empty_like, (day.values, day.state, day.reason, day.rules)))
        self.used = 0

    def encode(self) -> None:
        self.used = blocks.encode_bodies(
            self.day.values, self.day.state, self.day.reason, self.day.rules, EDGES, self.room, self.ends
        )

    def decode(self) -> Counts:
        self.starts[1:] = self.ends[:-1]
        back = self.back
        blocks.decode_bodies(
            self.room[: self.used], self.starts, self.ends, EDGES, back.values, back.state, back.reason, back.rules
        )
        return back.values

    def check(self) -> None:
        names = ("values", "state", "reason", "rules")
        if not all(np.array_equal(getattr(self.day, name), getattr(self.back, name)) for name in names):
            raise AssertionError("qualities do not come back")


class Zstandard:
    """Differences, byte planes, zstd; values alone."""

    def __init__(self, day: Fleet, level: int, together: int) -> None:
        self.rows = day.values.reshape(-1, SLOTS)
        self.step = together * CHANNELS
        self.compressor, self.expander = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
        self.frames: list[bytes] = []

    @property
    def used(self) -> int:
        return sum(map(len, self.frames))

    def encode(self) -> None:
        deltas = self.rows.copy()
        deltas[:, 1:] -= self.rows[:, :-1]
        planes = deltas.view(np.uint8).reshape(-1, self.step * SLOTS, 4).transpose(0, 2, 1)
        self.frames = [self.compressor.compress(frame) for frame in np.ascontiguousarray(planes)]

    def decode(self) -> Counts:
        planes = np.frombuffer(b"".join(self.expander.decompress(frame) for frame in self.frames), np.uint8)
        deltas = np.ascontiguousarray(planes.reshape(-1, 4, self.step * SLOTS).transpose(0, 2, 1)).view(np.int32)
        back: Counts = np.cumsum(deltas.reshape(-1, SLOTS), axis=1, dtype=np.int32)
        return back.reshape(-1, CHANNELS * SLOTS)


def seconds(work: Callable[[], object]) -> float:
    """Measure CPU time. [s]"""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def lower_quartile(ratios: list[float]) -> float:
    return statistics.quantiles(ratios, n=4)[0]


def quality_bytes(day: Fleet) -> float:
    """Give what qualities add to values. [B/reading]"""
    ours, whole = Ours(day), OursWhole(day)
    ours.encode()
    whole.encode()
    return (whole.used - ours.used) / day.values.size


def checksums() -> dict[str, float]:
    """Print speeds of checksums; gives CRC-32 against zlib and CRC-16/CCITT against a plain table, at three lengths."""
    figures: dict[str, float] = {}
    print(f"\n{'checksums, GB/s':<28}" + "".join(f"{name:>14}" for name in ("32 B", "1 kB", "1 MB")))
    speeds: dict[str, list[float]] = {}
    rivals = {"zlib.crc32": zlib.crc32, "binascii.crc_hqx": lambda data: binascii.crc_hqx(data, 0xFFFF)}
    for name in ("crc32", "zlib.crc32", "crc16_ccitt", "binascii.crc_hqx", "crc16_modbus", "fcs16"):
        function = rivals.get(name) or getattr(checksum, name)
        for size in (32, 1_024, 2**20):
            data, times = bytes(range(32)) * (size // 32), max(1, 2**22 // (size + 1_000))
            best = min(seconds(lambda f=function, d=data, n=times: [f(d) for _ in range(n)]) for _ in range(7))  # type: ignore[misc]
            speeds.setdefault(name, []).append(size * times / best / 1e9)
        print(f"{name:<28}" + "".join(f"{speed:>14.2f}" for speed in speeds[name]))
    for place, label in enumerate(("short", "block", "long")):
        figures[f"crc32_vs_zlib_{label}"] = speeds["crc32"][place] / speeds["zlib.crc32"][place]
        figures[f"ccitt_vs_table_{label}"] = speeds["crc16_ccitt"][place] / speeds["binascii.crc_hqx"][place]
    return figures


def main() -> None:
    """Print tables, and the figures as JSON."""
    day = fleet(METERS, 1)
    readings = day.values.size
    engines: dict[str, Ours | OursWhole | Zstandard] = {
        "ours, values": Ours(day), "ours, with qualities": OursWhole(day),
        "zstd 3, each meter-day": Zstandard(day, 3, 1), f"zstd 3, {CHUNK} at once": Zstandard(day, 3, CHUNK),
        "zstd 1, each meter-day": Zstandard(day, 1, 1), f"zstd 1, {CHUNK} at once": Zstandard(day, 1, CHUNK),
    }  # fmt: skip
    for name, engine in engines.items():
        engine.encode()
        if not np.array_equal(engine.decode(), day.values):
            raise AssertionError(f"{name}: values do not come back")
        if isinstance(engine, OursWhole):
            engine.check()
    encode: dict[str, list[float]] = {name: [] for name in engines}
    decode: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            encode[name].append(seconds(engine.encode))
            decode[name].append(seconds(engine.decode))
    print(f"{METERS} meter-days of {CHANNELS} channels x {SLOTS} slots, median of {ROUNDS} interleaved rounds\n")
    print(f"{'':<28}{'B/reading':>12}{'encode M/s':>12}{'decode M/s':>12}")
    speed = {name: readings / statistics.median(times) / 1e6 for name, times in encode.items()}
    for name, engine in engines.items():
        back = readings / statistics.median(decode[name]) / 1e6
        print(f"{name:<28}{engine.used / readings:>12.3f}{speed[name]:>12.0f}{back:>12.0f}")
    ours = engines["ours, values"]
    rivals = [name for name in engines if name.startswith("zstd")]

    def against(times: dict[str, list[float]], rival: str) -> float:
        return lower_quartile([theirs / mine for mine, theirs in zip(times["ours, values"], times[rival], strict=True)])

    figures = {
        "bytes_per_reading": ours.used / readings,
        "quality_bytes_per_reading": quality_bytes(day),
        # The dearest way to miss 1 %: each slot by itself.
        "quality_bytes_scattered": quality_bytes(fleet(METERS, 1, gap=1)),
        "zstd_bytes_per_reading": min(engines[name].used for name in rivals) / readings,
        "encode_vs_zstd": min(against(encode, name) for name in rivals),
        "decode_vs_zstd": min(against(decode, name) for name in rivals),
        "encode_mreadings_s": speed["ours, values"],
        "decode_mreadings_s": readings / statistics.median(decode["ours, values"]) / 1e6,
        "body_encode_mreadings_s": speed["ours, with qualities"],
        "body_decode_mreadings_s": readings / statistics.median(decode["ours, with qualities"]) / 1e6,
    } | checksums()
    print(f"\n{json.dumps({name: round(figure, 4) for name, figure in figures.items()})}")


if __name__ == "__main__":
    main()
