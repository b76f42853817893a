"""What an association is opened with, checked before a byte is sent: secrets, security, and the services to ask for."""

from dataclasses import dataclass, field

from drivers.dlms import hls
from drivers.dlms.ciphering import CONTROL, ENCRYPTED, Keys, check_title
from drivers.dlms.elliptic import Signer
from drivers.dlms.protection import FORMS, Protection
from drivers.dlms.xdlms import Conformance
from drivers.errors import LocalProtocolError, SecurityError
from drivers.profile import Authentication, Ciphering, OptionalService, Referencing, Security, Signing, implied_security

READING = (
    Conformance.GET | Conformance.ACTION | Conformance.SELECTIVE_ACCESS | Conformance.BLOCK_TRANSFER_GET | Conformance.PRIORITY
    | Conformance.MULTIPLE_REFERENCES
)  # fmt: skip
WRITING = Conformance.SET | Conformance.BLOCK_TRANSFER_SET | Conformance.BLOCK_TRANSFER_ACTION
SHORT_READING = (
    Conformance.READ | Conformance.PARAMETERIZED_ACCESS | Conformance.BLOCK_TRANSFER_GET | Conformance.MULTIPLE_REFERENCES
)  # fmt: skip
SHORT_WRITING = Conformance.WRITE | Conformance.BLOCK_TRANSFER_SET
MIN_PDU = 64


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an association is opened with. ``challenge``: fresh random octets, CtoS. ``server_title``: empty to accept any.

    ``security``: what every APDU must be, both ways; None for what the authentication implies.
    ``signer``: keys of HLS-7.  ``maker_mechanism``: what HLS-2 computes with this meter; without it HLS-2 is refused.
    ``protection``: general-ciphering and general-signing with their keys; where given it says the form, else ``ciphering``.
    ``services``: those asked for beside the usual.
    ``block_window``: general blocks taken at a time, 0 to ask for no general block transfer.
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
    referencing: Referencing = "logical-name"
    block_window: int = 0
    services: tuple[OptionalService, ...] = ()
    signer: Signer | None = None
    maker_mechanism: hls.Mechanism | None = field(default=None, repr=False)
    protection: Protection | None = None

    @property
    def signing(self) -> Signing:
        """Whether APDUs are signed."""
        return self.protection.signing if self.protection else "none"

    @property
    def mechanism(self) -> hls.Mechanism | None:
        """How high-level security is proved; None for HLS-5, which the ciphered channel proves, and where there is none."""
        if self.authentication in hls.BY_SECRET:
            return hls.BySecret(self.authentication, self.password)
        if self.authentication == "hls7" and self.signer is not None:
            return hls.BySignature(self.signer)
        return self.maker_mechanism if self.authentication == "hls2" else None

    @property
    def agreed_security(self) -> Security:
        """What every APDU must be."""
        return self.security or implied_security(self.authentication)

    @property
    def conformance(self) -> Conformance:
        """Give the services to ask for."""
        reading, writing = (READING, WRITING) if self.referencing == "logical-name" else (SHORT_READING, SHORT_WRITING)
        wanted = reading | writing if self.may_write else reading
        if "access" in self.services:
            wanted |= Conformance.ACCESS
        if self.block_window:
            wanted |= Conformance.GENERAL_BLOCK_TRANSFER
        is_general = self.ciphering != "service" or self.signing != "none"
        return wanted | Conformance.GENERAL_PROTECTION if is_general else wanted

    def __post_init__(self) -> None:
        """Refuse what could not authenticate, before a byte is sent."""
        if not MIN_PDU <= self.max_pdu <= 0xFFFF:
            raise LocalProtocolError(f"largest APDU {self.max_pdu} is not {MIN_PDU} to 65535")
        if self.authentication == "lls" and not self.password:
            raise SecurityError("low-level security needs a password")
        if self.authentication in hls.BY_SECRET and not self.password:
            raise SecurityError(f"{self.authentication.upper()} needs a secret, given as the password")
        if self.authentication == "hls2" and self.maker_mechanism is None:
            raise SecurityError("HLS-2 is each maker's own: nothing tells what this meter computes")
        if self.authentication == "hls7" and self.signer is None:
            raise SecurityError("HLS-7 needs our private signing key and the meter's public one")
        if self.protection is not None:
            if self.protection.ciphering != self.ciphering:
                raise LocalProtocolError(f"two forms: {self.ciphering} and {self.protection.ciphering}")
            if self.keys is None or self.agreed_security == "none":
                raise SecurityError("general-ciphering and general-signing need keys and security")
            self.protection.check(self.keys.suite)
        elif self.ciphering in FORMS:
            raise SecurityError(f"ciphering {self.ciphering} needs its keys")
        if self.dedicated_key and self.ciphering in FORMS:
            raise SecurityError(f"ciphering {self.ciphering} has a key of its own and no dedicated one")
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
