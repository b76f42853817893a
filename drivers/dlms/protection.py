"""What general-ciphering and general-signing do to one APDU: make or find its key, verify, open. IEC 62056-5-3, 9.2.7.2.4.

Both sides agree on one form beforehand and take no other. The tag covers security control, authentication key and the header
with its lengths; the signature covers header and content with theirs. The transaction-id makes an answer fit one question:
a client takes only the one it sent last, a server only what is above all that it took.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from drivers.dlms.agreement import Scheme, derive_key, unwrap_key, wrap_key
from drivers.dlms.ciphering import KEY_SIZES, Keys, decrypt, encrypt
from drivers.dlms.elliptic import CURVES, PrivateKey, PublicKey, Signer, fresh_key, public_from_octets
from drivers.dlms.general import (
    MASTER_KEY,
    AgreedKey,
    GeneralCiphering,
    GeneralSigning,
    Header,
    IdentifiedKey,
    KeyInfo,
    WrappedKey,
    decode,
)
from drivers.errors import CounterError, SecurityError
from drivers.profile import Ciphering, Signing

FORMS: frozenset[Ciphering] = frozenset({"identified-key", "wrapped-key", "one-pass", "static-unified"})
"""What of `Ciphering` is general-ciphering."""
TRANSACTION_SIZE = 8
HEADER_OVERHEAD = (
    34  # [octet] tag, transaction-id, both titles, each with its length, and two empty strings; a length behind
)


@dataclass(frozen=True, slots=True)
class Protection:
    """How APDUs go beyond glo- and ded-, and the keys for it: one side of it.

    ``ciphering``: the form of general-ciphering, or one that `drivers.dlms.channel` makes by itself.  ``signing``: around it.
    ``master_key``: for wrapped-key.  ``own``, ``peer``: keys of key agreement.  ``signer``: for signing and one-pass.
    ``random_bytes``: cryptographically strong, for keys that are made anew.
    """

    ciphering: Ciphering = "service"
    signing: Signing = "none"
    master_key: bytes = field(default=b"", repr=False)
    own: PrivateKey | None = None
    peer: PublicKey | None = None
    signer: Signer | None = None
    random_bytes: Callable[[int], bytes] | None = field(default=None, repr=False, compare=False)

    def check(self, suite: int) -> None:
        """Refuse what could not protect with a security suite, before a byte is sent. Raises `SecurityError`."""
        needs: dict[Ciphering, tuple[tuple[str, object], ...]] = {
            "wrapped-key": (("a master key", self.master_key), ("randomness", self.random_bytes)),
            "one-pass": (
                ("agreement keys of both sides", self.own and self.peer), ("signing keys", self.signer),
                ("randomness", self.random_bytes),
            ),
            "static-unified": (("agreement keys of both sides", self.own and self.peer),),
        }  # fmt: skip
        missing = [what for what, there in needs.get(self.ciphering, ()) if not there]
        if missing:
            raise SecurityError(f"ciphering {self.ciphering} needs {' and '.join(missing)}")
        if self.signing != "none" and self.signer is None:
            raise SecurityError("signing needs our private signing key and the meter's public one")
        keys = (self.own, self.peer, self.signer.own if self.signer else None)
        if any(key is not None and key.suite != suite for key in keys):
            raise SecurityError(f"a key is not of suite {suite}")

    @property
    def overhead(self) -> int:
        """Most octets that these forms put around a protected APDU."""
        size = 2 * CURVES[2].size if self.signer is None else 2 * CURVES[self.signer.own.suite].size
        key_info = {"wrapped-key": 44, "one-pass": 2 * size + 8, "static-unified": 6, "identified-key": 4}
        inner = HEADER_OVERHEAD + key_info[self.ciphering] if self.ciphering in FORMS else 0
        return inner + (HEADER_OVERHEAD + size + 2 if self.signing != "none" else 0)


class Protector:
    """One side's general-ciphering and general-signing within one association."""

    def __init__(self, protection: Protection, keys: Keys, own_title: bytes, *, is_server: bool) -> None:
        protection.check(keys.suite)
        self._protection = protection
        self._keys = keys
        self._own_title = own_title
        self._is_server = is_server
        self._transaction = b""
        self._wrapped: tuple[Keys, WrappedKey] | None = None
        self._opened_with: tuple[bytes, int] = (b"", -1)

    def header(self, counter: int, peer_title: bytes) -> Header:
        """Begin an APDU: a server's answer repeats the transaction, a client's counter names a new one."""
        if not self._is_server:
            self._transaction = counter.to_bytes(TRANSACTION_SIZE, "big")
        return Header(self._transaction, self._own_title, peer_title)

    def seal(self, apdu: bytes, header: Header, counter: int, control: int) -> bytes:
        """Cipher a plain APDU in the agreed form of general-ciphering."""
        keys, key_info = self._key_to_send(header)
        content = encrypt(keys, self._own_title, counter, apdu, control, general=header.encode())
        return GeneralCiphering(header, key_info, content).encode()

    def sign(self, apdu: bytes, header: Header) -> bytes:
        """Put a signature around an APDU."""
        assert self._protection.signer is not None  # by Protection.check
        unsigned = GeneralSigning(header, apdu)
        return replace(unsigned, signature=self._protection.signer.own.sign(unsigned.signed)).encode()

    def verified(self, apdu: bytes, peer_title: bytes) -> tuple[Header, bytes]:
        """Verify a signature; give header and content. Raises `SecurityError`, also where none was put."""
        assert self._protection.signer is not None
        signing = decode(apdu)
        if not isinstance(signing, GeneralSigning):
            raise SecurityError("an APDU without the agreed signature")
        self._protection.signer.check_title(peer_title)
        self._protection.signer.peer.verify(signing.signed, signing.signature)
        self._check_header(signing.header, peer_title)
        return signing.header, signing.content

    def open(self, apdu: bytes, peer_title: bytes, agreed: int, seen: int) -> tuple[Header, int | None, bytes]:
        """Decipher general-ciphering; give header, plain APDU, and the counter where it is one of the global key's.

        ``seen``: last counter of the global key. Raises `SecurityError`, `CounterError`.
        """
        ciphering = decode(apdu)
        if not isinstance(ciphering, GeneralCiphering):
            raise SecurityError("a signed APDU within a ciphered one")
        self._check_header(ciphering.header, peer_title)
        keys = self._key_received(ciphering)
        counter, plain = decrypt(keys, peer_title, ciphering.content, agreed, general=ciphering.header.encode())
        is_global = keys is self._keys
        if not is_global:
            same, last = self._opened_with
            seen = last if same == keys.encryption else -1
        if counter <= seen:
            raise CounterError(f"invocation counter {counter} is not above {seen}: replayed, or out of step")
        if not is_global:
            self._opened_with = keys.encryption, counter
        return ciphering.header, counter if is_global else None, plain

    def accept(self, header: Header) -> None:
        """Take the transaction of an APDU that was verified: a question's is new, an answer's is used up."""
        self._transaction = header.transaction if self._is_server else b""

    def _check_header(self, header: Header, peer_title: bytes) -> None:
        if header.originator != peer_title:
            raise SecurityError(
                f"APDU of system title {header.originator.hex()}, the other side's is {peer_title.hex()}"
            )
        if header.recipient != self._own_title:
            raise SecurityError(f"APDU for system title {header.recipient.hex()}, ours is {self._own_title.hex()}")
        if len(header.transaction) != TRANSACTION_SIZE:
            raise SecurityError(f"transaction-id of {len(header.transaction)} octets, not {TRANSACTION_SIZE}")
        if self._is_server:
            if header.transaction <= self._transaction:
                raise CounterError("transaction-id is not above the last: replayed, or out of step")
        elif header.transaction != self._transaction:
            raise SecurityError("transaction-id is not that of our question: replayed, or a late answer")

    def _key_to_send(self, header: Header) -> tuple[Keys, KeyInfo]:
        protection = self._protection
        match protection.ciphering:
            case "wrapped-key":
                if self._wrapped is None:
                    assert protection.random_bytes is not None
                    key = protection.random_bytes(KEY_SIZES[self._keys.suite])
                    self._wrapped = self._with(key), WrappedKey(wrap_key(protection.master_key, key))
                return self._wrapped
            case "one-pass":
                assert protection.random_bytes is not None
                assert protection.peer is not None
                assert protection.signer is not None
                ephemeral = fresh_key(self._keys.suite, protection.random_bytes)
                data = ephemeral.public.octets + protection.signer.own.sign(ephemeral.public.octets)
                key_info = AgreedKey(bytes([Scheme.ONE_PASS]), data)
                return self._derived(ephemeral.agree(protection.peer), header), key_info
            case "static-unified":
                return self._static(header), AgreedKey(bytes([Scheme.STATIC_UNIFIED]))
        return self._keys, IdentifiedKey()

    def _key_received(self, apdu: GeneralCiphering) -> Keys:
        protection = self._protection
        match protection.ciphering, apdu.key_info:
            case "identified-key", None | IdentifiedKey(key_id=0):
                return self._keys
            case "wrapped-key", WrappedKey(wrapped, kek_id) if kek_id == MASTER_KEY:
                return self._with(unwrap_key(protection.master_key, wrapped))
            case "one-pass", AgreedKey(parameters, data) if parameters == bytes([Scheme.ONE_PASS]):
                assert protection.own is not None
                assert protection.signer is not None
                size = 2 * CURVES[self._keys.suite].size
                protection.signer.check_title(apdu.header.originator)
                protection.signer.peer.verify(data[:size], data[size:])
                other = public_from_octets(self._keys.suite, data[:size])
                return self._derived(protection.own.agree(other), apdu.header)
            case "static-unified", AgreedKey(parameters, data) if (
                parameters == bytes([Scheme.STATIC_UNIFIED]) and not data
            ):
                return self._static(apdu.header)
        raise SecurityError(f"general-ciphering with {_named(apdu.key_info)}, agreed is {protection.ciphering}")

    def _static(self, header: Header) -> Keys:
        protection = self._protection
        assert protection.own is not None
        assert protection.peer is not None
        secret = protection.own.agree(protection.peer)
        return self._with(derive_key(self._keys.suite, secret, header.originator, header.recipient, header.transaction))

    def _derived(self, secret: bytes, header: Header) -> Keys:
        return self._with(derive_key(self._keys.suite, secret, header.originator, header.recipient))

    def _with(self, encryption: bytes) -> Keys:
        return Keys(encryption, self._keys.authentication, self._keys.suite)


def _named(key_info: KeyInfo | None) -> str:
    match key_info:
        case None:
            return "no key-info"
        case IdentifiedKey(key_id):
            return f"identified key {key_id}"
        case WrappedKey(_, kek_id):
            return f"a key wrapped by key {kek_id}"
        case AgreedKey(parameters, data):
            return f"an agreed key of scheme {parameters[:4].hex() or '(none)'} and {len(data)} octets"
