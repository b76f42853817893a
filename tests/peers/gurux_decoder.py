"""An independent codec to be timed: gurux-dlms 1.0.203, as a process of its own.

    python tests/peers/gurux_decoder.py

takes one JSON object a line: first the octets and keys to work with, then ``{"work": NAME, "times": N}``; answers each with
the CPU time used [s] and what came out. gurux-dlms is GPL-2.0-only: it is imported here alone, never by what ships.
"""

import contextlib
import io
import itertools
import json
import sys
import time

from gurux_dlms import GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.GXSecure import GXSecure
from gurux_dlms.objects import GXDLMSClock, GXDLMSData, GXDLMSProfileGeneric, GXDLMSRegister
from gurux_dlms.secure import GXDLMSSecureClient

sys.path.insert(0, __file__.rsplit("/", 1)[0])

from gurux_reader import Reader


class Codec:
    """gurux's client without a line, and the work it is timed at. Each work returns what tells that it was done."""

    def __init__(self, known):
        self.known = known
        self.columns = []
        for class_id, name in known["columns"]:
            kind = {8: GXDLMSClock, 3: GXDLMSRegister, 1: GXDLMSData}[class_id]
            self.columns.append(kind(name))
        self.register = GXDLMSRegister(known["register"])
        self.reader = None
        self.plain = self.client()
        self.secure = self.client()
        self.protect(self.secure)
        self.responses = itertools.cycle([bytes.fromhex(frame) for frame in known["ciphered"]])

    def client(self):
        return GXDLMSSecureClient(
            useLogicalNameReferencing=True, clientAddress=self.known["client"], serverAddress=1,
            forAuthentication=Authentication.NONE, interfaceType=InterfaceType.WRAPPER,
        )  # fmt: skip

    def protect(self, client):
        client.authentication = Authentication.HIGH_GMAC
        cipher = client.ciphering
        cipher.security = Security.AUTHENTICATION_ENCRYPTION
        cipher.systemTitle = bytes.fromhex(self.known["client_title"])
        cipher.blockCipherKey = bytes.fromhex(self.known["encryption_key"])
        cipher.authenticationKey = bytes.fromhex(self.known["authentication_key"])
        client.settings.sourceSystemTitle = bytes.fromhex(self.known["server_title"])

    def profile(self):
        profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
        for column in self.columns:
            profile.addCaptureObject(column, 2, 0)
        return profile

    def rows(self, client, reply):
        """Make the rows comparable: stamps [s UTC] and numbers. Not timed."""
        profile = self.profile()
        client.updateValue(profile, 2, reply.value)
        return [[int(row[0].value.timestamp()), *map(int, row[1:])] for row in profile.buffer]

    def decode(self, client, frame):
        reply = GXReplyData()
        if not client.getData(frame, reply, GXReplyData()):
            raise SystemExit("gurux wants more octets")
        return reply

    def decode_plain(self):
        return self.decode(self.plain, bytes.fromhex(self.known["plain"]))

    def decode_ciphered(self):
        return self.decode(self.secure, next(self.responses))

    def encode_plain(self):
        self.plain.settings.invokeId = 1
        return bytes(self.plain.read(self.register, 2)[0])

    def encode_ciphered(self):
        self.secure.settings.invokeId = 1
        self.secure.ciphering.invocationCounter = self.known["counter"]
        return bytes(self.secure.read(self.register, 2)[0])

    def token(self):
        cipher = self.secure.ciphering
        challenge = bytes.fromhex(self.known["challenge"])
        return bytes(
            GXSecure.secure(self.secure.settings, cipher, self.known["counter"], challenge, cipher.systemTitle)
        )

    def session(self):
        """Associate, read the meter's counter and the whole load profile, release; on one connection."""
        client = self.client()
        self.protect(client)
        client.ciphering.systemTitle = bytes.fromhex(self.known["session_title"])
        client.ciphering.invocationCounter = self.known["next_counter"]
        self.reader = reader = self.reader or Reader(client, self.known["port"])
        reader.client = client
        reader.open()
        counter = reader.read(GXDLMSData("0.0.43.1.0.255"), 2)
        reply = reader.ask(client.read(self.profile(), 2))
        for frame in client.releaseRequest():
            reader.ask(frame)
        self.known["next_counter"] = client.ciphering.invocationCounter
        return counter, client, reply

    def told(self, work, outcome):
        if work.startswith("decode"):
            return self.rows(self.plain if work == "decode_plain" else self.secure, outcome)
        if work == "session":
            counter, client, reply = outcome
            return [int(counter), self.rows(client, reply)]
        return outcome.hex()


def main():
    codec = Codec(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        asked = json.loads(line)
        work = getattr(codec, asked["work"])
        with contextlib.redirect_stdout(io.StringIO()):  # it prints "Encryption is applied." for each ciphered APDU
            begin = time.process_time()
            for _ in range(asked["times"]):
                outcome = work()
            used = time.process_time() - begin
            answer = {"cpu": used / asked["times"], "outcome": codec.told(asked["work"], outcome)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
