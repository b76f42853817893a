"""DL/T 645 in a trace: frames, what they ask and answer."""

from collections.abc import Iterator

from drivers.dlt645.control import Control, Control1997, ControlCode, decode_control
from drivers.dlt645.frame import NEED_DATA, Frame, FrameReader
from drivers.errors import RemoteProtocolError
from drivers.trace.apdu import MAX_SHOWN, Part

_READING: dict[int, int] = {
    Control.READ: 4,
    Control.FOLLOW_UP: 4,
    Control1997.READ: 2,
    Control1997.FOLLOW_UP: 2,
}  # octets of the DI
_WORDS = {int(code): code.name.lower().replace("_", " ") for code in (*Control1997, *Control)}


class Dlt645Frames:
    """Finds the frames of either direction."""

    def __init__(self) -> None:
        self._frames = {True: FrameReader(), False: FrameReader()}
        self._left = {True: 0, False: 0}

    def take(self, octets: bytes, *, is_sent: bool) -> Iterator[Part | str]:
        """Give what is whole, and faults as text."""
        reader = self._frames[is_sent]
        reader.receive_data(octets)
        self._left[is_sent] += len(octets)
        while True:
            try:
                frame = reader.next_event()
            except RemoteProtocolError as error:
                yield str(error)
                continue
            if frame is NEED_DATA:
                return
            self._left[is_sent] = 0
            yield Part("DL/T 645", f"{'to' if is_sent else 'from'} {frame.address}", (_service(frame),))

    def left(self, *, is_sent: bool) -> int:
        """Count octets since the last frame where another seems to have begun."""
        return self._left[is_sent] if self._frames[is_sent].is_waiting else 0


def _service(frame: Frame) -> Part:
    code: ControlCode = decode_control(frame.control)
    words = _WORDS.get(code.function, f"function 0x{code.function:02x}")
    what = f"{words}{', refused' if code.is_refusal else ''}{', more follows' if code.has_more else ''}"
    width = 0 if code.is_refusal else _READING.get(code.function, 0)
    parts = []
    if width and len(frame.data) >= width:
        parts.append(Part("data identifier", frame.data[:width][::-1].hex(" ").upper()))
    rest = frame.data[len(parts) and width :]
    if rest:
        parts.append(Part("data", f"{len(rest)} octets: {rest[:MAX_SHOWN].hex(' ')}"))
    return Part("answer" if code.from_meter else "request", what, tuple(parts))
