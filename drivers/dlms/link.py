"""HDLC data link: opening, segmentation, acknowledgement, closing; window 1. IEC 62056-46, clause 6.4 (NRM).

`HdlcLink` has one shape for both roles: bytes in by `receive_data`, `LinkEvent`s out by `next_event`, commands in by
`send`. Receiving may leave bytes that must go out at once (RR, the next segment, UA): `data_to_send` hands them over.
Segments are joined here; blocks of GET are joined above.
"""

from typing import Literal

from drivers.dlms.events import (
    NEED_DATA,
    Apdu,
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    LinkCommand,
    LinkEvent,
    NeedData,
    Poll,
)
from drivers.dlms.hdlc import (
    DEFAULT_INFO,
    LLC_COMMAND,
    LLC_RESPONSE,
    MAX_INFO,
    Frame,
    FrameReader,
    HdlcAddress,
    Kind,
    decode_parameters,
    encode_parameters,
)
from drivers.errors import LocalProtocolError, RemoteProtocolError

Role = Literal["client", "server"]
State = Literal["closed", "opening", "open", "closing"]
MAX_APDU = 65_536
MAX_REPEATS = 3  # of one frame that the other side says it never got

# State x (role, what) -> state. "send" are our commands, "recv" frames of the other side; whatever is not here is an error.
_TRANSITIONS: dict[tuple[State, str], State] = {
    ("closed", "client send connect"): "opening",
    ("opening", "client send connect"): "opening",  # SNRM again when the first was lost
    ("opening", "client recv UA"): "open",
    ("opening", "client recv DM"): "closed",
    ("open", "client send apdu"): "open",
    ("open", "client send poll"): "open",
    ("open", "client recv I"): "open",
    ("open", "client recv RR"): "open",
    ("open", "client recv UA"): "open",  # the answer to the first of two SNRM, come late
    ("open", "client recv DM"): "closed",
    ("open", "client send disconnect"): "closing",
    ("opening", "client send disconnect"): "closing",
    ("closing", "client send disconnect"): "closing",
    ("closing", "client recv UA"): "closed",
    ("closing", "client recv DM"): "closed",
    ("closing", "client recv I"): "closing",  # a late answer, thrown away
    ("closing", "client recv RR"): "closing",
    ("closed", "server recv SNRM"): "open",
    ("open", "server recv SNRM"): "open",
    ("open", "server recv I"): "open",
    ("open", "server recv RR"): "open",
    ("open", "server send apdu"): "open",
    ("open", "server recv DISC"): "closed",
    ("closed", "server recv DISC"): "closed",
}


class HdlcLink:
    """One side of an HDLC data link. A server passes ``remote=None`` and learns its client from SNRM."""

    def __init__(self, role: Role, local: HdlcAddress, remote: HdlcAddress | None, max_info: int = MAX_INFO) -> None:
        if role == "client" and remote is None:
            raise LocalProtocolError("a client must know which server it calls")
        if not 1 <= max_info <= MAX_INFO:
            raise LocalProtocolError(f"information field of {max_info} octets is not 1 to {MAX_INFO}")
        self.role: Role = role
        self.state: State = "closed"
        self.local = local
        self.remote = remote
        self.max_info_send = DEFAULT_INFO
        self.max_info_receive = DEFAULT_INFO
        self._max_info = max_info
        self._reader = FrameReader()
        self._outgoing = bytearray()
        self._reset()

    def _reset(self) -> None:
        self._send_state = 0
        self._receive_state = 0
        self._received = bytearray()
        self._segments: list[bytes] = []
        self._outstanding: Frame | None = None
        self._repeats = 0

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._reader.receive_data(data)

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
                self._reset()
                self._reader = FrameReader()
                return self._frame(Kind.SNRM, encode_parameters(self._max_info, self._max_info)).encode()
            case Disconnect():
                self._move("send disconnect", LocalProtocolError)
                return self._frame(Kind.DISC).encode()
            case Poll():
                self._move("send poll", LocalProtocolError)
                self._reader = FrameReader()  # the line has been silent: what is half there will never be whole
                return self._receive_ready().encode()
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
                sends, receives = decode_parameters(frame.information)
                self.max_info_send, self.max_info_receive = min(self._max_info, receives), sends
                return Connected(self.max_info_send, self.max_info_receive)
            case Kind.UA if was == "closing":
                return Disconnected()
            case Kind.DM:
                return Disconnected(was_open=was == "closing")
            case Kind.DISC:
                self._outgoing += self._frame(Kind.UA if was == "open" else Kind.DM).encode()
                self._reset()
                return Disconnected(was_open=was == "open")
            case Kind.I if was == "open":
                return self._information(frame)
            case Kind.RR if was == "open":
                self._acknowledged(frame.receive_number, is_poll=True)
        return None

    def _accept(self, frame: Frame) -> Connected:
        sends, receives = decode_parameters(frame.information)
        self._reset()
        self.remote = frame.source
        self.max_info_send, self.max_info_receive = min(self._max_info, receives), min(self._max_info, sends)
        self._outgoing += self._frame(Kind.UA, encode_parameters(self.max_info_send, self.max_info_receive)).encode()
        return Connected(self.max_info_send, self.max_info_receive)

    def _information(self, frame: Frame) -> Apdu | None:
        if frame.send_number == (self._receive_state - 1) % 8:
            # A repetition: our acknowledgement was lost. IEC 62056-46: answer again, deliver once.
            if self.role == "server" and self._outstanding is not None:
                self._outgoing += self._outstanding.encode()
            return None
        if frame.send_number != self._receive_state:
            raise RemoteProtocolError(f"HDLC frame number {frame.send_number}, expected {self._receive_state}")
        self._acknowledged(frame.receive_number, is_poll=False)
        self._receive_state = (self._receive_state + 1) % 8
        self._received += frame.information
        if len(self._received) > MAX_APDU + 3:
            raise RemoteProtocolError(f"HDLC segments add up to more than {MAX_APDU} octets")
        if frame.segmented:
            self._outgoing += self._receive_ready().encode()
            return None
        octets = bytes(self._received)
        self._received.clear()
        header = LLC_COMMAND if self.role == "server" else LLC_RESPONSE
        if octets[:3] != header or len(octets) == 3:
            raise RemoteProtocolError(
                f"HDLC information begins with {octets[:3].hex()}, not the LLC header {header.hex()}"
            )
        return Apdu(octets[3:])

    def _acknowledged(self, receive_number: int, *, is_poll: bool) -> None:
        """Take N(R): the outstanding frame arrived, so send the next segment; or it did not, so send it again."""
        if self._segments and not is_poll:
            raise RemoteProtocolError("HDLC answer before all segments of the question were sent")
        if receive_number == self._send_state:
            self._outstanding = None
            if self._segments:
                self._outgoing += self._next_segment()
            elif is_poll and self.role == "server":
                self._outgoing += self._receive_ready().encode()
        elif self._outstanding is not None and receive_number == self._outstanding.send_number and is_poll:
            self._repeats += 1
            if self._repeats > MAX_REPEATS:
                raise RemoteProtocolError(f"HDLC frame {receive_number} was sent {self._repeats} times and never taken")
            self._outgoing += self._again(self._outstanding)
        else:
            raise RemoteProtocolError(f"HDLC acknowledges {receive_number}, we sent up to {self._send_state}")

    def _again(self, frame: Frame) -> bytes:
        return Frame(
            frame.destination, frame.source, Kind.I, frame.send_number, self._receive_state,
            segmented=frame.segmented, information=frame.information,
        ).encode()  # fmt: skip

    def _send_apdu(self, octets: bytes) -> bytes:
        if not 0 < len(octets) <= MAX_APDU:
            raise LocalProtocolError(f"an APDU has 1 to {MAX_APDU} octets, not {len(octets)}")
        if self._segments or (self._outstanding is not None and self.role == "client"):
            raise LocalProtocolError("the APDU before has not been acknowledged")
        whole = (LLC_COMMAND if self.role == "client" else LLC_RESPONSE) + octets
        size = self.max_info_send
        self._segments = [whole[at : at + size] for at in range(0, len(whole), size)]
        return self._next_segment()

    def _next_segment(self) -> bytes:
        information = self._segments.pop(0)
        frame = Frame(
            self._other(), self.local, Kind.I, self._send_state, self._receive_state,
            segmented=bool(self._segments), information=information,
        )  # fmt: skip
        self._outstanding = frame
        self._repeats = 0
        self._send_state = (self._send_state + 1) % 8
        return frame.encode()

    def _receive_ready(self) -> Frame:
        return Frame(self._other(), self.local, Kind.RR, receive_number=self._receive_state)

    def _frame(self, kind: Kind, information: bytes = b"") -> Frame:
        return Frame(self._other(), self.local, kind, information=information)

    def _other(self) -> HdlcAddress:
        if self.remote is None:
            raise LocalProtocolError("nobody has spoken yet, so there is nobody to answer")
        return self.remote
