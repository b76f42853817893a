"""One request and its answer on a stream: silence, timeout, matching, and never the answer to something else.

A late answer is the danger: on RTU nothing tells it from the answer to the next equal request. So input is thrown away
before each request, and after a failure the line is listened to for as long again, until the late answer has passed.
On TCP the transaction identifier tells them apart, and an answer with another identifier is never taken.
"""

from typing import Final, Protocol

from drivers.contract import ByteStream, SessionContext
from drivers.errors import RemoteProtocolError, TransportTimeout
from drivers.modbus.mbap import MbapFrame, MbapReader
from drivers.modbus.pdu import NEED_DATA, ExceptionResponse, NeedData, ReadRequest, ReadResponse, decode_response
from drivers.modbus.rtu import ResponseReader, RtuFrame
from drivers.profile import TimingProfile
from drivers.transports.base import Deadline, pause

HOST_MARGIN: Final = 0.1  # real time for scheduling and adapters (USB: 16 ms), whatever the speed of the world [s]
MAX_STRANGERS: Final = 16  # answers to other transactions skipped while waiting for one
SILENCE_CHARACTERS: Final = 3.5  # MODBUS over Serial Line V1.02, clause 2.5.1.1
FAST_LINE: Final = 19_200  # above it the silence is fixed, same clause [bit/s]
FAST_LINE_SILENCE: Final = 0.00175  # [s]

Answer = ReadResponse | ExceptionResponse


class Reader(Protocol):
    """What finds the answer in received bytes."""

    def receive_data(self, data: bytes) -> None:
        """Take received bytes."""

    def next_event(self) -> RtuFrame | MbapFrame | NeedData:
        """Give a frame, or NEED_DATA; raise `RemoteProtocolError`."""


class _Exchange:
    def __init__(self, stream: ByteStream, unit: int, timing: TimingProfile, context: SessionContext) -> None:
        self.unit = unit
        self._stream = stream
        self._timing = timing
        self._scale = context.timeout_scale

    def _allowance(self, sent: int, expected: int) -> float:
        """Time to allow for both frames on the wire and the meter's latency. [s, real]"""
        speed = self._stream.bits_per_second
        wire = (sent + expected) * self._stream.bits_per_character / speed if speed else 0.0
        return (self._timing.latency + wire) * self._scale + HOST_MARGIN

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


class RtuExchange(_Exchange):
    """Requests and answers in RTU frames: on a serial line, or carried unchanged over TCP."""

    async def ask(self, request: ReadRequest) -> Answer:
        """Send a request and return its answer. Raises `TransportTimeout`, `ConnectionLost`, `RemoteProtocolError`."""
        frame = RtuFrame(self.unit, request.encode()).encode()
        allowance = self._allowance(len(frame), 5 + 2 * request.count)
        reader = ResponseReader(self.unit, request)
        await pause(self._silence() * self._scale)
        self._stream.discard_input()
        await self._stream.write(frame)
        try:
            answer = await self._await_answer(reader, allowance)
        except (TransportTimeout, RemoteProtocolError):
            await self._drain(ResponseReader(self.unit, request), allowance)
            raise
        return decode_response(answer.pdu, request)

    async def _await_answer(self, reader: ResponseReader, allowance: float) -> RtuFrame:
        deadline = Deadline(allowance)
        while (frame := reader.next_event()) is NEED_DATA:
            try:
                reader.receive_data(await self._stream.read(deadline.remaining()))
            except TransportTimeout as error:
                if reader.has_noise:
                    raise RemoteProtocolError(f"unit {self.unit}: noise or part of an answer, then silence") from error
                raise TransportTimeout(f"unit {self.unit}: no answer within {allowance:.3g} s") from error
        return frame

    def _silence(self) -> float:
        """Silence to keep before a request. [s]"""
        speed = self._stream.bits_per_second
        if not speed:
            return self._timing.turnaround
        silence = (
            SILENCE_CHARACTERS * self._stream.bits_per_character / speed if speed <= FAST_LINE else FAST_LINE_SILENCE
        )
        return max(silence, self._timing.turnaround)


class MbapExchange(_Exchange):
    """Requests and answers in Modbus TCP frames."""

    def __init__(self, stream: ByteStream, unit: int, timing: TimingProfile, context: SessionContext) -> None:
        super().__init__(stream, unit, timing, context)
        # A random start keeps late answers to an earlier session on the same connection from matching this one's.
        self._transaction = int.from_bytes(context.random_bytes(2))
        self._reader = MbapReader()

    async def ask(self, request: ReadRequest) -> Answer:
        """Send a request and return its answer. Raises `TransportTimeout`, `ConnectionLost`, `RemoteProtocolError`."""
        self._transaction = (self._transaction + 1) & 0xFFFF
        frame = MbapFrame(self._transaction, self.unit, request.encode()).encode()
        allowance = self._allowance(len(frame), 9 + 2 * request.count)
        await pause(self._timing.turnaround * self._scale)
        self._reader.receive_data(self._stream.discard_input())  # read, not dropped: half a late frame keeps its place
        await self._stream.write(frame)
        try:
            answer = await self._await_answer(allowance)
        except TransportTimeout:
            await self._drain(self._reader, allowance)
            raise
        if answer.unit != self.unit:
            raise RemoteProtocolError(f"unit {answer.unit} answered, unit {self.unit} was asked")
        return decode_response(answer.pdu, request)

    async def _await_answer(self, allowance: float) -> MbapFrame:
        deadline = Deadline(allowance)
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
            elif frame.transaction == self._transaction:
                return frame
            else:
                strangers.append(frame.transaction)
        raise RemoteProtocolError(
            f"unit {self.unit}: answered transaction {strangers[0]}, asked transaction {self._transaction}"
        )
