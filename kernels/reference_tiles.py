"""The slow, obvious twin of `kernels.tiles`: one row of codes at a time, plain Python, nothing changed in place. Tests only."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise

from kernels.quality import HAS_VALUE, Reason, State
from kernels.reference import half_up
from kernels.tile import CLOSED, MISSING, TARIFFS, Flag, Limits

REJECTED = -3


@dataclass(frozen=True)
class Bucket:
    """What is said of an hour or a day."""

    total: int
    least: int
    most: int
    count: int


@dataclass(frozen=True)
class RowOutcome:
    """All that a run gives for one row; ``codes`` are the filled ones."""

    codes: list[int]
    flags: list[Flag]
    hours: list[Bucket]
    day: Bucket
    first_of_most: int
    tariffs: list[int]


def run_row(
    codes: Sequence[int], limits: Limits, edges: Sequence[int], tariffs: Sequence[int], register: int | None
) -> RowOutcome:
    """See `kernels.tiles.run`."""
    values = [_value(code, limits.low) for code in codes]
    flags = [Flag(0)] * len(values)
    for slot, value in enumerate(values):
        if value is None:
            flags[slot] |= Flag.MISSING
        elif not limits.low <= value <= limits.high:
            flags[slot] |= Flag.RANGE
            values[slot] = None
    for slot in _spikes(values, limits):
        flags[slot] |= Flag.SPIKE
    for zeros in _runs([value == 0 for value in values]):
        if limits.zero_run and len(zeros) >= limits.zero_run:
            for slot in zeros:
                flags[slot] |= Flag.ZERO_RUN
    filled = list(values)
    for gap in _runs([value is None for value in values]):
        for slot, value in _line(gap, codes, values, flags, limits).items():
            filled[slot] = value
            flags[slot] |= Flag.ESTIMATED
    day = _bucket(filled)
    if register is not None and None not in filled:
        allowed = limits.sum_counts + abs(register) * Fraction(limits.sum_permille, 1000)
        if abs(day.total - register) > allowed:
            flags = [flag | Flag.SUM_CHECK for flag in flags]
    return RowOutcome(
        codes=[
            code if Flag.ESTIMATED not in flags[slot] else (filled[slot] or 0) - limits.low
            for slot, code in enumerate(codes)
        ],
        flags=flags,
        hours=[_bucket(filled[first:last]) for first, last in pairwise(edges)],
        day=day,
        first_of_most=filled.index(day.most) if day.count else -1,
        tariffs=[
            sum(value or 0 for value, of in zip(filled, tariffs, strict=True) if of == tariff)
            for tariff in range(TARIFFS)
        ],
    )


def code_of(value: int, state: int, reason: int, low: int) -> int:
    """See `kernels.tiles.series_to_tiles`."""
    if State(state) not in HAS_VALUE:
        return MISSING if state == State.MISSING and reason != Reason.POWER_OFF else CLOSED
    code = (value - low + 2**31) % 2**32 - 2**31
    return REJECTED if code in {MISSING, CLOSED} else code


def _value(code: int, low: int) -> int | None:
    """Give the count of a code; those beyond the limits wrap, and all that matters of them is that they are beyond."""
    return None if code in {MISSING, CLOSED} else low + code % 2**32


def _spikes(values: Sequence[int | None], limits: Limits) -> list[int]:
    known = sorted((value for value in values if value is not None), reverse=True)
    if not limits.spike_permille or len(known) < 3 or known[2] <= 0:
        return []
    bound = max(known[2] * (1 + Fraction(limits.spike_permille, 1000)), Fraction(limits.spike_floor))
    return [slot for slot, value in enumerate(values) if value is not None and value > bound]


def _runs(marks: Sequence[bool]) -> list[list[int]]:
    """List the slots of each run of marks."""
    return [
        [slot for slot, _ in run] for is_marked, run in groupby(enumerate(marks), lambda mark: mark[1]) if is_marked
    ]


def _line(
    gap: Sequence[int], codes: Sequence[int], values: Sequence[int | None], flags: Sequence[Flag], limits: Limits
) -> dict[int, int]:
    """Give the slots of a gap with their values on the line through it; none where it may not be drawn."""
    is_open = all(codes[slot] != CLOSED for slot in gap)
    is_whole = limits.estimates_rejected or all(Flag.RANGE not in flags[slot] for slot in gap)
    if gap[0] == 0 or gap[-1] == len(values) - 1 or len(gap) > limits.longest_gap or not is_open or not is_whole:
        return {}
    before, after = values[gap[0] - 1], values[gap[-1] + 1]
    assert before is not None
    assert after is not None
    return {slot: half_up(before + Fraction((after - before) * step, len(gap) + 1)) for step, slot in enumerate(gap, 1)}


def _bucket(values: Sequence[int | None]) -> Bucket:
    known = [value for value in values if value is not None]
    return Bucket(sum(known), min(known, default=0), max(known, default=0), len(known))
