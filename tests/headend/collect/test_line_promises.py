"""What a shared line is promised: one meter's trouble costs the others next to nothing. In virtual time, at 9600 8E1."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from drivers.contract import MOST_GATHERED, Driver, Endpoint
from drivers.dlms import driver as dlms
from drivers.dlms.events import NEED_DATA, Apdu
from drivers.dlms.hdlc import HdlcAddress
from drivers.dlms.link import HdlcLink
from drivers.errors import DriverError, TransportTimeout
from drivers.modbus import driver as modbus
from drivers.modbus.pdu import NEED_DATA as NO_REQUEST
from drivers.modbus.pdu import ReadRequest, ReadResponse, decode_request
from drivers.modbus.rtu import RequestReader, RtuFrame
from drivers.obis import Obis
from drivers.profile import MeterProfile, ModbusIdentity, ModbusPoint, ModbusProfile, TimingProfile
from drivers.units import ScalerUnit, Unit
from headend.collect.job import Priority
from headend.collect.latency import Latencies, Pace
from headend.collect.line import Carrier, LineOwner
from headend.collect.visit import Answer, Question, Visit
from tests.drivers.dlms.meter import DAY, PROFILE, Meter
from tests.headend.collect.paced import CHARACTER, DECLARED, HOST_MARGIN, Bus, Respond, context, owned
from tests.headend.collect.virtual import run

WH = ScalerUnit(0, Unit.WATT_HOUR)


def rtu_profile(points: tuple[ModbusPoint, ...], max_registers: int = 125) -> MeterProfile:
    settings = ModbusProfile("rtu", points, ModbusIdentity(0, "uint32"), max_registers)
    return MeterProfile(
        "published", "modbus", "V1.1b3", maker="ACME", timing=TimingProfile(DECLARED, 0, 1), modbus=settings
    )


class HdlcMeters:
    """Two HDLC meters on a line. Answer ``number`` of the first is cut off after ``position`` octets."""

    def __init__(self, number: int = -1, position: int = 0, *, stays_dead: bool = False) -> None:
        self.answers: list[bytes] = []
        self._cut = number, position
        self._stays_dead = stays_dead
        self._meters = [(HdlcLink("server", HdlcAddress(1, unit), None, 128, 1), Meter()) for unit in (17, 18)]

    def respond(self, question: bytes) -> bytes:
        first, second = (self._answer(link, meter, question) for link, meter in self._meters)
        if not first:
            return second
        self.answers.append(first)
        number, position = self._cut
        if len(self.answers) - 1 == number:
            return first[:position]
        return b"" if self._stays_dead and len(self.answers) - 1 > number else first

    @staticmethod
    def _answer(link: HdlcLink, meter: Meter, octets: bytes) -> bytes:
        link.receive_data(octets)
        answer = b""
        while (event := link.next_event()) is not NEED_DATA:
            answer += link.data_to_send()
            if isinstance(event, Apdu):
                answer += link.send(Apdu(meter.answer(event.octets)))
        return answer + link.data_to_send()


def hdlc_endpoint(unit: int) -> Endpoint:
    assert PROFILE.dlms is not None
    profile = replace(
        PROFILE, timing=TimingProfile(DECLARED, 0, 0), dlms=replace(PROFILE.dlms, framing="hdlc", window=1)
    )
    return Endpoint(f"m{unit}", f"1/{unit}", profile)


async def read_day(carrier: Carrier, unit: int) -> tuple[int | None, ...]:
    stream = await carrier.stream()
    try:
        async with dlms.open_session(stream, hdlc_endpoint(unit), context()) as session:
            (block,) = await session.read_load_profile(DAY, DAY + 86_400)
    except DriverError as error:
        await carrier.recover(error)
        raise
    return block.counts  # type: ignore[union-attr]  # its one column is of intervals


WHOLE = tuple(range(1, 49))
HDLC_FRAME = 128 + 20  # the longest frame, as the driver reckons [octet]


def session_of(
    meters: HdlcMeters,
) -> tuple[list[bytes], list[tuple[float, bytes]], BaseException | tuple[int | None, ...]]:
    """Read the first meter, then the second, which is read whatever became of the first."""

    async def both() -> tuple[list[tuple[float, bytes]], BaseException | tuple[int | None, ...]]:
        bus = Bus(meters.respond)
        async with owned(bus) as line:
            first, second = await asyncio.gather(
                line.submit(Priority.SCHEDULED, lambda carrier: read_day(carrier, 17)),
                line.submit(Priority.SCHEDULED, lambda carrier: read_day(carrier, 18)),
                return_exceptions=True,
            )
        assert second == WHOLE
        return bus.said, first

    said, first = run(both)
    return meters.answers, said, first


CLEAN = session_of(HdlcMeters())[0]


@pytest.mark.parametrize("number", range(len(CLEAN)))
def test_wherever_an_hdlc_answer_is_cut_off_the_bus_is_spoken_on_in_time_and_both_meters_are_read(number: int) -> None:
    for position in range(len(CLEAN[number])):
        _, said, first = session_of(HdlcMeters(number, position))

        assert first == WHOLE
        for (at, question), (after, _) in pairwise(said):
            computed = DECLARED + (len(question) + HDLC_FRAME) * CHARACTER + HOST_MARGIN
            assert after - at <= 2 * computed


@pytest.mark.parametrize("number", [0, 3, len(CLEAN) - 1])
def test_a_meter_that_dies_within_its_answer_fails_alone(number: int) -> None:
    _, said, first = session_of(HdlcMeters(number, 5, stays_dead=True))

    assert isinstance(first, DriverError) or number == len(CLEAN) - 1
    assert len(said) < 2 * len(CLEAN) + 12


# 32 Modbus meters with 40 scattered registers each, two of them dead.
METERS = 32
DEAD = {5, 20}
POINTS = tuple(
    ModbusPoint(Obis(1, 0, 1 + number, 7, 0), 100 * (number // 5) + 6 * (number % 5), "uint16", WH)
    for number in range(40)
)
MODEL = rtu_profile(POINTS)


def meters_without(dead: set[int]) -> Respond:
    reader = RequestReader()

    def respond(question: bytes) -> bytes:
        reader.receive_data(question)
        answer = b""
        while (frame := reader.next_event()) is not NO_REQUEST:
            request = decode_request(frame.pdu)
            assert isinstance(request, ReadRequest)
            values = (0, frame.unit) if request.address == 0 and request.count == 2 else (7,) * request.count
            if frame.unit not in dead:
                answer = RtuFrame(frame.unit, ReadResponse(request.function, values).encode()).encode()
        return answer

    return respond


class Round:
    """Rounds of all meters on one line, in the order in which the engine starts them: those that failed last."""

    def __init__(self, dead: set[int]) -> None:
        self.dead = dead
        self.bus = Bus(meters_without(dead))  # which looks for each question who is dead
        self.latencies = Latencies()
        self._failing: set[int] = set()

    async def run(self, line: LineOwner) -> float:
        """Read every meter; give the time until the last living one is read. [s]"""
        loop = asyncio.get_running_loop()
        began, ended = loop.time(), 0.0

        async def one(unit: int) -> None:
            nonlocal ended
            pace = Pace(self.latencies, "bus", f"ACME:{unit}", MODEL.name, DECLARED)
            question = Question(registers=tuple(point.obis for point in POINTS))
            driver: Driver = modbus.open_session
            visit = Visit(driver, Endpoint(f"ACME:{unit}", str(unit), MODEL), context(), question, pace)
            may_wait = unit not in self._failing

            async def turn(carrier: Carrier) -> Answer:
                nonlocal may_wait
                may_come_later, may_wait = may_wait, False  # once, as the engine does it
                return await visit.run(carrier, MODEL.timing.retries, may_come_later=may_come_later)

            try:
                answer = await line.submit(Priority.SCHEDULED, turn)
            except TransportTimeout:
                assert unit in self.dead
                self._failing.add(unit)
                return
            assert len(answer.registers) == len(POINTS)
            ended = loop.time()

        order = sorted(range(1, METERS + 1), key=lambda unit: unit in self._failing)
        await asyncio.gather(*(one(unit) for unit in order))
        return ended - began


async def rounds(dead: set[int], number: int, *, dies_before: int = 0) -> list[float]:
    """Give the time of each round. ``dies_before``: round before which the dead fall silent."""
    all_rounds = Round(set())
    took = []
    async with owned(all_rounds.bus) as line:
        for which in range(number):
            if which == dies_before:
                all_rounds.dead |= dead
            took.append(await all_rounds.run(line))
    return took


def test_a_silent_meter_is_waited_for_until_its_answer_should_have_begun_and_not_until_it_should_have_ended() -> None:
    """Twice, as the line is then listened to for as long again."""

    async def silent() -> float:
        bus = Bus(lambda _: b"")
        points = tuple(ModbusPoint(Obis(1, 0, number, 7, 0), number, "uint16", WH) for number in range(100))
        loop = asyncio.get_running_loop()

        async def ask(carrier: Carrier) -> None:
            async with modbus.open_session(
                await carrier.stream(), Endpoint("A:1", "1", rtu_profile(points)), context()
            ) as session:
                await session.read_registers([point.obis for point in points])

        async with owned(bus) as line:
            began = loop.time()
            with pytest.raises(TransportTimeout):
                await line.submit(Priority.SCHEDULED, ask)
            return loop.time() - began

    took = run(silent)

    begun = DECLARED + (8 + MOST_GATHERED) * CHARACTER + HOST_MARGIN
    assert took == pytest.approx(2 * begun, abs=0.01)


def test_two_dead_meters_of_32_make_the_round_of_the_living_no_more_than_5_percent_longer() -> None:
    alive = run(lambda: rounds(set(), 4))
    with_dead = run(lambda: rounds(DEAD, 4))
    living = (METERS - len(DEAD)) / METERS

    assert all(took <= 1.05 * living * whole for took, whole in zip(with_dead, alive, strict=True))


def test_the_round_in_which_two_meters_of_32_are_found_dead_takes_the_living_no_more_than_5_percent_longer() -> None:
    alive = run(lambda: rounds(set(), 4))
    with_dead = run(lambda: rounds(DEAD, 4, dies_before=2))
    living = (METERS - len(DEAD)) / METERS

    assert with_dead[:2] == pytest.approx(alive[:2])
    assert with_dead[2] <= 1.05 * living * alive[2]
    assert with_dead[3] <= 1.05 * living * alive[3]
