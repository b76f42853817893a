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

from drivers.modbus.mbap import MbapFrame, MbapReader
from drivers.modbus.pdu import NEED_DATA, ExceptionCode, ExceptionResponse, ReadResponse, RequestFault, decode_request
from drivers.modbus.rtu import RequestReader, RtuFrame
from simulators import faults
from simulators.line import Answer
from simulators.meter import Meter, Position

SERIAL = 0
ENERGY = 10
VOLTAGE = 12
CURRENT = 14
ENERGY_KWH = 20
NAME_FORMAT = "SIM:{}"
LATENCY = 0.01  # [s]
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
        self._positions = _by_unit(positions)
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
        position = self._positions.get(frame.unit)
        if position is None or (meter := position.at(now)).is_silent(now) or not frame.pdu:
            return None
        clean = RtuFrame(frame.unit, respond(meter, frame.pdu, now)).encode()
        return Answer(self._latency, faults.disturb(meter.faults, clean, now, self._random))


class ModbusTcpConversation:
    """One Modbus TCP connection to meters behind a gateway. A unit that is not there gets exception 11, a silent one nothing."""

    def __init__(self, positions: Sequence[Position], latency: float = LATENCY) -> None:
        self._positions = _by_unit(positions)
        self._latency = latency
        self._reader = MbapReader()

    def receive(self, data: bytes, now: int) -> list[Answer]:
        """Hear bytes; answer every whole request. Raises `RemoteProtocolError` where the stream is not Modbus TCP."""
        self._reader.receive_data(data)
        answers = []
        while (frame := self._reader.next_event()) is not NEED_DATA:
            if (pdu := self._respond(frame, now)) is not None:
                answers.append(Answer(self._latency, MbapFrame(frame.transaction, frame.unit, pdu).encode()))
        return answers

    def _respond(self, frame: MbapFrame, now: int) -> bytes | None:
        position = self._positions.get(frame.unit)
        if position is None:
            code = ExceptionCode.GATEWAY_TARGET_FAILED_TO_RESPOND
            return ExceptionResponse(frame.pdu[0] & 0x7F, code).encode()
        meter = position.at(now)
        return None if meter.is_silent(now) else respond(meter, frame.pdu, now)


def _by_unit(positions: Sequence[Position]) -> dict[int, Position]:
    units = {int(position.address): position for position in positions}
    if len(units) != len(positions) or not all(1 <= unit <= 247 for unit in units):
        raise ValueError("unit identifiers must be distinct and from 1 to 247")
    return units
