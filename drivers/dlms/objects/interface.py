"""An interface class as data: its attributes and methods, by number, name and kind. IEC 62056-6-2, clause 4.

A table says what the class allows; what an association allows besides is in the meter's object list.
"""

from dataclasses import dataclass, field
from typing import Any

from drivers.dlms.axdr import Data
from drivers.dlms.descriptor import Attribute
from drivers.dlms.objects.kinds import NAME, ZERO, Kind, Unfit
from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.obis import Obis


@dataclass(frozen=True, slots=True)
class AttributeType:
    """One attribute. ``is_writable``: the class lets a client set it.

    ``scaled_by``: attribute of the same object that says what a count is worth, a scaler_unit or a currency; None where it
    counts whole units of its own or is no count.  ``unit``: of a bare number, as printed.
    """

    index: int
    name: str
    kind: Kind
    is_writable: bool = False
    scaled_by: int | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class MethodType:
    """One method. ``parameter``: what it takes, integer 0 where nothing is needed."""

    index: int
    name: str
    parameter: Kind = ZERO


@dataclass(frozen=True)
class InterfaceClass:
    """One version of a class. Attribute 1, the logical name, need not be named in ``attributes``."""

    class_id: int
    version: int
    name: str
    attributes: tuple[AttributeType, ...]
    methods: tuple[MethodType, ...] = ()
    _attributes: dict[int, AttributeType] = field(init=False, repr=False, compare=False)
    _methods: dict[int, MethodType] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a number or name that comes twice."""
        all_attributes = (AttributeType(1, "logical_name", NAME), *self.attributes)
        object.__setattr__(self, "attributes", all_attributes)
        object.__setattr__(self, "_attributes", {one.index: one for one in all_attributes})
        object.__setattr__(self, "_methods", {one.index: one for one in self.methods})
        for some in (all_attributes, self.methods):
            if len({one.index for one in some}) != len(some) or len({one.name for one in some}) != len(some):
                raise ValueError(f"{self}: a number or name comes twice")

    def __str__(self) -> str:
        """Write ``clock (class 8, version 0)``."""
        return f"{self.name} (class {self.class_id}, version {self.version})"

    def attribute(self, which: int | str) -> AttributeType:
        """Find an attribute by number or name. Raises `LocalProtocolError` where the class has none."""
        found = (
            self._attributes.get(which)
            if isinstance(which, int)
            else next((one for one in self.attributes if one.name == which), None)
        )
        if found is None:
            raise LocalProtocolError(f"{self} has no attribute {which}")
        return found

    def method(self, which: int | str) -> MethodType:
        """Find a method by number or name. Raises `LocalProtocolError` where the class has none."""
        found = (
            self._methods.get(which)
            if isinstance(which, int)
            else next((one for one in self.methods if one.name == which), None)
        )
        if found is None:
            raise LocalProtocolError(f"{self} has no method {which}")
        return found

    def has_attribute(self, index: int) -> bool:
        """Say whether the class has an attribute of this number."""
        return index in self._attributes

    def at(self, logical_name: Obis, which: int | str) -> Attribute:
        """Name an attribute of one object of the class."""
        return Attribute(self.class_id, logical_name, self.attribute(which).index)

    def method_at(self, logical_name: Obis, which: int | str) -> Attribute:
        """Name a method of one object of the class."""
        return Attribute(self.class_id, logical_name, self.method(which).index)

    def decode(self, which: int | str, data: Data) -> Any:
        """Give an attribute's value. Raises `RemoteProtocolError` with class, attribute and what was found instead."""
        attribute = self.attribute(which)
        try:
            return attribute.kind.decode(data)
        except Unfit as error:
            raise RemoteProtocolError(f"{self} attribute {attribute.index} {attribute.name}: {error}") from None

    def encode(self, which: int | str, value: Any) -> Data:
        """Give the data of an attribute, whoever sends it. Raises `LocalProtocolError` for a value of another kind."""
        attribute = self.attribute(which)
        try:
            return attribute.kind.encode(value)
        except Unfit as error:
            raise LocalProtocolError(f"{self} attribute {attribute.index} {attribute.name}: {error}") from None

    def encode_to_set(self, which: int | str, value: Any) -> Data:
        """Give the data a client sets. Raises `LocalProtocolError`, also where the class does not let it be set."""
        attribute = self.attribute(which)
        if not attribute.is_writable:
            raise LocalProtocolError(f"{self} attribute {attribute.index} {attribute.name} cannot be set")
        return self.encode(which, value)

    def decode_parameter(self, which: int | str, data: Data) -> Any:
        """Give a method's parameter, as a meter does. Raises `RemoteProtocolError`."""
        method = self.method(which)
        try:
            return method.parameter.decode(data)
        except Unfit as error:
            raise RemoteProtocolError(f"{self} method {method.index} {method.name}: {error}") from None

    def encode_parameter(self, which: int | str, value: Any = 0) -> Data:
        """Give the data of a method's parameter. Raises `LocalProtocolError`."""
        method = self.method(which)
        try:
            return method.parameter.encode(value)
        except Unfit as error:
            raise LocalProtocolError(f"{self} method {method.index} {method.name}: {error}") from None
