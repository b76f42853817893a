"""What the APDUs of several services are made of: attribute descriptors, selective access, and a reader of their fields.

IEC 62056-5-3, clause 9.5.
"""

from dataclasses import dataclass

from drivers.dlms import axdr
from drivers.dlms.axdr import Data
from drivers.dlms.events import NEED_DATA
from drivers.errors import RemoteProtocolError
from drivers.obis import Obis


def number_of(data: Data, first: int, last: int, what: str) -> int:
    """Read a whole number that a request can name again, ``first`` to ``last``. Raises `RemoteProtocolError`."""
    number = data.integer()
    if not first <= number <= last:
        raise RemoteProtocolError(f"{what} {number} is not {first} to {last}")
    return number


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute (or method, for ACTION) of one object. IEC 62056-5-3, ``Cosem-Attribute-Descriptor``."""

    class_id: int
    logical_name: Obis
    index: int

    def encode(self) -> bytes:
        """Give the nine octets."""
        return self.class_id.to_bytes(2, "big") + self.logical_name.to_bytes() + bytes([self.index])

    def __str__(self) -> str:
        """Write ``class 7 1-0:99.1.0*255 attribute 2``."""
        return f"class {self.class_id} {self.logical_name} attribute {self.index}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Selective access: ``selector`` 1 by range, 2 by entry (profile generic), with its parameters."""

    selector: int
    parameters: Data

    def encode(self) -> bytes:
        """Give selector and parameters."""
        return bytes([self.selector]) + axdr.encode(self.parameters)


class Cursor:
    """Reads the fields of an APDU in order, behind its tag, and knows when they end early.

    ``leaves_data``: whether data at the end is to be left encoded.
    """

    def __init__(self, octets: bytes, at: int = 1, *, leaves_data: bool = False) -> None:
        self._octets = octets
        self._at = at
        self.leaves_data = leaves_data

    def take(self, count: int) -> bytes:
        """Take so many octets. Raises `RemoteProtocolError` where there are fewer."""
        taken = self._octets[self._at : self._at + count]
        if len(taken) != count:
            raise RemoteProtocolError(f"APDU 0x{self._octets[:1].hex()} ends early, after {len(self._octets)} octets")
        self._at += count
        return taken

    def peek(self, count: int) -> bytes:
        """Look at so many octets, or at as many as there are."""
        return self._octets[self._at : self._at + count]

    def number(self, size: int = 1) -> int:
        """Read an unsigned number of ``size`` octets."""
        return int.from_bytes(self.take(size), "big")

    def flag(self) -> bool:
        """Read a boolean, or whether an optional field is there."""
        value = self.number()
        if value > 1 and value != 0xFF:
            raise RemoteProtocolError(
                f"boolean 0x{value:02x} at offset {self._at - 1} of APDU 0x{self._octets[:1].hex()}"
            )
        return value != 0

    def octets(self) -> bytes:
        """Read an octet-string with its length."""
        length, self._at = axdr.parse_length(self._octets, self._at)
        return self.take(length)

    def length(self) -> int:
        """Read a length, or a number of items."""
        length, self._at = axdr.parse_length(self._octets, self._at)
        return length

    def data(self) -> Data:
        """Read one item of ``Data``."""
        outcome = axdr.parse(self._octets, self._at)
        if outcome is NEED_DATA:
            raise RemoteProtocolError(f"data in APDU 0x{self._octets[:1].hex()} ends early")
        data, self._at = outcome
        return data

    def attribute(self) -> Attribute:
        """Read an attribute descriptor."""
        return Attribute(self.number(2), Obis.from_bytes(self.take(6)), self.number())

    def selection(self) -> Selection | None:
        """Read whether there is selective access, and which."""
        return Selection(self.number(), self.data()) if self.flag() else None

    def count(self, largest: int) -> int:
        """Read how many items a list has, 1 to ``largest``. Raises `RemoteProtocolError`."""
        count = self.length()
        if not 0 < count <= largest:
            raise RemoteProtocolError(f"list of {count} items; 1 to {largest} are taken")
        return count

    def end(self) -> None:
        """Demand that nothing is left. Raises `RemoteProtocolError`."""
        if self.left:
            raise RemoteProtocolError(f"{self.left} surplus octets behind {self._at}")

    @property
    def left(self) -> int:
        """Count the octets not read yet."""
        return len(self._octets) - self._at
