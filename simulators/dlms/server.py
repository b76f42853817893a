"""The application layer of the simulated meter: association (none, LLS, HLS-5 with suite 0), GET with blocks and lists, the
HLS action.

Sans-IO: an APDU in, an APDU out. IEC 62056-5-3, clauses 9.3 and 9.4.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from drivers.dlms import acse, axdr, hls, xdlms
from drivers.dlms.acse import Aare, Aarq, ApplicationContext, Diagnostic, Mechanism, Result
from drivers.dlms.channel import GENERAL_DED_CIPHERING, GENERAL_GLO_CIPHERING, PLAIN_TAGS, SecureChannel
from drivers.dlms.ciphering import CONTROL, MAX_COUNTER, Keys
from drivers.dlms.getlist import WITH_LIST
from drivers.dlms.xdlms import Conformance, DataAccessResult
from drivers.errors import CounterError, DriverError, RemoteProtocolError, SecurityError
from drivers.obis import Obis
from drivers.profile import Authentication, Security, implied_security
from simulators.dlms import objects
from simulators.dlms.objects import ClockHabit, Refused
from simulators.meter import Meter

ASSOCIATION = Obis(0, 0, 40, 0, 0)
ASSOCIATION_CLASS = 15
REPLY_TO_HLS = 1
CHALLENGE_SIZE = 16
COUNTER_EPOCH = 1_577_836_800  # 2020-01-01T00:00:00Z [s UTC]
BLOCK_OVERHEAD = 12  # [octet] GET-response-with-datablock around its raw data
CIPHER_OVERHEAD = 30  # [octet] tag, system title, length, security control, counter, authentication tag
MIN_BLOCK = 16
SERVICES = (
    Conformance.GET | Conformance.SELECTIVE_ACCESS | Conformance.BLOCK_TRANSFER_GET | Conformance.ACTION
    | Conformance.MULTIPLE_REFERENCES
)  # fmt: skip
SERVICE_NOT_ALLOWED, OPERATION_NOT_POSSIBLE = 1, 1
SERVICE_UNKNOWN, SERVICE_NOT_SUPPORTED = 2, 2
ACTION_FAILED = 250  # other-reason
_MECHANISMS: dict[Authentication, Mechanism] = {
    "none": Mechanism.NONE,
    "lls": Mechanism.LOW,
    "hls3": Mechanism.HIGH_MD5,
    "hls4": Mechanism.HIGH_SHA1,
    "hls5": Mechanism.HIGH_GMAC,
    "hls6": Mechanism.HIGH_SHA256,
}


@dataclass(frozen=True, slots=True)
class DlmsSettings:
    """How a meter is set up. ``max_pdu``: largest APDU it sends or takes. [octet]  ``latency``: before an answer. [s]
    ``takes_lists``: whether it grants GET-with-list.

    ``security``: what its APDUs are, None for what the authentication implies.  ``takes``: the least that it takes of a client,
    None for the same.  ``counter_object``: where a client without authentication may read the last counter seen, and no more.
    """

    authentication: Authentication = "none"
    password: bytes = field(default=b"", repr=False)
    keys: Keys | None = None
    max_pdu: int = 0xFFFF
    clock: ClockHabit = field(default_factory=ClockHabit)
    latency: float = 0.02
    security: Security | None = None
    takes: Security | None = None
    takes_lists: bool = True
    counter_object: Obis | None = None

    @property
    def agreed_security(self) -> Security:
        """What its APDUs are."""
        return self.security or implied_security(self.authentication)

    def __post_init__(self) -> None:
        """Refuse ciphering without keys, LLS without password, and PDUs too small for a block."""
        if (self.authentication == "hls5" or self.agreed_security != "none") != (self.keys is not None):
            raise ValueError("keys belong to ciphering, hls5 needs them")
        has_secret = self.authentication == "lls" or self.authentication in hls.BY_SECRET
        if has_secret != bool(self.password):
            raise ValueError("a password belongs to lls, hls3, hls4 and hls6, and each needs one")
        if not BLOCK_OVERHEAD + CIPHER_OVERHEAD + MIN_BLOCK <= self.max_pdu <= 0xFFFF:
            raise ValueError(f"PDU size {self.max_pdu} is not {BLOCK_OVERHEAD + CIPHER_OVERHEAD + MIN_BLOCK} to 65535")


@dataclass(slots=True)
class Memory:
    """What the meter keeps across associations: its own next counter, and the last one seen of each client title.

    It begins with the seconds of its first day, so that a simulator that is started again goes on above.
    """

    next_counter: int = 0
    last_seen: dict[bytes, int] = field(default_factory=dict)


class _State(Enum):
    IDLE = "idle"
    CHALLENGED = "challenged"
    ASSOCIATED = "associated"
    PUBLIC = "public"


def system_title(meter: Meter) -> bytes:
    """System title of a simulated meter: maker and serial number, 8 octets."""
    return b"SIM" + meter.serial.to_bytes(5, "big")


class DlmsServer:
    """One client's talk with one meter."""

    def __init__(
        self, meter: Meter, settings: DlmsSettings, memory: Memory, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._meter = meter
        self._settings = settings
        self._memory = memory
        self._random_bytes = random_bytes
        self._reset()

    def _reset(self) -> None:
        self._state = _State.IDLE
        self._channel: SecureChannel | None = None
        self._title = b""
        self._challenges = (b"", b"")  # of the client, ours
        self._max_pdu = self._settings.max_pdu
        self._dedicated_key = b""
        self._left = b""
        self._block = 0
        self._lists = False

    def receive(self, apdu: bytes, now: int) -> bytes | None:
        """Answer an APDU at world time ``now`` [s UTC]; None for what a meter ignores."""
        try:
            if apdu[0] in {acse.AARQ, acse.RLRQ}:
                return self._associate(acse.decode(apdu), now)
            if self._state is _State.IDLE:
                return xdlms.ExceptionResponse(SERVICE_NOT_ALLOWED, OPERATION_NOT_POSSIBLE).encode()
            return self._protect(self._serve(self._unprotect(apdu), now))
        except CounterError:
            expected = self._channel.last_seen + 1 if self._channel else 0
            return xdlms.ExceptionResponse(SERVICE_NOT_ALLOWED, xdlms.INVOCATION_COUNTER_ERROR, expected).encode()
        except SecurityError:
            return xdlms.ExceptionResponse(SERVICE_NOT_ALLOWED, xdlms.DECIPHERING_ERROR).encode()
        except RemoteProtocolError:
            return xdlms.ExceptionResponse(SERVICE_UNKNOWN, SERVICE_NOT_SUPPORTED).encode()

    def _associate(self, apdu: Aarq | Aare | acse.Release, now: int) -> bytes | None:
        self._keep_counters()
        self._reset()
        match apdu:
            case acse.Release():
                return acse.Release(is_response=True).encode()
            case Aarq():
                return self._accept(apdu, now)
        return None

    def _accept(self, request: Aarq, now: int) -> bytes:
        if self._settings.counter_object is not None and request.mechanism is Mechanism.NONE:
            self._state = _State.PUBLIC
            granted = xdlms.InitiateResponse(SERVICES, self._settings.max_pdu)
            return Aare(ApplicationContext.LOGICAL_NAME, user_information=granted.encode()).encode()
        expected = _MECHANISMS[self._settings.authentication]
        if request.mechanism is not expected:
            known = Diagnostic.AUTHENTICATION_REQUIRED if request.mechanism is Mechanism.NONE else None
            return self._reject(request, known or Diagnostic.MECHANISM_NOT_RECOGNISED)
        given, password = request.authentication_value, self._settings.password
        if expected is Mechanism.LOW and not hmac.compare_digest(given, password):
            return self._reject(request, Diagnostic.AUTHENTICATION_FAILURE)
        is_high = self._settings.authentication in hls.HIGH
        is_ciphered = self._settings.agreed_security != "none"
        context = ApplicationContext.LOGICAL_NAME_CIPHERED if is_ciphered else ApplicationContext.LOGICAL_NAME
        if request.context is not context:
            return self._reject(request, Diagnostic.CONTEXT_NOT_SUPPORTED)
        try:
            if is_ciphered:
                self._open_channel(request, now)
            initiate = xdlms.decode(self._unprotect(request.user_information))
        except CounterError:
            raise
        except DriverError:
            self._reset()
            return self._reject(request, Diagnostic.AUTHENTICATION_FAILURE if is_ciphered else Diagnostic.NO_REASON)
        if not isinstance(initiate, xdlms.InitiateRequest):
            return self._reject(request, Diagnostic.NO_REASON)
        self._dedicated_key = initiate.dedicated_key
        self._max_pdu = min(initiate.max_pdu or 0xFFFF, self._settings.max_pdu)
        services = SERVICES if self._settings.takes_lists else SERVICES & ~Conformance.MULTIPLE_REFERENCES
        granted = xdlms.InitiateResponse(initiate.conformance & services, self._settings.max_pdu)
        self._lists = bool(granted.conformance & Conformance.MULTIPLE_REFERENCES)
        user_information = self._protect(granted.encode())
        has_title = is_ciphered or self._settings.authentication in hls.WITH_TITLES
        title = system_title(self._meter) if has_title else b""
        self._title = request.calling_title
        if not is_high:
            self._state = _State.ASSOCIATED
            return Aare(context, responding_title=title, mechanism=expected, user_information=user_information).encode()
        self._state = _State.CHALLENGED
        self._challenges = (request.authentication_value, self._random_bytes(CHALLENGE_SIZE))
        return Aare(
            context,
            diagnostic=Diagnostic.AUTHENTICATION_REQUIRED,
            responding_title=title,
            mechanism=expected,
            authentication_value=self._challenges[1],
            user_information=user_information,
        ).encode()

    def _reject(self, request: Aarq, diagnostic: Diagnostic) -> bytes:
        return Aare(request.context, Result.REJECTED_PERMANENT, diagnostic).encode()

    def _open_channel(self, request: Aarq, now: int) -> None:
        assert self._settings.keys is not None  # by DlmsSettings.__post_init__
        channel = SecureChannel(
            self._settings.keys,
            system_title(self._meter),
            request.calling_title,
            CONTROL[self._settings.agreed_security],
            CONTROL[self._settings.takes or self._settings.agreed_security],
        )
        self._memory.next_counter = self._memory.next_counter or max(1, now - COUNTER_EPOCH)
        channel.supply(range(self._memory.next_counter, MAX_COUNTER))
        channel.last_seen = self._memory.last_seen.get(request.calling_title, -1)
        self._channel, self._title = channel, request.calling_title

    def _keep_counters(self) -> None:
        if self._channel is not None:
            self._memory.next_counter = MAX_COUNTER - self._channel.counters_left
            self._memory.last_seen[self._title] = self._channel.last_seen

    def _unprotect(self, apdu: bytes) -> bytes:
        if self._channel is None:
            if apdu and apdu[0] in PLAIN_TAGS:
                raise SecurityError("a ciphered APDU in a plain association")
            return apdu
        if self._state is _State.ASSOCIATED and self._dedicated_key and not self._channel.is_dedicated:
            self._channel.use_dedicated(self._dedicated_key)
        plain = self._channel.open(apdu)
        if apdu[0] in {GENERAL_GLO_CIPHERING, GENERAL_DED_CIPHERING}:
            self._channel.ciphering = "general"
        self._keep_counters()
        return plain

    def _protect(self, apdu: bytes) -> bytes:
        if self._channel is None:
            return apdu
        sealed = self._channel.seal(apdu)
        self._keep_counters()
        return sealed

    def _serve(self, plain: bytes, now: int) -> bytes:
        match xdlms.decode(plain):
            case xdlms.ActionRequest() as action:
                return self._act(action)
            case xdlms.GetRequest() as get if self._state is _State.ASSOCIATED:
                return self._get(get, now)
            case xdlms.GetRequest() as get if self._state is _State.PUBLIC:
                return self._public_get(get)
            case xdlms.GetRequestList() as get_list if self._lists and self._state is _State.ASSOCIATED:
                return self._get_list(get_list, now)
            case xdlms.GetRequestNext() as following if self._state is _State.ASSOCIATED:
                return self._next_block(following)
        if self._state is _State.CHALLENGED:
            raise SecurityError("the client has not answered the challenge")
        raise RemoteProtocolError("not a service of this meter")

    def _act(self, action: xdlms.ActionRequest) -> bytes:
        method = (action.method.class_id, action.method.logical_name, action.method.index)
        if self._state is not _State.CHALLENGED or method != (ASSOCIATION_CLASS, ASSOCIATION, REPLY_TO_HLS):
            return xdlms.ActionResponse(action.invoke_id, DataAccessResult.READ_WRITE_DENIED).encode()
        try:
            proof = self._exchange_proofs(action.parameters.octets() if action.parameters else b"")
        except SecurityError:
            return xdlms.ActionResponse(action.invoke_id, ACTION_FAILED).encode()
        self._state = _State.ASSOCIATED
        return xdlms.ActionResponse(action.invoke_id, 0, axdr.octet_string(proof)).encode()

    def _exchange_proofs(self, given: bytes) -> bytes:
        """Check the client's answer to our challenge, and answer its own. Raises `SecurityError`."""
        kind, secret = self._settings.authentication, self._settings.password
        of_client, ours = self._challenges
        if kind in hls.BY_SECRET:
            client, server = hls.Side(self._title, of_client), hls.Side(system_title(self._meter), ours)
            hls.verify(kind, secret, client, server, given)
            return hls.answer(kind, secret, server, client)
        assert self._channel is not None  # HLS-5 is ciphered
        self._channel.verify(ours, given)
        return self._channel.prove(of_client)

    def _public_get(self, get: xdlms.GetRequest) -> bytes:
        if get.attribute != xdlms.Attribute(objects.DATA_CLASS, self._settings.counter_object or objects.CLOCK, 2):
            return xdlms.GetResponse(get.invoke_id, None, DataAccessResult.READ_WRITE_DENIED).encode()
        seen = max(self._memory.last_seen.values(), default=0)
        return xdlms.GetResponse(get.invoke_id, axdr.double_long_unsigned(max(seen, 0))).encode()

    def _get(self, get: xdlms.GetRequest, now: int) -> bytes:
        self._left = b""
        try:
            data = objects.read(self._meter, now, self._settings.clock, get.attribute, get.selection)
        except Refused as refused:
            return xdlms.GetResponse(get.invoke_id, None, refused.result).encode()
        whole = bytes((xdlms.GET_RESPONSE, 1, get.invoke_id, 0)) + data
        if len(whole) <= self._room():
            return whole
        self._left, self._block = data, 0
        return self._cut_block(get.invoke_id)

    def _get_list(self, get: xdlms.GetRequestList, now: int) -> bytes:
        parts = [axdr.encode_length(len(get.items))]
        for attribute, selection in get.items:
            try:
                parts.append(b"\x00" + objects.read(self._meter, now, self._settings.clock, attribute, selection))
            except Refused as refused:
                parts.append(bytes((1, refused.result)))
        results = b"".join(parts)
        self._left = b""
        whole = bytes((xdlms.GET_RESPONSE, WITH_LIST, get.invoke_id)) + results
        if len(whole) <= self._room():
            return whole
        self._left, self._block = results, 0
        return self._cut_block(get.invoke_id)

    def _next_block(self, following: xdlms.GetRequestNext) -> bytes:
        if not self._left:
            refusal = DataAccessResult.NO_LONG_GET_IN_PROGRESS
        elif following.block_number != self._block:
            self._left = b""
            refusal = DataAccessResult.DATA_BLOCK_NUMBER_INVALID
        else:
            return self._cut_block(following.invoke_id)
        return xdlms.GetResponseBlock(following.invoke_id, True, self._block, None, refusal).encode()  # noqa: FBT003

    def _cut_block(self, invoke_id: int) -> bytes:
        size = max(MIN_BLOCK, self._room() - BLOCK_OVERHEAD)
        raw, self._left = self._left[:size], self._left[size:]
        self._block += 1
        return xdlms.GetResponseBlock(invoke_id, not self._left, self._block, raw).encode()

    def _room(self) -> int:
        return self._max_pdu - (CIPHER_OVERHEAD if self._channel else 0)
