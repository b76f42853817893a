"""A usage point's energy by tariff bucket and month, beside what the meter's tariff registers counted. Reads the validated layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Protocol

from drivers.facts import UtcSeconds
from drivers.obis import Obis, tariff_register
from drivers.units import ScalerUnit
from drivers.zone import parse_zone
from headend.errors import RegistryError, SettingsError
from headend.registry.model import UsagePoint
from headend.series import Series
from headend.vee.assemble import DAY, Piece, Reader, VeeError, pieces
from headend.vee.calendar import Calendars
from headend.vee.holidays import EPOCH
from headend.vee.registers import RegisterPart, register_difference
from headend.vee.tariffs import with_ends
from headend.vee.tou import TimeOfUse, time_of_use
from kernels.quality import HAS_VALUE, State


class BucketReader(Reader, Protocol):
    """What is read of the store."""

    def validated_series(self, usage_point_id: int, obis: Obis, start: UtcSeconds, end: UtcSeconds) -> Series:
        """Give the newest validated slots that start within ``[start, end)``."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of one month, or of the part of it in which a tariff holds: ``[start, end)`` [s UTC].

    ``energy``: of slots with a value.  ``demand``: greatest energy of one interval, and ``demand_at`` [s UTC] where it starts.
    All are None where no slot has a value.  ``slots``: by state.
    ``register``: that counts it, None where nobody says which.  ``counted``: its difference, None where it was not read at both
    ends; a register of several buckets counts them all.  ``off``: their energy less that.
    """

    calendar: str
    tariff: str
    bucket: str
    start: UtcSeconds
    end: UtcSeconds
    energy: Decimal | None
    demand: Decimal | None
    demand_at: UtcSeconds | None
    slots: Mapping[State, int]
    register: Obis | None
    counted: Decimal | None
    off: Decimal | None


@dataclass(frozen=True, slots=True)
class BucketTable:
    """``scaler_unit``: of the channel."""

    scaler_unit: ScalerUnit
    buckets: tuple[Bucket, ...]


def bucket_table(
    reader: BucketReader,
    usage_point: UsagePoint,
    obis: Obis,
    first: date,
    last: date,
    calendars: Calendars,
    *,
    within: int,
) -> BucketTable:
    """Sum up the local days ``first`` to ``last``, inclusive, by month and bucket of the tariffs that the usage point has then.

    ``within``: how far off a period's end a register may be read. [s] Raises `RegistryError` where there is no tariff then,
    `VeeError` for a tariff that there is not, or that switches within an interval.
    """
    zone = parse_zone(usage_point.zone)
    found = pieces(reader, usage_point.id, obis)
    start, end = ((day - EPOCH).days * DAY for day in (first - timedelta(days=1), last + timedelta(days=2)))
    series = reader.validated_series(usage_point.id, obis, start, end)
    rows: list[Bucket] = []
    for entry, behind in with_ends(usage_point.tariffs):
        since, until = (EPOCH + timedelta(days=number) for number in (entry.day, behind))
        days = list(_months(max(first, since), min(last + timedelta(days=1), until)))
        if len(days) < 2:
            continue
        try:
            calendar = calendars.calendar(entry.calendar)
            sums = time_of_use(series, zone, days, calendar, entry.tariff)
            numbers = calendar.tariff(entry.tariff).registers
        except (SettingsError, ValueError) as error:
            raise VeeError(f"usage point {usage_point.name}, {obis}: {error}") from error
        for month in range(len(sums.starts)):
            rows += _buckets(reader, found, obis, sums, month, entry.tariff, numbers, within)
    if not rows:
        raise RegistryError(
            f"usage point {usage_point.name} has no tariff from {first} to {last}; give it one in column tariff of the meter table"
        )
    return BucketTable(series.scaler_unit, tuple(rows))


def _months(first: date, behind: date) -> Iterator[date]:
    """Give the first day, the first of each month, and the day behind the last one; nothing for an empty span."""
    if first >= behind:
        return
    day = first
    while day < behind:
        yield day
        day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    yield behind


def _buckets(
    reader: Reader,
    found: Sequence[Piece],
    obis: Obis,
    sums: TimeOfUse,
    month: int,
    tariff: str,
    numbers: Sequence[int],
    within: int,
) -> Iterator[Bucket]:
    start, end, unit = int(sums.starts[month]), int(sums.ends[month]), sums.scaler_unit
    counted = {
        number: _counted(reader, found, tariff_register(obis, number), start, end, within) for number in set(numbers)
    }
    for index, name in enumerate(sums.buckets):
        at = int(sums.demand_at[month, index])
        number = numbers[index] if numbers else None
        difference = None if number is None else counted[number]
        alike = [other for other, one in enumerate(numbers) if one == number]
        theirs = _energy(sums, month, alike)
        yield Bucket(
            sums.calendar, tariff, name, start, end, _energy(sums, month, [index]),
            unit.to_decimal(int(sums.demand[month, index])) if at >= 0 else None, at if at >= 0 else None,
            {state: int(sums.counts[month, index, state]) for state in State},
            None if number is None else tariff_register(obis, number), difference,
            None if difference is None or theirs is None else theirs - difference,
        )  # fmt: skip


def _energy(sums: TimeOfUse, month: int, buckets: Sequence[int]) -> Decimal | None:
    """Add up buckets of a month; None where no slot of them has a value."""
    if not any(sums.counts[month, index, state] for index in buckets for state in HAS_VALUE):
        return None
    return sums.scaler_unit.to_decimal(sum(int(sums.sums[month, index]) for index in buckets))


def _counted(
    reader: Reader, found: Sequence[Piece], register: Obis, start: UtcSeconds, end: UtcSeconds, within: int
) -> Decimal | None:
    """Give what a register counted over ``[start, end)`` [s UTC], of all meters that hung there; None where one was not read."""
    parts = []
    for piece in found:
        if not piece.touches(start, end):
            continue
        ends = max(piece.start, start), end if piece.end is None else min(piece.end, end)
        reads = [_at(reader, piece, register, instant, within) for instant in ends]
        if None in reads or reads[0][1] != reads[1][1]:  # type: ignore[index]  # neither is None
            return None
        (first, unit), (last, _) = reads  # type: ignore[misc]
        # The digits are in counts of the channel; the register's own may be coarser or finer.
        dials = max(0, piece.dials + piece.scaler_unit.scaler - unit.scaler) if piece.dials else 0
        parts.append(RegisterPart(first, last, unit, piece.multiplier, dials))
    try:
        return register_difference(parts) if parts else None
    except ValueError:
        return None


def _at(
    reader: Reader, piece: Piece, register: Obis, instant: UtcSeconds, within: int
) -> tuple[int, ScalerUnit] | None:
    near = [
        (off, one.captured_at, one)
        for one in reader.registers(piece.end_device_id, register, max(0, instant - within), instant + within + 1)
        if (off := abs(one.captured_at - instant) + one.uncertainty) <= within
    ]
    if not near:
        return None
    _, _, best = min(near, key=lambda item: item[:2])
    return best.count, best.scaler_unit
