"""A serial port on another machine, over Telnet with the COM-PORT option: RFC 2217, RFC 854 (IAC), RFC 856 (binary).

`ComPort` is the protocol, bytes in and out; `Rfc2217Stream` carries it. The port is set up before the first byte is sent and
the server's answers are compared with what was asked: one that gives another speed or parity is not used. Whether the
server drops a byte with wrong parity cannot be known, so parity does not count as checked.
"""

import struct
from contextlib import suppress
from typing import Final

from drivers.errors import (
    ConnectionLost,
    LineNoise,
    PortUnavailable,
    RemoteProtocolError,
    TransportError,
    TransportTimeout,
)
from drivers.transports.base import Deadline, FdStream, pause
from drivers.transports.tcp import open_tcp
from drivers.transports.url import Form, Rfc2217Url, TcpUrl

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240  # RFC 854
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44  # RFC 856, 858, 2217
SET_BAUDRATE, SET_DATASIZE, SET_PARITY, SET_STOPSIZE, SET_CONTROL = 1, 2, 3, 4, 5
NOTIFY_LINESTATE = 106
SERVER = 100  # the server's answer to command n is n + 100
PARITIES: Final = {"N": 1, "O": 2, "E": 3}
NO_FLOW_CONTROL = 1
LINE_FAULTS = 0x1E  # overrun, parity, framing, break
MAX_SUBNEGOTIATION = 256


class ComPort:
    """One client's side of the protocol. ``confirmed``: what the server said it has set, by command."""

    def __init__(self) -> None:
        self.confirmed: dict[int, bytes] = {}
        self.refuses = False
        self.has_fault = False
        """Whether the server told of a damaged byte since this was last set to False."""
        self._outgoing = bytearray()
        self._buffer = bytearray()
        self._offered: set[tuple[int, int]] = set()

    def open(self) -> bytes:
        """Give what opens the conversation: binary both ways, no go-ahead, and the COM-PORT option."""
        self._offered = {(WILL, COM_PORT), (WILL, BINARY), (DO, BINARY), (DO, SUPPRESS_GO_AHEAD)}
        return b"".join(bytes((IAC, verb, option)) for verb, option in sorted(self._offered))

    def set_up(self, form: Form) -> bytes:
        """Give what sets speed and form of characters, without flow control."""
        self.confirmed.clear()
        return b"".join(command(number, value) for number, value in settings(form).items())

    def encode(self, data: bytes) -> bytes:
        """Give data as it goes over the wire."""
        return data.replace(b"\xff", b"\xff\xff")

    def data_to_send(self) -> bytes:
        """Hand over answers that reception made necessary."""
        octets = bytes(self._outgoing)
        self._outgoing.clear()
        return octets

    def receive_data(self, data: bytes) -> bytes:
        """Take what came, give the data in it. Raises `RemoteProtocolError` for what is no Telnet."""
        self._buffer += data
        buffer, out, at = self._buffer, bytearray(), 0
        while at < len(buffer):
            if buffer[at] != IAC:
                end = buffer.find(IAC, at)
                end = len(buffer) if end < 0 else end
                out += buffer[at:end]
                at = end
                continue
            size = self._command(bytes(buffer[at : at + MAX_SUBNEGOTIATION + 1]), out)
            if not size:
                break
            at += size
        del buffer[:at]
        return bytes(out)

    def _command(self, octets: bytes, out: bytearray) -> int:
        """Take one command; give its length, 0 where it is not all there."""
        if len(octets) < 2:
            return 0
        match octets[1]:
            case 255:
                out.append(IAC)
                return 2
            case verb if verb in {DO, DONT, WILL, WONT}:
                if len(octets) < 3:
                    return 0
                self._negotiate(verb, octets[2])
                return 3
            case 250:
                end = _end_of_subnegotiation(octets)
                if not end and len(octets) > MAX_SUBNEGOTIATION:
                    raise RemoteProtocolError("a Telnet subnegotiation without an end: is this an RFC 2217 server?")
                if end:
                    self._subnegotiation(octets[2 : end - 2].replace(b"\xff\xff", b"\xff"))
                return end
        return 2

    def _negotiate(self, verb: int, option: int) -> None:
        if option == COM_PORT and verb in {DONT, WONT}:
            self.refuses = True
        if verb in {DONT, WONT} or (WILL if verb == DO else DO, option) in self._offered:
            return  # the answer to what we offered
        is_known = option in {BINARY, SUPPRESS_GO_AHEAD, COM_PORT}
        answer = (WILL if is_known else WONT) if verb == DO else (DO if is_known else DONT)
        self._outgoing += bytes((IAC, answer, option))
        if is_known:
            self._offered.add((answer, option))

    def _subnegotiation(self, body: bytes) -> None:
        if len(body) < 2 or body[0] != COM_PORT:
            return
        if body[1] == NOTIFY_LINESTATE and len(body) > 2:
            self.has_fault = self.has_fault or bool(body[2] & LINE_FAULTS)
        elif body[1] > SERVER:
            self.confirmed[body[1] - SERVER] = body[2:]


def command(number: int, value: bytes) -> bytes:
    """Give one command of the COM-PORT option."""
    return bytes((IAC, SB, COM_PORT, number)) + value.replace(b"\xff", b"\xff\xff") + bytes((IAC, SE))


def settings(form: Form) -> dict[int, bytes]:
    """Give the value of each command that sets up a port. RFC 2217, clause 3."""
    return {
        SET_BAUDRATE: struct.pack(">I", form.baud),
        SET_DATASIZE: bytes((form.bits,)),
        SET_PARITY: bytes((PARITIES[form.parity],)),
        SET_STOPSIZE: bytes((form.stop,)),
        SET_CONTROL: bytes((NO_FLOW_CONTROL,)),
    }


def _end_of_subnegotiation(octets: bytes) -> int:
    at = 2
    while (at := octets.find(IAC, at)) >= 0 and at + 1 < len(octets):
        if octets[at + 1] == SE:
            return at + 2
        at += 2
    return 0


class Rfc2217Stream:
    """A `ByteStream` over a connection to the server, whose speed may be changed."""

    has_parity = False

    def __init__(self, carrier: FdStream, url: Rfc2217Url) -> None:
        self._carrier = carrier
        self._url = url
        self._form = url.form
        self._port = ComPort()
        self._received = bytearray()
        self._sent = 0

    @property
    def bits_per_second(self) -> int | None:
        """Speed of the line at the other end. [bit/s]"""
        return self._form.baud

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte. [bit]"""
        return self._form.bits_per_character

    async def open(self) -> None:
        """Set up the port. Raises `PortUnavailable` where the server refuses, other `TransportError`."""
        await self._carrier.write(self._port.open())
        await self._set_up(self._form)

    async def _set_up(self, form: Form) -> None:
        await self._carrier.write(self._port.set_up(form))
        deadline = Deadline(self._url.connect_timeout)
        wanted = settings(form)
        # Some servers do not answer what concerns flow control; all else is compared.
        asked = {number: value for number, value in wanted.items() if number != SET_CONTROL}
        while not asked.keys() <= self._port.confirmed.keys():
            try:
                await self._receive(deadline.remaining())
            except TransportTimeout as error:
                raise PortUnavailable(
                    f"{self._url}: the server does not set up the port; does it speak RFC 2217?"
                ) from error
            if self._port.refuses:
                raise PortUnavailable(f"{self._url}: the server does not speak RFC 2217; a transparent one is tcp://")
        if wrong := [number for number, value in asked.items() if self._port.confirmed[number] != value]:
            names = {SET_BAUDRATE: "baud", SET_DATASIZE: "bits", SET_PARITY: "parity", SET_STOPSIZE: "stop"}
            raise PortUnavailable(
                f"{self._url}: the server does not take {', '.join(names[number] for number in wrong)}"
            )
        self._form = form

    async def write(self, data: bytes) -> None:
        """Send all of ``data``. Raises `TransportError`."""
        self._sent = len(data)
        await self._carrier.write(self._port.encode(data))

    async def read(self, timeout: float) -> bytes:
        """Return at least one received byte, waiting at most ``timeout`` [s]. Raises as `ByteStream` does."""
        deadline = Deadline(timeout)
        while not self._received and not self._port.has_fault:
            await self._receive(deadline.remaining())
        if self._port.has_fault:
            self._port.has_fault = False
            self._received.clear()  # the server does not say which byte it was
            raise LineNoise(f"{self._url}: the server tells of a damaged byte")
        return self._take()

    async def _receive(self, timeout: float) -> None:
        self._feed(await self._carrier.read(timeout))
        if answer := self._port.data_to_send():
            await self._carrier.write(answer)

    def _feed(self, data: bytes) -> None:
        try:
            self._received += self._port.receive_data(data)
        except RemoteProtocolError as error:
            raise ConnectionLost(f"{self._url}: {error}") from error

    def _take(self) -> bytes:
        data = bytes(self._received)
        self._received.clear()
        return data

    def discard_input(self) -> bytes:
        """Throw away what has arrived unread, and return it. What negotiates is not thrown away."""
        with suppress(ConnectionLost):  # what is no Telnet: the next read meets it
            self._feed(self._carrier.discard_input())
        self._port.has_fault = False
        return self._take()

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        """Change speed and form of characters, ``after`` the last byte sent has been on the line so long. [s]

        The server does not say when a byte has left its UART, so its time on the line is waited for.
        """
        await pause(after + self._sent * self.bits_per_character / self._form.baud)
        try:
            await self._set_up(Form(baud, parity, bits, self._form.stop))
        except KeyError:
            raise PortUnavailable(f"{self._url}: parity {parity!r} is not N, E or O") from None

    async def close(self) -> None:
        """Close; closing twice is harmless."""
        await self._carrier.close()


async def open_rfc2217(url: Rfc2217Url) -> Rfc2217Stream:
    """Connect and set up the port. Raises `TransportError`, `PortUnavailable` where a person has to act."""
    carrier = await open_tcp(TcpUrl(url.host, url.port, url.connect_timeout))
    stream = Rfc2217Stream(carrier, url)
    try:
        await stream.open()
    except BaseException as error:
        await carrier.close()
        if isinstance(error, ConnectionLost):
            raise TransportError(f"{url}: the server hung up while the port was set up; is it in use?") from error
        raise
    return stream
