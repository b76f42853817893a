"""WRAPPER framing: 8 octets before each APDU. IEC 62056-4-7 (TCP-UDP/IP transport), wrapper protocol data unit.

Header: version (0x0001), source wPort, destination wPort, length; each 16 bits, big endian.
"""

import struct

from drivers.dlms.events import NEED_DATA, Apdu, LinkCommand, NeedData
from drivers.errors import LocalProtocolError, RemoteProtocolError

VERSION = 1
MAX_APDU = 65_535
_HEADER = struct.Struct(">HHHH")
HEADER_SIZE = _HEADER.size


class WrapperLink:
    """One side of a wrapped stream.

    ``local``, ``remote``: wPorts (client address, logical device). A server passes ``remote=None`` to learn it from
    the first frame. TCP has no noise, so anything but the agreed header is damage, never skipped.
    """

    def __init__(self, local: int, remote: int | None) -> None:
        for port in (local, remote):
            if port is not None and not 0 < port <= 0xFFFF:
                raise LocalProtocolError(f"wPort {port} is not 1 to 65535")
        self.local = local
        self.remote = remote
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._buffer += data

    def next_event(self) -> Apdu | NeedData:
        """Give the next APDU or `NEED_DATA`. Raises `RemoteProtocolError` for damage or a frame meant for another."""
        if len(self._buffer) < 2:
            return NEED_DATA
        if self._buffer[0:2] != b"\x00\x01":
            raise RemoteProtocolError(f"wrapper version 0x{self._buffer[0:2].hex()}, expected 0x0001")
        if len(self._buffer) < _HEADER.size:
            return NEED_DATA
        _, source, destination, length = _HEADER.unpack_from(self._buffer)
        if destination != self.local or (self.remote is not None and source != self.remote):
            raise RemoteProtocolError(
                f"frame from wPort {source} to {destination}, expected from {self.remote} to {self.local}"
            )
        if length == 0:
            raise RemoteProtocolError("empty APDU in a wrapper frame")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return NEED_DATA
        self.remote = source
        octets = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return Apdu(octets)

    @property
    def is_amid(self) -> bool:
        """Whether an APDU has begun to arrive: its rest, however late, belongs to it and must not be thrown away alone."""
        return bool(self._buffer)

    def unread(self) -> bytes:
        """Take back what no APDU was made of so far."""
        octets = bytes(self._buffer)
        self._buffer.clear()
        return octets

    def send(self, event: LinkCommand) -> bytes:
        """Give the bytes of an `Apdu`; there is nothing else to send on TCP. Raises `LocalProtocolError`."""
        if not isinstance(event, Apdu):
            raise LocalProtocolError(f"a wrapper has no {type(event).__name__}")
        if self.remote is None:
            raise LocalProtocolError("nobody has spoken yet, so there is nobody to answer")
        if not 0 < len(event.octets) <= MAX_APDU:
            raise LocalProtocolError(f"an APDU has 1 to {MAX_APDU} octets, not {len(event.octets)}")
        return _HEADER.pack(VERSION, self.local, self.remote, len(event.octets)) + event.octets

    def data_to_send(self) -> bytes:
        """Give what must be sent unasked: nothing, here."""
        return b""
