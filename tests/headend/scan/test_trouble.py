"""What a scan makes of collisions, noise, slow meters, other masters and ports that refuse a setting. In virtual time."""

import asyncio
import random
from contextlib import suppress

import pytest

from drivers.dlt645.address import ANY
from drivers.dlt645.control import Edition
from drivers.dlt645.services import Identifier, read
from drivers.errors import DriverError, PortUnavailable
from drivers.modbus.pdu import ExceptionResponse, Function, ReadRequest
from drivers.modbus.rtu import RtuFrame
from headend.collect.scan import Scanner
from headend.scan.ground import Ground, Protocol
from headend.scan.plan import NOISE, Scan
from simulators.line import Answer
from simulators.mixed import HostPort, MixedLine, Station
from tests.headend.collect.virtual import LoopClock, run
from tests.headend.scan.test_whole_line import is_read
from tests.headend.scan.town import (
    E24,
    E96,
    N96,
    SESSION,
    SIMULATED,
    Told,
    dlms,
    dlt645,
    line,
    modbus,
    scanned,
    words,
)


def ground(*protocols: Protocol, baud: int = 9_600, units: tuple[int, ...] = (1, 2, 3, 4, 5)) -> Ground:
    return Ground(protocols=protocols, bauds=(baud,), units=units)


def scan(stations: list[Station], where: Ground, noise: float = 0.0, *, wait: float | None = None) -> tuple[Scan, Told]:
    async def main() -> tuple[Scan, Told]:
        found, told, _ = await scanned(line(stations, noise), Scan(where, wait))
        return found, told

    return run(main)


@pytest.mark.parametrize("delay", [0.0, 0.004])
def test_two_meters_with_one_modbus_unit_are_more_than_one_and_not_none(delay: float) -> None:
    found, told = scan([modbus(N96, 2, 1002), modbus(N96, 3, 1003), modbus(N96, 3, 1004, delay)], ground("modbus"))

    assert [crowd.place for crowd in found.crowds] == ["modbus 3 at 9600 8N1"]
    assert told.crowds == found.crowds
    assert "modbus 2 at 9600 8N1 SIM:1002" in words(found.meters)
    assert not any(meter.name in {"SIM:1003", "SIM:1004"} for meter in found.meters)


@pytest.mark.parametrize("delay", [0.0, 0.004])
def test_two_meters_with_one_dlt645_address_are_more_than_one_and_not_none(delay: float) -> None:
    stations = [dlt645(E24, 1), dlt645(E24, 77), dlt645(E24, 77, delay or 0.002)]

    found, _ = scan(stations, ground("dlt645", baud=2_400))

    assert [crowd.place for crowd in found.crowds] == ["dlt645-2007 000000000077 at 2400 8E1"]
    assert words(found.meters) == ["dlt645-2007 000000000001 at 2400 8E1 SIM:000000000001"]


def test_two_meters_behind_one_hdlc_address_are_more_than_one_and_not_none() -> None:
    found, _ = scan([dlms(N96, 17, 1), dlms(N96, 17, 2), dlms(N96, 20, 3)], ground("dlms"))

    assert [crowd.place for crowd in found.crowds] == ["dlms 1/17 at 9600 8N1"]
    assert "dlms 1/20 at 9600 8N1 SIM0000000000003" in words(found.meters)


def test_meters_whose_answers_cover_each_other_bit_by_bit_are_told_apart_by_what_they_measured() -> None:
    numbers = (100_000_000_101, 100_000_000_301)  # anded, the second's frame is the first's

    found, _ = scan([dlt645(E24, number) for number in numbers], ground("dlt645", baud=2_400))

    assert [meter.address for meter in found.meters] == [f"{number:012d}" for number in numbers]


@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_noise_on_the_line_invents_no_meter_and_hides_none(noise: float) -> None:
    stations = [modbus(E96, 2, 1002), modbus(E96, 4, 1004), dlt645(E96, 12), dlms(E96, 17, 17), dlms(E96, 18, 18)]
    there = ["dlms 1/17", "dlms 1/18", "dlt645-2007 000000000012", "modbus 2", "modbus 4"]

    found, _ = scan(stations, Ground(bauds=(9_600,), parities=("E",), units=(1, 2, 3, 4, 5)), noise)

    assert sorted(meter.place.partition(" at ")[0] for meter in found.meters) == there


def test_a_line_that_garbles_everything_is_given_up_and_said() -> None:
    def babble(data: bytes, now: int) -> list[Answer]:
        return [Answer(0.01, random.Random(1).randbytes(9))] if is_read(data) and now else []

    found, _ = scan(
        [Station(N96, babble), modbus(E96, 2, 1002)], ground("modbus", "dlt645", units=tuple(range(1, 248)))
    )

    assert [meter.place for meter in found.meters] == ["modbus 2 at 9600 8E1"]
    assert [crowd.place for crowd in found.crowds if crowd.why == NOISE] == [
        "dlt645-2007 any at 9600 8N1", "modbus any at 9600 8N1",
    ]  # fmt: skip


def test_a_meter_slower_than_is_waited_for_is_found_by_its_late_answer() -> None:
    found, _ = scan([modbus(N96, 2, 1002, delay=0.45), modbus(N96, 5, 1005)], ground("modbus"))

    assert words(found.meters) == ["modbus 2 at 9600 8N1 SIM:1002", "modbus 5 at 9600 8N1 SIM:1005"]


def test_a_meter_that_answers_at_two_settings_is_one_meter() -> None:
    found, told = scan([modbus(N96, 2, 1002), modbus(E96, 2, 1002)], ground("modbus"))

    assert words(told.meters) == ["modbus 2 at 9600 8E1 SIM:1002"]
    assert found.meters[0].also == ("2 at 9600 8N1",)


def test_a_meter_that_refuses_what_is_asked_is_there_all_the_same() -> None:
    def refuse(data: bytes, now: int) -> list[Answer]:
        exception = ExceptionResponse(data[1], 1).encode()
        return [Answer(0.02, RtuFrame(4, exception).encode())] if now and data[0] == 4 and len(data) == 8 else []

    found, _ = scan([Station(N96, refuse)], ground("modbus"))

    assert [(meter.place, meter.name, meter.profile) for meter in found.meters] == [("modbus 4 at 9600 8N1", "", "")]


def test_a_meter_of_1997_is_found_where_none_of_2007_answers() -> None:
    def only_1997(station: Station) -> Station:
        def hear(data: bytes, now: int) -> list[Answer]:
            return list(station.hears(data, now)) if data[12:13] == b"\x01" else []

        return Station(station.form, hear)

    found, _ = scan([only_1997(dlt645(E24, 5)), only_1997(dlt645(E24, 106))], ground("dlt645", baud=2_400))

    assert [meter.place for meter in found.meters] == [
        "dlt645-1997 000000000005 at 2400 8E1", "dlt645-1997 000000000106 at 2400 8E1",
    ]  # fmt: skip


def beside_a_master(octets: bytes, *, beside: bool, every: float = 0.9) -> tuple[Scan, Told, bool, MixedLine]:
    async def main() -> tuple[Scan, Told, bool, MixedLine]:
        on = line([modbus(N96, 2, 1002), modbus(N96, 3, 1003)])

        async def master() -> None:
            while True:
                on.ask(octets, N96)
                await asyncio.sleep(every)

        task = asyncio.create_task(master())
        try:
            found, told, was_asked = await scanned(on, ground=ground("modbus"), beside=beside)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return found, told, was_asked, on

    return run(main)


QUESTION = RtuFrame(3, ReadRequest(Function.READ_HOLDING_REGISTERS, 10, 2).encode()).encode()


def test_another_master_is_recognised_whatever_his_speed_and_nothing_is_asked_beside_him() -> None:
    found, told, was_asked, on = beside_a_master(QUESTION, beside=False)

    assert not was_asked
    assert on.questions == []
    assert found.meters == []
    assert any("another master asks Modbus unit 3 (9600 8N1)" in notice for notice in told.notices)


def test_a_scan_beside_another_master_finds_the_meters_and_takes_nothing_of_his_for_one() -> None:
    nobody = RtuFrame(5, ReadRequest(Function.READ_HOLDING_REGISTERS, 10, 2).encode()).encode()

    found, _, was_asked, _ = beside_a_master(nobody, beside=True)

    assert was_asked
    assert words(found.meters) == ["modbus 2 at 9600 8N1 SIM:1002", "modbus 3 at 9600 8N1 SIM:1003"]
    assert found.crowds == []


def test_another_master_who_comes_later_is_told_once() -> None:
    wild = read(ANY, Identifier("00010000"), Edition.E2007).encode(4)

    _, told, _, _ = beside_a_master(wild, beside=True, every=4.1)

    assert len([notice for notice in told.notices if "another master asks DL/T 645" in notice]) == 1


def test_a_meter_that_sends_by_itself_is_recognised() -> None:
    found, _, was_asked, on = beside_a_master(
        b"/KFM5KAIFA-METER\r\n\r\n1-0:1.8.0(000123.4*kWh)\r\n!1F2A\r\n", beside=False
    )

    assert not was_asked
    assert on.questions == []
    assert any("telegrams as text" in words for words in found.strangers)


def test_a_setting_that_the_port_refuses_is_left_out_and_said() -> None:
    class Port(HostPort):
        async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
            if parity == "E":
                raise PortUnavailable("the port refuses these settings")
            await super().reconfigure(baud, parity, bits, after)

    async def main() -> tuple[Scan, Told]:
        found = Scan(ground("modbus"))
        told = Told(found)
        port = Port(line([modbus(N96, 3, 1003)]))
        assert await Scanner(found, port, LoopClock(), told, lambda: None, SESSION, SIMULATED).run()
        return found, told

    found, told = run(main)

    assert found.refused == [E96]
    assert "the port does not take 9600 8E1" in told.notices[0]
    assert words(found.meters) == ["modbus 3 at 9600 8N1 SIM:1003"]


def test_a_link_of_one_setting_is_scanned_at_that_one() -> None:
    class Gateway(HostPort):
        async def reconfigure(self, *_: object, **__: object) -> None:
            raise AssertionError("its speed cannot be changed")

    async def main() -> Scan:
        found = Scan(Ground("fast", fixed=N96))
        port = Gateway(line([modbus(N96, 3, 1003), dlt645(N96, 8)]), N96)
        assert await Scanner(found, port, LoopClock(), Told(found), lambda: None, SESSION, SIMULATED).run()
        return found

    assert words(run(main).meters) == [
        "dlt645-2007 000000000008 at 9600 8N1 SIM:000000000008", "modbus 3 at 9600 8N1 SIM:1003",
    ]  # fmt: skip


def test_a_port_that_vanishes_ends_the_scan_and_what_was_settled_is_kept() -> None:
    kept: list[int] = []

    async def main() -> Scan:
        found = Scan(ground("modbus"))
        port = HostPort(line([]))

        def keep() -> None:
            kept.append(found.pace.asked)
            if len(kept) == 3:
                port._is_open = False

        with pytest.raises(DriverError):
            await Scanner(found, port, LoopClock(), Told(found), keep, SESSION, SIMULATED).run()
        return found

    assert run(main).pace.asked == 3
    assert kept == [1, 2, 3]
