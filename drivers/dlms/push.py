"""What a meter pushes, found in a stream of bytes: framing detected, segments and blocks joined. Sans-IO.

A stream is of one framing. `PushReader` looks for the first octets that begin an HDLC frame (``7E Ax``), a wired M-Bus
frame (``68 L L 68``), a WRAPPER frame (``0001``, wPorts, length, a pushed APDU) or a telegram (``/`` and the maker). A bare
APDU, with or without LLC header, is taken only where the stream begins with it, or behind another one, for nothing would
tell it from noise elsewhere. Once a frame was good its framing is kept, but telegrams and bare APDUs are looked for anew.
What comes before and between frames is noise and skipped; what begins like a frame and fails its checks raises, and the
stream goes on behind it. A room for each framing would tear their common protocol apart, so the module is a long one.

What they hold is for `drivers.dlms.unprotect`, `drivers.dlms.notification` and `drivers.dlms.telegram`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from drivers.dlms import telegram
from drivers.dlms.blocks import BlockAssembler
from drivers.dlms.events import NEED_DATA, Apdu, NeedData
from drivers.dlms.extent import GENERAL_BLOCK_TRANSFER, MAX_APDU, TAGS, ApduExtent
from drivers.dlms.hdlc import FLAG, FORMAT_TYPE_3, LLC_RESPONSE, Frame, FrameReader, Kind
from drivers.dlms.mbus import START, MbusReader, is_mbus
from drivers.dlms.wrapper import WrapperLink
from drivers.errors import RemoteProtocolError

Framing = Literal["hdlc", "mbus", "wrapper", "bare", "telegram"]
MAX_SHOWN = 16
Frames = TypeVar("Frames", FrameReader, MbusReader)


@dataclass(frozen=True, slots=True)
class PushedApdu:
    """One whole APDU, or telegram, free of framing, segments and blocks. ``source``: what the frame calls its sender."""

    octets: bytes
    framing: Framing
    source: str = ""


class _Source(Protocol):
    """One framing: bytes in, APDUs and blocks out."""

    framing: Framing
    source: str

    @property
    def skipped(self) -> int: ...

    def receive_data(self, data: bytes) -> None: ...

    def next_event(self) -> bytes | NeedData: ...

    def reset(self) -> bool: ...

    def unread(self) -> bytes: ...


class PushReader:
    """Bytes in, `PushedApdu` out. After an error it goes on with what follows, so it may be asked again."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._source: _Source | None = None
        self._is_proven = False
        self._may_be_bare = True
        self._skipped = 0
        self._reported = 0
        self._blocks = BlockAssembler()
        self._block_at = 0

    @property
    def skipped(self) -> int:
        """Octets outside any frame that were thrown away so far."""
        return self._skipped + (self._source.skipped if self._source else 0)

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        if self._source is None:
            self._buffer += data
        else:
            self._source.receive_data(data)

    def next_event(self) -> PushedApdu | NeedData:
        """Give the next APDU or `NEED_DATA`. Raises `RemoteProtocolError` for damage, once each."""
        while True:
            source = self._source or self._detect()
            if source is None:
                return NEED_DATA
            try:
                octets = source.next_event()
                if octets is NEED_DATA:
                    return NEED_DATA
                self._is_proven = True
                whole = self._join(octets)
            except RemoteProtocolError:
                self._blocks.reset()
                self._begin_again(source)
                raise
            if whole is not None:
                if source.framing in {"bare", "telegram"}:
                    self._begin_again(source, is_whole=source.framing == "bare")
                return PushedApdu(whole, source.framing, source.source)

    def _join(self, octets: bytes) -> bytes | None:
        """Give an APDU, or the one that a block completes."""
        before, self._block_at = self._block_at, self.skipped
        is_block = octets[0] == GENERAL_BLOCK_TRANSFER
        if not self._blocks.is_idle and (before != self.skipped or not is_block):
            raise RemoteProtocolError("something else came between two blocks of an APDU")
        return self._blocks.add(octets) if is_block else octets

    def reply(self, apdu: bytes) -> bytes:
        """Frame an APDU for the sender of the last one; empty where what it came in goes one way alone, as all but WRAPPER does."""
        return self._source.reply(apdu) if isinstance(self._source, _Wrapper) else b""

    def receive_end(self) -> None:
        """Note that nothing more comes. Raises `RemoteProtocolError` where something was left unfinished, or skipped."""
        unfinished = not self._blocks.is_idle
        self._blocks.reset()
        source, self._source = self._source, None
        left = bytes(self._buffer)
        self._buffer.clear()
        if source is not None:
            unfinished |= source.reset()
            left += source.unread()
            self._skipped += source.skipped
        lost, self._reported = self._skipped - self._reported, self._skipped
        if unfinished or left.strip(bytes([FLAG])):
            raise RemoteProtocolError(
                f"the stream ended inside a frame: {left[:MAX_SHOWN].hex() or 'segments missing'}"
            )
        if lost:
            raise RemoteProtocolError(f"{lost} octets belong to no frame")

    def _begin_again(self, source: _Source, *, is_whole: bool = False) -> None:
        """Forget a framing that has not proved right, or that ends with each APDU."""
        source.reset()
        if self._is_proven and source.framing in {"hdlc", "mbus"}:
            return
        self._skipped += source.skipped
        self._source = None
        self._is_proven = False
        self._may_be_bare = is_whole
        self._buffer[:0] = source.unread()

    def _detect(self) -> _Source | None:
        buffer = self._buffer
        while buffer:
            found = self._candidate()
            if found is None:
                return None
            if found:
                source: _Source = _SOURCES[found](bytes(buffer))
                buffer.clear()
                self._source = source
                return source
            del buffer[0]
            self._skipped += 1
            self._may_be_bare = False
        return None

    def _candidate(self) -> Framing | Literal[""] | None:
        """Say which framing the buffer begins with: "" for none, None where too few octets are there to tell."""
        buffer = self._buffer
        first = buffer[0]
        if self._may_be_bare and (first in TAGS or first == LLC_RESPONSE[0]):
            if first in TAGS or buffer[: len(LLC_RESPONSE)] == LLC_RESPONSE:
                return "bare"
            return None if LLC_RESPONSE.startswith(buffer) else ""
        if first == FLAG:
            return None if len(buffer) < 2 else "hdlc" if buffer[1] & 0xF0 == FORMAT_TYPE_3 else ""
        if first == START:
            is_start = is_mbus(buffer)
            return None if is_start is None else "mbus" if is_start else ""
        if first == 0:
            return self._wrapper()
        if first == telegram.START:
            is_start = telegram.begins(buffer)
            return None if is_start is None else "telegram" if is_start else ""
        return ""

    def _wrapper(self) -> Literal["wrapper", ""] | None:
        buffer = self._buffer
        fields = [buffer[at : at + 2] for at in range(0, min(len(buffer), 8), 2)]
        if fields[0] != b"\x00\x01"[: len(fields[0])] or any(field == b"\x00\x00" for field in fields):
            return ""
        if len(buffer) < 9:
            return None
        return "wrapper" if buffer[8] in TAGS else ""


class _Segments:
    """Joins the segments of a frame sequence, within `MAX_APDU`."""

    def __init__(self) -> None:
        self.octets = bytearray()
        self.is_open = False

    def add(self, octets: bytes, *, is_last: bool) -> bytes | None:
        self.octets += octets
        self.is_open = not is_last
        if len(self.octets) > MAX_APDU + len(LLC_RESPONSE):
            raise RemoteProtocolError(f"segments add up to more than {MAX_APDU} octets")
        if not is_last:
            return None
        whole = bytes(self.octets)
        self.octets.clear()
        return whole

    def reset(self) -> bool:
        was_open, self.is_open = self.is_open, False
        self.octets.clear()
        return was_open


class _Framed(Generic[Frames]):
    """What framings with frames and segments share."""

    def __init__(self, frames: Frames, data: bytes) -> None:
        self._frames: Frames = frames
        self._frames.receive_data(data)
        self._segments = _Segments()
        self._skipped_before = 0
        self.source = ""

    @property
    def skipped(self) -> int:
        return self._frames.skipped

    def receive_data(self, data: bytes) -> None:
        self._frames.receive_data(data)

    def unread(self) -> bytes:
        return self._frames.unread()


class _Hdlc(_Framed[FrameReader]):
    """Frames of the unconfirmed kind (UI), and I frames of meters that push without a data link."""

    framing: Framing = "hdlc"

    def __init__(self, data: bytes) -> None:
        super().__init__(FrameReader(), data)
        self._previous: Frame | None = None

    def reset(self) -> bool:
        self._previous = None
        return self._segments.reset()

    def next_event(self) -> bytes | NeedData:
        while True:
            frame = self._frames.next_event()
            if frame is NEED_DATA:
                return NEED_DATA
            before, self._skipped_before = self._skipped_before, self._frames.skipped
            self._check(frame, is_clean=before == self._skipped_before)
            self._previous = frame if frame.segmented else None
            whole = self._segments.add(frame.information, is_last=not frame.segmented)
            if whole is not None:
                self.source = str(frame.source)
                return _without_llc(whole)

    def _check(self, frame: Frame, *, is_clean: bool) -> None:
        """Refuse a frame that does not follow the segment before it."""
        if frame.kind not in {Kind.UI, Kind.I} or not frame.information:
            raise RemoteProtocolError(f"HDLC {frame.kind.name} frame where a meter only pushes")
        previous = self._previous
        if previous is None:
            return
        if not is_clean or (frame.source, frame.destination, frame.kind) != (
            previous.source,
            previous.destination,
            previous.kind,
        ):
            raise RemoteProtocolError("something else came between two HDLC segments of an APDU")
        if frame.kind is Kind.I and frame.send_number != (previous.send_number + 1) % 8:
            raise RemoteProtocolError(f"HDLC segment {frame.send_number} follows {previous.send_number}")


def _without_llc(whole: bytes) -> bytes:
    """Take the LLC header away. Only blocks behind the first come without one, as meters send them."""
    if whole.startswith(LLC_RESPONSE):
        octets = whole[len(LLC_RESPONSE) :]
    else:
        octets = whole if whole[0] == GENERAL_BLOCK_TRANSFER else b""
    if not octets or octets[0] not in TAGS:
        raise RemoteProtocolError(f"HDLC information begins with {whole[:4].hex()}, which no pushed APDU does")
    return octets


class _Mbus(_Framed[MbusReader]):
    framing: Framing = "mbus"

    def __init__(self, data: bytes) -> None:
        super().__init__(MbusReader(), data)
        self._expected = 0

    def reset(self) -> bool:
        self._expected = 0
        return self._segments.reset()

    def next_event(self) -> bytes | NeedData:
        while True:
            segment = self._frames.next_event()
            if segment is NEED_DATA:
                return NEED_DATA
            source = f"{segment.source >> 8}/{segment.source & 0xFF}"
            noise = self._frames.skipped - self._skipped_before
            self._skipped_before = self._frames.skipped
            if segment.number != self._expected or (self._expected and (noise or source != self.source)):
                raise RemoteProtocolError(f"M-Bus segment {segment.number} of {source}, expected {self._expected}")
            self.source = source
            self._expected = 0 if segment.is_last else (self._expected + 1) % 16
            whole = self._segments.add(segment.octets, is_last=segment.is_last)
            if whole is not None:
                if not whole or whole[0] not in TAGS:
                    raise RemoteProtocolError(f"M-Bus frame holds {whole[:4].hex()}, which no pushed APDU begins with")
                return whole


class _Wrapper:
    framing: Framing = "wrapper"

    def __init__(self, data: bytes) -> None:
        self.skipped = 0
        port, destination = int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:6], "big")
        self._link = WrapperLink(destination, port)
        self._link.receive_data(data)
        self.source = str(port)

    def receive_data(self, data: bytes) -> None:
        self._link.receive_data(data)

    def unread(self) -> bytes:
        return self._link.unread()

    def reset(self) -> bool:
        return False

    def reply(self, apdu: bytes) -> bytes:
        return self._link.send(Apdu(apdu))

    def next_event(self) -> bytes | NeedData:
        try:
            event = self._link.next_event()
        except RemoteProtocolError:
            self.skipped += len(self._link.unread())  # without a header nothing says where the next frame begins
            raise
        if not isinstance(event, Apdu):
            return NEED_DATA
        if event.octets[0] not in TAGS:
            raise RemoteProtocolError(f"APDU 0x{event.octets[0]:02x} in a wrapper frame is none that a meter pushes")
        return event.octets


class _Unframed:
    """Octets without a frame around them: where a message ends stands in itself."""

    source = ""

    def __init__(self, data: bytes) -> None:
        self._buffer = bytearray(data)
        self.skipped = 0

    def receive_data(self, data: bytes) -> None:
        self._buffer += data

    def unread(self) -> bytes:
        octets = bytes(self._buffer)
        self._buffer.clear()
        return octets


class _Bare(_Unframed):
    framing: Framing = "bare"

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._extent = ApduExtent()
        self._has_header = False

    def reset(self) -> bool:
        had_header, self._has_header = self._has_header, False
        return had_header

    def next_event(self) -> bytes | NeedData:
        buffer = self._buffer
        if LLC_RESPONSE.startswith(buffer[: len(LLC_RESPONSE)]):
            if len(buffer) < len(LLC_RESPONSE):
                return NEED_DATA
            del buffer[: len(LLC_RESPONSE)]
            self._has_header = True
        try:
            end = self._extent.find(buffer)
        except RemoteProtocolError:
            del buffer[0]  # so that what follows is looked at for a frame
            self.skipped += 1
            raise
        if end is None:
            return NEED_DATA
        octets = bytes(buffer[:end])
        del buffer[:end]
        self._extent = ApduExtent()
        self._has_header = False
        return octets


class _Telegram(_Unframed):
    framing: Framing = "telegram"

    def reset(self) -> bool:
        return False

    def next_event(self) -> bytes | NeedData:
        try:
            end = telegram.find_end(self._buffer)
        except RemoteProtocolError:
            del self._buffer[0]  # so that what follows is looked at for a frame
            self.skipped += 1
            raise
        if end is None:
            return NEED_DATA
        octets = bytes(self._buffer[:end])
        del self._buffer[:end]
        return octets


_SOURCES: Mapping[Framing, Callable[[bytes], _Source]] = {
    "hdlc": _Hdlc, "mbus": _Mbus, "wrapper": _Wrapper, "bare": _Bare, "telegram": _Telegram,
}  # fmt: skip
