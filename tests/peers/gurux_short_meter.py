# ruff: noqa: ARG001, ARG002, N802 - names and shapes are those of the library; it is a script
"""An independent meter that knows its objects by short names: the server of gurux-dlms 1.0.203, as a process of its own.

It takes the arguments of ``gurux_meter.py`` and prints the same. All octets on the wire are gurux's; what its handlers of READ
and WRITE cannot do unaided is mended here, each mend with its reason. gurux-dlms is GPL-2.0-only: it is imported by these
scripts alone, never by what ships.
"""

import gurux_meter
from gurux_dlms import GXByteBuffer, ValueEventArgs
from gurux_dlms._GXAPDU import _GXAPDU
from gurux_dlms.AesGcmParameter import AesGcmParameter
from gurux_dlms.ConnectionState import ConnectionState
from gurux_dlms.enums import AccessMode, Command, DataType, ErrorCode, ObjectType, Security
from gurux_dlms.GXCiphering import GXCiphering
from gurux_dlms.GXDLMS import GXDLMS
from gurux_dlms.GXDLMSSNCommandHandler import GXDLMSSNCommandHandler
from gurux_dlms.GXDLMSSNParameters import GXDLMSSNParameters
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.internal._GXDataInfo import _GXDataInfo
from gurux_dlms.objects import GXDLMSAssociationShortName
from gurux_dlms.objects.GXDLMSObject import GXDLMSObject

FIRST_NAME, STEP = 0x0100, 0x0100
SHORT = {1: 2, 3: 4}  # application contexts
REPLY_TO_HLS = 8
LLC = b"\xe6\xe7\x00"


class Transaction:
    """What 1.0.203 calls as a method in one place, takes for an attribute in another, and compares with None in a third."""

    inner = None

    def __call__(self):
        return self.inner

    def __bool__(self):
        return self.inner is not None

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Association(GXDLMSAssociationShortName):
    """The list of objects, encoded by gurux."""

    def getValue(self, settings, e):
        """Give an attribute; 1.0.203 refuses each of them after it has made it."""
        value = super().getValue(settings, e)
        e.error = ErrorCode.OK
        e.byteArray = e.index == 2
        return value

    def getObjects(self, settings, e):
        """Encode the list whole, it is cut where all else is; 1.0.203 calls an attribute here."""
        octets = GXByteBuffer()
        octets.setUInt8(DataType.ARRAY)
        _GXCommon.setObjectCount(len(self.objectList), octets)
        for item in self.objectList:
            octets.setUInt8(DataType.STRUCTURE)
            octets.setUInt8(4)
            name = item.shortName - 0x10000 if item.shortName > 0x7FFF else item.shortName
            _GXCommon.setData(settings, octets, DataType.INT16, name)
            _GXCommon.setData(settings, octets, DataType.UINT16, item.objectType)
            _GXCommon.setData(settings, octets, DataType.UINT8, 0)
            logical_name = _GXCommon.logicalNameToBytes(item.logicalName)
            _GXCommon.setData(settings, octets, DataType.OCTET_STRING, logical_name)
        return octets.array()

    def invoke(self, settings, e):
        """Take the client's proof and give our own, as the association of logical names does; 1.0.203 leaves the link unopened."""
        if e.index != REPLY_TO_HLS:
            e.error = ErrorCode.READ_WRITE_DENIED
            return None
        e.index = 1
        answer = gurux_meter.Association.invoke(self, settings, e)
        if e.error == ErrorCode.OK:
            settings.setConnected(settings.connected | ConnectionState.DLMS)
        return answer


class Meter(gurux_meter.Meter):
    """The server."""

    def __init__(self, framing, authentication, max_pdu):
        super().__init__(framing, authentication, max_pdu)
        self.useLogicalNameReferencing = False
        self._transaction = Transaction()

    @property
    def transaction(self):
        """What is left of a long answer."""
        return getattr(self, "_transaction", None)

    @transaction.setter
    def transaction(self, value):
        if hasattr(self, "_transaction"):
            self._transaction.inner = value

    def setTransaction(self, value):
        """Keep what is left of a long answer."""
        self.transaction = value

    def updateShortNames(self, force):
        """Leave the names as they are; 1.0.203 calls a setter that its objects lack."""

    def initialize(self):
        """Replace the association by one of short names, and name everything."""
        for item in list(self.items):
            if item.objectType == ObjectType.ASSOCIATION_LOGICAL_NAME:
                self.items.remove(item)
        association = Association()
        for place, item in enumerate(self.items):
            item.shortName = FIRST_NAME + place * STEP
            association.objectList.append(item)
        association.objectList.append(association)
        self.items.append(association)
        super().initialize()


class Found:
    """What a short name stands for."""

    def __init__(self, item=None, index=0, *, action=False):
        self.item, self.index, self.action = item, index, action

    def getItem(self):
        """Give the object; 1.0.203 asks for it in both ways."""
        return self.item


def find(server, settings, name):
    """Find what a short name stands for: 1.0.203 gives indices as floats."""
    for item in settings.objects:
        offset = name - item.shortName
        if 0 <= offset < item.getAttributeCount() * 8:
            return Found(item, offset // 8 + 1)
        first, count = [0], [0]
        GXDLMS.getActionInfo(item.objectType, first, count)
        if item.objectType == ObjectType.DISCONNECT_CONTROL:
            first, count = [0x20], [2]
        if 0 <= offset - first[0] < count[0] * 8:
            return Found(item, (offset - first[0]) // 8 + 1, action=True)
    return Found()


def read(settings, asked, data):
    """Collect results: 1.0.203 lets one that is refused make an error of the first."""
    choices = []
    for e in asked:
        value = None
        if e.error == ErrorCode.OK:
            value = e.target.invoke(settings, e) if e.action else e.target.getValue(settings, e)
        choices.append(0 if e.error == ErrorCode.OK else 1)
        if len(choices) > 1:
            data.setUInt8(choices[-1])
        if e.error != ErrorCode.OK:
            data.setUInt8(e.error)
        elif e.action:
            _GXCommon.setData(settings, data, _GXCommon.getDLMSDataType(value), value)
        else:
            GXDLMS.appendData(settings, e.target, e.index, data, value)
    return choices[0]


def write(settings, server, data, reply, _xml):
    """Answer WRITE of attributes and methods: 1.0.203 mistakes a method for a value, and ignores methods."""
    names = []
    for _ in range(_GXCommon.getObjectCount(data)):
        if data.getUInt8() == 7:
            take_block(settings, server, data, reply)
            return
        names.append(data.getUInt16())
    results = GXByteBuffer()
    for name, _ in zip(names, range(_GXCommon.getObjectCount(data)), strict=True):
        value = _GXCommon.getData(settings, data, _GXDataInfo())
        found = find(server, settings, name)
        e = ValueEventArgs(server, found.item, found.index, 0, None)
        e.value = e.parameters = value
        if found.item is None:
            e.error = ErrorCode.UNDEFINED_OBJECT
        elif found.action:
            found.item.invoke(settings, e)
        elif server.onGetAttributeAccess(e) != AccessMode.READ_WRITE:
            e.error = ErrorCode.READ_WRITE_DENIED
        else:
            found.item.setValue(settings, e)
        if e.error != ErrorCode.OK:
            results.setUInt8(1)
        results.setUInt8(e.error)
    GXDLMS.getSNPdu(GXDLMSSNParameters(settings, Command.WRITE_RESPONSE, len(names), 0xFF, None, results), reply)


def take_block(settings, server, data, reply):
    """Take a block of a WRITE: 1.0.203 writes its number where nothing reads it."""
    is_last, number = data.getUInt8(), data.getUInt16()
    data.getUInt8()
    data.getUInt8()
    piece = bytearray(_GXCommon.getObjectCount(data))
    data.get(piece)
    server.piecemeal = getattr(server, "piecemeal", b"") + bytes(piece)
    if is_last:
        whole, server.piecemeal = GXByteBuffer(server.piecemeal), b""
        write(settings, server, whole, reply, None)
        return
    results = GXByteBuffer()
    results.setUInt16(number)
    GXDLMS.getSNPdu(GXDLMSSNParameters(settings, Command.WRITE_RESPONSE, 1, 2, None, results), reply)


def cut(p, reply):
    """Cut an answer into blocks: 1.0.203 compares the octets before the data, where it means the data."""
    size = p.settings.maxPduSize - len(reply) - 6
    left = p.data.size - p.data.position
    reply.setUInt8(left <= size)
    reply.setUInt16(p.blockIndex)
    size = min(size, left)
    _GXCommon.setObjectCount(size, reply)
    return size


plain_pdu = GXDLMS.getSNPdu


def ciphered_pdu(p, reply):
    """Cipher an answer as one to GET is ciphered: 1.0.203 asserts that nothing came of it, and does not count up."""
    cipher = p.settings.cipher
    if not cipher.isCiphered():
        plain_pdu(p, reply)
        return
    security, largest = cipher.security, p.settings.maxPduSize
    cipher.security, p.settings.maxPduSize = Security.NONE, largest - gurux_meter.LARGEST_HEAD
    reply.clear()
    plain_pdu(p, reply)
    cipher.security, p.settings.maxPduSize = security, largest
    octets = bytes(reply.array())
    llc = octets[:3] if octets[:3] == LLC else b""
    tag = GXDLMS.getGloMessage(p.command)
    s = AesGcmParameter(tag, cipher.systemTitle, cipher.blockCipherKey, cipher.authenticationKey)
    s.security, s.invocationCounter = security, cipher.invocationCounter
    sealed = GXCiphering.encrypt(s, octets[len(llc) :])
    cipher.invocationCounter += 1
    reply.clear()
    reply.set(llc + bytes(sealed))


def generate_aare(settings, data, *arguments):
    """Build AARE with the context of short names, which the one for logical names has not."""
    plain = GXByteBuffer()
    gurux_meter.generate_aare(settings, plain, *arguments)
    octets = bytearray(plain.array())
    octets[12] = SHORT[octets[12]]
    data.set(octets)


gurux_meter.Meter = Meter
_GXAPDU.generateAARE = staticmethod(generate_aare)
GXDLMSSNCommandHandler.findSNObject = staticmethod(find)
GXDLMSSNCommandHandler.getReadData = staticmethod(read)
GXDLMSSNCommandHandler.handleWriteRequest = staticmethod(write)
GXDLMS.appendMultipleSNBlocks = staticmethod(cut)
GXDLMS.getSNPdu = staticmethod(ciphered_pdu)
GXDLMSObject.getShortName = lambda self: self.shortName
# Called by this name between blocks, there by another.
GXByteBuffer.strip = GXByteBuffer.trim

if __name__ == "__main__":
    gurux_meter.main()
