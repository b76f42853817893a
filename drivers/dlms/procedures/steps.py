"""The steps a procedure is made of. A procedure yields a step and is sent what came of it, or has the error thrown into it.

`drivers.dlms.driver.carry_out` takes the steps. What changes a meter is sent once: where its answer does not
come, the procedure ends in `OutcomeUnknown`, unless the step says that it may be done again.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeVar

from drivers.dlms.axdr import Data
from drivers.dlms.descriptor import Attribute
from drivers.dlms.objects.interface import InterfaceClass
from drivers.errors import RemoteProtocolError
from drivers.obis import Obis

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Read:
    """Read an attribute; its data is sent in."""

    attribute: Attribute


@dataclass(frozen=True, slots=True)
class Write:
    """Set an attribute; None is sent in."""

    attribute: Attribute
    data: Data = field(repr=False)


@dataclass(frozen=True, slots=True)
class Invoke:
    """Invoke a method; what it returns is sent in. ``is_repeatable``: to do it twice is as good as once."""

    method: Attribute
    parameters: Data = field(repr=False)
    is_repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Let the meter work for so long [s]; None is sent in."""

    seconds: float


Step = Read | Write | Invoke | Wait
Procedure = Generator[Step, Data | None, T]


def read(table: InterfaceClass, name: Obis, which: int | str) -> Procedure[object]:
    """Read and decode one attribute. Raises `RemoteProtocolError`, `MeterRefused`."""
    data = yield Read(table.at(name, which))
    if data is None:
        raise RemoteProtocolError(f"{table.at(name, which)}: read without data")
    return table.decode(which, data)


def invoke(
    table: InterfaceClass, name: Obis, which: int | str, value: object = 0, *, is_repeatable: bool = False
) -> Procedure[Data | None]:
    """Invoke one method with an encoded parameter. Raises `LocalProtocolError` for another kind of value, `MeterRefused`."""
    return (yield Invoke(table.method_at(name, which), table.encode_parameter(which, value), is_repeatable))
