"""Which usage points may be worked on together: those where one end device delivers all channels all through. Reads the registry."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from drivers.obis import Obis, register_of, tariff_register
from headend.registry.model import DAY, UsagePoint
from headend.vee.assemble import Piece, Reader, all_pieces, spans_of
from headend.vee.beside import siblings
from headend.vee.calendar import Calendars
from headend.vee.registers import RegisterSpan
from headend.vee.rows import Kind
from headend.vee.rules import MEAN_POWER_UNITS, RuleSet
from headend.vee.service import NO_CALENDARS
from headend.vee.tariffs import numbers_of


class PlanReader(Reader, Protocol):
    """What is read of the store."""

    def register_codes(self, end_device_id: int) -> list[Obis]:
        """List the registers of which any value is stored."""


@dataclass(frozen=True, slots=True)
class Place:
    """A usage point with what its channels are made from, from UTC day ``first`` on.

    ``pieces``: of all time, by channel.  ``now``: the piece that delivers each of ``kinds``.
    ``spans``: register spans of energy channels, by slots from ``start`` on. [s UTC]
    """

    point: UsagePoint
    first: int
    kinds: tuple[Kind, ...]
    now: Mapping[Obis, Piece]
    pieces: Mapping[Obis, Sequence[Piece]]
    spans: Mapping[Obis, Sequence[RegisterSpan]]
    start: int

    @property
    def longest_span(self) -> int:
        """Length of the longest register span there is, up to whole days. [s]"""
        longest = max(
            ((span.last - span.first) * self.now[obis].period for obis, spans in self.spans.items() for span in spans),
            default=0,
        )
        return -(-longest // DAY) * DAY


def place_of(
    reader: PlanReader,
    point: UsagePoint,
    wanted: Collection[Obis],
    day_from: int,
    day_to: int,
    rules: RuleSet,
    calendars: Calendars = NO_CALENDARS,
) -> Place | None:
    """Say how ``wanted`` channels of a usage point, and those that they are judged by, are made; None where not simply enough.

    ``calendars``: those that its tariffs may name. Raises `SettingsError` for a tariff there is not, and `VeeError`.
    """
    if point.check_meter:
        return None
    numbers = numbers_of(point.tariffs, calendars)
    start, end = max(0, day_from * DAY - rules.look_back), day_to * DAY + rules.look_ahead
    pieces = all_pieces(reader, point.id)
    beside = {sibling for obis in wanted for sibling in siblings(obis, rules)}
    kinds, now = [], {}
    for obis in sorted({*wanted, *beside}):
        found = pieces.get(obis, [])
        touching = [piece for piece in found if piece.touches(start, end)]
        if not touching and obis not in wanted:
            continue
        if len(touching) != 1 or not _is_simple(found, touching[0], end):
            return None
        piece = now[obis] = touching[0]
        grid = (piece.period, piece.offset)
        limiting = max(one.multiplier for one in found if (one.period, one.offset) == grid)
        kinds.append(Kind(obis, *grid, piece.scaler_unit, piece.multiplier, limiting))
    firsts = {max(day_from, now[obis].start // DAY) for obis in wanted}
    devices = {piece.end_device_id for piece in now.values()}
    if len(firsts) != 1 or len(devices) != 1:
        return None
    device = devices.pop()
    entries = Counter(entry.obis for entry in reader.expectations(device))
    if any(entries[obis] != 1 for obis in now):
        return None
    codes = set(reader.register_codes(device))
    if any(tariff_register(obis, number) in codes for obis in wanted for number in numbers):
        return None
    spans = {
        obis: spans_of(reader, piece, obis, start, end, rules)
        for obis, piece in now.items()
        if obis in wanted and piece.scaler_unit.unit in MEAN_POWER_UNITS and register_of(obis) in codes
    }
    return Place(point, firsts.pop(), tuple(kinds), now, pieces, spans, start)


def _is_simple(found: Sequence[Piece], piece: Piece, end: int) -> bool:
    """Say whether a piece lasts until ``end`` [s UTC], and counts as all the channel's others do."""
    return (piece.end is None or piece.end >= end) and len({one.scaler_unit for one in found}) == 1
