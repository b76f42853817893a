"""SET of one attribute, in as many blocks as it takes. IEC 62056-5-3, clause 9.5."""

from drivers.dlms import writing, xdlms
from drivers.dlms.commands import BlockTaken, Done, Event, Set
from drivers.dlms.services.base import Service, Terms
from drivers.errors import RemoteProtocolError


class SetService(Service):
    """One SET."""

    def __init__(self, command: Set, terms: Terms) -> None:
        super().__init__(str(command.attribute), terms)
        self._parts = list(writing.requests(terms.invoke_octet, command.attribute, command.data, terms.room))
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
        if response.result:
            raise self.refused(response.result)
        if self._parts:
            raise RemoteProtocolError(f"{self.what}: said to be done before all blocks were sent")
        return Done()
