"""The ciphered channel of one association: which security was agreed, whose counters, in which order. IEC 62056-5-3, 9.2.7.

A protected APDU is wrapped by a tag of its own service (glo-, ded-), or by a general one that names its sender: general-glo-
ciphering and general-ded-ciphering. Either form is taken; which key was used must be the one that was agreed. Where general-
ciphering or general-signing were agreed (`drivers.dlms.protection`) nothing else is taken.
"""

from collections.abc import Collection

from drivers.dlms import axdr
from drivers.dlms.ciphering import (
    AUTHENTICATED,
    AUTHENTICATED_ENCRYPTED,
    MAX_COUNTER,
    Keys,
    check_title,
    decrypt,
    encrypt,
    gmac_token,
    verify_gmac_token,
)
from drivers.dlms.general import GENERAL_CIPHERING, GENERAL_SIGNING
from drivers.dlms.protection import FORMS, Protection, Protector
from drivers.errors import CounterError, LocalProtocolError, RemoteProtocolError, SecurityError
from drivers.profile import Ciphering

# Plain tag -> tag of its globally ciphered form. IEC 62056-5-3, 9.5.
GLO_TAGS = {0x01: 0x21, 0x08: 0x28, 0x0E: 0x2E, 0xC0: 0xC8, 0xC1: 0xC9, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF}
GLO_TAGS |= {0x05: 0x25, 0x06: 0x26, 0x0C: 0x2C, 0x0D: 0x2D, 0x16: 0x36, 0x18: 0x38, 0xC2: 0xCA}
PLAIN_TAGS = {glo: plain for plain, glo in GLO_TAGS.items()}
# Plain tag -> tag of its form ciphered with the association's dedicated key. IEC 62056-5-3, 9.5.
DED_TAGS = {0xC0: 0xD0, 0xC1: 0xD1, 0xC3: 0xD3, 0xC4: 0xD4, 0xC5: 0xD5, 0xC7: 0xD7}
DED_TAGS |= {0x05: 0x45, 0x06: 0x46, 0x0C: 0x4C, 0x0D: 0x4D, 0x16: 0x56, 0x18: 0x58, 0xC2: 0xD2}
_OF_DEDICATED = {ded: plain for plain, ded in DED_TAGS.items()}
_PROTECTABLE = frozenset({*GLO_TAGS, 0x0F, 0x10, 0xD9, 0xDA})  # ACCESS and data-notification have general forms alone
GENERAL_GLO_CIPHERING = 0xDB
GENERAL_DED_CIPHERING = 0xDC
SEAL_OVERHEAD = 21  # [octet] at most, of a glo- APDU: tag, length, security control, counter, authentication tag
TITLE_OVERHEAD = 9  # [octet] of a general one on top: the sender's system title
_INITIATE = frozenset({0x01, 0x08, 0x0E})
"""Always ciphered with the global key, and by their own tags: they agree on what comes after."""


class SecureChannel:
    """Turns plain APDUs into glo- ones and back, for one side of one association.

    ``control``: security control bits put on what is sent.  ``agreed``: least that is taken, ``control`` if left out.
    ``ciphering``: form of what is sent, by service or general.  ``protection``: general-ciphering and general-signing, where
    agreed; it then says the form.  ``is_server``: whether we answer.
    Each counter of ``supply`` is used once. The other side's must rise strictly. Ask `counters_left` before sending.
    """

    def __init__(
        self,
        keys: Keys,
        own_title: bytes,
        peer_title: bytes = b"",
        control: int = AUTHENTICATED_ENCRYPTED,
        agreed: int | None = None,
        *,
        ciphering: Ciphering = "service",
        protection: Protection | None = None,
        is_server: bool = False,
    ) -> None:
        check_title(own_title, "our")
        self._keys = keys
        self._own_title = own_title
        self._peer_title = b""
        self._control = control
        self._agreed = control if agreed is None else agreed
        self._counters: list[range] = []
        self._dedicated: Keys | None = None
        self._dedicated_seen = -1
        self._protection = protection or Protection(ciphering)
        self._protector = Protector(self._protection, keys, own_title, is_server=is_server)
        self.ciphering: Ciphering = self._protection.ciphering
        self.last_seen = -1
        if peer_title:
            self.set_peer(peer_title)

    def set_peer(self, title: bytes) -> None:
        """Take the other side's system title. Raises `SecurityError` for our own (reflection) or a wrong length."""
        check_title(title, "the other side's")
        if title == self._own_title:
            raise SecurityError("the other side claims our own system title")
        self._peer_title = title

    def supply(self, counters: range) -> None:
        """Add counters that were reserved durably for this key and title, so that nobody else uses them."""
        if counters.step != 1 or counters.start < 0 or counters.stop > MAX_COUNTER:
            raise CounterError(f"invocation counters {counters} are not usable: change the key (rekey)")
        self._counters.append(counters)

    @property
    def is_verified(self) -> bool:
        """Say whether the tag of all that is taken was verified."""
        return bool(self._agreed & AUTHENTICATED) and not self._keys.is_unverified

    @property
    def is_unverified(self) -> bool:
        """Say whether the authentication key is withheld, so that nothing can be verified."""
        return self._keys.is_unverified

    @property
    def own_key_id(self) -> str:
        """Name the pair of our system title and the key."""
        return f"{self._own_title.hex()}/{self._keys.fingerprint}"

    @property
    def peer_key_id(self) -> str:
        """Name the pair of the other side's system title and the key."""
        return f"{self._peer_title.hex()}/{self._keys.fingerprint}"

    @property
    def overhead(self) -> int:
        """Most octets that protecting an APDU adds to it."""
        return SEAL_OVERHEAD + (TITLE_OVERHEAD if self.ciphering == "general" else 0) + self._protection.overhead

    @property
    def counters_left(self) -> int:
        """Count the counters still unused."""
        return sum(len(counters) for counters in self._counters)

    def seal(self, apdu: bytes) -> bytes:
        """Protect a plain APDU in its ciphered form. Raises `CounterError` without counters, `LocalProtocolError` without form."""
        if apdu[0] not in _PROTECTABLE:
            raise LocalProtocolError(f"APDU 0x{apdu[0]:02x} has no globally ciphered form")
        is_initiate = apdu[0] in _INITIATE
        if is_initiate or (self.ciphering not in FORMS and self._protection.signing == "none"):
            return self._ciphered(apdu, self._next_counter())
        counter = self._next_counter()
        header = self._protector.header(counter, self._peer_title)
        if self.ciphering in FORMS:
            sealed = self._protector.seal(apdu, header, counter, self._control)
        else:
            sealed = self._ciphered(apdu, counter)
        return sealed if self._protection.signing == "none" else self._protector.sign(sealed, header)

    def _ciphered(self, apdu: bytes, counter: int) -> bytes:
        is_initiate = apdu[0] in _INITIATE
        keys = self._keys if is_initiate or self._dedicated is None else self._dedicated
        protected = encrypt(keys, self._own_title, counter, apdu, self._control)
        content = axdr.encode_length(len(protected)) + protected
        if is_initiate or (self.ciphering == "service" and apdu[0] in GLO_TAGS):
            return bytes([GLO_TAGS[apdu[0]] if keys is self._keys else DED_TAGS[apdu[0]]]) + content
        tag = GENERAL_GLO_CIPHERING if keys is self._keys else GENERAL_DED_CIPHERING
        return bytes([tag, len(self._own_title)]) + self._own_title + content

    def use_dedicated(self, key: bytes) -> None:
        """From now on protect, and demand, all but initiate APDUs with the association's own encryption key."""
        self._dedicated = Keys(key, self._keys.authentication, self._keys.suite)
        self._dedicated_seen = -1

    @property
    def is_dedicated(self) -> bool:
        """Say whether a dedicated key is in use."""
        return self._dedicated is not None

    def open(self, apdu: bytes) -> bytes:
        """Verify a ciphered APDU and give the plain one. Raises `SecurityError`, also for a plain APDU or a replay."""
        if apdu and PLAIN_TAGS.get(apdu[0]) in _INITIATE:
            return self._deciphered(apdu)
        check_title(self._peer_title, "the other side's")
        header = None
        if self._protection.signing != "none":
            if apdu[:1] != bytes([GENERAL_SIGNING]):
                raise SecurityError(f"APDU 0x{apdu[:1].hex()} where a signed one was agreed")
            header, apdu = self._protector.verified(apdu, self._peer_title)
        if self.ciphering not in FORMS:
            plain = self._deciphered(apdu)
        else:
            if apdu[:1] != bytes([GENERAL_CIPHERING]):
                raise SecurityError(f"APDU 0x{apdu[:1].hex()} where general-ciphering was agreed")
            inner, counter, plain = self._protector.open(apdu, self._peer_title, self._agreed, self.last_seen)
            if header is not None and inner != header:
                raise SecurityError("general-ciphering and the signature around it name different exchanges")
            header = inner
            self.last_seen = self.last_seen if counter is None else counter
            if not plain or plain[0] not in _PROTECTABLE:
                raise SecurityError("general-ciphering holds no service of its own, or the key is wrong")
        if header is not None:
            self._protector.accept(header)
        return plain

    def _deciphered(self, apdu: bytes) -> bytes:
        tag = apdu[0] if apdu else -1
        is_initiate = PLAIN_TAGS.get(tag) in _INITIATE
        wanted: Collection[int] = (*PLAIN_TAGS, GENERAL_GLO_CIPHERING)
        if self._dedicated is not None and not is_initiate:
            wanted = (*_OF_DEDICATED, GENERAL_DED_CIPHERING)
        if tag not in wanted:
            with_key = "one ciphered with the dedicated key" if self._dedicated else "a globally ciphered one"
            raise SecurityError(f"APDU 0x{apdu[:1].hex()} where {with_key} was agreed")
        check_title(self._peer_title, "the other side's")
        at = self._after_title(apdu) if tag in {GENERAL_GLO_CIPHERING, GENERAL_DED_CIPHERING} else 1
        length, start = axdr.parse_length(apdu, at)
        if start + length != len(apdu):
            raise RemoteProtocolError(f"ciphered APDU says {length} octets and has {len(apdu) - start}")
        plain = self._opened(apdu[start:], None if is_initiate else self._dedicated)
        service = PLAIN_TAGS.get(tag) or _OF_DEDICATED.get(tag)
        if not plain or plain[0] not in _PROTECTABLE or (service is not None and plain[0] != service):
            raise SecurityError(f"APDU 0x{tag:02x} holds another service than it says, or the key is wrong")
        return plain

    def _opened(self, protected: bytes, dedicated: Keys | None) -> bytes:
        counter, plain = decrypt(dedicated or self._keys, self._peer_title, protected, self._agreed)
        seen = self.last_seen if dedicated is None else self._dedicated_seen
        if counter <= seen:
            raise CounterError(f"invocation counter {counter} is not above {seen}: replayed, or out of step")
        if dedicated is None:
            self.last_seen = counter
        else:
            self._dedicated_seen = counter
        return plain

    def _after_title(self, apdu: bytes) -> int:
        """Check the sender's title in a general form, empty where it is known anyway; give the offset behind it."""
        length, start = axdr.parse_length(apdu, 1)
        title = apdu[start : start + length]
        if title and title != self._peer_title:
            raise SecurityError(
                f"ciphered APDU of system title {title.hex()}, the other side's is {self._peer_title.hex()}"
            )
        return start + length

    def prove(self, challenge: bytes) -> bytes:
        """Give our HLS-5 answer f(challenge), using up one counter."""
        return gmac_token(self._keys, self._own_title, self._next_counter(), challenge)

    def verify(self, challenge: bytes, token: bytes) -> None:
        """Check the other side's HLS-5 answer to our fresh challenge. Raises `SecurityError`.

        Its counter needs no order: the challenge was never used before, so an old answer cannot fit it.
        """
        verify_gmac_token(self._keys, self._peer_title, challenge, token)

    def _next_counter(self) -> int:
        while self._counters and not self._counters[0]:
            del self._counters[0]
        if not self._counters:
            raise CounterError("no invocation counter is reserved")
        first = self._counters[0]
        self._counters[0] = first[1:]
        return first[0]
