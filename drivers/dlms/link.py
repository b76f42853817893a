"""HDLC data link: opening, segments, windows, acknowledgement, recovery, closing. IEC 62056-46, clause 6.4 (NRM).

`HdlcLink` has one shape for both roles: bytes in by `receive_data`, `LinkEvent`s out by `next_event`, commands in by
`send`. Receiving may leave bytes that must go out at once (RR, the next segments, UA): `data_to_send` hands them over.
Segments are joined here; blocks of GET are joined above.

One side speaks at a time and says by the poll/final bit of its last frame that it is the other's turn. Who misses a frame
says with RR from which number on it wants them again; a question is never asked anew, so what changes a meter runs once.
"""

from typing import Final, Literal

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
    NeedData,
    Poll,
    Ready,
    Unasked,
)
from drivers.dlms.hdlc import (
    DEFAULT_WINDOW,
    LLC_COMMAND,
    LLC_RESPONSE,
    MAX_INFO,
    MAX_WINDOW,
    Frame,
    FrameReader,
    HdlcAddress,
    Kind,
    LinkParameters,
    decode_parameters,
    encode_parameters,
)
from drivers.dlms.window import Inbox, Outbox, Piece
from drivers.errors import LocalProtocolError, RemoteProtocolError

Role = Literal["client", "server"]
State = Literal["closed", "opening", "open", "rejected", "closing"]
MAX_APDU: Final = 65_536

# State x (role, what) -> state. "send" are our commands, "recv" frames of the other side; whatever is not here is an error.
_TRANSITIONS: Final[dict[tuple[State, str], State]] = {
    ("closed", "client send connect"): "opening",
    ("opening", "client send connect"): "opening",  # SNRM again when the first was lost
    ("opening", "client recv UA"): "open",
    ("opening", "client recv DM"): "closed",
    ("opening", "client recv UI"): "opening",
    ("opening", "client recv I"): "opening",  # what is left of the session before, thrown away
    ("opening", "client recv RR"): "opening",
    ("opening", "client recv RNR"): "opening",
    ("open", "client send apdu"): "open",
    ("open", "client send poll"): "open",
    ("open", "client recv I"): "open",
    ("open", "client recv RR"): "open",
    ("open", "client recv RNR"): "open",
    ("open", "client recv UA"): "open",  # the answer to the first of two SNRM, come late
    ("open", "client recv UI"): "open",
    ("open", "client recv DM"): "closed",
    ("open", "client recv FRMR"): "rejected",  # beyond recovery: only closing and opening anew help
    ("open", "client send disconnect"): "closing",
    ("opening", "client send disconnect"): "closing",
    ("rejected", "client send disconnect"): "closing",
    ("closing", "client send disconnect"): "closing",
    ("closing", "client recv UA"): "closed",
    ("closing", "client recv DM"): "closed",
    ("closing", "client recv I"): "closing",  # a late answer, thrown away
    ("closing", "client recv RR"): "closing",
    ("closing", "client recv RNR"): "closing",
    ("closing", "client recv FRMR"): "closing",
    ("closing", "client recv UI"): "closing",
    ("closed", "server recv SNRM"): "open",
    ("open", "server recv SNRM"): "open",
    ("open", "server recv I"): "open",
    ("open", "server recv RR"): "open",
    ("open", "server send apdu"): "open",
    ("open", "server recv DISC"): "closed",
    ("closed", "server recv DISC"): "closed",
}


class HdlcLink:
    """One side of an HDLC data link. A server passes ``remote=None`` and learns its client from SNRM.

    ``max_info``, ``window``: what this side offers, each way. [octet, frame]
    """

    def __init__(
        self,
        role: Role,
        local: HdlcAddress,
        remote: HdlcAddress | None,
        max_info: int = MAX_INFO,
        window: int = DEFAULT_WINDOW,
    ) -> None:
        if role == "client" and remote is None:
            raise LocalProtocolError("a client must know which server it calls")
        if not 1 <= max_info <= MAX_INFO:
            raise LocalProtocolError(f"information field of {max_info} octets is not 1 to {MAX_INFO}")
        if not 1 <= window <= MAX_WINDOW:
            raise LocalProtocolError(f"window of {window} frames is not 1 to {MAX_WINDOW}")
        self.role: Role = role
        self.state: State = "closed"
        self.local = local
        self.remote = remote
        self._offer = LinkParameters(max_info, max_info, window, window)
        self._reader = FrameReader()
        self._outgoing = bytearray()
        self._reset(LinkParameters())

    def _reset(self, agreed: LinkParameters) -> None:
        self.max_info_send = agreed.info_send
        self.max_info_receive = agreed.info_receive
        self._outbox = Outbox(agreed.window_send)
        self._inbox = Inbox(agreed.window_receive)
        self._received = bytearray()

    @property
    def window_receive(self) -> int:
        """How many frames the other side may send without waiting for us."""
        return self._inbox.window

    @property
    def progress(self) -> int:
        """How many frames of the other side were taken since the link was opened: whether repeating gets anywhere."""
        return self._inbox.accepted

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._reader.receive_data(data)

    def damage(self) -> bool:
        """Take note that the line delivered damaged octets here; say whether they belong to a frame that has begun."""
        return bool(self._reader.unread().strip(b"\x7e"))

    def data_to_send(self) -> bytes:
        """Hand over bytes that reception made necessary; to be written before anything else."""
        octets = bytes(self._outgoing)
        self._outgoing.clear()
        return octets

    def next_event(self) -> LinkEvent | NeedData:
        """Give the next event or `NEED_DATA`. Raises `RemoteProtocolError` for damage, a wrong address or wrong order."""
        while True:
            frame = self._reader.next_event()
            if frame is NEED_DATA:
                return NEED_DATA
            if not self._is_ours(frame):
                continue
            event = self._received_frame(frame)
            if event is not None:
                return event

    def send(self, event: LinkCommand) -> bytes:
        """Give the bytes of a command. Raises `LocalProtocolError` for one that does not fit the state."""
        match event:
            case Connect():
                self._move("send connect", LocalProtocolError)
                self._reset(LinkParameters())
                self._reader = FrameReader()
                return self._frame(Kind.SNRM, encode_parameters(self._offer)).encode()
            case Disconnect():
                self._move("send disconnect", LocalProtocolError)
                self._outgoing.clear()
                return self._frame(Kind.DISC).encode()
            case Poll():
                self._move("send poll", LocalProtocolError)
                self._reader = FrameReader()  # the line has been silent: what is half there will never be whole
                self._outgoing.clear()  # nothing was lost by it: what is missing will be asked for
                return self._receive_ready()
            case Apdu():
                self._move("send apdu", LocalProtocolError)
                return self._send_apdu(event.octets)

    def _move(self, what: str, error: type[LocalProtocolError | RemoteProtocolError]) -> None:
        try:
            self.state = _TRANSITIONS[self.state, f"{self.role} {what}"]
        except KeyError:
            raise error(f"HDLC {self.role} cannot {what} while {self.state}") from None

    def _is_ours(self, frame: Frame) -> bool:
        """Check both addresses. On a shared line a server overhears others; a client must never take another's answer."""
        if self.role == "server":
            return frame.destination == self.local and (frame.kind is Kind.SNRM or frame.source == self.remote)
        if frame.source != self.remote or frame.destination != self.local:
            if frame.kind is Kind.UI:
                return False  # answers nobody, whoever it is for
            raise RemoteProtocolError(
                f"HDLC frame from {frame.source} to {frame.destination}, expected from {self.remote} to {self.local}"
            )
        return True

    def _received_frame(self, frame: Frame) -> LinkEvent | None:
        was = self.state
        if self.role == "server" and was == "closed" and frame.kind in {Kind.I, Kind.RR}:
            self._outgoing += self._frame(Kind.DM).encode()
            return None
        self._move(f"recv {frame.kind.name}", RemoteProtocolError)
        match frame.kind:
            case Kind.SNRM:
                return self._accept(frame)
            case Kind.UA if was == "opening":
                said = decode_parameters(frame.information)
                return self._agree(
                    LinkParameters(
                        min(self._offer.info_send, said.info_receive), said.info_send,
                        min(self._offer.window_send, said.window_receive), said.window_send,
                    )
                )  # fmt: skip
            case Kind.UA if was == "closing":
                return Disconnected()
            case Kind.DM:
                return Disconnected(was_open=was == "closing")
            case Kind.DISC:
                self._outgoing += self._frame(Kind.UA if was == "open" else Kind.DM).encode()
                self._reset(LinkParameters())
                return Disconnected(was_open=was == "open")
            case Kind.FRMR if was == "open":
                raise RemoteProtocolError(
                    f"the meter rejects a frame of ours (FRMR {frame.information[:8].hex()}); connect again"
                )
            case Kind.UI if was == "open":
                return _unasked(frame)
            case Kind.I if was == "open":
                return self._information(frame)
            case Kind.RR | Kind.RNR if was == "open":
                return self._acknowledged(frame)
        return None

    def _accept(self, frame: Frame) -> Connected:
        said = decode_parameters(frame.information)
        self.remote = frame.source
        receives = (said.info_receive, said.info_send, said.window_receive, said.window_send)
        agreed = LinkParameters(*map(min, self._offer, receives))
        self._outgoing += self._frame(Kind.UA, encode_parameters(agreed)).encode()
        return self._agree(agreed)

    def _agree(self, agreed: LinkParameters) -> Connected:
        self._reset(agreed)
        return Connected(*agreed)

    def _information(self, frame: Frame) -> Apdu | None:
        arrival = self._inbox.take(frame.send_number)
        is_our_turn = frame.poll_final or self._inbox.is_full
        if self.role == "client" and arrival == "repeated":
            return None  # an answer to two polls: to speak again would double all that follows
        self._outbox.acknowledge(frame.receive_number)
        if arrival != "expected":
            if is_our_turn:
                self._outgoing += self._burst(self._outbox.again()) or self._receive_ready()
            return None
        if not self._outbox.is_empty:
            raise RemoteProtocolError("HDLC answer before all of the question was taken")
        self._received += frame.information
        if len(self._received) > MAX_APDU + 3:
            raise RemoteProtocolError(f"HDLC segments add up to more than {MAX_APDU} octets")
        if frame.segmented:
            if is_our_turn:
                self._outgoing += self._receive_ready()
            return None
        octets = bytes(self._received)
        self._received.clear()
        header = LLC_COMMAND if self.role == "server" else LLC_RESPONSE
        if octets[:3] != header or len(octets) == 3:
            raise RemoteProtocolError(
                f"HDLC information begins with {octets[:3].hex()}, not the LLC header {header.hex()}"
            )
        return Apdu(octets[3:])

    def _acknowledged(self, frame: Frame) -> LinkEvent | None:
        """Take RR or RNR: send what is missing or comes next, else say that the other side has it all, or has no room."""
        if self.role == "client" and self._outbox.is_past(frame.receive_number):
            return None  # the answer to a poll that was not needed after all
        self._outbox.acknowledge(frame.receive_number)
        if frame.kind is Kind.RNR:
            return Busy()
        if pieces := [*self._outbox.again(), *self._outbox.burst()]:
            self._outgoing += self._burst(pieces)
        elif self.role == "server":
            self._outgoing += self._receive_ready()
        else:
            return Ready()
        return None

    def _send_apdu(self, octets: bytes) -> bytes:
        if not 0 < len(octets) <= MAX_APDU:
            raise LocalProtocolError(f"an APDU has 1 to {MAX_APDU} octets, not {len(octets)}")
        if not self._outbox.is_empty:
            raise LocalProtocolError("the APDU before has not been acknowledged")
        self._outbox.put((LLC_COMMAND if self.role == "client" else LLC_RESPONSE) + octets, self.max_info_send)
        return self._burst(self._outbox.burst())

    def _burst(self, pieces: list[Piece]) -> bytes:
        """Frame pieces; the last frame gives the turn to the other side."""
        self._inbox.spoke()
        return b"".join(
            Frame(
                self._other(), self.local, Kind.I, piece.number, self._inbox.expected, piece is pieces[-1],
                segmented=not piece.is_last, information=piece.information,
            ).encode()
            for piece in pieces
        )  # fmt: skip

    def _receive_ready(self) -> bytes:
        self._inbox.spoke()
        return Frame(self._other(), self.local, Kind.RR, receive_number=self._inbox.expected).encode()

    def _frame(self, kind: Kind, information: bytes = b"") -> Frame:
        return Frame(self._other(), self.local, kind, information=information)

    def _other(self) -> HdlcAddress:
        if self.remote is None:
            raise LocalProtocolError("nobody has spoken yet, so there is nobody to answer")
        return self.remote


def _unasked(frame: Frame) -> Unasked | None:
    """Take UI; one in segments, which nothing numbers, is left out."""
    head, octets = frame.information[:3], frame.information[3:]
    return Unasked(octets) if head == LLC_RESPONSE and octets and not frame.segmented else None
