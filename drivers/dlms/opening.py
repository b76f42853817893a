r"""The opening of an optical probe: IEC 62056-21 at 300 baud 7E1, mode E, up to where HDLC begins at the agreed speed.

::

    ours    /?ADDRESS!CRLF
    meter   /XXXZ\2IDENTIFICATION CRLF      XXX: maker, Z: its speed, \2: it speaks HDLC (mode E)
    ours    ACK 2 Z 2 CRLF                  then both change to 8N1 at the speed Z; some meters repeat this line there

IEC 62056-21, 6.3 and 6.4.5, annexes A (battery meters) and E. What all modes share is in `drivers.iec62056.opening`.
"""

from dataclasses import dataclass

from drivers.dlms.events import NEED_DATA, NeedData
from drivers.errors import RemoteProtocolError
from drivers.iec62056 import events, opening
from drivers.iec62056.opening import Mode, Purpose


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
        self._opening = opening.Opening(address)
        self.request = self._opening.request

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._opening.receive_data(data)

    def next_event(self) -> Identified | NeedData:
        """Give who answered or `NEED_DATA`. Raises `RemoteProtocolError` for another answer, or one without end."""
        found = self._opening.next_event()
        if found is events.NEED_DATA:
            return NEED_DATA
        if "\\2" not in found.escapes:
            raise RemoteProtocolError(f"meter {found.maker} {found.identification} does not offer HDLC (mode E)")
        if found.mode is not Mode.E:
            raise RemoteProtocolError(
                f"meter {found.maker} {found.identification} names the speed {found.mark}, which mode E does not know"
            )
        return Identified(found.maker, found.identification, found.speed, found.acknowledge(Purpose.HDLC))
