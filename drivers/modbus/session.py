"""Requests and their answers on a stream: silence, timeout, matching, and never the answer to something else.

A late answer is the danger: on a serial line nothing tells it from the answer to the next equal request. So input is thrown
away before each request, and after a failure the line is listened to for as long again, until the late answer has passed.
On TCP the transaction identifier tells them apart, and an answer with another identifier is never taken.

Only a session opened for commands sends what changes the meter, and sends it once.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, Protocol

from drivers.contract import ByteStream, SessionContext, gathers, silent_for
from drivers.errors import LineNoise, LocalProtocolError, RemoteProtocolError, TransportTimeout
from drivers.modbus.ascii import MAX_FRAME as MAX_ASCII_FRAME
from drivers.modbus.ascii import AsciiResponseReader, encode_frame
from drivers.modbus.mbap import MbapFrame, MbapReader
from drivers.modbus.pdu import MAX_PDU, NEED_DATA, NeedData, Request, decode_response
from drivers.modbus.rtu import ResponseReader, RtuFrame, silence_of
from drivers.profile import TimingProfile
from drivers.transports.base import Deadline, pause

MAX_STRANGERS: Final = 16  # answers to other transactions skipped while waiting for one


class Reader(Protocol):
    """What finds the answer in received bytes."""

    def receive_data(self, data: bytes) -> None:
        """Take received bytes."""

    def next_event(self) -> RtuFrame | MbapFrame | NeedData:
        """Give a frame, or NEED_DATA; raise `RemoteProtocolError`."""


class AnswerReader(Reader, Protocol):
    """Finds the answer to one request on a serial line."""

    @property
    def has_noise(self) -> bool:
        """True where bytes arrived that are not (yet) the answer."""

    def receive_damage(self) -> None:
        """Take note that the line delivered damaged bytes here."""

    def next_event(self) -> RtuFrame | NeedData:
        """Give the answer's frame, or NEED_DATA; raise `RemoteProtocolError`."""


class Exchange(ABC):
    """What the framings share. ``may_write``: whether the session is to execute an approved command."""

    def __init__(
        self, stream: ByteStream, unit: int, timing: TimingProfile, context: SessionContext, *, may_write: bool = False
    ) -> None:
        self.unit = unit
        self.latency: float | None = None
        """What the unit took before its last answer, as far as can be told. [s]"""
        self._stream = stream
        self._timing = timing
        self._scale = context.timeout_scale
        self._may_write = may_write

    async def ask(self, request: Request) -> Any:
        """Send a request; give what its answer holds, or an `ExceptionResponse`.

        Raises `TransportTimeout`, `ConnectionLost`, `RemoteProtocolError`, and `LocalProtocolError` for what changes the meter
        in a session that was opened for reading.
        """
        self._check(request)
        return await self._ask(request)

    async def ask_all(self, requests: Sequence[Request]) -> list[Any]:
        """Ask several requests, one after the other; give the answers in their order. Raises as `ask`."""
        return [await self.ask(request) for request in requests]

    @abstractmethod
    async def _ask(self, request: Request) -> Any: ...

    def _check(self, request: Request) -> None:
        if request.changes and not self._may_write:
            raise LocalProtocolError(f"function {int(request.function)} in a session that was opened for reading")

    def _wire(self, octets: int) -> float:
        """Time that octets take on the wire. [s]"""
        speed = self._stream.bits_per_second
        return octets * self._stream.bits_per_character / speed if speed else 0.0

    def _allowance(self, sent: int, expected: int) -> float:
        """Time to allow for both frames on the wire and the meter's latency. [s, real]"""
        return (self._timing.latency + self._wire(sent + expected)) * self._scale + self._timing.margin

    def _note_latency(self, took: float, sent: int, received: int) -> None:
        """Learn from one exchange. ``took``: [s, real]"""
        self.latency = max(0.0, took / self._scale - self._wire(sent + received))

    async def _drain(self, reader: Reader, seconds: float) -> None:
        """Listen until the late answer has passed, or for ``seconds``. [s, real]"""
        deadline = Deadline(seconds)
        while remaining := deadline.remaining():
            try:
                reader.receive_data(await self._stream.read(remaining))
                if reader.next_event() is not NEED_DATA:
                    return
            except TransportTimeout:
                return
            except RemoteProtocolError:
                continue  # still noise; what counts is the time


class LineExchange(Exchange):
    """Requests and answers on a line of units that share it, in whatever frames."""

    async def _ask(self, request: Request) -> Any:
        pdu = request.encode()
        frame, longest = self._frame(pdu), self._size(request.answer_length(pdu[:1]) or MAX_PDU)
        allowance = self._allowance(len(frame), longest)
        silence = self._allowance(len(frame), min(longest, gathers(self._stream)))
        reader = self._reader(request)
        await pause(self._silence() * self._scale - silent_for(self._stream))
        self._stream.discard_input()
        await self._stream.write(frame)
        deadline = Deadline(allowance)
        try:
            answer = await self._await_answer(reader, deadline, Deadline(silence), silence)
        except TransportTimeout:
            await self._drain(self._reader(request), silence)
            raise
        except RemoteProtocolError:
            await self._drain(self._reader(request), allowance)
            raise
        self._note_latency(allowance - deadline.remaining(), len(frame), self._size(len(answer.pdu)))
        return decode_response(answer.pdu, request)

    async def _await_answer(self, reader: AnswerReader, whole: Deadline, begun: Deadline, silence: float) -> RtuFrame:
        """Wait until the answer is there. ``whole``, ``begun``: until when it must be so, and must have begun."""
        while (frame := reader.next_event()) is NEED_DATA:
            try:
                deadline = whole if reader.has_noise else begun
                reader.receive_data(await self._stream.read(deadline.remaining()))
            except LineNoise:
                reader.receive_damage()
            except TransportTimeout as error:
                if reader.has_noise:
                    raise RemoteProtocolError(f"unit {self.unit}: noise or part of an answer, then silence") from error
                raise TransportTimeout(f"unit {self.unit}: no answer within {silence:.3g} s") from error
        return frame

    @abstractmethod
    def _frame(self, pdu: bytes) -> bytes: ...

    @abstractmethod
    def _reader(self, request: Request) -> AnswerReader: ...

    @abstractmethod
    def _size(self, pdu: int) -> int:
        """Octets on the wire for a PDU of so many."""

    def _silence(self) -> float:
        """Silence to keep before a request. [s]"""
        return self._timing.turnaround


class RtuExchange(LineExchange):
    """Requests and answers in RTU frames: on a serial line, or carried unchanged over TCP."""

    def _frame(self, pdu: bytes) -> bytes:
        return RtuFrame(self.unit, pdu).encode()

    def _reader(self, request: Request) -> AnswerReader:
        return ResponseReader(self.unit, request)

    def _size(self, pdu: int) -> int:
        return 3 + pdu

    def _silence(self) -> float:
        stream = self._stream
        return silence_of(stream.bits_per_second, stream.bits_per_character, self._timing.turnaround)


class AsciiExchange(LineExchange):
    """Requests and answers in ASCII frames."""

    def _frame(self, pdu: bytes) -> bytes:
        return encode_frame(RtuFrame(self.unit, pdu))

    def _reader(self, request: Request) -> AnswerReader:
        return AsciiResponseReader(self.unit, request)

    def _size(self, pdu: int) -> int:
        return min(MAX_ASCII_FRAME, 7 + 2 * pdu)


class MbapExchange(Exchange):
    """Requests and answers in Modbus TCP frames.

    ``in_flight``: requests that may be on their way at once, 1 for one after the other. More are sent only once two sent
    together, each a request that was due anyway, were answered as they should be; `pipelines` says what came of that.
    """

    def __init__(
        self,
        stream: ByteStream,
        unit: int,
        timing: TimingProfile,
        context: SessionContext,
        *,
        may_write: bool = False,
        in_flight: int = 1,
        pipelines: bool | None = None,
    ) -> None:
        super().__init__(stream, unit, timing, context, may_write=may_write)
        # A random start keeps late answers to an earlier session on the same connection from matching this one's.
        self._transaction = int.from_bytes(context.random_bytes(2))
        self._reader = MbapReader()
        self._in_flight = in_flight
        self.pipelines = pipelines
        """Whether several requests in flight are answered; None while that has not been tried."""

    async def ask_all(self, requests: Sequence[Request]) -> list[Any]:
        """Ask several requests, as many at once as is known to work; give the answers in their order. Raises as `ask`."""
        answers: list[Any] = []
        while len(answers) < len(requests):
            rest = requests[len(answers) :]
            together = (
                1 if self._in_flight == 1 or self.pipelines is False else self._in_flight if self.pipelines else 2
            )
            batch = rest[:together]
            if len(batch) == 1 or any(request.changes for request in batch):
                answers.append(await self.ask(batch[0]))
                continue
            try:
                answers += await self._flight(batch)
                self.pipelines = True
            except (TransportTimeout, RemoteProtocolError):
                if self.pipelines:
                    raise
                self.pipelines = False  # asked again one by one; nothing here changes the meter
        return answers

    async def _ask(self, request: Request) -> Any:
        (answer,) = await self._flight((request,))
        return answer

    async def _flight(self, requests: Sequence[Request]) -> list[Any]:
        """Send requests together and wait for the answer to each, in whatever order they come."""
        waiting: dict[int, int] = {}
        frames = b""
        for index, request in enumerate(requests):
            self._transaction = (self._transaction + 1) & 0xFFFF
            waiting[self._transaction] = index
            frames += MbapFrame(self._transaction, self.unit, request.encode()).encode()
        allowance = self._allowance(len(frames), len(requests) * (7 + MAX_PDU))
        # Behind a gateway they are asked one after the other.
        allowance += (len(requests) - 1) * self._timing.latency * self._scale
        await pause(self._timing.turnaround * self._scale)
        self._reader.receive_data(self._stream.discard_input())  # read, not dropped: half a late frame keeps its place
        await self._stream.write(frames)
        answers: list[Any] = [None] * len(requests)
        deadline = Deadline(allowance)
        while waiting:
            try:
                frame = await self._await_answer(waiting, deadline, allowance)
            except TransportTimeout:
                await self._drain(self._reader, allowance)
                raise
            index = waiting.pop(frame.transaction)
            if frame.unit != self.unit:
                raise RemoteProtocolError(f"unit {frame.unit} answered, unit {self.unit} was asked")
            answers[index] = decode_response(frame.pdu, requests[index])
        if len(requests) == 1:
            self._note_latency(allowance - deadline.remaining(), 0, 0)
        return answers

    async def _await_answer(self, waiting: dict[int, int], deadline: Deadline, allowance: float) -> MbapFrame:
        strangers: list[int] = []
        while len(strangers) <= MAX_STRANGERS:
            frame = self._reader.next_event()
            if frame is NEED_DATA:
                try:
                    self._reader.receive_data(await self._stream.read(deadline.remaining()))
                except TransportTimeout as error:
                    if strangers:
                        break
                    raise TransportTimeout(f"unit {self.unit}: no answer within {allowance:.3g} s") from error
            elif frame.transaction in waiting:
                return frame
            else:
                strangers.append(frame.transaction)
        raise RemoteProtocolError(
            f"unit {self.unit}: answered transaction {strangers[0]}, asked transaction {next(iter(waiting))}"
        )
