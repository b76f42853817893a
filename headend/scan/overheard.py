"""Who else speaks on a line, from what was heard unasked: questions of another master, or a meter that sends by itself."""

from typing import Final

from drivers.dlms.hdlc import Frame as HdlcFrame
from drivers.dlms.hdlc import FrameReader as HdlcReader
from drivers.dlms.hdlc import Kind as HdlcKind
from drivers.dlt645.control import decode_control
from drivers.dlt645.frame import NEED_DATA as NO_FRAME
from drivers.dlt645.frame import FrameReader
from drivers.errors import RemoteProtocolError
from drivers.modbus.pdu import NEED_DATA, Function
from drivers.modbus.rtu import RequestReader

SHORTEST: Final = 4  # octets heard unasked that are more than a disturbance
_READS: Final = frozenset((Function.READ_COILS, Function.READ_DISCRETE_INPUTS, Function.READ_HOLDING_REGISTERS, Function.READ_INPUT_REGISTERS))  # fmt: skip
_MAX_FRAMES: Final = 64


def asks(raw: bytes) -> str:
    """Say in words what another master asks in octets heard; empty where none does."""
    modbus = RequestReader()
    modbus.receive_data(raw)
    for _ in range(_MAX_FRAMES):
        request = modbus.next_event()
        if request is NEED_DATA:
            break
        if request.pdu[0] in _READS and len(request.pdu) == 5:
            return f"another master asks Modbus unit {request.unit}"
    dlt645 = FrameReader()
    dlt645.receive_data(raw)
    for _ in range(_MAX_FRAMES):
        try:
            frame = dlt645.next_event()
        except RemoteProtocolError:
            continue
        if frame is NO_FRAME:
            break
        if not decode_control(frame.control).from_meter:
            return f"another master asks DL/T 645 meter {frame.address}"
    return _hdlc(raw)


def _hdlc(raw: bytes) -> str:
    reader = HdlcReader()
    reader.receive_data(raw)
    for _ in range(_MAX_FRAMES):
        try:
            frame = reader.next_event()
        except RemoteProtocolError:
            continue
        if not isinstance(frame, HdlcFrame):
            break
        if frame.kind in {HdlcKind.SNRM, HdlcKind.DISC}:
            return f"another master asks DLMS server {frame.destination}"
        if frame.kind is HdlcKind.UI:
            return f"DLMS server {frame.source} sends unasked"
    return ""


def speaks(raw: bytes, octets: int) -> str:
    """Say in words what was heard while nothing was asked; empty for silence and for a disturbance.

    ``octets``: how many came, damaged ones too.
    """
    if octets < SHORTEST:
        return ""
    if told := asks(raw):
        return told
    if b"/" in raw and b"!" in raw and raw.isascii():
        return "a meter sends telegrams as text unasked"
    return f"somebody speaks unasked, {octets} octets that are no frame at this setting"
