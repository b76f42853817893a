"""One DLMS/COSEM meter: who it is, its clock, its registers and its load profile, as facts."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from drivers.contract import ByteStream, Endpoint, SessionContext
from drivers.dlms import objects
from drivers.dlms.axdr import Data
from drivers.dlms.discovery import Description, describe
from drivers.dlms.doubt import doubted
from drivers.dlms.objects import CaptureObject, Column
from drivers.dlms.rows import Buffer, Rows
from drivers.dlms.session import Conversation, Reply
from drivers.dlms.xdlms import Attribute, Selection
from drivers.errors import MeterRefused, ProfileError, RemoteProtocolError
from drivers.facts import ClockReading, IntervalBlock, MeterIdentity, RegisterValue, UtcSeconds
from drivers.obis import Obis
from drivers.profile import DlmsProfile, DlmsRegister, MeterProfile
from drivers.units import ScalerUnit
from kernels.quality import Rule


class DlmsSession:
    """`ReadsIdentity`, `ReadsRegisters`, `ReadsLoadProfile` and `KeepsClock` of one meter.

    What never changes within a session (scalers, capture objects, what the meter refused) is asked once.
    """

    def __init__(self, stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> None:
        """Raises `ProfileError` or `SecurityError` for an endpoint that could not be read."""
        self._conversation = Conversation(stream, endpoint, context)
        dlms = endpoint.profile.dlms
        assert dlms is not None  # Conversation has checked it
        self._profile: MeterProfile = endpoint.profile
        self._dlms: DlmsProfile = dlms
        self._now = context.now
        self._scalers: dict[Attribute, ScalerUnit] = {}
        self._captured: tuple[CaptureObject, ...] | None = None
        self._capture_period: int | None = None
        self._sort_method: int | None = None
        self._refused: set[str] = set()

    async def open(self) -> None:
        """Associate with the meter."""
        await self._conversation.open()

    async def close(self) -> None:
        """Release the association."""
        await self._conversation.close()

    async def read_identity(self) -> MeterIdentity:
        """Read the logical device name and, where the profile names it, the firmware's identifier."""
        name = objects.decode_text(await self._get(objects.DATA, self._dlms.identity, 2), "logical device name")
        firmware = ""
        if self._dlms.firmware is not None:
            firmware = objects.decode_text(await self._get(objects.DATA, self._dlms.firmware, 2), "firmware identifier")
        # IEC 62056-6-2, logical device name: its first three octets are the maker's FLAG identifier.
        return MeterIdentity(name, self._profile.maker or name[:3], "", self._profile.model, firmware)

    async def read_clock(self) -> ClockReading:
        """Read the meter's clock; ours is taken midway between question and answer."""
        asked = self._now()
        data = await self._get(objects.CLOCK, self._dlms.clock, 2)
        answered = self._now()
        instant, is_doubtful = objects.decode_instant(data, self._profile.clock)
        return ClockReading(instant, (asked + answered) // 2, is_doubtful)

    async def read_registers(self, obis: Sequence[Obis]) -> list[RegisterValue]:
        """Read the given quantities, in the order asked; one the profile does not declare is tried as a plain register.

        All are asked for together, with what their scalers are not known yet, where the meter takes lists.
        ``captured_at`` is the meter's capture time where the class has one, else midway between question and answer.
        Counts keep the meter's scaler. Raises `MeterRefused` for what the meter does not have.
        """
        declared = {register.obis: register for register in self._dlms.registers}
        registers = [declared.get(code) or DlmsRegister(code, code) for code in obis]
        wanted = list(dict.fromkeys(one for register in registers for one in self._attributes(register)))
        replies = dict(zip(wanted, await self._conversation.get_many(wanted), strict=True))
        values = [self._register_value(register, replies) for register in registers]
        return [doubted(value) for value in values] if self._conversation.is_unverified else values

    async def describe(self) -> Description:
        """Ask the meter what it is and has: identity, object list, registers, load profiles. Reads, and writes nothing."""
        script = describe(self._profile.clock, self._dlms.identity)
        wanted = next(script)
        while True:
            replies = await self._conversation.get_many(wanted, is_tolerant=True)
            try:
                wanted = script.send([reply.value for reply in replies])
            except StopIteration as finished:
                description: Description = finished.value
                return description

    @property
    def settings(self) -> DlmsProfile:
        """What the session is held with: the profile's settings with this meter's overrides and address."""
        return self._conversation.settings

    async def read_load_profile(self, start: UtcSeconds, end: UtcSeconds) -> list[IntervalBlock | RegisterValue]:
        """Read the intervals in ``[start, end)`` [s UTC]: a block per interval column, and cumulative columns' snapshots.

        Raises `ProfileError` where the meter's columns or capture period are not what the profile says.
        """
        if self._dlms.load_profile is None:
            raise ProfileError(self._profile.name, ["dlms.load_profile: not declared"])
        if end <= start:
            return []
        captured, period = await self._describe(self._dlms.load_profile)
        found = objects.find_columns(self._profile, captured)
        await self._learn_scalers([captured[index] for index, _ in found])
        columns = [Column(index, wanted, self._column_scaler(captured[index], wanted.obis)) for index, wanted in found]
        self._check_units(columns)
        rows = await self._read_rows(self._dlms.load_profile, start, end)
        facts: list[IntervalBlock | RegisterValue] = []
        for column in columns:
            if column.wanted.cumulative:
                facts += rows.register_values(column, self._profile.clock, period, start=start, end=end)
            elif (channel := objects.channel_of(self._profile, column.wanted.obis)) is not None:
                facts.append(rows.interval_block(column, channel, self._profile.clock, start=start, end=end))
        return [doubted(fact) for fact in facts] if self._conversation.is_unverified else facts

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

    async def _get(self, class_id: int, name: Obis, index: int, selection: Selection | None = None) -> Data:
        return await self._conversation.get(Attribute(class_id, name, index), selection)

    def _attributes(self, register: DlmsRegister) -> Iterator[Attribute]:
        """Name what must be read for a register: its scaler where it is not known, its value, its capture time."""
        if register.scaler_unit is None:
            scaler = self._scaler_attribute(register)
            if scaler not in self._scalers:
                yield scaler
        yield Attribute(register.class_id, register.logical_name, register.attribute)
        if stamp := objects.CAPTURE_TIME_ATTRIBUTE.get(register.class_id):
            yield Attribute(register.class_id, register.logical_name, stamp)

    def _scaler_attribute(self, register: DlmsRegister) -> Attribute:
        index = objects.SCALER_UNIT_ATTRIBUTE.get(register.class_id)
        if index is None:
            raise ProfileError(
                self._profile.name,
                [f"registers: {register.logical_name} is of class {register.class_id} and needs scaler_unit"],
            )
        return Attribute(register.class_id, register.logical_name, index)

    def _register_value(self, register: DlmsRegister, replies: Mapping[Attribute, Reply]) -> RegisterValue:
        where = str(register.logical_name)
        worth = register.scaler_unit
        if worth is None:
            worth = self._note_scaler(self._scaler_attribute(register), replies)
        reply = replies[Attribute(register.class_id, register.logical_name, register.attribute)]
        count, rules = objects.decode_count(reply.data, worth, worth, where)
        captured_at = (reply.asked + reply.answered) // 2
        uncertainty = reply.answered - captured_at
        if stamp := objects.CAPTURE_TIME_ATTRIBUTE.get(register.class_id):
            instant = replies[Attribute(register.class_id, register.logical_name, stamp)].data
            captured_at, is_doubtful = objects.decode_instant(instant, self._profile.clock)
            uncertainty = 0
            if is_doubtful:
                rules |= Rule.METER_STATUS
        try:
            return RegisterValue(register.obis, count, worth, captured_at, uncertainty, rules)
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from None

    def _note_scaler(self, attribute: Attribute, replies: Mapping[Attribute, Reply]) -> ScalerUnit:
        if attribute not in self._scalers:
            self._scalers[attribute] = objects.decode_scaler_unit(replies[attribute].data)
        return self._scalers[attribute]

    async def _learn_scalers(self, columns: Sequence[CaptureObject]) -> None:
        """Read the scalers of columns that are not known yet, together."""
        attributes = dict.fromkeys(attribute for one in columns if (attribute := objects.scaler_attribute(one)))
        wanted = [attribute for attribute in attributes if attribute not in self._scalers]
        replies = dict(zip(wanted, await self._conversation.get_many(wanted), strict=True))
        for attribute in wanted:
            self._note_scaler(attribute, replies)

    def _column_scaler(self, captured: CaptureObject, obis: Obis) -> ScalerUnit:
        """Find what a column's counts are worth: by the meter, else by the profile's registers or channels (class 1)."""
        if attribute := objects.scaler_attribute(captured):
            return self._scalers[attribute]
        for register in self._dlms.registers:
            if register.logical_name == captured.logical_name and register.scaler_unit is not None:
                return register.scaler_unit
        channel = objects.channel_of(self._profile, obis)
        if channel is None:
            raise ProfileError(
                self._profile.name, [f"columns: nothing says what a count of {captured.logical_name} is worth"]
            )
        return channel.scaler_unit

    async def _describe(self, name: Obis) -> tuple[tuple[CaptureObject, ...], int]:
        """Read the profile's columns and capture period, and hold the period against the declared one. [s]"""
        if self._captured is None or self._capture_period is None:
            wanted = [Attribute(objects.PROFILE_GENERIC, name, objects.CAPTURE_OBJECTS)]
            wanted.append(Attribute(objects.PROFILE_GENERIC, name, objects.CAPTURE_PERIOD))
            columns, pace = await self._conversation.get_many(wanted)
            captured, period = objects.decode_capture_objects(columns.data), pace.data.integer()
            wrong = [
                f"channels: {channel.obis} has period {channel.period} s, the meter captures every {period} s"
                for column in self._dlms.columns
                if not column.cumulative
                and (channel := objects.channel_of(self._profile, column.obis)) is not None
                and channel.period != period
            ]
            if wrong:
                raise ProfileError(self._profile.name, wrong)
            self._captured, self._capture_period = captured, period
        return self._captured, self._capture_period

    async def _read_rows(self, name: Obis, start: UtcSeconds, end: UtcSeconds) -> Rows:
        """Read the rows stamped in ``[start, end]``, by the first way of selective access that the meter takes.

        A refused way is not tried again in this session. An empty answer by range is checked by entry, where that is allowed:
        some meters answer a selection they do not understand with nothing.
        """
        ways = [way for way in self._dlms.selective_access if way not in self._refused]
        refusal: MeterRefused | None = None
        for way in ways:
            try:
                if way == "range":
                    rows = await self._rows(name, await self._range(name, start, end))
                    if not rows.stamps() and "entry" in ways:
                        rows = await self._confirm_empty(name, start, end)
                elif way == "entry":
                    rows = await self._rows_by_entry(name, start, end)
                else:
                    rows = await self._rows(name, None)
            except MeterRefused as error:
                self._refused.add(way)
                refusal = error
                continue
            return rows.between(start, end)
        raise refusal or ProfileError(self._profile.name, ["dlms.selective_access: names no way to read"])

    async def _range(self, name: Obis, start: UtcSeconds, end: UtcSeconds) -> Selection:
        captured, _ = await self._describe(name)
        return objects.range_selection(start, end, self._profile.clock, captured[objects.find_clock(captured)])

    async def _order(self, name: Obis) -> int:
        """Ask whether entries run from the oldest to the newest (1), the other way (-1) or by something else (0)."""
        if self._sort_method is None:
            self._sort_method = (await self._get(objects.PROFILE_GENERIC, name, objects.SORT_METHOD)).integer()
        return {objects.FIRST_IN_FIRST_OUT: 1, objects.LAST_IN_FIRST_OUT: -1}.get(self._sort_method, 0)

    async def _rows(self, name: Obis, selection: Selection | None) -> Rows:
        captured, period = await self._describe(name)
        attribute = Attribute(objects.PROFILE_GENERIC, name, objects.BUFFER)
        buffer = await self._conversation.get_as(
            lambda octets: Buffer(octets, captured, self._profile.clock), attribute, selection
        )
        step = period * await self._order(name) if buffer.lacks_stamps else 0
        return buffer.rows(step)

    async def _confirm_empty(self, name: Obis, start: UtcSeconds, end: UtcSeconds) -> Rows:
        try:
            return await self._rows_by_entry(name, start, end)
        except MeterRefused:
            self._refused.add("entry")
            return Rows()

    async def _rows_by_entry(self, name: Obis, start: UtcSeconds, end: UtcSeconds) -> Rows:
        """Read newest entries first and no further back than ``start``, as far as the order of the entries is known.

        A meter that adds rows of its own (power failure, clock set) has more entries than slots: then a further piece is read.
        """
        entries = (await self._get(objects.PROFILE_GENERIC, name, objects.ENTRIES_IN_USE)).integer()
        if entries <= 0:
            return Rows()
        if entries > objects.MAX_ENTRIES:
            raise RemoteProtocolError(f"{entries} entries in use, more than can be numbered")
        _, period = await self._describe(name)
        order = await self._order(name)
        if not order or period <= 0:
            return await self._rows(name, objects.entry_selection(1, entries))

        def aged(youngest: int, oldest: int) -> Selection:
            """Select by age, 1 being the newest entry."""
            if order < 0:
                return objects.entry_selection(youngest, oldest)
            return objects.entry_selection(entries - oldest + 1, entries - youngest + 1)

        newest = (await self._rows(name, aged(1, 1))).stamps()
        if not newest or newest[-1] < start:
            return Rows()
        wanted = (newest[-1] - start) // period + 2
        if wanted >= entries:
            oldest = (await self._rows(name, aged(entries, entries))).stamps()
            if oldest and oldest[0] > end:
                return Rows()
        rows = Rows()
        youngest = 1
        while youngest <= entries:
            last = min(entries, youngest + wanted - 1)
            piece = await self._rows(name, aged(youngest, last))
            rows += piece
            reached = min(piece.stamps(), default=start)
            if reached <= start:
                break
            youngest, wanted = last + 1, (reached - start) // period + 1
        return rows


@asynccontextmanager
async def open_session(stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> AsyncIterator[DlmsSession]:
    """Associate with one meter on a link the caller owns; release in an orderly way at the end, also after an error."""
    session = DlmsSession(stream, endpoint, context)
    try:
        await session.open()
        yield session
    finally:
        await session.close()
