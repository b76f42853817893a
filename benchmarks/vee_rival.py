"""The rival of ``make bench-vee``: one SQLite row per reading, judged and filled with pandas, and written back the same way.

It does the rules that a day or two of one channel decide (limits, spike, zero and constant run, line through short gaps) as one would
with masks, groups and rolling windows over a table of time by channel. No like days, no registers, no versions, no other years.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from headend.vee.rules import ChannelLimits
from kernels.quality import Rule, State

PERIOD = 900
DAY = 86_400


@dataclass(frozen=True)
class Judged:
    """What came out, each of shape (slots, meters): value, `State`, mask of `Rule`."""

    values: npt.NDArray[np.int64]
    state: npt.NDArray[np.int64]
    rules: npt.NDArray[np.int64]


def load(path: Path, rows: pd.DataFrame) -> None:
    """Make the table. ``rows``: columns channel, at, meter, value (NaN: missing), doubted."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE reading (channel INTEGER, at INTEGER, meter INTEGER, value INTEGER, doubted INTEGER,"
            " PRIMARY KEY (channel, at, meter)) WITHOUT ROWID"
        )
        connection.execute(
            "CREATE TABLE validated (channel INTEGER, at INTEGER, meter INTEGER, value INTEGER, state INTEGER, rules INTEGER,"
            " PRIMARY KEY (channel, at, meter)) WITHOUT ROWID"
        )
        values = rows["value"].astype(object).where(rows["value"].notna(), None)
        connection.executemany(
            "INSERT INTO reading VALUES (?, ?, ?, ?, ?)",
            zip(
                rows["channel"].tolist(),
                rows["at"].tolist(),
                rows["meter"].tolist(),
                values,
                rows["doubted"].tolist(),
                strict=True,
            ),
        )


def validate(
    path: Path,
    channel: int,
    limits: ChannelLimits,
    span: tuple[int, int],
    around: int,
    zone: str,
    *,
    constant: int,
    is_energy: bool,
) -> Judged:
    """Validate ``span`` [s UTC] of one channel of all meters, with ``around`` seconds of context, and write it."""
    with sqlite3.connect(path) as connection:
        read = pd.read_sql_query(
            "SELECT at, meter, value, doubted FROM reading WHERE channel = ? AND at >= ? AND at < ?", connection,
            params=(channel, span[0] - around, span[1] + around),
        )  # fmt: skip
        table = read.pivot(index="at", columns="meter", values=["value", "doubted"])  # noqa: PD010  each pair is there once
        value, doubted = table["value"].astype(float), table["doubted"].astype(bool)
        rules = pd.DataFrame(0, index=value.index, columns=value.columns)
        out_of_range = (value < limits.low) | (value > limits.high)
        rules += (out_of_range).astype(int) * int(Rule.RANGE)
        if is_energy:
            day = pd.to_datetime(value.index, unit="s", utc=True).tz_convert(zone).date
            by_day = value.groupby(day)
            third = value.where(by_day.rank(method="first", ascending=False) == 3).groupby(day).transform("max")
            spike = (
                (third > 0) & (value > limits.spike_floor) & ((value - third) * 1_000 > limits.spike_permille * third)
            )
            rules += (spike).astype(int) * int(Rule.SPIKE)
            rules += (_long(value.eq(0), limits.zero_run)).astype(int) * int(Rule.ZERO_RUN)
            same = value.eq(value.shift()) & value.ne(0)
            begins = _long(same, constant - 1)
            rules += (begins | begins.shift(-1, fill_value=False)).astype(int) * int(Rule.CONSTANT_RUN)
        state = pd.DataFrame(int(State.MEASURED), index=value.index, columns=value.columns)
        state = state.mask(doubted | out_of_range, int(State.QUESTIONABLE)).mask(value.isna(), int(State.MISSING))
        if is_energy:
            value, state = _lines(value, state, limits.linear_slots)
        inside = slice(*np.searchsorted(value.index, span))
        value, state, rules = value.iloc[inside], state.iloc[inside], rules.iloc[inside]
        at, meter = value.index.repeat(len(value.columns)).tolist(), value.columns.tolist() * len(value)
        flat = [frame.to_numpy().reshape(-1) for frame in (value, state, rules)]
        values = [None if one != one else int(one) for one in flat[0].tolist()]  # noqa: PLR0124  NaN is what is missing
        connection.executemany(
            "INSERT OR REPLACE INTO validated VALUES (?, ?, ?, ?, ?, ?)",
            zip([channel] * len(at), at, meter, values, flat[1].tolist(), flat[2].tolist(), strict=True),
        )
    return Judged(value.fillna(0).to_numpy(np.int64), state.to_numpy(np.int64), rules.to_numpy(np.int64))


def _long(marks: pd.DataFrame, shortest: int) -> pd.DataFrame:
    """Mark the runs of at least so many marks."""
    ends = marks.astype(float).rolling(shortest).sum() == shortest
    back = ends[::-1].astype(float).rolling(shortest, min_periods=1).max()[::-1]
    return back == 1


def _lines(value: pd.DataFrame, state: pd.DataFrame, longest: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw lines through short gaps between measured values, rounded half up."""
    gap = value.isna()
    place = pd.DataFrame(
        np.arange(len(value), dtype=float)[:, None].repeat(len(value.columns), 1), value.index, value.columns
    )
    known = place.mask(gap)
    before, after = known.ffill(), known.bfill()
    is_good = (state == State.MEASURED).astype(float).mask(gap)
    steps, step = after - before, place - before
    left, right = value.ffill(), value.bfill()
    may = gap & (steps - 1 <= longest) & (is_good.ffill() == 1) & (is_good.bfill() == 1)
    drawn = left + (2 * (right - left) * step + steps) // (2 * steps)
    return value.where(~may, drawn), state.mask(may, int(State.ESTIMATED))
