"""General block transfer between two parties, streaming, with lost blocks recovered. IEC 62056-5-3, 9.4.6.13.

It stands between association and data link: a whole APDU, ciphered or not, goes in pieces of ``E0``, block control (0x80 last
block, 0x40 streaming, low six bits the window of its sender), block number (2), block number acknowledged (2), piece.
Each side counts its own blocks from 1 without a gap. Who streams goes on without waiting, up to the other's window; a block
that does not stream gives the other side its turn. Its answer acknowledges the last block that came in order: what came
after a lost one is thrown away, and sent again. A block without a piece acknowledges and no more.

One object has one shape for both sides, as the standard does. It is sans-IO: `send` and `receive` give the blocks to send.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.dlms import axdr
from drivers.dlms.blocks import GENERAL_BLOCK_TRANSFER, LAST_BLOCK
from drivers.dlms.descriptor import Cursor
from drivers.errors import LocalProtocolError, RemoteProtocolError

BLOCK_TAG = bytes([GENERAL_BLOCK_TRANSFER])
STREAMING = 0x40
MAX_WINDOW = 63
MAX_WHOLE = axdr.MAX_OBJECT + 64  # [octet] of all blocks together: an object, and the APDU around it
MAX_BLOCKS = 0xFFFF
MAX_IDLE_TURNS = 4  # turns of the other side without any progress, before it is given up
HEAD = 9  # [octet] of a block around its piece


@dataclass(frozen=True, slots=True)
class GeneralBlock:
    """One block. ``window``: how many blocks its sender takes at a time, 0 for none."""

    number: int
    acknowledged: int
    raw: bytes
    is_last: bool = False
    is_streaming: bool = False
    window: int = 1

    def encode(self) -> bytes:
        """Give the octets."""
        control = self.is_last * LAST_BLOCK | self.is_streaming * STREAMING | self.window
        head = bytes([GENERAL_BLOCK_TRANSFER, control])
        numbers = self.number.to_bytes(2, "big") + self.acknowledged.to_bytes(2, "big")
        return head + numbers + axdr.encode_length(len(self.raw)) + self.raw


def decode_block(apdu: bytes) -> GeneralBlock:
    """Read a block. Raises `RemoteProtocolError` for damage, a surplus or another APDU."""
    if not apdu or apdu[0] != GENERAL_BLOCK_TRANSFER:
        raise RemoteProtocolError(f"APDU 0x{apdu[:1].hex()} amid general blocks")
    cursor = Cursor(apdu)
    control, number, acknowledged = cursor.number(), cursor.number(2), cursor.number(2)
    raw = cursor.octets()
    if cursor.left:
        raise RemoteProtocolError(f"{cursor.left} surplus octets behind general block {number}")
    return GeneralBlock(
        number, acknowledged, raw, bool(control & LAST_BLOCK), bool(control & STREAMING), control & MAX_WINDOW
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Turn:
    """It is our turn: these blocks are to be sent, in order. ``whole``: the APDU that is complete now, instead of blocks."""

    blocks: Sequence[bytes] = ()
    whole: bytes | None = None


class BlockTransfer:
    """One side of an exchange: a request in blocks, its answer in blocks. `begin` anew for the next.

    ``window``: blocks we take at a time, 1 to 63.  ``sends``: most that we send at a time, however many the other takes.
    """

    def __init__(self, window: int = 1, sends: int = 1) -> None:
        if not (1 <= window <= MAX_WINDOW and 1 <= sends <= MAX_WINDOW):
            raise LocalProtocolError(f"windows {window} and {sends} of general blocks are not 1 to {MAX_WINDOW}")
        self._window = window
        self._sends = sends
        self.begin()

    def begin(self) -> None:
        """Forget the exchange before."""
        self._pieces: list[bytes] = []  # ours; block n is piece n - 1
        self._acknowledged = 0  # of ours
        self._sent = 0  # of ours
        self._taken = 0  # last of theirs that came in order
        self._octets = bytearray()
        self._is_whole = False
        self._their_window = 1
        self._idle = 0
        self._streamed = 0
        self._last_turn: list[bytes] = []
        self._progress = False

    @property
    def is_sending(self) -> bool:
        """Say whether the other side has not acknowledged all of ours yet."""
        return self._acknowledged < len(self._pieces)

    def send(self, apdu: bytes, largest: int) -> list[bytes]:
        """Cut an APDU into blocks of at most ``largest`` octets, 0 for no limit, and give those to send first.

        Raises `LocalProtocolError` for one that is too long, or while another is under way.
        """
        if self.is_sending:
            raise LocalProtocolError("an APDU in blocks before the one before has been taken")
        size = max(1, largest - HEAD) if largest else 0xFFFF - HEAD
        pieces = [apdu[at : at + size] for at in range(0, len(apdu), size)]
        if len(apdu) > MAX_WHOLE or len(self._pieces) + len(pieces) > MAX_BLOCKS:
            raise LocalProtocolError(f"APDU of {len(apdu)} octets is too long for blocks of {size}")
        self._pieces += pieces
        self._is_whole = False
        self._octets.clear()
        return self._burst()

    def receive(self, apdu: bytes) -> Turn | None:
        """Take a block; give what to do once it is our turn, None while the other side streams.

        Raises `RemoteProtocolError` for damage, blocks never sent acknowledged, too many of anything, or no progress.
        """
        block = decode_block(apdu)
        if block.acknowledged > self._sent:
            raise RemoteProtocolError(f"general block {block.acknowledged} is acknowledged, {self._sent} were sent")
        if block.acknowledged > self._acknowledged:
            self._acknowledged = block.acknowledged
            self._progress = True
        self._their_window = block.window
        self._take(block)
        self._streamed += 1
        if self._streamed > MAX_WINDOW:
            raise RemoteProtocolError(f"more than {MAX_WINDOW} general blocks without a turn of ours")
        if block.is_streaming and not self._is_whole:
            return None
        return self._our_turn()

    def repeat(self) -> list[bytes]:
        """Give what to send when nothing came: an acknowledgement of what did come, or our blocks once more."""
        if self._last_turn and (self.is_sending or not self._taken):
            return self._last_turn
        return self._acknowledge()

    def _take(self, block: GeneralBlock) -> None:
        if not block.raw and not (block.is_last and self._octets):
            if not self._octets:
                self._taken = max(self._taken, block.number)  # it acknowledges only, and has nothing under way itself
            return
        if block.number != self._taken + 1 or self._is_whole:
            if not block.number or block.number > self._taken + MAX_WINDOW:
                raise RemoteProtocolError(f"general block {block.number} came, {self._taken + 1} was expected")
            return  # one before it was lost, or it came twice
        if len(self._octets) + len(block.raw) > MAX_WHOLE:
            raise RemoteProtocolError(f"general blocks add up to more than {MAX_WHOLE} octets")
        self._octets += block.raw
        self._taken = block.number
        self._is_whole = block.is_last
        self._progress = True

    def _our_turn(self) -> Turn:
        self._idle = 0 if self._progress else self._idle + 1
        self._progress = False
        self._streamed = 0
        if self._idle > MAX_IDLE_TURNS:
            raise RemoteProtocolError(f"general blocks go round without progress, {self._taken} were taken")
        if self._is_whole:
            self._acknowledged = len(self._pieces)  # who answers has it all
            if self._octets[0] == GENERAL_BLOCK_TRANSFER:
                raise RemoteProtocolError("general blocks hold blocks again")
            return Turn(whole=bytes(self._octets))
        if self.is_sending:
            if not self._their_window:
                raise RemoteProtocolError(f"the other side takes no general block after {self._acknowledged}")
            return Turn(self._burst())
        return Turn(self._acknowledge())

    def _burst(self) -> list[bytes]:
        """Give the blocks after the last that was acknowledged, as many as both windows allow; the last of them hands over."""
        first = self._acknowledged + 1
        end = min(len(self._pieces), self._acknowledged + min(self._sends, self._their_window))
        self._last_turn = [
            GeneralBlock(
                number, self._taken, self._pieces[number - 1], number == len(self._pieces), number < end, self._window
            ).encode()
            for number in range(first, end + 1)
        ]  # fmt: skip
        self._sent = max(self._sent, end)
        return self._last_turn

    def _acknowledge(self) -> list[bytes]:
        """Give a block without a piece: it counts as one of ours, and needs no acknowledgement itself."""
        self._pieces.append(b"")
        self._sent = self._acknowledged = len(self._pieces)
        if len(self._pieces) > MAX_BLOCKS:
            raise RemoteProtocolError("general blocks without an end")
        block = GeneralBlock(self._sent, self._taken, b"", is_last=True, window=self._window)
        self._last_turn = [block.encode()]
        return self._last_turn
