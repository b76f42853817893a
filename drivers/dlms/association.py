"""The client's side of a COSEM association, sans-IO: none, LLS and HLS-2 to 7; logical names. IEC 62056-5-3, clauses 9.3 and 9.4.

It reads. Only one that was opened for commands (`Parameters.may_write`) asks for the right to SET, and sends SET and ACTION.

The session sends commands and feeds whole APDUs; this object checks order, invoke-id, security and block numbers.
Where security is agreed the association is ciphered from the first octet: the initiate APDU, the HLS exchange and all that
follows must be glo- with at least that; a plain or weaker answer is a `SecurityError`, and nothing more is accepted after one.

Every transition of the one state table stands in this file, beside the table. What a request is made of, and what its
answers mean, is a `Service` of `drivers.dlms.services`: the table knows no kinds of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum, auto
from typing import Any

from drivers.dlms import acse, xdlms
from drivers.dlms.basenames import BaseNames
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import CONTROL
from drivers.dlms.commands import (
    Accepted,
    Access,
    Act,
    ActList,
    Associate,
    BlockTaken,
    Challenged,
    Command,
    Done,
    Event,
    Get,
    GetList,
    MoreBlocks,
    NextBlock,
    Noticed,
    Prove,
    Received,
    Release,
    Released,
    Set,
    SetList,
)
from drivers.dlms.establishing import Establishment
from drivers.dlms.events import NEED_DATA, NeedData
from drivers.dlms.noticing import EventNotification
from drivers.dlms.parameters import Parameters
from drivers.dlms.services import short
from drivers.dlms.services.access import AccessService
from drivers.dlms.services.action import ActListService, ActService
from drivers.dlms.services.base import Service, Terms
from drivers.dlms.services.get import GetService
from drivers.dlms.services.refusals import refusal
from drivers.dlms.services.set import SetListService, SetService
from drivers.dlms.shortnames import InformationReport
from drivers.dlms.xdlms import Conformance
from drivers.errors import (
    DriverError,
    LocalProtocolError,
    MeterRefused,
    RemoteProtocolError,
    SecurityError,
)


class State(Enum):
    """Where the association stands."""

    CLOSED = auto()
    ASSOCIATING = auto()  # AARQ sent
    CHALLENGED = auto()  # AARE with StoC received
    PROVING = auto()  # f(StoC) sent
    OPEN = auto()
    ASKING = auto()  # a request sent, or the next part of one
    BETWEEN_BLOCKS = auto()  # a part of the answer came, or one of the request was taken; more to follow
    RELEASING = auto()  # RLRQ sent
    FAILED = auto()  # broken; nothing but closing the link helps


class Step(Enum):
    """What moves it: our commands and the kinds of answers."""

    SEND_ASSOCIATE = auto()
    ASSUME = auto()
    SEND_PROOF = auto()
    SEND_REQUEST = auto()
    SEND_NEXT_BLOCK = auto()
    SEND_RELEASE = auto()
    ACCEPTED = auto()
    CHALLENGE = auto()
    PROVED = auto()
    ANSWERED = auto()
    NOTICED = auto()
    BLOCK = auto()
    REFUSED = auto()
    RELEASED = auto()


# State x step -> state. Whatever is not here is an error; any error leads to FAILED.
TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.CLOSED, Step.SEND_ASSOCIATE): State.ASSOCIATING,
    (State.CLOSED, Step.ASSUME): State.OPEN,  # pre-established: nothing is sent
    (State.ASSOCIATING, Step.ACCEPTED): State.OPEN,
    (State.ASSOCIATING, Step.CHALLENGE): State.CHALLENGED,
    (State.CHALLENGED, Step.SEND_PROOF): State.PROVING,
    (State.PROVING, Step.PROVED): State.OPEN,
    (State.OPEN, Step.SEND_REQUEST): State.ASKING,
    (State.ASKING, Step.ANSWERED): State.OPEN,
    (State.ASKING, Step.REFUSED): State.OPEN,
    (State.ASKING, Step.NOTICED): State.ASKING,
    (State.ASKING, Step.BLOCK): State.BETWEEN_BLOCKS,
    (State.BETWEEN_BLOCKS, Step.SEND_NEXT_BLOCK): State.ASKING,
    (State.OPEN, Step.SEND_RELEASE): State.RELEASING,
    (State.BETWEEN_BLOCKS, Step.SEND_RELEASE): State.RELEASING,
    (State.RELEASING, Step.RELEASED): State.CLOSED,
}
# What an answer is -> step.
_STEPS: Mapping[type[Event], Step] = {
    Received: Step.ANSWERED, Done: Step.ANSWERED, MoreBlocks: Step.BLOCK, BlockTaken: Step.BLOCK,
}  # fmt: skip
# Command -> the service that makes the request of it.
_SERVICES: Mapping[type[Command], Callable[[Any, Terms], Service]] = {
    Get: GetService, GetList: GetService, Set: SetService, SetList: SetListService, Act: ActService, ActList: ActListService,
    Access: AccessService,
}  # fmt: skip
_OF_WRITING: Mapping[type[Command], str] = {Set: "SET", SetList: "SET", Act: "ACTION", ActList: "ACTION"}


class ClientAssociation:
    """Our side of one association. One request at a time."""

    def __init__(self, parameters: Parameters) -> None:
        self.state = State.CLOSED
        self._parameters = parameters
        self._channel: SecureChannel | None = None
        if parameters.keys is not None and (control := CONTROL[parameters.agreed_security]):
            self._channel = SecureChannel(
                parameters.keys,
                parameters.client_title,
                control=control,
                ciphering=parameters.ciphering,
                protection=parameters.protection,
            )
        self._inbox: list[bytes] = []
        self._invoke_id = 0
        self._number = 0  # of requests so far
        self._opening = Establishment(parameters, self._channel)
        self._granted: Accepted | None = None
        self._service: Service | None = None
        self.names = BaseNames()
        """Of variables, for short-name referencing: whoever has read the list of objects sets them."""

    @property
    def channel(self) -> SecureChannel | None:
        """The ciphering of this association, None where it has none; counters are supplied to it."""
        return self._channel

    @property
    def takes_lists(self) -> bool:
        """Whether the meter granted GET-with-list."""
        return self._granted is not None and bool(self._granted.conformance & Conformance.MULTIPLE_REFERENCES)

    @property
    def takes_blocks(self) -> bool:
        """Whether general block transfer was agreed on."""
        return self._granted is not None and bool(self._granted.conformance & Conformance.GENERAL_BLOCK_TRANSFER)

    def takes_long(self, blocks: Conformance) -> bool:
        """Whether a request may be longer than an APDU: in general blocks, or in those of its service."""
        return self._granted is not None and bool(
            self._granted.conformance & (blocks | Conformance.GENERAL_BLOCK_TRANSFER)
        )

    @property
    def largest(self) -> int:
        """Largest APDU that the meter takes, as it goes to the data link; 0 for no limit. [octet]"""
        return self._granted.max_pdu if self._granted else 0

    def send(self, command: Command) -> bytes:
        """Give the APDU of a command.

        Raises `LocalProtocolError` where it does not fit the state, `MeterRefused` where it is larger than the meter takes.
        """
        match command:
            case Associate():
                self._move(Step.SEND_ASSOCIATE)
                return self._opening.request()
            case Prove():
                self._move(Step.SEND_PROOF)
                return self._prove()
            case NextBlock():
                self._move(Step.SEND_NEXT_BLOCK)
                assert self._service is not None
                return self._sealing(self._service.request)
            case Release():
                self._move(Step.SEND_RELEASE)
                inside = self._sealed(self._opening.initiate()) if self._channel else b""
                return acse.Release(user_information=inside).encode()
            case _:
                return self._ask(command)

    def assume(self) -> Accepted:
        """Take the association for open, as it is agreed to be from the beginning: pre-established. IEC 62056-5-3, 9.4.4.4.

        All that `Parameters` would ask for is taken for granted, and our largest APDU for the meter's.
        Raises `SecurityError` where it would need authentication, or the meter's system title and nobody says it.
        """
        asked = self._parameters
        if asked.authentication != "none" or asked.dedicated_key:
            raise SecurityError("a pre-established association has neither authentication nor a dedicated key")
        if self._channel is not None:
            self._channel.set_peer(asked.server_title)
        self._move(Step.ASSUME)
        self._granted = Accepted(asked.conformance, asked.max_pdu)
        return self._granted

    def receive_data(self, apdu: bytes) -> None:
        """Take one whole APDU from the data link."""
        self._inbox.append(apdu)

    def next_event(self) -> Event | NeedData:
        """Give what the oldest APDU means, or `NEED_DATA`.

        Raises `MeterRefused` (the association stays open where only one attribute was refused), `SecurityError`,
        `RemoteProtocolError`.
        """
        if not self._inbox:
            return NEED_DATA
        apdu = self._inbox.pop(0)
        try:
            return self._received(apdu)
        except DriverError as error:
            if self.state is State.ASKING and isinstance(error, MeterRefused):
                self._move(Step.REFUSED)  # one request; the next may be asked
            else:
                self.state = State.FAILED  # TRANSITIONS has no way out of it
            raise

    def overhear(self, apdu: bytes) -> EventNotification | InformationReport | xdlms.DataNotification:
        """Say what the meter tells outside question and answer; it moves nothing.

        Raises `SecurityError` where it is not protected as agreed, and `RemoteProtocolError` for what is no notification.
        """
        told = xdlms.decode(self._opened(apdu))
        if not isinstance(told, EventNotification | InformationReport | xdlms.DataNotification):
            raise RemoteProtocolError(f"{type(told).__name__} outside question and answer")
        return told

    def _received(self, apdu: bytes) -> Event:
        match self.state:
            case State.ASSOCIATING:
                return self._received_aare(apdu)
            case State.PROVING:
                return self._received_proof(apdu)
            case State.ASKING:
                return self._received_answer(apdu)
            case State.RELEASING:
                release = acse.decode(apdu)
                if not isinstance(release, acse.Release) or not release.is_response:
                    raise RemoteProtocolError("expected RLRE")
                self._move(Step.RELEASED)
                return Released()
        raise RemoteProtocolError(f"APDU 0x{apdu[:1].hex()} while {self.state.name.lower()}: nothing was asked")

    def _move(self, step: Step) -> None:
        try:
            self.state = TRANSITIONS[self.state, step]
        except KeyError:
            raise LocalProtocolError(
                f"association cannot {step.name.lower()} while {self.state.name.lower()}"
            ) from None

    # -- opening

    def _received_aare(self, apdu: bytes) -> Event:
        self._granted = self._opening.accept(apdu)
        if self._opening.is_high:
            self._move(Step.CHALLENGE)
            return Challenged()
        self._use_own_key()
        self._move(Step.ACCEPTED)
        return self._granted

    def _use_own_key(self) -> None:
        if self._channel is not None and self._parameters.dedicated_key:
            self._channel.use_dedicated(self._parameters.dedicated_key)

    def _prove(self) -> bytes:
        self._next_invoke_id()
        # Whether ACTION, or READ with parameters, was granted for anything else makes no difference to the proof.
        terms = replace(self._terms, granted=Conformance(0xFFFFFF), room=0)
        self._service = self._service_of(self._opening.proof(), terms)
        return self._sealed(self._service.request())

    def _received_proof(self, apdu: bytes) -> Event:
        assert self._granted is not None
        assert self._service is not None
        response = self._response(apdu, "HLS proof")
        refused = f"the meter refuses our {self._parameters.authentication.upper()} proof"
        try:
            event = self._service.accept(response)
        except MeterRefused as error:
            raise SecurityError(f"{refused}: {xdlms.result_name(error.code)}") from error
        if not isinstance(event, Done) or event.data is None:
            raise SecurityError(f"{refused}: it gives none of its own")
        self._opening.verify(event.data.octets())
        self._use_own_key()
        self._move(Step.PROVED)
        return self._granted

    # -- asking

    @property
    def _overhead(self) -> int:
        return 0 if self._channel is None else self._channel.overhead

    @property
    def room(self) -> int:
        """Largest plain APDU that the meter takes, 0 for no limit. [octet]"""
        limit = self._granted.max_pdu if self._granted else 0
        return max(1, limit - self._overhead) if limit else 0

    def _ask(self, command: Command) -> bytes:
        name = _OF_WRITING.get(type(command))
        if isinstance(command, Access) and command.changes:
            name = "ACCESS that writes"
        if name and not self._parameters.may_write:
            raise LocalProtocolError(f"{name} in an association that was opened for reading")
        self._move(Step.SEND_REQUEST)
        self._next_invoke_id()

        def first() -> bytes:
            self._service = self._service_of(command, self._terms)
            return self._service.request()

        return self._sealing(first)

    def _service_of(self, command: Command, terms: Terms) -> Service:
        is_short = self._parameters.referencing == "short-name"
        make: Callable[[Any, Terms], Service] = short.service_of if is_short else _SERVICES[type(command)]
        return make(command, terms)

    def _sealing(self, request: Callable[[], bytes]) -> bytes:
        try:
            return self._sealed(request())
        except MeterRefused:
            self._move(Step.REFUSED)
            raise

    @property
    def _terms(self) -> Terms:
        assert self._granted is not None
        return Terms(self._invoke_octet, self.room, self._granted.conformance, self._number, self.names)

    def _received_answer(self, apdu: bytes) -> Event:
        assert self._service is not None
        response = self._response(apdu, self._service.what)
        if isinstance(response, EventNotification | InformationReport | xdlms.DataNotification):
            self._move(Step.NOTICED)
            return Noticed(response)
        event = self._service.accept(response)
        self._move(_STEPS[type(event)])
        return event

    def _response(self, apdu: bytes, what: str) -> xdlms.Apdu:
        """Open an answer to a request. A plain exception-response is believed, as a refusal: it has no ciphered form."""
        if apdu[:1] == b"\xd8":
            raise refusal(xdlms.decode(apdu), what)
        response = xdlms.decode(self._opened(apdu), leaves_data=True)
        if isinstance(response, xdlms.ExceptionResponse | xdlms.ConfirmedServiceError):
            raise refusal(response, what)
        return response

    def _opened(self, apdu: bytes) -> bytes:
        return apdu if self._channel is None else self._channel.open(apdu)

    def _sealed(self, apdu: bytes) -> bytes:
        limit = self._granted.max_pdu if self._granted else 0
        sealed = apdu if self._channel is None else self._channel.seal(apdu)
        if limit and len(sealed) > limit and not self.takes_blocks:
            raise MeterRefused(
                f"the meter takes {limit} octets at a time, the request has {len(sealed)}",
                xdlms.DataAccessResult.OTHER_REASON,
            )
        return sealed

    @property
    def _invoke_octet(self) -> int:
        return xdlms.HIGH_PRIORITY | xdlms.CONFIRMED | self._invoke_id

    def _next_invoke_id(self) -> None:
        self._number += 1
        self._invoke_id = self._number % 16
