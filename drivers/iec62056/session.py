"""One meter at an optical head or on a current loop: signing on, its readout, and reads by address in programming mode.

What was damaged is asked for again by NAK, a password never: meters count wrong ones and lock. Nothing here writes. On a link whose
speed cannot be changed, a gateway's, the gateway must change it as it hears what is agreed, or no other speed may be agreed than
the one it stands at.

Source: IEC 62056-21, 6.3.8 (times), 6.4 (modes), 6.5 (programming mode), annex A (battery meters).
"""

from dataclasses import dataclass
from typing import Final, Literal

from drivers.contract import ByteStream, ChangesSpeed, SessionContext
from drivers.errors import LineNoise, LocalProtocolError, RemoteProtocolError, SecurityError, TransportTimeout
from drivers.iec62056.datasets import DataBlock, decode_answer, decode_block, parse_address
from drivers.iec62056.events import NEED_DATA
from drivers.iec62056.message import MAX_MESSAGE, Handshake, Message, MessageReader
from drivers.iec62056.opening import (
    BITS,
    CHANGE_PAUSE,
    FIRST_SPEED,
    MAX_IDENTIFICATION,
    REACTION,
    SPEEDS,
    TURN,
    WAKE_UP,
    WAKE_UP_PAUSE,
    Identification,
    Mode,
    Opening,
    Purpose,
)
from drivers.iec62056.programming import BREAK, OPERAND, Password, Read, decode_operand, password, read
from drivers.iec62056.unasked import Unasked, UnaskedReader
from drivers.transports.base import Deadline, pause
from drivers.transports.passing import changes_speed

ATTEMPTS: Final = 2  # of signing on
REPEATS: Final = 2  # of what came damaged
MAX_BLOCKS: Final = 4_096
MAX_TOTAL: Final = 1 << 20  # of an answer in blocks [octet]
SILENCE: Final = 0.2  # after which a damaged message is over, less than the meter waits for our NAK [s]
HOST_MARGIN: Final = 0.1  # real time for scheduling and adapters, whatever the speed of the world [s]
UNASKED_PACE: Final = 60.0  # a meter of mode D that says nothing for so long is not there [s]


@dataclass(frozen=True, slots=True)
class Terms:
    """How to talk to a model. ``is_checked``: False for a meter of mode A or B without check character.

    ``first_speed``, ``fastest``: of the opening, and the fastest to agree to. [bit/s]  ``characters``: what comes unasked is
    written in.  ``reaction``: longest time before the meter begins to answer. [s]
    """

    is_checked: bool = True
    first_speed: int = FIRST_SPEED
    fastest: int = SPEEDS["6"]
    characters: Literal["7E1", "8N1"] = "7E1"
    reaction: float = REACTION


class Conversation:
    """Questions to one meter, never two at a time; the caller owns the stream.

    ``address``: of the meter, empty for whoever is there. Everything raises `TransportError` and `RemoteProtocolError`; nothing
    is ever given in part.
    """

    def __init__(self, stream: ByteStream, context: SessionContext, address: str = "", terms: Terms = Terms()) -> None:
        self._stream = stream
        self._scale = context.timeout_scale
        self._address = address
        self._terms = terms
        self._speed = terms.first_speed
        self._turn = TURN
        self._wire = 0.0  # what we said last may still be on its way so long [s]
        self._reader = MessageReader()
        self._is_programming = False

    async def readout(self, *, wake_up: bool = False) -> tuple[Identification, DataBlock]:
        """Sign on and take what the meter prints unasked for. ``wake_up``: zeros first, for battery meters."""
        found = await self._sign_on(Purpose.READOUT, wake_up=wake_up)
        message = await self._take(None, repeats=REPEATS if found.mode in {Mode.C, Mode.E} else 0)
        return found, decode_block(message.data)

    async def listen(self) -> Unasked:
        """Take what a meter of mode D sends unasked, the first readout that comes whole and undamaged.

        Raises `TransportTimeout` where none begins in a minute, `RemoteProtocolError` where none was whole in twice the time that
        the longest takes.
        """
        bits, parity = int(self._terms.characters[0]), self._terms.characters[1]
        await self._change(self._terms.first_speed, 0.0, parity, bits)
        reader = UnaskedReader()
        deadline = Deadline((UNASKED_PACE + 2 * MAX_MESSAGE * BITS / self._speed) * self._scale + HOST_MARGIN)
        damage: RemoteProtocolError | None = None
        while True:
            try:
                if (event := reader.next_event()) is not NEED_DATA:
                    return event
            except RemoteProtocolError as error:
                damage = error  # the next one is on its way
                continue
            if not (left := deadline.remaining()):
                raise damage or RemoteProtocolError("what comes unasked is no readout")
            try:
                reader.receive_data(await self._stream.read(min(left, UNASKED_PACE * self._scale + HOST_MARGIN)))
            except LineNoise:
                reader.receive_damage()
            except TransportTimeout as error:
                raise damage or error from error
            await pause(0)

    async def begin_programming(
        self, secret: bytes = b"", form: Password = Password.PLAIN, *, wake_up: bool = False
    ) -> tuple[Identification, str]:
        """Sign on for reads by address, with a password where there is one; give who answered, and the meter's operand.

        Raises `SecurityError` where the password is not taken: it is never sent again by itself.
        """
        found = await self._sign_on(Purpose.PROGRAMMING, wake_up=wake_up)
        operand = decode_operand(await self._take(OPERAND, repeats=REPEATS))
        if secret:
            await self._prove(password(secret, form))
        self._is_programming = True
        return found, operand

    async def read(self, address: str, form: Read = Read.ASCII, what: str = "") -> DataBlock:
        """Read an address, all blocks of it. Raises `MeterRefused` where the meter answers with an error."""
        if not self._is_programming:
            raise LocalProtocolError("reads by address are of programming mode, which was not begun")
        question = read(address, form, what)
        await self._answer_with(question.encode())
        message = await self._take("", question, REPEATS)
        data = bytearray(message.data)
        blocks = 1
        while not message.is_last:
            if blocks == MAX_BLOCKS or len(data) > MAX_TOTAL:
                raise RemoteProtocolError(f"{address}: more than {MAX_BLOCKS} blocks or {MAX_TOTAL} octets")
            await self._answer_with(Handshake.TAKEN.encode())
            message = await self._take("", repeats=REPEATS)
            data += message.data
            blocks += 1
        block = decode_answer(bytes(data))
        said = block.sets[0].address if block.sets else ""
        if said not in {"", address} and (parse_address(said) or said) != parse_address(address):
            raise RemoteProtocolError(f"the meter answered {said}, {address} was asked")
        return block

    async def end(self) -> None:
        """Tell the meter that this is the end; it does not answer."""
        self._is_programming = False
        await self._answer_with(BREAK.encode())

    async def _sign_on(self, purpose: Purpose, *, wake_up: bool) -> Identification:
        await self._change(self._terms.first_speed, 0.0)
        if wake_up:
            await self._stream.write(WAKE_UP)
            await self._change(self._terms.first_speed, WAKE_UP_PAUSE)
        for attempt in range(1, ATTEMPTS + 1):
            opening = Opening(self._address)
            try:
                found = await self._identified(opening)
                mark = found.mark_up_to(self._terms.fastest)
                break
            except (TransportTimeout, RemoteProtocolError):
                if attempt == ATTEMPTS:
                    raise
                await self._drain()
        if found.mode in {Mode.A, Mode.B}:
            if purpose is not Purpose.READOUT:
                raise RemoteProtocolError(f"meter {found.maker} of mode {found.mode} has no such mode")
            self._reader = MessageReader(is_checked=self._terms.is_checked)
            self._reader.receive_data(opening.rest())  # it goes on unasked
            await self._change(self._speed if found.mode is Mode.A else found.speed, 0.0)
        else:
            self._reader = MessageReader()
            self._turn = found.turn
            await self._answer_with(found.acknowledge(purpose, mark))
            await self._change(SPEEDS[mark], CHANGE_PAUSE)
        return found

    async def _identified(self, opening: Opening) -> Identification:
        self._stream.discard_input()
        await self._stream.write(opening.request)
        wire = (len(opening.request) + MAX_IDENTIFICATION) * BITS / self._speed
        deadline = Deadline((self._terms.reaction + wire) * self._scale + HOST_MARGIN)
        while (event := opening.next_event()) is NEED_DATA:
            opening.receive_data(await self._stream.read(deadline.remaining()))
            await pause(0)
        return event

    async def _prove(self, message: Message) -> None:
        await self._answer_with(message.encode())
        deadline = self._deadline()
        while (event := await self._next(deadline)) is not Handshake.TAKEN:
            if event != message:  # the head repeats what we say
                raise SecurityError("the meter does not take the password; it is not sent again")

    async def _take(self, command: str | None, sent: Message | None = None, repeats: int = 0) -> Message:
        """Give the next message that is not ours; one that came damaged is asked for again.

        ``command``: that it must have, None for any.  ``sent``: the question, asked once more where the meter did not get it.
        """
        while True:
            try:
                message = await self._answer(sent)
                break
            except RemoteProtocolError:
                repeats -= 1
                if repeats < 0:
                    raise
                await self._drain()
                self._reader, sent = MessageReader(), None  # a NAK is from now on our own, repeated by the head
                await self._answer_with(Handshake.REPEAT.encode())
        if message.command == BREAK.command:
            raise RemoteProtocolError("the meter ended the session")
        if command is not None and message.command != command:
            raise RemoteProtocolError(f"{message!r} where {command or 'an answer'} was expected")
        return message

    async def _answer(self, sent: Message | None) -> Message:
        deadline = self._deadline()
        asked_again = False
        while True:
            event = await self._next(deadline)
            if event is Handshake.REPEAT and sent is not None and not asked_again:
                asked_again = True  # reading twice changes nothing
                await self._answer_with(sent.encode())
            if isinstance(event, Handshake) or event == sent:
                continue
            return event

    async def _next(self, deadline: Deadline) -> Message | Handshake:
        while (event := self._reader.next_event()) is NEED_DATA:
            allowed = min(deadline.remaining(), (self._terms.reaction + self._wire) * self._scale + HOST_MARGIN)
            try:
                self._reader.receive_data(await self._stream.read(allowed))
            except LineNoise:
                self._reader.receive_damage()
            except TransportTimeout as error:
                if self._reader.is_waiting:
                    raise RemoteProtocolError("part of a message, then silence") from error
                raise
            await pause(0)
        return event

    def _deadline(self) -> Deadline:
        """Time that the longest message takes at the speed agreed, however slowly it trickles."""
        return Deadline((self._terms.reaction + MAX_MESSAGE * BITS / self._speed) * self._scale + HOST_MARGIN)

    async def _answer_with(self, octets: bytes) -> None:
        await pause(self._turn * self._scale)
        self._stream.discard_input()
        self._wire = len(octets) * BITS / self._speed
        await self._stream.write(octets)

    async def _change(self, speed: int, after: float, parity: str = "E", bits: int = 7) -> None:
        """Change speed; on a link that cannot, keep the pause alone. ``after``: our last character. [s]"""
        self._speed = speed
        if isinstance(self._stream, ChangesSpeed) and changes_speed(self._stream):
            await self._stream.reconfigure(speed, parity, bits, after * self._scale)
        else:
            await pause(after * self._scale)

    async def _drain(self) -> None:
        """Listen until the line is silent."""
        deadline = self._deadline()
        while deadline.remaining():
            try:
                await self._stream.read(SILENCE * self._scale + HOST_MARGIN)
            except LineNoise:
                continue
            except TransportTimeout:
                return
