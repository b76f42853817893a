"""Modbus meters: a register map, several of them on one RS-485 line, or behind a Modbus TCP port.

Register map, the same in holding and input registers, zero-based, high word first:

====== ======= =================================
0      uint32  serial number
10     uint32  active energy import [Wh]
12     uint16  voltage [0.1 V]
14     uint32  current [mA]
20     float32 active energy import [kWh]
====== ======= =================================

All else is an illegal data address. Source of the protocol: MODBUS Application Protocol Specification V1.1b3.
"""

import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from drivers.modbus.mbap import MbapFrame, MbapReader
from drivers.modbus.pdu import NEED_DATA, ExceptionCode, ExceptionResponse, ReadResponse, RequestFault, decode_request
from drivers.modbus.rtu import RequestReader, RtuFrame
from simulators import faults
from simulators.faults import Chances, Fault, LineDeed
from simulators.line import Answer
from simulators.meter import Meter, Position

SERIAL = 0
ENERGY = 10
VOLTAGE = 12
CURRENT = 14
ENERGY_KWH = 20
NAME_FORMAT = "SIM:{}"
LATENCY = 0.01  # [s]
TRICKLE = 0.005  # pause of a trickled answer, as libmodbus's test server makes it [s]
HOLDING_OR_INPUT = 3 ^ 4  # functions 3 and 4 differ in these bits
BROADCAST = 0  # Modbus over serial line V1.02, clause 2.1: nobody answers


def registers(meter: Meter, now: int) -> dict[int, int]:
    """Give every register the meter has at ``now`` [s UTC]: address -> 0 to 65535."""
    energy = meter.register(now)
    wide = {
        SERIAL: struct.pack(">I", meter.serial),
        ENERGY: struct.pack(">I", energy % 2**32),
        VOLTAGE: struct.pack(">H", meter.voltage(now)),
        CURRENT: struct.pack(">I", meter.current(now)),
        ENERGY_KWH: struct.pack(">f", energy / 1000),
    }
    return dict(_words(wide))


def _words(wide: Mapping[int, bytes]) -> Iterator[tuple[int, int]]:
    for address, octets in wide.items():
        for index, word in enumerate(struct.unpack(f">{len(octets) // 2}H", octets)):
            yield address + index, word


def respond(meter: Meter, pdu: bytes, now: int) -> bytes:
    """Answer a request's PDU as the meter does at ``now`` [s UTC]: registers, or an exception. Raises on an empty PDU."""
    try:
        request = decode_request(pdu)
    except RequestFault as fault:
        return fault.response.encode()
    present = registers(meter, now)
    wanted = range(request.address, request.address + request.count)
    if any(address not in present for address in wanted):
        return ExceptionResponse(int(request.function), ExceptionCode.ILLEGAL_DATA_ADDRESS).encode()
    return ReadResponse(request.function, tuple(present[address] for address in wanted)).encode()


class ModbusBus:
    """Modbus RTU meters that share a line. Each hears everything and answers for its own unit identifier alone."""

    def __init__(self, positions: Sequence[Position], randomness: random.Random, latency: float = LATENCY) -> None:
        """``latency``: what a meter takes before its answer. [s]"""
        self._places = _by_unit(positions)
        self._random = randomness
        self._latency = latency
        self._reader = RequestReader()

    def receive(self, data: bytes, now: int) -> Answer | None:
        """Hear bytes from the host; answer the last whole request among them, where its meter is here and alive."""
        self._reader.receive_data(data)
        answer = None
        while (frame := self._reader.next_event()) is not NEED_DATA:
            answer = self._answer(frame, now)
        return answer

    def _answer(self, frame: RtuFrame, now: int) -> Answer | None:
        place = self._places.get(frame.unit)
        said = place and place.answer(frame.pdu, now)
        if not place or not said:
            return None
        octets = RtuFrame(said.unit, said.pdu).encode()
        clean = octets[:-1] + bytes((octets[-1] ^ said.damage,))
        return place.sent(self._latency, faults.disturb(place.faults(now), clean, now, self._random), now)


class ModbusTcpConversation:
    """One Modbus TCP connection to meters behind a gateway. A unit that is not there gets exception 11, a silent one nothing."""

    def __init__(self, positions: Sequence[Position], latency: float = LATENCY) -> None:
        self._places = _by_unit(positions)
        self._latency = latency
        self._reader = MbapReader()

    def receive(self, data: bytes, now: int) -> list[Answer]:
        """Hear bytes; answer every whole request. Raises `RemoteProtocolError` where the stream is not Modbus TCP."""
        self._reader.receive_data(data)
        answers = []
        while (frame := self._reader.next_event()) is not NEED_DATA:
            if (answer := self._answer(frame, now)) is not None:
                answers.append(answer)
        return answers

    def _answer(self, frame: MbapFrame, now: int) -> Answer | None:
        place = self._places.get(frame.unit)
        if place is None:
            code = ExceptionCode.GATEWAY_TARGET_FAILED_TO_RESPOND
            pdu = ExceptionResponse(frame.pdu[0] & 0x7F, code).encode()
            return Answer(self._latency, MbapFrame(frame.transaction, frame.unit, pdu).encode())
        if (said := place.answer(frame.pdu, now)) is None:
            return None
        transaction = (frame.transaction + said.transactions_off) % 2**16
        return place.sent(self._latency, MbapFrame(transaction, said.unit, said.pdu).encode(), now)


class _Said(NamedTuple):
    """An answer as a meter's misdeeds made it. ``damage``: bits of its checksum that are wrong."""

    unit: int
    pdu: bytes
    damage: int = 0
    transactions_off: int = 0


class _Place:
    """One unit identifier, and what its meter did there before."""

    def __init__(self, unit: int, position: Position) -> None:
        self._unit = unit
        self._position = position
        self._before = b""
        self._chances = Chances()

    def faults(self, now: int) -> tuple[Fault, ...]:
        """What is wrong at ``now`` [s UTC] with the meter there."""
        return self._position.at(now).faults

    def answer(self, pdu: bytes, now: int) -> _Said | None:
        """Answer a request's PDU at ``now`` [s UTC], misdeeds included; None for silence."""
        meter = self._position.at(now)
        if meter.is_silent(now) or not pdu or self._does(LineDeed.LOST_ANSWER, now):
            return None
        said = respond(meter, pdu, now)
        before, self._before = self._before, said
        if before and self._does(LineDeed.STALE_ANSWER, now):
            said = before
        if self._does(LineDeed.BUSY, now):
            said = ExceptionResponse(pdu[0] & 0x7F, ExceptionCode.SERVER_DEVICE_BUSY).encode()
        said = self._misshapen(said, now)
        return _Said(
            (self._unit + self._does(LineDeed.OTHER_ADDRESS, now)) & 0xFF,
            said,
            int(self._does(LineDeed.BAD_CHECKSUM, now)),
            int(self._does(LineDeed.OTHER_TRANSACTION, now)),
        )

    def sent(self, latency: float, octets: bytes, now: int) -> Answer:
        """Give how an answer's octets leave the meter at ``now``. [s UTC]  ``latency``: of a meter in order. [s]"""
        if self._does(LineDeed.CUT_ANSWER, now):
            octets = octets[: len(octets) // 2]
        pause = TRICKLE if self._does(LineDeed.TRICKLED_ANSWER, now) else 0.0
        return Answer(latency + faults.delay(self.faults(now), now), octets, pause)

    def _misshapen(self, pdu: bytes, now: int) -> bytes:
        if pdu[0] & 0x80:
            return pdu
        if self._does(LineDeed.OTHER_FUNCTION, now):
            pdu = bytes((pdu[0] ^ HOLDING_OR_INPUT,)) + pdu[1:]
        if self._does(LineDeed.SHORT_ANSWER, now):
            pdu = bytes((pdu[0], pdu[1] - 2)) + pdu[2:-2]
        if self._does(LineDeed.LONG_ANSWER, now):
            pdu = bytes((pdu[0], pdu[1] + 2)) + pdu[2:] + bytes(2)
        return pdu

    def _does(self, deed: LineDeed, now: int) -> bool:
        return self._chances.happens(self.faults(now), deed)


def _by_unit(positions: Sequence[Position]) -> dict[int, _Place]:
    units = {int(position.address): position for position in positions}
    if len(units) != len(positions) or not all(1 <= unit <= 247 for unit in units):
        raise ValueError("unit identifiers must be distinct and from 1 to 247")
    return {unit: _Place(unit, position) for unit, position in units.items()}
