"""GET of one attribute or of several, in as many blocks as it takes. IEC 62056-5-3, clause 9.5."""

from collections.abc import Callable
from functools import partial
from typing import Any

from drivers.dlms import getlist, xdlms
from drivers.dlms.commands import Event, Get, GetList, MoreBlocks, Received
from drivers.dlms.services.base import Joiner, Service, Terms
from drivers.errors import RemoteProtocolError


class GetService(Service):
    """One GET."""

    def __init__(self, command: Get | GetList, terms: Terms) -> None:
        self._decode: Callable[[bytes], Any]
        self._first: xdlms.GetRequest | getlist.GetRequestList
        if isinstance(command, Get):
            super().__init__(str(command.attribute), terms)
            self._decode, self._kind = command.decode, getlist.NORMAL
            self._first = xdlms.GetRequest(terms.invoke_octet, command.attribute, command.selection)
        else:
            count = len(command.attributes)
            super().__init__(f"list of {count} attributes", terms)
            self._decode, self._kind = partial(results_of, count), getlist.WITH_LIST
            self._first = getlist.GetRequestList(
                terms.invoke_octet, tuple((one, None) for one in command.attributes)
            )  # fmt: skip
        self._blocks = Joiner(self.what)

    def request(self) -> bytes:
        """Give the question, or ask for the block after the one received."""
        if not self._blocks.number:
            return self._first.encode()
        return xdlms.GetRequestNext(self.terms.invoke_octet, self._blocks.number).encode()

    def accept(self, response: xdlms.Apdu) -> Event:
        """Take an answer or a block of one."""
        if not isinstance(response, xdlms.GetResponse | xdlms.GetResponseOctets | xdlms.GetResponseBlock):
            raise RemoteProtocolError(f"expected a GET-response, got {type(response).__name__}")
        self.check_invoke_id(response.invoke_id)
        if response.result:
            raise self.refused(response.result)
        if isinstance(response, xdlms.GetResponseBlock):
            self._blocks.add(response.block_number, response.raw or b"", is_last=response.is_last)
            if not response.is_last:
                return MoreBlocks(len(self._blocks), response.raw or b"")
            return Received(self._decode(self._blocks.whole()))
        if self._blocks.number or isinstance(response, xdlms.GetResponse):
            raise RemoteProtocolError(f"{self.what}: a whole answer amid blocks")
        if response.kind != self._kind:
            raise RemoteProtocolError(f"{self.what}: answered by a GET-response of type {response.kind}")
        return Received(self._decode(response.octets))


def results_of(count: int, octets: bytes) -> tuple[getlist.GetResult, ...]:
    """Read the results of a list, one for each attribute asked for. Raises `RemoteProtocolError`."""
    results = getlist.decode_results(octets)
    if len(results) != count:
        raise RemoteProtocolError(f"{len(results)} results for a list of {count} attributes")
    return results
