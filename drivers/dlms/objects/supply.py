"""What lets the supply through: Disconnect control and Limiter. IEC 62056-6-2, clauses 5.4.8 and 5.4.9."""

from dataclasses import dataclass
from enum import IntEnum

from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import (
    BOOLEAN,
    DATE_TIME,
    DOUBLE_LONG_UNSIGNED,
    LONG_UNSIGNED,
    SIMPLE,
    Enumerated,
    Grouped,
    Repeated,
)
from drivers.dlms.objects.schedules import ACTION_ITEM, VALUE_DEFINITION, ActionItem


class ControlState(IntEnum):
    """State of the disconnect control: what the switch may do next, not where it stands (``output_state``)."""

    DISCONNECTED = 0
    CONNECTED = 1
    READY_FOR_RECONNECTION = 2


class ControlMode(IntEnum):
    """Which transitions are there. IEC 62056-6-2, table of disconnect control modes; the last from class version 1."""

    NONE = 0
    MODE_1 = 1
    MODE_2 = 2
    MODE_3 = 3
    MODE_4 = 4
    MODE_5 = 5
    MODE_6 = 6
    MODE_7 = 7


@dataclass(frozen=True, slots=True)
class EmergencyProfile:
    """An emergency: its id, from when, and for how long. [s]"""

    profile_id: int
    activation_time: CosemDateTime
    duration: int


@dataclass(frozen=True, slots=True)
class LimiterActions:
    """What runs above the threshold, and below it again."""

    over: ActionItem
    under: ActionItem


def _disconnect_control(version: int, last_mode: ControlMode) -> InterfaceClass:
    return InterfaceClass(
        70,
        version,
        "disconnect control",
        (
            AttributeType(2, "output_state", BOOLEAN),
            AttributeType(3, "control_state", Enumerated(ControlState)),
            AttributeType(4, "control_mode", Enumerated(ControlMode, last=last_mode), is_writable=True),
        ),
        (MethodType(1, "remote_disconnect"), MethodType(2, "remote_reconnect")),
    )


DISCONNECT_CONTROL = _disconnect_control(0, ControlMode.MODE_6)
DISCONNECT_CONTROL_1 = _disconnect_control(1, ControlMode.MODE_7)
LIMITER = InterfaceClass(
    71,
    0,
    "limiter",
    (
        AttributeType(2, "monitored_value", VALUE_DEFINITION, is_writable=True),
        AttributeType(3, "threshold_active", SIMPLE),
        AttributeType(4, "threshold_normal", SIMPLE, is_writable=True),
        AttributeType(5, "threshold_emergency", SIMPLE, is_writable=True),
        AttributeType(6, "min_over_threshold_duration", DOUBLE_LONG_UNSIGNED, is_writable=True, unit="s"),
        AttributeType(7, "min_under_threshold_duration", DOUBLE_LONG_UNSIGNED, is_writable=True, unit="s"),
        AttributeType(
            8,
            "emergency_profile",
            Grouped(
                EmergencyProfile,
                profile_id=LONG_UNSIGNED,
                activation_time=DATE_TIME,
                duration=DOUBLE_LONG_UNSIGNED,
            ),
            is_writable=True,
        ),
        AttributeType(9, "emergency_profile_group_id_list", Repeated(LONG_UNSIGNED, 255), is_writable=True),
        AttributeType(10, "emergency_profile_active", BOOLEAN),
        AttributeType(11, "actions", Grouped(LimiterActions, over=ACTION_ITEM, under=ACTION_ITEM), is_writable=True),
    ),
)
CLASSES = (DISCONNECT_CONTROL, DISCONNECT_CONTROL_1, LIMITER)
