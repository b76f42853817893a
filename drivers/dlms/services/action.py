"""ACTION: one method invoked or several, in as many blocks as it takes, both ways. IEC 62056-5-3, clause 9.5."""

from abc import abstractmethod

from drivers.dlms import acting, axdr, datablock, xdlms
from drivers.dlms.commands import Act, ActList, BlockTaken, Done, Event, MoreBlocks, Received
from drivers.dlms.services.base import Joiner, Service, Terms
from drivers.errors import RemoteProtocolError


class _Blocks(Service):
    """Sends parts, one after each acknowledgement, and asks for the blocks of the answer."""

    def __init__(self, what: str, terms: Terms, parts: list[acting.ActionRequests]) -> None:
        super().__init__(what, terms)
        self._parts = parts
        self._sent = 0
        self._blocks = Joiner(what)

    def request(self) -> bytes:
        """Give the next part, or ask for the block after the one received."""
        if self._blocks.number:
            return acting.ActionRequestNext(self.terms.invoke_octet, self._blocks.number).encode()
        self._sent += 1
        return self._parts.pop(0).encode()

    def accept(self, response: xdlms.Apdu) -> Event:
        """Take an acknowledgement of a block, a block of the answer, or the whole of it."""
        if not isinstance(response, acting.ActionResponses):
            raise self.unexpected(response)
        self.check_invoke_id(response.invoke_id)
        if isinstance(response, acting.ActionResponseNext):
            if not self._parts or response.block_number != self._sent:
                raise RemoteProtocolError(f"{self.what}: block {response.block_number} is acknowledged out of order")
            return BlockTaken()
        if isinstance(response, acting.ActionResponse) and (code := response.result or response.access_result):
            raise self.refused(code)
        if self._parts:
            raise RemoteProtocolError(f"{self.what}: said to be done before all blocks were sent")
        if isinstance(response, acting.ActionResponseBlock):
            block = response.block
            self._blocks.add(block.number, block.raw, is_last=block.is_last)
            return self._joined(self._blocks.whole()) if block.is_last else MoreBlocks(len(self._blocks))
        if self._blocks.number:
            raise RemoteProtocolError(f"{self.what}: a whole answer amid blocks")
        return self._whole(response)

    @abstractmethod
    def _joined(self, octets: bytes) -> Event: ...

    @abstractmethod
    def _whole(self, response: acting.ActionResponse | acting.ActionResponseList) -> Event: ...


class ActService(_Blocks):
    """One method."""

    def __init__(self, command: Act, terms: Terms) -> None:
        terms.demand(xdlms.Conformance.ACTION, str(command.method))
        room = terms.cut_to(xdlms.Conformance.BLOCK_TRANSFER_ACTION)
        super().__init__(str(command.method), terms, requests(terms.invoke_octet, command, room))

    def _joined(self, octets: bytes) -> Event:
        result = acting.decode_returned(octets)
        if code := result.result or result.access_result:
            raise self.refused(code)
        return Done(result.data)

    def _whole(self, response: acting.ActionResponse | acting.ActionResponseList) -> Event:
        if not isinstance(response, acting.ActionResponse):
            raise self.unexpected(response)
        return Done(response.data)


class ActListService(_Blocks):
    """Several methods; `Received` then holds an `acting.ActionResult` for each."""

    def __init__(self, command: ActList, terms: Terms) -> None:
        self._count = len(command.items)
        what = f"list of {self._count} methods"
        terms.demand(xdlms.Conformance.ACTION, what)
        terms.demand(xdlms.Conformance.MULTIPLE_REFERENCES, what)
        room = terms.cut_to(xdlms.Conformance.BLOCK_TRANSFER_ACTION)
        super().__init__(what, terms, list_requests(terms.invoke_octet, command, room))

    def _joined(self, octets: bytes) -> Event:
        return self._results(acting.decode_action_results(octets))

    def _whole(self, response: acting.ActionResponse | acting.ActionResponseList) -> Event:
        if not isinstance(response, acting.ActionResponseList):
            raise self.unexpected(response)
        return self._results(response.results)

    def _results(self, results: tuple[acting.ActionResult, ...]) -> Event:
        if len(results) != self._count:
            raise RemoteProtocolError(f"{len(results)} results for a {self.what}")
        return Received(results)


def requests(invoke_id: int, command: Act, room: int) -> list[acting.ActionRequests]:
    """Cut an ACTION into requests of at most ``room`` octets each; a single one where it fits, or ``room`` is 0."""
    whole = acting.ActionRequest(invoke_id, command.method, command.parameters)
    if not room or command.parameters is None or len(whole.encode()) <= room:
        return [whole]
    octets = axdr.encode(command.parameters)
    first, *more = datablock.cut(octets, room - 3 - acting.METHOD_SIZE, room - 3)
    return [
        acting.ActionRequestFirstBlock(invoke_id, command.method, first),
        *[acting.ActionRequestBlock(invoke_id, block) for block in more],
    ]


def list_requests(invoke_id: int, command: ActList, room: int) -> list[acting.ActionRequests]:
    """Cut a list likewise."""
    methods = tuple(method for method, _ in command.items)
    parameters = tuple(axdr.NULL if data is None else data for _, data in command.items)
    whole = acting.ActionRequestList(invoke_id, methods, parameters)
    if not room or len(whole.encode()) <= room:
        return [whole]
    head = 3 + len(acting.encode_methods(methods))
    first, *more = datablock.cut(acting.encode_parameters(parameters), room - head, room - 3)
    return [
        acting.ActionRequestListFirstBlock(invoke_id, methods, first),
        *[acting.ActionRequestBlock(invoke_id, block) for block in more],
    ]
