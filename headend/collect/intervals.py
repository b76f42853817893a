"""Intervals from registers polled around boundaries. Pure.

A slot is exact when the register was read within the channel's tolerance after both of its boundaries. Anything else
leaves it empty: the energy is not lost, it stays in the stored registers, and estimation may spread it later. Nothing
here ever books a late poll, a transient zero or a register that started anew as consumption.

Each reading is compared with the last believed one. It is believed when it advances by a plausible amount: between the
channel's limits for every interval that has passed, counting a rollover where the model's dials allow exactly one answer.
A reading that is not believed is set aside; when later ones go on from it, the register has started anew, and a new
run of readings begins there. No difference is ever taken across two runs.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from drivers.facts import INT32_MAX, IntervalBlock, RegisterValue, UtcSeconds
from drivers.profile import ChannelProfile
from drivers.units import ScalerUnit
from kernels.quality import Rule


@dataclass(frozen=True, slots=True)
class Rejected:
    """A reading that was not believed, or a register that started anew. ``what`` says which, in words.

    ``noticed_at``: when the reading was taken that showed it; not before ``reading``. [s UTC]
    """

    reading: RegisterValue
    what: str
    noticed_at: UtcSeconds


@dataclass(frozen=True, slots=True)
class Derived:
    """Intervals of one channel. ``block`` holds None where a slot could not be made exactly.

    ``doubted``: starts of slots that are empty because a reading was not believed.
    ``opened``: starts of slots that have a reading at their start but none at their end.
    """

    block: IntervalBlock
    doubted: frozenset[UtcSeconds]
    opened: frozenset[UtcSeconds]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class _Point:
    """A reading in counts of the channel. ``total`` runs on over rollovers; comparable within one ``run`` only."""

    reading: RegisterValue
    count: int
    total: int
    run: int

    @property
    def at(self) -> UtcSeconds:
        return self.reading.captured_at


def derive(channel: ChannelProfile, readings: Iterable[RegisterValue], start: UtcSeconds, end: UtcSeconds) -> Derived:
    """Make the intervals of ``channel`` within ``[start, end)``, both on its grid, from register readings.

    ``readings`` may reach before ``start``: earlier ones decide what to believe. Within one run of readings the exact
    slots sum to the difference of the registers. Raises `ValueError` where the register's unit is not the channel's.
    """
    points, rejected = _believe(channel, sorted(readings, key=lambda reading: reading.captured_at))
    instants = [point.at for point in points]
    doubts = sorted(item.reading.captured_at for item in rejected)
    counts: list[int | None] = []
    rules: list[Rule] = []
    doubted: set[UtcSeconds] = set()
    opened: set[UtcSeconds] = set()
    for slot in range(start, end, channel.period):
        before = _at_boundary(channel, points, instants, slot)
        after = _at_boundary(channel, points, instants, slot + channel.period)
        count = None if before is None or after is None else after.total - before.total
        if before is None or after is None or before.run != after.run or abs(count or 0) > INT32_MAX:
            counts.append(None)
            rules.append(Rule(0))
            if (before and after) or _any_within(doubts, slot, slot + channel.period + channel.boundary_tolerance):
                doubted.add(slot)
            elif before:
                opened.add(slot)
        else:
            counts.append(count)
            rules.append(before.reading.rules | after.reading.rules)
    block = IntervalBlock(channel.obis, channel.scaler_unit, start, channel.period, tuple(counts), tuple(rules))
    return Derived(block, frozenset(doubted), frozenset(opened), tuple(rejected))


def _believe(channel: ChannelProfile, readings: list[RegisterValue]) -> tuple[list[_Point], list[Rejected]]:
    believed: list[_Point] = []
    suspects: list[_Point] = []
    rejected: list[Rejected] = []
    for reading in readings:
        count = _in_channel_counts(reading, channel.scaler_unit)
        if not believed:
            believed.append(_Point(reading, count, count, 0))
            continue
        last = believed[-1]
        if reading.captured_at == last.at:
            continue
        step = _step(channel, last, reading.captured_at, count)
        if step is not None:
            believed.append(_Point(reading, count, last.total + step, last.run))
            suspects.clear()
            continue
        follows = _step(channel, suspects[-1], reading.captured_at, count) if suspects else None
        if follows is None:
            suspects = [_Point(reading, count, count, last.run + 1)]
            rejected.append(Rejected(reading, _describe(channel, last, count), reading.captured_at))
            continue
        suspects.append(_Point(reading, count, suspects[-1].total + follows, last.run + 1))
        if follows:
            # Advancing from the odd value is what a register that started anew does; a stuck zero does not.
            what = f"register started anew at {suspects[0].count}"
            rejected.append(Rejected(suspects[0].reading, what, reading.captured_at))
            believed.extend(suspects)
            suspects = []
        else:
            rejected.append(Rejected(reading, _describe(channel, last, count), reading.captured_at))
    return believed, rejected


def _step(channel: ChannelProfile, last: _Point, at: UtcSeconds, count: int) -> int | None:
    """Say how far the register advanced since ``last``, or None where no advance is plausible."""
    elapsed = max(1, -((last.at - at) // channel.period))
    step = count - last.count
    if channel.lower * elapsed <= step <= channel.upper * elapsed:
        return step
    turn: int = 10**channel.dials
    # Beyond half a turn of the dials a drop and a rollover look alike, so neither is assumed.
    if channel.dials and step < 0 and step + turn <= channel.upper * elapsed < turn // 2:
        return step + turn
    return None


def _describe(channel: ChannelProfile, last: _Point, count: int) -> str:
    unit = channel.scaler_unit
    step = count - last.count
    verb = "fell" if step < 0 else "jumped"
    return f"register {verb} from {unit.to_decimal(last.count)} to {unit.to_decimal(count)} {unit.unit.symbol}"


def _in_channel_counts(reading: RegisterValue, target: ScalerUnit) -> int:
    """Rescale towards minus infinity, so that what a coarser channel drops is carried into the next interval."""
    if reading.scaler_unit.unit is not target.unit:
        raise ValueError(
            f"{reading.obis}: register is in {reading.scaler_unit.unit.symbol}, its channel in {target.unit.symbol}"
        )
    step = reading.scaler_unit.scaler - target.scaler
    return reading.count * int(10**step) if step >= 0 else reading.count // int(10**-step)


def _at_boundary(
    channel: ChannelProfile, points: list[_Point], instants: list[UtcSeconds], boundary: UtcSeconds
) -> _Point | None:
    index = bisect_left(instants, boundary)
    if index < len(points) and instants[index] - boundary <= channel.boundary_tolerance:
        return points[index]
    return None


def _any_within(instants: list[UtcSeconds], start: UtcSeconds, end: UtcSeconds) -> bool:
    index = bisect_left(instants, start)
    return index < len(instants) and instants[index] <= end
