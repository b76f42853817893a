"""What a service is to the association: a request in one or more APDUs, and an answer in one or more. See `Service`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from drivers.dlms import axdr, xdlms
from drivers.dlms.basenames import BaseNames
from drivers.dlms.commands import Event
from drivers.errors import MeterRefused, RemoteProtocolError


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request is made under. ``invoke_octet``: invoke-id and priority.  ``room``: largest plain APDU, 0 no limit. [octet]

    ``granted``: services the meter agreed to.  ``number``: of the request, for services with a long invoke-id.
    ``names``: of variables, where the meter knows no others.
    """

    invoke_octet: int
    room: int
    granted: xdlms.Conformance
    number: int = 0
    names: BaseNames = field(default_factory=BaseNames)

    def demand(self, service: xdlms.Conformance, what: str) -> None:
        """Raise `MeterRefused` for a service that the meter did not grant."""
        if not self.granted & service:
            name = (service.name or str(int(service))).lower().replace("_", "-")
            raise MeterRefused(
                f"{what}: the meter does not grant {name} in this association", xdlms.DataAccessResult.OTHER_REASON
            )

    def cut_to(self, blocks: xdlms.Conformance) -> int:
        """Give the size to cut a request to with the service's own blocks, 0 where the meter does not take them. [octet]"""
        return self.room if self.granted & blocks else 0


class Service(ABC):
    """One request. ``what``: what it is about, for messages."""

    def __init__(self, what: str, terms: Terms) -> None:
        self.what = what
        self.terms = terms

    @abstractmethod
    def request(self) -> bytes:
        """Give the next APDU of it, plain. Raises `MeterRefused` where it cannot be made as the meter would take it."""

    @abstractmethod
    def accept(self, response: xdlms.Apdu) -> Event:
        """Say what an answer means: `Received` or `Done` at the end, `MoreBlocks` or `BlockTaken` before.

        Raises `MeterRefused` where the meter says no, which ends the request alone, and `RemoteProtocolError`.
        """

    def check_invoke_id(self, octet: int) -> None:
        """Raise `RemoteProtocolError` for an answer to another request."""
        asked = self.terms.invoke_octet & 0x0F
        if octet & 0x0F != asked:
            raise RemoteProtocolError(f"answer to invoke-id {octet & 0x0F}, asked was {asked}: a late answer")

    def refused(self, code: int) -> MeterRefused:
        """Give the error for what the meter refuses."""
        return MeterRefused(f"{self.what}: {xdlms.result_name(code)}", code)

    def unexpected(self, response: xdlms.Apdu) -> RemoteProtocolError:
        """Give the error for an answer of another kind."""
        return RemoteProtocolError(f"{self.what}: answered by {type(response).__name__}")


class Joiner:
    """Joins the blocks of an answer, which count from 1 without a gap; 8 MiB in all at most."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._octets = bytearray()
        self.number = 0

    def add(self, number: int, raw: bytes, *, is_last: bool) -> None:
        """Take a block. Raises `RemoteProtocolError` for one out of order, empty amid others, or too much."""
        if number != self.number + 1:
            raise RemoteProtocolError(f"{self._what}: block {number} came, {self.number + 1} was expected")
        if not raw and not is_last:
            raise RemoteProtocolError(f"{self._what}: block {number} is empty and not the last")
        if len(self._octets) + len(raw) > axdr.MAX_OBJECT:
            raise RemoteProtocolError(f"{self._what}: more than {axdr.MAX_OBJECT} octets in all blocks")
        self._octets += raw
        self.number = number

    def __len__(self) -> int:
        """Count the octets so far."""
        return len(self._octets)

    def whole(self) -> bytes:
        """Give what all blocks hold."""
        return bytes(self._octets)
