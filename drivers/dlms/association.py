"""The client's side of a COSEM association, sans-IO: none, LLS and HLS-3 to 6; logical names. IEC 62056-5-3, clauses 9.3 and 9.4.

It reads. Only one that was opened for commands (`Parameters.may_write`) asks for the right to SET, and sends SET and ACTION.

The session sends commands and feeds whole APDUs; this object checks order, invoke-id, security and block numbers.
Where security is agreed the association is ciphered from the first octet: the initiate APDU, the HLS exchange and all that
follows must be glo- with at least that; a plain or weaker answer is a `SecurityError`, and nothing more is accepted after one.

It is long because every transition of the one state table stands in this file, beside the table.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any

from drivers.dlms import acse, axdr, getlist, hls, writing, xdlms
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import CONTROL, ENCRYPTED, Keys, check_title
from drivers.dlms.commands import (
    Accepted,
    Act,
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
    Prove,
    Received,
    Release,
    Released,
    Set,
)
from drivers.dlms.events import NEED_DATA, NeedData
from drivers.dlms.xdlms import Attribute, Conformance
from drivers.errors import (
    CounterRefused,
    DriverError,
    LocalProtocolError,
    MeterRefused,
    RemoteProtocolError,
    SecurityError,
)
from drivers.obis import Obis
from drivers.profile import Authentication, Ciphering, Security, implied_security

__all__ = [  # beside what is defined here
    "Accepted",
    "Act",
    "Associate",
    "BlockTaken",
    "Challenged",
    "Command",
    "Done",
    "Event",
    "Get",
    "GetList",
    "MoreBlocks",
    "NextBlock",
    "Prove",
    "Received",
    "Release",
    "Released",
    "Set",
]


class State(Enum):
    """Where the association stands."""

    CLOSED = auto()
    ASSOCIATING = auto()  # AARQ sent
    CHALLENGED = auto()  # AARE with StoC received
    PROVING = auto()  # f(StoC) sent
    OPEN = auto()
    ASKING = auto()  # GET sent
    BETWEEN_BLOCKS = auto()  # a block received, more to come
    SETTING = auto()  # SET sent, or a block of it
    BETWEEN_SET_BLOCKS = auto()  # a block was taken, more to send
    ACTING = auto()  # ACTION sent
    RELEASING = auto()  # RLRQ sent
    FAILED = auto()  # broken; nothing but closing the link helps


class Step(Enum):
    """What moves it: our commands and the kinds of answers."""

    SEND_ASSOCIATE = auto()
    SEND_PROOF = auto()
    SEND_GET = auto()
    SEND_SET = auto()
    SEND_ACTION = auto()
    SEND_NEXT_BLOCK = auto()
    SEND_RELEASE = auto()
    ACCEPTED = auto()
    CHALLENGE = auto()
    PROVED = auto()
    DATA = auto()
    BLOCK = auto()
    BLOCK_TAKEN = auto()
    DONE = auto()
    REFUSED = auto()
    RELEASED = auto()


# State x step -> state. Whatever is not here is an error; any error leads to FAILED.
TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.CLOSED, Step.SEND_ASSOCIATE): State.ASSOCIATING,
    (State.ASSOCIATING, Step.ACCEPTED): State.OPEN,
    (State.ASSOCIATING, Step.CHALLENGE): State.CHALLENGED,
    (State.CHALLENGED, Step.SEND_PROOF): State.PROVING,
    (State.PROVING, Step.PROVED): State.OPEN,
    (State.OPEN, Step.SEND_GET): State.ASKING,
    (State.ASKING, Step.DATA): State.OPEN,
    (State.ASKING, Step.REFUSED): State.OPEN,
    (State.ASKING, Step.BLOCK): State.BETWEEN_BLOCKS,
    (State.BETWEEN_BLOCKS, Step.SEND_NEXT_BLOCK): State.ASKING,
    (State.OPEN, Step.SEND_SET): State.SETTING,
    (State.SETTING, Step.BLOCK_TAKEN): State.BETWEEN_SET_BLOCKS,
    (State.BETWEEN_SET_BLOCKS, Step.SEND_NEXT_BLOCK): State.SETTING,
    (State.SETTING, Step.DONE): State.OPEN,
    (State.SETTING, Step.REFUSED): State.OPEN,
    (State.OPEN, Step.SEND_ACTION): State.ACTING,
    (State.ACTING, Step.DONE): State.OPEN,
    (State.ACTING, Step.REFUSED): State.OPEN,
    (State.OPEN, Step.SEND_RELEASE): State.RELEASING,
    (State.BETWEEN_BLOCKS, Step.SEND_RELEASE): State.RELEASING,
    (State.BETWEEN_SET_BLOCKS, Step.SEND_RELEASE): State.RELEASING,
    (State.RELEASING, Step.RELEASED): State.CLOSED,
}

CONFORMANCE = (
    Conformance.GET | Conformance.ACTION | Conformance.SELECTIVE_ACCESS | Conformance.BLOCK_TRANSFER_GET | Conformance.PRIORITY
    | Conformance.MULTIPLE_REFERENCES
)  # fmt: skip
WRITING = Conformance.SET | Conformance.BLOCK_TRANSFER_SET
SEAL_OVERHEAD = 21  # [octet] at most, of a glo- APDU: tag, length, security control, counter, authentication tag
TITLE_OVERHEAD = 9  # [octet] of a general one on top: the sender's system title
CURRENT_ASSOCIATION = Obis(0, 0, 40, 0, 0)
REPLY_TO_HLS = Attribute(15, CURRENT_ASSOCIATION, 1)  # IEC 62056-6-2, class 15, method 1 reply_to_HLS_authentication
MIN_PDU = 64
_SECURITY_DIAGNOSTICS = frozenset(
    {
        acse.Diagnostic.MECHANISM_NOT_RECOGNISED, acse.Diagnostic.MECHANISM_REQUIRED,
        acse.Diagnostic.AUTHENTICATION_FAILURE, acse.Diagnostic.AUTHENTICATION_REQUIRED,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an association is opened with. ``challenge``: fresh random octets, CtoS. ``server_title``: empty to accept any.

    ``security``: what every APDU must be, both ways; None for what the authentication implies.
    ``may_write``: whether it is opened to execute a command; without it SET and ACTION are refused here.
    """

    authentication: Authentication = "none"
    max_pdu: int = 0xFFFF
    password: bytes = field(default=b"", repr=False)
    keys: Keys | None = None
    client_title: bytes = b""
    server_title: bytes = b""
    challenge: bytes = field(default=b"", repr=False)
    security: Security | None = None
    ciphering: Ciphering = "service"
    dedicated_key: bytes = field(default=b"", repr=False)
    may_write: bool = False

    @property
    def agreed_security(self) -> Security:
        """What every APDU must be."""
        return self.security or implied_security(self.authentication)

    def __post_init__(self) -> None:
        """Refuse what could not authenticate, before a byte is sent."""
        if not MIN_PDU <= self.max_pdu <= 0xFFFF:
            raise LocalProtocolError(f"largest APDU {self.max_pdu} is not {MIN_PDU} to 65535")
        if self.authentication == "lls" and not self.password:
            raise SecurityError("low-level security needs a password")
        if self.authentication in hls.BY_SECRET and not self.password:
            raise SecurityError(f"{self.authentication.upper()} needs a secret, given as the password")
        if self.authentication == "hls5" and (self.keys is None or self.keys.is_unverified):
            raise SecurityError("HLS-5 needs an encryption key and an authentication key")
        if self.authentication == "hls5" and self.agreed_security == "none":
            raise SecurityError("HLS-5 without protected APDUs is not supported")
        if self.agreed_security != "none" and self.keys is None:
            raise SecurityError(f"security {self.agreed_security} needs keys")
        if self.dedicated_key and not CONTROL[self.agreed_security] & ENCRYPTED:
            raise SecurityError(f"security {self.agreed_security} would send the dedicated key in the clear")
        if self.agreed_security != "none" or self.authentication in hls.WITH_TITLES:
            check_title(self.client_title, "the client's")
        if self.authentication in hls.HIGH and not 8 <= len(self.challenge) <= 64:
            raise SecurityError(f"a challenge has 8 to 64 octets, not {len(self.challenge)}")


_MECHANISMS: dict[Authentication, acse.Mechanism] = {
    "none": acse.Mechanism.NONE, "lls": acse.Mechanism.LOW, "hls3": acse.Mechanism.HIGH_MD5,
    "hls4": acse.Mechanism.HIGH_SHA1, "hls5": acse.Mechanism.HIGH_GMAC, "hls6": acse.Mechanism.HIGH_SHA256,
}  # fmt: skip


class ClientAssociation:
    """Our side of one association. One request at a time."""

    def __init__(self, parameters: Parameters) -> None:
        self.state = State.CLOSED
        self._parameters = parameters
        self._channel: SecureChannel | None = None
        if parameters.keys is not None and (control := CONTROL[parameters.agreed_security]):
            self._channel = SecureChannel(
                parameters.keys, parameters.client_title, control=control, ciphering=parameters.ciphering
            )
        self._inbox: list[bytes] = []
        self._invoke_id = 0
        self._server_challenge = b""
        self._server_title = b""
        self._granted: Accepted | None = None
        self._asked: Attribute | str | None = None
        self._kind = getlist.NORMAL
        self._parts: list[writing.SetRequests] = []
        self._decode: Callable[[bytes], Any] = axdr.decode
        self._blocks = bytearray()
        self._block_number = 0
        self._refused_one = False

    @property
    def channel(self) -> SecureChannel | None:
        """The ciphering of this association, None where it has none; counters are supplied to it."""
        return self._channel

    @property
    def takes_lists(self) -> bool:
        """Whether the meter granted GET-with-list."""
        return self._granted is not None and bool(self._granted.conformance & Conformance.MULTIPLE_REFERENCES)

    def send(self, command: Command) -> bytes:
        """Give the APDU of a command.

        Raises `LocalProtocolError` where it does not fit the state, `MeterRefused` where it is larger than the meter takes.
        """
        match command:
            case Associate():
                self._move(Step.SEND_ASSOCIATE)
                return self._associate()
            case Prove():
                self._move(Step.SEND_PROOF)
                return self._prove()
            case Get():
                self._begin(Step.SEND_GET, command.attribute, command.decode)
                return self._asking(xdlms.GetRequest(self._invoke_octet, command.attribute, command.selection))
            case GetList():
                count = len(command.attributes)
                self._begin(Step.SEND_GET, f"list of {count} attributes", partial(_results, count))
                self._kind = getlist.WITH_LIST
                return self._asking(
                    getlist.GetRequestList(self._invoke_octet, tuple((one, None) for one in command.attributes))
                )
            case Set():
                self._check_may_write("SET")
                self._begin(Step.SEND_SET, command.attribute)
                self._parts = list(writing.requests(self._invoke_octet, command.attribute, command.data, self.room))
                return self._asking(self._parts.pop(0))
            case Act():
                self._check_may_write("ACTION")
                self._begin(Step.SEND_ACTION, command.method)
                return self._asking(xdlms.ActionRequest(self._invoke_octet, command.method, command.parameters))
            case NextBlock() if self.state is State.BETWEEN_SET_BLOCKS:
                self._move(Step.SEND_NEXT_BLOCK)
                self._block_number += 1
                return self._asking(self._parts.pop(0))
            case NextBlock():
                self._move(Step.SEND_NEXT_BLOCK)
                return self._sealed(xdlms.GetRequestNext(self._invoke_octet, self._block_number).encode())
            case Release():
                self._move(Step.SEND_RELEASE)
                inside = self._sealed(self._initiate_request()) if self._channel else b""
                return acse.Release(user_information=inside).encode()

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
        except DriverError:
            if not self._refused_one:
                self.state = State.FAILED  # TRANSITIONS has no way out of it
            raise

    def _received(self, apdu: bytes) -> Event:
        self._refused_one = False
        match self.state:
            case State.ASSOCIATING:
                return self._received_aare(apdu)
            case State.PROVING:
                return self._received_proof(apdu)
            case State.ASKING:
                return self._received_data(apdu)
            case State.SETTING | State.ACTING:
                return self._received_done(apdu)
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

    def _initiate_request(self) -> bytes:
        wanted = CONFORMANCE | WRITING if self._parameters.may_write else CONFORMANCE
        if self._parameters.ciphering == "general":
            wanted |= Conformance.GENERAL_PROTECTION
        key = self._parameters.dedicated_key if self.state is State.ASSOCIATING else b""
        return xdlms.InitiateRequest(wanted, self._parameters.max_pdu, dedicated_key=key).encode()

    def _associate(self) -> bytes:
        asked = self._parameters
        initiate = self._initiate_request()
        return acse.Aarq(
            self._context,
            _MECHANISMS[asked.authentication],
            asked.password if asked.authentication == "lls" else asked.challenge,
            asked.client_title if self._has_titles else b"",
            self._channel.seal(initiate) if self._channel else initiate,
        ).encode()

    @property
    def _context(self) -> acse.ApplicationContext:
        name = acse.ApplicationContext
        return name.LOGICAL_NAME_CIPHERED if self._channel else name.LOGICAL_NAME

    def _received_aare(self, apdu: bytes) -> Event:
        if apdu[:1] in {b"\xd8", b"\x0e"}:
            raise self._refusal(xdlms.decode(apdu), "association")
        aare = acse.decode(apdu)
        if not isinstance(aare, acse.Aare):
            raise RemoteProtocolError("expected AARE")
        if aare.result is not acse.Result.ACCEPTED:
            raise _association_refused(aare)
        wants_proof = aare.diagnostic == acse.Diagnostic.AUTHENTICATION_REQUIRED
        is_high = self._parameters.authentication in hls.HIGH
        if wants_proof and not is_high:
            raise SecurityError("the meter demands high-level security; the profile does not offer it")
        if self._has_titles:
            self._check_title(aare)
        if is_high:
            self._check_hls(aare, wants_proof=wants_proof)
        response = xdlms.decode(self._opened(aare.user_information))
        if isinstance(response, xdlms.ConfirmedServiceError):
            raise self._refusal(response, "association")
        if not isinstance(response, xdlms.InitiateResponse):
            raise RemoteProtocolError("AARE holds no initiate-response")
        if response.version != xdlms.DLMS_VERSION:
            raise RemoteProtocolError(f"DLMS version {response.version}, expected {xdlms.DLMS_VERSION}")
        if not response.conformance & Conformance.GET:
            raise MeterRefused("the meter does not grant GET in this association", 0)
        self._granted = Accepted(response.conformance, response.max_pdu)
        if is_high:
            self._server_challenge = aare.authentication_value
            self._move(Step.CHALLENGE)
            return Challenged()
        self._accepted()
        self._move(Step.ACCEPTED)
        return self._granted

    def _accepted(self) -> None:
        if self._channel is not None and self._parameters.dedicated_key:
            self._channel.use_dedicated(self._parameters.dedicated_key)

    def _check_title(self, aare: acse.Aare) -> None:
        expected = self._parameters.server_title
        if self._channel and aare.context is not acse.ApplicationContext.LOGICAL_NAME_CIPHERED:
            raise SecurityError("the meter answers with an application context without ciphering")
        if expected and aare.responding_title != expected:
            raise SecurityError(
                f"server system title {aare.responding_title.hex()} is not the expected {expected.hex()}"
            )
        check_title(aare.responding_title, "the other side's")
        if aare.responding_title == self._parameters.client_title:
            raise SecurityError("the other side claims our own system title")
        self._server_title = aare.responding_title
        if self._channel is not None:
            self._channel.set_peer(aare.responding_title)

    def _check_hls(self, aare: acse.Aare, *, wants_proof: bool) -> None:
        agreed = self._parameters.authentication
        if not wants_proof or aare.mechanism is not _MECHANISMS[agreed]:
            raise SecurityError(f"the meter skips the agreed {agreed.upper()} authentication")
        if not 8 <= len(aare.authentication_value) <= 64:
            raise SecurityError(f"the meter's challenge has {len(aare.authentication_value)} octets, not 8 to 64")
        if aare.authentication_value == self._parameters.challenge:
            raise SecurityError("the meter sends our own challenge back")

    @property
    def _has_titles(self) -> bool:
        return self._channel is not None or self._parameters.authentication in hls.WITH_TITLES

    def _sides(self) -> tuple[hls.Side, hls.Side]:
        asked = self._parameters
        return hls.Side(asked.client_title, asked.challenge), hls.Side(self._server_title, self._server_challenge)

    def _prove(self) -> bytes:
        asked = self._parameters
        self._next_invoke_id()
        if asked.authentication in hls.BY_SECRET:
            token = hls.answer(asked.authentication, asked.password, *self._sides())
        else:
            assert self._channel is not None
            token = self._channel.prove(self._server_challenge)
        request = xdlms.ActionRequest(self._invoke_octet, REPLY_TO_HLS, axdr.octet_string(token))
        return self._sealed(request.encode())

    def _received_proof(self, apdu: bytes) -> Event:
        asked = self._parameters
        response = self._response(apdu)
        if not isinstance(response, xdlms.ActionResponse):
            raise RemoteProtocolError(f"expected an ACTION-response, got {type(response).__name__}")
        self._check_invoke_id(response.invoke_id)
        if response.result != 0 or response.data is None:
            raise SecurityError(
                f"the meter refuses our {asked.authentication.upper()} proof: {xdlms.result_name(response.result)}"
            )
        assert self._granted is not None
        if asked.authentication in hls.BY_SECRET:
            client, server = self._sides()
            hls.verify(asked.authentication, asked.password, server, client, response.data.octets())
        else:
            assert self._channel is not None
            self._channel.verify(asked.challenge, response.data.octets())
        self._accepted()
        self._move(Step.PROVED)
        return self._granted

    # -- asking

    @property
    def _overhead(self) -> int:
        if self._channel is None:
            return 0
        return SEAL_OVERHEAD + (TITLE_OVERHEAD if self._parameters.ciphering == "general" else 0)

    @property
    def room(self) -> int:
        """Largest plain APDU that the meter takes, 0 for no limit. [octet]"""
        limit = self._granted.max_pdu if self._granted else 0
        return max(1, limit - self._overhead) if limit else 0

    def _begin(self, step: Step, asked: Attribute | str, decode: Callable[[bytes], Any] = axdr.decode) -> None:
        self._move(step)
        self._asked, self._decode, self._kind = asked, decode, getlist.NORMAL
        self._blocks.clear()
        self._block_number = 0
        self._next_invoke_id()

    def _asking(self, request: xdlms.Apdu) -> bytes:
        try:
            return self._sealed(request.encode())
        except MeterRefused:
            self._move(Step.REFUSED)
            raise

    def _check_may_write(self, service: str) -> None:
        if not self._parameters.may_write:
            raise LocalProtocolError(f"{service} in an association that was opened for reading")

    def _received_done(self, apdu: bytes) -> Event:
        """Take the answer to a SET, a block of one, or an ACTION."""
        response = self._response(apdu, one_of_many=True)
        is_set = self.state is State.SETTING
        if not isinstance(response, writing.SetResponses if is_set else xdlms.ActionResponse):
            raise RemoteProtocolError(f"{self._asked}: answered by {type(response).__name__}")
        self._check_invoke_id(response.invoke_id)
        if isinstance(response, writing.SetResponseBlock):
            if not self._parts or response.block_number != self._block_number + 1:
                raise RemoteProtocolError(f"{self._asked}: block {response.block_number} is acknowledged out of order")
            self._move(Step.BLOCK_TAKEN)
            return BlockTaken()
        code = response.result
        if isinstance(response, xdlms.ActionResponse) and not code:
            code = response.access_result or 0
        if code:
            self._move(Step.REFUSED)
            self._refused_one = True
            raise MeterRefused(f"{self._asked}: {xdlms.result_name(code)}", code)
        if self._parts:
            raise RemoteProtocolError(f"{self._asked}: said to be done before all blocks were sent")
        self._move(Step.DONE)
        return Done(response.data if isinstance(response, xdlms.ActionResponse) else None)

    def _received_data(self, apdu: bytes) -> Event:
        response = self._response(apdu, one_of_many=True)
        if not isinstance(response, xdlms.GetResponse | xdlms.GetResponseOctets | xdlms.GetResponseBlock):
            raise RemoteProtocolError(f"expected a GET-response, got {type(response).__name__}")
        self._check_invoke_id(response.invoke_id)
        if response.result:
            self._move(Step.REFUSED)
            self._refused_one = True
            raise MeterRefused(f"{self._asked}: {xdlms.result_name(response.result)}", response.result)
        if isinstance(response, xdlms.GetResponseBlock):
            return self._received_block(response)
        if self._block_number or isinstance(response, xdlms.GetResponse):
            raise RemoteProtocolError(f"{self._asked}: a whole answer amid blocks")
        if response.kind != self._kind:
            raise RemoteProtocolError(f"{self._asked}: answered by a GET-response of type {response.kind}")
        data = self._decode(response.octets)
        self._move(Step.DATA)
        return Received(data)

    def _received_block(self, block: xdlms.GetResponseBlock) -> Event:
        if block.block_number != self._block_number + 1:
            raise RemoteProtocolError(
                f"{self._asked}: block {block.block_number} came, {self._block_number + 1} was expected"
            )
        raw = block.raw or b""
        if not raw and not block.is_last:
            raise RemoteProtocolError(f"{self._asked}: block {block.block_number} is empty and not the last")
        if len(self._blocks) + len(raw) > axdr.MAX_OBJECT:
            raise RemoteProtocolError(f"{self._asked}: more than {axdr.MAX_OBJECT} octets in all blocks")
        self._blocks += raw
        self._block_number = block.block_number
        if not block.is_last:
            self._move(Step.BLOCK)
            return MoreBlocks(len(self._blocks))
        data = self._decode(bytes(self._blocks))
        self._blocks.clear()
        self._move(Step.DATA)
        return Received(data)

    def _response(self, apdu: bytes, *, one_of_many: bool = False) -> xdlms.Apdu:
        """Open an answer to a request. A plain exception-response is believed, as a refusal: it has no ciphered form."""
        if apdu[:1] == b"\xd8":
            refusal = self._refusal(xdlms.decode(apdu), str(self._asked or "HLS-5 proof"))
            if one_of_many and isinstance(refusal, MeterRefused):
                self._move(Step.REFUSED)
                self._refused_one = True
            raise refusal
        response = xdlms.decode(self._opened(apdu), leaves_data=True)
        if isinstance(response, xdlms.ExceptionResponse | xdlms.ConfirmedServiceError):
            raise self._refusal(response, str(self._asked))
        return response

    def _opened(self, apdu: bytes) -> bytes:
        return apdu if self._channel is None else self._channel.open(apdu)

    def _sealed(self, apdu: bytes) -> bytes:
        limit = self._granted.max_pdu if self._granted else 0
        sealed = apdu if self._channel is None else self._channel.seal(apdu)
        if limit and len(sealed) > limit:
            raise MeterRefused(
                f"the meter takes {limit} octets at a time, the request has {len(sealed)}",
                xdlms.DataAccessResult.OTHER_REASON,
            )
        return sealed

    @property
    def _invoke_octet(self) -> int:
        return xdlms.HIGH_PRIORITY | xdlms.CONFIRMED | self._invoke_id

    def _next_invoke_id(self) -> None:
        self._invoke_id = (self._invoke_id + 1) % 16

    def _check_invoke_id(self, octet: int) -> None:
        if octet & 0x0F != self._invoke_id:
            raise RemoteProtocolError(f"answer to invoke-id {octet & 0x0F}, asked was {self._invoke_id}: a late answer")

    @staticmethod
    def _refusal(apdu: xdlms.Apdu, what: str) -> DriverError:
        if isinstance(apdu, xdlms.ConfirmedServiceError):
            return MeterRefused(f"{what}: service error {apdu.category}/{apdu.code}", apdu.code)
        if not isinstance(apdu, xdlms.ExceptionResponse):
            return RemoteProtocolError(f"{what}: unexpected {type(apdu).__name__}")
        if apdu.service_error == xdlms.INVOCATION_COUNTER_ERROR:
            hint = "" if apdu.counter is None else f", it expects at least {apdu.counter}"
            return CounterRefused(f"{what}: the meter refuses our invocation counter{hint}")
        if apdu.service_error == xdlms.DECIPHERING_ERROR:
            return SecurityError(f"{what}: the meter cannot decipher our request: wrong key or system title")
        return MeterRefused(
            f"{what}: exception, state error {apdu.state_error}, service error {apdu.service_error}", apdu.service_error
        )


def _results(count: int, octets: bytes) -> tuple[getlist.GetResult, ...]:
    """Read the results of a list, one for each attribute asked for."""
    results = getlist.decode_results(octets)
    if len(results) != count:
        raise RemoteProtocolError(f"{len(results)} results for a list of {count} attributes")
    return results


def _association_refused(aare: acse.Aare) -> DriverError:
    side = "provider" if aare.by_provider else "user"
    text = f"the meter refuses the association: result {aare.result.value}, diagnostic {aare.diagnostic} of the {side}"
    if not aare.by_provider and aare.diagnostic in _SECURITY_DIAGNOSTICS:
        return SecurityError(f"{text}: check authentication, password or keys")
    return MeterRefused(text, aare.diagnostic)
