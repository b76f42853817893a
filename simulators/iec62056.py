r"""IEC 62056-21 meters: several on one line or one behind a head, each with its readout, programming mode, load profile and faults.

What a meter prints, and gives by its address behind the password:

=================== ==========================================================================
0.0.0               serial number;  0.9.1, 0.9.2: time and date, UTC;  F.F: the error register
1.8.0, 1.8.1        active energy import, in all and of tariff 1, which has all;  2.8.0: export, nothing
31.7.0, 32.7.0      current and voltage of the one phase
P.01                the load profile: energy of each interval and the register at its end, with a status
P.98                when it was installed, without power and with it again, and its clock was set
=================== ==========================================================================

P.01 and P.98 are read by address alone: R5 whole, R3 and R6 in partial blocks. Mode C by default; in modes A and B the readout
follows the identification unasked. Three wrong passwords and it takes none any more. Mode E is answered as C; what is beyond it
is the simulated DLMS meter's.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from itertools import count
from typing import Final, Literal

from drivers.errors import RemoteProtocolError
from drivers.iec62056.events import NEED_DATA
from drivers.iec62056.message import Handshake, Message, MessageReader
from drivers.iec62056.opening import SPEEDS, SPEEDS_B, Identification, Purpose, decode_acknowledgement
from drivers.iec62056.programming import BREAK, OPERAND
from drivers.iec62056.values import decode_stamp
from drivers.status import Meaning
from simulators import faults
from simulators.faults import Chances, LineDeed
from simulators.line import Answer
from simulators.meter import Meter, Position

NAME_FORMAT: Final = "SIM:{:08d}"
ZONE: Final = "UTC"
LATENCY: Final = 0.25  # 200 to 1500 ms, IEC 62056-21, 6.3.8 [s]
MAX_HEARD: Final = 4_096  # [octet]
BLOCK_LINES: Final = 12  # of a partial block
MAX_WRONG: Final = 3
STATUS: Final = {Meaning.CLOCK_SET: 0x20, Meaning.POWER_FAILURE: 0x80, Meaning.TEST_MODE: 0x1_0000}
"""Bits of a status word; see the profile of the simulated meter."""
RECOVERED: Final = 0x40
Mode = Literal["A", "B", "C", "E"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What all meters on a line have in common. ``speed``: proposed by the identification. [bit/s]

    ``is_checked``: False for meters of modes A and B that send no check character.
    """

    mode: Mode = "C"
    speed: int = 9_600
    password: bytes = field(default=b"00000000", repr=False)
    is_checked: bool = True

    def identification(self) -> Identification:
        """Say who answers. Raises `ValueError` for a speed that the mode does not have."""
        known = {speed: mark for mark, speed in (SPEEDS_B if self.mode == "B" else SPEEDS).items()}
        mark = "x" if self.mode == "A" else known.get(self.speed)
        if mark is None:
            raise ValueError(f"mode {self.mode} has no speed of {self.speed}; it has {', '.join(map(str, known))}")
        return Identification("SIM", mark, "\\2" if self.mode == "E" else "", "HEADEND-1")


class _State(Enum):
    IDLE = auto()
    IDENTIFIED = auto()
    ASKED = auto()  # programming mode begun, no password yet
    OPEN = auto()


class Iec62056Bus:
    """Meters that share a line. One that was called by its address, or is alone, has the word until it is left."""

    def __init__(
        self, positions: Sequence[Position], randomness: random.Random, settings: Settings = Settings()
    ) -> None:
        if len({position.address for position in positions}) != len(positions):
            raise ValueError("addresses must be distinct")
        self._places = [_Place(position, settings) for position in positions]
        self._random = randomness
        self._heard = bytearray()
        self._spoken: _Place | None = None

    def receive(self, data: bytes, now: int) -> Answer | None:
        """Hear bytes from the host; answer the last whole request among them."""
        self._heard += data
        del self._heard[: max(0, len(self._heard) - MAX_HEARD)]
        answer = None
        while self._heard:
            if (start := self._heard.rfind(b"/?")) >= 0:
                end = self._heard.find(b"!\r\n", start)
                if end < 0:
                    break
                called = self._heard[start + 2 : end].decode("ascii", "replace")
                del self._heard[: end + 3]
                self._spoken = self._called(called)
                answer = None
                if self._spoken is not None:
                    answer = self._spoken.identify(now, self._random, f"/?{called}!\r\n".encode())
            elif self._spoken is None:
                break
            else:
                heard, self._heard = bytes(self._heard), bytearray()
                said, rest = self._spoken.receive(heard, now, self._random)
                answer = said or answer
                self._heard += rest
                break
        return answer

    def _called(self, address: str) -> "_Place | None":
        if not address:
            return self._places[0] if len(self._places) == 1 else None
        return next((place for place in self._places if place.address.lstrip("0") == address.lstrip("0")), None)


class Iec62056Conversation:
    """A line behind a gateway that carries bytes over TCP unchanged."""

    def __init__(self, bus: Iec62056Bus) -> None:
        self._bus = bus

    def receive(self, data: bytes, now: int) -> list[Answer]:
        """Hear bytes; answer."""
        answer = self._bus.receive(data, now)
        return [] if answer is None else [answer]


class _Place:
    """One meter, and where the conversation with it stands."""

    def __init__(self, position: Position, settings: Settings) -> None:
        self.address = position.address
        self._position = position
        self._settings = settings
        self._state = _State.IDLE
        self._reader = MessageReader()
        self._last = b""
        self._blocks: Iterator[bytes] = iter(())
        self._chances = Chances()
        self.wrong = 0

    def identify(self, now: int, randomness: random.Random, heard: bytes) -> Answer | None:
        """Answer a call; in modes A and B with all that there is to say."""
        self._state, self._reader = _State.IDENTIFIED, MessageReader()
        told = self._settings.identification()
        line = f"/{told.maker}{told.mark}{told.escapes}{told.identification}\r\n".encode()
        if self._settings.mode in {"A", "B"}:
            self._state = _State.IDLE
            line += self._readout(self._position.at(now), now)
        return self._say(line, now, randomness, heard)

    def receive(self, heard: bytes, now: int, randomness: random.Random) -> tuple[Answer | None, bytes]:
        """Hear what is no call; give the answer, and what is left of what was heard."""
        if self._state is _State.IDENTIFIED:
            line, end, rest = heard.partition(b"\r\n")
            if not end:
                return None, heard
            return self._acknowledged(line[line.rfind(b"\x06") :] + end, now, randomness, heard), rest
        self._reader.receive_data(heard)
        answer = None
        while True:
            try:
                event = self._reader.next_event()
            except RemoteProtocolError:
                answer = self._say(Handshake.REPEAT.encode(), now, randomness, heard)
                continue
            if event is NEED_DATA:
                return answer, b""
            said = self._respond(event, now)
            answer = self._say(said, now, randomness, heard) if said else None

    def _acknowledged(self, line: bytes, now: int, randomness: random.Random, heard: bytes) -> Answer | None:
        try:
            told = decode_acknowledgement(line)
        except RemoteProtocolError:
            return None
        if told.purpose is Purpose.HDLC:
            self._state = _State.IDLE
            return None
        self._reader = MessageReader()
        if told.purpose is Purpose.PROGRAMMING:
            self._state = _State.ASKED if self._settings.password else _State.OPEN
            return self._say(Message(OPERAND, b"(0000)").encode(), now, randomness, heard)
        self._state = _State.IDLE
        return self._say(self._readout(self._position.at(now), now), now, randomness, heard)

    def _respond(self, event: Message | Handshake, now: int) -> bytes:
        if event is Handshake.REPEAT:
            return self._last
        if event is Handshake.TAKEN:
            return next(self._blocks, b"")
        assert isinstance(event, Message)
        if event == BREAK:
            self._state = _State.IDLE
            return b""
        match self._state, event.command[:1]:
            case _State.ASKED, "P":
                if event.data == b"(" + self._settings.password + b")" and self.wrong < MAX_WRONG:
                    self._state, self.wrong = _State.OPEN, 0
                    return Handshake.TAKEN.encode()
                self.wrong += 1
                self._state = _State.IDLE
                return BREAK.encode()
            case _State.OPEN, "R":
                return self._read(event, self._position.at(now), now)
        return Message("", b"(ER04)").encode()

    def _read(self, event: Message, meter: Meter, now: int) -> bytes:
        address, _, what = event.data.decode("ascii").rstrip(")").partition("(")
        lines = logged(meter, address, what, now)
        if lines is None:
            found = dict(printed(meter, now)).get(address)
            return Message("", f"{address}({found})".encode() if found is not None else b"(ER01)").encode()
        if event.command not in {"R3", "R6"}:
            return Message("", "".join(lines).encode()).encode()
        parts = ["".join(lines[at : at + BLOCK_LINES]) for at in range(0, len(lines), BLOCK_LINES)]
        self._blocks = iter(
            [
                Message("", part.encode(), number == len(parts)).encode()
                for number, part in zip(count(1), parts, strict=False)
            ]
        )
        return next(self._blocks)

    def _readout(self, meter: Meter, now: int) -> bytes:
        lines = "".join(f"{address}({value})\r\n" for address, value in printed(meter, now)) + "!\r\n"
        return Message("", lines.encode()).encode() if self._settings.is_checked else lines.encode()

    def _say(self, octets: bytes, now: int, randomness: random.Random, heard: bytes) -> Answer | None:
        """Send an answer as the meter's misdeeds make it; None where it is silent."""
        meter = self._position.at(now)
        if meter.is_silent(now):
            return None
        before, self._last = self._last, octets
        if before and self._chances.happens(meter.faults, LineDeed.STALE_ANSWER):
            octets = before
        if self._chances.happens(meter.faults, LineDeed.BAD_CHECKSUM):
            octets = octets[:-1] + bytes((octets[-1] ^ 1,))
        if self._chances.happens(meter.faults, LineDeed.CUT_ANSWER):
            octets = octets[: len(octets) // 2]
        if self._chances.happens(meter.faults, LineDeed.REPEAT_PLEASE):
            octets = Handshake.REPEAT.encode()
        octets = faults.disturb(meter.faults, octets, now, randomness)
        if self._chances.happens(meter.faults, LineDeed.ECHO):
            octets = heard + octets
        return Answer(LATENCY + faults.delay(meter.faults, now), octets)


def printed(meter: Meter, now: int) -> list[tuple[str, str]]:
    """Give what the readout prints at ``now`` [s UTC], address and value."""
    clock = datetime.fromtimestamp(meter.clock(now), UTC)
    energy = _kwh(meter.register(now))
    return [
        ("0.0.0", f"{meter.serial:08d}"),
        ("0.9.1", f"{clock:%H%M%S}"),
        ("0.9.2", f"{clock:%y%m%d}"),
        ("F.F", "00000000"),
        ("1.8.0", f"{energy}*kWh"),
        ("1.8.1", f"{energy}*kWh"),
        ("2.8.0", f"{_kwh(0)}*kWh"),
        ("31.7.0", f"{meter.current(now) // 1000:03d}.{meter.current(now) % 1000:03d}*A"),
        ("32.7.0", f"{meter.voltage(now) // 10:03d}.{meter.voltage(now) % 10}*V"),
    ]


def _kwh(watt_hours: int) -> str:
    return f"{watt_hours // 1000 % 10**5:05d}.{watt_hours % 1000:03d}"


def logged(meter: Meter, address: str, what: str, now: int) -> list[str] | None:
    """Give the lines of what a meter records, within the window asked for; None for what is no such address, or no window."""
    try:
        first, last = (decode_stamp(text, ZONE) if text else None for text in (what or ";").split(";"))
    except (RemoteProtocolError, ValueError):
        return None
    if address == "P.98":
        found = [(meter.installed_at, RECOVERED), *_events(meter)]
        return [f"P.98({_stamp(at)})({word:02X})()(0)\r\n" for at, word in sorted(found) if at <= now]
    if address != "P.01":
        return None
    lines: list[str] = []
    period, due = meter.household.period, (0, 0)
    for row in meter.rows(now, first, last):
        word = sum(STATUS[meaning] for meaning in meter.said_of(row.end - period))
        if (row.end, word) != due:  # each change of the status has a header of its own
            lines.append(f"P.01({_stamp(row.end)})({word:02X})({period // 60})(2)(1.29)(kWh)(1.8)(kWh)\r\n")
        lines.append(f"({_kwh(row.wh)})({_kwh(meter.register_at(row.end))})\r\n")
        due = row.end + period, word
    return lines or ["P.01()\r\n"]


def _events(meter: Meter) -> Iterator[tuple[int, int]]:
    """Give what the log has beside its beginning: instant [s UTC] and status."""
    for fault in meter.faults:
        if isinstance(fault, faults.PowerCut):
            yield fault.start, STATUS[Meaning.POWER_FAILURE]
            yield fault.end, RECOVERED
        elif isinstance(fault, faults.ClockSet):
            yield fault.at, STATUS[Meaning.CLOCK_SET]


def _stamp(instant: int) -> str:
    return f"{datetime.fromtimestamp(instant, UTC):2%y%m%d%H%M%S}"
