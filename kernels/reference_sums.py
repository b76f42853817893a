"""The slow, obvious twins of sums: `kernels.tou` and `kernels.combine`. Tests only."""

from collections.abc import Sequence
from itertools import pairwise

from kernels.quality import HAS_VALUE, Reason, State

Row = Sequence[int]
Part = tuple[int, int, int, int, int]
"""Value, state, reason, rule mask and factor of what is added."""
_WORST_FIRST = (State.MISSING, State.EXPECTED, State.QUESTIONABLE, State.ESTIMATED, State.EDITED, State.MEASURED)


def by_bucket(values: Row, state: Row, bucket: Row, edges: Row, buckets: int) -> list[list[tuple[int, list[int]]]]:
    """See `kernels.tou.by_bucket`: sum and counts by state, per period and bucket."""
    found = []
    for first, last in pairwise(edges):
        periods = []
        for code in range(buckets):
            slots = [slot for slot in range(first, last) if bucket[slot] == code]
            total = sum(values[slot] for slot in slots if State(state[slot]) in HAS_VALUE)
            periods.append((total, [sum(state[slot] == one for slot in slots) for one in State]))
        found.append(periods)
    return found


def demand_by_bucket(
    values: Row, state: Row, bucket: Row, edges: Row, buckets: int, *, width: int, step: int
) -> list[list[tuple[int, int]]]:
    """See `kernels.tou.demand_by_bucket`: greatest demand and its first slot, per period and bucket."""
    found = []
    for start, end in pairwise(edges):
        spans: list[dict[int, int]] = [{} for _ in range(buckets)]
        for first in range(start, end - width + 1, step):
            slots = range(first, first + width)
            if all(State(state[slot]) in HAS_VALUE for slot in slots) and len({bucket[slot] for slot in slots}) == 1:
                spans[bucket[first]][first] = sum(values[slot] for slot in slots)
        greatest = [max(one, key=lambda first: one[first], default=-1) for one in spans]
        found.append([(one.get(at, 0), at) for one, at in zip(spans, greatest, strict=True)])
    return found


def tiers(total: int, limits: Row) -> list[int]:
    """See `kernels.tou.tiers`."""
    shares = []
    rest = total
    for before, limit in pairwise([0, *limits]):
        shares.append(min(rest, limit - before))
        rest -= shares[-1]
    return [*shares, rest]


def within_band(
    values: Row, state: Row, edges: Row, *, low: int, high: int, assessed_low: int, assessed_high: int
) -> list[list[int]]:
    """See `kernels.tou.within_band`: below, within, above, not assessed."""
    found = []
    for first, last in pairwise(edges):
        assessed = [
            values[slot]
            for slot in range(first, last)
            if State(state[slot]) in HAS_VALUE and assessed_low <= values[slot] <= assessed_high
        ]
        below, above = sum(one < low for one in assessed), sum(one > high for one in assessed)
        found.append([below, len(assessed) - below - above, above, last - first - len(assessed)])
    return found


def add_up(parts: Sequence[Part]) -> tuple[int, int, int, int]:
    """Add parts as `kernels.combine` does: value, state, reason and rule mask of the sum."""
    expected = [part for part in parts if part[1] != State.NOT_EXPECTED]
    if not expected:
        return 0, State.NOT_EXPECTED, Reason.NONE, 0
    worst = next(state for state in _WORST_FIRST if any(part[1] == state for part in expected))
    why = next(part[2] for part in expected if part[1] == worst)
    mask = 0
    for part in expected:
        mask |= part[3]
    total = sum(part[0] * part[4] for part in expected) if worst in HAS_VALUE else 0
    return total, worst, why, mask
