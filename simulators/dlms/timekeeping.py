"""The clock of the simulated meter, which can be set. IEC 62056-6-2, class 8."""

from collections.abc import Callable

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.objects.clocks import CLOCK, ClockBase
from drivers.dlms.xdlms import DataAccessResult
from drivers.errors import DriverError
from drivers.obis import Obis
from simulators.dlms.device import Device, Item, Refused

NAME = Obis(0, 0, 1, 0, 0)
QUARTER, MINUTE = 900, 60  # [s]


def _set_time(device: Device, data: Data) -> None:
    if data.tag not in {Tag.OCTET_STRING, Tag.DATE_TIME}:
        raise Refused(DataAccessResult.TYPE_UNMATCHED)
    try:
        device.set_clock(device.settings.clock.decode(data.value))
    except (DriverError, ValueError):
        raise Refused(DataAccessResult.TYPE_UNMATCHED) from None


def _to_nearest(step: Callable[[Device], int]) -> Callable[[Device, Data], None]:
    def adjust(device: Device, _parameters: Data) -> None:
        seconds = step(device)
        device.set_clock((device.clock + seconds // 2) // seconds * seconds)

    return adjust


def _shift(device: Device, parameters: Data) -> None:
    device.set_clock(device.clock + CLOCK.decode_parameter("shift_time", parameters))


ITEM = Item(
    8,
    0,
    NAME,
    {
        2: lambda device: axdr.octet_string(device.settings.clock.encode(device.clock)),
        3: lambda device: Data(Tag.LONG, device.settings.clock.standard_deviation),
        4: lambda _device: axdr.unsigned(0),
        9: lambda _device: axdr.enum(ClockBase.INTERNAL_CRYSTAL),
    },
    {2: _set_time},
    {
        1: _to_nearest(lambda _device: QUARTER),
        2: _to_nearest(lambda device: device.meter.household.period),
        3: _to_nearest(lambda _device: MINUTE),
        6: _shift,
    },
)
