"""Who may talk to the meter: Association SN, Association LN, SAP assignment. IEC 62056-6-2, clauses 5.3.8 to 5.3.15."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from drivers.dlms import listing
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import (
    ANY,
    INTEGER,
    LONG,
    LONG_UNSIGNED,
    NAME,
    OCTETS,
    SECRET,
    TEXT,
    UNSIGNED,
    Bits,
    Enumerated,
    Grouped,
    Kind,
    Repeated,
    Text,
    Unfit,
    Whole,
    shown,
)
from drivers.errors import DriverError
from drivers.obis import Obis

ARCS = 7  # of the object identifiers of DLMS, 2.16.756.5.8.x.y


class AssociationStatus(IntEnum):
    """State of an association."""

    NON_ASSOCIATED = 0
    ASSOCIATION_PENDING = 1
    ASSOCIATED = 2


@dataclass(frozen=True, slots=True)
class NamedObject:
    """An object by its short name. ``base_name``: of its attribute 1, as the wire has it, signed."""

    base_name: int
    class_id: int
    version: int
    logical_name: Obis


@dataclass(frozen=True, slots=True)
class AttributeRight:
    """Access mode of one attribute. ``selectors``: null, or an array of the selective accesses it takes."""

    attribute: int
    mode: int
    selectors: Data


@dataclass(frozen=True, slots=True)
class MethodRight:
    """Access mode of one method."""

    method: int
    mode: int


@dataclass(frozen=True, slots=True)
class NamedRights:
    """Access rights of one object with a short name."""

    base_name: int
    attributes: tuple[AttributeRight, ...]
    methods: tuple[MethodRight, ...]


@dataclass(frozen=True, slots=True)
class User:
    """A user of an association."""

    identifier: int
    name: str


@dataclass(frozen=True, slots=True)
class Partners:
    """Service access points of client and server."""

    client: int
    server: int


@dataclass(frozen=True, slots=True)
class Context:
    """What was negotiated. ``conformance``: 24 bits.  The sizes: [octet]"""

    conformance: str
    max_receive_pdu: int
    max_send_pdu: int
    dlms_version: int
    quality_of_service: int
    ciphering_info: bytes


@dataclass(frozen=True, slots=True)
class LogicalDevice:
    """A logical device at a service access point."""

    sap: int
    name: str


class Identifier(Kind):
    """An object identifier, as a structure of seven numbers or as octets in BER; becomes the tuple of its arcs."""

    def decode(self, data: Data) -> tuple[int, ...]:
        """Give the arcs."""
        if data.tag is Tag.STRUCTURE and len(data.value) == ARCS:
            try:
                return tuple(item.integer() for item in data.value)
            except DriverError as error:
                raise Unfit(str(error)) from None
        if data.tag is not Tag.OCTET_STRING:
            raise Unfit(f"expected a structure of {ARCS} numbers or an octet-string, got {data.tag.name.lower()}")
        arcs: list[int] = []
        value = 0
        for octet in data.value[:32]:
            value = value << 7 | octet & 0x7F
            if not octet & 0x80:
                arcs += [min(value // 40, 2), value - 40 * min(value // 40, 2)] if not arcs else [value]
                value = 0
        if len(arcs) != ARCS or len(data.value) > 32 or data.value[-1] & 0x80:
            raise Unfit(f"{shown(data.value)} is no object identifier of DLMS")
        return tuple(arcs)

    def encode(self, value: Any) -> Data:
        """Give the octets in BER."""
        if not isinstance(value, tuple) or len(value) != ARCS or value[0] != 2:
            raise Unfit(f"expected {ARCS} arcs from 2, got {shown(value)}")
        octets = bytearray()
        for arc in (40 * value[0] + value[1], *value[2:]):
            if not 0 <= arc < 1 << 14:
                raise Unfit(f"arc {arc} is outside 0 to {(1 << 14) - 1}")
            octets += bytes((arc >> 7 | 0x80, arc & 0x7F)) if arc > 0x7F else bytes((arc,))
        return Data(Tag.OCTET_STRING, bytes(octets))


class ObjectList(Kind):
    """The objects of an association LN with their access rights. See `drivers.dlms.listing`."""

    def decode(self, data: Data) -> tuple[listing.ObjectEntry, ...]:
        """Give the entries."""
        try:
            return listing.decode_object_list(data)
        except DriverError as error:
            raise Unfit(str(error)) from None

    def encode(self, value: Any) -> Data:
        """Give the array."""
        if not isinstance(value, tuple) or not all(isinstance(one, listing.ObjectEntry) for one in value):
            raise Unfit("expected a tuple of ObjectEntry")
        return listing.encode_object_list(value)


USER = Grouped(User, identifier=UNSIGNED, name=TEXT)
NAMED_OBJECTS = Repeated(
    Grouped(NamedObject, base_name=LONG, class_id=LONG_UNSIGNED, version=UNSIGNED, logical_name=NAME),
    listing.MAX_OBJECTS,
)
# An access mode is an enum; before the version with bits its values were 0 to 3, later more: kept as the number it is.
MODE = Whole(Tag.ENUM)
NAMED_RIGHTS = Repeated(
    Grouped(
        NamedRights,
        base_name=LONG,
        attributes=Repeated(Grouped(AttributeRight, attribute=INTEGER, mode=MODE, selectors=ANY), 255),
        methods=Repeated(Grouped(MethodRight, method=INTEGER, mode=MODE), 255),
    ),
    listing.MAX_OBJECTS,
)


def _association_sn(version: int) -> InterfaceClass:
    attributes = [AttributeType(2, "object_list", NAMED_OBJECTS)]
    methods = [MethodType(3, "read_by_logicalname", ANY), MethodType(8, "reply_to_hls_authentication", OCTETS)]
    if version >= 1:
        attributes.append(AttributeType(3, "access_rights_list", NAMED_RIGHTS))
        methods.append(MethodType(5, "change_secret", SECRET))
    if version >= 2:
        attributes.append(AttributeType(4, "security_setup_reference", NAME))
    if version >= 3:
        attributes.append(AttributeType(5, "user_list", Repeated(USER, 255), is_writable=True))
        attributes.append(AttributeType(6, "current_user", USER))
        methods += [MethodType(9, "add_user", USER), MethodType(10, "remove_user", USER)]
    return InterfaceClass(12, version, "association SN", tuple(attributes), tuple(methods))


def _association_ln(version: int) -> InterfaceClass:
    attributes = [
        AttributeType(2, "object_list", ObjectList()),
        AttributeType(3, "associated_partners_id", Grouped(Partners, client=INTEGER, server=LONG_UNSIGNED)),
        AttributeType(4, "application_context_name", Identifier()),
        AttributeType(
            5,
            "xdlms_context_info",
            Grouped(
                Context,
                conformance=Bits(24),
                max_receive_pdu=LONG_UNSIGNED,
                max_send_pdu=LONG_UNSIGNED,
                dlms_version=UNSIGNED,
                quality_of_service=INTEGER,
                ciphering_info=OCTETS,
            ),
            is_writable=True,
        ),
        AttributeType(6, "authentication_mechanism_name", Identifier(), is_writable=True),
        AttributeType(7, "secret", SECRET, is_writable=True),
        AttributeType(8, "association_status", Enumerated(AssociationStatus)),
    ]
    methods = [
        MethodType(1, "reply_to_hls_authentication", OCTETS),
        MethodType(2, "change_hls_secret", SECRET),
        MethodType(3, "add_object", ANY),
        MethodType(4, "remove_object", ANY),
    ]
    if version >= 1:
        attributes.append(AttributeType(9, "security_setup_reference", NAME, is_writable=True))
    if version >= 2:
        attributes.append(AttributeType(10, "user_list", Repeated(USER, 255), is_writable=True))
        attributes.append(AttributeType(11, "current_user", USER))
        methods += [MethodType(5, "add_user", USER), MethodType(6, "remove_user", USER)]
    return InterfaceClass(15, version, "association LN", tuple(attributes), tuple(methods))


LOGICAL_DEVICE = Grouped(
    LogicalDevice, sap=LONG_UNSIGNED, name=Text((Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING))
)
SAP_ASSIGNMENT = InterfaceClass(
    17,
    0,
    "SAP assignment",
    (AttributeType(2, "sap_assignment_list", Repeated(LOGICAL_DEVICE, 255), is_writable=True),),
    (MethodType(1, "connect_logical_device", LOGICAL_DEVICE),),
)
CLASSES = (
    *(_association_sn(version) for version in range(5)),
    *(_association_ln(version) for version in range(4)),
    SAP_ASSIGNMENT,
)
