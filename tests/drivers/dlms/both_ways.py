"""What every APDU must hold to, whichever service it is of."""

import pytest

from drivers.dlms import xdlms
from drivers.errors import RemoteProtocolError


def assert_both_ways(apdu: xdlms.Apdu) -> None:
    """Encoded and decoded it is the same; cut short anywhere, or with an octet behind it, it is an error."""
    octets = apdu.encode()
    assert xdlms.decode(octets) == apdu
    for end in range(len(octets)):
        with pytest.raises(RemoteProtocolError):
            xdlms.decode(octets[:end])
    with pytest.raises(RemoteProtocolError, match="surplus"):
        xdlms.decode(octets + b"\x00")


def assert_apdu_or_error(octets: bytes) -> None:
    """Whatever the octets are, they are an APDU or a protocol error, and nothing else is raised."""
    try:
        xdlms.decode(octets)
    except RemoteProtocolError:
        return
