"""A noisy line bit by bit, and the UART at its end: what a kernel delivers of characters of which bits have flipped.

The receiver waits for a 0, takes it for a start bit and the bits behind it for a character. So a start bit that is lost shifts what
follows, up to where the line looks idle again, and a flip in silence begins a character nobody sent. Where the stop bit is 0 the
character is in error and that 0 is taken for the next start bit; all zeros are a break, which lasts until the next 1 (PC16550D,
section on the line status register). Each bit is right or wrong as a whole.
"""

import numpy as np

IDLE = 11
"""Bits of silence before an answer, and behind it, in which noise can begin a character."""
MARK = 0xFF


def flips(generator: np.random.Generator, count: int, bits: int, rate: float, burst: int = 1) -> dict[int, list[int]]:
    """Give the bits that flip in each of ``count`` answers of ``bits``, by answer; those that stay whole are left out.

    ``rate``: share of bits that flip.  ``burst``: bits that a disturbance reaches; of more than one, each flips or not by
    chance.
    """
    total = count * bits
    if burst == 1:
        places = generator.integers(0, total, int(generator.binomial(total, rate)))
    else:
        begins = generator.integers(0, total, int(generator.binomial(total, 2 * rate / burst)))
        reached = (begins[:, None] + np.arange(burst)).ravel()
        places = reached[(generator.random(reached.size) < 0.5) & (reached < total)]
    places = np.unique(places)  # a bit that is drawn twice flips once: 10^-3 of 10^-3
    found: dict[int, list[int]] = {}
    for answer, bit in zip((places // bits).tolist(), (places % bits).tolist(), strict=True):
        found.setdefault(answer, []).append(bit)
    return found


class Uart:
    """Characters of eight data bits, one stop bit, and an even parity bit or none."""

    def __init__(self, *, has_parity: bool) -> None:
        self.width = 11 if has_parity else 10
        """Bits of a character."""
        self._has_parity = has_parity
        self._stop = self.width - 1
        parity = [octet.bit_count() % 2 << 9 if has_parity else 0 for octet in range(256)]
        self._characters = [octet << 1 | parity[octet] | 1 << self._stop for octet in range(256)]

    def bits(self, size: int) -> int:
        """Give the bits of an answer of so many octets, with the silence around it."""
        return size * self.width + 2 * IDLE

    def deliver(self, octets: bytes, flipped: list[int]) -> bytes:
        """Give what the kernel hands on, with PARMRK: ``FF 00 xx`` for a character in error, ``FF FF`` for a good FF."""
        line = self._line(octets)
        end = self.bits(len(octets))
        for bit in flipped:
            line ^= 1 << bit
        at = 0
        out = bytearray()
        while True:
            rest = line >> at
            at += (~rest & (rest + 1)).bit_length() - 1  # the next 0
            if rest == -1 or at >= end:
                return bytes(out)
            character = line >> at & (1 << self.width) - 1
            octet = character >> 1 & 0xFF
            has_stop = character >> self._stop
            if not has_stop or (self._has_parity and (character >> 1 & 0x1FF).bit_count() % 2):
                out += bytes((MARK, 0, octet))
            elif octet == MARK:
                out += b"\xff\xff"
            else:
                out.append(octet)
            if not character:
                rest = line >> at
                at += (rest & -rest).bit_length() - 1  # a break, up to the next 1
            else:
                at += self.width if has_stop else self._stop

    def _line(self, octets: bytes) -> int:
        """Bits in the order in which they come, the lowest first; behind the silence it stays idle for ever."""
        line, at = (1 << IDLE) - 1, IDLE
        for octet in octets:
            line |= self._characters[octet] << at
            at += self.width
        return line | -1 << at
