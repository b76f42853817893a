"""A session with one meter through a null modem: right answers, and every kind of wrong one."""

import asyncio
import struct
from dataclasses import replace
from typing import Any

import pytest

from drivers.contract import ByteStream, ReadsIdentity, ReadsLoadProfile, ReadsRegisters
from drivers.errors import MeterRefused, ProfileError, RemoteProtocolError, TransportError, TransportTimeout
from drivers.modbus.driver import open_session
from drivers.modbus.mbap import MbapFrame
from drivers.modbus.pdu import ExceptionResponse, Function, ReadResponse
from drivers.modbus.rtu import RtuFrame
from drivers.modbus.values import ValueAbsent
from drivers.obis import Obis
from drivers.profile import MeterProfile, ModbusBlock, ModbusIdentity, ModbusPoint, ModbusStatus
from drivers.status import Meaning, StatusBit, StatusLayout
from drivers.transports import MemoryStream, null_modem
from kernels.quality import Reason, Rule
from tests.drivers.modbus.fixtures import (
    ENERGY,
    EXPORT,
    VOLTAGE,
    WH,
    context,
    endpoint,
    far_end,
    profile,
    registers_from,
    rtu_meter,
)

FLOAT_KWH = struct.unpack(">2H", struct.pack(">f", 12.5))
HOLDING, INPUT = Function.READ_HOLDING_REGISTERS, Function.READ_INPUT_REGISTERS
METER = {0: 0, 1: 4711, 10: 1, 11: 2, 12: 2305, 20: FLOAT_KWH[0], 21: FLOAT_KWH[1]}
HOLELESS = METER | dict.fromkeys(range(13, 20), 0)


async def read(
    respond: Any, obis: Any, *, meter: Any = None, ctx: Any = None, address: Any = "17", **options: Any
) -> Any:
    async with (
        far_end(respond) as stream,
        open_session(stream, endpoint(meter or profile(), address, **options), ctx or context()) as session,
    ):
        return await session.read_registers(obis)


def tcp_meter(present: Any, *, change: Any = lambda frame: frame) -> Any:
    answer = registers_from(present)

    async def respond(data: Any, stream: Any) -> None:
        transaction, unit = int.from_bytes(data[:2]), data[6]
        await stream.write(change(MbapFrame(transaction, unit, answer(data[7:]))).encode())

    return respond


async def test_values_come_in_the_order_asked_with_scaler_and_unit() -> None:
    values = await read(rtu_meter(HOLELESS), [EXPORT, ENERGY, VOLTAGE, ENERGY])

    assert [(value.obis, value.count, str(value.value)) for value in values] == [
        (EXPORT, 12_500, "12500"), (ENERGY, 65_538, "65538"), (VOLTAGE, 2305, "230.5"), (ENERGY, 65_538, "65538"),
    ]  # fmt: skip


async def test_session_says_what_it_can() -> None:
    async with far_end(rtu_meter(METER)) as stream, open_session(stream, endpoint(profile()), context()) as session:
        assert isinstance(session, ReadsIdentity)
        assert isinstance(session, ReadsRegisters)
        assert not isinstance(session, ReadsLoadProfile)


async def test_instant_is_midway_between_request_and_answer() -> None:
    (value,) = await read(rtu_meter(METER), [ENERGY], ctx=context([1000, 1005]))

    assert (value.captured_at, value.uncertainty) == (1002, 3)


async def test_value_within_one_second_is_certain_to_the_second() -> None:
    (value,) = await read(rtu_meter(METER), [ENERGY], ctx=context([1000, 1000]))

    assert (value.captured_at, value.uncertainty) == (1000, 0)


async def test_meter_with_holes_gets_its_points_without_them() -> None:
    values = await read(rtu_meter(METER), [ENERGY, VOLTAGE, EXPORT])

    assert [value.count for value in values] == [65_538, 2305, 12_500]


async def test_gap_allowance_is_an_option_of_the_meter() -> None:
    asked = []

    async def respond(data: Any, stream: Any) -> None:
        asked.append(struct.unpack(">HH", data[2:6]))
        await rtu_meter(METER)(data, stream)

    await read(respond, [ENERGY, VOLTAGE, EXPORT], max_gap="0")

    assert asked == [(10, 3), (20, 2)]


async def test_quantity_without_register_is_refused() -> None:
    with pytest.raises(MeterRefused, match=r"no register for 1-0:9\.9\.9"):
        await read(rtu_meter(METER), [Obis(1, 0, 9, 9, 9)])


@pytest.mark.parametrize(
    ("code", "error", "cause"),
    [
        (2, MeterRefused, Reason.REFUSED),
        (6, MeterRefused, Reason.REFUSED),
        (99, MeterRefused, Reason.REFUSED),
        (10, TransportError, Reason.NO_ROUTE),
        (11, TransportTimeout, Reason.NO_ANSWER),
    ],
)
async def test_exception_code_becomes_the_error_that_says_whether_to_retry(code: Any, error: Any, cause: Any) -> None:
    async def respond(_: Any, stream: Any) -> None:
        await stream.write(RtuFrame(17, ExceptionResponse(3, code).encode()).encode())

    with pytest.raises(error) as caught:
        await read(respond, [ENERGY])

    assert type(caught.value) is error
    assert caught.value.cause is cause
    assert getattr(caught.value, "code", code) == code


@pytest.mark.parametrize(
    "line",
    [
        RtuFrame(18, ReadResponse(HOLDING, (1, 2)).encode()).encode(),
        RtuFrame(17, ReadResponse(INPUT, (1, 2)).encode()).encode(),
        RtuFrame(17, ReadResponse(HOLDING, (1,)).encode()).encode(),
        RtuFrame(17, ReadResponse(HOLDING, (1, 2)).encode()).encode()[:-1],
        RtuFrame(17, ReadResponse(HOLDING, (1, 2)).encode()).encode()[:-1] + b"\x00",
        b"\x00\xff",
    ],
    ids=["unit", "function", "byte count", "cut short", "CRC", "noise"],
)
async def test_wrong_rtu_answer_is_a_protocol_error(line: Any) -> None:
    async def respond(_: Any, stream: Any) -> None:
        await stream.write(line)

    with pytest.raises(RemoteProtocolError):
        await read(respond, [ENERGY])


async def test_every_flipped_bit_of_an_rtu_answer_is_an_error() -> None:
    good = RtuFrame(17, ReadResponse(HOLDING, (1, 2)).encode()).encode()
    waiting = context(scale=0.01)

    async def ask(bit: Any) -> None:
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8

        async def respond(_: Any, stream: Any) -> None:
            await stream.write(bytes(damaged))

        with pytest.raises(RemoteProtocolError):
            await read(respond, [ENERGY], ctx=waiting)

    await asyncio.gather(*(ask(bit) for bit in range(8 * len(good))))


async def test_dead_meter_is_a_timeout() -> None:
    async def respond(data: Any, stream: Any) -> None:
        pass

    with pytest.raises(TransportTimeout, match="unit 17: no answer within"):
        await read(respond, [ENERGY])


async def test_echo_and_noise_before_the_answer_cost_nothing() -> None:
    async def respond(data: Any, stream: Any) -> None:
        await stream.write(data + b"\x00")
        await rtu_meter(METER)(data, stream)

    (value,) = await read(respond, [ENERGY])

    assert value.count == 65_538


async def leave(near: ByteStream, data: bytes) -> None:
    """Put bytes into a stream's input, as if its far end had sent them."""
    assert isinstance(near, MemoryStream)
    near._put(data)


async def test_answer_left_from_before_is_thrown_away() -> None:
    async with far_end(rtu_meter(METER)) as stream, open_session(stream, endpoint(profile()), context()) as session:
        await leave(stream, RtuFrame(17, ReadResponse(HOLDING, (9, 9)).encode()).encode())

        (value,) = await session.read_registers([ENERGY])

    assert value.count == 65_538


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
async def test_late_answer_is_never_taken_by_the_next_request(framing: Any) -> None:
    """The meter answers the first request after its time, with an old value; the same question is asked again."""
    near, far = null_modem()
    late = []

    def answer(data: Any, energy: Any) -> Any:
        pdu = ReadResponse(HOLDING, (0, energy)).encode()
        return RtuFrame(17, pdu).encode() if framing == "rtu" else MbapFrame(int.from_bytes(data[:2]), 17, pdu).encode()

    async def meter() -> None:
        data = await far.read(5)
        late.append(asyncio.get_running_loop().call_later(0.3, near._put, answer(data, 111)))
        data = await far.read(5)
        await far.write(answer(data, 222))

    serving = asyncio.create_task(meter())
    async with open_session(near, endpoint(profile(framing=framing)), context()) as session:
        with pytest.raises(TransportTimeout):
            await session.read_registers([ENERGY])
    async with open_session(near, endpoint(profile(framing=framing)), context()) as session:
        (value,) = await session.read_registers([ENERGY])
    await serving

    assert value.count == 222


async def test_float_coarser_than_declared_is_flagged() -> None:
    high, low = struct.unpack(">2H", struct.pack(">f", 20_000.0))

    (value,) = await read(rtu_meter({20: high, 21: low}), [EXPORT])

    assert (value.count, value.rules) == (20_000_000, Rule.FLOAT_RESOLUTION)


async def test_float_that_is_no_number_is_a_value_the_meter_does_not_have() -> None:
    with pytest.raises(ValueAbsent, match="NaN"):
        await read(rtu_meter({20: 0x7FC0, 21: 0}), [EXPORT])


async def test_count_beyond_64_bits_is_a_protocol_error() -> None:
    point = ModbusPoint(ENERGY, 0, "uint64", WH)

    with pytest.raises(RemoteProtocolError, match="does not fit 64 bits"):
        await read(rtu_meter(dict.fromkeys(range(4), 0xFFFF)), [ENERGY], meter=profile(points=(point,)))


async def test_modbus_tcp_reads_the_same() -> None:
    values = await read(tcp_meter(HOLELESS), [ENERGY, VOLTAGE], meter=profile(framing="tcp"), address="255")

    assert [value.count for value in values] == [65_538, 2305]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: MbapFrame(frame.transaction ^ 1, frame.unit, frame.pdu), "answered transaction"),
        (lambda frame: MbapFrame(0, frame.unit, frame.pdu), "answered transaction 0"),
        (lambda frame: MbapFrame(frame.transaction, 3, frame.pdu), "unit 3 answered"),
        (lambda frame: MbapFrame(frame.transaction, frame.unit, b"\x04" + frame.pdu[1:]), "function 4"),
        (
            lambda frame: MbapFrame(frame.transaction, frame.unit, ReadResponse(HOLDING, (1,)).encode()),
            "announces 2 bytes",
        ),
        (lambda frame: MbapFrame(frame.transaction, frame.unit, frame.pdu + b"\0"), "carries 5"),
    ],
    ids=["transaction", "transaction 0", "unit", "function", "byte count", "length"],
)
async def test_wrong_tcp_answer_is_a_protocol_error(change: Any, words: Any) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        await read(tcp_meter(METER, change=change), [ENERGY], meter=profile(framing="tcp"))


async def test_tcp_answer_behind_one_to_another_transaction_is_taken() -> None:
    async def respond(data: Any, stream: Any) -> None:
        await stream.write(MbapFrame(0xABCD, 17, ReadResponse(HOLDING, (9, 9)).encode()).encode())
        await tcp_meter(METER)(data, stream)

    (value,) = await read(respond, [ENERGY], meter=profile(framing="tcp"))

    assert value.count == 65_538


async def identity(meter: Any, present: Any) -> Any:
    async with far_end(rtu_meter(present)) as stream, open_session(stream, endpoint(meter), context()) as session:
        return await session.read_identity()


async def test_identity_is_maker_and_serial_number() -> None:
    who = await identity(profile(), METER)

    assert (who.name, who.maker, who.serial) == ("ACME:4711", "ACME", "4711")


async def test_identity_in_text_loses_its_padding() -> None:
    present = {5: 0x4131, 6: 0x3200, 7: 0}

    who = await identity(profile(identity=ModbusIdentity(5, "text", 3)), present)

    assert who.name == "ACME:A12"


@pytest.mark.parametrize(
    "present", [{5: 0, 6: 0}, {5: 0x41FF, 6: 0x4141}, {5: 0x4107, 6: 0x4141}], ids=["empty", "not ASCII", "bell"]
)
async def test_identity_that_is_no_text_is_a_protocol_error(present: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="not ASCII text"):
        await identity(profile(identity=ModbusIdentity(5, "text", 2)), present)


async def test_identity_of_one_character_per_register_loses_the_empty_octets() -> None:
    who = await identity(profile(identity=ModbusIdentity(5, "text", 3)), {5: 0x41, 6: 0x31, 7: 0x32})

    assert who.name == "ACME:A12"


async def test_identity_in_hex_keeps_every_digit_of_its_registers() -> None:
    who = await identity(profile(identity=ModbusIdentity(5, "hex", 3)), {5: 0x1718, 6: 0x00A1, 7: 0})

    assert who.name == "ACME:171800A10000"


async def test_identity_within_a_block_is_read_with_the_whole_block() -> None:
    asked: list[bytes] = []
    answer = rtu_meter({8: 0, 9: 0x4142, 10: 0x4300, 11: 0x5858})

    async def respond(data: bytes, stream: ByteStream) -> None:
        asked.append(data[1:-2])
        await answer(data, stream)

    meter = profile(identity=ModbusIdentity(9, "text", 2, block=ModbusBlock(8, 4)))
    async with far_end(respond) as stream, open_session(stream, endpoint(meter), context()) as session:
        who = await session.read_identity()

    assert who.name == "ACME:ABC"
    assert asked == [bytes((3, 0, 8, 0, 4))]


async def test_model_without_identity_cannot_say_who_it_is() -> None:
    with pytest.raises(ProfileError, match=r"modbus\.identity"):
        await identity(profile(identity=None), METER)


@pytest.mark.parametrize(
    ("address", "options"), [("0", {}), ("248", {}), ("1/17", {}), ("", {}), ("17", {"max_gap": "x"})]
)
async def test_unreadable_endpoint_is_told_before_anything_is_sent(address: Any, options: Any) -> None:
    near, far = null_modem()

    with pytest.raises(ProfileError, match="whole number from"):
        async with open_session(near, endpoint(profile(), address, **options), context()):
            pass

    assert far.discard_input() == b""


async def test_silence_of_three_and_a_half_characters_precedes_a_request() -> None:
    near, far = null_modem(bits_per_second=300, bits_per_character=11)
    began = asyncio.get_running_loop().time()

    async def meter() -> Any:
        data = await far.read(5)
        sent_at = asyncio.get_running_loop().time()
        await rtu_meter(METER)(data, far)
        return sent_at

    serving = asyncio.create_task(meter())
    async with open_session(near, endpoint(profile()), context()) as session:
        await session.read_registers([ENERGY])

    assert await serving - began >= 3.5 * 11 / 300 * 0.95


def with_status(address: int = 30) -> MeterProfile:
    bits = (StatusBit(17, "current out of range", Meaning.DOUBTFUL), StatusBit(0, "overflow", Meaning.OVERFLOW))
    meant = profile(status=ModbusStatus(address, "uint32"))
    return replace(meant, status_layout=StatusLayout("test", "tests", bits))


@pytest.mark.parametrize(
    ("registers", "rules"),
    [((0, 0), Rule(0)), ((2, 0), Rule.METER_STATUS), ((0, 1), Rule.OVERFLOW), ((4, 0), Rule.STATUS_UNKNOWN)],
)
async def test_a_status_word_is_said_of_the_energy_beside_it(registers: tuple[int, int], rules: Rule) -> None:
    respond = rtu_meter(HOLELESS | dict(enumerate(registers, 30)))

    values = await read(respond, [ENERGY, VOLTAGE], meter=with_status())

    assert [value.rules for value in values] == [rules, rules]


async def test_what_no_bill_is_made_of_is_read_without_the_status() -> None:
    (value,) = await read(rtu_meter(HOLELESS | {30: 2, 31: 0}), [VOLTAGE], meter=with_status())

    assert value.rules == Rule(0)


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_status_that_the_meter_does_not_give_costs_no_value_and_is_not_asked_for_again(is_silent: bool) -> None:
    asked: list[int] = []

    async def respond(data: Any, stream: Any) -> None:
        asked.append(struct.unpack(">H", data[2:4])[0])
        if asked[-1] != 400 or not is_silent:
            await rtu_meter(METER)(data, stream)

    async with (
        far_end(respond) as stream,
        open_session(stream, endpoint(with_status(400)), context()) as session,
    ):
        found = [await session.read_registers([ENERGY]) for _ in range(2)]

    assert [value.count for (value,) in found] == [65_538, 65_538]
    assert asked.count(400) == 1
