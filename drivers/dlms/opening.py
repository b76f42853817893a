r"""The opening of an optical probe: IEC 62056-21 at 300 baud 7E1, mode E, up to where HDLC begins at the agreed speed.

::

    ours    /?ADDRESS!CRLF
    meter   /XXXZ\2IDENTIFICATION CRLF      XXX: maker, Z: its speed, \2: it speaks HDLC (mode E)
    ours    ACK 2 Z 2 CRLF                  then both change to 8N1 at the speed Z; some meters repeat this line there

IEC 62056-21, 6.3 and 6.4.5, annexes A (battery meters) and E. Bytes go in and events come out as everywhere here; heads that
repeat to us what we send are heard out. Seven bits and parity are the port's; what arrives with an eighth bit is damage.
"""

import re
from dataclasses import dataclass
from typing import Final

from drivers.dlms.events import NEED_DATA, NeedData
from drivers.errors import LocalProtocolError, RemoteProtocolError

FIRST_SPEED: Final = 300  # [bit/s]
SPEEDS: Final = {
    "0": 300,
    "1": 600,
    "2": 1_200,
    "3": 2_400,
    "4": 4_800,
    "5": 9_600,
    "6": 19_200,
}  # IEC 62056-21, 6.3.14
WAKE_UP: Final = bytes(68)  # 2.1 to 2.3 s of zeros at 300 baud of 10 bits, annex A [octet]
WAKE_UP_PAUSE: Final = 1.6  # 1.5 to 1.7 s between them and the request, annex A [s]
CHANGE_PAUSE: Final = 0.25  # 200 to 300 ms between the acknowledgement and the new speed [s]
REACTION: Final = 1.5  # the meter begins to answer within that, 6.3.8 tr [s]
MAX_ADDRESS: Final = 32  # characters
MAX_IDENTIFICATION: Final = 3 + 1 + 2 + 16 + 8  # with some room for escapes [octet]
MAX_NOISE: Final = 256  # before the identification; a line that is never silent ends in an error [octet]
_ADDRESS: Final = re.compile(r"[0-9A-Za-z ]{0,32}")
_IDENTIFICATION: Final = re.compile(rb"/([A-Za-z]{3})([0-9A-Z])((?:\\[!-.0-~])*)([ -.0-~]{0,16})\r\n")


@dataclass(frozen=True, slots=True)
class Identified:
    """Who the meter is. ``speed``: that it proposes. [bit/s]  ``acknowledgement``: what to answer, before changing to it."""

    maker: str
    identification: str
    speed: int
    acknowledgement: bytes


class Opening:
    """One opening, up to the acknowledgement. ``address``: of the meter, at most 32 letters and digits; empty for any."""

    def __init__(self, address: str = "") -> None:
        if not _ADDRESS.fullmatch(address):
            raise LocalProtocolError(
                f"{address[:40]!r} is no address of IEC 62056-21: at most {MAX_ADDRESS} letters and digits"
            )
        self.request = f"/?{address}!\r\n".encode()
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._buffer += data

    def next_event(self) -> Identified | NeedData:
        """Give who answered or `NEED_DATA`. Raises `RemoteProtocolError` for another answer, or one without end."""
        start = self._start()
        if start is None:
            return NEED_DATA
        end = self._buffer.find(b"\r\n", start)
        if end < 0:
            if len(self._buffer) - start > MAX_IDENTIFICATION:
                raise RemoteProtocolError("an identification of IEC 62056-21 without end")
            return NEED_DATA
        line = bytes(self._buffer[start : end + 2])
        self._buffer.clear()
        return _identified(line)

    def _start(self) -> int | None:
        """Find the identification behind noise and behind our own request, where a head repeats it."""
        at = self._buffer.find(b"/")
        while at >= 0:
            rest = bytes(self._buffer[at : at + len(self.request)])
            if not self.request.startswith(rest):
                return at
            if len(rest) < len(self.request):
                return None  # ours or the meter's, the next octets tell
            at = self._buffer.find(b"/", at + len(self.request))
        if len(self._buffer) > MAX_NOISE:
            raise RemoteProtocolError("noise, and no identification of IEC 62056-21")
        return None


def _identified(line: bytes) -> Identified:
    match = _IDENTIFICATION.fullmatch(line)
    if match is None:
        raise RemoteProtocolError(f"not an identification of IEC 62056-21: {line[:MAX_IDENTIFICATION].hex()}")
    maker, mark, escapes, identification = (part.decode("ascii") for part in match.groups())
    if "\\2" not in escapes:
        raise RemoteProtocolError(f"meter {maker} {identification} does not offer HDLC (mode E)")
    if mark not in SPEEDS:
        raise RemoteProtocolError(
            f"meter {maker} {identification} names the speed {mark}, not one of {', '.join(SPEEDS)}"
        )
    return Identified(maker, identification, SPEEDS[mark], f"\x062{mark}2\r\n".encode())
