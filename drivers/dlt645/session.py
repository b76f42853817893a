"""One question and its answer on a line: silence, timeout, matching, and never the answer to something else.

An answer is ours if it comes from the meter asked, with the function asked, and names the identifier asked, and of a follow-up
frame also its number; anything else is passed over until the time is up. A refusal names nothing but the meter, so input is
thrown away before each question, and after a failure the line is listened to for as long again, until a late answer has passed.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from drivers.contract import ByteStream, SessionContext, gathers
from drivers.dlt645.address import OCTETS, covers
from drivers.dlt645.control import ControlCode, Edition, decode_control, refusal
from drivers.dlt645.frame import MAX_DATA, NEED_DATA, OVERHEAD, Frame, FrameReader
from drivers.dlt645.search import AddressSearch, Heard, Progress
from drivers.dlt645.services import MAX_SEQUENCE, Data, Identifier, decode_data, follow_up, read
from drivers.errors import LineNoise, MeterRefused, RemoteProtocolError, TransportTimeout
from drivers.profile import TimingProfile
from drivers.transports.base import Deadline, pause

T = TypeVar("T")
MAX_STRANGERS: Final = 16
ANSWER_WAKE_UP: Final = 4  # clause 5.3.1: one to four FE in front
FOLLOW_UP_ATTEMPTS: Final = 2  # the number of a follow-up frame makes asking again safe


class Exchange:
    """Questions to one meter, never two at a time; the caller owns the stream."""

    def __init__(
        self,
        stream: ByteStream,
        address: str,
        edition: Edition,
        timing: TimingProfile,
        wake_up: int,
        context: SessionContext,
    ) -> None:
        self.address = address
        self.edition = edition
        self.answered_by = ""
        self._stream = stream
        self._timing = timing
        self._wake_up = wake_up
        self._scale = context.timeout_scale
        self._reader = FrameReader()

    async def read(self, identifier: Identifier, parameters: bytes = b"", expected: int = MAX_DATA) -> bytes:
        """Read a data item with all its follow-up frames; give what stands behind the identifier.

        ``expected``: octets of the answer at most, as far as is known. Raises `MeterRefused` with the error word,
        `TransportTimeout`, `ConnectionLost`, `RemoteProtocolError`; never gives part of it.
        """
        width = self.edition.identifier_octets
        size = min(MAX_DATA, width + expected)
        data = await self.ask(
            read(self.address, identifier, self.edition, parameters),
            size,
            lambda frame, control: self._matching(frame, control, identifier, None),
            f"data item {identifier}",
        )
        octets = bytearray(data.octets)
        sequence = 1
        while data.has_more:
            if sequence > MAX_SEQUENCE:
                raise RemoteProtocolError(f"data item {identifier}: more than {MAX_SEQUENCE} follow-up frames")
            data = await self._follow_up(identifier, sequence)
            octets += data.octets
            sequence += 1
        return bytes(octets)

    async def ask(self, request: Frame, expected: int, take: Callable[[Frame, ControlCode], T | None], what: str) -> T:
        """Send a question and give what ``take`` makes of its answer.

        ``take``: is given frames from the meter asked with the function asked, and gives None for the answer to something
        else.  ``expected``: octets of data in the answer, at most. Raises as `read`.
        """
        octets = request.encode(self._wake_up)
        longest = expected + OVERHEAD + ANSWER_WAKE_UP
        allowance = self._allowance(len(octets) + longest)
        silence = self._allowance(len(octets) + min(longest, gathers(self._stream)))
        self._reader = FrameReader()
        await pause(self._timing.turnaround * self._scale)
        self._stream.discard_input()
        await self._stream.write(octets)
        try:
            return await self._await_answer(request, take, Deadline(allowance), silence, what)
        except TransportTimeout:
            await self._drain(request, silence)
            raise
        except RemoteProtocolError:
            await self._drain(request, allowance)
            raise

    async def _follow_up(self, identifier: Identifier, sequence: int) -> Data:
        attempts = FOLLOW_UP_ATTEMPTS if self.edition is Edition.E2007 else 1  # 1997 has no numbers
        while True:
            attempts -= 1
            try:
                return await self.ask(
                    follow_up(self.address, identifier, self.edition, sequence),
                    MAX_DATA,
                    lambda frame, control: self._matching(frame, control, identifier, sequence),
                    f"data item {identifier}, follow-up frame {sequence}",
                )
            except MeterRefused:
                raise
            except (TransportTimeout, RemoteProtocolError):
                if not attempts:
                    raise

    def _matching(
        self, frame: Frame, control: ControlCode, identifier: Identifier, sequence: int | None
    ) -> Data | None:
        data = decode_data(frame, control, self.edition)
        numbered = sequence is not None and self.edition is Edition.E2007
        is_ours = data.identifier == identifier and (not numbered or data.sequence == sequence)
        return data if is_ours else None

    async def _await_answer(
        self,
        request: Frame,
        take: Callable[[Frame, ControlCode], T | None],
        whole: Deadline,
        silence: float,
        what: str,
    ) -> T:
        """Wait for the answer. ``whole``: until when it must be there.  ``silence``: until it begins. [s, real]"""
        deadline = Deadline(silence)
        trouble: RemoteProtocolError | None = None
        strangers = 0
        while True:
            try:
                frame = self._reader.next_event()
            except RemoteProtocolError as error:
                trouble = error
                continue
            if frame is NEED_DATA:
                if trouble is not None and not self._reader.is_waiting and not strangers:
                    raise trouble  # it was ours, and damaged
                try:
                    self._reader.receive_data(await self._read(deadline))
                    deadline = whole
                except LineNoise:
                    deadline = whole
                    self._reader.receive_damage()
                except TransportTimeout as error:
                    if self._reader.is_waiting:
                        self._reader.give_up()  # what seemed to begin was noise; an answer may lie behind it
                    elif trouble is not None:
                        raise trouble from error
                    elif self._reader.has_noise:
                        raise RemoteProtocolError(
                            f"{self.address}: noise or part of an answer, then silence"
                        ) from error
                    else:
                        raise TransportTimeout(f"{self.address}: {what}: no answer within {silence:.3g} s") from error
                continue
            try:
                taken, trouble = self._judge(frame, request, take, what, trouble)
            except RemoteProtocolError as error:
                taken, trouble = None, error
            if taken is not None:
                self.answered_by = frame.address
                return taken
            strangers += 1
            if strangers > MAX_STRANGERS:
                raise trouble or RemoteProtocolError(
                    f"{self.address}: {MAX_STRANGERS} frames that answer something else"
                )

    def _judge(
        self,
        frame: Frame,
        request: Frame,
        take: Callable[[Frame, ControlCode], T | None],
        what: str,
        trouble: RemoteProtocolError | None,
    ) -> tuple[T | None, RemoteProtocolError | None]:
        control = decode_control(frame.control)
        if not control.from_meter:
            return None, trouble  # our own words, echoed, or another master's
        if not covers(request.address, frame.address):
            return None, RemoteProtocolError(f"meter {frame.address} answered, {request.address} was asked")
        if control.function != decode_control(request.control).function:
            return None, RemoteProtocolError(
                f"meter {frame.address} answered with control code {frame.control:02X}, {request.control:02X} was asked"
            )
        if control.is_refusal:
            self.answered_by = frame.address
            raise refusal(frame, self.edition, f"meter {frame.address}: {what}")
        taken = take(frame, control)
        if taken is None:
            return None, RemoteProtocolError(f"meter {frame.address} answered something else: {what} was asked")
        return taken, trouble

    async def _read(self, deadline: Deadline) -> bytes:
        if remaining := deadline.remaining():
            return await self._stream.read(remaining)
        raise TransportTimeout(f"{self.address}: the line does not fall silent")

    def _allowance(self, size: int) -> float:
        """Time to allow for both frames on the wire and the meter's latency. [s, real]"""
        speed = self._stream.bits_per_second
        wire = size * self._stream.bits_per_character / speed if speed else 0.0
        return (self._timing.latency + wire) * self._scale + self._timing.margin

    async def _drain(self, request: Frame, seconds: float) -> None:
        """Listen until the late answer has passed, or for ``seconds``. [s, real]"""
        deadline = Deadline(seconds)
        function = decode_control(request.control).function
        while remaining := deadline.remaining():
            try:
                self._reader.receive_data(await self._stream.read(remaining))
                frame = self._reader.next_event()
                if frame is not NEED_DATA and covers(request.address, frame.address):
                    control = decode_control(frame.control)
                    if control.from_meter and control.function == function:
                        return
            except TransportTimeout:
                return
            except RemoteProtocolError:
                continue  # still noise; what counts is the time


async def probe(exchange: Exchange, identifier: Identifier) -> tuple[Heard, str]:
    """Ask an address with wildcards and say what came of it. Raises `TransportError` other than a timeout."""
    try:
        await exchange.read(identifier, expected=OCTETS)
    except MeterRefused:
        pass  # who refuses is there, too
    except TransportTimeout:
        return Heard.SILENCE, ""
    except RemoteProtocolError:
        return Heard.GARBLED, ""
    return Heard.ANSWER, exchange.answered_by


async def find_addresses(
    stream: ByteStream,
    edition: Edition,
    identifier: Identifier,
    timing: TimingProfile,
    context: SessionContext,
    search: AddressSearch,
    tell: Callable[[Progress], None] = lambda _: None,
) -> list[str]:
    """Search a line for meters; ``search`` keeps what is found, also where this is cancelled. ``tell`` is called after each query.

    Raises `TransportError` other than a timeout.
    """
    pace = asyncio.get_running_loop().time
    while (query := search.next_query()) is not None:
        begun = pace()
        exchange = Exchange(stream, query, edition, timing, ANSWER_WAKE_UP, context)
        heard, address = await probe(exchange, identifier)
        search.heard(heard, address, pace() - begun)
        tell(search.progress())
    return search.found
