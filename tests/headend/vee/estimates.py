"""Which estimate is better: gaps cut into real households at seeded places, filled, and held against what was measured.

For each length of gap so many gaps a household, anywhere with four whole weeks before it. Two figures each, pooled over
all gaps: the sum of |estimate - measured| of the intervals over the sum measured, and the same of whole gaps.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from drivers.zone import parse_zone
from headend.series import Series
from headend.vee.checks import Check
from headend.vee.registers import RegisterSpan
from headend.vee.rules import HOUR, RuleSet, load_rules
from headend.vee.run import run_series
from kernels.quality import Reason, State
from tests.headend.vee.households import Households

LENGTHS = (1, 4, 6, 8, 48)
METHODS = ("linear", "previous week", "3 same weekdays", "3 same weekdays + register")
WITHOUT_HISTORY = ("flat + register", "class profile + register")
"""What is left where a usage point has no history: the register alone, or in the shape of its class."""
PUBLISHED: Mapping[tuple[int, str], tuple[float | None, float | None]] = {
    (1, "linear"): (0.546, 0.546), (1, "previous week"): (0.894, None), (1, "3 same weekdays"): (0.834, None),
    (4, "linear"): (0.683, 0.569), (4, "previous week"): (0.908, None), (4, "3 same weekdays"): (0.811, 0.615),
    (4, "3 same weekdays + register"): (0.556, 0),
    (6, "linear"): (0.726, 0.581), (6, "previous week"): (0.916, None), (6, "3 same weekdays"): (0.843, 0.591),
    (6, "3 same weekdays + register"): (0.624, 0),
    (8, "linear"): (0.762, 0.602), (8, "previous week"): (0.925, None), (8, "3 same weekdays"): (0.826, 0.532),
    (8, "3 same weekdays + register"): (0.653, 0),
    (48, "linear"): (0.921, 0.647), (48, "previous week"): (0.902, 0.338), (48, "3 same weekdays"): (0.818, 0.314),
    (48, "3 same weekdays + register"): (0.758, 0),
}  # fmt: skip
"""Gap in half-hours and method -> figure per interval and of the gap's energy, as measured before this project on the
same households."""
MARGIN = 3 * 48
WEEK = 7 * 48


def rules_of(method: str) -> RuleSet:
    """Make a rule set that knows one method; nothing is doubted, so that every measured value may serve."""
    checks: dict[str, Check] = {}
    rules = replace(load_rules("residential"), checks=checks, previous_year=False, spike_permille=10**6)
    if method == "linear":
        return replace(rules, linear=48 * HOUR, weeks=0)
    if method == "previous week":
        return replace(rules, linear=0, weeks=1, like_days=1)
    if method in WITHOUT_HISTORY:
        return replace(rules, linear=0, weeks=0, profile=rules.profile if "class" in method else None)
    return replace(rules, linear=0, weeks=3, like_days=3)


def errors(
    households: Households, gaps: int, seed: int, lengths: Sequence[int] = LENGTHS, methods: Sequence[str] = METHODS
) -> dict[tuple[int, str], tuple[float, float]]:
    """Give both figures for each length of gap and method."""
    zone = parse_zone("UTC+10:00")
    found = {}
    for length in lengths:
        sums: dict[str, list[int]] = {method: [0, 0, 0] for method in methods}
        for name, series in sorted(households.items()):
            for window, first in _gaps(series, length, gaps, random.Random(f"{seed} {name} {length}")):
                truth = window.values[first : first + length].astype(np.int64)
                cut = _cut(window, first, length)
                for method in methods:
                    span = [RegisterSpan(first, first + length, int(truth.sum()), 1)] if "register" in method else []
                    done = run_series(cut, zone, RULES[method], span).values[first : first + length]
                    sums[method][0] += int(np.abs(done - truth).sum())
                    sums[method][1] += abs(int(done.sum(dtype=np.int64) - truth.sum()))
                    sums[method][2] += int(truth.sum())
        for method, (single, whole, measured) in sums.items():
            found[length, method] = (single / measured, whole / measured)
    return found


RULES = {method: rules_of(method) for method in (*METHODS, *WITHOUT_HISTORY)}


def _gaps(series: Series, length: int, gaps: int, seeded: random.Random) -> Iterator[tuple[Series, int]]:
    """Draw windows with a place for a gap, all of which is measured."""
    drawn = 0
    before = 3 * WEEK + MARGIN
    while drawn < gaps:
        first = seeded.randrange(before, len(series) - length - MARGIN)
        start, end = first - before, first + length + MARGIN
        window = series.window(series.start + start * 1800, series.start + end * 1800)
        needed = [first - start - back * WEEK for back in range(4)]
        whole = all((window.state[at : at + length] == State.MEASURED).all() for at in needed)
        ends = window.state[[first - start - 1, first - start + length]] == State.MEASURED
        if whole and ends.all() and window.values[first - start : first - start + length].any():
            drawn += 1
            yield window, first - start


def _cut(window: Series, first: int, length: int) -> Series:
    state, reason, values = window.state.copy(), window.reason.copy(), window.values.copy()
    state[first : first + length], reason[first : first + length] = State.MISSING, Reason.NO_ROW
    values[first : first + length] = 0
    return Series(window.start, window.period, window.scaler_unit, values, state, reason, window.rules)


def table(found: Mapping[tuple[int, str], tuple[float, float]]) -> str:
    """Write the figures beside the published ones."""
    lines = [f"{'gap':>4} {'method':<28} {'per interval':>24} {'energy of the gap':>24}"]
    for (length, method), figures in found.items():
        known = PUBLISHED.get((length, method), (None, None))
        cells = [
            f"{figure:.3f} (published {'-' if one is None else f'{one:.3f}'})"
            for figure, one in zip(figures, known, strict=True)
        ]
        lines.append(f"{length:>4} {method:<28} {cells[0]:>24} {cells[1]:>24}")
    return "\n".join(lines)
