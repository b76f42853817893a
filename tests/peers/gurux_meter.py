# ruff: noqa: ARG002, FBT003, N802, N803, N815, T201 - names and shapes are those of the library; it is a script
"""An independent meter: the DLMS server of gurux-dlms 1.0.203, as a process of its own.

    python tests/peers/gurux_meter.py --framing wrapper --authentication hls5 --first-day 2026-01-01 --values 100,120,95

prints one JSON line with the port it listens on (loopback) and all that a client must know, then serves until it is killed or
its standard input closes. gurux-dlms is GPL-2.0-only: it is imported here alone, never by what ships.

All octets on the wire are gurux's: framing, association, ciphering, encoding. What 1.0.203 cannot do unaided is mended at
the end of this file, each mend with its reason; row selection is ours, because gurux's compares rows with the wrong type.
"""

import argparse
import contextlib
import datetime as dt
import io
import json
import socket
import sys
import threading

from gurux_dlms import GXByteBuffer, GXDateTime, GXDLMSSettings, GXServerReply, ValueEventArgs
from gurux_dlms._GXAPDU import _GXAPDU
from gurux_dlms.AesGcmParameter import AesGcmParameter
from gurux_dlms.ConnectionState import ConnectionState
from gurux_dlms.enums import (
    AccessMode,
    Authentication,
    Command,
    DataType,
    ErrorCode,
    InterfaceType,
    MethodAccessMode,
    ObjectType,
    RequestTypes,
    SourceDiagnostic,
)  # fmt: skip
from gurux_dlms.GXCiphering import GXCiphering
from gurux_dlms.GXDLMS import GXDLMS
from gurux_dlms.GXDLMSLNCommandHandler import GXDLMSLNCommandHandler
from gurux_dlms.GXDLMSLNParameters import GXDLMSLNParameters
from gurux_dlms.GXDLMSLongTransaction import GXDLMSLongTransaction
from gurux_dlms.GXSecure import GXSecure
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.internal._GXDataInfo import _GXDataInfo
from gurux_dlms.objects import (
    GXDLMSAssociationLogicalName,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDisconnectControl,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)  # fmt: skip
from gurux_dlms.objects.enums import ControlMode, ControlState
from gurux_dlms.objects.enums.AssociationStatus import AssociationStatus
from gurux_dlms.secure import GXDLMSSecureServer
from gurux_objects import more

LOGICAL_DEVICE_NAME = "GRX0000000000042"
FIRMWARE = "1.0.203"
SERVER_TITLE = b"GRX\x00\x00\x00\x00\x2a"
CLIENT_TITLE = b"HDE\x00\x00\x00\x00\x01"
PASSWORD = b"12345678"
ENCRYPTION_KEY = bytes(range(16))
AUTHENTICATION_KEY = bytes(range(0xD0, 0xE0))
REGISTER = "1.0.1.8.0.255"
DENIED = "1.0.2.8.0.255"
INTERVALS = "1.0.1.29.0.255"
LOAD_PROFILE = "1.0.99.1.0.255"
PROFILE_STATUS = "0.0.96.10.1.255"
SWITCH = "0.0.96.3.10.255"
UNIT_WATT_HOUR, UNIT_VOLT = 30, 35
AUTHENTICATIONS = {"none": Authentication.NONE, "lls": Authentication.LOW, "hls5": Authentication.HIGH_GMAC}
AUTHENTICATIONS |= {
    "hls3": Authentication.HIGH_MD5,
    "hls4": Authentication.HIGH_SHA1,
    "hls6": Authentication.HIGH_SHA256,
}
LARGEST_HEAD = 40  # [octet] of an answer around its data, ciphered
UTC = dt.UTC
# What the meter's own invocation counter goes on from, also when it is started again: seconds since 2020.
COUNTER = [int(dt.datetime.now(UTC).timestamp()) - 1_577_836_800]


class Profile(GXDLMSProfileGeneric):
    """Load profile whose rows are selected here and encoded by gurux. ``takes``: kinds of selection it does not refuse."""

    takes = frozenset({"range", "entry", "none"})

    def getValue(self, settings, e):
        if e.index != 2:
            return super().getValue(settings, e)
        way = {0: "none", 1: "range", 2: "entry"}.get(e.selector)
        e.byteArray = True
        if way not in self.takes:
            e.error = ErrorCode.READ_WRITE_DENIED
            return bytearray()
        rows = self.buffer
        if way == "range":
            first, last = (self.instant(settings, e.parameters[at]) for at in (1, 2))
            rows = [row for row in rows if first <= row[0].value.timestamp() <= last]
        elif way == "entry":
            rows = rows[max(1, e.parameters[0]) - 1 : e.parameters[1] or None]
        return self.getData(settings, e, rows, None)

    @staticmethod
    def instant(settings, octets):
        info = _GXDataInfo()
        info.type_ = DataType.DATETIME
        return _GXCommon.getData(settings, GXByteBuffer(octets), info).value.timestamp()


class Association(GXDLMSAssociationLogicalName):
    """HLS pass 3 and 4, computed by gurux's own functions."""

    def invoke(self, settings, e):
        if e.index != 1 or settings.authentication <= Authentication.HIGH:
            e.error = ErrorCode.READ_WRITE_DENIED
            return None
        token = bytes(e.parameters)
        counter = int.from_bytes(token[1:5], "big")
        cipher = settings.cipher
        ours, theirs = settings.stoCChallenge, settings.getCtoSChallenge()
        wanted = GXSecure.secure(
            settings,
            cipher,
            counter,
            ours,
            secret_of(settings, settings.sourceSystemTitle, cipher.systemTitle, ours, theirs),
        )
        if bytes(wanted) != token:
            self.associationStatus = AssociationStatus.NON_ASSOCIATED
            e.error = ErrorCode.READ_WRITE_DENIED
            return None
        self.associationStatus = AssociationStatus.ASSOCIATED
        answer = GXSecure.secure(
            settings, cipher, cipher.invocationCounter, theirs,
            secret_of(settings, cipher.systemTitle, settings.sourceSystemTitle, theirs, ours),
        )  # fmt: skip
        cipher.invocationCounter += 1
        return bytearray(answer)


class Switch(GXDLMSDisconnectControl):
    """Disconnect control that is worked by its methods; gurux's leaves that to the meter."""

    def invoke(self, settings, e):
        if e.index not in (1, 2):
            e.error = ErrorCode.READ_WRITE_DENIED
            return
        self.outputState = e.index == 2
        self.controlState = ControlState.CONNECTED if self.outputState else ControlState.DISCONNECTED
        return


def secret_of(settings, prover, verifier, answered, own):
    """Give what gurux's client would hand to `GXSecure.secure`."""
    if settings.authentication == Authentication.HIGH_GMAC:
        return bytes(prover)
    if settings.authentication == Authentication.HIGH_SHA256:
        return PASSWORD + bytes(prover) + bytes(verifier) + bytes(answered) + bytes(own)
    return PASSWORD


class Meter(GXDLMSSecureServer):
    """The server, with the call-backs it wants."""

    def __init__(self, framing, authentication, max_pdu):
        super().__init__(True, InterfaceType.HDLC if framing == "hdlc" else InterfaceType.WRAPPER)
        self.wanted = AUTHENTICATIONS[authentication]
        self.settings.maxServerPDUSize = max_pdu
        self.settings.gbtWndowSize = 1  # so spelled where it is read
        # 1.0.203 stores it under a name that nothing else reads.
        cipher = self.settings.cipher = self.settings.ciphering
        cipher.systemTitle = SERVER_TITLE
        cipher.blockCipherKey = ENCRYPTION_KEY
        cipher.authenticationKey = AUTHENTICATION_KEY

    def isTarget(self, serverAddress, clientAddress):
        return True

    def onValidateAuthentication(self, authentication, password):
        if authentication != self.wanted:
            return SourceDiagnostic.AUTHENTICATION_REQUIRED
        if authentication == Authentication.LOW and bytes(password) != PASSWORD:
            return SourceDiagnostic.AUTHENTICATION_FAILURE
        return SourceDiagnostic.NONE

    def onFindObject(self, objectType, sn, ln):
        return None

    def onGetAttributeAccess(self, arg):
        if arg.target.logicalName == DENIED:
            return AccessMode.NO_ACCESS
        is_writable = (arg.target.objectType, arg.index) in {(ObjectType.CLOCK, 2), (ObjectType.DISCONNECT_CONTROL, 4)}
        return AccessMode.READ_WRITE if is_writable else AccessMode.READ

    def onGetMethodAccess(self, arg):
        return MethodAccessMode.ACCESS

    def nothing(self, *args):
        """Do nothing when told of something."""

    onPreGet = onPostGet = onPreRead = onPostRead = onPreWrite = onPostWrite = nothing
    onConnected = onInvalidConnection = onDisconnected = onPreAction = onPostAction = nothing
    # Called by 1.0.203 under names that its server does not have.
    notifyRead = notifyConnected = nothing

    def handleSnrmRequest(self, data):
        """Answer with what was offered; 1.0.203 reads attributes that its HDLC settings lack."""
        negotiated = self.settings.hdlc
        GXDLMS.parseSnrmUaResponse(data, negotiated)
        self.reset(True)
        fields = GXByteBuffer()
        for code, value in ((5, negotiated.maxInfoTX), (6, negotiated.maxInfoRX), (7, 1), (8, 1)):
            fields.setUInt8(code)
            GXDLMS.appendHdlcParameter(fields, value)
        self.replyData.set(bytes((0x81, 0x80, len(fields))))
        self.replyData.set(fields)
        self.settings.connected = ConnectionState.HDLC

    def handleReleaseRequest(self, data):
        """Answer with a plain RLRE; the one of 1.0.203 has a wrong length, and no LLC header on HDLC."""
        if self.settings.interfaceType == InterfaceType.HDLC:
            self.replyData.set(b"\xe6\xe7\x00")
        self.replyData.set(b"\x63\x03\x80\x01\x00")

    def generateDisconnectRequest(self):
        """Answer DISC with UA without parameters, for the same reason."""

    def setTransaction(self, value):
        self.transaction = value

    def getTransaction(self):
        return self.transaction


def build(arguments):
    meter = Meter(arguments.framing, arguments.authentication, arguments.max_pdu)
    first = dt.datetime.fromisoformat(arguments.first_day).replace(tzinfo=UTC)
    name = GXDLMSData("0.0.42.0.0.255")
    name.value = bytearray(arguments.name.encode())
    name.setDataType(2, DataType.OCTET_STRING)
    firmware = GXDLMSData("1.0.0.2.0.255")
    firmware.value = bytearray(FIRMWARE.encode())
    firmware.setDataType(2, DataType.OCTET_STRING)
    clock = GXDLMSClock("0.0.1.0.0.255")
    clock.time = GXDateTime(dt.datetime.now(UTC))
    register = GXDLMSRegister(REGISTER)
    register.scaler, register.unit = 10, UNIT_WATT_HOUR
    register.value = arguments.register + sum(arguments.values)
    register.setDataType(2, DataType.UINT32)
    column = GXDLMSRegister(INTERVALS)
    column.scaler, column.unit = 10, UNIT_WATT_HOUR
    column.setDataType(2, DataType.UINT32)
    column.value = arguments.values[-1]
    profile = Profile(LOAD_PROFILE)
    profile.takes = frozenset(arguments.selective_access.split(","))
    profile.addCaptureObject(clock, 2, 0)
    profile.addCaptureObject(column, 2, 0)
    profile.addCaptureObject(register, 2, 0)
    status = GXDLMSData(PROFILE_STATUS)
    status.value = 0
    status.setDataType(2, DataType.UINT8)
    if arguments.status:
        profile.addCaptureObject(status, 2, 0)
    profile.capturePeriod = arguments.period
    running = arguments.register
    for index, value in enumerate(arguments.values):
        running += value
        stamp = GXDateTime(first + dt.timedelta(seconds=(index + 1) * arguments.period))
        profile.buffer.append([stamp, value, running, *arguments.status[index : index + 1]])
    profile.entriesInUse = profile.profileEntries = len(profile.buffer)
    association = Association("0.0.40.0.0.255")
    voltage = GXDLMSRegister("1.0.32.7.0.255")
    voltage.scaler, voltage.unit, voltage.value = 0.1, UNIT_VOLT, 2304
    voltage.setDataType(2, DataType.UINT16)
    switch = Switch(SWITCH)
    switch.outputState, switch.controlState, switch.controlMode = True, ControlState.CONNECTED, ControlMode.MODE_4
    for item in (
        name,
        firmware,
        clock,
        register,
        GXDLMSRegister(DENIED),
        voltage,
        column,
        profile,
        switch,
        *(more() if arguments.objects == "all" else ()),
        association,
    ):
        meter.items.append(item)
        association.objectList.append(item)  # left empty, 1.0.203 would append a list to it and fail
    meter.initialize()
    return meter


def serve(arguments):
    listener = socket.create_server(("127.0.0.1", arguments.port))
    known = {
        "port": listener.getsockname()[1], "framing": arguments.framing, "authentication": arguments.authentication,
        "name": arguments.name, "firmware": FIRMWARE, "client_title": CLIENT_TITLE.hex(),
        "server_title": SERVER_TITLE.hex(), "password": PASSWORD.decode(), "encryption_key": ENCRYPTION_KEY.hex(),
        "authentication_key": AUTHENTICATION_KEY.hex(), "register": arguments.register + sum(arguments.values),
        "period": arguments.period, "first_day": arguments.first_day, "values": arguments.values,
    }  # fmt: skip
    print(json.dumps(known), flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            converse(build(arguments), connection, arguments)


def converse(meter, connection, arguments):
    while True:
        try:
            data = connection.recv(4096)
        except OSError:
            return
        if not data:
            return
        # gurux handles one byte stream only when each call brings a whole frame or a part of one.
        request = GXServerReply(bytearray(data))
        noise = io.StringIO()
        with contextlib.redirect_stdout(noise):  # it prints "Encryption is applied." for each ciphered APDU
            meter.handleRequest(request)
        if arguments.verbose:
            print("<", data.hex(), ">", bytes(request.reply or b"").hex(), noise.getvalue(), file=sys.stderr)
        COUNTER[0] = max(COUNTER[0], meter.settings.cipher.invocationCounter + 1)
        if request.reply:
            connection.sendall(bytes(request.reply))


# -- Mends of gurux-dlms 1.0.203, without which its server answers nothing:


def generate_aare(settings, data, result, diagnostic, cipher, error, _encrypted):
    """Build AARE: 1.0.203 writes wrong lengths around system title and challenge, and forgets to count up after it."""
    is_ciphered = bool(cipher) and (settings.authentication == Authentication.HIGH_GMAC or cipher.isCiphered())
    context = 3 if is_ciphered else 1
    parts = [bytes.fromhex("a109060760857405 0801") + bytes((context,)), bytes((0xA2, 3, 2, 1, int(result)))]
    parts.append(bytes((0xA3, 5, 0xA1, 3, 2, 1, int(diagnostic))))
    if is_ciphered or settings.authentication == Authentication.HIGH_SHA256:
        parts.append(bytes((0xA4, 10, 4, 8)) + bytes(cipher.systemTitle))
    if settings.authentication > Authentication.LOW:
        challenge = bytes(settings.stoCChallenge)
        parts.append(bytes.fromhex("88020780 890760857405 0802") + bytes((int(settings.authentication),)))
        parts.append(bytes((0xAA, len(challenge) + 2, 0x80, len(challenge))) + challenge)
    if is_ciphered:
        cipher.invocationCounter = COUNTER[0]  # 1.0.203 begins at 0 in each association; a meter goes on
    inside = bytes(error.array() if error else _GXAPDU.getUserInformation(settings, cipher))
    if is_ciphered and not error:
        cipher.invocationCounter += 1
    parts.append(bytes((0xBE, len(inside) + 2, 4, len(inside))) + inside)
    content = b"".join(parts)
    data.set(bytes((0x61, len(content))) + content)


def open_request(settings, data):
    """Decipher a glo- request: 1.0.203 passes the system title where the tag belongs, and the keys one place too early."""
    data.data.position -= 1
    if data.moreData & RequestTypes.FRAME:
        return
    cipher = settings.cipher
    parameters = AesGcmParameter(0, settings.sourceSystemTitle, cipher.blockCipherKey, cipher.authenticationKey)
    plain = GXCiphering.decrypt(settings, parameters, data.data)
    data.data.clear()
    data.data.set(plain)
    data.command = Command(data.data.getUInt8())


def answer_list(settings, invoke_id, server, data, reply, _xml):
    """Answer GET-with-list: 1.0.203 writes an error where the choice belongs, gives what it should deny, and has no blocks."""
    results = GXByteBuffer()
    count = _GXCommon.getObjectCount(data)
    _GXCommon.setObjectCount(count, results)
    for _ in range(count):
        kind, name = ObjectType(data.getUInt16()), bytearray(6)
        data.get(name)
        index = data.getUInt8()
        data.getUInt8()  # no selective access
        target = settings.objects.findByLN(kind, _GXCommon.toLogicalName(name))
        e = ValueEventArgs(server, target, index, 0, None)
        if target is None or server.onGetAttributeAccess(e) == AccessMode.NO_ACCESS:
            results.setUInt8(1)
            results.setUInt8(ErrorCode.UNDEFINED_OBJECT if target is None else ErrorCode.READ_WRITE_DENIED)
            continue
        value = target.getValue(settings, e)
        results.setUInt8(0)
        if e.byteArray:
            results.set(value)
        else:
            GXDLMS.appendData(settings, target, index, results, value)
    settings.setCount(0)
    settings.setIndex(0)
    settings.resetBlockIndex()
    is_large = len(results) + LARGEST_HEAD > settings.maxPduSize
    kind, status = (1, 0) if is_large else (3, 0xFF)
    GXDLMS.getLNPdu(GXDLMSLNParameters(settings, invoke_id, Command.GET_RESPONSE, kind, None, results, status), reply)
    if len(results) != results.position:
        server.setTransaction(GXDLMSLongTransaction([], Command.GET_REQUEST, results))


GXDLMS.handleGloDedRequest = staticmethod(open_request)
GXDLMSLNCommandHandler.getRequestWithList = staticmethod(answer_list)
# Read under this name, set under another; the list is then given whole, and cut into blocks where all else is.
ValueEventArgs.isSkipMaxPduSize = True
_GXAPDU.generateAARE = staticmethod(generate_aare)
# Called as methods, there only as attributes.
GXServerReply.getConnectionInfo = lambda self: self.connectionInfo
GXServerReply.setReply = lambda self, value: setattr(self, "reply", value)
GXDLMSSettings.getMaxPduSize = lambda self: self.maxPduSize
GXDLMSSettings.setConnected = lambda self, value: setattr(self, "connected", value)
GXDLMSLongTransaction.setData = lambda self, value: setattr(self, "data", value)
GXDLMSAssociationLogicalName.getAssociationStatus = lambda self: self.associationStatus
# Called as a method where a SET is refused, there only as an attribute.
GXDLMSLNParameters.setStatus = lambda self, value: setattr(self, "status", value)
GXDLMSLNParameters.isMultipleBlocks = lambda self: self.multipleBlocks
# The handlers of SET and ACTION write list(e) where they mean [e].
ValueEventArgs.__iter__ = lambda self: iter((self,))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--framing", choices=("wrapper", "hdlc"), default="wrapper")
    parser.add_argument("--authentication", choices=tuple(AUTHENTICATIONS), default="none")
    parser.add_argument("--first-day", default="2026-01-01", help="UTC day in which the load profile begins")
    parser.add_argument("--period", type=int, default=1800, help="capture period [s]")
    parser.add_argument("--values", default=",".join(str(100 + step) for step in range(48)), help="counts of 10 Wh")
    parser.add_argument("--status", default="", help="AMR profile status of each value, in a column of its own")
    parser.add_argument(
        "--register", type=int, default=1_000_000, help="register before the first value, counts of 10 Wh"
    )
    parser.add_argument("--name", default=LOGICAL_DEVICE_NAME)
    parser.add_argument("--max-pdu", type=int, default=1024)
    parser.add_argument(
        "--selective-access", default="range,entry,none", help="ways of reading rows that are not refused"
    )
    parser.add_argument("--objects", choices=("few", "all"), default="few", help="all: one of each class besides")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    arguments.status = [int(word) for word in arguments.status.split(",")] if arguments.status else []
    arguments.values = [int(value) for value in arguments.values.split(",")]
    threading.Thread(target=serve, args=(arguments,), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
