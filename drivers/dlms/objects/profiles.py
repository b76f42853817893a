"""COSEM objects and the facts they hold: registers, clock, load profile. IEC 62056-6-2, interface classes 1, 3, 4, 5, 7, 8.

Pure: values decoded by `drivers.dlms.axdr` go in, selections and facts come out. Times become UTC here, once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.datetime import CosemDateTime, find_zone
from drivers.dlms.descriptor import number_of
from drivers.dlms.xdlms import Attribute, Selection
from drivers.errors import ProfileError, RemoteProtocolError
from drivers.facts import INT32_MAX, IntervalBlock, RegisterValue, UtcSeconds
from drivers.obis import Obis
from drivers.profile import ChannelProfile, ClockProfile, DlmsColumn, MeterProfile
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule

DATA, REGISTER, EXTENDED_REGISTER, DEMAND_REGISTER, PROFILE_GENERIC, CLOCK = 1, 3, 4, 5, 7, 8
SCALER_UNIT_ATTRIBUTE = {REGISTER: 3, EXTENDED_REGISTER: 3, DEMAND_REGISTER: 4}
CAPTURE_TIME_ATTRIBUTE = {EXTENDED_REGISTER: 5, DEMAND_REGISTER: 6}
BUFFER, CAPTURE_OBJECTS, CAPTURE_PERIOD, SORT_METHOD, ENTRIES_IN_USE = 2, 3, 4, 5, 7  # attributes of profile generic
FIRST_IN_FIRST_OUT, LAST_IN_FIRST_OUT = 1, 2
CLOCK_OBJECT = Obis(0, 0, 1, 0, 0)
VALUE_ATTRIBUTES = {DEMAND_REGISTER: frozenset({2, 3})}  # current and last average; of every other class, 2 alone
MAX_COLUMNS = 255
MAX_ENTRIES = 2**32 - 1
_REPEATING = frozenset({Tag.NULL, *axdr.DELTAS})
PROFILE_STATUS = (96, 10)  # value groups C and D, IEC 62056-6-1: status codes of profiles
STATUS_BITS = 0xFFFFFFFF
SIGNED = {Tag.INTEGER: 2**8, Tag.LONG: 2**16, Tag.DOUBLE_LONG: 2**32}  # a status word there is as wide as its type
FLOAT32_EXACT = 2**24  # integers beyond are coarser than 1 in a float32


@dataclass(frozen=True, slots=True)
class CaptureObject:
    """One column of a profile generic. ``data_index``: 0 for the whole attribute."""

    class_id: int
    logical_name: Obis
    attribute: int
    data_index: int = 0

    @property
    def is_clock(self) -> bool:
        """True for the column of row stamps."""
        return self.class_id == CLOCK and self.attribute == 2

    @property
    def is_value(self) -> bool:
        """True for the object's value itself, and not its status, scaler or capture time."""
        return self.attribute in VALUE_ATTRIBUTES.get(self.class_id, {2})

    def encode(self) -> Data:
        """Give the structure ``capture_object_definition``."""
        return axdr.structure(
            axdr.long_unsigned(self.class_id),
            axdr.octet_string(self.logical_name.to_bytes()),
            axdr.integer(self.attribute),
            axdr.long_unsigned(self.data_index),
        )


CLOCK_COLUMN = CaptureObject(CLOCK, CLOCK_OBJECT, 2)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the meter's stamp [s UTC], whether the meter doubts it, and a value per column."""

    stamp: UtcSeconds
    is_doubtful: bool
    values: tuple[Data, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A wanted column found in the meter: where, what it means, and what one of its counts is worth."""

    index: int
    wanted: DlmsColumn
    scaler_unit: ScalerUnit


def decode_scaler_unit(data: Data) -> ScalerUnit:
    """Read ``scal_unit_type``. Raises `RemoteProtocolError` for another shape or a unit the catalogue has not."""
    items = data.items()
    if len(items) != 2:
        raise RemoteProtocolError(f"scaler_unit of {len(items)} items, expected 2")
    scaler, unit = items[0].integer(), items[1].integer()
    try:
        return ScalerUnit(scaler, Unit(unit))
    except ValueError:
        raise RemoteProtocolError(f"scaler_unit ({scaler}, {unit}) is not one we know") from None


def encode_scaler_unit(scaler_unit: ScalerUnit) -> Data:
    """Give ``scal_unit_type``."""
    return axdr.structure(axdr.integer(scaler_unit.scaler), axdr.enum(int(scaler_unit.unit)))


def decode_capture_objects(data: Data) -> tuple[CaptureObject, ...]:
    """Read the columns of a profile generic. Raises `RemoteProtocolError`."""
    items = data.items()
    if not 0 < len(items) <= MAX_COLUMNS:
        raise RemoteProtocolError(f"load profile of {len(items)} columns; 1 to {MAX_COLUMNS} are taken")
    columns = []
    for item in items:
        parts = item.items()
        if len(parts) < 4:
            raise RemoteProtocolError(f"capture object of {len(parts)} items, expected 4")
        try:
            name = Obis.from_bytes(parts[1].octets())
        except ValueError as error:
            raise RemoteProtocolError(f"capture object: {error}") from None
        class_id = number_of(parts[0], 0, 0xFFFF, "capture object: class")
        attribute = number_of(parts[2], -0x80, 0x7F, "capture object: attribute")
        data_index = number_of(parts[3], 0, 0xFFFF, "capture object: data index")
        columns.append(CaptureObject(class_id, name, attribute, data_index))
    return tuple(columns)


def decode_instant(data: Data, clock: ClockProfile) -> tuple[UtcSeconds, bool]:
    """Read a date-time; give the instant and whether the meter doubts it. Raises `RemoteProtocolError`."""
    stamp = CosemDateTime.decode(data.octets())
    return stamp.to_utc(clock), stamp.is_doubtful(clock)


def decode_text(data: Data, what: str) -> str:
    """Read an identifying text, an octet-string of printable ASCII. Raises `RemoteProtocolError`."""
    octets = data.octets().rstrip(b"\x00 ")
    if not octets or not all(0x20 <= octet < 0x7F for octet in octets):
        raise RemoteProtocolError(f"{what} is not printable text: {octets[:32].hex() or '(empty)'}")
    return octets.decode("ascii")


def decode_count(data: Data, worth: ScalerUnit, target: ScalerUnit, what: str) -> tuple[int, Rule]:
    """Read a number that counts ``worth`` as a count of ``target``: exactly, or it is an error.

    Only a float is quantised, half to even, and marked where float32 is coarser than one count. Raises `RemoteProtocolError`.
    """
    try:
        if data.tag not in {Tag.FLOAT32, Tag.FLOAT64}:
            return worth.rescale(data.integer(), target), Rule(0)
        value: Decimal = data.value
        if not value.is_finite() or worth.unit is not target.unit:
            raise ValueError(f"cannot turn {value} {worth.unit.symbol} into {target.unit.symbol}")  # noqa: TRY301 - one message
        count = target.quantise(value.scaleb(worth.scaler))
    except (ValueError, ArithmeticError) as error:
        raise RemoteProtocolError(f"{what}: {error}") from None
    is_coarse = data.tag is Tag.FLOAT32 and abs(count) > FLOAT32_EXACT
    return count, Rule.FLOAT_RESOLUTION if is_coarse else Rule(0)


def range_selection(
    first: UtcSeconds,
    last: UtcSeconds,
    clock: ClockProfile,
    column: CaptureObject = CLOCK_COLUMN,
    selected: Sequence[CaptureObject] = (),
) -> Selection:
    """Select rows stamped ``first`` to ``last``, both included [s UTC], deviation written as the profile says.

    IEC 62056-6-2, class 7, ``range_descriptor``. ``column``: the meter's column of stamps.  ``selected``: columns to give,
    all of them where it is empty.
    """
    zone = "UTC" if clock.range_deviation == "utc" else clock.zone
    specify = clock.range_deviation != "unspecified"
    stamps = [CosemDateTime.from_utc(instant, zone, specify_deviation=specify) for instant in (first, last)]
    return encode_range(stamps[0], stamps[1], column, selected)


def encode_range(
    first: CosemDateTime,
    last: CosemDateTime,
    column: CaptureObject = CLOCK_COLUMN,
    selected: Sequence[CaptureObject] = (),
) -> Selection:
    """Select rows by two date-times in a column of stamps, both included; of ``selected`` columns, or all."""
    restricting = column.encode()
    ends = (axdr.octet_string(first.encode()), axdr.octet_string(last.encode()))
    return Selection(1, axdr.structure(restricting, *ends, axdr.array(one.encode() for one in selected)))


def entry_selection(first: int, last: int, first_column: int = 1, last_column: int = 0) -> Selection:
    """Select rows and columns by number, from 1, both included, 0 the last. IEC 62056-6-2, class 7, ``entry_descriptor``."""
    return Selection(
        2,
        axdr.structure(
            axdr.double_long_unsigned(first),
            axdr.double_long_unsigned(last),
            axdr.long_unsigned(first_column),
            axdr.long_unsigned(last_column),
        ),
    )


def find_clock(captured: Sequence[CaptureObject]) -> int:
    """Find the column of row stamps. Raises `RemoteProtocolError`."""
    for index, column in enumerate(captured):
        if column.is_clock:
            return index
    raise RemoteProtocolError("load profile captures no clock, so its rows have no time")


def lacks_stamps(buffer: Data, captured: Sequence[CaptureObject]) -> bool:
    """Say whether a row has null for its stamp, so that the order of the rows must be known to count from the one before."""
    stamp_at = find_clock(captured)
    rows = (item.items() for item in buffer.items() if item.tag is not Tag.NULL)
    return any(stamp_at < len(row) and row[stamp_at].tag is Tag.NULL for row in rows)


def decode_rows(buffer: Data, captured: Sequence[CaptureObject], step: int, clock: ClockProfile) -> list[Row]:
    """Read the buffer's rows, undoing null-data and delta compression.

    IEC 62056-6-2, class 7: a null stamp is the one before plus ``step`` [s], the capture period, negative where the newest
    row comes first; any other null repeats the value before, and a delta is added to it. A row that says no instant (null
    as a whole, a stamp with unspecified fields) is left out, and so are rows that count on from it: one such row must not
    cost the others. Raises `RemoteProtocolError` for a row of another width, for a null stamp that nothing precedes or ``step``
    0, and a delta from nothing.
    """
    stamp_at = find_clock(captured)
    rows: list[Row] = []
    before: tuple[Data, ...] | None = None
    at: tuple[UtcSeconds, bool] | None = None
    for item in buffer.items():
        if item.tag is Tag.NULL:
            at = None
            continue
        values = item.items()
        if len(values) != len(captured):
            raise RemoteProtocolError(f"load profile row of {len(values)} values, expected {len(captured)}")
        stamp = values[stamp_at]
        if stamp.tag is not Tag.NULL:
            at = _instant_or_none(stamp, clock)
        elif before is None or not step:
            raise RemoteProtocolError("load profile row without a stamp, and none before to count from")
        elif at is not None:
            at = at[0] + step, at[1]
        if not _REPEATING.isdisjoint([item.tag for item in values]):
            values = _expanded(before, values)
        before = values
        if at is not None:
            rows.append(Row(*at, values))
    return rows


def _instant_or_none(stamp: Data, clock: ClockProfile) -> tuple[UtcSeconds, bool] | None:
    written = CosemDateTime.decode(stamp.octets())
    try:
        return written.to_utc(clock), written.is_doubtful(clock)
    except RemoteProtocolError:  # it leaves open which instant is meant
        return None


def _expanded(before: tuple[Data, ...] | None, values: tuple[Data, ...]) -> tuple[Data, ...]:
    """Undo null-data and deltas of one row, by the row before."""
    if before is not None:
        return tuple(
            old if new.tag is Tag.NULL else _sum(old, new) if new.tag in axdr.DELTAS else new
            for old, new in zip(before, values, strict=True)
        )
    for new in values:
        if new.tag in axdr.DELTAS:
            new.integer()  # raises: there is nothing to add it to
    return values


def _sum(before: Data, delta: Data) -> Data:
    return Data(before.tag, before.integer() + int(delta.value))


def find_columns(profile: MeterProfile, captured: Sequence[CaptureObject]) -> list[tuple[int, DlmsColumn]]:
    """Find each declared column among the meter's. Raises `ProfileError` listing every one that is not there."""
    assert profile.dlms is not None
    found: list[tuple[int, DlmsColumn]] = []
    faults: list[str] = []
    for wanted in profile.dlms.columns:
        indexes = [i for i, column in enumerate(captured) if column.logical_name == wanted.logical_name]
        values = [index for index in indexes if captured[index].is_value]
        if not indexes:
            names = ", ".join(str(column.logical_name) for column in captured)
            faults.append(f"columns: {wanted.logical_name} is not captured by the meter, which captures {names}")
        elif not values:
            attributes = ", ".join(str(captured[index].attribute) for index in indexes)
            faults.append(f"columns: of {wanted.logical_name} the meter captures attribute {attributes}, not the value")
        elif not wanted.cumulative and channel_of(profile, wanted.obis) is None:
            faults.append(f"columns: {wanted.obis} has no channel")
        else:
            found.append((values[0], wanted))
    status = profile.dlms.status
    if status is not None and find_status(status, captured) is None:
        faults.append(f"status: {status} is not captured by the meter; leave it out where the meter has none")
    if faults:
        raise ProfileError(profile.name, faults)
    return found


def find_status(wanted: Obis | None, captured: Sequence[CaptureObject]) -> int | None:
    """Find the column of status words: the one that is named, else the only profile status there is (IEC 62056-6-1, 0-b:96.10.e).

    None for a meter that records none: its values are as good as ever.
    """
    names = [column.logical_name for column in captured]
    if wanted is not None:
        return names.index(wanted) if wanted in names else None
    found = [index for index, name in enumerate(names) if name.a in {0, 1} and (name.c, name.d) == PROFILE_STATUS]
    return found[0] if len(found) == 1 else None


def decode_status(data: Data) -> int:
    """Read a status word; bits beyond 32, which no layout explains, are left out, and 0 stands for what is no word.

    A bit-string numbers its bits from the first, octets are a number with the highest first.
    """
    if data.tag in axdr.INTEGERS:
        word = data.integer() % SIGNED.get(data.tag, 2**64)
    elif data.tag is Tag.BIT_STRING:
        word = int(data.value[::-1] or "0", 2)
    elif data.tag is Tag.OCTET_STRING:
        word = int.from_bytes(data.octets(), "big")
    else:
        return 0
    return word & STATUS_BITS


def channel_of(profile: MeterProfile, obis: Obis) -> ChannelProfile | None:
    """Find the channel of an OBIS code."""
    return next((channel for channel in profile.channels if channel.obis == obis), None)


def scaler_attribute(column: CaptureObject) -> Attribute | None:
    """Say where the meter keeps a column's scaler and unit; None where its class has none (class 1)."""
    index = SCALER_UNIT_ATTRIBUTE.get(column.class_id)
    return None if index is None else Attribute(column.class_id, column.logical_name, index)


def grid_offset(clock: ClockProfile, instant: UtcSeconds, period: int) -> int:
    """Give the offset of the interval grid within ``period`` [s]: not 0 where the zone is off by a part of it (+5:30)."""
    offset = datetime.fromtimestamp(instant, UTC).astimezone(find_zone(clock.zone)).utcoffset() or timedelta()
    return int(-offset.total_seconds()) % period


def interval_grid(period: int, clock: ClockProfile, start: UtcSeconds, end: UtcSeconds) -> tuple[UtcSeconds, int]:
    """Give where the first interval of ``period`` [s] wholly within ``[start, end)`` [s UTC] begins, and how many there are."""
    offset = grid_offset(clock, start, period)
    first = -((offset - start) // period) * period + offset
    return first, max(0, (end - first) // period)


def interval_block(
    column: Column,
    channel: ChannelProfile,
    rows: Sequence[Row],
    clock: ClockProfile,
    *,
    start: UtcSeconds,
    end: UtcSeconds,
) -> IntervalBlock:
    """Lay a column's values on the grid slots wholly within ``[start, end)`` [s UTC], None where no row is.

    A row stamped off the grid covers part of an interval and is left out: its slot stays without value. Of two rows for one
    slot with different values the first is kept and marked `Rule.CONFLICT`. Counts are rescaled exactly to the channel's
    ``scaler_unit``. What cannot be (a filler such as all ones, no number, a digit that would be lost, more than 32 bits)
    leaves its slot None, marked `Rule.RANGE`, and costs no other.
    """
    period = channel.period
    first, slots = interval_grid(period, clock, start, end)
    counts: list[int | None] = [None] * slots
    rules = [Rule(0)] * slots
    for row in rows:
        slot, rest = divmod(row.stamp - (period if clock.stamp == "end" else 0) - first, period)
        data = row.values[column.index]
        if rest or not 0 <= slot < slots or data.tag is Tag.NULL:
            continue
        what = f"{column.wanted.logical_name} at {row.stamp}"
        try:
            count, rule = decode_count(data, column.scaler_unit, channel.scaler_unit, what)
        except RemoteProtocolError:
            rules[slot] |= Rule.RANGE
            continue
        if abs(count) > INT32_MAX:
            rules[slot] |= Rule.RANGE
            continue
        if row.is_doubtful:
            rule |= Rule.METER_STATUS
        if counts[slot] is None:
            counts[slot], rules[slot] = count, rule
        elif counts[slot] != count:
            rules[slot] |= Rule.CONFLICT
    return IntervalBlock(
        channel.obis, channel.scaler_unit, first, period, tuple(counts), tuple(rules) if any(rules) else ()
    )


def register_values(
    column: Column, rows: Sequence[Row], clock: ClockProfile, period: int, *, start: UtcSeconds, end: UtcSeconds
) -> Iterator[RegisterValue]:
    """Give a cumulative column's snapshots taken in ``[start, end]`` [s UTC], each stamped by the meter.

    A row is captured at the end of its interval, whichever end its stamp names. Of two rows for one instant with different
    values the first is kept and marked `Rule.CONFLICT`; one that is no count is left out.
    """
    found: dict[UtcSeconds, RegisterValue] = {}
    for row in rows:
        instant = row.stamp if clock.stamp == "end" else row.stamp + period
        data = row.values[column.index]
        if data.tag is Tag.NULL or not start <= instant <= end:
            continue
        worth = column.scaler_unit
        try:
            count, rule = decode_count(data, worth, worth, f"{column.wanted.logical_name} at {row.stamp}")
            if row.is_doubtful:
                rule |= Rule.METER_STATUS
            value = RegisterValue(column.wanted.obis, count, worth, instant, 0, rule)
        except (RemoteProtocolError, ValueError):
            continue
        first = found.setdefault(instant, value)
        if first.count != count:
            found[instant] = replace(first, rules=first.rules | Rule.CONFLICT)
    yield from found.values()
