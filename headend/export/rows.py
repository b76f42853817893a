"""The canonical row: one per expected slot, whatever its state, and how a `Piece` of a channel becomes rows.

Pure. A slot that was never expected has no row; a missing slot has one, with its cause and no value.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Literal

import numpy as np

from drivers.facts import UtcSeconds
from drivers.obis import Obis, by_obis
from drivers.units import ScalerUnit, Unit
from headend.series import Series
from kernels.quality import HAS_VALUE, Reason, Rule, State

Layer = Literal["validated", "raw"]
Slot = tuple[tuple[str, str, str], tuple[str, ...]]
"""A slot as read back from a data file: (usage point, channel, start as printed), (value as printed, everything else)."""
FIRST_METHOD = Reason.LINEAR  # codes from here on name a method of an estimate or edit; below are causes of a miss

# Energy is printed in thousands: what bills and market formats use.
_PRINTED = {
    Unit.WATT_HOUR: ("kWh", 3),
    Unit.VAR_HOUR: ("kvarh", 3),
    Unit.VOLT_AMPERE_HOUR: ("kVAh", 3),
}
# Making a member of its code takes longer than remembering it.
_state, _reason, _rules = lru_cache(256)(State), lru_cache(256)(Reason), lru_cache(1024)(Rule)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one channel, from one meter and one layer.

    ``multiplier``: what still has to be applied to the counts (1 where the layer has applied it).
    ``raw``: the raw layer over the same slots, for the cause behind an estimate; None where it has no such grid.
    ``updated_at``: when this version came to be; None where unknown. [s UTC]
    """

    usage_point: str
    meter: str
    serial: str
    obis: Obis
    series: Series
    source: Layer
    version: int | None = None
    multiplier: Decimal = Decimal(1)
    raw: Series | None = None
    updated_at: UtcSeconds | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One expected slot ``[start, end)`` [s UTC] of one channel of one usage point.

    ``value``: exact, in ``unit``; None where the state carries no value.
    ``method``: how an estimate or edit was made; ``reason``: why the slot is missing, or was before it was estimated.
    """

    usage_point: str
    meter: str
    serial: str
    obis: Obis
    name: str
    start: UtcSeconds
    end: UtcSeconds
    value: Decimal | None
    unit: str
    state: State
    method: Reason
    reason: Reason
    rules: Rule
    version: int | None
    source: Layer
    updated_at: UtcSeconds | None = None


def printed_unit(unit: Unit) -> str:
    """Give the unit a value is printed in: kWh for Wh, kvarh for varh, kVAh for VAh, else the catalogue's own."""
    return _PRINTED[unit][0] if unit in _PRINTED else unit.symbol


def printed_scale(scaler_unit: ScalerUnit) -> ScalerUnit:
    """Give what a count is worth in the printed unit."""
    shift = _PRINTED[scaler_unit.unit][1] if scaler_unit.unit in _PRINTED else 0
    return ScalerUnit(scaler_unit.scaler - shift, scaler_unit.unit)


def printed_value(count: int, scale: ScalerUnit, multiplier: Decimal = Decimal(1)) -> Decimal:
    """Turn a count into an exact decimal, by its `printed_scale`; every digit the count resolves is kept, zeros too."""
    value = scale.to_decimal(count)
    return value if multiplier == 1 else value * multiplier


def channel_name(obis: Obis) -> str:
    """Give the catalogue name of a channel, or nothing for a code the catalogue does not hold."""
    entry = by_obis(obis)
    return entry.name if entry else ""


@lru_cache(maxsize=1 << 16)  # channels share their instants: a year of quarter hours, and its end
def instant(seconds: UtcSeconds) -> str:
    """Write an instant as RFC 3339 in UTC, for example ``2024-06-30T14:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=256, typed=True)  # typed: State.MEASURED == Reason.NO_ROUTE, both are 2
def word(code: State | Reason) -> str:
    """Write a quality code as it is printed: ``no_answer``; nothing for `Reason.NONE`."""
    return "" if code is Reason.NONE else code.name.lower()


@lru_cache(maxsize=1024)
def rule_words(rules: Rule) -> str:
    """Write failed rules joined by ``|``: ``range|spike``."""
    return "|".join(rule.name.lower() for rule in Rule if rule in rules and rule.name)


def rows(piece: Piece) -> Iterator[Row]:
    """Make the rows of one piece, one per expected slot, in order of time. Raises `ValueError` on unequal grids."""
    series, raw = piece.series, piece.raw
    if raw is not None and (raw.start, raw.period, len(raw)) != (series.start, series.period, len(series)):
        raise ValueError(f"{piece.usage_point} {piece.obis}: the raw layer has another grid")
    name, unit = channel_name(piece.obis), printed_unit(series.scaler_unit.unit)
    scale = printed_scale(series.scaler_unit)
    values, states, reasons, rules = (array.tolist() for array in series.arrays)
    for index in np.flatnonzero(series.state != State.NOT_EXPECTED).tolist():
        state, code = _state(states[index]), _reason(reasons[index])
        start = series.start + index * series.period
        yield Row(
            usage_point=piece.usage_point,
            meter=piece.meter,
            serial=piece.serial,
            obis=piece.obis,
            name=name,
            start=start,
            end=start + series.period,
            value=printed_value(values[index], scale, piece.multiplier) if state in HAS_VALUE else None,
            unit=unit,
            state=state,
            method=code if code >= FIRST_METHOD else Reason.NONE,
            reason=code if code < FIRST_METHOD else _cause(raw, index),
            rules=_rules(rules[index]),
            version=piece.version,
            source=piece.source,
            updated_at=piece.updated_at,
        )


def _cause(raw: Series | None, index: int) -> Reason:
    """Say why a slot that is now estimated or edited had no usable value of its own."""
    if raw is None or raw.state[index] != State.MISSING:
        return Reason.NONE
    return Reason(int(raw.reason[index]))
