"""What a session does beside plain reading: learning holes and limits, pipelining, reading twice, commands, ASCII."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import ByteStream
from drivers.errors import (
    CommandUnverified,
    LineNoise,
    LocalProtocolError,
    MeterRefused,
    OutcomeUnknown,
    RemoteProtocolError,
)
from drivers.metadata import MemoryMetadata
from drivers.modbus.ascii import AsciiReader, encode_frame
from drivers.modbus.driver import ModbusCommands, ModbusSession, open_commands, open_session
from drivers.modbus.functions import WriteRegisters
from drivers.modbus.learned import Learned, decode_learned, kind_of
from drivers.modbus.mbap import MbapFrame, MbapReader
from drivers.modbus.pdu import NEED_DATA, ExceptionResponse, Function, ReadResponse, decode_request
from drivers.modbus.rtu import RtuFrame
from drivers.obis import Obis
from drivers.profile import ModbusHole, ModbusPoint
from drivers.trace import tree
from drivers.trace.apdu import Part
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule
from tests.drivers.modbus.fixtures import (
    DECIVOLT,
    ENERGY,
    VOLTAGE,
    context,
    endpoint,
    far_end,
    profile,
    registers_from,
    rtu_meter,
)

COUNTS = ScalerUnit(0, Unit.COUNT)
NOW = 1_700_000_000


def spot(number: int, address: int, **changes: Any) -> ModbusPoint:
    return ModbusPoint(Obis(1, 0, 99, 0, number), address, "uint16", COUNTS, **changes)


class Meter:
    """Registers behind an RTU line; notes each read."""

    def __init__(self, present: dict[int, int], limit: int = 125) -> None:
        self.asked: list[tuple[int, int]] = []
        self._answer = registers_from(present)
        self._limit = limit

    async def __call__(self, data: bytes, stream: ByteStream) -> None:
        request = decode_request(data[1:-2])
        self.asked.append((request.address, request.count))
        pdu = self._answer(data[1:-2])
        if request.count > self._limit:
            pdu = ExceptionResponse(request.function, 3).encode()
        await stream.write(RtuFrame(17, pdu).encode())


@asynccontextmanager
async def reading(respond: Any, meter: Any, cache: Any = None, **options: str) -> AsyncIterator[ModbusSession]:
    world = replace(context(), metadata=cache)
    async with far_end(respond) as stream, open_session(stream, endpoint(meter, **options), world) as session:
        yield session


MAP = (spot(1, 0), spot(2, 4), spot(3, 12), spot(4, 14))
ALL = [point.obis for point in MAP]


async def test_a_hole_is_found_by_halving_and_not_read_over_again() -> None:
    meter = Meter(dict.fromkeys([*range(5), *range(12, 15)], 7))  # 5 to 11 are not there

    async with reading(meter, profile(points=MAP)) as session:
        values = await session.read_registers(ALL)
        first, meter.asked = meter.asked, []
        await session.read_registers(ALL)

    assert [value.count for value in values] == [7] * 4
    assert first == [(0, 15), (0, 5), (12, 3)]
    assert meter.asked == [(0, 5), (12, 3)]


async def test_holes_are_remembered_for_the_model_across_sessions() -> None:
    present, cache = dict.fromkeys([*range(5), *range(12, 15)], 7), MemoryMetadata()

    async with reading(Meter(present), profile(points=MAP), cache) as session:
        await session.read_registers(ALL)
    meter = Meter(present)
    async with reading(meter, profile(points=MAP), cache) as session:
        await session.read_registers(ALL)

    assert meter.asked == [(0, 5), (12, 3)]


async def test_a_hole_the_profile_declares_is_never_tried() -> None:
    meter = Meter(dict.fromkeys(range(20), 7))

    async with reading(meter, profile(points=MAP, holes=(ModbusHole(5, 2),))) as session:
        await session.read_registers(ALL)

    assert meter.asked == [(0, 5), (12, 3)]


async def test_a_limit_is_found_by_halving_and_kept() -> None:
    meter = Meter(dict.fromkeys(range(20), 7), limit=12)

    async with reading(meter, profile(points=MAP)) as session:
        await session.read_registers(ALL)
        first, meter.asked = meter.asked, []
        await session.read_registers(ALL)

    assert first == [(0, 15), (0, 5), (12, 3)]
    assert all(count <= 14 for _, count in meter.asked)


async def test_a_register_that_is_refused_alone_is_a_refusal() -> None:
    async with reading(Meter({0: 1}), profile(points=MAP)) as session:
        with pytest.raises(MeterRefused, match="illegal data address"):
            await session.read_registers(ALL)


HOLES = st.sets(
    st.builds(ModbusHole, st.integers(0, 65_535), st.integers(1, 65_536), st.sampled_from(["holding", "input"]))
)


@given(HOLES, st.none() | st.integers(1, 125), st.none() | st.booleans(), st.none() | st.integers(0, 60_000))
def test_what_was_learned_survives_the_cache(holes: Any, limit: Any, pipelines: Any, latency: Any) -> None:
    learned = Learned(NOW, holes, limit, pipelines, latency)

    assert decode_learned(learned.encode(), NOW + 5) == learned


def test_what_was_learned_long_ago_or_is_damaged_is_forgotten() -> None:
    entry = Learned(NOW, {ModbusHole(5, 2)}).encode()

    assert decode_learned(entry, NOW + 31 * 86_400) is None
    assert decode_learned(entry, NOW - 1) is None
    for bit in range(8 * len(entry)):
        damaged = bytearray(entry)
        damaged[bit // 8] ^= 1 << bit % 8
        assert decode_learned(bytes(damaged), NOW) is None


@given(st.binary(max_size=80))
def test_any_entry_of_the_cache_is_read_or_forgotten(entry: bytes) -> None:
    decode_learned(entry, NOW)


def test_meters_of_one_profile_learn_together() -> None:
    assert kind_of(profile()) == kind_of(profile(points=()))
    assert kind_of(profile()) != kind_of(replace(profile(), name="other"))


class TcpMeter:
    """Registers behind Modbus TCP. ``together``: whether it answers requests that come in one piece, else only the first."""

    def __init__(self, *, together: bool, reverses: bool = False) -> None:
        self.pieces: list[int] = []
        self._together = together
        self._reverses = reverses
        self._reader = MbapReader()
        self._answer = registers_from(dict.fromkeys(range(1000), 7))

    async def __call__(self, data: bytes, stream: ByteStream) -> None:
        self._reader.receive_data(data)
        frames = []
        while (frame := self._reader.next_event()) is not NEED_DATA:
            frames.append(MbapFrame(frame.transaction, frame.unit, self._answer(frame.pdu)).encode())
        self.pieces.append(len(frames))
        if self._reverses:
            frames.reverse()
        await stream.write(b"".join(frames if self._together else frames[:1]))


FAR = tuple(spot(number, 100 * number) for number in range(7))
EACH = [point.obis for point in FAR]


@pytest.mark.parametrize("reverses", [False, True], ids=["in order", "out of order"])
async def test_requests_go_together_once_two_of_them_were_answered(reverses: bool) -> None:
    meter = TcpMeter(together=True, reverses=reverses)

    async with reading(meter, profile(framing="tcp", points=FAR, pipeline=4)) as session:
        values = await session.read_registers(EACH)

    assert [value.count for value in values] == [7] * 7
    assert meter.pieces == [2, 4, 1]


async def test_a_server_that_loses_the_second_request_is_asked_one_by_one_from_then_on() -> None:
    cache = MemoryMetadata()
    meter = TcpMeter(together=False)
    async with reading(meter, profile(framing="tcp", points=FAR, pipeline=4), cache) as session:
        values = await session.read_registers(EACH)
    again = TcpMeter(together=False)
    async with reading(again, profile(framing="tcp", points=FAR, pipeline=4), cache) as session:
        await session.read_registers(EACH)

    assert [value.count for value in values] == [7] * 7
    assert meter.pieces == [2] + [1] * 7
    assert again.pieces == [1] * 7


async def test_nothing_goes_together_where_the_profile_does_not_allow_it() -> None:
    meter = TcpMeter(together=True)

    async with reading(meter, profile(framing="tcp", points=FAR)) as session:
        await session.read_registers(EACH)

    assert meter.pieces == [1] * 7


async def test_modbus_ascii_reads_the_same() -> None:
    answer, frames = registers_from({10: 1, 11: 2, 12: 2305}), AsciiReader()

    async def respond(data: Any, stream: Any) -> None:
        frames.receive_data(data)
        while (frame := frames.next_event()) is not NEED_DATA:
            await stream.write(data + b"\x00" + encode_frame(RtuFrame(17, answer(frame.pdu))))

    async with reading(respond, profile(framing="ascii")) as session:
        values = await session.read_registers([ENERGY, VOLTAGE])

    assert [value.count for value in values] == [65_538, 2305]


@pytest.mark.parametrize(
    "line",
    [
        encode_frame(RtuFrame(18, ReadResponse(Function.READ_HOLDING_REGISTERS, (1, 2)).encode())),
        encode_frame(RtuFrame(17, ReadResponse(Function.READ_INPUT_REGISTERS, (1, 2)).encode())),
        encode_frame(RtuFrame(17, ReadResponse(Function.READ_HOLDING_REGISTERS, (1,)).encode())),
        encode_frame(RtuFrame(17, ReadResponse(Function.READ_HOLDING_REGISTERS, (1, 2)).encode()))[:-1],
        encode_frame(RtuFrame(17, ReadResponse(Function.READ_HOLDING_REGISTERS, (1, 2)).encode())).lower(),
        b":1103zz\r\n",
        b":\r\n",
        b":11\r\n",
    ],
    ids=["unit", "function", "byte count", "cut short", "lower case", "not digits", "empty", "too short"],
)
async def test_wrong_ascii_answer_is_a_protocol_error(line: bytes) -> None:
    async def respond(_: Any, stream: Any) -> None:
        await stream.write(line)

    async with reading(respond, profile(framing="ascii")) as session:
        with pytest.raises(RemoteProtocolError):
            await session.read_registers([ENERGY])


class Noisy:
    """A stream that says, of the byte at one place of the first thing it delivers, that it came damaged."""

    def __init__(self, stream: ByteStream, at: int) -> None:
        self._stream = stream
        self._at = at
        self._pieces: list[bytes | None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def read(self, timeout: float) -> bytes:
        if self._pieces is None:
            data = await self._stream.read(timeout)
            self._pieces = [piece for piece in (data[: self._at], None, data[self._at + 1 :]) if piece != b""]
        if not self._pieces:
            return await self._stream.read(timeout)
        if (piece := self._pieces.pop(0)) is None:
            raise LineNoise("damaged")
        return piece


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
async def test_a_damaged_byte_anywhere_in_an_answer_leaves_none(framing: Any) -> None:
    frame = RtuFrame(17, ReadResponse(Function.READ_HOLDING_REGISTERS, (1, 2)).encode())
    line = frame.encode() if framing == "rtu" else encode_frame(frame)

    async def ask(at: int) -> None:
        async def respond(_: Any, stream: Any) -> None:
            await stream.write(line)

        async with (
            far_end(respond) as stream,
            open_session(Noisy(stream, at), endpoint(profile(framing=framing)), context(scale=0.01)) as session,
        ):
            with pytest.raises(RemoteProtocolError):
                await session.read_registers([ENERGY])

    await asyncio.gather(*(ask(at) for at in range(len(line))))


async def test_without_parity_energy_is_read_twice_and_every_value_says_so() -> None:
    meter = Meter({10: 1, 11: 2, 12: 2305})

    async with reading(meter, profile(parity="line")) as session:
        values = await session.read_registers([ENERGY, VOLTAGE])

    assert [(value.count, value.rules) for value in values] == [(65_538, Rule.UNPROTECTED), (2305, Rule.UNPROTECTED)]
    assert meter.asked == [(10, 3), (10, 2)]


async def test_without_parity_two_readings_of_energy_must_agree() -> None:
    counts = iter([100, 7_000_000, 103, 104])

    async def respond(data: Any, stream: Any) -> None:
        await rtu_meter(dict(zip((10, 11), divmod(next(counts), 65_536), strict=True)))(data, stream)

    async with reading(respond, profile(parity="hidden")) as session:
        (value,) = await session.read_registers([ENERGY])

    assert value.count == 103


async def test_without_parity_readings_that_never_agree_are_an_error() -> None:
    counts = iter([9000, 100, 8000, 200, 7000])

    async def respond(data: Any, stream: Any) -> None:
        await rtu_meter({10: 0, 11: next(counts)})(data, stream)

    async with reading(respond, profile(parity="hidden")) as session:
        with pytest.raises(RemoteProtocolError, match=r"no two agree on 1-0:1\.8\.0"):
            await session.read_registers([ENERGY])


async def test_a_gateway_that_checks_parity_is_an_option_of_the_meter() -> None:
    async with reading(Meter({10: 1, 11: 2}), profile(parity="line"), parity="gateway") as session:
        (value,) = await session.read_registers([ENERGY])

    assert value.rules == Rule(0)


async def test_value_outside_its_plausible_counts_is_kept_and_marked() -> None:
    point = ModbusPoint(VOLTAGE, 12, "uint16", DECIVOLT, lower=1000, upper=3000)

    async with reading(Meter({12: 3500}), profile(points=(point,))) as session:
        (value,) = await session.read_registers([VOLTAGE])

    assert (value.count, value.rules) == (3500, Rule.RANGE)


async def test_write_in_a_session_opened_for_reading_is_our_bug_and_never_sent() -> None:
    meter = Meter({})

    async with reading(meter, profile()) as session:
        with pytest.raises(LocalProtocolError, match="opened for reading"):
            await session.exchange.ask(WriteRegisters(0, (1,)))

    assert not meter.asked


@asynccontextmanager
async def commanding(respond: Any) -> AsyncIterator[ModbusCommands]:
    async with far_end(respond) as stream, open_commands(stream, endpoint(profile()), context()) as commands:
        yield commands


class Writable:
    """Two holding registers. ``keeps``: what is written.  ``answers``: a write."""

    def __init__(self, *, keeps: bool = True, answers: bool = True) -> None:
        self.writes = 0
        self._held = {0: 0, 1: 0}
        self._keeps = keeps
        self._answers = answers

    async def __call__(self, data: bytes, stream: ByteStream) -> None:
        pdu = data[1:-2]
        if pdu[0] != Function.WRITE_MULTIPLE_REGISTERS:
            await stream.write(RtuFrame(17, registers_from(self._held)(pdu)).encode())
            return
        self.writes += 1
        if self._keeps:
            self._held.update(enumerate(struct.unpack(">2H", pdu[6:]), int.from_bytes(pdu[1:3])))
        if self._answers:
            await stream.write(RtuFrame(17, pdu[:5]).encode())


async def test_a_write_is_sent_once_and_read_back() -> None:
    meter = Writable()

    async with commanding(meter) as commands:
        await commands.write_registers(0, (1, 2))

    assert meter.writes == 1


async def test_a_write_that_did_not_come_about_is_found_out() -> None:
    async with commanding(Writable(keeps=False)) as commands:
        with pytest.raises(CommandUnverified):
            await commands.write_registers(0, (1, 2))


async def test_a_write_without_an_answer_is_not_sent_again() -> None:
    meter = Writable(answers=False)

    async with commanding(meter) as commands:
        with pytest.raises(OutcomeUnknown):
            await commands.write_registers(0, (1, 2))

    assert meter.writes == 1


async def test_a_refused_write_is_a_refusal() -> None:
    async def respond(_: Any, stream: Any) -> None:
        await stream.write(RtuFrame(17, ExceptionResponse(16, 1).encode()).encode())

    async with commanding(respond) as commands:
        with pytest.raises(MeterRefused, match="illegal function"):
            await commands.write_registers(0, (1, 2))


async def test_a_gateway_that_gets_no_answer_to_a_write_does_not_know_its_outcome() -> None:
    async def respond(_: Any, stream: Any) -> None:
        await stream.write(RtuFrame(17, ExceptionResponse(16, 11).encode()).encode())

    async with commanding(respond) as commands:
        with pytest.raises(OutcomeUnknown):
            await commands.write_registers(0, (1, 2))


def test_a_trace_of_modbus_ascii_is_taken_apart() -> None:
    reader = tree._reader("ascii", None, ())

    asked = list(reader.take(encode_frame(RtuFrame(17, bytes.fromhex("03000a0002"))), is_sent=True))
    said = list(reader.take(encode_frame(RtuFrame(17, bytes.fromhex("030400010002"))), is_sent=False))
    damaged = list(reader.take(b":1103zz\r\n", is_sent=True))

    assert [(part.name, part.value) for part in (*asked, *said) if isinstance(part, Part)] == [
        ("Modbus ASCII", "to unit 17"), ("Modbus ASCII", "from unit 17"),
    ]  # fmt: skip
    assert len(damaged) == 1
    assert "hexadecimal" in str(damaged[0])
