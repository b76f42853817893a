"""Several DLMS meters behind one TCP port: by destination wPort (WRAPPER), or by HDLC server address on a transparent gateway."""

import random
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.dlms.events import NEED_DATA, Apdu, Connected, Disconnected
from drivers.dlms.hdlc import FrameReader, HdlcAddress
from drivers.dlms.link import HdlcLink
from drivers.dlms.wrapper import WrapperLink
from drivers.errors import RemoteProtocolError
from simulators import faults
from simulators.dlms.server import DlmsServer, DlmsSettings, Memory
from simulators.line import Answer
from simulators.meter import Meter, Position

NAME_FORMAT = "SIM{:013d}"
_WRAPPER_HEADER = struct.Struct(">HHHH")


@dataclass(frozen=True, slots=True)
class DlmsPlace:
    """A position and how the meters there are set up."""

    position: Position
    settings: DlmsSettings = field(default_factory=DlmsSettings)


class DlmsGateway:
    """The meters and what they remember, whoever is connected."""

    def __init__(self, places: Sequence[DlmsPlace], randomness: random.Random) -> None:
        self.places: Mapping[str, DlmsPlace] = {place.position.address: place for place in places}
        if len(self.places) != len(places):
            raise ValueError("addresses must be distinct")
        self.by_hdlc_address: Mapping[HdlcAddress, DlmsPlace] = {
            HdlcAddress.parse(address): place
            for address, place in self.places.items()
            if "/" in address or int(address) < 0x80  # what is larger is a wPort
        }
        self._random = randomness
        self._memories: dict[str, Memory] = {}

    def wrapper_conversation(self) -> "WrapperConversation":
        """Start a connection that speaks WRAPPER; addresses are wPorts."""
        return WrapperConversation(self)

    def hdlc_conversation(self) -> "HdlcConversation":
        """Start a connection that speaks HDLC; addresses are ``logical/physical``."""
        return HdlcConversation(self)

    def server(self, place: DlmsPlace, meter: Meter) -> DlmsServer:
        """Let a client begin to talk with the device at a place."""
        memory = self._memories.setdefault(meter.name, Memory())
        return DlmsServer(meter, place.settings, memory, self._random.randbytes)

    def answer(self, place: DlmsPlace, meter: Meter, data: bytes, now: int) -> Answer:
        """Send bytes as this meter does: after its latency, with its noise."""
        return Answer(place.settings.latency, faults.disturb(meter.faults, data, now, self._random))


class WrapperConversation:
    """One WRAPPER connection. A wPort nobody has, and a silent meter, say nothing."""

    def __init__(self, gateway: DlmsGateway) -> None:
        self._gateway = gateway
        self._buffer = bytearray()
        self._talks: dict[tuple[int, int, str], tuple[WrapperLink, DlmsServer]] = {}

    def receive(self, data: bytes, now: int) -> list[Answer]:
        """Hear bytes; answer each whole APDU. Raises `RemoteProtocolError` where the stream is not WRAPPER."""
        self._buffer += data
        answers = []
        while len(self._buffer) >= _WRAPPER_HEADER.size:
            version, source, destination, length = _WRAPPER_HEADER.unpack_from(self._buffer)
            if version != 1 or length == 0:
                raise RemoteProtocolError(f"wrapper version {version}, length {length}")
            end = _WRAPPER_HEADER.size + length
            if len(self._buffer) < end:
                break
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            if (answer := self._answer(source, destination, frame, now)) is not None:
                answers.append(answer)
        return answers

    def _answer(self, source: int, destination: int, frame: bytes, now: int) -> Answer | None:
        place = self._gateway.places.get(str(destination))
        if place is None or (meter := place.position.at(now)).is_silent(now):
            return None
        key = (source, destination, meter.name)
        if key not in self._talks:
            self._talks[key] = (WrapperLink(destination, source), self._gateway.server(place, meter))
        link, server = self._talks[key]
        link.receive_data(frame)
        event = link.next_event()
        if not isinstance(event, Apdu) or (response := server.receive(event.octets, now)) is None:
            return None
        octets = server.deviance.post(link.send(Apdu(response)), now, is_hdlc=False)
        return self._gateway.answer(place, meter, octets, now) if octets else None


class HdlcConversation:
    """One transparent connection. Who is not addressed by a frame says nothing, as on a line."""

    def __init__(self, gateway: DlmsGateway) -> None:
        self._gateway = gateway
        self._reader = FrameReader()
        self._links: dict[str, HdlcLink] = {}
        self._servers: dict[str, DlmsServer] = {}

    def receive(self, data: bytes, now: int) -> list[Answer]:
        """Hear bytes; give what the meters send."""
        heard: dict[str, bytes] = {}
        self._reader.receive_data(data)
        for _ in range(len(data) + 1):  # each turn takes at least one byte, or ends
            try:
                frame = self._reader.next_event()
            except RemoteProtocolError:
                continue  # a meter drops what is damaged
            if frame is NEED_DATA:
                break
            if (place := self._gateway.by_hdlc_address.get(frame.destination)) is not None:
                address = place.position.address
                heard[address] = heard.get(address, b"") + frame.encode()
        answers = []
        for address, frames in heard.items():
            place = self._gateway.places[address]
            meter = place.position.at(now)
            if not meter.is_silent(now) and (octets := self._hear(place, meter, frames, now)):
                answers.append(self._gateway.answer(place, meter, octets, now))
        return answers

    def _hear(self, place: DlmsPlace, meter: Meter, data: bytes, now: int) -> bytes:
        if meter.name not in self._links:
            address = HdlcAddress.parse(place.position.address)
            settings = place.settings
            self._links[meter.name] = HdlcLink("server", address, None, settings.max_info, window=settings.window)
        link = self._links[meter.name]
        link.receive_data(data)
        sent = b""
        for _ in range(len(data) + 1):  # each turn takes at least one byte, or ends
            try:
                event = link.next_event()
            except RemoteProtocolError:
                continue  # a meter drops what is damaged
            if event is NEED_DATA:
                break
            sent += link.data_to_send()
            match event:
                case Connected():
                    self._servers[meter.name] = self._gateway.server(place, meter)
                case Disconnected():
                    self._servers.pop(meter.name, None)
                case Apdu(octets) if meter.name in self._servers:
                    response = self._servers[meter.name].receive(octets, now)
                    sent += link.send(Apdu(response)) if response is not None else b""
        sent += link.data_to_send()
        server = self._servers.get(meter.name)
        return sent if server is None else server.deviance.post(sent, now, is_hdlc=True)
