"""The application layer of the simulated meter: association, its security and its misdeeds. What is served inside one:
`simulators.dlms.services`.

Sans-IO: an APDU in, an APDU out. IEC 62056-5-3, clauses 9.3 and 9.4.
"""

import hmac
from collections.abc import Callable
from enum import Enum

from drivers.dlms import acse, axdr, hls, xdlms
from drivers.dlms.acse import Aare, Aarq, ApplicationContext, Diagnostic, Mechanism, Result
from drivers.dlms.channel import GENERAL_DED_CIPHERING, GENERAL_GLO_CIPHERING, PLAIN_TAGS, SecureChannel
from drivers.dlms.ciphering import CONTROL, ENCRYPTED
from drivers.dlms.shortnames import READ_REQUEST, WRITE_REQUEST, ReadRequest, ReadResponse, ReadResult, Variable
from drivers.dlms.writing import SET_REQUEST
from drivers.dlms.xdlms import Conformance, DataAccessResult
from drivers.errors import CounterError, DriverError, RemoteProtocolError, SecurityError
from drivers.obis import Obis
from simulators.dlms import objects
from simulators.dlms.deviance import Deviance
from simulators.dlms.services import GRANTED, Services
from simulators.dlms.settings import (
    CIPHER_OVERHEAD,
    ClockHabit,
    DlmsSettings,
    Memory,
    system_title,
)
from simulators.dlms.short import REPLY_TO_HLS_NAME, SHORT_GRANTED, ShortServices
from simulators.faults import Deed, Stage
from simulators.meter import Meter

__all__ = ["ClockHabit", "DlmsServer", "DlmsSettings", "Memory", "system_title"]

ASSOCIATION = Obis(0, 0, 40, 0, 0)
ASSOCIATION_CLASS = 15
REPLY_TO_HLS = 1
CHALLENGE_SIZE = 16
COUNTER_EPOCH = 1_577_836_800  # 2020-01-01T00:00:00Z [s UTC]
PUBLIC_SERVICES = Conformance.GET
SERVICE_NOT_ALLOWED, OPERATION_NOT_POSSIBLE = 1, 1
SERVICE_UNKNOWN, SERVICE_NOT_SUPPORTED = 2, 2
ACTION_FAILED = 250  # other-reason
_STAGES = {
    xdlms.GET_REQUEST: Stage.GET, SET_REQUEST: Stage.SET, xdlms.ACTION_REQUEST: Stage.ACTION,
    READ_REQUEST: Stage.GET, WRITE_REQUEST: Stage.SET,
}  # fmt: skip
_CONTEXTS = {  # short names, ciphered
    (False, False): ApplicationContext.LOGICAL_NAME, (False, True): ApplicationContext.LOGICAL_NAME_CIPHERED,
    (True, False): ApplicationContext.SHORT_NAME, (True, True): ApplicationContext.SHORT_NAME_CIPHERED,
}  # fmt: skip


class _State(Enum):
    IDLE = "idle"
    CHALLENGED = "challenged"
    ASSOCIATED = "associated"
    PUBLIC = "public"


class DlmsServer:
    """One client's talk with one meter."""

    def __init__(
        self, meter: Meter, settings: DlmsSettings, memory: Memory, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._meter = meter
        self._settings = settings
        self._memory = memory
        self._random_bytes = random_bytes
        self.deviance = Deviance(meter, memory)
        self._reset()

    def _reset(self) -> None:
        self._state = _State.IDLE
        self._channel: SecureChannel | None = None
        self._title = b""
        self._challenges = (b"", b"")  # of the client, ours
        self._dedicated_key = b""
        services = ShortServices if self._settings.is_short else Services
        self._services = services(self._meter, self._settings, self._memory, self.deviance)
        self._before = (b"", b"")  # the answer before: plain, and as it went out

    def receive(self, apdu: bytes, now: int) -> bytes | None:
        """Answer an APDU at world time ``now`` [s UTC]; None for what a meter ignores."""
        try:
            if apdu[0] in {acse.AARQ, acse.RLRQ}:
                self.deviance.stage = Stage.AARE if apdu[0] == acse.AARQ else Stage.RELEASE
                answer = self._associate(acse.decode(apdu), now)
            elif self._state is _State.IDLE:
                return xdlms.ExceptionResponse(SERVICE_NOT_ALLOWED, OPERATION_NOT_POSSIBLE).encode()
            else:
                answer = self._answer(self._unprotect(apdu), now)
        except CounterError:
            expected = self._channel.last_seen + 1 if self._channel else 0
            return xdlms.ExceptionResponse(SERVICE_NOT_ALLOWED, xdlms.INVOCATION_COUNTER_ERROR, expected).encode()
        except SecurityError:
            return xdlms.ExceptionResponse(SERVICE_NOT_ALLOWED, xdlms.DECIPHERING_ERROR).encode()
        except RemoteProtocolError:
            return xdlms.ExceptionResponse(SERVICE_UNKNOWN, SERVICE_NOT_SUPPORTED).encode()
        return None if self.deviance.keeps_quiet(now) else answer

    def _answer(self, request: bytes, now: int) -> bytes:
        """Serve a plain request, and protect the answer, as far as the meter keeps to its protocol."""
        proves = self._state is _State.CHALLENGED
        self.deviance.stage = Stage.PROOF if proves else _STAGES.get(request[0])
        plain_before, sent_before = self._before
        plain = self._serve(request, now)
        octets = self.deviance.rename(self._protect(self.deviance.spoil(plain, plain_before, now), now), now)
        if self.deviance.happens(Deed.REPLAYED_ANSWER, now) and sent_before:
            octets = sent_before
        self._before = (plain, octets)
        return octets

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
            granted = xdlms.InitiateResponse(PUBLIC_SERVICES, self._settings.max_pdu)
            return Aare(ApplicationContext.LOGICAL_NAME, user_information=granted.encode()).encode()
        expected = objects.MECHANISMS[self._settings.authentication]
        if request.mechanism is not expected:
            known = Diagnostic.AUTHENTICATION_REQUIRED if request.mechanism is Mechanism.NONE else None
            return self._reject(request, known or Diagnostic.MECHANISM_NOT_RECOGNISED)
        given, password = request.authentication_value, self._settings.password
        if expected is Mechanism.LOW and not hmac.compare_digest(given, password):
            return self._reject(request, Diagnostic.AUTHENTICATION_FAILURE)
        is_high = self._settings.authentication in hls.HIGH
        is_ciphered = self._settings.agreed_security != "none"
        context = _CONTEXTS[self._settings.is_short, is_ciphered]
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
        largest = initiate.max_pdu or 0xFFFF
        is_short = self._settings.is_short
        services = SHORT_GRANTED if is_short else GRANTED
        if not self._settings.takes_lists:
            services &= ~Conformance.MULTIPLE_REFERENCES
        name = xdlms.SHORT_NAMES if is_short else xdlms.LOGICAL_NAMES
        granted = xdlms.InitiateResponse(initiate.conformance & services, self._settings.max_pdu, name=name)
        self._services.granted, self._services.largest = granted.conformance, largest
        self._services.room = min(largest, self._settings.max_pdu) - (CIPHER_OVERHEAD if is_ciphered else 0)
        user_information = self._protect(granted.encode(), now)
        has_title = is_ciphered or self._settings.authentication in hls.WITH_TITLES
        title = self._shown_title(request.calling_title, now) if has_title else b""
        self._title = request.calling_title
        if is_high and self.deviance.happens(Deed.SKIPPED_PROOF, now, anywhere=True):
            is_high = False
        if not is_high:
            self._state = _State.ASSOCIATED
            return Aare(context, responding_title=title, mechanism=expected, user_information=user_information).encode()
        self._state = _State.CHALLENGED
        reflects = self.deviance.happens(Deed.REFLECTED_CHALLENGE, now, anywhere=True)
        ours = request.authentication_value if reflects else self._random_bytes(CHALLENGE_SIZE)
        self._challenges = (request.authentication_value, ours)
        return Aare(
            context,
            diagnostic=Diagnostic.AUTHENTICATION_REQUIRED,
            responding_title=title,
            mechanism=expected,
            authentication_value=self._challenges[1],
            user_information=user_information,
        ).encode()

    def _shown_title(self, of_client: bytes, now: int) -> bytes:
        if self.deviance.happens(Deed.CLIENT_TITLE, now, anywhere=True):
            return of_client
        return system_title(self._meter, int(self.deviance.happens(Deed.OTHER_TITLE, now, anywhere=True)))

    def _reject(self, request: Aarq, diagnostic: Diagnostic) -> bytes:
        return Aare(request.context, Result.REJECTED_PERMANENT, diagnostic).encode()

    def _open_channel(self, request: Aarq, now: int) -> None:
        self._title = request.calling_title
        if self._memory.keys_are_new:  # counters belong to a key
            self._memory.keys_are_new, self._memory.next_counter = False, 1
            self._memory.last_seen.clear()
        self._channel = self._new_channel(CONTROL[self._settings.agreed_security])
        self._memory.next_counter = self._memory.next_counter or max(1, now - COUNTER_EPOCH)
        self._channel.last_seen = self._memory.last_seen.get(self._title, -1)

    def _new_channel(self, control: int) -> SecureChannel:
        assert self._settings.keys is not None  # by DlmsSettings.__post_init__
        takes = CONTROL[self._settings.takes or self._settings.agreed_security]
        protection = self._settings.protection
        return SecureChannel(
            self._memory.keys or self._settings.keys,
            system_title(self._meter),
            self._title,
            control,
            takes,
            protection=protection,
            is_server=True,
        )

    def _keep_counters(self) -> None:
        if self._channel is not None:
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

    def _protect(self, apdu: bytes, now: int) -> bytes:
        if self._channel is None or self.deviance.happens(Deed.PLAIN_ANSWER, now):
            return apdu
        channel = self._channel
        if self.deviance.happens(Deed.WEAKER_ANSWER, now):
            channel = self._new_channel(ENCRYPTED)
            channel.ciphering = self._channel.ciphering
            if self._channel.is_dedicated:
                channel.use_dedicated(self._dedicated_key)
        channel.supply(self._counter(now))
        sealed = channel.seal(apdu)
        if self.deviance.happens(Deed.WRONG_TAG, now):
            sealed = sealed[:-1] + bytes((sealed[-1] ^ 1,))
        return sealed

    def _counter(self, now: int) -> range:
        """Take the one counter that is next, or is said to be."""
        counter = self._memory.next_counter
        if self.deviance.happens(Deed.COUNTER_RESET, now):
            counter = 1
        if self.deviance.happens(Deed.COUNTER_STUCK, now):
            counter -= 1
        self._memory.next_counter = counter + 1
        return range(counter, counter + 1)

    def _serve(self, plain: bytes, now: int) -> bytes:
        request = xdlms.decode(plain)
        match request, self._state:
            case _, _State.ASSOCIATED:
                return self._services.serve(request, now)
            case xdlms.ActionRequest(), _State.CHALLENGED if not self._settings.is_short:
                return self._prove(request, now)
            case ReadRequest((Variable(name, _, parameters),)), _State.CHALLENGED if name == REPLY_TO_HLS_NAME:
                proof = self._proof(parameters, now)
                result = ReadResult(None, ACTION_FAILED) if proof is None else ReadResult(axdr.octet_string(proof))
                return ReadResponse((result,)).encode()
            case xdlms.GetRequest(), _State.PUBLIC:
                return self._public_get(request)
        if self._state is _State.CHALLENGED:
            raise SecurityError("the client has not answered the challenge")
        raise RemoteProtocolError("not a service of this meter")

    def _prove(self, action: xdlms.ActionRequest, now: int) -> bytes:
        method = (action.method.class_id, action.method.logical_name, action.method.index)
        if method != (ASSOCIATION_CLASS, ASSOCIATION, REPLY_TO_HLS):
            return xdlms.ActionResponse(action.invoke_id, DataAccessResult.READ_WRITE_DENIED).encode()
        proof = self._proof(action.parameters or axdr.NULL, now)
        if proof is None:
            return xdlms.ActionResponse(action.invoke_id, ACTION_FAILED).encode()
        return xdlms.ActionResponse(action.invoke_id, 0, axdr.octet_string(proof)).encode()

    def _proof(self, parameters: axdr.Data, now: int) -> bytes | None:
        """Take the client's answer to our challenge, and give ours to its own; None where it proves nothing."""
        try:
            given = parameters.octets()
            proof = self._exchange_proofs(given, now)
        except SecurityError:
            return None
        if self.deviance.happens(Deed.REFLECTED_PROOF, now, anywhere=True):
            proof = given
        if self.deviance.happens(Deed.WRONG_PROOF, now, anywhere=True):
            proof = proof[:-1] + bytes((proof[-1] ^ 1,))
        self._state = _State.ASSOCIATED
        return proof

    def _exchange_proofs(self, given: bytes, now: int) -> bytes:
        """Check the client's answer to our challenge, and answer its own. Raises `SecurityError`."""
        of_client, ours = self._challenges
        if (mechanism := self._settings.mechanism) is not None:
            client, server = hls.Side(self._title, of_client), hls.Side(system_title(self._meter), ours)
            mechanism.verify(client, server, given)
            return mechanism.answer(server, client)
        assert self._channel is not None  # HLS-5 is ciphered
        self._channel.verify(ours, given)
        self._channel.supply(self._counter(now))
        return self._channel.prove(of_client)

    def _public_get(self, get: xdlms.GetRequest) -> bytes:
        if get.attribute != xdlms.Attribute(
            objects.DATA_CLASS, self._settings.counter_object or objects.INVOCATION_COUNTER, 2
        ):
            return xdlms.GetResponse(get.invoke_id, None, DataAccessResult.READ_WRITE_DENIED).encode()
        seen = max(self._memory.last_seen.values(), default=0)
        return xdlms.GetResponse(get.invoke_id, axdr.double_long_unsigned(max(seen, 0))).encode()
