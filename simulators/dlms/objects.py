"""The COSEM objects of the simulated meter: all it has, and the list of them that its association shows. IEC 62056-6-2.

Which classes: 1 Data, 3 Register, 7 Profile generic, 8 Clock, 9 Script table, 11 Special days table, 15 Association LN, 17 SAP
assignment, 18 Image transfer, 64 Security setup, 70 Disconnect control.
"""

from collections.abc import Callable, Mapping

from drivers.dlms import axdr
from drivers.dlms.acse import ApplicationContext, Mechanism
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.listing import ASSOCIATION, CURRENT_ASSOCIATION, ObjectEntry, encode_object_list
from drivers.dlms.xdlms import DLMS_VERSION, Attribute, DataAccessResult, Selection
from drivers.errors import DriverError
from drivers.obis import Obis
from drivers.profile import Authentication
from drivers.units import Unit
from simulators.dlms import buffer, image, keys, switch, timekeeping
from simulators.dlms.buffer import INTERVAL_ENERGY, LOAD_PROFILE
from simulators.dlms.device import Device, Item, Read, Refused

LOGICAL_DEVICE_NAME = Obis(0, 0, 42, 0, 0)
SERIAL_NUMBER = Obis(0, 0, 96, 1, 0)
FIRMWARE = Obis(1, 0, 0, 2, 0)
INVOCATION_COUNTER = Obis(0, 0, 43, 1, 0)
ENERGY = Obis(1, 0, 1, 8, 0)
VOLTAGE = Obis(1, 0, 32, 7, 0)
CURRENT = Obis(1, 0, 31, 7, 0)

DATA_CLASS, REGISTER_CLASS, PROFILE_CLASS = 1, 3, 7
FIFO = 1  # sort_method
READ, WRITE = 1, 2  # access modes; 3 is both
MECHANISMS: dict[Authentication, Mechanism] = {
    "none": Mechanism.NONE,
    "lls": Mechanism.LOW,
    "hls3": Mechanism.HIGH_MD5,
    "hls4": Mechanism.HIGH_SHA1,
    "hls5": Mechanism.HIGH_GMAC,
    "hls6": Mechanism.HIGH_SHA256,
    "hls7": Mechanism.HIGH_ECDSA,
}
_CONTEXT_NAME, _MECHANISM_NAME = bytes.fromhex("60857405080100")[:-1], bytes.fromhex("60857405080200")[:-1]


def read(device: Device, attribute: Attribute, selection: Selection | None = None) -> bytes:
    """Give one attribute as encoded data. Raises `Refused`."""
    if (attribute.class_id, attribute.logical_name, attribute.index) == (PROFILE_CLASS, LOAD_PROFILE, 2):
        return buffer.read_buffer(device, selection)
    if selection is not None:
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    item = find(attribute)
    if attribute.index == 1:
        return axdr.encode(axdr.octet_string(attribute.logical_name.to_bytes()))
    if attribute.index not in item.reads:
        raise Refused(DataAccessResult.READ_WRITE_DENIED)
    return axdr.encode(item.reads[attribute.index](device))


def write(device: Device, attribute: Attribute, data: Data, selection: Selection | None = None) -> None:
    """Set one attribute. Raises `Refused`."""
    item = find(attribute)
    if selection is not None:
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    if attribute.index not in item.writes:
        raise Refused(DataAccessResult.READ_WRITE_DENIED)
    try:
        item.writes[attribute.index](device, data)
    except DriverError:
        raise Refused(DataAccessResult.TYPE_UNMATCHED) from None


def invoke(device: Device, method: Attribute, parameters: Data | None) -> Data | None:
    """Do what a method does, and give what it returns. Raises `Refused`, and `ConnectionLost` to hang up instead."""
    item = find(method)
    if method.index not in item.methods:
        raise Refused(DataAccessResult.READ_WRITE_DENIED)
    return item.methods[method.index](device, axdr.integer(0) if parameters is None else parameters)


def find(attribute: Attribute) -> Item:
    """Find the object. Raises `Refused`."""
    item = CATALOGUE.get(attribute.logical_name)
    if item is None:
        raise Refused(DataAccessResult.OBJECT_UNDEFINED)
    if item.class_id != attribute.class_id:
        raise Refused(DataAccessResult.OBJECT_CLASS_INCONSISTENT)
    return item


def _listed(_device: Device) -> Data:
    return encode_object_list([_entry(item) for item in CATALOGUE.values()])


def _entry(item: Item) -> ObjectEntry:
    rights = dict.fromkeys([1, *item.reads], READ)
    if item.class_id == PROFILE_CLASS:
        rights[2] = READ
    for index in item.writes:
        rights[index] = rights.get(index, 0) | WRITE
    methods = dict.fromkeys(item.methods, 1)
    return ObjectEntry(
        item.class_id, item.version, item.name, rights, {1: 1} if item.class_id == ASSOCIATION else methods
    )


def _text(name: Obis, value: Callable[[Device], bytes]) -> Item:
    return Item(DATA_CLASS, 0, name, {2: lambda device: axdr.octet_string(value(device))})


def _register(name: Obis, value: Callable[[Device], int], scaler: int, unit: Unit) -> Item:
    scaler_unit = axdr.structure(axdr.integer(scaler), axdr.enum(unit))
    return Item(REGISTER_CLASS, 0, name, {2: lambda device: _unsigned(value(device)), 3: lambda _device: scaler_unit})


def _unsigned(value: int) -> Data:
    return axdr.double_long_unsigned(value) if value < 2**32 else Data(Tag.LONG64_UNSIGNED, value)


def _last_interval(device: Device) -> int:
    end = device.clock
    rows = device.meter.rows(device.now, end - device.meter.household.period + 1, end)
    return rows[-1].wh if rows else 0


def _context_name(device: Device) -> Data:
    is_ciphered = device.settings.agreed_security != "none"
    context = ApplicationContext.LOGICAL_NAME_CIPHERED if is_ciphered else ApplicationContext.LOGICAL_NAME
    return axdr.octet_string(_CONTEXT_NAME + bytes((context,)))


def _mechanism_name(device: Device) -> Data:
    return axdr.octet_string(_MECHANISM_NAME + bytes((MECHANISMS[device.settings.authentication],)))


def _context_info(device: Device) -> Data:
    largest = axdr.long_unsigned(device.settings.max_pdu)
    return axdr.structure(
        Data(Tag.BIT_STRING, f"{int(device.granted):024b}"),
        largest,
        largest,
        axdr.unsigned(DLMS_VERSION),
        axdr.integer(0),
        axdr.octet_string(b""),
    )


def _set_special_days(device: Device, data: Data) -> None:
    for day in data.items():
        index, date, day_id = day.items()
        if index.tag is not Tag.LONG_UNSIGNED or len(date.octets()) != 5 or day_id.tag is not Tag.UNSIGNED:
            raise Refused(DataAccessResult.TYPE_UNMATCHED)
    device.memory.special_days = data


_PROFILE: Mapping[int, Read] = {
    3: lambda device: axdr.array(buffer.capture_objects(device)),
    4: lambda device: axdr.double_long_unsigned(device.meter.household.period),
    5: lambda _device: axdr.enum(FIFO),
    6: lambda _device: buffer.captured(timekeeping.ITEM.class_id, timekeeping.NAME),
    7: lambda device: axdr.double_long_unsigned(len(device.meter.rows(device.now))),
    8: lambda _device: axdr.double_long_unsigned(2**32 - 1),
}
CATALOGUE: Mapping[Obis, Item] = {
    item.name: item
    for item in (
        Item(
            ASSOCIATION,
            1,
            CURRENT_ASSOCIATION,
            {
                2: _listed,
                4: _context_name,
                5: _context_info,
                6: _mechanism_name,
                8: lambda _device: axdr.enum(2),  # associated
            },
        ),
        _text(LOGICAL_DEVICE_NAME, lambda device: device.meter.name.encode()),
        _text(SERIAL_NUMBER, lambda device: str(device.meter.serial).encode()),
        _text(FIRMWARE, lambda device: device.memory.firmware),
        Item(
            DATA_CLASS,
            0,
            INVOCATION_COUNTER,
            {2: lambda device: axdr.double_long_unsigned(max(0, *device.memory.last_seen.values(), 0))},
        ),
        timekeeping.ITEM,
        _register(ENERGY, lambda device: device.meter.register(device.now), 0, Unit.WATT_HOUR),
        _register(INTERVAL_ENERGY, _last_interval, 0, Unit.WATT_HOUR),
        _register(VOLTAGE, lambda device: device.meter.voltage(device.now), -1, Unit.VOLT),
        _register(CURRENT, lambda device: device.meter.current(device.now), -3, Unit.AMPERE),
        Item(PROFILE_CLASS, 1, LOAD_PROFILE, _PROFILE),
        Item(
            17,
            0,
            Obis(0, 0, 41, 0, 0),
            {
                2: lambda device: axdr.array(
                    [axdr.structure(axdr.long_unsigned(1), axdr.octet_string(device.meter.name.encode()))]
                )
            },
        ),
        Item(11, 0, Obis(0, 0, 11, 0, 0), {2: lambda device: device.memory.special_days}, {2: _set_special_days}),
        image.ITEM,
        keys.ITEM,
        *switch.ITEMS,
    )
}
