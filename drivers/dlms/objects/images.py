"""Image transfer. IEC 62056-6-2, clause 5.3.13 (Blue Book: 4.4.6)."""

from dataclasses import dataclass
from enum import IntEnum

from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import (
    BOOLEAN,
    DOUBLE_LONG_UNSIGNED,
    OCTETS,
    Bits,
    Enumerated,
    Grouped,
    Octets,
    Repeated,
)

MAX_BLOCK = 65_535  # [octet] larger ones would not fit an APDU


class ImageStatus(IntEnum):
    """How far an image transfer is."""

    NOT_INITIATED = 0
    INITIATED = 1
    VERIFICATION_INITIATED = 2
    VERIFICATION_SUCCESSFUL = 3
    VERIFICATION_FAILED = 4
    ACTIVATION_INITIATED = 5
    ACTIVATION_SUCCESSFUL = 6
    ACTIVATION_FAILED = 7


@dataclass(frozen=True, slots=True)
class ImageToActivate:
    """An image the meter holds: its size [octet], its identification, its signature."""

    size: int
    identification: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The image that is to be transferred: its identifier and size. [octet]"""

    identifier: bytes
    size: int


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """One block, numbered from 0."""

    number: int
    octets: bytes


IMAGE_TRANSFER = InterfaceClass(
    18,
    0,
    "image transfer",
    (
        AttributeType(2, "image_block_size", DOUBLE_LONG_UNSIGNED, unit="octet"),
        AttributeType(3, "image_transferred_blocks_status", Bits()),
        AttributeType(4, "image_first_not_transferred_block_number", DOUBLE_LONG_UNSIGNED),
        AttributeType(5, "image_transfer_enabled", BOOLEAN, is_writable=True),
        AttributeType(6, "image_transfer_status", Enumerated(ImageStatus)),
        AttributeType(
            7,
            "image_to_activate_info",
            Repeated(Grouped(ImageToActivate, size=DOUBLE_LONG_UNSIGNED, identification=OCTETS, signature=OCTETS), 255),
        ),
    ),
    (
        MethodType(1, "image_transfer_initiate", Grouped(ImageHeader, identifier=OCTETS, size=DOUBLE_LONG_UNSIGNED)),
        MethodType(
            2, "image_block_transfer", Grouped(ImageBlock, number=DOUBLE_LONG_UNSIGNED, octets=Octets(1, MAX_BLOCK))
        ),
        MethodType(3, "image_verify"),
        MethodType(4, "image_activate"),
    ),
)
CLASSES = (IMAGE_TRANSFER,)
