"""The slow, obvious twins of the rules: `kernels.runs`, `usage`, `pairs`, `phases` and `status`. Tests only.

Rows go in as sequences, ``None`` standing for a slot without value; what comes out are sets of slots, or masks per
slot.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import groupby, pairwise

from kernels.phases import Condition
from kernels.quality import HAS_VALUE, Reason, Rule, State

Valued = Sequence[int | None]


def valued(values: Sequence[int], state: Sequence[int]) -> list[int | None]:
    """Put None where a slot carries no value."""
    return [value if State(code) in HAS_VALUE else None for value, code in zip(values, state, strict=True)]


def held(is_so: Sequence[bool], shortest: int) -> set[int]:
    """Give the slots of runs of at least ``shortest`` slots of which something is true."""
    found: set[int] = set()
    for is_run, group in groupby(range(len(is_so)), lambda slot: is_so[slot]):
        slots = list(group)
        if is_run and len(slots) >= shortest:
            found |= set(slots)
    return found


def runs(values: Valued, *, negative: int, constant: int, never_zero: int) -> tuple[set[int], set[int], set[int]]:
    """See `kernels.runs.runs`."""
    same: set[int] = set()
    for value in {value for value in values if value}:
        same |= held([other == value for other in values], constant)
    return (
        held([value is not None and value < 0 for value in values], negative) if negative else set(),
        same if constant else set(),
        held([value is not None and value != 0 for value in values], never_zero) if never_zero else set(),
    )


def steps(values: Valued, *, permille: int, floor: int) -> set[int]:
    """See `kernels.runs.steps`."""
    found = set()
    for slot, (before, value) in enumerate(pairwise(values), start=1):
        if before is None or value is None:
            continue
        step = abs(value - before)
        if step > floor and step > abs(before) * Fraction(permille, 1000):
            found.add(slot)
    return found


def local_peaks(values: Valued, *, permille: int, floor: int) -> set[int]:
    """See `kernels.runs.local_peaks`."""
    found = set()
    for slot in range(1, len(values) - 1):
        before, value, after = values[slot - 1 : slot + 2]
        if before is None or value is None or after is None:
            continue
        higher = max(before, after)
        if value > floor and higher > 0 and Fraction(value - higher, higher) > Fraction(permille, 1000):
            found.add(slot)
    return found


def both_ways(values: Valued, other: Valued, *, floor: int) -> set[int]:
    """See `kernels.pairs.both_ways`."""
    return {
        slot
        for slot, (one, two) in enumerate(zip(values, other, strict=True))
        if one is not None and two is not None and min(one, two) > floor
    }


def reactive(
    values: Valued, other: Valued, other_state: Sequence[int], *, floor: int, tangent_ppm: int
) -> tuple[set[int], set[int]]:
    """See `kernels.pairs.reactive`: slots without reactive energy, slots with too much of it."""
    absent, poor = set(), set()
    for slot, (active, drawn) in enumerate(zip(values, other, strict=True)):
        if active is None or active <= floor:
            continue
        if drawn is None:
            if other_state[slot] != State.NOT_EXPECTED:
                absent.add(slot)
        elif tangent_ppm and abs(drawn) > active * Fraction(tangent_ppm, 1_000_000):
            poor.add(slot)
    return absent, poor


def incomplete_days(state: Sequence[int], edges: Sequence[int], *, permille: int) -> list[tuple[int, int]]:
    """Give the days that fail `kernels.usage.incomplete_days`, as ``[first, last)``."""
    found = []
    for first, last in pairwise(edges):
        day = [State(code) for code in state[first:last] if code != State.NOT_EXPECTED]
        if sum(code in HAS_VALUE for code in day) < len(day) * Fraction(permille, 1000):
            found.append((first, last))
    return found


def high_low(
    usage: Sequence[int],
    base: Sequence[int],
    known: Sequence[int],
    *,
    low_permille: int,
    high_permille: int,
    least: int,
) -> set[int]:
    """Give the days that fail `kernels.usage.high_low`."""
    return {
        day
        for day, (now, before, is_known) in enumerate(zip(usage, base, known, strict=True))
        if is_known
        and max(now, before) > least
        and not before * Fraction(low_permille, 1000) <= now <= before * Fraction(high_permille, 1000)
    }


def beyond(values: Valued, *, low: int, high: int, shortest: int) -> set[int]:
    """See `kernels.phases.beyond`."""
    return held([value is not None and value < low for value in values], shortest) | held(
        [value is not None and value > high for value in values], shortest
    )


def conditions(
    volts: Sequence[Valued], amps: Sequence[Valued], neutral: Valued, *, shortest: int, **limit: int
) -> list[list[Condition]]:
    """See `kernels.phases.conditions`: conditions per phase and slot."""
    n = len(neutral)
    together = [_of_all(volts, amps, neutral, slot, limit) for slot in range(n)]
    found = []
    for phase in range(len(volts)):
        marks = [_of_phase(volts, amps, phase, slot, limit) | together[slot] for slot in range(n)]
        is_lost = False
        for slot, (volt, amp) in enumerate(zip(volts[phase], amps[phase], strict=True)):
            if volt is None:
                is_lost = False
            elif is_lost:
                is_lost = volt < limit["recovered"]
            else:
                is_lost = amp is not None and volt < limit["lost"] and amp > limit["idle"]
            marks[slot] |= Condition.VOLTAGE_LOSS if is_lost else Condition(0)
        kept = [Condition(0)] * n
        for condition in Condition:
            for slot in held([condition in mark for mark in marks], shortest):
                kept[slot] |= condition
        found.append(kept)
    return found


def _of_phase(
    volts: Sequence[Valued], amps: Sequence[Valued], phase: int, slot: int, limit: Mapping[str, int]
) -> Condition:
    volt, amp = volts[phase][slot], amps[phase][slot]
    if volt is None or amp is None or amp >= limit["idle"]:
        return Condition(0)
    others = [row[slot] for other, row in enumerate(amps) if other != phase]
    is_loaded = any(current is not None and current > limit["loaded"] for current in others)
    mark = Condition(0)
    if volt < limit["broken"]:
        mark |= Condition.PHASE_BREAK
    if is_loaded and volt > limit["present"]:
        mark |= Condition.CURRENT_LOSS
    if not is_loaded and volt > limit["broken"]:
        mark |= Condition.CURRENT_BREAK
    return mark


def _of_all(
    volts: Sequence[Valued], amps: Sequence[Valued], neutral: Valued, slot: int, limit: Mapping[str, int]
) -> Condition:
    mark = Condition(0)
    here = [value for row in volts if (value := row[slot]) is not None]
    if len(here) == len(volts) > 1 and (max(here) - min(here)) * 1000 > limit["voltage_permille"] * max(here):
        mark |= Condition.VOLTAGE_IMBALANCE
    here = [value for row in amps if (value := row[slot]) is not None]
    if not here or len(here) < len(amps):
        return mark
    greatest, spread = max(here), max(here) - min(here)
    if len(here) > 1 and greatest > limit["loaded"]:
        if spread * 1000 > limit["current_permille"] * greatest:
            mark |= Condition.CURRENT_IMBALANCE
        if spread * 1000 > limit["severe_permille"] * greatest:
            mark |= Condition.SEVERE_CURRENT_IMBALANCE
    current = neutral[slot]
    if (
        current is not None
        and current > limit["neutral_least"]
        and current * 1000 > limit["neutral_permille"] * greatest
    ):
        mark |= Condition.NEUTRAL_CURRENT
    return mark


def flag_status(words: Sequence[int], state: Sequence[int], masks: Mapping[str, int]) -> list[tuple[Rule, Reason]]:
    """Give what each slot gets by `kernels.status.flag_status`: rule bits, and its new cause (NONE: as it was)."""
    bits = {
        "power_failure": Rule.POWER_FAILURE,
        "clock_set": Rule.CLOCK_SET,
        "test_mode": Rule.TEST_MODE,
        "overflow": Rule.OVERFLOW,
        "doubtful": Rule.METER_STATUS,
    }
    found = []
    for word, code in zip(words, state, strict=True):
        rules, why = Rule(0), Reason.NONE
        if State(code) in HAS_VALUE:
            for name, bit in bits.items():
                rules |= bit if word & masks[name] else Rule(0)
        elif code == State.MISSING:
            if word & masks["power_failure"]:
                why = Reason.POWER_OFF
            elif word & masks["clock_set"]:
                why = Reason.CLOCK_MOVED
        found.append((rules, why))
    return found
