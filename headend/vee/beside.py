"""What lies beside a channel at its usage point: the channels it is judged by, and its own year before. Reads the raw
layer.
"""

from collections.abc import Sequence

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.registry.model import UsagePoint
from headend.series import Series
from headend.vee.assemble import DAY, Piece, Reader, VeeError, assemble, common_scaler_unit, pieces
from headend.vee.electrical import electrical_siblings
from headend.vee.likedays import YEAR
from headend.vee.maincheck import in_our_counts
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
    found = {}
    for sibling in siblings(obis, rules):
        series = _on_grid(reader, usage_point.id, sibling, same_grid, start, end, rules)
        if series is not None:
            found[sibling] = series

    def year() -> Series | None:
        first, last = start - (YEAR + rules.look_year) * DAY, end - (YEAR - 1) * DAY
        if first < 0 or not any(piece.touches(first, last) for piece in same_grid):
            return None
        return assemble(reader, same_grid, obis, first, last, rules, with_registers=False).series

    multiplier = max(piece.multiplier for piece in same_grid)
    check_name = _check_name(usage_point)
    check = _check_meter(reader, usage_point, obis, same_grid, start, end, rules)
    return Beside(obis, found, year if rules.look_year else None, check, multiplier, check_name=check_name)


def _on_grid(
    reader: Reader,
    usage_point_id: int,
    obis: Obis,
    same_grid: Sequence[Piece],
    start: UtcSeconds,
    end: UtcSeconds,
    rules: RuleSet,
) -> Series | None:
    """Read a channel over the slots of ours; None where it was never on our grid."""
    grid = (same_grid[0].period, same_grid[0].offset)
    there = [piece for piece in pieces(reader, usage_point_id, obis) if (piece.period, piece.offset) == grid]
    return assemble(reader, there, obis, start, end, rules, with_registers=False).series if there else None


def _check_name(usage_point: UsagePoint) -> str:
    ratio = f" x {usage_point.check_ratio}" if usage_point.check_ratio != 1 else ""
    return f"{usage_point.check_meter}{ratio}"


def _check_meter(
    reader: Reader,
    usage_point: UsagePoint,
    obis: Obis,
    same_grid: Sequence[Piece],
    start: UtcSeconds,
    end: UtcSeconds,
    rules: RuleSet,
) -> Series | None:
    """Read what the check meter measured, in our counts; None where there is none, or on another grid alone."""
    if not usage_point.check_meter or obis.d != _ENERGY:
        return None
    point = reader.usage_point(usage_point.check_meter)
    theirs = _on_grid(reader, point.id, obis, same_grid, start, end, rules)
    try:
        target = common_scaler_unit(same_grid)
        return None if theirs is None else in_our_counts(theirs, usage_point.check_ratio, target)
    except ValueError as error:
        raise VeeError(f"{error}; correct the usage point's check meter") from error
