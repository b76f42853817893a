"""Disconnect control of the simulated meter, and the scripts that work it. IEC 62056-6-2, classes 70 and 9."""

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.objects.supply import DISCONNECT_CONTROL, ControlMode, ControlState
from drivers.dlms.xdlms import DataAccessResult
from drivers.obis import Obis
from simulators.dlms import image
from simulators.dlms.device import Device, Item, Method, Refused

NAME = Obis(0, 0, 96, 3, 10)
SWITCHING_SCRIPTS, IMAGE_SCRIPTS = Obis(0, 0, 10, 0, 106), Obis(0, 0, 10, 0, 107)
EXECUTE = 2  # service_id of a script's action: a method
_RECONNECTS_AT_ONCE = frozenset(
    {ControlMode.MODE_2, ControlMode.MODE_4}
)  # transition a; the others: d, by hand behind it


def _disconnect(device: Device, _parameters: Data | None = None) -> None:
    if device.memory.control_mode is ControlMode.NONE:
        raise Refused(DataAccessResult.READ_WRITE_DENIED)
    device.memory.control_state = ControlState.DISCONNECTED


def _reconnect(device: Device, _parameters: Data | None = None) -> None:
    if device.memory.control_mode is ControlMode.NONE:
        raise Refused(DataAccessResult.READ_WRITE_DENIED)
    if device.memory.control_state is ControlState.DISCONNECTED:
        at_once = device.memory.control_mode in _RECONNECTS_AT_ONCE
        device.memory.control_state = ControlState.CONNECTED if at_once else ControlState.READY_FOR_RECONNECTION


def _set_mode(device: Device, data: Data) -> None:
    device.memory.control_mode = DISCONNECT_CONTROL.decode("control_mode", data)


def _table(name: Obis, class_id: int, target: Obis, methods: dict[int, tuple[int, Method]]) -> Item:
    """Make a script table: script number -> method of the target, and what it does."""

    def scripts(_device: Device) -> Data:
        return axdr.array(
            axdr.structure(
                axdr.long_unsigned(script),
                axdr.array(
                    [
                        axdr.structure(
                            axdr.enum(EXECUTE),
                            axdr.long_unsigned(class_id),
                            axdr.octet_string(target.to_bytes()),
                            axdr.integer(method),
                            axdr.integer(0),
                        )
                    ]
                ),
            )
            for script, (method, _) in methods.items()
        )

    def execute(device: Device, parameters: Data) -> None:
        if parameters.tag is not Tag.LONG_UNSIGNED:
            raise Refused(DataAccessResult.TYPE_UNMATCHED)
        if (script := parameters.integer()) not in methods:
            raise Refused(DataAccessResult.OBJECT_UNDEFINED)
        methods[script][1](device, axdr.integer(0))

    return Item(9, 0, name, {2: scripts}, {}, {1: execute})


ITEMS = (
    Item(
        70,
        0,
        NAME,
        {
            2: lambda device: Data(Tag.BOOLEAN, device.memory.control_state is ControlState.CONNECTED),
            3: lambda device: axdr.enum(device.memory.control_state),
            4: lambda device: axdr.enum(device.memory.control_mode),
        },
        {4: _set_mode},
        {1: _disconnect, 2: _reconnect},
    ),
    _table(SWITCHING_SCRIPTS, 70, NAME, {1: (1, _disconnect), 2: (2, _reconnect)}),
    _table(IMAGE_SCRIPTS, image.ITEM.class_id, image.NAME, {1: (4, image.activate)}),
)
