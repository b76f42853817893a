"""Lists that meters push on household interfaces and do not explain: what stands where, and what one count is worth.

A list whose objects carry name, scaler and unit (Aidon, Iskra, Landis+Gyr ZMF) needs no entry here but for its texts. One that does
not is known by its version text and its number of items. Each entry names the published message that shows it; a scaler
that no message shows is left out, and values without one become facts only by a meter profile that declares it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from drivers.obis import Obis, resolve
from drivers.units import ScalerUnit, Unit

Role = Literal["", "logical_device_name", "meter_id", "second_id", "meter_type", "list_version", "clock"]
ROLES: Mapping[Obis, Role] = MappingProxyType({
    Obis(0, 0, 42, 0, 0): "logical_device_name",
    Obis(0, 0, 96, 1, 0): "meter_id",
    Obis(0, 0, 96, 1, 1): "second_id",
    Obis(0, 0, 1, 0, 0): "clock",
    Obis(0, 1, 1, 0, 0): "clock",
})  # fmt: skip
"""Codes that mean the same in every meter: logical device name, device IDs 1 and 2, clock of channels 0 and 1. IEC 62056-6-1."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an item means. ``obis``: the quantity; ``role``: where it is no quantity; ``scaler_unit``: of its counts."""

    obis: Obis | None = None
    scaler_unit: ScalerUnit | None = None
    role: Role = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """One list. ``version``: its first text, "" for none; ``count``: its items, 0 for any number.

    ``positions``: items without a name, by index.  ``names``: items by the name the meter gives them.
    """

    name: str
    source: str
    version: str = ""
    count: int = 0
    positions: Mapping[int, Meaning] = field(default_factory=dict)
    names: Mapping[Obis, Meaning] = field(default_factory=dict)


_UNITS = {
    "active_power": Unit.WATT, "reactive_power": Unit.VAR, "active_energy": Unit.WATT_HOUR, "reactive_energy": Unit.VAR_HOUR,
    "current": Unit.AMPERE, "voltage": Unit.VOLT,
}  # fmt: skip


def _quantity(text: str) -> Meaning:
    """Read ``current_l1 -3`` (catalogue name and scaler), or a role such as ``meter_id``."""
    name, _, scaler = text.partition(" ")
    match name:
        case "meter_id" | "meter_type" | "list_version" | "clock":
            return Meaning(role=name)
    unit = next(unit for quantity, unit in _UNITS.items() if name.startswith(quantity))
    return Meaning(resolve(name), ScalerUnit(int(scaler or 0), unit))


def _positions(*texts: str) -> Mapping[int, Meaning]:
    return MappingProxyType({index: _quantity(text) for index, text in enumerate(texts)})


def _names(table: Mapping[str, str]) -> Mapping[Obis, Meaning]:
    return MappingProxyType({Obis.parse(code): _quantity(text) for code, text in table.items()})


_KAIFA_SECONDS = (
    "list_version", "meter_id", "meter_type", "active_power_import", "active_power_export", "reactive_power_import",
    "reactive_power_export", "current_l1 -3", "current_l2 -3", "current_l3 -3", "voltage_l1 -1", "voltage_l2 -1",
    "voltage_l3 -1",
)  # fmt: skip
_KAIFA_HOUR = (
    "clock",
    "active_energy_import",
    "active_energy_export",
    "reactive_energy_import",
    "reactive_energy_export",
)
_KAMSTRUP = {
    "1-1:0.0.5*255": "meter_id", "1-1:96.1.1*255": "meter_type",
    "1-1:1.7.0*255": "active_power_import", "1-1:2.7.0*255": "active_power_export",
    "1-1:3.7.0*255": "reactive_power_import", "1-1:4.7.0*255": "reactive_power_export",
    "1-1:31.7.0*255": "current_l1 -2", "1-1:51.7.0*255": "current_l2 -2", "1-1:71.7.0*255": "current_l3 -2",
    "1-1:32.7.0*255": "voltage_l1", "1-1:52.7.0*255": "voltage_l2", "1-1:72.7.0*255": "voltage_l3",
}  # fmt: skip
_KAMSTRUP_HOUR = {
    "1-1:1.8.0*255": "active_energy_import 1", "1-1:2.8.0*255": "active_energy_export 1",
    "1-1:3.8.0*255": "reactive_energy_import 1", "1-1:4.8.0*255": "reactive_energy_export 1",
}  # fmt: skip
_AMSHAN = "github.com/toreamun/amshan 3571bed, tests/"

LAYOUTS = (
    Layout("kaifa-13", _AMSHAN + "test_kaifa.py, no_list_2", "KFM_001", 13, _positions(*_KAIFA_SECONDS)),
    Layout("kaifa-18", _AMSHAN + "test_kaifa.py, no_list_3", "KFM_001", 18, _positions(*_KAIFA_SECONDS, *_KAIFA_HOUR)),
    Layout(
        "kamstrup-25", _AMSHAN + "test_kamstrup.py, se_list_real_sample", "Kamstrup_V0001", 25, names=_names(_KAMSTRUP)
    ),
    Layout(
        "kamstrup-35", _AMSHAN + "test_kamstrup.py, no_list_2_single_phase_real_sample", "Kamstrup_V0001", 35,
        names=_names(_KAMSTRUP | _KAMSTRUP_HOUR),
    ),
    Layout(
        "aidon", _AMSHAN + "test_aidon.py, no_list_2 and no_list_3", "AIDON_V0001",
        names=_names({"0-0:96.1.7*255": "meter_type", "1-1:0.2.129*255": "list_version"}),
    ),
    Layout(
        "netz-noe", "github.com/esphome-libs/dlms_parser ac1cc1a, tests/expected/mbus_netz_noe_p1.h", "", 35,
        MappingProxyType({34: _quantity("meter_id")}),
    ),
)  # fmt: skip


def find_layout(version: str, count: int) -> Layout | None:
    """Find the layout of a list by its first text and its number of items."""
    for layout in LAYOUTS:
        if layout.version == version and layout.count in {0, count}:
            return layout
    return None
