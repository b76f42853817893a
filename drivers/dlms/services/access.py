"""ACCESS: reading, writing and invoking in one request. IEC 62056-5-3, clause 9.3.5.

It has no blocks of its own: what is longer than an APDU goes in general blocks, where they were agreed on.
"""

from drivers.dlms import accessing, xdlms
from drivers.dlms.commands import Access, Event, Received
from drivers.dlms.services.base import Service, Terms
from drivers.errors import RemoteProtocolError


class AccessService(Service):
    """One ACCESS; `Received` then holds an `accessing.AccessResult` for each item, fewer where the first error broke it off."""

    def __init__(self, command: Access, terms: Terms) -> None:
        super().__init__(f"list of {len(command.items)} accesses", terms)
        terms.demand(xdlms.Conformance.ACCESS, self.what)
        flags = accessing.CONFIRMED | accessing.HIGH_PRIORITY
        if command.breaks_on_error:
            flags |= accessing.BREAK_ON_ERROR
        if command.is_self_descriptive:
            flags |= accessing.SELF_DESCRIPTIVE
        items, values = tuple(item for item, _ in command.items), tuple(value for _, value in command.items)
        self._request = accessing.AccessRequest(flags | terms.number & accessing.NUMBER_MASK, items, values)
        self._breaks_on_error = command.breaks_on_error

    def request(self) -> bytes:
        """Give the request."""
        return self._request.encode()

    def accept(self, response: xdlms.Apdu) -> Event:
        """Take the results."""
        if not isinstance(response, accessing.AccessResponse):
            raise self.unexpected(response)
        asked, answered = (one.long_invoke_id & accessing.NUMBER_MASK for one in (self._request, response))
        if asked != answered:
            raise RemoteProtocolError(f"answer to long invoke-id {answered}, asked was {asked}: a late answer")
        if response.items and response.items != self._request.items:
            raise RemoteProtocolError(f"{self.what}: the answer describes other items")
        results, items = response.results, self._request.items
        is_broken_off = self._breaks_on_error and results[-1].result and len(results) < len(items)
        if len(results) != len(items) and not is_broken_off:
            raise RemoteProtocolError(f"{len(results)} results for a {self.what}")
        if any(result.kind != item.kind for result, item in zip(results, items, strict=False)):
            raise RemoteProtocolError(f"{self.what}: a result is of another kind than its item")
        return Received(results)
