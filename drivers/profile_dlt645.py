"""The part of a profile that is DL/T 645's: parsing, and the rules between its items."""

import re
from typing import Final

from drivers.obis import Obis, by_obis, register_of, resolve
from drivers.profile import (
    Dlt645Column,
    Dlt645Events,
    Dlt645Freeze,
    Dlt645LoadRecord,
    Dlt645Point,
    Dlt645Profile,
    MeterProfile,
)
from drivers.status import Meaning
from drivers.table import CheckedTable, Faults
from drivers.units import ScalerUnit, Unit

NO_OBIS: Final = Obis(0, 0, 0, 0, 0, 0)
MAX_OCTETS: Final = 8
MAX_PLACES: Final = 64  # a total and 63 tariffs
MAX_DEPTH: Final = 254
TOLD_BY_LOGS: Final = (Meaning.POWER_FAILURE, Meaning.CLOCK_SET, Meaning.NOTHING)
_DIGITS: Final = {"2007": 8, "1997": 4}
_DI: Final = re.compile(r"[0-9A-F]+", re.ASCII)


def read_scaler_unit(table: CheckedTable, obis: Obis) -> ScalerUnit:
    """Read ``unit`` and ``scaler``; the unit must be the catalogue's for a code that the catalogue names."""
    unit = table.required("unit", Unit.parse, Unit.WATT_HOUR)
    scaler = table.integer("scaler", 0, -18, 18)
    entry = by_obis(obis)
    if entry and table.has("unit") and entry.unit is not unit:
        table.fault("unit", f"is {unit.symbol}, but {entry.name} is counted in {entry.unit.symbol}")
    return ScalerUnit(scaler, unit)


def parse_dlt645(table: CheckedTable) -> Dlt645Profile:
    """Read the table ``dlt645``, every fault noted."""
    record = table.table("load_record")
    profile = Dlt645Profile(
        edition=table.choice("edition", ("2007", "1997"), "2007"),
        wake_up=table.integer("wake_up", 4, 0, 16),
        parity=table.choice("parity", ("line", "gateway", "hidden"), "line"),
        identity=table.parsed("identity", _identifier, ""),
        date=table.parsed("date", _identifier, ""),
        time=table.parsed("time", _identifier, ""),
        points=tuple(_point(row) for row in table.tables("points")),
        load_record=_load_record(record) if table.has("load_record") else None,
        freezes=tuple(_freeze(row) for row in table.tables("freezes")),
        events=tuple(_events(row) for row in table.tables("events")),
    )
    table.finish()
    return profile


def _identifier(text: str) -> str:
    di = text.upper()
    if len(di) not in _DIGITS.values() or not _DI.fullmatch(di):
        raise ValueError(f"{text!r} is no data identifier; write 8 hexadecimal digits (edition 1997: 4)")
    return di


def _point(row: CheckedTable) -> Dlt645Point:
    obis = row.required("obis", resolve, NO_OBIS)
    point = Dlt645Point(
        obis=obis,
        di=row.required("di", _identifier, ""),
        octets=row.integer("octets", None, 1, MAX_OCTETS),
        scaler_unit=read_scaler_unit(row, obis),
        signed=row.boolean("signed", default=False),
        block=row.parsed("block", _identifier, ""),
        place=row.integer("place", 0, 0, MAX_PLACES - 1),
    )
    row.finish()
    return point


def _load_record(table: CheckedTable) -> Dlt645LoadRecord:
    record = Dlt645LoadRecord(
        kind=table.integer("kind", None, 1, 6),
        size=table.integer("size", None, 1, 100),
        columns=tuple(_column(row) for row in table.tables("columns")),
    )
    table.finish()
    return record


def _column(row: CheckedTable) -> Dlt645Column:
    obis = row.required("obis", resolve, NO_OBIS)
    column = Dlt645Column(
        obis=obis,
        offset=row.integer("offset", None, 0, 99),
        octets=row.integer("octets", None, 1, MAX_OCTETS),
        scaler_unit=read_scaler_unit(row, obis),
        signed=row.boolean("signed", default=False),
    )
    row.finish()
    return column


def _freeze(row: CheckedTable) -> Dlt645Freeze:
    freeze = Dlt645Freeze(
        name=row.text("name"),
        depth=row.integer("depth", None, 1, MAX_DEPTH),
        points=tuple(_point(point) for point in row.tables("points")),
        stamp=row.parsed("stamp", _identifier, ""),
        day=row.parsed("day", _identifier, ""),
    )
    row.finish()
    return freeze


def _events(row: CheckedTable) -> Dlt645Events:
    events = Dlt645Events(
        di=row.required("di", _identifier, ""),
        depth=row.integer("depth", None, 1, MAX_DEPTH),
        code=row.integer("code", None, 0, 65_535),
        text=row.text("text"),
        offset=row.integer("offset", 0, 0, 100),
        means=Meaning(row.choice("means", tuple(map(str, Meaning)), str(Meaning.NOTHING))),
    )
    row.finish()
    return events


def check_dlt645(profile: MeterProfile, dlt645: Dlt645Profile, faults: Faults) -> None:
    """Note every contradiction within the table, and between it and the channels."""
    if not profile.maker:
        faults.add("maker", "is missing; a DL/T 645 meter is named maker:address")
    if bool(dlt645.date) != bool(dlt645.time):
        faults.add("dlt645.date", "and time go together; a clock has both")
    _lengths(dlt645, faults)
    _blocks(dlt645, faults)
    for index, freeze in enumerate(dlt645.freezes):
        if bool(freeze.stamp) == bool(freeze.day):
            faults.add(f"dlt645.freezes[{index}].stamp", "or day, one of the two, says when it was frozen")
    for index, events in enumerate(dlt645.events):
        if events.means not in TOLD_BY_LOGS:
            told = " and ".join(TOLD_BY_LOGS[:2])
            faults.add(f"dlt645.events[{index}].means", f"{events.means} is no span of time; {told} are, or nothing")
    record = dlt645.load_record
    if record is not None and dlt645.edition == "1997":
        faults.add("dlt645.load_record", "is of 2007; edition 1997 has no load records")
    columns = {column.obis: column for column in record.columns} if record else {}
    for index, column in enumerate(record.columns if record else ()):
        if record and column.offset + column.octets > record.size:
            faults.add(
                f"dlt645.load_record.columns[{index}].offset", f"ends beyond the {record.size} octets of the kind"
            )
    periods = {channel.period for channel in profile.channels if channel.origin == "load_profile"}
    for index, channel in enumerate(profile.channels):
        if channel.origin != "load_profile":
            continue
        where = f"channels[{index}]"
        source = columns.get(register_of(channel.obis))
        if source is None:
            faults.add(f"{where}.obis", f"no column of dlt645.load_record has its register {register_of(channel.obis)}")
        elif source.scaler_unit != channel.scaler_unit:
            found = source.scaler_unit
            faults.add(f"{where}.scaler", f"differs from the load record's ({found.scaler}, {found.unit.symbol})")
        if len(periods) > 1:
            faults.add(f"{where}.period", f"{channel.period} s; all columns of a load record have one period")
        if channel.period % 60:
            faults.add(f"{where}.period", f"{channel.period} s; load records are stamped to the minute")


def _lengths(dlt645: Dlt645Profile, faults: Faults) -> None:
    digits = _DIGITS[dlt645.edition]
    named = [("identity", dlt645.identity), ("date", dlt645.date), ("time", dlt645.time)]
    for index, point in enumerate(dlt645.points):
        named += [(f"points[{index}].di", point.di), (f"points[{index}].block", point.block)]
    for index, freeze in enumerate(dlt645.freezes):
        named += [(f"freezes[{index}].stamp", freeze.stamp), (f"freezes[{index}].day", freeze.day)]
        named += [(f"freezes[{index}].points[{place}].di", point.di) for place, point in enumerate(freeze.points)]
    named += [(f"events[{index}].di", events.di) for index, events in enumerate(dlt645.events)]
    for where, di in named:
        if di and len(di) != digits:
            faults.add(f"dlt645.{where}", f"{di} has {len(di)} digits; identifiers of {dlt645.edition} have {digits}")


def _blocks(dlt645: Dlt645Profile, faults: Faults) -> None:
    seen: set[object] = set()
    forms: dict[str, tuple[int, bool]] = {}
    for index, point in enumerate(dlt645.points):
        where = f"dlt645.points[{index}]"
        if point.obis in seen:
            faults.add(where, f"{point.obis} is there twice")
        seen.add(point.obis)
        if not point.block:
            continue
        if (point.block, point.place) in seen:
            faults.add(f"{where}.place", f"{point.place} of block {point.block} is there twice")
        seen.add((point.block, point.place))
        if forms.setdefault(point.block, (point.octets, point.signed)) != (point.octets, point.signed):
            faults.add(f"{where}.octets", f"and signed must be the same for all of block {point.block}")
