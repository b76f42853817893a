"""Sessions with simulated meters through a null modem: right answers, and every kind of wrong one."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from drivers.contract import KeepsClock, ReadsIdentity, ReadsLoadProfile, ReadsRegisters, SalvagesLoadProfile
from drivers.dlt645.control import ErrorWord
from drivers.dlt645.frame import Frame, FrameReader
from drivers.dlt645.values import encode_instant
from drivers.errors import MeterRefused, ProfileError, RemoteProtocolError, TransportTimeout, WrongMeter
from drivers.facts import IntervalBlock, RegisterValue
from drivers.obis import Obis, resolve
from kernels.quality import Rule
from simulators.faults import ClockSet, Dead, LineDeed, LineFault, MissingRows, Noise, PowerCut, Rollover
from tests.drivers.dlt645 import cases
from tests.drivers.dlt645.line import (
    LOAD,
    NOW,
    PERIOD,
    START,
    WithParity,
    bus,
    context,
    far_end,
    meter,
    meters,
    profile,
    session,
)

IMPORT = resolve("active_energy_import")
TARIFFS = [IMPORT, *(resolve(f"active_energy_import_tariff_{tariff}") for tariff in (1, 2, 3, 4))]
VOLTAGE = resolve("voltage_l1")
GATEWAY = profile(parity="gateway")
ENERGY_NOW = (sum(LOAD[: 48 * 65]) + LOAD[48 * 65] * 700 // PERIOD) // 10


async def read(line: Any, obis: Sequence[Obis], **options: Any) -> list[RegisterValue]:
    async with session(meters(line), **options) as opened:
        return await opened.read_registers(obis)


async def test_a_session_says_what_it_can() -> None:
    async with session(meters(bus(meter(1001)))) as opened:
        assert isinstance(opened, ReadsIdentity)
        assert isinstance(opened, ReadsRegisters)
        assert isinstance(opened, ReadsLoadProfile)
        assert isinstance(opened, KeepsClock)


async def test_the_meter_is_named_by_maker_and_address() -> None:
    async with session(meters(bus(meter(1001), meter(1002))), "1002") as opened:
        identity = await opened.read_identity()

    assert (identity.name, identity.serial) == ("SIM:000000001002", "000000001002")


async def test_registers_come_in_the_order_asked_with_scaler_and_unit() -> None:
    values = await read(bus(meter(1001)), [VOLTAGE, IMPORT, VOLTAGE])

    assert [value.obis for value in values] == [VOLTAGE, IMPORT, VOLTAGE]
    assert values[1].count == ENERGY_NOW
    assert values[1].value == 10 * ENERGY_NOW
    assert values[0].scaler_unit.unit.symbol == "V"
    assert all(value.rules == Rule(0) for value in values)


async def test_all_tariffs_come_in_one_exchange() -> None:
    heard: list[bytes] = []

    async with session(meters(bus(meter(1001)), heard)) as opened:
        values = await opened.read_registers(TARIFFS)

    assert len(heard) == 1
    assert [value.count for value in values] == [ENERGY_NOW, ENERGY_NOW, 0, 0, 0]


async def test_a_meter_without_blocks_is_asked_one_by_one_and_never_for_that_block_again() -> None:
    heard: list[bytes] = []
    line = bus(meter(1001, LineFault(LineDeed.NO_BLOCKS)))

    async with session(meters(line, heard)) as opened:
        first = await opened.read_registers(TARIFFS)
        asked = len(heard)
        second = await opened.read_registers(TARIFFS)

    assert [value.count for value in first] == [value.count for value in second]
    assert asked == 1 + len(TARIFFS)
    assert len(heard) - asked == len(TARIFFS)


async def test_what_a_meter_does_not_support_is_refused_and_not_a_number() -> None:
    with pytest.raises(MeterRefused, match="not support") as caught:
        await read(bus(meter(1001)), [resolve("voltage_l2")])

    assert caught.value.code == ErrorWord.NO_DATA


async def test_what_the_profile_does_not_know_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(MeterRefused, match="has no data item"):
        await read(bus(), [Obis.parse("1-0:99.9.9")])


async def test_the_clock_is_read_beside_ours() -> None:
    async with session(meters(bus(meter(1001)))) as opened:
        reading = await opened.read_clock()

    assert reading.offset == 0


async def test_a_clock_at_midnight_is_read_again_and_one_that_says_anything_is_refused() -> None:
    told = ["26031500", "235959", "26031601", "000001", "26031601"]

    def respond(data: bytes) -> list[bytes]:
        (frame,) = [event for event in cases.events(FrameReader(), data) if isinstance(event, Frame)]
        value = told.pop(0) if told else f"{next(numbers):08d}"
        return [Frame(frame.address, 0x91, frame.data + bytes.fromhex(value)[::-1]).encode()]

    numbers = iter(range(100))
    async with session(respond) as opened:
        reading = await opened.read_clock()
        with pytest.raises(RemoteProtocolError, match="another date each time"):
            await opened.read_clock()

    assert reading.meter == int(datetime.fromisoformat("2026-03-16T00:00:01+08:00").timestamp())


async def test_a_single_item_that_comes_with_more_than_its_octets_is_no_value() -> None:
    octets = Frame("000000001001", 0x91, bytes.fromhex("00000100") + bytes(8)).encode()

    async with session(lambda _: [octets]) as opened:
        with pytest.raises(RemoteProtocolError, match="holds 8 bytes"):
            await opened.read_registers([IMPORT])


async def test_a_meter_without_an_identity_item_is_known_though_it_refuses() -> None:
    old = profile("sim-dlt645-1997")

    async with session(lambda _: [Frame("000000001001", 0xC1, b"\x02").encode()], meant=old) as opened:
        identity = await opened.read_identity()

    assert identity.name == "SIM:000000001001"


# -- load records

LOGS = 2  # questions for the last power failure and the last setting of the clock


async def load(
    line: Any, start: int, end: int, heard: list[bytes] | None = None, **options: Any
) -> tuple[IntervalBlock, list[RegisterValue]]:
    async with session(meters(line, heard), **options) as opened:
        block, *registers = await opened.read_load_profile(start, end)
    assert isinstance(block, IntervalBlock)
    return block, [value for value in registers if isinstance(value, RegisterValue)]


async def test_load_records_become_registers_and_the_intervals_between_them() -> None:
    start = START + 48 * PERIOD

    block, registers = await load(bus(meter(1001)), start, start + 48 * PERIOD)

    assert (block.start, block.period, len(block.counts)) == (start, PERIOD, 48)
    assert block.counts == tuple(value // 10 for value in LOAD[48:96])
    imports = [value for value in registers if value.obis == IMPORT]
    assert [value.captured_at for value in imports] == list(range(start, start + 49 * PERIOD, PERIOD))
    assert all(value.uncertainty == 0 for value in registers)


async def test_a_window_off_the_grid_is_clipped_to_it() -> None:
    start = START + 48 * PERIOD

    block, _ = await load(bus(meter(1001)), start + 1, start + 4 * PERIOD - 1)

    assert (block.start, len(block.counts)) == (start + PERIOD, 2)


async def test_a_missing_record_leaves_the_two_intervals_beside_it_empty() -> None:
    start = START + 48 * PERIOD
    gap = MissingRows(start + 9 * PERIOD, start + 10 * PERIOD)

    block, _ = await load(bus(meter(1001, gap)), start, start + 24 * PERIOD)

    empty = [index for index, count in enumerate(block.counts) if count is None]
    assert empty == [9, 10]


async def test_a_window_beyond_the_memory_costs_three_questions_behind_those_for_the_logs_and_not_one_for_each_slot() -> (
    None
):
    heard: list[bytes] = []

    block, registers = await load(bus(meter(1001)), START - 40 * 86_400, START - 30 * 86_400, heard)

    assert set(block.counts) == {None}
    assert not registers
    assert len(heard) == LOGS + 3


async def test_a_window_that_ends_after_the_newest_record_ends_there() -> None:
    newest = NOW // PERIOD * PERIOD

    block, _ = await load(bus(meter(1001)), newest - 4 * PERIOD, newest + 40 * PERIOD)

    assert [index for index, count in enumerate(block.counts) if count is not None] == [0, 1, 2, 3]


async def test_follow_up_frames_are_asked_for_until_there_are_no_more() -> None:
    start = START + 48 * PERIOD

    block, _ = await load(bus(meter(1001), largest=40), start, start + 48 * PERIOD)

    assert block.counts == tuple(value // 10 for value in LOAD[48:96])


async def test_a_lost_follow_up_frame_is_asked_for_again_by_its_number() -> None:
    start = START + 48 * PERIOD
    line = bus(meter(1001, LineFault(LineDeed.LOST_FOLLOW_UP, first=2, times=1)), largest=40)

    block, _ = await load(line, start, start + 12 * PERIOD)

    assert block.counts == tuple(value // 10 for value in LOAD[48:60])


async def test_follow_up_frames_that_never_come_make_no_value() -> None:
    line = bus(meter(1001, LineFault(LineDeed.LOST_FOLLOW_UP)), largest=12)

    with pytest.raises(TransportTimeout, match="follow-up frame 1"):
        await read(line, TARIFFS)


async def test_a_register_that_rolls_over_loses_nothing() -> None:
    start = START + 48 * PERIOD
    line = bus(meter(1001, Rollover(9, sum(LOAD[:52]))))  # nine digits of Wh are eight of 10 Wh

    block, _ = await load(line, start, start + 12 * PERIOD)

    assert block.counts == tuple(value // 10 for value in LOAD[48:60])


async def test_a_load_profile_that_is_cut_keeps_what_came_whole() -> None:
    start, end = START + 48 * PERIOD, START + 72 * PERIOD
    line = meters(bus(meter(1001)))
    asked: list[bytes] = []

    def respond(data: bytes) -> Sequence[bytes]:
        asked.append(data)
        return line(data) if len(asked) != LOGS + 3 else []

    async with session(respond) as opened:
        assert isinstance(opened, SalvagesLoadProfile)
        assert opened.salvage() is None
        with pytest.raises(TransportTimeout):
            await opened.read_load_profile(start, end)
        kept = opened.salvage()
        assert kept is not None
        rest, *_ = await opened.read_load_profile(kept.end, end)
        assert opened.salvage() is None

    first = kept.facts[0]
    assert isinstance(first, IntervalBlock)
    assert isinstance(rest, IntervalBlock)
    assert (kept.start, len(first.counts)) == (start, 11)  # of twelve records
    assert first.counts + rest.counts == tuple(value // 10 for value in LOAD[48:72])


# -- what the logs say of intervals


def instant(at: int) -> bytes:
    return encode_instant(at, "YYMMDDhhmmss", "UTC+08:00")


async def test_power_failures_and_settings_of_the_clock_mark_the_intervals_they_touch() -> None:
    start = START + 48 * PERIOD
    cut = PowerCut(start + PERIOD + 60, start + 4 * PERIOD + 60)
    older = PowerCut(START + 60, START + 120)
    heard: list[bytes] = []

    block, _ = await load(
        bus(meter(1001, older, cut, ClockSet(start + 6 * PERIOD + 5, by=30))), start, start + 8 * PERIOD, heard
    )

    off, moved = Rule.POWER_FAILURE, Rule.CLOCK_SET
    assert block.rules == (Rule(0), Rule(0), off, off, Rule(0), Rule(0), moved, Rule(0))
    assert [count is None for count in block.counts] == [False, True, True, True, True, False, False, False]
    assert {said.text.partition(":")[0] for said in block.status} == {"power failure", "clock set"}
    asked = [octets.hex() for octets in heard]
    numbers = [number for one in asked for number in (1, 2, 3) if f"{0x33 + number:02x}334436" in one]
    assert numbers == [1, 2]  # the older one ends it


@pytest.mark.parametrize(
    ("record", "rules"),
    [
        (bytes(12), [0] * 4),  # never written
        (b"\xaa" * 12, [0] * 4),  # no time
        (instant(START + 48 * PERIOD + 60)[:5], [0] * 4),  # cut
        (instant(START + 48 * PERIOD + 60) + bytes(6), [Rule.POWER_FAILURE, 0, 0, 0]),  # nobody knows how long
        (instant(START + 49 * PERIOD + 60) + instant(START + 49 * PERIOD + 70), [0, Rule.POWER_FAILURE, 0, 0]),
        (instant(START + 50 * PERIOD) + instant(START + 49 * PERIOD), [0, Rule.POWER_FAILURE, 0, 0]),  # clock set back
    ],
)
async def test_a_record_of_a_log_that_is_no_span_costs_no_value(record: bytes, rules: list[int]) -> None:
    line = meters(bus(meter(1001)))

    def respond(data: bytes) -> Sequence[bytes]:
        (frame,) = [event for event in cases.events(FrameReader(), data) if isinstance(event, Frame)]
        if frame.data.hex() == "01001103":
            return [Frame(frame.address, 0x91, frame.data + record).encode()]
        return line(data)

    start = START + 48 * PERIOD
    async with session(respond) as opened:
        block, *_ = await opened.read_load_profile(start, start + 4 * PERIOD)

    assert isinstance(block, IntervalBlock)
    assert block.counts == tuple(value // 10 for value in LOAD[48:52])
    assert [int(rule) for rule in block.rules or (Rule(0),) * 4] == rules


async def test_a_log_that_the_meter_is_silent_about_costs_no_record_and_is_asked_for_once() -> None:
    line, asked = meters(bus(meter(1001))), []

    def respond(data: bytes) -> Sequence[bytes]:
        (frame,) = [event for event in cases.events(FrameReader(), data) if isinstance(event, Frame)]
        asked.append(frame.data[:4].hex())
        return [] if frame.data.hex() == "01001103" else line(data)

    start = START + 48 * PERIOD
    async with session(respond) as opened:
        facts = [(await opened.read_load_profile(start, start + PERIOD))[0] for _ in range(2)]

    assert [fact.counts for fact in facts if isinstance(fact, IntervalBlock)] == [(LOAD[48] // 10,)] * 2
    assert asked.count("01001103") == 1
    assert asked.count("01043003") == 1  # refused


# -- memories


async def test_daily_freezes_are_stamped_by_the_meter() -> None:
    async with session(meters(bus(meter(1001)))) as opened:
        values = await opened.read_freezes("daily", 3)

    midnights = [(NOW + 28_800) // 86_400 * 86_400 - 28_800 - day * 86_400 for day in range(3)]
    assert [value.captured_at for value in values] == midnights
    assert [value.count for value in values] == [sum(LOAD[: (at - START) // PERIOD]) // 10 for at in midnights]


async def test_billing_freezes_are_stamped_by_the_settlement_day() -> None:
    async with session(meters(bus(meter(1001)))) as opened:
        values = await opened.read_freezes("billing", 12)

    assert values
    assert [value.captured_at for value in values] == sorted((value.captured_at for value in values), reverse=True)
    assert all(value.count == sum(LOAD[: (value.captured_at - START) // PERIOD]) // 10 for value in values)


async def test_a_meter_without_events_has_none() -> None:
    async with session(meters(bus(meter(1001)))) as opened:
        assert await opened.read_events(5) == []


async def test_events_say_when_they_happened() -> None:
    def respond(data: bytes) -> list[bytes]:
        (frame,) = [event for event in cases.events(FrameReader(), data) if isinstance(event, Frame)]
        if frame.data.hex() != "01001103":
            return [Frame(frame.address, 0xD1, b"\x02").encode()]
        return [Frame(frame.address, 0x91, frame.data + bytes.fromhex("301220150326") + bytes(6)).encode()]

    async with session(respond) as opened:
        (event,) = await opened.read_events(3)

    assert (event.code, event.text) == (0x0311, "power down")
    assert event.at == int(datetime.fromisoformat("2026-03-15T20:12:30+08:00").timestamp())


# -- edition 1997


async def test_a_meter_of_1997_is_read_in_blocks_and_known_by_where_it_answers() -> None:
    heard: list[bytes] = []
    old = profile("sim-dlt645-1997")

    async with session(meters(bus(meter(1001)), heard), meant=old) as opened:
        identity = await opened.read_identity()
        reading = await opened.read_clock()
        heard.clear()
        values = await opened.read_registers([*TARIFFS, VOLTAGE])
        with pytest.raises(MeterRefused, match="no such data"):
            await opened.read_registers([resolve("active_energy_export")])
        with pytest.raises(MeterRefused, match="no load records"):
            await opened.read_load_profile(START, NOW)

    assert identity.name == "SIM:000000001001"
    assert reading.offset == 0
    assert [value.count for value in values[:5]] == [ENERGY_NOW, ENERGY_NOW, 0, 0, 0]
    assert len(heard) == 3  # the block, the voltage, and what was refused


# -- without parity


async def test_without_parity_values_say_so_and_energy_is_read_twice() -> None:
    heard: list[bytes] = []

    async with session(meters(bus(meter(1001)), heard), parity=False) as opened:
        (energy,) = await opened.read_registers([IMPORT])
        asked = len(heard)
        (voltage,) = await opened.read_registers([VOLTAGE])

    assert (asked, len(heard)) == (2, 3)
    assert energy.rules & Rule.UNPROTECTED
    assert voltage.rules & Rule.UNPROTECTED


async def test_a_gateway_that_checks_parity_is_believed() -> None:
    (value,) = await read(bus(meter(1001)), [IMPORT], parity=False, meant=GATEWAY)

    assert value.rules == Rule(0)


async def test_hidden_parity_is_never_believed() -> None:
    (value,) = await read(bus(meter(1001)), [IMPORT], meant=profile(parity="hidden"))

    assert value.rules & Rule.UNPROTECTED


def lying(*values: bytes) -> Any:
    """A meter that says each of these in turn for its energy, in frames without fault."""
    told = list(values)

    def respond(_: bytes) -> list[bytes]:
        octets = told.pop(0) if told else values[-1]
        return [Frame("000000001001", 0x91, bytes.fromhex("00000100") + octets).encode()]

    return respond


async def test_a_value_of_energy_that_comes_once_is_not_believed_without_parity() -> None:
    right, wrong = bytes.fromhex("56341200"), bytes.fromhex("66241200")

    async with session(lying(right, wrong, right), parity=False) as opened:
        (value,) = await opened.read_registers([IMPORT])

    assert value.count == 123_456


async def test_energy_that_never_comes_the_same_twice_is_no_value() -> None:
    different = [bytes((0, 0x10 * index, 0, 0)) for index in range(5)]

    async with session(lying(*different), parity=False) as opened:
        with pytest.raises(RemoteProtocolError, match="no two of them agree"):
            await opened.read_registers([IMPORT])


async def test_without_parity_the_stamp_of_a_freeze_is_read_until_two_readings_agree_and_its_values_say_so() -> None:
    line = bus(meter(1001))
    asked = 0

    def respond(data: bytes) -> Any:
        nonlocal asked
        answers = meters(line)(data)
        (frame,) = [event for event in cases.events(FrameReader(), data) if isinstance(event, Frame)]
        if frame.data.hex() != "01000605":  # 05060001, the stamp of the last daily freeze
            return answers
        asked += 1
        wrong = Frame("000000001001", 0x91, frame.data + bytes.fromhex("0000010120")).encode()
        return [wrong] if asked == 1 else answers

    async with session(meters(bus(meter(1001)))) as opened:
        protected = await opened.read_freezes("daily", 1)
    async with session(respond, parity=False) as opened:
        (value, *_) = await opened.read_freezes("daily", 1)

    assert asked == 3
    assert (value.captured_at, value.count) == (protected[0].captured_at, protected[0].count)
    assert value.rules == Rule.UNPROTECTED


# -- wrong answers


@pytest.mark.parametrize(
    ("deed", "error", "words"),
    [
        (LineDeed.OTHER_ADDRESS, RemoteProtocolError, "meter 000000001002 answered"),
        (LineDeed.OTHER_ITEM, RemoteProtocolError, "answered something else"),
        (LineDeed.BAD_CHECKSUM, RemoteProtocolError, "wrong checksum"),
    ],
)
async def test_a_wrong_answer_is_an_error_and_the_next_question_is_answered(deed: Any, error: Any, words: str) -> None:
    async with session(meters(bus(meter(1001, LineFault(deed, times=1))))) as opened:
        with pytest.raises(error, match=words):
            await opened.read_registers([IMPORT])
        (value,) = await opened.read_registers([IMPORT])

    assert value.count == ENERGY_NOW


async def test_the_answer_to_the_question_before_is_never_taken() -> None:
    async with session(meters(bus(meter(1001, LineFault(LineDeed.STALE_ANSWER, first=1, times=1))))) as opened:
        await opened.read_registers([VOLTAGE])
        with pytest.raises(RemoteProtocolError, match="something else"):
            await opened.read_registers([IMPORT])


async def test_a_late_answer_of_another_meter_is_passed_over() -> None:
    line = bus(meter(1001), meter(1002, register_start=770))

    def respond(data: bytes) -> list[bytes]:
        late = line.receive(data.replace(b"\x01\x10", b"\x02\x10"), NOW)
        ours = line.receive(data, NOW)
        return (
            [answer.data for answer in (ours,) if answer] if late is None else [late.data, ours.data if ours else b""]
        )

    async with session(respond) as opened:
        (value,) = await opened.read_registers([IMPORT])

    assert value.count == ENERGY_NOW


async def test_our_own_echo_is_passed_over() -> None:
    line = meters(bus(meter(1001)))

    async with session(lambda data: [data, *line(data)]) as opened:
        (value,) = await opened.read_registers([IMPORT])

    assert value.count == ENERGY_NOW


async def test_noise_before_an_answer_costs_nothing() -> None:
    (value,) = await read(bus(meter(1001, Noise(before=9))), [IMPORT])

    assert value.count == ENERGY_NOW


async def test_noise_like_the_beginning_of_a_frame_hides_no_answer() -> None:
    line = meters(bus(meter(1001)))
    begun = bytes.fromhex("6801000000000068 91 c8".replace(" ", ""))

    async with session(lambda data: [begun, *line(data)]) as opened:
        (value,) = await opened.read_registers([IMPORT])

    assert value.count == ENERGY_NOW


async def test_a_byte_with_wrong_parity_spoils_its_answer() -> None:
    line = bus(meter(1001))
    async with far_end(meters(line)) as stream:
        from drivers.contract import Endpoint
        from drivers.dlt645.driver import open_session

        async with open_session(stream, Endpoint("SIM:000000001001", "1001", profile()), context()) as opened:
            assert isinstance(stream, WithParity)
            stream.spoil = 1
            (value,) = await opened.read_registers([IMPORT])  # it came in front of the answer: noise

    assert value.count == ENERGY_NOW


async def test_a_dead_meter_is_a_timeout() -> None:
    with pytest.raises(TransportTimeout, match="no answer"):
        await read(bus(meter(1001, Dead())), [IMPORT])


async def test_a_meter_that_names_another_address_is_the_wrong_one() -> None:
    other = Frame("000000001001", 0x91, bytes.fromhex("01040004") + bytes.fromhex("021000000000"))

    async with session(lambda _: [other.encode()]) as opened:
        with pytest.raises(WrongMeter, match="000000001002 answers at address 000000001001"):
            await opened.read_identity()


async def test_a_refusal_says_why() -> None:
    async with session(lambda _: [Frame("000000001001", 0xD1, b"\x02").encode()]) as opened:
        with pytest.raises(MeterRefused, match="no such data") as caught:
            await opened.read_registers([IMPORT])

    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("address", "options"), [("A1", {}), ("", {}), ("9" * 12, {}), ("1" * 13, {}), ("1", {"x": "1"})]
)
async def test_an_endpoint_that_cannot_be_read_says_so(address: str, options: dict[str, str]) -> None:
    from drivers.contract import Endpoint
    from drivers.dlt645.driver import open_session

    async with far_end(lambda _: []) as stream:
        with pytest.raises(ProfileError):
            async with open_session(stream, Endpoint("x", address, profile(), options=options), context()):
                pass


async def test_a_profile_of_another_protocol_is_refused() -> None:
    from drivers.contract import Endpoint
    from drivers.dlt645.driver import open_session

    async with far_end(lambda _: []) as stream:
        with pytest.raises(ProfileError, match="missing"):
            async with open_session(stream, Endpoint("x", "1", replace(profile(), dlt645=None)), context()):
                pass


# -- cut off


def test_a_reader_that_was_cut_off_starts_anew() -> None:
    reader = FrameReader()
    reader.receive_data(b"\x68\x01")

    reader.give_up()

    assert not reader.is_waiting or reader.has_noise
