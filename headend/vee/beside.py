"""What lies beside a channel at its usage point: the channels it is judged by, and its own year before. Reads the raw
layer.
"""

from collections.abc import Callable, Sequence

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.registry.model import UsagePoint
from headend.series import Series
from headend.vee.assemble import DAY, Piece, Reader, assemble, pieces
from headend.vee.electrical import electrical_siblings
from headend.vee.likedays import YEAR
from headend.vee.mark import energy_siblings
from headend.vee.rules import RuleSet
from headend.vee.work import Beside

_ENERGY = 29
"""Value group D of interval channels."""


def siblings(obis: Obis, rules: RuleSet) -> list[Obis]:
    """List the channels of the same usage point whose slots a channel's rules look at."""
    if obis.d == _ENERGY:
        return energy_siblings(obis, rules.checks)
    return electrical_siblings(obis, rules.checks)


def gather(
    reader: Reader,
    usage_point: UsagePoint,
    obis: Obis,
    same_grid: Sequence[Piece],
    start: UtcSeconds,
    end: UtcSeconds,
    rules: RuleSet,
) -> Beside:
    """Collect what a run over ``[start, end)`` [s UTC] may look at. A sibling on another grid is left out: it is judged
    by nobody.
    """
    grid = (same_grid[0].period, same_grid[0].offset)
    found = {}
    for sibling in siblings(obis, rules):
        there = [piece for piece in pieces(reader, usage_point.id, sibling) if (piece.period, piece.offset) == grid]
        if there:
            found[sibling] = assemble(reader, there, sibling, start, end, rules, with_registers=False).series

    multiplier = max(piece.multiplier for piece in same_grid)
    return Beside(obis, found, year_before(reader, obis, same_grid, start, end, rules), None, multiplier)


def year_before(
    reader: Reader, obis: Obis, same_grid: Sequence[Piece], start: UtcSeconds, end: UtcSeconds, rules: RuleSet
) -> Callable[[], Series | None] | None:
    """Give what reads a channel's slots of the year before a run over ``[start, end)`` [s UTC]; None where no rule wants them."""
    first, last = start - (YEAR + rules.look_year) * DAY, end - (YEAR - 1) * DAY

    def year() -> Series | None:
        if first < 0 or not any(piece.touches(first, last) for piece in same_grid):
            return None
        return assemble(reader, same_grid, obis, first, last, rules, with_registers=False).series

    return year if rules.look_year else None
