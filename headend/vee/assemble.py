"""One usage point's raw series and register spans out of the end devices that hung there, in primary counts.

A meter swap is an ordinary day: each slot belongs to the end device installed when it starts. A slot in which the meter was
swapped is measured whole by neither; it is missing (no row), and estimated like any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from drivers.facts import INT32_MAX, RegisterValue, UtcSeconds
from drivers.obis import Obis, register_of, tariff_register
from drivers.units import ScalerUnit, Unit
from headend.errors import HeadendError
from headend.registry.model import ChannelExpectation, Installation, UsagePoint
from headend.series import Series
from headend.vee.registers import RegisterSpan, joined, register_spans
from headend.vee.rules import MEAN_POWER_UNITS, RuleSet
from headend.vee.work import instant_text
from kernels.quality import Reason, State

DAY = 86_400
MULTIPLIED = MEAN_POWER_UNITS | {Unit.WATT, Unit.VAR, Unit.VOLT_AMPERE}
"""Units the multiplier applies to. It is the product of both transformer ratios; voltage and current have one each."""


class VeeError(HeadendError):
    """A series cannot be validated as registered; the message names usage point, channel and what to correct."""


class Reader(Protocol):
    """What is read of the store."""

    def installations(
        self, usage_point_id: int | None = None, end_device_id: int | None = None
    ) -> Sequence[Installation]:
        """List installations."""

    def usage_point(self, name: str) -> UsagePoint:
        """Find a usage point by its global name."""

    def expectations(self, end_device_id: int) -> Sequence[ChannelExpectation]:
        """List an end device's dated channel expectations."""

    def raw_series(self, end_device_id: int, obis: Obis, start: UtcSeconds, end: UtcSeconds) -> Series:
        """Give the raw slots that start within ``[start, end)``."""

    def registers(self, end_device_id: int, obis: Obis, start: UtcSeconds, end: UtcSeconds) -> list[RegisterValue]:
        """List a register's values captured within ``[start, end)``."""

    def validated_channels(self, usage_point_id: int, day: int) -> list[Obis]:
        """List the channels already validated on a day."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A span ``[start, end)`` [s UTC], end None: open, in which one end device delivers a channel on one grid."""

    end_device_id: int
    start: UtcSeconds
    end: UtcSeconds | None
    period: int
    offset: int
    scaler_unit: ScalerUnit
    multiplier: int
    dials: int = 0

    def touches(self, start: UtcSeconds, end: UtcSeconds) -> bool:
        """Say whether the piece has an instant in ``[start, end)``."""
        return self.start < end and (self.end is None or start < self.end)


@dataclass(frozen=True, slots=True)
class Assembled:
    """A window of one usage point's channel, ready to be validated. ``tariffs``: spans of each tariff's register."""

    series: Series
    spans: tuple[RegisterSpan, ...]
    tariffs: Mapping[int, tuple[RegisterSpan, ...]]


def pieces(reader: Reader, usage_point_id: int, obis: Obis) -> list[Piece]:
    """List which end device delivers the channel when, oldest first: installations cut with expectations."""
    return all_pieces(reader, usage_point_id).get(obis, [])


def all_pieces(reader: Reader, usage_point_id: int) -> dict[Obis, list[Piece]]:
    """List the pieces of each channel of a usage point, oldest first."""
    found: dict[Obis, list[Piece]] = {}
    for place in reader.installations(usage_point_id=usage_point_id):
        for entry in reader.expectations(place.end_device_id):
            start = max(place.start, entry.start)
            end = min((at for at in (place.end, entry.end) if at is not None), default=None)
            if end is None or start < end:
                multiplier = place.multiplier if entry.scaler_unit.unit in MULTIPLIED else 1
                found.setdefault(entry.obis, []).append(
                    Piece(
                        place.end_device_id, start, end, entry.period, entry.offset, entry.scaler_unit, multiplier,
                        entry.dials,
                    )
                )  # fmt: skip
    return {obis: sorted(of_channel, key=lambda piece: piece.start) for obis, of_channel in found.items()}


def common_scaler_unit(found: Iterable[Piece]) -> ScalerUnit:
    """Choose the finest scaler of all end devices, so that every count stays whole. Raises `VeeError` where units differ."""
    scaler_units = sorted({piece.scaler_unit for piece in found})
    if len({scaler_unit.unit for scaler_unit in scaler_units}) != 1:
        units = ", ".join(scaler_unit.unit.symbol for scaler_unit in scaler_units) or "nothing"
        raise VeeError(f"its meters deliver {units}; one unit is needed: correct the meters' profiles")
    return scaler_units[0]


def assemble(
    reader: Reader,
    found: Sequence[Piece],
    obis: Obis,
    start: UtcSeconds,
    end: UtcSeconds,
    rules: RuleSet,
    *,
    with_registers: bool = True,
    tariffs: Sequence[int] = (),
) -> Assembled:
    """Lay the pieces that touch ``[start, end)`` [s UTC] into one series; all must share period and offset.

    Slots no piece covers are not expected. ``with_registers``: give the register spans too, and those of ``tariffs``, by number. Raises `VeeError` where a count does not fit 32 bits with its multiplier.
    """
    period, offset = found[0].period, found[0].offset
    target = common_scaler_unit(found)
    first = start + (offset - start) % period
    series = Series.empty(first, period, target, max(0, -((first - end) // period)))
    spans = []
    by_tariff: dict[int, list[list[RegisterSpan]]] = {number: [] for number in tariffs}
    for piece in found:
        begin, stop = max(piece.start, start), end if piece.end is None else min(piece.end, end)
        if begin >= stop:
            continue
        raw = reader.raw_series(piece.end_device_id, obis, begin, stop)
        if not len(raw):
            continue
        part = series.window(raw.start, raw.end)
        part.values[:] = _primary(raw, piece, target)
        part.state[:], part.reason[:], part.rules[:] = raw.state, raw.reason, raw.rules
        if piece.end is not None and raw.end > piece.end and _is_swap(found, piece):
            part.values[-1], part.rules[-1] = 0, 0
            part.state[-1], part.reason[-1] = State.MISSING, Reason.NO_ROW
        if with_registers:
            spans.append(_spans(reader, piece, register_of(obis), part, series, rules))
            for number, found_so_far in by_tariff.items():
                code = tariff_register(obis, number)
                found_so_far.append(_spans(reader, piece, code, part, series, rules))
    joined_tariffs = {number: tuple(joined(parts)) for number, parts in by_tariff.items()}
    return Assembled(series, tuple(joined(spans)), joined_tariffs)


def spans_of(
    reader: Reader, piece: Piece, obis: Obis, start: UtcSeconds, end: UtcSeconds, rules: RuleSet
) -> list[RegisterSpan]:
    """Give the register spans of one end device that delivers a channel all through a window of whole UTC days [s UTC].

    As `assemble` would, without reading intervals; by slots from the window's first.
    """
    slots = (end - start) // piece.period
    whole = Series.empty(start + piece.offset, piece.period, piece.scaler_unit, slots)
    first = max(0, -((whole.start - piece.start) // piece.period))
    part = whole.window(whole.start + first * piece.period, whole.end)
    return joined([_spans(reader, piece, register_of(obis), part, whole, rules)])


def _is_swap(found: Sequence[Piece], piece: Piece) -> bool:
    return any(other.start == piece.end for other in found if other is not piece)


def _primary(raw: Series, piece: Piece, target: ScalerUnit) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    factor = piece.multiplier * int(10 ** (piece.scaler_unit.scaler - target.scaler))
    if factor == 1:
        return raw.values
    counts = raw.values.astype(object) * factor
    for slot in np.flatnonzero(np.abs(raw.values.astype(np.int64)) > INT32_MAX // factor):
        raise VeeError(
            f"the interval at {instant_text(raw.start + int(slot) * raw.period)} is {counts[slot]} counts of 10^{target.scaler} "
            f"{target.unit.symbol} with multiplier {piece.multiplier}, which does not fit 32 bits; "
            "choose a coarser scaler in the meter's profile"
        )
    return counts.astype(np.int32)


def _spans(
    reader: Reader, piece: Piece, register: Obis, part: Series, series: Series, rules: RuleSet
) -> list[RegisterSpan]:
    if series.scaler_unit.unit not in MEAN_POWER_UNITS:
        return []
    shift = (part.start - series.start) // series.period
    try:
        found = register_spans(
            reader.registers(
                piece.end_device_id,
                register,
                max(0, part.start - rules.register_within),
                part.end + rules.register_within + 1,
            ),
            start=part.start,
            period=part.period,
            slots=len(part),
            scaler_unit=part.scaler_unit,
            within=rules.register_within,
            longest=rules.longest_span,
            multiplier=piece.multiplier,
            dials=piece.dials or rules.register_dials,
            dials_of=piece.scaler_unit.scaler if piece.dials else None,
        )
    except ValueError as error:
        raise VeeError(f"{error}; correct the meter's profile") from error
    return [RegisterSpan(span.first + shift, span.last + shift, span.delta, span.resolution) for span in found]
