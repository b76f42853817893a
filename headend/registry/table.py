"""The registry as one table: a row says which meter hangs at which usage point, how to reach it, from when to when.

Reading is in two steps: `parse` checks text alone and names every fault of every row at once; `apply` compares with the
store and writes all rows or none. A meter swap is two rows with one usage point and adjoining ``from`` and ``to``.
"""

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from itertools import islice
from types import MappingProxyType
from typing import TypeVar

from drivers.profile import MeterProfile
from drivers.zone import parse_zone
from headend.registry import cells
from headend.registry.apply import Applied, apply
from headend.registry.check import check_rows
from headend.registry.model import DAY
from headend.registry.row import Fault, MeterRow
from headend.store.reader import StoreReader

__all__ = ["COLUMNS", "Applied", "Fault", "MeterRow", "Parsed", "apply", "dump", "parse"]

COLUMNS = (
    "usage_point", "meter", "profile", "link", "address", "from", "to", "zone", "area", "transformer", "feeder", "box",
    "multiplier", "dials", "check_meter", "check_ratio", "tariff", "password", "encryption_key", "authentication_key", "options",
)  # fmt: skip
REQUIRED = ("usage_point", "meter", "profile", "from", "zone")
MAX_ROWS = 1_000_000
MAX_FAULTS = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T")
Tariffs = Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class _Known:
    """What cells may name: meter models, and tariffs by calendar."""

    profiles: Mapping[str, MeterProfile]
    tariffs: Tariffs


@dataclass(frozen=True, slots=True)
class Parsed:
    """A table as read. Use ``rows`` only where there are no ``faults``; at most 1,000 faults are listed."""

    rows: tuple[MeterRow, ...]
    faults: tuple[Fault, ...]


def parse(text: str, profiles: Mapping[str, MeterProfile], tariffs: Tariffs = MappingProxyType({})) -> Parsed:
    """Read a comma-separated table with a heading. Never raises: whatever is wrong is a fault with its row and column.

    ``tariffs``: those there are, by calendar.
    """
    rows: list[MeterRow] = []
    faults = list(islice(_faults(text, _Known(profiles, tariffs), rows), MAX_FAULTS + 1))
    if len(faults) > MAX_FAULTS:
        faults[MAX_FAULTS:] = [Fault(faults[-1].row, "", f"more than {MAX_FAULTS} faults; the rest is not listed")]
    return Parsed(tuple(rows), tuple(faults))


def dump(store: StoreReader, usage_points: Collection[str] | None = None) -> str:
    """Write the registry, or some usage points of it, as the table that `parse` reads.

    Text a spreadsheet would run as a formula is escaped.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    with store.snapshot():
        devices = {device.id: device for device in store.end_devices()}
        points = {point.id: point for point in store.usage_points()}
        links = {link.id: link.url for link in store.links()}
        places = store.installations()
    for place in sorted(places, key=lambda place: (points[place.usage_point_id].name, place.start)):
        device, point = devices[place.end_device_id], points[place.usage_point_id]
        if usage_points is not None and point.name not in usage_points:
            continue
        row = (
            point.name, device.name, device.profile, links[device.link_id], device.address,
            cells.format_instant(place.start), cells.format_instant(place.end), point.zone, point.area,
            point.transformer, point.feeder, point.box, str(place.multiplier), str(place.dials or ""),
            point.check_meter, str(point.check_ratio) if point.check_meter else "", cells.format_tariffs(point.tariffs),
            device.password_ref, device.encryption_key_ref, device.authentication_key_ref, cells.format_options(device.options),
        )  # fmt: skip
        writer.writerow([cells.escape(cell) for cell in row])
    return text.getvalue()


def _faults(text: str, known: _Known, rows: list[MeterRow]) -> Iterator[Fault]:
    """Yield the faults, and append each row without one to ``rows``."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        heading = [cell.strip() for cell in next(reader, [])]
        faults = list(_heading_faults(heading))
        yield from faults
        if faults:
            return
        for record in reader:
            if not any(record):
                continue
            if len(rows) >= MAX_ROWS:
                yield Fault(reader.line_num, "", f"more than {MAX_ROWS} rows; import the table in parts")
                return
            yield from _row_faults(reader.line_num, heading, record, known, rows)
    except csv.Error as error:
        yield Fault(reader.line_num, "", f"is not comma-separated text: {error}")
        return
    yield from check_rows(rows)


def _heading_faults(heading: Sequence[str]) -> Iterator[Fault]:
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(heading) == 1 and separator in heading[0]:
            yield Fault(1, "", f"columns are separated by {word}; save the table comma-separated")
            return
    if not any(heading):
        yield Fault(1, "", f"there is no heading; columns are {', '.join(COLUMNS)}")
        return
    for number, name in enumerate(heading, start=1):
        if not name:
            yield Fault(1, "", f"column {number} has no name; delete it, or name it")
        elif name not in COLUMNS:
            near = get_close_matches(name, COLUMNS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"columns are {', '.join(COLUMNS)}"
            yield Fault(1, name[:80], f"unknown column; {hint}")
        elif heading.count(name) > 1:
            yield Fault(1, name, "stands there more than once")
    for name in REQUIRED:
        if name not in heading:
            yield Fault(1, name, "column is missing")


def _row_faults(
    number: int,
    heading: Sequence[str],
    record: Sequence[str],
    known: _Known,
    rows: list[MeterRow],
) -> Iterator[Fault]:
    if len(record) != len(heading):
        yield Fault(number, "", f"has {len(record)} cells, the heading {len(heading)}; is a quote or comma missing?")
        return
    row = _Row(number, dict(zip(heading, record, strict=True)))
    parsed = row.read(known)
    yield from row.faults
    if parsed is not None and not row.faults:
        rows.append(parsed)


class _Row:
    """Reads the cells of one row, collecting faults."""

    def __init__(self, number: int, texts: Mapping[str, str]) -> None:
        self._number = number
        self._texts = texts
        self.faults: list[Fault] = []

    def read(self, known: _Known) -> MeterRow | None:
        """Read the row; None where something it cannot be without is faulty."""
        profile = self._cell("profile", lambda cell: _parse_profile(cell, known.profiles))
        zone = self._cell("zone", parse_zone)
        start = self._cell("from", lambda cell: cells.parse_instant(cell, zone))
        end = self._cell("to", lambda cell: cells.parse_instant(cell, zone) if cell else None)
        if start is not None and end is not None and end <= start:
            self._fault("to", "is not after from")
        texts = {
            column: self._cell(column, parser) or ""
            for column, parser in (
                ("usage_point", cells.parse_name),
                ("meter", cells.parse_name),
                ("link", lambda cell: cells.parse_link(cell, profile)),
                ("address", lambda cell: cells.parse_address(cell, profile)),
                ("area", cells.parse_text),
                ("transformer", cells.parse_text),
                ("feeder", cells.parse_text),
                ("box", cells.parse_text),
                ("check_meter", self._check_meter),
                ("password", cells.parse_secret),
                ("encryption_key", cells.parse_secret),
                ("authentication_key", cells.parse_secret),
            )
        }
        multiplier = self._cell("multiplier", cells.parse_multiplier)
        dials = self._cell("dials", cells.parse_dials)
        ratio = self._cell("check_ratio", cells.parse_ratio)
        tariffs = self._cell("tariff", lambda cell: cells.parse_tariffs(cell, known.tariffs))
        options = self._cell("options", cells.parse_options)
        if ratio is not None and ratio != 1 and not texts["check_meter"]:
            self._fault("check_ratio", "is of no check meter; name one, or leave it empty")
        if profile is None or zone is None or start is None or multiplier is None or options is None:
            return None
        if dials is None or ratio is None or tariffs is None:
            return None
        return MeterRow(
            number=self._number, profile=profile, start=start, end=end, zone=self._text("zone"),
            grid_offset=_local_midnight(zone, start), multiplier=multiplier, options=options,
            dials=dials, check_ratio=ratio, tariff=tariffs, **texts,
        )  # fmt: skip

    def _check_meter(self, cell: str) -> str:
        if cell and cell == self._text("usage_point"):
            raise ValueError("is the usage point itself; name the one at which the check meter hangs")
        return cells.parse_name(cell) if cell else ""

    def _text(self, column: str) -> str:
        return cells.unescape(self._texts.get(column, "").strip())

    def _cell(self, column: str, parser: Callable[[str], T]) -> T | None:
        text = self._text(column)
        if len(text) > cells.MAX_CELL:
            self._fault(column, f"is longer than {cells.MAX_CELL} characters")
            return None
        try:
            return parser(text)
        except ValueError as error:
            self._fault(column, str(error))
            return None

    def _fault(self, column: str, what: str) -> None:
        self.faults.append(Fault(self._number, column, what))


def _parse_profile(cell: str, profiles: Mapping[str, MeterProfile]) -> MeterProfile:
    if cell not in profiles:
        near = get_close_matches(cell[:80], profiles, n=1)
        hint = f"did you mean {near[0]}?" if near else "`headend profile list` shows those there are"
        raise ValueError(f"no profile is named {cell[:80]!r}; {hint}")
    return profiles[cell]


def _local_midnight(zone: tzinfo, instant: int) -> int:
    """Say at which second of the UTC day a day begins in ``zone``. Grids of local hours are counted from there."""
    offset = zone.utcoffset((_EPOCH + timedelta(seconds=instant)).astimezone(zone).replace(tzinfo=None))
    return 0 if offset is None else -round(offset.total_seconds()) % DAY
