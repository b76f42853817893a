"""A load profile as data sets: which window to ask for, and what its rows say. No I/O.

``P.01(STAMP)(STATUS)(PERIOD)(COUNT)(IDENT)(UNIT)...(VALUE)(VALUE)...``: a header, then rows of one value for each column, one
period after the other from the header's stamp on. Where the grid is broken (power, clock, season) another header follows. Which
fields a model has and in which order is its profile's to say: some stamp each row instead. A column of mean power is turned into
the energy of its interval, exactly or not at all.

Source: what meters of two makers printed, tests/data/iec62056/load-profile-*; the reads R5 and R6 are left to national use by
IEC 62056-21, 6.3.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from drivers.dlms.objects import interval_grid
from drivers.errors import MeterRefused, RemoteProtocolError
from drivers.facts import INT32_MAX, IntervalBlock, MeterEvent, RegisterValue, UtcSeconds
from drivers.iec62056.datasets import DataBlock, DataSet, Value, is_at
from drivers.iec62056.values import decode_number, decode_stamp
from drivers.obis import Obis
from drivers.profile import ChannelProfile, ClockProfile, Field, Iec62056LoadProfile
from drivers.status import Stated, StatusLayout
from drivers.units import ScalerUnit, Unit
from drivers.zone import parse_zone
from kernels.quality import Rule

DAY: Final = 86_400
HOUR: Final = 3_600
MAX_COLUMNS: Final = 64
_INTEGRAL: Final = {Unit.WATT: Unit.WATT_HOUR, Unit.VAR: Unit.VAR_HOUR, Unit.VOLT_AMPERE: Unit.VOLT_AMPERE_HOUR}


@dataclass(frozen=True, slots=True)
class Row:
    """One row. ``stamp``: by the meter, which end of the interval it marks is the profile's to say. [s UTC]

    ``status``: its own, and the header's before it.  ``values``: one for each column of the profile.
    """

    stamp: UtcSeconds
    status: int
    values: tuple[Value, ...]


def windows(load: Iec62056LoadProfile, start: UtcSeconds, end: UtcSeconds) -> Iterator[tuple[UtcSeconds, UtcSeconds]]:
    """Cut ``[start, end]`` [s UTC] into what one question is for each; all in one where the model knows no window."""
    step = load.days * DAY if load.window else max(1, end - start)
    while start < end:
        yield start, min(start + step, end)
        start += step


def format_window(load: Iec62056LoadProfile, start: UtcSeconds, end: UtcSeconds, zone: str) -> str:
    """Write a window as the model takes it; empty where it knows none."""
    return f"{_format(load.window, start, zone)};{_format(load.window, end, zone)}" if load.window else ""


def _format(form: str, instant: UtcSeconds, zone: str) -> str:
    wall = datetime.fromtimestamp(instant, parse_zone(zone))
    kept = "2" if zone == "UTC" else "1" if wall.dst() else "0"  # as stamps say it, see `decode_stamp`
    parts = {"YY": "%y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}
    text = form.replace("Z", kept, 1)
    for word, directive in parts.items():
        text = text.replace(word, f"{wall:{directive}}", 1)
    return text


def decode_rows(block: DataBlock, load: Iec62056LoadProfile, period: int, zone: str) -> list[Row]:
    """Read the rows in an answer, or in a readout. ``period``: that is expected. [s]

    Raises `RemoteProtocolError` for what is no load profile, `MeterRefused` for one of another period or without a column that
    the profile names. A line that should be a row and is none is an error, for without it all rows behind would shift.
    """
    for line in block.others:
        if line.startswith(("(", load.address)):
            raise RemoteProtocolError(f"{load.address}: {line[:40]!r} is no row of a load profile")
    return [
        row
        for one in block.sets
        if is_at(one, load.address) and any(value.text for value in one.values)
        for row in _rows(one, load, period, zone)
    ]


def _rows(one: DataSet, load: Iec62056LoadProfile, period: int, zone: str) -> Iterator[Row]:
    fields = _Fields(one, zone)
    head = fields.take(load.header, ())
    if head.period not in {0, period}:
        raise MeterRefused(f"{one.address} has a period of {head.period} s, its channels have {period} s", 0)
    printed = head.columns if "columns" in load.header else tuple((item.address, "") for item in load.columns)
    places = [_place(printed, column.address, one.address) for column in load.columns]
    number = 0
    while not fields.is_done:
        row = fields.take(load.row, printed)
        stamp = head.stamp + number * period if row.stamp is None and head.stamp is not None else row.stamp
        if stamp is None:
            raise RemoteProtocolError(f"{one.address} has rows without a stamp")
        yield Row(stamp, head.status | row.status, tuple(row.values[place] for place in places))
        number += 1


def _place(printed: Sequence[tuple[str, str]], wanted: str, where: str) -> int:
    found = [place for place, (address, _) in enumerate(printed) if is_at(DataSet(address, ()), wanted)]
    if len(found) != 1:
        raise MeterRefused(f"{where} has {len(found)} columns {wanted}, and should have one", 0)
    return found[0]


@dataclass(frozen=True, slots=True)
class _Head:
    stamp: UtcSeconds | None = None
    status: int = 0
    period: int = 0
    columns: tuple[tuple[str, str], ...] = ()
    values: tuple[Value, ...] = ()


class _Fields:
    """The values of one data set, taken field by field."""

    def __init__(self, one: DataSet, zone: str) -> None:
        self._one = one
        self._zone = zone
        self._at = 0

    @property
    def is_done(self) -> bool:
        return self._at >= len(self._one.values)

    def take(self, fields: Sequence[Field], columns: Sequence[tuple[str, str]]) -> _Head:
        """Take what ``fields`` name. ``columns``: address and unit of the values in a row."""
        head, count = _Head(), 0
        for field in fields:
            match field:
                case "stamp":
                    head = replace(head, stamp=decode_stamp(self._next(), self._zone))
                case "status":
                    head = replace(head, status=self._number(16))
                case "period":
                    head = replace(head, period=self._number(10) * 60)
                case "count":
                    count = self._number(10)
                    if count > MAX_COLUMNS:
                        raise RemoteProtocolError(f"{self._one.address} says that it has {count} columns")
                case "columns":
                    head = replace(head, columns=tuple((self._next(), self._next()) for _ in range(count)))
                case "values":
                    head = replace(head, values=tuple(self._value(unit) for _, unit in columns))
                case "skip":
                    self._next()
        return head

    def _next(self) -> str:
        return self._value("").text

    def _value(self, unit: str) -> Value:
        """Give the next value, with the unit of its column where none stands beside it."""
        if self.is_done:
            raise RemoteProtocolError(f"{self._one.address} ends inside a row")
        value = self._one.values[self._at]
        self._at += 1
        return Value(value.text, value.unit or unit)

    def _number(self, base: int) -> int:
        text = self._next()
        try:
            return int(text, base) if len(text) <= 8 and text.isalnum() else int("?")
        except ValueError as error:
            raise RemoteProtocolError(f"{self._one.address}: {text[:40]!r} is no number") from error


def interval_block(
    channel: ChannelProfile,
    rows: Sequence[Row],
    place: int,
    implied: ScalerUnit | None,
    clock: ClockProfile,
    start: UtcSeconds,
    end: UtcSeconds,
) -> IntervalBlock:
    """Lay a column on the grid slots wholly within ``[start, end)`` [s UTC], None where no row is.

    A row stamped off the grid covers part of an interval: its slot stays without value. Of two rows for one slot that differ
    the first is kept and marked `Rule.CONFLICT`. What is no count, or would lose a digit, is None and marked `Rule.RANGE`.
    """
    period = channel.period
    first, slots = interval_grid(period, clock, start, end)
    counts: list[int | None] = [None] * slots
    rules = [Rule(0)] * slots
    for row in rows:
        slot, rest = divmod(row.stamp - (period if clock.stamp == "end" else 0) - first, period)
        if rest or not 0 <= slot < slots:
            continue
        count = _energy(row.values[place], implied, channel)
        if count is None:
            rules[slot] |= Rule.RANGE
        elif counts[slot] is None:
            counts[slot] = count
        elif counts[slot] != count:
            rules[slot] |= Rule.CONFLICT
    return IntervalBlock(
        channel.obis, channel.scaler_unit, first, period, tuple(counts), tuple(rules) if any(rules) else ()
    )


def _energy(value: Value, implied: ScalerUnit | None, channel: ChannelProfile) -> int | None:
    """Give a value in counts of the channel; mean power as what it made of the interval. None for what cannot be one."""
    try:
        count, worth = decode_number(value, implied)
    except RemoteProtocolError:
        return None
    target = channel.scaler_unit
    if _INTEGRAL.get(worth.unit) is target.unit:
        count, worth = count * channel.period, ScalerUnit(worth.scaler, target.unit)
        divisor = HOUR
    elif worth.unit is target.unit:
        divisor = 1
    else:
        raise MeterRefused(f"{channel.obis} is recorded in {value.unit}, its channel has {target.unit.symbol}", 0)
    step = worth.scaler - target.scaler
    whole, rest = divmod(count * 10 ** max(0, step), divisor * 10 ** max(0, -step))
    return None if rest or abs(whole) > INT32_MAX else whole


def stated(rows: Sequence[Row]) -> list[Stated]:
    """Give the status words of rows, each with its row's stamp."""
    return [Stated(row.stamp, row.status) for row in rows if row.status]


def snapshots(
    obis: Obis, rows: Sequence[Row], place: int, implied: ScalerUnit | None, clock: ClockProfile, period: int
) -> Iterator[RegisterValue]:
    """Give what a register showed at the end of each interval, stamped by the meter; what is no number is left out.

    Of two rows for one instant that differ the first is kept and marked `Rule.CONFLICT`.
    """
    found: dict[UtcSeconds, RegisterValue] = {}
    for row in rows:
        try:
            count, worth = decode_number(row.values[place], implied)
        except RemoteProtocolError:
            continue
        instant = row.stamp if clock.stamp == "end" else row.stamp + period
        value = RegisterValue(obis, count, worth, instant)
        first = found.setdefault(instant, value)
        if first.value != value.value:
            found[instant] = replace(first, rules=first.rules | Rule.CONFLICT)
    yield from found.values()


def decode_events(block: DataBlock, address: str, text: str, zone: str, layout: StatusLayout) -> list[MeterEvent]:
    """Read a log: ``P.98(STAMP)(STATUS)...`` for each event. Raises `RemoteProtocolError`.

    VDEW codes the status of an event as that of a row of the load profile.
    """
    events = []
    for one in block.sets:
        if not is_at(one, address) or not any(value.text for value in one.values):
            continue
        fields = _Fields(one, zone)
        head = fields.take(("stamp", "status"), ())
        assert head.stamp is not None
        said = layout.names(head.status)
        events.append(MeterEvent(head.status, head.stamp, f"{text}: {said}" if said else text))
    return events


def is_near_midnight(clock: UtcSeconds, span: int, zone: str) -> bool:
    """Say whether midnight of the meter's day may have passed within ``span`` [s] of what its clock shows. [s UTC]"""
    wall = datetime.fromtimestamp(clock, UTC).astimezone(parse_zone(zone))
    since = wall - wall.replace(hour=0, minute=0, second=0)
    return not timedelta(seconds=span) <= since <= timedelta(days=1, seconds=-span)
