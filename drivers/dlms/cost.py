"""What a visit to a DLMS meter costs its line: data link, association, questions and answers, release.

Our APDUs are those of the client's own encoders, ciphered with keys of zeros, so their sizes are right to the octet. The meter's
are made of what it can be expected to say; where it has a choice the common one is taken.
The kind of meter is known (columns and scalers are not asked for), and it takes lists and its first way of selective access.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from drivers.contract import Credentials, Endpoint, SessionContext
from drivers.cost import Ask, Cost, Medium, NotComputed
from drivers.counters import NoCounters
from drivers.dlms import acse, axdr, hls, objects, xdlms
from drivers.dlms.association import ClientAssociation
from drivers.dlms.ciphering import KEY_SIZES, TITLE_SIZE
from drivers.dlms.commands import Associate, Command, Get, GetList, Release
from drivers.dlms.establishing import REPLY_TO_HLS
from drivers.dlms.getlist import ITEM_SIZE, MAX_LIST, REQUEST_HEAD
from drivers.dlms.hdlc import (
    DEFAULT_INFO,
    LLC_COMMAND,
    MAX_INFO,
    Frame,
    HdlcAddress,
    Kind,
    LinkParameters,
    encode_parameters,
)
from drivers.dlms.settings import CHALLENGE_SIZE, Settings, parameters_of, settings_of
from drivers.dlms.wrapper import HEADER_SIZE
from drivers.dlms.xdlms import Attribute
from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.profile import DlmsProfile, DlmsRegister

# What the meter decides, and is reckoned with. [octet]
FIRMWARE: Final = 8  # length of a firmware identifier
VALUE: Final = 5  # a count in a row or a register: double-long-unsigned
STAMP: Final = 14  # date-time as an octet-string
STATUS: Final = 2  # a status word: unsigned
PASSWORD: Final = 8  # a secret, whose length is not looked up
SERVER_TITLE: Final = bytes(range(8))  # any but ours
BLOCK_HEAD: Final = 12  # GET-response-with-datablock around its raw data, at most
CIPHERING: Final = 30  # of an APDU's size, what protection takes
TOKENS: Final = {"hls3": 16, "hls4": 20, "hls5": 17, "hls6": 32}
"""Octets of the proofs of high-level security: a hash, or security control, counter and tag (IEC 62056-5-3, 9.2.7.4)."""


def visit_cost(endpoint: Endpoint, ask: Ask, medium: Medium, latency: float) -> Cost:  # noqa: ARG001  the same for all meters
    """Count one visit; see `drivers.cost.VisitCost`.

    On HDLC a meter is reckoned with that says nothing of its information fields (128 octets), unless the profile's
    ``max_info`` is a figure of its own; and with as many frames in a row as the profile's ``window`` has.
    """
    settings = settings_of(endpoint)
    _check(settings.dlms)
    return _Visit(endpoint, settings).cost(ask)


def _check(dlms: DlmsProfile) -> None:
    """Raise `NotComputed` for what nobody has counted yet."""
    missing = {
        "short names": dlms.referencing != "logical-name",
        f"authentication {dlms.authentication}": dlms.authentication not in {"none", "lls", *TOKENS},
        f"ciphering {dlms.ciphering}": dlms.ciphering not in {"service", "general"},
        "signed APDUs": dlms.signing != "none",
        "general block transfer": bool(dlms.block_window),
        "mode E on an optical probe": dlms.opening != "none",
        "a counter that is read before each session": dlms.counter_sync == "always",
        "columns and scalers that are read in each session": dlms.metadata == "session",
    }
    if names := [name for name, is_so in missing.items() if is_so]:
        raise NotComputed(f"DLMS with {', '.join(names)}")


class _Visit:
    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        dlms = settings.dlms
        zeros = bytes(KEY_SIZES[dlms.security_suite])
        is_ciphered = dlms.agreed_security != "none"
        credentials = Credentials(
            password=bytes(PASSWORD),
            encryption_key=zeros if is_ciphered else b"",
            authentication_key=zeros if is_ciphered and dlms.authentication_key == "required" else b"",
        )
        self._endpoint = replace(endpoint, credentials=credentials)
        title = dlms.client_system_title or bytes(TITLE_SIZE)
        self._settings = replace(settings, dlms=replace(dlms, client_system_title=title))
        self._dlms, self._profile = dlms, endpoint.profile
        self._is_ciphered = is_ciphered
        self._turnaround = endpoint.profile.timing.turnaround

    def cost(self, ask: Ask) -> Cost:
        """Add up the visit."""
        total = Cost(silence=self._turnaround)  # behind the visit
        if self._dlms.framing == "hdlc":
            total += self._link_command(Kind.SNRM, encode_parameters(LinkParameters()))
            total += self._link_command(Kind.DISC, b"")
        if self._dlms.association == "negotiated":
            total += self._exchange(len(self._association().send(Associate())), self._aare())
            if self._dlms.authentication in hls.HIGH:
                total += self._proof(TOKENS[self._dlms.authentication])
            total += self._exchange(self._sent(Release()), len(acse.Release(is_response=True).encode()))
        return sum(self._questions(ask), total)

    def _questions(self, ask: Ask) -> Iterator[Cost]:
        yield self._get(Attribute(objects.DATA, self._dlms.identity, 2), 2 + len(self._endpoint.name))
        if self._dlms.firmware is not None:
            yield self._get(Attribute(objects.DATA, self._dlms.firmware, 2), 2 + FIRMWARE)
        if ask.clock:
            yield self._get(Attribute(objects.CLOCK, self._dlms.clock, 2), STAMP)
        if ask.window is not None:
            yield self._rows(*ask.window)
        wanted = list(dict.fromkeys(_attributes(self._dlms, ask.registers)))
        room = max(1, min(MAX_LIST, (self._dlms.max_pdu - self._overhead - REQUEST_HEAD) // ITEM_SIZE))
        for first in range(0, len(wanted), room):
            some = wanted[first : first + room]
            if len(some) == 1:
                yield self._get(*some[0])
            else:
                answer = REQUEST_HEAD + sum(1 + size for _, size in some)
                yield self._answered(self._sent(GetList(tuple(one for one, _ in some))), answer, answer - 3)

    def _get(self, attribute: Attribute, size: int) -> Cost:
        return self._answered(self._sent(Get(attribute)), 4 + size, size)

    def _rows(self, start: UtcSeconds, end: UtcSeconds) -> Cost:
        profile, dlms = self._profile, self._dlms
        way = dlms.selective_access[0] if dlms.selective_access else "none"
        period = next((one.period for one in profile.channels if one.origin == "load_profile"), 0)
        if dlms.load_profile is None or not period or way not in {"range", "columns"}:
            raise NotComputed(f"profile {profile.name} reads no load profile by range (first way: {way})")
        names = [one.logical_name for one in dlms.columns] + ([dlms.status] if dlms.status else [])
        columns = [] if way == "range" else [objects.CLOCK_COLUMN, *map(_captured, names)]
        selection = objects.range_selection(start, end, profile.clock, selected=columns)
        # Both ends are asked for, and so is the row that ends where the first slot begins.
        rows = (end - start) // period + 1
        size = (
            1
            + len(axdr.encode_length(rows))
            + rows * (2 + STAMP + VALUE * len(dlms.columns) + STATUS * bool(dlms.status))
        )
        buffer = Attribute(objects.PROFILE_GENERIC, dlms.load_profile, objects.BUFFER)
        return self._answered(self._sent(Get(buffer, selection)), 4 + size, size)

    # -- application layer

    def _association(self, **changes: Any) -> ClientAssociation:
        """Make our side of an association; what it sends has the sizes that a real one's has."""
        context = SessionContext(lambda: 0, os.urandom, NoCounters())
        made = ClientAssociation(replace(parameters_of(self._endpoint, self._settings, context), **changes))
        if made.channel is not None:
            made.channel.supply(range(1, 5))
        return made

    def _sent(self, command: Command) -> int:
        """Measure the APDU of a command in an open association."""
        security = self._dlms.agreed_security
        made = self._association(authentication="none", security=security, dedicated_key=b"", server_title=SERVER_TITLE)
        made.assume()
        return len(made.send(command))

    @property
    def _overhead(self) -> int:
        return CIPHERING if self._is_ciphered else 0

    def _sealed(self, size: int, *, is_initiate: bool = False) -> int:
        """Give the size of the meter's APDU of so many octets as it is protected."""
        channel = self._association().channel
        if channel is None:
            return size
        channel.set_peer(SERVER_TITLE)
        tag = bytes((0x08,)) if is_initiate else bytes((xdlms.GET_RESPONSE,))
        return len(channel.seal(tag + bytes(size - 1)))

    def _aare(self) -> int:
        granted = xdlms.InitiateResponse(xdlms.Conformance.GET, 0xFFFF).encode()
        is_high = self._dlms.authentication in hls.HIGH
        has_title = self._is_ciphered or self._dlms.authentication in hls.WITH_TITLES
        return len(
            acse.Aare(
                responding_title=bytes(TITLE_SIZE) if has_title else b"",
                mechanism=acse.Mechanism.NONE if self._dlms.authentication == "none" else acse.Mechanism.LOW,
                authentication_value=bytes(CHALLENGE_SIZE) if is_high else b"",
                user_information=bytes(self._sealed(len(granted), is_initiate=True)),
            ).encode()
        )

    def _proof(self, token: int) -> Cost:
        """Count pass 3 and 4 of high-level security: ACTION, a token each way. IEC 62056-5-3, 9.3.7."""
        request = 3 + len(REPLY_TO_HLS.encode()) + 1 + 2 + token
        answer = 4 + 2 + 2 + token
        return self._exchange(self._sealed(request), self._sealed(answer))

    def _answered(self, request: int, answer: int, raw: int) -> Cost:
        """Count a question; its answer whole (``answer``), or ``raw`` octets in the blocks of GET where it is too long."""
        room = self._dlms.max_pdu - self._overhead
        if answer <= room:
            return self._exchange(request, self._sealed(answer))
        size = max(1, room - BLOCK_HEAD)
        following = self._sealed(7)  # GET-request-next
        pieces = [min(size, raw - at) for at in range(0, raw, size)]
        heads = [9 + len(axdr.encode_length(piece)) for piece in pieces]
        return sum(
            (
                self._exchange(following if number else request, self._sealed(head + piece))
                for number, (head, piece) in enumerate(zip(heads, pieces, strict=True))
            ),
            Cost(),
        )

    # -- data link

    def _exchange(self, request: int, answer: int) -> Cost:
        gateway = self._settings.gateway
        around = 0 if gateway is None else len(gateway.wrap(b""))
        sent, received = request + around, answer + around
        if self._dlms.framing == "wrapper":
            return Cost(HEADER_SIZE + sent, HEADER_SIZE + received, 1, self._turnaround)
        info = self._dlms.max_info if self._dlms.max_info < MAX_INFO else DEFAULT_INFO
        window = self._dlms.window
        out, back = (-(-(size + len(LLC_COMMAND)) // info) for size in (sent, received))
        ready = len(self._frame(Kind.RR))
        around_one = len(self._frame(Kind.I, b"\0")) - 1
        # Who has sent all that the window allows waits for RR: the meter's for our long questions, ours for its answers.
        theirs, ours = (-(-frames // window) - 1 for frames in (out, back))
        return Cost(
            sent + len(LLC_COMMAND) + out * around_one + ours * ready,
            received + len(LLC_COMMAND) + back * around_one + theirs * ready,
            1 + theirs + ours,
            self._turnaround,
        )

    def _link_command(self, kind: Kind, information: bytes) -> Cost:
        size = len(self._frame(kind, information))
        return Cost(size, size, 1, self._turnaround)

    def _frame(self, kind: Kind, information: bytes = b"") -> bytes:
        return Frame(self._settings.server, HdlcAddress(self._dlms.client), kind, information=information).encode()


def _attributes(dlms: DlmsProfile, wanted: tuple[Obis, ...]) -> Iterator[tuple[Attribute, int]]:
    """Give what must be read for registers, as the driver does, and the octets of each value."""
    declared = {register.obis: register for register in dlms.registers}
    for code in wanted:
        register = declared.get(code) or DlmsRegister(code, code)
        yield Attribute(register.class_id, register.logical_name, register.attribute), VALUE
        if stamp := objects.CAPTURE_TIME_ATTRIBUTE.get(register.class_id):
            yield Attribute(register.class_id, register.logical_name, stamp), STAMP


def _captured(logical_name: Obis) -> objects.CaptureObject:
    return objects.CaptureObject(objects.REGISTER, logical_name, 2, 0)
