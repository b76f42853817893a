"""Who a meter is, once it has answered: what is asked of it, and which known model fits. Pure: requests go out, what was heard comes back.

A model is guessed where exactly one of the candidates fits: the same protocol and edition, for DLMS the maker in front of the
logical device name, for Modbus an identity register and a first value that can be read.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from drivers.errors import DriverError, RemoteProtocolError
from drivers.modbus import sunspec
from drivers.modbus.functions import DeviceObjects, ReadDevice
from drivers.modbus.identity import FUNCTIONS, identity_request, serial_number
from drivers.modbus.pdu import Function, ReadRequest, ReadResponse, Request
from drivers.modbus.values import REGISTERS
from drivers.profile import MeterProfile, ModbusIdentity
from headend.scan.found import FoundMeter
from headend.scan.ground import Kind
from headend.scan.probe import Heard, Outcome

Naming = Generator[Request, Heard, FoundMeter]
VENDOR, PRODUCT, REVISION = 0, 1, 2  # MODBUS Application Protocol V1.1b3, 6.21: object identifiers
MAX_TEXT: Final = 64  # of what a meter says of itself [character]
MAX_CANDIDATES: Final = 16  # models tried on one Modbus meter
UNCLEAR: Final = "answers one question cleanly and another not: there may be two"


@dataclass(frozen=True, slots=True)
class Candidates:
    """Models that meters of this line may be."""

    profiles: Sequence[MeterProfile] = ()

    def of(self, kind: Kind, maker: str = "") -> list[MeterProfile]:
        """Give those of a protocol and edition; ``maker``: and of this maker, where it is known."""
        return [
            profile
            for profile in self.profiles
            if _speaks(profile, kind) and (not maker or profile.maker.upper() == maker.upper())
        ]

    def fit(self, meter: FoundMeter) -> FoundMeter:
        """Guess the model of a DLMS or DL/T 645 meter, and name the latter."""
        if meter.kind is Kind.DLMS:
            found = self.of(meter.kind, meter.name[:3]) if meter.name else []
        else:
            found = self.of(meter.kind)
        profile = found[0] if len(found) == 1 else None
        if profile is None:
            return meter
        name = f"{profile.maker}:{meter.address}" if meter.kind is not Kind.DLMS and profile.maker else meter.name
        return replace(meter, name=name, profile=profile.name)


def _speaks(profile: MeterProfile, kind: Kind) -> bool:
    match kind:
        case Kind.DLMS:
            return profile.dlms is not None and profile.protocol == "dlms" and profile.dlms.framing == "hdlc"
        case Kind.MODBUS:
            return profile.modbus is not None and profile.modbus.framing in {"rtu", "rtu-over-tcp"}
        case Kind.DLT645_1997 | Kind.DLT645_2007:
            return profile.dlt645 is not None and kind.endswith(profile.dlt645.edition)
    return False


def name_modbus(meter: FoundMeter, candidates: Candidates) -> Naming:
    """Ask a Modbus unit what it is: device identification, SunSpec, then the identity registers of known models."""

    def ask(request: Request) -> Generator[Request, Heard, object]:
        nonlocal meter
        heard = yield request
        if heard.outcome is Outcome.GARBLED:
            meter = replace(meter, note=UNCLEAR)
        return heard.content

    told = yield from ask(ReadDevice())
    if isinstance(told, DeviceObjects):
        parts = (told.objects.get(key, b"") for key in (VENDOR, PRODUCT, REVISION))
        meter = replace(meter, model=clean(" ".join(part.decode("latin-1") for part in parts)))
    walk = sunspec.discover()
    try:
        address, count = next(walk)
        while True:
            content = yield from ask(ReadRequest(Function.READ_HOLDING_REGISTERS, address, count))
            address, count = walk.send(content.registers if isinstance(content, ReadResponse) else None)
    except StopIteration as end:
        if end.value is not None:
            model = clean(f"{end.value.maker} {end.value.model} {end.value.version}")
            told = f"SunSpec, serial number {clean(end.value.serial)}"
            meter = replace(meter, model=meter.model or model, note=meter.note or told)
    except DriverError as error:
        meter = replace(meter, note=meter.note or clean(f"SunSpec: {error}"))
    fitting: list[tuple[MeterProfile, str]] = []
    for profile in candidates.of(Kind.MODBUS)[:MAX_CANDIDATES]:
        assert profile.modbus is not None
        if profile.modbus.identity is None or not profile.modbus.points:
            continue
        identity = yield from ask(identity_request(profile.modbus.identity))
        point = profile.modbus.points[0]
        first = yield from ask(ReadRequest(FUNCTIONS[point.table], point.address, REGISTERS[point.type]))
        if isinstance(identity, ReadResponse) and isinstance(first, ReadResponse):
            serial = _serial(profile.modbus.identity, identity.registers)
            fitting += [(profile, serial)] if serial else []
    if len(fitting) == 1:
        profile, serial = fitting[0]
        meter = replace(meter, name=f"{profile.maker}:{serial}", profile=profile.name)
    return meter


def _serial(identity: ModbusIdentity, registers: Sequence[int]) -> str:
    """Read a serial number; empty for what is none."""
    try:
        serial = serial_number(identity, registers)
    except RemoteProtocolError:
        return ""
    return clean(serial).replace(" ", "") if serial.strip("0") and not serial.startswith("-") else ""


def clean(text: str) -> str:
    """Make what a meter says one printable line of bounded length."""
    kept = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(kept.split())[:MAX_TEXT]
