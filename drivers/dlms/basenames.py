"""Which variable an attribute or method is, for meters that know objects by short names. IEC 62056-6-2, clause 4.1.2 and 5.4.5.

Attribute n of an object stands 8 (n - 1) above its base name; methods begin at an offset that its class defines. The list of
objects is an attribute of the association itself, whose base name is always the same.
"""

from collections.abc import Mapping

from drivers.dlms.axdr import Data
from drivers.dlms.descriptor import Attribute
from drivers.errors import MeterRefused, RemoteProtocolError
from drivers.obis import Obis

ASSOCIATION = 0xFA00
ASSOCIATION_CLASS = 12
OBJECT_LIST = Attribute(ASSOCIATION_CLASS, Obis(0, 0, 40, 0, 0), 2)
REPLY_TO_HLS = Attribute(ASSOCIATION_CLASS, Obis(0, 0, 40, 0, 0), 8)
MAX_OBJECTS = 8_192  # base names are 16 bits, eight apart
OBJECT_UNDEFINED = 4
# class -> offset of its first method, number of methods.
_METHODS: Mapping[int, tuple[int, int]] = {
    3: (0x28, 1), 4: (0x38, 1), 5: (0x48, 2), 6: (0x30, 3), 7: (0x58, 4), 8: (0x60, 6), 9: (0x20, 1), 11: (0x10, 2),
    12: (0x20, 8), 17: (0x20, 1), 18: (0x40, 4), 20: (0x50, 1), 40: (0x38, 1), 42: (0x60, 3), 64: (0x30, 8),
    70: (0x20, 2), 72: (0x60, 8),
}  # fmt: skip
# Methods that return data, and so are invoked by READ; the others by WRITE.
_RETURNING = frozenset({(7, 3), (7, 4), *((ASSOCIATION_CLASS, method) for method in range(1, 9))})


class BaseNames:
    """Base names by class and logical name; without a list of objects it knows the association alone."""

    def __init__(self, bases: Mapping[tuple[int, Obis], int] | None = None) -> None:
        self._bases = {(ASSOCIATION_CLASS, OBJECT_LIST.logical_name): ASSOCIATION, **(bases or {})}

    @classmethod
    def of_list(cls, data: Data) -> "BaseNames":
        """Read the association's list of objects. Raises `RemoteProtocolError`."""
        items = data.items()
        if len(items) > MAX_OBJECTS:
            raise RemoteProtocolError(f"object list of {len(items)} objects; at most {MAX_OBJECTS} have short names")
        bases: dict[tuple[int, Obis], int] = {}
        for item in items:
            fields = item.items()
            if len(fields) != 4:
                raise RemoteProtocolError(f"object list entry of {len(fields)} fields, not 4")
            name = fields[3].octets()
            if len(name) != 6:
                raise RemoteProtocolError(f"logical name of {len(name)} octets in the object list")
            bases[fields[1].integer(), Obis.from_bytes(name)] = fields[0].integer() & 0xFFFF
        return cls(bases)

    @property
    def bases(self) -> Mapping[tuple[int, Obis], int]:
        """Base names by class and logical name."""
        return self._bases

    def attribute(self, attribute: Attribute) -> int:
        """Give an attribute's short name. Raises `MeterRefused` for an object the meter does not list."""
        return self._named(attribute, 8 * (attribute.index - 1))

    def method(self, method: Attribute) -> int:
        """Give a method's short name; see `attribute`."""
        first, count = _METHODS.get(method.class_id, (0, 0))
        if not 1 <= method.index <= count:
            raise MeterRefused(f"{method}: no short name of this method is known", OBJECT_UNDEFINED)
        return self._named(method, first + 8 * (method.index - 1))

    def _named(self, what: Attribute, offset: int) -> int:
        base = self._bases.get((what.class_id, what.logical_name))
        if base is None or offset < 0 or base + offset > 0xFFFF:
            raise MeterRefused(f"{what}: the meter lists no such object", OBJECT_UNDEFINED)
        return base + offset


def returns_data(method: Attribute) -> bool:
    """Say whether a method returns data, so that it is invoked by READ."""
    return (method.class_id, method.index) in _RETURNING
