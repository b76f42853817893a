"""Spans between registers read on interval boundaries: what the intervals between must sum to. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from drivers.facts import RegisterValue
from drivers.units import ScalerUnit


@dataclass(frozen=True, slots=True)
class RegisterSpan:
    """Slots ``first`` to ``last``, exclusive, whose energy a register knows.

    ``delta``: register difference over them.  ``resolution``: one register count. Both in counts of the series.
    """

    first: int
    last: int
    delta: int
    resolution: int


@dataclass(frozen=True, slots=True)
class _Point:
    """A register at a boundary, ``total`` in counts of the finest scaler; ``worth`` of one register count in these."""

    slot: int
    total: int
    worth: int


def register_spans(
    registers: Iterable[RegisterValue],
    *,
    start: int,
    period: int,
    slots: int,
    scaler_unit: ScalerUnit,
    within: int,
    longest: int,
    multiplier: int = 1,
) -> list[RegisterSpan]:
    """Make the spans between consecutive registers of one end device that lie on the grid of a series.

    A register counts where it was read within ``within`` seconds of a boundary, its own uncertainty included; of several at
    one boundary the nearest, then the earlier. A span is left out that is longer than ``longest`` [s], or over which the
    register went down, and so are the spans before and after a fall: the register rolled over, was reset, or was misread,
    and a misread zero must not make the register itself the energy of the span behind it. A register finer than the series is rounded half up. Raises `ValueError` where a register has another unit.
    """
    nearest: dict[int, tuple[int, int, RegisterValue]] = {}
    for register in registers:
        slot = (register.captured_at - start + period // 2) // period
        off = abs(register.captured_at - start - slot * period) + register.uncertainty
        if not 0 <= slot <= slots or off > within:
            continue
        if register.scaler_unit.unit is not scaler_unit.unit:
            raise ValueError(
                f"register {register.obis} counts {register.scaler_unit.unit.symbol}, "
                f"its intervals {scaler_unit.unit.symbol}"
            )
        found = (off, register.captured_at, register)
        if slot not in nearest or found[:2] < nearest[slot][:2]:
            nearest[slot] = found
    # All in counts of the finest scaler about, so that differences are exact before they are rounded once.
    finest = min([scaler_unit.scaler, *(found[2].scaler_unit.scaler for found in nearest.values())])
    step = int(10 ** (scaler_unit.scaler - finest))
    points = []
    for slot, (_, _, register) in sorted(nearest.items()):
        worth = int(10 ** (register.scaler_unit.scaler - finest)) * multiplier
        points.append(_Point(slot, register.count * worth, worth))
    spans = []
    stands_since = 0
    for index, (before, after) in enumerate(pairwise(points)):
        if index and points[index - 1].total != before.total:
            stands_since = index
        neighbors = (*points[max(0, stands_since - 1) : stands_since + 1], after, *points[index + 2 : index + 3])
        # What lies further off than the longest span is not looked at, so that a result depends on nothing else.
        fell = any(
            two.total < one.total and (max(two.slot, after.slot) - min(one.slot, before.slot)) * period <= longest
            for one, two in pairwise(neighbors)
        )
        delta = after.total - before.total
        if delta < 0 or fell or (after.slot - before.slot) * period > longest:
            continue
        resolution = max(1, before.worth // step, after.worth // step)
        spans.append(RegisterSpan(before.slot, after.slot, (2 * delta + step) // (2 * step), resolution))
    return spans


def tolerance(span: RegisterSpan, *, counts: int, permille: int) -> int:
    """Give how far the intervals may be off the register: ``counts`` register counts or a share of the difference, the larger."""
    return max(counts * span.resolution, abs(span.delta) * permille // 1000)


def joined(spans: Iterable[Sequence[RegisterSpan]]) -> list[RegisterSpan]:
    """Put the spans of several end devices, one after the other at a usage point, in order."""
    return sorted((span for device in spans for span in device), key=lambda span: (span.first, span.last))
