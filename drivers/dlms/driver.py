"""One DLMS/COSEM meter: who it is, its clock, its registers and its load profile, as facts."""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from drivers.contract import ByteStream, Endpoint, Salvage, SessionContext
from drivers.dlms import objects
from drivers.dlms.axdr import Data
from drivers.dlms.commanding import DlmsCommands
from drivers.dlms.discovery import Description, describe
from drivers.dlms.inspection import AttributeView, attributes_of, view
from drivers.dlms.listing import ObjectEntry
from drivers.dlms.loading import LoadProfile, Question, Script
from drivers.dlms.metadata import (
    MAX_ENTRY,
    Metadata,
    decode_kinds,
    decode_metadata,
    encode_kinds,
    kind_of,
    names_key,
)
from drivers.dlms.procedures.steps import Invoke, Procedure, Read, Step, Wait, Write
from drivers.dlms.session import Conversation, Reply
from drivers.dlms.xdlms import Attribute
from drivers.doubt import doubted
from drivers.errors import (
    DriverError,
    MeterRefused,
    OutcomeUnknown,
    ProfileError,
    RemoteProtocolError,
    TransportError,
)
from drivers.facts import ClockReading, IntervalBlock, MeterIdentity, RegisterValue, UtcSeconds
from drivers.obis import Obis
from drivers.profile import DlmsProfile, DlmsRegister, MeterProfile
from drivers.transports.base import pause
from drivers.units import ScalerUnit
from kernels.quality import Rule

_log = logging.getLogger(__name__)
T = TypeVar("T")


class DlmsSession:
    """`ReadsIdentity`, `ReadsRegisters`, `SalvagesLoadProfile` and `KeepsClock` of one meter.

    What a kind of meter has in common (scalers, capture objects, what it refuses) is asked once, and kept where the context
    has a cache; a session that has not read the meter's identity reads it before it believes that cache.
    """

    def __init__(self, stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> None:
        """Raises `ProfileError` or `SecurityError` for an endpoint that could not be read."""
        self._conversation = Conversation(stream, endpoint, context, asks_names=False)
        dlms = endpoint.profile.dlms
        assert dlms is not None  # Conversation has checked it
        self._profile: MeterProfile = endpoint.profile
        self._dlms: DlmsProfile = dlms
        self._endpoint = endpoint
        self._now = context.now
        self._cache = context.metadata
        self._identity: MeterIdentity | None = None
        self._kind: str | None = None  # not looked up yet
        self._loading = LoadProfile(endpoint.profile, dlms, Metadata())

    async def open(self) -> None:
        """Associate with the meter, and learn its objects' short names where it has no others."""
        await self._conversation.open()
        if self.settings.referencing == "short-name":
            await self._find_names()

    async def close(self) -> None:
        """Release the association."""
        await self._conversation.close()

    async def read_identity(self) -> MeterIdentity:
        """Read the logical device name and, where the profile names it, the firmware's identifier; once in a session."""
        if self._identity is not None:
            return self._identity
        name = objects.decode_text(await self._get(objects.DATA, self._dlms.identity, 2), "logical device name")
        firmware = ""
        if self._dlms.firmware is not None:
            firmware = objects.decode_text(await self._get(objects.DATA, self._dlms.firmware, 2), "firmware identifier")
        # IEC 62056-6-2, logical device name: its first three octets are the maker's FLAG identifier.
        self._identity = MeterIdentity(name, self._profile.maker or name[:3], "", self._profile.model, firmware)
        return self._identity

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
        if self._identity is not None:
            await self._recall()
        declared = {register.obis: register for register in self._dlms.registers}
        registers = [declared.get(code) or DlmsRegister(code, code) for code in obis]
        wanted = list(dict.fromkeys(one for register in registers for one in self._attributes(register)))
        replies = dict(zip(wanted, await self._conversation.get_many(wanted), strict=True))
        values = [self._register_value(register, replies) for register in registers]
        await self._keep()
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

    async def inspect(self, entry: ObjectEntry) -> list[AttributeView]:
        """Read the attributes of one object, each as the table of its class reads it; not a profile's buffer."""
        wanted = attributes_of(entry)
        replies = await self._conversation.get_many(wanted, is_tolerant=True)
        return view(entry, wanted, [reply.value for reply in replies])

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
        await self._recall()
        was_recalled = self._known.is_recalled
        try:
            facts = await self._run(self._loading.read(start, end))
        finally:
            if was_recalled and not self._known.is_recalled:
                _log.warning("meter %s: is not what its kind was known for; asked anew", self._endpoint.name)
                await self._drop()
        await self._keep()
        return self._vouched(facts)

    def salvage(self) -> Salvage | None:
        """Give what the last `read_load_profile`, which raised or was canceled, had received whole; None for nothing."""
        found = self._loading.salvage(bytes(self._conversation.received))
        return None if found is None else Salvage(tuple(self._vouched(found.facts)), found.start, found.end)

    def _vouched(self, facts: Sequence[IntervalBlock | RegisterValue]) -> list[IntervalBlock | RegisterValue]:
        return [doubted(fact) for fact in facts] if self._conversation.is_unverified else list(facts)

    @property
    def _known(self) -> Metadata:
        return self._loading.known

    async def _run(self, script: Script[T]) -> T:
        """Ask what a script wants to know, until it is done."""
        answer: list[Data] | bytes | None = None
        refusal: MeterRefused | None = None
        while True:
            try:
                question = script.send(answer) if refusal is None else script.throw(refusal)
            except StopIteration as finished:
                result: T = finished.value
                return result
            answer = refusal = None
            try:
                answer = await self._answer(question)
            except MeterRefused as error:
                refusal = error

    async def _answer(self, question: Question) -> list[Data] | bytes:
        if question.attributes:
            return [reply.data for reply in await self._conversation.get_many(question.attributes)]
        assert self._dlms.load_profile is not None
        buffer = Attribute(objects.PROFILE_GENERIC, self._dlms.load_profile, objects.BUFFER)
        return await self._conversation.get_as(bytes, buffer, question.selection)

    async def _recall(self) -> None:
        """Take from the cache, once in a session, what is known of the kind of meter that this one says it is."""
        if self._cache is None or self._kind is not None:
            return
        self._kind = self._kind_of(await self.read_identity())
        found = await self._load(self._kind)
        if found is not None and found.agrees(self._known):
            if self._known.names is not None:
                found.note_names(self._known.names)
            self._loading.known = found

    async def _load(self, kind: str) -> Metadata | None:
        kept = await self._cache.load(kind) if self._cache is not None and kind else None
        return None if kept is None else decode_metadata(kept, self._now())

    def _kind_of(self, identity: MeterIdentity) -> str:
        is_shared = not self._conversation.is_unverified
        return kind_of(self._profile, self.settings, identity, self._logical_device, is_shared=is_shared)

    @property
    def _logical_device(self) -> int | None:
        return self.settings.server if "/" in self._endpoint.address else None

    async def _find_names(self) -> None:
        """Go by the short names of a kind that the meter, asked by them, says it is of; else ask for the list.

        Without a firmware identifier nothing would tell that names have moved, so it is asked each time.
        """
        for kind in await self._kinds():
            found = await self._load(kind)
            if found is None or found.names is None:
                continue
            self._conversation.use_names(found.names)
            with suppress(MeterRefused, RemoteProtocolError):
                if self._kind_of(await self.read_identity()) == kind:
                    self._kind, self._loading.known = kind, found
                    return
            self._identity = None
        self._known.note_names(await self._conversation.read_names())

    async def _kinds(self) -> list[str]:
        """Name the kinds whose short names may be this meter's."""
        key = self._names_key
        return decode_kinds(await self._cache.load(key)) if self._cache is not None and key else []

    @property
    def _names_key(self) -> str:
        dlms = self.settings
        if dlms.firmware is None or dlms.metadata == "session" or dlms.referencing != "short-name":
            return ""
        is_own = dlms.metadata == "meter" or self._conversation.is_unverified
        own = self._endpoint.name if is_own else ""
        return names_key(self._profile, dlms, self._logical_device, own)

    async def _keep(self) -> None:
        if self._cache is None or not self._kind or not self._known.is_news:
            return
        self._known.read_at = self._known.read_at or self._now()
        entry = self._known.encode()
        if len(entry) <= MAX_ENTRY:
            await self._cache.keep(self._kind, entry)
            if key := self._names_key:
                others = [kind for kind in await self._kinds() if kind != self._kind]
                await self._cache.keep(key, encode_kinds([self._kind, *others]))
        self._known.is_news = False

    async def _drop(self) -> None:
        if self._cache is not None and self._kind:
            await self._cache.drop(self._kind)

    async def _get(self, class_id: int, name: Obis, index: int) -> Data:
        return await self._conversation.get(Attribute(class_id, name, index))

    def _attributes(self, register: DlmsRegister) -> Iterator[Attribute]:
        """Name what must be read for a register: its scaler where it is not known, its value, its capture time."""
        if register.scaler_unit is None:
            scaler = self._scaler_attribute(register)
            if scaler not in self._known.scalers:
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
        if attribute not in self._known.scalers:
            self._known.note_scaler(attribute, objects.decode_scaler_unit(replies[attribute].data))
        return self._known.scalers[attribute]


@asynccontextmanager
async def open_session(stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> AsyncIterator[DlmsSession]:
    """Associate with one meter on a link the caller owns; release in an orderly way at the end, also after an error."""
    session = DlmsSession(stream, endpoint, context)
    try:
        await session.open()
        yield session
    finally:
        await session.close()


async def carry_out(conversation: Conversation, procedure: Procedure[T], pace: float = 1.0) -> T:
    """Take the steps of a procedure, and give what it comes to. One that changes the meter is for commands alone.

    ``pace``: real seconds for each that it waits. Raises `OutcomeUnknown` where no answer came to what must not be done twice,
    or to what was asked after it: to begin again would be to send it again.
    """
    is_sent = False  # something that must not be sent twice
    try:
        step = next(procedure)
        while True:
            is_sent |= isinstance(step, Write) or (isinstance(step, Invoke) and not step.is_repeatable)
            try:
                reply = await _take(conversation, step, pace)
            except (TransportError, RemoteProtocolError) as error:
                if not is_sent:
                    step = procedure.throw(error)
                    continue
                unknown = OutcomeUnknown(f"{step}: no answer ({error}); read back what became of it, do not send again")
                unknown.__cause__ = error
                step = procedure.throw(unknown)
            except DriverError as error:
                step = procedure.throw(error)
            else:
                step = procedure.send(reply)
    except StopIteration as finished:
        value: T = finished.value
        return value


async def _take(conversation: Conversation, step: Step, pace: float) -> Data | None:
    match step:
        case Read():
            return await conversation.get(step.attribute)
        case Write():
            await conversation.set(step.attribute, step.data)
        case Invoke():
            return await conversation.act(step.method, step.parameters)
        case Wait():
            await pause(step.seconds * pace)
    return None


@asynccontextmanager
async def open_commands(stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> AsyncIterator[DlmsCommands]:
    """Associate with the right to write, to execute one approved command; see `open_session` for the rest."""
    conversation = Conversation(stream, endpoint, context, may_write=True)
    try:
        await conversation.open()
        yield DlmsCommands(
            lambda procedure: carry_out(conversation, procedure, context.timeout_scale), endpoint.profile, context.now
        )
    finally:
        await conversation.close()
