"""The opening of an optical probe in mode E: what is said at 300 baud, what a meter may answer, and what comes after."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Endpoint, SessionContext
from drivers.counters import NoCounters
from drivers.dlms.driver import open_session
from drivers.dlms.events import NEED_DATA
from drivers.dlms.hdlc import HdlcAddress
from drivers.dlms.opening import Identified, Opening
from drivers.dlms.settings import settings_of
from drivers.errors import (
    ConnectionLost,
    LocalProtocolError,
    PortUnavailable,
    ProfileError,
    RemoteProtocolError,
    TransportTimeout,
)
from drivers.iec62056.opening import WAKE_UP
from drivers.transports import MemoryStream, null_modem
from tests.drivers.dlms.meter import DAY, PROFILE, Meter

# As a meter said it, in a readout that its reader published.
IDENTIFICATION = b"/LGZ5\\2ZMD3104407.B24\r\n"
FOUND = Identified("LGZ", "ZMD3104407.B24", 9600, b"\x06252\r\n")


def said(octets: bytes, address: str = "") -> Any:
    opening = Opening(address)
    opening.receive_data(octets)
    return opening.next_event()


@pytest.mark.parametrize("before", [b"", b"\x00\xff", b"/?12345678!\r\n", b"\x00/?12345678!\r\n\x7f"])
def test_an_identification_is_found_behind_noise_and_behind_our_own_words(before: bytes) -> None:
    opening = Opening("12345678")
    octets = before + IDENTIFICATION

    for octet in octets[:-1]:
        opening.receive_data(bytes([octet]))
        assert opening.next_event() is NEED_DATA
    opening.receive_data(octets[-1:])

    assert opening.request == b"/?12345678!\r\n"
    assert opening.next_event() == said(octets, "12345678") == FOUND


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"/LGZ5ZMD\r\n", "does not offer HDLC"),
        (b"/LGZ5\\3ZMD\r\n", "does not offer HDLC"),
        (b"/LGZA\\2ZMD\r\n", "names the speed A"),
        (b"/L1\\2ZMD\r\n", "not an identification"),
        (b"/LGZ5\\2Z\xcdD\r\n", "not an identification"),
        (b"/" + b"x" * 60, "without end"),
        (b"x" * 300, "noise"),
    ],
)
def test_another_answer_is_an_error_that_says_why(octets: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        said(octets)


@given(st.binary(max_size=400))
def test_whatever_arrives_is_an_identification_an_error_or_not_enough(octets: bytes) -> None:
    with suppress(RemoteProtocolError):
        said(octets)


@pytest.mark.parametrize("address", ["1!", "x" * 33, "a\r\n", "é"])
def test_an_address_that_would_end_the_request_is_refused(address: str) -> None:
    with pytest.raises(LocalProtocolError, match="no address"):
        Opening(address)


# -- a session


class Probe(MemoryStream):
    """An optical head on a null modem. ``speeds``: what it was set to, and how long after the last character."""

    speeds: list[tuple[int, str, int, float]]

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        self.speeds.append((baud, parity, bits, round(after, 3)))


class OpticalMeter:
    """A meter that is silent ``silences`` times, speaks HDLC after its acknowledgement, and repeats what it is sent if ``echoes``."""

    def __init__(self, *, silences: int = 0, echoes: bool = False) -> None:
        near, self.far = null_modem()
        near.__class__ = Probe
        assert isinstance(near, Probe)
        near.speeds = []
        self.near = near
        self.meter = Meter(hdlc=HdlcAddress(1, 17))
        self.heard: list[bytes] = []
        self._silences = silences
        self._echoes = echoes

    async def serve(self) -> None:
        with suppress(ConnectionLost):
            while FOUND.acknowledgement not in self.heard:
                data = await self.far.read(60)
                self.heard.append(data)
                if self._echoes:
                    await self.far.write(data)
                if data.startswith(b"/?"):
                    self._silences -= 1
                    if self._silences < 0:
                        await self.far.write(IDENTIFICATION)
            await self.far.write(FOUND.acknowledgement)
            await self.meter.serve(self.far)


def endpoint(**changes: Any) -> Endpoint:
    assert PROFILE.dlms is not None
    settings = replace(PROFILE.dlms, **{"framing": "hdlc", "opening": "mode-e", **changes})
    return Endpoint("m", "1/17", replace(PROFILE, dlms=settings), options={"optical_address": "00012345"})


async def identity(optical: OpticalMeter, **changes: Any) -> str:
    serving = asyncio.create_task(optical.serve())
    context = SessionContext(lambda: DAY, bytes, NoCounters(), timeout_scale=0.1)
    try:
        async with open_session(optical.near, endpoint(**changes), context) as session:
            return (await session.read_identity()).name
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


@pytest.mark.parametrize("echoes", [False, True])
@pytest.mark.parametrize("silences", [0, 1])
async def test_a_session_begins_at_300_baud_and_goes_on_in_hdlc_at_the_speed_agreed(
    silences: int,
    echoes: bool,
) -> None:
    optical = OpticalMeter(silences=silences, echoes=echoes)

    assert await identity(optical) == "TST0000000000001"
    assert optical.heard == [b"/?00012345!\r\n"] * (1 + silences) + [b"\x06252\r\n"]
    assert optical.near.speeds == [(300, "E", 7, 0.0), (9600, "N", 8, 0.025)]


async def test_a_battery_meter_is_woken_before_it_is_asked() -> None:
    optical = OpticalMeter()

    await identity(optical, wake_up=True)

    assert optical.heard[0].startswith(WAKE_UP)
    assert optical.near.speeds[1] == (300, "E", 7, 0.16)


async def test_a_probe_without_a_meter_under_it_is_asked_twice() -> None:
    optical = OpticalMeter(silences=5)

    with pytest.raises(TransportTimeout):
        await identity(optical)
    assert len(optical.heard) == 2


async def test_a_link_that_is_no_serial_port_cannot_begin_at_300_baud() -> None:
    near, _ = null_modem()
    context = SessionContext(lambda: DAY, bytes, NoCounters())

    with pytest.raises(PortUnavailable, match="no serial port"):
        async with open_session(near, endpoint(), context):
            pytest.fail("opened")


def test_an_opening_belongs_to_hdlc_and_its_address_is_checked_beforehand() -> None:
    wrong = replace(endpoint(framing="wrapper"), address="1", options={"optical_address": "x!"})

    with pytest.raises(ProfileError) as caught:
        settings_of(wrong)

    assert [fault.split(":")[0] for fault in caught.value.faults] == ["option optical_address", "opening"]
