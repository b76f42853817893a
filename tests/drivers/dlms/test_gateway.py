"""Meters behind a gateway: the prefix on its own, and a session through it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms.driver import open_session
from drivers.dlms.gateway import REQUEST, RESPONSE, Gateway
from drivers.errors import LocalProtocolError, ProfileError, RemoteProtocolError
from drivers.facts import IntervalBlock
from drivers.transports import null_modem
from tests.drivers.dlms.meter import DAY, Meter, serving
from tests.drivers.dlms.test_driver import HDLC, context, endpoint, with_dlms

BEHIND = Gateway(3, b"012")


@given(st.integers(0, 255), st.binary(min_size=1, max_size=64), st.binary(min_size=1, max_size=100))
def test_prefix_is_taken_off_as_it_was_put_on(network: int, address: bytes, apdu: bytes) -> None:
    gateway = Gateway(network, address)

    wrapped = gateway.wrap(apdu, RESPONSE)

    assert wrapped[:3] == bytes((0xE7, network, len(address)))
    assert gateway.unwrap(wrapped) == apdu
    assert Gateway.parse(str(gateway)) == gateway


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ("c401c100", "without the gateway's prefix"),
        ("e60303303132c4", "without the gateway's prefix"),
        ("e70303303133c4", "does not name meter 3/303132"),
        ("e70403303132c4", "does not name"),
        ("e70303303132", "does not name"),
        ("e703", "does not name"),
        ("", "without the gateway's prefix"),
    ],
)
def test_answer_of_another_meter_or_of_none_is_refused(octets: str, message: str) -> None:
    with pytest.raises(RemoteProtocolError, match=message):
        BEHIND.unwrap(bytes.fromhex(octets))


@pytest.mark.parametrize("text", ["", "0", "0/", "256/00", "-1/00", "0/0", "0/xx", "x/00", "0/" + "00" * 65, "٣/00"])
def test_a_place_that_fits_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        Gateway.parse(text)


async def test_bad_option_names_itself() -> None:
    with pytest.raises(ProfileError, match="option gateway: '0:12' is not NETWORK/ADDRESS"):
        await open_session(null_modem()[0], endpoint(gateway="0:12"), context()).__aenter__()


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_meter_behind_a_gateway_is_read(framing: str) -> None:
    near, far = null_modem()
    meter = Meter(hdlc=HDLC if framing == "hdlc" else None, gateway=BEHIND)
    place = endpoint(with_dlms(framing=framing), "1/17" if framing == "hdlc" else "1", gateway=str(BEHIND))

    async with serving(meter, far), open_session(near, place, context()) as session:
        [block] = await session.read_load_profile(DAY, DAY + 86_400)

    assert isinstance(block, IntervalBlock)
    assert block.counts == tuple(range(1, 49))


async def test_answer_of_the_neighbor_behind_the_same_gateway_is_no_reading() -> None:
    near, far = null_modem()
    meter = Meter(gateway=BEHIND)
    meter.disturb = lambda _, octets: octets.replace(b"\xe7\x03\x03012", b"\xe7\x03\x03013")

    async with serving(meter, far):
        with pytest.raises(RemoteProtocolError, match="does not name meter 3/303132"):
            async with asyncio.timeout(5), open_session(near, endpoint(gateway=str(BEHIND)), context()):
                pass


def test_directions_are_those_of_the_standard() -> None:
    assert (REQUEST, RESPONSE) == (0xE6, 0xE7)
