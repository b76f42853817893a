"""SunSpec: what a device that describes itself has, found by walking its models, and a profile drafted from that.

Pure: `discover` asks for registers and is sent them, or None where they are refused. A model is a run of registers that begins
with its number and length; the walk ends with model 0xFFFF. Of the models, the meters are known here: numbers 201 to 204
(integers with scale factors in registers) and 211 to 214 (float32), which share a layout each.

Source: SunSpec Device Information Model Specification 1.1; offsets from model_1, model_203 and model_213 of the SunSpec model
definitions, as packaged by pysunspec2 1.3.7 (Apache-2.0).
"""

import json
import struct
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Final

from drivers.errors import RemoteProtocolError
from drivers.obis import CATALOGUE
from drivers.profile import ModbusPoint, ValueType
from drivers.units import ScalerUnit

MARKER: Final = (0x5375, 0x6E53)  # "SunS"
BASES: Final = (40_000, 50_000, 0)
END: Final = 0xFFFF
MAX_MODELS: Final = 100
COMMON: Final = 1
COMMON_LENGTHS: Final = frozenset((65, 66))
MAKER, MODEL, VERSION, SERIAL = (2, 16), (18, 16), (42, 8), (50, 16)
"""Offset and length of texts in the common model, from its number on. [register]"""
ABSENT_INT16: Final = 0x8000
MAX_READ: Final = 100
SCALES: Final = range(-10, 11)  # of a scale factor

# name in the catalogue, offset from the model's number on, offset of its scale factor
_INTEGERS: Final = (
    ("current_l1", 3, 6), ("current_l2", 4, 6), ("current_l3", 5, 6),
    ("voltage_l1", 8, 15), ("voltage_l2", 9, 15), ("voltage_l3", 10, 15),
    ("frequency", 16, 17), ("active_power_import", 18, 22), ("apparent_power_import", 23, 27),
    ("reactive_power_import", 28, 32), ("active_energy_export", 38, 54), ("active_energy_import", 46, 54),
    ("apparent_energy_export", 55, 71), ("apparent_energy_import", 63, 71),
)  # fmt: skip
# name, offset, scaler that its values are rounded to: a float does not tell its own
_FLOATS: Final = (
    ("current_l1", 4, -3), ("current_l2", 6, -3), ("current_l3", 8, -3),
    ("voltage_l1", 12, -1), ("voltage_l2", 14, -1), ("voltage_l3", 16, -1),
    ("frequency", 26, -2), ("active_power_import", 28, 0), ("apparent_power_import", 36, 0),
    ("reactive_power_import", 44, 0), ("active_energy_export", 60, 0), ("active_energy_import", 68, 0),
    ("apparent_energy_export", 76, 0), ("apparent_energy_import", 84, 0),
)  # fmt: skip
INTEGER_METERS: Final = range(201, 205)
FLOAT_METERS: Final = range(211, 215)
INTEGER_LENGTH, FLOAT_LENGTH = 105, 124  # registers behind number and length

Walk = Generator[tuple[int, int], Sequence[int] | None, "SunSpecDevice | None"]
"""Yields address and count of holding registers to read."""


@dataclass(frozen=True, slots=True)
class SunSpecModel:
    """``address``: of the register that holds its number.  ``length``: registers behind number and length."""

    number: int
    address: int
    length: int


@dataclass(frozen=True, slots=True)
class SunSpecDevice:
    """A device as it describes itself. ``serial_address``: of the 16 registers that hold the serial number."""

    maker: str
    model: str
    version: str
    serial: str
    serial_address: int
    models: tuple[SunSpecModel, ...]
    points: tuple[ModbusPoint, ...]


def discover() -> Walk:
    """Walk the models of a device; give what it is, None for a device that is not SunSpec. Raises `RemoteProtocolError`."""
    for base in BASES:
        if tuple((yield base, 2) or ()) == MARKER:
            break
    else:
        return None
    models: list[SunSpecModel] = []
    points: list[ModbusPoint] = []
    device = SunSpecDevice("", "", "", "", 0, (), ())
    at = base + 2
    while len(models) < MAX_MODELS and at + 2 <= 0x10000:
        head = yield at, 2
        if head is None or head[0] == END:
            break
        model = SunSpecModel(head[0], at, head[1])
        if at + 2 + model.length > 0x10000:
            raise RemoteProtocolError(
                f"SunSpec model {model.number} at {at} is {model.length} registers long: past the end"
            )
        models.append(model)
        if model.number == COMMON and model.length in COMMON_LENGTHS:
            registers = yield from _whole(model)
            device = replace(
                device, serial_address=at + SERIAL[0],
                maker=_text(registers, MAKER), model=_text(registers, MODEL),
                version=_text(registers, VERSION), serial=_text(registers, SERIAL),
            )  # fmt: skip
        elif model.number in INTEGER_METERS and model.length >= INTEGER_LENGTH and not points:
            points += _integers(model, (yield from _whole(model)))
        elif model.number in FLOAT_METERS and model.length >= FLOAT_LENGTH and not points:
            points += _floats(model, (yield from _whole(model)))
        at += 2 + model.length
    return replace(device, models=tuple(models), points=tuple(points))


def draft(device: SunSpecDevice, framing: str) -> str:
    """Write the profile of a device that was discovered: TOML, what has to be looked at behind ``##``."""
    lines = [
        f"## Drafted from what {device.maker} {device.model}, firmware {device.version or 'not told'}, said of itself over SunSpec.",
        "## Scale factors were read from the meter once and stand as scalers here; then: headend profile check FILE",
        'inherits = "modbus-base"',
        f"source = {json.dumps('SunSpec models ' + ', '.join(str(model.number) for model in device.models))}",
        f"## SunSpec has no such letters; these are the first of {json.dumps(device.maker)}. They begin the meter's name: choose others?",
        f"maker = {json.dumps(_letters(device.maker))}",
        f"model = {json.dumps(device.model)}",
        "registers = " + json.dumps([_name(point) for point in device.points if "energy" in _name(point)]),
        "",
        "[modbus]",
        f"framing = {json.dumps(framing)}",
        "points = [",
        *(f"  {{ {_row(point)} }}," for point in device.points),
        "]",
        "",
        "[modbus.identity]",
        f"address = {device.serial_address}",
        'type = "text"',
        f"count = {SERIAL[1]}",
    ]
    return "\n".join(lines) + "\n"


def _letters(maker: str) -> str:
    """Make three capital letters of a maker's name; fewer, which no profile takes, where it has no more."""
    return "".join(filter(ascii_uppercase.__contains__, maker.upper()))[:3]


def _name(point: ModbusPoint) -> str:
    return next(name for name, entry in CATALOGUE.items() if entry.obis == point.obis)


def _row(point: ModbusPoint) -> str:
    cells: Mapping[str, object] = {
        "obis": _name(point),
        "address": point.address,
        "type": point.type,
        "unit": point.scaler_unit.unit.symbol,
        "scaler": point.scaler_unit.scaler,
    }
    absent = f", absent = {list(point.absent)}" if point.absent else ""
    return ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in cells.items()) + absent


def _whole(model: SunSpecModel) -> Generator[tuple[int, int], Sequence[int] | None, list[int]]:
    """Read a model with its head, in pieces that every device gives."""
    registers: list[int] = []
    end = model.length + 2
    while len(registers) < end:
        count = min(MAX_READ, end - len(registers))
        piece = yield model.address + len(registers), count
        if piece is None or len(piece) != count:
            raise RemoteProtocolError(
                f"SunSpec model {model.number} at {model.address} does not give all its registers"
            )
        registers += piece
    return registers


def _integers(model: SunSpecModel, registers: Sequence[int]) -> list[ModbusPoint]:
    points = []
    for name, offset, factor in _INTEGERS:
        entry, scale = CATALOGUE[name], _signed(registers[factor])
        is_energy = "energy" in name
        if scale not in SCALES or (not is_energy and registers[offset] == ABSENT_INT16):
            continue  # not implemented
        type_: ValueType = "uint32" if is_energy else "int16"
        absent = () if is_energy else (ABSENT_INT16,)
        points.append(
            ModbusPoint(entry.obis, model.address + offset, type_, ScalerUnit(scale, entry.unit), absent=absent)
        )
    return points


def _floats(model: SunSpecModel, registers: Sequence[int]) -> list[ModbusPoint]:
    return [
        ModbusPoint(CATALOGUE[name].obis, model.address + offset, "float32", ScalerUnit(scaler, CATALOGUE[name].unit))
        for name, offset, scaler in _FLOATS
        if registers[offset] & 0x7F80 != 0x7F80  # NaN: not implemented
    ]


def _signed(register: int) -> int:
    return register - 0x10000 if register & 0x8000 else register


def _text(registers: Sequence[int], place: tuple[int, int]) -> str:
    words = registers[place[0] : place[0] + place[1]]
    octets = struct.pack(f">{len(words)}H", *words).split(b"\0", 1)[0].strip()
    text = octets.decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)
