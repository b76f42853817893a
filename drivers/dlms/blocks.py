"""General block transfer, as a meter that speaks first uses it: unasked, unconfirmed. IEC 62056-5-3, 9.4.6.13 and 9.5.

``E0``, block control (0x80 last block, 0x40 streaming, low six bits window), block number (2), block number acknowledged
(2), the piece of the APDU as an octet-string. Blocks count from 1 without a gap.
"""

from drivers.dlms import axdr
from drivers.errors import RemoteProtocolError

GENERAL_BLOCK_TRANSFER = 0xE0
LAST_BLOCK = 0x80
MAX_APDU = 65_536
_HEAD = 6


class BlockAssembler:
    """Joins the blocks of one APDU after the other."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self._expected = 1

    @property
    def is_idle(self) -> bool:
        """True between two APDUs."""
        return self._expected == 1

    def reset(self) -> None:
        """Drop what is unfinished."""
        self._octets.clear()
        self._expected = 1

    def add(self, apdu: bytes) -> bytes | None:
        """Take a block; give the whole APDU behind the last one, else None.

        Raises `RemoteProtocolError` for a block damaged or out of order; what was there of the APDU is dropped.
        """
        try:
            return self._add(apdu)
        except RemoteProtocolError:
            self.reset()
            raise

    def _add(self, apdu: bytes) -> bytes | None:
        if len(apdu) <= _HEAD or apdu[0] != GENERAL_BLOCK_TRANSFER:
            raise RemoteProtocolError(f"block of {len(apdu)} octets ends inside its header")
        number, acknowledged = int.from_bytes(apdu[2:4], "big"), int.from_bytes(apdu[4:6], "big")
        length, start = axdr.parse_length(apdu, _HEAD)
        if start + length != len(apdu):
            raise RemoteProtocolError(f"block {number} says {length} octets and has {len(apdu) - start}")
        if number != self._expected or acknowledged:
            raise RemoteProtocolError(
                f"block {number} acknowledging {acknowledged}, expected block {self._expected} acknowledging none"
            )
        self._octets += apdu[start:]
        self._expected += 1
        if len(self._octets) > MAX_APDU:
            raise RemoteProtocolError(f"blocks add up to more than {MAX_APDU} octets")
        if not apdu[1] & LAST_BLOCK:
            return None
        whole = bytes(self._octets)
        self.reset()
        if not whole or whole[0] == GENERAL_BLOCK_TRANSFER:
            raise RemoteProtocolError("blocks hold no APDU, or blocks again")
        return whole
