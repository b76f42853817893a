"""Marks of damaged bytes, as the kernel gives them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from drivers.transports.marks import MarkReader

SENT = st.lists(st.one_of(st.integers(0, 255), st.none()), max_size=40)
"""What was on the line: a good byte, or a damaged one."""


def kernel(sent: list[int | None]) -> bytes:
    """Write what Linux gives with INPCK and PARMRK."""
    return b"".join(b"\xff\x00\x55" if one is None else b"\xff\xff" if one == 0xFF else bytes((one,)) for one in sent)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


@given(sent=SENT, sizes=st.lists(st.integers(1, 5), max_size=60))
def test_good_bytes_arrive_unchanged_and_damaged_ones_never_however_the_input_is_cut(
    sent: list[int | None], sizes: list[int]
) -> None:
    reader = MarkReader()

    pieces = [piece for part in cut(kernel(sent), sizes) for piece in reader.receive_data(part)]

    runs: list[bytes | None] = []
    for one in pieces:
        if runs and (one is None) == (runs[-1] is None):
            runs[-1] = None if one is None else (runs[-1] or b"") + one
        else:
            runs.append(one)
    expected: list[bytes | None] = []
    for good in sent:
        if good is None:
            if not expected or expected[-1] is not None:
                expected.append(None)
        elif expected and expected[-1] is not None:
            expected[-1] += bytes((good,))
        else:
            expected.append(bytes((good,)))
    assert runs == expected
    assert all(one is not two or one is None for one, two in pairwise(runs))


def test_a_lone_ff_that_no_kernel_gives_counts_as_damage_and_eats_nothing() -> None:
    assert MarkReader().receive_data(b"a\xffb") == [b"a", None, b"b"]
