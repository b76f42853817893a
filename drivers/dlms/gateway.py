"""The gateway protocol: a prefix before each APDU that names a meter on another network. DLMS UA 1000-2 (Green Book), 10.6.

Prefix: 0xE6 towards the meter, 0xE7 from it; network id; length of the physical device address; that address, as the
network behind the gateway writes it. A meter called without prefix is the gateway's own.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from drivers.errors import LocalProtocolError, RemoteProtocolError

REQUEST: Final = 0xE6
RESPONSE: Final = 0xE7
MAX_ADDRESS: Final = 64
"""Longest physical device address taken; its length field has room for 255. [octet]"""
_FORM = re.compile(r"([0-9]{1,3})/((?:[0-9A-Fa-f]{2})+)")


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where behind a gateway a meter is. ``network``: 0 to 255.  ``address``: of the meter on it, 1 to 64 octets."""

    network: int
    address: bytes

    def __post_init__(self) -> None:
        """Refuse what does not fit the prefix."""
        if not 0 <= self.network <= 0xFF:
            raise LocalProtocolError(f"network {self.network} is not 0 to 255")
        if not 1 <= len(self.address) <= MAX_ADDRESS:
            raise LocalProtocolError(
                f"a physical device address has 1 to {MAX_ADDRESS} octets, not {len(self.address)}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NETWORK/ADDRESS``, the address in hexadecimal. Raises `LocalProtocolError`."""
        form = _FORM.fullmatch(text)
        if form is None:
            raise LocalProtocolError(
                f"{text[:80]!r} is not NETWORK/ADDRESS, as 0/303132 with the address in hexadecimal"
            )
        return cls(int(form[1]), bytes.fromhex(form[2]))

    def __str__(self) -> str:
        """Write what `parse` reads."""
        return f"{self.network}/{self.address.hex()}"

    def wrap(self, apdu: bytes, direction: int = REQUEST) -> bytes:
        """Put the prefix before an APDU."""
        return bytes((direction, self.network, len(self.address))) + self.address + apdu

    def unwrap(self, octets: bytes, direction: int = RESPONSE) -> bytes:
        """Take the prefix off. Raises `RemoteProtocolError` where it is missing, cut short or names another meter."""
        prefix = self.wrap(b"", direction)
        if octets.startswith(prefix) and len(octets) > len(prefix):
            return octets[len(prefix) :]
        if octets[:1] != prefix[:1]:
            raise RemoteProtocolError(f"APDU 0x{octets[:1].hex()} without the gateway's prefix 0x{prefix[:1].hex()}")
        raise RemoteProtocolError(f"the gateway's prefix 0x{octets[:8].hex()} does not name meter {self}")
