"""The rows of a load profile, read by column: `drivers.dlms.objects` says what they mean, `kernels.axdr` does it fast.

A buffer that the kernel handles is kept as arrays; any other, and whatever is damaged, goes through the Python codec, which has
the last word on what is an error. Which way was taken shows in no fact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from drivers.dlms import axdr, objects
from drivers.dlms.axdr import NULL, Data, Tag
from drivers.dlms.datetime import STATUS_UNSPECIFIED, ClockStatus, find_zone
from drivers.dlms.events import NEED_DATA
from drivers.dlms.objects import CaptureObject, Column, Row
from drivers.errors import ProfileError, RemoteProtocolError
from drivers.facts import IntervalBlock, RegisterValue, UtcSeconds
from drivers.profile import ChannelProfile, ClockProfile
from drivers.status import Stated
from kernels import axdr as kernel
from kernels.quality import Rule

_UNTRUSTED = int(ClockStatus.INVALID_VALUE | ClockStatus.DOUBTFUL_VALUE)
_rule = cache(Rule)
_INTEGERS = frozenset(map(int, axdr.INTEGERS))
_UNSIGNED = frozenset(map(int, (Tag.UNSIGNED, Tag.LONG_UNSIGNED, Tag.DOUBLE_LONG_UNSIGNED, Tag.LONG64_UNSIGNED)))
_NO_RULE, _DOUBT = Rule(0), Rule.METER_STATUS
_FLOATS = frozenset({int(Tag.FLOAT32), int(Tag.FLOAT64)})


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Rows as arrays, as `kernels.axdr.decode_profile` writes them: ``values`` and ``types`` of shape (columns, rows).

    ``octets``: where the contents of items that are no integers stand.
    """

    octets: bytes
    values: npt.NDArray[np.int64]
    types: npt.NDArray[np.uint8]
    stamps: npt.NDArray[np.int64]
    status: npt.NDArray[np.uint8]

    def between(self, start: UtcSeconds, end: UtcSeconds) -> "Columns":
        """Give the rows stamped in ``[start, end]``. [s UTC]"""
        wanted = (self.stamps >= start) & (self.stamps <= end)
        return self if wanted.all() else self.taken(wanted)

    def taken(self, which: slice | npt.NDArray[np.bool_]) -> "Columns":
        """Give some of the rows."""
        values, types = np.ascontiguousarray(self.values[:, which]), np.ascontiguousarray(self.types[:, which])
        return Columns(self.octets, values, types, self.stamps[which], self.status[which])

    def rows(self) -> list[Row]:
        """Give the rows one by one."""
        cells = [
            [self._cell(*pair) for pair in zip(values, types, strict=True)]
            for values, types in zip(self.values.tolist(), self.types.tolist(), strict=True)
        ]
        return [
            Row(stamp, doubt, values)
            for stamp, doubt, values in zip(self.stamps.tolist(), self.doubts(), zip(*cells, strict=True), strict=True)
        ]

    def _cell(self, value: int, code: int) -> Data:
        tag = Tag(code)
        if tag is Tag.NULL:
            return NULL
        if tag in axdr.INTEGERS:
            return Data(tag, value)
        return axdr.parse_content(self.octets, value, tag)  # the kernel has measured it

    def doubts(self) -> list[bool]:
        """Say of each row whether the meter doubts its stamp."""
        return [status != STATUS_UNSPECIFIED and bool(status & _UNTRUSTED) for status in self.status.tolist()]


class Buffer:
    """The octets of attribute ``buffer``, decoded as far as that goes without knowing the order of the rows."""

    def __init__(self, octets: bytes, captured: Sequence[CaptureObject], clock: ClockProfile) -> None:
        """Raises `RemoteProtocolError` for octets that are no A-XDR."""
        self._captured = captured
        self._clock = clock
        self._octets = octets
        self._data: Data | None = None
        outcome = self._columns_read(0)
        if outcome is None:
            self._data = axdr.decode(octets)
        self._outcome = outcome

    @property
    def lacks_stamps(self) -> bool:
        """See `objects.lacks_stamps`."""
        if self._data is not None:
            return objects.lacks_stamps(self._data, self._captured)
        return self._outcome == kernel.NEEDS_STEP

    def rows(self, step: int) -> "Rows":
        """Give the rows; see `objects.decode_rows`. Raises `RemoteProtocolError`."""
        outcome = self._outcome
        if outcome == kernel.NEEDS_STEP:
            outcome = self._columns_read(step) if step else None
        if isinstance(outcome, Columns):
            return Rows((outcome,))
        data = axdr.decode(self._octets) if self._data is None else self._data
        return Rows((objects.decode_rows(data, self._captured, step, self._clock),))

    def _columns_read(self, step: int) -> Columns | int | None:
        """Ask the kernel; its `kernel.NEEDS_STEP`, or None where this is for the Python codec."""
        columns = len(self._captured)
        if columns > kernel.MAX_COLUMNS or not -kernel.MAX_STEP <= step <= kernel.MAX_STEP:
            return None
        try:
            stamp_column = objects.find_clock(self._captured)
            count = kernel.count_rows(self._octets)
            if count == kernel.NOT_HANDLED or (count + 2) * (columns + 1) >= axdr.most_items(len(self._octets)):
                return None
            values, types = np.empty((columns, count), np.int64), np.empty((columns, count), np.uint8)
            stamps, status = np.empty(count, np.int64), np.empty(count, np.uint8)
            used = kernel.decode_profile(
                self._octets, stamp_column, step, _fixed_offset(self._clock.zone),
                self._clock.deviation == "meter", values, types, stamps, status,
            )  # fmt: skip
        except (RemoteProtocolError, ValueError):
            return None
        if used < 0:
            return used if used == kernel.NEEDS_STEP else None
        whole = Columns(self._octets, values, types, stamps, status)
        return whole if used == count else whole.taken(slice(used))


class Rows:
    """Rows in the order the meter gave them, out of one answer or several."""

    def __init__(self, pieces: Sequence[Columns | list[Row]] = ()) -> None:
        self._pieces = tuple(pieces)

    def __add__(self, other: "Rows") -> "Rows":
        """Give these rows and then the other ones."""
        return Rows(self._pieces + other._pieces)

    def stamps(self) -> list[UtcSeconds]:
        """List the stamp of each row. [s UTC]"""
        found: list[UtcSeconds] = []
        for piece in self._pieces:
            found += piece.stamps.tolist() if isinstance(piece, Columns) else [row.stamp for row in piece]
        return found

    def types(self) -> tuple[frozenset[int], ...]:
        """Give the tags that each column has, null-data left out: it says nothing of the type. Empty without rows."""
        found: list[set[int]] = []
        for piece in self._pieces:
            if isinstance(piece, Columns):
                tags = [set(np.flatnonzero(np.bincount(codes)).tolist()) for codes in piece.types if len(codes)]
            else:
                tags = [{int(one.tag) for one in column} for column in zip(*[row.values for row in piece], strict=True)]
            found = [old | new for old, new in zip(found, tags, strict=True)] if found and tags else tags or found
        return tuple(frozenset(tags - {int(Tag.NULL)}) for tags in found)

    def one_by_one(self) -> list[Row]:
        """Give the rows as `objects.decode_rows` does."""
        return [row for piece in self._pieces for row in (piece.rows() if isinstance(piece, Columns) else piece)]

    def between(self, start: UtcSeconds, end: UtcSeconds) -> "Rows":
        """Give the rows stamped in ``[start, end]``. [s UTC]"""
        return Rows(
            [
                piece.between(start, end)
                if isinstance(piece, Columns)
                else [row for row in piece if start <= row.stamp <= end]
                for piece in self._pieces
            ]
        )

    def interval_block(
        self, column: Column, channel: ChannelProfile, clock: ClockProfile, *, start: UtcSeconds, end: UtcSeconds
    ) -> IntervalBlock:
        """See `objects.interval_block`."""
        first, slots = objects.interval_grid(channel.period, clock, start, end)
        counts, has_value = np.zeros(slots, np.int32), np.zeros(slots, np.uint8)
        rules = np.zeros(slots, np.uint32)
        stamp_of_first = first + (channel.period if clock.stamp == "end" else 0)
        exponent = column.scaler_unit.scaler - channel.scaler_unit.scaler
        is_done = column.scaler_unit.unit is channel.scaler_unit.unit
        for piece in self._pieces:
            is_done = (
                is_done
                and isinstance(piece, Columns)
                and not kernel.lay_intervals(
                    piece.values[column.index], piece.types[column.index], piece.stamps, piece.status,
                    stamp_of_first, channel.period, exponent, counts, has_value, rules,
                )
            )  # fmt: skip
        if not is_done:
            return objects.interval_block(column, channel, self.one_by_one(), clock, start=start, end=end)
        laid: list[int | None] = list(counts.tolist())
        if not has_value.all():
            for slot in np.flatnonzero(has_value == 0).tolist():
                laid[slot] = None
        marks = tuple([_rule(mask) for mask in rules.tolist()]) if rules.any() else ()
        return IntervalBlock(channel.obis, channel.scaler_unit, first, channel.period, tuple(laid), marks)

    def stated(self, index: int) -> list[Stated]:
        """Give the status words of a column, each with the stamp of its row."""
        found: list[Stated] = []
        for piece in self._pieces:
            if isinstance(piece, Columns) and _UNSIGNED.issuperset(piece.types[index].tolist()):
                words = piece.values[index] & objects.STATUS_BITS
                said = np.flatnonzero(words)
                found += [
                    Stated(stamp, word)
                    for stamp, word in zip(piece.stamps[said].tolist(), words[said].tolist(), strict=True)
                ]
                continue
            rows = piece.rows() if isinstance(piece, Columns) else piece
            words_of = ((row.stamp, objects.decode_status(row.values[index])) for row in rows)
            found += [Stated(stamp, word) for stamp, word in words_of if word]
        return found

    def register_values(
        self, column: Column, clock: ClockProfile, period: int, *, start: UtcSeconds, end: UtcSeconds
    ) -> list[RegisterValue]:
        """See `objects.register_values`."""
        found: dict[UtcSeconds, RegisterValue] = {}
        after_stamp = 0 if clock.stamp == "end" else period
        for piece in self._pieces:
            if not isinstance(piece, Columns) or not _FLOATS.isdisjoint(codes := piece.types[column.index].tolist()):
                return list(objects.register_values(column, self.one_by_one(), clock, period, start=start, end=end))
            items = zip(piece.stamps.tolist(), piece.values[column.index].tolist(), codes, piece.doubts(), strict=True)
            for stamp, count, code, is_doubtful in items:
                instant = stamp + after_stamp
                if code not in _INTEGERS or not start <= instant <= end:
                    continue
                value = RegisterValue(
                    column.wanted.obis, count, column.scaler_unit, instant, 0, _DOUBT if is_doubtful else _NO_RULE
                )
                first = found.setdefault(instant, value)
                if first.count != count:
                    found[instant] = replace(first, rules=first.rules | Rule.CONFLICT)
        return list(found.values())


def whole_rows(octets: bytes) -> bytes:
    """Cut the beginning of a buffer to an array of the rows that are there whole; of none, where it is no array.

    Raises `RemoteProtocolError` for a beginning that nothing could make right.
    """
    if len(octets) < 2 or octets[0] != Tag.ARRAY:
        return bytes((Tag.ARRAY, 0))
    count, first = axdr.parse_length(octets, 1)
    at, rows = first, 0
    while rows < count and (outcome := axdr.parse(octets, at)) is not NEED_DATA:
        at, rows = outcome[1], rows + 1
    return bytes((Tag.ARRAY,)) + axdr.encode_length(rows) + octets[first:at]


def _fixed_offset(zone: str) -> int | None:
    """Give local time minus UTC where it is always the same [s], else None."""
    try:
        offset = find_zone(zone).utcoffset(None)
    except ProfileError:
        return None  # whoever needs the zone will say so
    return None if offset is None else int(offset.total_seconds())
