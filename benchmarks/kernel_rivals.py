"""The rivals of `benchmarks/kernels.py`: the same rules and results as others would write them. All take rows of one day.

Each gives a `Results` of shape (rows, ...), NaN or null where it has nothing; pandas, polars and DuckDB work on a long table,
one row per reading, in the straightforward relational way: nobody tuned them by hand.
"""

import os

os.environ["POLARS_MAX_THREADS"] = "1"

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
from Cython.Build import cythonize
from setuptools import Distribution, Extension

from benchmarks.kernel_workload import (
    HOURS,
    KINDS,
    LIMITS,
    LONGEST,
    PER_HOUR,
    PERMILLE,
    SUM_COUNTS,
    SUM_PERMILLE,
    TARIFFS,
    ZERO_RUN,
    Workload,
)
from benchmarks.workload import SLOTS
from kernels.tile import NO_REGISTER

Array = npt.NDArray[Any]


@dataclass(slots=True)
class Results:
    """What every engine gives, row by row; see `kernels.tile.Outcome`."""

    filled: Array
    flags: Array
    hour_sum: Array
    hour_min: Array
    hour_max: Array
    hour_count: Array
    day_sum: Array
    day_min: Array
    day_max: Array
    day_argmax: Array
    day_count: Array
    tariff_sum: Array

    @classmethod
    def empty(cls, rows: int) -> "Results":
        """Make room for an engine that writes into it."""
        by_hour = (rows, HOURS)
        shapes = [(rows, SLOTS), (rows, SLOTS), by_hour, by_hour, by_hour, by_hour, *[(rows,)] * 5, (rows, 4)]
        return cls(*(np.empty(shape, np.uint8 if place == 1 else np.float64) for place, shape in enumerate(shapes)))


def results(*arrays: Any) -> Results:
    """Put results together, in their order."""
    return Results(*arrays)


@dataclass(frozen=True, slots=True)
class Rows:
    """The workload as float64: values with NaN for missing, shape (rows, slots); limits and register by row, NaN for none."""

    values: Array
    low: Array
    high: Array
    register: Array

    @classmethod
    def of(cls, workload: Workload) -> "Rows":
        """Order rows channel after channel, as the tiles are."""
        day, meters = workload.fleet, workload.meters
        values = (
            np.where(day.has_value, day.values, np.nan).reshape(meters, -1, SLOTS).swapaxes(0, 1).reshape(-1, SLOTS)
        )
        low, high = (
            np.repeat([float(getattr(LIMITS[kind], name)) for kind in KINDS], meters) for name in ("low", "high")
        )
        register = np.where(workload.registers == NO_REGISTER, np.nan, workload.registers).reshape(-1)
        return cls(np.ascontiguousarray(values), low, high, register)


# numpy


def numpy_whole(rows: Rows, out: Results) -> Results:
    """Whole matrix at once."""
    _numpy(rows.values, rows.low, rows.high, rows.register, out, slice(None))
    return out


def numpy_blocked(rows: Rows, out: Results) -> Results:
    """1000 rows at a time, which stay in the cache."""
    for first in range(0, len(rows.values), 1_000):
        part = slice(first, first + 1_000)
        _numpy(rows.values[part], rows.low[part], rows.high[part], rows.register[part], out, part)
    return out


def _numpy(values: Array, low: Array, high: Array, register: Array, out: Results, part: slice) -> None:
    missing = np.isnan(values)
    valid = (values >= low[:, None]) & (values <= high[:, None])
    known = np.where(valid, values, -np.inf)
    third = np.partition(known, SLOTS - 3, axis=1)[:, SLOTS - 3, None]
    flags = missing.view(np.uint8) * np.uint8(16)
    flags |= (~valid & ~missing).view(np.uint8)
    spiked = np.flatnonzero((third[:, 0] > 0) & ((known.max(axis=1) - third[:, 0]) * 1_000 > PERMILLE * third[:, 0]))
    flags[spiked] |= ((known[spiked] - third[spiked]) * 1_000 > PERMILLE * third[spiked]).view(np.uint8) * np.uint8(2)
    zeros = np.flatnonzero((known == 0).sum(axis=1) >= ZERO_RUN)
    flags[zeros] |= _long_zero_runs(known[zeros] == 0).view(np.uint8) * np.uint8(4)
    gapped = np.flatnonzero(~valid.all(axis=1))
    filled = np.where(valid, values, np.nan)
    filled[gapped], drawn = _lines(filled[gapped], valid[gapped])
    flags[gapped] |= drawn.view(np.uint8) * np.uint8(32)
    valid[gapped] |= drawn

    hours = filled.reshape(-1, HOURS, PER_HOUR)
    has = valid.reshape(-1, HOURS, PER_HOUR)
    out.hour_sum[part] = np.where(has, hours, 0).sum(axis=2)
    out.hour_count[part] = count = has.sum(axis=2)
    out.hour_min[part] = least = np.where(has, hours, np.inf).min(axis=2)
    out.hour_max[part] = most = np.where(has, hours, -np.inf).max(axis=2)
    out.hour_min[part][count == 0] = 0
    out.hour_max[part][count == 0] = 0
    total, counted = out.hour_sum[part].sum(axis=1), count.sum(axis=1)
    out.day_sum[part], out.day_count[part] = total, counted
    out.day_min[part] = np.where(counted, least.min(axis=1), 0)
    out.day_max[part] = np.where(counted, most.max(axis=1), 0)
    out.day_argmax[part] = np.where(counted, np.where(valid, filled, -np.inf).argmax(axis=1), -1)
    by_hour = TARIFFS[::PER_HOUR]
    for tariff in range(4):
        out.tariff_sum[part, tariff] = out.hour_sum[part][:, by_hour == tariff].sum(axis=1)
    allowed = SUM_COUNTS + np.floor(np.abs(register) * SUM_PERMILLE / 1_000)
    flags[(counted == SLOTS) & (np.abs(total - register) > allowed)] |= np.uint8(8)
    out.filled[part], out.flags[part] = filled, flags


def _long_zero_runs(zero: Array) -> Array:
    sums = np.zeros((len(zero), SLOTS + 1), np.int16)
    np.cumsum(zero, axis=1, out=sums[:, 1:])
    starts = np.zeros((len(zero), SLOTS + ZERO_RUN), np.int16)
    starts[:, ZERO_RUN : SLOTS + 1] = sums[:, ZERO_RUN:] - sums[:, :-ZERO_RUN] == ZERO_RUN
    sofar = np.cumsum(starts, axis=1)
    return sofar[:, ZERO_RUN:] > sofar[:, :SLOTS]


def _lines(filled: Array, valid: Array) -> tuple[Array, Array]:
    slot = np.arange(SLOTS)
    before = np.maximum.accumulate(np.where(valid, slot, -1), axis=1)
    after = np.minimum.accumulate(np.where(valid, slot, SLOTS)[:, ::-1], axis=1)[:, ::-1]
    drawn = ~valid & (before >= 0) & (after < SLOTS) & (after - before - 1 <= LONGEST)
    row, at = np.nonzero(drawn)
    first, last = before[row, at], after[row, at]
    steps, start = last - first, filled[row, first]
    rise = filled[row, last] - start
    filled[row, at] = start + np.floor((2 * rise * (at - first) + steps) / (2 * steps))
    return filled, drawn


# loops


def arguments(rows: Rows, out: Results) -> tuple[Any, ...]:
    """Give what both plain loops take."""
    results = [getattr(out, name) for name in out.__slots__]
    rules = (ZERO_RUN, float(PERMILLE), LONGEST, float(SUM_PERMILLE), float(SUM_COUNTS))
    return (rows.values, rows.low, rows.high, rows.register, TARIFFS, *results, *rules)


def plain_cython(folder: Path) -> Any:
    """Compile plain_loop.pyx as well as the compiler can, for a machine with AVX2; give its function."""
    source = Path(__file__).with_name("plain_loop.pyx")
    flags = ["-O3", "-march=x86-64-v3"] if os.uname().machine == "x86_64" else ["-O3"]
    extensions = cythonize(  # type: ignore[no-untyped-call]  # Cython ships no types
        [Extension("plain_loop", [str(source)], extra_compile_args=flags)], build_dir=str(folder), quiet=True
    )
    build = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    build.build_lib, build.build_temp = str(folder), str(folder)
    build.ensure_finalized()
    build.run()
    sys.path.insert(0, str(folder))
    return import_module("plain_loop").run


@numba.njit(cache=False)
def numba_loop(
    values: Array, low: Array, high: Array, register: Array, tariff: Array, filled: Array, flags: Array, hour_sum: Array,
    hour_min: Array, hour_max: Array, hour_count: Array, day_sum: Array, day_min: Array, day_max: Array, day_argmax: Array,
    day_count: Array, tariff_sum: Array, zero_run: int, permille: float, longest: int, sum_permille: float, sum_counts: float,
) -> None:  # fmt: skip
    """The plain loop once more, in Python for numba."""
    rows, slots = values.shape
    per_hour = slots // hour_sum.shape[1]
    for row in range(rows):
        top = second = third = -np.inf
        first = 0
        for slot in range(slots):
            v = values[row, slot]
            flags[row, slot] = 0
            if np.isnan(v):
                flags[row, slot] = 16
            elif v < low[row] or v > high[row]:
                flags[row, slot] = 1
                v = np.nan
            elif v > third:
                if v > top:
                    top, second, third = v, top, second
                elif v > second:
                    second, third = v, second
                else:
                    third = v
            filled[row, slot] = v
            if v != 0:
                if slot - first >= zero_run:
                    for step in range(first, slot):
                        flags[row, step] |= 4
                first = slot + 1
        if slots - first >= zero_run:
            for step in range(first, slots):
                flags[row, step] |= 4
        if third > 0 and (top - third) * 1000 > permille * third:
            for slot in range(slots):
                if (filled[row, slot] - third) * 1000 > permille * third:
                    flags[row, slot] |= 2
        gap = 0
        for slot in range(slots):
            if np.isnan(filled[row, slot]):
                gap += 1
                continue
            if 0 < gap < slot and gap <= longest:
                start = slot - gap - 1
                before = filled[row, start]
                rise = filled[row, slot] - before
                for step in range(1, gap + 1):
                    filled[row, start + step] = before + np.floor((2 * rise * step + gap + 1) / (2 * (gap + 1)))
                    flags[row, start + step] |= 32
            gap = 0
        day_total = day_counted = 0.0
        day_least, day_most, best = np.inf, -np.inf, -1
        tariff_sum[row, :] = 0
        for hour in range(hour_sum.shape[1]):
            total = count = 0.0
            least, most = np.inf, -np.inf
            for slot in range(hour * per_hour, (hour + 1) * per_hour):
                v = filled[row, slot]
                if np.isnan(v):
                    continue
                total += v
                count += 1
                least = min(least, v)
                most = max(most, v)
                if v > day_most:
                    day_most = v
                    best = slot
                tariff_sum[row, tariff[slot]] += v
            hour_sum[row, hour] = total
            hour_count[row, hour] = count
            hour_min[row, hour] = least if count else 0
            hour_max[row, hour] = most if count else 0
            day_least = min(day_least, least)
            day_total += total
            day_counted += count
        day_sum[row] = day_total
        day_count[row] = day_counted
        day_min[row] = day_least if best >= 0 else 0
        day_max[row] = day_most if best >= 0 else 0
        day_argmax[row] = best
        if not np.isnan(register[row]) and day_counted == slots:
            allowed = sum_counts + np.floor(abs(register[row]) * sum_permille / 1000)
            if abs(day_total - register[row]) > allowed:
                for slot in range(slots):
                    flags[row, slot] |= 8


# tables


def long_table(rows: Rows) -> dict[str, Array]:
    """One row per reading; null for missing."""
    n = len(rows.values)
    return {
        "row": np.repeat(np.arange(n, dtype=np.int32), SLOTS),
        "slot": np.tile(np.arange(SLOTS, dtype=np.int16), n),
        "v": rows.values.reshape(-1),
        "low": np.repeat(rows.low, SLOTS),
        "high": np.repeat(rows.high, SLOTS),
        "register": np.repeat(rows.register, SLOTS),
        "tariff": np.tile(TARIFFS, n),
    }


def with_pandas(table: pd.DataFrame) -> Results:
    """Group by row, transform, and group by hour."""
    t = table[["row", "slot"]].copy()
    missing = table["v"].isna()
    valid = (table["v"] >= table["low"]) & (table["v"] <= table["high"])
    t["x"] = table["v"].where(valid)
    ranked = t["x"].sort_values(ascending=False, kind="stable")
    third = ranked.groupby(t["row"].loc[ranked.index]).nth(2)
    third = t["row"].map(pd.Series(third.to_numpy(), index=t["row"].loc[third.index]))
    spike = ((t["x"] - third) * 1_000 > PERMILLE * third) & (third > 0)
    zero = t["x"] == 0
    new_row = t["slot"] == 0
    zero_run = ((zero != zero.shift()) | new_row).cumsum()
    zeros = zero & (zero.groupby(zero_run).transform("size") >= ZERO_RUN)
    gap = ((valid != valid.shift()) | new_row).cumsum()
    length = valid.groupby(gap).transform("size")
    step = valid.groupby(gap).cumcount() + 1
    by_row = t.groupby("row")["x"]
    before, after = by_row.ffill(), by_row.bfill()
    drawn = ~valid & (length <= LONGEST) & before.notna() & after.notna()
    line = before + np.floor((2 * (after - before) * step + length + 1) / (2 * (length + 1)))
    t["filled"] = t["x"].where(~drawn, line)
    t["hour"] = t["slot"] // PER_HOUR
    t["tariff"] = table["tariff"]
    hours = t.groupby(["row", "hour"])["filled"].agg(["sum", "min", "max", "count"])
    days = t.groupby("row")["filled"].agg(["sum", "min", "max", "count"])
    at = t.loc[t.groupby("row")["filled"].idxmax(skipna=True).dropna().to_numpy(), ["row", "slot"]].set_index("row")[
        "slot"
    ]
    tariffs = t.groupby(["row", "tariff"])["filled"].sum()
    register = table["register"].to_numpy()[::SLOTS]
    differs = (days["sum"] - register).abs() > SUM_COUNTS + np.floor(np.abs(register) * SUM_PERMILLE / 1_000)
    differs &= days["count"] == SLOTS
    flags = (
        missing * 16 + (~valid & ~missing) * 1 + spike * 2 + zeros * 4 + drawn * 32 + t["row"].map(differs) * 8
    ).astype(np.uint8)
    return results(
        t["filled"].to_numpy(), flags.to_numpy(), *(hours[name].to_numpy() for name in ("sum", "min", "max", "count")),
        *(days[name].to_numpy() for name in ("sum", "min", "max")), at.reindex(days.index).to_numpy(),
        days["count"].to_numpy(), tariffs.to_numpy(),
    )  # fmt: skip


def with_polars(table: pl.DataFrame) -> Results:
    """One lazy query with windows over each row."""
    v, x, zero = pl.col("v"), pl.col("x"), pl.col("zero")
    third = pl.col("third")
    drawn = (
        ~pl.col("valid")
        & (pl.col("length") <= LONGEST)
        & pl.col("before").is_not_null()
        & pl.col("after").is_not_null()
    )
    line = (
        pl.col("before")
        + (
            (2 * (pl.col("after") - pl.col("before")) * pl.col("step") + pl.col("length") + 1)
            / (2 * (pl.col("length") + 1))
        ).floor()
    )
    steps = (
        table.lazy()
        .with_columns(valid=(v.is_not_null() & (v >= pl.col("low")) & (v <= pl.col("high"))).fill_null(value=False))
        .with_columns(x=pl.when("valid").then(v), missing=v.is_null())
        .with_columns(
            zero=(x == 0).fill_null(value=False),
            third=pl.when(x.count().over("row") >= 3).then(x.top_k(3).min().over("row")),
            gap=pl.col("valid").rle_id().over("row"),
            before=x.forward_fill().over("row"),
            after=x.backward_fill().over("row"),
        )
        .with_columns(
            run=zero.rle_id().over("row"),
            length=pl.len().over("row", "gap").cast(pl.Float64),
            step=(pl.int_range(pl.len()).over("row", "gap") + 1).cast(pl.Float64),
            spike=((third > 0) & ((x - third) * 1_000 > PERMILLE * third)).fill_null(value=False),
        )
        .with_columns(zeros=zero & (pl.len().over("row", "run") >= ZERO_RUN), drawn=drawn)
        .with_columns(filled=pl.when("drawn").then(line).otherwise(x), hour=pl.col("slot") // PER_HOUR)
        .with_columns(total=pl.col("filled").sum().over("row"), counted=pl.col("filled").count().over("row"))
        .with_columns(
            differs=(
                (pl.col("counted") == SLOTS)
                & ((pl.col("total") - pl.col("register")).abs() > SUM_COUNTS + (pl.col("register").abs() * SUM_PERMILLE / 1_000).floor())
            ).fill_null(value=False)
        )
        .with_columns(
            flags=pl.col("missing").cast(pl.UInt8) * 16 + (~pl.col("valid") & ~pl.col("missing")).cast(pl.UInt8)
            + pl.col("spike").cast(pl.UInt8) * 2 + pl.col("zeros").cast(pl.UInt8) * 4
            + pl.col("differs").cast(pl.UInt8) * 8 + pl.col("drawn").cast(pl.UInt8) * 32
        )
        .select("row", "slot", "hour", "tariff", "filled", "flags")
    )  # fmt: skip
    cells = steps.collect()
    filled = pl.col("filled")
    four = {"sum": filled.sum(), "min": filled.min(), "max": filled.max(), "count": filled.count()}
    hours = cells.lazy().group_by("row", "hour").agg(**four).sort("row", "hour").collect()
    days = cells.lazy().group_by("row").agg(**four, at=filled.arg_max()).sort("row").collect()
    tariffs = cells.lazy().group_by("row", "tariff").agg(sum=filled.sum()).sort("row", "tariff").collect()
    return results(
        cells["filled"].to_numpy(), cells["flags"].to_numpy(),
        *(hours[name].to_numpy() for name in ("sum", "min", "max", "count")),
        *(days[name].to_numpy() for name in ("sum", "min", "max", "at", "count")), tariffs["sum"].to_numpy(),
    )  # fmt: skip


_CELLS = f"""
CREATE OR REPLACE TEMP TABLE judged AS
  SELECT *, v IS NULL AS missing, coalesce(v BETWEEN low AND high, false) AS valid, CASE WHEN valid THEN v END AS x
  FROM readings;
CREATE OR REPLACE TEMP TABLE drawn AS
WITH holes AS (
  SELECT "row", min(slot) - 1 AS first, max(slot) + 1 AS last
  FROM (SELECT "row", slot, slot - row_number() OVER (PARTITION BY "row" ORDER BY slot) AS island FROM judged WHERE NOT valid)
  GROUP BY "row", island HAVING count(*) <= {LONGEST}
), ends AS (
  SELECT h."row", h.first, h.last, b.x AS before, a.x AS after
  FROM holes h JOIN judged b ON b."row" = h."row" AND b.slot = h.first JOIN judged a ON a."row" = h."row" AND a.slot = h.last
)
SELECT "row", slot, before + floor((2 * (after - before) * (slot - first) + last - first) / (2 * (last - first))) AS line
FROM (SELECT *, unnest(range(first + 1, last))::SMALLINT AS slot FROM ends);
CREATE OR REPLACE TEMP TABLE zeros AS
SELECT "row", unnest(range(min(slot), max(slot) + 1))::SMALLINT AS slot
FROM (SELECT "row", slot, slot - row_number() OVER (PARTITION BY "row" ORDER BY slot) AS island FROM judged WHERE x = 0)
GROUP BY "row", island HAVING count(*) >= {ZERO_RUN};
CREATE OR REPLACE TEMP TABLE cells AS
WITH thirds AS (SELECT "row", CASE WHEN count(x) >= 3 THEN list_min(max(x, 3)) END AS third FROM judged GROUP BY "row")
SELECT j."row", j.slot, tariff, register, missing, valid, z.slot IS NOT NULL AS zeros,
  coalesce(third > 0 AND (x - third) * 1000 > {PERMILLE} * third, false) AS spike,
  line IS NOT NULL AS drawn, coalesce(line, x) AS filled
FROM judged j JOIN thirds USING ("row") LEFT JOIN drawn d ON d."row" = j."row" AND d.slot = j.slot
  LEFT JOIN zeros z ON z."row" = j."row" AND z.slot = j.slot
"""
_FOUR = "coalesce(sum(filled), 0) AS sum, min(filled) AS min, max(filled) AS max, count(filled) AS count"
_DAYS = f"""
CREATE OR REPLACE TEMP TABLE days AS
SELECT "row", {_FOUR}, arg_max(slot, filled) AS at, any_value(register) AS register,
  coalesce(count = {SLOTS} AND abs(sum - any_value(register)) > {SUM_COUNTS} + floor(abs(any_value(register)) * {SUM_PERMILLE} / 1000), false) AS differs
FROM cells GROUP BY "row"
"""
_FLAGS = """
SELECT filled, (missing::UTINYINT * 16 + (NOT valid AND NOT missing)::UTINYINT + spike::UTINYINT * 2 + zeros::UTINYINT * 4
  + differs::UTINYINT * 8 + drawn::UTINYINT * 32)::UTINYINT AS flags
FROM cells JOIN days USING ("row") ORDER BY "row", slot
"""


def with_duckdb(connection: duckdb.DuckDBPyConnection) -> Results:
    """SQL over the table ``readings``: gaps and runs as islands, joined back, then three groupings."""
    connection.execute(_CELLS)
    connection.execute(_DAYS)
    cells = connection.execute(_FLAGS).fetchnumpy()
    days = connection.execute('SELECT * FROM days ORDER BY "row"').fetchnumpy()
    hours = connection.execute(
        f'SELECT "row", slot // {PER_HOUR} AS hour, {_FOUR} FROM cells GROUP BY "row", hour ORDER BY "row", hour'
    ).fetchnumpy()
    tariffs = connection.execute(
        'SELECT coalesce(sum(filled), 0) AS sum FROM cells GROUP BY "row", tariff ORDER BY "row", tariff'
    ).fetchnumpy()
    return results(
        cells["filled"], cells["flags"], *(hours[name] for name in ("sum", "min", "max", "count")),
        *(days[name] for name in ("sum", "min", "max", "at", "count")), tariffs["sum"],
    )  # fmt: skip
