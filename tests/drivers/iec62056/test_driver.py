"""Sessions with simulated meters in virtual time: right answers, and every kind of wrong one."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from drivers.contract import KeepsClock, ReadsIdentity, ReadsLoadProfile, ReadsRegisters, SalvagesLoadProfile
from drivers.errors import DriverError, MeterRefused, ProfileError, RemoteProtocolError, SecurityError, TransportTimeout
from drivers.facts import IntervalBlock, RegisterValue
from drivers.iec62056.driver import Iec62056Session
from drivers.iec62056.refused import DAY
from drivers.obis import Obis, resolve
from drivers.profile import Iec62056Log, Iec62056Point
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule
from simulators.faults import ClockDrift, Dead, LineDeed, LineFault, MissingRows, Noise, Slow
from tests.drivers.iec62056.line import LOAD, NOW, PERIOD, START, Kept, bus, meter, profile, session, with_session
from tests.headend.collect import virtual

IMPORT, EXPORT, VOLTAGE = (resolve(name) for name in ("active_energy_import", "active_energy_export", "voltage_l1"))
LAST = NOW // PERIOD * PERIOD
SLOT = (LAST - START) // PERIOD
PROGRAMMING = profile(opening="programming")


async def energy(opened: Iec62056Session) -> RegisterValue:
    (value,) = await opened.read_registers([IMPORT])
    return value


async def last_slots(opened: Iec62056Session) -> list[IntervalBlock | RegisterValue]:
    return await opened.read_load_profile(LAST - 4 * PERIOD, LAST)


def blocks(facts: list[Any]) -> list[IntervalBlock]:
    return [fact for fact in facts if isinstance(fact, IntervalBlock)]


async def test_a_session_says_what_it_can() -> None:
    async with session(bus(meter(1001))) as opened:
        for what in (ReadsIdentity, ReadsRegisters, ReadsLoadProfile, SalvagesLoadProfile, KeepsClock):
            assert isinstance(opened, what)


@pytest.mark.parametrize("meant", [profile(), PROGRAMMING], ids=["readout", "programming"])
def test_the_meter_is_named_by_maker_and_serial_number(meant: Any) -> None:
    identity = with_session(bus(meter(1001), meter(1002)), lambda one: one.read_identity(), meant=meant, address="1002")

    assert (identity.name, identity.serial, identity.model) == ("SIM:00001002", "00001002", "HEADEND-1")


def test_a_model_without_a_maker_is_named_by_the_meters_own_letters() -> None:
    identity = with_session(bus(meter(1001)), lambda one: one.read_identity(), meant=replace(profile(), maker=""))

    assert identity.name == "SIM:00001001"


def test_a_meter_without_a_serial_number_is_not_named() -> None:
    with pytest.raises(RemoteProtocolError, match="no serial number under C\\.1\\.0"):
        with_session(bus(meter(1001)), lambda one: one.read_identity(), meant=profile(identity=("C.1.0",)))


def test_one_readout_answers_all_of_a_visit() -> None:
    heard: list[bytes] = []

    async def talk(opened: Iec62056Session) -> list[RegisterValue]:
        await opened.read_identity()
        await opened.read_clock()
        await opened.read_registers([IMPORT])
        return await opened.read_registers([VOLTAGE, IMPORT, EXPORT])

    values = with_session(bus(meter(1001)), talk, heard=heard)

    assert heard == [b"/?1001!\r\n", b"\x06050\r\n"]
    assert [value.obis for value in values] == [VOLTAGE, IMPORT, EXPORT]
    used = sum(LOAD[:SLOT]) + LOAD[SLOT] * (NOW % PERIOD) // PERIOD
    assert (values[1].count, values[1].scaler_unit) == (used, ScalerUnit(0, Unit.WATT_HOUR))
    assert values[0].scaler_unit == ScalerUnit(-1, Unit.VOLT)
    assert all(value.rules == Rule(0) for value in values)


def test_what_was_read_by_its_address_is_not_asked_again() -> None:
    heard: list[bytes] = []

    async def talk(opened: Iec62056Session) -> list[RegisterValue]:
        await opened.read_identity()
        return [await energy(opened), await energy(opened)]

    first, second = with_session(bus(meter(1001)), talk, meant=PROGRAMMING, heard=heard)

    assert first == second
    assert [data[:-1] for data in heard if b"R1" in data] == [b"\x01R1\x020.0.0()\x03", b"\x01R1\x021.8.0()\x03"]
    assert heard[-1] == b"\x01B0\x03q"


def test_a_value_is_stamped_midway_through_a_slow_readout() -> None:
    line = bus(meter(1001, Slow(1200)))

    value = with_session(line, energy)

    assert value.captured_at > NOW
    assert value.uncertainty > 0


@pytest.mark.parametrize(
    ("point", "why"),
    [
        (Iec62056Point(resolve("voltage_l2")), "prints no data set"),
        (Iec62056Point(IMPORT, "32.7.0"), "is printed in V"),
        (Iec62056Point(IMPORT, "0.0.0"), "no unit"),
        (Iec62056Point(IMPORT, "2.8.0", ScalerUnit(3, Unit.VAR_HOUR)), "var.* was expected"),
    ],
)
def test_what_the_meter_does_not_print_as_a_number_of_its_unit_is_refused(point: Iec62056Point, why: str) -> None:
    meant = profile(points=(point,))

    with pytest.raises(MeterRefused, match=why):
        with_session(bus(meter(1001)), lambda one: one.read_registers([point.obis]), meant=meant)


def test_a_profile_says_what_a_number_without_a_unit_is_worth() -> None:
    serial = Obis.parse("1-0:99.8.0*255")
    meant = profile(points=(Iec62056Point(serial, "0.0.0", ScalerUnit(3, Unit.WATT_HOUR)),))

    (value,) = with_session(bus(meter(1001)), lambda one: one.read_registers([serial]), meant=meant)

    assert (value.count, value.scaler_unit) == (1001, ScalerUnit(3, Unit.WATT_HOUR))


@pytest.mark.parametrize("meant", [profile(), PROGRAMMING], ids=["readout", "programming"])
def test_the_clock_is_read_beside_ours(meant: Any) -> None:
    reading = with_session(bus(meter(1001, ClockDrift(offset=-90))), lambda one: one.read_clock(), meant=meant)

    assert abs(reading.offset + 90) <= 1


def test_a_date_and_a_time_with_midnight_between_them_are_no_clock() -> None:
    line = bus(meter(1001, ClockDrift(offset=86_400 - NOW % 86_400)))

    with pytest.raises(RemoteProtocolError, match="midnight"):
        with_session(line, lambda one: one.read_clock())


@pytest.mark.parametrize("form", ["R3", "R5", "R6"])
def test_a_load_profile_comes_whole_or_in_blocks(form: Any) -> None:
    record = profile().iec62056
    assert record is not None
    assert record.load_profile is not None
    meant = profile(load_profile=replace(record.load_profile, form=form, days=2))

    facts = with_session(
        bus(meter(1001)), lambda one: one.read_load_profile(START + 6 * 3600, START + 78 * 3600), meant=meant
    )

    (block,) = blocks(facts)
    assert (block.start, block.period, block.rules) == (START + 6 * 3600, PERIOD, ())
    assert block.counts == LOAD[12:156]
    stamped = [fact for fact in facts if isinstance(fact, RegisterValue)]
    assert len(stamped) == 145
    assert [after.count - before.count for before, after in pairwise(stamped)] == list(LOAD[12:156])


def test_a_row_that_is_missing_leaves_its_slot_empty() -> None:
    gap = LAST - 3 * PERIOD

    facts = with_session(bus(meter(1001, MissingRows(gap, gap + PERIOD))), last_slots)

    assert blocks(facts)[0].counts == (LOAD[SLOT - 4], None, LOAD[SLOT - 2], LOAD[SLOT - 1])


def test_a_window_of_which_the_meter_has_nothing_is_empty() -> None:
    facts = with_session(bus(meter(1001)), lambda one: one.read_load_profile(START - 7200, START - 3600))

    assert [block.counts for block in blocks(facts)] == [(None, None)]


def test_what_came_before_the_line_was_cut_is_salvaged() -> None:
    async def talk(opened: Iec62056Session) -> Any:
        with pytest.raises(DriverError):
            await opened.read_load_profile(LAST - 3 * 86_400, LAST)
        return opened.salvage()

    # Answers: identification, operand, password taken, then five blocks of rows a day: the second day stays away.
    line = bus(meter(1001, LineFault(LineDeed.REPEAT_PLEASE, first=12)))
    salvage = with_session(line, talk)

    assert (salvage.start, salvage.end) == (LAST - 3 * 86_400, LAST - 2 * 86_400)
    assert blocks(list(salvage.facts))[0].counts == LOAD[SLOT - 144 : SLOT - 96]


def test_a_profile_without_a_load_profile_is_refused_before_anything_is_sent() -> None:
    heard: list[bytes] = []

    with pytest.raises(MeterRefused, match="no load profile"):
        with_session(bus(meter(1001)), last_slots, meant=profile(load_profile=None), heard=heard)
    assert not heard


def test_a_load_profile_of_another_period_is_refused() -> None:
    meant = replace(profile(), channels=tuple(replace(one, period=900) for one in profile().channels))

    with pytest.raises(MeterRefused, match="period of 1800 s, its channels have 900 s"):
        with_session(bus(meter(1001)), last_slots, meant=meant)


def test_events_are_read_with_their_status() -> None:
    events = with_session(
        bus(meter(1001)), lambda one: one.read_events(), meant=profile(events=(Iec62056Log("P.98", "log"),))
    )

    assert [(event.code, event.at, event.text) for event in events] == [(0x40, START, "log: supply recovered")]


# -- modes, speeds, parity


@pytest.mark.parametrize(("mode", "is_checked"), [("A", True), ("A", False), ("B", True), ("B", False), ("E", True)])
def test_readouts_of_all_modes_are_read(mode: Any, is_checked: bool) -> None:
    line = bus(meter(1001), mode=mode, is_checked=is_checked)

    value = with_session(line, energy, meant=profile(check_character=is_checked))

    assert value.count > 0
    assert bool(value.rules & Rule.UNPROTECTED) is not is_checked


@pytest.mark.parametrize(
    ("how", "acknowledged"),
    [({}, b"\x06050\r\n"), ({"max_baud": "2400"}, b"\x06030\r\n"), ({"max_baud": "300"}, b"\x06000\r\n")],
)
def test_no_other_speed_is_agreed_than_the_meter_may_have(how: dict[str, str], acknowledged: bytes) -> None:
    heard: list[bytes] = []

    with_session(bus(meter(1001)), energy, heard=heard, **how)

    assert heard[1] == acknowledged


@pytest.mark.parametrize(
    ("head", "parity", "is_doubtful"),
    [(True, "line", False), (False, "line", True), (False, "gateway", False), (True, "hidden", True)],
)
def test_a_value_says_where_nobody_checked_parity(head: bool, parity: str, is_doubtful: bool) -> None:
    async def talk(opened: Iec62056Session) -> list[Rule]:
        value = await energy(opened)
        (block,) = blocks(await last_slots(opened))
        return [value.rules, *(block.rules or (Rule(0),))]

    rules = with_session(bus(meter(1001)), talk, head=head, parity=parity)

    assert all(bool(rule & Rule.UNPROTECTED) is is_doubtful for rule in rules)


# -- passwords


def test_a_password_that_is_not_taken_is_not_sent_again_within_a_day() -> None:
    kept, heard = Kept(), []  # type: ignore[var-annotated]
    line = bus(meter(1001))

    for later in (0, 3600, DAY - 1):
        with pytest.raises(SecurityError):
            with_session(line, last_slots, secret=b"12345678", metadata=kept, heard=heard, later=later)

    assert sum(b"P1" in data for data in heard) == 1
    assert not any(b"12345678" in entry for entry in kept.entries.values())
    assert blocks(with_session(line, last_slots, metadata=kept))  # another is sent at once
    with pytest.raises(SecurityError):
        with_session(line, last_slots, secret=b"12345678", metadata=kept, heard=heard, later=DAY + 60)
    assert sum(b"P1\x02(12345678)" in data for data in heard) == 2


def test_registers_are_read_all_the_same_where_the_password_is_wrong() -> None:
    async def talk(opened: Iec62056Session) -> RegisterValue:
        with pytest.raises(SecurityError):
            await last_slots(opened)
        return await energy(opened)

    assert with_session(bus(meter(1001)), talk, secret=b"1").count > 0


def test_a_password_of_the_second_level_is_sent_as_such() -> None:
    heard: list[bytes] = []

    with_session(bus(meter(1001)), last_slots, meant=profile(level="P2"), heard=heard)

    assert any(data.startswith(b"\x01P2\x02(00000000)") for data in heard)


# -- what goes wrong


def test_a_silent_meter_is_a_timeout_within_bounds() -> None:
    async def main() -> float:
        begun = asyncio.get_running_loop().time()
        async with session(bus(meter(1001, Dead()))) as opened:
            with pytest.raises(TransportTimeout):
                await opened.read_identity()
        return asyncio.get_running_loop().time() - begun

    assert virtual.run(main) < 10


@pytest.mark.parametrize(
    ("deed", "first"),
    [
        (LineDeed.BAD_CHECKSUM, 2),
        (LineDeed.CUT_ANSWER, 2),
        (LineDeed.CUT_ANSWER, 1),
        (LineDeed.ECHO, 1),
    ],
)
@pytest.mark.parametrize("meant", [profile(), PROGRAMMING], ids=["readout", "programming"])
def test_one_damaged_answer_costs_no_value(deed: LineDeed, first: int, meant: Any) -> None:
    times = 1 if deed in {LineDeed.BAD_CHECKSUM, LineDeed.CUT_ANSWER} else 1000
    line = bus(meter(1001, LineFault(deed, first, times)))

    assert with_session(line, energy, meant=meant).count > 0


@pytest.mark.parametrize("deed", [LineDeed.BAD_CHECKSUM, LineDeed.CUT_ANSWER, LineDeed.REPEAT_PLEASE])
def test_answers_that_stay_wrong_are_an_error(deed: LineDeed) -> None:
    with pytest.raises(DriverError):
        with_session(bus(meter(1001, LineFault(deed, 2))), energy)


def test_the_answer_to_another_question_is_no_value() -> None:
    line = bus(meter(1001, LineFault(LineDeed.STALE_ANSWER, first=4, times=1)))

    async def talk(opened: Iec62056Session) -> list[RegisterValue]:
        await opened.read_identity()
        return await opened.read_registers([IMPORT])

    with pytest.raises(RemoteProtocolError, match="was asked"):
        with_session(line, talk, meant=PROGRAMMING)


def test_under_noise_no_value_is_ever_another_than_was_sent() -> None:
    meant = with_session(bus(meter(1001)), energy).count
    read = 0
    for seed in range(60):
        line = bus(meter(1001, Noise(flips=600)))
        line._random.seed(seed)
        with suppress(DriverError):
            value = with_session(line, energy)
            assert abs(value.count - meant) <= 2
            read += 1

    assert read > 10


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"address": "1/17"}, "letters and digits"),
        ({"secret": b""}, "no reference"),
        ({"parity": "odd"}, "option parity"),
        ({"max_baud": "1000"}, "option max_baud"),
        ({"colour": "red"}, "option colour"),
    ],
)
def test_an_endpoint_that_cannot_be_read_is_refused_before_anything_is_sent(how: dict[str, Any], why: str) -> None:
    with pytest.raises(ProfileError, match=why):
        with_session(bus(meter(1001)), energy, **how)
