"""One conversation with one meter on a stream: data link and association, request and answer, in time.

Nothing is asked before the answer to the question before, and no answer is taken that was not asked for. On HDLC a lost or
damaged answer is asked for again without repeating the question (RR); SNRM is sent twice before a meter counts as silent.
So nothing that changes a meter is ever sent twice. A session that idles says RR in half the meter's inactivity timeout.

It is long because all that waits is here: the rest of the driver does no I/O.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from drivers.contract import ByteStream, ChangesSpeed, Endpoint, SessionContext
from drivers.dlms import axdr
from drivers.dlms.accessing import AccessItem, AccessResult
from drivers.dlms.acting import ActionResult
from drivers.dlms.association import ClientAssociation, State
from drivers.dlms.axdr import Data
from drivers.dlms.basenames import OBJECT_LIST, BaseNames
from drivers.dlms.commands import (
    Accepted,
    Access,
    Act,
    ActList,
    Associate,
    BlockTaken,
    Challenged,
    Command,
    Done,
    Event,
    Get,
    GetList,
    MoreBlocks,
    NextBlock,
    Noticed,
    Prove,
    Received,
    Release,
    Set,
    SetList,
)
from drivers.dlms.events import (
    NEED_DATA,
    Apdu,
    Busy,
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    LinkCommand,
    LinkEvent,
    Poll,
    Ready,
    Unasked,
)
from drivers.dlms.getlist import ITEM_SIZE, MAX_LIST, REQUEST_HEAD, GetResult
from drivers.dlms.hdlc import DamagedFrame, HdlcAddress
from drivers.dlms.idle import IdleTimer
from drivers.dlms.link import HdlcLink
from drivers.dlms.noticing import EventNotification
from drivers.dlms.opening import Identified, Opening
from drivers.dlms.settings import parameters_of, public_endpoint, settings_of
from drivers.dlms.shortnames import InformationReport
from drivers.dlms.transfer import BLOCK_TAG, BlockTransfer
from drivers.dlms.wrapper import WrapperLink
from drivers.dlms.xdlms import Attribute, Conformance, DataNotification, Selection, result_name
from drivers.errors import (
    CounterError,
    CounterRefused,
    DriverError,
    LineNoise,
    LocalProtocolError,
    MeterRefused,
    PortUnavailable,
    RemoteProtocolError,
    TransportTimeout,
)
from drivers.facts import UtcSeconds
from drivers.iec62056.opening import (
    CHANGE_PAUSE,
    FIRST_SPEED,
    MAX_IDENTIFICATION,
    REACTION,
    WAKE_UP,
    WAKE_UP_PAUSE,
)
from drivers.profile import DlmsProfile
from drivers.transports.base import Deadline, pause

HOST_MARGIN: Final = 0.1  # real time for scheduling and adapters, whatever the speed of the world [s]
COUNTER_BLOCK: Final = 256  # counters reserved at a time; a session that asks for little wastes the rest
COUNTERS_PER_REQUEST: Final = 2  # HLS pass 3 uses one for the token and one for its APDU
ATTEMPTS: Final = 2  # of opening and closing the data link
MAX_NOTICES: Final = 16  # before one answer, and kept [APDU]
POLLS: Final = 3  # one after the other without getting on
MAX_POLLS: Final = 64  # of one answer; more than any long answer needs on a bad line
LONGEST_LEAVE: Final = 60.0  # for releasing and disconnecting, however the other side spins it out [s]
BUSY_PAUSE: Final = 0.5  # before a meter that has no room or no answer yet is polled again [s]
SLOWEST_NETWORK: Final = 9_600  # bounds how long one APDU may trickle in where the stream names no speed [bit/s]
FRAME_OVERHEAD: Final = 20  # flags, addresses, checksums of one HDLC frame, at most [octet]
_log = logging.getLogger(__name__)
Value = TypeVar("Value")
Written = TypeVar("Written", Data, Data | None)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one attribute among several, and when the question was sent and its answer complete. [s UTC]"""

    value: Data | MeterRefused
    asked: UtcSeconds
    answered: UtcSeconds

    @property
    def data(self) -> Data:
        """The attribute's value. Raises `MeterRefused` where the meter did not give it."""
        if isinstance(self.value, MeterRefused):
            raise self.value
        return self.value


def _refused(what: Attribute, code: int) -> MeterRefused | None:
    return MeterRefused(f"{what}: {result_name(code)}", code) if code else None


class Conversation:
    """Opens, asks, closes. The caller owns the stream; nobody else may use it meanwhile."""

    def __init__(
        self,
        stream: ByteStream,
        endpoint: Endpoint,
        context: SessionContext,
        *,
        may_write: bool = False,
        asks_names: bool = True,
    ) -> None:
        """Check everything that can be checked before a byte is sent. Raises `ProfileError`, `SecurityError`.

        ``may_write``: whether it is to execute a command, see `set`; without it the meter is not even asked for the right.
        ``asks_names``: whether opening asks for the list of short names, where objects have them; else see `use_names`.
        """
        self._asks_names = asks_names
        self._may_write = may_write
        self._refuses_lists = False
        self.received = bytearray()
        """What came of the attribute asked for last, in blocks, each checked, as long as not all of it has come."""
        settings = settings_of(endpoint)
        dlms = settings.dlms
        self._stream = stream
        self._context = context
        self._endpoint = endpoint
        self._timing = endpoint.profile.timing
        self._settings = settings
        self._turn = asyncio.Lock()
        self._is_deaf = False  # it gave no answer when last asked
        self._idle = IdleTimer(dlms.inactivity_time_out / 2 * context.timeout_scale, self._on_idle)
        self._keeping: asyncio.Task[None] | None = None
        self._link: HdlcLink | WrapperLink
        self.notices: deque[EventNotification | InformationReport | DataNotification] = deque(maxlen=MAX_NOTICES)
        """What the meter said unasked in this conversation, the latest of it."""
        self._transfer = BlockTransfer(dlms.block_window or 1)
        self._begin()
        channel = self._association.channel
        self.is_unverified = channel is not None and channel.is_unverified
        """Whether nobody can vouch for what the meter says, because the authentication key is withheld."""

    def _begin(self) -> None:
        dlms = self._settings.dlms
        if dlms.framing == "hdlc":
            self._link = HdlcLink("client", HdlcAddress(dlms.client), self._settings.server, dlms.max_info, dlms.window)
        else:
            self._link = WrapperLink(dlms.client, self._settings.server.upper)
        parameters = parameters_of(self._endpoint, self._settings, self._context)
        self._association = ClientAssociation(replace(parameters, may_write=self._may_write))

    @property
    def settings(self) -> DlmsProfile:
        """What the conversation is held with: the profile's settings with this meter's overrides and address."""
        return replace(self._settings.dlms, server=self._settings.server.upper)

    async def open(self) -> None:
        """Connect the data link and associate. Raises `TransportTimeout`, `SecurityError`, `MeterRefused` and their kin.

        Where the profile names the object, the counter the meter saw last is read first, or when the meter refuses ours.
        """
        dlms = self._settings.dlms
        has_object = dlms.counter_object is not None and self._association.channel is not None
        if has_object and dlms.counter_sync == "always":
            await self._catch_up()
        try:
            await self._open()
        except CounterRefused:
            if not has_object or dlms.counter_sync == "always":
                raise
            await self.close()
            self._begin()
            await self._catch_up()
            await self._open()
        if self.is_unverified:
            _log.warning(
                "meter %s: the authentication key is withheld; what it says is not verified", self._endpoint.name
            )

    async def _open(self) -> None:
        if self._settings.dlms.opening == "mode-e":
            await self._sign_on()
        if isinstance(self._link, HdlcLink):
            event = await self._exchange(Connect())
            if not isinstance(event, Connected):
                raise RemoteProtocolError(f"meter {self._settings.server} does not open the data link")
        if self._settings.dlms.association == "pre-established":
            self._association.assume()
            await self._begin_above()
        else:
            await self._associate()
        if self._asks_names and self._settings.dlms.referencing == "short-name":
            await self.read_names()

    async def read_names(self) -> BaseNames:
        """Read the short names of all objects, and use them."""
        names = BaseNames.of_list(await self.get(OBJECT_LIST))
        self.use_names(names)
        return names

    def use_names(self, names: BaseNames) -> None:
        """Go by short names that were read before."""
        self._association.names = names

    async def _sign_on(self) -> None:
        """Open an optical probe in mode E, twice if need be, and change to the speed that the meter names."""
        stream = self._stream
        if not isinstance(stream, ChangesSpeed):
            raise PortUnavailable(
                f"meter {self._endpoint.name}: mode E begins at 300 baud, and this link is no serial port"
            )
        await stream.reconfigure(FIRST_SPEED, "E", 7)
        if self._settings.dlms.wake_up:
            await self._stream.write(WAKE_UP)
            await stream.reconfigure(FIRST_SPEED, "E", 7, WAKE_UP_PAUSE * self._context.timeout_scale)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                found = await self._identified(Opening(self._settings.optical_address))
                break
            except (TransportTimeout, RemoteProtocolError):
                if attempt == ATTEMPTS:
                    raise
                await self._drain()
        await self._stream.write(found.acknowledgement)
        await stream.reconfigure(found.speed, "N", 8, CHANGE_PAUSE * self._context.timeout_scale)
        await self._drain()  # some meters repeat the acknowledgement at the new speed

    async def _identified(self, opening: Opening) -> Identified:
        self._stream.discard_input()
        await self._stream.write(opening.request)
        characters = len(opening.request) + MAX_IDENTIFICATION
        wire = characters * self._stream.bits_per_character / FIRST_SPEED
        deadline = Deadline((REACTION + wire) * self._context.timeout_scale + HOST_MARGIN)
        while (event := opening.next_event()) is NEED_DATA:
            opening.receive_data(await self._stream.read(deadline.remaining()))
            await pause(0)
        return event

    async def _associate(self) -> None:
        answer = await self._ask(Associate())
        await self._refuse_replay()
        if isinstance(answer, Challenged):
            answer = await self._ask(Prove())
        if not isinstance(answer, Accepted):
            raise LocalProtocolError(f"association ended in {type(answer).__name__}")

    async def _begin_above(self) -> None:
        """Take nothing in a pre-established association whose counter is not above all that the meter sent before."""
        channel = self._association.channel
        if channel is not None and channel.is_verified and self._settings.dlms.meter_counters == "rising":
            channel.last_seen = await self._context.counters.note(channel.peer_key_id, 0)

    async def _refuse_replay(self) -> None:
        """Demand that the first counter of the meter is above all that it ever sent, so that an old session is no answer."""
        channel = self._association.channel
        if channel is None or not channel.is_verified or self._settings.dlms.meter_counters == "restarting":
            return
        before = await self._context.counters.note(channel.peer_key_id, channel.last_seen)
        if channel.last_seen <= before:
            raise CounterError(
                f"the meter begins with invocation counter {channel.last_seen}, it has sent {before} before: a replayed session, "
                "or its counter was reset; if it was, change its key, or say that its counters are restarting"
            )

    async def _catch_up(self) -> None:
        """Read the counter the meter saw last, unprotected, and go on above it: by ``counter_margin`` at most."""
        dlms, channel = self._settings.dlms, self._association.channel
        assert dlms.counter_object is not None
        assert channel is not None
        public = Conversation(self._stream, public_endpoint(self._endpoint, dlms), self._context)
        try:
            await public.open()
            seen = (await public.get(Attribute(1, dlms.counter_object, 2))).integer()
        finally:
            await public.close()
        ours = await self._reserve(channel.own_key_id, self._settings.floor)
        if seen >= ours.start:
            if seen >= ours.start + dlms.counter_margin:
                raise CounterError(
                    f"the meter says it has seen invocation counter {seen}, ours is {ours.start}: too far above to be believed "
                    f"unprotected; if another head-end used the key, set the meter's option invocation_counter={seen + 1}"
                )
            _log.warning(
                "meter %s: invocation counter moved from %d to above %d", self._endpoint.name, ours.start, seen
            )
            ours = await self._reserve(channel.own_key_id, seen + 1)
        channel.supply(ours)

    async def _reserve(self, key_id: str, floor: int) -> range:
        return await self._context.counters.reserve(key_id, COUNTER_BLOCK, floor, self._endpoint.name)

    async def get(self, attribute: Attribute, selection: Selection | None = None) -> Data:
        """Read one attribute, in as many blocks as it takes. Raises `MeterRefused` where the meter does not give it."""
        return await self.get_as(axdr.decode, attribute, selection)

    async def get_as(
        self, decode: Callable[[bytes], Value], attribute: Attribute, selection: Selection | None = None
    ) -> Value:
        """Read one attribute and give what ``decode`` makes of its octets; see `get`."""
        self.received.clear()
        answer = await self._ask(Get(attribute, selection, decode))
        while isinstance(answer, MoreBlocks | BlockTaken):
            if isinstance(answer, MoreBlocks):
                self.received += answer.piece
            answer = await self._ask(NextBlock())
        if not isinstance(answer, Received):
            raise LocalProtocolError(f"{attribute}: answered by {type(answer).__name__}")
        value: Value = answer.data
        return value

    async def get_many(self, attributes: Sequence[Attribute], *, is_tolerant: bool = False) -> list[Reply]:
        """Read several attributes in as few exchanges as the negotiated APDU size and services allow, in their order.

        A meter that did not grant lists, or refuses one, is asked for one after the other; it is not asked for a list again
        in this session. Raises the first `MeterRefused`, unless ``is_tolerant``: then it stands in place of the value.
        """
        replies: list[Reply] = []
        while len(replies) < len(attributes):
            some = attributes[len(replies) : len(replies) + self._list_size]
            asked = self._context.now()
            try:
                values = await self._values(some)
            except MeterRefused as refusal:
                if len(some) > 1:
                    self._refuses_lists = True
                    continue
                values = [refusal]
            answered = self._context.now()
            for value in values:
                if isinstance(value, MeterRefused) and not is_tolerant:
                    raise value
                replies.append(Reply(value, asked, answered))
        return replies

    @property
    def _list_size(self) -> int:
        if self._refuses_lists or not self._association.takes_lists:
            return 1
        room = self._association.room
        return max(1, min(MAX_LIST, (room - REQUEST_HEAD) // ITEM_SIZE)) if room else MAX_LIST

    async def _values(self, attributes: Sequence[Attribute]) -> list[Data | MeterRefused]:
        if len(attributes) == 1:
            return [await self.get(attributes[0])]
        answer = await self._ask_whole(GetList(tuple(attributes)))
        if not isinstance(answer, Received):
            raise LocalProtocolError(f"a list was answered by {type(answer).__name__}")
        results: tuple[GetResult, ...] = answer.data
        return [
            MeterRefused(f"{attribute}: {result_name(result.result)}", result.result)
            if result.data is None
            else result.data
            for attribute, result in zip(attributes, results, strict=True)
        ]

    async def set(self, attribute: Attribute, data: Data) -> None:
        """Write one attribute, in as many blocks as it takes. This changes the meter.

        Callers must be commands: proposed, approved, issued at most once, and verified by reading back; after a crash or an
        answer that did not come they read back and never send again. Raises `LocalProtocolError` in a conversation that was
        not opened with ``may_write``, `MeterRefused` with the meter's code.
        """
        await self._tell(Set(attribute, data))

    async def act(self, method: Attribute, parameters: Data | None = None) -> Data | None:
        """Invoke one method, and give what it returns. This changes the meter: callers must be commands, see `set`."""
        return (await self._tell(Act(method, parameters))).data

    async def set_many(self, items: Sequence[tuple[Attribute, Data]]) -> list[MeterRefused | None]:
        """Write several attributes in as few exchanges as the meter takes, in their order. Callers must be commands, see `set`.

        Gives for each None, or why the meter refused it. Raises `MeterRefused` where it refuses a list as a whole, which is
        not sent again in pieces: nobody knows how far it got.
        """
        outcomes: list[MeterRefused | None] = []
        while len(outcomes) < len(items):
            some = self._fitting(items[len(outcomes) :], Conformance.BLOCK_TRANSFER_SET)
            if len(some) == 1:
                outcomes.append(await self._refusal_of(self.set(*some[0])))
                continue
            answer = await self._ask_whole(SetList(some))
            assert isinstance(answer, Received)
            outcomes += [_refused(attribute, code) for (attribute, _), code in zip(some, answer.data, strict=True)]
        return outcomes

    async def act_many(self, items: Sequence[tuple[Attribute, Data | None]]) -> list[Data | MeterRefused | None]:
        """Invoke several methods likewise, and give what each returns, or why the meter refused it; see `set_many`."""
        outcomes: list[Data | MeterRefused | None] = []
        while len(outcomes) < len(items):
            some = self._fitting(items[len(outcomes) :], Conformance.BLOCK_TRANSFER_ACTION)
            if self._settings.dlms.referencing == "short-name":  # which has no lists of methods
                some = some[:1]
            if len(some) == 1:
                try:
                    outcomes.append(await self.act(*some[0]))
                except MeterRefused as refusal:
                    outcomes.append(refusal)
                continue
            answer = await self._ask_whole(ActList(some))
            assert isinstance(answer, Received)
            results: tuple[ActionResult, ...] = answer.data
            for (method, _), result in zip(some, results, strict=True):
                outcomes.append(_refused(method, result.result or result.access_result or 0) or result.data)
        return outcomes

    async def access(
        self, items: Sequence[tuple[AccessItem, Data]], *, breaks_on_error: bool = False
    ) -> tuple[AccessResult, ...]:
        """Read, write and invoke in one request; results in the order of ``items``, fewer where the first error broke it off.

        Callers that change anything must be commands, see `set`. Raises `MeterRefused` where the meter did not grant ACCESS.
        """
        answer = await self._ask_whole(Access(tuple(items), breaks_on_error))
        assert isinstance(answer, Received)
        results: tuple[AccessResult, ...] = answer.data
        return results

    def _fitting(
        self, items: Sequence[tuple[Attribute, Written]], blocks: Conformance
    ) -> tuple[tuple[Attribute, Written], ...]:
        """Take as many items as go in one request, in blocks or without. At least one."""
        some, room = tuple(items[: self._list_size]), self._association.room
        if not room or self._association.takes_long(blocks):
            return some
        sizes = [ITEM_SIZE + len(axdr.encode(data or axdr.NULL)) for _, data in some]
        while len(sizes) > 1 and REQUEST_HEAD + 1 + sum(sizes) > room:
            sizes.pop()
        return some[: len(sizes)]

    @staticmethod
    async def _refusal_of(done: Awaitable[None]) -> MeterRefused | None:
        try:
            await done
        except MeterRefused as refusal:
            return refusal
        return None

    async def _ask_whole(self, command: Command) -> Event:
        """Ask, in as many blocks as question and answer take."""
        answer = await self._ask(command)
        while isinstance(answer, MoreBlocks | BlockTaken):
            answer = await self._ask(NextBlock())
        return answer

    async def _tell(self, command: Set | Act) -> Done:
        answer = await self._ask_whole(command)
        if not isinstance(answer, Done):
            raise LocalProtocolError(f"{type(command).__name__} was answered by {type(answer).__name__}")
        return answer

    async def close(self) -> None:
        """Release and disconnect, as far as the other side still plays along; what fails here changes no reading.

        Whatever happens, nothing is said on the stream afterwards.
        """
        try:
            async with asyncio.timeout(LONGEST_LEAVE * self._context.timeout_scale + 20 * HOST_MARGIN):
                await self._take_leave()
        except TimeoutError:
            _log.warning("meter %s: comes to no end when it is left", self._endpoint.name)
        finally:
            self._idle.stop()
            if self._keeping is not None:
                self._keeping.cancel()

    async def _take_leave(self) -> None:
        if self._settings.dlms.association == "pre-established":
            channel = self._association.channel  # there is nothing to release
            if channel is not None and channel.is_verified and channel.last_seen > 0:
                await self._context.counters.note(channel.peer_key_id, channel.last_seen)
        elif not self._is_deaf and self._association.state in {State.OPEN, State.BETWEEN_BLOCKS}:
            with suppress(DriverError):
                await self._ask(Release())
        if isinstance(self._link, HdlcLink) and self._link.state in {"open", "rejected"}:
            with suppress(DriverError):
                await self._exchange(Disconnect())

    async def _ask(self, command: Command) -> Event:
        channel = self._association.channel
        if channel is not None and channel.counters_left < COUNTERS_PER_REQUEST:
            channel.supply(await self._reserve(channel.own_key_id, self._settings.floor))
        self._check_quiet()
        self._association.receive_data(await self._carry(self._association.send(command)))
        answer = self._association.next_event()
        for _ in range(MAX_NOTICES):
            if not isinstance(answer, Noticed):
                break
            self.notices.append(answer.notice)
            self._association.receive_data(await self._whole(await self._streamed()))
            answer = self._association.next_event()
        if answer is NEED_DATA or isinstance(answer, Noticed):
            raise RemoteProtocolError(f"meter {self._settings.server} says other things and gives no answer")
        return answer

    def _check_quiet(self) -> None:
        """Raise `RemoteProtocolError` for an answer that is there before the question, where no invoke-id tells them apart."""
        link = self._link
        if self._settings.dlms.referencing == "short-name" and isinstance(link, WrapperLink) and link.unread():
            raise RemoteProtocolError(f"meter {self._settings.server} said something before it was asked")

    async def _carry(self, apdu: bytes) -> bytes:
        """Give the answer to an APDU, either of them in general blocks where it is long, or the other side wants so."""
        if not self._association.takes_blocks:
            return await self._apdu(Apdu(apdu))
        transfer, largest = self._transfer, self._association.largest
        transfer.begin()
        first = transfer.send(apdu, largest)[0] if largest and len(apdu) > largest else apdu
        return await self._whole(await self._apdu(Apdu(first)))

    async def _whole(self, octets: bytes) -> bytes:
        """Give an answer, or what the general blocks hold that it is the first of."""
        transfer, is_repeated = self._transfer, False
        while self._association.takes_blocks and octets[:1] == BLOCK_TAG:
            turn = transfer.receive(octets)
            if turn is not None and turn.whole is not None:
                return turn.whole
            try:
                octets = await (self._streamed() if turn is None else self._apdu(Apdu(turn.blocks[0])))
            except TransportTimeout:
                if is_repeated or isinstance(self._link, HdlcLink):  # which has asked again itself
                    raise
                octets, is_repeated = await self._apdu(Apdu(transfer.repeat()[0])), True
        return octets

    async def _streamed(self) -> bytes:
        """Give the next of several APDUs that come without a question of ours; on HDLC each needs a poll."""
        if isinstance(self._link, HdlcLink):
            return await self._apdu(Poll())
        return self._unwrapped(await self._await_event(0))

    async def _apdu(self, command: LinkCommand) -> bytes:
        gateway = self._settings.gateway
        if gateway is not None and isinstance(command, Apdu):
            command = Apdu(gateway.wrap(command.octets))
        return self._unwrapped(await self._exchange(command))

    def _unwrapped(self, event: LinkEvent) -> bytes:
        if not isinstance(event, Apdu):
            raise RemoteProtocolError(f"meter {self._settings.server} closed the data link, or has nothing to say")
        gateway = self._settings.gateway
        return event.octets if gateway is None else gateway.unwrap(event.octets)

    async def _exchange(self, command: LinkCommand) -> LinkEvent:
        """Send a command and wait for its answer; on HDLC ask for it again, without repeating a question."""
        async with self._turn:
            self._idle.stop()
            try:
                event = await self._converse(command)
            except TransportTimeout:
                self._is_deaf = True
                raise
            self._is_deaf = False
            if isinstance(self._link, HdlcLink) and self._link.state == "open":
                self._idle.touch()
            return event

    async def _converse(self, command: LinkCommand) -> LinkEvent:
        link = self._link
        if isinstance(link, HdlcLink) and isinstance(command, Apdu) and link.state != "open":
            raise RemoteProtocolError(f"meter {self._settings.server}: the data link has ended; connect again")
        await pause(self._timing.turnaround * self._context.timeout_scale)
        if not (isinstance(link, WrapperLink) and link.is_amid):
            self._stream.discard_input()
        asked, failures = command, 0
        for _ in range(MAX_POLLS):
            octets = link.send(command)
            before = self._progress
            await self._stream.write(octets)
            try:
                event = await self._await_event(len(octets))
            except (TransportTimeout, DamagedFrame) as error:
                failures = 1 if self._progress > before else failures + 1
                if not isinstance(link, HdlcLink) or failures >= self._patience(asked):
                    raise
                if isinstance(error, DamagedFrame):
                    await self._drain()
            else:
                if not isinstance(event, Busy | Ready) or isinstance(asked, Poll):
                    return event
                await pause(BUSY_PAUSE * self._context.timeout_scale)  # it gave us the turn, and waits for a poll
            if isinstance(command, Apdu):
                command = Poll()
        raise TransportTimeout(f"meter {self._settings.server}: no answer yet, polled {MAX_POLLS} times")

    @property
    def _progress(self) -> int:
        return self._link.progress if isinstance(self._link, HdlcLink) else 0

    def _patience(self, asked: LinkCommand) -> int:
        """Count how often in a row a command may fail: an opening and a closing are sent again, an answer is polled for."""
        if isinstance(asked, Disconnect) and self._is_deaf:
            return 1
        return 1 + POLLS if isinstance(asked, Apdu) else ATTEMPTS

    def _on_idle(self) -> None:
        self._keeping = asyncio.get_running_loop().create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        """Say RR to a meter that nobody asked anything for a while. What fails here, the next question meets again."""
        if isinstance(self._link, HdlcLink) and self._link.state == "open" and not self._turn.locked():
            with suppress(DriverError):
                event = await self._exchange(Poll())
                if isinstance(event, Apdu):
                    self._overhear(event.octets)

    async def _await_event(self, sent: int) -> LinkEvent:
        allowance, whole = self._allowance(sent)
        while True:
            event = self._link.next_event()
            if outgoing := self._link.data_to_send():
                await self._stream.write(outgoing)
                allowance, whole = self._allowance(len(outgoing))
            if isinstance(event, Disconnected) and not event.was_open:
                raise RemoteProtocolError(
                    f"meter {self._settings.server} says that the data link is not open (DM); connect again"
                )
            if isinstance(event, Unasked):
                self._overhear(event.octets)
                continue
            if event is not NEED_DATA:
                return event
            if not (remaining := whole.remaining()):  # a line that is never silent would let `read` go on for ever
                raise TransportTimeout(f"meter {self._settings.server}: no answer in all that arrives")
            try:
                data = await self._stream.read(min(allowance, remaining))
            except TransportTimeout as error:
                raise TransportTimeout(f"meter {self._settings.server}: no answer within {allowance:.3g} s") from error
            except LineNoise as error:
                if isinstance(self._link, HdlcLink) and not self._link.damage():
                    continue  # before the answer, while the line turns round
                raise DamagedFrame(str(error)) from error
            self._link.receive_data(data)
            await pause(0)  # reading what is there already does not wait, and others have their turn too

    def _overhear(self, octets: bytes) -> None:
        gateway = self._settings.gateway
        try:
            self.notices.append(self._association.overhear(octets if gateway is None else gateway.unwrap(octets)))
        except DriverError as error:
            _log.info("meter %s: said unasked what is not believed: %s", self._endpoint.name, error)

    def _allowance(self, sent: int) -> tuple[float, Deadline]:
        """Time to allow until the next octet: what we sent on the wire, the meter's latency, a frame; and until it is all there. [s, real]"""
        frames = 1
        if isinstance(self._link, HdlcLink):
            octets, frames = self._link.max_info_receive + FRAME_OVERHEAD, self._link.window_receive
        else:
            octets = self._settings.dlms.max_pdu + 8
        scale, bits = self._context.timeout_scale, self._stream.bits_per_character
        speed = self._stream.bits_per_second
        wire = (sent + octets) * bits / speed if speed else 0.0
        allowance = (self._timing.latency + wire) * scale + HOST_MARGIN
        return allowance, Deadline(allowance + frames * octets * bits / (speed or SLOWEST_NETWORK) * scale)

    async def _drain(self) -> None:
        """Listen until the line is quiet, so that the rest of a broken frame is not taken for the next."""
        _, deadline = self._allowance(0)
        with suppress(TransportTimeout):
            while remaining := deadline.remaining():
                with suppress(LineNoise):
                    await self._stream.read(min(remaining, HOST_MARGIN))
