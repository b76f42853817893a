"""READ and WRITE of the simulated meter where it knows its objects by short names. IEC 62056-5-3, clauses 9.3.14 to 9.3.16 and 9.5.

The objects are those of logical names but for the association, which is of class 12; each attribute and method is a variable.
"""

from collections.abc import Mapping, Sequence

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.basenames import ASSOCIATION, ASSOCIATION_CLASS, OBJECT_LIST, REPLY_TO_HLS, BaseNames, returns_data
from drivers.dlms.descriptor import Attribute, Cursor, Selection
from drivers.dlms.shortnames import (
    READ_RESPONSE,
    BlockAccepted,
    BlockNumber,
    ReadBlock,
    ReadRequest,
    ReadResponse,
    ReadResult,
    ResultBlock,
    Variable,
    WriteBlock,
    WriteRequest,
    WriteResponse,
    read_read_request,
    read_write_request,
)
from drivers.dlms.xdlms import Apdu, Conformance, DataAccessResult
from drivers.errors import MeterRefused, RemoteProtocolError
from drivers.obis import Obis
from simulators.dlms.device import Refused
from simulators.dlms.objects import CATALOGUE, PROFILE_CLASS, read
from simulators.dlms.services import MAX_INCOMING, Services

SHORT_GRANTED = (
    Conformance.READ | Conformance.WRITE | Conformance.PARAMETERIZED_ACCESS | Conformance.BLOCK_TRANSFER_GET
    | Conformance.BLOCK_TRANSFER_SET | Conformance.MULTIPLE_REFERENCES
)  # fmt: skip
FIRST_BASE, STEP = 0x100, 0x100  # room for 32 attributes and methods each; more than any class here has
BASES: Mapping[tuple[int, Obis], int] = {
    (item.class_id, item.name): FIRST_BASE + STEP * place
    for place, item in enumerate(item for item in CATALOGUE.values() if item.name != OBJECT_LIST.logical_name)
}
_NAMES = BaseNames(BASES)
REPLY_TO_HLS_NAME = _NAMES.method(REPLY_TO_HLS)


def _variables() -> Mapping[int, tuple[bool, Attribute]]:
    """Say of each short name whether it is a method, and of what."""
    found = {ASSOCIATION: (False, Attribute(*_named(OBJECT_LIST), 1)), ASSOCIATION + 8: (False, OBJECT_LIST)}
    for class_id, name in BASES:
        item = CATALOGUE[name]
        rows = (2,) if class_id == PROFILE_CLASS else ()
        for index in {1, *rows, *item.reads, *item.writes}:
            attribute = Attribute(class_id, name, index)
            found[_NAMES.attribute(attribute)] = (False, attribute)
        for index in item.methods:
            method = Attribute(class_id, name, index)
            try:
                found[_NAMES.method(method)] = (True, method)
            except MeterRefused:
                continue  # a method that has no short name
    return found


def _named(attribute: Attribute) -> tuple[int, Obis]:
    return attribute.class_id, attribute.logical_name


VARIABLES = _variables()


def object_list() -> Data:
    """Give the association's list of objects: base name, class, version, logical name. IEC 62056-6-2, class 12."""
    rows = [(ASSOCIATION, ASSOCIATION_CLASS, 0, OBJECT_LIST.logical_name)]
    rows += [(base, class_id, CATALOGUE[name].version, name) for (class_id, name), base in BASES.items()]
    return axdr.array(
        axdr.structure(
            Data(Tag.LONG, base - 0x10000 if base >= 0x8000 else base),
            axdr.long_unsigned(class_id),
            axdr.unsigned(version),
            axdr.octet_string(name.to_bytes()),
        )
        for base, class_id, version, name in rows
    )


class ShortServices(Services):
    """The same meter asked by short names."""

    _pieces = bytearray()
    _piece = 0

    def serve(self, request: Apdu, now: int) -> bytes:
        """See `Services.serve`."""
        if isinstance(request, ReadRequest) and self.granted & Conformance.READ:
            return self._read(request, now)
        if isinstance(request, WriteRequest) and self.granted & Conformance.WRITE:
            return self._write_all(request, now)
        raise RemoteProtocolError("not a service of this association")

    def _read(self, request: ReadRequest, now: int) -> bytes:
        match request.items:
            case (BlockNumber(number),):
                if why := self._refused_block(number):
                    return ReadResponse((ReadResult(None, why),)).encode()
                return self._result_block(now)
            case (ReadBlock(number, raw, is_last),):
                if why := self._collect(number, raw):
                    return ReadResponse((ReadResult(None, why),)).encode()
                if not is_last:
                    return ReadResponse((BlockAccepted(number),)).encode()
                return self._read(read_read_request(Cursor(bytes(self._collected()), 0)), now)
        results = [self._value(item, now) for item in request.items if isinstance(item, Variable)]
        if len(results) != len(request.items):
            raise RemoteProtocolError("blocks among variables")
        raw = axdr.encode_length(len(results)) + b"".join(results)
        self._left = b""
        if len(raw) + 1 <= self.room:
            return bytes((READ_RESPONSE,)) + raw
        # Of one variable the data alone is cut, as known meters do; the standard does not say.
        self._left, self._block, self._endless = results[0][1:] if len(results) == 1 else raw, 0, False
        return self._result_block(now)

    def _result_block(self, now: int) -> bytes:
        block = self._cut(now)
        return ReadResponse((ResultBlock(block.number, block.raw, block.is_last),)).encode()

    def _value(self, variable: Variable, now: int) -> bytes:
        """Give what comes of one variable: choice, and data or why not."""
        is_method, what = VARIABLES.get(variable.name, (False, None))
        if what is None:
            return bytes((1, DataAccessResult.OBJECT_UNDEFINED))
        if is_method:
            if not returns_data(what):
                return bytes((1, DataAccessResult.READ_WRITE_DENIED))
            done = self._invoke(what, variable.parameters, now)
            return bytes((1, done.result)) if done.result else b"\x00" + axdr.encode(done.data or axdr.NULL)
        if what == OBJECT_LIST:
            return b"\x00" + axdr.encode(object_list())
        selection = None if variable.selector is None else Selection(variable.selector, variable.parameters)
        try:
            self._deny_rows(selection, now)
            return b"\x00" + read(self._device(now), what, selection)
        except Refused as refused:
            return bytes((1, refused.result))

    def _write_all(self, request: WriteRequest, now: int) -> bytes:
        match request.items:
            case (WriteBlock(number, is_last),):
                if why := self._collect(number, request.values[0].octets()):
                    return WriteResponse((why,)).encode()
                if not is_last:
                    return WriteResponse((BlockAccepted(number, 2),)).encode()
                return self._write_all(read_write_request(Cursor(bytes(self._collected()), 0)), now)
        return WriteResponse(tuple(self._changed(request.items, request.values, now))).encode()

    def _changed(self, items: Sequence[object], values: Sequence[Data], now: int) -> list[int]:
        results = []
        for item, data in zip(items, values, strict=True):
            is_method, what = VARIABLES.get(item.name, (False, None)) if isinstance(item, Variable) else (False, None)
            if what is None:
                results.append(int(DataAccessResult.OBJECT_UNDEFINED))
            elif is_method:
                results.append(self._invoke(what, data, now).result)
            else:
                results.append(self._write((what, None), data, now))
        return results

    def _collect(self, number: int, raw: bytes) -> int:
        """Keep a block of a request; say why not, 0 where it is kept."""
        if number == 1:
            self._pieces, self._piece = bytearray(), 0
        if number != self._piece + 1 or len(self._pieces) + len(raw) > MAX_INCOMING:
            self._pieces, self._piece = bytearray(), 0
            return DataAccessResult.DATA_BLOCK_NUMBER_INVALID
        self._pieces += raw
        self._piece = number
        return 0

    def _collected(self) -> bytearray:
        pieces, self._pieces, self._piece = self._pieces, bytearray(), 0
        return pieces
