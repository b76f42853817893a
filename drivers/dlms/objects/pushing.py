"""Push setup: what a meter sends of its own accord, where to and when. IEC 62056-6-2, clause 5.3.7."""

from dataclasses import dataclass
from enum import IntEnum

from drivers.dlms.axdr import Data
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import (
    ANY,
    DATE_TIME,
    DOUBLE_LONG_UNSIGNED,
    INTEGER,
    LONG_UNSIGNED,
    NAME,
    OCTETS,
    TAGGED_DATE_TIME,
    UNSIGNED,
    Enumerated,
    Grouped,
    Kind,
    Repeated,
)
from drivers.dlms.objects.metering import CAPTURE_OBJECT
from drivers.obis import Obis


class TransportService(IntEnum):
    """What carries a push; from 200 the maker's own."""

    TCP = 0
    UDP = 1
    FTP = 2
    SMTP = 3
    SMS = 4
    HDLC = 5
    M_BUS = 6
    ZIGBEE = 7
    DLMS_GATEWAY = 8


class PushMessage(IntEnum):
    """How a push is written; from 128 the maker's own."""

    AXDR = 0
    XML = 1


class RestrictionType(IntEnum):
    """How much of a pushed buffer is sent."""

    NONE = 0
    BY_DATE = 1
    BY_ENTRY = 2


class PushOperation(IntEnum):
    """When a push counts as done."""

    UNCONFIRMED_RETRY_ON_FAILURE = 0
    UNCONFIRMED_RETRY_ON_MISSING_CONFIRMATION = 1
    CONFIRMED = 2


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a push goes, by what, and how it is written."""

    service: int
    destination: bytes
    message: int


@dataclass(frozen=True, slots=True)
class Window:
    """When pushes are sent."""

    start: CosemDateTime
    end: CosemDateTime


@dataclass(frozen=True, slots=True)
class Restriction:
    """How much of a buffer is pushed. ``value``: null, or first and last."""

    kind: RestrictionType
    value: Data


@dataclass(frozen=True, slots=True)
class RestrictedObject:
    """A pushed attribute, class version 1."""

    class_id: int
    logical_name: Obis
    attribute: int
    data_index: int
    restriction: Restriction


@dataclass(frozen=True, slots=True)
class SelectedObject:
    """A pushed attribute, class version 2. ``columns``: of a pushed buffer, as the meter writes them."""

    class_id: int
    logical_name: Obis
    attribute: int
    data_index: int
    restriction: Restriction
    columns: Data


@dataclass(frozen=True, slots=True)
class RepetitionDelay:
    """Wait before a retry: least [s], growth in hundredths, most [s]."""

    least: int
    exponent: int
    most: int


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Since when, and how long, what was not confirmed is pushed again. [s]"""

    start: CosemDateTime
    interval: int


_RESTRICTION = Grouped(Restriction, kind=Enumerated(RestrictionType), value=ANY)
_OBJECTS: tuple[Kind, ...] = (
    CAPTURE_OBJECT,
    Grouped(
        RestrictedObject,
        class_id=LONG_UNSIGNED,
        logical_name=NAME,
        attribute=INTEGER,
        data_index=LONG_UNSIGNED,
        restriction=_RESTRICTION,
    ),
    Grouped(
        SelectedObject,
        class_id=LONG_UNSIGNED,
        logical_name=NAME,
        attribute=INTEGER,
        data_index=LONG_UNSIGNED,
        restriction=_RESTRICTION,
        columns=ANY,
    ),
)
_DELAY = Grouped(RepetitionDelay, least=LONG_UNSIGNED, exponent=LONG_UNSIGNED, most=LONG_UNSIGNED)


def _push_setup(version: int) -> InterfaceClass:
    destination = Grouped(
        Destination,
        service=Enumerated(TransportService, maker_from=200),
        destination=OCTETS,
        message=Enumerated(PushMessage, maker_from=128),
    )
    attributes = [
        AttributeType(2, "push_object_list", Repeated(_OBJECTS[version], 255), is_writable=True),
        AttributeType(3, "send_destination_and_method", destination, is_writable=True),
        AttributeType(
            4,
            "communication_window",
            Repeated(Grouped(Window, start=DATE_TIME, end=DATE_TIME), 255),
            is_writable=True,
        ),
        AttributeType(5, "randomisation_start_interval", LONG_UNSIGNED, is_writable=True, unit="s"),
        AttributeType(6, "number_of_retries", UNSIGNED, is_writable=True),
        AttributeType(7, "repetition_delay", LONG_UNSIGNED if version < 2 else _DELAY, is_writable=True, unit="s"),
    ]
    methods = [MethodType(1, "push")]
    if version >= 1:
        attributes += [
            AttributeType(8, "port_reference", NAME, is_writable=True),
            AttributeType(9, "push_client_sap", INTEGER, is_writable=True),
            AttributeType(10, "push_protection_parameters", Repeated(ANY, 255), is_writable=True),
        ]
    if version >= 2:
        attributes += [
            AttributeType(11, "push_operation_method", Enumerated(PushOperation), is_writable=True),
            AttributeType(
                12,
                "confirmation_parameters",
                Grouped(Confirmation, start=TAGGED_DATE_TIME, interval=DOUBLE_LONG_UNSIGNED),
                is_writable=True,
            ),
            AttributeType(13, "last_confirmation_date_time", TAGGED_DATE_TIME),
        ]
        methods.append(MethodType(2, "reset"))
    return InterfaceClass(40, version, "push setup", tuple(attributes), tuple(methods))


PUSH_SETUP = tuple(_push_setup(version) for version in range(3))
CLASSES = PUSH_SETUP
