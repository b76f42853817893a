"""How an association is opened: what AARQ asks for, what is believed of AARE, and the proofs of high-level security.

IEC 62056-5-3, clauses 9.2.2, 9.3.2 and 9.4.4. It knows no states: those are `drivers.dlms.association`'s.
"""

from drivers.dlms import acse, axdr, basenames, hls, xdlms
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import check_title
from drivers.dlms.commands import Accepted, Act
from drivers.dlms.parameters import Parameters
from drivers.dlms.services.refusals import refusal
from drivers.dlms.xdlms import Attribute, Conformance
from drivers.errors import DriverError, MeterRefused, RemoteProtocolError, SecurityError
from drivers.obis import Obis
from drivers.profile import Authentication

CURRENT_ASSOCIATION = Obis(0, 0, 40, 0, 0)
REPLY_TO_HLS = Attribute(15, CURRENT_ASSOCIATION, 1)  # IEC 62056-6-2, class 15, method 1 reply_to_HLS_authentication
_SECURITY_DIAGNOSTICS = frozenset(
    {
        acse.Diagnostic.MECHANISM_NOT_RECOGNISED, acse.Diagnostic.MECHANISM_REQUIRED,
        acse.Diagnostic.AUTHENTICATION_FAILURE, acse.Diagnostic.AUTHENTICATION_REQUIRED,
    }
)  # fmt: skip


_MECHANISMS: dict[Authentication, acse.Mechanism] = {
    "none": acse.Mechanism.NONE, "lls": acse.Mechanism.LOW, "hls2": acse.Mechanism.HIGH, "hls3": acse.Mechanism.HIGH_MD5,
    "hls4": acse.Mechanism.HIGH_SHA1, "hls5": acse.Mechanism.HIGH_GMAC, "hls6": acse.Mechanism.HIGH_SHA256,
    "hls7": acse.Mechanism.HIGH_ECDSA,
}  # fmt: skip


class Establishment:
    """One opening of an association. ``channel``: what ciphers it, None where nothing does."""

    def __init__(self, parameters: Parameters, channel: SecureChannel | None) -> None:
        self._parameters = parameters
        self._channel = channel
        self._server_challenge = b""
        self._server_title = b""

    @property
    def is_high(self) -> bool:
        """Whether both sides prove that they know the secret, before the association is open."""
        return self._parameters.authentication in hls.HIGH

    def initiate(self, *, offers_key: bool = False) -> bytes:
        """Give the initiate-request, plain. ``offers_key``: with the association's own key."""
        key = self._parameters.dedicated_key if offers_key else b""
        return xdlms.InitiateRequest(self._parameters.conformance, self._parameters.max_pdu, dedicated_key=key).encode()

    def request(self) -> bytes:
        """Give the AARQ."""
        asked = self._parameters
        initiate = self.initiate(offers_key=True)
        return acse.Aarq(
            self._context,
            _MECHANISMS[asked.authentication],
            asked.password if asked.authentication == "lls" else asked.challenge,
            asked.client_title if self._has_titles else b"",
            self._channel.seal(initiate) if self._channel else initiate,
        ).encode()

    def accept(self, apdu: bytes) -> Accepted:
        """Check the AARE, and give what the meter grants of what was asked for. Raises `SecurityError`, `MeterRefused`."""
        if apdu[:1] in {b"\xd8", b"\x0e"}:
            raise refusal(xdlms.decode(apdu), "association")
        aare = acse.decode(apdu)
        if not isinstance(aare, acse.Aare):
            raise RemoteProtocolError("expected AARE")
        if aare.result is not acse.Result.ACCEPTED:
            raise _association_refused(aare)
        wants_proof = aare.diagnostic == acse.Diagnostic.AUTHENTICATION_REQUIRED
        if wants_proof and not self.is_high:
            raise SecurityError("the meter demands high-level security; the profile does not offer it")
        if self._has_titles:
            self._check_title(aare)
        if self.is_high:
            self._check_hls(aare, wants_proof=wants_proof)
        response = xdlms.decode(
            aare.user_information if self._channel is None else self._channel.open(aare.user_information)
        )
        if isinstance(response, xdlms.ConfirmedServiceError):
            raise refusal(response, "association")
        if not isinstance(response, xdlms.InitiateResponse):
            raise RemoteProtocolError("AARE holds no initiate-response")
        if response.version != xdlms.DLMS_VERSION:
            raise RemoteProtocolError(f"DLMS version {response.version}, expected {xdlms.DLMS_VERSION}")
        is_short = self._parameters.referencing == "short-name"
        if (response.name == xdlms.LOGICAL_NAMES) is is_short:
            raise RemoteProtocolError(
                f"vaa-name 0x{response.name:04x}: the server does not use {self._parameters.referencing} referencing"
            )
        if not response.conformance & (Conformance.READ if is_short else Conformance.GET):
            raise MeterRefused(f"the meter does not grant {'READ' if is_short else 'GET'} in this association", 0)
        self._server_challenge = aare.authentication_value
        return Accepted(response.conformance & self._parameters.conformance, response.max_pdu)

    def proof(self) -> Act:
        """Give the command that answers the meter's challenge (HLS pass 3), using up one counter where it is HLS-5."""
        asked = self._parameters
        if (mechanism := asked.mechanism) is not None:
            token = mechanism.answer(*self._sides())
        else:
            assert self._channel is not None
            token = self._channel.prove(self._server_challenge)
        method = basenames.REPLY_TO_HLS if asked.referencing == "short-name" else REPLY_TO_HLS
        return Act(method, axdr.octet_string(token))

    def verify(self, token: bytes) -> None:
        """Check the meter's answer to our challenge (HLS pass 4). Raises `SecurityError`."""
        asked = self._parameters
        if (mechanism := asked.mechanism) is not None:
            client, server = self._sides()
            mechanism.verify(server, client, token)
        else:
            assert self._channel is not None
            self._channel.verify(asked.challenge, token)

    @property
    def _context(self) -> acse.ApplicationContext:
        name = acse.ApplicationContext
        if self._parameters.referencing == "short-name":
            return name.SHORT_NAME_CIPHERED if self._channel else name.SHORT_NAME
        return name.LOGICAL_NAME_CIPHERED if self._channel else name.LOGICAL_NAME

    def _check_title(self, aare: acse.Aare) -> None:
        expected = self._parameters.server_title
        if self._channel and aare.context is not self._context:
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


def _association_refused(aare: acse.Aare) -> DriverError:
    side = "provider" if aare.by_provider else "user"
    text = f"the meter refuses the association: result {aare.result.value}, diagnostic {aare.diagnostic} of the {side}"
    if not aare.by_provider and aare.diagnostic in _SECURITY_DIAGNOSTICS:
        return SecurityError(f"{text}: check authentication, password or keys")
    return MeterRefused(text, aare.diagnostic)
