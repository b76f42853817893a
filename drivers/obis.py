"""`Obis` and the catalogue: name <-> OBIS <-> quantity and unit.

Source: IEC 62056-6-1 (value groups A to F; table of value group C codes for electricity; D = 8 time integral 1,
29 time integral 5, 7 instantaneous value, 6 maximum).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from drivers.units import Unit

_TEXT = re.compile(r"(?:(\d{1,3})-)?(?:(\d{1,3}):)?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?:[*&.](\d{1,3}))?", re.ASCII)
_DOTTED = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Obis:
    """Code of a quantity: value groups A to F, each 0 to 255. IEC 62056-6-1."""

    a: int
    b: int
    c: int
    d: int
    e: int
    f: int = 255

    def __post_init__(self) -> None:
        """Refuse a value group outside a byte."""
        for group, value in zip("ABCDEF", (self.a, self.b, self.c, self.d, self.e, self.f), strict=True):
            if not 0 <= value <= 255:
                raise ValueError(f"OBIS value group {group} is {value}, not 0 to 255")

    @classmethod
    def parse(cls, text: str) -> "Obis":
        """Read ``1-0:1.8.0*255``, ``1.8.0`` (A-B are then 1-0) or the six-part dotted ``1.0.1.8.0.255``. Raises `ValueError`."""
        stripped = text.strip()
        if match := _DOTTED.fullmatch(stripped):
            return cls(*(int(part) for part in match.groups()))
        if match := _TEXT.fullmatch(stripped):
            a, b, c, d, e, f = match.groups()
            return cls(int(a or 1), int(b or 0), int(c), int(d), int(e or 0), int(f or 255))
        raise ValueError(f"{text!r} is not an OBIS code; write it like 1-0:1.8.0*255")

    @classmethod
    def from_bytes(cls, octets: bytes) -> "Obis":
        """Read the six octets of a logical name. Raises `ValueError`."""
        if len(octets) != 6:
            raise ValueError(f"a logical name has 6 octets, not {len(octets)}")
        return cls(*octets)

    def to_bytes(self) -> bytes:
        """Give the six octets of the logical name."""
        return bytes((self.a, self.b, self.c, self.d, self.e, self.f))

    def __str__(self) -> str:
        """Write the code as ``A-B:C.D.E*F``."""
        return f"{self.a}-{self.b}:{self.c}.{self.d}.{self.e}*{self.f}"


@dataclass(frozen=True, slots=True)
class ReadingType:
    """One catalogue entry. ``is_interval``: one value per interval (energy of it), not a register that runs on."""

    name: str
    obis: Obis
    quantity: str
    unit: Unit
    is_interval: bool = False


# quantity, unit, and value group C per direction. IEC 62056-6-1, value group C, electricity.
_ENERGY = (
    ("active_energy_import", Unit.WATT_HOUR, 1),
    ("active_energy_export", Unit.WATT_HOUR, 2),
    ("reactive_energy_import", Unit.VAR_HOUR, 3),
    ("reactive_energy_export", Unit.VAR_HOUR, 4),
    ("apparent_energy_import", Unit.VOLT_AMPERE_HOUR, 9),
    ("apparent_energy_export", Unit.VOLT_AMPERE_HOUR, 10),
)
_INSTANT = (
    ("active_power_import", Unit.WATT, 1), ("active_power_export", Unit.WATT, 2),
    ("reactive_power_import", Unit.VAR, 3), ("reactive_power_export", Unit.VAR, 4),
    ("apparent_power_import", Unit.VOLT_AMPERE, 9), ("power_factor", Unit.COUNT, 13), ("frequency", Unit.HERTZ, 14),
    ("current_l1", Unit.AMPERE, 31), ("voltage_l1", Unit.VOLT, 32),
    ("current_l2", Unit.AMPERE, 51), ("voltage_l2", Unit.VOLT, 52),
    ("current_l3", Unit.AMPERE, 71), ("voltage_l3", Unit.VOLT, 72),
    ("current_neutral", Unit.AMPERE, 91),
)  # fmt: skip
TARIFFS = 8


def _entries() -> Iterator[ReadingType]:
    for name, unit, group_c in _ENERGY:
        quantity = name.rsplit("_", 1)[0]
        yield ReadingType(name, Obis(1, 0, group_c, 8, 0), quantity, unit)
        for tariff in range(1, TARIFFS + 1):
            yield ReadingType(f"{name}_tariff_{tariff}", Obis(1, 0, group_c, 8, tariff), quantity, unit)
        yield ReadingType(f"{name}_interval", Obis(1, 0, group_c, 29, 0), quantity, unit, is_interval=True)
    for name, unit, group_c in _INSTANT:
        yield ReadingType(name, Obis(1, 0, group_c, 7, 0), name.removesuffix("_import").removesuffix("_export"), unit)
    for name, group_c in (("maximum_demand_import", 1), ("maximum_demand_export", 2)):
        yield ReadingType(name, Obis(1, 0, group_c, 6, 0), "maximum_demand", Unit.WATT)


CATALOGUE = MappingProxyType({entry.name: entry for entry in _entries()})
_BY_OBIS = {entry.obis: entry for entry in CATALOGUE.values()}


def by_obis(obis: Obis) -> ReadingType | None:
    """Find the catalogue entry of a code, or None for a code the catalogue does not name."""
    return _BY_OBIS.get(obis)


def resolve(text: str) -> Obis:
    """Turn a catalogue name or an OBIS text into its code. Raises `ValueError` naming both forms."""
    if entry := CATALOGUE.get(text):
        return entry.obis
    try:
        return Obis.parse(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a catalogue name (such as active_energy_import) nor an OBIS code (1-0:1.8.0*255)"
        ) from None


def register_of(interval: Obis) -> Obis:
    """Give the running register (time integral 1) that an interval channel (time integral 5) sums up to."""
    return Obis(interval.a, interval.b, interval.c, 8, interval.e, interval.f)


def interval_of(register: Obis) -> Obis:
    """Give the interval channel (time integral 5) made from differences of a running register (time integral 1)."""
    return Obis(register.a, register.b, register.c, 29, register.e, register.f)


def tariff_register(interval: Obis, number: int) -> Obis:
    """Give the running register of one tariff (value group E) of an interval channel: 1.8.2 of 1.29.0 and 2."""
    return Obis(interval.a, interval.b, interval.c, 8, number, interval.f)
