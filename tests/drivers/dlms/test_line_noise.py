"""HDLC on a line that tells of damaged octets: before an answer they are skipped, within it the answer is asked for again."""

import pytest

from drivers.contract import ByteStream
from drivers.dlms.hdlc import Kind
from drivers.errors import LineNoise
from tests.drivers.dlms.test_recovery import WHOLE, Line, read

ANSWER = 4  # the first answer with rows, after UA, AARE and two about columns
Piece = bytes | None


class Damaging:
    """A stream that tells of a damaged octet ``at`` octets into answer ``number``."""

    bits_per_second = None
    bits_per_character = 10

    def __init__(self, stream: ByteStream, number: int, at: int) -> None:
        self._stream = stream
        self._left = number
        self._at = at
        self._pieces: list[Piece] = []

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def read(self, timeout: float) -> bytes:
        if not self._pieces:
            data = await self._stream.read(timeout)
            self._left -= 1
            damaged: list[Piece] = [data[: self._at], None, data[self._at + bool(self._at) :]]
            self._pieces = [piece for piece in damaged if piece != b""] if not self._left else [data]
        piece = self._pieces.pop(0)
        if piece is None:
            raise LineNoise("a byte came damaged")
        return piece

    def discard_input(self) -> bytes:
        self._pieces.clear()
        return self._stream.discard_input()

    async def close(self) -> None:
        await self._stream.close()


@pytest.mark.parametrize(("at", "polls"), [(0, 0), (9, 1), (14, 1)])
async def test_a_damaged_octet_is_skipped_before_an_answer_and_costs_one_poll_within_it(at: int, polls: int) -> None:
    line = Line(window=1, info=128)
    line.near = Damaging(line.near, ANSWER, at)  # type: ignore[assignment]  # a stream all the same

    counts = await read(line, 1)

    clean = Line(window=1, info=128)
    await read(clean, 1)
    assert counts == WHOLE
    polled = [sum(frame.kind is Kind.RR for frame in one.frames) for one in (line, clean)]
    assert polled[0] - polled[1] == polls
