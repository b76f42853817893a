"""GET, SET and ACTION of the simulated meter inside an open association: one or several, whole or in blocks both ways.

IEC 62056-5-3, clauses 9.3.6 to 9.3.9 and 9.4. What is read, written and done: `simulators.dlms.objects`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from drivers.dlms import acting, axdr, setlist, writing, xdlms
from drivers.dlms.axdr import Data
from drivers.dlms.datablock import DataBlock
from drivers.dlms.getlist import WITH_LIST
from drivers.dlms.xdlms import Attribute, Conformance, DataAccessResult, Selection
from drivers.errors import DriverError, RemoteProtocolError
from simulators.dlms import buffer, objects
from simulators.dlms.deviance import Deviance
from simulators.dlms.device import NOTHING, Device, Refused
from simulators.dlms.settings import BLOCK_OVERHEAD, MIN_BLOCK, DlmsSettings, Memory
from simulators.faults import Deed
from simulators.meter import Meter

GRANTED = (
    Conformance.GET | Conformance.SELECTIVE_ACCESS | Conformance.BLOCK_TRANSFER_GET | Conformance.ACTION
    | Conformance.MULTIPLE_REFERENCES | Conformance.SET | Conformance.BLOCK_TRANSFER_SET | Conformance.BLOCK_TRANSFER_ACTION
)  # fmt: skip
MAX_INCOMING = 1 << 20  # [octet] of one SET or ACTION in blocks
NAME = Attribute(objects.DATA_CLASS, objects.LOGICAL_DEVICE_NAME, 2)
Target = tuple[Attribute, Selection | None]


@dataclass(slots=True)
class _Incoming:
    """A SET or ACTION that comes in blocks. ``number``: of the block taken last."""

    is_set: bool
    is_list: bool
    targets: Sequence[Target]
    octets: bytearray = field(default_factory=bytearray)
    number: int = 0


class Services:
    """One association's requests. ``granted``, ``room`` [octet] and ``largest`` that the client takes [octet] are agreed when it opens."""

    def __init__(self, meter: Meter, settings: DlmsSettings, memory: Memory, deviance: Deviance) -> None:
        self._meter = meter
        self._settings = settings
        self._memory = memory
        self._deviance = deviance
        self.granted = NOTHING
        self.room = 0xFFFF
        self.largest = 0xFFFF
        self._incoming: _Incoming | None = None
        self._left = b""
        self._block = 0
        self._endless = False  # the blocks of this answer were said not to have ended

    def serve(self, request: xdlms.Apdu, now: int) -> bytes:
        """Answer a plain request. Raises `RemoteProtocolError` for what is no service of this association."""
        match request:
            case xdlms.GetRequest():
                return self._get(request, now)
            case xdlms.GetRequestNext():
                return self._next_block(request, now)
            case xdlms.GetRequestList() if self.granted & Conformance.MULTIPLE_REFERENCES:
                return self._get_list(request, now)
        if isinstance(request, acting.ActionRequests):
            return self._act(request, now)
        if isinstance(request, writing.SetRequests) and self.granted & Conformance.SET:
            return self._set(request, now)
        raise RemoteProtocolError("not a service of this association")

    def _device(self, now: int) -> Device:
        return Device(self._meter, now, self._settings, self._memory, self._deviance, self.granted)

    # -- GET

    def _get(self, get: xdlms.GetRequest, now: int) -> bytes:
        device = self._device(now)
        if get.attribute == NAME and self._deviance.happens(Deed.OTHER_IDENTITY, now):
            device.meter = replace(device.meter, name=f"SIM{device.meter.serial + 1:013d}")
        try:
            self._deny_rows(get.selection, now)
            data = objects.read(device, get.attribute, get.selection)
        except Refused as refused:
            return xdlms.GetResponse(get.invoke_id, None, refused.result).encode()
        return self._whole_or_blocks(bytes((xdlms.GET_RESPONSE, 1, get.invoke_id, 0)) + data, data, get.invoke_id, now)

    def _deny_rows(self, selection: Selection | None, now: int) -> None:
        """Refuse what the meter's misdeeds make it refuse. Raises `Refused`."""
        if selection is None:
            return
        if selection.selector == buffer.BY_ENTRY and self._deviance.happens(Deed.REFUSES_ENTRY, now):
            raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        if selection.selector == buffer.BY_RANGE:
            if self._deviance.happens(Deed.REFUSES_RANGE, now):
                raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
            deed = Deed.REFUSES_DEVIATION if buffer.says_deviation(selection) else Deed.DEMANDS_DEVIATION
            if self._deviance.happens(deed, now):
                raise Refused(DataAccessResult.TYPE_UNMATCHED)

    def _get_list(self, get: xdlms.GetRequestList, now: int) -> bytes:
        parts = [axdr.encode_length(len(get.items))]
        device = self._device(now)
        for attribute, selection in get.items:
            try:
                parts.append(b"\x00" + objects.read(device, attribute, selection))
            except Refused as refused:
                parts.append(bytes((1, refused.result)))
        results = b"".join(parts)
        head = bytes((xdlms.GET_RESPONSE, WITH_LIST, get.invoke_id))
        return self._whole_or_blocks(head + results, results, get.invoke_id, now)

    def _whole_or_blocks(self, whole: bytes, raw: bytes, invoke_id: int, now: int) -> bytes:
        """Give an answer whole where it fits the client, else the first block of ``raw``."""
        self._left = b""
        if len(whole) <= self.room:
            return whole
        if len(whole) > self.largest and self._deviance.happens(Deed.OVERSIZED_ANSWER, now):
            return whole
        self._left, self._block, self._endless = raw, 0, False
        return self._get_block(invoke_id, now)

    def _next_block(self, following: xdlms.GetRequestNext, now: int) -> bytes:
        if refusal := self._refused_block(following.block_number):
            block = xdlms.GetResponseBlock(following.invoke_id, True, self._block, None, refusal)  # noqa: FBT003
            return block.encode()
        return self._get_block(following.invoke_id, now)

    def _refused_block(self, number: int) -> int:
        """Say why the block after ``number`` is not given, 0 where it is."""
        if not self._left and not self._endless:
            return DataAccessResult.NO_LONG_GET_IN_PROGRESS
        if number == self._block:
            return 0
        self._left, self._endless = b"", False
        return DataAccessResult.DATA_BLOCK_NUMBER_INVALID

    def _get_block(self, invoke_id: int, now: int) -> bytes:
        block = self._cut(now)
        return xdlms.GetResponseBlock(invoke_id, block.is_last, block.number, block.raw).encode()

    def _cut(self, now: int) -> DataBlock:
        size = max(MIN_BLOCK, self.room - BLOCK_OVERHEAD)
        raw, self._left = self._left[:size], self._left[size:]
        self._block += 1
        number, is_last = self._block, not self._left
        if not is_last and self._deviance.happens(Deed.CUT_BLOCKS, now):
            is_last, self._left = True, b""
        elif is_last and (self._endless or self._deviance.happens(Deed.ENDLESS_BLOCKS, now)):
            is_last, self._endless = False, True
        if number > 1 and self._deviance.happens(Deed.REPEATED_BLOCK, now):
            number -= 1
        if self._deviance.happens(Deed.SKIPPED_BLOCK, now):
            number += 1
        return DataBlock(is_last=is_last, number=number, raw=raw)

    # -- SET

    def _set(self, request: writing.SetRequests, now: int) -> bytes:
        invoke_id = request.invoke_id
        match request:
            case writing.SetRequest(_, attribute, data, selection):
                return writing.SetResponse(invoke_id, self._write((attribute, selection), data, now)).encode()
            case setlist.SetRequestList(_, items, values):
                results = tuple(self._write(*pair, now) for pair in zip(items, values, strict=True))
                return setlist.SetResponseList(invoke_id, results).encode()
            case writing.SetRequestFirstBlock(_, attribute, is_last, number, raw, selection):
                self._incoming = _Incoming(True, False, [(attribute, selection)])  # noqa: FBT003
                block = DataBlock(is_last=is_last, number=number, raw=raw)
            case setlist.SetRequestListFirstBlock(_, items, block):
                self._incoming = _Incoming(True, True, items)  # noqa: FBT003
            case writing.SetRequestBlock(_, is_last, number, raw):
                block = DataBlock(is_last=is_last, number=number, raw=raw)
        incoming = self._incoming
        if incoming is None or not incoming.is_set:
            why = DataAccessResult.NO_LONG_SET_IN_PROGRESS
            return writing.SetResponseLastBlock(invoke_id, why, block.number).encode()
        if refusal := self._take(incoming, block):
            return writing.SetResponseLastBlock(invoke_id, refusal, block.number).encode()
        if not block.is_last:
            return writing.SetResponseBlock(invoke_id, block.number).encode()
        return self._set_whole(incoming, invoke_id, block.number, now)

    def _set_whole(self, incoming: _Incoming, invoke_id: int, number: int, now: int) -> bytes:
        self._incoming = None
        octets = bytes(incoming.octets)
        try:
            values = setlist.decode_values(octets) if incoming.is_list else (axdr.decode(octets),)
            results = tuple(self._write(*pair, now) for pair in zip(incoming.targets, values, strict=True))
        except (DriverError, ValueError):
            return writing.SetResponseLastBlock(invoke_id, DataAccessResult.LONG_SET_ABORTED, number).encode()
        if incoming.is_list:
            return setlist.SetResponseLastBlockList(invoke_id, results, number).encode()
        return writing.SetResponseLastBlock(invoke_id, results[0], number).encode()

    def _write(self, target: Target, data: Data, now: int) -> int:
        attribute, selection = target
        try:
            objects.write(self._device(now), attribute, data, selection)
        except Refused as refused:
            return refused.result
        return DataAccessResult.SUCCESS

    def _take(self, incoming: _Incoming, block: DataBlock) -> int:
        """Keep a block; say why not, 0 where it is kept."""
        if block.number != incoming.number + 1 or len(incoming.octets) + len(block.raw) > MAX_INCOMING:
            self._incoming = None
            return DataAccessResult.DATA_BLOCK_NUMBER_INVALID
        incoming.number = block.number
        incoming.octets += block.raw
        return 0

    # -- ACTION

    def _act(self, request: acting.ActionRequests, now: int) -> bytes:
        invoke_id = request.invoke_id
        match request:
            case acting.ActionRequest(_, method, parameters):
                done = self._invoke(method, parameters, now)
                return acting.ActionResponse(invoke_id, done.result, done.data).encode()
            case acting.ActionRequestList(_, methods, parameters):
                return self._act_list(invoke_id, methods, parameters, now)
            case acting.ActionRequestNext(_, number):
                if why := self._refused_block(number):
                    return acting.ActionResponse(invoke_id, why).encode()
                return acting.ActionResponseBlock(invoke_id, self._cut(now)).encode()
            case acting.ActionRequestFirstBlock(_, method, block):
                self._incoming = _Incoming(False, False, [(method, None)])  # noqa: FBT003
            case acting.ActionRequestListFirstBlock(_, methods, block):
                self._incoming = _Incoming(False, True, [(method, None) for method in methods])  # noqa: FBT003
            case acting.ActionRequestBlock(_, block):
                pass
        incoming = self._incoming
        if incoming is None or incoming.is_set:
            return acting.ActionResponse(invoke_id, DataAccessResult.OTHER_REASON).encode()
        if why := self._take(incoming, block):
            return acting.ActionResponse(invoke_id, why).encode()
        if not block.is_last:
            return acting.ActionResponseNext(invoke_id, block.number).encode()
        self._incoming = None
        octets = bytes(incoming.octets)
        try:
            values = setlist.decode_values(octets) if incoming.is_list else (axdr.decode(octets),)
        except DriverError:
            return acting.ActionResponse(invoke_id, DataAccessResult.TYPE_UNMATCHED).encode()
        if incoming.is_list:
            return self._act_list(invoke_id, [method for method, _ in incoming.targets], values, now)
        done = self._invoke(incoming.targets[0][0], values[0], now)
        return acting.ActionResponse(invoke_id, done.result, done.data).encode()

    def _act_list(self, invoke_id: int, methods: Sequence[Attribute], values: Sequence[Data], now: int) -> bytes:
        if len(methods) != len(values):
            return acting.ActionResponse(invoke_id, DataAccessResult.TYPE_UNMATCHED).encode()
        results = [self._invoke(method, value, now) for method, value in zip(methods, values, strict=True)]
        whole = acting.ActionResponseList(invoke_id, tuple(results)).encode()
        if len(whole) <= self.room:
            return whole
        self._left, self._block, self._endless = acting.encode_action_results(results), 0, False
        return acting.ActionResponseBlock(invoke_id, self._cut(now)).encode()

    def _invoke(self, method: Attribute, parameters: Data | None, now: int) -> acting.ActionResult:
        try:
            return acting.ActionResult(0, objects.invoke(self._device(now), method, parameters))
        except Refused as refused:
            return acting.ActionResult(refused.result)
        except RemoteProtocolError:  # a parameter of another type than the method takes
            return acting.ActionResult(DataAccessResult.TYPE_UNMATCHED)
