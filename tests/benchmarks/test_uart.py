"""The receiver of the noise benchmark, against characters worked out by hand."""

import numpy as np
import pytest

from benchmarks.uart import IDLE, Uart, flips

EVEN, NONE = Uart(has_parity=True), Uart(has_parity=False)


@pytest.mark.parametrize("uart", [EVEN, NONE])
def test_what_nothing_disturbs_arrives_as_it_was_sent_and_a_good_ff_doubled(uart: Uart) -> None:
    octets = bytes(range(255))

    assert uart.deliver(octets + b"\xff\x01", []) == octets + b"\xff\xff\x01"


@pytest.mark.parametrize("bit", range(1, 11))
def test_with_parity_a_flipped_bit_of_data_parity_or_stop_is_marked(bit: int) -> None:
    delivered = EVEN.deliver(b"\x35\xff", [IDLE + bit])

    assert delivered.startswith(b"\xff\x00")


def test_without_parity_a_flipped_bit_of_data_is_another_character() -> None:
    assert NONE.deliver(b"\x35\x16", [IDLE + 1]) == b"\x34\x16"


def test_two_flipped_bits_escape_parity() -> None:
    assert EVEN.deliver(b"\x35", [IDLE + 1, IDLE + 2]) == b"\x36"


def test_a_lost_start_bit_shifts_what_follows() -> None:
    """68 hex is 0 00010110 1 on the line. Without its first 0 the next one begins a character, with the rest one place on."""
    assert NONE.deliver(b"\x68", [IDLE]) == b"\xb4"
    assert EVEN.deliver(b"\x68", [IDLE]) == b"\xff\x00\xb4"  # the stop bit stands where parity should


def test_a_flip_in_the_silence_is_a_character_nobody_sent() -> None:
    assert NONE.deliver(b"\x68", [0]) == b"\xff\xff\x68"
    assert EVEN.deliver(b"\x68", [0]) == b"\xff\x00\xff\x68"


def test_a_break_is_marked_and_lasts_until_the_line_is_idle_again() -> None:
    """It goes on into 68 hex up to its first 1; what begins with the 0 behind that is FB hex."""
    all_of_ff = list(range(IDLE + 1, IDLE + 10))

    assert NONE.deliver(b"\xff\x68", all_of_ff) == b"\xff\x00\x00\xfb"


@pytest.mark.parametrize("burst", [1, 8])
def test_as_many_bits_flip_as_the_rate_says_however_they_come(burst: int) -> None:
    found = flips(np.random.default_rng(5), 100_000, 200, 1e-3, burst)

    flipped = sum(len(bits) for bits in found.values())
    assert flipped == pytest.approx(20_000, rel=0.05)
    assert all(0 <= bit < 200 for bits in found.values() for bit in bits)
