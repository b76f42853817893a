"""Security setup of the simulated meter: its keys can be changed. IEC 62056-6-2, class 64."""

from drivers.dlms import axdr
from drivers.dlms.agreement import unwrap_key
from drivers.dlms.axdr import Data
from drivers.dlms.ciphering import CONTROL, Keys
from drivers.dlms.objects.security import SECURITY_SETUP_1, KeyId
from drivers.dlms.xdlms import DataAccessResult
from drivers.errors import SecurityError
from drivers.obis import Obis
from simulators.dlms.device import Device, Item, Refused
from simulators.dlms.settings import system_title


def _transfer(device: Device, parameters: Data) -> None:
    """Take keys wrapped by the master key; all or none. They count from the next association on, with counters anew."""
    present = device.memory.keys or device.settings.keys
    if present is None or not device.settings.master_key:
        raise Refused(DataAccessResult.READ_WRITE_DENIED)
    keys = {KeyId.GLOBAL_UNICAST_ENCRYPTION: present.encryption, KeyId.AUTHENTICATION: present.authentication}
    for item in SECURITY_SETUP_1.decode_parameter("key_transfer", parameters):
        if item.key not in keys:
            raise Refused(DataAccessResult.READ_WRITE_DENIED)
        try:
            keys[item.key] = unwrap_key(device.settings.master_key, item.wrapped)
        except SecurityError:
            raise Refused(DataAccessResult.OTHER_REASON) from None
    device.memory.keys = Keys(keys[KeyId.GLOBAL_UNICAST_ENCRYPTION], keys[KeyId.AUTHENTICATION], present.suite)
    device.memory.keys_are_new = True


ITEM = Item(
    64,
    0,
    Obis(0, 0, 43, 0, 0),
    {
        2: lambda device: axdr.enum(CONTROL[device.settings.agreed_security] >> 4),
        3: lambda device: axdr.enum(device.settings.keys.suite if device.settings.keys else 0),
        5: lambda device: axdr.octet_string(system_title(device.meter)),
    },
    {},
    {2: _transfer},
)
