"""An independent reader: the DLMS client of gurux-dlms 1.0.203, as a process of its own.

    python tests/peers/gurux_reader.py --port 4059 --framing hdlc --server 1/17 --authentication none

reads logical device name, clock, the energy register and the load profile from a meter on the loopback, by range where ``--from`` and
``--to`` are given or by entry where ``--entries`` is, and prints them as one line of JSON; with ``--objects`` its object list instead, with
``--changes`` what comes of setting its clock and switching its supply off and on. gurux-dlms is GPL-2.0-only: it is imported here alone, never
by what ships.
"""

import argparse
import contextlib
import datetime as dt
import io
import json
import socket
import sys

from gurux_dlms import GXByteBuffer, GXDateTime, GXReplyData
from gurux_dlms.enums import Authentication, Command, InterfaceType, Security
from gurux_dlms.objects import GXDLMSClock, GXDLMSData, GXDLMSDisconnectControl, GXDLMSProfileGeneric, GXDLMSRegister
from gurux_dlms.secure import GXDLMSSecureClient

AUTHENTICATIONS = {"none": Authentication.NONE, "lls": Authentication.LOW, "hls5": Authentication.HIGH_GMAC}
UTC = dt.UTC


class Reader:
    """A connection and gurux's client on it."""

    def __init__(self, client, port):
        self.client = client
        self.names = {}  # short names by class and logical name, where the meter has such
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)

    def exchange(self, frame, reply):
        """Send one frame and collect what answers it, block after block."""
        self.send(frame, reply)
        while reply.isMoreData():
            if not self.client.useLogicalNameReferencing:
                self.client.settings.command = Command.READ_REQUEST  # 1.0.203 notes what it asks for GET and SET alone
            # The generated request for the next frame or block; empty while gurux only wants more bytes.
            following = self.client.receiverReady(reply) if not reply.isStreaming() else None
            self.send(following, reply)

    def send(self, frame, reply):
        if not frame:
            return
        self.socket.sendall(bytes(frame))
        received = GXByteBuffer()
        notify = GXReplyData()
        while not self.client.getData(received, reply, notify):
            octets = self.socket.recv(4096)
            if not octets:
                raise SystemExit("the meter hung up")
            received.set(octets)
        if reply.error:
            raise SystemExit(f"the meter refuses: {reply.error}")

    def ask(self, frames):
        reply = GXReplyData()
        for frame in frames if isinstance(frames, list) else [frames]:
            if frame:
                reply.clear()
                self.exchange(frame, reply)
        return reply

    def open(self):
        if (frame := self.client.snrmRequest()) is not None and len(frame):
            self.client.parseUAResponse(self.ask(frame).data)
        self.client.parseAareResponse(self.ask(self.client.aarqRequest()).data)
        if self.client.authentication > Authentication.LOW:
            answer = self.ask(self.client.getApplicationAssociationRequest())
            self.client.parseApplicationAssociationResponse(answer.data)

    def learn(self):
        """Read the object list for its short names."""
        reply = self.ask(self.client.getObjectsRequest())
        for item in self.client.parseObjects(reply.data, onlyKnownObjects=False, ignoreInactiveObjects=False):
            self.names[int(item.objectType), item.logicalName] = item.shortName

    def item(self, kind, name):
        """Make an object that can be asked for."""
        made = kind(name)
        made.shortName = self.names.get((int(made.objectType), name), 0)
        return made

    def read(self, item, attribute):
        reply = self.ask(self.client.read(item, attribute))
        return self.client.updateValue(item, attribute, reply.value)


# Called as a method by 1.0.203 where an answer comes in blocks, there only as an attribute.
GXReplyData.setTotalCount = lambda self, value: setattr(self, "totalCount", value)
GXReplyData.getMoreData = lambda self: self.moreData


def build(arguments):
    logical, _, physical = arguments.server.partition("/")
    server = GXDLMSSecureClient.getServerAddress(int(logical), int(physical)) if physical else int(logical)
    client = GXDLMSSecureClient(
        useLogicalNameReferencing=arguments.referencing == "logical-name",
        clientAddress=16,
        serverAddress=server,
        forAuthentication=AUTHENTICATIONS[arguments.authentication],
        password=arguments.password or None,
        interfaceType=InterfaceType.HDLC if arguments.framing == "hdlc" else InterfaceType.WRAPPER,
    )
    if arguments.authentication == "hls5":
        client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        client.ciphering.systemTitle = bytes.fromhex("4752580000000001")
        client.ciphering.blockCipherKey = bytes.fromhex(arguments.encryption_key)
        client.ciphering.authenticationKey = bytes.fromhex(arguments.authentication_key)
    return client


def told(reader, arguments):
    name = reader.read(reader.item(GXDLMSData, "0.0.42.0.0.255"), 2)
    clock = reader.item(GXDLMSClock, "0.0.1.0.0.255")
    reader.read(clock, 2)
    register = reader.item(GXDLMSRegister, "1.0.1.8.0.255")
    reader.read(register, 3)
    profile = reader.item(GXDLMSProfileGeneric, "1.0.99.1.0.255")
    reader.read(profile, 3)
    if arguments.first:
        span = [dt.datetime.fromtimestamp(instant, UTC) for instant in (arguments.first, arguments.last)]
        reply = reader.ask(reader.client.readRowsByRange(profile, *span))
        reader.client.updateValue(profile, 2, reply.value)
    elif arguments.entries:
        first, last = map(int, arguments.entries.split(","))
        reply = reader.ask(reader.client.readRowsByEntry(profile, first, last - first + 1))
        reader.client.updateValue(profile, 2, reply.value)
    else:
        reader.read(profile, 2)
    return {
        "name": bytes(name).decode() if not isinstance(name, str) else name,
        "clock": int(clock.time.value.timestamp()),
        "register": int(reader.read(register, 2)),
        "unit": int(register.unit),
        "rows": [[int(row[0].value.timestamp()), int(row[1])] for row in profile.buffer],
    }


def listed(reader):
    """Give what gurux makes of the object list: class, logical name, and access to each attribute."""
    reply = reader.ask(reader.client.getObjectsRequest())
    return [
        {
            "class": int(item.objectType),
            "name": item.logicalName,
            "access": [int(item.getAccess(1 + index)) for index in range(item.getAttributeCount())],
        }
        for item in reader.client.parseObjects(reply.data, onlyKnownObjects=False, ignoreInactiveObjects=False)
    ]


def changed(reader, instant):
    """Set the clock; switch off and on. Tell what the meter says after each."""
    clock = reader.item(GXDLMSClock, "0.0.1.0.0.255")
    clock.time = GXDateTime(dt.datetime.fromtimestamp(instant, UTC))
    reader.ask(reader.client.write(clock, 2))
    clock.time = None
    reader.read(clock, 2)
    switch = reader.item(GXDLMSDisconnectControl, "0.0.96.3.10.255")
    outputs = []
    for act in (switch.remoteDisconnect, switch.remoteReconnect):
        reader.ask(act(reader.client))
        outputs.append(bool(reader.read(switch, 2)))
    return {"clock": int(clock.time.value.timestamp()), "outputs": outputs}


def every(reader):
    """Read value and scaler of each register that the object list names."""
    reader.client.parseObjects(
        reader.ask(reader.client.getObjectsRequest()).data, onlyKnownObjects=True, ignoreInactiveObjects=False
    )
    found = []
    for item in reader.client.objects:
        if isinstance(item, GXDLMSRegister):
            reader.read(item, 3)
            reader.read(item, 2)
            found.append([item.logicalName, round(item.value / item.scaler), int(item.unit)])
    return found


def several(reader):
    """Read three values with one GET-with-list."""
    items = [(reader.item(GXDLMSRegister, f"1.0.{code}.255"), 2) for code in ("1.8.0", "32.7.0", "31.7.0")]
    values = []
    for frames in reader.client.readList(items):
        values += reader.ask(frames).value
    return [int(value) for value in values]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--framing", choices=("wrapper", "hdlc"), default="wrapper")
    parser.add_argument("--server", default="1")
    parser.add_argument("--authentication", choices=tuple(AUTHENTICATIONS), default="none")
    parser.add_argument("--referencing", choices=("logical-name", "short-name"), default="logical-name")
    parser.add_argument("--password", default="")
    parser.add_argument("--encryption-key", default="")
    parser.add_argument("--authentication-key", default="")
    parser.add_argument("--from", dest="first", type=int, default=0, help="[s UTC]")
    parser.add_argument("--to", dest="last", type=int, default=0, help="[s UTC]")
    parser.add_argument("--entries", default="", help="FIRST,LAST row, from 1")
    parser.add_argument("--changes", type=int, default=0, help="set the clock to this [s UTC], and switch off and on")
    parser.add_argument(
        "--objects", action="store_true", help="read the object list, and three registers with one request"
    )
    arguments = parser.parse_args()
    noise = io.StringIO()
    with contextlib.redirect_stdout(noise):  # it prints "Encryption is applied." for each ciphered APDU
        reader = Reader(build(arguments), arguments.port)
        reader.open()
        if arguments.referencing == "short-name":
            reader.learn()
        if arguments.objects:
            answer = {"objects": listed(reader), "several": several(reader), "registers": every(reader)}
        elif arguments.changes:
            answer = changed(reader, arguments.changes)
        else:
            answer = told(reader, arguments)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
