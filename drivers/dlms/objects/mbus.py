"""M-Bus client: a meter behind the meter. IEC 62056-6-2, clause 5.7.3."""

from dataclasses import dataclass
from enum import IntEnum

from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import (
    ANY,
    DOUBLE_LONG_UNSIGNED,
    LONG_UNSIGNED,
    NAME,
    OCTETS,
    SECRET,
    UNSIGNED,
    Enumerated,
    Grouped,
    Repeated,
)


class EncryptionKeyStatus(IntEnum):
    """State of the key between the two meters."""

    NO_KEY = 0
    KEY_SET = 1
    KEY_TRANSFERRED = 2
    KEY_SET_AND_TRANSFERRED = 3
    KEY_IN_USE = 4


@dataclass(frozen=True, slots=True)
class CaptureElement:
    """A value taken from the slave: its DIB and VIB. EN 13757-3."""

    data_information: bytes
    value_information: bytes


def _mbus_client(version: int) -> InterfaceClass:
    attributes = [
        AttributeType(2, "mbus_port_reference", NAME, is_writable=True),
        AttributeType(
            3,
            "capture_definition",
            Repeated(Grouped(CaptureElement, data_information=OCTETS, value_information=OCTETS), 255),
            is_writable=True,
        ),
        AttributeType(4, "capture_period", DOUBLE_LONG_UNSIGNED, is_writable=True, unit="s"),
        AttributeType(5, "primary_address", UNSIGNED, is_writable=True),
        AttributeType(6, "identification_number", DOUBLE_LONG_UNSIGNED, is_writable=True),
        AttributeType(7, "manufacturer_id", LONG_UNSIGNED, is_writable=True),
        AttributeType(8, "version", UNSIGNED, is_writable=True),
        AttributeType(9, "device_type", UNSIGNED, is_writable=True),
        AttributeType(10, "access_number", UNSIGNED),
        AttributeType(11, "status", UNSIGNED),
        AttributeType(12, "alarm", UNSIGNED),
    ]
    if version >= 1:
        attributes += [
            AttributeType(13, "configuration", LONG_UNSIGNED),
            AttributeType(14, "encryption_key_status", Enumerated(EncryptionKeyStatus)),
        ]
    methods = (
        MethodType(1, "slave_install", UNSIGNED),
        MethodType(2, "slave_deinstall"),
        MethodType(3, "capture"),
        MethodType(4, "reset_alarm"),
        MethodType(5, "synchronize_clock"),
        MethodType(6, "data_send", Repeated(ANY, 255, 1)),
        MethodType(7, "set_encryption_key", SECRET),
        MethodType(8, "transfer_key", SECRET),
    )
    return InterfaceClass(72, version, "M-Bus client", tuple(attributes), methods)


CLASSES = (_mbus_client(0), _mbus_client(1))
