"""The part of a profile that is IEC 62056-21's: parsing, and the rules between its items."""

import re
from typing import Final, get_args

from drivers.obis import Obis, by_obis, resolve
from drivers.profile import (
    Field,
    Iec62056Column,
    Iec62056LoadProfile,
    Iec62056Log,
    Iec62056Point,
    Iec62056Profile,
    MeterProfile,
    ReadForm,
)
from drivers.profile_dlt645 import NO_OBIS, read_scaler_unit
from drivers.table import CheckedTable, Faults
from drivers.units import ScalerUnit

BAUDS: Final = (300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200)
OPTIONS: Final = ("max_baud", "parity")
"""What one meter may override of its profile."""
FULL_ADDRESS: Final = re.compile(r"[0-9A-Za-z ]{0,32}")
"""Address of a meter, IEC 62056-21, 6.3.2; empty for whoever is there."""
PARITIES: Final = ("line", "gateway", "hidden")
MAX_DAYS: Final = 100
MAX_READOUT: Final = 65_536
MAX_WINDOW: Final = 40
INTERVAL: Final = 29  # value group D, IEC 62056-6-1: time integral 5
REGISTER: Final = 8  # the same: time integral 1
_FORMS: Final[tuple[ReadForm, ...]] = get_args(ReadForm)
_FIELDS: Final[tuple[Field, ...]] = get_args(Field)
_ADDRESS: Final = re.compile(r"[\"-'*-.0-~]{1,32}")
_WINDOW: Final = re.compile(r"Z?YY[^A-Za-z()]?MM[^A-Za-z()]?DD[^A-Za-z()]?hh[^A-Za-z()]?mm(?:[^A-Za-z()]?ss)?")


def parse_iec62056(table: CheckedTable) -> Iec62056Profile:
    """Read the table ``iec62056``, every fault noted."""
    default = Iec62056Profile()
    profile = Iec62056Profile(
        opening=table.choice("opening", ("readout", "programming", "unasked"), default.opening),
        first_baud=_baud(table, "first_baud", default.first_baud),
        max_baud=_baud(table, "max_baud", default.max_baud),
        characters=table.choice("characters", ("7E1", "8N1"), default.characters),
        check_character=table.boolean("check_character", default=default.check_character),
        wake_up=table.boolean("wake_up", default=default.wake_up),
        level=table.choice("level", ("none", "P1", "P2"), default.level),
        parity=table.choice("parity", PARITIES, default.parity),
        identity=_addresses(table, "identity", default.identity),
        date=table.parsed("date", _address, ""),
        time=table.parsed("time", _address, ""),
        clock=table.parsed("clock", _address, ""),
        readout=table.integer("readout", 0, 0, MAX_READOUT),
        points=tuple(_point(row) for row in table.tables("points")),
        load_profile=_load_profile(table.table("load_profile")) if table.has("load_profile") else None,
        events=tuple(_log(row) for row in table.tables("events")),
    )
    table.finish()
    return profile


def _baud(table: CheckedTable, key: str, default: int) -> int:
    baud = table.integer(key, default, BAUDS[0], BAUDS[-1])
    if baud not in BAUDS:
        table.fault(key, f"is {baud}, not one of {', '.join(map(str, BAUDS))}")
    return baud


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is no address of a data set; write it as the meter prints it, such as 1.8.0")
    return text


def _addresses(table: CheckedTable, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    if not table.has(key):
        return default
    words = table.words(key)
    for index, word in enumerate(words):
        if not _ADDRESS.fullmatch(word):
            table.fault(f"{key}[{index}]", f"{word[:40]!r} is no address of a data set")
    if not words:
        table.fault(key, "must not be empty; the meter's name is made of its serial number")
    return tuple(words)


def _worth(row: CheckedTable, obis: Obis) -> ScalerUnit | None:
    """Read what a printed 1 is worth; None where the meter prints its units."""
    given = row.has("unit") | row.has("scaler")
    return read_scaler_unit(row, obis) if given else None


def _point(row: CheckedTable) -> Iec62056Point:
    obis = row.required("obis", resolve, NO_OBIS)
    point = Iec62056Point(
        obis=obis,
        address=row.parsed("address", _address, ""),
        scaler_unit=_worth(row, obis),
        form=row.choice("form", _FORMS, "R1"),
    )
    row.finish()
    return point


def _load_profile(table: CheckedTable) -> Iec62056LoadProfile:
    default = Iec62056LoadProfile("P.01", ())
    load = Iec62056LoadProfile(
        address=table.required("address", _address, "P.01"),
        columns=tuple(_column(row) for row in table.tables("columns")),
        form=table.choice("form", (*_FORMS, "readout"), default.form),
        window=table.parsed("window", _window, default.window),
        header=_fields(table, "header", default.header),
        row=_fields(table, "row", default.row),
        days=table.integer("days", default.days, 1, MAX_DAYS),
    )
    table.finish()
    return load


def _window(text: str) -> str:
    if text and (len(text) > MAX_WINDOW or not _WINDOW.fullmatch(text)):
        raise ValueError(f"{text!r} is no form of a time; write such as ZYYMMDDhhmm or YY-MM-DD,hh:mm")
    return text


def _fields(table: CheckedTable, key: str, default: tuple[Field, ...]) -> tuple[Field, ...]:
    if not table.has(key):
        return default
    words = table.words(key)
    for index, word in enumerate(words):
        if word not in _FIELDS:
            table.fault(f"{key}[{index}]", f"is {word[:40]!r}, not one of {', '.join(_FIELDS)}")
    return tuple(field for word in words for field in _FIELDS if field == word)


def _column(row: CheckedTable) -> Iec62056Column:
    obis = row.required("obis", resolve, NO_OBIS)
    column = Iec62056Column(obis, row.required("address", _address, ""), _worth(row, obis))
    row.finish()
    return column


def _log(row: CheckedTable) -> Iec62056Log:
    log = Iec62056Log(row.required("address", _address, ""), row.text("text"), row.choice("form", _FORMS, "R5"))
    row.finish()
    return log


def check_iec62056(profile: MeterProfile, iec62056: Iec62056Profile, faults: Faults) -> None:
    """Note every contradiction within the table, and between it and the channels."""
    if bool(iec62056.date) != bool(iec62056.time) or (iec62056.clock and iec62056.date):
        faults.add("iec62056.date", "and time go together, and clock stands for both; give one or the other")
    if iec62056.max_baud < iec62056.first_baud:
        faults.add("iec62056.max_baud", f"{iec62056.max_baud} is below first_baud {iec62056.first_baud}")
    if iec62056.opening == "unasked":
        if iec62056.level != "none" or iec62056.wake_up:
            faults.add(
                "iec62056.opening", "unasked: nothing is sent to the meter, so it has no password and no wake_up"
            )
        load = iec62056.load_profile
        if (load and load.form != "readout") or iec62056.events:
            faults.add("iec62056.opening", "unasked: nothing can be read by its address")
    elif iec62056.characters != "7E1":
        faults.add("iec62056.characters", f"{iec62056.characters} is for opening unasked; an opening is 7E1")
    if iec62056.opening == "programming" and not iec62056.check_character:
        faults.add("iec62056.check_character", "is never left out in programming mode")
    seen: set[object] = set()
    for index, point in enumerate(iec62056.points):
        if point.obis in seen:
            faults.add(f"iec62056.points[{index}]", f"{point.obis} is there twice")
        seen.add(point.obis)
    _check_codes(profile, seen, faults)
    _check_load(profile, iec62056.load_profile, faults)


def _check_codes(profile: MeterProfile, declared: set[object], faults: Faults) -> None:
    """A register must be in the catalogue or have a point, or its unit is not known before it is read."""
    for index, obis in enumerate(profile.registers):
        if obis not in declared and by_obis(obis) is None:
            faults.add(f"registers[{index}]", f"{obis} is neither in the catalogue nor in iec62056.points")


def _check_load(profile: MeterProfile, load: Iec62056LoadProfile | None, faults: Faults) -> None:
    where = "iec62056.load_profile"
    recorded = [(index, one) for index, one in enumerate(profile.channels) if one.origin == "load_profile"]
    columns = {column.obis: column for column in load.columns} if load else {}
    for index, channel in recorded:
        if channel.obis not in columns:
            faults.add(f"channels[{index}].obis", f"no column of {where} delivers {channel.obis}")
        if channel.period != recorded[0][1].period:
            faults.add(
                f"channels[{index}].period", f"{channel.period} s; all columns of a load profile have one period"
            )
        if channel.period % 60:
            faults.add(f"channels[{index}].period", f"{channel.period} s; a load profile has whole minutes")
    if load is None:
        return
    if len(columns) != len(load.columns):
        faults.add(f"{where}.columns", "two columns have one code")
    for index, column in enumerate(load.columns):
        if column.obis.d not in {INTERVAL, REGISTER}:
            faults.add(
                f"{where}.columns[{index}].obis", f"{column.obis} is neither an interval (D 29) nor a register (D 8)"
            )
        if "columns" not in load.header and column.scaler_unit is None:
            faults.add(f"{where}.columns[{index}].unit", "is missing; no header of this model prints it")
    if "columns" in load.header and load.header.index("columns") != len(load.header) - 1:
        faults.add(f"{where}.header", "columns must be the last, and count before it")
    elif "columns" in load.header and "count" not in load.header:
        faults.add(f"{where}.header", "has columns, and no count that says how many")
    if load.row.count("values") != 1 or {"columns", "count", "period"} & set(load.row):
        faults.add(f"{where}.row", "must have values once, and neither period nor count nor columns")
    if "values" in load.header:
        faults.add(f"{where}.header", "cannot have values, which are of rows")
    if ("stamp" in load.header) + ("stamp" in load.row) != 1:
        faults.add(f"{where}.header", "or row, one of the two, must have the stamp")
