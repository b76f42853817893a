"""The ciphered channel of one association: which security was agreed, whose counters, in which order. IEC 62056-5-3, 9.2.7."""

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
from drivers.errors import CounterError, LocalProtocolError, RemoteProtocolError, SecurityError

# Plain tag -> tag of its globally ciphered form. IEC 62056-5-3, 9.5.
GLO_TAGS = {0x01: 0x21, 0x08: 0x28, 0x0E: 0x2E, 0xC0: 0xC8, 0xC1: 0xC9, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF}
PLAIN_TAGS = {glo: plain for plain, glo in GLO_TAGS.items()}


class SecureChannel:
    """Turns plain APDUs into glo- ones and back, for one side of one association.

    ``control``: security control bits put on what is sent.  ``agreed``: least that is taken, ``control`` if left out.
    Each counter of ``supply`` is used once. The other side's must rise strictly. Ask `counters_left` before sending.
    """

    def __init__(
        self,
        keys: Keys,
        own_title: bytes,
        peer_title: bytes = b"",
        control: int = AUTHENTICATED_ENCRYPTED,
        agreed: int | None = None,
    ) -> None:
        check_title(own_title, "our")
        self._keys = keys
        self._own_title = own_title
        self._peer_title = b""
        self._control = control
        self._agreed = control if agreed is None else agreed
        self._counters: list[range] = []
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
            raise CounterError(f"invocation counters {counters} are not usable: change the key")
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
    def counters_left(self) -> int:
        """Count the counters still unused."""
        return sum(len(counters) for counters in self._counters)

    def seal(self, apdu: bytes) -> bytes:
        """Protect a plain APDU as its glo- form. Raises `CounterError` without counters, `LocalProtocolError` without form."""
        glo = GLO_TAGS.get(apdu[0])
        if glo is None:
            raise LocalProtocolError(f"APDU 0x{apdu[0]:02x} has no globally ciphered form")
        protected = encrypt(self._keys, self._own_title, self._next_counter(), apdu, self._control)
        return bytes([glo]) + axdr.encode_length(len(protected)) + protected

    def open(self, apdu: bytes) -> bytes:
        """Verify a glo- APDU and give the plain one. Raises `SecurityError`, also for a plain APDU or a replay."""
        if not apdu or apdu[0] not in PLAIN_TAGS:
            raise SecurityError(f"APDU 0x{apdu[:1].hex()} where a globally ciphered one was agreed")
        check_title(self._peer_title, "the other side's")
        length, start = axdr.parse_length(apdu, 1)
        if start + length != len(apdu):
            raise RemoteProtocolError(f"ciphered APDU says {length} octets and has {len(apdu) - start}")
        counter, plain = decrypt(self._keys, self._peer_title, apdu[start:], self._agreed)
        if counter <= self.last_seen:
            raise CounterError(f"invocation counter {counter} is not above {self.last_seen}: replayed, or out of step")
        self.last_seen = counter
        if not plain or plain[0] != PLAIN_TAGS[apdu[0]]:
            raise SecurityError(f"APDU 0x{apdu[0]:02x} holds another service than it says, or the key is wrong")
        return plain

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
