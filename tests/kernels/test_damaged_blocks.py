"""The fuzzer of `tests.fuzz.blocks`, in short. The builds with bounds checks and with sanitizers run it, too."""

import numpy as np
import pytest

from kernels import blocks as codec
from tests.fuzz import blocks

COUNT = 100_000


def test_damaged_blocks_are_refused_or_give_rows_of_the_right_length() -> None:
    done, accepted, _ = blocks.fuzz(COUNT, seed=1)

    assert sum(done.values()) == COUNT
    # A fuzzer whose every input is refused at the door, or let through, has looked at nothing.
    assert set(accepted) == set(done)
    assert all(0.1 < accepted[name] / done[name] < 0.8 for name in done)


def test_fuzzer_sees_what_is_written_beside_a_row() -> None:
    guarded = blocks.Guarded.make((3, 4), np.int32)
    guarded.check()
    guarded.around[blocks.MARGIN + 3 * 4 * 4] = 0

    with pytest.raises(AssertionError, match="beside the row"):
        guarded.check()


def test_fuzzer_sees_a_decoder_that_takes_what_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "decode_runs", lambda data, out: out.fill(len(data)))
    monkeypatch.setattr(codec, "encode_runs", lambda codes: bytes(int(codes[0]) + 1))

    with pytest.raises(AssertionError, match="does not come back"):
        blocks.fuzz(20_000)
