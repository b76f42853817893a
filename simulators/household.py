"""Households: real interval load on a grid, and the energy used up to any instant.

Energy is whole Wh. Within an interval it is taken to flow evenly, rounded down, so that a register read exactly on a boundary is exact.
"""

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_CSV_BYTES = 256 * 1024 * 1024
SGSC_ZONE = timezone(timedelta(hours=10))  # standard time all year: 48 rows on each daylight-saving date


@dataclass(frozen=True, slots=True)
class Household:
    """One household's load.

    ``start``: start of the first interval. [s UTC]  ``period``: [s].  ``wh``: energy per interval, None where the source has no row. [Wh]
    ``repeats``: whether the load begins again after its end; otherwise nothing is used outside it.
    """

    name: str
    start: int
    period: int
    wh: tuple[int | None, ...] = field(repr=False)
    repeats: bool = False
    _sums: NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse an empty load, a crooked grid, or energy that is not a whole number from 0 on."""
        if self.period <= 0 or 86_400 % self.period:
            raise ValueError(f"{self.name}: period {self.period} s does not divide a day")
        if not self.wh:
            raise ValueError(f"{self.name}: a household needs at least one interval")
        if any(value is not None and value < 0 for value in self.wh):
            raise ValueError(f"{self.name}: energy below 0")
        sums = np.zeros(len(self.wh) + 1, dtype=np.int64)
        np.cumsum([value or 0 for value in self.wh], out=sums[1:])
        object.__setattr__(self, "_sums", sums)

    @property
    def end(self) -> int:
        """End of the last interval (of the first round, where the load repeats). [s UTC]"""
        return self.start + self.period * len(self.wh)

    def interval(self, start: int) -> int | None:
        """Energy of the interval that starts at ``start`` [s UTC], on the grid; None where there is no row. [Wh]"""
        index, offset = divmod(start - self.start, self.period)
        if offset:
            raise ValueError(f"{self.name}: {start} is not on the grid of {self.period} s from {self.start}")
        if self.repeats and index >= 0:
            index %= len(self.wh)
        return self.wh[index] if 0 <= index < len(self.wh) else None

    def energy_until(self, instant: int) -> int:
        """Energy used since ``start`` up to ``instant`` [s UTC], rounded down. [Wh]"""
        index, offset = divmod(instant - self.start, self.period)
        if index < 0:
            return 0
        total = int(self._sums[-1])
        rounds, index = divmod(index, len(self.wh)) if self.repeats else (0, index)
        if index >= len(self.wh):
            return total
        return rounds * total + int(self._sums[index]) + (self.wh[index] or 0) * offset // self.period

    def moved_to(self, start: int) -> "Household":
        """The same load beginning at another instant [s UTC]."""
        return Household(self.name, start, self.period, self.wh, self.repeats)


def bundled() -> list[Household]:
    """Load the bundled half-hourly households, each a fortnight that repeats (see ``data/ORIGIN.md``)."""
    packed = (files("simulators") / "data" / "households.csv.gz").read_bytes()
    rows = csv.DictReader(io.StringIO(gzip.decompress(packed).decode("ascii")))
    return [
        Household(
            row["household"],
            int(datetime.fromisoformat(row["start"]).timestamp()),
            1800,
            tuple(int(value) for value in row["wh"].split(" ")),
            repeats=True,
        )
        for row in rows
    ]


def load_csv(path: Path, period: int = 1800, zone: timezone = SGSC_ZONE) -> dict[str, Household]:
    """Load households from a CSV (may be gzipped) with columns ``id,ts,kwh``: start of interval in fixed ``zone``, at most 3 decimals of kWh.

    Half-hours without a row become gaps. Raises `ValueError` naming row and fault: an unreadable field, a stamp off the grid, two
    rows for one interval, energy that is not whole Wh.
    """
    rows: dict[str, dict[int, int]] = {}
    for number, (identifier, start, wh) in _read_rows(path, zone):
        household = rows.setdefault(identifier, {})
        if start % period:
            raise ValueError(f"{path.name} row {number}: {start} is off the grid of {period} s")
        if start in household:
            raise ValueError(f"{path.name} row {number}: a second row of {identifier} for one interval")
        household[start] = wh
    return {identifier: _on_grid(identifier, household, period) for identifier, household in rows.items()}


def _on_grid(name: str, rows: dict[int, int], period: int) -> Household:
    first, last = min(rows), max(rows)
    return Household(name, first, period, tuple(rows.get(start) for start in range(first, last + period, period)))


def _read_rows(path: Path, zone: timezone) -> Iterator[tuple[int, tuple[str, int, int]]]:
    with path.open("rb") as packed, gzip.GzipFile(fileobj=packed) if path.suffix == ".gz" else packed as stream:
        content = stream.read(MAX_CSV_BYTES + 1)
    if len(content) > MAX_CSV_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_CSV_BYTES} bytes")
    reader = csv.DictReader(io.StringIO(content.decode("utf-8")))
    if missing := {"id", "ts", "kwh"} - set(reader.fieldnames or ()):
        raise ValueError(f"{path.name} lacks the columns {', '.join(sorted(missing))}")
    for number, row in enumerate(reader, start=2):
        try:
            stamp = datetime.fromisoformat(row["ts"]).replace(tzinfo=zone)
            wh = _whole_wh(row["kwh"])
        except (InvalidOperation, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name} row {number}: {error}") from error
        yield number, (row["id"], int(stamp.timestamp()), wh)


def _whole_wh(kwh: str) -> int:
    wh = Decimal(kwh) * 1000
    if wh != int(wh):
        raise ValueError(f"{kwh} kWh is not whole Wh")
    return int(wh)
