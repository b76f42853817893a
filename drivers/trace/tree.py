"""Takes a trace apart: frames with the time between them, what is in each, and what is damaged, named and passed over."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from drivers.dlms.blocks import GENERAL_BLOCK_TRANSFER
from drivers.dlms.ciphering import Keys
from drivers.dlms.events import NEED_DATA as DLMS_NEEDS_DATA
from drivers.dlms.hdlc import LLC_COMMAND, LLC_RESPONSE, Frame, FrameReader, Kind
from drivers.dlms.push import PushReader
from drivers.errors import DriverError, RemoteProtocolError
from drivers.modbus.ascii import AsciiReader, AsciiResponseReader
from drivers.modbus.coalesce import Read
from drivers.modbus.mbap import MbapReader
from drivers.modbus.pdu import (
    NEED_DATA,
    ExceptionCode,
    ExceptionResponse,
    Function,
    ReadRequest,
    decode_request,
    decode_response,
)
from drivers.modbus.rtu import RequestReader, ResponseReader
from drivers.modbus.values import REGISTERS, decode_point
from drivers.profile import ModbusPoint, Table
from drivers.trace.apdu import MAX_SHOWN, Dialogue, Part, obis_text
from drivers.trace.dlt645 import Dlt645Frames
from drivers.trace.iec62056 import Iec62056Frames
from drivers.trace.text import Mark, Record, Trace, TraceError

MAX_JOINED = 70_000  # octets of segments that are joined
_PARAMETERS = {5: "information field sent", 6: "information field received", 7: "window sent", 8: "window received"}


@dataclass(frozen=True, slots=True)
class Step:
    """What happened at one time. ``at``: since the session's beginning. [us]  ``gap``: since the step before. [us]

    ``mark``: as in `drivers.trace.text`.  ``fault``: what is wrong, empty where nothing is.
    """

    session: int
    at: int
    mark: Mark
    part: Part
    fault: str = ""
    gap: int = 0


class _Reader(Protocol):
    """Finds frames one way or the other."""

    def take(self, octets: bytes, *, is_sent: bool) -> Iterator[Part | str]:
        """Give what is whole, and faults as text."""

    def left(self, *, is_sent: bool) -> int:
        """Count octets that no frame was made of."""


def take_apart(trace: Trace, keys: Keys | None = None, points: Sequence[ModbusPoint] = ()) -> Iterator[Step]:
    """Give the steps of a trace, in order. ``keys`` open ciphered APDUs; ``points`` name Modbus registers.

    Raises `TraceError` for a framing nobody here knows.
    """
    before, session = 0, -1
    for step in _steps(trace, keys, points):
        if step.session != session or step.mark == "@":
            before, session = 0, step.session
        yield replace(step, gap=max(0, step.at - before))
        before = max(before, step.at)


def _steps(trace: Trace, keys: Keys | None, points: Sequence[ModbusPoint]) -> Iterator[Step]:
    framing = trace.header.framing
    reader = _reader(framing, keys, points)
    last = Record(0, 0, "@")
    for record in trace.records:
        if record.mark == "@":
            yield from _left(reader, last)
            reader = _reader(framing, keys, points)
            yield Step(record.session, 0, "@", Part("session", record.text))
        elif record.mark == "!":
            yield Step(record.session, record.at, "!", Part("note", record.text))
        elif record.mark == "x" and framing != "tcp":
            shown = record.octets[:MAX_SHOWN].hex()
            yield Step(record.session, record.at, "x", Part("thrown away", f"{len(record.octets)} octets: {shown}"))
        else:
            for found in reader.take(record.octets, is_sent=record.mark == ">"):
                if isinstance(found, str):
                    yield Step(record.session, record.at, record.mark, Part("damage"), found)
                else:
                    yield Step(record.session, record.at, record.mark, found, _fault(found))
        last = record
    yield from _left(reader, last)


def _left(reader: _Reader, last: Record) -> Iterator[Step]:
    for is_sent in (True, False):
        if left := reader.left(is_sent=is_sent):
            fault = f"{left} octets at the end make no whole frame"
            yield Step(last.session, last.at, ">" if is_sent else "<", Part("rest"), fault)


def _fault(part: Part) -> str:
    if part.name == "fault":
        return part.value
    return next((fault for inner in part.parts if (fault := _fault(inner))), "")


def _reader(framing: str, keys: Keys | None, points: Sequence[ModbusPoint]) -> _Reader:
    match framing:
        case "hdlc":
            return _Hdlc(keys)
        case "wrapper":
            return _Wrapper(keys)
        case "push":
            return _Push(keys)
        case "tcp":
            return _Mbap(points)
        case "rtu" | "rtu-over-tcp":
            return _Rtu(points)
        case "ascii":
            return _Ascii(points)
        case "dlt645":
            return Dlt645Frames()
        case "iec62056":
            return Iec62056Frames()
    raise TraceError(f"framing {framing[:40]!r} is not one this program takes apart")


def _apdu(dialogue: Dialogue, octets: bytes, *, is_sent: bool) -> Part:
    try:
        return dialogue.part(octets, is_sent=is_sent)
    except DriverError as error:
        shown = octets[:MAX_SHOWN].hex()
        return Part("APDU", f"{len(octets)} octets: {shown}", (Part("fault", str(error)),))


class _Hdlc:
    def __init__(self, keys: Keys | None) -> None:
        self._dialogue = Dialogue(keys)
        self._frames = {True: FrameReader(), False: FrameReader()}
        self._joined = {True: bytearray(), False: bytearray()}
        self._skipped = {True: 0, False: 0}

    def take(self, octets: bytes, *, is_sent: bool) -> Iterator[Part | str]:
        frames = self._frames[is_sent]
        frames.receive_data(octets)
        while True:  # each turn takes an octet at least, or ends
            try:
                frame = frames.next_event()
            except RemoteProtocolError as error:
                yield str(error)
                continue
            skipped, self._skipped[is_sent] = frames.skipped - self._skipped[is_sent], frames.skipped
            if skipped:
                yield f"{skipped} octets of noise"
            if frame is DLMS_NEEDS_DATA:
                return
            yield self._frame(frame, is_sent=is_sent)

    def left(self, *, is_sent: bool) -> int:
        return len(self._frames[is_sent].unread().strip(b"\x7e"))

    def _frame(self, frame: Frame, *, is_sent: bool) -> Part:
        way = f"{frame.source} to {frame.destination}"
        match frame.kind:
            case Kind.I:
                way += f", N(S) {frame.send_number}, N(R) {frame.receive_number}"
            case Kind.RR | Kind.RNR:
                way += f", N(R) {frame.receive_number}"
        way += ", more segments follow" if frame.segmented else ""
        return Part(f"HDLC {frame.kind.name}", way, self._inside(frame, is_sent=is_sent))

    def _inside(self, frame: Frame, *, is_sent: bool) -> tuple[Part, ...]:
        joined = self._joined[is_sent]
        if frame.kind not in {Kind.I, Kind.UI}:
            joined.clear()
            return tuple(_parameters(frame.information))
        joined += frame.information
        if len(joined) > MAX_JOINED:
            joined.clear()
            return (Part("fault", f"segments add up to more than {MAX_JOINED} octets"),)
        if frame.segmented:
            return (Part("segment", f"{len(frame.information)} octets"),)
        whole = bytes(joined)
        joined.clear()
        if whole[:3] in {LLC_COMMAND, LLC_RESPONSE}:
            return (_apdu(self._dialogue, whole[3:], is_sent=is_sent),)
        if whole[:1] == bytes([GENERAL_BLOCK_TRANSFER]):  # blocks behind the first, as meters push them
            return (_apdu(self._dialogue, whole, is_sent=is_sent),)
        return (Part("fault", f"information begins with {whole[:3].hex()}, which is no LLC header"),)


def _parameters(information: bytes) -> Iterator[Part]:
    """Show what SNRM or UA negotiates. IEC 62056-46, 6.4.4.4.3.2."""
    at = 3
    while information[:2] == b"\x81\x80" and at + 2 <= len(information):
        code, size = information[at], information[at + 1]
        value = int.from_bytes(information[at + 2 : at + 2 + size], "big")
        yield Part(_PARAMETERS.get(code, f"parameter {code}"), str(value))
        at += 2 + size


class _Wrapper:
    def __init__(self, keys: Keys | None) -> None:
        self._dialogue = Dialogue(keys)
        self._buffers = {True: bytearray(), False: bytearray()}

    def take(self, octets: bytes, *, is_sent: bool) -> Iterator[Part | str]:
        buffer = self._buffers[is_sent]
        buffer += octets
        while len(buffer) >= 8:
            version, source, destination, length = (int.from_bytes(buffer[at : at + 2], "big") for at in (0, 2, 4, 6))
            if version != 1:
                yield f"wrapper version 0x{version:04x}, expected 0x0001: {len(buffer)} octets passed over"
                buffer.clear()
                return
            if len(buffer) < 8 + length:
                return
            apdu = bytes(buffer[8 : 8 + length])
            del buffer[: 8 + length]
            inner = _apdu(self._dialogue, apdu, is_sent=is_sent)
            yield Part("WRAPPER", f"wPort {source} to {destination}, {length} octets", (inner,))

    def left(self, *, is_sent: bool) -> int:
        return len(self._buffers[is_sent])


class _Push:
    """What a meter sends unasked, framing found out; nothing is sent to it."""

    def __init__(self, keys: Keys | None) -> None:
        self._dialogue = Dialogue(keys)
        self._reader = PushReader()
        self._left = 0

    def take(self, octets: bytes, *, is_sent: bool) -> Iterator[Part | str]:
        if is_sent:
            yield f"{len(octets)} octets sent to a meter that only pushes"
            return
        self._reader.receive_data(octets)
        self._left += len(octets)
        while True:
            try:
                pushed = self._reader.next_event()
            except RemoteProtocolError as error:
                yield str(error)
                continue
            if pushed is DLMS_NEEDS_DATA:
                return
            self._left = 0
            inner = _apdu(self._dialogue, pushed.octets, is_sent=False)
            yield Part(pushed.framing, f"from {pushed.source}" if pushed.source else "", (inner,))

    def left(self, *, is_sent: bool) -> int:
        if is_sent:
            return 0
        try:
            self._reader.receive_end()
        except RemoteProtocolError:
            return self._left
        return 0


class _Modbus:
    def __init__(self, points: Sequence[ModbusPoint]) -> None:
        self._points = points
        self._request: ReadRequest | None = None

    def left(self, *, is_sent: bool) -> int:
        del is_sent
        return 0

    def _question(self, pdu: bytes) -> Part:
        self._request = None
        try:
            self._request = decode_request(pdu)
        except RemoteProtocolError as error:
            return Part("request", pdu[:MAX_SHOWN].hex(), (Part("fault", str(error)),))
        last = self._request.address + self._request.count - 1
        return Part(_function(self._request), f"{self._request.address} to {last}")

    def _answer(self, pdu: bytes) -> Part:
        request = self._request
        if request is None:
            return Part("answer", pdu[:MAX_SHOWN].hex(), (Part("fault", "an answer to nothing that was asked"),))
        try:
            answer = decode_response(pdu, request)
        except RemoteProtocolError as error:
            return Part("answer", pdu[:MAX_SHOWN].hex(), (Part("fault", str(error)),))
        if isinstance(answer, ExceptionResponse):
            known = {int(code): code.name.lower().replace("_", " ") for code in ExceptionCode}
            return Part("exception", f"{answer.code} {known.get(answer.code, 'unknown')}")
        words = [Part(str(request.address + at), f"{word} 0x{word:04x}") for at, word in enumerate(answer.registers)]
        return Part("registers", str(len(words)), (*words, *self._named(request, answer.registers)))

    def _named(self, request: ReadRequest, registers: tuple[int, ...]) -> Iterator[Part]:
        """Give the values that the model's register map sees in these registers."""
        read = Read(_table(request), request.address, request.count, ())
        for point in self._points:
            end = point.address + REGISTERS[point.type]
            if point.table != read.table or point.address < read.address or end > read.address + read.count:
                continue
            try:
                count, _ = decode_point(point, read.registers_of(point, registers))
            except DriverError as error:
                yield Part("fault", str(error))
                continue
            yield Part(obis_text(point.obis), f"{point.scaler_unit.to_decimal(count)} {point.scaler_unit.unit.symbol}")


class _Rtu(_Modbus):
    name = "Modbus RTU"
    sent: Callable[[], RequestReader | AsciiReader] = RequestReader
    answers: Callable[[int, ReadRequest], ResponseReader | AsciiResponseReader] = ResponseReader

    def __init__(self, points: Sequence[ModbusPoint]) -> None:
        super().__init__(points)
        self._sent = type(self).sent()
        self._answers: ResponseReader | AsciiResponseReader | None = None

    def take(self, octets: bytes, *, is_sent: bool) -> Iterator[Part | str]:
        if is_sent:
            self._sent.receive_data(octets)
            while True:
                try:
                    frame = self._sent.next_event()
                except RemoteProtocolError as error:
                    yield str(error)
                    continue
                if frame is NEED_DATA:
                    return
                yield Part(self.name, f"to unit {frame.unit}", (self._question(frame.pdu),))
                self._answers = None if self._request is None else type(self).answers(frame.unit, self._request)
        if self._answers is None:
            yield f"{len(octets)} octets that answer nothing: {octets[:MAX_SHOWN].hex()}"
            return
        self._answers.receive_data(octets)
        try:
            found = self._answers.next_event()
        except RemoteProtocolError as error:
            yield str(error)
            self._answers = None
            return
        if found is not NEED_DATA:
            self._answers = None
            yield Part(self.name, f"from unit {found.unit}", (self._answer(found.pdu),))


class _Ascii(_Rtu):
    name = "Modbus ASCII"
    sent = AsciiReader
    answers = AsciiResponseReader


class _Mbap(_Modbus):
    def __init__(self, points: Sequence[ModbusPoint]) -> None:
        super().__init__(points)
        self._readers = {True: MbapReader(), False: MbapReader()}
        self._transaction = -1

    def take(self, octets: bytes, *, is_sent: bool) -> Iterator[Part | str]:
        reader = self._readers[is_sent]
        reader.receive_data(octets)
        while True:
            try:
                frame = reader.next_event()
            except RemoteProtocolError as error:
                yield str(error)
                self._readers[is_sent] = MbapReader()
                return
            if frame is NEED_DATA:
                return
            what = f"unit {frame.unit}, transaction {frame.transaction}"
            if is_sent:
                self._transaction = frame.transaction
                inner = self._question(frame.pdu)
            elif frame.transaction != self._transaction:
                inner = Part("fault", f"an answer to transaction {frame.transaction}, asked was {self._transaction}")
            else:
                inner = self._answer(frame.pdu)
            yield Part("Modbus TCP", what, (inner,))


def _function(request: ReadRequest) -> str:
    return f"read {_table(request)} registers"


def _table(request: ReadRequest) -> Table:
    return "holding" if request.function is Function.READ_HOLDING_REGISTERS else "input"
