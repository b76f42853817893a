"""Modbus meters that misbehave on request, read by our driver: each misdeed is an error of the right kind, never a value."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.contract import ByteStream
from drivers.errors import MeterRefused, RemoteProtocolError, TransportTimeout
from drivers.modbus.driver import open_session
from simulators.faults import LineDeed, LineFault, Slow, parse_fault
from simulators.line import Answer
from simulators.meter import Position
from simulators.modbus import LATENCY, TRICKLE, ModbusBus, ModbusTcpConversation
from tests.drivers.modbus.fixtures import ENERGY, VOLTAGE, context, endpoint, far_end, profile
from tests.simulators.homes import HALF_HOUR, MONDAY, meter

NOW = MONDAY + 3 * HALF_HOUR
UNIT = "17"
WH = 70_460  # what the meter's register shows at NOW


def place(*faults: Any) -> Position:
    return Position(UNIT, (meter(register_start=70_000, refresh=60, faults=faults),))


@asynccontextmanager
async def reading(framing: str, *faults: Any) -> AsyncIterator[Any]:
    """A session with a meter that has these faults."""
    bus = ModbusBus([place(*faults)], random.Random(1))
    talk = ModbusTcpConversation([place(*faults)])

    def heard(data: bytes) -> list[Answer]:
        if framing == "tcp":
            return talk.receive(data, NOW)
        answer = bus.receive(data, NOW)
        return [] if answer is None else [answer]

    async def respond(data: bytes, stream: ByteStream) -> None:
        for answer in heard(data):
            await stream.write(answer.data)

    async with (
        far_end(respond) as stream,
        open_session(stream, endpoint(profile(framing=framing), UNIT), context()) as session,
    ):
        yield session


WRONG = [
    (LineDeed.OTHER_ADDRESS, RemoteProtocolError, RemoteProtocolError),
    (LineDeed.BAD_CHECKSUM, RemoteProtocolError, None),  # Modbus TCP has none
    (LineDeed.OTHER_FUNCTION, RemoteProtocolError, RemoteProtocolError),
    (LineDeed.OTHER_TRANSACTION, None, RemoteProtocolError),  # there are no transactions on a line
    (LineDeed.SHORT_ANSWER, RemoteProtocolError, RemoteProtocolError),
    (LineDeed.LONG_ANSWER, RemoteProtocolError, RemoteProtocolError),
    (LineDeed.BUSY, MeterRefused, MeterRefused),
    (LineDeed.LOST_ANSWER, TransportTimeout, TransportTimeout),
    (LineDeed.CUT_ANSWER, RemoteProtocolError, TransportTimeout),
]
CASES = [
    (framing, deed, error)
    for deed, *errors in WRONG
    for framing, error in zip(("rtu", "tcp"), errors, strict=True)
    if error is not None
]


@pytest.mark.parametrize(("framing", "deed", "error"), CASES)
async def test_each_misdeed_is_an_error_of_its_kind_and_never_a_value(framing: str, deed: LineDeed, error: Any) -> None:
    async with reading(framing, LineFault(deed, times=1)) as session:
        with pytest.raises(error):
            await session.read_registers([ENERGY])


@pytest.mark.parametrize(
    ("framing", "deed"),
    [(framing, deed) for framing, deed, error in CASES if framing == "rtu" or error is MeterRefused],
)
async def test_what_is_asked_after_a_misdeed_is_answered_rightly(framing: str, deed: LineDeed) -> None:
    async with reading(framing, LineFault(deed, times=1)) as session:
        with pytest.raises((TransportTimeout, RemoteProtocolError, MeterRefused)):
            await session.read_registers([ENERGY])
        (value,) = await session.read_registers([ENERGY])

    assert value.count == WH


async def test_the_answer_to_the_question_before_is_never_taken_for_another_count() -> None:
    async with reading("rtu", LineFault(LineDeed.STALE_ANSWER)) as session:
        await session.read_registers([VOLTAGE])  # its own answer: there was none before
        with pytest.raises(RemoteProtocolError):
            await session.read_registers([ENERGY])


def test_deeds_of_modbus_are_written_like_any_fault() -> None:
    assert parse_fault("short-answer,first=2,times=1", 0) == LineFault(LineDeed.SHORT_ANSWER, 2, 1)
    assert parse_fault("slow,ms=500,start=+60", MONDAY) == Slow(500, MONDAY + 60)
    with pytest.raises(ValueError, match="0 or more"):
        parse_fault("slow,ms=-1", 0)


def test_a_slow_meter_takes_longer_while_it_is_slow_and_a_trickling_one_pauses_after_each_octet() -> None:
    request = bytes.fromhex("000100000006110300000002")
    talk = ModbusTcpConversation([place(Slow(500, end=NOW + 1), LineFault(LineDeed.TRICKLED_ANSWER, times=1))])

    (slow,), (after,) = talk.receive(request, NOW), talk.receive(request, NOW + 1)

    assert (slow.latency, slow.pause) == (LATENCY + 0.5, TRICKLE)
    assert (after.latency, after.pause) == (LATENCY, 0.0)
