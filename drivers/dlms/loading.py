"""Reading a load profile, as a script: it says what to ask of the meter, takes the answers, and ends with facts. No I/O.

Whoever runs it sends back what a `Question` brings, or throws in the `MeterRefused` that came instead. What is known of
the meter's kind (`Metadata`) is not asked; where the rows contradict it, it is forgotten, asked, and the rows are read once more.
"""

from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from drivers.contract import Salvage
from drivers.dlms import axdr, objects
from drivers.dlms.axdr import Data
from drivers.dlms.metadata import Metadata
from drivers.dlms.objects import CaptureObject, Column
from drivers.dlms.rows import Buffer, Rows, whole_rows
from drivers.dlms.xdlms import Attribute, Selection
from drivers.errors import MeterRefused, ProfileError, RemoteProtocolError
from drivers.facts import IntervalBlock, RegisterValue, UtcSeconds
from drivers.obis import Obis
from drivers.profile import DlmsProfile, MeterProfile
from drivers.status import marked, marked_registers
from drivers.units import ScalerUnit

ORDERS = {objects.FIRST_IN_FIRST_OUT: 1, objects.LAST_IN_FIRST_OUT: -1}
"""Do entries run from the oldest to the newest (1) or the other way (-1), by ``sort_method``. By anything else: 0."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask: ``attributes`` together, answered by a list of `Data`; or none, for the buffer's octets by ``selection``."""

    attributes: tuple[Attribute, ...] = ()
    selection: Selection | None = None


T = TypeVar("T")
Fact = IntervalBlock | RegisterValue
Script = Generator[Question, Any, T]


class LoadProfile:
    """The load profile of one meter, read any number of times in one session."""

    def __init__(self, profile: MeterProfile, dlms: DlmsProfile, known: Metadata) -> None:
        self.known = known
        self._profile = profile
        self._dlms = dlms
        self._clock = profile.clock
        self._name = dlms.load_profile or Obis(0, 0, 0, 0, 0, 0)
        self._begin(0, 0)

    def _begin(self, start: UtcSeconds, end: UtcSeconds) -> None:
        self._window = (start, end)
        self._way = ""
        self._had = Rows()  # pieces of this reading that came whole
        self._is_reading = False  # a buffer was asked for and is not there yet

    def read(self, start: UtcSeconds, end: UtcSeconds) -> Script[list[Fact]]:
        """Read the intervals in ``[start, end)`` [s UTC]: a block per interval column, and cumulative columns' snapshots.

        Raises `ProfileError` where the meter's columns or capture period are not what the profile says.
        """
        if self.known.is_recalled:
            with suppress(RemoteProtocolError, MeterRefused, ProfileError):
                return (yield from self._read(start, end))
            self.known.forget()
        return (yield from self._read(start, end))

    def _read(self, start: UtcSeconds, end: UtcSeconds) -> Script[list[Fact]]:
        self._begin(start, end)
        yield from self._describe()
        objects.find_columns(self._profile, self.known.columns)
        yield from self._learn_scalers()
        rows = yield from self._read_rows(start, end)
        return self._facts(rows, start, end)

    def salvage(self, octets: bytes) -> Salvage | None:
        """Give what came whole of a reading that failed. ``octets``: beginning of the buffer that was under way."""
        start, end = self._window
        rows = self._had
        with suppress(RemoteProtocolError):
            if self._is_reading:
                rows += self._beginning(octets)
        stamps, rows = rows.stamps(), rows.between(start, end)
        if not rows.stamps():
            return None
        first, last = self._settled(stamps)
        facts = self._facts(rows, first, last) if first < last else self._facts(rows, start, end, is_whole=False)
        return Salvage(tuple(facts), first, last)

    def _settled(self, stamps: Sequence[UtcSeconds]) -> tuple[UtcSeconds, UtcSeconds]:
        """Give the part of the window of which rows with these stamps say all: up to the last of those that rise or fall."""
        start, end = self._window
        before, after = (self.known.period, 0) if self._clock.stamp == "end" else (0, self.known.period)
        order = None if self.known.sort_method is None else ORDERS.get(self.known.sort_method, 0)
        if order == 0 or (order is None and len(stamps) < 2):
            return start, start  # one row alone does not say which way they run
        begins_in_time = self._way != "entry" or stamps[0] <= start  # else an older piece was still to come
        if order != -1 and begins_in_time and all(one < other for one, other in pairwise(stamps)):
            return start, min(end, stamps[-1] + after)
        if order != 1 and self._way != "entry" and all(one > other for one, other in pairwise(stamps)):
            return max(start, stamps[-1] - before), end
        return start, start

    def _beginning(self, octets: bytes) -> Rows:
        buffer = Buffer(whole_rows(octets), self._asked_columns(), self._clock)
        order = ORDERS.get(self.known.sort_method or 0, 0)
        rows = buffer.rows(self.known.period * order)
        self.known.note_types(rows.types(), self._asked_indexes())
        return rows

    def _facts(self, rows: Rows, start: UtcSeconds, end: UtcSeconds, *, is_whole: bool = True) -> list[Fact]:
        captured = self._asked_columns()
        facts: list[Fact] = []
        columns = [
            Column(index, wanted, self._scaler(captured[index], wanted.obis))
            for index, wanted in objects.find_columns(self._profile, captured)
        ]
        self._check_units(columns)
        layout, at = self._profile.status_layout, objects.find_status(self._dlms.status, captured)
        stated = [] if at is None else rows.stated(at)
        shift = self.known.period if self._clock.stamp == "end" else 0
        for column in columns:
            if column.wanted.cumulative:
                period = self.known.period
                values = rows.register_values(column, self._clock, period, start=start, end=end)
                facts += marked_registers(values, layout, stated, period - shift)
            elif (channel := objects.channel_of(self._profile, column.wanted.obis)) is not None:
                block = rows.interval_block(column, channel, self._clock, start=start, end=end)
                facts.append(marked(block, layout, stated, shift, is_whole=is_whole))
        return facts

    def _check_units(self, columns: Sequence[Column]) -> None:
        faults = [
            f"channels: {channel.obis} is in {channel.scaler_unit.unit.symbol}, the meter's in {column.scaler_unit.unit.symbol}"
            for column in columns
            if not column.wanted.cumulative
            and (channel := objects.channel_of(self._profile, column.wanted.obis)) is not None
            and channel.scaler_unit.unit is not column.scaler_unit.unit
        ]
        if faults:
            raise ProfileError(self._profile.name, faults)

    def _attribute(self, index: int) -> Attribute:
        return Attribute(objects.PROFILE_GENERIC, self._name, index)

    # -- what the meter's kind has in common

    def _describe(self) -> Script[None]:
        """Learn the profile's columns and capture period, and hold the period against the declared one."""
        known = self.known
        if not known.columns:
            columns, pace = yield Question(
                (self._attribute(objects.CAPTURE_OBJECTS), self._attribute(objects.CAPTURE_PERIOD))
            )
            known.note_columns(objects.decode_capture_objects(columns), pace.integer())
        wrong = [
            f"channels: {channel.obis} has period {channel.period} s, the meter captures every {known.period} s"
            for column in self._dlms.columns
            if not column.cumulative
            and (channel := objects.channel_of(self._profile, column.obis)) is not None
            and channel.period != known.period
        ]
        if wrong:
            known.forget()
            raise ProfileError(self._profile.name, wrong)

    def _learn_scalers(self) -> Script[None]:
        """Ask for the scalers of wanted columns that are not known yet, together."""
        wanted = [self.known.columns[index] for index, _ in objects.find_columns(self._profile, self.known.columns)]
        attributes = dict.fromkeys(attribute for one in wanted if (attribute := objects.scaler_attribute(one)))
        unknown = tuple(attribute for attribute in attributes if attribute not in self.known.scalers)
        if unknown:
            answers: list[Data] = yield Question(unknown)
            for attribute, data in zip(unknown, answers, strict=True):
                self.known.note_scaler(attribute, objects.decode_scaler_unit(data))

    def _scaler(self, captured: CaptureObject, obis: Obis) -> ScalerUnit:
        """Find what a column's counts are worth: by the meter, else by the profile's registers or channels (class 1)."""
        if attribute := objects.scaler_attribute(captured):
            return self.known.scalers[attribute]
        for register in self._dlms.registers:
            if register.logical_name == captured.logical_name and register.scaler_unit is not None:
                return register.scaler_unit
        channel = objects.channel_of(self._profile, obis)
        if channel is None:
            raise ProfileError(
                self._profile.name, [f"columns: nothing says what a count of {captured.logical_name} is worth"]
            )
        return channel.scaler_unit

    def _order(self) -> Script[int]:
        if self.known.sort_method is None:
            (answer,) = yield Question((self._attribute(objects.SORT_METHOD),))
            self.known.sort_method = answer.integer()
            self.known.is_news = True
        return ORDERS.get(self.known.sort_method, 0)

    # -- rows

    def _read_rows(self, start: UtcSeconds, end: UtcSeconds) -> Script[Rows]:
        """Read the rows stamped in ``[start, end]``, by the first way of selective access that the meter takes.

        A refused way is not tried again, in this session or the next. A way that gave rows before is believed when it gives none;
        one that never did is checked by the next: some meters answer a selection they do not understand with nothing.
        """
        ways = [way for way in self._dlms.selective_access if way not in self.known.refused]
        refusal: MeterRefused | None = None
        empty: str | None = None
        for way in ways:
            if empty is not None and way == "none":
                break  # a whole buffer is too dear for a doubt
            self._way = way
            self._had = Rows()
            try:
                rows = (yield from self._by(way, start, end)).between(start, end)
            except MeterRefused as error:
                self.known.note_way(way, works=False)
                refusal = error
                continue
            if rows.stamps():
                self.known.note_way(self._way, works=True)
                if empty is not None:
                    self.known.note_way(empty, works=False)
                return rows
            if way not in {"columns", "range"} or way in self.known.proved:
                return rows
            empty = way
        if empty is not None:
            return Rows()
        raise refusal or ProfileError(self._profile.name, ["dlms.selective_access: names no way to read"])

    def _by(self, way: str, start: UtcSeconds, end: UtcSeconds) -> Script[Rows]:
        if way == "entry":
            return (yield from self._by_entry(start, end))
        if way == "none":
            return (yield from self._rows(None))
        captured = self.known.columns
        whole = objects.range_selection(start, end, self._clock, captured[objects.find_clock(captured)])
        if way == "range":
            return (yield from self._rows(whole))
        if len(self._asked_indexes()) == len(captured):
            raise MeterRefused("every column is wanted", axdr.Tag.NULL)
        chosen = axdr.array([one.encode() for one in self._asked_columns()])
        return (yield from self._rows(Selection(whole.selector, axdr.structure(*whole.parameters.items()[:3], chosen))))

    def _asked_indexes(self) -> list[int]:
        """Say which of the captured columns the rows have that are under way."""
        captured = self.known.columns
        if self._way != "columns":
            return list(range(len(captured)))
        wanted = {index for index, _ in objects.find_columns(self._profile, captured)}
        status = objects.find_status(self._dlms.status, captured)
        return sorted(wanted | {objects.find_clock(captured)} | (set() if status is None else {status}))

    def _asked_columns(self) -> list[CaptureObject]:
        return [self.known.columns[index] for index in self._asked_indexes()]

    def _rows(self, selection: Selection | None) -> Script[Rows]:
        self._is_reading = True
        octets = yield Question(selection=selection)
        self._is_reading = False
        if self._way == "columns":
            with suppress(RemoteProtocolError):
                return (yield from self._decoded(octets))
            self._way = "range"  # it may have overlooked which columns were asked for, and given all
            self.known.note_way("columns", works=False)
        return (yield from self._decoded(octets))

    def _decoded(self, octets: bytes) -> Script[Rows]:
        buffer = Buffer(octets, self._asked_columns(), self._clock)
        step = self.known.period * (yield from self._order()) if buffer.lacks_stamps else 0
        rows = buffer.rows(step)
        self.known.note_types(rows.types(), self._asked_indexes())
        return rows

    def _by_entry(self, start: UtcSeconds, end: UtcSeconds) -> Script[Rows]:
        """Read newest entries first and no further back than ``start``, as far as the order of the entries is known.

        A meter that adds rows of its own (power failure, clock set) has more entries than slots: then a further piece is read.
        """
        (answer,) = yield Question((self._attribute(objects.ENTRIES_IN_USE),))
        entries = answer.integer()
        if entries <= 0:
            return Rows()
        if entries > objects.MAX_ENTRIES:
            raise RemoteProtocolError(f"{entries} entries in use, more than can be numbered")
        order, period = (yield from self._order()), self.known.period
        if not order or period <= 0:
            return (yield from self._rows(objects.entry_selection(1, entries)))

        def aged(youngest: int, oldest: int) -> Selection:
            """Select by age, 1 being the newest entry."""
            if order < 0:
                return objects.entry_selection(youngest, oldest)
            return objects.entry_selection(entries - oldest + 1, entries - youngest + 1)

        newest = (yield from self._rows(aged(1, 1))).stamps()
        if not newest or newest[-1] < start:
            return Rows()
        wanted = (newest[-1] - start) // period + 2
        if wanted >= entries:
            oldest = (yield from self._rows(aged(entries, entries))).stamps()
            if oldest and oldest[0] > end:
                return Rows()
        youngest = 1
        while youngest <= entries:
            last = min(entries, youngest + wanted - 1)
            piece = yield from self._rows(aged(youngest, last))
            self._had += piece
            reached = min(piece.stamps(), default=start)
            if reached <= start:
                break
            youngest, wanted = last + 1, (reached - start) // period + 1
        return self._had
