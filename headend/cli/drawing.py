"""Draws a day of slots with characters: one column per slot, its height the energy, its character the quality. Pure.

A gap is a gap: no column, and a mark on the base line. Quality shows by character, never by colour alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal

from headend.report import Slot
from kernels.quality import State

AXIS = 10
"""Characters left of the drawing: the scale and a rule. [characters]"""
SHORTEST = 24


@dataclass(frozen=True, slots=True)
class Pens:
    """Characters. ``fill``: of a column by state.  ``eighths``: the top of a measured column, from one to seven eighths."""

    fill: Mapping[State, str]
    eighths: str
    gap: str
    base: str
    rule: str


UNICODE = Pens(
    {State.MEASURED: "█", State.QUESTIONABLE: "?", State.ESTIMATED: "░", State.EDITED: "▒"}, "▁▂▃▄▅▆▇", "x", "─", "┤"
)
ASCII = Pens({State.MEASURED: "#", State.QUESTIONABLE: "?", State.ESTIMATED: "e", State.EDITED: "m"}, "", "x", "-", "|")


def draw(slots: Sequence[Slot], zone: tzinfo, *, width: int, height: int, is_ascii: bool) -> str:
    """Draw slots of one day, ordered by start; a long day is cut into panels that fit ``width`` [characters]."""
    pens = ASCII if is_ascii else UNICODE
    if not slots:
        return ""
    per_panel = max(SHORTEST, (width - AXIS) // 4 * 4)
    top = max((slot.value for slot in slots if slot.value is not None), default=Decimal(0))
    bottom = min((slot.value for slot in slots if slot.value is not None), default=Decimal(0))
    if top <= 0:
        height = 1
    columns = _with_gaps(slots)
    panels = []
    for first in range(0, len(columns), per_panel):
        part = columns[first : first + per_panel]
        panels.append(_panel(part, zone, pens, top=max(top, Decimal(1)), height=height))
    panels.append(_legend(slots, pens))
    if bottom < 0:
        panels.append("Negative values are drawn as nothing; -o csv gives them.")
    return "\n".join(panels)


def _with_gaps(slots: Sequence[Slot]) -> list[tuple[int, Slot | None]]:
    """Give each instant of the grid with its slot, None where no slot was expected between two that were."""
    period = min(slot.period for slot in slots)
    by_start = {slot.start: slot for slot in slots}
    return [(at, by_start.get(at)) for at in range(slots[0].start, slots[-1].start + 1, period)]


def _panel(columns: Sequence[tuple[int, Slot | None]], zone: tzinfo, pens: Pens, *, top: Decimal, height: int) -> str:
    lines = []
    for line in range(height, 0, -1):
        is_labelled = line in {height, (height + 1) // 2}
        label = f"{top * line / height:.{0 if top >= 10 else 1}f}" if is_labelled else ""
        cells = "".join(_cell(slot, line, top=top, height=height, pens=pens) for _, slot in columns)
        lines.append(f"{label:>{AXIS - 2}} {pens.rule}{cells.rstrip()}")
    base = "".join(_base(slot, pens) for _, slot in columns)
    lines.append(f"{'0':>{AXIS - 2}} {pens.rule}{base}")
    lines.append(" " * AXIS + _hours([at for at, _ in columns], zone))
    return "\n".join(line.rstrip() for line in lines)


def _cell(slot: Slot | None, line: int, *, top: Decimal, height: int, pens: Pens) -> str:
    if slot is None or slot.value is None or slot.value <= 0:
        return " "
    eighths = int(slot.value * height * 8 / top)
    full, rest = divmod(max(eighths, 1), 8)
    fill = pens.fill.get(slot.state, "?")
    if line <= full:
        return fill
    if line == full + 1 and rest:
        if slot.state is State.MEASURED and pens.eighths:
            return pens.eighths[rest - 1]
        return fill if rest >= 4 or full == 0 else " "
    return " "


def _base(slot: Slot | None, pens: Pens) -> str:
    if slot is None:
        return " "
    return pens.gap if slot.value is None else pens.base


def _hours(starts: Sequence[int], zone: tzinfo) -> str:
    """Write the hour under the first column of every third hour."""
    text = ""
    for column, at in enumerate(starts):
        local = datetime.fromtimestamp(at, zone)
        if local.minute == 0 and local.hour % 3 == 0 and len(text) <= column:
            text = text.ljust(column) + f"{local.hour:02d}h"
            if local.hour == 0:
                text = text[:-1] + "h"
    return text


def _legend(slots: Sequence[Slot], pens: Pens) -> str:
    unit = slots[0].unit.symbol
    known = [slot.value for slot in slots if slot.value is not None]
    total = f"{sum(known, Decimal(0)):f} {unit}" if known else "-"  # nothing measured is no zero
    words = {
        State.MEASURED: "measured",
        State.QUESTIONABLE: "questionable",
        State.ESTIMATED: "estimated",
        State.EDITED: "edited",
    }
    parts = []
    for state, word in words.items():
        if count := sum(slot.state is state for slot in slots):
            parts.append(f"{pens.fill[state]} {word} {count}")
    if count := sum(slot.value is None for slot in slots):
        parts.append(f"{pens.gap} missing {count}")
    return f"{unit} per interval; {', '.join(parts)}; sum {total}"
