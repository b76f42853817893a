"""ACTION: one method invoked. IEC 62056-5-3, clause 9.5."""

from drivers.dlms import xdlms
from drivers.dlms.commands import Act, Done, Event
from drivers.dlms.services.base import Service, Terms


class ActService(Service):
    """One ACTION."""

    def __init__(self, command: Act, terms: Terms) -> None:
        super().__init__(str(command.method), terms)
        self._command = command

    def request(self) -> bytes:
        """Give the request."""
        return xdlms.ActionRequest(self.terms.invoke_octet, self._command.method, self._command.parameters).encode()

    def accept(self, response: xdlms.Apdu) -> Event:
        """Take what the method returns."""
        if not isinstance(response, xdlms.ActionResponse):
            raise self.unexpected(response)
        self.check_invoke_id(response.invoke_id)
        if code := response.result or response.access_result or 0:
            raise self.refused(code)
        return Done(response.data)
