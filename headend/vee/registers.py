"""Spans between registers read on interval boundaries: what the intervals between must sum to. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from drivers.facts import RegisterValue
from drivers.units import ScalerUnit
from headend.series import UInt8


@dataclass(frozen=True, slots=True)
class RegisterSpan:
    """Slots ``first`` to ``last``, exclusive, whose energy a register knows.

    ``delta``: register difference over them.  ``resolution``: one register count. Both in counts of the series.
    """

    first: int
    last: int
    delta: int
    resolution: int


@dataclass(frozen=True, slots=True, eq=False)
class TariffRegisters:
    """The registers of a meter's tariffs beside a series. ``of_slot``: which counts each slot, 0: nobody knows; shape (n,).

    ``spans``: what each counted, by its number (value group E).
    """

    of_slot: UInt8
    spans: Mapping[int, Sequence[RegisterSpan]]


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
    dials: int = 0,
    dials_of: int | None = None,
) -> list[RegisterSpan]:
    """Make the spans between consecutive registers of one end device that lie on the grid of a series.

    A register counts where it was read within ``within`` seconds of a boundary, its own uncertainty included; of several at
    one boundary the nearest, then the earlier. A span is left out that is longer than ``longest`` [s], or over which the
    register went down, and so are the spans before and after a fall: the register rolled over, was reset, or was misread,
    and a misread zero must not make the register itself the energy of the span behind it. ``dials``: digits after which the register starts
    again at 0, in counts of 10^``dials_of`` of its unit or else of its own, 0 where nobody knows. With them a drop is a rollover, and no fall, where it is the shorter way round the dials; digits that a register does not fit say nothing. A register finer than the series is rounded half up. Raises `ValueError` where a register has another unit.
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
    points: list[_Point] = []
    last = 0
    for slot, (_, _, register) in sorted(nearest.items()):
        scaler = register.scaler_unit.scaler
        worth = int(10 ** (scaler - finest)) * multiplier
        shown = register.count * worth
        turn = int(10 ** ((scaler if dials_of is None else dials_of) - finest)) * multiplier * 10**dials
        advance = shown - last
        # Digits that a register does not fit are not its own.
        is_same = dials_of is not None or bool(points and points[-1].worth == worth)
        if dials and is_same and max(shown, last) < turn:
            advance = _shorter_way(advance, turn)
        points.append(_Point(slot, points[-1].total + advance if points else shown, worth))
        last = shown
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


def _shorter_way(step: int, turn: int) -> int:
    """Give a step round dials of ``turn`` counts as the shorter one, forward if both are as long."""
    around = step % turn
    return around if 2 * around <= turn else around - turn


@dataclass(frozen=True, slots=True)
class RegisterPart:
    """A time within a period in which one end device and one multiplier count. ``start``, ``end``: its register then, in counts of ``scaler_unit``.

    ``dials``: digits after which the register starts again at 0; 0: never. It may do so once in the part.
    """

    start: int
    end: int
    scaler_unit: ScalerUnit
    multiplier: int = 1
    dials: int = 0


def register_difference(parts: Iterable[RegisterPart]) -> Decimal:
    """Give what the registers of a period counted in all, at the primary side, in their unit: across swaps, changes of multiplier and rollovers.

    Raises `ValueError` where a register went down and has no dials to go round, does not fit its dials, or units differ.
    """
    total = Decimal(0)
    units = set()
    for part in parts:
        turn = 10**part.dials
        if part.dials and not (0 <= part.start < turn and 0 <= part.end < turn):
            raise ValueError(f"registers {part.start} and {part.end} do not fit {part.dials} dials")
        counts = (part.end - part.start) % turn if part.dials else part.end - part.start
        if counts < 0:
            raise ValueError(f"the register went from {part.start} down to {part.end}, and nobody knows its dials")
        units.add(part.scaler_unit.unit)
        total += part.scaler_unit.to_decimal(counts * part.multiplier)
    if len(units) > 1:
        raise ValueError(f"registers count {', '.join(sorted(unit.symbol for unit in units))}; one unit is needed")
    return total


def estimated_register(register: int, intervals: Iterable[int], dials: int = 0) -> int:
    """Give the register at the end of ``intervals``, which follow the instant at which ``register`` was read: forward only.

    All in counts of the register. Source: usage calculation (Itron): closest preceding register + sum of the intervals between,
    aware of the rollover. Raises `ValueError` for an interval below 0: the register never runs back.
    """
    total = register
    for interval in intervals:
        if interval < 0:
            raise ValueError(f"an interval of {interval} counts would turn the register back")
        total += interval
    return total % 10**dials if dials else total


def energy_of_pulses(
    pulses: int, constant: ScalerUnit, weight: int = 1, current_ratio: int = 1, voltage_ratio: int = 1
) -> Decimal:
    """Give the energy of pulses: pulses x Ke x CT x PT. Ke is ``weight`` counts of ``constant`` a pulse, the ratios are primary to secondary."""
    return constant.to_decimal(pulses * weight * current_ratio * voltage_ratio)


def tolerance(span: RegisterSpan, *, counts: int, permille: int) -> int:
    """Give how far the intervals may be off the register: ``counts`` register counts or a share of the difference, the larger."""
    return max(counts * span.resolution, abs(span.delta) * permille // 1000)


def joined(spans: Iterable[Sequence[RegisterSpan]]) -> list[RegisterSpan]:
    """Put the spans of several end devices, one after the other at a usage point, in order."""
    return sorted((span for device in spans for span in device), key=lambda span: (span.first, span.last))
