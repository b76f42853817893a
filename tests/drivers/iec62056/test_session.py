"""Conversations over a null modem with a meter that is played: signing on, readouts, programming mode, damage and refusals."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import pytest

from drivers.contract import SessionContext
from drivers.counters import NoCounters
from drivers.errors import (
    ConnectionLost,
    LocalProtocolError,
    MeterRefused,
    RemoteProtocolError,
    SecurityError,
    TransportTimeout,
)
from drivers.iec62056.message import Message
from drivers.iec62056.opening import WAKE_UP
from drivers.iec62056.programming import Read, password, read
from drivers.iec62056.session import Conversation, Terms
from drivers.obis import Obis
from drivers.transports import MemoryStream, null_modem
from tests.drivers.iec62056.cases import load_all

T = TypeVar("T")
READOUT = load_all()["iskra-mt174"].frame
IDENTIFICATION, BLOCK = READOUT[: READOUT.index(2)], READOUT[READOUT.index(2) :]
DAMAGED = BLOCK[:40] + b"?" + BLOCK[41:]
REQUEST = b"/?!\r\n"
ASK_READOUT, ASK_PROGRAMMING = b"\x06050\r\n", b"\x06051\r\n"
OPERAND = Message("P0", b"(1234567)").encode()
ENERGY = Message("", b"1.8.0(0000502.853*kWh)").encode()
SECRET = password(b"00000000").encode()
QUESTION = read("1.8.0").encode()
SIGNED_ON = [(REQUEST, IDENTIFICATION), (ASK_PROGRAMMING, OPERAND), (SECRET, b"\x06")]


class Head(MemoryStream):
    """An optical head. ``speeds``: what it was set to, and how long after the last character. [s of the protocol]"""

    speeds: list[tuple[int, str, int, float]]

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        self.speeds.append((baud, parity, bits, round(after * 20, 3)))


Script = list[tuple[bytes, bytes]]


async def hold(
    script: Script,
    talk: Callable[[Conversation], Awaitable[T]],
    *,
    echoes: bool = False,
    is_checked: bool = True,
    speeds: list[tuple[int, str, int, float]] | None = None,
) -> T:
    """Hold a conversation with a meter that hears exactly this and answers exactly that; the script is used up."""
    near, far = null_modem()
    if speeds is not None:
        near.__class__ = Head
        assert isinstance(near, Head)
        near.speeds = speeds

    async def play() -> None:
        with suppress(ConnectionLost, TransportTimeout):
            while script:
                heard = await far.read(5)
                expected, answer = script.pop(0)
                assert heard == expected
                if echoes:
                    await far.write(heard)
                await far.write(answer)

    playing = asyncio.create_task(play())
    try:
        told = await talk(
            Conversation(near, SessionContext(lambda: 0, bytes, NoCounters(), 0.05), terms=Terms(is_checked=is_checked))
        )
        await asyncio.sleep(0)
        assert not script
        return told
    finally:
        if playing.done():
            playing.result()
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing


async def energy_of(conversation: Conversation) -> str:
    _, block = await conversation.readout()
    found = block.find(Obis(1, 0, 1, 8, 0))
    assert found is not None
    return found.values[0].text


async def read_energy(conversation: Conversation) -> str:
    await conversation.begin_programming(b"00000000")
    block = await conversation.read("1.8.0")
    return block.sets[0].values[0].text


@pytest.mark.parametrize("echoes", [False, True])
async def test_a_readout_begins_at_300_baud_and_comes_at_the_speed_agreed(echoes: bool) -> None:
    speeds: list[tuple[int, str, int, float]] = []
    script = [(REQUEST, IDENTIFICATION), (ASK_READOUT, BLOCK)]

    assert await hold(script, energy_of, echoes=echoes, speeds=speeds) == "0000502.853"
    assert speeds == [(300, "E", 7, 0.0), (9600, "E", 7, 0.25)]


async def test_battery_meters_are_woken_and_left_a_pause() -> None:
    speeds: list[tuple[int, str, int, float]] = []
    script = [
        (WAKE_UP + REQUEST, IDENTIFICATION),
        (ASK_READOUT, BLOCK),
    ]  # the null modem has no time: both arrive at once

    async def talk(conversation: Conversation) -> str:
        found, _ = await conversation.readout(wake_up=True)
        return found.identification

    assert await hold(script, talk, speeds=speeds) == "MT174-0002"
    assert speeds[1] == (300, "E", 7, 1.6)


async def test_a_readout_of_mode_a_follows_its_identification_unasked() -> None:
    lines = b"1.8.0(0000502.853*kWh)\r\n!\r\n"

    assert await hold([(REQUEST, b"/LGZxABC\r\n" + lines)], energy_of, is_checked=False) == "0000502.853"


async def test_a_readout_of_mode_b_comes_at_the_speed_of_its_letter() -> None:
    speeds: list[tuple[int, str, int, float]] = []

    assert await hold([(REQUEST, b"/LGZCABC\r\n" + BLOCK)], energy_of, speeds=speeds) == "0000502.853"
    assert speeds[1] == (2400, "E", 7, 0.0)


async def test_a_damaged_readout_is_asked_for_again() -> None:
    script = [(REQUEST, IDENTIFICATION), (ASK_READOUT, DAMAGED), (b"\x15", BLOCK)]

    assert await hold(script, energy_of) == "0000502.853"


async def test_a_readout_that_stays_damaged_is_an_error() -> None:
    script = [(REQUEST, IDENTIFICATION), (ASK_READOUT, DAMAGED), (b"\x15", DAMAGED), (b"\x15", DAMAGED)]

    with pytest.raises(RemoteProtocolError, match="check character"):
        await hold(script, energy_of)


@pytest.mark.parametrize("end", [1, 20, len(BLOCK) - 1])
async def test_a_readout_cut_short_is_asked_for_again(end: int) -> None:
    script = [(REQUEST, IDENTIFICATION), (ASK_READOUT, BLOCK[:end]), (b"\x15", BLOCK)]

    assert await hold(script, energy_of) == "0000502.853"


async def test_a_meter_that_misses_the_first_request_is_asked_again() -> None:
    script = [(REQUEST, b""), (REQUEST, IDENTIFICATION), (ASK_READOUT, BLOCK)]

    assert await hold(script, energy_of) == "0000502.853"


async def test_silence_is_a_timeout() -> None:
    with pytest.raises(TransportTimeout):
        await hold([(REQUEST, b""), (REQUEST, b"")], energy_of)


@pytest.mark.parametrize("echoes", [False, True])
async def test_an_address_is_read_behind_a_password(echoes: bool) -> None:
    assert await hold([*SIGNED_ON, (QUESTION, ENERGY)], read_energy, echoes=echoes) == "0000502.853"


@pytest.mark.parametrize("echoes", [False, True])
async def test_a_damaged_answer_is_asked_for_again(echoes: bool) -> None:
    script = [*SIGNED_ON, (QUESTION, ENERGY[:-1] + b"\x00"), (b"\x15", ENERGY)]

    assert await hold(script, read_energy, echoes=echoes) == "0000502.853"


async def test_a_question_that_the_meter_did_not_understand_is_asked_again() -> None:
    script = [*SIGNED_ON, (QUESTION, b"\x15"), (QUESTION, ENERGY)]

    assert await hold(script, read_energy) == "0000502.853"


@pytest.mark.parametrize("answer", [b"\x15", Message("B0", b"").encode(), Message("", b"(ER01)").encode()])
async def test_a_password_that_is_not_taken_is_never_sent_again(answer: bytes) -> None:
    script = [(REQUEST, IDENTIFICATION), (ASK_PROGRAMMING, OPERAND), (SECRET, answer)]

    with pytest.raises(SecurityError, match="does not take") as caught:
        await hold(script, read_energy)
    assert "00000000" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Message("", b"(ER07)").encode(), MeterRefused),
        (Message("", b"2.8.0(0000502.853*kWh)").encode(), RemoteProtocolError),
        (Message("B0", b"").encode(), RemoteProtocolError),
    ],
)
async def test_a_refusal_another_address_and_an_end_are_no_value(answer: bytes, error: type[Exception]) -> None:
    script = [*SIGNED_ON, (QUESTION, answer)]

    with pytest.raises(error):
        await hold(script, read_energy)


@pytest.mark.parametrize("said", [b"1-0:1.8.0*255(0000502.853*kWh)", b"(0000502.853*kWh)"])
async def test_an_answer_may_name_its_address_in_full_or_not_at_all(said: bytes) -> None:
    assert await hold([*SIGNED_ON, (QUESTION, Message("", said).encode())], read_energy) == "0000502.853"


@pytest.mark.parametrize("echoes", [False, True])
async def test_blocks_are_acknowledged_one_by_one_and_a_damaged_one_comes_again(echoes: bool) -> None:
    question = read("P.01", Read.NATIONAL, "2201270000;2201280000").encode()
    first, last = Message("", b"P.01(1)(0.12", is_last=False).encode(), Message("", b"5*kW)(3)").encode()
    script = [*SIGNED_ON, (question, first), (b"\x06", last[:-1] + b"\x00"), (b"\x15", last), (b"\x01B0\x03q", b"")]

    async def talk(conversation: Conversation) -> list[str]:
        await conversation.begin_programming(b"00000000")
        block = await conversation.read("P.01", Read.NATIONAL, "2201270000;2201280000")
        await conversation.end()
        await asyncio.sleep(0.05)
        return [value.text for value in block.sets[0].values]

    assert await hold(script, talk, echoes=echoes) == ["1", "0.125", "3"]


async def test_reads_by_address_need_programming_mode() -> None:
    with pytest.raises(LocalProtocolError, match="not begun"):
        await hold([], lambda conversation: conversation.read("1.8.0"))


async def test_a_meter_of_mode_a_has_no_programming_mode() -> None:
    with pytest.raises(RemoteProtocolError, match="no such mode"):
        await hold([(REQUEST, b"/LGZxABC\r\n")], read_energy)
