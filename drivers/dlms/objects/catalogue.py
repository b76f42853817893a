"""All interface classes there are tables of, by class_id and version. What has none is given as it came, never guessed at."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from drivers.dlms.axdr import Data
from drivers.dlms.objects import (
    associations,
    clocks,
    images,
    mbus,
    metering,
    ports,
    prepay,
    pushing,
    schedules,
    security,
    supply,
)
from drivers.dlms.objects.interface import InterfaceClass

_FAMILIES = (metering, clocks, schedules, associations, security, images, ports, pushing, supply, mbus, prepay)
INTERFACE_CLASSES: Mapping[tuple[int, int], InterfaceClass] = MappingProxyType(
    {(one.class_id, one.version): one for family in _FAMILIES for one in family.CLASSES}
)
"""Tables by class_id and version."""
CLASS_NAMES: Mapping[int, str] = MappingProxyType(
    {one.class_id: one.name for one in sorted(INTERFACE_CLASSES.values(), key=lambda one: one.class_id)}
)
"""Interface classes by number, as the standard names them."""


def find_class(class_id: int, version: int) -> InterfaceClass | None:
    """Find the table of a class; None for a class or version there is none of."""
    return INTERFACE_CLASSES.get((class_id, version))


def decode_attribute(class_id: int, version: int, index: int, data: Data) -> Any:
    """Give an attribute's value; the data itself for a class, version or attribute there is no table of.

    Raises `RemoteProtocolError` where the table says something else than what came.
    """
    found = find_class(class_id, version)
    return found.decode(index, data) if found is not None and found.has_attribute(index) else data
