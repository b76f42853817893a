"""One object, attribute by attribute, as its class's table reads it. Pure: what to ask, and what to make of the answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.dlms.axdr import Data
from drivers.dlms.descriptor import Attribute
from drivers.dlms.listing import ObjectEntry
from drivers.dlms.objects.catalogue import decode_attribute, find_class
from drivers.dlms.objects.text import write_value
from drivers.errors import DriverError, MeterRefused

BUFFER = (7, 2)  # of a profile generic: as large as the meter's memory, and read by other means


@dataclass(frozen=True, slots=True)
class AttributeView:
    """One attribute. ``text``: its value; ``fault``: why there is none.  ``name``, ``unit``: empty where no table knows them."""

    index: int
    name: str
    text: str = ""
    unit: str = ""
    fault: str = ""


def attributes_of(entry: ObjectEntry) -> list[Attribute]:
    """Name the attributes to read: those of the class's table, else those that the object list shows."""
    table = find_class(entry.class_id, entry.version)
    indexes = [one.index for one in table.attributes] if table is not None else sorted(entry.attributes)
    return [
        Attribute(entry.class_id, entry.logical_name, index)
        for index in indexes
        if (entry.class_id, index) != BUFFER and 0 < index <= 0xFF
    ]


def view(
    entry: ObjectEntry, attributes: Sequence[Attribute], values: Sequence[Data | MeterRefused]
) -> list[AttributeView]:
    """Make of the answers what a technician reads; what one attribute refuses or says wrongly costs that one alone."""
    table = find_class(entry.class_id, entry.version)
    views = []
    for attribute, value in zip(attributes, values, strict=True):
        known = table.attribute(attribute.index) if table is not None else None
        name, unit = (known.name, known.unit) if known is not None else ("", "")
        try:
            if isinstance(value, MeterRefused):
                raise value
            found = decode_attribute(entry.class_id, entry.version, attribute.index, value)
            views.append(AttributeView(attribute.index, name, write_value(found), unit))
        except DriverError as error:
            views.append(AttributeView(attribute.index, name, fault=str(error)))
    return views
