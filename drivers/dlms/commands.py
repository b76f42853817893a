"""What is told to the client's side of an association, and what comes out of it. See `drivers.dlms.association`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from drivers.dlms import axdr
from drivers.dlms.accessing import AccessItem
from drivers.dlms.axdr import Data
from drivers.dlms.noticing import EventNotification
from drivers.dlms.shortnames import InformationReport
from drivers.dlms.xdlms import Attribute, Conformance, DataNotification, Selection


@dataclass(frozen=True, slots=True)
class Associate:
    """Command: open the association."""


@dataclass(frozen=True, slots=True)
class Prove:
    """Command: answer the meter's challenge (HLS pass 3)."""


@dataclass(frozen=True, slots=True)
class Get:
    """Command: ask for one attribute.

    ``decode``: makes what `Received` holds of the attribute's octets; it raises `RemoteProtocolError` for damage.
    """

    attribute: Attribute
    selection: Selection | None = None
    decode: Callable[[bytes], Any] = axdr.decode


@dataclass(frozen=True, slots=True)
class GetList:
    """Command: ask for several attributes; `Received` then holds a tuple of `getlist.GetResult`, in their order."""

    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class Set:
    """Command: write one attribute. For those who execute an approved command alone."""

    attribute: Attribute
    data: Data


@dataclass(frozen=True, slots=True)
class Act:
    """Command: invoke one method. For those who execute an approved command alone."""

    method: Attribute
    parameters: Data | None = None


@dataclass(frozen=True, slots=True)
class SetList:
    """Command: write several attributes; `Received` then holds a data-access-result for each, 0 where it was written."""

    items: tuple[tuple[Attribute, Data], ...]


@dataclass(frozen=True, slots=True)
class ActList:
    """Command: invoke several methods; `Received` then holds an `acting.ActionResult` for each."""

    items: tuple[tuple[Attribute, Data | None], ...]


@dataclass(frozen=True, slots=True)
class Access:
    """Command: read, write and invoke in one request; `Received` then holds an `accessing.AccessResult` for each item.

    ``items``: each with its data, null-data where there is none.  ``breaks_on_error``: whether the meter stops at the first.
    ``is_self_descriptive``: whether the answer is to repeat what was asked.
    """

    items: tuple[tuple[AccessItem, Data], ...]
    breaks_on_error: bool = False
    is_self_descriptive: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything of it may change the meter."""
        return any(item.kind != "get" for item, _ in self.items)


@dataclass(frozen=True, slots=True)
class NextBlock:
    """Command: ask for the block after the one received, or send the one after the block that was taken."""


@dataclass(frozen=True, slots=True)
class Release:
    """Command: close the association."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The association is open. ``max_pdu``: largest APDU the meter takes, 0 for no limit. [octet]"""

    conformance: Conformance
    max_pdu: int


@dataclass(frozen=True, slots=True)
class Challenged:
    """The meter wants proof: send `Prove`."""


@dataclass(frozen=True, slots=True)
class Received:
    """The attribute's value, whole: a `Data`, or what the `Get` was told to make of it."""

    data: Any


@dataclass(frozen=True, slots=True)
class MoreBlocks:
    """A block came, more are to be asked for with `NextBlock`. ``octets``: received so far.  ``piece``: what this one brought."""

    octets: int
    piece: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BlockTaken:
    """The meter took a block of a SET, more are to be sent with `NextBlock`."""


@dataclass(frozen=True, slots=True)
class Done:
    """The meter did what it was told. ``data``: what a method returned."""

    data: Data | None = None


@dataclass(frozen=True, slots=True)
class Noticed:
    """The meter said something unasked; the answer is still to come."""

    notice: EventNotification | InformationReport | DataNotification


@dataclass(frozen=True, slots=True)
class Released:
    """The association is closed."""


Command = Associate | Prove | Get | GetList | Set | SetList | Act | ActList | Access | NextBlock | Release
Event = Accepted | Challenged | Received | MoreBlocks | BlockTaken | Done | Noticed | Released
