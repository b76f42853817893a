"""The null modem's own habits."""

import pytest

from drivers.errors import LocalProtocolError, TransportError
from drivers.transports import null_modem, open_transport
from drivers.transports.memory import MemoryListener


async def test_nobody_listening_is_no_route() -> None:
    with pytest.raises(TransportError, match="nobody listens"):
        await open_transport("memory://nobody")


async def test_two_listeners_of_one_name_are_our_bug() -> None:
    with MemoryListener("bus"), pytest.raises(LocalProtocolError, match="listens there already"):
        MemoryListener("bus")


async def test_modem_has_the_speed_it_is_given() -> None:
    near, far = null_modem(bits_per_second=9600, bits_per_character=11)

    assert (
        (near.bits_per_second, near.bits_per_character) == (far.bits_per_second, far.bits_per_character) == (9600, 11)
    )


async def test_last_words_are_read_after_the_far_end_has_closed() -> None:
    near, far = null_modem()
    await far.write(b"bye")
    await far.close()

    assert await near.read(1) == b"bye"
