"""A meter table drafted from what a scan found, as ``headend meter import`` reads it; what it cannot know is left empty."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from drivers.transports.url import Form
from headend.registry.cells import escape
from headend.registry.table import COLUMNS
from headend.scan.found import FoundMeter

_FILLED: Final = {
    "usage_point": "where it measures",
    "meter": "its global name: logical device name, or MAKER:SERIAL",
    "profile": "its model; see headend profile list",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """``text``: the table.  ``gaps``: what is to be filled in, column -> rows without it, headings of which count as row 1."""

    text: str
    gaps: dict[str, list[int]]

    def advice(self) -> list[str]:
        """Say in words what is to be filled in."""
        return [
            f"{column} of {len(rows)} row{'s' if len(rows) > 1 else ''}: {_FILLED[column]}"
            for column, rows in self.gaps.items()
        ]


def draft(
    meters: Sequence[FoundMeter], link: Callable[[Form], str], since: str, zone: str, usage_points: str = ""
) -> Draft:
    """Write the table. ``link``: URL of the port at a setting.  ``since``: first day.  ``usage_points``: begin of their names, counted on; empty for none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    gaps: dict[str, list[int]] = {}
    width = len(str(len(meters)))
    for number, meter in enumerate(meters, start=1):
        row = {
            "usage_point": f"{usage_points}{number:0{width}d}" if usage_points else "",
            "meter": meter.name,
            "profile": meter.profile,
            "link": link(meter.form),
            "address": meter.address.partition(":")[0],
            "from": since,
            "zone": zone,
            "options": meter.options,
        }
        for column in _FILLED:
            if not row[column]:
                gaps.setdefault(column, []).append(1 + number)
        writer.writerow({column: escape(cell) for column, cell in row.items()})
    return Draft(text.getvalue(), gaps)
