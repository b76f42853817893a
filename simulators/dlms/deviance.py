"""What a DLMS meter's declared misdeeds make of its answers. Which there are: `simulators.faults.Deed`.

A chance is counted each time that a misdeed could happen, over all associations, so that a deed can be told to happen once.
"""

from dataclasses import replace

from drivers.dlms.events import NEED_DATA
from drivers.dlms.hdlc import FLAG, Frame, FrameReader, HdlcAddress, Kind
from drivers.errors import ConnectionLost
from simulators.dlms.settings import Memory
from simulators.faults import SERVED, Deed, Misdeed, Stage
from simulators.meter import Meter

DEPTH = 3000  # of a nested answer
FLAGS = 3000  # of a flag storm
UNKNOWN_TAG = 0xF5
GET_RESPONSE, NORMAL = 0xC4, 1
_WITH_INVOKE_ID = frozenset({0xC4, 0xC5, 0xC7})
_FRAMES = frozenset(
    {
        Deed.WINDOW_VIOLATION, Deed.UNENDED_SEGMENTS, Deed.CUT_SEGMENTS, Deed.WRONG_SEQUENCE, Deed.WRONG_FCS,
        Deed.OTHER_METER,
    }
)  # fmt: skip


class Deviance:
    """The misdeeds of one meter, and which of them happen now. ``memory``: where their chances are counted."""

    def __init__(self, meter: Meter, memory: Memory) -> None:
        self._misdeeds = [(place, one) for place, one in enumerate(meter.faults) if isinstance(one, Misdeed)]
        self._memory = memory
        self._held = b""
        self.stage: Stage | None = None
        """What the last answer answers."""

    def happens(self, deed: Deed, now: int, *, anywhere: bool = False) -> bool:
        """Count a chance for a deed at ``now`` [s UTC], and say whether it is taken. ``anywhere``: in whatever stage."""
        happens = False
        for place, one in self._misdeeds:
            fits = anywhere or (self.stage is one.stage if one.stage else self.stage in SERVED)
            if one.deed is deed and fits and one.start <= now < one.end:
                chance = self._memory.chances[place] = self._memory.chances.get(place, 0) + 1
                happens |= one.first <= chance < one.first + one.times
        return happens

    def spoil(self, plain: bytes, before: bytes, now: int) -> bytes:
        """Give the plain answer as the meter's misdeeds make it. ``before``: what it answered before, or empty."""
        if not self._misdeeds:
            return plain
        if self.happens(Deed.LATE_ANSWER, now) and before:
            plain = before
        if plain[0] in _WITH_INVOKE_ID and self.happens(Deed.WRONG_INVOKE_ID, now):
            plain = plain[:2] + bytes((plain[2] & 0xF0 | (plain[2] + 1) & 0x0F,)) + plain[3:]
        if plain[0] == GET_RESPONSE and self.happens(Deed.NESTED_ANSWER, now):
            plain = bytes((GET_RESPONSE, NORMAL, plain[2], 0)) + b"\x02\x01" * DEPTH + b"\x00"
        return plain[:-1] if self.happens(Deed.TRUNCATED_ANSWER, now) else plain

    def rename(self, octets: bytes, now: int) -> bytes:
        """Give the answer, protected or not, with the tag of no service where that is its misdeed."""
        return bytes((UNKNOWN_TAG,)) + octets[1:] if self.happens(Deed.UNKNOWN_SERVICE, now) else octets

    def keeps_quiet(self, now: int) -> bool:
        """Say whether there is no answer. Raises `ConnectionLost` where the connection is to end instead."""
        if not self._misdeeds:
            return False
        if self.happens(Deed.HANG_UP, now):
            raise ConnectionLost("the simulated meter hangs up, as it was told to")
        return self.happens(Deed.NO_ANSWER, now)

    def post(self, octets: bytes, now: int, *, is_hdlc: bool) -> bytes:
        """Give what goes over the wire instead of these whole frames; empty where they are held back."""
        if not self._misdeeds or not octets:
            return octets
        if is_hdlc:
            octets = self._frames(octets, now)
        elif self.happens(Deed.OTHER_METER, now):  # WRAPPER: version, source wPort, ...
            octets = octets[:2] + (int.from_bytes(octets[2:4], "big") + 1).to_bytes(2, "big") + octets[4:]
        if self.happens(Deed.DOUBLED_ANSWER, now):
            octets += octets
        if is_hdlc and self.happens(Deed.FLAG_STORM, now):
            octets = bytes((FLAG,)) * FLAGS + octets
        if self.happens(Deed.HELD_ANSWER, now):
            self._held += octets
            return b""
        octets, self._held = self._held + octets, b""
        return octets

    def _frames(self, octets: bytes, now: int) -> bytes:
        """Alter information frames; what else there is goes as it is."""
        if not any(one.deed in _FRAMES for _, one in self._misdeeds):
            return octets
        reader, sent = FrameReader(), b""
        reader.receive_data(octets)
        while (frame := reader.next_event()) is not NEED_DATA:
            sent += self._altered(frame, now) if frame.kind is Kind.I else frame.encode()
        return sent

    def _altered(self, frame: Frame, now: int) -> bytes:
        if self.happens(Deed.OTHER_METER, now):
            address = frame.source
            upper, lower = (address.upper + 1, None) if address.lower is None else (address.upper, address.lower + 1)
            frame = replace(frame, source=HdlcAddress(upper, lower, address.size))
        if self.happens(Deed.WRONG_SEQUENCE, now):
            frame = replace(frame, send_number=(frame.send_number + 1) % 8)
        if frame.segmented:
            if self.happens(Deed.CUT_SEGMENTS, now):
                frame = replace(frame, segmented=False)
        elif self.happens(Deed.UNENDED_SEGMENTS, now):
            frame = replace(frame, segmented=True)
        octets = frame.encode()
        if self.happens(Deed.WRONG_FCS, now):
            octets = octets[:-2] + bytes((octets[-2] ^ 1,)) + octets[-1:]
        if self.happens(Deed.WINDOW_VIOLATION, now):
            octets += replace(frame, send_number=(frame.send_number + 1) % 8).encode()
        return octets
