"""A meter that is broken or means harm: every session with it ends, in an error of the right class, and invents no value."""

import asyncio
from dataclasses import replace

import pytest

from drivers.contract import Endpoint, SessionContext
from drivers.dlms import acse, xdlms
from drivers.dlms.association import Accepted, Associate, ClientAssociation, Get, Parameters, State
from drivers.dlms.driver import open_session
from drivers.dlms.events import Apdu, Connect
from drivers.dlms.hdlc import Frame, HdlcAddress, Kind
from drivers.dlms.link import MAX_REPEATS, HdlcLink
from drivers.errors import DriverError, MeterRefused, RemoteProtocolError, TransportTimeout
from drivers.profile import TimingProfile
from tests.drivers.dlms.meter import PROFILE

CLIENT, SERVER = HdlcAddress(16), HdlcAddress(1, 17)
NAME = xdlms.Attribute(1, PROFILE.dlms.identity, 2) if PROFILE.dlms else None


class NoCounters:
    """None left."""

    async def reserve(self, key_id: str, size: int, floor: int) -> range:
        raise AssertionError(key_id, size, floor)


class Babbling:
    """A line that always has something to say, so that reading never waits."""

    bits_per_second: int | None = 115_200
    bits_per_character = 10

    def __init__(self, noise: bytes) -> None:
        self.noise = noise

    async def write(self, data: bytes) -> None:
        assert data

    async def read(self, timeout: float) -> bytes:
        assert timeout > 0
        return self.noise

    def discard_input(self) -> bytes:
        return self.noise

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("noise", [b"\x00", b"\x7e" * 3000, b"\x7e\xa0\x01", b"\xff\x7e\xa8"])
async def test_a_line_that_is_never_silent_ends_in_an_error_and_lets_others_run(noise: bytes) -> None:
    assert PROFILE.dlms is not None
    profile = replace(PROFILE, timing=TimingProfile(latency=0.01), dlms=replace(PROFILE.dlms, framing="hdlc"))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    context = SessionContext(lambda: 0, bytes, NoCounters())
    with pytest.raises(DriverError) as caught:
        async with open_session(Babbling(noise), Endpoint("m", "1", profile), context):
            pytest.fail("opened")
    task.cancel()

    assert isinstance(caught.value, TransportTimeout | RemoteProtocolError)
    assert turns > 1


def test_a_meter_that_never_takes_our_frame_is_given_up_after_a_few_repeats() -> None:
    link = HdlcLink("client", CLIENT, SERVER)
    link.send(Connect())
    link.receive_data(Frame(CLIENT, SERVER, Kind.UA).encode())
    link.next_event()
    link.send(Apdu(b"question"))
    never_got_it = Frame(CLIENT, SERVER, Kind.RR, receive_number=0).encode()

    for _ in range(MAX_REPEATS):
        link.receive_data(never_got_it)
        link.next_event()
        assert link.data_to_send()
    link.receive_data(never_got_it)
    with pytest.raises(RemoteProtocolError, match="never taken"):
        link.next_event()


def test_a_meter_that_takes_no_apdu_of_our_size_refuses_and_the_association_stays_open() -> None:
    assert NAME is not None
    association = ClientAssociation(Parameters())
    association.send(Associate())
    granted = xdlms.InitiateResponse(xdlms.Conformance.GET, 12).encode()
    association.receive_data(acse.Aare(user_information=granted).encode())
    assert isinstance(association.next_event(), Accepted)

    with pytest.raises(MeterRefused, match="takes 12 octets at a time"):
        association.send(Get(NAME))
    assert association.state is State.OPEN
