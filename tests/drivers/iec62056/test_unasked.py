"""Mode D: what a meter sends unasked, whoever comes in the middle, damaged or not; and a session that listens."""

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Endpoint, SessionContext
from drivers.counters import NoCounters
from drivers.errors import ConnectionLost, RemoteProtocolError, TransportTimeout
from drivers.facts import MeterIdentity, RegisterValue
from drivers.iec62056.datasets import decode_block
from drivers.iec62056.driver import open_session
from drivers.iec62056.events import NEED_DATA
from drivers.iec62056.unasked import Unasked, UnaskedReader
from drivers.obis import Obis, resolve
from drivers.transports import null_modem
from kernels.checksum import crc16_modbus
from kernels.quality import Rule
from tests.drivers.fed import fed
from tests.drivers.iec62056.cases import load_all
from tests.drivers.iec62056.line import Head, profile
from tests.headend.collect import virtual

EASYMETER = load_all()["unasked-easymeter-q3d"]
FRAME = EASYMETER.frame
LISTENING = profile(opening="unasked", first_baud=9600, level="none", load_profile=None)


def signed(text: bytes) -> bytes:
    return text + b"%04X\r\n" % crc16_modbus(text, 0)


SIGNED = signed(FRAME[:-2])


def readouts(octets: bytes, step: int = 0) -> list[Any]:
    return list(fed(UnaskedReader(), NEED_DATA, octets, step=step))


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("before", [b"", b"\x00\xff", FRAME[100:], b"(1/2)\r\n!\r\n"])
def test_what_a_meter_sends_is_found_by_who_comes_in_the_middle(before: bytes, step: int) -> None:
    found = [one for one in readouts(before + FRAME + FRAME, step) if isinstance(one, Unasked)]

    assert len(found) == 2
    assert found[0] == found[1]
    assert (found[0].identification.maker, found[0].is_checked) == (EASYMETER.expect["manufacturer"], False)
    block = decode_block(found[0].data)
    for code in ("1-0:1.8.0*255", "1-0:2.8.0*255", "1-0:1.7.0*255"):
        one = block.find(Obis.parse(code))
        assert one is not None
        assert [Decimal(one.values[0].text), one.values[0].unit] == [
            Decimal(EASYMETER.expect[code].split()[0]),
            EASYMETER.expect[code].split()[1],
        ]


def test_a_checksum_that_is_there_must_be_right() -> None:
    (found,) = readouts(SIGNED)

    assert found.is_checked
    for bit in range(8 * (len(SIGNED) - 6)):
        spoilt = bytearray(SIGNED)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert not any(isinstance(event, Unasked) and event.is_checked for event in readouts(bytes(spoilt))), bit


def test_of_what_is_cut_anywhere_nothing_is_taken_and_the_next_is_read() -> None:
    for end in range(len(FRAME)):
        assert not any(isinstance(one, Unasked) for one in readouts(FRAME[:end])), end
        told = [one for one in readouts(SIGNED[:end] + SIGNED + SIGNED) if isinstance(one, Unasked) and one.is_checked]
        assert told, end


@pytest.mark.parametrize("octets", [b"/LGZ5A\r\n" + b"x" * 70_000, b"y" * 200_000])
def test_what_never_ends_is_an_error(octets: bytes) -> None:
    assert any(isinstance(event, str) for event in readouts(octets))


@given(st.binary(max_size=400))
def test_whatever_arrives_is_a_readout_an_error_or_not_enough(octets: bytes) -> None:
    for event in readouts(octets + FRAME[:40]):
        assert isinstance(event, (Unasked, str))


def listen(
    *pieces: bytes, meant: Any = LISTENING, pace: float = 2.0
) -> tuple[MeterIdentity, list[RegisterValue], float]:
    async def main() -> tuple[MeterIdentity, list[RegisterValue], float]:
        near, far = null_modem()
        near.__class__ = Head
        assert isinstance(near, Head)
        near.speeds = []

        async def send() -> None:
            with suppress(ConnectionLost):
                for piece in pieces:
                    await asyncio.sleep(pace)
                    await far.write(piece)

        sending = asyncio.create_task(send())
        begun = asyncio.get_running_loop().time()
        try:
            async with open_session(
                near, Endpoint("ESY:1", "", meant), SessionContext(lambda: 1_800_000_000, bytes, NoCounters())
            ) as opened:
                identity = await opened.read_identity()
                values = await opened.read_registers([resolve("active_energy_import"), resolve("active_power_import")])
            assert near.speeds == [9600]
            return identity, values, asyncio.get_running_loop().time() - begun
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    return virtual.run(main)


@pytest.mark.parametrize(("frame", "is_doubtful"), [(FRAME, True), (SIGNED, False)])
def test_a_session_listens_once_and_answers_from_what_it_heard(frame: bytes, is_doubtful: bool) -> None:
    identity, values, _ = listen(FRAME[200:], frame)

    assert (identity.serial, identity.model) == ("0272031312565", EASYMETER.expect["identification"])
    assert [value.value for value in values] == [Decimal("52185782.5309"), Decimal("2124.86")]
    assert all(bool(value.rules & Rule.UNPROTECTED) is is_doubtful for value in values)


def test_a_damaged_readout_is_passed_over_for_the_next() -> None:
    identity, _, took = listen(SIGNED[:80] + b"?" + SIGNED[81:], SIGNED)

    assert identity.serial == "0272031312565"
    assert took == pytest.approx(4, abs=0.5)


def test_a_meter_that_says_nothing_is_a_timeout() -> None:
    with pytest.raises(TransportTimeout):
        listen()


def test_a_meter_that_is_never_whole_is_an_error_within_bounds() -> None:
    with pytest.raises(RemoteProtocolError, match="checksum"):
        listen(*[SIGNED[:80] + b"?" + SIGNED[81:]] * 1000)
