"""The same commands where the meter knows objects by short names: READ and WRITE, in blocks where they are long.

IEC 62056-5-3, clauses 9.3.14 to 9.3.16 and 9.5. Neither has an invoke-id; the order of answers must do.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from drivers.dlms import axdr, datablock, shortnames, xdlms
from drivers.dlms.basenames import returns_data
from drivers.dlms.commands import (
    Act,
    ActList,
    BlockTaken,
    Done,
    Event,
    Get,
    GetList,
    MoreBlocks,
    Received,
    Set,
    SetList,
)
from drivers.dlms.getlist import GetResult
from drivers.dlms.services.base import Joiner, Service, Terms
from drivers.dlms.shortnames import BlockAccepted, ReadBlock, ReadResult, ResultBlock, Variable, WriteBlock
from drivers.errors import LocalProtocolError, RemoteProtocolError

METHOD_SELECTOR = 1
_BLOCK_HEAD = 5  # [octet] of a request around a block: tag, number of variables and of data, access, type of the data
Result = TypeVar("Result")


class _Read(Service):
    """One READ."""

    def __init__(self, what: str, terms: Terms, variables: tuple[Variable, ...]) -> None:
        super().__init__(what, terms)
        terms.demand(xdlms.Conformance.READ, what)
        if any(one.selector is not None for one in variables):
            terms.demand(xdlms.Conformance.PARAMETERIZED_ACCESS, what)
        if len(variables) > 1:
            terms.demand(xdlms.Conformance.MULTIPLE_REFERENCES, what)
        self._count = len(variables)
        whole = shortnames.ReadRequest(variables)
        room = terms.cut_to(xdlms.Conformance.BLOCK_TRANSFER_GET)
        self._parts: list[shortnames.ReadRequest] = [whole]
        if room and len(whole.encode()) > room:
            pieces = datablock.cut(shortnames.encode_items(variables), room - _BLOCK_HEAD, room - _BLOCK_HEAD)
            self._parts = [
                shortnames.ReadRequest((ReadBlock(piece.number, piece.raw, piece.is_last),)) for piece in pieces
            ]
        self._sent = 0
        self._blocks = Joiner(what)

    def request(self) -> bytes:
        """Give the next part, or ask for the block after the one received."""
        if self._blocks.number:
            return shortnames.ReadRequest((shortnames.BlockNumber(self._blocks.number),)).encode()
        self._sent += 1
        return self._parts.pop(0).encode()

    def accept(self, response: xdlms.Apdu) -> Event:
        """Take an answer, a block of one, or the acknowledgement of a block of the question."""
        if isinstance(response, shortnames.ReadResponseOctets):
            if self._blocks.number and response.octets[1:2] != b"\x01":
                raise RemoteProtocolError(f"{self.what}: a whole answer amid blocks")
            if self._parts and response.octets[1:2] != b"\x01":
                raise RemoteProtocolError(f"{self.what}: answered before all blocks were sent")
            return self._whole(response.octets)
        if not isinstance(response, shortnames.ReadResponse) or len(response.results) != 1:
            raise self.unexpected(response)
        (result,) = response.results
        if isinstance(result, BlockAccepted):
            if not self._parts or result.number != self._sent:
                raise RemoteProtocolError(f"{self.what}: block {result.number} is acknowledged out of order")
            return BlockTaken()
        if not isinstance(result, ResultBlock) or self._parts:
            raise self.unexpected(response)
        self._blocks.add(result.number, result.raw, is_last=result.is_last)
        if not result.is_last:
            return MoreBlocks(len(self._blocks), self._piece(result))
        return self._joined(self._blocks.whole())

    @abstractmethod
    def _whole(self, octets: bytes) -> Event:
        """Take results, their number first."""

    def _piece(self, block: ResultBlock) -> bytes:
        """Give what a block holds of the answer."""
        return block.raw

    def _joined(self, octets: bytes) -> Event:
        """Take what all blocks hold."""
        return self._whole(octets)


class _ReadOne(_Read):
    def __init__(self, what: str, terms: Terms, variable: Variable, decode: Callable[[bytes], Any]) -> None:
        super().__init__(what, terms, (variable,))
        self._decode = decode
        self._has_pieces = False

    def _whole(self, octets: bytes) -> Event:
        if octets[:2] == b"\x01\x00":
            return self._read(self._decode(octets[2:]))
        if octets[:2] == b"\x01\x01":
            (result,) = shortnames.decode_results(octets, 1)
            raise self.refused(result.result)
        raise RemoteProtocolError(f"{self.what}: answered by {octets[0]} results")

    def _joined(self, octets: bytes) -> Event:
        """Take data in blocks: alone, or behind number and choice as in an answer without blocks.

        Meters differ. The forms cannot be taken for each other: ``01 00`` with more behind is no array, ``00`` no null-data.
        """
        return self._read(self._decode(_bare(octets)))

    def _piece(self, block: ResultBlock) -> bytes:
        """Give what a block holds of the data alone; nothing where that cannot be told."""
        if block.number == 1:
            self._has_pieces = len(block.raw) > 2
            return _bare(block.raw) if self._has_pieces else b""
        return block.raw if self._has_pieces else b""

    def _read(self, data: Any) -> Event:
        return Received(data)


def _bare(octets: bytes) -> bytes:
    """Take off the number of results and the choice, where they stand before the data."""
    if len(octets) > 2 and octets[:2] == b"\x01\x00":
        return octets[2:]
    return octets[1:] if len(octets) > 1 and octets[:1] == b"\x00" else octets


class ReadService(_ReadOne):
    """One attribute."""

    def __init__(self, command: Get, terms: Terms) -> None:
        name, selection = terms.names.attribute(command.attribute), command.selection
        variable = Variable(name) if selection is None else Variable(name, selection.selector, selection.parameters)
        super().__init__(str(command.attribute), terms, variable, command.decode)


class ReadListService(_Read):
    """Several attributes; `Received` then holds a tuple of `GetResult`."""

    def __init__(self, command: GetList, terms: Terms) -> None:
        variables = tuple(Variable(terms.names.attribute(one)) for one in command.attributes)
        super().__init__(f"list of {len(variables)} attributes", terms, variables)

    def _whole(self, octets: bytes) -> Event:
        results: tuple[ReadResult, ...] = shortnames.decode_results(octets, self._count)
        return Received(tuple(GetResult(one.data, one.result) for one in results))


class ReadMethodService(_ReadOne):
    """One method that returns data."""

    def __init__(self, command: Act, terms: Terms) -> None:
        parameters = axdr.NULL if command.parameters is None else command.parameters
        variable = Variable(terms.names.method(command.method), METHOD_SELECTOR, parameters)
        super().__init__(str(command.method), terms, variable, axdr.decode)

    def _read(self, data: Any) -> Event:
        return Done(data)


class WriteService(Service):
    """One WRITE, of attributes or of methods that return nothing."""

    def __init__(
        self, what: str, terms: Terms, items: tuple[tuple[int, axdr.Data], ...], end: Callable[[tuple[int, ...]], Event]
    ) -> None:
        super().__init__(what, terms)
        terms.demand(xdlms.Conformance.WRITE, what)
        if len(items) > 1:
            terms.demand(xdlms.Conformance.MULTIPLE_REFERENCES, what)
        self._count, self._end = len(items), end
        whole = shortnames.WriteRequest(tuple(Variable(name) for name, _ in items), tuple(data for _, data in items))
        room = terms.cut_to(xdlms.Conformance.BLOCK_TRANSFER_SET)
        self._parts: list[shortnames.WriteRequest] = [whole]
        if room and len(whole.encode()) > room:
            pieces = datablock.cut(whole.body(), room - _BLOCK_HEAD, room - _BLOCK_HEAD)
            self._parts = [
                shortnames.WriteRequest((WriteBlock(piece.number, piece.is_last),), (axdr.octet_string(piece.raw),))
                for piece in pieces
            ]
        self._sent = 0

    def request(self) -> bytes:
        """Give the next part."""
        self._sent += 1
        return self._parts.pop(0).encode()

    def accept(self, response: xdlms.Apdu) -> Event:
        """Take the results, or the acknowledgement of a block."""
        if not isinstance(response, shortnames.WriteResponse):
            raise self.unexpected(response)
        results = tuple(result for result in response.results if not isinstance(result, BlockAccepted))
        if not results:
            (*_, last) = response.results
            if len(response.results) != 1 or not self._parts or last != BlockAccepted(self._sent, 2):
                raise RemoteProtocolError(f"{self.what}: a block is acknowledged out of order")
            return BlockTaken()
        if self._parts and len(results) == 1 and results[0]:
            raise self.refused(results[0])
        if len(results) != self._count or len(results) != len(response.results):
            raise RemoteProtocolError(f"{self.what}: {len(results)} results for {self._count} variables")
        if self._parts:
            raise RemoteProtocolError(f"{self.what}: said to be done before all blocks were sent")
        if self._count == 1 and results[0]:
            raise self.refused(results[0])
        return self._end(results)


def service_of(command: Get | GetList | Set | SetList | Act | ActList, terms: Terms) -> Service:
    """Give the service of a command. Raises `MeterRefused` for an object without a short name, or a list of methods."""
    names = terms.names
    match command:
        case Get():
            return ReadService(command, terms)
        case GetList():
            return ReadListService(command, terms)
        case Act() if returns_data(command.method):
            return ReadMethodService(command, terms)
        case Act():
            data = axdr.integer(0) if command.parameters is None else command.parameters
            return WriteService(
                str(command.method), terms, ((names.method(command.method), data),), lambda _: Done()
            )  # fmt: skip
        case Set():
            item = (names.attribute(command.attribute), command.data)
            return WriteService(str(command.attribute), terms, (item,), lambda _: Done())
        case SetList():
            items = tuple((names.attribute(attribute), data) for attribute, data in command.items)
            return WriteService(f"list of {len(items)} attributes to set", terms, items, Received)
    raise LocalProtocolError(f"{type(command).__name__} is no service of short-name referencing")
