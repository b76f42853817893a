"""DL/T 645-2007 meters: several on one line, each with its data items, load records, freezes and faults.

What the meter has, by identifier (DI3 DI2 DI1 DI0):

=================== ==========================================================================
0001tt00, 0001FF00  active energy import: total and four tariffs, of which the first has all
000100nn            the same total on the last twelve settlement days (1st of the month, 0 h)
0002tt00, 0002FF00  active energy export: nothing
0201pp00, 0201FF00  voltage, of one phase; the others are not supported (FF)
0202pp00, 0202FF00  current, likewise
04000101, 04000102  date and time;  04000401, 04000402: address;  04000B01: settlement day
050600nn, 050601nn  when the last days were frozen, and energy then
031100nn, 033004nn  the last power failures, and times that the clock was set
060400ww            load records of kind 4, one for each interval of the household
=================== ==========================================================================

All else is refused. A meter answers questions of edition 1997 too: energy 901t and 901F, voltage B611, date C010, time C011, and has
no follow-up frames there. Source of the protocol: DL/T 645-2007 and -1997; what is in neither is left out.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from drivers.dlt645 import records
from drivers.dlt645.address import BROADCAST, covers, encode_address
from drivers.dlt645.control import Control, Control1997, ControlCode, ErrorWord, decode_control
from drivers.dlt645.frame import MAX_DATA, NEED_DATA, Frame, FrameReader
from drivers.dlt645.records import LoadRecord
from drivers.dlt645.services import Identifier, decode_identifier
from drivers.dlt645.values import NOT_SUPPORTED, encode_count, encode_instant
from drivers.errors import RemoteProtocolError
from drivers.zone import parse_zone
from simulators import faults
from simulators.faults import Chances, LineDeed, LineFault
from simulators.line import Answer
from simulators.meter import Meter, Position

NAME_FORMAT: Final = "SIM:{:012d}"
LATENCY: Final = 0.03  # clause 5.3.3: 20 to 500 ms [s]
ZONE: Final = "UTC+08:00"
WAKE_UP: Final = 4
TARIFFS: Final = 4
FREEZES: Final = 62
SETTLEMENTS: Final = 12
DAY: Final = 86_400
KIND: Final = 4
ENERGY_OCTETS: Final = 4
OPERATOR: Final = bytes(4)
_UNSUPPORTED: Final = bytes((NOT_SUPPORTED,))
_WH: Final = 10  # one in the last digit of XXXXXX.XX kWh


class Dlt645Bus:
    """Meters that share a line. Each hears everything and answers where it is meant."""

    def __init__(
        self,
        positions: Sequence[Position],
        randomness: random.Random,
        latency: float = LATENCY,
        largest: int = MAX_DATA,
    ) -> None:
        """``latency``: what a meter takes before its answer [s].  ``largest``: octets of data a meter puts into a frame."""
        if len({position.address for position in positions}) != len(positions):
            raise ValueError("addresses must be distinct")
        self._places = [_Place(position, largest) for position in positions]
        self._random = randomness
        self._latency = latency
        self._reader = FrameReader()

    def receive(self, data: bytes, now: int) -> Answer | None:
        """Hear bytes from the host; answer the last whole request among them. Two that answer at once garble each other."""
        self._reader.receive_data(data)
        answer = None
        while True:
            try:
                frame = self._reader.next_event()
            except RemoteProtocolError:
                continue  # clause 5.3.4: a meter keeps quiet over what it does not understand
            if frame is NEED_DATA:
                return answer
            said = {place: octets for place in self._places if (octets := place.answer(frame, now, self._random))}
            if said:
                slowest = max(place.delay(now) for place in said)
                answer = Answer(self._latency + slowest, _collided(tuple(said.values())))


class Dlt645Conversation:
    """A line behind a gateway that carries bytes over TCP unchanged."""

    def __init__(self, bus: Dlt645Bus) -> None:
        self._bus = bus

    def receive(self, data: bytes, now: int) -> list[Answer]:
        """Hear bytes; answer."""
        answer = self._bus.receive(data, now)
        return [] if answer is None else [answer]


def _collided(said: Sequence[bytes]) -> bytes:
    """Give what a line carries when several speak at once: a bit is low where any of them pulls it low."""
    line = bytearray(b"\xff" * max(map(len, said)))
    for octets in said:
        for index, octet in enumerate(octets):
            line[index] &= octet
    return bytes(line)


class _Place:
    """One address on the line, and what its meter remembers of the conversation."""

    def __init__(self, position: Position, largest: int) -> None:
        self._position = position
        self._address = position.address
        self._largest = largest
        self._rest: dict[int, bytes] = {}  # parts of the last long answer, by their sequence number
        self._before = b""
        self._chances = Chances()

    def delay(self, now: int) -> float:
        """How much longer than others its meter takes at ``now`` [s UTC]. [s]"""
        return faults.delay(self._position.at(now).faults, now)

    def answer(self, frame: Frame, now: int, randomness: random.Random) -> bytes:
        """Answer a frame, noise and misdeeds included; empty for silence."""
        control = decode_control(frame.control)
        if control.from_meter or frame.address == BROADCAST or not covers(frame.address, self._address):
            return b""
        meter = self._position.at(now)
        if meter.is_silent(now):
            return b""
        said = self._respond(meter, frame, now)
        if said is None:
            return b""
        octets = self._deviate(meter, said)
        return faults.disturb(meter.faults, octets, now, randomness) if octets else b""

    def _respond(self, meter: Meter, frame: Frame, now: int) -> Frame | None:
        control = decode_control(frame.control)
        match control.function:
            case Control.READ_ADDRESS:
                return self._frame(control.function, encode_address(self._address))
            case Control.READ if len(frame.data) >= 4:
                return self._read(meter, frame, now)
            case Control1997.READ if len(frame.data) == 2:
                value = item_1997(meter, decode_identifier(frame.data), now)
                if value is None:
                    return self._refuse(control.function, ErrorWord.NO_DATA)
                return self._frame(control.function, frame.data + value)
            case Control.FOLLOW_UP if len(frame.data) == 5:
                return self._part(frame.data[:4], frame.data[4])
            case _:
                return self._refuse(control.function, ErrorWord.OTHER)

    def _read(self, meter: Meter, frame: Frame, now: int) -> Frame:
        identifier = decode_identifier(frame.data[:4])
        value = item(meter, self._address, identifier, frame.data[4:], now)
        if value is None or (any(_is(one, LineDeed.NO_BLOCKS) for one in meter.faults) and "FF" in identifier.text):
            return self._refuse(Control.READ, ErrorWord.NO_DATA)
        room = self._largest - 5
        parts = [value[at : at + room] for at in range(0, len(value), room)] or [b""]
        self._rest = dict(enumerate(parts))
        return self._part(frame.data[:4], 0)

    def _part(self, identifier: bytes, number: int) -> Frame:
        function = Control.FOLLOW_UP if number else Control.READ
        if number not in self._rest:
            return self._refuse(function, ErrorWord.NO_DATA)
        data = identifier + self._rest[number] + (bytes((number,)) if number else b"")
        return self._frame(function, data, has_more=number + 1 in self._rest)

    def _frame(self, function: int, data: bytes, *, has_more: bool = False) -> Frame:
        return Frame(self._address, ControlCode(function, from_meter=True, has_more=has_more).encode(), data)

    def _refuse(self, function: int, word: ErrorWord) -> Frame:
        control = ControlCode(function, from_meter=True, is_refusal=True)
        return Frame(self._address, control.encode(), bytes((word,)))

    def _deviate(self, meter: Meter, said: Frame) -> bytes:
        """Encode an answer as the meter's misdeeds make it; empty where it is lost."""
        is_part = decode_control(said.control).function == Control.FOLLOW_UP
        if is_part and self._chances.happens(meter.faults, LineDeed.LOST_FOLLOW_UP):
            return b""
        if self._chances.happens(meter.faults, LineDeed.OTHER_ADDRESS):
            said = replace(said, address=f"{(int(said.address) + 1) % 10**12:012d}")
        if len(said.data) > 4 and self._chances.happens(meter.faults, LineDeed.OTHER_ITEM):
            said = replace(said, data=bytes((said.data[0] ^ 1,)) + said.data[1:])
        octets = said.encode(WAKE_UP)
        before, self._before = self._before, octets
        if before and self._chances.happens(meter.faults, LineDeed.STALE_ANSWER):
            octets = before
        if self._chances.happens(meter.faults, LineDeed.BAD_CHECKSUM):
            octets = octets[:-2] + bytes((octets[-2] ^ 1,)) + octets[-1:]
        return octets


def _is(fault: object, deed: LineDeed) -> bool:
    return isinstance(fault, LineFault) and fault.deed is deed


def item(meter: Meter, address: str, identifier: Identifier, parameters: bytes, now: int) -> bytes | None:
    """Give what a data item holds at ``now`` [s UTC]; None where the meter has none."""
    group, rest, last = identifier.text[:4], identifier.text[4:6], int(identifier.text[6:], 16)
    clock = meter.clock(now)
    match group:
        case "0001" | "0002" if last == 0:
            energy = meter.register(now) // _WH if group == "0001" else 0
            values = [encode_count(value % 10**8, ENERGY_OCTETS, signed=False) for value in (energy, energy, 0, 0, 0)]
            return _of(values, rest, first=0)
        case "0001" if rest == "00" and 1 <= last <= SETTLEMENTS:
            return _frozen(meter, _settlement(clock, last))
        case "0201":
            return _of(
                [encode_count(meter.voltage(now), 2, signed=False), _UNSUPPORTED * 2, _UNSUPPORTED * 2], rest, first=1
            )
        case "0202":
            return _of(
                [encode_count(meter.current(now), 3, signed=True), _UNSUPPORTED * 3, _UNSUPPORTED * 3], rest, first=1
            )
        case "0506" if 1 <= last <= FREEZES:
            midnight = (clock + 8 * 3600) // DAY * DAY - 8 * 3600 - (last - 1) * DAY
            if midnight < meter.installed_at:
                return None
            return (
                encode_instant(midnight, "YYMMDDhhmm", ZONE)
                if rest == "00"
                else _frozen(meter, midnight)
                if rest == "01"
                else None
            )
        case "0311" if rest == "00" and last:
            return _event(_cuts(meter, now), last)
        case "0330" if rest == "04" and last:
            sets = [
                (one.at + one.by, one.at) for one in meter.faults if isinstance(one, faults.ClockSet) and one.at <= now
            ]
            record = _event(sorted(sets, key=lambda one: one[1]), last)
            return record and OPERATOR + record
        case "0604" if rest == "00":
            return _load(meter, last, parameters, clock)
    known = {
        "04000101": lambda: encode_instant(clock, "YYMMDDWW", ZONE),
        "04000102": lambda: encode_instant(clock, "hhmmss", ZONE),
        "04000401": lambda: encode_address(address),
        "04000402": lambda: encode_address(address),
        "04000B01": lambda: bytes.fromhex("0001"),  # DDhh: the 1st, 0 h
    }
    return known[identifier.text]() if identifier.text in known else None


def _cuts(meter: Meter, now: int) -> list[tuple[int, int]]:
    """List when the power went and came back, oldest first. [s UTC]"""
    return sorted((cut.start, cut.end) for cut in faults.power_cuts(meter.faults) if cut.end <= now)


def _event(found: Sequence[tuple[int, int]], last: int) -> bytes | None:
    """Write the two instants of an event, of which number 1 is the last one."""
    if last > len(found):
        return None
    return b"".join(encode_instant(at, "YYMMDDhhmmss", ZONE) for at in found[-last])


def item_1997(meter: Meter, identifier: Identifier, now: int) -> bytes | None:
    """Give what a data item of edition 1997 holds at ``now`` [s UTC]; None where the meter has none."""
    if identifier.text[:3] == "901" and identifier.text[3] in "01234F":
        tariff = "FF" if identifier.text[3] == "F" else f"0{identifier.text[3]}"
        value = item(meter, "", Identifier(f"0001{tariff}00"), b"", now)
        return value and value + (bytes((records.SEPARATOR,)) if tariff == "FF" else b"")
    if identifier.text == "B611":
        return encode_count((meter.voltage(now) + 5) // 10, 2, signed=False)
    clocks = {"C010": "04000101", "C011": "04000102"}
    return item(meter, "", Identifier(clocks[identifier.text]), b"", now) if identifier.text in clocks else None


def _of(values: Sequence[bytes], which: str, *, first: int) -> bytes | None:
    if which == "FF":
        return b"".join(values)
    place = int(which, 16) - first
    return values[place] if 0 <= place < len(values) else None


def _frozen(meter: Meter, at: int) -> bytes | None:
    return None if at < meter.installed_at else _energy(meter, at)


def _energy(meter: Meter, at: int) -> bytes:
    return encode_count(meter.register_at(at) // _WH % 10**8, ENERGY_OCTETS, signed=False)


def _settlement(clock: int, number: int) -> int:
    local = datetime.fromtimestamp(clock, parse_zone(ZONE))
    year, month = divmod(local.year * 12 + local.month - number, 12)
    return int(datetime(year, month + 1, 1, tzinfo=parse_zone(ZONE)).timestamp())


def _load(meter: Meter, way: int, parameters: bytes, clock: int) -> bytes | None:
    """Give load records; the first asked for must be there, as the standard leaves open what else would be."""
    period = meter.household.period
    newest = clock // period * period
    oldest = -(-meter.installed_at // period) * period
    if way == records.AT:
        try:
            first, count = records.decode_request(parameters, ZONE)
        except RemoteProtocolError:
            return None
    else:
        first, count = (oldest if way == records.EARLIEST else newest), 1
    stamps = [first + number * period for number in range(count)]
    if first % period or not oldest <= first <= newest or not _has_record(meter, first):
        return None
    kept = [stamp for stamp in stamps if oldest <= stamp <= newest and _has_record(meter, stamp)]
    return b"".join(LoadRecord(stamp, _energy(meter, stamp) + bytes(12)).encode(KIND, ZONE) for stamp in kept)


def _has_record(meter: Meter, stamp: int) -> bool:
    return stamp <= meter.installed_at or meter.row(stamp - meter.household.period) is not None
