"""How what is said is protected: Security setup. IEC 62056-6-2, clause 5.3.15."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from drivers.dlms.axdr import Data, Tag
from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import (
    ANY,
    OCTETS,
    TITLE,
    Enumerated,
    Flags,
    Grouped,
    Octets,
    Repeated,
    Whole,
)

MAX_KEY = 512  # [octet] of a wrapped key or key agreement data


class SecurityPolicy0(IntEnum):
    """What every APDU must be, class version 0."""

    NOTHING = 0
    AUTHENTICATED = 1
    ENCRYPTED = 2
    AUTHENTICATED_ENCRYPTED = 3


class SecurityPolicy(IntFlag):
    """What requests and responses must be, class version 1."""

    AUTHENTICATED_REQUEST = 0x04
    ENCRYPTED_REQUEST = 0x08
    SIGNED_REQUEST = 0x10
    AUTHENTICATED_RESPONSE = 0x20
    ENCRYPTED_RESPONSE = 0x40
    SIGNED_RESPONSE = 0x80


class SecuritySuite(IntEnum):
    """Algorithms that go together."""

    AES_GCM_128 = 0
    ECDSA_P256_AES_GCM_128 = 1
    ECDSA_P384_AES_GCM_256 = 2


class KeyId(IntEnum):
    """Which key."""

    GLOBAL_UNICAST_ENCRYPTION = 0
    GLOBAL_BROADCAST_ENCRYPTION = 1
    AUTHENTICATION = 2
    MASTER = 3


class KeyPair(IntEnum):
    """Which key pair."""

    DIGITAL_SIGNATURE = 0
    KEY_AGREEMENT = 1
    TLS = 2


class CertificateEntity(IntEnum):
    """Whose certificate."""

    SERVER = 0
    CLIENT = 1
    CERTIFICATION_AUTHORITY = 2
    OTHER = 3


class CertificateType(IntEnum):
    """What a certificate is for."""

    DIGITAL_SIGNATURE = 0
    KEY_AGREEMENT = 1
    TLS = 2
    OTHER = 3


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key, wrapped under the master key."""

    key: KeyId
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class AgreementData:
    """One side of a key agreement: ephemeral public key and its signature."""

    key: KeyId
    octets: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the meter says of a certificate that it holds."""

    entity: CertificateEntity
    kind: CertificateType
    serial_number: bytes
    issuer: bytes
    subject: bytes
    subject_alt_name: bytes


@dataclass(frozen=True, slots=True)
class CertificateChoice:
    """Which certificate: by entity (0) or by serial number (1), with what that takes."""

    by: int
    options: Data


WRAPPED_KEYS = Repeated(Grouped(WrappedKey, key=Enumerated(KeyId), wrapped=Octets(1, MAX_KEY)), 4, 1)
CERTIFICATE_CHOICE = Grouped(CertificateChoice, by=Whole(Tag.ENUM, 0, 1), options=ANY)
SECURITY_SETUP_0 = InterfaceClass(
    64,
    0,
    "security setup",
    (
        AttributeType(2, "security_policy", Enumerated(SecurityPolicy0), is_writable=True),
        AttributeType(3, "security_suite", Enumerated(SecuritySuite), is_writable=True),
        AttributeType(4, "client_system_title", TITLE, is_writable=True),
        AttributeType(5, "server_system_title", TITLE),
    ),
    (
        MethodType(1, "security_activate", Enumerated(SecurityPolicy0)),
        MethodType(2, "global_key_transfer", WRAPPED_KEYS),
    ),
)
SECURITY_SETUP_1 = InterfaceClass(
    64,
    1,
    "security setup",
    (
        AttributeType(2, "security_policy", Flags(SecurityPolicy, Tag.ENUM), is_writable=True),
        AttributeType(3, "security_suite", Enumerated(SecuritySuite), is_writable=True),
        AttributeType(4, "client_system_title", TITLE, is_writable=True),
        AttributeType(5, "server_system_title", TITLE),
        AttributeType(
            6,
            "certificates",
            Repeated(
                Grouped(
                    Certificate,
                    entity=Enumerated(CertificateEntity),
                    kind=Enumerated(CertificateType),
                    serial_number=OCTETS,
                    issuer=OCTETS,
                    subject=OCTETS,
                    subject_alt_name=OCTETS,
                ),
                255,
            ),
        ),
    ),
    (
        MethodType(1, "security_activate", Flags(SecurityPolicy, Tag.ENUM)),
        MethodType(2, "key_transfer", WRAPPED_KEYS),
        MethodType(
            3,
            "key_agreement",
            Repeated(Grouped(AgreementData, key=Enumerated(KeyId), octets=Octets(1, MAX_KEY)), 4, 1),
        ),
        MethodType(4, "generate_key_pair", Enumerated(KeyPair)),
        MethodType(5, "generate_certificate_request", Enumerated(KeyPair)),
        MethodType(6, "import_certificate", OCTETS),
        MethodType(7, "export_certificate", CERTIFICATE_CHOICE),
        MethodType(8, "remove_certificate", CERTIFICATE_CHOICE),
    ),
)
CLASSES = (SECURITY_SETUP_0, SECURITY_SETUP_1)
