"""A far end that answers what a recorded meter answered: a trace from the field becomes a meter to test against.

The recorded octets go out as they came, noise, silence and delays included. Only what counts conversations is fitted to the
client of today: sequence numbers of HDLC, invoke-ids, transactions of Modbus TCP, and the checksums around them. A question
is found by what it asks, first behind the one before, then from the beginning. A GET asked in another way, alone or in a list,
is answered from what the trace holds of its attributes; what was never asked is answered by silence.
A password is not compared: it is not in the trace.

A ciphered session cannot be replayed, and is refused: its counters and challenges are new each time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from drivers.dlms import acse
from drivers.dlms.events import NEED_DATA as DLMS_NEEDS_DATA
from drivers.dlms.hdlc import LLC_COMMAND, LLC_RESPONSE, Frame, FrameReader, Kind
from drivers.errors import ConnectionLost, DriverError, LocalProtocolError, RemoteProtocolError
from drivers.modbus.mbap import MbapFrame, MbapReader
from drivers.modbus.pdu import NEED_DATA
from drivers.modbus.rtu import RequestReader
from drivers.trace.mask import service_flags
from drivers.trace.text import MASK, Record, Trace, TraceError
from simulators.line import Answer
from simulators.recorded import Attributes

LONGEST_DELAY = 5.0  # [s]  longer recorded pauses are cut to this
_GET_NEXT = b"\xc0\x02"
_HAS_INVOKE_ID = frozenset({0xC0, 0xC1, 0xC3, 0xC4, 0xC5, 0xC7})
_PLAIN = frozenset({0x60, 0x62, 0xC0, 0xC1, 0xC3, 0xD9, 0x05, 0x06, 0xE0})  # what a client may send unciphered
_GET = 0xC0


@dataclass(frozen=True, slots=True)
class Key:
    """What a question asks. ``wide``: the same without a selection's range.  ``only_next``: means nothing elsewhere than in its row."""

    exact: bytes
    wide: bytes = b""
    only_next: bool = False


class Question(Protocol):
    """One whole question of a client."""

    @property
    def key(self) -> Key:
        """What it asks."""

    def answer(self, recorded: "Question", octets: bytes) -> bytes:
        """Fit the recorded answer to the recorded question to this one."""


class Reader(Protocol):
    """Cuts what a client sends into questions."""

    def receive(self, data: bytes) -> Iterator[Question]:
        """Take octets; give what is whole. Raises `DriverError` where the stream is lost."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recorded question, and what came back: octets, each after so long. ``hangs_up``: the far end was gone then."""

    question: Question
    answers: tuple[Answer, ...]
    hangs_up: bool = False


class Script:
    """What a trace holds, as exchanges, and how far a replay has come. Raises `TraceError` where it cannot be replayed."""

    def __init__(self, trace: Trace, say: Callable[[str], None]) -> None:
        """``say``: told of each question that was not recorded, or only for another range."""
        self.framing = trace.header.framing
        self._say = say
        self._make = _reader(self.framing)
        self.exchanges = list(self._exchanges(trace.records))
        self._next = 0
        self._attributes = Attributes()
        for exchange in self.exchanges:
            _ = exchange.question.key  # refuses what is ciphered, before anybody is told that we are here
            if isinstance(exchange.question, _WrapperQuestion | _HdlcQuestion) and exchange.question.apdu:
                whole = b"".join(answer.data for answer in exchange.answers)
                self._attributes.learn(exchange.question.apdu, exchange.question.heard(whole))
        if not self.exchanges:
            raise TraceError("the trace holds no question that could be replayed")

    def reader(self) -> Reader:
        """Listen to a client anew."""
        return self._make()

    def find(self, question: Question) -> Exchange | None:
        """Find what the meter answered to this, and remember how far the replay has come."""
        size = len(self.exchanges)
        order = [(self._next + step) % size for step in range(size)]
        key = question.key
        if key.only_next:
            order = order[:1]
        for at in order:
            if self.exchanges[at].question.key.exact == key.exact:
                self._next = (at + 1) % size
                return self.exchanges[at]
        for at in order:
            if key.wide and self.exchanges[at].question.key.wide == key.wide:
                self._next = (at + 1) % size
                self._say(f"answered as recorded for another range: {key.exact.hex()}")
                return self.exchanges[at]
        if isinstance(question, _WrapperQuestion | _HdlcQuestion) and (apdu := self._attributes.answer(question.apdu)):
            with suppress(LocalProtocolError):  # too long for a frame
                return Exchange(question, (Answer(0.0, question.framed(apdu)),))
        self._say(f"never asked in the trace, so not answered: {key.exact.hex()}")
        return None

    def _exchanges(self, records: Sequence[Record]) -> Iterator[Exchange]:
        reader = self._make()
        asked: Question | None = None
        answers: list[Answer] = []
        hangs_up = False
        before = 0
        for record in records:
            if record.mark in {"@", ">"}:
                if asked is not None:
                    yield Exchange(asked, tuple(answers), hangs_up)
                asked, answers, hangs_up = None, [], False
                reader = self._make() if record.mark == "@" else reader
                for question in reader.receive(record.octets):
                    asked = question
                before = record.at
            elif record.mark == "!":
                hangs_up = hangs_up or record.text.startswith("ConnectionLost")
            elif asked is not None:
                delay = min(LONGEST_DELAY, max(0, record.at - before) / 1_000_000)
                answers.append(Answer(delay, record.octets))
                before = record.at
        if asked is not None:
            yield Exchange(asked, tuple(answers), hangs_up)


class ReplayConversation:
    """One connection to the recorded meter; for `simulators.tcp`."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._reader = script.reader()

    def receive(self, data: bytes, now: int) -> list[Answer]:
        """Hear octets; answer each whole question as it was answered. Raises `DriverError` to hang up."""
        del now
        answers: list[Answer] = []
        for question in self._reader.receive(data):
            exchange = self._script.find(question)
            if exchange is None:
                continue
            if exchange.hangs_up and not exchange.answers:
                raise ConnectionLost("the recorded meter hung up here")
            answers += fitted(question, exchange)
        return answers


class ReplayBus:
    """The recorded meter on a line; for `simulators.line`."""

    def __init__(self, script: Script) -> None:
        self._talk = ReplayConversation(script)

    def receive(self, data: bytes, now: int) -> Answer | None:
        """Hear octets; what the meter sent in pieces goes out in one, as the line paces it."""
        try:
            answers = self._talk.receive(data, now)
        except DriverError:
            return None  # a line cannot hang up
        return Answer(answers[0].latency, b"".join(answer.data for answer in answers)) if answers else None


def fitted(question: Question, exchange: Exchange) -> list[Answer]:
    """Give the recorded answers, fitted to the question of now; cut where the recorded ones were."""
    whole = b"".join(answer.data for answer in exchange.answers)
    left = question.answer(exchange.question, whole)
    answers = []
    for answer in exchange.answers:
        answers.append(Answer(answer.latency, left[: len(answer.data)]))
        left = left[len(answer.data) :]
    return answers


def _reader(framing: str) -> Callable[[], Reader]:
    readers: dict[str, Callable[[], Reader]] = {
        "hdlc": _HdlcReader, "wrapper": _WrapperReader, "tcp": _MbapReader, "rtu": _RtuReader, "rtu-over-tcp": _RtuReader,
    }  # fmt: skip
    if framing not in readers:
        raise TraceError(f"framing {framing[:40]!r} cannot be replayed; these can: {', '.join(readers)}")
    return readers[framing]


def apdu_key(apdu: bytes) -> Key:
    """Say what an APDU asks, whoever asks and whatever the password. Raises `TraceError` for one that is ciphered."""
    if apdu[0] not in _PLAIN:
        raise TraceError(_CIPHERED)
    if apdu[0] == acse.AARQ:
        try:
            request = acse.decode(apdu)
        except RemoteProtocolError:
            return Key(b"\x60")
        assert isinstance(request, acse.Aarq)
        if request.mechanism not in {acse.Mechanism.NONE, acse.Mechanism.LOW} or request.context in {
            acse.ApplicationContext.LOGICAL_NAME_CIPHERED, acse.ApplicationContext.SHORT_NAME_CIPHERED,
        }:  # fmt: skip
            raise TraceError(_CIPHERED)
        return Key(bytes([acse.AARQ, request.context, request.mechanism]))
    if apdu[0] == acse.RLRQ:
        return Key(bytes([acse.RLRQ]))
    shown = bytes(MASK if hidden else octet for octet, hidden in zip(apdu, service_flags(apdu), strict=True))
    if apdu[0] not in _HAS_INVOKE_ID or len(apdu) < 3:
        return Key(shown)
    exact = shown[:2] + shown[3:]
    wide = exact[:11] if apdu[0] == _GET and apdu[1] == 1 and apdu[12:13] == b"\x01" else b""
    return Key(exact, wide, only_next=shown[:2] == _GET_NEXT)


_CIPHERED = (
    "a ciphered session, or one with a challenge, cannot be replayed: its counters and challenges are new each time; "
    "simulate such a meter with: headend-simulate dlms --authentication hls5"
)


def _with_invoke_id(apdu: bytes, recorded: bytes, now: bytes) -> bytes:
    """Put the invoke-id of the question of now into an answer that had the one of the recorded question."""
    ids = [
        octets[2] if octets[:1] and octets[0] in _HAS_INVOKE_ID and len(octets) > 2 else -1
        for octets in (apdu, recorded, now)
    ]
    if ids[0] < 0 or ids[0] != ids[1] or ids[2] < 0:
        return apdu
    return apdu[:2] + now[2:3] + apdu[3:]


@dataclass(frozen=True, slots=True)
class _WrapperQuestion:
    head: bytes
    apdu: bytes

    @property
    def key(self) -> Key:
        asked = apdu_key(self.apdu)
        ports = self.head[2:6]
        return replace(asked, exact=ports + asked.exact, wide=ports + asked.wide if asked.wide else b"")

    def answer(self, recorded: Question, octets: bytes) -> bytes:
        assert isinstance(recorded, _WrapperQuestion)
        if octets[:2] != b"\x00\x01" or len(octets) < 11:
            return octets
        return octets[:8] + _with_invoke_id(octets[8:], recorded.apdu, self.apdu)

    def heard(self, octets: bytes) -> bytes:
        """Give the APDU of an answer."""
        return octets[8 : 8 + int.from_bytes(octets[6:8], "big")]

    def framed(self, apdu: bytes) -> bytes:
        """Frame an answer to this."""
        return self.head[:2] + self.head[4:6] + self.head[2:4] + len(apdu).to_bytes(2, "big") + apdu


class _WrapperReader:
    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> Iterator[Question]:
        self._buffer += data
        while len(self._buffer) >= 8:
            end = 8 + int.from_bytes(self._buffer[6:8], "big")
            if self._buffer[:2] != b"\x00\x01" or end == 8:
                raise RemoteProtocolError(f"no wrapper frame: {self._buffer[:8].hex()}")
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            yield _WrapperQuestion(frame[:8], frame[8:])


@dataclass(frozen=True, slots=True)
class _HdlcQuestion:
    """``apdu``: what the last of its segments completes, else empty.  ``numbers``: N(S) and N(R) of the last I frame."""

    frame: Frame
    apdu: bytes
    numbers: tuple[int, int]

    @property
    def key(self) -> Key:
        frame = self.frame
        where = frame.destination.encode() + frame.source.encode() + bytes([frame.kind])
        if frame.kind is not Kind.I:
            return Key(where, only_next=frame.kind in {Kind.RR, Kind.RNR})
        if frame.segmented:
            return Key(where + b"segment", only_next=True)
        asked = apdu_key(self.apdu)
        return replace(asked, exact=where + asked.exact, wide=where + asked.wide if asked.wide else b"")

    def answer(self, recorded: Question, octets: bytes) -> bytes:
        """Fit sequence numbers and invoke-id, and with them the checksums; what is no whole frame stays as it was."""
        assert isinstance(recorded, _HdlcQuestion)
        shift_send = self._shift(self.frame.receive_number, recorded.frame.receive_number)
        shift_receive = self._shift(self.numbers[0], recorded.numbers[0])
        fitted_octets = bytearray(octets)
        for start, end, frame in _frames_in(octets):
            information = frame.information
            if frame.kind is Kind.I and information[:3] == LLC_RESPONSE:
                information = information[:3] + _with_invoke_id(information[3:], recorded.apdu, self.apdu)
            changed = replace(
                frame,
                send_number=(frame.send_number + shift_send) % 8 if frame.kind is Kind.I else 0,
                receive_number=(frame.receive_number + shift_receive) % 8 if frame.kind in {Kind.I, Kind.RR} else 0,
                information=information,
            )
            fitted_octets[start:end] = changed.encode()
        return bytes(fitted_octets)

    def heard(self, octets: bytes) -> bytes:
        """Give the APDU of an answer that came in one frame."""
        frames = [frame for _, _, frame in _frames_in(octets) if frame.kind is Kind.I]
        return frames[0].information.removeprefix(LLC_RESPONSE) if len(frames) == 1 and not frames[0].segmented else b""

    def framed(self, apdu: bytes) -> bytes:
        """Frame an answer to this, in one frame however long."""
        asked = self.frame
        numbers = (asked.receive_number, (asked.send_number + 1) % 8)
        return Frame(asked.source, asked.destination, Kind.I, *numbers, information=LLC_RESPONSE + apdu).encode()

    @staticmethod
    def _shift(now: int, recorded: int) -> int:
        return (now - recorded) % 8


def _frames_in(octets: bytes) -> Iterator[tuple[int, int, Frame]]:
    """Find whole frames and where they stand, flags included."""
    at = 0
    while (at := octets.find(b"\x7e\xa0"[:1], at)) >= 0:
        end = at + 2 + (int.from_bytes(octets[at + 1 : at + 3], "big") & 0x07FF)
        reader = FrameReader()
        reader.receive_data(octets[at:end])
        try:
            frame = reader.next_event()
        except RemoteProtocolError:
            frame = DLMS_NEEDS_DATA
        if frame is DLMS_NEEDS_DATA or reader.skipped or len(frame.encode()) != end - at:
            at += 1
            continue
        yield at, end, frame
        at = end - 1  # one flag may end a frame and begin the next


class _HdlcReader:
    def __init__(self) -> None:
        self._frames = FrameReader()
        self._joined = bytearray()
        self._numbers = (0, 0)

    def receive(self, data: bytes) -> Iterator[Question]:
        self._frames.receive_data(data)
        while True:
            try:
                frame = self._frames.next_event()
            except RemoteProtocolError:
                continue  # a meter drops what is damaged
            if frame is DLMS_NEEDS_DATA:
                return
            apdu = b""
            if frame.kind is Kind.SNRM:
                self._numbers = (0, 0)
                self._joined.clear()
            if frame.kind is Kind.I:
                self._numbers = (frame.send_number, frame.receive_number)
                self._joined += frame.information
                if not frame.segmented:
                    apdu = bytes(self._joined).removeprefix(LLC_COMMAND)
                    self._joined.clear()
                    if not apdu:
                        continue
            yield _HdlcQuestion(frame, apdu, self._numbers)


@dataclass(frozen=True, slots=True)
class _MbapQuestion:
    frame: MbapFrame

    @property
    def key(self) -> Key:
        return Key(bytes([self.frame.unit]) + self.frame.pdu)

    def answer(self, recorded: Question, octets: bytes) -> bytes:
        """Fit the transaction where it was that of the recorded question."""
        assert isinstance(recorded, _MbapQuestion)
        if octets[:2] != recorded.frame.transaction.to_bytes(2, "big"):
            return octets
        return self.frame.transaction.to_bytes(2, "big") + octets[2:]


class _MbapReader:
    def __init__(self) -> None:
        self._frames = MbapReader()

    def receive(self, data: bytes) -> Iterator[Question]:
        self._frames.receive_data(data)
        while (frame := self._frames.next_event()) is not NEED_DATA:
            yield _MbapQuestion(frame)


@dataclass(frozen=True, slots=True)
class _RtuQuestion:
    octets: bytes

    @property
    def key(self) -> Key:
        return Key(self.octets)

    def answer(self, recorded: Question, octets: bytes) -> bytes:
        del recorded
        return octets


class _RtuReader:
    def __init__(self) -> None:
        self._frames = RequestReader()

    def receive(self, data: bytes) -> Iterator[Question]:
        self._frames.receive_data(data)
        while (frame := self._frames.next_event()) is not NEED_DATA:
            yield _RtuQuestion(bytes([frame.unit]) + frame.pdu)
