"""The demonstration town: about twenty meters over four links, and what is wrong with some of them. Pure: no clock, no I/O.

===== ======================= ========================================================================
5     DLMS, TCP WRAPPER       none, LLS and HLS-5; one silent for a while, its load profile stays whole
5     DLMS, HDLC over TCP     two with rows missing in their own load profile, one whose clock is fast
5     Modbus RTU, one line    one dead, one whose register rolls over
6     behind a concentrator   one payload is malformed
===== ======================= ========================================================================
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers.dlms.ciphering import Keys
from drivers.profile import Authentication
from simulators import modbus
from simulators.chance import seeded
from simulators.dlms.gateway import NAME_FORMAT, DlmsPlace
from simulators.dlms.server import DlmsSettings
from simulators.faults import ClockDrift, Dead, Fault, MalformedPayload, MissingRows, Rollover, Silent
from simulators.household import Household, bundled
from simulators.meter import Meter, Position

HALF_HOUR, HOUR, DAY = 1800, 3600, 86_400
REGISTER_REFRESH = 60  # [s]
DIALS = 8
CONCENTRATOR = "c1"
_WRAPPER: Sequence[Authentication] = ("none", "lls", "hls5", "hls5", "none")
_HDLC: Sequence[Authentication] = ("none", "lls", "hls5", "none", "hls5")


@dataclass(frozen=True, slots=True)
class Resident:
    """One meter of the town as the utility registers it. ``secrets``: column of the meters table -> text of the secret file."""

    usage_point: str
    profile: str
    link: str
    position: Position
    options: str = ""
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def meter(self) -> Meter:
        """The device that is registered; the town swaps none."""
        return self.position.meters[0]


@dataclass(frozen=True, slots=True)
class Town:
    """All meters, by link. ``start``, ``end``: what is replayed. [s UTC]"""

    start: int
    end: int
    residents: tuple[Resident, ...]
    wrapper: tuple[DlmsPlace, ...]
    hdlc: tuple[DlmsPlace, ...]
    malformed: MalformedPayload

    def positions(self, link: str) -> list[Position]:
        """The addresses on one link."""
        return [resident.position for resident in self.residents if resident.link == link]


def build(start: int, days: int, seed: int) -> Town:
    """Make the town that begins at ``start`` [s UTC], an hour, with faults on its first day. The same seed, the same town."""
    if start % HOUR:
        raise ValueError(f"the town begins on an hour, {start} is {start % HOUR} s after one")
    if not 1 <= days <= 3660:
        raise ValueError(f"{days} days; 1 to 3660 can be replayed")
    randomness = seeded(seed, "town")
    homes = iter([home.moved_to(start) for home in randomness.sample(bundled(), 21)])
    names = (f"DEM{number:07d}" for number in range(1, 100))
    silent = Silent(start + 6 * HOUR, start + 15 * HOUR)
    holed = MissingRows(start + 10 * HOUR, start + 12 * HOUR + HALF_HOUR)
    nicked = MissingRows(start + 18 * HOUR, start + 19 * HOUR + HOUR // 2)
    fast = ClockDrift(start, offset=240, ppm=50)
    wrapper = list(_dlms(_WRAPPER, range(17, 22), "{}", faults={1: silent}, homes=homes, randomness=randomness))
    hdlc = list(
        _dlms(_HDLC, range(33, 38), "1/{}", faults={1: holed, 2: nicked, 3: fast}, homes=homes, randomness=randomness)
    )
    polled = list(_modbus(homes, randomness))
    pushed = [
        Position("", (_meter(f"SIM:{2000 + number}", 2000 + number, next(homes), randomness),))
        for number in range(1, 7)
    ]
    residents = [
        *(_resident(next(names), "sim-dlms-wrapper", "wrapper", place) for place in wrapper),
        *(_resident(next(names), "sim-dlms-hdlc", "hdlc", place) for place in hdlc),
        *(Resident(next(names), "sim-modbus-rtu", "modbus", position) for position in polled),
        *(Resident(next(names), "sim-concentrator", "mqtt", position) for position in pushed),
    ]
    return Town(
        start,
        start + days * DAY,
        tuple(residents),
        tuple(wrapper),
        tuple(hdlc),
        MalformedPayload(start + 4 * HOUR),
    )


def _meter(
    name: str, serial: int, home: Household, randomness: random.Random, *faults: Fault, **settings: int
) -> Meter:
    register = randomness.randrange(1_000_000, 60_000_000)
    return Meter(name, serial, home, home.start, register, faults=faults, **settings)


def _dlms(
    authentications: Sequence[Authentication],
    serials: Sequence[int],
    address: str,
    *,
    faults: dict[int, Fault],
    homes: Iterator[Household],
    randomness: random.Random,
) -> Iterator[DlmsPlace]:
    for index, (authentication, serial) in enumerate(zip(authentications, serials, strict=True)):
        declared = (faults[index],) if index in faults else ()
        meter = _meter(NAME_FORMAT.format(serial), serial, next(homes), randomness, *declared)
        settings = DlmsSettings(
            authentication,
            password=f"{randomness.randrange(10**8):08d}".encode() if authentication == "lls" else b"",
            keys=Keys(randomness.randbytes(16), randomness.randbytes(16)) if authentication == "hls5" else None,
        )
        yield DlmsPlace(Position(address.format(serial), (meter,)), settings)


def _modbus(homes: Iterator[Household], randomness: random.Random) -> Iterator[Position]:
    for unit, home in zip(range(1, 6), homes, strict=False):
        declared: dict[int, Fault] = {
            3: Dead(),
            4: Rollover(DIALS, max(1, home.energy_until(home.start + 9 * HOUR + HOUR // 4))),
        }
        faults = (declared[unit],) if unit in declared else ()
        serial = 1040 + unit
        name = modbus.NAME_FORMAT.format(serial)
        meter = _meter(name, serial, home, randomness, *faults, dials=DIALS, refresh=REGISTER_REFRESH)
        yield Position(str(unit), (meter,))


def _resident(usage_point: str, profile: str, link: str, place: DlmsPlace) -> Resident:
    settings = place.settings
    secrets = {}
    if settings.password:
        secrets["password"] = settings.password.decode()
    if settings.keys is not None:
        secrets["encryption_key"] = settings.keys.encryption.hex()
        secrets["authentication_key"] = settings.keys.authentication.hex()
    options = "" if settings.authentication == "none" else f"authentication={settings.authentication}"
    return Resident(usage_point, profile, link, place.position, options, secrets)


def truth(town: Town) -> dict[str, dict[str, Any]]:
    """Say what each meter measured, by its name.

    ``wh``: what its load profile holds per half-hour, None where it has no row. ``total_wh``: their sum.
    ``used_wh``: what its register counted, gaps included. ``faults``: what is wrong with it.
    """
    told = {}
    for resident in town.residents:
        meter = resident.meter
        period = meter.household.period
        wh = [meter.row(start) for start in range(town.start, town.end, period)]
        told[meter.name] = {
            "start": town.start,
            "period": period,
            "wh": wh,
            "total_wh": sum(value for value in wh if value is not None),
            "used_wh": meter.household.energy_until(town.end) - meter.household.energy_until(town.start),
            "faults": [type(fault).__name__ for fault in meter.faults],
        }
    return told
