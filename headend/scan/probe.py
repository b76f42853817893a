"""One question and what comes of it, sans-IO: octets to send, how long to wait, and a verdict on what was heard.

Nothing here changes a meter: Modbus reads, DL/T 645 reads, HDLC connect (and disconnect, by whoever goes on), the opening of
IEC 62056-21. No broadcast that anybody acts on.

Silence, one clean answer, or octets that are no answer: the last is noise if it happens once, and several who speak at
once if it happens again.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from drivers.dlms import hdlc
from drivers.dlms.hdlc import Kind as HdlcKind
from drivers.dlt645 import frame as dlt645
from drivers.dlt645 import services
from drivers.dlt645.address import ANY, covers, decode_own_address, encode_address, shortened
from drivers.dlt645.control import Edition, decode_control
from drivers.dlt645.services import Identifier
from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.iec62056 import events as iec62056
from drivers.iec62056.opening import REACTION, Opening
from drivers.modbus.pdu import NEED_DATA, Function, ReadRequest, Request, decode_response
from drivers.modbus.rtu import ResponseReader, RtuFrame
from drivers.transports.url import Form
from headend.scan.ground import ALL_STATIONS, CLIENT, Kind, server, written

ADDRESS: Final = Identifier("04000401")
IDENTIFIERS: Final = {Edition.E2007: Identifier("00010000"), Edition.E1997: Identifier("9010")}
"""Energy: what every meter has, and no two have alike."""
WAKE_UP: Final = 4  # DL/T 645-2007, 5.3.1: one to four FE in front [octet]
MAX_KEPT: Final = 4_096  # heard and not understood, kept to be looked at [octet]
LISTENING: Final = 2.0  # before anything is asked [s]
FIRST_REGISTER: Final = ReadRequest(Function.READ_HOLDING_REGISTERS, 0, 1)
WAITS: Final = {
    Kind.LISTEN: LISTENING,
    Kind.DLT645_2007: 0.6,  # 5.3.3: within 500 ms
    Kind.DLT645_1997: 0.6,
    Kind.DLMS: 0.5,
    Kind.MODBUS: 0.3,
    Kind.IEC62056: REACTION,
}
"""Longest time before the first octet of an answer, unless the user says another. [s]"""


class Outcome(Enum):
    """What came of a question."""

    SILENCE = "silence"
    ANSWER = "answer"
    GARBLED = "garbled"


@dataclass(frozen=True, slots=True)
class Heard:
    """``answers``: addresses that answered cleanly.  ``others``: addresses that spoke though they were not asked.

    ``content``: of the one answer, decoded as its kind has it.  ``octets``: how much was heard, and ``raw`` what of it, as far as kept.
    ``is_clean``: False where an answer came among octets that are none.
    """

    outcome: Outcome
    answers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    content: object = None
    octets: int = 0
    raw: bytes = b""
    is_clean: bool = True


class Probe(ABC):
    """One question. ``wait``: longest time before its answer begins [s].  ``lingers``: after a clean answer others may follow."""

    lingers = False

    def __init__(self, octets: bytes, wait: float) -> None:
        self.octets = octets
        self.wait = wait
        self.heard_octets = 0
        self.raw = bytearray()

    def receive(self, data: bytes) -> None:
        """Take octets as they arrive."""
        self.heard_octets += len(data)
        if len(self.raw) < MAX_KEPT:
            self.raw += data
        self._receive(data)

    def damage(self) -> None:
        """Take note that an octet came damaged."""
        self.heard_octets += 1
        self._damage()

    @property
    @abstractmethod
    def is_answered(self) -> bool:
        """Whether a clean answer has come."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing but whole answers was heard, as far as the protocol tells."""
        return True

    def heard(self) -> Heard:
        """Say what came of it."""
        answers, others, content = self._result()
        outcome = Outcome.ANSWER if answers else Outcome.GARBLED if self.heard_octets else Outcome.SILENCE
        return Heard(outcome, answers, others, content, self.heard_octets, bytes(self.raw), self.is_clean)

    @abstractmethod
    def _receive(self, data: bytes) -> None: ...

    @abstractmethod
    def _damage(self) -> None: ...

    @abstractmethod
    def _result(self) -> tuple[tuple[str, ...], tuple[str, ...], object]: ...


class ModbusProbe(Probe):
    """Asks a unit; any whole answer is one, an exception too. ``recent``: units asked before, whose answers may come late."""

    def __init__(self, unit: int, wait: float, request: Request = FIRST_REGISTER, recent: Sequence[int] = ()) -> None:
        super().__init__(RtuFrame(unit, request.encode()).encode(), wait)
        self._unit = unit
        self._request = request
        self._recent = recent
        self._reader = ResponseReader(unit, request)
        self._is_broken = False
        self._answer: object = None

    @property
    def is_answered(self) -> bool:
        """See `Probe`."""
        return self._answer is not None

    def _receive(self, data: bytes) -> None:
        if self._is_broken or self.is_answered:
            return
        self._reader.receive_data(data)
        try:
            frame = self._reader.next_event()
            if frame is not NEED_DATA:
                self._answer = decode_response(frame.pdu, self._request)
        except RemoteProtocolError:
            self._is_broken = True

    def _damage(self) -> None:
        self._reader.receive_damage()

    def _result(self) -> tuple[tuple[str, ...], tuple[str, ...], object]:
        if self.is_answered:
            return (str(self._unit),), (), self._answer
        return (), tuple(str(unit) for unit in self._recent if unit != self._unit and self._spoke(unit)), None

    def _spoke(self, unit: int) -> bool:
        reader = ResponseReader(unit, FIRST_REGISTER)
        reader.receive_data(bytes(self.raw))
        try:
            return reader.next_event() is not NEED_DATA
        except RemoteProtocolError:
            return False


class Dlt645Probe(Probe):
    """Asks one meter, or by a wildcard all that it covers. Who refuses is there, too."""

    def __init__(self, question: dlt645.Frame, wait: float) -> None:
        super().__init__(question.encode(WAKE_UP), wait)
        self._question = question
        self._reader = dlt645.FrameReader()
        self._answers: dict[str, dlt645.Frame] = {}
        self._others: dict[str, None] = {}
        self._is_damaged = False
        self.lingers = "A" in question.address

    @property
    def is_answered(self) -> bool:
        """See `Probe`."""
        return bool(self._answers)

    @property
    def is_clean(self) -> bool:
        """See `Probe`."""
        return not self._is_damaged and not self._reader.has_noise

    def _receive(self, data: bytes) -> None:
        self._reader.receive_data(data)
        while True:
            try:
                frame = self._reader.next_event()
                if frame is dlt645.NEED_DATA:
                    return
                self._take(frame)
            except RemoteProtocolError:
                self._is_damaged = True

    def _take(self, frame: dlt645.Frame) -> None:
        control = decode_control(frame.control)
        if not control.from_meter:
            return
        address = decode_own_address(encode_address(frame.address))
        is_ours = covers(self._question.address, address) and control.function == self._question.control
        if is_ours:
            self._answers[address] = frame
        else:
            self._others[address] = None

    def _damage(self) -> None:
        self._is_damaged = True
        self._reader.receive_damage()

    def _result(self) -> tuple[tuple[str, ...], tuple[str, ...], object]:
        (*answers,) = self._answers
        content = self._answers[answers[0]].data if len(answers) == 1 else None
        return tuple(answers), tuple(self._others), content


class HdlcProbe(Probe):
    """Asks a server to connect; UA and DM both say that it is there. Whoever is connected is to be disconnected."""

    def __init__(self, target: str, wait: float, kind: HdlcKind = HdlcKind.SNRM) -> None:
        self._server = server(target)
        super().__init__(hdlc.Frame(self._server, CLIENT, kind).encode(), wait)
        self._is_for_all = target in ALL_STATIONS
        self.lingers = self._is_for_all
        self._reader = hdlc.FrameReader()
        self._answers: dict[str, HdlcKind] = {}
        self._others: dict[str, None] = {}

    @property
    def is_answered(self) -> bool:
        """See `Probe`."""
        return bool(self._answers)

    def _receive(self, data: bytes) -> None:
        self._reader.receive_data(data)
        while True:
            try:
                frame = self._reader.next_event()
            except RemoteProtocolError:
                continue
            if not isinstance(frame, hdlc.Frame):
                return
            if frame.destination != CLIENT or frame.kind not in {HdlcKind.UA, HdlcKind.DM}:
                continue
            if frame.source == self._server or self._is_for_all:
                self._answers[written(frame.source)] = frame.kind
            else:
                self._others[written(frame.source)] = None

    def _damage(self) -> None:
        self._reader.unread()

    def _result(self) -> tuple[tuple[str, ...], tuple[str, ...], object]:
        return tuple(self._answers), tuple(self._others), None


class OpeningProbe(Probe):
    """Asks whoever hears 300 baud who it is. Whoever answers is to be told that this was all."""

    def __init__(self, wait: float) -> None:
        self._opening = Opening()
        super().__init__(self._opening.request, wait)
        self._found: object = None

    @property
    def is_answered(self) -> bool:
        """See `Probe`."""
        return self._found is not None

    def _receive(self, data: bytes) -> None:
        self._opening.receive_data(data)
        try:
            event = self._opening.next_event()
            if event is not iec62056.NEED_DATA:
                self._found = event
        except RemoteProtocolError:
            return

    def _damage(self) -> None:
        self._opening.receive_data(b"\x80")  # no octet of seven bits

    def _result(self) -> tuple[tuple[str, ...], tuple[str, ...], object]:
        return ("?",) * self.is_answered, (), self._found


class ListenProbe(Probe):
    """Asks nothing."""

    lingers = True

    def __init__(self, wait: float) -> None:
        super().__init__(b"", wait)

    @property
    def is_answered(self) -> bool:
        """See `Probe`."""
        return False

    def _receive(self, data: bytes) -> None: ...

    def _damage(self) -> None: ...

    def _result(self) -> tuple[tuple[str, ...], tuple[str, ...], object]:
        return (), (), None


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be settled: does anybody answer at ``target``? ``patience``: how many times as long to wait as usual.

    ``target``: unit, server, or low digits of a DL/T 645 address; empty for whoever is there.
    """

    kind: Kind
    form: Form
    target: str
    patience: int = 1


def probes(question: Question, wait: float | None = None, recent: Sequence[int] = ()) -> tuple[Probe, ...]:
    """Make the questions to ask one after the other, until one is not met by silence. ``wait``: instead of the usual. [s]"""
    usual = WAITS[question.kind]
    if wait is not None and question.kind not in {Kind.LISTEN, Kind.IEC62056}:
        usual = wait
    patience = usual * question.patience
    match question.kind:
        case Kind.LISTEN:
            return (ListenProbe(patience),)
        case Kind.DLT645_2007:
            by_read = Dlt645Probe(services.read(shortened(question.target), ADDRESS, Edition.E2007), patience)
            return (by_read,) if question.target else (Dlt645Probe(services.read_address(ANY), patience), by_read)
        case Kind.DLT645_1997:
            return (confirmation(question, shortened(question.target), patience),)
        case Kind.DLMS:
            return (HdlcProbe(question.target, patience),)
        case Kind.MODBUS:
            return (ModbusProbe(int(question.target), patience, recent=recent),)
        case Kind.IEC62056:
            return (OpeningProbe(patience),)
    raise LocalProtocolError(f"no such question: {question}")


def confirmation(question: Question, address: str, wait: float) -> Dlt645Probe:
    """Ask a DL/T 645 address, wildcards in it or not, for its energy: several who answered alike differ in that."""
    edition = Edition.E2007 if question.kind is Kind.DLT645_2007 else Edition.E1997
    return Dlt645Probe(services.read(address, IDENTIFIERS[edition], edition), wait)
