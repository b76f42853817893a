"""A line of forty meters of four protocols at mixed settings, and a scan of it in virtual time."""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from drivers.transports.url import Form
from headend.collect.identify import session_profile
from headend.collect.scan import Scanner
from headend.profiles import load_documents, load_profiles
from headend.scan.found import Crowd, FoundMeter
from headend.scan.ground import Ground
from headend.scan.naming import Candidates
from headend.scan.plan import Scan
from headend.scan.probe import Question
from simulators.dlms.gateway import DlmsPlace
from simulators.household import Household
from simulators.meter import Meter, Position
from simulators.mixed import (
    HostPort,
    MixedLine,
    Station,
    dlms_station,
    dlt645_station,
    modbus_station,
    opening_station,
)
from tests.headend.collect.builders import MIDNIGHT
from tests.headend.collect.virtual import LoopClock

PROFILES = load_profiles()
SESSION = session_profile("dlms-base", load_documents()[0], "hdlc")
SIMULATED = Candidates([PROFILES[name] for name in ("sim-modbus-rtu", "sim-dlt645", "sim-dlms-hdlc")])
START = MIDNIGHT - 30 * 86_400
HOME = Household("home", START, 1800, tuple(10 * (number % 97) for number in range(48 * 31)))
E96, N96, E24, E19, N19, N115 = (
    Form(9_600, "E"), Form(9_600, "N"), Form(2_400, "E"), Form(19_200, "E"), Form(19_200, "N"), Form(115_200, "N"),
)  # fmt: skip
MODBUS = {N96: (1, 2, 3, 17, 200), E96: (5, 6, 41), E19: (1, 2, 247), N19: (9, 100)}
DLT645 = {
    E24: (203_100_010_001, 203_100_010_002, 203_100_010_003, 203_100_010_104, 203_100_020_004, 77),
    E96: (203_100_010_501, 203_100_110_501, 203_100_010_502, 31_001, 31_099, 31_007, 31_008),
}
DLMS = {N96: (17, 18, 19, 40, 41), E96: (17, 100), N115: (16, 17, 18), N19: (21,)}


def meter(name: str, serial: int) -> Meter:
    return Meter(name, serial, HOME, START, register_start=1_000 * serial % 1_000_003)


def modbus(form: Form, unit: int, serial: int, delay: float = 0.0) -> Station:
    return modbus_station(form, Position(str(unit), (meter(f"SIM:{serial}", serial),)), random.Random(serial), delay)


def dlt645(form: Form, number: int, delay: float = 0.0) -> Station:
    address = f"{number:012d}"
    return dlt645_station(form, Position(address, (meter(f"SIM:{address}", number % 10**9),)), random.Random(1), delay)


def dlms(form: Form, physical: int, serial: int, delay: float = 0.0) -> Station:
    place = DlmsPlace(Position(f"1/{physical}", (meter(f"SIM{serial:013d}", serial),)))
    return dlms_station(form, place, random.Random(serial), delay)


def forty() -> tuple[list[Station], list[str]]:
    """Give the stations, and what a scan is to find: place and name of each."""
    stations: list[Station] = []
    there: list[str] = []

    def put(station: Station, what: str) -> None:
        stations.append(station)
        there.append(what)

    def delay() -> float:
        return len(stations) % 5 * 0.003

    for form, units in MODBUS.items():
        for unit in units:
            serial = 1001 + len(stations)
            put(modbus(form, unit, serial, delay()), f"modbus {unit} at {form.baud} 8{form.parity}1 SIM:{serial}")
    for form, numbers in DLT645.items():
        for number in numbers:
            put(
                dlt645(form, number, delay()),
                f"dlt645-2007 {number:012d} at {form.baud} 8{form.parity}1 SIM:{number:012d}",
            )
    for form, addresses in DLMS.items():
        for physical in addresses:
            serial = 5001 + len(stations)
            put(
                dlms(form, physical, serial, delay()),
                f"dlms 1/{physical} at {form.baud} 8{form.parity}1 SIM{serial:013d}",
            )
    put(dlt645(N19, 990_000_000_001), "dlt645-2007 990000000001 at 19200 8N1 SIM:990000000001")
    put(dlt645(Form(1_200, "E"), 5), "dlt645-2007 000000000005 at 1200 8E1 SIM:000000000005")
    put(opening_station("LGZ4ZMD120AP"), "iec62056 any at 300 7E1 ")
    return stations, there


def words(meters: Iterable[FoundMeter]) -> list[str]:
    return sorted(f"{meter.place} {meter.name}" for meter in meters)


@dataclass
class Told:
    """Who is told; and what the scan predicted, when."""

    scan: Scan
    meters: list[FoundMeter] = field(default_factory=list)
    crowds: list[Crowd] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    predicted: list[tuple[float, float]] = field(default_factory=list)

    def found(self, meter: FoundMeter) -> None:
        self.meters.append(meter)

    def crowded(self, crowd: Crowd) -> None:
        self.crowds.append(crowd)

    def noticed(self, text: str) -> None:
        self.notices.append(text)

    def settled(self, question: Question) -> None:
        self.asked.append(question)
        self.predicted.append((asyncio.get_running_loop().time(), self.scan.remaining()))


def line(stations: list[Station], noise: float = 0.0) -> MixedLine:
    return MixedLine(stations, random.Random(7), lambda: LoopClock().now(), noise)


async def scanned(
    on: MixedLine,
    scan: Scan | None = None,
    *,
    ground: Ground | None = None,
    keep: Callable[[], None] = lambda: None,
    told: Told | None = None,
    beside: bool = False,
) -> tuple[Scan, Told, bool]:
    scan = scan or Scan(ground or Ground())
    told = told or Told(scan)
    scanner = Scanner(scan, HostPort(on), LoopClock(), told, keep, SESSION, SIMULATED, beside=beside)
    return scan, told, await scanner.run()
