"""Modbus TCP framing: the MBAP header, both ways.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, clause 3.1.3.
"""

import struct
from dataclasses import dataclass

from drivers.errors import RemoteProtocolError
from drivers.modbus.pdu import MAX_PDU, NEED_DATA, NeedData

HEADER = struct.Struct(">HHHB")  # transaction, protocol, length, unit
PROTOCOL = 0
MAX_LENGTH = 1 + MAX_PDU  # the length field counts the unit identifier and the PDU


@dataclass(frozen=True, slots=True)
class MbapFrame:
    """One PDU with its transaction and unit identifier."""

    transaction: int
    unit: int
    pdu: bytes

    def encode(self) -> bytes:
        """Give header and PDU."""
        return HEADER.pack(self.transaction, PROTOCOL, 1 + len(self.pdu), self.unit) + self.pdu


class MbapReader:
    """Cuts a byte stream into frames by the length field."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take received bytes."""
        self._buffer += data

    def next_event(self) -> MbapFrame | NeedData:
        """Give the next frame, or NEED_DATA. Raises `RemoteProtocolError` where the stream is not MBAP; it stays lost then."""
        if len(self._buffer) < HEADER.size:
            return NEED_DATA
        transaction, protocol, length, unit = HEADER.unpack_from(self._buffer)
        if protocol != PROTOCOL:
            raise RemoteProtocolError(f"MBAP protocol identifier {protocol}, not {PROTOCOL}: this is not Modbus TCP")
        if not 2 <= length <= MAX_LENGTH:
            raise RemoteProtocolError(f"MBAP length {length} is not 2 to {MAX_LENGTH}")
        end = HEADER.size - 1 + length
        if len(self._buffer) < end:
            return NEED_DATA
        pdu = bytes(self._buffer[HEADER.size : end])
        del self._buffer[:end]
        return MbapFrame(transaction, unit, pdu)
