"""IEC 62056-21 in a trace: openings, identifications, messages and the data lines in them."""

import re
from collections.abc import Iterator
from typing import Final

from drivers.errors import RemoteProtocolError
from drivers.iec62056.datasets import decode_block
from drivers.iec62056.events import NEED_DATA
from drivers.iec62056.message import Handshake, Message, MessageReader
from drivers.iec62056.opening import decode_acknowledgement, decode_identification
from drivers.trace.apdu import MAX_SHOWN, Part

MAX_LINE: Final = 64
MAX_VALUES: Final = 200  # shown of one message
_LINE: Final = re.compile(rb"[/\x06][ -~]{1,63}\r\n")
_WORDS: Final = {"P": "password", "R": "read", "W": "write", "B": "end", "E": "execute"}


class Iec62056Frames:
    """Finds lines of the opening, and messages, of either direction."""

    def __init__(self) -> None:
        self._messages = {True: MessageReader(), False: MessageReader()}
        self._lines = {True: b"", False: b""}
        self._left = {True: 0, False: 0}

    def take(self, octets: bytes, *, is_sent: bool) -> Iterator[Part | str]:
        """Give what is whole, and faults as text."""
        octets = (self._lines[is_sent] + octets).lstrip(b"\x00")  # of a wake-up
        self._lines[is_sent] = b""
        reader = self._messages[is_sent]
        if not reader.is_waiting:
            while (found := _LINE.match(octets)) is not None:
                octets = octets[found.end() :]
                yield _opening(found[0])
            if octets[:1] in {b"/", b"\x06"} and 1 < len(octets) < MAX_LINE and octets[1:].isascii():
                self._lines[is_sent] = octets  # a line that is not all there
                return
        reader.receive_data(octets)
        self._left[is_sent] += len(octets)
        while True:
            try:
                event = reader.next_event()
            except RemoteProtocolError as error:
                yield str(error)
                continue
            if event is NEED_DATA:
                return
            self._left[is_sent] = 0
            yield _shown(event)

    def left(self, *, is_sent: bool) -> int:
        """Count octets of a line or message that has begun."""
        return len(self._lines[is_sent]) + (self._left[is_sent] if self._messages[is_sent].is_waiting else 0)


def _opening(line: bytes) -> Part:
    text = line.strip().decode("ascii", "replace").lstrip("\x06")
    if line.startswith(b"/?"):
        return Part("IEC 62056-21", f"call {text}")
    try:
        if line.startswith(b"\x06"):
            told = decode_acknowledgement(line)
            return Part("IEC 62056-21", f"acknowledge, {told.purpose.name.lower()} at speed {told.mark}")
        found = decode_identification(line)
        speed = f"{found.speed} bit/s"
    except RemoteProtocolError as error:
        return Part("IEC 62056-21", text, (Part("fault", str(error)),))
    return Part("IEC 62056-21", f"{found.maker} {found.identification}, mode {found.mode}, {speed}")


def _shown(event: Message | Handshake) -> Part:
    if isinstance(event, Handshake):
        return Part("IEC 62056-21", "taken (ACK)" if event is Handshake.TAKEN else "repeat (NAK)")
    words = f"{event.command} {_WORDS[event.command[0]]}" if event.command else "data"
    more = "" if event.is_last else ", more follows"
    if event.command:
        return Part(
            "IEC 62056-21", f"{words}{more}", (Part("data", event.data[:MAX_SHOWN].decode("ascii", "replace")),)
        )
    try:
        block = decode_block(event.data)
    except RemoteProtocolError as error:
        return Part("IEC 62056-21", f"{words}{more}", (Part("fault", str(error)),))
    sets = [
        Part(
            one.address or "-",
            " ".join(f"{value.text}*{value.unit}" if value.unit else value.text for value in one.values)[:MAX_LINE],
        )
        for one in block.sets[:MAX_VALUES]
    ]
    return Part("IEC 62056-21", f"{words}{more}", tuple(sets))
