"""SET of one attribute or of several, in as many blocks as it takes. IEC 62056-5-3, clause 9.5."""

from abc import abstractmethod

from drivers.dlms import datablock, setlist, writing, xdlms
from drivers.dlms.commands import BlockTaken, Done, Event, Received, Set, SetList
from drivers.dlms.services.base import Service, Terms
from drivers.errors import RemoteProtocolError

Request = writing.SetRequests


class _Parts(Service):
    """Sends parts, one after each acknowledgement."""

    def __init__(self, what: str, terms: Terms, parts: list[Request]) -> None:
        super().__init__(what, terms)
        self._parts = parts
        self._sent = 0

    def request(self) -> bytes:
        """Give the next part."""
        self._sent += 1
        return self._parts.pop(0).encode()

    def accept(self, response: xdlms.Apdu) -> Event:
        """Take an acknowledgement, of a block or of the whole."""
        if not isinstance(response, writing.SetResponses):
            raise self.unexpected(response)
        self.check_invoke_id(response.invoke_id)
        if isinstance(response, writing.SetResponseBlock):
            if not self._parts or response.block_number != self._sent:
                raise RemoteProtocolError(f"{self.what}: block {response.block_number} is acknowledged out of order")
            return BlockTaken()
        return self._done(response)

    @abstractmethod
    def _done(self, response: writing.SetResponses) -> Event: ...

    def _check_all_sent(self) -> None:
        if self._parts:
            raise RemoteProtocolError(f"{self.what}: said to be done before all blocks were sent")


class SetService(_Parts):
    """One attribute."""

    def __init__(self, command: Set, terms: Terms) -> None:
        terms.demand(xdlms.Conformance.SET, str(command.attribute))
        room = terms.cut_to(xdlms.Conformance.BLOCK_TRANSFER_SET)
        parts = list(writing.requests(terms.invoke_octet, command.attribute, command.data, room))
        super().__init__(str(command.attribute), terms, parts)

    def _done(self, response: writing.SetResponses) -> Event:
        if not isinstance(response, writing.SetResponse | writing.SetResponseLastBlock):
            raise self.unexpected(response)
        if response.result:
            raise self.refused(response.result)
        self._check_all_sent()
        return Done()


class SetListService(_Parts):
    """Several attributes; `Received` then holds for each 0, or the data-access-result."""

    def __init__(self, command: SetList, terms: Terms) -> None:
        self._count = len(command.items)
        what = f"list of {self._count} attributes to set"
        terms.demand(xdlms.Conformance.SET, what)
        terms.demand(xdlms.Conformance.MULTIPLE_REFERENCES, what)
        room = terms.cut_to(xdlms.Conformance.BLOCK_TRANSFER_SET)
        super().__init__(what, terms, list_requests(terms.invoke_octet, command, room))

    def _done(self, response: writing.SetResponses) -> Event:
        if isinstance(response, writing.SetResponse) and response.result:
            raise self.refused(response.result)  # the whole list
        if not isinstance(response, setlist.SetListResponses):
            raise self.unexpected(response)
        if len(response.results) != self._count:
            raise RemoteProtocolError(f"{len(response.results)} results for a {self.what}")
        self._check_all_sent()
        return Received(response.results)


def list_requests(invoke_id: int, command: SetList, room: int) -> list[Request]:
    """Cut a list into requests of at most ``room`` octets each; a single one where it fits, or ``room`` is 0."""
    items = tuple((attribute, None) for attribute, _ in command.items)
    values = tuple(value for _, value in command.items)
    whole = setlist.SetRequestList(invoke_id, items, values)
    if not room or len(whole.encode()) <= room:
        return [whole]
    head = 3 + len(setlist.encode_items(items))
    first, *more = datablock.cut(setlist.encode_values(values), room - head, room - 3)
    requests: list[Request] = [setlist.SetRequestListFirstBlock(invoke_id, items, first)]
    requests += [writing.SetRequestBlock(invoke_id, one.is_last, one.number, one.raw) for one in more]
    return requests
