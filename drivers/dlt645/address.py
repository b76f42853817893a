"""Addresses: twelve decimal digits, sent low byte first; AA stands for a byte that may be anything.

Source: DL/T 645-2007, clause 5.2.2 (address field: unique address, broadcast address, shortened addressing with AAH).
"""

import re
from typing import Final

from drivers.errors import RemoteProtocolError

OCTETS: Final = 6
ANY: Final = "AAAAAAAAAAAA"
"""Whoever is there: for a meter alone on its line."""
BROADCAST: Final = "999999999999"
"""Everybody, and nobody answers."""
WILD: Final = 0xAA

_ADDRESS: Final = re.compile(r"\d{12}", re.ASCII)


def parse_address(text: str) -> str:
    """Read a meter's own address, up to twelve digits, zeros in front left out or not. Raises `ValueError`."""
    padded = text.strip().zfill(2 * OCTETS)
    if not text.strip() or not _ADDRESS.fullmatch(padded):
        raise ValueError(f"{text[:40]!r} is no DL/T 645 address; write its 12 digits")
    if padded == BROADCAST:
        raise ValueError(f"{padded} is the broadcast address, which nobody answers")
    return padded


def shortened(low_digits: str) -> str:
    """Give the wildcard address of all meters whose address ends in these digits, an even number of them."""
    if len(low_digits) % 2 or len(low_digits) > 2 * OCTETS:
        raise ValueError(f"{low_digits[:40]!r} is not whole bytes of an address")
    return low_digits.rjust(2 * OCTETS, "A")


def encode_address(address: str) -> bytes:
    """Give the six octets, low byte first. ``address``: twelve digits, or wildcards."""
    return bytes.fromhex(address)[::-1]


def decode_address(octets: bytes) -> str:
    """Read six octets, low byte first."""
    return octets[::-1].hex().upper()


def decode_own_address(octets: bytes) -> str:
    """Read the address that a meter gives for its own. Raises `RemoteProtocolError` for one that no meter can have."""
    address = decode_address(octets)
    if not _ADDRESS.fullmatch(address) or address == BROADCAST:
        raise RemoteProtocolError(f"a meter says its address is {address}, which is none")
    return address


def covers(asked: str, answered: str) -> bool:
    """Say whether a meter with address ``answered`` is meant by ``asked``, byte by byte."""
    pairs = zip(bytes.fromhex(asked), bytes.fromhex(answered), strict=True)
    return all(wanted in {WILD, found} for wanted, found in pairs)
